//! [`Inputs`]: what a graph is fed, from the columns of a batch and what is carried over from the one before.

use thalweg_data::Batch;
use thalweg_nn::{State, is_state};
use thalweg_run::Feeds;
use thalweg_run::graph::array::Bindings;
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Array, Op, Tensor};

use crate::fit::FitError;

/// The placeholders of a graph: columns of batches, and states that go on from batch to batch.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    columns: Vec<Tensor>,
    states: Vec<Tensor>,
}

impl Inputs {
    /// Those that `tensors` need.
    pub(crate) fn of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Inputs {
        let placeholders = topological(tensors).into_iter().filter(is_placeholder);
        let (states, columns) = placeholders.partition(is_state);
        Inputs { columns, states }
    }

    /// A batch that goes on from nothing: states are zeros.
    ///
    /// # Errors
    /// If it lacks a column.
    pub(crate) fn feeds<'a>(&'a self, batch: &'a Batch) -> Result<Feeds<'a>, FitError> {
        self.feeds_after(batch, const { &Carried(Vec::new()) })
    }

    /// A batch behind another one, which left these states; others are zeros.
    ///
    /// # Errors
    /// If it lacks a column.
    pub(crate) fn feeds_after<'a>(&'a self, batch: &'a Batch, carried: &'a Carried) -> Result<Feeds<'a>, FitError> {
        self.feeds_of(|name| Ok(batch.column(name)?), carried)
    }

    /// As [`feeds_after`](Inputs::feeds_after), with columns from anywhere.
    ///
    /// # Errors
    /// If one is missing.
    pub(crate) fn feeds_of<'a>(
        &'a self,
        column: impl Fn(&str) -> Result<&'a Array, FitError>,
        carried: &'a Carried,
    ) -> Result<Feeds<'a>, FitError> {
        let (mut feeds, mut sizes) = (Feeds::new(), Bindings::new());
        for placeholder in &self.columns {
            let value = column(name(placeholder))?;
            for (size, found) in placeholder.shape().iter().zip(value.shape()) {
                // Where they do not fit, the run says so.
                let _ = sizes.unify(size, *found);
            }
            feeds = feeds.with(placeholder, value);
        }
        for state in &self.states {
            feeds = match carried.of(state) {
                Some(value) => feeds.with(state, value),
                None => feeds.with(state, zeros(state, &sizes)?),
            };
        }
        Ok(feeds)
    }

    /// The columns.
    pub(crate) fn columns(&self) -> &[Tensor] {
        &self.columns
    }
}

/// The values of states between two batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Carried(pub(crate) Vec<(String, Array)>);

impl Carried {
    /// The values `after` a batch.
    pub(crate) fn new(states: &[State], after: Vec<Array>) -> Carried {
        Carried(states.iter().map(|state| name(&state.before).to_string()).zip(after).collect())
    }

    /// The value of a state, if it is known.
    pub(crate) fn of(&self, state: &Tensor) -> Option<&Array> {
        self.0.iter().find(|(known, _)| known == name(state)).map(|(_, value)| value)
    }
}

/// The zeros of a state whose named sizes are these.
pub(crate) fn zeros(state: &Tensor, sizes: &Bindings) -> Result<Array, FitError> {
    let shape: Result<Vec<usize>, _> = state.shape().iter().map(|size| size.evaluate(sizes)).collect();
    let shape = shape.map_err(|error| {
        let meta = state.meta();
        FitError::Graph(format!("the size of what is carried over, {meta}, does not follow from the data: {error}"))
    })?;
    Ok(Array::zeros(&shape, state.dtype()))
}

fn is_placeholder(tensor: &Tensor) -> bool {
    matches!(tensor.op(), Op::Placeholder(_))
}

fn name(placeholder: &Tensor) -> &str {
    match placeholder.op() {
        Op::Placeholder(placeholder) => &placeholder.name,
        _ => unreachable!("only placeholders are kept"),
    }
}
