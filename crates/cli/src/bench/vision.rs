//! The convolutional workloads: training steps W3 and W4, inference W5.

use thalweg::prelude::*;
use thalweg::run::{CompileTimes, Profile};
use thalweg_zoo::vision::resnet::{RESNET_18, RESNET_34, ResNet};

use super::steps::{Batch, SEED, cycle, labels, pool};
use super::{Call, Make, Workload};

pub(super) fn workloads() -> Vec<Workload> {
    let workload = |name, make: Make| Workload { name, work: None, make };
    vec![
        workload("W3_cnn_cifar", cnn_cifar),
        workload("W4_resnet18_cifar", resnet18_cifar),
        workload("W5a_resnet34_infer_b1", |threads| resnet34_infer(threads, 1)),
        workload("W5b_resnet34_infer_b8", |threads| resnet34_infer(threads, 8)),
    ]
}

/// Convolution, ReLU, batch norm.
#[derive(Debug, Module)]
struct ConvReluNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvReluNorm {
    fn new(init: &mut Init, inputs: usize, outputs: usize, stride: usize) -> ConvReluNorm {
        let config = ConvConfig::new(inputs, outputs, [3, 3]).stride(stride).padding(1).without_bias();
        ConvReluNorm { conv: config.build(init), norm: BatchNorm::new(init, outputs) }
    }
}

impl Layer for ConvReluNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.conv.forward(x, cx).relu();
        self.norm.forward(&x, cx)
    }
}

/// A stem, four stages of a layer that halves and two residual ones, the maximum over all positions.
#[derive(Debug, Module)]
struct SmallResNet {
    stem: Conv2d,
    stages: Vec<(ConvReluNorm, Residual<ConvReluNorm>, Residual<ConvReluNorm>)>,
    head: Linear,
}

impl SmallResNet {
    fn new(init: &mut Init) -> SmallResNet {
        let stem = Conv2d::new(init, 3, 16, 5);
        let stage = |stage: usize| {
            let (inputs, outputs) = (16 << stage, 32 << stage);
            let mut same = || Residual::new(ConvReluNorm::new(init, outputs, outputs, 1));
            let [first, second] = [same(), same()];
            (ConvReluNorm::new(init, inputs, outputs, 2), first, second)
        };
        SmallResNet { stem, stages: (0..4).map(stage).collect(), head: Linear::new(init, 256, 10) }
    }
}

impl Layer for SmallResNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.stem.forward(x, cx);
        let x = self.stages.forward(&x, cx);
        self.head.forward(&GlobalPool::Max.forward(&x, cx), cx)
    }
}

fn cnn_cifar(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let net = Init::build(SEED, SmallResNet::new);
    training(threads, &net, 128, Sgd::new(0.01).momentum(0.9).weight_decay(1e-4).decay_all().boxed())
}

fn resnet18_cifar(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let net = Init::build(SEED, |init| ResNet::cifar(init, RESNET_18, 10));
    training(threads, &net, 32, Sgd::new(0.01).momentum(0.9).boxed())
}

fn training(threads: usize, net: &dyn Layer, batch: usize, optimizer: Optimizer) -> anyhow::Result<Box<dyn Call>> {
    let x = placeholder("x", f32, ("batch", 3, 32, 32));
    let y = placeholder("y", i64, ["batch"]);
    let loss = cross_entropy(&net.forward(&x, &mut Forward::train()), &y);
    let step = optimizer.minimize(&loss);
    cycle(
        threads,
        loss,
        step,
        x,
        Some(y),
        pool(threads, random_normal([batch, 3, 32, 32], f32), Some(labels(&[batch], 10)))?,
    )
}

/// A model that answers, on the batches in turn.
struct Inference {
    session: Session,
    input: Tensor,
    output: Tensor,
    pool: Vec<Batch>,
    /// The batch that was taken last.
    next: usize,
}

impl Inference {
    fn feeds(&self) -> Feeds<'_> {
        Feeds::new().with(&self.input, &self.pool[self.next].inputs)
    }
}

impl Call for Inference {
    fn run(&mut self) -> anyhow::Result<()> {
        self.next = (self.next + 1) % self.pool.len();
        std::hint::black_box(self.session.evaluate(&self.output, self.feeds())?);
        Ok(())
    }

    fn profile(&mut self) -> anyhow::Result<Profile> {
        Ok(self.session.profile(&self.output, self.feeds())?.1)
    }

    fn compile(&self) -> anyhow::Result<CompileTimes> {
        Ok(self.session.compile_times(&self.output, self.feeds())?)
    }
}

fn resnet34_infer(threads: usize, batch: usize) -> anyhow::Result<Box<dyn Call>> {
    let net = Init::build(SEED, |init| ResNet::new(init, RESNET_34, 1000));
    let input = placeholder("x", f32, ("batch", 3, 224, 224));
    let output = net.forward(&input, &mut Forward::infer());
    let session = Session::builder().threads(threads).seed(SEED).build()?;
    let pool = pool(threads, random_normal([batch, 3, 224, 224], f32), None)?;
    Ok(Box::new(Inference { session, input, output, pool, next: 0 }))
}
