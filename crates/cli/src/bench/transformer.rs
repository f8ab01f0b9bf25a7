//! The training step W9 and the embedding of W12.

use thalweg::nn::layer::attention::{Mask, Positions};
use thalweg::nn::{Embedding, LinearConfig, Transformer, TransformerConfig};
use thalweg::prelude::*;

use super::operations::{call, operand};
use super::steps::{SEED, cycle, labels, pool};
use super::{Call, Work, Workload};

const VOCABULARY: usize = 1000;
const FEATURES: usize = 256;
const TIME: usize = 128;
const BATCH: usize = 16;

pub(super) fn workloads() -> Vec<Workload> {
    vec![
        Workload { name: "W9_gpt_small", work: None, make: gpt_small },
        Workload { name: "W12_embedding", work: Some(Work::Bytes(8.0 * (1280 * 256) as f64)), make: embedding },
    ]
}

/// A language model of four blocks; the head is not tied to the embedding.
#[derive(Debug, Module)]
struct Gpt {
    tokens: Embedding,
    positions: Positions,
    blocks: Transformer,
    head: Linear,
}

impl Gpt {
    fn new(init: &mut Init) -> Gpt {
        let small = Initializer::Normal { mean: 0.0, std: 1.0 / 16.0 };
        Gpt {
            tokens: Embedding::with(init, VOCABULARY, FEATURES, small),
            positions: Positions::learned(init, TIME, FEATURES),
            blocks: TransformerConfig::new(FEATURES, 4, 4).build(init),
            head: LinearConfig::new(FEATURES, VOCABULARY).without_bias().build(init),
        }
    }

    fn forward(&self, text: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.positions.forward(&self.tokens.forward(text, cx), cx);
        let x = self.blocks.forward(&x, &Mask::causal(), cx);
        self.head.forward(&x, cx)
    }
}

fn gpt_small(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let x = placeholder("x", i64, ("batch", TIME));
    let y = placeholder("y", i64, ("batch", TIME));
    let gpt = Init::build(SEED, Gpt::new);
    let loss = cross_entropy(&gpt.forward(&x, &mut Forward::train()), &y);
    let step = AdamW::new(3e-4).weight_decay(0.01).decay_all().minimize(&loss);
    let tokens = || labels(&[BATCH, TIME], VOCABULARY);
    cycle(threads, loss, step, x, Some(y), pool(threads, tokens(), Some(tokens()))?)
}

/// Rows of a table.
fn embedding(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let rows = Variable::new("rows", (random_uniform([1280], f32) * 1e4).cast(i64)).not_trainable();
    call(threads, operand("table", &[10_000, 256]).gather(&rows, 0))
}
