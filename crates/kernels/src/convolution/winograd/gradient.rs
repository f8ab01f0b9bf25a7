//! Weight side, by F(2x2, 3x3).

use super::transform::Transform;
use super::{Algorithm, Tiles};
use crate::convolution::Problem;
use crate::convolution::pieces::Pieces;
use crate::convolution::routines::Routine;
use crate::cpu::Isa;
use crate::matmul::tile::{Ahead, Tile, TileSizes};
use crate::matmul::{Operands, Scratch};

/// Tiles that are multiplied in one go.
const TILES: usize = 64;
/// The most input channels of a chunk, and the most output channels: what is added up at all points stays in the
/// second-level cache.
const MAX_INPUTS: usize = 128;
const MAX_OUTPUTS: usize = 64;
/// Chunks into which the work is cut where it is enough for them.
const CHUNKS: usize = 16;
/// Tiles that are worth a piece of their own.
const LEAST_TILES: usize = 4 * TILES;
/// Room between neighbors, in elements, so that they do not fall on the same lines of the cache.
const GAP: usize = 16;

/// How it is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::convolution) struct WinogradGradient {
    tiles: Tiles,
    inputs: usize,
    outputs: usize,
    tile: TileSizes,
    panel_columns: usize,
    /// Input and output channels of a chunk.
    block_inputs: usize,
    block_outputs: usize,
    /// Of all tiles.
    pub(in crate::convolution) pieces: Pieces,
}

/// What is evaluated at all points: rows of channels, for each tile or each other channel.
#[derive(Clone, Copy, Debug)]
struct Points {
    row: usize,
    step: usize,
}

impl Points {
    fn new(rows: usize, channels: usize) -> Points {
        let row = channels.next_multiple_of(16) + GAP;
        Points { row, step: rows * row + GAP }
    }

    fn elements(&self) -> usize {
        Algorithm::F2.points() * self.step
    }
}

impl WinogradGradient {
    pub(in crate::convolution) fn new(problem: &Problem, tile: TileSizes) -> WinogradGradient {
        let tiles = Tiles::new(problem, Algorithm::F2);
        let (inputs, outputs) = (problem.in_channels, problem.out_channels);
        let block = |channels: usize, most: usize| {
            let equal = channels.div_ceil(channels.div_ceil(most).max(1));
            equal.next_multiple_of(tile.lanes).min(channels).max(1)
        };
        let (block_inputs, block_outputs) = (block(inputs, MAX_INPUTS), block(outputs, MAX_OUTPUTS));
        let blocks = inputs.div_ceil(block_inputs) * outputs.div_ceil(block_outputs);
        let all = tiles.strips() * tiles.across;
        let wanted = (CHUNKS / blocks.max(1)).min(all / LEAST_TILES).max(1);
        let pieces = Pieces::new(all, wanted, problem);
        WinogradGradient {
            tiles,
            inputs,
            outputs,
            tile,
            panel_columns: 2 * tile.lanes,
            block_inputs,
            block_outputs,
            pieces,
        }
    }

    fn blocks(&self) -> [usize; 2] {
        [self.inputs.div_ceil(self.block_inputs), self.outputs.div_ceil(self.block_outputs)]
    }

    pub(in crate::convolution) fn chunks(&self) -> usize {
        self.pieces.count() * self.blocks()[0] * self.blocks()[1]
    }

    /// x, y and their products.
    fn points(&self) -> [Points; 3] {
        let x = Points::new(TILES, self.block_inputs);
        let y = Points::new(TILES, self.block_outputs);
        [x, y, Points::new(self.block_outputs, self.block_inputs)]
    }

    /// Scratch memory of a worker, in elements.
    pub(in crate::convolution) fn scratch_elements(&self) -> usize {
        let points: usize = self.points().iter().map(Points::elements).sum();
        points.max(self.pieces.own_scratch_elements())
    }

    /// Adds up a block of the weight over a piece of the tiles.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](crate::convolution::Convolution::run_chunk), for operands of elements `T`.
    pub(in crate::convolution) unsafe fn multiply<T: Routine>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
    ) {
        let routines = T::routines(isa);
        let [down, across] = self.blocks();
        let (piece, block) = (chunk / (down * across), chunk % (down * across));
        let part = |index: usize, length: usize, total: usize| index * length..total.min((index + 1) * length);
        let inputs = part(block / across, self.block_inputs, self.inputs);
        let outputs = part(block % across, self.block_outputs, self.outputs);
        let [at_x, at_y, at_products] = self.points();
        let x: *mut T = scratch.own.cast();
        let y = x.wrapping_add(at_x.elements());
        let products = y.wrapping_add(at_y.elements());
        let tiles = self.pieces.of(piece);
        if tiles.is_empty() {
            // SAFETY: our caller's promise; zero bytes are a zero of all floats.
            unsafe { products.write_bytes(0, at_products.elements()) };
        }
        for first in tiles.clone().step_by(TILES) {
            let some = first..tiles.end.min(first + TILES);
            for (number, tile) in some.clone().enumerate() {
                let at = self.tiles.locate(0, tile);
                let from = operands.a.cast::<T>().wrapping_add(inputs.start).cast_mut();
                let patch = self.tiles.source(at, from, self.inputs);
                let points = x.wrapping_add(number * at_x.row);
                let of_x = Transform { points, step: at_x.step, channels: inputs.len(), ..patch };
                let from = operands.b.cast::<T>().wrapping_add(outputs.start).cast_mut();
                let patch = self.tiles.result(at, from, self.outputs);
                let points = y.wrapping_add(number * at_y.row);
                let of_y = Transform { points, step: at_y.step, channels: outputs.len(), ..patch };
                // SAFETY: our caller's promise; x and y are only read, and the scratch memory has room for all points.
                unsafe {
                    (routines.transforms(Algorithm::F2).input)(&of_x);
                    (routines.output_transposed)(&of_y);
                }
            }
            let add = first > tiles.start;
            // SAFETY: as above.
            unsafe { self.products(isa, some.len(), [inputs.len(), outputs.len()], [x, y, products], add) };
        }
        let c: *mut T = self.pieces.target(piece, scratch);
        for (row, output) in outputs.clone().enumerate() {
            let transform = Transform {
                patch: c.wrapping_add(output * self.pieces.columns() + inputs.start),
                row: 3 * self.inputs as isize,
                column: self.inputs as isize,
                rows: 0..3,
                columns: 0..3,
                points: products.wrapping_add(row * at_products.row),
                step: at_products.step,
                channels: inputs.len(),
            };
            // SAFETY: as above.
            unsafe { (routines.weight_transposed)(&transform) };
        }
    }

    /// The products of some tiles at all points.
    ///
    /// # Safety
    /// As for [`multiply`](WinogradGradient::multiply).
    unsafe fn products<T: Routine>(
        &self,
        isa: Isa,
        tiles: usize,
        [inputs, outputs]: [usize; 2],
        [x, y, products]: [*mut T; 3],
        add: bool,
    ) {
        let kernels = T::kernels(isa);
        let [at_x, at_y, at_products] = self.points();
        let height = outputs.div_ceil(outputs.div_ceil(self.tile.rows).max(1)).max(1);
        for point in 0..Algorithm::F2.points() {
            for column in (0..inputs).step_by(self.panel_columns) {
                let columns = self.panel_columns.min(inputs - column);
                for row in (0..outputs).step_by(height) {
                    let tile = Tile {
                        k: tiles,
                        runs: 1,
                        jumps: [0; 2],
                        a: y.wrapping_add(point * at_y.step + row).cast_const(),
                        a_row: 1,
                        a_step: at_y.row,
                        b: x.wrapping_add(point * at_x.step + column).cast_const(),
                        b_step: at_x.row,
                        c: products.wrapping_add(point * at_products.step + row * at_products.row + column),
                        c_row: at_products.row,
                        columns,
                        add,
                        past_caches: false,
                        ahead: [Ahead::NOTHING; 2],
                        b_ahead: 0,
                    };
                    // SAFETY: our caller's promise.
                    unsafe { kernels.tile(height.min(outputs - row), columns)(&tile) };
                }
            }
        }
    }
}
