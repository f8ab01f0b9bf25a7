//! Conversion between dtypes, and rounding to the 16-bit floats.

use thalweg_array::{DType, Element, bf16, f16};

use super::Lane;
use super::isa::per_isa;
use crate::cpu::Isa;

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
pub fn round_to(isa: Isa, dtype: DType, x: &mut [f32]) {
    match dtype {
        DType::F16 => round_to_f16(isa, x),
        DType::BF16 => round_to_bf16(isa, x),
        DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U8 | DType::Bool => {}
    }
}

per_isa! {
    fn round_to_f16(x: &mut [f32]) = round_to_f16_body
}

#[inline(always)]
fn round_to_f16_body<const F: bool>(x: &mut [f32]) {
    for x in x {
        let bits = x.abs().to_bits();
        // Ten bits of fraction remain, halves go to even.
        let normal = f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff);
        let normal = if normal > 65504.0 { f32::INFINITY } else { normal };
        // Below 2^-14 the steps are 2^-24, as those of f32 between 1/2 and 1.
        let tiny = (x.abs() + 0.5) - 0.5;
        let rounded = if x.abs() < 6.103_515_6e-5 { tiny } else { normal };
        *x = if x.is_nan() { *x } else { rounded.copysign(*x) };
    }
}

per_isa! {
    fn round_to_bf16(x: &mut [f32]) = round_to_bf16_body
}

#[inline(always)]
fn round_to_bf16_body<const F: bool>(x: &mut [f32]) {
    for x in x {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
        *x = if x.is_nan() { *x } else { f32::from_bits(rounded) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_equals_that_of_the_types() {
        let steps = (0..=u32::MAX).step_by(if cfg!(miri) { 100_000_007 } else { 1009 });
        let special = [0x477f_efff, 0x477f_f000, 0x3300_0000, 0x3300_0001, 0x3880_0000, 0x387f_ffff, 0x7f7f_ffff];
        let x: Vec<f32> = steps.chain(special).map(f32::from_bits).collect();
        for isa in Isa::available() {
            let (mut half, mut brain) = (x.clone(), x.clone());
            round_to(isa, DType::F16, &mut half);
            round_to(isa, DType::BF16, &mut brain);
            for ((&x, half), brain) in x.iter().zip(half).zip(brain) {
                let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(same(half, f16::from_f32(x).to_f32()), "{isa} f16 {x:e}: {half:e}");
                assert!(same(brain, bf16::from_f32(x).to_f32()), "{isa} bf16 {x:e}: {brain:e}");
            }
        }
    }
}
