//! erf, tanh, GELU and softplus with AVX-512 by tables: a vector of positions looks up 32 entries in one instruction,
//! which makes short polynomials on short pieces cheaper than one formula with an exponential and a division.
//!
//! Each is x·q(|x|), max(x, 0) − |x|·q(|x|) or max(x, 0) + q(|x|), with q smooth: a polynomial on each of 32 pieces of
//! equal width around 0, w, 2w, … Errors are at most 4 units in the last place, as everywhere.

use std::arch::x86_64::*;
use std::sync::LazyLock;

use thalweg_array::scalar::Unary;

use super::math;

const LANES: usize = 16;
const PIECES: usize = 32;
/// Coefficients of a piece.
const TERMS: usize = 7;

/// The polynomials of q on pieces of `width`, a row of each power.
struct Table {
    coefficients: [[f32; PIECES]; TERMS],
    width: f32,
}

impl Table {
    /// Of `q`. The width has few bits, so that its multiples are exact.
    fn new(q: impl Fn(f64) -> f64, width: f32) -> Table {
        let mut coefficients = [[0.0; PIECES]; TERMS];
        let half = width as f64 / 2.0;
        for piece in 0..PIECES {
            let polynomial = interpolate(|u| q((2.0 * piece as f64 + u) * half));
            for (power, (row, c)) in coefficients.iter_mut().zip(polynomial).enumerate() {
                row[piece] = (c / half.powi(power as i32)) as f32;
            }
        }
        Table { coefficients, width }
    }

    /// Up to here the pieces reach.
    fn end(&self) -> f32 {
        (PIECES as f32 - 0.5) * self.width
    }
}

/// The polynomial that agrees with `f` in the Chebyshev points of −1 ..= 1, lowest power first.
fn interpolate(f: impl Fn(f64) -> f64) -> [f64; TERMS] {
    let points: [f64; TERMS] =
        std::array::from_fn(|i| Unary::Cos.apply(std::f64::consts::PI * (i as f64 + 0.5) / TERMS as f64));
    // Newton's divided differences, then his polynomial multiplied out.
    let mut differences = points.map(f);
    for order in 1..TERMS {
        for i in (order..TERMS).rev() {
            differences[i] = (differences[i] - differences[i - 1]) / (points[i] - points[i - order]);
        }
    }
    let mut polynomial = [0.0; TERMS];
    for i in (0..TERMS).rev() {
        // polynomial · (u − points[i]) + differences[i]
        for power in (0..TERMS).rev() {
            let shifted = if power > 0 { polynomial[power - 1] } else { differences[i] };
            polynomial[power] = shifted - polynomial[power] * points[i];
        }
    }
    polynomial
}

/// f(x)/x, at 0 the limit.
fn per_x(f: Unary, x: f64) -> f64 {
    let x = if x == 0.0 { 1e-12 } else { x };
    f.apply(x) / x
}

static ERF: LazyLock<Table> = LazyLock::new(|| Table::new(|t| per_x(Unary::Erf, t), 0.125));
static TANH: LazyLock<Table> = LazyLock::new(|| Table::new(|t| per_x(Unary::Tanh, t), 0.289_062_5));
/// q(t) = Φ(−t).
static GELU: LazyLock<Table> = LazyLock::new(|| Table::new(|t| per_x(Unary::Gelu, -t), 0.171_875));
/// q(t) = ln(1 + e⁻ᵗ).
static SOFTPLUS: LazyLock<Table> = LazyLock::new(|| Table::new(|t| Unary::Softplus.apply(-t), 0.546_875));

/// A [`Table`] in registers.
#[derive(Clone, Copy)]
struct Loaded {
    coefficients: [(__m512, __m512); TERMS],
    width: __m512,
    per_width: __m512,
    end: __m512,
}

impl Loaded {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(table: &Table) -> Loaded {
        let mut coefficients = [(_mm512_setzero_ps(), _mm512_setzero_ps()); TERMS];
        for ((low, high), row) in coefficients.iter_mut().zip(&table.coefficients) {
            // SAFETY: a row has twice as many numbers as a vector.
            unsafe { (*low, *high) = (_mm512_loadu_ps(row.as_ptr()), _mm512_loadu_ps(row.as_ptr().add(LANES))) };
        }
        Loaded {
            coefficients,
            width: _mm512_set1_ps(table.width),
            per_width: _mm512_set1_ps(1.0 / table.width),
            end: _mm512_set1_ps(table.end()),
        }
    }

    /// q(t) for t ≥ 0; any number where t is beyond the pieces.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn at(&self, t: __m512) -> __m512 {
        // Adding 1.5·2²³ rounds to an integer, which then stands in the low bits.
        let round = _mm512_set1_ps(12_582_912.0);
        let rounded = _mm512_fmadd_ps(t, self.per_width, round);
        let piece = _mm512_castps_si512(rounded);
        let r = _mm512_fnmadd_ps(_mm512_sub_ps(rounded, round), self.width, t);
        // No `map`: it would be compiled without AVX-512 and pass vectors through memory.
        let look_up = |(low, high): (__m512, __m512)| _mm512_permutex2var_ps(low, piece, high);
        let [c0, c1, c2, c3, c4, c5, c6] = self.coefficients;
        let (c0, c1, c2, c3) = (look_up(c0), look_up(c1), look_up(c2), look_up(c3));
        let (c4, c5, c6) = (look_up(c4), look_up(c5), look_up(c6));
        let square = _mm512_mul_ps(r, r);
        let low = _mm512_fmadd_ps(_mm512_fmadd_ps(c3, r, c2), square, _mm512_fmadd_ps(c1, r, c0));
        let high = _mm512_fmadd_ps(c6, square, _mm512_fmadd_ps(c5, r, c4));
        _mm512_fmadd_ps(high, _mm512_mul_ps(square, square), low)
    }
}

/// `out = f(x)`, a vector at a time; the remainder in the lanes of one. Nothing is called on the way: the tables stay in
/// registers.
macro_rules! map {
    ($x:expr, $out:expr, |$v:ident| $value:expr) => {{
        assert_eq!($x.len(), $out.len(), "as many results as operands");
        let (x, out) = ($x.chunks_exact(LANES), &mut *$out);
        let (rest, mut whole) = (x.remainder(), out.chunks_exact_mut(LANES));
        for (x, out) in x.zip(&mut whole) {
            // SAFETY: each fills a vector.
            unsafe {
                let $v = _mm512_loadu_ps(x.as_ptr());
                _mm512_storeu_ps(out.as_mut_ptr(), $value);
            }
        }
        if !rest.is_empty() {
            let lanes = (1 << rest.len()) - 1;
            // SAFETY: as many lanes as there are numbers are read and written.
            unsafe {
                let $v = _mm512_maskz_loadu_ps(lanes, rest.as_ptr());
                _mm512_mask_storeu_ps(whole.into_remainder().as_mut_ptr(), lanes, $value);
            }
        }
    }};
}

/// `out = erf(x)`.
#[target_feature(enable = "avx512f")]
pub(super) fn erf(x: &[f32], out: &mut [f32]) {
    odd(&ERF, x, out);
}

/// `out = tanh(x)`.
#[target_feature(enable = "avx512f")]
pub(super) fn tanh(x: &[f32], out: &mut [f32]) {
    odd(&TANH, x, out);
}

/// x·q(|x|), and ±1 beyond the pieces.
#[inline]
#[target_feature(enable = "avx512f")]
fn odd(table: &Table, x: &[f32], out: &mut [f32]) {
    let q = Loaded::new(table);
    map!(x, out, |v| odd_at(&q, v));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn odd_at(q: &Loaded, x: __m512) -> __m512 {
    let t = _mm512_abs_ps(x);
    let far = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(t, q.end);
    let value = _mm512_mul_ps(x, q.at(t));
    // NaN times 0 is NaN.
    _mm512_mask_mov_ps(value, far, with_sign(_mm512_set1_ps(1.0), x))
}

/// x·q(|x|) of each, in place. Always inlined, as are the others of this form: called, they would pass a block of vectors
/// through memory.
///
/// # Safety
/// The caller is compiled for AVX-512.
#[inline(always)]
unsafe fn odd_of<const N: usize>(table: &Table, x: &mut [__m512; N]) {
    // SAFETY (both): the contract.
    let q = unsafe { Loaded::new(table) };
    for x in x {
        *x = unsafe { odd_at(&q, *x) };
    }
}

/// erf of each, in place.
///
/// # Safety
/// As of [`odd_of`].
#[inline(always)]
pub(super) unsafe fn erf_of<const N: usize>(x: &mut [__m512; N]) {
    // SAFETY: the contract.
    unsafe { odd_of(&ERF, x) }
}

/// tanh of each, in place.
///
/// # Safety
/// As of [`odd_of`].
#[inline(always)]
pub(super) unsafe fn tanh_of<const N: usize>(x: &mut [__m512; N]) {
    // SAFETY: the contract.
    unsafe { odd_of(&TANH, x) }
}

/// `size` with the sign of `x`.
#[inline]
#[target_feature(enable = "avx512f")]
fn with_sign(size: __m512, x: __m512) -> __m512 {
    let sign = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MIN));
    _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(size), sign))
}

/// Defines `out = f(x)`, and f of vectors in place, for an f that is x above the pieces of its table, and, far below 0,
/// which is rare, its formula.
macro_rules! rectifier {
    ($(#[$doc:meta])* $name:ident, $of:ident, $table:ident, $formula:path,
     |$above:ident, $t:ident, $q:ident, $near:ident| $value:expr) => {
        $(#[$doc])*
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        pub(super) fn $name(x: &[f32], out: &mut [f32]) {
            let table = Loaded::new(&$table);
            let mut far = 0;
            map!(x, out, |v| {
                let (value, far_below) = $of::value(&table, v);
                far |= far_below;
                value
            });
            if far != 0 {
                $of::far_below(x, out);
            }
        }

        /// The same for each, in place.
        ///
        /// # Safety
        /// As of [`odd_of`].
        #[inline(always)]
        pub(super) unsafe fn $of<const N: usize>(x: &mut [__m512; N]) {
            // SAFETY (all blocks below): the contract; an array fills a vector.
            let table = unsafe { Loaded::new(&$table) };
            let (from, mut far) = (*x, 0);
            for x in &mut *x {
                let (value, far_below) = unsafe { $of::value(&table, *x) };
                *x = value;
                far |= far_below;
            }
            if far != 0 {
                for (x, from) in x.iter_mut().zip(from) {
                    let (mut numbers, mut out) = ([0.0; LANES], [0.0; LANES]);
                    unsafe {
                        _mm512_storeu_ps(numbers.as_mut_ptr(), from);
                        _mm512_storeu_ps(out.as_mut_ptr(), *x);
                        $of::far_below(&numbers, &mut out);
                        *x = _mm512_loadu_ps(out.as_ptr());
                    }
                }
            }
        }

        mod $of {
            use super::*;

            /// f by the table, and the lanes that are far below 0.
            #[inline]
            #[target_feature(enable = "avx512f")]
            pub(super) fn value(table: &Loaded, x: __m512) -> (__m512, __mmask16) {
                let $t = _mm512_abs_ps(x);
                let far = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(x, _mm512_sub_ps(_mm512_setzero_ps(), table.end));
                let $near = _mm512_cmp_ps_mask::<_CMP_LT_OQ>($t, table.end);
                // The larger of 0 and NaN is the second operand.
                let $above = _mm512_max_ps(_mm512_setzero_ps(), x);
                let $q = table.at($t);
                ($value, far)
            }

            /// Replaces what is far below 0.
            #[inline(never)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            pub(super) fn far_below(x: &[f32], out: &mut [f32]) {
                let end = -$table.end();
                for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
                    let far = x.iter().fold(false, |far, &x| far | (x <= end));
                    if far {
                        let mut numbers = [0.0; LANES];
                        numbers[..x.len()].copy_from_slice(x);
                        // A plain loop becomes vector code; `map` would not.
                        for number in &mut numbers {
                            *number = $formula(*number);
                        }
                        for ((out, &x), result) in out.iter_mut().zip(x).zip(numbers) {
                            *out = if x <= end { result } else { *out };
                        }
                    }
                }
            }
        }
    };
}

rectifier! {
    /// `out = x·Φ(x) = max(x, 0) − |x|·q(|x|)`.
    gelu, gelu_of, GELU, math::gelu::<true>, |above, t, q, near| _mm512_mask3_fnmadd_ps(t, q, above, near)
}

rectifier! {
    /// `out = ln(1 + eˣ) = max(x, 0) + q(|x|)`.
    softplus, softplus_of, SOFTPLUS, math::softplus::<true>, |above, _t, q, near| _mm512_mask_add_ps(above, near, above, q)
}
