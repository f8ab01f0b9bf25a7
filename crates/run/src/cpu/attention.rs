//! Attention and its gradients: a plan's call made ready, and run.
#![allow(unsafe_code)]

use thalweg_kernels::attention::{self as kernels, Dropout, Gradients, Operands, Problem, Steps};
use thalweg_kernels::cpu::Isa;
use thalweg_kernels::pool::Pool;
use thalweg_kernels::tile::Draw;
use thalweg_plan::{BufferId, Operand, Plan};

use super::execute::Scratch;
use super::prepare::{Look, look};
use super::share_out;

/// A call with its kernel.
#[derive(Debug)]
pub(crate) struct Attention {
    kernel: Direction,
    inputs: [Look; 3],
    mask: Option<Look>,
    y: BufferId,
}

#[derive(Debug)]
enum Direction {
    Forward(kernels::Attention),
    /// With what was found and its cotangent, and how many numbers lie before the gradient of keys and of values.
    Backward {
        kernel: kernels::AttentionGradient,
        of: [Look; 2],
        starts: [usize; 2],
    },
}

impl Attention {
    pub(crate) fn new(plan: &Plan, call: &thalweg_plan::Attention, isa: Isa) -> Attention {
        let thalweg_plan::Attention { batch, heads, key_heads, queries, keys, width, value_width, causal, .. } = *call;
        let [q, k, v] = call.inputs.each_ref().map(steps);
        let dense = Steps { batch: queries * heads * value_width, time: heads * value_width, head: value_width };
        let problem = Problem {
            batch,
            heads,
            key_heads,
            queries,
            keys,
            width,
            value_width,
            scale: call.scale as f32,
            causal,
            q,
            k,
            v,
            o: call.gradient.as_ref().map_or(dense, |of| steps(&of.found)),
            mask: call.mask.as_ref().map(|mask| [0, 1, 2, 3].map(|axis| mask.strides[axis] as usize)),
            dropout: call.dropout.map(|dropout| Dropout { rate: dropout.rate, stream: dropout.stream }),
        };
        let kernel = match &call.gradient {
            None => Direction::Forward(kernels::Attention::new(problem, isa)),
            Some(of) => {
                let columns = [heads * width, key_heads * width, key_heads * value_width];
                let all = columns.iter().sum::<usize>();
                // Elements of a text, and those that come before its keys and values.
                let (size, starts) = match of.joined {
                    true => (queries * all, [columns[0], columns[0] + columns[1]]),
                    false => {
                        let ends = [queries * columns[0], queries * columns[0] + keys * columns[1]];
                        (ends[1] + keys * columns[2], ends)
                    }
                };
                let to =
                    |columns: usize, head| Steps { batch: size, time: if of.joined { all } else { columns }, head };
                let to = [to(columns[0], width), to(columns[1], width), to(columns[2], value_width)];
                let kernel = kernels::AttentionGradient::new(problem, steps(&of.cotangent), to, isa);
                Direction::Backward { kernel, of: [look(plan, &of.found), look(plan, &of.cotangent)], starts }
            }
        };
        let mask = call.mask.as_ref().map(|mask| look(plan, mask));
        Attention { kernel, inputs: call.inputs.each_ref().map(|input| look(plan, input)), mask, y: call.y }
    }

    fn chunks(&self) -> usize {
        match &self.kernel {
            Direction::Forward(kernel) => kernel.chunks(),
            Direction::Backward { kernel, .. } => kernel.chunks(),
        }
    }

    /// Bytes that each thread has to itself.
    pub(crate) fn scratch_bytes(&self) -> usize {
        match &self.kernel {
            Direction::Forward(kernel) => kernel.scratch_bytes(),
            Direction::Backward { kernel, .. } => kernel.scratch_bytes(),
        }
    }

    /// What runs, in a line for profiles.
    pub(crate) fn describe(&self) -> String {
        let what = match &self.kernel {
            Direction::Forward(_) => "attention by blocks",
            Direction::Backward { .. } => "gradient of attention by blocks",
        };
        format!("{what}, {} chunks", self.chunks())
    }

    /// Runs; the addresses are those of looks and buffers.
    pub(super) fn run(
        &self,
        pool: &Pool,
        draw: Draw,
        address: &dyn Fn(&Look) -> *mut u8,
        y: *mut u8,
        scratch: Scratch,
    ) {
        let [q, k, v] = self.inputs.each_ref().map(|input| address(input).cast::<f32>().cast_const());
        let mask = self.mask.as_ref().map_or(std::ptr::null(), |mask| address(mask).cast_const());
        let (operands, to) = (Operands { q, k, v, mask, draw }, Output(y.cast()));
        // SAFETY (both): the plan's operands stay inside their buffers, which are aligned; what is written is a buffer of its
        // own (invariants 1 and 3 of its verifier); `scratch_bytes` were counted for each worker.
        match &self.kernel {
            Direction::Forward(kernel) => share_out(pool, self.chunks(), &|chunk, worker| unsafe {
                kernel.run_chunk(chunk, operands, to.at(0), scratch.of(worker));
            }),
            Direction::Backward { kernel, of, starts } => {
                let [o, cotangent] = of.each_ref().map(|of| address(of).cast::<f32>().cast_const());
                let gradients = Gradients { o, cotangent, to: [to.at(0), to.at(starts[0]), to.at(starts[1])] };
                share_out(pool, self.chunks(), &|chunk, worker| unsafe {
                    kernel.run_chunk(chunk, operands, gradients, scratch.of(worker));
                });
            }
        }
    }

    pub(super) fn y(&self) -> BufferId {
        self.y
    }
}

/// Where the result goes.
struct Output(*mut f32);

// SAFETY: a plain address; chunks write different elements.
unsafe impl Sync for Output {}

impl Output {
    fn at(&self, element: usize) -> *mut f32 {
        self.0.wrapping_add(element)
    }
}

fn steps(operand: &Operand) -> Steps {
    let step = |axis: usize| operand.strides[axis] as usize;
    Steps { batch: step(0), time: step(1), head: step(2) }
}
