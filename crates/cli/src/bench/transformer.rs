//! The training step W9, texts that are written token by token, and the embedding of W12.

use thalweg::prelude::*;
use thalweg::run::{CompileTimes, Profile};
use thalweg::train::decoding::{Limits, greedy};
use thalweg::train::{FitError, Function};
use thalweg_zoo::language::{Gpt, GptConfig};

use super::operations::{call, operand};
use super::steps::{SEED, cycle, labels, pool};
use super::{Call, Work, Workload};

const BATCH: usize = 16;

/// The model of W9, whose head is not tied to the embedding.
const W9: GptConfig =
    GptConfig { tokens: 1000, context: 128, features: 256, heads: 4, blocks: 4, dropout: 0.0, bias: true, tied: false };

/// The model of the recipe `gpt` on the characters of Shakespeare.
const SMALL: GptConfig =
    GptConfig { tokens: 65, context: 64, features: 128, heads: 4, blocks: 4, dropout: 0.0, bias: false, tied: true };

pub(super) fn workloads() -> Vec<Workload> {
    let tokens = |config: GptConfig| Some(Work::Tokens(config.context as f64));
    vec![
        Workload { name: "W9_gpt_small", work: None, make: gpt_small },
        Workload { name: "gpt_generate", work: tokens(SMALL), make: |threads| generation(threads, SMALL) },
        Workload { name: "gpt_generate_w9", work: tokens(W9), make: |threads| generation(threads, W9) },
        Workload { name: "W12_embedding", work: Some(Work::Bytes(8.0 * (1280 * 256) as f64)), make: embedding },
    ]
}

fn gpt_small(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let x = placeholder("x", i64, ("batch", W9.context));
    let y = placeholder("y", i64, ("batch", W9.context));
    let gpt = Init::build(SEED, |init| Gpt::new(init, W9));
    let loss = cross_entropy(&gpt.logits(&x, &mut Forward::train()), &y);
    let step = AdamW::new(3e-4).weight_decay(0.01).decay_all().minimize(&loss);
    let tokens = || labels(&[BATCH, W9.context], W9.tokens);
    cycle(threads, loss, step, x, Some(y), pool(threads, tokens(), Some(tokens()))?)
}

/// A text as long as the context, the likeliest token at every step, from nothing: keys and values are kept.
struct Generation {
    session: Session,
    step: Function,
    limits: Limits,
    /// What the first step is fed.
    token: Array,
    states: Vec<Array>,
}

fn generation(threads: usize, config: GptConfig) -> anyhow::Result<Box<dyn Call>> {
    let session = Session::builder().threads(threads).seed(SEED).build()?;
    let [step, _] = Init::build(SEED, |init| Gpt::new(init, config)).functions();
    let (limits, token, states) = (Limits::new(config.context)?, Array::from([[0i64]]), step.fresh(&[("rows", 1)])?);
    Ok(Box::new(Generation { session, step, limits, token, states }))
}

impl Generation {
    /// What a step gives, and what it is fed first.
    fn first(&self) -> ((&[Tensor], Vec<&Tensor>), Feeds<'_>) {
        let feeds = Feeds::new().with("token", &self.token);
        let states = self.step.states().iter().zip(&self.states);
        let feeds = states.fold(feeds, |feeds, (state, value)| feeds.with(&state.before, value));
        ((self.step.outputs(), self.step.states().iter().map(|state| &state.after).collect()), feeds)
    }
}

impl Call for Generation {
    fn run(&mut self) -> anyhow::Result<()> {
        let step = |states: &Vec<Array>, last: &[i64]| {
            let token = Array::from([[last[0]]]);
            let (mut outputs, states) = self.step.call(&self.session, feeds! { "token" => &token }, states)?;
            Ok::<_, FitError>((outputs.swap_remove(0), states))
        };
        std::hint::black_box(greedy(step, self.states.clone(), &[vec![0]], &self.limits)?);
        Ok(())
    }

    /// Of the first step.
    fn profile(&mut self) -> anyhow::Result<Profile> {
        let (fetches, feeds) = self.first();
        Ok(self.session.profile(fetches, feeds)?.1)
    }

    fn compile(&self) -> anyhow::Result<CompileTimes> {
        let (fetches, feeds) = self.first();
        Ok(self.session.compile_times(fetches, feeds)?)
    }
}

/// Rows of a table.
fn embedding(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let rows = Variable::new("rows", (random_uniform([1280], f32) * 1e4).cast(i64)).not_trainable();
    call(threads, operand("table", &[10_000, 256]).gather(&rows, 0))
}
