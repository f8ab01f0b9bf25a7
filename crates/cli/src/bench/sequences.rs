//! The recurrent training steps W6 and W7.

use thalweg::prelude::*;

use super::steps::{SEED, cycle, labels, pool};
use super::{Call, Make, Workload};

/// Characters that there are, and numbers that stand for each.
const CHARACTERS: usize = 85;
const EMBEDDING: usize = 42;
const BATCH: usize = 64;

pub(super) fn workloads() -> Vec<Workload> {
    let step = |name, make: Make| Workload { name, work: None, make };
    vec![step("W6_char_gru", char_gru), step("W7_char_lstm", char_lstm)]
}

/// A language model of characters: what comes next, at each place.
fn language_model<R: Recurrence>(
    threads: usize,
    time: usize,
    layer: impl FnOnce(&mut Init) -> R,
) -> anyhow::Result<Box<dyn Call>> {
    let x = placeholder("x", i64, ("batch", "time"));
    let y = placeholder("y", i64, ("batch", "time"));
    let net = Init::build(SEED, |init| {
        let layer = layer(init);
        let head = Linear::new(init, layer.features(), CHARACTERS);
        (Embedding::new(init, CHARACTERS, EMBEDDING), layer, head)
    });
    let loss = cross_entropy(&net.forward(&x, &mut Forward::train()), &y);
    let step = Adam::new(1e-3).minimize(&loss);
    let tokens = || labels(&[BATCH, time], CHARACTERS);
    cycle(threads, loss, step, x, Some(y), pool(threads, tokens(), Some(tokens()))?)
}

fn char_gru(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    language_model(threads, 8, |init| Recurrent::gru(init, EMBEDDING, 256))
}

fn char_lstm(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    language_model(threads, 70, |init| {
        Stacked::new(EMBEDDING, &[512, 512], |inputs, hidden| Recurrent::lstm(init, inputs, hidden))
    })
}
