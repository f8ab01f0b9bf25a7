//! [`Columns`] and [`Model`]: from the columns of a batch to what a model says of them, and to its loss.

use std::collections::BTreeMap;
use std::ops::Index;
use std::rc::Rc;

use thalweg_data::DataError;
use thalweg_nn::{Forward, Loss, binary_cross_entropy_with_logits, cross_entropy, squared_error};
use thalweg_run::graph::array::{Shape, Size};
use thalweg_run::graph::{DType, Tensor, placeholder};

use super::TrainingData;
use crate::evaluate::Inference;

/// The columns of a batch, by name, as a model takes them. Axis 0 is `batch`.
///
/// Rows that differ in length ([`Sequences`](thalweg_data::Sequences)) are padded: `x` is `[batch, time, …]`, `x.mask`, bool
/// `[batch, time]`, says what is no padding, and `x.length`, i64 `[batch]`, how long rows are. Columns whose rows are equally
/// long have the same axis of time; it is called `time`, or where there are several, after the first of its columns
/// (`source_time`).
#[derive(Clone, Debug)]
pub struct Columns(BTreeMap<String, Tensor>);

impl Columns {
    pub(super) fn of(data: &TrainingData) -> Result<Columns, DataError> {
        let batch = || Size::name("batch");
        let mut columns = BTreeMap::new();
        let mut add = |name: String, dtype: DType, shape: Shape| {
            columns.insert(name.clone(), placeholder(name, dtype, shape));
        };
        let times = data.times();
        for name in data.train().names() {
            let Ok(sequences) = data.train().sequences(name) else {
                let (row, dtype) = data.row(name)?;
                add(name.into(), dtype, std::iter::once(batch()).chain(row.into_iter().map(Size::from)).collect());
                continue;
            };
            let time = Size::name(&times[name]);
            let element = sequences.element_shape().iter().map(|&size| Size::from(size));
            add(name.into(), sequences.dtype(), [batch(), time.clone()].into_iter().chain(element).collect());
            if let Some([mask, length]) = sequences.measure_names(name) {
                add(mask, DType::Bool, [batch(), time].into_iter().collect());
                add(length, DType::I64, [batch()].into_iter().collect());
            }
        }
        Ok(Columns(columns))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The column of that name; a stop at the user's line if there is none.
impl Index<&str> for Columns {
    type Output = Tensor;

    #[track_caller]
    fn index(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            panic!("there is no column `{name}`; there are: {}", known.join(", "))
        })
    }
}

/// From an input to what the model says of it.
pub(super) type Network = Rc<dyn Fn(&Tensor, &mut Forward) -> Tensor>;
/// From that and a target to the mean loss.
pub(super) type LossFn = Rc<dyn Fn(&Tensor, &Tensor) -> Tensor>;
/// From all columns to what the model says, and its loss.
pub(super) type Whole = Rc<dyn Fn(&Columns, &mut Forward) -> Inference>;

/// What a learner builds its graphs with.
#[derive(Clone)]
pub(super) enum Model {
    /// A network on the input, and a loss of what it says and the target.
    Network { network: Network, loss: LossFn, input: Tensor, target: Tensor },
    /// A function of all columns.
    Whole { whole: Whole, columns: Columns },
}

impl Model {
    /// With the loss that follows from the target.
    pub(super) fn network(network: Network, columns: &Columns, data: &TrainingData) -> Model {
        let (input, target) = (columns[data.input()].clone(), columns[data.target()].clone());
        Model::Network { network, loss: Rc::new(usual_loss), input, target }
    }

    /// With another loss.
    ///
    /// # Panics
    /// If the model is a function of all columns, which has a loss of its own.
    #[track_caller]
    pub(super) fn with_loss(self, other: impl Loss + 'static) -> Model {
        match self {
            Model::Network { network, input, target, .. } => {
                let loss: LossFn = Rc::new(move |output, target| other.mean(output, target));
                Model::Network { network, loss, input, target }
            }
            Model::Whole { .. } => {
                panic!("loss: a model made by `Learner::from_columns` has a loss of its own: put this one there")
            }
        }
    }

    /// The graph for this use, with its loss and what it carries over.
    pub(super) fn build(&self, mut cx: Forward) -> Inference {
        let built = match self {
            Model::Network { network, loss, input, target } => {
                let output = network(input, &mut cx);
                let built = Inference::new(loss(&output, target), output);
                let label = target.dtype().is_int().then(|| target.name().unwrap_or_default());
                label.into_iter().fold(built, |built, label| built.labeled(label))
            }
            Model::Whole { whole, columns } => whole(columns, &mut cx),
        };
        Inference { loss: built.loss.named("loss"), ..built }.carrying(cx.states())
    }
}

/// The loss that follows from the target.
fn usual_loss(output: &Tensor, target: &Tensor) -> Tensor {
    let numbers = |target: &Tensor| match output.rank() == target.rank() + 1 {
        true => target.unsqueeze(-1),
        false => target.clone(),
    };
    match target.dtype() {
        dtype if dtype.is_int() => cross_entropy(output, target),
        DType::Bool => binary_cross_entropy_with_logits(output, &numbers(target).cast(output.dtype())),
        _ => squared_error(output, &numbers(target).cast(output.dtype())),
    }
}
