//! Vectors of 64-bit Arm.

use std::arch::aarch64::*;

use super::simd::Vector;

// SAFETY, for the whole file: each method is called under the promises of its trait, that the processor has the
// instruction set and that the elements behind the pointers may be touched, and asks no more than that.

macro_rules! neon {
    (
        $vector:ty, $scalar:ty, $lanes:literal, $dup:ident, $fma:ident, $add:ident, $load:ident, $store:ident, $transposed:ident
    ) => {
        impl Vector for $vector {
            type Scalar = $scalar;
            /// The number of lanes; there are no masked loads and stores, so a partial one goes through memory.
            type Mask = usize;
            const LANES: usize = $lanes;
            const TRANSPOSED: usize = $lanes;

            #[inline(always)]
            unsafe fn zero() -> Self {
                unsafe { $dup(0.0) }
            }

            #[inline(always)]
            unsafe fn splat(x: $scalar) -> Self {
                unsafe { $dup(x) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                unsafe { $fma(c, self, b) }
            }

            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                unsafe { $add(self, b) }
            }

            #[inline(always)]
            unsafe fn first(count: usize) -> usize {
                count
            }

            #[inline(always)]
            unsafe fn load(from: *const $scalar) -> Self {
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn load_masked(from: *const $scalar, mask: usize) -> Self {
                unsafe {
                    if mask == $lanes {
                        return $load(from);
                    }
                    let mut part = [0.0; $lanes];
                    part[..mask].copy_from_slice(std::slice::from_raw_parts(from, mask));
                    $load(part.as_ptr())
                }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $scalar) {
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn store_masked(self, to: *mut $scalar, mask: usize) {
                unsafe {
                    if mask == $lanes {
                        return $store(to, self);
                    }
                    let mut part = [0.0; $lanes];
                    $store(part.as_mut_ptr(), self);
                    std::slice::from_raw_parts_mut(to, mask).copy_from_slice(&part[..mask]);
                }
            }

            #[inline(always)]
            unsafe fn transpose(from: *const $scalar, from_step: usize, rows: usize, to: *mut $scalar, to_step: usize) {
                unsafe {
                    // Rows that do not exist read the last one; they are not stored.
                    let columns = $transposed(std::array::from_fn(|i| $load(from.add(i.min(rows - 1) * from_step))));
                    for (p, column) in columns.into_iter().enumerate() {
                        column.store_masked(to.add(p * to_step), rows);
                    }
                }
            }
        }
    };
}
neon!(float32x4_t, f32, 4, vdupq_n_f32, vfmaq_f32, vaddq_f32, vld1q_f32, vst1q_f32, transposed_f32);
neon!(float64x2_t, f64, 2, vdupq_n_f64, vfmaq_f64, vaddq_f64, vld1q_f64, vst1q_f64, transposed_f64);

#[inline(always)]
unsafe fn transposed_f32([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    unsafe {
        // a0 b0 a2 b2 and a1 b1 a3 b3, then pairs of 64 bits.
        let (ab, cd) = ((vtrn1q_f32(a, b), vtrn2q_f32(a, b)), (vtrn1q_f32(c, d), vtrn2q_f32(c, d)));
        let low = |x, y| vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
        let high = |x, y| vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
        [low(ab.0, cd.0), low(ab.1, cd.1), high(ab.0, cd.0), high(ab.1, cd.1)]
    }
}

#[inline(always)]
unsafe fn transposed_f64([a, b]: [float64x2_t; 2]) -> [float64x2_t; 2] {
    unsafe { [vtrn1q_f64(a, b), vtrn2q_f64(a, b)] }
}
