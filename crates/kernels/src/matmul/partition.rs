//! How a multiply is cut up: a function of sizes, strides, dtype and instruction set alone.

use std::ops::Range;

use thalweg_array::DType;

use super::tile::{Accumulator, TileSizes};
use super::{Problem, Strides, output_dtype, panel_length};
use crate::cpu::Isa;

/// The most rows of a block: its part of A, one panel deep, takes a quarter MiB as f32.
const MAX_ROWS: usize = 256;
/// The most columns of a block.
const MAX_COLUMNS: usize = 512;
/// The least work that is worth a chunk of its own: a few microseconds.
const CHUNK_FLOPS: u64 = 400_000;
/// No more chunks than this are made only to have more chunks.
const ENOUGH_CHUNKS: usize = 16;
/// A part of B up to this size is read in place: it stays in the first-level cache whatever its stride.
const SMALL_B_BYTES: usize = 32 << 10;

/// Where the micro-kernel finds B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Packing {
    /// Where it lies.
    InPlace,
    /// In scratch memory, panel by panel.
    PerPanel,
    /// In the packed copy that the caller hands over.
    Before,
}

/// A multiply and its cut into blocks of C.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition {
    /// What is computed is Cᵀ = Bᵀ·Aᵀ, because C is a single column: the vectors then run along it.
    pub(super) swapped: bool,
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) a: Strides,
    pub(super) b: Strides,
    pub(super) c_row_stride: usize,
    pub(super) accumulate: bool,
    /// Whether A is packed, block by block.
    pub(super) pack_a: bool,
    pub(super) packing_of_b: Packing,
    pub(super) tile: TileSizes,
    /// Columns that the micro-kernel does at once.
    pub(super) panel_columns: usize,
    row_blocks: usize,
    column_blocks: usize,
}

impl Partition {
    pub(super) fn new(problem: &Problem, isa: Isa, b_is_packed: bool) -> Partition {
        let Problem { dtype, mut m, k, mut n, mut a, mut b, mut c_row_stride, accumulate } = *problem;
        let swapped = n == 1 && m > 1 && c_row_stride == 1 && !b_is_packed;
        if swapped {
            let transposed = |x: Strides| Strides { row: x.column, column: x.row };
            (m, n, a, b, c_row_stride) = (n, m, transposed(b), transposed(a), m);
        }
        let sum = output_dtype(dtype);
        let tile = match sum {
            DType::F64 => f64::kernels(isa).sizes(),
            DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::I64 | DType::U8 | DType::Bool => {
                f32::kernels(isa).sizes()
            }
        };

        let mut row_blocks = m.div_ceil(MAX_ROWS);
        let mut column_blocks = n.div_ceil(MAX_COLUMNS);
        let wanted = usize::try_from(problem.flops() / CHUNK_FLOPS).unwrap_or(usize::MAX).min(ENOUGH_CHUNKS);
        while (1..=wanted / 2).contains(&(row_blocks * column_blocks)) {
            // Halve the longer side, as long as what is left is at least a few tiles.
            let (rows, columns) = (m / row_blocks, n / column_blocks);
            if columns >= rows && columns >= 2 * 2 * tile.lanes {
                column_blocks *= 2;
            } else if rows >= 2 * 2 * tile.rows {
                row_blocks *= 2;
            } else if columns >= 2 * 2 * tile.lanes {
                column_blocks *= 2;
            } else {
                break;
            }
        }

        let rows = m.div_ceil(row_blocks.max(1));
        let columns = n.div_ceil(column_blocks.max(1));
        let depth = panel_length(k).min(k);
        let must_pack = dtype != sum;
        let small_b = (depth * b.row + n) * sum.size() <= SMALL_B_BYTES;
        let packing_of_b = if b_is_packed {
            Packing::Before
        } else if must_pack || b.column != 1 || (rows > 2 * tile.rows && !small_b) {
            Packing::PerPanel
        } else {
            Packing::InPlace
        };
        let flat = packing_of_b == Packing::InPlace && rows <= tile.flat_rows;
        Partition {
            swapped,
            m,
            k,
            n,
            a,
            b,
            c_row_stride,
            accumulate,
            pack_a: must_pack || (columns >= 8 * 2 * tile.lanes && rows > tile.flat_rows),
            packing_of_b,
            tile,
            panel_columns: if flat { 4 * tile.lanes } else { 2 * tile.lanes },
            row_blocks,
            column_blocks,
        }
    }

    pub(super) fn chunks(&self) -> usize {
        self.row_blocks * self.column_blocks
    }

    /// Rows and columns of a block; blocks of the same columns follow each other.
    pub(super) fn block(&self, chunk: usize) -> Option<(Range<usize>, Range<usize>)> {
        (chunk < self.chunks()).then(|| {
            let rows = part(self.m, self.row_blocks, chunk % self.row_blocks, 1);
            let columns = part(self.n, self.column_blocks, chunk / self.row_blocks, 2 * self.tile.lanes);
            (rows, columns)
        })
    }

    /// The tiles of a block of `rows`, as rows within the block: as few as can be, of nearly equal height.
    pub(super) fn tiles(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let most = if self.panel_columns > 2 * self.tile.lanes { self.tile.flat_rows } else { self.tile.rows };
        let count = rows.div_ceil(most);
        (0..count).map(move |tile| part(rows, count, tile, 1))
    }

    /// Scratch memory of a worker, in elements that sums are made of: a block of A, then a panel of B.
    pub(super) fn scratch_elements(&self) -> usize {
        let panel = match self.packing_of_b {
            Packing::PerPanel => panel_length(self.k) * self.panel_columns,
            Packing::InPlace | Packing::Before => 0,
        };
        self.block_of_a_elements() + panel
    }

    /// The part of the scratch memory that holds a block of A.
    pub(super) fn block_of_a_elements(&self) -> usize {
        if !self.pack_a {
            return 0;
        }
        // Whole cache lines, so that what follows starts on one.
        (panel_length(self.k) * self.m.div_ceil(self.row_blocks.max(1))).next_multiple_of(64)
    }

    /// Panels of B in the packed copy: of columns, times of k.
    pub(super) fn packed_b_panels(&self) -> usize {
        self.n.div_ceil(self.panel_columns) * self.k.div_ceil(panel_length(self.k))
    }

    /// Elements of the packed copy of B.
    pub(super) fn packed_b_elements(&self) -> usize {
        self.n.next_multiple_of(self.panel_columns) * self.k
    }

    /// Where in the packed copy the panel begins that has these first positions in k and n.
    pub(super) fn packed_b_offset(&self, p: usize, j: usize) -> usize {
        let depth = panel_length(self.k).min(self.k - p);
        p * self.n.next_multiple_of(self.panel_columns) + j * depth
    }

    /// The panels of k.
    pub(super) fn panels(&self) -> impl Iterator<Item = Range<usize>> {
        let (k, length) = (self.k, panel_length(self.k));
        (0..k).step_by(length).map(move |p| p..k.min(p + length))
    }
}

/// Part `index` of `count` nearly equal parts of `total`, in whole units but for the end.
fn part(total: usize, count: usize, index: usize, unit: usize) -> Range<usize> {
    let units = total.div_ceil(unit);
    let bound = |index: usize| total.min(units * index / count * unit);
    bound(index)..bound(index + 1)
}
