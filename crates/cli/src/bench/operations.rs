//! The operations of W12: forward only, on operands that the session keeps as variables; every call gives a new array.
//!
//! Second factors are fed: those that are variables stay packed from run to run, which others do not do for an operation.

use thalweg::prelude::*;
use thalweg::run::{CompileTimes, Profile};

use super::{Call, Work, Workload};

const SEED: u64 = 1234;
/// Height and width of what is convolved.
const SIDE: usize = 56;
const ELEMENTS: usize = 16 * 1024 * 1024;

pub(super) fn workloads() -> Vec<Workload> {
    fn multiply(n: usize) -> Option<Work> {
        Some(Work::Flop(2.0 * (n * n * n) as f64))
    }
    fn convolve(inputs: usize, kernel: usize) -> Option<Work> {
        Some(Work::Flop(2.0 * (8 * inputs * 64 * SIDE * SIDE * kernel * kernel) as f64))
    }
    let bytes = |count: usize| Some(Work::Bytes(4.0 * count as f64));
    vec![
        Workload { name: "W12_sgemm_256", work: multiply(256), make: |threads| sgemm(threads, 256) },
        Workload { name: "W12_sgemm_512", work: multiply(512), make: |threads| sgemm(threads, 512) },
        Workload { name: "W12_sgemm_1024", work: multiply(1024), make: |threads| sgemm(threads, 1024) },
        Workload { name: "W12_sgemm_2048", work: multiply(2048), make: |threads| sgemm(threads, 2048) },
        Workload { name: "W12_gelu_chain", work: bytes(2 * ELEMENTS), make: gelu_chain },
        Workload { name: "W12_softmax", work: bytes(2 * 4096 * 4096), make: softmax },
        Workload { name: "W12_layernorm", work: bytes(2 * 4096 * 1024), make: layer_norm },
        Workload { name: "W12_sum", work: bytes(ELEMENTS), make: sum },
        Workload { name: "W12_conv3x3", work: convolve(64, 3), make: |threads| convolution(threads, 64, 3) },
        Workload { name: "W12_conv1x1", work: convolve(256, 1), make: |threads| convolution(threads, 256, 1) },
    ]
}

/// Normal numbers that the session keeps.
pub(super) fn operand(name: &str, shape: &[usize]) -> Variable {
    Variable::new(name, random_normal(shape, f32)).not_trainable()
}

/// An operation on what the session keeps, and what is fed.
struct Operation {
    session: Session,
    result: Tensor,
    fed: Option<(Tensor, Array)>,
}

impl Operation {
    fn feeds(&self) -> Feeds<'_> {
        self.fed.iter().fold(Feeds::new(), |feeds, (placeholder, array)| feeds.with(placeholder, array))
    }
}

impl Call for Operation {
    fn run(&mut self) -> anyhow::Result<()> {
        std::hint::black_box(self.session.run(&self.result, self.feeds())?);
        Ok(())
    }

    fn profile(&mut self) -> anyhow::Result<Profile> {
        Ok(self.session.profile(&self.result, self.feeds())?.1)
    }

    fn compile(&self) -> anyhow::Result<CompileTimes> {
        Ok(self.session.compile_times(&self.result, self.feeds())?)
    }
}

pub(super) fn call(threads: usize, result: Tensor) -> anyhow::Result<Box<dyn Call>> {
    Ok(Box::new(Operation { session: session(threads)?, result, fed: None }))
}

/// An operation of a second factor of this shape.
fn call_with(threads: usize, shape: &[usize], result: impl FnOnce(&Tensor) -> Tensor) -> anyhow::Result<Box<dyn Call>> {
    let (session, placeholder) = (session(threads)?, placeholder("b", f32, shape));
    let array = session.run(random_normal(shape, f32), feeds! {})?;
    Ok(Box::new(Operation { result: result(&placeholder), session, fed: Some((placeholder, array)) }))
}

fn session(threads: usize) -> anyhow::Result<Session> {
    Ok(Session::builder().threads(threads).seed(SEED).build()?)
}

fn sgemm(threads: usize, n: usize) -> anyhow::Result<Box<dyn Call>> {
    call_with(threads, &[n, n], |b| operand("a", &[n, n]).matmul(b))
}

fn gelu_chain(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    call(threads, (operand("x", &[ELEMENTS]).tensor() * 1.5 + 0.5).gelu())
}

fn softmax(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    call(threads, operand("x", &[4096, 4096]).softmax(-1))
}

fn layer_norm(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    let x = operand("x", &[4096, 1024]);
    call(threads, x.layer_norm(&operand("scale", &[1024]), &operand("shift", &[1024]), 1e-5))
}

fn sum(threads: usize) -> anyhow::Result<Box<dyn Call>> {
    call(threads, operand("x", &[ELEMENTS]).sum())
}

/// From `inputs` to 64 channels, which stand last in memory: the layout is free.
fn convolution(threads: usize, inputs: usize, kernel: usize) -> anyhow::Result<Box<dyn Call>> {
    call_with(threads, &[64, inputs, kernel, kernel], |w| {
        let x = operand("x", &[8, SIDE, SIDE, inputs]).permute(&[0, 3, 1, 2]);
        x.conv2d(w, &ConvOptions::new().padding(kernel / 2)).permute(&[0, 2, 3, 1])
    })
}
