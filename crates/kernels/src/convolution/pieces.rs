//! A gradient to the weight in pieces: sums over some of the pixels each, then the sum of the sums.
//!
//! A piece is made with the channels next to each other, as they lie in x; the weight has its taps next to each other. So
//! the second step also puts them in order.

use std::ops::Range;
use std::slice;

use super::Finish;
use super::Problem;
use crate::cpu::Isa;
use crate::matmul::tile::{Accumulator, Strip};
use crate::matmul::{Operands, Scratch};

/// Elements that are added up in one chunk.
const SUMMED: usize = 16 << 10;

/// The pieces, and where their sums are: each is a matrix `[out_channels, taps, in_channels / groups]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pieces {
    /// What is summed over.
    total: usize,
    count: usize,
    rows: usize,
    taps: usize,
    channels: usize,
    /// The result is not in memory of the caller's.
    pub(super) c_in_scratch: bool,
}

impl Pieces {
    /// `count` nearly equal pieces of `total`.
    pub(super) fn new(total: usize, count: usize, problem: &Problem) -> Pieces {
        let Problem { in_channels, out_channels, groups, .. } = *problem;
        let (rows, taps, channels) = (out_channels, problem.taps(), in_channels / groups);
        Pieces { total, count, rows, taps, channels, c_in_scratch: false }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What a piece sums over.
    pub(super) fn of(&self, piece: usize) -> Range<usize> {
        self.total * piece / self.count..self.total * (piece + 1) / self.count
    }

    /// Elements of a row.
    pub(super) fn columns(&self) -> usize {
        self.taps * self.channels
    }

    fn elements(&self) -> usize {
        self.rows * self.columns()
    }

    /// Shared scratch memory, in elements.
    pub(super) fn scratch_elements(&self) -> usize {
        self.count * self.elements()
    }

    /// Scratch memory of a worker in the second step, in elements.
    pub(super) fn own_scratch_elements(&self) -> usize {
        if self.c_in_scratch { self.rows_of_a_chunk() * self.columns() } else { 0 }
    }

    /// Where the sums of a piece go.
    pub(super) fn target<T>(&self, piece: usize, scratch: Scratch) -> *mut T {
        scratch.shared.cast::<T>().wrapping_add(piece * self.elements())
    }

    fn rows_of_a_chunk(&self) -> usize {
        (SUMMED / self.columns().max(1)).max(1)
    }

    /// The chunks of the second step.
    pub(super) fn chunks(&self) -> usize {
        self.rows.div_ceil(self.rows_of_a_chunk())
    }

    /// Adds some rows of all pieces up, in order.
    ///
    /// # Safety
    /// All pieces are there, of elements `T`; nobody else touches the rows; the processor has the instruction set.
    pub(super) unsafe fn add_up<T: Accumulator>(
        &self,
        isa: Isa,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let first = chunk * self.rows_of_a_chunk();
        let rows = first..self.rows.min(first + self.rows_of_a_chunk());
        let (start, length) = (rows.start * self.columns(), rows.len() * self.columns());
        let c: *mut T = if self.c_in_scratch { scratch.own.cast::<T>().wrapping_sub(start) } else { operands.c.cast() };
        // SAFETY: our caller's promise.
        unsafe {
            let sums = slice::from_raw_parts_mut(self.target::<T>(0, scratch).add(start), length);
            for piece in 1..self.count {
                let terms = slice::from_raw_parts(self.target::<T>(piece, scratch).add(start), length);
                for (sum, &term) in sums.iter_mut().zip(terms) {
                    *sum = *sum + term;
                }
            }
            for (row, sums) in rows.clone().zip(sums.chunks_exact(self.columns().max(1))) {
                let strip = Strip {
                    k: self.channels,
                    rows: self.taps,
                    from: sums.as_ptr(),
                    from_row: self.channels,
                    from_step: 1,
                    to: c.wrapping_add(row * self.columns()),
                    to_step: self.taps,
                    panel: self.taps,
                    to_panel: 0,
                };
                (T::kernels(isa).pack)(&strip);
            }
        }
        if let Some(finish) = finish {
            finish(rows, 0..self.columns(), c.cast());
        }
    }
}
