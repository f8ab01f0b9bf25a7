//! [`KlDivergence`].

use thalweg_graph::Tensor;

use crate::loss::{Loss, expect_alike};

/// KL(p ‖ q) = Σⱼ pⱼ(ln pⱼ − ln qⱼ) over the classes, on the last axis if not said (Kullback and Leibler 1951), q given by logits, p by
/// probabilities of the same dtype and shape; 0·ln 0 is 0. The gradient for the logits is softmax(x) − p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KlDivergence {
    axis: isize,
}

impl Default for KlDivergence {
    fn default() -> Self {
        KlDivergence { axis: -1 }
    }
}

impl KlDivergence {
    /// Classes on this axis; negative ones count from the end.
    pub fn axis(self, axis: isize) -> KlDivergence {
        KlDivergence { axis }
    }
}

impl Loss for KlDivergence {
    #[track_caller]
    fn each(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        expect_alike("kl_divergence", logits, targets);
        let some = targets.greater(0.0);
        let log = some.select(targets, 1.0).log();
        (targets * (log - logits.log_softmax(self.axis))).sum_over(self.axis)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    #[test]
    fn by_the_definition() {
        let (x, p) = ([[0.1, 0.2, -0.4], [2.0, 0.0, 0.0]], [[0.2, 0.3, 0.5], [0.0, 0.25, 0.75]]);
        let expected: Vec<f64> = (0..2)
            .map(|row| {
                let total: f64 = x[row].iter().map(|x: &f64| x.exp()).sum();
                let term = |j: usize| p[row][j] * (p[row][j] / (x[row][j].exp() / total)).ln();
                (0..3).filter(|&j| p[row][j] > 0.0).map(term).sum()
            })
            .collect();
        assert_close(&numbers(&KlDivergence::default().each(&constant(x), &constant(p))), &expected, 1e-12);
        let turned = KlDivergence::default().axis(0).each(&constant(x).swap_axes(0, 1), &constant(p).swap_axes(0, 1));
        assert_close(&numbers(&turned), &expected, 1e-12);
        let p = constant(p);
        assert_gradients(|x| KlDivergence::default().mean(&x[0], &p), &[Array::from(x)]);
    }

    #[test]
    fn nothing_for_equal_distributions_and_finite_far_out() {
        let x = [[0.3, -1.0, 2.0]];
        assert_close(&numbers(&KlDivergence::default().each(&constant(x), &constant(x).softmax(-1))), &[0.0], 1e-12);
        let p = constant([[0.0f32, 1.0]]);
        assert_close(
            &gradient_f32(|x| KlDivergence::default().each(x, &p), Array::from([[1e4f32, -1e4]])),
            &[1.0, -1.0],
            1e-6,
        );
    }
}
