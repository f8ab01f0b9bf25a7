//! [`Transformer`]: blocks of attention and feed-forward layers, one on top of the other.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`block`] | [`TransformerBlock`]: of an encoder, of a decoder |
//! | [`stack`] | [`Transformer`], [`EncoderDecoder`] |

pub mod block;
pub mod stack;

pub use block::{FeedForward, Memory, NormPlace, TransformerBlock};
pub use stack::{EncoderDecoder, Transformer};

use crate::init::{Init, Initializer};
use crate::layer::attention::{AttentionConfig, Rotary};
use crate::layer::{Activation, Dropout, LayerNorm, LinearConfig};
use block::CrossPart;

/// How a [`Transformer`] is made.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::layer::attention::{Mask, Positions};
/// use thalweg_nn::{Embedding, Forward, Init, Layer, Module, Transformer, TransformerConfig};
///
/// #[derive(Module)]
/// struct Gpt {
///     tokens: Embedding,
///     positions: Positions,
///     blocks: Transformer,
/// }
///
/// let gpt = Init::build(1, |init| Gpt {
///     tokens: Embedding::new(init, 65, 128),
///     positions: Positions::learned(init, 256, 128),
///     blocks: TransformerConfig::new(128, 4, 4).dropout(0.2).build(init),
/// });
/// let text = placeholder("text", DType::I64, ("batch", "time"));
/// let cx = &mut Forward::train();
/// let x = gpt.positions.forward(&gpt.tokens.forward(&text, cx), cx);
/// let x = gpt.blocks.forward(&x, &Mask::causal(), cx);
/// // Tied with the embedding.
/// assert_eq!(gpt.tokens.scores(&x).meta().to_string(), "f32[batch,time,65]");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerConfig {
    /// How the blocks attend to their own text.
    pub attention: AttentionConfig,
    /// The number of blocks.
    pub blocks: usize,
    /// Numbers between the two layers of the feed-forward part.
    pub hidden: usize,
    /// Between them.
    pub activation: Activation,
    /// Of embeddings, of what each part adds, and of the weights of attention, in training.
    pub dropout: f64,
    /// Where the norms stand.
    pub norm: NormPlace,
}

impl TransformerConfig {
    /// Norms before each part and at the end, four times the features between the feed-forward layers, GELU, no dropout.
    /// Weights begin normal with deviation 1/√inputs, those at the end of each part √(2 blocks) times smaller (Radford et al.
    /// 2019).
    ///
    /// # Panics
    /// If the heads do not divide the features.
    #[track_caller]
    pub fn new(features: usize, heads: usize, blocks: usize) -> TransformerConfig {
        let mut attention = AttentionConfig::new(features, heads);
        attention.output = Initializer::HeNormal { gain: 1.0 / (2.0 * blocks.max(1) as f64).sqrt() };
        let (activation, norm) = (Activation::Gelu, NormPlace::Before);
        TransformerConfig { attention, blocks, hidden: 4 * features, activation, dropout: 0.0, norm }
    }

    /// So many numbers between the feed-forward layers.
    pub fn hidden(self, hidden: usize) -> TransformerConfig {
        TransformerConfig { hidden, ..self }
    }

    /// With this activation between the feed-forward layers.
    pub fn activation(self, activation: Activation) -> TransformerConfig {
        TransformerConfig { activation, ..self }
    }

    /// With dropout: of embeddings, of what each part adds (Vaswani et al. 2017), of the weights of attention.
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn dropout(self, rate: f64) -> TransformerConfig {
        TransformerConfig { dropout: rate, attention: self.attention.dropout(rate), ..self }
    }

    /// Norms after each sum, as in Vaswani et al. 2017.
    pub fn post_norm(self) -> TransformerConfig {
        TransformerConfig { norm: NormPlace::After, ..self }
    }

    /// Neighboring heads share keys and values, of which there are so many.
    ///
    /// # Panics
    /// If they do not divide the heads.
    #[track_caller]
    pub fn key_heads(self, key_heads: usize) -> TransformerConfig {
        TransformerConfig { attention: self.attention.key_heads(key_heads), ..self }
    }

    /// With rotary positions.
    pub fn rotary(self, rotary: Rotary) -> TransformerConfig {
        TransformerConfig { attention: self.attention.rotary(rotary), ..self }
    }

    /// Weights begin so; those at the end of each part as `last`.
    pub fn weights(self, weight: Initializer, last: Initializer) -> TransformerConfig {
        TransformerConfig { attention: AttentionConfig { weight, output: last, ..self.attention }, ..self }
    }

    fn dropout_layer(&self) -> Option<Dropout> {
        (self.dropout != 0.0).then(|| Dropout::new(self.dropout))
    }

    /// Blocks that look at their own text: an encoder, or with a causal mask a language model.
    #[track_caller]
    pub fn build(self, init: &mut Init) -> Transformer {
        self.stack(init, None)
    }

    /// Blocks that look at another text too, which has `memory_features`: a decoder.
    #[track_caller]
    pub fn build_decoder(self, init: &mut Init, memory_features: usize) -> Transformer {
        self.stack(init, Some(memory_features))
    }

    /// An encoder and a decoder of this form.
    #[track_caller]
    pub fn build_encoder_decoder(self, init: &mut Init) -> EncoderDecoder {
        EncoderDecoder { encoder: self.build(init), decoder: self.build_decoder(init, self.attention.features) }
    }

    #[track_caller]
    fn stack(self, init: &mut Init, memory_features: Option<usize>) -> Transformer {
        let mut blocks = Vec::with_capacity(self.blocks);
        for _ in 0..self.blocks {
            blocks.push(self.block(init, memory_features));
        }
        let norm = match self.norm {
            NormPlace::Before => Some(LayerNorm::new(init, self.attention.features)),
            NormPlace::After => None,
        };
        Transformer { dropout: self.dropout_layer(), blocks, norm }
    }

    /// One block; of a decoder where another text is looked at.
    #[track_caller]
    pub fn block(self, init: &mut Init, memory_features: Option<usize>) -> TransformerBlock {
        let features = self.attention.features;
        let attention_norm = LayerNorm::new(init, features);
        let attention = self.attention.build(init);
        let cross = memory_features.map(|memory_features| CrossPart {
            norm: LayerNorm::new(init, features),
            attention: AttentionConfig { rotary: None, ..self.attention }.build_cross(init, memory_features),
        });
        let linear = |init: &mut Init, from, to, weight| {
            let config = LinearConfig::new(from, to).weight(weight);
            if self.attention.bias { config } else { config.without_bias() }.build(init)
        };
        let feed_forward_norm = LayerNorm::new(init, features);
        let feed_forward = FeedForward {
            rise: linear(init, features, self.hidden, self.attention.weight),
            activation: self.activation,
            fall: linear(init, self.hidden, features, self.attention.output),
        };
        let dropout = self.dropout_layer();
        TransformerBlock {
            attention_norm,
            attention,
            cross,
            feed_forward_norm,
            feed_forward,
            dropout,
            place: self.norm,
        }
    }
}

#[cfg(test)]
mod tests;
