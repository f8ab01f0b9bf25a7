//! Places in the arena: arithmetic on lifetimes. Buffers that are never needed at the same time share memory; an
//! elementwise result takes the place of an input that nobody needs any more.

use crate::plan::{ALIGNMENT, BufferId, Kernel, Place, Plan};

/// Buffers that share one stretch of memory, one after the other.
#[derive(Clone, Copy, Debug)]
struct Slot {
    bytes: usize,
    first: usize,
    last: usize,
}

/// The first and the last call that touches each buffer of the arena; `None` for others and for what nobody touches.
pub(crate) fn lifetimes(plan: &Plan) -> Vec<Option<(usize, usize)>> {
    let mut lifetimes: Vec<Option<(usize, usize)>> = vec![None; plan.buffers.len()];
    for (position, call) in plan.calls.iter().enumerate() {
        for buffer in call.kernel.reads().into_iter().chain(call.kernel.writes()) {
            if matches!(plan[buffer].place, Place::Arena { .. }) {
                let (first, _) = lifetimes[buffer.index()].unwrap_or((position, position));
                lifetimes[buffer.index()] = Some((first, position));
            }
        }
    }
    lifetimes
}

/// Gives every buffer of the arena its offset.
pub(crate) fn assign(plan: &mut Plan) {
    let lifetimes = lifetimes(plan);
    let mut slots: Vec<Slot> = Vec::new();
    let mut slot_of: Vec<Option<usize>> = vec![None; plan.buffers.len()];
    for (position, call) in plan.calls.iter().enumerate() {
        for buffer in call.kernel.writes() {
            let Some((first, last)) = lifetimes[buffer.index()] else { continue };
            if slot_of[buffer.index()].is_some() {
                continue;
            }
            let bytes = plan[buffer].bytes().next_multiple_of(ALIGNMENT);
            let taken_over = successor_of(plan, &call.kernel, buffer, |input| {
                let dies = lifetimes[input.index()].is_some_and(|(_, last)| last == position);
                // Another output may have taken its place already.
                let free = slot_of[input.index()].filter(|&slot| slots[slot].last == position);
                free.filter(|&slot| dies && slots[slot].bytes >= bytes)
            });
            let slot = match taken_over {
                Some(slot) => {
                    slots[slot].last = last.max(position + 1);
                    slot
                }
                None => {
                    slots.push(Slot { bytes, first, last });
                    slots.len() - 1
                }
            };
            slot_of[buffer.index()] = Some(slot);
        }
    }
    let (offsets, arena_bytes) = pack(&slots);
    for (buffer, slot) in plan.buffers.iter_mut().zip(slot_of) {
        if let (Place::Arena { offset }, Some(slot)) = (&mut buffer.place, slot) {
            *offset = offsets[slot];
        }
    }
    plan.arena_bytes = arena_bytes;
}

/// The slot of an input that `output` can take over element by element.
fn successor_of(
    plan: &Plan,
    kernel: &Kernel,
    output: BufferId,
    free_slot: impl Fn(BufferId) -> Option<usize>,
) -> Option<usize> {
    let Kernel::Map(map) = kernel else { return None };
    let to = map.outputs.iter().find(|operand| operand.buffer == output)?;
    if to.strides != crate::lower::contiguous(&map.dims) {
        return None;
    }
    map.inputs.iter().find_map(|from| {
        let aligned = from.strides == to.strides && from.offset == 0 && to.offset == 0;
        let only = map.inputs.iter().filter(|other| other.buffer == from.buffer).count() == 1;
        let same = plan[from.buffer].dtype.size() == plan[output].dtype.size();
        if aligned && only && same { free_slot(from.buffer) } else { None }
    })
}

/// Offsets of the slots: the largest first, each at the lowest place where no slot of its time is.
fn pack(slots: &[Slot]) -> (Vec<usize>, usize) {
    let mut by_size: Vec<usize> = (0..slots.len()).collect();
    by_size.sort_by_key(|&slot| (std::cmp::Reverse(slots[slot].bytes), slot));
    let mut offsets = vec![0; slots.len()];
    // Placed slots by offset.
    let mut placed: Vec<usize> = Vec::new();
    let mut arena_bytes = 0;
    for slot in by_size {
        let Slot { bytes, first, last } = slots[slot];
        let mut offset = 0;
        for &other in &placed {
            let taken = &slots[other];
            let meet = taken.first <= last && first <= taken.last;
            if meet && taken.bytes > 0 {
                if offsets[other] >= offset + bytes {
                    break;
                }
                offset = offset.max(offsets[other] + taken.bytes);
            }
        }
        offsets[slot] = offset;
        arena_bytes = arena_bytes.max(offset + bytes);
        let at = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(at, slot);
    }
    (offsets, arena_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_meets_shares_memory() {
        let slot = |bytes, first, last| Slot { bytes, first, last };
        let slots = [slot(128, 0, 1), slot(64, 1, 2), slot(128, 2, 3), slot(64, 3, 4)];
        let (offsets, bytes) = pack(&slots);
        assert_eq!(bytes, 192);
        assert_eq!(offsets[0], offsets[2]);
        for (a, one) in slots.iter().enumerate() {
            for (b, two) in slots.iter().enumerate().skip(a + 1) {
                let meet = one.first <= two.last && two.first <= one.last;
                let overlap = offsets[a] < offsets[b] + two.bytes && offsets[b] < offsets[a] + one.bytes;
                assert!(!(meet && overlap), "{a} and {b}");
            }
        }
    }
}
