//! What leaves a run: fetches into the caller's buffers, updates into variables.

use std::collections::{HashMap, HashSet};

use thalweg_graph::NodeId;

use super::views::contiguous;
use super::{DraftCall, Lowering};
use crate::plan::{BufferId, Kernel, Operand, Place};

impl Lowering<'_> {
    /// Gives each fetch and each update its buffer: the call that computes it writes there if nothing stands in the
    /// way, else a copy does.
    pub(super) fn fetches_and_updates(&mut self) {
        for (number, &fetch) in self.graph.fetches().iter().enumerate() {
            let buffer = self.fetch(number, fetch);
            self.plan.fetches.push(buffer);
        }
        // How often each buffer is read; a value that is read again cannot overwrite the variable early.
        let mut reads: HashMap<BufferId, usize> = HashMap::new();
        for draft in &self.drafts {
            for buffer in draft.call.kernel.reads() {
                *reads.entry(buffer).or_default() += 1;
            }
        }
        // Which call writes each buffer; the copies below write nothing that an update takes.
        let written = |(number, draft): (usize, &DraftCall)| {
            draft.call.kernel.writes().into_iter().map(move |buffer| (buffer, number)).collect::<Vec<_>>()
        };
        let writers: HashMap<BufferId, usize> = self.drafts.iter().enumerate().flat_map(written).collect();
        let updates: Vec<_> = self.graph.updates().to_vec();
        let mut targets: HashSet<BufferId> = HashSet::new();
        for (variable, value) in updates {
            let index = self.variable(&variable);
            let view = self.views[value.index()].clone();
            let source = self.buffer(view.base);
            let direct = view.is_identity()
                && matches!(self.plan[source].place, Place::Arena { .. })
                && !reads.contains_key(&source)
                && !targets.contains(&source)
                && writers.get(&source).is_some_and(|&writer| self.may_write_variable(writer, source, index, &reads));
            if direct {
                self.plan.buffers[source.index()].place = Place::Variable(index);
                targets.insert(source);
                continue;
            }
            let dtype = self.plan[source].dtype;
            let to = self.push_buffer(dtype, view.dims.clone(), Place::Variable(index));
            let from = Operand { buffer: source, offset: view.offset, strides: view.strides.clone() };
            let to = Operand { buffer: to, offset: 0, strides: contiguous(&view.dims) };
            self.push(value, &[value], Kernel::Copy { dims: view.dims, from, to });
        }
    }

    fn fetch(&mut self, number: usize, fetch: NodeId) -> BufferId {
        let view = self.views[fetch.index()].clone();
        let source = self.buffer(view.base);
        if view.is_identity() && matches!(self.plan[source].place, Place::Arena { .. }) {
            let buffer = &mut self.plan.buffers[source.index()];
            buffer.place = Place::Fetch(number);
            buffer.shape = view.dims;
            return source;
        }
        let dtype = self.plan[source].dtype;
        let buffer = self.push_buffer(dtype, view.dims.clone(), Place::Fetch(number));
        let from = Operand { buffer: source, offset: view.offset, strides: view.strides.clone() };
        let to = Operand { buffer, offset: 0, strides: contiguous(&view.dims) };
        self.push(fetch, &[fetch], Kernel::Copy { dims: view.dims, from, to });
        buffer
    }

    /// The number of a variable in the plan.
    fn variable(&mut self, variable: &thalweg_graph::Variable) -> usize {
        let known = self.variable_numbers.get(&variable.id()).copied();
        known.unwrap_or_else(|| {
            let place = Place::Variable(self.plan.variables.len());
            let buffer = self.push_buffer(variable.dtype(), variable.core().shape().into(), place);
            self.meet(variable.clone(), buffer)
        })
    }

    /// Whether `writer`, the call that writes `source`, may write variable `index` instead: it cannot fail, nobody waits for its
    /// other results, and where it reads the variable itself it does so element by element.
    fn may_write_variable(
        &self,
        writer: usize,
        source: BufferId,
        index: usize,
        reads: &HashMap<BufferId, usize>,
    ) -> bool {
        let kernel = &self.drafts[writer].call.kernel;
        let is_variable =
            |buffer: BufferId| matches!(self.plan[buffer].place, Place::Variable(number) if number == index);
        let aligned = |inputs: &[Operand], outputs: &[Operand]| {
            let Some(output) = outputs.iter().find(|output| output.buffer == source) else { return false };
            let same = |input: &Operand| input.strides == output.strides && input.offset == output.offset;
            inputs.iter().filter(|input| is_variable(input.buffer)).all(same)
        };
        let alone = kernel.writes().iter().all(|written| !reads.contains_key(written));
        alone
            && match kernel {
                // What is put together or stored per row is written while other rows are still read.
                Kernel::Map(map) => {
                    let full = map.outputs.iter().find(|output| output.buffer == source);
                    let full = full.is_some_and(|output| output.strides == contiguous(&map.dims));
                    let reads_it = map.inputs.iter().any(|input| is_variable(input.buffer));
                    aligned(&map.inputs, &map.outputs) && (full || !reads_it)
                }
                Kernel::MatMul(matmul) => {
                    let factors = is_variable(matmul.a.buffer) || is_variable(matmul.b.buffer);
                    !factors && matmul.epilogue.as_ref().is_none_or(|e| aligned(&e.inputs, &e.outputs))
                }
                Kernel::Convolution(convolution) => {
                    let factors = is_variable(convolution.a) || is_variable(convolution.b);
                    !factors && convolution.epilogue.as_ref().is_none_or(|e| aligned(&e.inputs, &e.outputs))
                }
                Kernel::Fill { .. } => true,
                Kernel::Copy { from, .. } => !is_variable(from.buffer),
                _ => false,
            }
    }
}
