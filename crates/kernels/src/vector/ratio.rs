//! The quotients x / (√y + z) that Adam and its family take a step by.
//!
//! A square root and a division take AVX-512 as long as thirty other operations. There both begin from the processor's
//! estimates of 1/√y and 1/d, good to 14 bits, and end with one step of Newton's method each: at most 4 units in the last
//! place from the exact quotient (3.1 were found among 100 million, 2.4 of the plain formula with its three roundings).
//! Which bits the estimates have is the processor's affair.

use super::isa::per_isa;
use crate::cpu::Isa;

/// `out = x / (√y + z)`.
pub fn ratio(isa: Isa, x: &[f32], y: &[f32], z: f32, out: &mut [f32]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if isa == Isa::Avx512 {
        assert!(isa <= Isa::best(), "this processor has no {isa}");
        // SAFETY: the processor has AVX-512.
        return unsafe { avx512::ratio(x, y, z, out) };
    }
    plain_ratio(isa, x, y, z, out);
}

/// `out = w − s·x / (√y + z)`.
pub fn ratio_step(isa: Isa, w: &[f32], s: f32, x: &[f32], y: &[f32], z: f32, out: &mut [f32]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if isa == Isa::Avx512 {
        assert!(isa <= Isa::best(), "this processor has no {isa}");
        // SAFETY: the processor has AVX-512.
        return unsafe { avx512::ratio_step(w, s, x, y, z, out) };
    }
    plain_ratio_step(isa, w, s, x, y, z, out);
}

per_isa! {
    fn plain_ratio(x: &[f32], y: &[f32], z: f32, out: &mut [f32]) = ratio_body
}

#[inline(always)]
fn ratio_body<const F: bool>(x: &[f32], y: &[f32], z: f32, out: &mut [f32]) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = x / (y.sqrt() + z);
    }
}

per_isa! {
    fn plain_ratio_step(w: &[f32], s: f32, x: &[f32], y: &[f32], z: f32, out: &mut [f32]) = ratio_step_body
}

#[inline(always)]
fn ratio_step_body<const F: bool>(w: &[f32], s: f32, x: &[f32], y: &[f32], z: f32, out: &mut [f32]) {
    for (((out, &w), &x), &y) in out.iter_mut().zip(w).zip(x).zip(y) {
        *out = w - x / (y.sqrt() + z) * s;
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512 {
    use std::arch::x86_64::*;

    const LANES: usize = 16;

    /// Denominators, as bits, whose reciprocals are estimated: from 2⁻¹⁰⁰ up to 2¹⁰⁰. Infinity, NaN, and what is negative
    /// or 0 lie outside, and so does whatever comes of an infinite or a negative y.
    const LOWEST: i32 = (127 - 100) << 23;
    const WIDTH: i32 = 200 << 23;

    /// x / (√y + z) of a vector. What a lane gets depends on its own numbers alone.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn quotient(x: __m512, y: __m512, z: __m512) -> __m512 {
        let (half, one) = (_mm512_set1_ps(0.5), _mm512_set1_ps(1.0));
        // Of 0 the estimate is infinity; a finite one gives √0 = 0. The minimum of a number and NaN is the second.
        let estimate = _mm512_min_ps(_mm512_set1_ps(f32::MAX), _mm512_rsqrt14_ps(y));
        // The error is taken relative to 1: relative to y it would be flushed where y is tiny.
        let root = _mm512_mul_ps(y, estimate);
        let error = _mm512_fnmadd_ps(root, _mm512_mul_ps(estimate, half), half);
        let denominator = _mm512_add_ps(_mm512_fmadd_ps(root, error, root), z);
        let estimate = _mm512_rcp14_ps(denominator);
        let error = _mm512_fnmadd_ps(estimate, denominator, one);
        let quotient = _mm512_mul_ps(x, _mm512_fmadd_ps(estimate, error, estimate));
        let place = _mm512_sub_epi32(_mm512_castps_si512(denominator), _mm512_set1_epi32(LOWEST));
        let outside = _mm512_cmpgt_epu32_mask(place, _mm512_set1_epi32(WIDTH));
        if outside == 0 {
            return quotient;
        }
        _mm512_mask_div_ps(quotient, outside, x, _mm512_add_ps(_mm512_sqrt_ps(y), z))
    }

    /// Calls `$body` for each vector with the mask of its lanes, those of the remainder at the end.
    macro_rules! each_vector {
        ($n:expr, |$first:ident, $lanes:ident| $body:expr) => {{
            let n: usize = $n;
            let mut $first = 0;
            while $first + LANES <= n {
                let $lanes: __mmask16 = !0;
                $body;
                $first += LANES;
            }
            if $first < n {
                let $lanes: __mmask16 = (1 << (n - $first)) - 1;
                $body;
            }
        }};
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn ratio(x: &[f32], y: &[f32], z: f32, out: &mut [f32]) {
        assert!(x.len() == out.len() && y.len() == out.len(), "as many results as operands");
        let z = _mm512_set1_ps(z);
        // SAFETY: all slices are as long as `out`, and the lanes end where they end.
        each_vector!(out.len(), |first, lanes| unsafe {
            let x = _mm512_maskz_loadu_ps(lanes, x.as_ptr().add(first));
            let y = _mm512_maskz_loadu_ps(lanes, y.as_ptr().add(first));
            _mm512_mask_storeu_ps(out.as_mut_ptr().add(first), lanes, quotient(x, y, z));
        });
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn ratio_step(w: &[f32], s: f32, x: &[f32], y: &[f32], z: f32, out: &mut [f32]) {
        let n = out.len();
        assert!(w.len() == n && x.len() == n && y.len() == n, "as many results as operands");
        let (s, z) = (_mm512_set1_ps(s), _mm512_set1_ps(z));
        // SAFETY: all slices are as long as `out`, and the lanes end where they end.
        each_vector!(n, |first, lanes| unsafe {
            let x = _mm512_maskz_loadu_ps(lanes, x.as_ptr().add(first));
            let y = _mm512_maskz_loadu_ps(lanes, y.as_ptr().add(first));
            let w = _mm512_maskz_loadu_ps(lanes, w.as_ptr().add(first));
            let product = _mm512_mul_ps(quotient(x, y, z), s);
            _mm512_mask_storeu_ps(out.as_mut_ptr().add(first), lanes, _mm512_sub_ps(w, product));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all sizes, each its own.
    fn numbers(n: usize, seed: u32) -> Vec<u32> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
                let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
                (word >> 22) ^ word
            })
            .collect()
    }

    /// A magnitude between 2^low and 2^high, from random bits.
    fn between(bits: u32, low: i32, high: i32) -> f32 {
        let exponent = low + (((bits >> 23) as i32 * (high - low)) >> 9);
        f32::from_bits((bits & 0x7f_ffff) | ((exponent + 127) as u32) << 23)
    }

    fn call(isa: Isa, x: &[f32], y: &[f32], z: f32) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        ratio(isa, x, y, z, &mut out);
        out
    }

    #[test]
    fn quotients_are_within_4_ulp() {
        let n = 1 << 16;
        let x: Vec<f32> = numbers(n, 1).iter().map(|&bits| between(bits, -60, 20)).collect();
        for isa in Isa::available() {
            for (low, high) in [(-126, 127), (-80, -50), (-1, 1)] {
                let y: Vec<f32> = numbers(n, 2).iter().map(|&bits| between(bits, low, high)).collect();
                let roots = numbers(64, 3);
                for z in roots.iter().map(|&bits| between(bits, -45, 1)).chain([0.0, 1e-8, f32::MIN_POSITIVE]) {
                    for ((&x, &y), found) in x.iter().zip(&y).zip(call(isa, &x, &y, z)) {
                        let exact = x as f64 / ((y as f64).sqrt() + z as f64);
                        let unit = 2f64.powi((exact.log2().floor() as i32).max(-126) - 23);
                        if exact < f32::MAX as f64 && exact >= f32::MIN_POSITIVE as f64 {
                            let error = (found as f64 - exact).abs() / unit;
                            assert!(error <= 4.0, "{isa} {x}/(√{y} + {z}) = {found}: {error} ulp");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn at_the_ends_of_the_range_quotients_are_those_of_the_plain_formula() {
        let ends = [0.0, 1e-38, 1e-30, 1.0, 1e30, f32::MAX, f32::INFINITY, f32::NAN];
        let ends: Vec<f32> = ends.into_iter().flat_map(|x| [x, -x]).collect();
        for isa in Isa::available() {
            for &z in &ends {
                let pairs = ends.iter().flat_map(|&x| ends.iter().map(move |&y| (x, y)));
                let (x, y): (Vec<f32>, Vec<f32>) = pairs.unzip();
                for ((&x, &y), found) in x.iter().zip(&y).zip(call(isa, &x, &y, z)) {
                    let plain = x / (y.sqrt() + z);
                    let near = (found - plain).abs() <= plain.abs() * 4e-7;
                    let same = found == plain && found.is_sign_negative() == plain.is_sign_negative();
                    assert!(same || near || found.is_nan() && plain.is_nan(), "{isa} {x}/(√{y} + {z}) = {found}");
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_neighbours() {
        // Every third denominator is 0 and goes the other way.
        let y: Vec<f32> = (0..37).map(|i| if i % 3 == 0 { 0.0 } else { i as f32 * 0.37 }).collect();
        let x: Vec<f32> = (0..37).map(|i| 1.0 / (i as f32 + 3.0)).collect();
        for isa in Isa::available() {
            let (whole, mut step) = (call(isa, &x, &y, 0.0), [0.0; 37]);
            ratio_step(isa, &x, 0.7, &x, &y, 0.0, &mut step);
            for i in 0..37 {
                assert_eq!(call(isa, &x[i..=i], &y[i..=i], 0.0)[0].to_bits(), whole[i].to_bits(), "{isa} {i}");
                assert_eq!(step[i].to_bits(), (x[i] - whole[i] * 0.7).to_bits(), "{isa} {i}");
            }
        }
    }
}
