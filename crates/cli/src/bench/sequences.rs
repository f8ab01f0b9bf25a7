//! The recurrent training steps W6, W7 and W8.

use thalweg::nn::layer::attention::{Attention, Mask};
use thalweg::prelude::*;

use super::steps::{SEED, cycle, labels, pool};
use super::{Call, Make, Workload};

/// Characters that there are, and numbers that stand for each.
const CHARACTERS: usize = 85;
const EMBEDDING: usize = 42;
const BATCH: usize = 64;

pub(super) fn workloads() -> Vec<Workload> {
    let step = |name, make: Make| Workload { name, work: None, make };
    vec![step("W6_char_gru", char_gru), step("W7_char_lstm", char_lstm), step("W8_seq2seq_attn", seq2seq_attention)]
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

/// Two stacks of LSTMs; the second begins with the last states of the first, and looks at what it gave.
fn seq2seq_attention(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    const WORDS: usize = 10_000;
    const WIDTH: usize = 256;
    const HIDDEN: usize = 512;
    const TIME: usize = 20;
    let x = placeholder("source", i64, ("batch", "time"));
    // The words that are given and those that are to be said.
    let y = placeholder("target", i64, ("batch", 2, "time"));
    let lstms =
        |init: &mut Init| Stacked::new(WIDTH, &[HIDDEN; 2], |inputs, hidden| Recurrent::lstm(init, inputs, hidden));
    let (tables, encoder, decoder, head) = Init::build(SEED, |init| {
        let tables = [Embedding::new(init, WORDS, WIDTH), Embedding::new(init, WORDS, WIDTH)];
        let (encoder, decoder) = (lstms(init), lstms(init));
        let head = [Linear::new(init, 2 * HIDDEN, HIDDEN), Linear::new(init, HIDDEN, WORDS)];
        (tables, encoder, decoder, head)
    });
    let cx = &mut Forward::train();
    let (memory, states) = encoder.run(&tables[0].forward(&x, cx), None, None, cx);
    let (outputs, _) = decoder.run(&tables[1].forward(&y.index(1, 0), cx), Some(&states), None, cx);
    let found = Attention::Dot.attend(&outputs, &memory, &memory, &Mask::none(), cx).values;
    let combined = head[0].forward(&Tensor::concat(&[&found, &outputs], -1), cx).tanh();
    let loss = cross_entropy(&head[1].forward(&combined, cx), &y.index(1, 1));
    let step = Adam::new(1e-3).minimize(&loss);
    let pool = pool(threads, labels(&[BATCH, TIME], WORDS), Some(labels(&[BATCH, 2, TIME], WORDS)))?;
    cycle(threads, loss, step, x, Some(y), pool)
}
