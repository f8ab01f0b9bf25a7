//! Places in the arena: arithmetic on lifetimes. Buffers that are never needed at the same time share memory; an
//! elementwise result takes the place of an input that nobody needs any more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::plan::{ALIGNMENT, BufferId, Kernel, Place, Plan};

/// Up to so many slots the tighter packing, whose time grows with the square of their number.
const MOST_BY_SIZE: usize = 1024;

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

/// Offsets of the slots, and where the last one ends.
fn pack(slots: &[Slot]) -> (Vec<usize>, usize) {
    if slots.len() <= MOST_BY_SIZE { pack_by_size(slots) } else { pack_by_time(slots) }
}

/// The largest first, each at the lowest place where no slot of its time is.
fn pack_by_size(slots: &[Slot]) -> (Vec<usize>, usize) {
    let mut by_size: Vec<usize> = (0..slots.len()).collect();
    by_size.sort_by_key(|&slot| (Reverse(slots[slot].bytes), slot));
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

/// As a heap would: in the order of their time, each into the smallest free stretch that holds it.
fn pack_by_time(slots: &[Slot]) -> (Vec<usize>, usize) {
    let mut by_time: Vec<usize> = (0..slots.len()).collect();
    by_time.sort_by_key(|&slot| (slots[slot].first, Reverse(slots[slot].bytes), slot));
    let mut offsets = vec![0; slots.len()];
    let mut free = FreeStretches::default();
    let mut taken: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let mut arena_bytes = 0;
    for slot in by_time.into_iter().filter(|&slot| slots[slot].bytes > 0) {
        let Slot { bytes, first, last } = slots[slot];
        while let Some(&Reverse((_, over))) = taken.peek().filter(|Reverse((end, _))| *end < first) {
            taken.pop();
            free.give(offsets[over], slots[over].bytes);
        }
        offsets[slot] = free.take(bytes).unwrap_or_else(|| {
            let start = free.take_last_before(arena_bytes).unwrap_or(arena_bytes);
            arena_bytes = start + bytes;
            start
        });
        taken.push(Reverse((last, slot)));
    }
    (offsets, arena_bytes)
}

/// Memory between slots, by place and by size; neighbours are one stretch.
#[derive(Debug, Default)]
struct FreeStretches {
    by_offset: BTreeMap<usize, usize>,
    by_size: BTreeSet<(usize, usize)>,
}

impl FreeStretches {
    fn give(&mut self, mut offset: usize, mut bytes: usize) {
        if let Some((&before, &size)) = self.by_offset.range(..offset).next_back()
            && before + size == offset
        {
            self.remove(before, size);
            (offset, bytes) = (before, size + bytes);
        }
        if let Some(&size) = self.by_offset.get(&(offset + bytes)) {
            self.remove(offset + bytes, size);
            bytes += size;
        }
        self.by_offset.insert(offset, bytes);
        self.by_size.insert((bytes, offset));
    }

    /// The beginning of the smallest stretch that holds `bytes`.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let &(size, offset) = self.by_size.range((bytes, 0)..).next()?;
        self.remove(offset, size);
        if size > bytes {
            self.give(offset + bytes, size - bytes);
        }
        Some(offset)
    }

    /// The stretch that ends at `end`, whole.
    fn take_last_before(&mut self, end: usize) -> Option<usize> {
        let (&offset, &size) = self.by_offset.last_key_value()?;
        (offset + size == end).then(|| {
            self.remove(offset, size);
            offset
        })
    }

    fn remove(&mut self, offset: usize, size: usize) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(size, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_meets_shares_memory() {
        let slot = |bytes, first, last| Slot { bytes, first, last };
        let slots = [slot(128, 0, 1), slot(64, 1, 2), slot(128, 2, 3), slot(64, 3, 4)];
        for pack in [pack_by_size, pack_by_time] {
            let (offsets, bytes) = pack(&slots);
            assert_eq!(bytes, 192);
            assert_eq!(offsets[0], offsets[2]);
            check_apart(&slots, &offsets, bytes);
        }
    }

    #[test]
    fn slots_of_one_time_never_meet() {
        let numbers = thalweg_graph::array::random::Philox::new(5, 0);
        let below = |index: usize, lane: u64, n: f32| (numbers.uniform(index as u64, lane) * n) as usize;
        let slot = |index: usize| {
            let first = below(index, 0, 300.0);
            Slot { bytes: 64 * below(index, 1, 9.0), first, last: first + below(index, 2, 40.0) }
        };
        let slots: Vec<Slot> = (0..400).map(slot).collect();
        let (tight, loose) = (pack_by_size(&slots), pack_by_time(&slots));
        check_apart(&slots, &tight.0, tight.1);
        check_apart(&slots, &loose.0, loose.1);
        assert!(loose.1 < tight.1 * 3 / 2, "{} bytes instead of {}", loose.1, tight.1);
    }

    fn check_apart(slots: &[Slot], offsets: &[usize], arena_bytes: usize) {
        for (a, one) in slots.iter().enumerate() {
            assert!(offsets[a] + one.bytes <= arena_bytes, "{a} ends behind the arena");
            for (b, two) in slots.iter().enumerate().skip(a + 1) {
                let meet = one.first <= two.last && two.first <= one.last;
                let overlap = offsets[a] < offsets[b] + two.bytes && offsets[b] < offsets[a] + one.bytes;
                assert!(!(meet && overlap), "{a} and {b}");
            }
        }
    }
}
