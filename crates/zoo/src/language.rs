//! [`Gpt`]: a language model of transformer blocks.

use thalweg::nn::layer::attention::{Decoding, Mask, Positions};
use thalweg::nn::{LinearConfig, Transformer, TransformerConfig};
use thalweg::prelude::*;
use thalweg::train::Function;

/// How a [`Gpt`] is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GptConfig {
    /// Tokens that there are.
    pub tokens: usize,
    /// How many tokens it sees at most.
    pub context: usize,
    /// Numbers that stand for a token.
    pub features: usize,
    /// Heads of each attention; they divide the features.
    pub heads: usize,
    /// Blocks of attention and a feed-forward layer of four times the features.
    pub blocks: usize,
    /// The part that is dropped in training.
    pub dropout: f64,
    /// Whether the products in the blocks have biases.
    pub bias: bool,
    /// Whether what comes next is said by the table of the tokens (Press and Wolf 2017), or by a product of its own.
    pub tied: bool,
}

/// What comes next in a text: the decoder of Radford et al. 2019, GPT-2, with its first weights.
///
/// ```
/// use thalweg::prelude::*;
/// use thalweg_zoo::language::{Gpt, GptConfig};
///
/// let size = GptConfig { tokens: 65, context: 64, features: 128, heads: 4, blocks: 4, dropout: 0.0, bias: false, tied: true };
/// let gpt = Init::build(1, |init| Gpt::new(init, size));
/// let logits = gpt.logits(&placeholder("text", i64, ("rows", "time")), &mut Forward::train());
/// assert_eq!(logits.meta().to_string(), "f32[rows,time,65]");
/// ```
#[derive(Clone, Debug, Module)]
pub struct Gpt {
    tokens: Embedding,
    positions: Positions,
    blocks: Transformer,
    head: Option<Linear>,
    context: usize,
}

impl Gpt {
    /// With first weights that are normal with deviation 0.02, those at the end of each part of a block √(2 blocks) times
    /// smaller.
    ///
    /// # Panics
    /// If the heads do not divide the features.
    #[track_caller]
    pub fn new(init: &mut Init, config: GptConfig) -> Gpt {
        let GptConfig { tokens, context, features, heads, blocks, dropout, bias, tied } = config;
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        let (weight, last) = (normal(0.02), normal(0.02 / (2.0 * blocks.max(1) as f64).sqrt()));
        let mut form = TransformerConfig::new(features, heads, blocks).dropout(dropout).weights(weight, last);
        form.attention.bias = bias;
        Gpt {
            tokens: Embedding::with(init, tokens, features, weight),
            positions: Positions::learned(init, context, features),
            blocks: form.build(init),
            head: (!tied).then(|| LinearConfig::new(features, tokens).without_bias().weight(weight).build(init)),
            context,
        }
    }

    /// What comes next behind each token of texts, `[rows, time]`: logits `[rows, time, tokens]`.
    #[track_caller]
    pub fn logits(&self, text: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.positions.forward(&self.tokens.forward(text, cx), cx);
        let x = self.blocks.forward(&x, &Mask::causal(), cx);
        self.scores(&x, cx)
    }

    /// What comes next behind the last token of texts, `[rows, 1]`: logits `[rows, tokens]`. What was said before stands in
    /// states; a text longer than the context is refused.
    #[track_caller]
    pub fn step(&self, last: &Tensor, cx: &mut Forward) -> Tensor {
        let decoding = Decoding::begin(last.size(0), self.context, cx);
        let x = self.decoded(last, &decoding, cx);
        self.scores(&x, cx).squeeze(1)
    }

    /// The states of [`step`](Gpt::step) behind texts, `[rows, context]`, of which the first `lengths`, `[rows]`, tokens are
    /// said.
    #[track_caller]
    pub fn read(&self, texts: &Tensor, lengths: &Tensor) -> Vec<Tensor> {
        let mut cx = Forward::infer();
        let decoding = Decoding::prompt(lengths, self.context, &mut cx);
        self.decoded(texts, &decoding, &mut cx);
        cx.states().iter().map(|state| state.after.clone()).collect()
    }

    /// How it writes, as a [`Generator`](thalweg::train::Generator) takes it: what comes next, then what reads.
    pub fn functions(&self) -> [Function; 2] {
        let next = Function::new(|cx| vec![self.step(&placeholder("token", i64, ("rows", 1)), cx)]);
        let read = Function::new(|_| {
            self.read(&placeholder("tokens", i64, ("rows", self.context)), &placeholder("length", i64, ["rows"]))
        });
        [next, read]
    }

    #[track_caller]
    fn decoded(&self, tokens: &Tensor, decoding: &Decoding, cx: &mut Forward) -> Tensor {
        let x = self.positions.at(&self.tokens.forward(tokens, cx), &decoding.positions());
        self.blocks.step(&x, decoding, None, cx)
    }

    #[track_caller]
    fn scores(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        match &self.head {
            Some(head) => head.forward(x, cx),
            None => self.tokens.scores(x),
        }
    }
}
