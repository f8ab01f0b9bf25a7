//! Chains of operations on f32, with what passes from one to the next in vector registers.
//!
//! Simple arithmetic on tiles that are in the first-level cache waits for that cache, not for the processor: what one
//! operation leaves and the next takes up again need not go there. A [`Chain`] is a little machine with one accumulator,
//! a block of vectors: its links load it, combine it with operands, keep it, put it together. Finding out what comes next costs a
//! link some ten instructions; a block makes eight vector operations of them, or sixteen where there are registers for so many.
//!
//! Every operation rounds as it would alone.

use std::mem::MaybeUninit;

use thalweg_array::scalar::{Binary, Fold, Unary};

use super::lanes::Lanes;
use super::loops::{self, Known};
use crate::cpu::{Isa, prefetch, prefetch_to_second_level};
use crate::matmul::simd::Plain;

/// Vectors of a block where the processor has 32 registers for them and no function needs many of those.
const BLOCK: usize = 16;
/// Vectors of a block elsewhere, and of one in what is left of a row.
const SHORT: usize = 8;
/// Numbers that a fold puts together in f32 before it goes on in f64; whole blocks.
pub(super) const SEGMENT: usize = 1024;
/// Vectors that a fold puts numbers together in.
pub(super) const TOTALS: usize = 4;
/// Bytes of a cache line.
pub(super) const LINE: usize = 64;
/// The most folds of a chain.
pub const MOST_FOLDS: usize = 4;
/// The most places of a chain.
pub const MOST_PLACES: usize = 32;

/// What a link does to the accumulator a. `y` is the operand; `One` has the same number for a whole row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    /// a = y
    Load,
    LoadOne,
    /// a + y
    Add,
    AddOne,
    /// a − y
    Sub,
    SubOne,
    /// y − a
    SubFrom,
    SubFromOne,
    /// a · y
    Mul,
    MulOne,
    /// a / y
    Div,
    DivOne,
    /// y / a
    DivInto,
    DivIntoOne,
    /// The larger.
    Max,
    MaxOne,
    /// The smaller.
    Min,
    MinOne,
    /// a + y·z, each rounded
    AddProduct,
    AddProductOne,
    /// a − y·z, each rounded
    SubProduct,
    SubProductOne,
    /// −a
    Neg,
    /// |a|
    Abs,
    /// a²
    Square,
    /// √a
    Sqrt,
    /// 1/√a
    Rsqrt,
    /// 1/a
    Reciprocal,
    /// max(a, 0)
    Relu,
    /// f(a), of the function with the number `z`.
    Function,
    /// y / (√a + z), with AVX-512 by estimates, within 4 units in the last place.
    Ratio,
    /// a where the truth values z hold, else y.
    Where,
    WhereOne,
    /// y where the truth values z hold, else a.
    WhereNot,
    WhereNotOne,
    /// Writes the truth values of a comparison with y to `to`; a stays.
    Compare,
    CompareOne,
    /// Writes to `to` whether a is finite; a stays.
    IsFinite,
    /// Writes a to `to`; a stays.
    Keep,
    /// The row put together, to `to`, one number; a stays.
    Sum,
    Maximum,
    Minimum,
}

/// One operation. What its numbers mean says [`Op`]; where nothing is said, they are places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// What is done.
    pub op: Op,
    /// The operand.
    pub y: u8,
    /// The second operand; the function or the comparison; of folds, the number of the fold.
    pub z: u8,
    /// Where the result goes.
    pub to: u8,
}

impl Link {
    /// The places that it reads.
    pub fn reads(&self) -> impl Iterator<Item = u8> {
        use Op::*;
        let (y, z) = match self.op {
            Load | LoadOne | Add | AddOne | Sub | SubOne | SubFrom | SubFromOne | Mul | MulOne | Div | DivOne
            | DivInto | DivIntoOne | Max | MaxOne | Min | MinOne | Compare | CompareOne => (true, false),
            AddProduct | AddProductOne | SubProduct | SubProductOne | Ratio | Where | WhereOne | WhereNot
            | WhereNotOne => (true, true),
            Neg | Abs | Square | Sqrt | Rsqrt | Reciprocal | Relu | Function | IsFinite | Keep | Sum | Maximum
            | Minimum => (false, false),
        };
        y.then_some(self.y).into_iter().chain(z.then_some(self.z))
    }
}

/// Where an operand lies for the first row, and the bytes from a row to the next.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The first number.
    pub at: *mut u8,
    /// Bytes between rows.
    pub step: isize,
}

/// Links to be run one after the other, over rows of any length.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The links.
    pub links: Vec<Link>,
    /// The functions that links name.
    pub functions: Vec<Unary>,
    /// The folds: what each does, and its place.
    pub folds: Vec<(Op, u8)>,
}

/// What a chain runs on.
#[derive(Debug)]
pub struct Rows<'a> {
    /// Where the first row of each operand and result begins.
    pub places: &'a mut [*mut u8],
    /// The bytes from a row to the next, for each place.
    pub steps: &'a [isize],
    /// The number of rows.
    pub rows: usize,
    /// The numbers of a row.
    pub columns: usize,
    /// A bit for each place that is written past the caches; each begins at a cache line, and so do its rows.
    pub past_caches: u32,
    /// Memory that will be needed later: from each address on, as many f32 as all rows have are fetched, block by block.
    pub fetch: &'a [*const u8],
    /// Fetched into the second-level cache only, because the first has no room for it.
    pub far: bool,
}

/// A row of any length that a chain runs on, while another chain runs on one of the same length.
#[derive(Debug)]
pub struct LongRow<'a> {
    /// Where each operand and result begins.
    pub places: &'a [*mut u8],
    /// The numbers of the row.
    pub columns: usize,
    /// As of [`Rows`].
    pub past_caches: u32,
    /// As of [`Rows`]; into the second-level cache.
    pub fetch: &'a [*const u8],
    /// Another chain, which folds nothing, with its places and what goes past the caches: block after block in turn, so that
    /// what it writes is on its way while the first one computes.
    pub beside: Option<(&'a Chain, &'a [*mut u8], u32)>,
}

/// The vectors of a block are all filled.
const WHOLE: u8 = 0;
/// They are of one row, and the last of them is filled in part.
const PART: u8 = 1;
/// Each is a row of its own, filled in part.
const ROWS: u8 = 2;

/// What a block runs on.
#[derive(Clone, Copy)]
struct Numbers<'a> {
    places: &'a [*mut u8],
    /// The bytes from a row to the next, for each place; looked at where vectors are rows.
    steps: &'a [isize],
    /// The first column.
    first: usize,
    /// The numbers, of each row.
    count: usize,
}

/// The comparisons, as links name them.
pub const COMPARISONS: [Binary; 6] = [Binary::Eq, Binary::Ne, Binary::Lt, Binary::Le, Binary::Gt, Binary::Ge];

impl Chain {
    /// Runs the links in blocks from left to right, row after row, or a row beside others where it is one vector. What is folded
    /// is put together in an order that depends on the number of columns and the instruction set alone; at most 1,024
    /// numbers, as the accumulators are f32.
    ///
    /// # Safety
    /// `isa` is available; the places that the links name are there, with their rows and columns: f32, aligned, or bytes
    /// where they are truth values, to be written where a link writes. A place that is written may be one that is read
    /// only where both are the same element.
    pub unsafe fn run(&self, isa: Isa, on: Rows<'_>) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2(chain: &Chain, on: Rows<'_>) {
            // SAFETY: the contract of `run`.
            unsafe { chain.rows::<std::arch::x86_64::__m256, SHORT>(Isa::Avx2, on) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        unsafe fn avx512(chain: &Chain, on: Rows<'_>) {
            // SAFETY (both): the contract of `run`.
            if chain.functions.is_empty() {
                unsafe { chain.rows::<std::arch::x86_64::__m512, BLOCK>(Isa::Avx512, on) }
            } else {
                unsafe { chain.rows::<std::arch::x86_64::__m512, SHORT>(Isa::Avx512, on) }
            }
        }
        // SAFETY (all): the contract of this function.
        match isa {
            Isa::Portable | Isa::Neon => unsafe { self.rows::<Plain<f32, 4>, SHORT>(isa, on) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(self, on) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Amx => unsafe { avx512(self, on) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Amx => unreachable!("no instruction set of this architecture"),
        }
    }

    /// Runs the links on a row of any length. What is folded is put together as [`Chain::run`] does it within 1,024 numbers,
    /// these in f64.
    ///
    /// # Safety
    /// As [`Chain::run`], for both chains.
    pub unsafe fn run_long(&self, isa: Isa, on: LongRow<'_>) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2(chain: &Chain, on: LongRow<'_>) {
            // SAFETY: the contract of `run_long`.
            unsafe { chain.long_row::<std::arch::x86_64::__m256, SHORT>(Isa::Avx2, on) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        unsafe fn avx512(chain: &Chain, on: LongRow<'_>) {
            // SAFETY (both): the contract of `run_long`.
            if chain.functions.is_empty() && on.beside.is_none_or(|(chain, ..)| chain.functions.is_empty()) {
                unsafe { chain.long_row::<std::arch::x86_64::__m512, BLOCK>(Isa::Avx512, on) }
            } else {
                unsafe { chain.long_row::<std::arch::x86_64::__m512, SHORT>(Isa::Avx512, on) }
            }
        }
        // SAFETY (all): the contract of this function.
        match isa {
            Isa::Portable | Isa::Neon => unsafe { self.long_row::<Plain<f32, 4>, SHORT>(isa, on) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(self, on) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Amx => unsafe { avx512(self, on) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Amx => unreachable!("no instruction set of this architecture"),
        }
    }

    /// # Safety
    /// As [`Chain::run_long`], with the instruction set of `V` switched on.
    #[inline(always)]
    unsafe fn long_row<V: Lanes, const N: usize>(&self, isa: Isa, on: LongRow<'_>) {
        // SAFETY: the contract.
        if unsafe { loops::run::<V>(self, isa, &on) } {
            return;
        }
        let LongRow { places, columns, past_caches, fetch, beside } = on;
        assert!(beside.is_none_or(|(chain, ..)| chain.folds.is_empty()), "what runs beside a row folds nothing");
        // SAFETY (all blocks below): the contract.
        let mut parts = [const { MaybeUninit::uninit() }; MOST_FOLDS];
        let mut totals = [0.0; MOST_FOLDS];
        for ((part, total), &(f, _)) in parts.iter_mut().zip(&mut totals).zip(&self.folds) {
            part.write([unsafe { V::splat(identity(f)) }; TOTALS]);
            *total = identity(f) as f64;
        }
        let mut first = 0;
        while first < columns {
            let count = (columns - first).min(N * V::LANES);
            let (mut turn, mut other) = ((self, places, past_caches), beside);
            loop {
                let (chain, places, past) = turn;
                let numbers = Numbers { places, steps: &[], first, count };
                unsafe {
                    if count == N * V::LANES {
                        chain.block::<V, N, WHOLE>(isa, numbers, past, &mut parts);
                    } else {
                        chain.block::<V, N, PART>(isa, numbers, past, &mut parts);
                    }
                }
                match other.take() {
                    Some(next) => turn = next,
                    None => break,
                }
            }
            fetch_block(fetch, first, count, prefetch_to_second_level);
            first += count;
            if first.is_multiple_of(SEGMENT) || first == columns {
                for ((part, total), &(f, _)) in parts.iter_mut().zip(&mut totals).zip(&self.folds) {
                    *total = join(f, *total, unsafe { together(f, part.assume_init_ref()) });
                    part.write([unsafe { V::splat(identity(f)) }; TOTALS]);
                }
            }
        }
        for (&total, &(_, to)) in totals.iter().zip(&self.folds) {
            unsafe { *places[to as usize].cast::<f32>() = total as f32 };
        }
    }

    /// # Safety
    /// As [`Chain::run`], with the instruction set of `V` switched on.
    #[inline(always)]
    unsafe fn rows<V: Lanes, const N: usize>(&self, isa: Isa, on: Rows<'_>) {
        let Rows { places, steps, rows, columns, past_caches, fetch, far } = on;
        // SAFETY (all blocks below): the contract.
        let mut totals = [const { MaybeUninit::uninit() }; MOST_FOLDS];
        let fetch_block = |row: usize, first: usize, count: usize| {
            let line = |address| if far { prefetch_to_second_level(address) } else { prefetch(address) };
            fetch_block(fetch, row * columns + first, count, line);
        };
        let go_down = |places: &mut [*mut u8], rows: usize| {
            for (place, &step) in places.iter_mut().zip(steps) {
                *place = place.wrapping_offset(step * rows as isize);
            }
        };
        let mut row = 0;
        // Finding out what comes next would take a row of one vector longer than the arithmetic.
        while (1..=V::LANES).contains(&columns) && row + SHORT <= rows {
            let numbers = Numbers { places, steps, first: 0, count: columns };
            unsafe { self.block::<V, SHORT, ROWS>(isa, numbers, 0, &mut totals) };
            fetch_block(row, 0, SHORT * columns);
            go_down(places, SHORT);
            row += SHORT;
        }
        if let (Some(Known::Fold { f, x, to }), true) = (Known::of(self), columns >= TOTALS * V::LANES) {
            while row < rows {
                let x = places[x as usize].cast_const().cast();
                unsafe {
                    let total = loops::fold::<V>(f, x, columns, |first, count| fetch_block(row, first, count));
                    *places[to as usize].cast::<f32>() = total;
                }
                go_down(places, 1);
                row += 1;
            }
        }
        while row < rows {
            for (totals, &(f, _)) in totals.iter_mut().zip(&self.folds) {
                totals.write([unsafe { V::splat(identity(f)) }; TOTALS]);
            }
            let numbers = |first: usize, count: usize| Numbers { places, steps, first, count };
            let mut first = 0;
            while first + N * V::LANES <= columns {
                let count = N * V::LANES;
                unsafe { self.block::<V, N, WHOLE>(isa, numbers(first, count), past_caches, &mut totals) };
                fetch_block(row, first, count);
                first += count;
            }
            if N > SHORT && first + SHORT * V::LANES <= columns {
                let count = SHORT * V::LANES;
                unsafe { self.block::<V, SHORT, WHOLE>(isa, numbers(first, count), past_caches, &mut totals) };
                fetch_block(row, first, count);
                first += count;
            }
            fetch_block(row, first, columns - first);
            while first < columns {
                let left = columns - first;
                if left <= V::LANES {
                    unsafe { self.block::<V, 1, PART>(isa, numbers(first, left), 0, &mut totals) };
                    break;
                }
                if left >= TOTALS * V::LANES {
                    let count = TOTALS * V::LANES;
                    unsafe { self.block::<V, TOTALS, WHOLE>(isa, numbers(first, count), past_caches, &mut totals) };
                    first += count;
                    continue;
                }
                unsafe { self.block::<V, TOTALS, PART>(isa, numbers(first, left), 0, &mut totals) };
                break;
            }
            for (totals, &(f, to)) in totals.iter().zip(&self.folds) {
                unsafe { *places[to as usize].cast::<f32>() = together(f, totals.assume_init_ref()) };
            }
            go_down(places, 1);
            row += 1;
        }
    }

    /// The links on a block of `N` vectors of the given kind.
    ///
    /// # Safety
    /// As [`Chain::rows`].
    #[inline(always)]
    unsafe fn block<V: Lanes, const N: usize, const KIND: u8>(
        &self,
        isa: Isa,
        numbers: Numbers<'_>,
        past_caches: u32,
        totals: &mut [MaybeUninit<[V; TOTALS]>; MOST_FOLDS],
    ) {
        let Numbers { places, steps, first, count } = numbers;
        // SAFETY (all blocks below): the contract.
        let lanes = |i: usize| match KIND {
            WHOLE => V::LANES,
            ROWS => count,
            _ => count.saturating_sub(i * V::LANES).min(V::LANES),
        };
        let at = |place: u8| {
            debug_assert!((place as usize) < places.len());
            let at = unsafe { *places.get_unchecked(place as usize) };
            Place { at, step: if KIND == ROWS { unsafe { *steps.get_unchecked(place as usize) } } else { 0 } }
        };
        // Where vector `i` begins of a place with so many bytes a number.
        let nth = |place: Place, i: usize, bytes: usize| match KIND {
            ROWS => place.at.wrapping_offset(i as isize * place.step),
            _ => place.at.wrapping_add((first + i * V::LANES) * bytes),
        };
        let one = |place: u8, i: usize| {
            let Place { at, step } = at(place);
            unsafe { V::splat(*at.wrapping_offset(i as isize * step).cast()) }
        };
        let full_at = |place: Place, i: usize| unsafe {
            let from = nth(place, i, size_of::<f32>()).cast();
            if KIND == WHOLE { V::load(from) } else { V::load_masked(from, V::first(lanes(i))) }
        };
        let full = |place: u8, i: usize| full_at(at(place), i);
        let truths = |place: u8, i: usize| nth(at(place), i, 1);
        let mut a = [unsafe { V::zero() }; N];
        // Written out, because a loop of so many steps would keep the accumulator in memory.
        macro_rules! unrolled {
            (|$i:ident| $do:expr) => {
                unrolled!(|$i| $do; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
            };
            (|$i:ident| $do:expr; $($number:literal)*) => {{$(
                if $number < N {
                    let $i: usize = $number;
                    $do;
                }
            )*}};
        }
        macro_rules! each {
            (|$i:ident| $value:expr) => {
                unrolled!(|$i| a[$i] = unsafe { $value })
            };
        }
        macro_rules! each_one {
            ($place:expr, |$i:ident, $y:ident| $value:expr) => {{
                let first = one($place, 0);
                each!(|$i| {
                    let $y = if KIND == ROWS { one($place, $i) } else { first };
                    $value
                });
            }};
        }
        macro_rules! fold {
            ($link:expr, $both:ident, $identity:expr) => {{
                let filled = |a: V, i: usize| if KIND == WHOLE { a } else { unsafe { a.only(lanes(i), $identity) } };
                if KIND == ROWS {
                    let (to, empty) = (at($link.to), unsafe { V::splat($identity) });
                    unrolled!(|i| unsafe {
                        let total = together($link.op, &[empty.$both(filled(a[i], i)), empty, empty, empty]);
                        *nth(to, i, size_of::<f32>()).cast() = total;
                    });
                } else {
                    let totals = unsafe { totals[$link.z as usize % MOST_FOLDS].assume_init_mut() };
                    unrolled!(|i| totals[i % TOTALS] = unsafe { totals[i % TOTALS].$both(filled(a[i], i)) });
                }
            }};
        }
        for link in &self.links {
            match link.op {
                Op::Load => {
                    unrolled!(|i| a[i] = full(link.y, i));
                }
                Op::LoadOne => {
                    let first = one(link.y, 0);
                    unrolled!(|i| a[i] = if KIND == ROWS { one(link.y, i) } else { first });
                }
                Op::Add => each!(|i| a[i].add(full(link.y, i))),
                Op::AddOne => each_one!(link.y, |i, y| a[i].add(y)),
                Op::Sub => each!(|i| a[i].sub(full(link.y, i))),
                Op::SubOne => each_one!(link.y, |i, y| a[i].sub(y)),
                Op::SubFrom => each!(|i| full(link.y, i).sub(a[i])),
                Op::SubFromOne => each_one!(link.y, |i, y| y.sub(a[i])),
                Op::Mul => each!(|i| a[i].mul(full(link.y, i))),
                Op::MulOne => each_one!(link.y, |i, y| a[i].mul(y)),
                Op::Div => each!(|i| a[i].div(full(link.y, i))),
                Op::DivOne => each_one!(link.y, |i, y| a[i].div(y)),
                Op::DivInto => each!(|i| full(link.y, i).div(a[i])),
                Op::DivIntoOne => each_one!(link.y, |i, y| y.div(a[i])),
                Op::Max => each!(|i| a[i].max(full(link.y, i))),
                Op::MaxOne => each_one!(link.y, |i, y| a[i].max(y)),
                Op::Min => each!(|i| a[i].min(full(link.y, i))),
                Op::MinOne => each_one!(link.y, |i, y| a[i].min(y)),
                Op::AddProduct => each!(|i| a[i].add(full(link.y, i).mul(full(link.z, i)))),
                Op::AddProductOne => each_one!(link.z, |i, z| a[i].add(full(link.y, i).mul(z))),
                Op::SubProduct => each!(|i| a[i].sub(full(link.y, i).mul(full(link.z, i)))),
                Op::SubProductOne => each_one!(link.z, |i, z| a[i].sub(full(link.y, i).mul(z))),
                Op::Neg => each!(|i| a[i].neg()),
                Op::Abs => each!(|i| a[i].abs()),
                Op::Square => each!(|i| a[i].mul(a[i])),
                Op::Sqrt => each!(|i| a[i].sqrt()),
                Op::Rsqrt => each!(|i| V::splat(1.0).div(a[i].sqrt())),
                Op::Reciprocal => each!(|i| V::splat(1.0).div(a[i])),
                Op::Relu => each!(|i| a[i].relu()),
                Op::Function => {
                    assert!(N <= SHORT, "a function needs registers of its own");
                    let count = if KIND == ROWS { N * V::LANES } else { count };
                    a = unsafe { V::function(isa, self.functions[link.z as usize], a, count) };
                }
                Op::Ratio => each_one!(link.z, |i, z| a[i].ratio(full(link.y, i), z)),
                Op::Where => each!(|i| V::choose(truths(link.z, i), lanes(i), a[i], full(link.y, i))),
                Op::WhereOne => each_one!(link.y, |i, y| V::choose(truths(link.z, i), lanes(i), a[i], y)),
                Op::WhereNot => each!(|i| V::choose(truths(link.z, i), lanes(i), full(link.y, i), a[i])),
                Op::WhereNotOne => each_one!(link.y, |i, y| V::choose(truths(link.z, i), lanes(i), y, a[i])),
                Op::Compare => {
                    let (f, y, to) = (COMPARISONS[link.z as usize], at(link.y), at(link.to));
                    unrolled!(|i| unsafe { a[i].compare(f, full_at(y, i), nth(to, i, 1), lanes(i)) });
                }
                Op::CompareOne => {
                    let (f, first, to) = (COMPARISONS[link.z as usize], one(link.y, 0), at(link.to));
                    unrolled!(|i| {
                        let y = if KIND == ROWS { one(link.y, i) } else { first };
                        unsafe { a[i].compare(f, y, nth(to, i, 1), lanes(i)) };
                    });
                }
                Op::IsFinite => {
                    let (y, to) = (unsafe { V::splat(f32::INFINITY) }, at(link.to));
                    unrolled!(|i| unsafe { a[i].abs().compare(Binary::Lt, y, nth(to, i, 1), lanes(i)) });
                }
                Op::Keep => {
                    let to = at(link.to);
                    let past_caches = KIND == WHOLE && past_caches & (1 << link.to) != 0;
                    if past_caches {
                        unrolled!(|i| unsafe { a[i].stream(nth(to, i, size_of::<f32>()).cast()) });
                        continue;
                    }
                    unrolled!(|i| {
                        let to = nth(to, i, size_of::<f32>()).cast();
                        unsafe {
                            if KIND == WHOLE { a[i].store(to) } else { a[i].store_masked(to, V::first(lanes(i))) }
                        };
                    });
                }
                Op::Sum => fold!(link, add, 0.0),
                Op::Maximum => fold!(link, max, f32::NEG_INFINITY),
                Op::Minimum => fold!(link, min, f32::INFINITY),
            }
        }
    }
}

/// Fetches lines that are needed later, as far from where they begin as `count` numbers from number `first` on, by `fetch_line`.
#[inline(always)]
pub(super) fn fetch_block(fetch: &[*const u8], first: usize, count: usize, fetch_line: impl Fn(*const u8)) {
    for address in fetch {
        let address = address.wrapping_add(first * size_of::<f32>());
        for line in 0..(count * size_of::<f32>()).div_ceil(LINE) {
            fetch_line(address.wrapping_add(line * LINE));
        }
    }
}

/// What a fold begins with.
#[inline(always)]
pub(super) fn identity(f: Op) -> f32 {
    match f {
        Op::Maximum => f32::NEG_INFINITY,
        Op::Minimum => f32::INFINITY,
        _ => 0.0,
    }
}

/// What a fold has put together so far, and one part more.
#[inline(always)]
pub(super) fn join(f: Op, total: f64, part: f32) -> f64 {
    match f {
        Op::Maximum => Binary::Max.apply(total, part as f64),
        Op::Minimum => Binary::Min.apply(total, part as f64),
        _ => total + part as f64,
    }
}

/// The numbers of all lanes put together, halves first.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
pub(super) unsafe fn together<V: Lanes>(f: Op, totals: &[V; TOTALS]) -> f32 {
    let [a, b, c, d] = *totals;
    // SAFETY: the contract.
    unsafe {
        match f {
            Op::Maximum => a.max(c).max(b.max(d)).fold(Fold::Max),
            Op::Minimum => a.min(c).min(b.min(d)).fold(Fold::Min),
            _ => a.add(c).add(b.add(d)).fold(Fold::Sum),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a chain on a row as long as `out`, whose place comes after those of the inputs.
    pub(in crate::vector) fn run(chain: &Chain, isa: Isa, inputs: &[&[f32]], out: &mut [f32]) {
        let mut places: Vec<*mut u8> = inputs.iter().map(|input| input.as_ptr().cast_mut().cast()).collect();
        places.push(out.as_mut_ptr().cast());
        let steps = vec![0; places.len()];
        // SAFETY: the operands are as long as the row, or numbers on their own.
        unsafe { chain.run(isa, rows(&mut places, &steps, 1, out.len())) };
    }

    fn rows<'a>(places: &'a mut [*mut u8], steps: &'a [isize], rows: usize, columns: usize) -> Rows<'a> {
        Rows { places, steps, rows, columns, past_caches: 0, fetch: &[], far: false }
    }

    fn link(op: Op, y: u8, z: u8, to: u8) -> Link {
        Link { op, y, z, to }
    }

    /// Numbers of both signs and zeros, NaN and infinity among them.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| match (i + seed) % 41 {
            13 => f32::NAN,
            17 => f32::INFINITY,
            19 => -0.0,
            other => (other * 37 % 17) as f32 / 4.0 - 2.0,
        };
        (0..n).map(number).collect()
    }

    /// Rows and their numbers: single ones of any length, short ones that are run beside each other.
    const SIZES: [(usize, usize); 15] = [
        (1, 1),
        (1, 7),
        (1, 16),
        (1, 63),
        (1, 64),
        (1, 65),
        (1, 127),
        (1, 128),
        (1, 200),
        (1, 300),
        (3, 20),
        (8, 16),
        (11, 1),
        (17, 7),
        (20, 10),
    ];

    /// What a link leaves in the accumulator a, beside the operand y and the second operand z.
    type Scalar = fn(f32, f32, f32) -> f32;

    #[test]
    fn every_link_is_its_scalar_function_in_every_lane() {
        let operations: [(Op, Scalar); 31] = [
            (Op::Load, |_, y, _| y),
            (Op::LoadOne, |_, y, _| y),
            (Op::Add, |a, y, _| a + y),
            (Op::AddOne, |a, y, _| a + y),
            (Op::Sub, |a, y, _| a - y),
            (Op::SubOne, |a, y, _| a - y),
            (Op::SubFrom, |a, y, _| y - a),
            (Op::SubFromOne, |a, y, _| y - a),
            (Op::Mul, |a, y, _| a * y),
            (Op::MulOne, |a, y, _| a * y),
            (Op::Div, |a, y, _| a / y),
            (Op::DivOne, |a, y, _| a / y),
            (Op::DivInto, |a, y, _| y / a),
            (Op::DivIntoOne, |a, y, _| y / a),
            (Op::Max, |a, y, _| super::super::math::max(a, y)),
            (Op::MaxOne, |a, y, _| super::super::math::max(a, y)),
            (Op::Min, |a, y, _| super::super::math::min(a, y)),
            (Op::MinOne, |a, y, _| super::super::math::min(a, y)),
            (Op::AddProduct, |a, y, z| a + y * z),
            (Op::AddProductOne, |a, y, z| a + y * z),
            (Op::SubProduct, |a, y, z| a - y * z),
            (Op::SubProductOne, |a, y, z| a - y * z),
            (Op::Neg, |a, _, _| -a),
            (Op::Abs, |a, _, _| a.abs()),
            (Op::Square, |a, _, _| a * a),
            (Op::Sqrt, |a, _, _| a.sqrt()),
            (Op::Rsqrt, |a, _, _| 1.0 / a.sqrt()),
            (Op::Reciprocal, |a, _, _| 1.0 / a),
            (Op::Relu, |a, _, _| if a < 0.0 { 0.0 } else { a }),
            (Op::Keep, |a, _, _| a),
            (Op::Sum, |a, _, _| a),
        ];
        for isa in Isa::available() {
            for (height, n) in SIZES {
                let [a, y, z] = [0, 5, 11].map(|seed| numbers(height * n, seed));
                for (op, f) in operations {
                    let one = format!("{op:?}").ends_with("One");
                    let folds = if op == Op::Sum { vec![(op, 4)] } else { vec![] };
                    let links = vec![link(Op::Load, 0, 0, 0), link(op, 1, 2, 3), link(Op::Keep, 0, 0, 3)];
                    let links = if op == Op::Sum { vec![links[0], link(op, 0, 0, 4), links[2]] } else { links };
                    let (mut out, mut totals) = (vec![0.0; height * n], vec![0.0f32; height]);
                    let mut places: Vec<*mut u8> = [&a, &y, &z].iter().map(|x| x.as_ptr().cast_mut().cast()).collect();
                    places.extend([out.as_mut_ptr().cast(), totals.as_mut_ptr().cast()]);
                    let chain = Chain { links, folds, ..Chain::default() };
                    let product_with_one = matches!(op, Op::AddProductOne | Op::SubProductOne);
                    let step = |one: bool| if one { 4 } else { 4 * n as isize };
                    let steps = [step(false), step(one && !product_with_one), step(product_with_one), step(false), 4];
                    // SAFETY: the operands are as many and as long as the rows.
                    unsafe { chain.run(isa, rows(&mut places, &steps, height, n)) };
                    for i in 0..height * n {
                        let y = if one && !product_with_one { y[i / n] } else { y[i] };
                        let z = if product_with_one { z[i / n] } else { z[i] };
                        let (found, expected) = (out[i], f(a[i], y, z));
                        let same = found == expected || found.is_nan() && expected.is_nan();
                        assert!(same, "{isa} {op:?} of {} {y} {z} at {i} of {n}: {found}, not {expected}", a[i]);
                    }
                }
            }
        }
    }

    #[test]
    fn truth_values_are_written_and_read() {
        for isa in Isa::available() {
            for (height, n) in SIZES {
                let count = height * n;
                let (a, y) = (numbers(count, 0), numbers(count, 3));
                for (number, f) in COMPARISONS.into_iter().enumerate() {
                    let (mut truths, mut out, mut finite) = (vec![7u8; count], vec![0.0f32; count], vec![7u8; count]);
                    let links = vec![
                        link(Op::Load, 0, 0, 0),
                        link(Op::Compare, 1, number as u8, 2),
                        link(Op::IsFinite, 0, 0, 4),
                        link(Op::Where, 1, 2, 0),
                        link(Op::Keep, 0, 0, 3),
                    ];
                    let mut places = [a.as_ptr().cast_mut().cast(), y.as_ptr().cast_mut().cast()].to_vec();
                    places.extend([truths.as_mut_ptr(), out.as_mut_ptr().cast(), finite.as_mut_ptr()]);
                    let chain = Chain { links, ..Chain::default() };
                    let steps = [4, 4, 1, 4, 1].map(|bytes| bytes * n as isize);
                    // SAFETY: the operands are as many and as long as the rows.
                    unsafe { chain.run(isa, rows(&mut places, &steps, height, n)) };
                    for i in 0..count {
                        let expected = f.apply(a[i] as f64, y[i] as f64) != 0.0;
                        assert_eq!(truths[i], expected as u8, "{isa} {f:?}({}, {})", a[i], y[i]);
                        assert_eq!(out[i].to_bits(), if expected { a[i] } else { y[i] }.to_bits(), "{isa} {f:?}");
                        assert_eq!(finite[i], a[i].is_finite() as u8, "{isa} {}", a[i]);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_are_put_together_each_on_its_own() {
        for isa in Isa::available() {
            for (columns, n) in
                [0, 1, 5, 8, 10, 16, 17, 63, 64, 100, 129, 1000].into_iter().flat_map(|c| [(c, 3), (c, 19)])
            {
                let x: Vec<f32> = (0..n * columns).map(|i| (i as f32 * 7.0) % 31.0 - 15.0).collect();
                for (op, f, begin) in [
                    (Op::Sum, Fold::Sum, 0.0),
                    (Op::Maximum, Fold::Max, f32::NEG_INFINITY),
                    (Op::Minimum, Fold::Min, f32::INFINITY),
                ] {
                    let mut out = vec![0.0f32; n];
                    let links = vec![link(Op::Load, 0, 0, 0), link(op, 0, 0, 1)];
                    let chain = Chain { links, folds: vec![(op, 1)], ..Chain::default() };
                    let mut places = [x.as_ptr().cast_mut().cast(), out.as_mut_ptr().cast()];
                    // SAFETY: a result for each row.
                    unsafe { chain.run(isa, rows(&mut places, &[4 * columns as isize, 4], n, columns)) };
                    for (row, found) in out.into_iter().enumerate() {
                        let row = &x[row * columns..][..columns];
                        let expected = row.iter().fold(begin as f64, |t, &x| f.binary().apply(t, x as f64));
                        assert_eq!(found as f64, expected, "{isa} {op:?} of {columns}");
                    }
                }
                let whole: Vec<f32> = x.iter().copied().cycle().take(4 * x.len()).collect();
                let (mut total, mut copy) = ([0.0f32; 1], vec![0.0f32; whole.len()]);
                let links = vec![link(Op::Load, 0, 0, 0), link(Op::Sum, 0, 0, 1)];
                let chain = Chain { links, folds: vec![(Op::Sum, 1)], ..Chain::default() };
                let links = vec![link(Op::Load, 0, 0, 0), link(Op::Neg, 0, 0, 0), link(Op::Keep, 0, 0, 1)];
                let other = Chain { links, ..Chain::default() };
                let places = [whole.as_ptr().cast_mut().cast(), total.as_mut_ptr().cast()];
                let others = [whole.as_ptr().cast_mut().cast(), copy.as_mut_ptr().cast()];
                let beside = Some((&other, &others[..], 0));
                let row = LongRow { places: &places, columns: whole.len(), past_caches: 0, fetch: &[], beside };
                // SAFETY: the operands are as long as the row.
                unsafe { chain.run_long(isa, row) };
                assert_eq!(total[0] as f64, whole.iter().fold(0.0, |t, &x| t + x as f64), "{isa} {columns}");
                assert!(whole.iter().zip(&copy).all(|(x, &y)| -x == y), "{isa} {columns}");
                let mut x = x.clone();
                if let Some(last) = x.last_mut() {
                    *last = f32::NAN;
                    let mut out = [0.0f32; 1];
                    let links = vec![link(Op::Load, 0, 0, 0), link(Op::Maximum, 0, 0, 1)];
                    let chain = Chain { links, folds: vec![(Op::Maximum, 1)], ..Chain::default() };
                    let mut places = [x.as_ptr().cast_mut().cast(), out.as_mut_ptr().cast()];
                    // SAFETY: as above, one row.
                    unsafe { chain.run(isa, rows(&mut places, &[0; 2], 1, x.len().min(1024))) };
                    assert!(out[0].is_nan() || x.len() > 1024, "{isa} {columns}");
                    let mut out = vec![0.0f32; n];
                    let mut places = [x.as_ptr().cast_mut().cast(), out.as_mut_ptr().cast()];
                    // SAFETY: a result for each row.
                    unsafe { chain.run(isa, rows(&mut places, &[4 * columns as isize, 4], n, columns)) };
                    let nan = out.iter().filter(|x| x.is_nan()).count();
                    assert!(nan == 1 && out[n - 1].is_nan(), "{isa} {columns}: {out:?}");
                }
            }
        }
    }
}
