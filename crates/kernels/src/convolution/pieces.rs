//! A sum over many pixels in pieces, for a result that is too small to be shared out otherwise.

use std::ops::{Add, Range};
use std::slice;

use super::Finish;
use crate::matmul::{Operands, Scratch};

/// Elements that are added up in one chunk.
const SUMMED: usize = 16 << 10;

/// The pieces, and where their sums are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pieces {
    /// What is summed over.
    total: usize,
    count: usize,
    result: [usize; 2],
    /// The result is not in memory of the caller's.
    pub(super) c_in_scratch: bool,
}

impl Pieces {
    /// `count` nearly equal pieces of `total`, for a result of so many rows and columns.
    pub(super) fn new(total: usize, count: usize, result: [usize; 2]) -> Pieces {
        Pieces { total, count, result, c_in_scratch: false }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What a piece sums over.
    pub(super) fn of(&self, piece: usize) -> Range<usize> {
        self.total * piece / self.count..self.total * (piece + 1) / self.count
    }

    /// Whether the pieces have to be added up, or shown to what follows, when they are there.
    pub(super) fn is_two_steps(&self) -> bool {
        self.count > 1 || self.c_in_scratch
    }

    fn elements(&self) -> usize {
        self.result[0] * self.result[1]
    }

    /// Shared scratch memory, in elements.
    pub(super) fn scratch_elements(&self) -> usize {
        if self.is_two_steps() { self.count * self.elements() } else { 0 }
    }

    /// Where the sums of a piece go.
    pub(super) fn target<T>(&self, piece: usize, operands: Operands, scratch: Scratch) -> *mut T {
        if self.is_two_steps() {
            scratch.shared.cast::<T>().wrapping_add(piece * self.elements())
        } else {
            operands.c.cast()
        }
    }

    fn rows_of_a_chunk(&self) -> usize {
        (SUMMED / self.result[1].max(1)).max(1)
    }

    /// The chunks of the second step.
    pub(super) fn chunks(&self) -> usize {
        self.result[0].div_ceil(self.rows_of_a_chunk())
    }

    /// Adds some rows of all pieces up, in order.
    ///
    /// # Safety
    /// All pieces are there, of elements `T`; nobody else touches the rows.
    pub(super) unsafe fn add_up<T: Copy + Add<Output = T>>(
        &self,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let [all_rows, columns] = self.result;
        let first = chunk * self.rows_of_a_chunk();
        let rows = first..all_rows.min(first + self.rows_of_a_chunk());
        let (start, length) = (rows.start * columns, rows.len() * columns);
        let pieces: *mut T = scratch.shared.cast();
        let c: *mut T = if self.c_in_scratch { pieces } else { operands.c.cast() };
        // SAFETY: our caller's promise. Where the first piece is the result, it is read through the pointer that writes.
        unsafe {
            if !self.c_in_scratch {
                c.add(start).copy_from_nonoverlapping(pieces.add(start), length);
            }
            let sums = slice::from_raw_parts_mut(c.add(start), length);
            for piece in 1..self.count {
                let terms = slice::from_raw_parts(pieces.add(piece * self.elements() + start), length);
                for (sum, &term) in sums.iter_mut().zip(terms) {
                    *sum = *sum + term;
                }
            }
        }
        if let Some(finish) = finish {
            finish(rows, 0..columns, c.cast());
        }
    }
}
