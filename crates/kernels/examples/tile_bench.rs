//! How fast the tile interpreter is: `cargo run --release -p thalweg-kernels --example tile_bench [part of a name]…`.
//!
//! The best of 15 runs, on one thread and on two; on one thread the best of each chunk, which on a busy machine is
//! seldom disturbed. Bytes are those that must move: each whole input once, each output once.

#![allow(unsafe_code)]

use std::time::Instant;

use thalweg_array::program::{Extent, Input, Instruction, Output, OutputKind, Program, Register};
use thalweg_array::scalar::{Binary, Distribution, Fold, Unary};
use thalweg_array::{DType, Scalar};
use thalweg_kernels::pool::Pool;
use thalweg_kernels::tile::{Draw, Operands, Partials, Prepared, Space};

const F32: DType = DType::F32;

/// Writes programs over f32.
struct Writer(Program);

impl Writer {
    fn new(inputs: usize) -> Writer {
        Writer(Program { inputs: vec![Input { dtype: F32, extent: Extent::Full }; inputs], ..Program::default() })
    }

    fn load(&mut self, input: u16) -> Register {
        self.0.push(Instruction::Load { input })
    }

    fn constant(&mut self, value: f64) -> Register {
        self.0.push(Instruction::Constant { value: Scalar::from(value), dtype: F32 })
    }

    fn unary(&mut self, f: Unary, x: Register) -> Register {
        self.0.push(Instruction::Unary { f, dtype: F32, x })
    }

    fn binary(&mut self, f: Binary, x: Register, y: Register) -> Register {
        self.0.push(Instruction::Binary { f, dtype: F32, x, y })
    }

    fn fold_row(&mut self, f: Fold, x: Register) -> Register {
        self.0.push(Instruction::FoldRow { f, dtype: F32, x })
    }

    fn output(mut self, register: Register, kind: OutputKind) -> Program {
        self.store(register, kind);
        self.0
    }

    fn store(&mut self, register: Register, kind: OutputKind) {
        self.0.outputs.push(Output { register, kind });
    }
}

/// f(1.5 x + 0.5)
fn chain(f: Unary) -> Program {
    let mut w = Writer::new(1);
    let x = w.load(0);
    let (a, b) = (w.constant(1.5), w.constant(0.5));
    let x = w.binary(Binary::Mul, x, a);
    let x = w.binary(Binary::Add, x, b);
    let y = w.unary(f, x);
    w.output(y, OutputKind::Store)
}

fn softmax() -> Program {
    let mut w = Writer::new(1);
    let x = w.load(0);
    let max = w.fold_row(Fold::Max, x);
    let x = w.binary(Binary::Sub, x, max);
    let e = w.unary(Unary::Exp, x);
    let sum = w.fold_row(Fold::Sum, e);
    let part = w.unary(Unary::Reciprocal, sum);
    let y = w.binary(Binary::Mul, e, part);
    w.output(y, OutputKind::Store)
}

fn layer_norm(columns: usize) -> Program {
    let mut w = Writer::new(3);
    let x = w.load(0);
    let n = w.constant(1.0 / columns as f64);
    let sum = w.fold_row(Fold::Sum, x);
    let mean = w.binary(Binary::Mul, sum, n);
    let x = w.binary(Binary::Sub, x, mean);
    let square = w.unary(Unary::Square, x);
    let sum = w.fold_row(Fold::Sum, square);
    let variance = w.binary(Binary::Mul, sum, n);
    let eps = w.constant(1e-5);
    let variance = w.binary(Binary::Add, variance, eps);
    let scale = w.unary(Unary::Rsqrt, variance);
    let x = w.binary(Binary::Mul, x, scale);
    let gain = w.load(1);
    let x = w.binary(Binary::Mul, x, gain);
    let bias = w.load(2);
    let y = w.binary(Binary::Add, x, bias);
    w.output(y, OutputKind::Store)
}

fn fold(kind: OutputKind) -> Program {
    let mut w = Writer::new(1);
    let x = w.load(0);
    w.output(x, kind)
}

fn random(distribution: Distribution) -> Program {
    let mut w = Writer::new(0);
    let x = w.0.push(Instruction::Random { distribution, dtype: F32, stream: 1 });
    w.output(x, OutputKind::Store)
}

/// relu(x + bias), a bias for each column.
fn bias_relu() -> Program {
    let mut w = Writer::new(2);
    let (x, bias) = (w.load(0), w.load(1));
    let x = w.binary(Binary::Add, x, bias);
    let y = w.unary(Unary::Relu, x);
    w.output(y, OutputKind::Store)
}

/// A step of Adam on the gradient, m, v and the parameter.
fn adam() -> Program {
    let mut w = Writer::new(4);
    let [g, m, v, x] = [0, 1, 2, 3].map(|input| w.load(input));
    let [beta1, rest1, beta2, rest2] = [0.9, 0.1, 0.999, 0.001].map(|number| w.constant(number));
    let (old, new) = (w.binary(Binary::Mul, m, beta1), w.binary(Binary::Mul, g, rest1));
    let m = w.binary(Binary::Add, old, new);
    let square = w.unary(Unary::Square, g);
    let (old, new) = (w.binary(Binary::Mul, v, beta2), w.binary(Binary::Mul, square, rest2));
    let v = w.binary(Binary::Add, old, new);
    let [rate, correction, eps] = [0.002, 0.1, 1e-8].map(|number| w.constant(number));
    let wide = w.unary(Unary::Sqrt, v);
    let wide = w.binary(Binary::Mul, wide, correction);
    let wide = w.binary(Binary::Add, wide, eps);
    let step = w.binary(Binary::Div, m, wide);
    let step = w.binary(Binary::Mul, step, rate);
    let x = w.binary(Binary::Sub, x, step);
    [m, v, x].into_iter().for_each(|register| w.store(register, OutputKind::Store));
    w.0
}

/// Memory that begins with a cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Line([f32; 16]);

fn lines(bytes: usize) -> Vec<Line> {
    vec![Line([0.0; 16]); bytes.div_ceil(64)]
}

fn floats(n: usize) -> Vec<Line> {
    let mut lines = lines(4 * n);
    let numbers = lines.iter_mut().flat_map(|line| &mut line.0).enumerate();
    numbers.for_each(|(i, x)| *x = (i % 1999) as f32 / 500.0 - 2.0);
    lines
}

/// An address that threads may share.
struct Address(*mut u8);

// SAFETY: a plain address.
unsafe impl Sync for Address {}

impl Address {
    fn get(&self) -> *mut u8 {
        self.0
    }
}

fn measure(name: &str, program: &Program, dims: &[usize]) {
    let n: usize = dims.iter().product();
    let mut space = Space::dense(dims, program.inputs.len(), program.outputs.len());
    // Several outputs replace the last inputs; beside one output all inputs but the first are a row.
    let replaced = if program.outputs.len() > 1 { program.outputs.len() } else { 0 };
    let whole = program.inputs.len().min(1 + replaced);
    for strides in space.inputs.iter_mut().skip(whole) {
        strides.fill(0);
        *strides.last_mut().expect("a column axis") = 1;
    }
    let stored = program.outputs.iter().filter(|output| output.kind == OutputKind::Store).count();
    let bytes = 4 * n * (whole + stored);
    let inputs: Vec<_> = program.inputs.iter().map(|_| floats(n)).collect();
    let output = floats(if replaced == 0 { n } else { 0 });
    let to: Vec<*mut u8> = match replaced {
        0 => vec![output.as_ptr().cast_mut().cast()],
        _ => inputs[whole - replaced..].iter().map(|x| x.as_ptr().cast_mut().cast()).collect(),
    };
    let prepared = Prepared::new(program, &space);
    let from: Vec<*const u8> = inputs.iter().map(|x| x.as_ptr().cast()).collect();
    let operands = Operands { inputs: &from, outputs: &to, draw: Draw::default() };
    let partials_memory = lines(prepared.partial_bytes());
    let partials = Partials(partials_memory.as_ptr().cast_mut().cast());
    print!("{name:18} {:16} {:4}", format!("{dims:?}"), prepared.chunks());
    for threads in [1, 2] {
        let pool = Pool::new(threads).expect("threads");
        let memory: Vec<_> = (0..threads).map(|_| lines(prepared.scratch_bytes())).collect();
        let scratch: Vec<Address> = memory.iter().map(|x| Address(x.as_ptr().cast_mut().cast())).collect();
        let mut best = f64::INFINITY;
        let mut best_chunks = vec![f64::INFINITY; prepared.chunks()];
        for _ in 0..15 {
            let start = Instant::now();
            // SAFETY (both blocks): memory was made for the space; each worker has its scratch.
            if threads == 1 {
                for (chunk, best) in best_chunks.iter_mut().enumerate() {
                    let start = Instant::now();
                    unsafe { prepared.run_chunk(chunk, &operands, scratch[0].get(), partials) };
                    *best = best.min(start.elapsed().as_secs_f64());
                }
            } else {
                unsafe {
                    pool.run(prepared.chunks(), &|chunk, worker| {
                        prepared.run_chunk(chunk, &operands, scratch[worker].get(), partials);
                    });
                }
            }
            unsafe { prepared.finish(&operands, partials) };
            best = best.min(start.elapsed().as_secs_f64());
        }
        let time = if threads == 1 { best_chunks.iter().sum() } else { best };
        print!(" | {:9.4} {:7.1} {:8.4}", time * 1e3, bytes as f64 / time / 1e9, time * 1e9 / n as f64);
    }
    println!();
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let measure = |name: &str, program: Program, dims: &[usize]| {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            measure(name, &program, dims);
        }
    };
    println!("{:40} | 1 thread: ms, GB/s, ns/element | 2 threads: the same", "program, sizes, chunks");
    measure("gelu chain", chain(Unary::Gelu), &[1 << 24]);
    measure("softmax", softmax(), &[4096, 4096]);
    measure("softmax", softmax(), &[40960, 10]);
    measure("softmax", softmax(), &[4096, 1000]);
    measure("layer norm", layer_norm(1024), &[4096, 1024]);
    measure("layer norm", layer_norm(128), &[8192, 128]);
    measure("sum", fold(OutputKind::FoldAll(Fold::Sum)), &[1 << 24]);
    measure("sum over rows", fold(OutputKind::FoldRows(Fold::Sum)), &[16384, 1024]);
    measure("sum over rows", fold(OutputKind::FoldRows(Fold::Sum)), &[1 << 18, 64]);
    measure("adam", adam(), &[25 << 20]);
    measure("adam", adam(), &[1 << 16]);
    measure("bias relu", bias_relu(), &[16384, 1024]);
    measure("bias relu", bias_relu(), &[1 << 18, 64]);
    measure("uniform", random(Distribution::Uniform), &[1 << 22]);
    measure("normal", random(Distribution::Normal), &[1 << 22]);
    for f in [
        Unary::Square,
        Unary::Exp,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Silu,
        Unary::Log,
        Unary::Softplus,
        Unary::Erf,
        Unary::Sin,
        Unary::Sqrt,
        Unary::Sinh,
        Unary::Atan,
    ] {
        measure(&format!("chain {f:?}"), chain(f), &[1 << 16]);
    }
}
