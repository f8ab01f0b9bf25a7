//! [`TransformerBlock`]: attention, then a feed-forward layer, each added to what was there.

use thalweg_graph::Tensor;

use crate::Module;
use crate::layer::attention::{CrossAttention, Decoding, KeysValues, Mask, SelfAttention};
use crate::layer::{Activation, Dropout, Forward, Layer, LayerNorm, Linear};
use crate::module::without_variables;

/// Where the norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormPlace {
    /// x + part(norm(x)), and a norm at the end of all blocks (Xiong et al. 2020); trains without warm-up.
    Before,
    /// norm(x + part(x)) (Vaswani et al. 2017).
    After,
}

without_variables!(NormPlace);

/// The same two layers at each position.
#[derive(Clone, Debug, Module)]
pub struct FeedForward {
    /// To more features.
    pub rise: Linear,
    /// Between the layers.
    pub activation: Activation,
    /// Back.
    pub fall: Linear,
}

impl Layer for FeedForward {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let hidden = self.activation.apply(&self.rise.forward(x, cx));
        self.fall.forward(&hidden, cx)
    }
}

/// The part of a decoder's block that looks at another text.
#[derive(Clone, Debug, Module)]
pub struct CrossPart {
    /// Before or after it.
    pub norm: LayerNorm,
    /// On the other text.
    pub attention: CrossAttention,
}

/// What a decoder looks at: the keys and values of each block, and which of them.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Of each block of the decoder.
    pub blocks: Vec<KeysValues>,
    /// Of the encoder's text.
    pub mask: Mask,
}

/// A block of an encoder or, with a part that looks at another text, of a decoder.
#[derive(Clone, Debug, Module)]
pub struct TransformerBlock {
    /// Before or after the attention.
    pub attention_norm: LayerNorm,
    /// On the text itself.
    pub attention: SelfAttention,
    /// On another text.
    pub cross: Option<CrossPart>,
    /// Before or after the feed-forward layer.
    pub feed_forward_norm: LayerNorm,
    /// Of each position.
    pub feed_forward: FeedForward,
    /// Of what each part adds, in training.
    pub dropout: Option<Dropout>,
    /// Where the norms stand.
    pub place: NormPlace,
}

impl TransformerBlock {
    /// `x`, `[batch, time, features]`, through the block; `memory` is what the part on another text looks at, with its mask.
    ///
    /// # Panics
    /// If there is such a part and no memory, or the other way round.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, mask: &Mask, memory: Option<(&KeysValues, &Mask)>, cx: &mut Forward) -> Tensor {
        let x = self.part(x, &self.attention_norm, cx, |x, cx| self.attention.forward(x, mask, cx));
        self.rest(&x, memory, cx)
    }

    /// The next token, `[batch, 1, features]`, after those that the [`Decoding`] keeps, or the tokens of its prompt.
    ///
    /// # Panics
    /// As [`forward`](TransformerBlock::forward).
    #[track_caller]
    pub fn step(
        &self,
        x: &Tensor,
        decoding: &Decoding,
        memory: Option<(&KeysValues, &Mask)>,
        cx: &mut Forward,
    ) -> Tensor {
        let x = self.part(x, &self.attention_norm, cx, |x, cx| self.attention.step(x, decoding, cx));
        self.rest(&x, memory, cx)
    }

    /// What comes after the attention on the text itself.
    #[track_caller]
    fn rest(&self, x: &Tensor, memory: Option<(&KeysValues, &Mask)>, cx: &mut Forward) -> Tensor {
        let x = match (&self.cross, memory) {
            (Some(cross), Some((on, mask))) => {
                self.part(x, &cross.norm, cx, |x, cx| cross.attention.forward(x, on, mask, cx))
            }
            (None, None) => x.clone(),
            (Some(_), None) => panic!("transformer: a decoder needs a memory to look at"),
            (None, Some(_)) => panic!("transformer: an encoder has no part that looks at a memory"),
        };
        self.part(&x, &self.feed_forward_norm, cx, |x, cx| self.feed_forward.forward(x, cx))
    }

    /// What a part adds to `x`, with its norm.
    #[track_caller]
    fn part(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        cx: &mut Forward,
        part: impl FnOnce(&Tensor, &mut Forward) -> Tensor,
    ) -> Tensor {
        match self.place {
            NormPlace::Before => {
                let added = part(&norm.forward(x, cx), cx);
                x + self.dropout.forward(&added, cx)
            }
            NormPlace::After => {
                let added = part(x, cx);
                let sum = x + self.dropout.forward(&added, cx);
                norm.forward(&sum, cx)
            }
        }
    }
}
