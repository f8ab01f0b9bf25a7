//! How a multiply is cut up: a function of sizes, strides, dtype and instruction set alone.

use std::ops::Range;

use thalweg_array::DType;

use super::tile::{Accumulator, ROW_COLUMNS, TileSizes};
use super::{Problem, Strides, output_dtype, panel_length};
use crate::cpu::Isa;

/// Panels of B that are packed at once: their part of a row of B is long enough to be worth the visit to its page, and
/// together they stay in the second-level cache.
const GROUP_PANELS: usize = 8;
/// The least work that is worth a chunk of its own: some microseconds.
const CHUNK_FLOPS: u64 = 400_000;
/// The most chunks, unless they would exceed [`MAX_PACKED_ROWS`].
const MAX_CHUNKS: usize = 16;
/// The most rows of a chunk that packs its part of A: as f32, that takes up to 2 MiB.
const MAX_PACKED_ROWS: usize = 1024;
/// Rows that a panel of B should at least be used for once it is packed.
const ENOUGH_ROWS: usize = 512;
/// Bytes from a row of B to the next up to which it is read in place: lines so near do not displace each other in the
/// first-level cache, and are fetched ahead.
const NEAR_ROWS: usize = 1024;
/// Bytes over which the part of a transposed A that makes a tile may be spread before it is packed: beyond this, its pages
/// are too many for the processor to keep their addresses.
const NEAR_COLUMNS: usize = 512 << 10;

/// Where the micro-kernel finds B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Packing {
    /// Where it lies.
    InPlace,
    /// In scratch memory, group of panels by group.
    PerGroup,
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
    /// Whether A is packed, as much of it as a chunk needs for a panel of k.
    pub(super) pack_a: bool,
    pub(super) packing_of_b: Packing,
    pub(super) tile: TileSizes,
    /// Columns that the micro-kernel does at once.
    pub(super) panel_columns: usize,
    /// Columns of B that are packed at once: a multiple of the former.
    pub(super) group_columns: usize,
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

        let must_pack = dtype != sum;
        let far_columns = a.row == 1 && panel_length(k) * a.column * sum.size() > NEAR_COLUMNS;
        let pack_a = must_pack || (far_columns && n >= 4 * 2 * tile.lanes);
        let packing_of_b = if b_is_packed {
            Packing::Before
        } else if must_pack || b.column != 1 || (m > 2 * tile.rows && b.row * sum.size() > NEAR_ROWS) {
            Packing::PerGroup
        } else {
            Packing::InPlace
        };
        let in_place = packing_of_b == Packing::InPlace;
        let panel_columns = match m {
            1 if in_place => ROW_COLUMNS,
            _ if in_place && m <= tile.flat_rows => 4 * tile.lanes,
            _ => 2 * tile.lanes,
        };
        // Few rows use up a packed panel while it is still in the first-level cache.
        let group_panels = if m > 2 * tile.rows { GROUP_PANELS } else { 1 };

        let (mut row_blocks, mut column_blocks) = (m.min(1), n.min(1));
        if pack_a {
            row_blocks = m.div_ceil(MAX_PACKED_ROWS);
        }
        let wanted = usize::try_from(problem.flops() / CHUNK_FLOPS).unwrap_or(usize::MAX).min(MAX_CHUNKS);
        let least_panels = match (pack_a, in_place) {
            (true, _) => 2 * GROUP_PANELS,
            (false, false) => GROUP_PANELS * 3 / 4,
            (false, true) => 1,
        };
        while (1..=wanted / 2).contains(&(row_blocks * column_blocks)) {
            // To cut columns costs least while there are enough: each part of B is still packed once.
            let (rows, columns) = (m / row_blocks, n / column_blocks);
            if columns >= 2 * least_panels * 2 * tile.lanes {
                column_blocks *= 2;
            } else if rows >= 2 * ENOUGH_ROWS || (rows >= 4 * tile.rows && row_blocks * column_blocks < 4) {
                row_blocks *= 2;
            } else {
                break;
            }
        }
        Partition {
            swapped,
            m,
            k,
            n,
            a,
            b,
            c_row_stride,
            accumulate,
            pack_a,
            packing_of_b,
            tile,
            panel_columns,
            group_columns: group_panels * panel_columns,
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

    /// The tiles of a block of `rows`, as rows within the block.
    pub(super) fn tiles(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let height = self.tile_rows(rows);
        (0..rows).step_by(height).map(move |first| first..rows.min(first + height))
    }

    /// Rows of all tiles of a block but the last: as few as the number of tiles allows.
    pub(super) fn tile_rows(&self, rows: usize) -> usize {
        let most = if self.panel_columns > 2 * self.tile.lanes { self.tile.flat_rows } else { self.tile.rows };
        rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
    }

    /// Scratch memory of a worker, in elements that sums are made of: a block of A, then a group of panels of B.
    pub(super) fn scratch_elements(&self) -> usize {
        let group = match self.packing_of_b {
            Packing::PerGroup => panel_length(self.k) * self.group_columns,
            Packing::InPlace | Packing::Before => 0,
        };
        self.block_of_a_elements() + group
    }

    /// The part of the scratch memory that holds a block of A.
    pub(super) fn block_of_a_elements(&self) -> usize {
        if !self.pack_a {
            return 0;
        }
        // The last tile takes as much room as the others. Whole cache lines, so that what follows starts on one.
        let rows = self.m.div_ceil(self.row_blocks.max(1)) + self.tile.rows;
        (panel_length(self.k) * rows).next_multiple_of(64)
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
