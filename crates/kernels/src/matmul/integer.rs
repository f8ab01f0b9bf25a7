//! The plain loop for integers, which wrap around.

use std::ops::Range;

use super::Operands;
use super::partition::Partition;

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
/// As for [`Matmul::run`](super::Matmul::run), for operands of type `T`; nobody else touches the block of C.
pub(super) unsafe fn multiply<T: Integer>(
    plan: &Partition,
    rows: &Range<usize>,
    columns: &Range<usize>,
    operands: Operands,
) {
    let (a, b, c): (*const T, *const T, *mut T) = (operands.a.cast(), operands.b.cast(), operands.c.cast());
    for i in rows.clone() {
        // SAFETY: the positions are inside of the matrices.
        unsafe {
            let c = std::slice::from_raw_parts_mut(c.add(i * plan.c_row_stride + columns.start), columns.len());
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
}
