//! [`Thought`]: a sentence becomes a vector, and from that alone others say what belongs to it.

use thalweg::nn::layer::recurrent::Gru;
use thalweg::nn::loss::SampledSoftmax;
use thalweg::prelude::*;
use thalweg::train::Columns;

use super::{REPLY, Seq2Seq};
use crate::sentence::SentenceEncoder;

/// A sentence becomes a vector ([`SentenceEncoder`]); from it one speaker says what follows, or the sentence itself, and of
/// skip-thought (Kiros et al. 2015) another what came before. All share one table of words, which also scores what is said.
#[derive(Module)]
pub(crate) struct Thought {
    pub(crate) encoder: SentenceEncoder,
    speakers: Vec<Speaker>,
    bias: Variable,
    dropout: Dropout,
}

/// How a [`Thought`] is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) words: usize,
    pub(crate) features: usize,
    pub(crate) hidden: usize,
    /// 1: what belongs to a sentence is one other; 2: there is one before it too.
    pub(crate) speakers: usize,
}

/// The columns of what came before a sentence.
pub(crate) const BEFORE: [&str; 2] = ["before", "before_target"];

impl Thought {
    pub(crate) fn new(init: &mut Init, size: Size, dropout: f64) -> Thought {
        Thought {
            encoder: SentenceEncoder::new(init, size.words, size.features, size.hidden),
            speakers: (0..size.speakers).map(|_| Speaker::new(init, size)).collect(),
            bias: init.variable(&[size.words], Initializer::Zeros),
            dropout: Dropout::new(dropout),
        }
    }

    /// What is said of sentences with these vectors, set against so many words that are drawn: cross-entropy of each word, given
    /// those before it.
    pub(crate) fn said(&self, vector: &Tensor, columns: &Columns, negatives: usize, cx: &mut Forward) -> Inference {
        let softmax = SampledSoftmax::new(negatives, &self.encoder.words.weight, Some(&self.bias));
        let spoken = self.speakers.iter().zip([[REPLY, "target"], BEFORE]).map(|(speaker, [before, next])| {
            let words = self.words(&columns[before], cx);
            let outputs = speaker.speak(&words, vector, &speaker.begin(vector, cx), cx).0;
            let mask = &columns[&*format!("{next}.mask")];
            let each = softmax.each(&self.dropout.forward(&outputs, cx), &columns[next]);
            (mask.select(&each, 0.0).sum(), mask.cast(f32).sum())
        });
        let (loss, words) = spoken.reduce(|all, one| (all.0 + one.0, all.1 + one.1)).expect("there is a speaker");
        Inference::new(loss / &words, vector.clone()).over(words)
    }

    fn words(&self, text: &Tensor, cx: &mut Forward) -> Tensor {
        self.dropout.forward(&self.encoder.words.forward(text, cx), cx)
    }

    fn scores(&self, outputs: &Tensor) -> Tensor {
        self.encoder.words.scores(outputs) + self.bias.tensor()
    }
}

impl Seq2Seq for Thought {
    /// The vector, and the state with which the first speaker begins.
    fn encode(&self, source: &Tensor, mask: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        let vector = self.encoder.vector(source, mask, &self.dropout, cx);
        let state = self.speakers[0].begin(&vector, cx);
        vec![vector, state]
    }

    fn logits(&self, encoded: &[Tensor], reply: &Tensor, cx: &mut Forward) -> Tensor {
        let [vector, state] = encoded else { unreachable!("as `encode` gives it") };
        let words = self.words(reply, cx);
        self.scores(&self.speakers[0].speak(&words, vector, state, cx).0)
    }

    fn next(&self, token: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        let speaker = &self.speakers[0];
        let [vector, state] = [(); 2].map(|()| cx.carried(f32, ("rows", speaker.decoder.features())));
        let words = self.words(token, cx);
        let (outputs, after) = speaker.speak(&words, &vector, &state, cx);
        cx.carry_on(&state, &after);
        vec![self.scores(&outputs).squeeze(1)]
    }
}

/// Says something word by word from a vector, which it begins with and sees with each word.
#[derive(Module)]
struct Speaker {
    begin: Linear,
    seen: Linear,
    decoder: Recurrent<Gru>,
    output: Linear,
}

impl Speaker {
    fn new(init: &mut Init, Size { features, hidden, .. }: Size) -> Speaker {
        Speaker {
            begin: Linear::new(init, hidden, hidden),
            seen: Linear::new(init, hidden, features),
            decoder: Recurrent::new(Gru::new(init, features, hidden)),
            output: Linear::new(init, hidden, features),
        }
    }

    /// The first state.
    fn begin(&self, vector: &Tensor, cx: &mut Forward) -> Tensor {
        self.begin.forward(vector, cx).tanh()
    }

    /// What comes behind each of the words `[rows, time, features]`, as words are: `[rows, time, features]`; and the state then.
    fn speak(&self, words: &Tensor, vector: &Tensor, state: &Tensor, cx: &mut Forward) -> (Tensor, Tensor) {
        let seen = words + self.seen.forward(vector, cx).unsqueeze(1);
        let (outputs, mut after) = self.decoder.run(&seen, Some(std::slice::from_ref(state)), None, cx);
        (self.output.forward(&outputs, cx), after.swap_remove(0))
    }
}
