//! The multiply against loops over its definition, on every instruction set of the processor.

use std::fmt::Debug;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use thalweg_array::random::Philox;

use super::*;

/// What the tests need of an element type: the order of accumulation written out.
trait Tested: Element {
    type Sum: Element + Debug;
    /// Σ over a panel, in the promised order and rounding.
    fn panel_sum(isa: Isa, products: impl Iterator<Item = (Self, Self)>) -> Self::Sum;
    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
}

macro_rules! tested_float {
    ($type:ty, $sum:ty, $widen:expr) => {
        impl Tested for $type {
            type Sum = $sum;
            fn panel_sum(isa: Isa, products: impl Iterator<Item = (Self, Self)>) -> $sum {
                let widen: fn($type) -> $sum = $widen;
                products.fold(0.0, |sum, (a, b)| match isa {
                    Isa::Portable => widen(a) * widen(b) + sum,
                    Isa::Neon | Isa::Avx2 | Isa::Avx512 => widen(a).mul_add(widen(b), sum),
                    Isa::Amx => unreachable!("only f32 is multiplied by matrix units"),
                })
            }
            fn add(a: $sum, b: $sum) -> $sum {
                a + b
            }
        }
    };
}

impl Tested for f32 {
    type Sum = f32;
    fn panel_sum(isa: Isa, products: impl Iterator<Item = (f32, f32)>) -> f32 {
        match isa {
            Isa::Portable => products.fold(0.0, |sum, (a, b)| a * b + sum),
            Isa::Neon | Isa::Avx2 | Isa::Avx512 => products.fold(0.0, |sum, (a, b)| a.mul_add(b, sum)),
            Isa::Amx => sum_of_pieces(products),
        }
    }
    fn add(a: f32, b: f32) -> f32 {
        a + b
    }
}

/// Σ over a panel as the matrix units add it up, by the words of `amx.rs`.
fn sum_of_pieces(mut products: impl Iterator<Item = (f32, f32)>) -> f32 {
    let rounded = |x: f32| f32::from_bits((x.to_bits() + 0x8000) & 0xffff_0000);
    let pieces = |x: f32| {
        let x1 = rounded(x);
        let x2 = rounded(x - x1);
        [x1, x2, x - x1 - x2]
    };
    let mut sum = 0.0;
    loop {
        // By halves of the block, then pieces.
        let (mut a, mut b) = ([[[0.0; 16]; 3]; 2], [[[0.0; 16]; 3]; 2]);
        let mut steps = 0;
        for (x, y) in products.by_ref().take(32) {
            for (piece, (x, y)) in pieces(x).into_iter().zip(pieces(y)).enumerate() {
                a[steps / 16][piece][steps % 16] = x;
                b[steps / 16][piece][steps % 16] = y;
            }
            steps += 1;
        }
        if steps == 0 {
            return sum;
        }
        // A product of pieces is exact, so the sum alone is rounded.
        for (x, y) in [(2, 0), (0, 0), (1, 0), (1, 1), (0, 1), (0, 2)] {
            let of_half = |half: usize| a[half][x].iter().zip(&b[half][y]).fold(0.0, |sum: f32, (a, b)| sum + a * b);
            sum += of_half(0) + of_half(1);
        }
    }
}

tested_float!(f64, f64, |x| x);
tested_float!(f16, f32, f16::to_f32);
tested_float!(bf16, f32, bf16::to_f32);

macro_rules! tested_integer {
    ($($type:ty)*) => {$(
        impl Tested for $type {
            type Sum = $type;
            fn panel_sum(_: Isa, products: impl Iterator<Item = ($type, $type)>) -> $type {
                products.fold(0, |sum: $type, (a, b)| sum.wrapping_add(a.wrapping_mul(b)))
            }
            fn add(a: $type, b: $type) -> $type {
                a.wrapping_add(b)
            }
        }
    )*};
}
tested_integer!(i32 i64 u8);

/// `length` numbers that look random: floats in [-1, 1), integers of all sizes.
fn numbers<T: Element>(length: usize, seed: u64) -> Vec<T> {
    (0..length as u64)
        .map(|i| {
            let bits = Philox::new(seed, 0).block(i, 0)[0];
            if T::DTYPE.is_float() {
                T::from_f64(f64::from(bits) / f64::from(1u32 << 31) - 1.0)
            } else {
                T::from_i64(bits.into())
            }
        })
        .collect()
}

/// C by definition, in the promised order; `c` is what lies in C before.
fn expected<T: Tested>(problem: &Problem, isa: Isa, a: &[T], b: &[T], c: &[T::Sum]) -> Vec<T::Sum> {
    let mut c = c.to_vec();
    let Problem { m, k, n, a: at, b: bt, c_row_stride, accumulate, .. } = *problem;
    for i in 0..m {
        for j in 0..n {
            let mut sum = if accumulate { c[i * c_row_stride + j] } else { T::Sum::default() };
            for (number, first) in (0..k).step_by(panel_length(k)).enumerate() {
                let panel = first..k.min(first + panel_length(k));
                let products = panel.map(|p| (a[i * at.row + p * at.column], b[p * bt.row + j * bt.column]));
                let panel = T::panel_sum(isa, products);
                sum = if number == 0 && !accumulate { panel } else { T::add(sum, panel) };
            }
            c[i * c_row_stride + j] = sum;
        }
    }
    c
}

/// Runs the plan on `pool` with the scratch memory filled with NaN bytes, so that a read of what was not written shows.
fn run<T: Tested>(plan: &Matmul, pool: &Pool, a: &[T], b: &[T], c: &[T::Sum]) -> Vec<T::Sum> {
    let mut c = c.to_vec();
    run_into(plan, pool, a, b, &mut c);
    c
}

fn run_into<T: Tested>(plan: &Matmul, pool: &Pool, a: &[T], b: &[T], c: &mut [T::Sum]) {
    let mut scratch = vec![0xff; plan.scratch_bytes(pool.threads())];
    plan.multiply(pool, a, b, c, &mut scratch);
}

/// A plan on `isa`, also where it is too small to be chosen; all but single columns.
fn on(problem: Problem, isa: Isa) -> Matmul {
    match problem {
        Problem { dtype: DType::F32, n, .. } if n != 1 => Matmul::on(problem, isa, isa, false),
        _ => Matmul::new(problem, isa),
    }
}

/// All instruction sets against the definition.
fn check<T: Tested>(problem: Problem, pool: &Pool) {
    let [a, b, c] = problem.extents();
    let (a, b): (Vec<T>, Vec<T>) = (numbers(a, 1), numbers(b, 2));
    let c: Vec<T::Sum> = numbers(c, 3);
    for isa in Isa::available() {
        let plan = on(problem, isa);
        let expected = expected(&problem, plan.isa, &a, &b, &c);
        assert!(run(&plan, pool, &a, &b, &c) == expected, "{problem:?} on {isa}");
        if problem.dtype.is_float() {
            let plan = Matmul::on(problem, isa, plan.isa, true);
            assert!(run_packed(&plan, pool, &a, &b, &c) == expected, "{problem:?} on {isa}, B packed before");
        }
    }
}

fn run_packed<T: Tested>(plan: &Matmul, pool: &Pool, a: &[T], b: &[T], c: &[T::Sum]) -> Vec<T::Sum> {
    let mut c = c.to_vec();
    let mut packed = vec![u64::MAX; plan.packed_b_bytes().div_ceil(8)];
    let packed: &mut [u8] = bytemuck::cast_slice_mut(&mut packed);
    let (packing, plan) = (plan, plan.with_packed_b());
    let mut scratch = vec![0xff; plan.scratch_bytes(pool.threads())];
    // SAFETY: the slices have the extents of the problem, and the packed copy the size that was asked for.
    unsafe {
        packing.pack_b(pool, b.as_ptr().cast(), packed);
        let operands = Operands { a: a.as_ptr().cast(), b: packed.as_ptr(), c: c.as_mut_ptr().cast() };
        plan.run(pool, operands, &mut scratch, None);
    }
    c
}

const SIZES: [usize; 17] = [0, 1, 2, 3, 5, 7, 8, 14, 15, 16, 17, 31, 33, 64, 100, 129, 300];

/// A problem of odd sizes with operands that are row-major, transposed, with gaps, or with every step apart.
fn problems(dtype: DType, sizes: &'static [usize]) -> impl Strategy<Value = Problem> {
    let size = || prop::sample::select(sizes);
    let layout = || (0..4usize, 0..3usize);
    (size(), size(), size(), layout(), layout(), 0..3usize, any::<bool>()).prop_map(
        move |(m, k, n, a, b, gap, accumulate)| {
            let strides = |rows: usize, columns: usize, (kind, gap): (usize, usize)| match kind {
                0 => Strides { row: columns + gap, column: 1 },
                1 => Strides { row: 1, column: rows + gap },
                2 => Strides { row: 2 * columns + gap, column: 2 },
                _ => Strides { row: 0, column: 1 },
            };
            let (a, b) = (strides(m, k, a), strides(k, n, b));
            Problem { dtype, m, k, n, a, b, c_row_stride: n + gap, accumulate }
        },
    )
}

fn check_many<T: Tested>(cases: u32, sizes: &'static [usize]) {
    let pool = Pool::new(2).unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&problems(T::DTYPE, sizes), |problem| {
            check::<T>(problem, &pool);
            Ok(())
        })
        .unwrap();
}

#[test]
fn f32_equals_the_definition_bit_for_bit() {
    check_many::<f32>(150, &SIZES);
}

#[test]
fn f64_equals_the_definition_bit_for_bit() {
    check_many::<f64>(80, &SIZES);
}

#[test]
fn f16_and_bf16_are_widened_exactly() {
    check_many::<f16>(50, &SIZES);
    check_many::<bf16>(50, &SIZES);
}

#[test]
fn integers_wrap_around() {
    check_many::<i32>(20, &SIZES[..14]);
    check_many::<i64>(20, &SIZES[..14]);
    check_many::<u8>(20, &SIZES[..14]);
}

#[test]
fn sizes_beyond_one_block_and_one_panel() {
    let pool = Pool::new(2).unwrap();
    for (m, k, n) in [
        (260, 520, 200),
        (1, 1000, 2100),
        (2100, 1000, 1),
        (9, 513, 1300),
        (1100, 130, 140),
        (600, 700, 90),
        (620, 530, 258),
        (70, 520, 4200),
    ] {
        let problem = Problem::new(DType::F32, m, k, n);
        for problem in [problem, problem.transpose_a(), problem.transpose_b().accumulate()] {
            check::<f32>(problem, &pool);
        }
    }
}

#[test]
fn every_number_of_rows_and_columns_of_a_tile() {
    let pool = Pool::new(1).unwrap();
    for m in 1..=16 {
        for n in 1..=70 {
            check::<f32>(Problem::new(DType::F32, m, 3, n), &pool);
            check::<f64>(Problem::new(DType::F64, m, 3, n).transpose_b(), &pool);
        }
    }
}

/// Runs the plan with a C that begins on a cache line.
fn run_aligned(plan: &Matmul, pool: &Pool, a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
    let mut room = vec![f32::NAN; c.len() + ALIGNMENT];
    let start = room.as_ptr().align_offset(ALIGNMENT);
    let aligned = &mut room[start..][..c.len()];
    aligned.copy_from_slice(c);
    run_into(plan, pool, a, b, aligned);
    aligned.to_vec()
}

#[test]
fn where_b_comes_from_and_c_goes_to_changes_nothing() {
    let pool = Pool::new(2).unwrap();
    let mut went_past = 0;
    for (m, k, n) in [
        (100, 32, 128),
        (128, 20, 400),
        (13, 5, 48),
        (100, 784, 128),
        (64, 520, 400),
        (7, 300, 1040),
        (1, 40, 512),
        (300, 17, 33),
        (600, 40, 64),
        (90, 1, 16),
        (90, 0, 16),
    ] {
        let problem = Problem::new(DType::F32, m, k, n);
        let gap = Problem { c_row_stride: n + 16, ..problem };
        for problem in [problem, gap, problem.transpose_a(), problem.transpose_b(), problem.accumulate()] {
            let lengths = problem.extents();
            let (a, b, c): (Vec<f32>, Vec<f32>, Vec<f32>) =
                (numbers(lengths[0], 1), numbers(lengths[1], 2), numbers(lengths[2], 3));
            for isa in Isa::available() {
                let plan = on(problem, isa);
                let expected = expected(&problem, plan.isa, &a, &b, &c);
                let plan = plan.with_distant_b();
                assert!(run(&plan, &pool, &a, &b, &c) == expected, "{problem:?} on {isa}, B from afar");
                let plan = plan.with_c_past_caches();
                assert!(run_aligned(&plan, &pool, &a, &b, &c) == expected, "{problem:?} on {isa}, C past the caches");
                assert!(run(&plan, &pool, &a, &b, &c) == expected, "{problem:?} on {isa}, C anywhere");
                went_past += usize::from(plan.partition.b_is_distant && plan.partition.c_goes_past_caches());
            }
        }
    }
    let can = Isa::available().any(|isa| matches!(isa, Isa::Avx2 | Isa::Avx512));
    assert!(!can || went_past > 25, "{went_past} plans did both");
}

#[test]
fn the_number_of_threads_does_not_enter() {
    let problem = Problem::new(DType::F32, 190, 300, 210);
    let (a, b): (Vec<f32>, Vec<f32>) = (numbers(190 * 300, 1), numbers(300 * 210, 2));
    let plan = Matmul::new(problem, Isa::best());
    assert!(plan.chunks() > 3);
    let c = vec![0.0; 190 * 210];
    let one = run(&plan, &Pool::new(1).unwrap(), &a, &b, &c);
    for threads in [2, 3, 7] {
        assert_eq!(run(&plan, &Pool::new(threads).unwrap(), &a, &b, &c), one, "{threads} threads");
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_around_it() {
    let pool = Pool::new(1).unwrap();
    let (k, n) = (700, 90);
    let (a, b): (Vec<f32>, Vec<f32>) = (numbers(57 * k, 1), numbers(k * n, 2));
    for isa in Isa::available() {
        for transposed in [false, true] {
            let plan = |m| {
                let problem = Problem::new(DType::F32, m, k, n);
                on(if transposed { problem.transpose_b() } else { problem }, isa)
            };
            let all = run(&plan(57), &pool, &a, &b, &vec![0.0; 57 * n]);
            for i in [0, 13, 56] {
                let one = run(&plan(1), &pool, &a[i * k..][..k], &b, &vec![0.0; n]);
                assert_eq!(one, all[i * n..][..n], "row {i} on {isa}");
            }
        }
    }
}

#[test]
fn the_error_stays_within_the_bound() {
    let (m, k, n) = (37, 900, 41);
    let (a, b): (Vec<f32>, Vec<f32>) = (numbers(m * k, 1), numbers(k * n, 2));
    let pool = Pool::new(1).unwrap();
    for isa in Isa::available() {
        let c = run(&Matmul::new(Problem::new(DType::F32, m, k, n), isa), &pool, &a, &b, &vec![0.0; m * n]);
        for i in 0..m {
            for j in 0..n {
                let products = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
                let bound = 2.0 * k as f64 * f64::from(f32::EPSILON) * products.clone().map(f64::abs).sum::<f64>();
                let exact: f64 = products.sum();
                assert!((f64::from(c[i * n + j]) - exact).abs() <= bound, "C[{i}, {j}] on {isa}");
            }
        }
    }
}

/// The root of the mean square of the errors of a product of f32.
fn error(isa: Isa, [m, k, n]: [usize; 3], a: &[f32], b: &[f32]) -> f64 {
    let plan = on(Problem::new(DType::F32, m, k, n), isa);
    let c = run(&plan, &Pool::new(1).unwrap(), a, b, &vec![0.0; m * n]);
    let mut squares = 0.0;
    for i in 0..m {
        for j in 0..n {
            let exact: f64 = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum();
            squares += (f64::from(c[i * n + j]) - exact).powi(2);
        }
    }
    (squares / (m * n) as f64).sqrt()
}

#[test]
fn matrix_units_are_nearer_to_the_exact_sums_than_fused_multiply_adds() {
    if !Isa::Amx.is_available() {
        return;
    }
    let largest = |numbers: Vec<f32>| numbers.into_iter().enumerate().map(|(i, x)| x * 10f32.powi((i % 13) as i32 - 6));
    for k in [16, 64, 512, 2000] {
        let sizes = [40, k, 50];
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(40 * k, 1), numbers(k * 50, 2));
        let (units, vectors) = (error(Isa::Amx, sizes, &a, &b), error(Isa::Avx512, sizes, &a, &b));
        assert!(units <= vectors, "{units:e} after {vectors:e} for {k} products");
        // Numbers of all magnitudes, of which a few large ones decide.
        let (a, b): (Vec<f32>, Vec<f32>) = (largest(a).collect(), largest(b).collect());
        let (units, vectors) = (error(Isa::Amx, sizes, &a, &b), error(Isa::Avx512, sizes, &a, &b));
        assert!(units <= 2.0 * vectors, "{units:e} after {vectors:e} for {k} products of all magnitudes");
    }
}

#[test]
fn what_is_not_finite_comes_out_as_by_the_definition() {
    let pool = Pool::new(1).unwrap();
    let (m, k, n) = (70, 600, 80);
    let (mut a, mut b): (Vec<f32>, Vec<f32>) = (numbers(m * k, 1), numbers(k * n, 2));
    a[3 * k + 5] = f32::INFINITY;
    a[20 * k + 1] = f32::NAN;
    a[34 * k + 599] = f32::from_bits(u32::MAX);
    a[35 * k + 9] = f32::NEG_INFINITY;
    b[5 * n + 7] = 0.0;
    b[77] = f32::INFINITY;
    // Beyond the largest number of bf16.
    a[50 * k..51 * k].fill(0.0);
    a[50 * k + 17] = f32::MAX;
    for isa in Isa::available() {
        let problem = Problem::new(DType::F32, m, k, n);
        for problem in [problem, problem.accumulate()] {
            let before: Vec<f32> = numbers(m * n, 3);
            let c = run(&on(problem, isa), &pool, &a, &b, &before);
            let wanted = expected(&problem, isa.of_vectors(), &a, &b, &before);
            for (at, (&is, &wanted)) in c.iter().zip(&wanted).enumerate() {
                let near = (is - wanted).abs() <= 1e-5 * wanted.abs().max(k as f32);
                let same = is == wanted || is.is_nan() && wanted.is_nan() || near;
                assert!(same, "C[{}, {}] is {is} for {wanted} on {isa}", at / n, at % n);
            }
        }
    }
}

/// The C that an epilogue makes by adding 1 to each finished element, by writing what it saw to memory of its own.
fn through_an_epilogue<T: Tested>(plan: &Matmul, pool: &Pool, a: &[T], b: &[T], in_c: bool) -> Vec<T::Sum> {
    let Problem { m, n, .. } = *plan.problem();
    let mut c = vec![T::Sum::from_i64(77); if in_c { m * n } else { 0 }];
    let mut scratch = vec![0xff; plan.scratch_bytes(pool.threads())];
    let operands = Operands { a: a.as_ptr().cast(), b: b.as_ptr().cast(), c: c.as_mut_ptr().cast() };
    let mut seen = vec![T::Sum::from_i64(99); m * n];
    let first = AtomicPtr::new(seen.as_mut_ptr());
    let elements = AtomicUsize::new(0);
    let add_one = |Finished { rows, columns, c, worker }: Finished| {
        assert!(worker < pool.threads());
        elements.fetch_add(rows.len() * columns.len(), Relaxed);
        for i in rows {
            for j in columns.clone() {
                // SAFETY: the element is in the epilogue's block.
                unsafe {
                    let x = *c.cast::<T::Sum>().wrapping_add(i * plan.c_row_stride() + j);
                    *first.load(Relaxed).add(i * n + j) = T::add(x, T::Sum::from_i64(1));
                }
            }
        }
    };
    // SAFETY: the operands have the extents of the problem, and only the epilogue touches C besides.
    unsafe { plan.run(pool, operands, &mut scratch, Some(&add_one)) };
    assert_eq!(elements.into_inner(), m * n);
    seen
}

fn check_epilogue<T: Tested>(problem: Problem, pool: &Pool) {
    let [a, b, _] = problem.extents();
    let (a, b): (Vec<T>, Vec<T>) = (numbers(a, 1), numbers(b, 2));
    for isa in Isa::available() {
        let plan = Matmul::new(problem, isa);
        let plain = run(&plan, pool, &a, &b, &vec![T::Sum::default(); problem.m * problem.n]);
        let plus_one: Vec<_> = plain.into_iter().map(|x| T::add(x, T::Sum::from_i64(1))).collect();
        assert_eq!(through_an_epilogue(&plan, pool, &a, &b, true), plus_one, "{problem:?} on {isa}");
        let plan = plan.with_c_in_scratch();
        assert_eq!(through_an_epilogue(&plan, pool, &a, &b, false), plus_one, "{problem:?} on {isa}, C in scratch");
    }
}

#[test]
fn the_epilogue_sees_each_element_once_and_finished() {
    let pool = Pool::new(3).unwrap();
    for (m, k, n) in
        [(190, 300, 210), (130, 700, 600), (560, 700, 140), (200, 700, 1), (1, 90, 700), (5, 0, 6), (3, 4, 5)]
    {
        let problem = Problem::new(DType::F32, m, k, n);
        for problem in [problem, problem.transpose_a(), problem.transpose_b()] {
            check_epilogue::<f32>(problem, &pool);
        }
        check_epilogue::<bf16>(Problem { dtype: DType::BF16, ..problem }, &pool);
        check_epilogue::<f64>(Problem { dtype: DType::F64, ..problem }, &pool);
        check_epilogue::<i32>(Problem { dtype: DType::I32, ..problem }, &pool);
    }
}

#[test]
fn no_products_give_zero_and_nothing_outside_is_touched() {
    let pool = Pool::new(1).unwrap();
    let problem = Problem { c_row_stride: 7, ..Problem::new(DType::F32, 3, 0, 5) };
    let c = run(&Matmul::new(problem, Isa::best()), &pool, &[0.0f32; 0], &[], &[8.0; 21]);
    assert_eq!(c[..8], [0.0, 0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 0.0]);
    let c = run(&Matmul::new(problem.accumulate(), Isa::best()), &pool, &[0.0f32; 0], &[], &[8.0; 21]);
    assert_eq!(c, [8.0; 21]);
}

#[test]
#[should_panic(expected = "rows of C of 4 elements overlap, with 3")]
fn overlapping_rows_of_c_are_refused() {
    Matmul::new(Problem { c_row_stride: 3, ..Problem::new(DType::F32, 2, 3, 4) }, Isa::Portable);
}

#[test]
#[should_panic(expected = "bool")]
fn bool_is_refused() {
    Matmul::new(Problem::new(DType::Bool, 2, 3, 4), Isa::Portable);
}

#[test]
fn slices_that_are_too_short_are_refused() {
    let short = |a: usize, b: usize, c: usize| {
        std::panic::catch_unwind(|| {
            let plan = Matmul::new(Problem::new(DType::F32, 2, 3, 4), Isa::Portable);
            plan.multiply(
                &Pool::new(1).unwrap(),
                &vec![0f32; a],
                &vec![0f32; b],
                &mut vec![0f32; c],
                &mut [0; 1 << 12],
            );
        })
        .map_err(|payload| payload.downcast_ref::<String>().cloned().unwrap_or_default())
    };
    assert_eq!(short(6, 12, 8), Ok(()));
    assert!(short(5, 12, 8).unwrap_err().starts_with("A has 5 elements"));
    assert!(short(6, 11, 8).unwrap_err().starts_with("B has 11 elements"));
    assert!(short(6, 12, 7).unwrap_err().starts_with("C has 7 elements"));
}

#[test]
fn a_plan_says_what_runs() {
    let describe = |problem: Problem| Matmul::new(problem, Isa::Portable).describe();
    let square = Problem::new(DType::F32, 512, 512, 512);
    let sizes = Matmul::new(square, Isa::Portable).partition;
    let (rows, columns) = (sizes.tile_rows(), sizes.panel_columns);
    assert_eq!(describe(square), format!("{rows}x{columns} portable, B packed, {} chunks", sizes.chunks()));
    let far = Problem { a: Strides { row: 1 << 20, column: 1 }, ..Problem::new(DType::F32, 512, 512, 4096) };
    assert!(describe(far).contains("portable, A B packed, "), "{}", describe(far));
    let before = Matmul::new(square, Isa::Portable).with_packed_b().describe();
    assert!(before.contains("portable, B packed before, "), "{before}");
    for isa in Isa::available() {
        let past = Matmul::new(Problem::new(DType::F32, 64, 32, 64), isa).with_distant_b().with_c_past_caches();
        let can = matches!(past.isa, Isa::Avx2 | Isa::Avx512);
        let expected = format!("{isa}, B from memory{}, ", if can { ", C past the caches" } else { "" });
        assert!(past.describe().contains(&expected), "{}", past.describe());
    }
    let column = Problem::new(DType::F32, 512, 512, 1).transpose_a();
    assert!(describe(column).starts_with("1x"), "{}", describe(column));
    assert_eq!(describe(Problem::new(DType::I32, 2, 3, 4)), "i32 portable, 1 chunk");
}

#[test]
fn few_rows_are_cut_by_what_they_read() {
    let chunks = |m, k, n| Matmul::new(Problem::new(DType::F32, m, k, n), Isa::best()).chunks();
    // 512 KiB and 64 KiB of B: hundreds of thousands of operations at most, but the first take long to come.
    assert_eq!((chunks(1, 256, 512), chunks(1, 128, 128)), (4, 1));
    assert!(chunks(1, 512, 512) > 1 && chunks(5, 512, 512) > 1);
    // The same work on less memory is one chunk.
    assert_eq!(chunks(256, 16, 16), 1);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn matrix_units_are_chosen_where_packing_pays() {
    // The choice needs no processor that has them.
    let isa = |m, k, n| [false, true].map(|packed| chosen(&Problem::new(DType::F32, m, k, n), Isa::Amx, packed));
    assert_eq!(isa(512, 512, 512), [Isa::Amx; 2]);
    assert_eq!(isa(128, 400, 784)[0], Isa::Amx);
    // So few steps of k do not make up for the tiles of C.
    assert_eq!(isa(1000, 64, 64)[0], Isa::Avx512);
    // Each number of B is used 32 times only: it must be packed already.
    assert_eq!(isa(32, 512, 2048), [Isa::Avx512, Isa::Amx]);
    assert_eq!(isa(100, 32, 10), [Isa::Avx512; 2]);
    assert_eq!(isa(1, 4096, 4096), [Isa::Avx512; 2]);
    let f64s = Problem { dtype: DType::F64, ..Problem::new(DType::F32, 512, 512, 512) };
    assert_eq!(chosen(&f64s, Isa::Amx, false), Isa::Avx512);
}

#[test]
fn a_copy_packed_for_matrix_units_serves_any_number_of_rows() {
    if !Isa::Amx.is_available() {
        return;
    }
    let few = Matmul::new(Problem::new(DType::F32, 64, 512, 2048), Isa::Amx);
    let more = Matmul::new(Problem::new(DType::F32, 300, 512, 2048), Isa::Amx);
    assert_eq!(few.b_packer(), more.b_packer());
}
