//! Calls of loops: the body becomes a plan of its own, and numbers that travel between steps get their memory.

use std::sync::Arc;

use smallvec::smallvec;
use thalweg_graph::ops::control;
use thalweg_graph::{DType, Graph, NodeId, Op};

use super::views::{contiguous, is_contiguous};
use super::{LowerError, Lowering};
use crate::plan::{ALIGNMENT, BufferId, Carried, Carry, Given, Kernel, Loop, Operand, Taken};
use crate::target::Target;

/// The plan of a step, and where carries are kept.
#[derive(Debug)]
pub(super) struct Step {
    plan: Arc<crate::Plan>,
    kept: Vec<Kept>,
    taken: Vec<Taken>,
}

/// How a carry is kept, before there are buffers.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Between,
    After(usize),
    Before(usize),
}

/// Lowers the body of a loop.
pub(super) fn step(op: &control::Loop, target: &dyn Target) -> Result<Step, LowerError> {
    let mut graph = op.body.graph().clone();
    let fetches = graph.fetches().to_vec();
    let outputs = &fetches[op.carries..];
    let parameter = |carry: usize| {
        let name = op.parameter(carry);
        graph.placeholders().find(|(_, placeholder)| placeholder.name == name).map(|(id, _)| id)
    };
    let mut kept = Vec::with_capacity(op.carries);
    for carry in 0..op.carries {
        let stack_of = |node: NodeId| outputs.iter().position(|&output| output == node);
        // A stack serves one carry.
        let after = stack_of(fetches[carry]).filter(|_| !fetches[..carry].contains(&fetches[carry]));
        let after = after.filter(|_| !matches!(graph[fetches[carry]].op, Op::Placeholder(_)));
        kept.push(match (after, parameter(carry).and_then(stack_of)) {
            (Some(output), _) => Kept::After(output),
            (None, Some(output)) => Kept::Before(output),
            (None, None) => Kept::Between,
        });
    }
    let carries = (0..op.carries).filter(|&carry| !matches!(kept[carry], Kept::After(_))).map(Taken::Carry);
    let is_before = |output: usize| kept.iter().any(|kept| matches!(kept, Kept::Before(before) if *before == output));
    let outputs = (0..outputs.len()).filter(|&output| !is_before(output)).map(Taken::Output);
    let taken: Vec<Taken> = carries.chain(outputs).collect();
    let node = |taken: &Taken| match *taken {
        Taken::Carry(carry) => fetches[carry],
        Taken::Output(output) => fetches[op.carries + output],
    };
    graph.set_roots(taken.iter().map(node).collect(), Vec::new());
    let plan = super::lower(&graph, &thalweg_graph::Bindings::new(), target)?;
    Ok(Step { plan: Arc::new(plan), kept, taken })
}

/// For each loop the nodes that take its results.
pub(super) fn outputs(graph: &Graph) -> std::collections::HashMap<NodeId, Vec<NodeId>> {
    let mut outputs: std::collections::HashMap<NodeId, Vec<NodeId>> = Default::default();
    for id in graph.ids() {
        if let Op::Output(_) = &graph[id].op {
            outputs.entry(graph[id].inputs[0]).or_default().push(id);
        }
    }
    outputs
}

impl Lowering<'_> {
    /// The call of a loop; it computes the nodes that take its results.
    pub(super) fn repeat(&mut self, id: NodeId, op: &control::Loop) {
        let node = &self.graph[id];
        let number =
            |size: &thalweg_graph::Size| size.number().expect("lowering works on bound graphs: a bug in Thalweg");
        let length = number(&op.length);
        let takers = self.results.get(&id).cloned().unwrap_or_default();
        let results: Vec<BufferId> = op
            .results()
            .iter()
            .enumerate()
            .map(|(index, meta)| {
                let taker = takers.iter().find(|&&taker| {
                    matches!(&self.graph[taker].op, Op::Output(output) if output.index == index)
                        && self.views[taker.index()].base == taker
                });
                match taker {
                    Some(&taker) => self.buffer(taker),
                    None => self.temporary(meta.dtype, meta.shape.iter().map(number).collect()),
                }
            })
            .collect();
        let Step { plan: body, kept, taken } = self.steps.remove(&id).expect("every loop was looked at before");
        let (lasts, outputs) = results.split_at(op.carries);

        // The body's arena, then a second place for each carry that no stack holds.
        let mut bytes = body.arena_bytes.next_multiple_of(ALIGNMENT);
        let mut carries = Vec::with_capacity(op.carries);
        for (carry, &kept) in kept.iter().enumerate() {
            let first = self.whole(node.inputs[carry]);
            let last = lasts[carry];
            let kept = match kept {
                Kept::After(output) => Carried::After(output),
                Kept::Before(output) => Carried::Before(output),
                Kept::Between => {
                    let offset = bytes;
                    bytes += self.plan[last].bytes().next_multiple_of(ALIGNMENT);
                    Carried::Between { offset }
                }
            };
            carries.push(Carry { first, last, kept });
        }
        let mut feeds = Vec::with_capacity(body.feeds.len());
        for feed in &body.feeds {
            let position = op.position(&feed.name).expect("`infer` has looked at the parameters");
            feeds.push(if position < op.carries {
                Given::Carry(position)
            } else if position < op.carries + op.inputs {
                Given::Slices(self.slices(node.inputs[position]))
            } else {
                Given::Whole(self.whole(node.inputs[position]))
            });
        }
        let memory = self.temporary(DType::U8, smallvec![bytes]);
        let outputs = outputs.to_vec();
        let call = Loop { length, reverse: op.reverse, gated: op.gated, body, feeds, carries, outputs, taken, memory };
        let maker = self.drafts.len();
        self.push(id, &[id], Kernel::Loop(Box::new(call)));
        self.makers.extend(takers.into_iter().map(|taker| (taker, maker)));
    }

    /// The parts of a node along axis 0, each row-major: as they lie, or in a copy.
    fn slices(&mut self, id: NodeId) -> Operand {
        let view = self.views[id.index()].clone();
        if is_contiguous(&view.dims[1..], &view.strides[1..]) {
            return Operand {
                buffer: self.buffer(view.base),
                offset: view.offset,
                strides: smallvec![view.strides[0]],
            };
        }
        let buffer = self.whole(id);
        Operand { buffer, offset: 0, strides: smallvec![contiguous(&view.dims)[0]] }
    }
}
