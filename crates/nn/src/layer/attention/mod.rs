//! [`Attention`]: queries look at keys and get a weighted sum of values.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mask`] | [`Mask`]: causal, padding, pairs of one's own |
//! | [`heads`] | [`SelfAttention`], [`CrossAttention`]: several heads, grouped keys and values |
//! | [`positions`] | [`Positions`], [`Rotary`]: where a token stands |
//! | [`decoding`] | [`Decoding`]: keys and values of what was said before, of fixed capacity |

pub mod decoding;
pub mod heads;
pub mod mask;
pub mod positions;

pub use decoding::Decoding;
pub use heads::{AttentionConfig, CrossAttention, KeysValues, SelfAttention};
pub use mask::Mask;
pub use positions::{Positions, Rotary};

use thalweg_graph::{Tensor, Variable};

use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, Layer, Linear, LinearConfig};
use crate::module::{Module, Path, Visitor};

/// How a query is held against a key; softmax over the keys makes weights of the scores.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::Forward;
/// use thalweg_nn::layer::attention::{Attention, Mask};
///
/// let said = placeholder("said", DType::F32, ("batch", "time", 512));
/// let read = placeholder("read", DType::F32, ("batch", "source", 512));
/// let looked = Attention::Dot.attend(&said, &read, &read, &Mask::none(), &mut Forward::infer());
/// assert_eq!(looked.values.meta().to_string(), "f32[batch,time,512]");
/// assert_eq!(looked.weights.meta().to_string(), "f32[batch,time,source]");
/// ```
#[derive(Clone, Debug)]
pub enum Attention {
    /// q·k (Luong, Pham, Manning 2015).
    Dot,
    /// q·k/√width (Vaswani et al. 2017).
    ScaledDot,
    /// Learned: see [`Additive`].
    Additive(Additive),
}

/// What queries got.
#[derive(Clone, Debug)]
pub struct Attended {
    /// The weighted sums, `[…, queries, width of the values]`.
    pub values: Tensor,
    /// `[…, queries, keys]`, 0 where nothing may be looked at; they cost nothing unless they are fetched.
    pub weights: Tensor,
}

/// The score v·tanh(q W + k U + b) (Bahdanau, Cho, Bengio 2015).
#[derive(Clone, Debug, Module)]
pub struct Additive {
    /// q W + b.
    pub queries: Linear,
    /// k U.
    pub keys: Linear,
    /// v, `[width]`.
    pub score: Variable,
}

impl Additive {
    /// For queries and keys of these widths, put together in `width` numbers.
    #[track_caller]
    pub fn new(init: &mut Init, query_width: usize, key_width: usize, width: usize) -> Additive {
        let linear = |from| LinearConfig::new(from, width).weight(Initializer::xavier_uniform());
        Additive {
            queries: linear(query_width).build(init),
            keys: linear(key_width).without_bias().build(init),
            score: init.variable(&[width], Initializer::HeNormal { gain: 1.0 }),
        }
    }

    #[track_caller]
    fn scores(&self, queries: &Tensor, keys: &Tensor, cx: &mut Forward) -> Tensor {
        let queries = self.queries.forward(queries, cx).unsqueeze(-2);
        let keys = self.keys.forward(keys, cx).unsqueeze(-3);
        (queries + keys).tanh().matmul(&self.score)
    }
}

impl Module for Attention {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        match self {
            Attention::Dot | Attention::ScaledDot => {}
            Attention::Additive(additive) => additive.visit(path, visitor),
        }
    }
}

impl Attention {
    /// Queries `[…, queries, width]` look at keys `[…, keys, width]` and get a weighted sum of values `[…, keys, any]`; the
    /// axes before are equal or repeat. Additive scores take queries and keys of different widths.
    ///
    /// # Panics
    /// If the shapes do not fit, with the names of the tensors.
    #[track_caller]
    pub fn attend(&self, queries: &Tensor, keys: &Tensor, values: &Tensor, mask: &Mask, cx: &mut Forward) -> Attended {
        check(self, queries, keys, values);
        let scores = match self {
            Attention::Dot => queries.matmul(&keys.t()),
            Attention::ScaledDot => queries.matmul(&keys.t()) * scale_of(queries),
            Attention::Additive(additive) => additive.scores(queries, keys, cx),
        };
        let weights = weights(&scores, mask);
        Attended { values: weights.matmul(values), weights }
    }
}

/// 1/√width.
fn scale_of(queries: &Tensor) -> f64 {
    match queries.size(-1).number() {
        Some(width) => 1.0 / (width as f64).sqrt(),
        None => refuse("attention", &[("queries", queries)], "the width must be known: scores are divided by its root"),
    }
}

/// Softmax over the keys that are allowed, 0 for the others; all 0 where none is.
#[track_caller]
fn weights(scores: &Tensor, mask: &Mask) -> Tensor {
    match mask.of_scores(scores) {
        Some(allowed) => scores.softmax_where(&allowed, -1),
        None => scores.softmax(-1),
    }
}

#[track_caller]
fn check(attention: &Attention, queries: &Tensor, keys: &Tensor, values: &Tensor) {
    let reason = if queries.rank() < 2 || keys.rank() < 2 || values.rank() < 2 {
        "queries, keys and values need an axis of positions and one of widths"
    } else if !matches!(attention, Attention::Additive(_)) && queries.size(-1) != keys.size(-1) {
        "queries and keys must have one width"
    } else if keys.size(-2) != values.size(-2) {
        "there must be a value for each key"
    } else {
        return;
    };
    refuse("attention", &[("queries", queries), ("keys", keys), ("values", values)], reason);
}

#[cfg(test)]
mod tests;
