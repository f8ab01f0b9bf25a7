//! Conversion between dtypes, and rounding to the 16-bit floats.

use thalweg_array::{DType, Element, bf16, f16};

use super::Lane;

/// `x`, numbers of a dtype whose lane is `S`, converted to `to`, whose lane is `T`, as [`Array::cast`] does.
///
/// [`Array::cast`]: thalweg_array::Array::cast
pub fn cast<S: Lane, T: Lane>(to: DType, x: &[S], out: &mut [T]) {
    match (S::DTYPE, to) {
        (DType::F32 | DType::F64, DType::F16) => each(x, out, |x| T::from_f64(f16::from_f64(x.to_f64()).to_f64())),
        (DType::F32 | DType::F64, DType::BF16) => each(x, out, |x| T::from_f64(bf16::from_f64(x.to_f64()).to_f64())),
        (DType::F32 | DType::F64, DType::Bool) => each(x, out, |x| T::from_i64((x.to_f64() != 0.0) as i64)),
        (DType::F32 | DType::F64, _) => each(x, out, |x| T::from_f64(x.to_f64())),
        (_, DType::F16) => each(x, out, |x| T::from_f64(f16::from_i64(x.to_i64()).to_f64())),
        (_, DType::BF16) => each(x, out, |x| T::from_f64(bf16::from_i64(x.to_i64()).to_f64())),
        (_, DType::Bool) => each(x, out, |x| T::from_i64((x.to_i64() != 0) as i64)),
        (_, _) => each(x, out, |x| T::from_i64(x.to_i64())),
    }
}

#[inline(always)]
fn each<S: Copy, T>(x: &[S], out: &mut [T], f: impl Fn(S) -> T) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

/// Rounds numbers held in `f32` to what `dtype`, a 16-bit float, can hold.
pub fn round_to(dtype: DType, x: &mut [f32]) {
    match dtype {
        DType::F16 => x.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        DType::BF16 => x.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
        DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U8 | DType::Bool => {}
    }
}
