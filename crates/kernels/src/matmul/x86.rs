//! Vectors of AVX2 with FMA and of AVX-512.

use std::arch::x86_64::*;

use super::simd::Vector;

// SAFETY, for the whole file: each method is called under the promises of its trait, that the processor has the
// instruction set and that the elements behind the pointers may be touched, and asks no more than that.

macro_rules! avx512 {
    (
        $vector:ty, $scalar:ty, $mask:ty, $lanes:literal, $spread:literal,
        $setzero:ident, $set1:ident, $fmadd:ident, $add:ident,
        $loadu:ident, $maskz_loadu:ident, $storeu:ident, $mask_storeu:ident, $past:ident
    ) => {
        impl Vector for $vector {
            type Scalar = $scalar;
            type Mask = $mask;
            const LANES: usize = $lanes;
            const TRANSPOSED: usize = $spread;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller's promise, as below.
                unsafe { $setzero() }
            }

            #[inline(always)]
            unsafe fn splat(x: $scalar) -> Self {
                unsafe { $set1(x) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                unsafe { $fmadd(self, b, c) }
            }

            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                unsafe { $add(self, b) }
            }

            #[inline(always)]
            unsafe fn first(count: usize) -> $mask {
                ((1u32 << count) - 1) as $mask
            }

            #[inline(always)]
            unsafe fn load(from: *const $scalar) -> Self {
                unsafe { $loadu(from) }
            }

            #[inline(always)]
            unsafe fn load_masked(from: *const $scalar, mask: $mask) -> Self {
                unsafe { $maskz_loadu(mask, from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $scalar) {
                unsafe { $storeu(to, self) }
            }

            #[inline(always)]
            unsafe fn store_past_caches(self, to: *mut $scalar) {
                unsafe { $past(to, self) }
            }

            #[inline(always)]
            unsafe fn store_masked(self, to: *mut $scalar, mask: $mask) {
                unsafe { $mask_storeu(to, mask, self) }
            }

            #[inline(always)]
            unsafe fn prefetch(at: *const $scalar) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }

            #[inline(always)]
            unsafe fn transpose(from: *const $scalar, from_step: usize, rows: usize, to: *mut $scalar, to_step: usize) {
                unsafe {
                    let mask = <Self as Vector>::first(rows);
                    // Rows that do not exist read the last one; the mask drops them.
                    let row = |i: usize| from.add(i.min(rows - 1) * from_step);
                    let pieces: <$vector as TransposePieces>::Square = std::array::from_fn(|i| {
                        TransposePieces::gather([row(i), row(i + $spread), row(i + 2 * $spread), row(i + 3 * $spread)])
                    });
                    let columns = <$vector>::transposed(pieces);
                    for (p, column) in columns.into_iter().enumerate() {
                        column.store_masked(to.add(p * to_step), mask);
                    }
                }
            }
        }
    };
}
avx512!(
    __m512,
    f32,
    __mmask16,
    16,
    4,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_loadu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_storeu_ps,
    _mm512_mask_storeu_ps,
    _mm512_stream_ps
);
avx512!(
    __m512d,
    f64,
    __mmask8,
    8,
    2,
    _mm512_setzero_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_add_pd,
    _mm512_loadu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_storeu_pd,
    _mm512_mask_storeu_pd,
    _mm512_stream_pd
);

macro_rules! avx2 {
    (
        $vector:ty, $scalar:ty, $integer:ty, $lanes:literal, $spread:literal,
        $setzero:ident, $set1:ident, $fmadd:ident, $add:ident,
        $loadu:ident, $maskload:ident, $storeu:ident, $maskstore:ident, $past:ident
    ) => {
        impl Vector for $vector {
            type Scalar = $scalar;
            type Mask = __m256i;
            const LANES: usize = $lanes;
            const TRANSPOSED: usize = $spread;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller's promise, as below.
                unsafe { $setzero() }
            }

            #[inline(always)]
            unsafe fn splat(x: $scalar) -> Self {
                unsafe { $set1(x) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                unsafe { $fmadd(self, b, c) }
            }

            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                unsafe { $add(self, b) }
            }

            #[inline(always)]
            unsafe fn first(count: usize) -> __m256i {
                /// A window on this table is a mask: its first lanes are all ones.
                static ONES_THEN_ZEROS: [$integer; 2 * $lanes] = {
                    let mut table = [0; 2 * $lanes];
                    let mut i = 0;
                    while i < $lanes {
                        table[i] = -1;
                        i += 1;
                    }
                    table
                };
                unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add($lanes - count).cast()) }
            }

            #[inline(always)]
            unsafe fn load(from: *const $scalar) -> Self {
                unsafe { $loadu(from) }
            }

            #[inline(always)]
            unsafe fn load_masked(from: *const $scalar, mask: __m256i) -> Self {
                unsafe { $maskload(from, mask) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $scalar) {
                unsafe { $storeu(to, self) }
            }

            #[inline(always)]
            unsafe fn store_past_caches(self, to: *mut $scalar) {
                unsafe { $past(to, self) }
            }

            #[inline(always)]
            unsafe fn store_masked(self, to: *mut $scalar, mask: __m256i) {
                unsafe { $maskstore(to, mask, self) }
            }

            #[inline(always)]
            unsafe fn prefetch(at: *const $scalar) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }

            #[inline(always)]
            unsafe fn transpose(from: *const $scalar, from_step: usize, rows: usize, to: *mut $scalar, to_step: usize) {
                unsafe {
                    // Rows that do not exist read the last one; they are not stored.
                    let row = |i: usize| from.add(i.min(rows - 1) * from_step);
                    let pieces: <$vector as TransposePieces>::Square =
                        std::array::from_fn(|i| TransposePieces::gather([row(i), row(i + $spread)]));
                    let columns = <$vector>::transposed(pieces);
                    for (p, column) in columns.into_iter().enumerate() {
                        if rows == $lanes {
                            column.store(to.add(p * to_step));
                        } else {
                            column.store_masked(to.add(p * to_step), <Self as Vector>::first(rows));
                        }
                    }
                }
            }
        }
    };
}
avx2!(
    __m256,
    f32,
    i32,
    8,
    4,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_loadu_ps,
    _mm256_maskload_ps,
    _mm256_storeu_ps,
    _mm256_maskstore_ps,
    _mm256_stream_ps
);
avx2!(
    __m256d,
    f64,
    i64,
    4,
    2,
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_add_pd,
    _mm256_loadu_pd,
    _mm256_maskload_pd,
    _mm256_storeu_pd,
    _mm256_maskstore_pd,
    _mm256_stream_pd
);

/// Transposition in two steps: vectors are loaded so that each 128-bit piece comes from another row, which leaves small
/// square transpositions within the pieces.
pub(super) trait TransposePieces: Sized {
    /// Four f32 or two f64 from each row.
    type Rows;
    /// As many vectors as a piece has elements.
    type Square;
    /// The pieces that the pointers of the rows point to, in order.
    unsafe fn gather(rows: Self::Rows) -> Self;
    /// Each piece position transposed on its own.
    unsafe fn transposed(square: Self::Square) -> Self::Square;
}

impl TransposePieces for __m512 {
    type Rows = [*const f32; 4];
    type Square = [__m512; 4];

    #[inline(always)]
    unsafe fn gather(rows: [*const f32; 4]) -> __m512 {
        // SAFETY: the caller's promise. A masked broadcast reads its 128 bits and needs no shuffle.
        unsafe {
            let x = _mm512_castps128_ps512(_mm_loadu_ps(rows[0]));
            let x = _mm512_mask_broadcast_f32x4(x, 0x00f0, _mm_loadu_ps(rows[1]));
            let x = _mm512_mask_broadcast_f32x4(x, 0x0f00, _mm_loadu_ps(rows[2]));
            _mm512_mask_broadcast_f32x4(x, 0xf000, _mm_loadu_ps(rows[3]))
        }
    }

    #[inline(always)]
    unsafe fn transposed([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let ab = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let pair = |x, y| {
                let (x, y) = (_mm512_castps_pd(x), _mm512_castps_pd(y));
                [_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y))]
            };
            let ([p, q], [r, s]) = (pair(ab.0, cd.0), pair(ab.1, cd.1));
            [p, q, r, s]
        }
    }
}

impl TransposePieces for __m512d {
    type Rows = [*const f64; 4];
    type Square = [__m512d; 2];

    #[inline(always)]
    unsafe fn gather(rows: [*const f64; 4]) -> __m512d {
        // SAFETY: the caller's promise.
        unsafe {
            let x = _mm512_castpd128_pd512(_mm_loadu_pd(rows[0]));
            let x = _mm512_mask_broadcast_f64x2(x, 0x0c, _mm_loadu_pd(rows[1]));
            let x = _mm512_mask_broadcast_f64x2(x, 0x30, _mm_loadu_pd(rows[2]));
            _mm512_mask_broadcast_f64x2(x, 0xc0, _mm_loadu_pd(rows[3]))
        }
    }

    #[inline(always)]
    unsafe fn transposed([a, b]: [__m512d; 2]) -> [__m512d; 2] {
        // SAFETY: the caller's promise.
        unsafe { [_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)] }
    }
}

impl TransposePieces for __m256 {
    type Rows = [*const f32; 2];
    type Square = [__m256; 4];

    #[inline(always)]
    unsafe fn gather(rows: [*const f32; 2]) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(rows[0])), _mm_loadu_ps(rows[1])) }
    }

    #[inline(always)]
    unsafe fn transposed([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let ab = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let cd = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let pair = |x, y| {
                let (x, y) = (_mm256_castps_pd(x), _mm256_castps_pd(y));
                [_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y))]
            };
            let ([p, q], [r, s]) = (pair(ab.0, cd.0), pair(ab.1, cd.1));
            [p, q, r, s]
        }
    }
}

impl TransposePieces for __m256d {
    type Rows = [*const f64; 2];
    type Square = [__m256d; 2];

    #[inline(always)]
    unsafe fn gather(rows: [*const f64; 2]) -> __m256d {
        // SAFETY: the caller's promise.
        unsafe { _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(_mm_loadu_pd(rows[0])), _mm_loadu_pd(rows[1])) }
    }

    #[inline(always)]
    unsafe fn transposed([a, b]: [__m256d; 2]) -> [__m256d; 2] {
        // SAFETY: the caller's promise.
        unsafe { [_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)] }
    }
}
