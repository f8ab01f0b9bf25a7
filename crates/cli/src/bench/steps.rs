//! The training steps W1, W2, W10 and W11.

use thalweg::nn::{Step, binary_cross_entropy_with_logits};
use thalweg::prelude::*;
use thalweg::run::{CompileTimes, Profile};

use super::{Call, Make, Workload};

/// Batches that a workload goes through in turn.
const BATCH_POOL: u64 = 8;
pub(super) const SEED: u64 = 1234;

pub(super) fn workloads() -> Vec<Workload> {
    let step = |name, make: Make| Workload { name, work: None, make };
    vec![
        step("W1_mlp_mnist", mlp_mnist),
        step("W2_mlp_wide", mlp_wide),
        step("W10_vae_mnist", vae_mnist),
        step("W11_xor_tiny", xor_tiny),
    ]
}

/// A batch of inputs and, where there are any, labels.
pub(super) struct Batch {
    pub(super) inputs: Array,
    pub(super) labels: Option<Array>,
}

/// Labels of so many classes, drawn at random.
pub(super) fn labels(shape: &[usize], classes: usize) -> Tensor {
    (random_uniform(shape, f32) * classes as f64).cast(i64)
}

/// The pool: these random inputs and labels.
pub(super) fn pool(threads: usize, inputs: Tensor, labels: Option<Tensor>) -> anyhow::Result<Vec<Batch>> {
    let session = Session::builder().threads(threads).seed(SEED).build()?;
    let draw = |_| {
        Ok(match &labels {
            Some(labels) => {
                let (inputs, labels) = session.run((&inputs, labels), Feeds::new())?;
                Batch { inputs, labels: Some(labels) }
            }
            None => Batch { inputs: session.run(&inputs, Feeds::new())?, labels: None },
        })
    };
    (0..BATCH_POOL).map(draw).collect()
}

/// A training step on the batches in turn.
struct Training {
    session: Session,
    loss: Tensor,
    step: Step,
    placeholders: Placeholders,
    pool: Vec<Batch>,
    /// The batch that was taken last.
    next: usize,
    /// The loss as a host number.
    outputs: [Array; 1],
}

/// What a batch feeds.
struct Placeholders {
    inputs: Tensor,
    labels: Option<Tensor>,
}

impl Placeholders {
    fn feed<'a>(&'a self, batch: &'a Batch) -> Feeds<'a> {
        let feeds = Feeds::new().with(&self.inputs, &batch.inputs);
        match (&self.labels, &batch.labels) {
            (Some(placeholder), Some(labels)) => feeds.with(placeholder, labels),
            _ => feeds,
        }
    }
}

impl Training {
    /// Goes on to the next batch.
    fn advance(&mut self) -> usize {
        self.next = (self.next + 1) % self.pool.len();
        self.next
    }
}

impl Call for Training {
    fn run(&mut self) -> anyhow::Result<()> {
        let batch = self.advance();
        let feeds = self.placeholders.feed(&self.pool[batch]);
        self.session.run_into((&self.loss, &self.step), feeds, &mut self.outputs)?;
        std::hint::black_box(self.outputs[0].as_slice::<f32>()?[0]);
        Ok(())
    }

    fn profile(&mut self) -> anyhow::Result<Profile> {
        let batch = self.advance();
        let feeds = self.placeholders.feed(&self.pool[batch]);
        Ok(self.session.profile((&self.loss, &self.step), feeds)?.1)
    }

    fn compile(&self) -> anyhow::Result<CompileTimes> {
        let feeds = self.placeholders.feed(&self.pool[self.next]);
        Ok(self.session.compile_times((&self.loss, &self.step), feeds)?)
    }
}

pub(super) fn cycle(
    threads: usize,
    loss: Tensor,
    step: Step,
    inputs: Tensor,
    labels: Option<Tensor>,
    pool: Vec<Batch>,
) -> anyhow::Result<Box<dyn Call>> {
    let session = Session::builder().threads(threads).seed(SEED).build()?;
    let outputs = [Array::scalar(0.0f32)];
    Ok(Box::new(Training {
        session,
        loss,
        step,
        placeholders: Placeholders { inputs, labels },
        pool,
        next: 0,
        outputs,
    }))
}

fn classifier(
    threads: usize,
    widths: &[usize],
    batch: usize,
    minimize: impl Fn(&Tensor) -> Step,
) -> anyhow::Result<Box<dyn Call>> {
    let (width, classes) = (widths[0], widths[widths.len() - 1]);
    let x = placeholder("x", f32, ("batch", width));
    let y = placeholder("y", i64, ["batch"]);
    let net = Init::build(SEED, |init| Mlp::new(init, widths));
    let loss = cross_entropy(&net.forward(&x, &mut Forward::train()), &y);
    let step = minimize(&loss);
    cycle(
        threads,
        loss,
        step,
        x,
        Some(y),
        pool(threads, random_uniform([batch, width], f32), Some(labels(&[batch], classes)))?,
    )
}

pub(super) fn mlp_mnist(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    classifier(threads, &[784, 128, 32, 10], 100, |loss| Sgd::new(0.01).minimize(loss))
}

fn mlp_wide(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    classifier(threads, &[1024, 4096, 4096, 1000], 256, |loss| Adam::new(1e-3).minimize(loss))
}

fn vae_mnist(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    #[derive(Module)]
    struct Vae {
        encoder: Linear,
        mean: Linear,
        log_variance: Linear,
        decoder: Linear,
        output: Linear,
    }
    let x = placeholder("x", f32, ("batch", 784));
    let vae = Init::build(SEED, |init| Vae {
        encoder: Linear::new(init, 784, 400),
        mean: Linear::new(init, 400, 20),
        log_variance: Linear::new(init, 400, 20),
        decoder: Linear::new(init, 20, 400),
        output: Linear::new(init, 400, 784),
    });
    let cx = &mut Forward::train();
    let hidden = vae.encoder.forward(&x, cx).relu();
    let mean = vae.mean.forward(&hidden, cx);
    let log_variance = vae.log_variance.forward(&hidden, cx);
    let noise = random_normal(mean.shape(), f32);
    let code = &mean + noise * (&log_variance * 0.5).exp();
    let logits = vae.output.forward(&vae.decoder.forward(&code, cx).relu(), cx);
    // −(x ln s + (1 − x) ln(1 − s)) = softplus(z) − x z
    let reconstruction = (logits.softplus() - &x * &logits).sum();
    let divergence = (&log_variance + 1.0 - mean.square() - log_variance.exp()).sum() * (-0.5);
    let loss = reconstruction + divergence;
    let step = Adam::new(1e-3).minimize(&loss);
    cycle(threads, loss, step, x, None, pool(threads, random_uniform([128, 784], f32), None)?)
}

fn xor_tiny(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let points = Array::from([[0.0f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
    let targets = Array::from([[0.0f32], [1.0], [1.0], [0.0]]);
    let x = placeholder("x", f32, ("batch", 2));
    let t = placeholder("t", f32, ("batch", 1));
    let net = Init::build(SEED, |init| MlpConfig::new(&[2, 8, 1]).activation(Activation::Tanh).build(init));
    let loss = binary_cross_entropy_with_logits(&net.forward(&x, &mut Forward::train()), &t);
    let step = Sgd::new(0.1).minimize(&loss);
    let batch = || Batch { inputs: points.clone(), labels: Some(targets.clone()) };
    let pool = (0..BATCH_POOL).map(|_| batch()).collect();
    cycle(threads, loss, step, x, Some(t), pool)
}
