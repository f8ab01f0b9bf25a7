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

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    const X: [f64; 4] = [0.5, -1.0, 3.0, 2.0];
    const Y: [f64; 4] = [0.0, 0.5, -1.0, 2.0];

    #[test]
    fn by_hand() {
        // The differences are 0.5, −1.5, 4 and 0.
        let (x, y) = (constant(X), constant(Y));
        assert_close(&numbers(&SquaredError.each(&x, &y)), &[0.25, 2.25, 16.0, 0.0], 1e-12);
        assert_close(&numbers(&squared_error(&x, &y)), &[18.5 / 4.0], 1e-12);
        assert_close(&numbers(&L1.each(&x, &y)), &[0.5, 1.5, 4.0, 0.0], 1e-12);
        assert_close(&numbers(&l1(&x, &y)), &[1.5], 1e-12);
        assert_close(&numbers(&Huber::new(1.5).each(&x, &y)), &[0.125, 1.125, 4.875, 0.0], 1e-12);
        assert_close(&numbers(&huber(&x, &y, 1.0)), &[(0.125 + 1.0 + 3.5) / 4.0], 1e-12);
    }

    #[test]
    fn gradients() {
        let inputs = [Array::from([0.5, -1.0, 3.0]), Array::from([0.0, 0.25, -1.0])];
        assert_gradients(|x| squared_error(&x[0], &x[1]), &inputs);
        assert_gradients(|x| l1(&x[0], &x[1]), &inputs);
        assert_gradients(|x| huber(&x[0], &x[1], 1.0), &inputs);
        let far = gradient_f32(|x| Huber::new(1.0).each(x, &x.zeros_like()), Array::from([1e4f32, -1e4]));
        assert_eq!(far, [1.0, -1.0]);
    }

    #[test]
    #[should_panic(expected = "huber: delta is 0;")]
    fn a_delta_of_zero_is_refused() {
        Huber::new(0.0);
    }
}
