//! Loops for the chains that long rows spend most of their time in.
//!
//! A [`Chain`] finds out block by block what comes next, and what it puts together passes through memory from block to block. That
//! takes as long as simple arithmetic, and a third of an exponential. Here it is known beforehand. Operations and
//! their order are those of the chain, so the bits are the same.

use thalweg_array::scalar::Unary;

use super::chain::{Chain, Link, LongRow, Op, SEGMENT, TOTALS, fetch_block, identity, join, together};
use super::lanes::Lanes;
use crate::cpu::{Isa, prefetch_to_second_level};

/// Vectors of a block.
const BLOCK: usize = 8;

/// A chain that there is a loop for, and the places it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// What is at `x`, put together.
    Fold { f: Op, x: u8, to: u8 },
    /// e^(x - y) with one y, kept at `e`, and its sum.
    Exponentials { x: u8, y: u8, e: u8, sum: u8 },
    /// x·y with one y.
    Scaled { x: u8, y: u8, to: u8 },
}

impl Known {
    /// Which of them a chain is, if any.
    pub(super) fn of(chain: &Chain) -> Option<Known> {
        use Op::*;
        match chain.links[..] {
            [Link { op: Load, y: x, .. }, Link { op: f @ (Sum | Maximum | Minimum), to, .. }] => {
                Some(Known::Fold { f, x, to })
            }
            [
                Link { op: Load, y: x, .. },
                Link { op: SubOne, y, .. },
                Link { op: Function, .. },
                Link { op: Keep, to: e, .. },
                Link { op: Sum, to: sum, .. },
            ] if chain.functions == [Unary::Exp] => Some(Known::Exponentials { x, y, e, sum }),
            [Link { op: Load, y: x, .. }, Link { op: MulOne, y, .. }, Link { op: Keep, to, .. }] => {
                Some(Known::Scaled { x, y, to })
            }
            _ => None,
        }
    }
}

/// Runs a chain on a row, and what is beside it, if there is a loop for them.
///
/// # Safety
/// As [`Chain::run_long`], with the instruction set of `V` switched on.
#[inline(always)]
pub(super) unsafe fn run<V: Lanes>(chain: &Chain, isa: Isa, on: &LongRow<'_>) -> bool {
    let LongRow { places, columns, past_caches, fetch, beside } = *on;
    let at = |place: u8| places[place as usize].cast::<f32>();
    let fetch_block = |first, count| fetch_block(fetch, first, count, prefetch_to_second_level);
    // SAFETY (all): the contract; the places are those of links.
    match Known::of(chain) {
        Some(Known::Fold { f, x, to }) if beside.is_none() => unsafe {
            *at(to) = fold::<V>(f, at(x), columns, fetch_block);
        },
        Some(Known::Exponentials { x, y, e, sum }) if past_caches == 0 => {
            let scaled = match beside.map(|(chain, places, past)| (Known::of(chain), places, past)) {
                None => None,
                Some((Some(Known::Scaled { x, y, to }), places, past)) => {
                    let at = |place: u8| places[place as usize].cast::<f32>();
                    let y = unsafe { V::splat(*at(y)) };
                    Some(Scaled { x: at(x), y, to: at(to), past_caches: past & (1 << to) != 0 })
                }
                Some(_) => return false,
            };
            unsafe { *at(sum) = exponentials(isa, [at(x), at(e)], V::splat(*at(y)), columns, fetch_block, scaled) };
        }
        _ => return false,
    }
    true
}

/// A row put together. `fetch_block` is called with the first number and the count of those that were just read.
///
/// # Safety
/// As [`run`].
#[inline(always)]
pub(super) unsafe fn fold<V: Lanes>(f: Op, x: *const f32, columns: usize, fetch_block: impl Fn(usize, usize)) -> f32 {
    // SAFETY (all): the contract.
    unsafe {
        match f {
            Op::Maximum => fold_by::<V>(f, x, columns, fetch_block, |a, b| a.max(b)),
            Op::Minimum => fold_by::<V>(f, x, columns, fetch_block, |a, b| a.min(b)),
            _ => fold_by::<V>(f, x, columns, fetch_block, |a, b| a.add(b)),
        }
    }
}

/// [`fold`], where `both` is what `f` says.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn fold_by<V: Lanes>(
    f: Op,
    x: *const f32,
    columns: usize,
    fetch_block: impl Fn(usize, usize),
    both: impl Fn(V, V) -> V,
) -> f32 {
    let mut total = f64::from(identity(f));
    // SAFETY (all blocks below): the contract.
    let empty = unsafe { V::splat(identity(f)) };
    for first in (0..columns).step_by(SEGMENT) {
        let end = columns.min(first + SEGMENT);
        let mut totals = [empty; TOTALS];
        let mut at = first;
        while at + TOTALS * V::LANES <= end {
            for (i, total) in totals.iter_mut().enumerate() {
                *total = both(*total, unsafe { V::load(x.add(at + i * V::LANES)) });
            }
            fetch_block(at, TOTALS * V::LANES);
            at += TOTALS * V::LANES;
        }
        fetch_block(at, end - at);
        for total in &mut totals {
            let lanes = end.saturating_sub(at).min(V::LANES);
            if lanes > 0 {
                let numbers = unsafe { V::load_masked(x.add(at), V::first(lanes)).only(lanes, identity(f)) };
                *total = both(*total, numbers);
            }
            at += lanes;
        }
        total = join(f, total, unsafe { together(f, &totals) });
    }
    total as f32
}

/// A row that is scaled beside another one.
struct Scaled<V> {
    x: *const f32,
    y: V,
    to: *mut f32,
    past_caches: bool,
}

/// e^(x - y) of a row, kept, and its sum. `fetch_block` as of [`fold`]; `scaled` is done block after block in turn.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn exponentials<V: Lanes>(
    isa: Isa,
    [x, e]: [*mut f32; 2],
    y: V,
    columns: usize,
    fetch_block: impl Fn(usize, usize),
    scaled: Option<Scaled<V>>,
) -> f32 {
    let mut total = 0.0;
    // SAFETY (all blocks below): the contract.
    for first in (0..columns).step_by(SEGMENT) {
        let end = columns.min(first + SEGMENT);
        let mut totals = [unsafe { V::splat(0.0) }; TOTALS];
        for first in (first..end).step_by(BLOCK * V::LANES) {
            let count = (end - first).min(BLOCK * V::LANES);
            let is_whole = count == BLOCK * V::LANES;
            let lanes = |i: usize| count.saturating_sub(i * V::LANES).min(V::LANES);
            let load = |from: *const f32, i: usize| unsafe {
                let from = from.wrapping_add(first + i * V::LANES);
                if is_whole { V::load(from) } else { V::load_masked(from, V::first(lanes(i))) }
            };
            let store = |a: V, to: *mut f32, i: usize| unsafe {
                let to = to.wrapping_add(first + i * V::LANES);
                if is_whole { a.store(to) } else { a.store_masked(to, V::first(lanes(i))) }
            };
            let differences = std::array::from_fn::<V, BLOCK, _>(|i| unsafe { load(x, i).sub(y) });
            let block = unsafe { V::function(isa, Unary::Exp, differences, count) };
            for (i, a) in block.into_iter().enumerate() {
                store(a, e, i);
                let filled = if is_whole { a } else { unsafe { a.only(lanes(i), 0.0) } };
                totals[i % TOTALS] = unsafe { totals[i % TOTALS].add(filled) };
            }
            fetch_block(first, count);
            if let Some(Scaled { x, y, to, past_caches }) = scaled {
                for i in 0..BLOCK {
                    let a = unsafe { load(x, i).mul(y) };
                    if past_caches && is_whole {
                        unsafe { a.stream(to.add(first + i * V::LANES)) };
                    } else {
                        store(a, to, i);
                    }
                }
            }
        }
        total = join(Op::Sum, total, unsafe { together(Op::Sum, &totals) });
    }
    total as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(op: Op, y: u8, to: u8) -> Link {
        Link { op, y, z: 0, to }
    }

    /// The same chain with two links more, which change nothing and for which there is no loop.
    fn unknown(chain: &Chain) -> Chain {
        let mut chain = chain.clone();
        chain.links.splice(1..1, [link(Op::Neg, 0, 0), link(Op::Neg, 0, 0)]);
        assert_eq!(Known::of(&chain), None);
        chain
    }

    /// Numbers of both signs and zeros, and from `special` on what is not finite.
    fn numbers(n: usize, special: usize) -> Vec<f32> {
        let number = |i: usize| match i % 41 {
            13 if i >= special => f32::NAN,
            17 if i >= special => f32::INFINITY,
            19 => -0.0,
            other => (other * 37 % 17) as f32 / 4.0 - 2.0 + i as f32 / 1e4,
        };
        (0..n).map(number).collect()
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    /// Numbers that begin with a cache line.
    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Line([f32; 16]);

    const COLUMNS: [usize; 14] = [1, 3, 15, 16, 63, 64, 100, 127, 128, 1000, 1024, 1025, 2100, 4096];

    #[test]
    fn folds_have_the_bits_of_their_chain() {
        for isa in Isa::available() {
            for (columns, special) in COLUMNS.into_iter().flat_map(|n| [(n, n), (n, 0)]) {
                let x = numbers(columns, special);
                for op in [Op::Sum, Op::Maximum, Op::Minimum] {
                    let links = vec![link(Op::Load, 0, 0), link(op, 0, 1)];
                    let chain = Chain { links, folds: vec![(op, 1)], ..Chain::default() };
                    assert!(matches!(Known::of(&chain), Some(Known::Fold { .. })));
                    let [found, expected] = [chain.clone(), unknown(&chain)].map(|chain| {
                        let mut out = [7.0f32];
                        let places = [x.as_ptr().cast_mut().cast(), out.as_mut_ptr().cast()];
                        let row = LongRow { places: &places, columns, past_caches: 0, fetch: &[], beside: None };
                        // SAFETY: the operand is as long as the row.
                        unsafe { chain.run_long(isa, row) };
                        out[0]
                    });
                    assert_eq!(found.to_bits(), expected.to_bits(), "{isa} {op:?} of {columns}: {found}, {expected}");
                }
            }
        }
    }

    #[test]
    fn exponentials_and_what_is_beside_them_have_the_bits_of_their_chains() {
        let links = [Op::Load, Op::SubOne, Op::Function, Op::Keep, Op::Sum].into_iter().zip([0, 1, 0, 0, 0]);
        let links = links.zip([0, 0, 0, 2, 3]).map(|((op, y), to)| link(op, y, to)).collect();
        let chain = Chain { links, functions: vec![Unary::Exp], folds: vec![(Op::Sum, 3)] };
        let links = vec![link(Op::Load, 0, 0), link(Op::MulOne, 1, 0), link(Op::Keep, 0, 2)];
        let scaled = Chain { links, ..Chain::default() };
        assert!(matches!(Known::of(&chain), Some(Known::Exponentials { .. })));
        assert!(matches!(Known::of(&scaled), Some(Known::Scaled { .. })));
        for isa in Isa::available() {
            for (columns, special) in COLUMNS.into_iter().flat_map(|n| [(n, n), (n, 0)]) {
                // Only what can be written past the caches is.
                let past = if columns % 16 == 0 && isa != Isa::Portable && isa != Isa::Neon { 1 << 2 } else { 0 };
                for (is_beside, past) in [(false, 0), (true, 0), (true, past)] {
                    let x = numbers(columns, special);
                    let [found, expected] = [(chain.clone(), scaled.clone()), (unknown(&chain), unknown(&scaled))].map(
                        |(chain, scaled)| {
                            let (mut e, mut sum, y) = (vec![0.0f32; columns], [0.0f32], [0.75f32]);
                            let mut out = vec![Line([0.0; 16]); columns.div_ceil(16)];
                            let at = |x: &[f32]| x.as_ptr().cast_mut().cast::<u8>();
                            let places = [at(&x), at(&y), e.as_mut_ptr().cast(), sum.as_mut_ptr().cast()];
                            let others = [at(&x), at(&y), out.as_mut_ptr().cast()];
                            let beside = is_beside.then_some((&scaled, &others[..], past));
                            let row = LongRow { places: &places, columns, past_caches: 0, fetch: &[at(&x)], beside };
                            // SAFETY: the operands are as long as the row, and what goes past the caches is whole lines.
                            unsafe { chain.run_long(isa, row) };
                            let out: Vec<f32> = out.iter().flat_map(|line| line.0).collect();
                            [bits(&e), bits(&sum), bits(&out)]
                        },
                    );
                    assert!(found == expected, "{isa} {columns} beside {is_beside} past {past}");
                }
            }
        }
    }
}
