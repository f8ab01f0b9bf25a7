//! [`Mask`]: which keys a query may look at.

use thalweg_graph::{DType, Size, Tensor, iota};

use crate::error::refuse;

/// Which keys a query may look at. Where a mask allows none, attention gives 0.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::layer::attention::Mask;
/// // Of a padded text, what stands before a word and is one.
/// let present = placeholder("present", DType::Bool, ("batch", "time"));
/// let mask = Mask::causal().and(Mask::keys(&present));
/// assert!(mask.is_causal());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mask {
    causal: bool,
    keys: Option<Tensor>,
    pairs: Option<Tensor>,
}

impl Mask {
    /// All keys.
    pub fn none() -> Mask {
        Mask::default()
    }

    /// Query i may look at the keys 0 to i.
    pub fn causal() -> Mask {
        Mask { causal: true, ..Mask::default() }
    }

    /// The keys for which `present`, bool `[batch, keys]`, holds: those that do not pad.
    ///
    /// # Panics
    /// If it is not such a tensor.
    #[track_caller]
    pub fn keys(present: &Tensor) -> Mask {
        if present.dtype() != DType::Bool || present.rank() != 2 {
            refuse("mask", &[("present", present)], "what is present must be bool of shape [batch, keys]");
        }
        Mask { keys: Some(present.clone()), ..Mask::default() }
    }

    /// The pairs for which `allowed`, bool `[queries, keys]` or `[batch, queries, keys]`, holds.
    ///
    /// # Panics
    /// If it is not such a tensor.
    #[track_caller]
    pub fn pairs(allowed: &Tensor) -> Mask {
        if allowed.dtype() != DType::Bool || !(2..=3).contains(&allowed.rank()) {
            let reason = "what is allowed must be bool of shape [queries, keys] or [batch, queries, keys]";
            refuse("mask", &[("allowed", allowed)], reason);
        }
        Mask { pairs: Some(allowed.clone()), ..Mask::default() }
    }

    /// What both allow.
    #[track_caller]
    pub fn and(self, other: Mask) -> Mask {
        Mask {
            causal: self.causal || other.causal,
            keys: both(self.keys, other.keys),
            pairs: both(self.pairs, other.pairs),
        }
    }

    /// Whether queries look at no key behind their own position.
    pub fn is_causal(&self) -> bool {
        self.causal
    }

    /// What is allowed beside causality, as a tensor of `rank` axes that repeats to `[batch, …, queries, keys]`.
    #[track_caller]
    pub(super) fn allowed(&self, rank: usize) -> Option<Tensor> {
        let keys = self.keys.as_ref().map(|keys| between(&keys.unsqueeze(1), rank));
        let pairs = self.pairs.as_ref().map(|pairs| between(pairs, rank));
        both(keys, pairs)
    }

    /// What is allowed, all told, for scores of this shape.
    #[track_caller]
    pub(super) fn of_scores(&self, scores: &Tensor) -> Option<Tensor> {
        let causal = self.causal.then(|| causal(&scores.size(-2), &scores.size(-1)));
        both(causal, self.allowed(scores.rank()))
    }
}

/// Where key j ≤ query i: `[queries, keys]`.
fn causal(queries: &Size, keys: &Size) -> Tensor {
    let positions = |axis| iota([queries.clone(), keys.clone()], axis, DType::I64);
    positions(1).less_equal(positions(0))
}

/// `[batch, queries, keys]` with axes of size 1 behind the batch, up to `rank`.
fn between(mask: &Tensor, rank: usize) -> Tensor {
    let mut mask = mask.clone();
    while (3..rank).contains(&mask.rank()) {
        mask = mask.unsqueeze(1);
    }
    mask
}

#[track_caller]
fn both(a: Option<Tensor>, b: Option<Tensor>) -> Option<Tensor> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.logical_and(&b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{constant, placeholder, zeros};

    use super::*;
    use crate::testing::numbers;

    #[test]
    fn masks_are_combined_and_repeat_over_heads() {
        let present = constant([[true, true, false], [false, true, true]]);
        let mask = Mask::causal().and(Mask::keys(&present)).and(Mask::pairs(&constant([[false, true, true]; 2])));
        let scores = zeros([2, 1, 2, 3], DType::F32);
        let allowed = mask.of_scores(&scores).unwrap().expand(scores.shape());
        assert_eq!(numbers(&allowed), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert!(Mask::none().of_scores(&scores).is_none());
    }

    #[test]
    #[should_panic(expected = "mask: what is present must be bool of shape [batch, keys]")]
    fn lengths_are_no_mask() {
        Mask::keys(&placeholder("lengths", DType::I64, ["batch"]));
    }
}
