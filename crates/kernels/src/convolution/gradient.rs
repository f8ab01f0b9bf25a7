//! The gradient to the weight: products of gathered terms, transposed, with the gradient to the output.
//!
//! W = Aᵀ·Y, where row i of A holds all that pixel i of y adds up (see `gather.rs`) and Y is y as a matrix of pixels by
//! channels. Where W is small and pixels are many, they are cut into pieces, whose sums are added up in order.

use std::ops::Range;

use super::gather::{self, Gather};
use super::pieces::Pieces;
use super::routines::Routine;
use super::taps::{Phase, Pixel, Segment};
use super::{Finish, Problem, Side};
use crate::cpu::Isa;
use crate::matmul::block::pack;
use crate::matmul::source::Source;
use crate::matmul::tile::{Accumulator, Ahead, Strip, Tile, TileSizes};
use crate::matmul::{Operands, Scratch};

/// Pixels that are multiplied in one go: a tile's columns of their terms and of y stay in the first-level cache.
const PIXELS: usize = 128;
/// Pixels that are gathered by one call.
const GATHERED: usize = 16;
/// The most terms of a block: those of all pixels in one go stay in the second-level cache.
const MAX_TERMS: usize = 640;
/// The most columns of a block.
const MAX_COLUMNS: usize = 256;
/// Bytes from a pixel of y to the next up to which it is read in place: lines so near do not displace each other in the
/// first-level cache.
const NEAR_PIXELS: usize = 512;
/// Chunks into which the work is cut where it is enough for them.
const CHUNKS: usize = 16;
/// Pixels that are worth a piece of their own.
const LEAST_PIXELS: usize = 4 * PIXELS;

/// Neighboring rows of the weight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Block {
    terms: Range<usize>,
    segments: Vec<Segment>,
}

/// How a gradient to the weight is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gradient {
    phase: Phase,
    blocks: Vec<Block>,
    groups: usize,
    source: [usize; 3],
    in_channels: usize,
    out_channels: usize,
    tile: TileSizes,
    panel_columns: usize,
    /// Columns of a chunk, within a group.
    block_columns: usize,
    packs_y: bool,
    pub(super) pieces: Pieces,
}

impl Gradient {
    pub(super) fn new(problem: &Problem, tile: TileSizes, is_sum: bool) -> Gradient {
        let axes = problem.three_axes();
        let Problem { in_channels, out_channels, groups, .. } = *problem;
        let [terms, columns] = problem.result();
        let pixels = problem.on(Side::Output).result()[0];
        let phases = Phase::all(problem);
        let Some(phase) = phases.into_iter().next() else { unreachable!("one phase of each axis") };

        let length = terms.div_ceil(terms.div_ceil(MAX_TERMS).max(1)).next_multiple_of(tile.rows).max(1);
        let block = |first: usize| {
            let terms = first..terms.min(first + length);
            Block { segments: phase.segments(terms.clone(), in_channels / groups, groups == 1), terms }
        };
        let blocks: Vec<Block> = (0..terms).step_by(length).map(block).collect();
        let panel_columns = 2 * tile.lanes;
        let group_columns = out_channels / groups;
        let block_columns = group_columns.div_ceil(group_columns.div_ceil(MAX_COLUMNS).max(1));
        let block_columns = block_columns.next_multiple_of(panel_columns).min(group_columns).max(1);
        let wanted = CHUNKS / (blocks.len() * groups * group_columns.div_ceil(block_columns)).max(1);
        let pieces = Pieces::new(pixels, wanted.min(pixels / LEAST_PIXELS).max(1), [terms, columns]);
        let packs_y = !is_sum || out_channels * (64 / tile.lanes) > NEAR_PIXELS;
        Gradient {
            phase,
            blocks,
            groups,
            source: axes.map(|axis| axis.input),
            in_channels,
            out_channels,
            tile,
            panel_columns,
            block_columns,
            packs_y,
            pieces,
        }
    }

    fn group_columns(&self) -> usize {
        self.out_channels / self.groups
    }

    fn column_blocks(&self) -> usize {
        self.group_columns().div_ceil(self.block_columns)
    }

    pub(super) fn chunks(&self) -> usize {
        self.pieces.count() * self.blocks.len() * self.groups * self.column_blocks()
    }

    /// Elements from a row of gathered terms to the next.
    fn a_row(&self) -> usize {
        let longest = self.blocks.iter().map(|block| block.terms.len()).max();
        longest.unwrap_or(0).next_multiple_of(16) + 16
    }

    /// Scratch memory of a worker, in elements: gathered terms, packed pixels of y.
    pub(super) fn scratch_elements(&self) -> usize {
        let y = if self.packs_y { self.block_columns.next_multiple_of(self.panel_columns) } else { 0 };
        PIXELS * (self.a_row() + y)
    }

    /// Adds up a block of the weight over a piece of the pixels.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](super::Convolution::run_chunk), for operands of elements `S`.
    pub(super) unsafe fn multiply<S: Source<Sum: Routine>>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let column_blocks = self.column_blocks();
        let (rest, first) = (chunk / column_blocks, chunk % column_blocks * self.block_columns);
        let (rest, group) = (rest / self.groups, rest % self.groups);
        let (piece, block) = (rest / self.blocks.len(), &self.blocks[rest % self.blocks.len()]);
        let first_column = group * self.group_columns();
        let columns = first_column + first..first_column + self.group_columns().min(first + self.block_columns);
        let c = self.pieces.target::<S::Sum>(piece, operands, scratch);
        let pixels = self.pieces.of(piece);
        if pixels.is_empty() {
            for row in block.terms.clone() {
                // SAFETY: our caller's promise; zero bytes are a zero of all floats.
                unsafe { c.add(row * self.out_channels + columns.start).write_bytes(0, columns.len()) };
            }
        }
        for first in pixels.clone().step_by(PIXELS) {
            let some = first..pixels.end.min(first + PIXELS);
            // SAFETY: our caller's promise; the scratch memory has room for both.
            unsafe {
                let gathered: *mut S::Sum = scratch.own.cast();
                self.gather::<S>(isa, some.clone(), group, block, operands.a.cast(), gathered);
                let y = operands.b.cast::<S>().wrapping_add(some.start * self.out_channels + columns.start);
                let packed = gathered.wrapping_add(PIXELS * self.a_row());
                if self.packs_y {
                    let strip = Strip {
                        k: some.len(),
                        rows: columns.len(),
                        from: y,
                        from_row: 1,
                        from_step: self.out_channels,
                        to: packed,
                        to_step: self.panel_columns,
                        panel: self.panel_columns,
                        to_panel: some.len() * self.panel_columns,
                    };
                    pack::<S>(S::Sum::kernels(isa).pack, &strip);
                }
                let kernels = S::Sum::kernels(isa);
                for column in (0..columns.len()).step_by(self.panel_columns) {
                    let (b, b_step) = if self.packs_y {
                        (packed.wrapping_add(column * some.len()).cast_const(), self.panel_columns)
                    } else {
                        (y.wrapping_add(column).cast(), self.out_channels)
                    };
                    let tile_columns = self.panel_columns.min(columns.len() - column);
                    let height = block.terms.len().div_ceil(block.terms.len().div_ceil(self.tile.rows));
                    for row in (0..block.terms.len()).step_by(height) {
                        let c_first = (block.terms.start + row) * self.out_channels + columns.start + column;
                        let tile = Tile {
                            k: some.len(),
                            a: gathered.wrapping_add(row).cast_const(),
                            a_row: 1,
                            a_step: self.a_row(),
                            b,
                            b_step,
                            c: c.wrapping_add(c_first),
                            c_row: self.out_channels,
                            columns: tile_columns,
                            add: first > pixels.start,
                            ahead: [Ahead::NOTHING; 2],
                        };
                        kernels.tile(height.min(block.terms.len() - row), tile_columns)(&tile);
                    }
                }
            }
        }
        if let Some(finish) = finish {
            finish(block.terms.clone(), columns, c.cast());
        }
    }

    /// Gathers the terms of a block for some pixels.
    ///
    /// # Safety
    /// As for [`multiply`](Gradient::multiply).
    unsafe fn gather<S: Source<Sum: Routine>>(
        &self,
        isa: Isa,
        pixels: Range<usize>,
        group: usize,
        block: &Block,
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
                segments: &block.segments,
                source: source.wrapping_add(group * (self.in_channels / self.groups)),
                sizes: self.source,
                channels: self.in_channels,
                to: to.wrapping_add(first * self.a_row()),
                to_row: self.a_row(),
            };
            // SAFETY: our caller's promise.
            unsafe { gather::rows(isa, &gather) };
        }
    }
}
