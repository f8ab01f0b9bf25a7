//! [`SquaredError`], [`L1`], [`Huber`]: distances between numbers. Every number is a sample.

use thalweg_graph::Tensor;

use crate::error::or_panic;
use crate::loss::{Loss, expect_alike};
use crate::optim::rule::Range;

/// The mean of (x − y)².
#[track_caller]
pub fn squared_error(output: &Tensor, target: &Tensor) -> Tensor {
    SquaredError.mean(output, target)
}

/// The mean of |x − y|.
#[track_caller]
pub fn l1(output: &Tensor, target: &Tensor) -> Tensor {
    L1.mean(output, target)
}

/// The mean of [`Huber`] with this delta.
#[track_caller]
pub fn huber(output: &Tensor, target: &Tensor, delta: f64) -> Tensor {
    Huber::new(delta).mean(output, target)
}

/// (x − y)².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaredError;

impl Loss for SquaredError {
    #[track_caller]
    fn each(&self, output: &Tensor, target: &Tensor) -> Tensor {
        expect_alike("squared_error", output, target);
        (output - target).square()
    }
}

/// |x − y|; the gradient at 0 is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1;

impl Loss for L1 {
    #[track_caller]
    fn each(&self, output: &Tensor, target: &Tensor) -> Tensor {
        expect_alike("l1", output, target);
        (output - target).abs()
    }
}

/// ½d² where |d| = |x − y| ≤ δ, δ(|d| − ½δ) beyond (Huber 1964).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Huber {
    delta: f64,
}

impl Huber {
    /// Squared up to `delta`, straight beyond.
    ///
    /// # Panics
    /// If it is not above 0.
    #[track_caller]
    pub fn new(delta: f64) -> Huber {
        Huber { delta: or_panic(Range::Positive.check("huber", "delta", delta)) }
    }
}

impl Loss for Huber {
    #[track_caller]
    fn each(&self, output: &Tensor, target: &Tensor) -> Tensor {
        expect_alike("huber", output, target);
        let distance = (output - target).abs();
        // With m = min(d, δ) both branches are m(d − ½m).
        let near = distance.minimum(self.delta);
        &near * (&distance - &near * 0.5)
    }
}
