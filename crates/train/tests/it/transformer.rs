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

#[test]
fn beginnings_read_at_once_are_gone_on_with_as_if_said_token_by_token() {
    const CAPACITY: usize = 12;
    let gpt = Gpt::new(CAPACITY);
    let speaker = Speaker::new(&gpt, CAPACITY);
    let (texts, lengths) =
        (placeholder("texts", DType::I64, ("batch", CAPACITY)), placeholder("lengths", DType::I64, ["batch"]));
    let mut cx = Forward::infer();
    let decoding = Decoding::prompt(&lengths, CAPACITY, &mut cx);
    let x = gpt.positions.at(&gpt.tokens.forward(&texts, &mut cx), &decoding.positions());
    gpt.blocks.step(&x, &decoding, None, &mut cx);
    let after: Vec<Tensor> = cx.states().iter().map(|state| state.after.clone()).collect();

    // Two texts side by side, the rest of each padded with a token that would be heard.
    let text = said(CAPACITY);
    let padded = |length: usize| [&text[..length], &vec![7; CAPACITY - length]].concat();
    let rows = Array::new(&[2, CAPACITY], [padded(5), padded(11)].concat()).unwrap();
    let read = |lengths: [i64; 2]| {
        speaker.session.run(after.clone(), Feeds::new().with(&texts, &rows).with("lengths", lengths))
    };
    let states = read([5, 11]).unwrap();
    let (logits, _) = speaker.step(&states, &[3, 4]).unwrap();
    for (row, (length, next)) in [(5, 3), (11, 4)].into_iter().enumerate() {
        let (mut states, mut expected) = (speaker.silent(1), None);
        for token in text[..length].iter().chain(&[next]) {
            let (logits, after) = speaker.step(&states, &[*token]).unwrap();
            (states, expected) = (after, Some(logits));
        }
        let found = &logits.to_vec::<f64>()[row * TOKENS..][..TOKENS];
        for (found, expected) in found.iter().zip(expected.unwrap().to_vec::<f64>()) {
            assert!((found - expected).abs() < 1e-5, "{row}: {found} against {expected}");
        }
    }
    let message = read([5, 13]).unwrap_err().to_string();
    assert!(message.contains("length of the prompt") && message.contains("index 13"), "{message}");
}

#[test]
#[should_panic(expected = "self_attention: x must be [batch, 1, features]: so many tokens of a row are taken at once")]
fn a_step_of_several_tokens_is_refused() {
    let gpt = Gpt::new(8);
    let x = placeholder("x", DType::F32, ("batch", 2, 16));
    let mut cx = Forward::infer();
    let decoding = Decoding::begin("batch", 8, &mut cx);
    gpt.blocks.step(&x, &decoding, None, &mut cx);
}
