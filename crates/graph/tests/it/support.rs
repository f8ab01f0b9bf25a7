//! Random numbers and shapes for cases; evaluation in one call.

use std::panic::{AssertUnwindSafe, catch_unwind};

use thalweg_graph::array::random::Philox;
use thalweg_graph::reference::{Feeds, interpret};
use thalweg_graph::{Array, DType, EvalError, Graph, Tensor, grad, placeholder};

/// Random numbers, the same in every run of the tests.
pub(crate) struct Draw {
    generator: Philox,
    index: u64,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        Draw { generator: Philox::new(seed, 0), index: 0 }
    }

    /// Uniform in [low, high).
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        self.index += 1;
        low + (high - low) * self.generator.uniform(self.index, 0) as f64
    }

    /// One of 0..n.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.between(0.0, n as f64) as usize
    }

    /// Rank 0 to 5, sizes 1 to 3, now and then 0.
    pub(crate) fn shape(&mut self) -> Vec<usize> {
        (0..self.below(6)).map(|_| self.size()).collect()
    }

    /// As [`Draw::shape`], with at least one axis.
    pub(crate) fn shape_with_axis(&mut self) -> Vec<usize> {
        (0..1 + self.below(4)).map(|_| self.size()).collect()
    }

    fn size(&mut self) -> usize {
        if self.below(12) == 0 { 0 } else { 1 + self.below(3) }
    }

    /// Numbers uniform in the range.
    pub(crate) fn array(&mut self, shape: &[usize], (low, high): (f64, f64)) -> Array {
        let elements = (0..shape.iter().product()).map(|_| self.between(low, high)).collect();
        Array::new(shape, elements).unwrap()
    }

    /// Integers below `n`.
    pub(crate) fn indices(&mut self, shape: &[usize], n: usize) -> Array {
        let elements: Vec<i64> = (0..shape.iter().product()).map(|_| self.below(n) as i64).collect();
        Array::new(shape, elements).unwrap()
    }
}

/// f at `x`, and the gradient of the sum of f.
pub(crate) fn value_and_gradient(f: impl Fn(&Tensor) -> Tensor, x: Array) -> (Vec<f64>, Vec<f64>) {
    let input = placeholder("x", DType::F64, x.shape());
    let y = f(&input);
    let gradient = grad(&y.sum(), &[&input]).remove(0);
    let graph = Graph::capture([&y, &gradient], &[]);
    let fetches = interpret(&graph, &Feeds::new([("x", x)])).unwrap().fetches;
    (fetches[0].to_vec(), fetches[1].to_vec())
}

/// Why a run is refused.
pub(crate) fn run_error(y: &Tensor, feeds: &[(&str, Array)]) -> EvalError {
    interpret(&Graph::capture([y], &[]), &Feeds::new(feeds.iter().cloned())).unwrap_err()
}

/// The message with which `body` panics.
#[track_caller]
pub(crate) fn refusal<T>(body: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(_) => panic!("nothing was refused"),
        Err(payload) => match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => payload.downcast::<&str>().map(|message| message.to_string()).unwrap(),
        },
    }
}

/// Equal, NaN to NaN.
#[track_caller]
pub(crate) fn assert_same(what: &str, found: &[f64], expected: &[f64]) {
    let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(same),
        "{what}: {found:?} instead of {expected:?}"
    );
}
