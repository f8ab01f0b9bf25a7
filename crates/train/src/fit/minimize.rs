//! [`Minimize`]: where the graphs of a training step come from.

use std::fmt;

use thalweg_nn::optim::{Accumulation, Hooks, Rule};
use thalweg_nn::{Optimizer, State, Step};
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Op, Size, Tensor};
use thalweg_run::{Feeds, RunError, Session};

use super::{FitError, StepNumbers};
use crate::evaluate::scalar;
use crate::inputs::Carried;

/// What makes a loss smaller: an optimizer, or the step that a checkpoint carries
/// ([`StoredTraining`](crate::StoredTraining)).
pub trait Minimize: fmt::Debug {
    /// The graphs of a step on `accumulate` batches, changed by `hooks` where they are built now.
    ///
    /// # Errors
    /// If there is no such step for this loss.
    fn graphs(&self, loss: &Tensor, accumulate: usize, hooks: &mut dyn Hooks) -> Result<Accumulation, FitError>;
}

impl<R: Rule> Minimize for Optimizer<R> {
    fn graphs(&self, loss: &Tensor, accumulate: usize, hooks: &mut dyn Hooks) -> Result<Accumulation, FitError> {
        let rows = if accumulate == 1 { None } else { Some(rows_of(loss)?) };
        Ok(Optimizer::graphs(self, loss, rows.as_ref(), hooks))
    }
}

/// Makes a step on one batch, and says what came of it, and what goes on to the next batch.
pub(crate) fn make_step(
    session: &Session,
    loss: &Tensor,
    step: &Step,
    states: &[State],
    feeds: Feeds<'_>,
) -> Result<(StepNumbers, Carried), RunError> {
    let afters: Vec<&Tensor> = states.iter().map(|state| &state.after).collect();
    let fetches = (loss, &step.learning_rate, &step.gradient_norm, &afters, step);
    let (loss, learning_rate, gradient_norm, after, ()) = session.run(fetches, feeds)?;
    let [loss, learning_rate, gradient_norm] = [loss, learning_rate, gradient_norm].map(|number| scalar(&number));
    let clipped = step.clip_norm.is_some_and(|limit| gradient_norm > limit);
    Ok((StepNumbers { loss, learning_rate, gradient_norm, clipped }, Carried::new(states, after)))
}

/// The size of the first axis of what is fed: the rows of a batch.
fn rows_of(loss: &Tensor) -> Result<Size, FitError> {
    let of = |tensor: &Tensor| match tensor.op() {
        Op::Placeholder(placeholder) if placeholder.shape.rank() > 0 => Some(placeholder.shape[0].clone()),
        _ => None,
    };
    let none = || FitError::Graph("the training loss reads no placeholder with an axis of rows".into());
    topological([loss]).iter().find_map(of).ok_or_else(none)
}
