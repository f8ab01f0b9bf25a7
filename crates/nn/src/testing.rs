//! What the tests of this crate share: numbers of tensors, losses held against numbers and differences, steps run by
//! the reference interpreter.

use std::collections::BTreeMap;

use thalweg_graph::autodiff::check::{CheckOptions, check_gradients};
use thalweg_graph::reference::{Feeds, evaluate, initial_value, interpret};
use thalweg_graph::{Array, Graph, Tensor, TensorId, Update, Variable, constant, grad};

/// The numbers of a tensor that needs no feeds.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    evaluate(tensor).unwrap().to_vec()
}

/// Stops the test unless the numbers are within `tolerance`, relative to the larger of 1 and what is expected.
#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?} against {expected:?}");
    for (x, y) in found.iter().zip(expected) {
        assert!((x - y).abs() <= tolerance * y.abs().max(1.0), "{found:?} against {expected:?}");
    }
}

/// Stops the test unless the gradients of `f` are those that differences show.
#[track_caller]
pub(crate) fn assert_gradients(f: impl Fn(&[Tensor]) -> Tensor, inputs: &[Array]) {
    let options = CheckOptions { directions: 4, ..CheckOptions::default() };
    if let Err(error) = check_gradients(f, inputs, &options) {
        panic!("{error}");
    }
}

/// The gradient of the sum of `f` at f32 inputs, to see that it is finite.
pub(crate) fn gradient_f32(f: impl Fn(&Tensor) -> Tensor, x: Array) -> Vec<f64> {
    let x = constant(x);
    numbers(&grad(&f(&x).sum(), &[&x])[0])
}

/// Variables and their values, as a session keeps them.
#[derive(Default)]
pub(crate) struct State {
    values: BTreeMap<TensorId, Array>,
}

impl State {
    /// Makes the updates of one run.
    pub(crate) fn run(&mut self, updates: &[Update], feeds: &[(&str, Array)]) {
        self.fetch(&[], updates, feeds);
    }

    /// Makes the updates of one run; gives the numbers that the tensors had in it.
    pub(crate) fn fetch(&mut self, tensors: &[&Tensor], updates: &[Update], feeds: &[(&str, Array)]) -> Vec<Vec<f64>> {
        let mut given = Feeds::new(feeds.iter().cloned());
        given.variables = self.values.clone();
        let results = interpret(&Graph::capture(tensors.iter().copied(), updates), &given).unwrap();
        for (update, value) in updates.iter().zip(results.updates) {
            self.values.insert(update.variable.id(), value);
        }
        results.fetches.iter().map(Array::to_vec).collect()
    }

    /// The value of a variable.
    pub(crate) fn read(&self, variable: &Variable) -> Vec<f64> {
        match self.values.get(&variable.id()) {
            Some(value) => value.to_vec(),
            None => initial_value(variable.core(), 0).unwrap().to_vec(),
        }
    }
}
