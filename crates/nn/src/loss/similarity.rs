//! [`Cosine`], [`Triplet`]: losses of embeddings, vectors along the last axis.

use thalweg_graph::Tensor;

use crate::error::{or_panic, refuse};
use crate::loss::{Loss, expect_alike};
use crate::optim::rule::Range;

/// 1 − cos(a, b) for the vectors along the last axis, where cos = a·b / (max(‖a‖, ε)·max(‖b‖, ε)), ε 1e-8. In
/// [`Cosine::pairs`] for pairs that belong together or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    margin: f64,
}

/// Shorter vectors have no direction.
const SHORTEST: f64 = 1e-8;

impl Default for Cosine {
    fn default() -> Self {
        Cosine { margin: 0.0 }
    }
}

impl Cosine {
    /// Pairs that do not belong together may have a cosine up to `margin`.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn new(margin: f64) -> Cosine {
        Cosine { margin: or_panic(Range::Fraction.check("cosine", "margin", margin)) }
    }

    /// For each pair 1 − cos(a, b) where `together` holds, max(0, cos(a, b) − margin) where it does not (PyTorch's
    /// `CosineEmbeddingLoss`). `together` is bool, of the shape of `a` without the last axis.
    #[track_caller]
    pub fn pairs(&self, a: &Tensor, b: &Tensor, together: &Tensor) -> Tensor {
        let cosine = cosine(a, b);
        if together.shape() != cosine.shape() {
            refuse("cosine", &[("a", a), ("together", together)], "one truth value for each pair of vectors");
        }
        together.select(&(1.0 - &cosine), (cosine - self.margin).relu())
    }
}

impl Loss for Cosine {
    #[track_caller]
    fn each(&self, output: &Tensor, target: &Tensor) -> Tensor {
        1.0 - cosine(output, target)
    }
}

#[track_caller]
fn cosine(a: &Tensor, b: &Tensor) -> Tensor {
    expect_alike("cosine", a, b);
    // Clamped before the root, whose slope at 0 is infinite.
    let length = |x: &Tensor| x.square().sum_over(-1).maximum(SHORTEST * SHORTEST).sqrt();
    (a * b).sum_over(-1) / (length(a) * length(b))
}

/// max(0, ‖a − p‖ − ‖a − n‖ + m) (Schroff, Kalenichenko, Philbin 2015, with the distances not squared, as in PyTorch's
/// `TripletMarginLoss`) for anchors a, positives p and negatives n, vectors along the last axis. The distances are
/// √(Σ d² + ε²) with ε 1e-6, so that equal vectors have a gradient of 0.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::loss::Triplet;
/// let [anchor, positive, negative] = ["a", "p", "n"].map(|name| placeholder(name, DType::F32, ("batch", 64)));
/// let loss = Triplet::new(1.0).each(&anchor, &positive, &negative).mean();
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triplet {
    margin: f64,
}

/// What keeps the slope of a distance finite at 0.
const SOFTENING: f64 = 1e-6;

impl Triplet {
    /// Negatives must be farther than positives by `margin`.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn new(margin: f64) -> Triplet {
        Triplet { margin: or_panic(Range::NotNegative.check("triplet", "margin", margin)) }
    }

    /// The loss of each triplet.
    #[track_caller]
    pub fn each(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
        expect_alike("triplet", anchor, positive);
        expect_alike("triplet", anchor, negative);
        let distance = |other: &Tensor| ((anchor - other).square().sum_over(-1) + SOFTENING * SOFTENING).sqrt();
        (distance(positive) - distance(negative) + self.margin).relu()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    const A: [[f64; 2]; 3] = [[3.0, 4.0], [1.0, 0.0], [1.0, 2.0]];
    const B: [[f64; 2]; 3] = [[4.0, 3.0], [0.0, 2.0], [-2.0, -4.0]];

    #[test]
    fn cosines_by_hand() {
        // 24/25, 0 and −1.
        let (a, b) = (constant(A), constant(B));
        assert_close(&numbers(&Cosine::default().each(&a, &b)), &[0.04, 1.0, 2.0], 1e-12);
        let pairs = Cosine::new(0.5).pairs(&a, &b, &constant([false, true, false]));
        assert_close(&numbers(&pairs), &[0.46, 1.0, 0.0], 1e-12);
        assert_gradients(|x| Cosine::default().mean(&x[0], &x[1]), &[Array::from(A), Array::from(B)]);
    }

    #[test]
    fn a_vector_of_zeros_has_cosine_zero_and_a_finite_gradient() {
        let b = constant([[1.0f32, 2.0]]);
        let zeros = Array::from([[0.0f32, 0.0]]);
        assert_eq!(numbers(&Cosine::default().each(&constant(zeros.clone()), &b)), [1.0]);
        assert!(gradient_f32(|a| Cosine::default().each(a, &b), zeros).iter().all(|x| x.is_finite()));
    }

    #[test]
    fn triplets_by_hand() {
        let (a, p, n) = ([[0.0, 0.0], [0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]], [[0.0, 2.0], [3.0, 4.0]]);
        let loss = Triplet::new(1.0);
        let each = loss.each(&constant(a), &constant(p), &constant(n));
        assert_close(&numbers(&each), &[5.0 - 2.0 + 1.0, 0.0], 1e-9);
        let inputs = [a, p, n].map(|x| Array::from([x[0]]));
        assert_gradients(|x| loss.each(&x[0], &x[1], &x[2]), &inputs);
        let same = constant([[1.0f32, 1.0]]);
        assert_eq!(gradient_f32(|x| loss.each(x, &same, &same), Array::from([[1.0f32, 1.0]])), [0.0, 0.0]);
    }
}
