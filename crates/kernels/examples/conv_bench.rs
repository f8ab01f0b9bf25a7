//! Speed of convolutions and their gradients on the layers of some networks, in GFLOP/s beside the peak of this processor.
//!
//! ```text
//! cargo run --release -p thalweg-kernels --example conv_bench [-- THREADS [NAME]]
//! ```
//!
//! Rates count the products of the definition, whatever is really done. Each figure is the best of many runs. The columns
//! are the output, the same with a packed weight, the input and the weight side.

#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use thalweg_array::DType;
use thalweg_kernels::convolution::{Axis, Convolution, Problem, Side, Winograd};
use thalweg_kernels::cpu::Isa;
use thalweg_kernels::matmul::Operands;
use thalweg_kernels::pool::Pool;

/// Name, batch, channels in and out, pixels, kernel, stride, padding, groups.
type Layer = (&'static str, usize, usize, usize, usize, usize, usize, usize, usize);

const LAYERS: &[Layer] = &[
    ("W12 3x3", 8, 64, 64, 56, 3, 1, 1, 1),
    ("W12 1x1", 8, 256, 64, 56, 1, 1, 0, 1),
    ("W4 stem", 32, 3, 64, 32, 3, 1, 1, 1),
    ("W4 64", 32, 64, 64, 32, 3, 1, 1, 1),
    ("W4 128", 32, 128, 128, 16, 3, 1, 1, 1),
    ("W4 256", 32, 256, 256, 8, 3, 1, 1, 1),
    ("W4 512", 32, 512, 512, 4, 3, 1, 1, 1),
    ("W4 64-128 s2", 32, 64, 128, 32, 3, 2, 1, 1),
    ("W4 128-256 s2", 32, 128, 256, 16, 3, 2, 1, 1),
    ("W4 256-512 s2", 32, 256, 512, 8, 3, 2, 1, 1),
    ("W4 64-128 1x1 s2", 32, 64, 128, 32, 1, 2, 0, 1),
    ("W4 256-512 1x1 s2", 32, 256, 512, 8, 1, 2, 0, 1),
    ("W3 stem 5x5", 128, 3, 16, 32, 5, 1, 2, 1),
    ("W3 16-32 s2", 128, 16, 32, 32, 3, 2, 1, 1),
    ("W3 32", 128, 32, 32, 16, 3, 1, 1, 1),
    ("W3 32-64 s2", 128, 32, 64, 16, 3, 2, 1, 1),
    ("W3 64", 128, 64, 64, 8, 3, 1, 1, 1),
    ("W3 128", 128, 128, 128, 4, 3, 1, 1, 1),
    ("W3 256", 128, 256, 256, 2, 3, 1, 1, 1),
    ("W5b stem 7x7 s2", 8, 3, 64, 224, 7, 2, 3, 1),
    ("W5b 64", 8, 64, 64, 56, 3, 1, 1, 1),
    ("W5b 128", 8, 128, 128, 28, 3, 1, 1, 1),
    ("W5b 256", 8, 256, 256, 14, 3, 1, 1, 1),
    ("W5b 512", 8, 512, 512, 7, 3, 1, 1, 1),
    ("W5b 64-128 s2", 8, 64, 128, 56, 3, 2, 1, 1),
    ("W5a stem 7x7 s2", 1, 3, 64, 224, 7, 2, 3, 1),
    ("W5a 64", 1, 64, 64, 56, 3, 1, 1, 1),
    ("W5a 128", 1, 128, 128, 28, 3, 1, 1, 1),
    ("W5a 256", 1, 256, 256, 14, 3, 1, 1, 1),
    ("W5a 512", 1, 512, 512, 7, 3, 1, 1, 1),
    ("depthwise 96", 8, 96, 96, 56, 3, 1, 1, 96),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.first().map_or(1, |x| x.parse().expect("the number of threads"));
    let only = arguments.get(1).map_or("", String::as_str);
    let isa = std::env::var("ISA").map_or(Isa::best(), |x| x.parse().expect("an instruction set"));
    let winograd = match std::env::var("WINOGRAD").as_deref() {
        Ok("2") => Winograd::UpTo2x2,
        Ok("4") => Winograd::UpTo4x4,
        _ => Winograd::Never,
    };
    let pool = Pool::new(threads).expect("a pool");
    println!(
        "f32, {isa}, {threads} threads, Winograd {winograd:?}; ms and GFLOP/s of output, output with packed weight, input, weight"
    );
    for &(name, batch, inputs, outputs, pixels, kernel, stride, padding, groups) in LAYERS {
        if !name.starts_with(only) {
            continue;
        }
        let axes = [Axis::new(pixels, kernel, stride, 1, (padding, padding)); 2];
        let problem = Problem::new(DType::F32, Side::Output, batch, inputs, outputs, &axes);
        let problem = Problem { groups, winograd, ..problem };
        print!("{name:<18}{:7.3} GF", problem.flops() as f64 / 1e9);
        for (side, packed) in [(Side::Output, false), (Side::Output, true), (Side::Input, false), (Side::Weight, false)]
        {
            let seconds = measure(&Convolution::new(problem.on(side), isa), &pool, packed);
            print!(" {:8.3} {:6.1}", seconds * 1e3, problem.flops() as f64 / 1e9 / seconds);
        }
        println!("  {}", Convolution::new(problem, isa).describe());
    }
}

/// A cache line.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// The least seconds of a run.
fn measure(plan: &Convolution, pool: &Pool, packed: bool) -> f64 {
    let [x, w, y] = plan.problem().elements();
    let [a, b, c] = match plan.problem().side {
        Side::Output => [x, w, y],
        Side::Input => [y, w, x],
        Side::Weight => [x, y, w],
    };
    let (a, b, mut c) = (numbers(a), numbers(b), vec![0f32; c]);
    let mut copy = vec![Line::default(); if packed { plan.packed_weight_bytes().div_ceil(64) } else { 0 }];
    let mut operands = Operands { a: a.as_ptr().cast(), b: b.as_ptr().cast(), c: c.as_mut_ptr().cast() };
    let mut plan = plan.clone();
    if packed {
        // SAFETY: `b` has the size of the problem.
        unsafe { plan.pack_weight(pool, operands.b, bytemuck::cast_slice_mut(&mut copy[..])) };
        plan = plan.with_packed_weight();
        operands.b = copy.as_ptr().cast();
    }
    let mut scratch = vec![0; plan.scratch_bytes(pool.threads())];
    let mut best = f64::INFINITY;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(150) {
        let start = Instant::now();
        // SAFETY: the vectors have the sizes of the problem.
        unsafe { plan.run(pool, operands, &mut scratch, None) };
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn numbers(length: usize) -> Vec<f32> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
