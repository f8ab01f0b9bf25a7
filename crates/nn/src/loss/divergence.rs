//! [`KlDivergence`].

use thalweg_graph::Tensor;

use crate::loss::{Loss, expect_alike};

/// KL(p ‖ q) = Σⱼ pⱼ(ln pⱼ − ln qⱼ) over the last axis (Kullback and Leibler 1951), q given by logits, p by
/// probabilities of the same dtype and shape; 0·ln 0 is 0. The gradient for the logits is softmax(x) − p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KlDivergence;

impl Loss for KlDivergence {
    #[track_caller]
    fn each(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        expect_alike("kl_divergence", logits, targets);
        let some = targets.greater(0.0);
        let log = some.select(targets, 1.0).log();
        (targets * (log - logits.log_softmax(-1))).sum_over(-1)
    }
}
