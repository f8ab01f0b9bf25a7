//! The convolution and the gradient to its input as products of gathered terms with the weight.
//!
//! C = A·W, where row i of A holds all that pixel i of the result adds up: the source at each tap, channel by channel. W is
//! packed before; A is gathered tile by tile (see `gather.rs`). Each phase of the pixels (see `taps.rs`) has products
//! of its own.

use std::ops::Range;

use super::gather::{self, Gather, SLACK};
use super::lines::Lines;
use super::routines::Routine;
use super::taps::{Phase, Pixel, Source, Terms};
use super::{Finish, Problem, Side};
use crate::cpu::Isa;
use crate::matmul::block::pack;
use crate::matmul::source;
use crate::matmul::tile::{Accumulator, Ahead, Strip, Tile, TileSizes};
use crate::matmul::{Operands, Scratch};

/// The most terms of a sum that are added up in one go: as many as a tile's rows of A can hold in the first-level cache.
const MAX_PANEL: usize = 640;
/// The most rows of a tile of any instruction set.
const MAX_TILE_ROWS: usize = 16;
/// Elements of the result that are finished at once, roughly: they stay in the second-level cache.
const FINISHED: usize = 32 << 10;
/// Chunks into which the work is cut where it is enough for them.
const CHUNKS: usize = 16;
/// The least multiplications that are worth a chunk of their own: some microseconds.
const CHUNK_PRODUCTS: usize = 200_000;
/// Columns of a block of them: fewer would not make up for gathering.
const LEAST_COLUMNS: usize = 64;
/// Channels of a block of the weight that is packed at once, for a panel of columns.
const PACKED_CHANNELS: usize = 32;
/// Such blocks that are packed in one chunk.
const PACKED_AT_ONCE: usize = 2;
/// Rows of the packed weight that are transposed at once.
const STAGED: usize = 64;
/// The most columns of a panel of any instruction set.
const MAX_PANEL_COLUMNS: usize = 32;

/// The sums of the pixels of a phase, and what of them is added up in one go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sums {
    phase: Phase,
    panels: Vec<Terms>,
    /// The terms of a panel.
    length: usize,
    /// Where its weight begins in the packed copy of a group.
    weight: usize,
}

/// How a convolution is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Direct {
    sums: Vec<Sums>,
    side: Side,
    /// Phase and number of each tap.
    places: Vec<Option<(usize, usize)>>,
    source: Source,
    /// The source in place of gathered terms, where these are few.
    lines: Option<Lines>,
    /// Pixels of the result and its channels.
    rows: usize,
    columns: usize,
    tile: TileSizes,
    /// Columns that the micro-kernel does at once.
    panel_columns: usize,
    /// Rows of a chunk, and of what is finished at once.
    block_rows: usize,
    finished_rows: usize,
    /// Columns of a chunk, within a group.
    block_columns: usize,
    c_in_scratch: bool,
}

impl Direct {
    pub(super) fn new(problem: &Problem, tile: TileSizes) -> Direct {
        let axes = problem.three_axes();
        let source = Source::new(problem);
        let [rows, columns] = problem.result();
        let groups = problem.groups;
        let (channels, group_columns) = (source.group_channels(), columns / groups);
        let panel_columns = 2 * tile.lanes;

        let mut weight = 0;
        let mut sums = Vec::new();
        for phase in Phase::all(problem) {
            let terms = phase.taps() * channels;
            let length = terms.div_ceil(terms.div_ceil(MAX_PANEL).max(1)).max(1);
            let panel = |first: usize| phase.terms(first..terms.min(first + length), &source);
            let panels = (0..terms).step_by(length).map(panel).collect();
            sums.push(Sums { phase, panels, length, weight });
            weight += terms * group_columns.next_multiple_of(panel_columns);
        }

        let kernel = axes.map(|axis| axis.kernel);
        let mut places = vec![None; problem.taps()];
        for (phase, sums) in sums.iter().enumerate() {
            for number in 0..sums.phase.taps() {
                places[sums.phase.tap(number, kernel)] = Some((phase, number));
            }
        }

        // Pixels of one phase fill tiles only if enough of them are done at once.
        let lines = Lines::new(problem);
        let unit = lines.as_ref().map_or(tile.rows * sums.len(), |lines| lines.result[1]);
        let wanted = (rows * columns * problem.terms() / CHUNK_PRODUCTS).clamp(1, CHUNKS);
        let block_rows = rows.div_ceil(wanted).next_multiple_of(unit).min(rows).max(1);
        let blocks_of_columns = wanted / (rows.div_ceil(block_rows).max(1) * groups);
        let block_columns = group_columns.div_ceil(blocks_of_columns.max(1)).next_multiple_of(panel_columns);
        let block_columns = block_columns.max(LEAST_COLUMNS).min(group_columns).max(1);
        let least = if lines.is_some() { 1 } else { 4 };
        let finished_rows = (FINISHED / block_columns / unit).max(least) * unit;
        Direct {
            sums,
            side: problem.side,
            places,
            source,
            lines,
            rows,
            columns,
            tile,
            panel_columns,
            block_rows,
            finished_rows: finished_rows.min(block_rows),
            block_columns,
            c_in_scratch: false,
        }
    }

    pub(super) fn put_c_in_scratch(&mut self) {
        self.c_in_scratch = true;
    }

    /// Elements from a row of the result to the next, as what follows sees it.
    pub(super) fn c_row_stride(&self) -> usize {
        if self.c_in_scratch { self.block_columns } else { self.columns }
    }

    fn group_columns(&self) -> usize {
        self.columns / self.source.groups
    }

    fn channels(&self) -> usize {
        self.source.group_channels()
    }

    fn row_blocks(&self) -> usize {
        self.rows.div_ceil(self.block_rows)
    }

    fn column_blocks(&self) -> usize {
        self.group_columns().div_ceil(self.block_columns)
    }

    pub(super) fn chunks(&self) -> usize {
        self.row_blocks() * self.source.groups * self.column_blocks()
    }

    /// Elements from a row of gathered terms to the next: a line more than they take, so that rows do not fall on the same
    /// lines of the cache.
    fn a_row(&self) -> usize {
        let longest = self.sums.iter().flat_map(|sums| &sums.panels).map(|panel| panel.len()).max();
        longest.unwrap_or(0).next_multiple_of(16) + SLACK
    }

    /// Elements of gathered rows, or of the lines that what is finished at once reads.
    fn a_elements(&self) -> usize {
        let Some(lines) = &self.lines else { return self.a_row() * self.tile.rows };
        let width = lines.result[1];
        let blocks = (0..self.rows).step_by(self.block_rows).flat_map(|first| {
            let end = self.rows.min(first + self.block_rows);
            (first..end).step_by(self.finished_rows).map(move |first| first..end.min(first + self.finished_rows))
        });
        let elements = blocks.map(|rows| lines.elements(rows.start / width..rows.end / width));
        elements.max().unwrap_or(0).next_multiple_of(16)
    }

    /// Elements of the pixels of one phase.
    fn phase_elements(&self) -> usize {
        if self.sums.len() > 1 && self.lines.is_none() { self.block_elements() } else { 0 }
    }

    /// Elements of a block of the result that is not finished.
    fn block_elements(&self) -> usize {
        (self.finished_rows * self.block_columns).next_multiple_of(16)
    }

    /// Scratch memory of a worker, in elements: gathered rows, the pixels of one phase, the result.
    pub(super) fn scratch_elements(&self) -> usize {
        self.a_elements() + self.phase_elements() + if self.c_in_scratch { self.block_elements() } else { 0 }
    }

    /// Columns of the packed weight of a group.
    fn packed_columns(&self) -> usize {
        self.group_columns().next_multiple_of(self.panel_columns)
    }

    fn packed_group_elements(&self) -> usize {
        self.sums.iter().flat_map(|sums| &sums.panels).map(|panel| panel.len()).sum::<usize>() * self.packed_columns()
    }

    pub(super) fn packed_elements(&self) -> usize {
        self.packed_group_elements() * self.source.groups
    }

    /// Where the panel of these terms and first column begins.
    fn packed_offset(&self, group: usize, sums: &Sums, panel: &Terms, column: usize) -> usize {
        let start = group * self.packed_group_elements() + sums.weight;
        start + panel.range.start * self.packed_columns() + column * panel.len()
    }

    /// Blocks of the weight that are packed one by one.
    fn packed_blocks(&self) -> usize {
        self.source.groups * (self.packed_columns() / self.panel_columns) * self.channels().div_ceil(PACKED_CHANNELS)
    }

    pub(super) fn packing_chunks(&self) -> usize {
        self.packed_blocks().div_ceil(PACKED_AT_ONCE)
    }

    /// Packs a part of the weight to `to`.
    ///
    /// # Safety
    /// `w` holds a weight of the problem, and `to` has room for [`packed_elements`](Direct::packed_elements).
    pub(super) unsafe fn pack_chunk<S: source::Source>(&self, isa: Isa, chunk: usize, w: *const S, to: *mut S::Sum) {
        let (channels, taps) = (self.channels(), self.places.len());
        let blocks = channels.div_ceil(PACKED_CHANNELS);
        let across = self.packed_columns() / self.panel_columns;
        let first = chunk * PACKED_AT_ONCE;
        for number in first..self.packed_blocks().min(first + PACKED_AT_ONCE) {
            let (rest, first) = (number / blocks, number % blocks * PACKED_CHANNELS);
            let (group, column) = (rest / across, rest % across * self.panel_columns);
            let rows = self.panel_columns.min(self.group_columns() - column);
            let some = first..channels.min(first + PACKED_CHANNELS);
            let panel = Staged { direct: self, isa, group, column, rows, to };
            // SAFETY: our caller's promise.
            unsafe {
                match self.side {
                    // w[column, channel, tap]: the taps of all channels follow each other.
                    Side::Output | Side::Weight => {
                        let row = channels * taps;
                        let from = w.add((group * self.group_columns() + column) * row);
                        panel.transpose(from, row, some.start * taps..some.end * taps, 0);
                    }
                    // w[channel, column, tap]
                    Side::Input => {
                        for channel in some {
                            let row = (group * channels + channel) * self.group_columns() + column;
                            panel.transpose(w.add(row * taps), taps, 0..taps, channel);
                        }
                    }
                }
            }
        }
    }

    /// Computes a block of the result: a is the source, b the packed weight.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](super::Convolution::run_chunk), for a source of elements `S`.
    pub(super) unsafe fn multiply<S: source::Source<Sum: Routine>>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let column_blocks = self.column_blocks();
        let (block, group) = (chunk / (column_blocks * self.source.groups), chunk / column_blocks % self.source.groups);
        let first = chunk % column_blocks * self.block_columns;
        let columns = first..self.group_columns().min(first + self.block_columns);
        let first_column = group * self.group_columns();
        let rows = block * self.block_rows..self.rows.min((block + 1) * self.block_rows);
        let gathered: *mut S::Sum = scratch.own.cast();
        let own_block = gathered.wrapping_add(self.a_elements());
        for first in rows.clone().step_by(self.finished_rows) {
            let rows = first..rows.end.min(first + self.finished_rows);
            let c_row = self.c_row_stride();
            let c = if self.c_in_scratch {
                own_block
                    .wrapping_add(self.phase_elements())
                    .wrapping_sub(rows.start * c_row + first_column + columns.start)
            } else {
                operands.c.cast::<S::Sum>()
            };
            if let Some(lines) = &self.lines {
                let block = Block { columns: columns.clone(), group, gathered, c, c_row };
                // SAFETY: our caller's promise; the scratch memory has room for the lines.
                unsafe { self.add_up_lines::<S>(isa, lines, rows.clone(), operands, &block) };
            }
            for sums in self.sums.iter().filter(|_| self.lines.is_none()) {
                // SAFETY: our caller's promise; the blocks are inside of the result or of the scratch memory that the plan set
                // aside for them.
                unsafe {
                    let block = |c, c_row| Block { columns: columns.clone(), group, gathered, c, c_row };
                    let c = c.wrapping_add(first_column);
                    if self.sums.len() == 1 {
                        let c = c.wrapping_add(rows.start * c_row);
                        self.add_up::<S>(isa, sums, rows.clone(), operands, &block(c, c_row));
                    } else {
                        let (own, own_row) = (own_block.wrapping_sub(columns.start), columns.len());
                        self.add_up::<S>(isa, sums, rows.clone(), operands, &block(own, own_row));
                        for (number, pixel) in sums.phase.pixels(rows.clone()).enumerate() {
                            let to = c.wrapping_add(pixel.row * c_row + columns.start);
                            to.copy_from_nonoverlapping(own_block.add(number * own_row), columns.len());
                        }
                    }
                }
            }
            if let Some(finish) = finish {
                finish(rows, first_column + columns.start..first_column + columns.end, c.cast());
            }
        }
    }

    /// The sums of those of the pixels `rows` that belong to a phase, one after the other at `block.c`.
    ///
    /// # Safety
    /// As for [`multiply`](Direct::multiply).
    unsafe fn add_up<S: source::Source<Sum: Routine>>(
        &self,
        isa: Isa,
        sums: &Sums,
        rows: Range<usize>,
        operands: Operands,
        block: &Block<S::Sum>,
    ) {
        let kernels = S::Sum::kernels(isa);
        let (source, weight): (*const S, *const S::Sum) = (operands.a.cast(), operands.b.cast());
        let a_row = self.a_row();
        let count = sums.phase.pixels(rows.clone()).count();
        // As few rows as the number of tiles allows.
        let height = count.div_ceil(count.div_ceil(self.tile.rows).max(1));
        let mut tile = [Pixel::default(); MAX_TILE_ROWS];
        for (number, panel) in sums.panels.iter().enumerate() {
            let mut pixels = sums.phase.pixels(rows.clone());
            for first in (0..count).step_by(height.max(1)) {
                let tile_rows = height.min(count - first);
                for (to, pixel) in tile.iter_mut().zip(pixels.by_ref().take(tile_rows)) {
                    *to = pixel;
                }
                let gather = Gather {
                    pixels: &tile[..tile_rows],
                    terms: panel,
                    source: source.wrapping_add(block.group * self.channels()),
                    sizes: self.source.sizes,
                    channels: self.source.channels,
                    elements: self.source.elements.saturating_sub(block.group * self.channels()),
                    to: block.gathered,
                    to_row: a_row,
                };
                // SAFETY: our caller's promise.
                unsafe { gather::rows(isa, &gather) };
                for column in block.columns.clone().step_by(self.panel_columns) {
                    let columns = self.panel_columns.min(block.columns.end - column);
                    let tile = Tile {
                        k: panel.len(),
                        runs: 1,
                        jumps: [0; 2],
                        a: block.gathered.cast_const(),
                        a_row,
                        a_step: 1,
                        b: weight.wrapping_add(self.packed_offset(block.group, sums, panel, column)),
                        b_step: self.panel_columns,
                        c: block.c.wrapping_add(first * block.c_row + column),
                        c_row: block.c_row,
                        columns,
                        add: number > 0,
                        past_caches: false,
                        ahead: [Ahead::NOTHING; 2],
                        b_ahead: 0,
                    };
                    // SAFETY: as above.
                    unsafe { kernels.tile(tile_rows, columns)(&tile) };
                }
            }
        }
        if sums.panels.is_empty() {
            for row in 0..count {
                // SAFETY: as above; zero bytes are a zero of all floats.
                unsafe {
                    let c = block.c.wrapping_add(row * block.c_row + block.columns.start);
                    c.write_bytes(0, block.columns.len());
                }
            }
        }
    }

    /// The sums of the pixels `rows`, whole lines, with their terms in place; `block.c` is where the result would begin.
    ///
    /// # Safety
    /// As for [`multiply`](Direct::multiply).
    unsafe fn add_up_lines<S: source::Source<Sum: Routine>>(
        &self,
        isa: Isa,
        lines: &Lines,
        rows: Range<usize>,
        operands: Operands,
        block: &Block<S::Sum>,
    ) {
        let kernels = S::Sum::kernels(isa);
        let weight: *const S::Sum = operands.b.cast();
        let width = lines.result[1];
        let all = rows.start / width..rows.end / width;
        // SAFETY: our caller's promise.
        let source = unsafe { lines.lay_out::<S>(isa, all.clone(), operands.a.cast(), block.gathered) };
        for (sums, runs) in self.sums.iter().zip(&lines.runs) {
            let ([_, first], [_, step], [_, advance]) = (runs.first, runs.step, runs.advance);
            let count = width.saturating_sub(first).div_ceil(step);
            // As few rows as the number of tiles allows.
            let height = count.div_ceil(count.div_ceil(self.tile.rows).max(1)).max(1);
            for line in all.clone() {
                let Some(at) = lines.first_run(line, runs) else { continue };
                let c = block.c.wrapping_add((line * width + first) * block.c_row);
                for pixel in (0..count).step_by(height) {
                    let tile_rows = height.min(count - pixel);
                    let c = c.wrapping_add(pixel * step * block.c_row);
                    let Some(panel) = sums.panels.first() else {
                        for row in 0..tile_rows {
                            let c = c.wrapping_add(row * step * block.c_row + block.columns.start);
                            // SAFETY: the pixels are inside of the block; zero bytes are a zero of all floats.
                            unsafe { c.write_bytes(0, block.columns.len()) };
                        }
                        continue;
                    };
                    for column in block.columns.clone().step_by(self.panel_columns) {
                        let columns = self.panel_columns.min(block.columns.end - column);
                        let tile = Tile {
                            k: runs.length,
                            runs: runs.count,
                            jumps: [lines.line() as isize - runs.length as isize, 0],
                            a: source.wrapping_offset(at).wrapping_add(pixel * advance * lines.pixel()),
                            a_row: advance * lines.pixel(),
                            a_step: 1,
                            b: weight.wrapping_add(self.packed_offset(block.group, sums, panel, column)),
                            b_step: self.panel_columns,
                            c: c.wrapping_add(column),
                            c_row: step * block.c_row,
                            columns,
                            add: false,
                            past_caches: false,
                            ahead: [Ahead::NOTHING; 2],
                            b_ahead: 0,
                        };
                        // SAFETY: our caller's promise; the runs are inside of the lines.
                        unsafe { kernels.tile(tile_rows, columns)(&tile) };
                    }
                }
            }
        }
    }
}

/// A panel of columns of the weight on its way to the packed copy.
#[derive(Debug)]
struct Staged<'a, T> {
    direct: &'a Direct,
    isa: Isa,
    group: usize,
    /// The first column, and how many there are.
    column: usize,
    rows: usize,
    to: *mut T,
}

impl<T: Copy + Default> Staged<'_, T> {
    /// Packs what follows each other at `from`, for each column `row` elements further on: positions `run`, of which each
    /// channel, from `channel` on, has as many as there are taps.
    ///
    /// # Safety
    /// The elements are there, and the packed copy has room.
    unsafe fn transpose<S: source::Source<Sum = T>>(
        &self,
        from: *const S,
        row: usize,
        run: Range<usize>,
        channel: usize,
    ) where
        T: Accumulator,
    {
        let Staged { direct, isa, group, column, rows, to } = *self;
        let mut stage = [T::default(); STAGED * MAX_PANEL_COLUMNS];
        for first in run.clone().step_by(STAGED) {
            let some = first..run.end.min(first + STAGED);
            let (panel, to_panel) = (direct.panel_columns, 0);
            // SAFETY: our caller's promise; the stage has room for so many positions.
            unsafe {
                let strip = Strip {
                    k: some.len(),
                    rows,
                    from: from.add(first),
                    from_row: row,
                    from_step: 1,
                    to: stage.as_mut_ptr(),
                    to_step: panel,
                    panel,
                    to_panel,
                };
                pack::<S>(T::kernels(isa).pack, &strip);
                for (staged, position) in stage.chunks_exact(panel).zip(some) {
                    let (channel, tap) = (channel + position / direct.places.len(), position % direct.places.len());
                    let Some((phase, number)) = direct.places[tap] else { continue };
                    let sums = &direct.sums[phase];
                    let term = number * direct.channels() + channel;
                    let terms = &sums.panels[term / sums.length];
                    let to = to.add(direct.packed_offset(group, sums, terms, column));
                    let to = to.add((term - terms.range.start) * panel);
                    to.copy_from_nonoverlapping(staged.as_ptr(), rows);
                }
            }
        }
    }
}

/// Where the sums of some pixels go.
#[derive(Debug)]
struct Block<T> {
    /// Columns within the group.
    columns: Range<usize>,
    group: usize,
    /// Room for the gathered rows of a tile.
    gathered: *mut T,
    /// The first pixel's column 0 of the group (of lines, where all of the result would begin), and elements from a pixel to
    /// the next.
    c: *mut T,
    c_row: usize,
}
