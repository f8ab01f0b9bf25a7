//! Speed of the matrix multiply, in GFLOP/s beside the peak of this processor; with the feature `gemm` beside that crate.
//!
//! ```text
//! cargo run --release -p thalweg-kernels --features gemm --example matmul_bench [-- THREADS [NAME]]
//! ```
//!
//! Shapes are m x k x n. NT: B lies transposed in memory. TN: A does. Each figure is the best of many runs, each long
//! enough for the clock and short enough to fall between two turns of other programs, and behind it the median: where
//! another guest shares the cores, that is what they give, and a kernel may lose more there than another.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use thalweg_array::{DType, Element};
use thalweg_kernels::cpu::Isa;
use thalweg_kernels::matmul::{Matmul, Operands, Problem};
use thalweg_kernels::pool::Pool;

/// Which operand lies transposed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    NN,
    NT,
    TN,
}
use Layout::{NN, NT, TN};

const SHAPES: &[(&str, usize, usize, usize, Layout)] = &[
    ("W12", 256, 256, 256, NN),
    ("W12", 512, 512, 512, NN),
    ("W12", 1024, 1024, 1024, NN),
    ("W12", 2048, 2048, 2048, NN),
    ("square", 16, 16, 16, NN),
    ("square", 32, 32, 32, NN),
    ("square", 64, 64, 64, NN),
    ("square", 128, 128, 128, NN),
    ("square", 512, 512, 512, NT),
    ("square", 512, 512, 512, TN),
    ("square", 1024, 1024, 1024, NT),
    ("square", 1024, 1024, 1024, TN),
    ("W1 forward 1", 100, 784, 128, NN),
    ("W1 forward 2", 100, 128, 32, NN),
    ("W1 forward 3", 100, 32, 10, NN),
    ("W1 weights 1", 784, 100, 128, TN),
    ("W1 weights 2", 128, 100, 32, TN),
    ("W1 weights 3", 32, 100, 10, TN),
    ("W1 inputs 2", 100, 32, 128, NT),
    ("W1 inputs 3", 100, 10, 32, NT),
    ("W10 forward 1", 128, 784, 400, NN),
    ("W10 forward 4", 128, 20, 400, NN),
    ("W10 forward 5", 128, 400, 784, NN),
    ("W10 weights 1", 784, 128, 400, TN),
    ("W10 weights 5", 400, 128, 784, TN),
    ("W10 inputs 5", 128, 784, 400, NT),
    ("W2 forward 1", 256, 1024, 4096, NN),
    ("W2 forward 2", 256, 4096, 4096, NN),
    ("W2 forward 3", 256, 4096, 1000, NN),
    ("1x1", 25088, 256, 64, NN),
    ("W9 forward 1", 2048, 256, 1024, NN),
    ("W9 forward 2", 2048, 1024, 256, NN),
    ("W9 forward 3", 2048, 256, 768, NN),
    ("W9 inputs 1", 2048, 1024, 256, NT),
    ("W9 inputs 2", 2048, 256, 1024, NT),
    ("W9 weights 1", 256, 2048, 1024, TN),
    ("W9 weights 2", 1024, 2048, 256, TN),
    ("W9 weights 3", 256, 2048, 768, TN),
    ("W9 weights 4", 256, 2048, 256, TN),
    ("W2 weights 1", 1024, 256, 4096, TN),
    ("W2 weights 2", 4096, 256, 4096, TN),
    ("W2 weights 3", 4096, 256, 1000, TN),
    ("W2 inputs 2", 256, 4096, 4096, NT),
    ("W2 inputs 3", 256, 1000, 4096, NT),
    ("LSTM step", 64, 512, 2048, NN),
    ("LSTM inputs", 64, 2048, 512, NT),
    ("LSTM weights", 512, 4480, 2048, TN),
    ("GRU step", 64, 256, 768, NN),
    ("GRU inputs", 64, 768, 256, NT),
    ("GRU weights", 256, 512, 768, TN),
    ("words", 1280, 512, 10000, NN),
    ("convolution", 128, 1152, 128, NN),
    ("few", 4, 4096, 4096, NN),
    ("few", 16, 1024, 1024, NN),
    ("few", 20, 256, 128, NN),
    ("row", 1, 512, 2048, NN),
    ("row", 1, 4096, 4096, NN),
    ("row", 1, 4096, 4096, NT),
    ("row", 1, 2048, 512, NT),
    ("small k", 2048, 16, 2048, NN),
    ("column", 2048, 512, 1, NN),
    ("xor", 4, 2, 8, NN),
];

/// Something to be measured: one call does the work once.
type Work<'a> = Box<dyn FnMut() + 'a>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.first().map_or(1, |x| x.parse().expect("the number of threads"));
    let only = arguments.get(1).map_or("", String::as_str);
    let isa = std::env::var("ISA").map_or(Isa::best(), |x| x.parse().expect("an instruction set"));
    let pool = Pool::new(threads).expect("a pool");
    println!(
        "f32, {isa}, {threads} threads; GFLOP/s at best and in the median, and percent of what a register loop reaches so"
    );
    print!("{:<14}{:>5} x {:>4} x {:>4}   ", "", "m", "k", "n");
    println!(" {:<24} {:<24} {:<13} {:<13} gemm", "ours", "packed B", "on vectors", "f64");
    for &(name, m, k, n, layout) in SHAPES.iter().filter(|shape| shape.0.starts_with(only)) {
        let flops = Problem::new(DType::F32, m, k, n).flops() as f64 / 1e9;
        let mut works: Vec<Work<'_>> = vec![
            ours::<f32>(&pool, isa, m, k, n, layout),
            packed(&pool, isa, m, k, n, layout),
            ours::<f32>(&pool, isa.min(Isa::Avx512), m, k, n, layout),
            ours::<f64>(&pool, isa, m, k, n, layout),
        ];
        works.extend(gemm(threads, m, k, n, layout));
        works.extend(peak());
        let mut seconds = seconds(&mut works);
        let peak = seconds.pop().expect("the register loop").map(|x| PEAK_FLOPS / 1e9 * threads as f64 / x);
        print!("{name:<14}{m:>5} x {k:>4} x {n:>4} {layout:?}");
        for (number, seconds) in seconds.into_iter().enumerate() {
            let [best, median] = seconds.map(|seconds| flops / seconds);
            print!(" {best:6.1} {median:6.1}");
            if number < 2 {
                print!(" {:3.0} % {:3.0} %", 100.0 * best / peak[0], 100.0 * median / peak[1]);
            }
        }
        println!();
    }
}

/// The least and the median seconds of each, taken in turns so that all see the same weather.
fn seconds(works: &mut [Work<'_>]) -> Vec<[f64; 2]> {
    let repeats: Vec<u32> = works.iter_mut().map(repeats).collect();
    let mut all = vec![Vec::new(); works.len()];
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(600) {
        for ((work, &repeats), all) in works.iter_mut().zip(&repeats).zip(&mut all) {
            work();
            let start = Instant::now();
            (0..repeats).for_each(|_| work());
            all.push(start.elapsed().as_secs_f64() / f64::from(repeats));
        }
    }
    let of = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        [all[0], all[all.len() / 2]]
    };
    all.into_iter().map(of).collect()
}

/// How often to repeat the work for one measurement.
fn repeats(work: &mut Work<'_>) -> u32 {
    let mut repeats = 1;
    loop {
        let start = Instant::now();
        (0..repeats).for_each(|_| work());
        if start.elapsed() > Duration::from_micros(50) {
            return repeats;
        }
        repeats *= 2;
    }
}

fn numbers(length: usize) -> Vec<f32> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn problem(m: usize, k: usize, n: usize, layout: Layout, dtype: DType) -> Problem {
    let problem = Problem::new(dtype, m, k, n);
    match layout {
        NN => problem,
        NT => problem.transpose_b(),
        TN => problem.transpose_a(),
    }
}

fn ours<T: Element>(pool: &Pool, isa: Isa, m: usize, k: usize, n: usize, layout: Layout) -> Work<'_> {
    let plan = Matmul::new(problem(m, k, n, layout, T::DTYPE), isa);
    let mut scratch = vec![0; plan.scratch_bytes(pool.threads())];
    let convert = |x: Vec<f32>| x.into_iter().map(|x| T::from_f64(x.into())).collect::<Vec<T>>();
    let (a, b, mut c) = (convert(numbers(m * k)), convert(numbers(k * n)), convert(numbers(m * n)));
    Box::new(move || plan.multiply(pool, &a, &b, black_box(&mut c), &mut scratch))
}

fn packed(pool: &Pool, isa: Isa, m: usize, k: usize, n: usize, layout: Layout) -> Work<'_> {
    let packing = Matmul::new(problem(m, k, n, layout, DType::F32), isa);
    let plan = packing.with_packed_b();
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), numbers(m * n));
    let mut packed = vec![0u64; packing.packed_b_bytes().div_ceil(8)];
    // SAFETY: `b` has the size of the problem.
    unsafe { packing.pack_b(pool, b.as_ptr().cast(), bytemuck::cast_slice_mut(&mut packed)) };
    let mut scratch = vec![0; plan.scratch_bytes(pool.threads())];
    Box::new(move || {
        let operands = Operands { a: a.as_ptr().cast(), b: packed.as_ptr().cast(), c: c.as_mut_ptr().cast() };
        // SAFETY: `a` and `c` have the sizes of the problem, the packed copy the one that was asked for.
        unsafe { plan.run(pool, operands, &mut scratch, None) };
    })
}

#[cfg(feature = "gemm")]
fn gemm(threads: usize, m: usize, k: usize, n: usize, layout: Layout) -> Option<Work<'static>> {
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), numbers(m * n));
    let (a_row, a_column) = if layout == TN { (1, m as isize) } else { (k as isize, 1) };
    let (b_row, b_column) = if layout == NT { (1, k as isize) } else { (n as isize, 1) };
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    Some(Box::new(move || {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), black_box(&mut c).as_mut_ptr());
        // SAFETY: the pointers and strides describe the vectors made above.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c,
                1,
                n as isize,
                false,
                a,
                a_column,
                a_row,
                b,
                b_column,
                b_row,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }))
}

#[cfg(not(feature = "gemm"))]
fn gemm(_: usize, _: usize, _: usize, _: usize, _: Layout) -> Option<Work<'static>> {
    None
}

/// What one call of the register loop does.
const PEAK_FLOPS: f64 = (2 * 16 * 16 * 1000) as f64;

/// Fused multiply-adds of f32 on registers, on one processor.
fn peak() -> Option<Work<'static>> {
    #[cfg(target_arch = "x86_64")]
    if Isa::Avx512.is_available() {
        // SAFETY: the instruction set is there.
        return Some(Box::new(|| unsafe { multiply_add_registers() }));
    }
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn multiply_add_registers() {
    use std::arch::x86_64::*;
    let (x, y) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(0.001)));
    let mut sums = [_mm512_setzero_ps(); 16];
    for _ in 0..1000 {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, y);
        }
    }
    black_box(sums);
}
