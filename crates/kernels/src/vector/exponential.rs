//! e^x with AVX-512, whose scaling by a power of two needs no care at the ends of the range.

use std::arch::x86_64::*;

const LANES: usize = 16;

/// e^x, to 1 unit in the last place. Overflows to infinity and underflows gradually, or to 0 as the thread's mode says.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn exp_of(x: __m512) -> __m512 {
    let constant = |x: f32| _mm512_set1_ps(x);
    // Beyond these ends the result is infinity or 0. NaN, the second operand, stays.
    let x = _mm512_min_ps(constant(89.0), _mm512_max_ps(constant(-104.0), x));
    // Adding 1.5·2²³ rounds to an integer.
    let round = constant(12_582_912.0);
    let count = _mm512_sub_ps(_mm512_fmadd_ps(x, constant(std::f32::consts::LOG2_E), round), round);
    // ln 2 in two parts: the product of the first with an integer below 2¹⁵ is exact.
    let r = _mm512_fnmadd_ps(count, constant(0.693_359_4), x);
    let r = _mm512_fmadd_ps(count, constant(2.121_944_4e-4), r);
    let rest = _mm512_fmadd_ps(constant(0.001_391_603_8), r, constant(0.008_367_936));
    let rest = _mm512_fmadd_ps(rest, r, constant(0.041_666_61));
    let rest = _mm512_fmadd_ps(rest, r, constant(0.166_665_33));
    let rest = _mm512_fmadd_ps(rest, r, constant(0.5));
    let value = _mm512_fmadd_ps(_mm512_fmadd_ps(rest, r, constant(1.0)), r, constant(1.0));
    _mm512_scalef_ps(value, count)
}

/// `out = e^x`, a vector at a time; the remainder in the lanes of one.
#[target_feature(enable = "avx512f")]
pub(super) fn exp(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "as many results as operands");
    let whole = x.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: a vector lies before `whole`.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(at), exp_of(_mm512_loadu_ps(x.as_ptr().add(at)))) };
    }
    if whole < x.len() {
        let lanes = (1 << (x.len() - whole)) - 1;
        // SAFETY: as many lanes as there are numbers are read and written.
        unsafe {
            let v = _mm512_maskz_loadu_ps(lanes, x.as_ptr().add(whole));
            _mm512_mask_storeu_ps(out.as_mut_ptr().add(whole), lanes, exp_of(v));
        }
    }
}
