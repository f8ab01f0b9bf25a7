//! One chunk of a float multiply: a block of C, panel of k by panel of k.

use std::ops::Range;
use std::slice;

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
    let packed_b = block_of_a.wrapping_add(plan.block_of_a_elements());
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
            let height = plan.tile_rows(rows.len());
            if plan.pack_a {
                let strip = Strip {
                    k,
                    rows: rows.len(),
                    from: a,
                    from_row: plan.a.row,
                    from_step: plan.a.column,
                    to: block_of_a,
                    to_step: height,
                    panel: height,
                    to_panel: height * k,
                };
                pack::<S>(kernels.pack, &strip);
            }
            for first in columns.clone().step_by(plan.group_columns) {
                let group = first..columns.end.min(first + plan.group_columns);
                if plan.packing_of_b == Packing::PerGroup {
                    pack_columns_of_b::<S>(plan, kernels.pack, b, &depth, group.clone(), packed_b);
                }
                for tile in plan.tiles(rows.len()) {
                    let (a, a_row, a_step): (*const S::Sum, _, _) = if plan.pack_a {
                        (block_of_a.add(tile.start * k), 1, height)
                    } else {
                        (a.add(tile.start * plan.a.row).cast(), plan.a.row, plan.a.column)
                    };
                    let c = c.add((rows.start + tile.start) * plan.c_row_stride);
                    for first in group.clone().step_by(plan.panel_columns) {
                        let columns = plan.panel_columns.min(group.end - first);
                        let (b, b_step): (*const S::Sum, usize) = match plan.packing_of_b {
                            Packing::InPlace => (b.add(depth.start * plan.b.row + first).cast(), plan.b.row),
                            Packing::PerGroup => (packed_b.add((first - group.start) * k), plan.panel_columns),
                            Packing::Before => {
                                (b.cast::<S::Sum>().add(plan.packed_b_offset(depth.start, first)), plan.panel_columns)
                            }
                        };
                        let (c, c_row) = (c.add(first), plan.c_row_stride);
                        let add = plan.accumulate || depth.start > 0;
                        let tile_kernel = kernels.tile(tile.len(), columns);
                        tile_kernel(&Tile { k, a, a_row, a_step, b, b_step, c, c_row, columns, add });
                    }
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
        pack_columns_of_b::<S>(plan, S::Sum::kernels(isa).pack, operands.b.cast(), &depth, columns, to);
    }
}

/// Copies `B[depth, columns]` to `to`, panel by panel.
unsafe fn pack_columns_of_b<S: Source>(
    plan: &Partition,
    kernel: StripKernel<S::Sum>,
    b: *const S,
    depth: &Range<usize>,
    columns: Range<usize>,
    to: *mut S::Sum,
) {
    // SAFETY: the columns are inside of B, and `to` has room for them.
    unsafe {
        let strip = Strip {
            k: depth.len(),
            rows: columns.len(),
            from: b.add(depth.start * plan.b.row + columns.start * plan.b.column),
            from_row: plan.b.column,
            from_step: plan.b.row,
            to,
            to_step: plan.panel_columns,
            panel: plan.panel_columns,
            to_panel: depth.len() * plan.panel_columns,
        };
        pack::<S>(kernel, &strip);
    }
}

/// Elements that are widened on the stack before they are packed.
const STAGED: usize = 2048;

/// Copies a strip, widening its elements.
unsafe fn pack<S: Source>(kernel: StripKernel<S::Sum>, strip: &Strip<S, S::Sum>) {
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
