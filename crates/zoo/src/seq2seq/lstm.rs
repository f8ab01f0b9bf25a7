//! [`WithAttention`]: LSTMs that read, and LSTMs that speak and look back.

use thalweg::nn::layer::attention::{Attention, Mask};
use thalweg::nn::layer::recurrent::Lstm;
use thalweg::nn::layer::{LinearConfig, ScheduledSampling};
use thalweg::prelude::*;

use super::Seq2Seq;

/// One stack of LSTMs reads the source; another, which begins with the states that the first ends with, says the reply. What
/// it says follows from its output and from what it finds in the outputs of the first (Luong, Pham, Manning 2015, the global
/// attention with the dot product).
#[derive(Module)]
pub(crate) struct WithAttention {
    source: Embedding,
    reply: Embedding,
    encoder: Stacked<Recurrent<Lstm>>,
    decoder: Stacked<Recurrent<Lstm>>,
    /// Of what was found and of what the decoder gives.
    combine: Linear,
    output: Linear,
    dropout: Dropout,
    feeding: ScheduledSampling,
    /// Whether it is trained on what it says itself.
    #[module(skip)]
    samples: bool,
}

/// How a [`WithAttention`] is made.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The tokens of sources and of replies.
    pub(crate) tokens: [usize; 2],
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) dropout: f64,
    /// The probability that the decoder is fed the given token, by training step.
    pub(crate) given: Schedule,
}

impl WithAttention {
    pub(crate) fn new(init: &mut Init, config: &Config) -> WithAttention {
        let Config { tokens: [sources, replies], hidden, layers, dropout, ref given } = *config;
        let dropout = Dropout::new(dropout);
        let words = |init: &mut Init, tokens| {
            Embedding::with(init, tokens, hidden, Initializer::Normal { mean: 0.0, std: 0.1 })
        };
        let stack = |init: &mut Init| {
            let stack =
                Stacked::new(hidden, &vec![hidden; layers], |inputs, hidden| Recurrent::lstm(init, inputs, hidden));
            stack.dropout(dropout.clone())
        };
        let linear = |from, to| LinearConfig::new(from, to).weight(Initializer::xavier_uniform());
        WithAttention {
            source: words(init, sources),
            reply: words(init, replies),
            encoder: stack(init),
            decoder: stack(init),
            combine: linear(2 * hidden, hidden).build(init),
            output: linear(hidden, replies).build(init),
            dropout: dropout.clone(),
            feeding: ScheduledSampling::new(given.clone()),
            samples: *given != Schedule::Constant(1.0),
        }
    }

    /// Logits of what comes next, from what the decoder gives, `[batch, time, hidden]`; and the weights with which it looked.
    fn say(&self, outputs: &Tensor, memory: &Tensor, mask: &Tensor, cx: &mut Forward) -> (Tensor, Tensor) {
        let found = Attention::Dot.attend(outputs, memory, memory, &Mask::keys(mask), cx);
        let both = Tensor::concat(&[&found.values, outputs], -1);
        let combined = self.dropout.forward(&self.combine.forward(&both, cx).tanh(), cx);
        (self.output.forward(&combined, cx), found.weights)
    }

    /// One step from the states before it, with the last token of each row, `[rows]`: the states after it, and what the decoder
    /// gives, `[rows, 1, hidden]`.
    fn step(&self, states: &[Tensor], last: &Tensor, cx: &mut Forward) -> (Vec<Tensor>, Tensor) {
        let words = self.dropout.forward(&self.reply.forward(last, cx), cx);
        let (output, after) = self.decoder.step(&words, states, cx);
        (after, output.unsqueeze(1))
    }
}

impl Seq2Seq for WithAttention {
    /// What the encoder gives at each position, the mask, and its last states.
    fn encode(&self, source: &Tensor, mask: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        let words = self.dropout.forward(&self.source.forward(source, cx), cx);
        let (memory, states) = self.encoder.run(&words, None, Some(mask), cx);
        [memory, mask.clone()].into_iter().chain(states).collect()
    }

    fn logits(&self, encoded: &[Tensor], reply: &Tensor, cx: &mut Forward) -> Tensor {
        let [memory, mask, states @ ..] = encoded else { unreachable!("as `encode` gives it") };
        if cx.training() && self.samples {
            let states: Vec<&Tensor> = states.iter().collect();
            let (_, logits) = self.feeding.decode(&states, reply, cx, |states, last| {
                let cx = &mut Forward::train();
                let (after, output) = self.step(states, last, cx);
                (after, self.say(&output, memory, mask, cx).0.squeeze(1))
            });
            return logits;
        }
        // All tokens are given, so that only the states wait for one another.
        let words = self.dropout.forward(&self.reply.forward(reply, cx), cx);
        let (outputs, _) = self.decoder.run(&words, Some(states), None, cx);
        self.say(&outputs, memory, mask, cx).0
    }

    fn next(&self, token: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        let memory = cx.carried(f32, ("rows", "source_time", self.encoder.features()));
        let mask = cx.carried(bool, ("rows", "source_time"));
        let states: Vec<Tensor> = self.decoder.states().iter().map(|&size| cx.carried(f32, ("rows", size))).collect();
        let (after, output) = self.step(&states, &token.squeeze(1), cx);
        states.iter().zip(&after).for_each(|(before, after)| cx.carry_on(before, after));
        let (logits, weights) = self.say(&output, &memory, &mask, cx);
        vec![logits.squeeze(1), weights.squeeze(1)]
    }
}
