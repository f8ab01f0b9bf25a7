//! Convolutions whose every channel is convolved by itself: as many groups as channels.
//!
//! There is no matrix to multiply. Vectors run along the channels: a pixel of the result adds up, tap by tap, source pixels
//! times the tap's weights of all channels. The gradient to the weight adds up products of source pixels with pixels of y
//! along a line, one tap after the other, in registers.

use std::ops::Range;

use super::pieces::Pieces;
use super::routines::Routine;
use super::taps::{Phase, Source};
use super::{Axis, Finish, Problem};
use crate::cpu::Isa;
use crate::matmul::simd::Vector;
use crate::matmul::tile::Strip;
use crate::matmul::{Operands, Scratch, output_dtype};

/// Elements of the result that are finished at once, roughly: they stay in the second-level cache.
const FINISHED: usize = 32 << 10;
/// Chunks into which the work is cut where it is enough for them.
const CHUNKS: usize = 16;
/// The least multiplications that are worth a chunk of their own: some microseconds.
const CHUNK_PRODUCTS: usize = 50_000;
/// The most taps of a pixel that are added up in one go.
const MAX_TAPS: usize = 32;

/// Whether the problem is one for this module.
pub(super) fn fits(problem: &Problem) -> bool {
    let Problem { groups, in_channels, out_channels, .. } = *problem;
    let is_sum = output_dtype(problem.dtype) == problem.dtype;
    is_sum && groups > 1 && groups == in_channels && groups == out_channels
}

/// Sums of products of vectors: Σ a[i]·b[i], for all channels.
#[derive(Debug)]
pub(super) struct Sum<'a, T> {
    /// Channel 0 of the factors.
    pub(super) factors: &'a [(*const T, *const T)],
    pub(super) channels: usize,
    pub(super) to: *mut T,
    /// Add to what is there.
    pub(super) add: bool,
}

/// Products of neighbors: to[c] += Σ a[i · a_step + c]·b[i · b_step + c] for i below `count`.
#[derive(Debug)]
pub(super) struct Line<T> {
    pub(super) a: *const T,
    pub(super) a_step: usize,
    pub(super) b: *const T,
    pub(super) b_step: usize,
    pub(super) count: usize,
    pub(super) channels: usize,
    pub(super) to: *mut T,
}

/// Vectors of channels that are added up side by side.
const SIDE_BY_SIDE: usize = 4;

/// Adds up a [`Sum`].
///
/// # Safety
/// The elements are there, and the processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn sum<V: Vector>(s: &Sum<'_, V::Scalar>) {
    let mut channel = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while channel + SIDE_BY_SIDE * V::LANES <= s.channels {
            let mut sums = [V::zero(); SIDE_BY_SIDE];
            if s.add {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(s.to.add(channel + v * V::LANES));
                }
            }
            for &(a, b) in s.factors {
                for (v, sum) in sums.iter_mut().enumerate() {
                    let at = channel + v * V::LANES;
                    *sum = V::load(a.add(at)).mul_add(V::load(b.add(at)), *sum);
                }
            }
            for (v, sum) in sums.iter().enumerate() {
                sum.store(s.to.add(channel + v * V::LANES));
            }
            channel += SIDE_BY_SIDE * V::LANES;
        }
        while channel < s.channels {
            let mask = V::first(V::LANES.min(s.channels - channel));
            let mut sum = if s.add { V::load_masked(s.to.add(channel), mask) } else { V::zero() };
            for &(a, b) in s.factors {
                sum = V::load_masked(a.add(channel), mask).mul_add(V::load_masked(b.add(channel), mask), sum);
            }
            sum.store_masked(s.to.add(channel), mask);
            channel += V::LANES;
        }
    }
}

/// Adds up a [`Line`].
///
/// # Safety
/// As for [`sum`].
#[inline(always)]
pub(super) unsafe fn line<V: Vector>(l: &Line<V::Scalar>) {
    let mut channel = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while channel + SIDE_BY_SIDE * V::LANES <= l.channels {
            let mut sums = [V::zero(); SIDE_BY_SIDE];
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(l.to.add(channel + v * V::LANES));
            }
            for i in 0..l.count {
                let (a, b) = (l.a.add(i * l.a_step + channel), l.b.add(i * l.b_step + channel));
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(a.add(v * V::LANES)).mul_add(V::load(b.add(v * V::LANES)), *sum);
                }
            }
            for (v, sum) in sums.iter().enumerate() {
                sum.store(l.to.add(channel + v * V::LANES));
            }
            channel += SIDE_BY_SIDE * V::LANES;
        }
        while channel < l.channels {
            let mask = V::first(V::LANES.min(l.channels - channel));
            let mut sum = V::load_masked(l.to.add(channel), mask);
            for i in 0..l.count {
                let a = V::load_masked(l.a.add(i * l.a_step + channel), mask);
                sum = a.mul_add(V::load_masked(l.b.add(i * l.b_step + channel), mask), sum);
            }
            sum.store_masked(l.to.add(channel), mask);
            channel += V::LANES;
        }
    }
}

/// How it is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Depthwise {
    phases: Vec<Phase>,
    axes: [Axis; 3],
    source: Source,
    channels: usize,
    taps: usize,
    /// Pixels of the result.
    rows: usize,
    block_rows: usize,
    finished_rows: usize,
    pub(super) c_in_scratch: bool,
}

impl Depthwise {
    /// For the output and the input side.
    pub(super) fn new(problem: &Problem) -> Depthwise {
        let [rows, channels] = problem.result();
        let wanted = (rows * channels * problem.terms() / CHUNK_PRODUCTS).clamp(1, CHUNKS);
        let block_rows = rows.div_ceil(wanted).max(1);
        Depthwise {
            phases: Phase::all(problem),
            axes: problem.three_axes(),
            source: Source::new(problem),
            channels,
            taps: problem.taps(),
            rows,
            block_rows,
            finished_rows: (FINISHED / channels).clamp(1, block_rows),
            c_in_scratch: false,
        }
    }

    pub(super) fn c_row_stride(&self) -> usize {
        self.channels
    }

    pub(super) fn chunks(&self) -> usize {
        self.rows.div_ceil(self.block_rows)
    }

    pub(super) fn scratch_elements(&self) -> usize {
        if self.c_in_scratch { self.finished_rows * self.channels } else { 0 }
    }

    /// Elements of the weight with its channels next to each other.
    pub(super) fn packed_elements(&self) -> usize {
        self.taps * self.channels
    }

    /// Puts the channels of the weight next to each other.
    ///
    /// # Safety
    /// `w` holds a weight of the problem, and `to` has room for it.
    pub(super) unsafe fn pack<T: Routine>(&self, isa: Isa, w: *const T, to: *mut T) {
        // SAFETY: our caller's promise.
        unsafe { transpose(isa, w, [self.channels, self.taps], to) };
    }

    /// Computes some pixels of the result: a is the source, b the packed weight.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](super::Convolution::run_chunk), for operands of elements `T`.
    pub(super) unsafe fn multiply<T: Routine>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let (source, weight): (*const T, *const T) = (operands.a.cast(), operands.b.cast());
        let kernel = self.axes.map(|axis| axis.kernel);
        let end = self.rows.min((chunk + 1) * self.block_rows);
        for first in (chunk * self.block_rows..end).step_by(self.finished_rows) {
            let rows = first..end.min(first + self.finished_rows);
            let c: *mut T = if self.c_in_scratch {
                scratch.own.cast::<T>().wrapping_sub(rows.start * self.channels)
            } else {
                operands.c.cast()
            };
            for phase in &self.phases {
                for pixel in phase.pixels(rows.clone()) {
                    let to = c.wrapping_add(pixel.row * self.channels);
                    let mut factors = [(source, weight); MAX_TAPS];
                    let (mut count, mut add) = (0, false);
                    let mut flush = |factors: &[(*const T, *const T)]| {
                        let sum = Sum { factors, channels: self.channels, to, add };
                        // SAFETY: our caller's promise.
                        unsafe { (T::routines(isa).sum)(&sum) };
                        add = true;
                    };
                    for number in 0..phase.taps() {
                        let Some(at) = phase.source_of(&pixel, number, &self.source) else { continue };
                        let tap = phase.tap(number, kernel);
                        factors[count] = (source.wrapping_add(at), weight.wrapping_add(tap * self.channels));
                        count += 1;
                        if count == MAX_TAPS {
                            flush(&factors);
                            count = 0;
                        }
                    }
                    flush(&factors[..count]);
                }
            }
            if let Some(finish) = finish {
                finish(rows, 0..self.channels, c.cast());
            }
        }
    }
}

/// `to[j, i] = from[i, j]`
///
/// # Safety
/// The elements are there, and the processor has the instruction set.
unsafe fn transpose<T: Routine>(isa: Isa, from: *const T, [rows, columns]: [usize; 2], to: *mut T) {
    let strip =
        Strip { k: columns, rows, from, from_row: columns, from_step: 1, to, to_step: rows, panel: rows, to_panel: 0 };
    if rows > 0 {
        // SAFETY: our caller's promise.
        unsafe { (T::kernels(isa).pack)(&strip) };
    }
}

/// The gradient to the weight, in pieces of lines of y.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct DepthwiseGradient {
    axes: [Axis; 3],
    channels: usize,
    taps: usize,
    pub(super) pieces: Pieces,
}

impl DepthwiseGradient {
    pub(super) fn new(problem: &Problem) -> DepthwiseGradient {
        let axes = problem.three_axes();
        let (channels, taps) = (problem.in_channels, problem.taps());
        let lines = problem.batch * axes[0].output * axes[1].output;
        let wanted = (lines * axes[2].output * channels * taps / CHUNK_PRODUCTS).min(lines).clamp(1, CHUNKS);
        DepthwiseGradient { axes, channels, taps, pieces: Pieces::new(lines, wanted, problem) }
    }

    pub(super) fn chunks(&self) -> usize {
        self.pieces.count()
    }

    pub(super) fn scratch_elements(&self) -> usize {
        (self.taps * self.channels).max(self.pieces.own_scratch_elements())
    }

    /// Adds up a piece.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](super::Convolution::run_chunk), for operands of elements `T`.
    pub(super) unsafe fn multiply<T: Routine>(&self, isa: Isa, piece: usize, operands: Operands, scratch: Scratch) {
        let (x, y): (*const T, *const T) = (operands.a.cast(), operands.b.cast());
        let sums: *mut T = scratch.own.cast();
        // SAFETY: our caller's promise; zero bytes are a zero of all floats.
        unsafe { sums.write_bytes(0, self.taps * self.channels) };
        let [depth, height, width] = self.axes;
        for number in self.pieces.of(piece) {
            let (slice, th) = (number / height.output, number % height.output);
            let (image, td) = (slice / depth.output, slice % depth.output);
            for tap in 0..self.taps {
                let (rest, kw) = (tap / width.kernel, tap % width.kernel);
                let (kd, kh) = (rest / height.kernel, rest % height.kernel);
                let (Some(d), Some(h)) = (depth.source(td, kd), height.source(th, kh)) else { continue };
                let some = inside(&width, kw);
                let Some(w) = some.clone().next().and_then(|tw| width.source(tw, kw)) else { continue };
                let from = ((image * depth.input + d) * height.input + h) * width.input + w;
                let line = Line {
                    a: x.wrapping_add(from * self.channels),
                    a_step: width.stride * self.channels,
                    b: y.wrapping_add((number * width.output + some.start) * self.channels),
                    b_step: self.channels,
                    count: some.len(),
                    channels: self.channels,
                    to: sums.wrapping_add(tap * self.channels),
                };
                // SAFETY: our caller's promise.
                unsafe { (T::routines(isa).line)(&line) };
            }
        }
        // SAFETY: our caller's promise.
        unsafe { transpose(isa, sums.cast_const(), [self.taps, self.channels], self.pieces.target(piece, scratch)) };
    }
}

/// The positions of the output that meet the input with tap `k`.
fn inside(axis: &Axis, k: usize) -> Range<usize> {
    let at = k * axis.dilation;
    let first = axis.padding.saturating_sub(at).div_ceil(axis.stride);
    let end = (axis.input + axis.padding).saturating_sub(at).div_ceil(axis.stride).min(axis.output);
    first.min(end)..end
}
