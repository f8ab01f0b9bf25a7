//! How a multiply is cut up: a function of sizes, strides, dtype and instruction set alone.

use std::ops::Range;

use thalweg_array::DType;

use super::tile::{Accumulator, Form, ROW_COLUMNS, TileSizes};
use super::{MAX_PANEL, Problem, Strides, output_dtype, panel_length};
use crate::cpu::Isa;

/// Elements of a column of B times pairs of vectors that are packed at once: together they stay in the second-level cache.
const GROUP: usize = 8 * MAX_PANEL;
/// Bytes of a panel of k of all of A up to which it stays there too, if the groups of B are half as large.
const SMALL_A: usize = 512 << 10;
/// The most pairs of vectors that are packed at once.
const MAX_GROUP_PAIRS: usize = 16;
/// Pairs of vectors of B from which on a chunk uses the A that it reads often enough.
const LEAST_PAIRS: usize = 6;
/// Chunks that are worth a little more packing: with fewer, some threads have nothing to do.
const ENOUGH_CHUNKS: usize = 4;
/// The least work that is worth a chunk of its own: some microseconds.
const CHUNK_FLOPS: u64 = 400_000;
/// The least of B, in bytes, that is worth one: few rows use it up faster than it comes from the caches that threads share.
const CHUNK_BYTES: usize = 128 << 10;
/// The most chunks; where groups are half as large there may be twice as many.
const MAX_CHUNKS: usize = 16;
/// Columns of B from which on a packed A pays: it is read once for each panel of them.
const ENOUGH_COLUMNS: usize = 256;
/// The same where the rows of a tile have room in the first-level cache as they lie.
const MANY_COLUMNS: usize = 4096;
/// Elements of A that are worth a chunk of packing of their own.
const PACKED_CHUNK: usize = 1 << 13;
/// Elements of A up to which it is packed only for speed.
const MAX_PACKED: usize = 16 << 20;
/// Elements of C that an epilogue gets at once, roughly: they are in the second-level cache, with room for what else it
/// reads.
const FINISHED: usize = 16 << 10;
/// Columns of C up to which what follows works on whole rows.
const SHORT_ROW: usize = 1024;
/// Elements of a panel of k of all of B up to which that holds: every block of rows packs it for itself, and then it should stay
/// in the second-level cache.
const SHORT_ROWS: usize = 128 << 10;
/// Rows that a panel of B should at least be used for once it is packed.
const ENOUGH_ROWS: usize = 512;
/// Bytes from a row of B to the next up to which it is read in place: lines so near do not displace each other in the
/// first-level cache, and are fetched ahead. Beyond this, packing costs less than vectors that cross lines.
const NEAR_ROWS: usize = 512;
/// The same times rows of C, where they are few: to pack B takes longer then than to read it from lines that lie apart.
const NEAR_FOR_FEW: usize = 512 << 10;
/// And not beyond this, where each row of B lies on a page of its own.
const FAR_ROWS: usize = 4 << 10;
/// Bytes of a panel of B in place up to which most of it stays in the first-level cache, or comes back by itself in time.
const SHORT_PANEL: usize = 64 << 10;
/// Steps of k by which longer ones are fetched ahead, and panels that are copied.
pub(super) const B_AHEAD: usize = 8;
/// Bytes over which the rows of a tile of A may be spread before it is packed: beyond this, they displace each other in the
/// first-level cache.
const NEAR_ROWS_OF_A: usize = 20 << 10;
/// Rows of a tile of A up to which they have room beside each other in the first-level cache however far apart they lie: to pack
/// them spares nothing but page addresses.
const FEW_ROWS_OF_A: usize = 8;
/// Bytes over which the part of a transposed A that makes a tile may be spread before it is packed: beyond this, its pages
/// are too many for the processor to keep their addresses.
const NEAR_COLUMNS: usize = 512 << 10;
/// Bytes over which the rows of a part of B may be spread that is packed panel by panel: beyond this, to go through all of
/// its pages once for each panel costs more than the fetching ahead saves.
const NEAR_PANEL: usize = 768 << 10;

/// Where the micro-kernel finds A or B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Packing {
    /// Where it lies.
    InPlace,
    /// In the scratch memory of a worker, part by part: some tiles of A, a group of panels of B.
    PartByPart,
    /// In a copy that is packed before: A in the scratch memory that all share, B in what the caller hands over.
    Before,
}

/// A part of C in the scratch memory of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CInScratch {
    /// Rows that are there at once.
    pub(super) rows: usize,
    /// Elements from one to the next.
    pub(super) row_stride: usize,
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
    pub(super) packing_of_a: Packing,
    pub(super) packing_of_b: Packing,
    /// Whether the rows of B lie so near each other that they do not displace each other in the caches.
    pub(super) rows_of_b_are_near: bool,
    /// By how many steps of k the micro-kernel fetches B into the first-level cache before it uses it. What is packed comes
    /// in time by itself.
    pub(super) b_ahead: usize,
    /// Whether B has to come from memory, in place, to an A in place.
    pub(super) b_is_distant: bool,
    /// Whether a part of B that was not packed ahead is packed panel by panel while the first tiles go across it, not before them.
    pub(super) packs_by_panel: bool,
    /// Whether the first tiles can copy the B that they read, so that nothing else is to be packed.
    pub(super) copies_b: bool,
    /// Whether C is to go past the caches, if one panel of k makes it ready.
    c_past_caches: bool,
    /// Where C is, if not in memory of the caller's.
    pub(super) c_in_scratch: Option<CInScratch>,
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

        // Of a transposed A each step reads a line for a tile, of which a tall one uses more. Panels that were packed before
        // have one width for all. A single flat tile uses up a packed panel no better than a tall one.
        let flat = tile.flat_is_enough() && m > tile.flat_rows && a.row != 1 && !b_is_packed;
        let tall_or_flat_rows = if flat { tile.flat_rows } else { tile.rows };
        let must_pack = dtype != sum || tile.form != Form::WHOLE;
        let is_far = if a.row == 1 {
            panel_length(k) * a.column * sum.size() > NEAR_COLUMNS
        } else {
            tall_or_flat_rows * a.row * sum.size() > NEAR_ROWS_OF_A
        };
        let have_room = a.row != 1 && tall_or_flat_rows <= FEW_ROWS_OF_A;
        let enough_columns = if have_room { MANY_COLUMNS } else { ENOUGH_COLUMNS };
        let pack_a =
            must_pack || (dtype.is_float() && is_far && m > tile.rows && n >= enough_columns && m * k <= MAX_PACKED);
        let near = if flat { (NEAR_FOR_FEW / m).clamp(NEAR_ROWS, FAR_ROWS) } else { NEAR_ROWS };
        let rows_of_b_are_near = b.column == 1 && b.row * sum.size() <= near;
        let packing_of_b = if b_is_packed {
            Packing::Before
        } else if !dtype.is_float() {
            Packing::InPlace
        } else if must_pack || b.column != 1 || (m > 2 * tile.rows && !rows_of_b_are_near) {
            Packing::PartByPart
        } else {
            Packing::InPlace
        };
        let in_place = packing_of_b == Packing::InPlace;
        let copies_b = packing_of_b == Packing::PartByPart && b.column == 1 && tile.form == Form::WHOLE;
        let panel_columns = match m {
            1 if in_place => ROW_COLUMNS,
            _ if flat || (in_place && m <= tile.flat_rows) => 4 * tile.lanes,
            _ => 2 * tile.lanes,
        };
        let is_short = panel_length(k) * panel_columns * sum.size() <= SHORT_PANEL;
        // Few rows use up a packed panel while it is still in the first-level cache.
        let has_groups = m > 2 * tile.rows;
        let a_stays = tile.form == Form::WHOLE && (pack_a || !is_far) && m * panel_length(k) * sum.size() <= SMALL_A;
        let (group, max_chunks) = match has_groups && a_stays && !b_is_packed {
            true => (GROUP / 2, 2 * MAX_CHUNKS),
            false => (GROUP, MAX_CHUNKS),
        };
        let pairs = (group / panel_length(k)).min(MAX_GROUP_PAIRS);
        let group_columns = if has_groups { pairs * 2 * tile.lanes } else { 0 };
        let group_columns = group_columns.next_multiple_of(panel_columns).max(panel_columns);

        // Where all of B is one group, a tile of A is used once: in pieces, which take more room, and transposed, where it comes
        // from afar, it is packed when it is needed and stays in the second-level cache. Transposed in pieces it is not: its lines
        // are longer than a tile is wide.
        let a_is_used_once = n <= group_columns && m >= ENOUGH_ROWS && (tile.form == Form::WHOLE) == (a.row == 1);
        let packing_of_a = match (pack_a, a_is_used_once) {
            (false, _) => Packing::InPlace,
            (true, true) => Packing::PartByPart,
            (true, false) => Packing::Before,
        };

        // In pieces, all of B is more than the second-level cache holds, and takes longer to come than to be used.
        let all_of_b_each = tile.form == Form::WHOLE;
        let (mut row_blocks, mut column_blocks) = (m.min(1), n.min(1));
        let by_work = usize::try_from(problem.flops() / CHUNK_FLOPS).unwrap_or(usize::MAX);
        let wanted = by_work.max(k.saturating_mul(n).saturating_mul(dtype.size()) / CHUNK_BYTES).min(max_chunks);
        let whole = panel_columns.min(4 * tile.lanes);
        let least_columns = if has_groups { group_columns.min(LEAST_PAIRS * 2 * tile.lanes) } else { whole };
        while (1..=wanted / 2).contains(&(row_blocks * column_blocks)) {
            let (rows, columns) = (m / row_blocks, n / column_blocks);
            let (cut_rows, cut_columns) = if b_is_packed && all_of_b_each && row_blocks == 1 && rows >= 2 * tile.rows {
                // What comes before and after works on rows, and a thread finds those of its own in its cache: in a loop, all
                // of C is written here and read there at each step.
                (true, false)
            } else if packing_of_a == Packing::PartByPart {
                (rows >= if row_blocks < ENOUGH_CHUNKS { 4 * tile.rows } else { 2 * ENOUGH_ROWS }, false)
            } else if row_blocks * column_blocks < ENOUGH_CHUNKS {
                // Each block of rows packs B for itself, each block of columns reads all of A.
                let (rows_do, columns_do) = (rows >= 4 * tile.rows, columns >= 2 * whole);
                let tall = 4 * rows > 5 * columns;
                (rows_do && (tall || !columns_do), columns_do)
            } else {
                let columns_do = columns.next_multiple_of(panel_columns) >= 2 * least_columns;
                (rows >= 2 * ENOUGH_ROWS && !columns_do, columns_do)
            };
            if cut_rows {
                row_blocks *= 2;
            } else if cut_columns {
                column_blocks *= 2;
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
            packing_of_a,
            packing_of_b,
            rows_of_b_are_near,
            b_ahead: if in_place && !is_short { B_AHEAD } else { 0 },
            b_is_distant: false,
            packs_by_panel: (b.row == 1 && tile.form == Form::WHOLE)
                || (b.column == 1 && panel_length(k) * b.row * sum.size() <= NEAR_PANEL),
            copies_b,
            c_past_caches: false,
            c_in_scratch: None,
            tile,
            panel_columns,
            group_columns,
            row_blocks,
            column_blocks,
        }
    }

    /// B is in no cache.
    pub(super) fn put_b_far_away(&mut self) {
        self.b_is_distant = self.packing_of_a == Packing::InPlace && self.packing_of_b == Packing::InPlace;
    }

    /// All of C is one chunk.
    pub(super) fn leave_whole(&mut self) {
        (self.row_blocks, self.column_blocks) = (self.m.min(1), self.n.min(1));
    }

    pub(super) fn chunks(&self) -> usize {
        self.row_blocks * self.column_blocks
    }

    /// C goes past the caches.
    pub(super) fn put_c_past_caches(&mut self) {
        self.c_past_caches = true;
    }

    /// Whether it does, where it is aligned and nobody waits for it.
    pub(super) fn c_goes_past_caches(&self) -> bool {
        self.c_past_caches && self.k <= panel_length(self.k) && !self.accumulate && self.c_in_scratch.is_none()
    }

    /// C is to be in scratch memory: as much of it as is not finished.
    pub(super) fn put_c_in_scratch(&mut self) {
        // What follows reads and writes other matrices beside C: parts of short rows would have to be copied together, whole
        // ones lie one after the other.
        let packed = panel_length(self.k) * self.n;
        if self.n <= SHORT_ROW && packed <= SHORT_ROWS && self.m >= 4 * self.tile.rows * self.chunks() {
            (self.row_blocks, self.column_blocks) = (self.chunks(), 1);
            self.group_columns = self.group_columns.max(self.n.next_multiple_of(self.panel_columns));
        }
        let widest = (0..self.column_blocks).map(|i| self.columns_of(i).len()).max().unwrap_or(0);
        let row_stride = widest.min(self.group_columns).next_multiple_of(self.tile.lanes);
        // With several panels of k, no row is finished before the last one.
        let tallest = (0..self.row_blocks).map(|i| self.rows_of(i).len()).max().unwrap_or(0);
        let rows = if self.k > panel_length(self.k) { tallest } else { tallest.min(self.finished_rows()) };
        self.c_in_scratch = Some(CInScratch { rows, row_stride });
    }

    /// Rows that an epilogue gets at once: whole tiles.
    pub(super) fn finished_rows(&self) -> usize {
        let height = self.tile_rows();
        (FINISHED / self.group_columns.min(self.n).max(1) / height).max(1) * height
    }

    /// Rows and columns of a block. Blocks of the same rows follow each other, and so fall to one thread mostly: it keeps
    /// their A, and does not share lines of C or those next to them with others.
    pub(super) fn block(&self, chunk: usize) -> Option<(Range<usize>, Range<usize>)> {
        (chunk < self.chunks())
            .then(|| (self.rows_of(chunk / self.column_blocks), self.columns_of(chunk % self.column_blocks)))
    }

    fn rows_of(&self, block: usize) -> Range<usize> {
        part(self.m, self.row_blocks, block, if self.packing_of_a == Packing::InPlace { 1 } else { self.tile_rows() })
    }

    fn columns_of(&self, block: usize) -> Range<usize> {
        part(self.n, self.column_blocks, block, self.panel_columns.min(4 * self.tile.lanes))
    }

    /// Rows of all tiles of a block but the last: as few as the number of tiles allows.
    pub(super) fn tile_rows(&self) -> usize {
        let most = if self.panel_columns > 2 * self.tile.lanes { self.tile.flat_rows } else { self.tile.rows };
        let rows = self.m.div_ceil(self.row_blocks.max(1));
        // Blocks of pieces are of one size.
        if self.tile.form == Form::WHOLE { rows.div_ceil(rows.div_ceil(most).max(1)).max(1) } else { most }
    }

    /// Elements of a packed copy that hold the steps of k before `step`, at which a panel begins or the last one ends.
    fn stored_before(&self, step: usize) -> usize {
        let panel = panel_length(self.k);
        step / panel * self.stored(panel) + self.stored(step % panel)
    }

    /// Elements of a packed copy that hold so many steps of a panel.
    pub(super) fn stored(&self, steps: usize) -> usize {
        self.tile.form.stored(steps)
    }

    /// The tiles of some rows that begin with a tile.
    pub(super) fn tiles(&self, rows: Range<usize>) -> impl ExactSizeIterator<Item = Range<usize>> {
        let height = self.tile_rows();
        rows.clone().step_by(height).map(move |first| first..rows.end.min(first + height))
    }

    /// Elements of the packed copy of A that all share.
    pub(super) fn packed_a_elements(&self) -> usize {
        match self.packing_of_a {
            // The last tile takes as much room as the others.
            Packing::Before => self.m.next_multiple_of(self.tile_rows()) * self.stored_before(self.k),
            Packing::InPlace | Packing::PartByPart => 0,
        }
    }

    /// Where in the packed copy the rows begin of the tile with this first row, in the panel of `depth`.
    pub(super) fn packed_a_offset(&self, depth: &Range<usize>, row: usize) -> usize {
        self.stored_before(depth.start) * self.m.next_multiple_of(self.tile_rows()) + row * self.stored(depth.len())
    }

    /// The number of parts in which A is packed.
    pub(super) fn packing_chunks(&self) -> usize {
        match self.packed_a_elements() {
            0 => 0,
            elements => (elements / PACKED_CHUNK).clamp(1, MAX_CHUNKS).min(self.m.div_ceil(self.tile_rows())),
        }
    }

    /// The rows of one of them.
    pub(super) fn packing_chunk(&self, chunk: usize) -> Range<usize> {
        part(self.m, self.packing_chunks(), chunk, self.tile_rows())
    }

    /// Groups of panels of B in the scratch memory of a worker: the one that is multiplied by, and the one that is packed
    /// meanwhile. In pieces, two would drive each other out of the second-level cache.
    pub(super) fn groups_at_once(&self) -> usize {
        if self.tile.form == Form::WHOLE { 2 } else { 1 }
    }

    /// Scratch memory of a worker, in elements that sums are made of: a part of C, then a part of A, then groups of panels of B.
    pub(super) fn scratch_elements(&self) -> usize {
        let groups = if self.packing_of_b == Packing::PartByPart { self.groups_at_once() } else { 0 };
        self.c_elements() + self.packed_part_elements() + groups * self.packed_group_elements()
    }

    /// Rows of an A that is packed part by part, whole tiles, that are packed at a time: of a transposed one, a step's lie side by
    /// side in lines that are longer than a tile is wide.
    pub(super) fn rows_packed_at_once(&self) -> usize {
        if self.a.row == 1 { self.finished_rows() } else { self.tile_rows() }
    }

    /// Elements of a packed part of A in the scratch memory of a worker.
    pub(super) fn packed_part_elements(&self) -> usize {
        match self.packing_of_a {
            Packing::PartByPart => {
                (self.stored(panel_length(self.k)) * self.rows_packed_at_once()).next_multiple_of(64)
            }
            Packing::InPlace | Packing::Before => 0,
        }
    }

    /// Elements of a packed group of panels of B.
    pub(super) fn packed_group_elements(&self) -> usize {
        (self.stored(panel_length(self.k)) * self.group_columns).next_multiple_of(64)
    }

    /// The part of the scratch memory that holds C: whole cache lines, so that what follows starts on one.
    pub(super) fn c_elements(&self) -> usize {
        self.c_in_scratch.map_or(0, |c| (c.rows * c.row_stride).next_multiple_of(64))
    }

    /// Panels of B in the packed copy: of columns, times of k.
    pub(super) fn packed_b_panels(&self) -> usize {
        self.n.div_ceil(self.panel_columns) * self.k.div_ceil(panel_length(self.k))
    }

    /// Elements of the packed copy of B.
    pub(super) fn packed_b_elements(&self) -> usize {
        self.n.next_multiple_of(self.panel_columns) * self.stored_before(self.k)
    }

    /// Where in the packed copy the panel begins that has these first positions in k and n.
    pub(super) fn packed_b_offset(&self, p: usize, j: usize) -> usize {
        let depth = panel_length(self.k).min(self.k - p);
        self.stored_before(p) * self.n.next_multiple_of(self.panel_columns) + j * self.stored(depth)
    }

    /// The panels of k.
    pub(super) fn panels(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
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
