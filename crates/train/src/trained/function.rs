//! [`Function`]: what a model does beside its answer, such as a step of a text that it writes.

use std::path::Path;

use thalweg_nn::{Forward, State};
use thalweg_run::graph::array::Bindings;
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::text::parse_beside;
use thalweg_run::graph::{Array, Graph, Op, Tensor};
use thalweg_run::{Feeds, Session};

use super::TrainedError;
use super::card::FunctionCard;
use super::training::{name_of, states_of};
use crate::fit::FitError;
use crate::inputs::zeros;

/// A graph over the variables of a model, with states that whoever calls it hands on: what a model does in use, step by step.
/// A [`Learner`](crate::Learner) keeps functions by [name](crate::Learner::function), and so does the model that it saves.
///
/// ```
/// use thalweg_run::graph::{Array, DType, placeholder};
/// use thalweg_run::{Session, feeds};
/// use thalweg_train::Function;
///
/// let add = Function::new(|cx| {
///     let sum = cx.carried(DType::F32, ["rows"]);
///     let next = &sum + &placeholder("x", DType::F32, ["rows"]);
///     cx.carry_on(&sum, &next);
///     vec![next]
/// });
/// let session = Session::cpu();
/// let states = add.fresh(&[("rows", 1)])?;
/// let (_, states) = add.call(&session, feeds! { "x" => [2.0f32] }, &states)?;
/// let (sums, _) = add.call(&session, feeds! { "x" => [3.0f32] }, &states)?;
/// assert_eq!(sums[0], Array::from([5.0f32]));
/// # Ok::<(), thalweg_train::FitError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Function {
    outputs: Vec<Tensor>,
    states: Vec<State>,
}

impl Function {
    /// Of the outputs that `build` makes; what it carries over are the states.
    pub fn new(build: impl FnOnce(&mut Forward) -> Vec<Tensor>) -> Function {
        let mut cx = Forward::infer();
        let outputs = build(&mut cx);
        Function { outputs, states: cx.states().to_vec() }
    }

    /// The outputs and the states after a call that is given `feeds` and begins with these states.
    ///
    /// # Errors
    /// If the feeds are not what the graph takes, or states are missing.
    pub fn call<'a>(
        &'a self,
        session: &Session,
        feeds: Feeds<'a>,
        states: &'a [Array],
    ) -> Result<(Vec<Array>, Vec<Array>), FitError> {
        if states.len() != self.states.len() {
            let reason = format!("a function with {} states was given {}", self.states.len(), states.len());
            return Err(FitError::Graph(reason));
        }
        let afters: Vec<&Tensor> = self.states.iter().map(|state| &state.after).collect();
        let mut all = feeds;
        for (state, value) in self.states.iter().zip(states) {
            all = all.with(&state.before, value);
        }
        Ok(session.evaluate((&self.outputs, &afters), all)?)
    }

    /// The states before the first call: zeros of these sizes.
    ///
    /// # Errors
    /// If the sizes of a state do not follow from them.
    pub fn fresh(&self, sizes: &[(&str, usize)]) -> Result<Vec<Array>, FitError> {
        let sizes: Bindings = sizes.iter().copied().collect();
        self.states.iter().map(|state| zeros(&state.before, &sizes)).collect()
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// The states before the first call where the first of them are `given`, such as what an encoder made of a text: others are
    /// zeros, whose sizes follow from those.
    ///
    /// # Errors
    /// If more are given than there are, or the sizes of a state do not follow.
    pub fn begin(&self, given: Vec<Array>) -> Result<Vec<Array>, FitError> {
        if given.len() > self.states.len() {
            let reason = format!("a function with {} states was given {}", self.states.len(), given.len());
            return Err(FitError::Graph(reason));
        }
        let mut sizes = Bindings::new();
        for (state, value) in self.states.iter().zip(&given) {
            for (size, found) in state.before.shape().iter().zip(value.shape()) {
                // Where they do not fit, the call says so.
                let _ = sizes.unify(size, *found);
            }
        }
        let others = self.states[given.len()..].iter().map(|state| zeros(&state.before, &sizes));
        given.iter().cloned().map(Ok).chain(others).collect()
    }

    /// The states.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// What is fed under this name.
    pub(super) fn column(&self, name: &str) -> Option<Tensor> {
        let afters = self.states.iter().map(|state| &state.after);
        let mut all = topological(self.outputs.iter().chain(afters)).into_iter();
        all.find(|tensor| matches!(tensor.op(), Op::Placeholder(placeholder) if *placeholder.name == *name))
    }

    pub(super) fn card(&self) -> FunctionCard {
        let afters = self.states.iter().map(|state| &state.after);
        let graph = Graph::capture(self.outputs.iter().chain(afters), &[]);
        FunctionCard { graph: graph.to_string(), states: self.states.iter().map(name_of).collect() }
    }

    /// What stands in a checkpoint, over the variables of `model`.
    pub(super) fn read(card: &FunctionCard, model: &Graph, path: &Path) -> Result<Function, TrainedError> {
        let unreadable = |source| TrainedError::Graph { path: path.to_path_buf(), source };
        let mut outputs = parse_beside(&card.graph, model).map_err(unreadable)?.to_tensors();
        let afters = outputs.split_off(outputs.len().saturating_sub(card.states.len()));
        let failed = |reason| TrainedError::Model { path: path.to_path_buf(), reason };
        Ok(Function { outputs, states: states_of(&card.states, afters).map_err(failed)? })
    }
}

#[cfg(test)]
mod tests {
    use thalweg_run::graph::{DType, placeholder};

    use super::*;

    #[test]
    fn states_that_are_not_given_begin_with_zeros_of_their_sizes() {
        let function = Function::new(|cx| {
            let memory = cx.carried(DType::F32, ("rows", "time", 2));
            let count = cx.carried(DType::I64, ["rows"]);
            cx.carry_on(&count, &(&count + 1));
            vec![memory.sum_over(1) + placeholder("token", DType::F32, ("rows", 1))]
        });
        let states = function.begin(vec![Array::zeros(&[3, 5, 2], DType::F32)]).unwrap();
        assert_eq!((states[0].shape(), &states[1]), (&[3, 5, 2][..], &Array::from([0i64; 3])));
        let message = function.begin(vec![Array::from([0i64]); 3]).unwrap_err().to_string();
        assert_eq!(message, "a function with 2 states was given 3");
        let message = function.begin(Vec::new()).unwrap_err().to_string();
        assert!(message.contains("does not follow from the data"), "{message}");
    }
}
