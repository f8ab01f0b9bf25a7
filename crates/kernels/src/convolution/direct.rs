//! The convolution and the gradient to its input as products of gathered terms with the weight.
//!
//! C = A·W, where row i of A holds all that pixel i of the result adds up: the source at each tap, channel by channel. W is
//! packed before; A is gathered tile by tile (see `gather.rs`). Each phase of the pixels (see `taps.rs`) has products
//! of its own.

use std::ops::Range;

use super::gather::{self, Gather};
use super::routines::Routine;
use super::taps::{Phase, Pixel, Segment};
use super::{Finish, Problem, Side};
use crate::cpu::Isa;
use crate::matmul::block::pack;
use crate::matmul::source::Source;
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
/// Panels of the weight that are packed in one chunk.
const PACKED_AT_ONCE: usize = 8;

/// The sums of the pixels of a phase, and what of them is added up in one go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sums {
    phase: Phase,
    panels: Vec<Panel>,
    /// Where its weight begins in the packed copy of a group.
    weight: usize,
}

/// Neighboring terms of the sums.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Panel {
    terms: Range<usize>,
    segments: Vec<Segment>,
}

/// How a convolution is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Direct {
    sums: Vec<Sums>,
    side: Side,
    kernel: [usize; 3],
    groups: usize,
    /// Sizes of the source and its channels, of all groups.
    source: [usize; 3],
    source_channels: usize,
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
        let (source, source_channels) = match problem.side {
            Side::Output | Side::Weight => (axes.map(|axis| axis.input), problem.in_channels),
            Side::Input => (axes.map(|axis| axis.output), problem.out_channels),
        };
        let [rows, columns] = problem.result();
        let groups = problem.groups;
        let (channels, group_columns) = (source_channels / groups, columns / groups);
        let panel_columns = 2 * tile.lanes;

        let mut weight = 0;
        let mut sums = Vec::new();
        for phase in Phase::all(problem) {
            let terms = phase.taps() * channels;
            let length = terms.div_ceil(terms.div_ceil(MAX_PANEL).max(1)).max(1);
            let panel = |first: usize| {
                let terms = first..terms.min(first + length);
                Panel { segments: phase.segments(terms.clone(), channels, groups == 1), terms }
            };
            let panels = (0..terms).step_by(length).map(panel).collect();
            sums.push(Sums { phase, panels, weight });
            weight += terms * group_columns.next_multiple_of(panel_columns);
        }

        // Pixels of one phase fill tiles only if enough of them are done at once.
        let unit = tile.rows * sums.len();
        let wanted = (rows * columns * problem.terms() / CHUNK_PRODUCTS).clamp(1, CHUNKS);
        let block_rows = rows.div_ceil(wanted).next_multiple_of(unit).min(rows).max(1);
        let blocks_of_columns = wanted / (rows.div_ceil(block_rows).max(1) * groups);
        let block_columns = group_columns.div_ceil(blocks_of_columns.max(1)).next_multiple_of(panel_columns);
        let block_columns = block_columns.max(LEAST_COLUMNS).min(group_columns).max(1);
        let finished_rows = (FINISHED / block_columns / unit).max(4) * unit;
        Direct {
            sums,
            side: problem.side,
            kernel: axes.map(|axis| axis.kernel),
            groups,
            source,
            source_channels,
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
        self.columns / self.groups
    }

    fn channels(&self) -> usize {
        self.source_channels / self.groups
    }

    fn row_blocks(&self) -> usize {
        self.rows.div_ceil(self.block_rows)
    }

    fn column_blocks(&self) -> usize {
        self.group_columns().div_ceil(self.block_columns)
    }

    pub(super) fn chunks(&self) -> usize {
        self.row_blocks() * self.groups * self.column_blocks()
    }

    /// Elements from a row of gathered terms to the next: a line more than they take, so that rows do not fall on the same
    /// lines of the cache.
    fn a_row(&self) -> usize {
        let longest = self.sums.iter().flat_map(|sums| &sums.panels).map(|panel| panel.terms.len()).max();
        longest.unwrap_or(0).next_multiple_of(16) + 16
    }

    fn a_elements(&self) -> usize {
        self.a_row() * self.tile.rows
    }

    /// Elements of a block of the result that is not finished.
    fn block_elements(&self) -> usize {
        (self.finished_rows * self.block_columns).next_multiple_of(16)
    }

    /// Scratch memory of a worker, in elements: gathered rows, the pixels of one phase, the result.
    pub(super) fn scratch_elements(&self) -> usize {
        let phases = if self.sums.len() > 1 { self.block_elements() } else { 0 };
        self.a_elements() + phases + if self.c_in_scratch { self.block_elements() } else { 0 }
    }

    /// Columns of the packed weight of a group.
    fn packed_columns(&self) -> usize {
        self.group_columns().next_multiple_of(self.panel_columns)
    }

    fn packed_group_elements(&self) -> usize {
        self.sums.iter().flat_map(|sums| &sums.panels).map(|panel| panel.terms.len()).sum::<usize>()
            * self.packed_columns()
    }

    pub(super) fn packed_elements(&self) -> usize {
        self.packed_group_elements() * self.groups
    }

    /// Where the panel of these terms and first column begins.
    fn packed_offset(&self, group: usize, sums: &Sums, panel: &Panel, column: usize) -> usize {
        let start = group * self.packed_group_elements() + sums.weight;
        start + panel.terms.start * self.packed_columns() + column * panel.terms.len()
    }

    /// Panels of the packed weight.
    fn packed_panels(&self) -> usize {
        let panels: usize = self.sums.iter().map(|sums| sums.panels.len()).sum();
        self.groups * panels * (self.packed_columns() / self.panel_columns)
    }

    pub(super) fn packing_chunks(&self) -> usize {
        self.packed_panels().div_ceil(PACKED_AT_ONCE)
    }

    /// Packs a part of the weight to `to`.
    ///
    /// # Safety
    /// `w` holds a weight of the problem, and `to` has room for [`packed_elements`](Direct::packed_elements).
    pub(super) unsafe fn pack_chunk<S: Source>(&self, isa: Isa, chunk: usize, w: *const S, to: *mut S::Sum) {
        let across = self.packed_columns() / self.panel_columns;
        let panels = || self.sums.iter().flat_map(|sums| sums.panels.iter().map(move |panel| (sums, panel)));
        let per_group = panels().count() * across;
        let first = chunk * PACKED_AT_ONCE;
        for number in first..self.packed_panels().min(first + PACKED_AT_ONCE) {
            let (group, number) = (number / per_group, number % per_group);
            let column = number % across * self.panel_columns;
            let Some((sums, panel)) = panels().nth(number / across) else { return };
            // SAFETY: our caller's promise; the panel has its own place.
            unsafe {
                let to = to.add(self.packed_offset(group, sums, panel, column));
                self.pack_panel(isa, group, sums, panel, column, w, to);
            }
        }
    }

    /// # Safety
    /// As for [`pack_chunk`](Direct::pack_chunk), for room of a panel.
    #[allow(clippy::too_many_arguments)] // a panel has as many coordinates
    unsafe fn pack_panel<S: Source>(
        &self,
        isa: Isa,
        group: usize,
        sums: &Sums,
        panel: &Panel,
        column: usize,
        w: *const S,
        to: *mut S::Sum,
    ) {
        let channels = self.channels();
        let rows = self.panel_columns.min(self.group_columns() - column);
        let mut term = panel.terms.start;
        while term < panel.terms.end {
            let (tap, channel) = (sums.phase.tap(term / channels, self.kernel), term % channels);
            let k = (channels - channel).min(panel.terms.end - term);
            let (inner, from_row, from_step) = match self.side {
                // w[tap, channel, column]
                Side::Output | Side::Weight => {
                    let column = group * self.group_columns() + column;
                    ((tap * channels + channel) * self.columns + column, 1, self.columns)
                }
                // w[tap, column, channel]
                Side::Input => {
                    let channel = group * channels + channel;
                    ((tap * self.group_columns() + column) * self.source_channels + channel, self.source_channels, 1)
                }
            };
            // SAFETY: our caller's promise.
            unsafe {
                let strip = Strip {
                    k,
                    rows,
                    from: w.add(inner),
                    from_row,
                    from_step,
                    to: to.add((term - panel.terms.start) * self.panel_columns),
                    to_step: self.panel_columns,
                    panel: self.panel_columns,
                    to_panel: 0,
                };
                pack::<S>(S::Sum::kernels(isa).pack, &strip);
            }
            term += k;
        }
    }

    /// Computes a block of the result: a is the source, b the packed weight.
    ///
    /// # Safety
    /// As for [`Convolution::run_chunk`](super::Convolution::run_chunk), for a source of elements `S`.
    pub(super) unsafe fn multiply<S: Source<Sum: Routine>>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let column_blocks = self.column_blocks();
        let (block, group) = (chunk / (column_blocks * self.groups), chunk / column_blocks % self.groups);
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
                let phases = if self.sums.len() > 1 { self.block_elements() } else { 0 };
                own_block.wrapping_add(phases).wrapping_sub(rows.start * c_row + first_column + columns.start)
            } else {
                operands.c.cast::<S::Sum>()
            };
            for sums in &self.sums {
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
    unsafe fn add_up<S: Source<Sum: Routine>>(
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
                    segments: &panel.segments,
                    source: source.wrapping_add(block.group * self.channels()),
                    sizes: self.source,
                    channels: self.source_channels,
                    to: block.gathered,
                    to_row: a_row,
                };
                // SAFETY: our caller's promise.
                unsafe { gather::rows(isa, &gather) };
                for column in block.columns.clone().step_by(self.panel_columns) {
                    let columns = self.panel_columns.min(block.columns.end - column);
                    let tile = Tile {
                        k: panel.terms.len(),
                        a: block.gathered.cast_const(),
                        a_row,
                        a_step: 1,
                        b: weight.wrapping_add(self.packed_offset(block.group, sums, panel, column)),
                        b_step: self.panel_columns,
                        c: block.c.wrapping_add(first * block.c_row + column),
                        c_row: block.c_row,
                        columns,
                        add: number > 0,
                        ahead: [Ahead::NOTHING; 2],
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
}

/// Where the sums of some pixels go.
#[derive(Debug)]
struct Block<T> {
    /// Columns within the group.
    columns: Range<usize>,
    group: usize,
    /// Room for the gathered rows of a tile.
    gathered: *mut T,
    /// The first pixel's column 0 of the group, and elements from a pixel to the next.
    c: *mut T,
    c_row: usize,
}
