//! Products of all steps at once: what a step multiplies of its inputs with a matrix that no step changes is one product
//! before the loop, and what of such products only leaves the loop is one product after it.
//!
//! ```text
//! %0: f32[n,k] = matmul %input0 %outer0      in every step
//! ⇒ %1: f32[t*n,k] = matmul %x %w            before all of them
//! ```
//!
//! What leads from an input to the product (functions of numbers, views) is done to all steps as well.

use std::collections::HashMap;

use smallvec::SmallVec;
use thalweg_array::{Shape, Size};

use crate::graph::{Changed, Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::assemble::{Slice, SliceAxis};
use crate::ops::control::rules::stacked;
use crate::ops::control::{Body, Loop, Output};
use crate::ops::matmul::MatMul;
use crate::ops::shape::{Expand, Permute, Reshape};
use crate::ops::source::Placeholder;
use crate::tensor::Meta;

/// The graph with products of all steps outside of its loops.
pub(super) fn take_out(graph: Graph) -> Changed<Graph> {
    let mut afterwards: HashMap<(NodeId, usize), After> = HashMap::new();
    graph.rebuild(|graph, node, inputs| match &node.op {
        Op::Loop(op) => {
            let (op, given, after) = Outside::new(graph, node, op, inputs)?.take_out();
            let id = graph.add(op, &given, node).expect("products outside fit the steps: a bug in Thalweg");
            afterwards.extend(after.into_iter().map(|after| ((id, after.result), after)));
            Some(id)
        }
        Op::Output(output) => {
            let after = afterwards.get(&(inputs[0], output.index))?;
            let op = Output { shape: after.factor.shape.clone(), dtype: after.factor.dtype, index: output.index };
            let factor = graph.add(op, inputs, node).ok()?;
            product(graph, node, factor, after.matrix, node.meta.shape.clone())
        }
        _ => None,
    })
}

/// A result that is a product of what the loop gives instead.
struct After {
    result: usize,
    /// What the loop gives.
    factor: Meta,
    /// What it is multiplied by.
    matrix: NodeId,
}

/// The product of a matrix of each step with one matrix, as a tensor of this shape.
fn product(graph: &mut Graph, like: &Node, stack: NodeId, matrix: NodeId, shape: Shape) -> Option<NodeId> {
    let of = &graph[stack].meta.shape;
    let rows = Shape::from_iter([&of[0] * &of[1], of[2].clone()]);
    let rows = graph.add(Reshape { shape: rows }, &[stack], like).ok()?;
    let product = graph.add(MatMul {}, &[rows, matrix], like).ok()?;
    graph.add(Reshape { shape }, &[product], like).ok()
}

/// What a node of a body depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing that changes from step to step.
    Known,
    /// Inputs at the step's position, in a way that can be said of all positions at once.
    Walked,
    /// The step before, or more.
    Step,
}

/// A loop and what comes out of it.
struct Outside<'a> {
    graph: &'a mut Graph,
    like: &'a Node,
    op: &'a Loop,
    given: &'a [NodeId],
    kinds: Vec<Kind>,
    /// Products of inputs.
    before: Vec<NodeId>,
    /// Results that are products, with these.
    after: Vec<(usize, NodeId)>,
    /// What stands outside for nodes of the body.
    made: HashMap<NodeId, NodeId>,
}

impl<'a> Outside<'a> {
    /// `None` if everything is where it should be.
    fn new(graph: &'a mut Graph, like: &'a Node, op: &'a Loop, given: &'a [NodeId]) -> Option<Outside<'a>> {
        let body = op.body.graph();
        let mut kinds: Vec<Kind> = Vec::with_capacity(body.len());
        for node in body.nodes() {
            kinds.push(kind(op, node, |input| kinds[input.index()]));
        }
        let is_product = |id: &NodeId| matches!(body[*id].op, Op::MatMul(_)) && body[*id].meta.shape.rank() == 2;
        let before: Vec<NodeId> = body.ids().filter(|id| is_product(id) && kinds[id.index()] == Kind::Walked).collect();
        let uses = body.use_counts();
        let after = (op.carries..body.fetches().len()).filter_map(|result| {
            let mut at = body.fetches()[result];
            while uses[at.index()] == 1 && matches!(body[at].op, Op::Reshape(_)) {
                at = body[at].inputs[0];
            }
            let factor = |number: usize| kinds[body[at].inputs[number].index()];
            let leaves =
                uses[at.index()] == 1 && is_product(&at) && (factor(0), factor(1)) == (Kind::Step, Kind::Known);
            leaves.then_some((result, at))
        });
        let after: Vec<(usize, NodeId)> = after.collect();
        let nothing = before.is_empty() && after.is_empty();
        (!nothing).then_some(Outside { graph, like, op, given, kinds, before, after, made: HashMap::new() })
    }

    /// The loop that is left, what it is given, and the results that are products of it.
    fn take_out(mut self) -> (Loop, Vec<NodeId>, Vec<After>) {
        let (op, body) = (self.op, self.op.body.graph());
        self.make();
        let mut new_inputs: Vec<NodeId> = Vec::new();
        let mut position = 0;
        let ids: Vec<NodeId> = body.ids().collect();
        let rebuilt = body.clone().rebuild(|graph, node, _| {
            position += 1;
            let id = ids[position - 1];
            if !self.before.contains(&id) {
                return None;
            }
            let name = format!("input{}", op.inputs + new_inputs.len()).into();
            new_inputs.push(self.made[&id]);
            let op = Placeholder { name, dtype: node.meta.dtype, shape: node.meta.shape.clone() }.into();
            let inputs = SmallVec::new();
            Some(graph.push(Node { op, inputs, name: None, origin: None, ..node.clone() }))
        });
        let mut new_body = rebuilt.value;
        let mut fetches = new_body.fetches().to_vec();
        let mut after = Vec::new();
        for &(result, at) in &self.after {
            let factor = body[at].inputs[0];
            // Nodes keep their positions: each is replaced by one.
            fetches[result] = factor;
            let matrix = self.made[&body[at].inputs[1]];
            after.push(After { result, factor: stacked(&op.length, &body[factor].meta), matrix });
        }
        new_body.set_roots(fetches, Vec::new());
        let walked_end = op.carries + op.inputs;
        let given = self.given[..walked_end].iter().chain(&new_inputs).chain(&self.given[walked_end..]);
        let given = given.copied().collect();
        let inputs = op.inputs + new_inputs.len();
        (Loop { inputs, body: Body::new(new_body), length: op.length.clone(), ..*op }, given, after)
    }

    /// Makes outside what the products need.
    fn make(&mut self) {
        let body = self.op.body.graph();
        let mut needed = vec![false; body.len()];
        self.before.iter().for_each(|id| needed[id.index()] = true);
        self.after.iter().for_each(|(_, at)| needed[body[*at].inputs[1].index()] = true);
        for (position, node) in body.nodes().enumerate().rev().collect::<Vec<_>>() {
            if needed[position] {
                node.inputs.iter().for_each(|input| needed[input.index()] = true);
            }
        }
        for id in body.ids().filter(|id| needed[id.index()]) {
            let made = match self.kinds[id.index()] {
                Kind::Known => self.known(&body[id]),
                Kind::Walked => self.of_all_steps(&body[id]),
                Kind::Step => unreachable!("products outside need nothing of a step: a bug in Thalweg"),
            };
            self.made.insert(id, made.expect("what a step computes can be computed outside: a bug in Thalweg"));
        }
    }

    fn known(&mut self, node: &Node) -> Option<NodeId> {
        if let Op::Placeholder(placeholder) = &node.op {
            return Some(self.given[self.op.position(&placeholder.name)?]);
        }
        let inputs: SmallVec<[NodeId; 3]> = node.inputs.iter().map(|input| self.made[input]).collect();
        self.graph.add(node.op.clone(), &inputs, self.like).ok()
    }

    fn of_all_steps(&mut self, node: &Node) -> Option<NodeId> {
        let with_steps =
            |shape: &Shape| -> Shape { [&self.op.length].into_iter().chain(shape.iter()).cloned().collect() };
        let shape = with_steps(&node.meta.shape);
        let input = |number: usize| self.made[&node.inputs[number]];
        let (op, inputs): (Op, SmallVec<[NodeId; 3]>) = match &node.op {
            Op::Placeholder(placeholder) => return Some(self.given[self.op.position(&placeholder.name)?]),
            Op::MatMul(_) => {
                let (stack, matrix) = (input(0), input(1));
                return product(self.graph, self.like, stack, matrix, shape);
            }
            Op::Reshape(_) => (Reshape { shape }.into(), [input(0)].into_iter().collect()),
            Op::Permute(Permute { axes }) => {
                let axes = [0].into_iter().chain(axes.iter().map(|axis| axis + 1)).collect();
                (Permute { axes }.into(), [input(0)].into_iter().collect())
            }
            Op::Slice(slice) => {
                let axes = [SliceAxis::whole(&self.op.length)].into_iter().chain(slice.axes.iter().cloned()).collect();
                (Slice { axes }.into(), [input(0)].into_iter().collect())
            }
            Op::Expand(_) => {
                // New axes come before those of a step.
                let from = &self.op.body.graph()[node.inputs[0]].meta.shape;
                let ones = std::iter::repeat_n(Size::from(1), node.meta.shape.rank() - from.rank());
                let aligned = [self.op.length.clone()].into_iter().chain(ones).chain(from.iter().cloned()).collect();
                let aligned = self.graph.add(Reshape { shape: aligned }, &[input(0)], self.like).ok()?;
                (Expand { shape }.into(), [aligned].into_iter().collect())
            }
            op => {
                let mut inputs = SmallVec::new();
                for number in &node.inputs {
                    let made = self.made[number];
                    inputs.push(match self.kinds[number.index()] {
                        Kind::Known => self.graph.add(Expand { shape: shape.clone() }, &[made], self.like).ok()?,
                        Kind::Walked | Kind::Step => made,
                    });
                }
                (op.clone(), inputs)
            }
        };
        self.graph.add(op, &inputs, self.like).ok()
    }
}

fn kind(op: &Loop, node: &Node, of: impl Fn(NodeId) -> Kind) -> Kind {
    let kinds: SmallVec<[Kind; 3]> = node.inputs.iter().map(|&input| of(input)).collect();
    match &node.op {
        Op::Placeholder(placeholder) => match op.position(&placeholder.name) {
            Some(position) if position < op.carries => Kind::Step,
            Some(position) if position < op.carries + op.inputs => Kind::Walked,
            _ => Kind::Known,
        },
        Op::Loop(_) | Op::Output(_) | Op::After(_) => Kind::Step,
        _ if kinds.iter().all(|kind| *kind == Kind::Known) => Kind::Known,
        _ if kinds.contains(&Kind::Step) => Kind::Step,
        Op::MatMul(_) if node.meta.shape.rank() == 2 && kinds[..] == [Kind::Walked, Kind::Known] => Kind::Walked,
        Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_) => Kind::Walked,
        Op::Reshape(_) | Op::Permute(_) | Op::Expand(_) | Op::Slice(_) => Kind::Walked,
        _ => Kind::Step,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_array::DType;

    use crate::autodiff::grad;
    use crate::graph::Graph;
    use crate::op::Op;
    use crate::ops::control::scan;
    use crate::ops::source::placeholder;
    use crate::passes::testing::same_meaning;
    use crate::passes::{Options, optimize};

    /// How many products are in the bodies of loops, and how many outside.
    fn products(graph: &Graph) -> (usize, usize) {
        let is_product = |op: &Op| matches!(op, Op::MatMul(_));
        let inside = graph.nodes().map(|node| match &node.op {
            Op::Loop(op) => op.body.graph().nodes().filter(|node| is_product(&node.op)).count(),
            _ => 0,
        });
        (inside.sum(), graph.nodes().filter(|node| is_product(&node.op)).count())
    }

    #[test]
    fn inputs_are_multiplied_before_and_what_leaves_after() {
        let x = placeholder("x", DType::F64, ("t", "n", 3));
        let [w, u, v] = [[3, 4], [4, 4], [4, 2]].map(|shape| placeholder(format!("w{shape:?}"), DType::F64, shape));
        let shift = placeholder("shift", DType::F64, [3]);
        let h = placeholder("h", DType::F64, ("n", 4));
        let (_, outputs) = scan(&[&h], &[&x], |h, x| {
            let next = ((x[0].tanh() + &shift).matmul(&w) + h[0].matmul(&u)).tanh();
            (vec![next.clone()], vec![next.matmul(&v).reshape(("n", 1, 2))])
        });
        let graph = Graph::capture([&outputs[0]], &[]);
        assert_eq!(products(&graph), (3, 0));
        let optimized = optimize(graph.clone(), &Options::default());
        assert_eq!(products(&optimized), (1, 2), "{optimized}");
        same_meaning(&graph, &optimized);
    }

    #[test]
    fn a_training_step_of_a_cell_has_one_product_a_step_there_and_one_back() {
        let x = placeholder("x", DType::F64, ("t", "n", 3));
        let (w, u) = (placeholder("w", DType::F64, [3, 4]), placeholder("u", DType::F64, [4, 4]));
        let h = placeholder("h", DType::F64, ("n", 4));
        let (_, outputs) = scan(&[&h], &[&x], |h, x| {
            let next = (x[0].matmul(&w) + h[0].matmul(&u)).tanh();
            (vec![next.clone()], vec![next])
        });
        let gradients = grad(&outputs[0].square().sum(), &[&w, &u, &x, &h]);
        let graph = Graph::capture(&gradients, &[]);
        let optimized = optimize(graph.clone(), &Options::default());
        assert_eq!(products(&optimized), (2, 4), "x·W, x̄, W̄, Ū: {optimized}");
        same_meaning(&graph, &optimized);
    }
}
