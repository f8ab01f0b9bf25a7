//! All sides against the form that they are derived from.

use thalweg_array::random::Philox;

use super::*;
use crate::matmul::Operands;

/// `length` numbers in [-1, 1) that look random.
fn numbers(length: usize, seed: u64) -> Vec<f64> {
    (0..length as u64).map(|i| f64::from(Philox::new(seed, 0).block(i, 0)[0]) / f64::from(1u32 << 31) - 1.0).collect()
}

fn run<S: Copy, T: Copy>(plan: &Convolution, pool: &Pool, a: &[S], b: &[S], fill: T) -> Vec<T> {
    let [rows, columns] = plan.problem().result();
    let mut c = vec![fill; rows * columns];
    let mut scratch = vec![0xff; plan.scratch_bytes(pool.threads())];
    let operands = Operands { a: a.as_ptr().cast(), b: b.as_ptr().cast(), c: c.as_mut_ptr().cast() };
    // SAFETY: the tests make the operands as the problem says.
    unsafe { plan.run(pool, operands, &mut scratch, None) };
    c
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
        let (x, w, y) = (numbers(x, 1), numbers(w, 2), numbers(y, 3));
        let solve = |side, a, b| run(&Convolution::new(problem.on(side), Isa::Portable), &pool, a, b, f64::NAN);
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let form = inner(&y, &solve(Side::Output, &x, &w));
        for other in [inner(&x, &solve(Side::Input, &y, &w)), inner(&w, &solve(Side::Weight, &x, &y))] {
            assert!((form - other).abs() < 1e-10, "{form} and {other} for {problem:?}");
        }
    }
}
