//! [`Transformer`]: blocks one on top of the other; [`EncoderDecoder`]: two of them.

use thalweg_graph::Tensor;

use crate::Module;
use crate::layer::attention::{Decoding, KeysValues, Mask};
use crate::layer::transformer::{Memory, TransformerBlock};
use crate::layer::{Dropout, Forward, Layer, LayerNorm};

/// Blocks, one on top of the other, `[batch, time, features]` to the same: an encoder, a decoder, or with a causal mask a
/// language model.
#[derive(Clone, Debug, Module)]
pub struct Transformer {
    /// Of the embeddings, in training.
    pub dropout: Option<Dropout>,
    /// From the input to the output.
    pub blocks: Vec<TransformerBlock>,
    /// At the end, where norms stand before the parts.
    pub norm: Option<LayerNorm>,
}

impl Transformer {
    /// `x` through the blocks.
    ///
    /// # Panics
    /// If the blocks are those of a decoder.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, mask: &Mask, cx: &mut Forward) -> Tensor {
        self.through(x, None, cx, |block, x, memory, cx| block.forward(x, mask, memory, cx))
    }

    /// `x` through the blocks of a decoder, which look at `memory`.
    ///
    /// # Panics
    /// If the blocks are those of an encoder, or the memory is one of another number of blocks.
    #[track_caller]
    pub fn decode(&self, x: &Tensor, mask: &Mask, memory: &Memory, cx: &mut Forward) -> Tensor {
        self.through(x, Some(memory), cx, |block, x, memory, cx| block.forward(x, mask, memory, cx))
    }

    /// The next token, `[batch, 1, features]`, after those that the [`Decoding`] keeps, or the tokens of its
    /// [prompt](Decoding::prompt), `[batch, capacity, features]`; with a memory for a decoder.
    ///
    /// # Panics
    /// As [`decode`](Transformer::decode).
    #[track_caller]
    pub fn step(&self, x: &Tensor, decoding: &Decoding, memory: Option<&Memory>, cx: &mut Forward) -> Tensor {
        self.through(x, memory, cx, |block, x, memory, cx| block.step(x, decoding, memory, cx))
    }

    #[track_caller]
    fn through(
        &self,
        x: &Tensor,
        memory: Option<&Memory>,
        cx: &mut Forward,
        block: impl Fn(&TransformerBlock, &Tensor, Option<(&KeysValues, &Mask)>, &mut Forward) -> Tensor,
    ) -> Tensor {
        if let Some(memory) = memory {
            let (found, expected) = (memory.blocks.len(), self.blocks.len());
            assert!(found == expected, "transformer: a memory of {found} blocks for a decoder of {expected}");
        }
        let mut x = self.dropout.forward(x, cx);
        for (position, each) in self.blocks.iter().enumerate() {
            let on = memory.map(|memory| (&memory.blocks[position], &memory.mask));
            x = block(each, &x, on, cx);
        }
        self.norm.forward(&x, cx)
    }

    /// What the blocks of a decoder look at in `encoded`, `[batch, keys, features]`: computed once for all steps.
    ///
    /// # Panics
    /// If the blocks are those of an encoder.
    #[track_caller]
    pub fn memory(&self, encoded: &Tensor, mask: &Mask, cx: &mut Forward) -> Memory {
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let Some(cross) = &block.cross else {
                panic!("transformer: an encoder has no part that looks at a memory")
            };
            blocks.push(cross.attention.keys_values(encoded, cx));
        }
        Memory { blocks, mask: mask.clone() }
    }
}

/// An encoder of one text and a decoder of another, which looks at the first.
#[derive(Clone, Debug, Module)]
pub struct EncoderDecoder {
    /// Of the text that is read.
    pub encoder: Transformer,
    /// Of the text that is said.
    pub decoder: Transformer,
}

impl EncoderDecoder {
    /// What the decoder makes of `target`, `[batch, time, features]`, each position seeing those before it and all of
    /// `source`, `[batch, source time, features]`, that `source_mask` allows.
    #[track_caller]
    pub fn forward(&self, source: &Tensor, source_mask: &Mask, target: &Tensor, cx: &mut Forward) -> Tensor {
        let memory = self.memory(source, source_mask, cx);
        self.decoder.decode(target, &Mask::causal(), &memory, cx)
    }

    /// What the decoder looks at, for [`Transformer::step`].
    #[track_caller]
    pub fn memory(&self, source: &Tensor, source_mask: &Mask, cx: &mut Forward) -> Memory {
        let encoded = self.encoder.forward(source, source_mask, cx);
        self.decoder.memory(&encoded, source_mask, cx)
    }
}
