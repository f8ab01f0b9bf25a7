//! What the tests of this crate share: numbers of tensors, losses held against numbers and differences, steps run by
//! the reference interpreter.

use std::collections::BTreeMap;

use thalweg_graph::autodiff::check::{CheckOptions, check_gradients};
use thalweg_graph::reference::{Feeds, evaluate, initial_value, interpret};
use thalweg_graph::{Array, Graph, Tensor, TensorId, Update, Variable, constant, grad};

use crate::module::Module;
use crate::optim::{Optimizer, Rule};

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

/// Numbers of f64 that are soon written in any language: amplitude·sin(0.7 n + 0.37 i + 0.01 i²), i in row-major order.
pub(crate) fn waves(n: usize, shape: &[usize], amplitude: f64) -> Array {
    let wave = |i: usize| {
        let (n, i) = (n as f64, i as f64);
        amplitude * (0.7 * n + 0.37 * i + 0.01 * i * i).sin()
    };
    Array::new(shape, (0..shape.iter().product()).map(wave).collect()).unwrap()
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

    /// From now on the variable has this value.
    pub(crate) fn write(&mut self, variable: &Variable, value: Array) {
        self.values.insert(variable.id(), value);
    }

    /// Gives the variables of a module [`waves`]: the n-th those of n.
    pub(crate) fn make_waves(&mut self, module: &dyn Module) {
        for (n, (_, variable)) in module.variables().into_iter().enumerate() {
            self.write(&variable, waves(n, variable.core().shape(), 0.5));
        }
    }

    /// The value of a variable.
    pub(crate) fn read(&self, variable: &Variable) -> Vec<f64> {
        match self.values.get(&variable.id()) {
            Some(value) => value.to_vec(),
            None => initial_value(variable.core(), 0).unwrap().to_vec(),
        }
    }
}

/// Makes five steps on ½ Σ a(w − c)² over a matrix of f64 and holds each against `host`, which gets the number of the
/// step from 1, the parameter, and the gradient a(w − c).
#[track_caller]
pub(crate) fn check_rule<R: Rule>(optimizer: Optimizer<R>, mut host: impl FnMut(i32, &mut [f64], &[f64])) {
    const A: [f64; 4] = [1.0, 3.0, 0.5, 10.0];
    const C: [f64; 4] = [0.0, 1.0, -2.0, 0.25];
    let mut expected = [1.0, -1.0, 0.5, 2.0];
    let as_matrix = |x: [f64; 4]| Array::new(&[2, 2], x.to_vec()).unwrap();
    let w = Variable::new("w", as_matrix(expected));
    let loss = (constant(as_matrix(A)) * (&w - &constant(as_matrix(C))).square()).sum() * 0.5;
    let step = optimizer.minimize(&loss);
    let mut state = State::default();
    for t in 1..=5 {
        state.run(&step.updates, &[]);
        let gradient: Vec<f64> = (0..4).map(|i| A[i] * (expected[i] - C[i])).collect();
        host(t, &mut expected, &gradient);
        assert_close(&state.read(&w), &expected, 1e-12);
    }
    assert_eq!(state.read(&step.counter), [5.0]);
}
