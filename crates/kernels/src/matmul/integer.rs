//! The plain loop for integers, which wrap around.

use std::ops::Range;

use super::block::{After, c_of};
use super::partition::Partition;
use super::{Operands, Scratch};

/// An integer type.
pub(super) trait Integer: Copy + Default {
    /// `self + a · b`, wrapping around.
    fn plus_product(self, a: Self, b: Self) -> Self;
}

macro_rules! integer {
    ($($type:ty)*) => {
        $(impl Integer for $type {
            fn plus_product(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }
        })*
    };
}
integer!(i32 i64 u8);

/// Computes a block of C.
///
/// # Safety
/// As for [`Matmul::run_chunk`](super::Matmul::run_chunk), for operands of type `T`; nobody else touches the block of C.
pub(super) unsafe fn multiply<T: Integer>(
    plan: &Partition,
    rows: Range<usize>,
    columns: Range<usize>,
    operands: Operands,
    scratch: Scratch,
    after: Option<After<'_>>,
) {
    let (a, b): (*const T, *const T) = (operands.a.cast(), operands.b.cast());
    for first in columns.clone().step_by(plan.group_columns) {
        let columns = first..columns.end.min(first + plan.group_columns);
        for first in rows.clone().step_by(plan.finished_rows()) {
            let rows = first..rows.end.min(first + plan.finished_rows());
            let (c, c_row) = c_of::<T>(plan, operands, scratch, rows.start, columns.start);
            for i in rows.clone() {
                // SAFETY: the positions are inside of the matrices, or of the part of the scratch memory that holds C.
                unsafe {
                    let c = std::slice::from_raw_parts_mut(c.wrapping_add(i * c_row + columns.start), columns.len());
                    if !plan.accumulate {
                        c.fill(T::default());
                    }
                    for p in 0..plan.k {
                        let x = *a.add(i * plan.a.row + p * plan.a.column);
                        for (j, sum) in columns.clone().zip(&mut *c) {
                            *sum = sum.plus_product(x, *b.add(p * plan.b.row + j * plan.b.column));
                        }
                    }
                }
            }
            if let Some(after) = after {
                (after.finish)(rows, columns.clone(), c.cast());
            }
        }
    }
}
