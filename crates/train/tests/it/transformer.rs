//! A small language model that speaks token by token, with the keys and values of what it said.

use thalweg_nn::layer::attention::{Decoding, Mask, Positions};
use thalweg_nn::{Embedding, Forward, Init, Layer, Module, Transformer, TransformerConfig};
use thalweg_run::graph::{Array, DType, Tensor, placeholder};
use thalweg_run::{Feeds, RunError, Session};
use thalweg_train::decoding::{Beam, Limits, greedy};

const TOKENS: usize = 11;

#[derive(Module)]
struct Gpt {
    tokens: Embedding,
    positions: Positions,
    blocks: Transformer,
}

impl Gpt {
    fn new(positions: usize) -> Gpt {
        Init::build(5, |init| Gpt {
            tokens: Embedding::new(init, TOKENS, 16),
            positions: Positions::learned(init, positions, 16),
            blocks: TransformerConfig::new(16, 4, 2).key_heads(2).rotary(Default::default()).build(init),
        })
    }

    /// Logits of whole texts `[batch, time]`.
    fn read(&self, text: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.positions.forward(&self.tokens.forward(text, cx), cx);
        self.tokens.scores(&self.blocks.forward(&x, &Mask::causal(), cx))
    }

    /// Logits `[batch, tokens]` behind the last token, `[batch]`, of each text.
    fn say(&self, last: &Tensor, capacity: usize, cx: &mut Forward) -> Tensor {
        let decoding = Decoding::begin(last.size(0), capacity, cx);
        let x = self.tokens.forward(&last.unsqueeze(1), cx);
        let x = self.positions.at(&x, &decoding.positions());
        self.tokens.scores(&self.blocks.step(&x, &decoding, None, cx)).squeeze(1)
    }
}

/// What says the next token.
struct Speaker {
    session: Session,
    last: Tensor,
    logits: Tensor,
    cx: Forward,
}

impl Speaker {
    fn new(gpt: &Gpt, capacity: usize) -> Speaker {
        let (last, mut cx) = (placeholder("last", DType::I64, ["batch"]), Forward::infer());
        let logits = gpt.say(&last, capacity, &mut cx);
        Speaker { session: Session::builder().threads(2).build().unwrap(), last, logits, cx }
    }

    /// The states before the first token of so many texts.
    fn silent(&self, batch: usize) -> Vec<Array> {
        let bindings = [("batch", batch)].into_iter().collect();
        let zeros = |state: &thalweg_nn::State| {
            Array::full(&state.before.shape().evaluate(&bindings).unwrap(), state.before.dtype(), 0)
        };
        self.cx.states().iter().map(zeros).collect()
    }

    fn step(&self, states: &[Array], last: &[i64]) -> Result<(Array, Vec<Array>), RunError> {
        let mut feeds = Feeds::new().with(&self.last, last);
        for (state, before) in self.cx.states().iter().zip(states) {
            feeds = feeds.with(&state.before, before);
        }
        let after: Vec<Tensor> = self.cx.states().iter().map(|state| state.after.clone()).collect();
        self.session.run((&self.logits, after), feeds)
    }
}

fn said(length: usize) -> Vec<i64> {
    (0..length as i64).map(|i| (i * i + 3 * i + 1) % TOKENS as i64).collect()
}

#[test]
fn a_thousand_tokens_with_one_plan_give_the_logits_of_the_whole_text() {
    let gpt = Gpt::new(1000);
    let speaker = Speaker::new(&gpt, 1000);
    let text = said(1000);
    let mut states = speaker.silent(1);
    let mut found = Vec::new();
    for token in &text {
        let (logits, after) = speaker.step(&states, &[*token]).unwrap();
        found.extend(logits.to_vec::<f64>());
        states = after;
    }
    assert_eq!(speaker.session.cached_plans(), 1);

    let whole = placeholder("text", DType::I64, ("batch", "time"));
    let logits = gpt.read(&whole, &mut Forward::infer());
    let text = Array::new(&[1, 1000], text).unwrap();
    let expected = speaker.session.run(&logits, Feeds::new().with(&whole, &text)).unwrap().to_vec::<f64>();
    for (position, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() < 1e-5, "{position}: {found} against {expected}");
    }
}

#[test]
fn decoders_gather_the_rows_of_the_cache() {
    let gpt = Gpt::new(12);
    let speaker = Speaker::new(&gpt, 12);
    let limits = Limits::new(8).unwrap();
    let beginnings = [vec![1, 2], vec![3]];
    let step = |states: &Vec<Array>, last: &[i64]| speaker.step(states, last);
    let plain = greedy(step, speaker.silent(2), &beginnings, &limits).unwrap();
    let one_by_one = Beam::new(1).unwrap().run(step, speaker.silent(2), &beginnings, &limits).unwrap();
    for (plain, beam) in plain.iter().zip(&one_by_one) {
        assert_eq!(plain.tokens, beam[0].tokens);
    }
    let wide = Beam::new(4).unwrap().run(step, speaker.silent(2), &beginnings, &limits).unwrap();
    for (beginning, beam) in beginnings.iter().zip(&wide) {
        for hypothesis in beam {
            // The score is that of a step by step walk of this text alone.
            let (mut states, mut sum) = (speaker.silent(1), 0.0f64);
            let text: Vec<i64> = beginning.iter().chain(&hypothesis.tokens).copied().collect();
            for (at, pair) in text.windows(2).enumerate() {
                let (logits, after) = speaker.step(&states, &pair[..1]).unwrap();
                let logits = logits.to_vec::<f64>();
                let total: f64 = logits.iter().map(|x| x.exp()).sum();
                if at + 1 >= beginning.len() {
                    sum += logits[pair[1] as usize] - total.ln();
                }
                states = after;
            }
            assert!((sum - hypothesis.log_probability).abs() < 1e-4, "{sum} against {hypothesis:?}");
        }
    }
}

#[test]
fn texts_longer_than_the_positions_are_refused() {
    let gpt = Gpt::new(8);
    let text = placeholder("text", DType::I64, ("batch", "time"));
    let logits = gpt.read(&text, &mut Forward::infer());
    let session = Session::builder().threads(1).build().unwrap();
    let array = Array::new(&[1, 9], said(9)).unwrap();
    let message = session.run(&logits, Feeds::new().with(&text, &array)).unwrap_err().to_string();
    for part in ["positions", "there is no position 8 of axis 0, which has size 8", "time = 9"] {
        assert!(message.contains(part), "{message}");
    }

    let speaker = Speaker::new(&gpt, 8);
    let mut states = speaker.silent(1);
    for token in said(8) {
        states = speaker.step(&states, &[token]).unwrap().1;
    }
    let message = speaker.step(&states, &[0]).unwrap_err().to_string();
    assert!(message.contains("position in the cache") && message.contains("index 8"), "{message}");
}
