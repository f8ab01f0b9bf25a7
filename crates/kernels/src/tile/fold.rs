//! Accumulators of folds: what one chunk has put together, and the putting together of the chunks.
//!
//! An accumulator is an `f64` for floats and an `i64` for integers and truth values, eight bytes either way.

use thalweg_array::scalar::Fold;
use thalweg_array::{DType, bf16, f16};

use crate::vector::{Lane, Total, with_lane};

/// Bytes of an accumulator.
pub(super) const TOTAL: usize = 8;

/// Sets `n` accumulators to what the fold begins with.
///
/// # Safety
/// `totals` has room for `n` accumulators.
pub(super) unsafe fn begin(f: Fold, dtype: DType, totals: *mut u8, n: usize) {
    with_lane!(dtype, T => {
        // SAFETY: the contract of this function.
        let totals = unsafe { std::slice::from_raw_parts_mut(totals.cast::<<T as Lane>::Total>(), n) };
        totals.fill(Total::identity(f, dtype));
    });
}

/// `totals[i] = f(totals[i], more[i])`.
///
/// # Safety
/// Both hold `n` accumulators and do not overlap.
pub(super) unsafe fn join(f: Fold, dtype: DType, totals: *mut u8, more: *const u8, n: usize) {
    with_lane!(dtype, T => {
        // SAFETY: the contract of this function.
        let (totals, more) = unsafe {
            (
                std::slice::from_raw_parts_mut(totals.cast::<<T as Lane>::Total>(), n),
                std::slice::from_raw_parts(more.cast::<<T as Lane>::Total>(), n),
            )
        };
        for (total, &more) in totals.iter_mut().zip(more) {
            *total = Total::join(f, *total, more);
        }
    });
}

/// Rounds `n` accumulators to the form of registers of `dtype`.
///
/// # Safety
/// `totals` holds `n` accumulators, `out` has room for `n` lanes; they do not overlap.
pub(super) unsafe fn round_to_lanes(dtype: DType, totals: *const u8, n: usize, out: *mut u8) {
    with_lane!(dtype, T => {
        // SAFETY: the contract of this function.
        let (totals, out) = unsafe {
            (
                std::slice::from_raw_parts(totals.cast::<<T as Lane>::Total>(), n),
                std::slice::from_raw_parts_mut(out.cast::<T>(), n),
            )
        };
        for (out, &total) in out.iter_mut().zip(totals) {
            *out = rounded::<T>(dtype, total);
        }
    });
}

/// Rounds `n` accumulators to elements of `dtype` in memory.
///
/// # Safety
/// `totals` holds `n` accumulators, `out` has room for `n` elements of `dtype`; they do not overlap.
pub(super) unsafe fn round_to_memory(dtype: DType, totals: *const u8, n: usize, out: *mut u8) {
    macro_rules! halves {
        ($half:ty) => {
            for i in 0..n {
                // SAFETY: the contract of this function.
                unsafe { *out.cast::<$half>().add(i) = <$half>::from_f64(*totals.cast::<f64>().add(i)) };
            }
        };
    }
    match dtype {
        DType::F16 => halves!(f16),
        DType::BF16 => halves!(bf16),
        DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U8 | DType::Bool => {
            // SAFETY: the contract of this function; elements of these have the form of lanes.
            unsafe { round_to_lanes(dtype, totals, n, out) };
        }
    }
}

/// The accumulated number as a number of `dtype`.
#[inline(always)]
pub(super) fn rounded<T: Lane>(dtype: DType, total: T::Total) -> T {
    use thalweg_array::Element;
    match dtype {
        DType::F16 => T::from_f64(f16::from_f64(total.to_f64()).to_f64()),
        DType::BF16 => T::from_f64(bf16::from_f64(total.to_f64()).to_f64()),
        DType::Bool => T::from_i64((total.to_i64() != 0) as i64),
        DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U8 => T::narrow(total),
    }
}
