//! The transforms of Winograd's algorithms F(2x2, 3x3) and F(4x4, 3x3), over any vector type.
//!
//! A polynomial product, evaluated at α = m + 2 points: with the 3 taps g and α inputs d of m outputs y along an axis,
//! y = Aᵀ[(G g) ⊙ (Bᵀ d)]. In two dimensions each transform is applied along both. The algorithm is as trilinear as what it
//! computes, so the gradients use the transposes: g = Gᵀ[(Bᵀ d) ⊙ (A y)].
//!
//! F(2x2) evaluates at 0, ±1 and ∞. F(4x4) evaluates at 0, ±3/4, ±3/2 and ∞ instead of the usual 0, ±1, ±2 and ∞: the
//! numbers stay nearer to each other, which halves the error, and all entries but those of G are exact.
//!
//! After Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks* (2015).

use std::ops::Range;

use thalweg_array::Element;

use crate::matmul::simd::Vector;

/// A patch of pixels, or of taps, and the values at the points that belong to it, for some channels.
#[derive(Clone, Debug)]
pub(in crate::convolution) struct Transform<T> {
    /// Channel 0 of the pixel at (0, 0), which need not be there.
    pub(in crate::convolution) patch: *mut T,
    /// Elements from a row of pixels to the next, and from a pixel to the next in its row.
    pub(in crate::convolution) row: isize,
    pub(in crate::convolution) column: isize,
    /// The pixels that are there. Others count as zero, and are not written.
    pub(in crate::convolution) rows: Range<usize>,
    pub(in crate::convolution) columns: Range<usize>,
    /// Channel 0 at the first point, and elements from a point to the next.
    pub(in crate::convolution) points: *mut T,
    pub(in crate::convolution) step: usize,
    /// The number of channels.
    pub(in crate::convolution) channels: usize,
}

impl<T> Transform<T> {
    #[inline(always)]
    fn pixel(&self, i: usize, j: usize) -> *mut T {
        self.patch.wrapping_offset(i as isize * self.row + j as isize * self.column)
    }
}

/// A linear map along one axis.
///
/// # Safety
/// The processor has the instruction set of the vectors.
trait Map<const FROM: usize, const TO: usize> {
    unsafe fn map<V: Vector<Scalar: Element>>(x: [V; FROM]) -> [V; TO];
}

/// Bᵀ of F(2x2).
struct Input2;
/// G of F(2x2).
struct Weight2;
/// Aᵀ of F(2x2).
struct Output2;
/// A of F(2x2).
struct OutputTransposed2;
/// Gᵀ of F(2x2).
struct WeightTransposed2;
/// Bᵀ of F(4x4).
struct Input4;
/// G of F(4x4).
struct Weight4;
/// Aᵀ of F(4x4).
struct Output4;

/// `a + b · x`
#[inline(always)]
unsafe fn plus<V: Vector<Scalar: Element>>(a: V, b: f64, x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { x.mul_add(V::splat(V::Scalar::from_f64(b)), a) }
}

/// `a · x`
#[inline(always)]
unsafe fn times<V: Vector<Scalar: Element>>(a: f64, x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { plus(V::zero(), a, x) }
}

/// `a − b`
#[inline(always)]
unsafe fn minus<V: Vector<Scalar: Element>>(a: V, b: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { plus(a, -1.0, b) }
}

// SAFETY, for all maps: the promise of `map`.

impl Map<4, 4> for Input2 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b, c, d]: [V; 4]) -> [V; 4] {
        unsafe { [minus(a, c), b.add(c), minus(c, b), minus(d, b)] }
    }
}

impl Map<3, 4> for Weight2 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b, c]: [V; 3]) -> [V; 4] {
        unsafe {
            let (even, odd) = (times(0.5, a.add(c)), times(0.5, b));
            [a, even.add(odd), minus(even, odd), c]
        }
    }
}

impl Map<4, 2> for Output2 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b, c, d]: [V; 4]) -> [V; 2] {
        unsafe { [a.add(b).add(c), minus(b, c).add(d)] }
    }
}

impl Map<2, 4> for OutputTransposed2 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b]: [V; 2]) -> [V; 4] {
        unsafe { [a, a.add(b), minus(a, b), b] }
    }
}

impl Map<4, 3> for WeightTransposed2 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b, c, d]: [V; 4]) -> [V; 3] {
        unsafe {
            let (even, odd) = (times(0.5, b.add(c)), times(0.5, minus(b, c)));
            [a.add(even), odd, d.add(even)]
        }
    }
}

/// The points of F(4x4) beside 0 and ∞ are ±P and ±Q.
const P: f64 = 0.75;
const Q: f64 = 1.5;

impl Map<6, 6> for Input4 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b, c, d, e, f]: [V; 6]) -> [V; 6] {
        const SUM: f64 = -(P * P + Q * Q);
        const PRODUCT: f64 = P * P * Q * Q;
        unsafe {
            let (even_p, odd_p) = (plus(e, -Q * Q, c), plus(d, -Q * Q, b));
            let (even_q, odd_q) = (plus(e, -P * P, c), plus(d, -P * P, b));
            [
                plus(plus(e, SUM, c), PRODUCT, a),
                plus(even_p, P, odd_p),
                plus(even_p, -P, odd_p),
                plus(even_q, Q, odd_q),
                plus(even_q, -Q, odd_q),
                plus(plus(f, SUM, d), PRODUCT, b),
            ]
        }
    }
}

impl Map<3, 6> for Weight4 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b, c]: [V; 3]) -> [V; 6] {
        const AT_P: f64 = 1.0 / (2.0 * P * P * (P * P - Q * Q));
        const AT_Q: f64 = 1.0 / (2.0 * Q * Q * (Q * Q - P * P));
        unsafe {
            let even_p = times(AT_P, plus(a, P * P, c));
            let even_q = times(AT_Q, plus(a, Q * Q, c));
            [
                times(1.0 / (P * P * Q * Q), a),
                plus(even_p, AT_P * P, b),
                plus(even_p, -AT_P * P, b),
                plus(even_q, AT_Q * Q, b),
                plus(even_q, -AT_Q * Q, b),
                c,
            ]
        }
    }
}

impl Map<6, 4> for Output4 {
    #[inline(always)]
    unsafe fn map<V: Vector<Scalar: Element>>([a, b, c, d, e, f]: [V; 6]) -> [V; 4] {
        unsafe {
            let (even_p, odd_p) = (b.add(c), minus(b, c));
            let (even_q, odd_q) = (d.add(e), minus(d, e));
            [
                a.add(even_p).add(even_q),
                plus(times(P, odd_p), Q, odd_q),
                plus(times(P * P, even_p), Q * Q, even_q),
                plus(plus(f, P * P * P, odd_p), Q * Q * Q, odd_q),
            ]
        }
    }
}

// Loops and no closures: a closure would be compiled without the instruction set of the function around it.

/// Both dimensions of a square.
#[allow(clippy::needless_range_loop)] // indices, as in a matrix
#[inline(always)]
unsafe fn square<V: Vector<Scalar: Element>, M: Map<FROM, TO>, const FROM: usize, const TO: usize>(
    x: [[V; FROM]; FROM],
) -> [[V; TO]; TO] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [[V::zero(); TO]; FROM];
        for i in 0..FROM {
            rows[i] = M::map(x[i]);
        }
        let mut y = [[V::zero(); TO]; TO];
        for j in 0..TO {
            let mut column = [V::zero(); FROM];
            for i in 0..FROM {
                column[i] = rows[i][j];
            }
            let column = M::map(column);
            for i in 0..TO {
                y[i][j] = column[i];
            }
        }
        y
    }
}

/// From a patch to the points.
#[allow(clippy::needless_range_loop)] // indices, as in a matrix
#[inline(always)]
unsafe fn spread<V: Vector<Scalar: Element>, M: Map<FROM, TO>, const FROM: usize, const TO: usize>(
    t: &Transform<V::Scalar>,
) {
    let is_whole = t.rows == (0..FROM) && t.columns == (0..FROM);
    let mut channel = 0;
    while channel < t.channels {
        // SAFETY: the caller's promise: pixels that are there may be read, and all points written.
        unsafe {
            let lanes = V::LANES.min(t.channels - channel);
            let mask = V::first(lanes);
            let mut x = [[V::zero(); FROM]; FROM];
            if is_whole && lanes == V::LANES {
                for i in 0..FROM {
                    for j in 0..FROM {
                        x[i][j] = V::load(t.pixel(i, j).wrapping_add(channel));
                    }
                }
            } else {
                for i in 0..FROM {
                    for j in 0..FROM {
                        if t.rows.start <= i && i < t.rows.end && t.columns.start <= j && j < t.columns.end {
                            x[i][j] = V::load_masked(t.pixel(i, j).wrapping_add(channel), mask);
                        }
                    }
                }
            }
            let y = square::<V, M, FROM, TO>(x);
            for i in 0..TO {
                for j in 0..TO {
                    y[i][j].store_masked(t.points.wrapping_add((i * TO + j) * t.step + channel), mask);
                }
            }
        }
        channel += V::LANES;
    }
}

/// From the points to a patch.
#[allow(clippy::needless_range_loop)] // indices, as in a matrix
#[inline(always)]
unsafe fn collect<V: Vector<Scalar: Element>, M: Map<FROM, TO>, const FROM: usize, const TO: usize>(
    t: &Transform<V::Scalar>,
) {
    let mut channel = 0;
    while channel < t.channels {
        // SAFETY: the caller's promise: all points may be read, and the pixels that are there written.
        unsafe {
            let mask = V::first(V::LANES.min(t.channels - channel));
            let mut x = [[V::zero(); FROM]; FROM];
            for i in 0..FROM {
                for j in 0..FROM {
                    x[i][j] = V::load_masked(t.points.wrapping_add((i * FROM + j) * t.step + channel), mask);
                }
            }
            let y = square::<V, M, FROM, TO>(x);
            for i in 0..TO {
                for j in 0..TO {
                    if t.rows.start <= i && i < t.rows.end && t.columns.start <= j && j < t.columns.end {
                        y[i][j].store_masked(t.pixel(i, j).wrapping_add(channel), mask);
                    }
                }
            }
        }
        channel += V::LANES;
    }
}

/// The transforms of an algorithm, each for a function of its own that is compiled with an instruction set.
macro_rules! transforms {
    ($($name:ident: $direction:ident, $map:ty, $from:literal, $to:literal;)*) => {$(
        /// See the table of routines.
        ///
        /// # Safety
        /// The pixels that are there, and all points, may be read and written, and the processor has the instruction set.
        #[inline(always)]
        pub(in crate::convolution) unsafe fn $name<V: Vector<Scalar: Element>>(t: &Transform<V::Scalar>) {
            // SAFETY: the caller's promise.
            unsafe { $direction::<V, $map, $from, $to>(t) }
        }
    )*};
}
transforms! {
    input2: spread, Input2, 4, 4;
    weight2: spread, Weight2, 3, 4;
    output2: collect, Output2, 4, 2;
    output_transposed2: spread, OutputTransposed2, 2, 4;
    weight_transposed2: collect, WeightTransposed2, 4, 3;
    input4: spread, Input4, 6, 6;
    weight4: spread, Weight4, 3, 6;
    output4: collect, Output4, 6, 4;
}
