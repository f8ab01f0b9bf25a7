//! Loops: a plan for each step, whose feeds and fetches move along.
#![allow(unsafe_code)]

use thalweg_kernels::pool::Pool;
use thalweg_kernels::tile::Draw;
use thalweg_plan::{ALIGNMENT, Carried, Given, Loop, Place, Plan, Taken};

use super::execute::{Frame, Room, Workspace};
use super::packed::PackedOperand;
use super::prepare::Prepared;
use crate::error::RunError;

/// A loop ready to run.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) body: Prepared,
    /// For each feed of the body its buffer, the bytes to the first part and from there to the next.
    feeds: Vec<(usize, isize, isize)>,
    /// For each fetch of the body its buffer.
    fetches: Vec<usize>,
    /// Bytes of a step's part of each output.
    outputs: Vec<isize>,
    /// Bytes of each carry.
    carries: Vec<usize>,
}

impl Repeat {
    pub(crate) fn new(plan: &Plan, repeat: &Loop, body: Prepared) -> Repeat {
        let feeds = repeat.feeds.iter().zip(&repeat.body.feeds).map(|(given, feed)| {
            let (first, step) = match given {
                Given::Slices(operand) => {
                    let size = plan[operand.buffer].dtype.size() as isize;
                    (operand.offset as isize * size, operand.strides[0] * size)
                }
                Given::Carry(_) | Given::Whole(_) => (0, 0),
            };
            (feed.buffer.index(), first, step)
        });
        let part = |&output: &thalweg_plan::BufferId| (plan[output].bytes() / repeat.length.max(1)) as isize;
        Repeat {
            feeds: feeds.collect(),
            fetches: repeat.body.fetches.iter().map(|fetch| fetch.index()).collect(),
            outputs: repeat.outputs.iter().map(part).collect(),
            carries: repeat.carries.iter().map(|carry| plan[carry.last].bytes()).collect(),
            body,
        }
    }
}

/// Where the carries of a loop are before and after each of its steps.
struct Places<'a> {
    repeat: &'a Repeat,
    call: &'a Loop,
    bases: &'a [*mut u8],
    memory: *mut u8,
}

impl Places<'_> {
    /// The position of a step.
    fn position(&self, step: usize) -> isize {
        (if self.call.reverse { self.call.length - 1 - step } else { step }) as isize
    }

    /// The part of an output that belongs to a step.
    fn output(&self, output: usize, step: usize) -> *mut u8 {
        let base = self.bases[self.call.outputs[output].index()];
        base.wrapping_offset(self.position(step) * self.repeat.outputs[output])
    }

    /// Where a carry is when `steps` steps are done.
    fn carry(&self, carry: usize, steps: usize) -> *mut u8 {
        let place = &self.call.carries[carry];
        let last = self.bases[place.last.index()];
        match place.kept {
            Carried::Before(output) if steps < self.call.length => self.output(output, steps),
            Carried::Before(_) => last,
            _ if steps == 0 => self.bases[place.first.index()],
            Carried::After(output) => self.output(output, steps - 1),
            // The last step writes where the carry is wanted.
            Carried::Between { offset } => match (self.call.length - steps).is_multiple_of(2) {
                true => last,
                false => self.memory.wrapping_add(offset),
            },
        }
    }

    fn copy(&self, carry: usize, from: *const u8, to: *mut u8) {
        // SAFETY: both are the places of one carry, of its bytes; a plan's buffers do not overlap, nor do the parts of one.
        unsafe { std::ptr::copy_nonoverlapping(from, to, self.repeat.carries[carry]) };
    }
}

impl Workspace {
    /// Runs a loop of the plan that runs.
    pub(super) fn repeat(
        &mut self,
        repeat: &Repeat,
        call: &Loop,
        pool: &Pool,
        draw: Draw,
        room: Room,
    ) -> Result<(), RunError> {
        let Frame { bases, packed } = self.frames.pop().unwrap_or_default();
        let bases = std::mem::replace(&mut self.bases, bases);
        let packed = std::mem::replace(&mut self.packed, packed);
        let done = self.steps(repeat, call, &bases, pool, draw, room);
        let bases = std::mem::replace(&mut self.bases, bases);
        let packed = std::mem::replace(&mut self.packed, packed);
        self.frames.push(Frame { bases, packed });
        done
    }

    /// Packs what all steps read packed; gives the room that is left.
    fn hold(&mut self, body: &Prepared, pool: &Pool, room: Room) -> Room {
        self.packed.clear();
        let mut held = room.held;
        for PackedOperand { buffer, packer, .. } in &body.packed {
            let bytes = packer.bytes();
            // SAFETY: `held_bytes` counted these bytes, which nobody else uses as long as the loop runs; no step writes what is
            // handed in whole.
            unsafe { packer.pack(pool, self.bases[buffer.index()], std::slice::from_raw_parts_mut(held, bytes)) };
            self.packed.push(held);
            held = held.wrapping_add(bytes.next_multiple_of(ALIGNMENT));
        }
        Room { held, ..room }
    }

    fn steps(
        &mut self,
        repeat: &Repeat,
        call: &Loop,
        outer: &[*mut u8],
        pool: &Pool,
        draw: Draw,
        room: Room,
    ) -> Result<(), RunError> {
        let memory = outer[call.memory.index()];
        let places = Places { repeat, call, bases: outer, memory };
        self.bases.clear();
        self.bases.extend(call.body.buffers.iter().map(|buffer| match &buffer.place {
            Place::Arena { offset } => memory.wrapping_add(*offset),
            Place::Constant(array) => array.storage().bytes().as_ptr().cast_mut(),
            Place::Feed(_) | Place::Fetch(_) => std::ptr::null_mut(),
            Place::Variable(_) => unreachable!("a body reads no variable: a bug in Thalweg"),
        }));
        for (carry, place) in call.carries.iter().enumerate() {
            let first = outer[place.first.index()];
            match place.kept {
                _ if call.length == 0 => places.copy(carry, first, outer[place.last.index()]),
                Carried::Before(_) => places.copy(carry, first, places.carry(carry, 0)),
                Carried::Between { .. } | Carried::After(_) => {}
            }
        }
        for (given, &(buffer, ..)) in call.feeds.iter().zip(&repeat.feeds) {
            if let Given::Whole(whole) = given {
                self.bases[buffer] = outer[whole.index()];
            }
        }
        let room = self.hold(&repeat.body, pool, room);
        let mut done = 0;
        for step in 0..call.length {
            // SAFETY: a gated loop carries a truth value first, which the step before has written.
            if call.gated && unsafe { places.carry(0, step).read() } == 0 {
                break;
            }
            done = step + 1;
            for (given, &(buffer, first, stride)) in call.feeds.iter().zip(&repeat.feeds) {
                self.bases[buffer] = match given {
                    Given::Carry(carry) => places.carry(*carry, step),
                    Given::Slices(operand) => {
                        outer[operand.buffer.index()].wrapping_offset(first + places.position(step) * stride)
                    }
                    Given::Whole(_) => continue,
                };
            }
            for (taken, &buffer) in call.taken.iter().zip(&repeat.fetches) {
                self.bases[buffer] = match *taken {
                    Taken::Carry(carry) => places.carry(carry, step + 1),
                    Taken::Output(output) => places.output(output, step),
                };
            }
            for work in &repeat.body.steps {
                self.step(&repeat.body, work, pool, draw, room)?;
            }
        }
        for (carry, place) in call.carries.iter().enumerate() {
            let (now, last) = (places.carry(carry, done), outer[place.last.index()]);
            if call.length > 0 && now != last {
                places.copy(carry, now, last);
            }
        }
        Ok(())
    }
}
