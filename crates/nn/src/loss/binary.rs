//! [`BinaryCrossEntropy`]: yes or no, on logits.

use thalweg_graph::Tensor;

use crate::error::or_panic;
use crate::loss::{Loss, expect_alike};
use crate::optim::rule::Range;

/// The mean of [`BinaryCrossEntropy`].
#[track_caller]
pub fn binary_cross_entropy_with_logits(logits: &Tensor, targets: &Tensor) -> Tensor {
    BinaryCrossEntropy::new().mean(logits, targets)
}

/// −p·z·ln σ(x) − (1−z)·ln(1 − σ(x)), computed as p·z·softplus(−x) + (1−z)·softplus(x). Targets z are probabilities in
/// \[0, 1\] of the logits' dtype and shape; p is the weight of the positive class. The gradient is σ(x) − z for p = 1,
/// also at x = 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryCrossEntropy {
    positive_weight: f64,
}

impl Default for BinaryCrossEntropy {
    fn default() -> Self {
        BinaryCrossEntropy::new()
    }
}

impl BinaryCrossEntropy {
    /// Both classes weigh the same.
    pub fn new() -> BinaryCrossEntropy {
        BinaryCrossEntropy { positive_weight: 1.0 }
    }

    /// What is positive weighs `weight` as much: above 1 for more recall.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn positive_weight(self, weight: f64) -> BinaryCrossEntropy {
        let range = Range::NotNegative;
        BinaryCrossEntropy { positive_weight: or_panic(range.check("binary_cross_entropy", "positive_weight", weight)) }
    }
}

impl Loss for BinaryCrossEntropy {
    #[track_caller]
    fn each(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        expect_alike("binary_cross_entropy", logits, targets);
        let mut positive = targets * (-logits).softplus();
        if self.positive_weight != 1.0 {
            positive = positive * self.positive_weight;
        }
        positive + (1.0 - targets) * logits.softplus()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    #[test]
    fn by_the_definition() {
        let (x, z) = ([0.3, -1.2, 2.0, 0.0], [1.0, 0.0, 0.25, 1.0]);
        for p in [1.0, 3.0] {
            let expected: Vec<f64> = (0..4)
                .map(|i| {
                    let s = 1.0 / (1.0 + f64::exp(-x[i]));
                    -p * z[i] * s.ln() - (1.0 - z[i]) * (1.0 - s).ln()
                })
                .collect();
            let loss = BinaryCrossEntropy::new().positive_weight(p);
            assert_close(&numbers(&loss.each(&constant(x), &constant(z))), &expected, 1e-12);
            assert_gradients(|x| loss.mean(&x[0], &x[1]), &[Array::from(x), Array::from(z)]);
        }
    }

    #[test]
    fn exact_far_out_and_right_at_zero() {
        let x = Array::from([1e4f32, -1e4, 20.0, 0.0]);
        let z = constant([0.0f32, 0.0, 1.0, 1.0]);
        let loss = numbers(&BinaryCrossEntropy::new().each(&constant(x.clone()), &z));
        assert_close(&loss, &[1e4, 0.0, (-20.0f64).exp(), 2f64.ln()], 1e-7);
        assert!((loss[2] / (-20.0f64).exp() - 1.0).abs() < 1e-6, "small losses keep their digits: {}", loss[2]);
        let gradient = gradient_f32(|x| BinaryCrossEntropy::new().each(x, &z), x);
        assert_close(&gradient, &[1.0, 0.0, -((-20.0f64).exp()), -0.5], 1e-8);
    }

    #[test]
    #[should_panic(expected = "output and target differ in dtype or shape")]
    fn a_column_against_a_row_is_refused() {
        binary_cross_entropy_with_logits(&constant([[0.0], [1.0]]), &constant([0.0, 1.0]));
    }
}
