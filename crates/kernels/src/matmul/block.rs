//! One chunk of a float multiply: a block of C, panel of k by panel of k.

use std::ops::Range;

use super::Operands;
use super::partition::{Packing, Partition};
use super::source::Source;
use super::tile::{Accumulator, Strip, StripKernel, Tile};
use crate::cpu::Isa;

/// Of scratch memory, in bytes: a cache line.
pub(super) const ALIGNMENT: usize = 64;

/// The first aligned address from `start` on.
pub(super) fn align(start: *mut u8) -> *mut u8 {
    start.wrapping_add(start.align_offset(ALIGNMENT))
}

/// Computes a block of C.
///
/// # Safety
/// As for [`Matmul::run_chunk`](super::Matmul::run_chunk), for operands of type `S`; nobody else touches the block of C.
pub(super) unsafe fn multiply<S: Source>(
    plan: &Partition,
    isa: Isa,
    rows: &Range<usize>,
    columns: &Range<usize>,
    operands: Operands,
    scratch: *mut u8,
) {
    let kernels = S::Sum::kernels(isa);
    let (a, b, c): (*const S, *const S, *mut S::Sum) = (operands.a.cast(), operands.b.cast(), operands.c.cast());
    let block_of_a: *mut S::Sum = scratch.cast();
    let panel_of_b = block_of_a.wrapping_add(plan.block_of_a_elements());
    if plan.k == 0 && !plan.accumulate {
        for i in rows.clone() {
            // SAFETY: the positions are inside of C, and all its element types may be zero bytes.
            unsafe { c.add(i * plan.c_row_stride + columns.start).write_bytes(0, columns.len()) };
        }
    }
    // SAFETY: every position is inside of its matrix, or of the part of the scratch memory that the plan set aside.
    unsafe {
        for depth in plan.panels() {
            let k = depth.len();
            let a = a.add(rows.start * plan.a.row + depth.start * plan.a.column);
            if plan.pack_a {
                for tile in plan.tiles(rows.len()) {
                    let strip = Strip {
                        k,
                        rows: tile.len(),
                        from: a.add(tile.start * plan.a.row),
                        from_row: plan.a.row,
                        from_step: plan.a.column,
                        to: block_of_a.add(tile.start * k),
                        to_step: tile.len(),
                    };
                    pack::<S>(kernels.pack, &strip);
                }
            }
            for first in columns.clone().step_by(plan.panel_columns) {
                let width = plan.panel_columns.min(columns.end - first);
                let (b, b_step): (*const S::Sum, usize) = match plan.packing_of_b {
                    Packing::InPlace => (b.add(depth.start * plan.b.row + first).cast(), plan.b.row),
                    Packing::Before => {
                        (b.cast::<S::Sum>().add(plan.packed_b_offset(depth.start, first)), plan.panel_columns)
                    }
                    Packing::PerPanel => {
                        pack_panel_of_b::<S>(plan, kernels.pack, b, &depth, first..first + width, panel_of_b);
                        (panel_of_b, plan.panel_columns)
                    }
                };
                for tile in plan.tiles(rows.len()) {
                    let (a, a_row, a_step): (*const S::Sum, _, _) = if plan.pack_a {
                        (block_of_a.add(tile.start * k), 1, tile.len())
                    } else {
                        (a.add(tile.start * plan.a.row).cast(), plan.a.row, plan.a.column)
                    };
                    kernels.tile(tile.len(), width)(&Tile {
                        k,
                        a,
                        a_row,
                        a_step,
                        b,
                        b_step,
                        c: c.add((rows.start + tile.start) * plan.c_row_stride + first),
                        c_row: plan.c_row_stride,
                        columns: width,
                        add: plan.accumulate || depth.start > 0,
                    });
                }
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
        pack_panel_of_b::<S>(plan, S::Sum::kernels(isa).pack, operands.b.cast(), &depth, columns, to);
    }
}

/// Copies `B[depth, columns]` to `to`, row by row of k.
unsafe fn pack_panel_of_b<S: Source>(
    plan: &Partition,
    kernel: StripKernel<S::Sum>,
    b: *const S,
    depth: &Range<usize>,
    columns: Range<usize>,
    to: *mut S::Sum,
) {
    // SAFETY: the panel is inside of B, and `to` has room for it.
    unsafe {
        let strip = Strip {
            k: depth.len(),
            rows: columns.len(),
            from: b.add(depth.start * plan.b.row + columns.start * plan.b.column),
            from_row: plan.b.column,
            from_step: plan.b.row,
            to,
            to_step: plan.panel_columns,
        };
        pack::<S>(kernel, &strip);
    }
}

/// Elements that are widened on the stack before they are packed.
const STAGED: usize = 2048;

/// Copies a strip, widening its elements.
unsafe fn pack<S: Source>(kernel: StripKernel<S::Sum>, strip: &Strip<S, S::Sum>) {
    let Strip { k, rows, from, from_row, from_step, to, to_step } = *strip;
    // SAFETY: the caller's promise on the strip; the stage has room for `length * rows` elements.
    unsafe {
        if S::IS_SUM {
            return kernel(&Strip { k, rows, from: from.cast(), from_row, from_step, to, to_step });
        }
        let mut stage = [S::Sum::default(); STAGED];
        let most = STAGED / rows;
        for first in (0..k).step_by(most) {
            let length = most.min(k - first);
            let from = from.add(first * from_step);
            let (row, step) = if from_step == 1 { (length, 1) } else { (1, rows) };
            if from_step == 1 {
                for i in 0..rows {
                    let run = std::slice::from_raw_parts(from.add(i * from_row), length);
                    S::widen(run, &mut stage[i * row..][..length]);
                }
            } else if from_row == 1 {
                for p in 0..length {
                    let run = std::slice::from_raw_parts(from.add(p * from_step), rows);
                    S::widen(run, &mut stage[p * step..][..rows]);
                }
            } else {
                for p in 0..length {
                    for i in 0..rows {
                        let element = [*from.add(i * from_row + p * from_step)];
                        S::widen(&element, &mut stage[p * step + i..][..1]);
                    }
                }
            }
            let to = to.add(first * to_step);
            kernel(&Strip { k: length, rows, from: stage.as_ptr(), from_row: row, from_step: step, to, to_step });
        }
    }
}
