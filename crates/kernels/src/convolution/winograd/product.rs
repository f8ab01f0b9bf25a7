//! Output and input side.

use std::ops::Range;

use super::transform::Transform;
use super::{Algorithm, Tiles};
use crate::convolution::routines::Routine;
use crate::convolution::{Finish, Problem, Side};
use crate::cpu::Isa;
use crate::matmul::tile::{Ahead, Strip, Tile, TileSizes};
use crate::matmul::{Operands, Scratch};

/// Tiles that are taken through all steps at once, roughly.
const TILES: usize = 56;
/// Chunks into which the work is cut where it is enough for them.
const CHUNKS: usize = 8;
/// The most products of a sum that are added up in one go.
const MAX_PANEL: usize = 640;
/// Elements of the products at all points that are there at once: they stay in the second-level cache.
const PRODUCTS: usize = 128 << 10;
/// The least columns of a chunk: fewer would not make up for the transform of the source.
const LEAST_COLUMNS: usize = 64;
/// Rows of the weight that are transformed at once.
const WEIGHT_ROWS: usize = 16;
/// The most columns of a panel of any instruction set.
const MAX_PANEL_COLUMNS: usize = 32;
/// Blocks of the weight that are transformed in one chunk.
const BLOCKS: usize = 4;
/// Room between the values of one point and the next, in elements, so that they do not fall on the same lines of the cache.
const GAP: usize = 16;

/// How it is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::convolution) struct WinogradProduct {
    algorithm: Algorithm,
    side: Side,
    tiles: Tiles,
    /// Channels of the source and the result.
    channels: usize,
    columns: usize,
    tile: TileSizes,
    panel_columns: usize,
    /// Strips of a chunk.
    strips: usize,
    /// Columns of a chunk, and of them those whose products are there at once.
    chunk_columns: usize,
    group_columns: usize,
    c_in_scratch: bool,
}

impl WinogradProduct {
    pub(in crate::convolution) fn new(problem: &Problem, algorithm: Algorithm, tile: TileSizes) -> WinogradProduct {
        let tiles = Tiles::new(problem, algorithm);
        let [_, columns] = problem.result();
        let channels = if problem.side == Side::Input { problem.out_channels } else { problem.in_channels };
        let panel_columns = 2 * tile.lanes;
        let all_strips = tiles.strips();
        let blocks_of = |tiles_at_once: usize| all_strips.div_ceil((tiles_at_once / tiles.across.max(1)).max(1)).max(1);
        let mut blocks = blocks_of(TILES);
        if blocks < CHUNKS {
            blocks = blocks_of(TILES / 2).min(CHUNKS);
        }
        let strips = all_strips.div_ceil(blocks).max(1);
        let column_blocks = (CHUNKS / all_strips.div_ceil(strips).max(1)).clamp(1, (columns / LEAST_COLUMNS).max(1));
        let chunk_columns = columns.div_ceil(column_blocks).next_multiple_of(panel_columns).min(columns);
        let most = PRODUCTS / (algorithm.points() * strips * tiles.across).max(1) / panel_columns * panel_columns;
        let group_columns = most.max(2 * panel_columns).min(chunk_columns);
        WinogradProduct {
            algorithm,
            side: problem.side,
            tiles,
            channels,
            columns,
            tile,
            panel_columns,
            strips,
            chunk_columns,
            group_columns,
            c_in_scratch: false,
        }
    }

    pub(in crate::convolution) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(in crate::convolution) fn put_c_in_scratch(&mut self) {
        self.c_in_scratch = true;
    }

    pub(in crate::convolution) fn c_row_stride(&self) -> usize {
        if self.c_in_scratch { self.group_columns } else { self.columns }
    }

    fn column_blocks(&self) -> usize {
        self.columns.div_ceil(self.chunk_columns)
    }

    pub(in crate::convolution) fn chunks(&self) -> usize {
        self.tiles.strips().div_ceil(self.strips) * self.column_blocks()
    }

    /// Elements of a row of channels at a point.
    fn source_row(&self) -> usize {
        self.channels.next_multiple_of(16)
    }

    fn product_row(&self) -> usize {
        self.group_columns.next_multiple_of(16)
    }

    fn most_tiles(&self) -> usize {
        self.strips.min(self.tiles.strips()) * self.tiles.across
    }

    /// Elements from the source's values at a point to those at the next.
    fn source_step(&self) -> usize {
        self.most_tiles() * self.source_row() + GAP
    }

    fn product_step(&self) -> usize {
        self.most_tiles() * self.product_row() + GAP
    }

    /// Scratch memory of a worker, in elements: source and products at all points, the result.
    pub(in crate::convolution) fn scratch_elements(&self) -> usize {
        let pixels = self.most_tiles() * self.tiles.pixels * self.tiles.pixels;
        let result = if self.c_in_scratch { pixels * self.group_columns } else { 0 };
        let steps = self.algorithm.points() * (self.source_step() + self.product_step());
        steps + result
    }

    fn packed_columns(&self) -> usize {
        self.columns.next_multiple_of(self.panel_columns)
    }

    /// Elements from the weight at a point to that at the next.
    fn weight_step(&self) -> usize {
        self.channels * self.packed_columns() + GAP
    }

    pub(in crate::convolution) fn packed_elements(&self) -> usize {
        self.algorithm.points() * self.weight_step()
    }

    /// Channels that are added up in one go.
    fn panel_length(&self) -> usize {
        self.channels.div_ceil(self.channels.div_ceil(MAX_PANEL).max(1)).max(1)
    }

    /// Where, at the first point, the panel of columns from `column` on begins, of the channels that are added up with
    /// `channel`, and the elements of a channel after the first.
    fn weight_offset(&self, channel: usize, column: usize) -> usize {
        let first = channel / self.panel_length() * self.panel_length();
        let length = self.panel_length().min(self.channels - first);
        first * self.packed_columns() + column * length + (channel - first) * self.panel_columns
    }

    /// Blocks of rows of the weight, each within a panel.
    fn weight_blocks(&self) -> impl Iterator<Item = Range<usize>> + Clone {
        let (length, channels) = (self.panel_length(), self.channels);
        (0..channels).step_by(length).flat_map(move |panel| {
            let end = channels.min(panel + length);
            (panel..end).step_by(WEIGHT_ROWS).map(move |first| first..end.min(first + WEIGHT_ROWS))
        })
    }

    fn all_weight_blocks(&self) -> usize {
        self.weight_blocks().count() * (self.packed_columns() / self.panel_columns)
    }

    pub(in crate::convolution) fn packing_chunks(&self) -> usize {
        self.all_weight_blocks().div_ceil(BLOCKS)
    }

    /// Transforms some blocks of the weight to `to`.
    ///
    /// # Safety
    /// `w` holds a weight of the problem, `to` has room for [`packed_elements`](WinogradProduct::packed_elements).
    pub(in crate::convolution) unsafe fn pack_chunk<T: Routine>(
        &self,
        isa: Isa,
        chunk: usize,
        w: *const T,
        to: *mut T,
    ) {
        let blocks = self.weight_blocks().count();
        let mut staged = [T::default(); 9 * WEIGHT_ROWS * MAX_PANEL_COLUMNS];
        let staged = staged.as_mut_ptr();
        for number in chunk * BLOCKS..self.all_weight_blocks().min((chunk + 1) * BLOCKS) {
            let Some(channels) = self.weight_blocks().nth(number % blocks) else { return };
            let column = number / blocks * self.panel_columns;
            let rows = self.panel_columns.min(self.columns - column);
            let panel = self.panel_columns;
            let strip = |k, from: usize, from_row, to: usize| Strip {
                k,
                rows,
                from: w.wrapping_add(from),
                from_row,
                from_step: 1,
                to: staged.wrapping_add(to),
                to_step: panel,
                panel,
                to_panel: 0,
            };
            // SAFETY: our caller's promise; the stage has room for all taps of so many channels and columns.
            unsafe {
                match self.side {
                    // w[column, channel, tap]: the taps of all channels follow each other.
                    Side::Output | Side::Weight => {
                        let from = (column * self.channels + channels.start) * 9;
                        (T::kernels(isa).pack)(&strip(9 * channels.len(), from, 9 * self.channels, 0));
                    }
                    // w[channel, column, tap]
                    Side::Input => {
                        for (number, channel) in channels.clone().enumerate() {
                            let from = (channel * self.columns + column) * 9;
                            (T::kernels(isa).pack)(&strip(9, from, 9, number * 9 * panel));
                        }
                    }
                }
            }
            // The gradient to the input mirrors the kernel.
            let (first_tap, forward) = if self.side == Side::Input { (8, -1) } else { (0, 1) };
            for (number, channel) in channels.enumerate() {
                let transform = Transform {
                    patch: staged.wrapping_add((number * 9 + first_tap) * panel),
                    row: 3 * panel as isize * forward,
                    column: panel as isize * forward,
                    rows: 0..3,
                    columns: 0..3,
                    points: to.wrapping_add(self.weight_offset(channel, column)),
                    step: self.weight_step(),
                    channels: rows,
                };
                // SAFETY: as above.
                unsafe { (T::routines(isa).transforms(self.algorithm).weight)(&transform) };
            }
        }
    }

    /// Computes some strips of the result: a is the source, b the transformed weight.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](crate::convolution::Convolution::run_chunk), for operands of elements `T`.
    pub(in crate::convolution) unsafe fn multiply<T: Routine>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let transforms = T::routines(isa).transforms(self.algorithm);
        let first = chunk / self.column_blocks() * self.strips;
        let strips = first..self.tiles.strips().min(first + self.strips);
        let first = chunk % self.column_blocks() * self.chunk_columns;
        let columns = first..self.columns.min(first + self.chunk_columns);
        let tiles = strips.len() * self.tiles.across;
        let source: *mut T = scratch.own.cast();
        let products = source.wrapping_add(self.algorithm.points() * self.source_step());
        let result = products.wrapping_add(self.algorithm.points() * self.product_step());
        for tile in 0..tiles {
            let at = self.tiles.locate(strips.start, tile);
            let points = source.wrapping_add(tile * self.source_row());
            let patch = self.tiles.source(at, operands.a.cast::<T>().cast_mut(), self.channels);
            // SAFETY: our caller's promise; the source is only read.
            unsafe { (transforms.input)(&Transform { points, step: self.source_step(), ..patch }) };
        }
        let pixels = self.tiles.first_pixel(strips.start)..self.tiles.first_pixel(strips.end);
        for first in columns.clone().step_by(self.group_columns) {
            let columns = first..columns.end.min(first + self.group_columns);
            // SAFETY: our caller's promise; the scratch memory has room for all points.
            unsafe { self.products(isa, tiles, columns.clone(), source, operands.b.cast(), products) };
            let c: *mut T = if self.c_in_scratch {
                result.wrapping_sub(pixels.start * self.c_row_stride() + columns.start)
            } else {
                operands.c.cast()
            };
            for tile in 0..tiles {
                let at = self.tiles.locate(strips.start, tile);
                let points = products.wrapping_add(tile * self.product_row());
                let patch = self.tiles.result(at, c.wrapping_add(columns.start), self.c_row_stride());
                let channels = columns.len();
                // SAFETY: our caller's promise.
                unsafe { (transforms.output)(&Transform { points, step: self.product_step(), channels, ..patch }) };
            }
            if let Some(finish) = finish {
                finish(pixels.clone(), columns, c.cast());
            }
        }
    }

    /// The products of some columns at all points.
    ///
    /// # Safety
    /// As for [`multiply`](WinogradProduct::multiply).
    unsafe fn products<T: Routine>(
        &self,
        isa: Isa,
        tiles: usize,
        columns: Range<usize>,
        source: *const T,
        weight: *const T,
        products: *mut T,
    ) {
        let kernels = T::kernels(isa);
        let height = tiles.div_ceil(tiles.div_ceil(self.tile.rows).max(1)).max(1);
        for point in 0..self.algorithm.points() {
            let source = source.wrapping_add(point * self.source_step());
            let weight = weight.wrapping_add(point * self.weight_step());
            let products = products.wrapping_add(point * self.product_step());
            for channel in (0..self.channels).step_by(self.panel_length()) {
                for column in columns.clone().step_by(self.panel_columns) {
                    let tile_columns = self.panel_columns.min(columns.end - column);
                    for row in (0..tiles).step_by(height) {
                        let tile = Tile {
                            k: self.panel_length().min(self.channels - channel),
                            runs: 1,
                            jumps: [0; 2],
                            a: source.wrapping_add(row * self.source_row() + channel),
                            a_row: self.source_row(),
                            a_step: 1,
                            b: weight.wrapping_add(self.weight_offset(channel, column)),
                            b_step: self.panel_columns,
                            c: products.wrapping_add(row * self.product_row() + column - columns.start),
                            c_row: self.product_row(),
                            columns: tile_columns,
                            add: channel > 0,
                            past_caches: false,
                            ahead: [Ahead::NOTHING; 2],
                            b_ahead: 0,
                        };
                        // SAFETY: our caller's promise.
                        unsafe { kernels.tile(height.min(tiles - row), tile_columns)(&tile) };
                    }
                }
            }
        }
    }
}
