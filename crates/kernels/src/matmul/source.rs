//! The element types of A and B.

use half::slice::HalfFloatSliceExt;
use thalweg_array::{bf16, f16};

use super::tile::Accumulator;

/// A float that A and B may hold.
pub(crate) trait Source: Copy + Default + 'static {
    /// What its products are added up in.
    type Sum: Accumulator;
    /// Whether `Sum` is this very type, so that the micro-kernel can read it in place.
    const IS_SUM: bool;
    /// Converts, exactly; the slices are of one length.
    fn widen(from: &[Self], to: &mut [Self::Sum]);
}

impl Source for f32 {
    type Sum = f32;
    const IS_SUM: bool = true;
    fn widen(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl Source for f64 {
    type Sum = f64;
    const IS_SUM: bool = true;
    fn widen(from: &[f64], to: &mut [f64]) {
        to.copy_from_slice(from);
    }
}

impl Source for f16 {
    type Sum = f32;
    const IS_SUM: bool = false;
    fn widen(from: &[f16], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
}

impl Source for bf16 {
    type Sum = f32;
    const IS_SUM: bool = false;
    fn widen(from: &[bf16], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
    }
}
