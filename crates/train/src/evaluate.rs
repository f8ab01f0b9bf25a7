//! A model on a whole data set: its loss, and of a classifier which classes it took for which.

use thalweg_data::{Batch, Dataset, Loader};
use thalweg_nn::State;
use thalweg_run::Session;
use thalweg_run::graph::{Array, Tensor};

use crate::fit::FitError;
use crate::inputs::{Carried, Inputs};
use crate::metrics::{ConfusionMatrix, Mean};

/// The graph of a model as it is used after training, with its loss. Placeholders are called as the columns of the data
/// that feed them.
#[derive(Clone, Debug)]
pub struct Inference {
    /// The mean loss of a batch.
    pub loss: Tensor,
    /// What the model says: for a classifier logits of shape `[rows, classes]`.
    pub output: Tensor,
    /// For a classifier the column of the labels.
    pub label: Option<String>,
    /// Of how many terms of a batch the loss is the mean, if not of its rows: a number, such as that of the tokens that are
    /// no padding.
    pub terms: Option<Tensor>,
    /// What the model carries from batch to batch.
    pub states: Vec<State>,
}

impl Inference {
    /// A model whose loss is the mean over the rows of a batch.
    pub fn new(loss: Tensor, output: Tensor) -> Inference {
        Inference { loss, output, label: None, terms: None, states: Vec::new() }
    }

    /// A classifier, whose labels stand in this column.
    pub fn labeled(self, column: impl Into<String>) -> Inference {
        Inference { label: Some(column.into()), ..self }
    }

    /// Whose loss is the mean over so many terms of a batch.
    pub fn over(self, terms: Tensor) -> Inference {
        Inference { terms: Some(terms), ..self }
    }

    /// Which carries these states from batch to batch.
    pub fn carrying(self, states: &[State]) -> Inference {
        Inference { states: states.to_vec(), ..self }
    }
}

/// How good a model is on a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The number of rows.
    pub rows: usize,
    /// The mean loss of the rows, or of their [terms](Inference::terms).
    pub loss: f64,
    /// For a classifier: how many rows of each class were taken for which.
    pub matrix: Option<ConfusionMatrix>,
}

impl Evaluation {
    /// How many tokens a language model hesitates between, which the exponential of its loss says.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// The share of rows whose class is right; of classifiers.
    pub fn accuracy(&self) -> Option<f64> {
        self.matrix.as_ref().map(ConfusionMatrix::accuracy)
    }
}

/// Evaluates a model on all rows of `data`, `batch` at a time. The variables have their values in `session`. What the model
/// carries from batch to batch begins with zeros; over rows that do not [go on](Dataset::is_contiguous), in every batch.
///
/// # Errors
/// If the data set is empty, has not the columns that the model reads, or a label is no class.
pub fn evaluate(session: &Session, model: &Inference, data: &Dataset, batch: usize) -> Result<Evaluation, FitError> {
    evaluate_with(session, model, data, batch, |_, _| Ok(()))
}

/// As [`evaluate`], showing every output with its batch: for other [metrics](crate::metrics), also during training, where
/// a callback has session and model from its [`Moment`](crate::fit::Moment).
///
/// ```
/// # use thalweg_data::Dataset;
/// # use thalweg_run::{Session, graph::{DType, constant, placeholder}};
/// # use thalweg_nn::cross_entropy;
/// # use thalweg_train::Inference;
/// use thalweg_train::evaluate::evaluate_with;
/// use thalweg_train::metrics::RocAuc;
/// # let x = placeholder("x", DType::F32, ("batch", 2));
/// # let loss = cross_entropy(&x, &placeholder("label", DType::I64, ["batch"]));
/// # let model = Inference::new(loss, x).labeled("label");
/// # let data = Dataset::new([("x", [[0.0f32, 1.0], [0.0, 2.0]].into()), ("label", [0i64, 1].into())])?;
/// # let session = Session::cpu();
/// let mut auc = RocAuc::default();
/// let evaluation = evaluate_with(&session, &model, &data, 500, |output, batch| {
///     Ok(auc.update(output, batch.column("label")?)?)
/// })?;
/// # assert_eq!((auc.value(), evaluation.accuracy()), (1.0, Some(0.5)));
/// # Ok::<(), thalweg_train::FitError>(())
/// ```
///
/// # Errors
/// As [`evaluate`], and what `see` returns.
pub fn evaluate_with(
    session: &Session,
    model: &Inference,
    data: &Dataset,
    batch: usize,
    mut see: impl FnMut(&Array, &Batch) -> Result<(), FitError>,
) -> Result<Evaluation, FitError> {
    let loader = Loader::new(data, batch)?;
    let inputs = Inputs::of([&model.loss, &model.output]);
    let afters: Vec<&Tensor> = model.states.iter().map(|state| &state.after).collect();
    let fetches = (&model.loss, &model.output, &model.terms, &afters);
    let (mut loss, mut matrix, mut rows) = (Mean::default(), None, 0);
    let mut carried = Carried::default();
    for batch in loader.epoch(0)? {
        let batch = batch?;
        let (mean, output, terms, states) = session.evaluate(fetches, inputs.feeds_after(&batch, &carried)?)?;
        if data.is_contiguous() {
            carried = Carried::new(&model.states, states);
        }
        loss.add(scalar(&mean), terms.map_or(batch.len() as f64, |terms| scalar(&terms)));
        rows += batch.len();
        see(&output, &batch)?;
        if let Some(label) = &model.label {
            let classes = output.shape().last().copied().unwrap_or(0).max(1);
            matrix.get_or_insert_with(|| ConfusionMatrix::new(classes)).update(&output, batch.column(label)?)?;
        }
    }
    Ok(Evaluation { rows, loss: loss.value(), matrix })
}

/// How many rows are evaluated at a time, if nothing else is said.
pub(crate) const ROWS: usize = 500;

/// How many rows of `data` are evaluated at a time: `most`, or as many as fit into 16 MiB, but at least one. What layers make
/// of a row is often larger than the row, and all of it lies in memory at once. A text that goes on is read in few lanes and
/// long ones, since what is carried begins anew in each.
pub(crate) fn rows_at_a_time(data: &Dataset, most: usize) -> usize {
    const BYTES: usize = 16 << 20;
    const LANES: usize = 32;
    const LANE: usize = 16;
    const SEQUENCES: usize = 64;
    if data.is_contiguous() {
        return most.min(LANES).min((data.len() / LANE).max(1));
    }
    if data.names().any(|name| data.sequences(name).is_ok()) {
        return most.min(SEQUENCES);
    }
    let bytes = |name: &str| data.row(name).map_or(0, |(shape, dtype)| shape.iter().product::<usize>() * dtype.size());
    let row: usize = data.names().map(bytes).sum();
    most.min((BYTES / row.max(1)).max(1))
}

/// The only number of an array; of several or none, which no loss has, NaN.
pub(crate) fn scalar(array: &Array) -> f64 {
    array.item().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use thalweg_run::graph::DType;

    use super::*;

    #[test]
    fn fewer_rows_are_evaluated_at_a_time_where_they_are_large() {
        let rows = |shape: &[usize]| {
            let image = Array::zeros(&[&[2], shape].concat(), DType::F32);
            Dataset::new([("image", image), ("label", vec![0i64; 2].into())]).unwrap()
        };
        assert_eq!(rows_at_a_time(&rows(&[28, 28]), ROWS), 500);
        assert_eq!(rows_at_a_time(&rows(&[28, 28]), 0), 0);
        assert_eq!(rows_at_a_time(&rows(&[3, 224, 224]), ROWS), (16 << 20) / (4 * 3 * 224 * 224 + 8));
        assert_eq!(rows_at_a_time(&rows(&[3, 2048, 2048]), ROWS), 1);
    }
}
