//! The gradient to the weight: products of the gradient to the output, transposed, with gathered terms.
//!
//! W = Yᵀ·A, where Y is y as a matrix of pixels by channels and row i of A holds all that pixel i of y adds up (see
//! `gather.rs`). Where W is small and pixels are many, they are cut into pieces (see `pieces.rs`).

use std::ops::Range;

use super::gather::{self, Gather, SLACK};
use super::lines::Lines;
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
/// Elements of y that are multiplied by lines in one go.
const LINE_ELEMENTS: usize = 4096;
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
    /// The source in place of gathered terms, where these are few. Pieces are of lines then.
    lines: Option<Lines>,
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
        let lines = Lines::new(problem).filter(|_| blocks.len() == 1 && !widens);
        let pieces = wanted.min(pixels / LEAST_PIXELS).max(1);
        let pieces = Pieces::new(lines.as_ref().map_or(pixels, |lines| pixels / lines.result[1]), pieces, problem);
        Gradient { phase, blocks, source, lines, out_channels, tile, panel_columns, block_outputs, widens, pieces }
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
        if let Some(lines) = &self.lines {
            let goes = (0..self.pieces.count()).flat_map(|piece| self.goes(lines, self.pieces.of(piece)));
            let most = goes.map(|some| lines.elements(some)).max().unwrap_or(0);
            return most.max(self.pieces.own_scratch_elements());
        }
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
        if let Some(lines) = &self.lines {
            // SAFETY: our caller's promise.
            return unsafe { self.multiply_lines::<S>(isa, lines, piece, outputs, operands, scratch) };
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
                        runs: 1,
                        jumps: [0; 2],
                        a: y.wrapping_add(row),
                        a_row: 1,
                        a_step: y_row,
                        b: gathered.wrapping_add(column).cast_const(),
                        b_step: self.gathered_row(),
                        c: c.wrapping_add((outputs.start + row) * c_row + block.range.start + column),
                        c_row,
                        columns,
                        add: first > pixels.start,
                        past_caches: false,
                        ahead: [Ahead::NOTHING; 2],
                        b_ahead: 0,
                    };
                    // SAFETY: as above.
                    unsafe { kernels.tile(height.min(outputs.len() - row), columns)(&tile) };
                }
            }
        }
    }

    /// The lines that are added up in one go, of one image: as many as leave y in the first-level cache, if these are not
    /// too few.
    fn goes(&self, lines: &Lines, piece: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let [height, width] = lines.result;
        let most = (LINE_ELEMENTS / (width * self.out_channels).max(1)).max(PIXELS.div_ceil(width));
        let mut first = piece.start;
        std::iter::from_fn(move || {
            let end = piece.end.min(first + most).min((first / height + 1) * height);
            let go = first..end;
            first = end;
            (!go.is_empty()).then_some(go)
        })
    }

    /// Adds up some lines of pixels with their terms in place.
    ///
    /// # Safety
    /// As for [`multiply`](Gradient::multiply).
    unsafe fn multiply_lines<S: source::Source<Sum: Routine>>(
        &self,
        isa: Isa,
        lines: &Lines,
        piece: usize,
        outputs: Range<usize>,
        operands: Operands,
        scratch: Scratch,
    ) {
        let kernels = S::Sum::kernels(isa);
        let (c, c_row) = (self.pieces.target::<S::Sum>(piece, scratch), self.pieces.columns());
        let piece = self.pieces.of(piece);
        let width = lines.result[1];
        let Some(runs) = lines.runs.first() else { return };
        let height = outputs.len().div_ceil(outputs.len().div_ceil(self.tile.rows).max(1)).max(1);
        let pixel = runs.advance[1] * lines.pixel();
        for some in self.goes(lines, piece.clone()) {
            let y = operands.b.cast::<S::Sum>().wrapping_add(some.start * width * self.out_channels + outputs.start);
            // SAFETY: our caller's promise; the scratch memory has room for the lines.
            let source =
                unsafe { lines.lay_out::<S>(isa, some.clone(), operands.a.cast(), scratch.own.cast::<S::Sum>()) };
            let Some(at) = lines.first_run(some.start, runs) else { continue };
            for run in 0..runs.count {
                let source = source.wrapping_offset(at).wrapping_add(run * lines.line());
                for column in (0..runs.length).step_by(self.panel_columns) {
                    let columns = self.panel_columns.min(runs.length - column);
                    for row in (0..outputs.len()).step_by(height) {
                        let tile = Tile {
                            k: width,
                            runs: some.len(),
                            jumps: [0, (runs.advance[0] * lines.line()) as isize - (width * pixel) as isize],
                            a: y.wrapping_add(row),
                            a_row: 1,
                            a_step: self.out_channels,
                            b: source.wrapping_add(column),
                            b_step: pixel,
                            c: c.wrapping_add((outputs.start + row) * c_row + run * runs.length + column),
                            c_row,
                            columns,
                            add: some.start > piece.start,
                            past_caches: false,
                            ahead: [Ahead::NOTHING; 2],
                            b_ahead: 0,
                        };
                        // SAFETY: our caller's promise; the runs are inside of the lines.
                        unsafe { kernels.tile(height.min(outputs.len() - row), columns)(&tile) };
                    }
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
