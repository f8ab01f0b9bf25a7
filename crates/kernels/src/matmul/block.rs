//! One chunk of a float multiply: a block of C, panel of k by panel of k.

use std::ops::Range;
use std::slice;

use super::packer::{Packer, Pieces};
use super::partition::{B_AHEAD, Packing, Partition};
use super::source::Source;
use super::tile::{Accumulator, Ahead, CopyOfB, Form, Purpose, Strip, StripKernel, Tile};
use super::{ALIGNMENT, Operands, Rows, Scratch};
use crate::cpu::{Isa, show_what_went_past_caches};

/// The first aligned address from `start` on.
pub(super) fn align(start: *mut u8) -> *mut u8 {
    start.wrapping_add(start.align_offset(ALIGNMENT))
}

/// Whether what is so many bytes from an aligned address is aligned itself.
fn is_aligned(bytes: usize) -> bool {
    bytes.is_multiple_of(ALIGNMENT)
}

/// What comes after a multiply.
#[derive(Clone, Copy)]
pub(super) struct After<'a> {
    /// Called with finished rows and columns of C, and where C would begin if all of it lay as they do.
    pub(super) finish: &'a dyn Fn(Range<usize>, Range<usize>, *mut u8),
    /// What it reads and writes besides.
    pub(super) fetched: &'a [Rows],
}

/// What will be read and written after some rows and columns are finished, on its way to the caches.
struct Awaited<'a> {
    fetched: &'a [Rows],
    rows: Range<usize>,
    columns: Range<usize>,
    /// The next of the rows of the first of `fetched`.
    row: usize,
    /// Rows that are fetched at a time.
    at_once: usize,
}

impl<'a> Awaited<'a> {
    /// To be fetched in `calls` times.
    fn new(fetched: &'a [Rows], rows: Range<usize>, columns: Range<usize>, calls: usize) -> Awaited<'a> {
        let at_once = (fetched.len() * rows.len()).div_ceil(calls.max(1));
        Awaited { fetched, row: rows.start, rows, columns, at_once }
    }

    fn next(&mut self) -> Ahead {
        let Some((matrix, others)) = self.fetched.split_first() else { return Ahead::NOTHING };
        let stretches = self.at_once.min(self.rows.end - self.row);
        let offset = self.row * matrix.row_bytes + self.columns.start * matrix.element_bytes;
        let first = matrix.first.wrapping_add(offset);
        let lines = Ahead::lines(first, self.columns.len() * matrix.element_bytes);
        self.row += stretches;
        if self.row == self.rows.end {
            (self.fetched, self.row) = (others, self.rows.start);
        }
        let purpose = if matrix.is_written { Purpose::Write } else { Purpose::Read };
        Ahead { first, stretches, distance: matrix.row_bytes, lines, purpose }
    }
}

/// Packs some rows of A into the scratch memory that all share: panel of k by panel, tile by tile.
///
/// # Safety
/// As for [`Matmul::pack_chunk`](super::Matmul::pack_chunk), for operands of type `S`.
pub(super) unsafe fn pack_a<S: Source>(plan: &Partition, isa: Isa, chunk: usize, operands: Operands, scratch: Scratch) {
    let rows = plan.packing_chunk(chunk);
    for depth in plan.panels() {
        // SAFETY: the rows are inside of A, and each tile has its own place in the packed copy.
        unsafe {
            let to = scratch.shared.cast::<S::Sum>().add(plan.packed_a_offset(&depth, rows.start));
            pack_tiles::<S>(plan, isa, operands.a.cast(), &rows, &depth, to);
        }
    }
}

/// Packs tiles of A, of a panel of k, one behind the other.
///
/// # Safety
/// The rows are inside of A, and there is room for them.
unsafe fn pack_tiles<S: Source>(
    plan: &Partition,
    isa: Isa,
    a: *const S,
    rows: &Range<usize>,
    depth: &Range<usize>,
    to: *mut S::Sum,
) {
    // SAFETY: our caller's promise.
    unsafe {
        let strip = Strip {
            k: depth.len(),
            rows: rows.len(),
            from: a.add(rows.start * plan.a.row + depth.start * plan.a.column),
            from_row: plan.a.row,
            from_step: plan.a.column,
            to,
            to_step: plan.tile_rows(),
            panel: plan.tile_rows(),
            to_panel: plan.tile_rows() * plan.stored(depth.len()),
        };
        pack::<S>(S::Sum::kernels(isa).pack, &strip);
    }
}

/// Computes a block of C: one group of columns after the other, in it one panel of k after the other.
///
/// # Safety
/// As for [`Matmul::run_chunk`](super::Matmul::run_chunk), for operands of type `S`; nobody else touches the block of C.
pub(super) unsafe fn multiply<S: Source>(
    plan: &Partition,
    isa: Isa,
    rows: Range<usize>,
    columns: Range<usize>,
    operands: Operands,
    scratch: Scratch,
    after: Option<After<'_>>,
) {
    let kernels = S::Sum::kernels(isa);
    let (a, b): (*const S, *const S) = (operands.a.cast(), operands.b.cast());
    let part_of_a = scratch.own.cast::<S::Sum>().wrapping_add(plan.c_elements());
    let (height, rows_at_once) = (plan.tile_rows(), plan.rows_packed_at_once());
    let depths = plan.panels().len();
    let groups = columns.len().div_ceil(plan.group_columns);
    let lines_are_whole = is_aligned(operands.c.addr()) && is_aligned(plan.c_row_stride * size_of::<S::Sum>());
    let past_caches = plan.c_goes_past_caches() && after.is_none() && lines_are_whole;
    // What is multiplied by at a time: a group of columns of B, and of them a panel of k.
    let part = |number: usize| {
        let first = columns.start + number / depths * plan.group_columns;
        Some((first..columns.end.min(first + plan.group_columns), plan.panels().nth(number % depths)?))
    };
    let finished_rows = plan.finished_rows();
    let calls = plan.tiles(rows.clone()).len() * plan.group_columns.min(columns.len()).div_ceil(plan.panel_columns);
    let packed_b = |number: usize| {
        let buffers = scratch.own.cast::<S::Sum>().wrapping_add(plan.c_elements() + plan.packed_part_elements());
        buffers.wrapping_add(number % plan.groups_at_once() * plan.packed_group_elements())
    };
    let packer = |number: usize, kernel: StripKernel<S::Sum>, pieces: Pieces| {
        if number >= groups * depths {
            return None;
        }
        let to = match plan.packing_of_b {
            Packing::PartByPart => Some(packed_b(number)),
            Packing::InPlace if number > 0 && plan.rows_of_b_are_near => None,
            Packing::InPlace | Packing::Before => return None,
        };
        Some(Packer::<S>::new(plan, kernel, b, part(number)?, to, pieces))
    };
    let packs_ahead = plan.groups_at_once() > 1;
    // With several parts, the first tiles are busy with packing the second one, too.
    let copies = plan.copies_b && S::IS_SUM && groups * depths == 1;
    let (kernel, pieces) = if plan.packs_by_panel {
        (kernels.pack_columns, Pieces::Panels)
    } else {
        (kernels.pack_far_columns, Pieces::AtMost(calls))
    };
    for number in 0..groups * depths {
        let Some((group, depth)) = part(number) else { break };
        let k = depth.len();
        let packed_a = scratch.shared.cast::<S::Sum>().wrapping_add(plan.packed_a_offset(&depth, 0));
        let b_in_place = Panels::in_place(plan, b, &group, &depth);
        let panels_of_b = match plan.packing_of_b {
            Packing::InPlace => b_in_place,
            Packing::PartByPart => Panels::packed(plan, packed_b(number), k),
            Packing::Before => {
                Panels::packed(plan, b.cast::<S::Sum>().wrapping_add(plan.packed_b_offset(depth.start, group.start)), k)
            }
        };
        let widest = plan.panel_columns.min(group.len());
        let usual_kernel = kernels.tile(height, widest);
        // What is in no cache takes longer to come than the first tiles to use it up, unless they go across a panel at a time.
        let is_distant = plan.b_is_distant && (number == 0 || !plan.rows_of_b_are_near) && rows.len() <= group.len();
        let stored = plan.stored(k);
        let is_first = number % depths == 0;
        let is_last = number % depths + 1 == depths;
        // The part that is multiplied by, unless it is copied by the first tiles or was packed beside the part before.
        let is_packed = copies || (number > 0 && packs_ahead);
        let mut this = if is_packed { None } else { packer(number, kernel, pieces) };
        if let (Some(part), false) = (&mut this, plan.packs_by_panel) {
            // SAFETY: the part is inside of B, and the scratch memory has room for it.
            unsafe { part.pack_rest() };
        }
        let mut next = if packs_ahead { packer(number + 1, kernels.pack_columns, Pieces::AtMost(calls)) } else { None };
        for first in rows.clone().step_by(finished_rows) {
            let some_rows = first..rows.end.min(first + finished_rows);
            let (c, c_row) =
                c_of::<S::Sum>(plan, operands, scratch, if depths > 1 { rows.start } else { first }, group.start);
            let fetched = after.filter(|_| is_last).map_or(&[][..], |after| after.fetched);
            let (down, across) = (plan.tiles(some_rows.clone()).len(), group.len().div_ceil(plan.panel_columns));
            let mut awaited = Awaited::new(fetched, some_rows.clone(), group.clone(), down * across);
            // SAFETY: the processor has the instruction set.
            unsafe { (kernels.enter)() };
            let by_panel = is_distant && first == rows.start;
            let (outer, inner) = if by_panel { (across, down) } else { (down, across) };
            let (mut i, mut j) = (0, 0);
            for _ in 0..outer * inner {
                let top = some_rows.start + i * height;
                let tile = top..some_rows.end.min(top + height);
                let left = group.start + j * plan.panel_columns;
                let columns = plan.panel_columns.min(group.end - left);
                // SAFETY: every position is inside of its matrix, or of the part of the scratch memory that the plan set
                // aside for it.
                unsafe {
                    let rows_of_a = a.add(tile.start * plan.a.row + depth.start * plan.a.column);
                    let (a, a_row, a_step): (*const S::Sum, _, _) = match plan.packing_of_a {
                        Packing::InPlace => (rows_of_a.cast(), plan.a.row, plan.a.column),
                        Packing::PartByPart => {
                            let packed = (tile.start - some_rows.start) % rows_at_once;
                            if packed == 0 && j == 0 {
                                let end = some_rows.end.min(tile.start + rows_at_once);
                                pack_tiles::<S>(plan, isa, a, &(tile.start..end), &depth, part_of_a);
                            }
                            (part_of_a.wrapping_add(packed * stored), 1, height)
                        }
                        Packing::Before => (packed_a.wrapping_add(tile.start * stored), 1, height),
                    };
                    let copies = copies && tile.start == rows.start;
                    let panels = if copies { b_in_place } else { panels_of_b };
                    let b = panels.at(left - group.start);
                    let c = c.wrapping_add(tile.start * c_row + left);
                    let add = plan.accumulate || !is_first;
                    if let Some(part) = &mut this {
                        part.pack_piece();
                    }
                    let packed_next = this.as_ref().filter(|part| !part.is_done()).or(next.as_ref());
                    let next_of_b = if copies {
                        next_columns(plan, b, left + columns..group.end, 0..k)
                    } else {
                        packed_next.map_or(Ahead::NOTHING, Packer::ahead)
                    };
                    let mut ahead = [next_of_b, awaited.next()];
                    if ahead[1].stretches == 0 {
                        let part = (left - group.start)..(left - group.start + columns);
                        ahead[1] = match plan.packing_of_a {
                            _ if by_panel => distant_columns(plan, b, left..group.end, k, [i, down], j == 0),
                            Packing::Before => next_pieces::<S>(plan, a, &tile, rows.end, k, part, group.len()),
                            _ if j == 0 && number < depths => next_rows::<S>(plan, rows_of_a, &tile, rows.end, k),
                            _ => Ahead::NOTHING,
                        };
                    }
                    let this_tile = Tile {
                        k,
                        runs: 1,
                        jumps: [0; 2],
                        a,
                        a_row,
                        a_step,
                        b,
                        b_step: panels.step,
                        c,
                        c_row,
                        columns,
                        add,
                        past_caches,
                        ahead,
                        b_ahead: if copies { B_AHEAD } else { plan.b_ahead },
                    };
                    if copies {
                        let copy = panels_of_b.at(left - group.start).cast_mut();
                        let copy = CopyOfB { to: copy, step: plan.panel_columns };
                        kernels.copying_tile(tile.len(), columns)(&this_tile, copy);
                    } else if (tile.len(), columns) == (height, widest) {
                        usual_kernel(&this_tile);
                    } else {
                        kernels.tile(tile.len(), columns)(&this_tile);
                    }
                    if let Some(next) = &mut next {
                        next.pack_piece();
                    }
                }
                let (along, ends) = if by_panel { (&mut i, &mut j) } else { (&mut j, &mut i) };
                *along += 1;
                if *along == inner {
                    *along = 0;
                    *ends += 1;
                }
            }
            // SAFETY: as above.
            unsafe { (kernels.leave)() };
            if let (true, Some(after)) = (is_last, after) {
                (after.finish)(some_rows, group.clone(), c.cast());
            }
        }
        if let Some(mut next) = next {
            // SAFETY: as for this one.
            unsafe { next.pack_rest() };
        }
    }
    if past_caches {
        show_what_went_past_caches();
    }
    if depths == 0 {
        // SAFETY: our caller's promise.
        unsafe { no_products::<S::Sum>(plan, rows, columns, operands, scratch, after) };
    }
}

/// Where the panels are of what is multiplied by at a time, some columns of B and a panel of k.
#[derive(Clone, Copy)]
struct Panels<T> {
    first: *const T,
    /// Elements from a column to the next; for packed ones, from panel to panel by as much for each of its columns.
    column: usize,
    /// Elements from a step of k to the next.
    step: usize,
}

impl<T> Panels<T> {
    fn in_place<S: Source<Sum = T>>(
        plan: &Partition,
        b: *const S,
        columns: &Range<usize>,
        depth: &Range<usize>,
    ) -> Panels<T> {
        let first = b.wrapping_add(depth.start * plan.b.row + columns.start).cast();
        Panels { first, column: 1, step: plan.b.row }
    }

    fn packed(plan: &Partition, first: *const T, k: usize) -> Panels<T> {
        Panels { first, column: plan.stored(k), step: plan.panel_columns }
    }

    /// The panel that begins so many columns behind the first.
    fn at(&self, column: usize) -> *const T {
        self.first.wrapping_add(column * self.column)
    }
}

/// Some steps of the columns of B behind the panel at `b`, which are read where they lie.
fn next_columns<T>(plan: &Partition, b: *const T, columns: Range<usize>, steps: Range<usize>) -> Ahead {
    let first = b.wrapping_add(plan.panel_columns + steps.start * plan.b.row).cast::<u8>();
    let lines = Ahead::lines(first, columns.len().min(plan.panel_columns) * size_of::<T>());
    Ahead { first, stretches: steps.len(), distance: plan.b.row * size_of::<T>(), lines, purpose: Purpose::Read }
}

/// Steps of k by which a tile fetches what has to come from memory ahead of itself.
const DISTANT_AHEAD: usize = 32;

/// What tile `i` of those that go down the panel at `b` fetches of a distant B, which has these `columns` from there on: the
/// first tile what it needs itself later on, the others each a part of the next panel.
fn distant_columns<T>(
    plan: &Partition,
    b: *const T,
    columns: Range<usize>,
    k: usize,
    [i, tiles]: [usize; 2],
    is_first_panel: bool,
) -> Ahead {
    let next = columns.end.min(columns.start + plan.panel_columns)..columns.end;
    match (is_first_panel, i) {
        (true, 0) => {
            let b = b.wrapping_sub(plan.panel_columns);
            next_columns(plan, b, columns, DISTANT_AHEAD.min(k)..k)
        }
        (true, _) => next_columns(plan, b, next, k * (i - 1) / (tiles - 1)..k * i / (tiles - 1)),
        (false, _) => next_columns(plan, b, next, k * i / tiles..k * (i + 1) / tiles),
    }
}

/// Bytes of an A that may not be in the second-level cache when it is needed.
const FAR_A: usize = 1 << 20;

/// The rows of A behind those of a tile, if they are read where they lie and may come from afar: the processor fetches ahead
/// along a row, but does not know of the next.
fn next_rows<S: Source>(plan: &Partition, a: *const S, tile: &Range<usize>, end: usize, k: usize) -> Ahead {
    let is_far = plan.m * plan.k * size_of::<S>() > FAR_A;
    if !is_far || plan.a.column != 1 || tile.end >= end {
        return Ahead::NOTHING;
    }
    let first = a.wrapping_add(tile.len() * plan.a.row).cast::<u8>();
    let lines = Ahead::lines(first, k * size_of::<S>());
    let stretches = tile.len().min(end - tile.end);
    Ahead { first, stretches, distance: plan.a.row * size_of::<S>(), lines, purpose: Purpose::Read }
}

/// The same part of the packed tile of A behind the one at `a` as `part` is of `all` columns, if they may come from afar: it
/// is used up faster than the processor fetches by itself.
fn next_pieces<S: Source>(
    plan: &Partition,
    a: *const S::Sum,
    tile: &Range<usize>,
    end: usize,
    k: usize,
    part: Range<usize>,
    all: usize,
) -> Ahead {
    let size = size_of::<S::Sum>();
    // Numbers as they are come in time.
    if plan.tile.form == Form::WHOLE || tile.end >= end || plan.packed_a_elements() * size <= FAR_A {
        return Ahead::NOTHING;
    }
    let elements = plan.tile_rows() * plan.stored(k);
    let lines = elements * size / Ahead::LINE;
    let [first, last] = [part.start, part.end].map(|column| lines * column / all);
    let first_line = a.wrapping_add(elements).cast::<u8>().wrapping_add(first * Ahead::LINE);
    Ahead { first: first_line, stretches: 1, distance: 0, lines: last - first, purpose: Purpose::Read }
}

/// Where C would begin if all of it lay as its part does that begins at `row` and `column`, and the elements from a row
/// to the next.
pub(super) fn c_of<T>(
    plan: &Partition,
    operands: Operands,
    scratch: Scratch,
    row: usize,
    column: usize,
) -> (*mut T, usize) {
    match plan.c_in_scratch {
        Some(c) => (scratch.own.cast::<T>().wrapping_sub(row * c.row_stride + column), c.row_stride),
        None => (operands.c.cast(), plan.c_row_stride),
    }
}

/// A block of a product over nothing: zeros, or C as it is.
///
/// # Safety
/// As for [`multiply`].
unsafe fn no_products<T>(
    plan: &Partition,
    rows: Range<usize>,
    columns: Range<usize>,
    operands: Operands,
    scratch: Scratch,
    after: Option<After<'_>>,
) {
    for first in columns.clone().step_by(plan.group_columns) {
        let columns = first..columns.end.min(first + plan.group_columns);
        for first in rows.clone().step_by(plan.finished_rows()) {
            let rows = first..rows.end.min(first + plan.finished_rows());
            let (c, c_row) = c_of::<T>(plan, operands, scratch, rows.start, columns.start);
            for i in rows.clone().filter(|_| !plan.accumulate) {
                // SAFETY: the positions are inside of C, or of the scratch memory that stands for it; all element types
                // may be zero bytes.
                unsafe { c.wrapping_add(i * c_row + columns.start).write_bytes(0, columns.len()) };
            }
            if let Some(after) = after {
                (after.finish)(rows, columns.clone(), c.cast());
            }
        }
    }
}

/// Packs panel number `panel` of B into its place behind `operands.c`.
///
/// # Safety
/// As for [`Matmul::pack_b`](super::Matmul::pack_b), for a B of type `S`.
pub(super) unsafe fn pack_b_panel<S: Source>(plan: &Partition, isa: Isa, panel: usize, operands: Operands) {
    let across = plan.n.div_ceil(plan.panel_columns);
    let Some(depth) = plan.panels().nth(panel / across) else { return };
    let first = panel % across * plan.panel_columns;
    let columns = first..plan.n.min(first + plan.panel_columns);
    // SAFETY: the panel is inside of B and has its own place in the packed copy.
    unsafe {
        let to = operands.c.cast::<S::Sum>().add(plan.packed_b_offset(depth.start, first));
        let (kernel, b) = (S::Sum::kernels(isa).pack_columns, operands.b.cast());
        Packer::<S>::new(plan, kernel, b, (columns, depth), Some(to), Pieces::Panels).pack_rest();
    }
}

/// Elements that are widened on the stack before they are packed.
const STAGED: usize = 2048;

/// Copies a strip, widening its elements.
///
/// # Safety
/// The elements that the strip names are there, and the kernel is one of this processor.
pub(crate) unsafe fn pack<S: Source>(kernel: StripKernel<S::Sum>, strip: &Strip<S, S::Sum>) {
    let Strip { k, rows, from, from_row, from_step, to, to_step, panel, to_panel } = *strip;
    if S::IS_SUM {
        // SAFETY: the caller's promise on the strip, whose elements are of the kernel's type.
        return unsafe {
            kernel(&Strip { k, rows, from: from.cast(), from_row, from_step, to, to_step, panel, to_panel })
        };
    }
    let mut stage = [S::Sum::default(); STAGED];
    let most = STAGED / panel;
    for (number, first_row) in (0..rows).step_by(panel).enumerate() {
        let rows = panel.min(rows - first_row);
        for first_step in (0..k).step_by(most) {
            let k = most.min(k - first_step);
            // SAFETY: the caller's promise on the strip; a panel is narrow enough that the stage holds its `k` steps.
            unsafe {
                let from = from.add(first_row * from_row + first_step * from_step);
                let (row, step) = if from_step == 1 { (k, 1) } else { (1, rows) };
                let runs = if from_step == 1 { rows } else { k };
                for run in 0..runs {
                    if from_step == 1 {
                        S::widen(slice::from_raw_parts(from.add(run * from_row), k), &mut stage[run * k..][..k]);
                    } else if from_row == 1 {
                        S::widen(
                            slice::from_raw_parts(from.add(run * from_step), rows),
                            &mut stage[run * rows..][..rows],
                        );
                    } else {
                        for i in 0..rows {
                            let element = [*from.add(i * from_row + run * from_step)];
                            S::widen(&element, &mut stage[run * rows + i..][..1]);
                        }
                    }
                }
                let to = to.add(number * to_panel + first_step * to_step);
                let from = stage.as_ptr();
                kernel(&Strip { k, rows, from, from_row: row, from_step: step, to, to_step, panel, to_panel });
            }
        }
    }
}
