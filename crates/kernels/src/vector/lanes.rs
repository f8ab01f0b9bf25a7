//! What [`chain`](super::chain) asks of a vector of f32 beyond what products do.

use thalweg_array::scalar::{Binary, Fold, Unary};

#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::{exponential, piecewise, ratio};
use super::{float32, math};
use crate::cpu::Isa;
use crate::matmul::simd::{Plain, Vector};

/// A vector of f32. Every operation gives in each lane what the scalar function gives.
///
/// # Safety
/// Of all methods: as of [`Vector`]'s; with `count`, so many elements may be read or written.
pub(super) trait Lanes: Vector<Scalar = f32> {
    /// `self − y`.
    unsafe fn sub(self, y: Self) -> Self;
    /// `self · y`.
    unsafe fn mul(self, y: Self) -> Self;
    /// `self / y`.
    unsafe fn div(self, y: Self) -> Self;
    /// The larger; NaN if either is.
    unsafe fn max(self, y: Self) -> Self;
    /// The smaller; NaN if either is.
    unsafe fn min(self, y: Self) -> Self;
    /// 0 where it is below 0.
    unsafe fn relu(self) -> Self;
    /// −self.
    unsafe fn neg(self) -> Self;
    /// |self|.
    unsafe fn abs(self) -> Self;
    /// √self.
    unsafe fn sqrt(self) -> Self;

    /// Writes the elements past the caches where the processor can, `to` being aligned to the vector.
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) };
    }

    /// The first `count` lanes, `rest` in the others.
    #[inline(always)]
    unsafe fn only(self, count: usize, rest: f32) -> Self {
        let mut numbers = [rest; MOST_LANES];
        // SAFETY: the caller's promise; the array has room for the largest vector.
        unsafe {
            self.store_masked(numbers.as_mut_ptr(), Self::first(count));
            Self::load(numbers.as_ptr())
        }
    }

    /// The sum, the largest or the smallest of the lanes, halves put together first.
    #[inline(always)]
    unsafe fn fold(self, f: Fold) -> f32 {
        // SAFETY: the caller's promise.
        let mut lanes = unsafe { spread(self) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                let (x, y) = (lanes[i], lanes[i + half]);
                lanes[i] = match f {
                    Fold::Max => math::max(x, y),
                    Fold::Min => math::min(x, y),
                    Fold::Sum | Fold::Prod => x + y,
                };
            }
            half /= 2;
        }
        lanes[0]
    }

    /// Writes 1 for each of the first `count` lanes that compare so with `y`, 0 for the others.
    #[inline(always)]
    unsafe fn compare(self, f: Binary, y: Self, to: *mut u8, count: usize) {
        // SAFETY: the caller's promise.
        let (x, y, to) = unsafe { (spread(self), spread(y), std::slice::from_raw_parts_mut(to, count)) };
        for ((to, &x), &y) in to.iter_mut().zip(&x).zip(&y) {
            *to = holds(f, x, y) as u8;
        }
    }

    /// `x` where the first `count` truth values say so, else `y`.
    #[inline(always)]
    unsafe fn choose(truths: *const u8, count: usize, x: Self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        let (mut x, y, truths) = unsafe { (spread(x), spread(y), std::slice::from_raw_parts(truths, count)) };
        for ((x, &y), &truth) in x.iter_mut().zip(&y).zip(truths) {
            *x = if truth != 0 { *x } else { y };
        }
        // SAFETY: the array has room for the largest vector.
        unsafe { Self::load(x.as_ptr()) }
    }

    /// `x / (√self + z)`; with AVX-512 by estimates, at most 4 units in the last place from the exact quotient.
    #[inline(always)]
    unsafe fn ratio(self, x: Self, z: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { x.div(self.sqrt().add(z)) }
    }

    /// f of the first `count` numbers; the others may become anything.
    #[inline(always)]
    unsafe fn function<const N: usize>(isa: Isa, f: Unary, x: [Self; N], count: usize) -> [Self; N] {
        // SAFETY: the caller's promise.
        unsafe { through_memory(isa, f, x, count) }
    }
}

/// Numbers of the largest vector.
const MOST_LANES: usize = 16;
/// Vectors of the largest block.
const MOST_VECTORS: usize = 8;

/// The lanes in memory.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn spread<V: Lanes>(x: V) -> [f32; MOST_LANES] {
    let mut lanes = [0.0; MOST_LANES];
    // SAFETY: the array has room for the largest vector.
    unsafe { x.store(lanes.as_mut_ptr()) };
    lanes
}

/// f of the first `count` numbers by its loop over slices.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn through_memory<V: Lanes, const N: usize>(isa: Isa, f: Unary, mut x: [V; N], count: usize) -> [V; N] {
    let (mut from, mut to) = ([0.0; MOST_VECTORS * MOST_LANES], [0.0; MOST_VECTORS * MOST_LANES]);
    for (i, x) in x.iter().enumerate() {
        // SAFETY (both): the arrays have room for the largest block of the largest vectors.
        unsafe { x.store(from.as_mut_ptr().add(i * V::LANES)) };
    }
    float32::unary(isa, f, &from[..count], &mut to[..count]);
    for (i, x) in x.iter_mut().enumerate() {
        *x = unsafe { V::load(to.as_ptr().add(i * V::LANES)) };
    }
    x
}

/// A comparison of two numbers.
#[inline(always)]
fn holds(f: Binary, x: f32, y: f32) -> bool {
    match f {
        Binary::Eq => x == y,
        Binary::Ne => x != y,
        Binary::Lt => x < y,
        Binary::Le => x <= y,
        Binary::Gt => x > y,
        _ => x >= y,
    }
}

impl Lanes for Plain<f32, 4> {
    #[inline(always)]
    unsafe fn sub(self, y: Self) -> Self {
        zip(self, y, |x, y| x - y)
    }

    #[inline(always)]
    unsafe fn mul(self, y: Self) -> Self {
        zip(self, y, |x, y| x * y)
    }

    #[inline(always)]
    unsafe fn div(self, y: Self) -> Self {
        zip(self, y, |x, y| x / y)
    }

    #[inline(always)]
    unsafe fn max(self, y: Self) -> Self {
        zip(self, y, math::max)
    }

    #[inline(always)]
    unsafe fn min(self, y: Self) -> Self {
        zip(self, y, math::min)
    }

    #[inline(always)]
    unsafe fn relu(self) -> Self {
        Plain(self.0.map(|x| if x < 0.0 { 0.0 } else { x }))
    }

    #[inline(always)]
    unsafe fn neg(self) -> Self {
        Plain(self.0.map(|x| -x))
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Plain(self.0.map(f32::abs))
    }

    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        Plain(self.0.map(f32::sqrt))
    }
}

#[inline(always)]
fn zip(x: Plain<f32, 4>, y: Plain<f32, 4>, f: impl Fn(f32, f32) -> f32) -> Plain<f32, 4> {
    Plain(std::array::from_fn(|i| f(x.0[i], y.0[i])))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    // SAFETY, for the whole module: each method is called under the promise that the processor has the instruction set
    // and that the elements behind pointers may be touched, and asks no more than that.

    /// # Safety
    /// As of [`Lanes`].
    #[inline(always)]
    unsafe fn both<V: Lanes>(f: Fold, x: V, y: V) -> V {
        unsafe {
            match f {
                Fold::Max => x.max(y),
                Fold::Min => x.min(y),
                Fold::Sum | Fold::Prod => x.add(y),
            }
        }
    }

    impl Lanes for __m256 {
        #[inline(always)]
        unsafe fn sub(self, y: Self) -> Self {
            unsafe { _mm256_sub_ps(self, y) }
        }

        #[inline(always)]
        unsafe fn mul(self, y: Self) -> Self {
            unsafe { _mm256_mul_ps(self, y) }
        }

        #[inline(always)]
        unsafe fn div(self, y: Self) -> Self {
            unsafe { _mm256_div_ps(self, y) }
        }

        #[inline(always)]
        unsafe fn max(self, y: Self) -> Self {
            // Of a number and NaN the processor gives the second operand.
            unsafe { _mm256_blendv_ps(_mm256_max_ps(self, y), self, _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self)) }
        }

        #[inline(always)]
        unsafe fn min(self, y: Self) -> Self {
            unsafe { _mm256_blendv_ps(_mm256_min_ps(self, y), self, _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self)) }
        }

        #[inline(always)]
        unsafe fn relu(self) -> Self {
            unsafe { _mm256_max_ps(_mm256_setzero_ps(), self) }
        }

        #[inline(always)]
        unsafe fn neg(self) -> Self {
            unsafe { _mm256_xor_ps(_mm256_set1_ps(-0.0), self) }
        }

        #[inline(always)]
        unsafe fn abs(self) -> Self {
            unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self) }
        }

        #[inline(always)]
        unsafe fn sqrt(self) -> Self {
            unsafe { _mm256_sqrt_ps(self) }
        }

        #[cfg(not(miri))]
        #[inline(always)]
        unsafe fn stream(self, to: *mut f32) {
            unsafe { _mm256_stream_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn only(self, count: usize, rest: f32) -> Self {
            unsafe { _mm256_blendv_ps(_mm256_set1_ps(rest), self, _mm256_castsi256_ps(Self::first(count))) }
        }

        #[inline(always)]
        unsafe fn fold(self, f: Fold) -> f32 {
            unsafe {
                let x = both(f, self, _mm256_permute2f128_ps::<1>(self, self));
                let x = both(f, x, _mm256_permute_ps::<0b01_00_11_10>(x));
                _mm256_cvtss_f32(both(f, x, _mm256_permute_ps::<0b10_11_00_01>(x)))
            }
        }
    }

    impl Lanes for __m512 {
        #[inline(always)]
        unsafe fn sub(self, y: Self) -> Self {
            unsafe { _mm512_sub_ps(self, y) }
        }

        #[inline(always)]
        unsafe fn mul(self, y: Self) -> Self {
            unsafe { _mm512_mul_ps(self, y) }
        }

        #[inline(always)]
        unsafe fn div(self, y: Self) -> Self {
            unsafe { _mm512_div_ps(self, y) }
        }

        #[inline(always)]
        unsafe fn max(self, y: Self) -> Self {
            unsafe {
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self);
                _mm512_mask_mov_ps(_mm512_max_ps(self, y), nan, self)
            }
        }

        #[inline(always)]
        unsafe fn min(self, y: Self) -> Self {
            unsafe {
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self);
                _mm512_mask_mov_ps(_mm512_min_ps(self, y), nan, self)
            }
        }

        #[inline(always)]
        unsafe fn relu(self) -> Self {
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), self) }
        }

        #[inline(always)]
        unsafe fn neg(self) -> Self {
            unsafe { _mm512_castsi512_ps(_mm512_xor_si512(_mm512_set1_epi32(i32::MIN), _mm512_castps_si512(self))) }
        }

        #[inline(always)]
        unsafe fn abs(self) -> Self {
            unsafe { _mm512_abs_ps(self) }
        }

        #[inline(always)]
        unsafe fn sqrt(self) -> Self {
            unsafe { _mm512_sqrt_ps(self) }
        }

        #[cfg(not(miri))]
        #[inline(always)]
        unsafe fn stream(self, to: *mut f32) {
            unsafe { _mm512_stream_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn only(self, count: usize, rest: f32) -> Self {
            unsafe { _mm512_mask_mov_ps(_mm512_set1_ps(rest), Self::first(count), self) }
        }

        #[inline(always)]
        unsafe fn fold(self, f: Fold) -> f32 {
            unsafe {
                let x = both(f, self, _mm512_shuffle_f32x4::<0b01_00_11_10>(self, self));
                let x = both(f, x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
                let x = both(f, x, _mm512_permute_ps::<0b01_00_11_10>(x));
                _mm512_cvtss_f32(both(f, x, _mm512_permute_ps::<0b10_11_00_01>(x)))
            }
        }

        #[inline(always)]
        unsafe fn compare(self, f: Binary, y: Self, to: *mut u8, count: usize) {
            unsafe {
                let holds = match f {
                    Binary::Eq => _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self, y),
                    Binary::Ne => _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self, y),
                    Binary::Lt => _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self, y),
                    Binary::Le => _mm512_cmp_ps_mask::<_CMP_LE_OQ>(self, y),
                    Binary::Gt => _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, y),
                    _ => _mm512_cmp_ps_mask::<_CMP_GE_OQ>(self, y),
                };
                _mm_mask_storeu_epi8(to.cast(), Self::first(count), _mm_maskz_set1_epi8(holds, 1));
            }
        }

        #[inline(always)]
        unsafe fn choose(truths: *const u8, count: usize, x: Self, y: Self) -> Self {
            unsafe {
                let truths = _mm_maskz_loadu_epi8(Self::first(count), truths.cast());
                _mm512_mask_mov_ps(y, _mm_test_epi8_mask(truths, truths), x)
            }
        }

        #[cfg(not(miri))]
        #[inline(always)]
        unsafe fn ratio(self, x: Self, z: Self) -> Self {
            unsafe { ratio::quotient(x, self, z) }
        }

        #[cfg(not(miri))]
        #[inline(always)]
        unsafe fn function<const N: usize>(isa: Isa, f: Unary, mut x: [Self; N], count: usize) -> [Self; N] {
            unsafe {
                match f {
                    Unary::Exp => {
                        for x in &mut x {
                            *x = exponential::exp_of(*x);
                        }
                    }
                    Unary::Erf => piecewise::erf_of(&mut x),
                    Unary::Tanh => piecewise::tanh_of(&mut x),
                    Unary::Gelu => piecewise::gelu_of(&mut x),
                    Unary::Softplus => piecewise::softplus_of(&mut x),
                    _ => return through_memory(isa, f, x, count),
                }
            }
            x
        }
    }
}
