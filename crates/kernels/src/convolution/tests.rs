//! All sides against loops over the definition, on every instruction set of the processor.

use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use thalweg_array::Element;
use thalweg_array::random::Philox;

use super::*;
use crate::matmul::Operands;

const SIDES: [Side; 3] = [Side::Output, Side::Input, Side::Weight];

/// `length` numbers in [-1, 1) that look random.
fn numbers<T: Element>(length: usize, seed: u64) -> Vec<T> {
    (0..length as u64)
        .map(|i| T::from_f64(f64::from(Philox::new(seed, 0).block(i, 0)[0]) / f64::from(1u32 << 31) - 1.0))
        .collect()
}

/// The two tensors that the side is given.
fn given<T: Element>(problem: &Problem) -> [Vec<T>; 2] {
    let [x, w, y] = problem.elements();
    match problem.side {
        Side::Output => [numbers(x, 1), numbers(w, 2)],
        Side::Input => [numbers(y, 3), numbers(w, 2)],
        Side::Weight => [numbers(x, 1), numbers(y, 3)],
    }
}

fn operands<S, T>(a: &[S], b: &[S], c: &mut [T]) -> Operands {
    Operands { a: a.as_ptr().cast(), b: b.as_ptr().cast(), c: c.as_mut_ptr().cast() }
}

/// The result by the definition, in f64, and the sum of the products' magnitudes.
fn expected<S: Element>(problem: &Problem, a: &[S], b: &[S]) -> [Vec<f64>; 2] {
    let [rows, columns] = problem.result();
    let wide = |x: &[S], f: fn(f64) -> f64| x.iter().map(|x| f(x.to_f64())).collect::<Vec<f64>>();
    [(|x| x) as fn(f64) -> f64, f64::abs].map(|f| {
        let mut c = vec![f64::NAN; rows * columns];
        // SAFETY: the operands are those of the problem.
        unsafe { plain::solve::<f64>(problem, 0..rows, operands(&wide(a, f), &wide(b, f), &mut c)) };
        c
    })
}

/// Runs the plan with the scratch memory filled with NaN bytes, so that a read of what was not written shows.
fn run<S: Element, T: Element>(plan: &Convolution, pool: &Pool, a: &[S], b: &[S]) -> Vec<T> {
    let [rows, columns] = plan.problem().result();
    let mut c = vec![T::from_f64(f64::NAN); rows * columns];
    let mut scratch = vec![0xff; plan.scratch_bytes(pool.threads())];
    // SAFETY: the tests make the operands as the problem says.
    unsafe { plan.run(pool, operands(a, b, &mut c), &mut scratch, None) };
    c
}

fn run_packed<S: Element, T: Element>(plan: &Convolution, pool: &Pool, a: &[S], b: &[S]) -> Vec<T> {
    let mut packed = vec![u64::MAX; plan.packed_weight_bytes().div_ceil(8)];
    // SAFETY: as for `run`.
    unsafe { plan.pack_weight(pool, b.as_ptr().cast(), bytemuck::cast_slice_mut(&mut packed)) };
    let [rows, columns] = plan.problem().result();
    let plan = plan.with_packed_weight();
    let mut c = vec![T::from_f64(f64::NAN); rows * columns];
    let mut scratch = vec![0xff; plan.scratch_bytes(pool.threads())];
    let operands = Operands { b: packed.as_ptr().cast(), ..operands(a, b, &mut c) };
    // SAFETY: as for `run`.
    unsafe { plan.run(pool, operands, &mut scratch, None) };
    c
}

/// What an epilogue sees of a result that is not in memory.
fn run_in_scratch<S: Element, T: Element>(plan: &Convolution, pool: &Pool, a: &[S], b: &[S]) -> Vec<T> {
    let [rows, columns] = plan.problem().result();
    let plan = plan.with_c_in_scratch();
    let seen = Mutex::new(vec![T::from_f64(f64::NAN); rows * columns]);
    let mut scratch = vec![0xff; plan.scratch_bytes(pool.threads())];
    let copy = |Finished { rows, columns: some, c, worker }: Finished| {
        assert!(worker < pool.threads());
        let mut seen = seen.lock().unwrap();
        for row in rows {
            for column in some.clone() {
                let c = c.cast::<T>().wrapping_add(row * plan.c_row_stride() + column);
                assert!(seen[row * columns + column].to_f64().is_nan(), "({row}, {column}) is finished twice");
                // SAFETY: the element is in the epilogue's block.
                seen[row * columns + column] = unsafe { *c };
            }
        }
    };
    let operands = Operands { c: std::ptr::null_mut(), ..operands(a, b, &mut [0u8; 0]) };
    // SAFETY: as for `run`, without a result.
    unsafe { plan.run(pool, operands, &mut scratch, Some(&copy)) };
    seen.into_inner().unwrap()
}

/// One side on all instruction sets: within the error bound of a sum, and the same bits however it is run.
fn check<S: Element, T: Element>(problem: &Problem, pool: &Pool, epsilon: f64) {
    let [a, b] = given::<S>(problem);
    let [expected, mut magnitudes] = expected(problem, &a, &b);
    if problem.winograd != Winograd::Never {
        // A tile's values are mixed with those of its neighbors.
        let most = magnitudes.iter().copied().fold(0.0, f64::max);
        magnitudes.fill(most);
    }
    for isa in Isa::available() {
        let plan = Convolution::new(problem.clone(), isa);
        let c: Vec<T> = run(&plan, pool, &a, &b);
        let slack = epsilon * (4.0 + problem.terms() as f64);
        for (i, ((c, &expected), &magnitude)) in c.iter().zip(&expected).zip(&magnitudes).enumerate() {
            let error = (c.to_f64() - expected).abs();
            assert!(error <= slack * magnitude, "element {i} is off by {error} in {problem:?} on {isa}");
        }
        assert_eq!(run_in_scratch::<S, T>(&plan, pool, &a, &b), c, "in scratch memory: {problem:?} on {isa}");
        if problem.side != Side::Weight {
            assert_eq!(run_packed::<S, T>(&plan, pool, &a, &b), c, "a packed weight: {problem:?} on {isa}");
        }
    }
}

fn axis() -> impl Strategy<Value = Axis> {
    (1..12usize, 1..5usize, 1..4usize, 1..4usize, 0..4usize, 0..4usize).prop_map(
        |(input, kernel, stride, dilation, low, high)| Axis::new(input, kernel, stride, dilation, (low, high)),
    )
}

fn problems(dtype: DType) -> impl Strategy<Value = Problem> {
    let channels = || prop::sample::select(&[1usize, 2, 3, 5, 16, 17, 40][..]);
    (prop::collection::vec(axis(), 1..=3), channels(), channels(), 1..4usize, 0..4usize, 0..3usize).prop_map(
        move |(axes, inputs, outputs, groups, batch, side)| {
            let problem = Problem::new(dtype, SIDES[side], batch, inputs * groups, outputs * groups, &axes);
            Problem { groups, ..problem }
        },
    )
}

fn check_many<S: Element, T: Element>(cases: u32, epsilon: f64) {
    let pool = Pool::new(2).unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&problems(S::DTYPE), |problem| {
            check::<S, T>(&problem, &pool, epsilon);
            Ok(())
        })
        .unwrap();
}

#[test]
fn f32_equals_the_definition() {
    check_many::<f32, f32>(200, f32::EPSILON.into());
}

#[test]
fn f64_equals_the_definition() {
    check_many::<f64, f64>(60, f64::EPSILON);
}

#[test]
fn f16_and_bf16_are_widened_exactly() {
    check_many::<f16, f32>(30, f32::EPSILON.into());
    check_many::<bf16, f32>(30, f32::EPSILON.into());
}

/// Sizes with several chunks, panels of terms, blocks of columns and pieces.
#[test]
fn sizes_beyond_one_block() {
    let pool = Pool::new(2).unwrap();
    let square = |size, kernel, stride, padding| vec![Axis::new(size, kernel, stride, 1, (padding, padding)); 2];
    for (batch, inputs, outputs, axes) in [
        (2, 96, 70, square(13, 3, 1, 1)),
        (3, 72, 100, square(14, 3, 2, 1)),
        (1, 130, 300, square(5, 3, 1, 1)),
        (2, 3, 20, square(31, 7, 2, 3)),
        (4, 80, 48, square(12, 1, 1, 0)),
        (4, 80, 48, square(12, 1, 2, 0)),
    ] {
        let problem = Problem::new(DType::F32, Side::Output, batch, inputs, outputs, &axes);
        for side in SIDES {
            check::<f32, f32>(&problem.on(side), &pool, f32::EPSILON.into());
        }
    }
}

#[test]
fn depthwise_equals_the_definition() {
    let pool = Pool::new(2).unwrap();
    let square = |size, kernel, stride, dilation, padding| {
        [Axis::new(size, kernel, stride, dilation, padding), Axis::new(size + 3, kernel, stride, dilation, padding)]
    };
    for (batch, channels, axes) in [
        (2, 96, square(14, 3, 1, 1, (1, 1))),
        (1, 33, square(15, 3, 2, 1, (1, 1))),
        (2, 7, square(9, 6, 3, 2, (0, 4))),
        (1, 16, square(2, 3, 1, 1, (0, 0))),
    ] {
        let problem = Problem::new(DType::F32, Side::Output, batch, channels, channels, &axes);
        let problem = Problem { groups: channels, ..problem };
        for side in SIDES {
            check::<f32, f32>(&problem.on(side), &pool, f32::EPSILON.into());
        }
    }
}

fn winograd_problems() -> impl Strategy<Value = Problem> {
    let axis = || (1..20usize, 0..4usize, 0..3usize);
    let channels = || prop::sample::select(&[16usize, 17, 33, 48, 70][..]);
    let axes = (axis(), axis()).prop_map(|axes| {
        let axis = |(input, low, high)| Axis::new(input, 3, 1, 1, (low, high));
        [axis(axes.0), axis(axes.1)]
    });
    (axes, channels(), channels(), 0..4usize, 0..3usize, any::<bool>()).prop_map(
        |(axes, inputs, outputs, batch, side, four)| {
            let winograd = if four { Winograd::UpTo4x4 } else { Winograd::UpTo2x2 };
            Problem { winograd, ..Problem::new(DType::F32, SIDES[side], batch, inputs, outputs, &axes) }
        },
    )
}

#[test]
fn winograd_equals_the_definition() {
    let pool = Pool::new(2).unwrap();
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&winograd_problems(), |problem| {
            check::<f32, f32>(&problem, &pool, f64::from(f32::EPSILON) * 4.0);
            let wide = Problem { dtype: DType::F64, ..problem };
            check::<f64, f64>(&wide, &pool, f64::EPSILON * 4.0);
            Ok(())
        })
        .unwrap();
}

/// The root of the mean square of the errors against f64.
fn error(problem: &Problem) -> f64 {
    let pool = Pool::new(1).unwrap();
    let [a, b] = given::<f32>(problem);
    let [exact, _] = expected(problem, &a, &b);
    let c: Vec<f32> = run(&Convolution::new(problem.clone(), Isa::best()), &pool, &a, &b);
    let squares = c.iter().zip(&exact).map(|(&c, &exact)| (f64::from(c) - exact).powi(2));
    (squares.sum::<f64>() / c.len() as f64).sqrt()
}

/// On 16 x 16 pixels of 64 channels, beside the definition's errors, those of F(2x2) are 0.64 times as large, of its gradient
/// to the weight 1.32 times, of F(4x4) 2.05 times.
#[test]
fn winograd_is_as_accurate_as_stated() {
    let axes = [Axis::new(16, 3, 1, 1, (1, 1)); 2];
    let problem = Problem::new(DType::F32, Side::Output, 1, 64, 64, &axes);
    for side in SIDES {
        let of = |winograd| error(&Problem { winograd, ..problem.on(side) });
        let [direct, two, four] = [Winograd::Never, Winograd::UpTo2x2, Winograd::UpTo4x4].map(of);
        assert!(two < 1.5 * direct, "{side:?}: {two} by F(2x2), {direct} directly");
        assert!(four < 3.0 * direct, "{side:?}: {four} by F(4x4), {direct} directly");
    }
}

#[test]
fn the_number_of_threads_does_not_enter() {
    let axes = [Axis::new(20, 3, 1, 1, (1, 1)), Axis::new(17, 3, 1, 1, (1, 1))];
    let problem = Problem::new(DType::F32, Side::Output, 20, 40, 50, &axes);
    for (side, winograd) in SIDES
        .into_iter()
        .flat_map(|side| [Winograd::Never, Winograd::UpTo2x2, Winograd::UpTo4x4].map(|winograd| (side, winograd)))
    {
        let plan = Convolution::new(Problem { winograd, ..problem.on(side) }, Isa::best());
        assert!(plan.phases().iter().max() > Some(&3), "{plan:?}");
        let [a, b] = given::<f32>(plan.problem());
        let one: Vec<f32> = run(&plan, &Pool::new(1).unwrap(), &a, &b);
        for threads in [2, 3, 7] {
            let several: Vec<f32> = run(&plan, &Pool::new(threads).unwrap(), &a, &b);
            assert!(several == one, "{side:?}, Winograd {winograd:?} on {threads} threads");
        }
    }
}

/// ⟨y, x ∗ w⟩ computed from each side is the same number.
#[test]
fn the_three_sides_belong_to_one_form() {
    let pool = Pool::new(2).unwrap();
    for (groups, axes) in [
        (1, vec![Axis::new(9, 3, 2, 1, (1, 0))]),
        (2, vec![Axis::new(7, 3, 1, 2, (2, 1)), Axis::new(5, 2, 3, 1, (0, 2))]),
        (1, vec![Axis::new(4, 2, 2, 1, (1, 1)), Axis::new(5, 3, 1, 1, (0, 0)), Axis::new(3, 3, 1, 1, (1, 1))]),
    ] {
        let problem = Problem { groups, ..Problem::new(DType::F64, Side::Output, 2, 4, 6, &axes) };
        let [x, w, y] = problem.elements();
        let (x, w, y): (Vec<f64>, Vec<f64>, Vec<f64>) = (numbers(x, 1), numbers(w, 2), numbers(y, 3));
        let solve = |side, a, b| run(&Convolution::new(problem.on(side), Isa::best()), &pool, a, b);
        let inner = |a: &[f64], b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let form = inner(&y, solve(Side::Output, &x, &w));
        for other in [inner(&x, solve(Side::Input, &y, &w)), inner(&w, solve(Side::Weight, &x, &y))] {
            assert!((form - other).abs() < 1e-10, "{form} and {other} for {problem:?}");
        }
    }
}

#[test]
#[should_panic(expected = "3 groups do not divide 4 input and 6 output channels")]
fn groups_that_do_not_divide_are_refused() {
    let problem = Problem::new(DType::F32, Side::Output, 1, 4, 6, &[Axis::new(4, 3, 1, 1, (1, 1))]);
    Convolution::new(Problem { groups: 3, ..problem }, Isa::Portable);
}

#[test]
#[should_panic(expected = "a convolution of i32; cast to a float first")]
fn integers_are_refused() {
    let problem = Problem::new(DType::I32, Side::Output, 1, 4, 6, &[Axis::new(4, 3, 1, 1, (1, 1))]);
    Convolution::new(problem, Isa::Portable);
}
