//! Packing a part of B piece by piece, between the tiles that multiply by the part before: what a piece needs is fetched
//! while a tile is computed, so that packing hardly waits for memory.
//!
//! Fetching all of it beforehand would not do: its rows may lie a power of two apart, and then displace each other in
//! the second-level cache. Rows of a B that is read in place lie near each other, so of that the next part is only fetched.

use std::ops::Range;

use super::block::pack;
use super::partition::Partition;
use super::source::Source;
use super::tile::{Ahead, Form, Purpose, Strip, StripKernel};

/// Steps of k in a piece of a transposed B: a cache line of most types.
const STEPS: usize = 16;

/// In what pieces a part is packed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pieces {
    /// A panel each.
    Panels,
    /// At most about so many, of equal size.
    AtMost(usize),
}

/// What is still to be packed.
#[derive(Debug)]
pub(super) struct Packer<S: Source> {
    kernel: StripKernel<S::Sum>,
    /// The first element of the part.
    from: *const S,
    from_row: usize,
    from_step: usize,
    /// None if nothing is copied, only fetched.
    to: Option<*mut S::Sum>,
    k: usize,
    columns: usize,
    panel: usize,
    form: Form,
    /// Pieces cross all panels; else they stay in one.
    across: bool,
    /// Where the next piece begins.
    column: usize,
    step: usize,
    /// Steps of k of a piece.
    steps: usize,
}

impl<S: Source> Packer<S> {
    /// `B[depth, columns]` of a B at `b` goes to `to`, or only into the cache.
    pub(super) fn new(
        plan: &Partition,
        kernel: StripKernel<S::Sum>,
        b: *const S,
        (columns, depth): (Range<usize>, Range<usize>),
        to: Option<*mut S::Sum>,
        pieces: Pieces,
    ) -> Packer<S> {
        let (k, panel) = (depth.len(), plan.panel_columns);
        let rows_are_near = plan.b.column == 1;
        let (across, steps) = match pieces {
            Pieces::Panels => (false, k),
            Pieces::AtMost(pieces) if rows_are_near => (true, k.div_ceil(pieces.max(1))),
            Pieces::AtMost(pieces) => {
                let lines = k.div_ceil(STEPS) * columns.len().div_ceil(panel);
                (false, lines.div_ceil(pieces.max(1)) * STEPS)
            }
        };
        Packer {
            kernel,
            from: b.wrapping_add(depth.start * plan.b.row + columns.start * plan.b.column),
            from_row: plan.b.column,
            from_step: plan.b.row,
            to,
            k,
            columns: columns.len(),
            panel,
            across,
            column: 0,
            step: 0,
            steps: steps.max(1).next_multiple_of(plan.tile.form.block),
            form: plan.tile.form,
        }
    }

    /// Columns and steps of the next piece; none if all is packed.
    fn piece(&self) -> Option<(Range<usize>, Range<usize>)> {
        let columns = self.column..if self.across { self.columns } else { self.columns.min(self.column + self.panel) };
        (!columns.is_empty() && self.k > 0).then(|| (columns, self.step..self.k.min(self.step + self.steps)))
    }

    fn address(&self, column: usize, step: usize) -> *const S {
        self.from.wrapping_add(column * self.from_row + step * self.from_step)
    }

    /// Whether all is packed.
    pub(super) fn is_done(&self) -> bool {
        self.piece().is_none()
    }

    /// What the next piece reads.
    pub(super) fn ahead(&self) -> Ahead {
        let Some((columns, steps)) = self.piece() else { return Ahead::NOTHING };
        let first = self.address(columns.start, steps.start).cast::<u8>();
        let (length, stretches, distance) = match (self.from_row, self.from_step) {
            (1, step) => (columns.len(), steps.len(), step),
            (row, 1) => (steps.len(), columns.len(), row),
            // Hardly a line would be used whole.
            (..) => return Ahead::NOTHING,
        };
        let lines = Ahead::lines(first, length * size_of::<S>());
        Ahead { first, stretches, distance: distance * size_of::<S>(), lines, purpose: Purpose::Read }
    }

    /// Packs the next piece, if it is to be copied, and goes on to the one after; false if there is none.
    ///
    /// # Safety
    /// The part is inside of B, and there is room for it where it goes.
    pub(super) unsafe fn pack_piece(&mut self) -> bool {
        let Some((columns, steps)) = self.piece() else { return false };
        if let Some(to) = self.to {
            let strip = Strip {
                k: steps.len(),
                rows: columns.len(),
                from: self.address(columns.start, steps.start),
                from_row: self.from_row,
                from_step: self.from_step,
                to: to.wrapping_add(
                    columns.start * self.form.stored(self.k) + self.form.stored(steps.start) * self.panel,
                ),
                to_step: self.panel,
                panel: self.panel,
                to_panel: self.form.stored(self.k) * self.panel,
            };
            // SAFETY: the caller's promise.
            unsafe { pack::<S>(self.kernel, &strip) };
        }
        self.step = steps.end;
        if self.step == self.k {
            (self.step, self.column) = (0, columns.end);
        }
        true
    }

    /// Packs what is left.
    ///
    /// # Safety
    /// As for [`pack_piece`](Packer::pack_piece).
    pub(super) unsafe fn pack_rest(&mut self) {
        // SAFETY: the caller's promise.
        while unsafe { self.pack_piece() } {}
    }
}
