//! The quotients x / (√y + z) that Adam and its family take a step by.
//!
//! A square root and a division take AVX-512 as long as thirty other operations. There both begin from the processor's
//! estimates of 1/√y and 1/d, good to 14 bits, and end with one step of Newton's method each: at most 4 units in the last
//! place from the exact quotient (3.1 were found among 100 million, 2.4 of the plain formula with its three roundings).
//! Which bits the estimates have is the processor's affair.

use std::arch::x86_64::*;

/// Denominators, as bits, whose reciprocals are estimated: from 2⁻¹⁰⁰ up to 2¹⁰⁰. Infinity, NaN, and what is negative
/// or 0 lie outside, and so does whatever comes of an infinite or a negative y.
const LOWEST: i32 = (127 - 100) << 23;
const WIDTH: i32 = 200 << 23;

/// x / (√y + z) of a vector. What a lane gets depends on its own numbers alone.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn quotient(x: __m512, y: __m512, z: __m512) -> __m512 {
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

#[cfg(test)]
mod tests {
    use crate::cpu::Isa;
    use crate::vector::chain::tests::run;
    use crate::vector::chain::{Chain, Link, Op};

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

    /// x / (√y + z), by a chain.
    fn call(isa: Isa, x: &[f32], y: &[f32], z: f32) -> Vec<f32> {
        let links = vec![
            Link { op: Op::Load, y: 1, z: 0, to: 0 },
            Link { op: Op::Ratio, y: 0, z: 2, to: 0 },
            Link { op: Op::Keep, y: 0, z: 0, to: 3 },
        ];
        let mut out = vec![0.0; x.len()];
        run(&Chain { links, ..Chain::default() }, isa, &[x, y, &[z]], &mut out);
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
            let whole = call(isa, &x, &y, 0.0);
            for i in 0..37 {
                assert_eq!(call(isa, &x[i..=i], &y[i..=i], 0.0)[0].to_bits(), whole[i].to_bits(), "{isa} {i}");
            }
        }
    }
}
