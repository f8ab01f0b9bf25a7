//! Terms of the sums of some pixels, gathered into the rows of a matrix.
//!
//! A convolution is the product of such a matrix with the weight. It is never there as a whole: the rows of one tile are
//! gathered, multiplied by all columns of the weight while they are in the first-level cache, and overwritten. The copy
//! takes about 2 / columns of the time of the product, and knows all there is to know about borders, strides, dilation
//! and groups.

use std::slice;

use super::routines::Routine;
use super::taps::{Pixel, Segment, Terms};
use crate::cpu::Isa;
use crate::matmul::simd::Vector;
use crate::matmul::source::Source;

/// What is to be gathered: row i holds the terms of `pixels[i]`, at `to + i * to_row`.
#[derive(Debug)]
pub(super) struct Gather<'a, S, T> {
    pub(super) pixels: &'a [Pixel],
    pub(super) terms: &'a Terms,
    /// The first channel of the group in the first pixel of the source.
    pub(super) source: *const S,
    /// Sizes of the source.
    pub(super) sizes: [usize; 3],
    /// Elements from a pixel of the source to the next.
    pub(super) channels: usize,
    /// Elements of the source from there on.
    pub(super) elements: usize,
    /// Behind each row there is room for [`SLACK`] elements.
    pub(super) to: *mut T,
    pub(super) to_row: usize,
}

/// Elements behind a row that may be overwritten: whole vectors are copied where the source allows it.
pub(super) const SLACK: usize = 16;

/// How elements are copied.
///
/// # Safety
/// Of all methods: `length` elements may be read from `from` and written to `to`, and the processor has the instruction set.
trait Copying<S, T> {
    unsafe fn copy(from: *const S, to: *mut T, length: usize);
    unsafe fn zero(to: *mut T, length: usize);
    /// [`copy`](Copying::copy) that may go on for up to [`SLACK`] elements.
    unsafe fn copy_at_least(from: *const S, to: *mut T, length: usize);
}

/// By vectors.
struct ByVectors<V>(std::marker::PhantomData<V>);

impl<V: Vector> Copying<V::Scalar, V::Scalar> for ByVectors<V> {
    #[inline(always)]
    unsafe fn copy(from: *const V::Scalar, to: *mut V::Scalar, length: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut i = 0;
            while i + V::LANES <= length {
                V::load(from.add(i)).store(to.add(i));
                i += V::LANES;
            }
            if i < length {
                let mask = V::first(length - i);
                V::load_masked(from.add(i), mask).store_masked(to.add(i), mask);
            }
        }
    }

    #[inline(always)]
    unsafe fn copy_at_least(from: *const V::Scalar, to: *mut V::Scalar, length: usize) {
        let mut i = 0;
        while i < length {
            // SAFETY: the caller's promise; a vector has at most `SLACK` elements.
            unsafe { V::load(from.add(i)).store(to.add(i)) };
            i += V::LANES;
        }
    }

    #[inline(always)]
    unsafe fn zero(to: *mut V::Scalar, length: usize) {
        // SAFETY: the caller's promise; zero bytes are a zero of all floats.
        unsafe { to.write_bytes(0, length) }
    }
}

/// One by one, to a wider type.
struct Widening;

impl<S: Source> Copying<S, S::Sum> for Widening {
    unsafe fn copy(from: *const S, to: *mut S::Sum, length: usize) {
        // SAFETY: the caller's promise; the target is plain memory.
        unsafe {
            to.write_bytes(0, length);
            S::widen(slice::from_raw_parts(from, length), slice::from_raw_parts_mut(to, length));
        }
    }

    unsafe fn copy_at_least(from: *const S, to: *mut S::Sum, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { Self::copy(from, to, length) }
    }

    unsafe fn zero(to: *mut S::Sum, length: usize) {
        // SAFETY: the caller's promise; zero bytes are a zero of all floats.
        unsafe { to.write_bytes(0, length) }
    }
}

/// Gathers by vectors.
///
/// # Safety
/// The source holds the images of the pixels, the target has room for the rows, and the processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn by_vectors<V: Vector>(gather: &Gather<'_, V::Scalar, V::Scalar>) {
    // SAFETY: the caller's promise.
    unsafe { gather_by::<_, _, ByVectors<V>>(gather) }
}

/// Gathers with `isa`, and widens if the source is of a narrower type than the rows.
///
/// # Safety
/// As for [`by_vectors`].
pub(super) unsafe fn rows<S: Source<Sum: Routine>>(isa: Isa, gather: &Gather<'_, S, S::Sum>) {
    let Gather { pixels, terms, source, sizes, channels, elements, to, to_row } = *gather;
    // SAFETY: the caller's promise; the elements of the source are sums if the type says so.
    unsafe {
        if S::IS_SUM {
            let source = source.cast::<S::Sum>();
            let gather = Gather { pixels, terms, source, sizes, channels, elements, to, to_row };
            (S::Sum::routines(isa).gather)(&gather);
        } else {
            gather_by::<_, _, Widening>(gather);
        }
    }
}

#[inline(always)]
unsafe fn gather_by<S, T, C: Copying<S, T>>(gather: &Gather<'_, S, T>) {
    let [depth, height, width] = gather.sizes;
    for (number, pixel) in gather.pixels.iter().enumerate() {
        let [d, h, w] = pixel.base;
        let base = (((pixel.image * depth + d) * height + h) * width + w) * gather.channels;
        let mut to = gather.to.wrapping_add(number * gather.to_row);
        let reach = base.wrapping_add_signed(gather.terms.reach);
        if gather.terms.are_inside(pixel, gather.sizes) && reach + SLACK <= gather.elements {
            for segment in &gather.terms.segments {
                let from = gather.source.wrapping_add(base.wrapping_add_signed(segment.distance));
                let length = segment.taps * segment.channels;
                // SAFETY: the caller's promise; all taps of the pixel, and what is read behind them, are in the source.
                unsafe { C::copy_at_least(from, to, length) };
                to = to.wrapping_add(length);
            }
        } else {
            for segment in &gather.terms.segments {
                // SAFETY: the caller's promise.
                unsafe { clipped::<S, T, C>(gather, pixel, segment, to) };
                to = to.wrapping_add(segment.taps * segment.channels);
            }
        }
    }
}

/// Copies what of a segment is inside of the source, and zeros for the rest.
///
/// # Safety
/// As for [`by_vectors`].
#[inline(always)]
unsafe fn clipped<S, T, C: Copying<S, T>>(gather: &Gather<'_, S, T>, pixel: &Pixel, segment: &Segment, to: *mut T) {
    let [depth, height, width] = gather.sizes;
    let at = |axis: usize| pixel.base[axis].wrapping_add_signed(segment.offset[axis]);
    let (d, h) = (at(0), at(1));
    let first = pixel.base[2] as isize + segment.offset[2];
    let (mut before, mut inside) = (segment.taps, segment.taps);
    if d < depth && h < height {
        before = first.saturating_neg().clamp(0, segment.taps as isize) as usize;
        inside = (width as isize - first).clamp(before as isize, segment.taps as isize) as usize;
    }
    let [zeros, copied] = [before, inside - before].map(|taps| taps * segment.channels);
    let length = segment.taps * segment.channels;
    // SAFETY: the caller's promise; what is read lies within the image. Where nothing does, there need not be a source.
    unsafe {
        C::zero(to, zeros);
        if copied > 0 {
            let line = ((pixel.image * depth + d) * height + h) * width;
            let pixel = line + (first + before as isize) as usize;
            let from = gather.source.wrapping_add(pixel * gather.channels + segment.channel);
            C::copy(from, to.wrapping_add(zeros), copied);
        }
        C::zero(to.wrapping_add(zeros + copied), length - zeros - copied);
    }
}
