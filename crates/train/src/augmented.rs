//! Test-time augmentation: a model on data of which each row is seen several times, changed as in training.

use thalweg_data::Loader;
use thalweg_run::Session;
use thalweg_run::graph::{Array, Tensor};

use crate::evaluate::Inference;
use crate::fit::FitError;
use crate::inputs::Inputs;
use crate::metrics::ConfusionMatrix;

/// The part of the unchanged input in an answer.
const PLAIN: f64 = 0.25;

/// What a model says of data, each row seen several times.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmented {
    /// The mean answer to each row: of a classifier probabilities.
    pub answers: Array,
    /// For a classifier: how many rows of each class were taken for which.
    pub matrix: Option<ConfusionMatrix>,
}

impl Augmented {
    /// Of the rows of `plain`, and in `passes` passes of the same rows as `changed` has them in each; `answer` is that of the
    /// model, of a classifier probabilities.
    pub(crate) fn new(
        session: &Session,
        model: &Inference,
        answer: &Tensor,
        plain: &Loader,
        passes: u64,
        changed: impl Fn(u64) -> Result<Loader, FitError>,
    ) -> Result<Augmented, FitError> {
        if passes == 0 {
            let setting = "test-time augmentation in 0 passes".into();
            return Err(FitError::Setting { setting, reason: "there must be at least 1 pass".into() });
        }
        let said = answers(session, answer, plain)?;
        let shape = said.shape().to_vec();
        let mut mean: Vec<f64> = said.to_vec::<f64>().into_iter().map(|x| PLAIN * x).collect();
        for pass in 1..=passes {
            let answers = answers(session, answer, &changed(pass)?)?;
            for (mean, x) in mean.iter_mut().zip(answers.to_vec::<f64>()) {
                *mean += (1.0 - PLAIN) / passes as f64 * x;
            }
        }
        let answers = Array::new(&shape, mean).map_err(thalweg_data::DataError::from)?.cast(said.dtype());
        let mut matrix = None;
        if let Some(label) = &model.label {
            let classes = shape.last().copied().unwrap_or(0).max(1);
            let mut counts = ConfusionMatrix::new(classes);
            counts.update(&answers, plain.dataset().column(label)?)?;
            matrix = Some(counts);
        }
        Ok(Augmented { answers, matrix })
    }

    /// The share of rows whose class is right; of classifiers.
    pub fn accuracy(&self) -> Option<f64> {
        self.matrix.as_ref().map(ConfusionMatrix::accuracy)
    }
}

/// Refuses test-time augmentation where each pass would say the same.
pub(crate) fn refuse_without_chance(changed_by_chance: bool, passes: u64) -> Result<(), FitError> {
    if changed_by_chance {
        return Ok(());
    }
    let setting = format!("test-time augmentation in {passes} passes");
    let reason = "training batches are not changed by chance, so that each pass would say the same".into();
    Err(FitError::Setting { setting, reason })
}

/// The answers to all rows of a loader, in their order.
fn answers(session: &Session, answer: &Tensor, rows: &Loader) -> Result<Array, FitError> {
    let inputs = Inputs::of([answer]);
    let (mut elements, mut shape) = (Vec::<f32>::new(), Vec::new());
    for batch in rows.epoch(0)? {
        let answers = session.evaluate(answer, inputs.feeds(&batch?)?)?;
        shape = answers.shape().to_vec();
        elements.extend(answers.to_vec::<f32>());
    }
    shape[0] = rows.dataset().len();
    Ok(Array::new(&shape, elements).map_err(thalweg_data::DataError::from)?)
}
