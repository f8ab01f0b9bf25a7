//! The scalar functions of [`array::scalar`](thalweg_array::scalar) as loops over slices.
//!
//! A [`Lane`] is a type that arithmetic happens in: `f32`, `f64`, `i32`, `i64` and `u8`. The 16-bit floats are computed
//! in `f32` and rounded after every function ([`round_to`]), so that a fused chain gives the same bits as separate ones;
//! truth values are `u8` of 0 and 1. `with_lane!` picks the lane of a dtype.
//!
//! The bits of a result depend on the operands and the instruction set alone: not on the position in the slice, its
//! length or its alignment.

mod cast;
pub mod chain;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod exponential;
mod float32;
mod float64;
mod fold32;
mod integer;
pub(crate) mod isa;
mod lanes;
mod loops;
mod math;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod piecewise;
mod random;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod ratio;

pub use cast::{cast, round_to};
pub use random::{draw, draw_f64};

use thalweg_array::scalar::{Binary, Fold, Unary};
use thalweg_array::{DType, Element};

use crate::cpu::Isa;

/// Calls `$body` with `$T` standing for the type that numbers of a dtype are computed in.
macro_rules! with_lane {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            thalweg_array::DType::F32 | thalweg_array::DType::F16 | thalweg_array::DType::BF16 => {
                type $T = f32;
                $body
            }
            thalweg_array::DType::F64 => {
                type $T = f64;
                $body
            }
            thalweg_array::DType::I32 => {
                type $T = i32;
                $body
            }
            thalweg_array::DType::I64 => {
                type $T = i64;
                $body
            }
            thalweg_array::DType::U8 | thalweg_array::DType::Bool => {
                type $T = u8;
                $body
            }
        }
    };
}

pub(crate) use with_lane;

/// Bytes of one number of `dtype` in a register: those of its [`Lane`].
pub fn lane_size(dtype: DType) -> usize {
    with_lane!(dtype, T => size_of::<T>())
}

/// An operand: a number for each element, or one for all.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a, T> {
    /// As long as the result.
    Slice(&'a [T]),
    /// Repeated.
    One(T),
}

/// A type that arithmetic happens in. All slices of a call are equally long; `isa` must be available.
pub trait Lane: Element + bytemuck::Pod {
    /// What folds accumulate in.
    type Total: Total;

    /// `out = f(x)`, for functions whose result has the type of the operand.
    fn unary(isa: Isa, f: Unary, x: &[Self], out: &mut [Self]);

    /// `out = f(x)` for [`Unary::IsNan`] and [`Unary::IsFinite`].
    fn predicate(isa: Isa, f: Unary, x: &[Self], out: &mut [u8]);

    /// `out = f(x, y)`, for functions that are no comparisons.
    fn binary(isa: Isa, f: Binary, x: Arg<Self>, y: Arg<Self>, out: &mut [Self]);

    /// `out = f(x, y)` for comparisons.
    fn compare(isa: Isa, f: Binary, x: Arg<Self>, y: Arg<Self>, out: &mut [u8]);

    /// `x` where the condition is not 0, else `y`.
    fn select(isa: Isa, condition: Arg<u8>, x: Arg<Self>, y: Arg<Self>, out: &mut [Self]);

    /// All of `x` put together, in an order that depends on its length alone.
    fn fold(isa: Isa, f: Fold, x: &[Self]) -> Self::Total;

    /// Each row of `width` numbers put together, in an order that depends on the width alone; as many rows as there
    /// are `totals`.
    fn fold_rows(isa: Isa, f: Fold, x: &[Self], width: usize, totals: &mut [Self::Total]) {
        for (row, total) in totals.iter_mut().enumerate() {
            *total = Self::fold(isa, f, &x[row * width..][..width]);
        }
    }

    /// Rows as long as `totals`, one after the other in `x`, put together column by column into `totals`.
    fn fold_columns(isa: Isa, f: Fold, x: &[Self], totals: &mut [Self::Total]);

    /// The number for accumulation.
    fn widen(self) -> Self::Total;

    /// The accumulated number, rounded; integers keep their low bits.
    fn narrow(total: Self::Total) -> Self;
}

/// What a fold accumulates in: `f64` for floats, `i64` for integers.
pub trait Total: Element + bytemuck::Pod {
    /// What to begin with.
    fn identity(f: Fold, dtype: DType) -> Self;
    /// Two partial results put together.
    fn join(f: Fold, x: Self, y: Self) -> Self;
}

impl Total for f64 {
    fn identity(f: Fold, dtype: DType) -> f64 {
        f.identity(dtype).to_f64()
    }

    #[inline(always)]
    fn join(f: Fold, x: f64, y: f64) -> f64 {
        f.binary().apply(x, y)
    }
}

impl Total for i64 {
    fn identity(f: Fold, dtype: DType) -> i64 {
        f.identity(dtype).to_i64()
    }

    #[inline(always)]
    fn join(f: Fold, x: i64, y: i64) -> i64 {
        f.binary().apply_int(x, y)
    }
}

/// `out[i] = f(x[i], y[i])` over both kinds of operand, with the loop written out for each combination.
macro_rules! zip {
    ($x:expr, $y:expr, $out:expr, |$a:ident, $b:ident| $value:expr) => {
        match ($x, $y) {
            ($crate::vector::Arg::Slice(x), $crate::vector::Arg::Slice(y)) => {
                for ((out, &$a), &$b) in $out.iter_mut().zip(x).zip(y) {
                    *out = $value;
                }
            }
            ($crate::vector::Arg::Slice(x), $crate::vector::Arg::One($b)) => {
                for (out, &$a) in $out.iter_mut().zip(x) {
                    *out = $value;
                }
            }
            ($crate::vector::Arg::One($a), $crate::vector::Arg::Slice(y)) => {
                for (out, &$b) in $out.iter_mut().zip(y) {
                    *out = $value;
                }
            }
            ($crate::vector::Arg::One($a), $crate::vector::Arg::One($b)) => $out.fill($value),
        }
    };
}
use zip;

/// `x` where the condition is not 0, else `y`: one plain loop for every type.
#[inline(always)]
fn select<T: Copy>(condition: Arg<u8>, x: Arg<T>, y: Arg<T>, out: &mut [T]) {
    let condition = match condition {
        Arg::Slice(condition) => condition,
        Arg::One(condition) => {
            return match if condition != 0 { x } else { y } {
                Arg::Slice(x) => out.copy_from_slice(x),
                Arg::One(x) => out.fill(x),
            };
        }
    };
    match (x, y) {
        (Arg::Slice(x), Arg::Slice(y)) => {
            for (((out, &c), &x), &y) in out.iter_mut().zip(condition).zip(x).zip(y) {
                *out = if c != 0 { x } else { y };
            }
        }
        (Arg::Slice(x), Arg::One(y)) => {
            for ((out, &c), &x) in out.iter_mut().zip(condition).zip(x) {
                *out = if c != 0 { x } else { y };
            }
        }
        (Arg::One(x), Arg::Slice(y)) => {
            for ((out, &c), &y) in out.iter_mut().zip(condition).zip(y) {
                *out = if c != 0 { x } else { y };
            }
        }
        (Arg::One(x), Arg::One(y)) => {
            for (out, &c) in out.iter_mut().zip(condition) {
                *out = if c != 0 { x } else { y };
            }
        }
    }
}
