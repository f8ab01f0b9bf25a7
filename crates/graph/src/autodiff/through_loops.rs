//! The gradient of a loop: a loop from the last step to the first.
//!
//! ```text
//! forwards    cₜ₊₁, yₜ = f(cₜ, xₜ, w)                for t = 0, 1, …
//! backwards   c̄ₜ, x̄ₜ, w̄ₜ = fᵀ(c̄ₜ₊₁, ȳₜ; cₜ, xₜ, w)    for t = …, 1, 0;   w̄ = Σ w̄ₜ
//! ```
//!
//! What a step back needs of its step, the loop gives as further outputs: the carries before the step, and those numbers
//! that are not had from others for an addition or so. The loop with these outputs is another loop, of which the passes make
//! one with the first. Inside [`recompute`](super::recompute()) a step back computes its step again, and the carries are
//! all that is kept. The gradient is a loop like any other, so it has a gradient itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::Location;

use thalweg_array::scalar::{Binary, Unary};

use super::reverse::pull_back;
use super::totals::Totals;
use crate::op::Op;
use crate::ops::control::close::{Draft, is_free_view, outputs_of};
use crate::ops::control::{Body, Loop};
use crate::ops::elementwise::{ElementwiseBinary, ElementwiseUnary};
use crate::ops::source::placeholder_like;
use crate::tensor::{Meta, Tensor, TensorId, topological_until};

/// A loop whose results have cotangents.
pub(super) struct Through<'a> {
    pub(super) op: &'a Loop,
    /// What the loop is given.
    pub(super) given: &'a [Tensor],
    /// The same as the gradient sees it, which may be computed again.
    pub(super) seen: &'a [Tensor],
    /// The cotangent of each result that has one.
    pub(super) cotangents: &'a BTreeMap<usize, Tensor>,
    /// For which of the given tensors one is asked for.
    pub(super) wanted: &'a [bool],
    pub(super) location: &'static Location<'static>,
}

impl Through<'_> {
    /// The cotangents of what the loop is given.
    pub(super) fn pull_back(&self) -> Vec<Option<Tensor>> {
        let op = self.op;
        let walked = op.carries..op.carries + op.inputs;
        let first = TensorId::next();
        let seen_in_a_step = |(position, given): (usize, &Tensor)| match walked.contains(&position) {
            true => placeholder_like(&slice_of(given.meta())),
            false => placeholder_like(given.meta()),
        };
        let parameters: Vec<Tensor> = self.given.iter().enumerate().map(seen_in_a_step).collect();
        let bug = "a loop knows its parameters: a bug in Thalweg";
        let nodes = op.body.inline(|name| parameters[op.position(name).expect(bug)].clone());
        let results: Vec<&Tensor> = op.body.graph().fetches().iter().map(|id| &nodes[id.index()]).collect();

        // The step back.
        let carried = self.carried(&parameters);
        if carried.is_empty() && !self.wanted.iter().any(|wanted| *wanted) {
            return vec![None; self.given.len()];
        }
        let carry_seeds: Vec<Tensor> = carried.iter().map(|&carry| placeholder_like(results[carry].meta())).collect();
        let output_cotangents: Vec<(usize, &Tensor)> =
            self.cotangents.range(op.carries..).map(|(&result, cotangent)| (result, cotangent)).collect();
        let output_seeds: Vec<Tensor> =
            output_cotangents.iter().map(|(result, _)| placeholder_like(results[*result].meta())).collect();
        let seeded: Vec<(&Tensor, &Tensor)> = carried
            .iter()
            .zip(&carry_seeds)
            .map(|(&carry, seed)| (results[carry], seed))
            .chain(output_cotangents.iter().zip(&output_seeds).map(|((result, _), seed)| (results[*result], seed)))
            .collect();
        let asked: Vec<usize> = (0..self.given.len())
            .filter(|position| match position {
                carry if *carry < op.carries => carried.contains(carry),
                other => self.wanted[*other] && self.given[*other].dtype().is_float(),
            })
            .collect();
        let wrt: Vec<&Tensor> = asked.iter().map(|&position| &parameters[position]).collect();
        let found = pull_back(&seeded, &wrt);
        let gradients: BTreeMap<usize, Option<Tensor>> = asked.iter().copied().zip(found).collect();

        // What the step back reads of the step.
        let targets: Vec<&Tensor> = gradients.values().flatten().collect();
        let kept = Kept::find(&targets, &nodes, &parameters, first);
        let mut fetches = op.body.graph().fetches().to_vec();
        let mut place_of = |id: crate::NodeId| {
            let known = fetches[op.carries..].iter().position(|&fetch| fetch == id).map(|place| op.carries + place);
            known.unwrap_or_else(|| {
                fetches.push(id);
                fetches.len() - 1
            })
        };
        let ids: Vec<crate::NodeId> = op.body.graph().ids().collect();
        let mut kept_places: Vec<(Tensor, usize)> =
            kept.nodes.iter().map(|&node| (nodes[node].clone(), place_of(ids[node]))).collect();
        for carry in (0..op.carries).filter(|&carry| kept.parameters[carry]) {
            let node = nodes.iter().position(|node| node == &parameters[carry]).expect("it was met in the body");
            kept_places.push((parameters[carry].clone(), place_of(ids[node])));
        }
        let forwards = if kept_places.is_empty() { Vec::new() } else { self.with_outputs(fetches) };

        // The loop back.
        let zeros = |like: &Tensor| crate::ops::source::zeros(like.shape(), like.dtype());
        let last = |&carry: &usize| self.cotangents.get(&carry).cloned().unwrap_or_else(|| zeros(&self.given[carry]));
        let walked_pairs = walked.clone().map(|position| (parameters[position].clone(), self.seen[position].clone()));
        let mut draft = Draft {
            length: op.length.clone(),
            reverse: !op.reverse,
            gated: false,
            carries: carry_seeds.iter().cloned().zip(carried.iter().map(last)).collect(),
            inputs: output_seeds
                .iter()
                .cloned()
                .zip(output_cotangents.iter().map(|(_, cotangent)| (*cotangent).clone()))
                .chain(kept_places.into_iter().map(|(seen, place)| (seen, forwards[place].clone())))
                .chain(walked_pairs)
                .collect(),
            outers: (walked.end..self.given.len())
                .map(|position| (parameters[position].clone(), self.seen[position].clone()))
                .collect(),
            first,
        };
        let of_carry = |&carry: &usize| gradients[&carry].clone().unwrap_or_else(|| zeros(&parameters[carry]));
        let mut next: Vec<Tensor> = carried.iter().map(of_carry).collect();
        let mut outputs: Vec<Tensor> = Vec::new();
        let mut walked_outputs: HashMap<usize, usize> = HashMap::new();
        let mut totals: BTreeMap<usize, Totals> = BTreeMap::new();
        for (&position, gradient) in gradients.range(op.carries..) {
            let Some(gradient) = gradient else { continue };
            if walked.contains(&position) {
                walked_outputs.insert(position, outputs.len());
                outputs.push(gradient.clone());
            } else {
                let total = Totals::of(gradient);
                for factor in total.factors() {
                    let known = draft.inputs.iter().any(|(seen, _)| seen == factor) || outputs.contains(factor);
                    if !known {
                        outputs.push(factor.clone());
                    }
                }
                if let Some(rest) = total.rest() {
                    let sum = placeholder_like(rest.meta());
                    next.push(&sum + rest);
                    draft.carries.push((sum, zeros(rest)));
                }
                totals.insert(position, total);
            }
        }
        let known_stacks: Vec<(Tensor, Tensor)> = draft.inputs.clone();
        let carries = draft.carries.len();
        let backwards =
            draft.close(&next, &outputs, self.location).expect("a step back fits its step: a bug in Thalweg");
        let stack = |factor: &Tensor| {
            let output = outputs.iter().position(|output| output == factor).map(|place| &backwards[carries + place]);
            let walked = || known_stacks.iter().find(|(seen, _)| seen == factor).map(|(_, stack)| stack);
            output.or_else(walked).expect("every factor is stacked").clone()
        };
        let mut sums = backwards[carried.len()..carries].iter();
        (0..self.given.len())
            .map(|position| match position {
                carry if carry < op.carries => {
                    let place = carried.iter().position(|&carried| carried == carry)?;
                    self.wanted[carry].then(|| backwards[place].clone())
                }
                walked if walked < op.carries + op.inputs => {
                    walked_outputs.get(&walked).map(|place| backwards[carries + place].clone())
                }
                outer => {
                    let total = totals.get(&outer)?;
                    Some(total.sum(&stack, total.rest().and_then(|_| sums.next())))
                }
            })
            .collect()
    }

    /// The carries through which cotangents travel: those that wanted numbers lead to, and that lead to what has a cotangent.
    fn carried(&self, parameters: &[Tensor]) -> Vec<usize> {
        let (op, graph) = (self.op, self.op.body.graph());
        let mut position_of: Vec<Option<usize>> = vec![None; graph.len()];
        for (id, placeholder) in graph.placeholders() {
            position_of[id.index()] = op.position(&placeholder.name);
        }
        let is_float = |carry: &usize| parameters[*carry].dtype().is_float();
        // Forwards: a carry is touched if a step makes it of what is touched.
        let mut touched: Vec<bool> = self.wanted.to_vec();
        loop {
            let mut reached = vec![false; graph.len()];
            for (index, node) in graph.nodes().enumerate() {
                let given = position_of[index].is_some_and(|position| touched[position]);
                reached[index] = given || node.inputs.iter().any(|input| reached[input.index()]);
            }
            let more = |carry: &usize| !touched[*carry] && reached[graph.fetches()[*carry].index()];
            let more: Vec<usize> = (0..op.carries).filter(is_float).filter(more).collect();
            if more.is_empty() {
                break;
            }
            more.into_iter().for_each(|carry| touched[carry] = true);
        }
        // Backwards: a carry matters if a step makes of it what matters.
        let mut matters: Vec<bool> = (0..graph.fetches().len()).map(|r| self.cotangents.contains_key(&r)).collect();
        loop {
            let mut needed = vec![false; graph.len()];
            for (result, _) in matters.iter().enumerate().filter(|(_, matters)| **matters) {
                needed[graph.fetches()[result].index()] = true;
            }
            for (index, node) in graph.nodes().enumerate().rev().collect::<Vec<_>>() {
                if needed[index] {
                    node.inputs.iter().for_each(|input| needed[input.index()] = true);
                }
            }
            let reads = |carry: usize| (0..graph.len()).any(|at| needed[at] && position_of[at] == Some(carry));
            let more: Vec<usize> = (0..op.carries).filter(|&carry| !matters[carry] && reads(carry)).collect();
            if more.is_empty() {
                break;
            }
            more.into_iter().for_each(|carry| matters[carry] = true);
        }
        (0..op.carries).filter(is_float).filter(|&carry| touched[carry] && matters[carry]).collect()
    }

    /// The results of the loop that fetches these nodes of its body.
    fn with_outputs(&self, fetches: Vec<crate::NodeId>) -> Vec<Tensor> {
        let mut graph = self.op.body.graph().clone();
        graph.set_roots(fetches, Vec::new());
        let op = Loop { body: Body::new(graph), length: self.op.length.clone(), ..*self.op };
        outputs_of(op, self.given.iter().cloned()).expect("more outputs change nothing: a bug in Thalweg")
    }
}

/// dtype and shape of the parts along axis 0.
fn slice_of(meta: &Meta) -> Meta {
    Meta::new(meta.dtype, meta.shape.iter().skip(1).cloned().collect())
}

/// What is kept of each step for its step back.
struct Kept {
    /// Nodes of the body.
    nodes: Vec<usize>,
    /// Which parameters are read.
    parameters: Vec<bool>,
}

impl Kept {
    /// What `targets` read of the nodes of a step.
    fn find(targets: &[&Tensor], nodes: &[Tensor], parameters: &[Tensor], first: TensorId) -> Kept {
        let parameter: HashMap<TensorId, usize> =
            parameters.iter().enumerate().map(|(position, tensor)| (tensor.id(), position)).collect();
        let number: HashMap<TensorId, usize> = nodes
            .iter()
            .enumerate()
            .filter(|(_, tensor)| !parameter.contains_key(&tensor.id()))
            .map(|(number, tensor)| (tensor.id(), number))
            .collect();
        let is_leaf = |tensor: &Tensor| tensor.id() < first || number.contains_key(&tensor.id());
        let met = topological_until(targets.iter().copied(), is_leaf);

        // What a node of the step is a view of, unless it is known or a parameter.
        let base = |tensor: &Tensor| {
            let mut at = tensor.clone();
            while number.contains_key(&at.id()) && is_free_view(&at) {
                at = at.inputs()[0].clone();
            }
            number.get(&at.id()).copied().filter(|_| !at.inputs().is_empty())
        };
        let mut kept: BTreeSet<usize> = met.iter().filter_map(base).collect();
        for node in kept.clone().into_iter().rev() {
            let had = |input: &Tensor| base(input).is_none_or(|base| kept.contains(&base));
            if is_cheap(nodes[node].op()) && nodes[node].inputs().iter().all(had) {
                kept.remove(&node);
            }
        }
        // The parameters behind all that is not kept.
        let leaves: HashSet<TensorId> = kept.iter().map(|&node| nodes[node].id()).collect();
        let is_leaf = |tensor: &Tensor| {
            tensor.id() < first || leaves.contains(&tensor.id()) || parameter.contains_key(&tensor.id())
        };
        let mut read = vec![false; parameters.len()];
        for tensor in topological_until(targets.iter().copied(), is_leaf) {
            if let Some(&position) = parameter.get(&tensor.id()) {
                read[position] = true;
            }
        }
        Kept { nodes: kept.into_iter().collect(), parameters: read }
    }
}

/// Whether a step back computes it sooner than it reads it from memory.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Cast(_) | Op::Select(_) => true,
        Op::Unary(ElementwiseUnary(f)) => {
            matches!(f, Unary::Neg | Unary::Not | Unary::Abs | Unary::Square | Unary::Sign | Unary::Relu)
        }
        Op::Binary(ElementwiseBinary(f)) => !matches!(f, Binary::Div | Binary::Rem | Binary::Pow),
        _ => false,
    }
}
