//! The gradient to the weight: products of the gradient to the output, transposed, with gathered terms.
//!
//! W = Yᵀ·A, where Y is y as a matrix of pixels by channels and row i of A holds all that pixel i of y adds up (see
//! `gather.rs`). Where W is small and pixels are many, they are cut into pieces (see `pieces.rs`).

use std::ops::Range;

use super::gather::{self, Gather, SLACK};
use super::pieces::Pieces;
use super::routines::Routine;
use super::taps::{Phase, Pixel, Source, Terms};
use super::{Problem, Side};
use crate::cpu::Isa;
use crate::matmul::block::pack;
use crate::matmul::source;
use crate::matmul::tile::{Accumulator, Ahead, Strip, Tile, TileSizes};
use crate::matmul::{Operands, Scratch};

/// Pixels that are multiplied in one go: a tile's columns of their terms and of y stay in the first-level cache.
const PIXELS: usize = 128;
/// Pixels that are gathered by one call.
const GATHERED: usize = 16;
/// The most terms of a block: those of all pixels in one go stay in the second-level cache.
const MAX_TERMS: usize = 640;
/// The most channels of y of a block.
const MAX_OUTPUTS: usize = 256;
/// Chunks into which the work is cut where it is enough for them.
const CHUNKS: usize = 16;
/// Pixels that are worth a piece of their own.
const LEAST_PIXELS: usize = 4 * PIXELS;

/// How a gradient to the weight is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gradient {
    phase: Phase,
    /// Neighboring columns of the weight.
    blocks: Vec<Terms>,
    source: Source,
    out_channels: usize,
    tile: TileSizes,
    panel_columns: usize,
    /// Channels of y of a chunk, within a group.
    block_outputs: usize,
    /// y has to be widened.
    widens: bool,
    pub(super) pieces: Pieces,
}

impl Gradient {
    pub(super) fn new(problem: &Problem, tile: TileSizes, widens: bool) -> Gradient {
        let Problem { out_channels, groups, .. } = *problem;
        let source = Source::new(problem);
        let terms = problem.taps() * source.group_channels();
        let pixels = problem.on(Side::Output).result()[0];
        let Some(phase) = Phase::all(problem).into_iter().next() else { unreachable!("one phase of each axis") };

        let panel_columns = 2 * tile.lanes;
        let length = terms.div_ceil(terms.div_ceil(MAX_TERMS).max(1)).next_multiple_of(panel_columns).max(1);
        let block = |first: usize| phase.terms(first..terms.min(first + length), &source);
        let blocks: Vec<Terms> = (0..terms).step_by(length).map(block).collect();
        let outputs = out_channels / groups;
        let block_outputs = outputs.div_ceil(outputs.div_ceil(MAX_OUTPUTS).max(1)).max(1);
        let wanted = CHUNKS / (blocks.len() * groups * outputs.div_ceil(block_outputs)).max(1);
        let pieces = Pieces::new(pixels, wanted.min(pixels / LEAST_PIXELS).max(1), problem);
        Gradient { phase, blocks, source, out_channels, tile, panel_columns, block_outputs, widens, pieces }
    }

    fn outputs(&self) -> usize {
        self.out_channels / self.source.groups
    }

    fn output_blocks(&self) -> usize {
        self.outputs().div_ceil(self.block_outputs)
    }

    pub(super) fn chunks(&self) -> usize {
        self.pieces.count() * self.blocks.len() * self.source.groups * self.output_blocks()
    }

    /// Elements from a row of gathered terms to the next: a line more than they take, so that rows do not fall on the same
    /// lines of the cache.
    fn gathered_row(&self) -> usize {
        let longest = self.blocks.iter().map(|block| block.len()).max();
        longest.unwrap_or(0).next_multiple_of(16) + SLACK
    }

    /// Scratch memory of a worker, in elements: gathered terms, widened pixels of y.
    pub(super) fn scratch_elements(&self) -> usize {
        let y = if self.widens { self.block_outputs } else { 0 };
        (PIXELS * (self.gathered_row() + y)).max(self.pieces.own_scratch_elements())
    }

    /// Adds up a block of the weight over a piece of the pixels.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](super::Convolution::run_chunk), for operands of elements `S`.
    pub(super) unsafe fn multiply<S: source::Source<Sum: Routine>>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
    ) {
        let (rest, first) = (chunk / self.output_blocks(), chunk % self.output_blocks() * self.block_outputs);
        let (rest, group) = (rest / self.source.groups, rest % self.source.groups);
        let (piece, block) = (rest / self.blocks.len(), &self.blocks[rest % self.blocks.len()]);
        let start = group * self.outputs();
        let outputs = start + first..start + self.outputs().min(first + self.block_outputs);
        let (c, c_row) = (self.pieces.target::<S::Sum>(piece, scratch), self.pieces.columns());
        let pixels = self.pieces.of(piece);
        if pixels.is_empty() {
            for row in outputs.clone() {
                // SAFETY: our caller's promise; zero bytes are a zero of all floats.
                unsafe { c.add(row * c_row + block.range.start).write_bytes(0, block.len()) };
            }
        }
        for first in pixels.clone().step_by(PIXELS) {
            let some = first..pixels.end.min(first + PIXELS);
            let gathered: *mut S::Sum = scratch.own.cast();
            // SAFETY: our caller's promise; the scratch memory has room for both.
            let (y, y_row) = unsafe {
                self.gather::<S>(isa, some.clone(), group, block, operands.a.cast(), gathered);
                let widened = gathered.wrapping_add(PIXELS * self.gathered_row());
                self.outputs_of::<S>(isa, some.clone(), outputs.clone(), operands.b.cast(), widened)
            };
            let kernels = S::Sum::kernels(isa);
            let height = outputs.len().div_ceil(outputs.len().div_ceil(self.tile.rows).max(1)).max(1);
            for column in (0..block.len()).step_by(self.panel_columns) {
                let columns = self.panel_columns.min(block.len() - column);
                for row in (0..outputs.len()).step_by(height) {
                    let tile = Tile {
                        k: some.len(),
                        a: y.wrapping_add(row),
                        a_row: 1,
                        a_step: y_row,
                        b: gathered.wrapping_add(column).cast_const(),
                        b_step: self.gathered_row(),
                        c: c.wrapping_add((outputs.start + row) * c_row + block.range.start + column),
                        c_row,
                        columns,
                        add: first > pixels.start,
                        ahead: [Ahead::NOTHING; 2],
                        b_ahead: 0,
                    };
                    // SAFETY: as above.
                    unsafe { kernels.tile(height.min(outputs.len() - row), columns)(&tile) };
                }
            }
        }
    }

    /// Gathers the terms of a block for some pixels.
    ///
    /// # Safety
    /// As for [`multiply`](Gradient::multiply).
    unsafe fn gather<S: source::Source<Sum: Routine>>(
        &self,
        isa: Isa,
        pixels: Range<usize>,
        group: usize,
        block: &Terms,
        source: *const S,
        to: *mut S::Sum,
    ) {
        let mut some = [Pixel::default(); GATHERED];
        let mut all = self.phase.pixels(pixels.clone());
        for first in (0..pixels.len()).step_by(GATHERED) {
            let count = GATHERED.min(pixels.len() - first);
            for (to, pixel) in some.iter_mut().zip(all.by_ref().take(count)) {
                *to = pixel;
            }
            let gather = Gather {
                pixels: &some[..count],
                terms: block,
                source: source.wrapping_add(group * self.source.group_channels()),
                sizes: self.source.sizes,
                channels: self.source.channels,
                elements: self.source.elements.saturating_sub(group * self.source.group_channels()),
                to: to.wrapping_add(first * self.gathered_row()),
                to_row: self.gathered_row(),
            };
            // SAFETY: our caller's promise.
            unsafe { gather::rows(isa, &gather) };
        }
    }

    /// Some channels of some pixels of y, in place or widened to `to`, and the elements from a pixel to the next.
    ///
    /// # Safety
    /// As for [`multiply`](Gradient::multiply).
    unsafe fn outputs_of<S: source::Source>(
        &self,
        isa: Isa,
        pixels: Range<usize>,
        outputs: Range<usize>,
        y: *const S,
        to: *mut S::Sum,
    ) -> (*const S::Sum, usize) {
        let from = y.wrapping_add(pixels.start * self.out_channels + outputs.start);
        if !self.widens {
            return (from.cast(), self.out_channels);
        }
        let strip = Strip {
            k: pixels.len(),
            rows: outputs.len(),
            from,
            from_row: 1,
            from_step: self.out_channels,
            to,
            to_step: self.block_outputs,
            panel: outputs.len(),
            to_panel: 0,
        };
        // SAFETY: our caller's promise.
        unsafe { pack::<S>(S::Sum::kernels(isa).pack, &strip) };
        (to.cast_const(), self.block_outputs)
    }
}
