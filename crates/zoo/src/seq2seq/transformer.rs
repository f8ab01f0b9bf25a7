//! [`Attending`]: a transformer that reads, and one that speaks.

use thalweg::nn::layer::TransformerConfig;
use thalweg::nn::layer::attention::{Decoding, KeysValues, Mask, Positions};
use thalweg::nn::layer::transformer::{EncoderDecoder, Memory};
use thalweg::prelude::*;
use thalweg::train::Responder;

use super::{Seq2Seq, source_of_rows};

/// A transformer of encoder and decoder (Vaswani et al. 2017) with norms before its parts; the table of the replies' words also
/// scores what comes next.
#[derive(Module)]
pub(crate) struct Attending {
    source: Embedding,
    reply: Embedding,
    positions: Positions,
    blocks: EncoderDecoder,
    dropout: Dropout,
    #[module(skip)]
    hidden: usize,
}

/// A reply has at most so many tokens, its start included.
const CAPACITY: usize = Responder::LONGEST + 1;

impl Attending {
    /// For so many tokens of sources and of replies; the heads divide the hidden numbers.
    pub(crate) fn new(
        init: &mut Init,
        [sources, replies]: [usize; 2],
        (hidden, heads, blocks): (usize, usize, usize),
        dropout: f64,
    ) -> Attending {
        // As large as the sinusoids after it is multiplied by √hidden, and scores that begin small.
        let weight = Initializer::Normal { mean: 0.0, std: 1.0 / (hidden as f64).sqrt() };
        Attending {
            source: Embedding::with(init, sources, hidden, weight),
            reply: Embedding::with(init, replies, hidden, weight),
            positions: Positions::Sinusoidal,
            blocks: TransformerConfig::new(hidden, heads, blocks).dropout(dropout).build_encoder_decoder(init),
            dropout: Dropout::new(dropout),
            hidden,
        }
    }

    fn words(&self, table: &Embedding, tokens: &Tensor, cx: &mut Forward) -> Tensor {
        table.forward(tokens, cx) * (self.hidden as f64).sqrt()
    }
}

/// What the decoder looks at, from what was encoded: the mask, and the keys and values of each block.
fn memory(encoded: &[Tensor]) -> Memory {
    let [mask, blocks @ ..] = encoded else { unreachable!("as `encode` gives it") };
    let block = |kept: &[Tensor]| KeysValues { keys: kept[0].clone(), values: kept[1].clone() };
    Memory { blocks: blocks.chunks(2).map(block).collect(), mask: Mask::keys(mask) }
}

impl Seq2Seq for Attending {
    fn encode(&self, source: &Tensor, mask: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        let words = self.words(&self.source, source, cx);
        let memory = self.blocks.memory(&self.positions.forward(&words, cx), &Mask::keys(mask), cx);
        let kept = memory.blocks.into_iter().flat_map(|block| [block.keys, block.values]);
        [mask.clone()].into_iter().chain(kept).collect()
    }

    fn logits(&self, encoded: &[Tensor], reply: &Tensor, cx: &mut Forward) -> Tensor {
        let words = self.words(&self.reply, reply, cx);
        let words = self.positions.forward(&words, cx);
        let outputs = self.blocks.decoder.decode(&words, &Mask::causal(), &memory(encoded), cx);
        self.reply.scores(&self.dropout.forward(&outputs, cx))
    }

    fn next(&self, token: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        let (source, mask) = source_of_rows();
        // What is encoded is of the form that the encoder gives it.
        let form = self.encode(&source, &mask, &mut Forward::infer());
        let encoded: Vec<Tensor> =
            form.iter().map(|tensor| cx.carried(tensor.dtype(), tensor.shape().clone())).collect();
        let decoding = Decoding::begin("rows", CAPACITY, cx);
        let words = self.words(&self.reply, token, cx);
        let words = self.positions.at(&words, &decoding.positions());
        let output = self.blocks.decoder.step(&words, &decoding, Some(&memory(&encoded)), cx);
        vec![self.reply.scores(&output).squeeze(1)]
    }
}
