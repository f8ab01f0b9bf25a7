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
