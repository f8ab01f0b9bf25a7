//! Several heads: [`SelfAttention`] and [`CrossAttention`].

use thalweg_graph::{AttentionOptions, DType, Shape, Size, Tensor, attention, iota};

use crate::Module;
use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::attention::{Attended, Decoding, Mask, Rotary, scale_of, weights};
use crate::layer::{Dropout, Forward, Layer, Linear, LinearConfig};

/// Each position of a text looks at the others (Vaswani et al. 2017): `[batch, time, features]` to the same.
#[derive(Clone, Debug, Module)]
pub struct SelfAttention {
    /// The queries of all heads, then the keys, then the values: one product.
    pub project: Linear,
    /// What the heads found, put together.
    pub output: Linear,
    /// How many there are.
    pub heads: Heads,
    /// How queries and keys are told where they stand.
    pub rotary: Option<Rotary>,
}

/// Each position of a text looks at another text.
#[derive(Clone, Debug, Module)]
pub struct CrossAttention {
    /// The queries of all heads.
    pub queries: Linear,
    /// The keys of all heads, then the values.
    pub keys_values: Linear,
    /// What the heads found, put together.
    pub output: Linear,
    /// How many there are.
    pub heads: Heads,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct KeysValues {
    /// `[batch, keys, key heads, width]`.
    pub keys: Tensor,
    /// Of the same shape.
    pub values: Tensor,
}

/// Heads side by side.
#[derive(Clone, Debug, PartialEq, Module)]
pub struct Heads {
    /// Of the queries.
    pub queries: usize,
    /// Of keys and values; neighboring heads of the queries share one (Ainslie et al. 2023).
    pub keys: usize,
    /// Numbers of a head.
    pub width: usize,
    /// The probability with which a weight is dropped in training.
    pub dropout: f64,
}

impl Heads {
    /// Of `[batch, time, heads · width]` so many heads from `first` on, as `[batch, time, heads, width]`.
    #[track_caller]
    fn split(&self, x: &Tensor, first: usize, heads: usize) -> Tensor {
        let x = x.slice(-1, first * self.width..(first + heads) * self.width);
        let shape: Shape = [x.size(0), x.size(1), Size::from(heads), Size::from(self.width)].into_iter().collect();
        x.reshape(shape)
    }

    /// The keys and values that stand one after the other behind `first` heads.
    #[track_caller]
    fn keys_values(&self, x: &Tensor, first: usize) -> KeysValues {
        KeysValues { keys: self.split(x, first, self.keys), values: self.split(x, first + self.keys, self.keys) }
    }

    /// What queries `[batch, time, heads, width]` find, as `[batch, time, heads · width]`, and their weights `[batch, heads,
    /// time, keys]`.
    #[track_caller]
    fn attend(&self, queries: &Tensor, on: &KeysValues, mask: &Mask, cx: &mut Forward) -> Attended {
        let (batch, time, keys) = (queries.size(0), queries.size(1), on.keys.size(1));
        // Heads that share keys are queries of one head.
        let grouped = |x: &Tensor| {
            let each = Size::from(if x.size(2).is(self.queries) { self.queries / self.keys } else { 1 });
            let x = x.permute(&[0, 2, 1, 3]);
            x.reshape([x.size(0), Size::from(self.keys), each, x.size(2), x.size(3)])
        };
        let weights = weights(&(grouped(queries).matmul(&grouped(&on.keys).t()) * scale_of(queries)), mask);
        let heads = Size::from(self.queries);
        let rate = if cx.training() { self.dropout } else { 0.0 };
        let options = AttentionOptions::new().causal(mask.is_causal()).scale(scale_of(queries)).dropout(rate);
        let options = mask.allowed(4).iter().fold(options, AttentionOptions::mask);
        let values = attention(queries, &on.keys, &on.values, &options);
        Attended {
            values: values.reshape([batch.clone(), time.clone(), &heads * self.width]),
            weights: weights.reshape([batch, heads, time, keys]),
        }
    }
}

impl SelfAttention {
    /// What each position finds among those that the mask allows.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, mask: &Mask, cx: &mut Forward) -> Tensor {
        self.attend(x, mask, cx).values
    }

    /// As [`forward`](SelfAttention::forward), with the weights `[batch, heads, queries, keys]`.
    #[track_caller]
    pub fn attend(&self, x: &Tensor, mask: &Mask, cx: &mut Forward) -> Attended {
        check_text("self_attention", x);
        let (queries, on) = self.turned(x, &iota([x.size(1)], 0, DType::I64), cx);
        let found = self.heads.attend(&queries, &on, mask, cx);
        Attended { values: self.output.forward(&found.values, cx), ..found }
    }

    /// The next token, `[batch, 1, features]`, looks at itself and those before, which the [`Decoding`] keeps; of a
    /// [prompt](Decoding::prompt) all its tokens.
    #[track_caller]
    pub fn step(&self, x: &Tensor, decoding: &Decoding, cx: &mut Forward) -> Tensor {
        let tokens = decoding.tokens();
        if x.rank() != 3 || !x.size(1).is(tokens) {
            let reason = format!("x must be [batch, {tokens}, features]: so many tokens of a row are taken at once");
            refuse("self_attention", &[("x", x)], reason);
        }
        let (queries, now) = self.turned(x, &decoding.positions(), cx);
        let on = decoding.remember(&now, cx);
        let found = self.heads.attend(&queries, &on, &decoding.mask(), cx);
        self.output.forward(&found.values, cx)
    }

    /// Queries, keys and values of `x`, which stands at these positions.
    #[track_caller]
    fn turned(&self, x: &Tensor, positions: &Tensor, cx: &mut Forward) -> (Tensor, KeysValues) {
        let x = self.project.forward(x, cx);
        let (queries, on) =
            (self.heads.split(&x, 0, self.heads.queries), self.heads.keys_values(&x, self.heads.queries));
        match &self.rotary {
            Some(rotary) => {
                let keys = rotary.turn(&on.keys, positions);
                (rotary.turn(&queries, positions), KeysValues { keys, ..on })
            }
            None => (queries, on),
        }
    }
}

impl CrossAttention {
    /// The keys and values of what is looked at, `[batch, keys, features]`: the same for each step of a decoder.
    #[track_caller]
    pub fn keys_values(&self, memory: &Tensor, cx: &mut Forward) -> KeysValues {
        check_text("cross_attention", memory);
        self.heads.keys_values(&self.keys_values.forward(memory, cx), 0)
    }

    /// What each position of `x`, `[batch, time, features]`, finds.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, on: &KeysValues, mask: &Mask, cx: &mut Forward) -> Tensor {
        self.attend(x, on, mask, cx).values
    }

    /// As [`forward`](CrossAttention::forward), with the weights `[batch, heads, queries, keys]`.
    #[track_caller]
    pub fn attend(&self, x: &Tensor, on: &KeysValues, mask: &Mask, cx: &mut Forward) -> Attended {
        check_text("cross_attention", x);
        let queries = self.heads.split(&self.queries.forward(x, cx), 0, self.heads.queries);
        let found = self.heads.attend(&queries, on, mask, cx);
        Attended { values: self.output.forward(&found.values, cx), ..found }
    }
}

#[track_caller]
fn check_text(what: &str, x: &Tensor) {
    if x.rank() != 3 {
        refuse(what, &[("x", x)], "x must be [batch, time, features]");
    }
}

/// How attention with several heads is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionConfig {
    /// Of the text.
    pub features: usize,
    /// Of the queries; they divide the features.
    pub heads: usize,
    /// Of keys and values; they divide the heads.
    pub key_heads: usize,
    /// Of the weights, in training.
    pub dropout: f64,
    /// How queries and keys are told where they stand.
    pub rotary: Option<Rotary>,
    /// Whether the products have biases.
    pub bias: bool,
    /// How the weights of queries, keys and values begin.
    pub weight: Initializer,
    /// How the weight of the output begins.
    pub output: Initializer,
}

impl AttentionConfig {
    /// As many heads of keys as of queries, biases, no dropout, no positions.
    ///
    /// # Panics
    /// If the heads do not divide the features.
    #[track_caller]
    pub fn new(features: usize, heads: usize) -> AttentionConfig {
        let divides = heads > 0 && features.is_multiple_of(heads);
        assert!(divides, "attention: {features} features do not divide into {heads} heads");
        let weight = Initializer::HeNormal { gain: 1.0 };
        let (dropout, rotary, bias) = (0.0, None, true);
        AttentionConfig { features, heads, key_heads: heads, dropout, rotary, bias, weight, output: weight }
    }

    /// Neighboring heads share keys and values, of which there are so many (Ainslie et al. 2023; one: Shazeer 2019).
    ///
    /// # Panics
    /// If they do not divide the heads.
    #[track_caller]
    pub fn key_heads(self, key_heads: usize) -> AttentionConfig {
        let divides = key_heads > 0 && self.heads.is_multiple_of(key_heads);
        assert!(divides, "attention: {} heads do not divide into {key_heads} groups", self.heads);
        AttentionConfig { key_heads, ..self }
    }

    /// In training weights are dropped with this probability.
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn dropout(self, rate: f64) -> AttentionConfig {
        AttentionConfig { dropout: Dropout::new(rate).rate(), ..self }
    }

    /// With rotary positions.
    pub fn rotary(self, rotary: Rotary) -> AttentionConfig {
        AttentionConfig { rotary: Some(rotary), ..self }
    }

    /// Without biases.
    pub fn without_bias(self) -> AttentionConfig {
        AttentionConfig { bias: false, ..self }
    }

    fn linear(&self, init: &mut Init, from: usize, heads: usize, weight: Initializer) -> Linear {
        let config = LinearConfig::new(from, heads * (self.features / self.heads)).weight(weight);
        if self.bias { config } else { config.without_bias() }.build(init)
    }

    fn make_heads(&self) -> Heads {
        Heads { queries: self.heads, keys: self.key_heads, width: self.features / self.heads, dropout: self.dropout }
    }

    /// Of a text on itself.
    #[track_caller]
    pub fn build(self, init: &mut Init) -> SelfAttention {
        SelfAttention {
            project: self.linear(init, self.features, self.heads + 2 * self.key_heads, self.weight),
            output: self.linear(init, self.features, self.heads, self.output),
            heads: self.make_heads(),
            rotary: self.rotary,
        }
    }

    /// Of a text on another, which has `memory_features`.
    ///
    /// # Panics
    /// If positions are asked for: two texts have no distance.
    #[track_caller]
    pub fn build_cross(self, init: &mut Init, memory_features: usize) -> CrossAttention {
        assert!(self.rotary.is_none(), "attention: rotary positions are those of one text, not of two");
        CrossAttention {
            queries: self.linear(init, self.features, self.heads, self.weight),
            keys_values: self.linear(init, memory_features, 2 * self.key_heads, self.weight),
            output: self.linear(init, self.features, self.heads, self.output),
            heads: self.make_heads(),
        }
    }
}
