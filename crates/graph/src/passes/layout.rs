//! Permutations travel until they meet their inverse, so that between convolutions nothing is transposed.
//!
//! ```text
//! %0: f32[n,8,8,4] = convolution %x %w …
//! %1: f32[n,4,8,8] = permute %0 axes=[0,3,1,2]
//! %2: f32[n,4,8,8] = relu %1
//! %3: f32[n,8,8,4] = permute %2 axes=[0,2,3,1]
//! %4: f32[n,8,8,4] = convolution %3 %v …     ⇒  %2: f32[n,8,8,4] = relu %0, %4: … = convolution %2 %v …
//! ```
//!
//! What comes from a convolution keeps the order in which the convolution wrote it, channels last, and the permutation
//! that a user sees is only taken note of. What can be said of axes in any order (functions of numbers, folds, parts,
//! windows, cuts of an axis) is said of the order that is there; what cannot asks for the order that was meant, and gets
//! the permutation. Graphs without convolutions stay as they are: there programs read through permutations as they
//! stand.

use std::collections::HashMap;

use smallvec::SmallVec;
use thalweg_array::{Shape, Size};

use super::{Options, Pass};
use crate::graph::{Changed, Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::assemble::{Concat, Flip, Pad, Slice};
use crate::ops::composite::{LogSoftmax, Softmax};
use crate::ops::convolution::Side;
use crate::ops::index::Gather;
use crate::ops::normalization::BatchNorm;
use crate::ops::reduce::Reduce;
use crate::ops::shape::{Expand, Permute, Reshape};
use crate::ops::windows::{OverlapAdd, Windows};

/// The pass.
pub const PASS: Pass = Pass { name: "layout", run };

/// Axes in the order in which they lie: position i holds axis `order[i]` of what was meant.
type Order = SmallVec<[usize; 8]>;

/// What stands for a node.
#[derive(Clone, Debug)]
struct Value {
    id: NodeId,
    order: Order,
    /// Whether the order goes back to a convolution, so that it is worth keeping.
    anchored: bool,
}

fn run(graph: Graph, _: &Options) -> Changed<Graph> {
    if !graph.nodes().any(|node| matches!(node.op, Op::Convolution(_))) {
        return Changed { value: graph, changed: false };
    }
    let mut travel = Travel { old: &graph, new: Graph::default(), values: Vec::new(), known: HashMap::new() };
    let mut changed = false;
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let value = match travel.in_any_order(node) {
            Some(value) => {
                changed = true;
                value
            }
            None => travel.as_meant(node),
        };
        debug_assert_eq!(travel.values.len(), id.index());
        travel.values.push(value);
    }
    let fetches = graph.fetches().iter().map(|&id| travel.meant(id)).collect();
    let updates = graph.updates().iter().map(|(variable, id)| (variable.clone(), travel.meant(*id))).collect();
    let Travel { new: mut value, .. } = travel;
    value.set_roots(fetches, updates);
    Changed { value, changed }
}

/// 0, 1, 2, …
fn identity(rank: usize) -> Order {
    (0..rank).collect()
}

fn is_identity(order: &[usize]) -> bool {
    order.iter().copied().eq(0..order.len())
}

/// Where each axis that was meant lies.
fn inverse(order: &[usize]) -> Order {
    let mut inverse = identity(order.len());
    for (position, &axis) in order.iter().enumerate() {
        inverse[axis] = position;
    }
    inverse
}

/// The position of an axis.
fn position(order: &[usize], axis: usize) -> usize {
    order.iter().position(|&other| other == axis).expect("an order holds every axis")
}

struct Travel<'a> {
    old: &'a Graph,
    new: Graph,
    /// What stands for each node of the old graph so far.
    values: Vec<Value>,
    /// Nodes in other orders, once each.
    known: HashMap<(NodeId, Order), NodeId>,
}

impl Travel<'_> {
    fn value(&self, id: NodeId) -> &Value {
        &self.values[id.index()]
    }

    /// A node in the order that was meant.
    fn meant(&mut self, id: NodeId) -> NodeId {
        let order = identity(self.value(id).order.len());
        self.in_order(id, &order)
    }

    /// A node in this order.
    fn in_order(&mut self, id: NodeId, order: &Order) -> NodeId {
        let Value { id: there, order: from, .. } = self.value(id).clone();
        if from == *order {
            return there;
        }
        if let Some(&known) = self.known.get(&(there, order.clone())) {
            return known;
        }
        let node = &self.old[id];
        let repeated = match node.op {
            Op::Expand(_) => self.repeated(id, order),
            _ => None,
        };
        let axes = order.iter().map(|&axis| position(&from, axis)).collect();
        let made = repeated.unwrap_or_else(|| self.add(Permute { axes }, &[there], node));
        self.known.insert((there, order.clone()), made);
        made
    }

    /// A repeated tensor in this order: its source is put in order, which moves little or nothing, and then repeated.
    fn repeated(&mut self, id: NodeId, order: &Order) -> Option<NodeId> {
        let node = &self.old[id];
        let source = node.inputs[0];
        let shape = &self.old[source].meta.shape;
        let rank = order.len();
        let aligned: Shape = (shape.rank()..rank).map(|_| Size::from(1)).chain(shape.iter().cloned()).collect();
        let in_order: Shape = order.iter().map(|&axis| aligned[axis].clone()).collect();
        let whole: Shape = order.iter().map(|&axis| node.meta.shape[axis].clone()).collect();
        let only_ones_move = order.iter().filter(|&&axis| !aligned[axis].is(1)).is_sorted();
        let source = if self.value(source).order == *order {
            self.value(source).id
        } else {
            let mut source = self.meant(source);
            if only_ones_move {
                self.reshaped(source, &in_order, node)
            } else {
                source = self.reshaped(source, &aligned, node);
                self.add(Permute { axes: order.iter().copied().collect() }, &[source], node)
            }
        };
        Some(if in_order == whole { source } else { self.add(Expand { shape: whole }, &[source], node) })
    }

    fn reshaped(&mut self, id: NodeId, shape: &Shape, like: &Node) -> NodeId {
        if self.new[id].meta.shape == *shape { id } else { self.add(Reshape { shape: shape.clone() }, &[id], like) }
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId], like: &Node) -> NodeId {
        match self.new.add(op, inputs, like) {
            Ok(id) => id,
            Err(error) => panic!("{} in another order: {error}; a bug in Thalweg", like.describe()),
        }
    }

    /// The node on inputs in the order that was meant.
    fn as_meant(&mut self, node: &Node) -> Value {
        let as_they_were = node.inputs.iter().all(|&input| {
            self.old[input].meta == self.new[self.value(input).id].meta
                && is_identity(&self.value(input).order)
                && self.new[self.value(input).id].origin.is_some()
        });
        let inputs = node.inputs.iter().map(|&input| self.meant(input)).collect();
        let origin = node.origin.clone().filter(|_| as_they_were);
        let anchored = match &node.op {
            Op::Convolution(convolution) => convolution.side != Side::Weight,
            _ => false,
        };
        let id = self.new.push(Node { inputs, origin, ..node.clone() });
        Value { id, order: identity(node.meta.shape.rank()), anchored }
    }

    /// The node in the order of its inputs, if one of them comes from a convolution and the op does not care.
    fn in_any_order(&mut self, node: &Node) -> Option<Value> {
        // What was only repeated fits any order.
        let anchored = || node.inputs.iter().filter(|&&input| self.value(input).anchored);
        let first = anchored().find(|&&input| !matches!(self.old[input].op, Op::Expand(_))).or(anchored().next())?;
        let order = self.value(*first).order.clone();
        let input = *node.inputs.first()?;
        if !self.value(input).anchored {
            // Of ops with several equal operands any may come from a convolution.
            match node.op {
                Op::Binary(_) | Op::Select(_) | Op::Concat(_) | Op::Dropout(_) => {}
                _ => return None,
            }
        }
        let there = |axis: usize| position(&order, axis);
        let (op, order): (Op, Order) = match &node.op {
            Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_) | Op::Dropout(_) | Op::StopGradient(_) => {
                return Some(self.on_all(node.op.clone(), node, order));
            }
            Op::Concat(concat) => {
                return Some(self.on_all(Concat { axis: there(concat.axis) }.into(), node, order));
            }
            Op::After(_) => {
                // What is waited for is waited for in any order.
                let inputs = [self.value(input).id, self.value(node.inputs[1]).id];
                let id = self.add(node.op.clone(), &inputs, node);
                return Some(Value { id, order, anchored: true });
            }
            Op::WithUpdate(_) => (node.op.clone(), order),
            Op::Softmax(softmax) => (Softmax { axis: there(softmax.axis) }.into(), order),
            Op::BatchNorm(norm) => (BatchNorm { axis: there(norm.axis), ..*norm }.into(), order),
            Op::LogSoftmax(softmax) => (LogSoftmax { axis: there(softmax.axis) }.into(), order),
            Op::Permute(permute) => {
                let to = inverse(&permute.axes);
                let order = order.iter().map(|&axis| to[axis]).collect();
                return Some(Value { id: self.value(input).id, order, anchored: true });
            }
            Op::Reduce(reduce) => {
                let mut axes: SmallVec<[usize; 4]> = reduce.axes.iter().map(|&axis| there(axis)).collect();
                axes.sort();
                let kept = order.iter().filter(|axis| !reduce.axes.contains(axis));
                let renumbered = |axis: &usize| axis - reduce.axes.iter().filter(|&reduced| reduced < axis).count();
                (Reduce { fold: reduce.fold, axes }.into(), kept.map(renumbered).collect())
            }
            Op::Slice(slice) => {
                let axes = order.iter().map(|&axis| slice.axes[axis].clone()).collect();
                (Slice { axes }.into(), order)
            }
            Op::Pad(pad) => {
                let axes = order.iter().map(|&axis| pad.axes[axis].clone()).collect();
                (Pad { axes, value: pad.value }.into(), order)
            }
            Op::Flip(flip) => (Flip { axes: flip.axes.iter().map(|&axis| there(axis)).collect() }.into(), order),
            Op::Gather(gather) if self.old[node.inputs[1]].meta.shape.rank() == 1 => {
                (Gather { axis: there(gather.axis) }.into(), order)
            }
            Op::Windows(windows) => {
                let at = there(windows.axis);
                // The elements of a window follow the windows, where they lie as well as where they were meant.
                let mut order: Order = order.iter().map(|&axis| axis + usize::from(axis > windows.axis)).collect();
                order.insert(at + 1, windows.axis + 1);
                (Windows { axis: at, ..windows.clone() }.into(), order)
            }
            Op::OverlapAdd(add) => {
                let at = there(add.axis);
                if order.get(at + 1) != Some(&(add.axis + 1)) {
                    return None;
                }
                let mut order: Order = order;
                order.remove(at + 1);
                let order = order.iter().map(|&axis| axis - usize::from(axis > add.axis)).collect();
                (OverlapAdd { axis: at, ..add.clone() }.into(), order)
            }
            Op::Expand(expand) => {
                let extra = expand.shape.rank() - order.len();
                let order: Order = (0..extra).chain(order.iter().map(|&axis| axis + extra)).collect();
                let shape = order.iter().map(|&axis| expand.shape[axis].clone()).collect();
                (Expand { shape }.into(), order)
            }
            Op::Reshape(reshape) => {
                let from = &self.old[input].meta.shape;
                let order = cut_anew(&order, from, &reshape.shape)?;
                let shape = order.iter().map(|&axis| reshape.shape[axis].clone()).collect();
                (Reshape { shape }.into(), order)
            }
            _ => return None,
        };
        let rest: SmallVec<[NodeId; 3]> = node.inputs[1..].iter().map(|&input| self.meant(input)).collect();
        let inputs: SmallVec<[NodeId; 3]> = [self.value(input).id].into_iter().chain(rest).collect();
        let id = self.add(op, &inputs, node);
        // A vector has but one order.
        let anchored = node.meta.shape.iter().filter(|size| !size.is(1)).count() > 1;
        Some(Value { id, order, anchored })
    }

    /// The op on all inputs in this order.
    fn on_all(&mut self, op: Op, node: &Node, order: Order) -> Value {
        let inputs: SmallVec<[NodeId; 3]> = node.inputs.iter().map(|&input| self.in_order(input, &order)).collect();
        let id = self.add(op, &inputs, node);
        Value { id, order, anchored: true }
    }
}

/// The order of the axes of `to`, cut from axes of `from` that lie in `order`, if neighbours that become one lie one after
/// the other.
fn cut_anew(order: &[usize], from: &Shape, to: &Shape) -> Option<Order> {
    let lies = inverse(order);
    // Runs of axes with the same elements, and where each run lies.
    let mut runs: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
    let (mut old, mut new) = (0, 0);
    while old < from.rank() || new < to.rank() {
        // Axes of size 1 carry nothing: those of the old shape vanish, those of the new one join the axis before.
        if from.get(old).is_some_and(|size| size.is(1)) {
            old += 1;
            continue;
        }
        if to.get(new).is_some_and(|size| size.is(1)) {
            match runs.last_mut() {
                Some((_, run)) => run.end = new + 1,
                None => runs.push((0, new..new + 1)),
            }
            new += 1;
            continue;
        }
        let (first_old, first_new) = (old, new);
        let (mut left, mut right) = (from.get(old)?.clone(), to.get(new)?.clone());
        (old, new) = (old + 1, new + 1);
        while left != right {
            let (a, b) = (left.number()?, right.number()?);
            if a < b {
                left = &left * from.get(old)?;
                old += 1;
            } else {
                right = &right * to.get(new)?;
                new += 1;
            }
        }
        let carried = (first_old..old).filter(|&axis| !from[axis].is(1)).map(|axis| lies[axis]);
        let carried: Order = carried.collect();
        // Nothing that carries elements may lie between axes that become one.
        let between = |position: usize| carried[0] < position && position < carried[carried.len() - 1];
        let alien = (0..order.len()).any(|at| between(at) && !carried.contains(&at) && !from[order[at]].is(1));
        if !carried.is_sorted() || alien {
            return None;
        }
        runs.push((carried[0], first_new..new));
    }
    runs.sort_by_key(|(at, run)| (*at, run.start));
    Some(runs.into_iter().flat_map(|(_, run)| run).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::placeholder;
    use crate::passes::testing::same_meaning;
    use crate::passes::{cse, dead_code, simplify};
    use crate::verify::verify;
    use crate::{ConvOptions, DType, Pool, Tensor, constant, grad};

    /// What comes out, with the same meaning, and how many permutations are left in it.
    #[track_caller]
    fn permutations(fetches: &[&Tensor]) -> usize {
        let before = Graph::capture(fetches.iter().copied(), &[]);
        let after = run(before.clone(), &Options::default()).value;
        verify(&after).unwrap_or_else(|error| panic!("{error}\n{after}"));
        same_meaning(&before, &after);
        let options = Options::default();
        let after = [simplify::PASS, cse::PASS, dead_code::PASS]
            .into_iter()
            .fold(after, |g, pass| (pass.run)(g, &options).value);
        after.nodes().filter(|node| matches!(node.op, Op::Permute(_))).count()
    }

    fn x() -> Tensor {
        placeholder("x", DType::F64, ("n", 3, 6, 6))
    }

    fn weight(name: &str, shape: &[usize]) -> Tensor {
        placeholder(name, DType::F64, shape)
    }

    fn same(x: &Tensor, w: &Tensor) -> Tensor {
        x.conv2d(w, &ConvOptions::new().padding_same())
    }

    #[test]
    fn only_what_comes_and_goes_is_permuted() {
        let (v, w, b) = (weight("v", &[4, 3, 3, 3]), weight("w", &[4, 4, 3, 3]), weight("b", &[4]));
        let hidden = (same(&x(), &v) + b.reshape([4, 1, 1])).relu();
        let y = same(&hidden, &w) + &hidden;
        assert_eq!(permutations(&[&y]), 2);
        // The mean over all positions has no order but that of its channels.
        assert_eq!(permutations(&[&y.adaptive_average_pool([1, 1]).flatten(1)]), 1);
        let mean = y.mean_over([0, 2, 3]).reshape([1, 4, 1, 1]);
        assert_eq!(permutations(&[&same(&(&y - mean).max_pool(&Pool::new([2, 2])), &w).sum()]), 1);
    }

    #[test]
    fn parts_and_windows_travel_along() {
        let (v, w) = (weight("v", &[4, 3, 3, 3]), weight("w", &[2, 4, 3, 3]));
        let hidden = same(&x(), &v);
        let parts = Tensor::concat(&[&hidden.slice(1, ..2), &hidden.slice(1, 2..).flip([2])], 1);
        let pooled = parts.pad(3, 1, 0, 0.5).max_pool(&Pool::new([3, 2]).stride(2));
        let wide = pooled.upsample_nearest(&[2, 3], 2).resample_linear(2, 5).softmax(1);
        let wide = wide.windows(3, 2, 1, 1).square().overlap_add(3, 6, 1, 1);
        assert_eq!(permutations(&[&same(&wide, &w).sum_over([1, 2, 3])]), 1);
    }

    #[test]
    fn gradients_travel_back() {
        let (v, w) = (weight("v", &[4, 3, 3, 3]), weight("w", &[4, 4, 3, 3]));
        let hidden = same(&x(), &v).relu().max_pool(&Pool::new([3, 3]).stride(2).padding(1));
        let deviation = &hidden - hidden.mean_over([0, 2, 3]).reshape([1, 4, 1, 1]);
        let y = same(&(deviation * 2.0), &w) + &hidden;
        let loss = y.max_over([2, 3]).square().sum();
        let gradients = grad(&loss, &[&v, &w]);
        assert_eq!(permutations(&[&loss, &gradients[0], &gradients[1]]), 1);
    }

    #[test]
    fn what_needs_the_order_that_was_meant_gets_it() {
        let w = weight("w", &[4, 3, 3, 3]);
        let y = same(&x(), &w);
        assert_eq!(permutations(&[&y.flatten(1).sum_over(0)]), 2);
        assert_eq!(permutations(&[&y.cum_sum(1).sum_over(0)]), 2);
        assert_eq!(permutations(&[&y.reshape(("n", 2, 2, 36)).sum_over([0, 1, 2])]), 1);
    }

    #[test]
    fn without_convolutions_nothing_changes() {
        let x = placeholder("x", DType::F32, ("n", 3));
        let graph = Graph::capture([&(x.t() + constant([[1.0f32]]))], &[]);
        let text = graph.to_string();
        let after = run(graph, &Options::default());
        assert!(!after.changed);
        assert_eq!(after.value.to_string(), text);
    }

    #[test]
    fn axes_are_cut_anew_where_they_lie_together() {
        let shape = |sizes: &[usize]| sizes.iter().copied().collect::<Shape>();
        let cut = |order: &[usize], from: &[usize], to: &[usize]| {
            cut_anew(order, &shape(from), &shape(to)).map(|order| order.to_vec())
        };
        // Channels last: [n, y, x, c] for what was meant as [n, c, y, x].
        let last = [0, 2, 3, 1];
        assert_eq!(cut(&last, &[2, 4, 6, 8], &[2, 2, 2, 6, 8]), Some(vec![0, 3, 4, 1, 2]));
        assert_eq!(cut(&last, &[2, 4, 6, 8], &[2, 4, 48]), Some(vec![0, 2, 1]));
        assert_eq!(cut(&last, &[2, 4, 6, 8], &[2, 24, 8]), None);
        assert_eq!(cut(&last, &[2, 4, 6, 8], &[8, 48]), None);
        assert_eq!(cut(&last, &[2, 4, 1, 1], &[2, 4]), Some(vec![0, 1]));
        assert_eq!(cut(&last, &[2, 4, 1, 8], &[2, 1, 4, 8]), Some(vec![0, 1, 3, 2]));
    }
}
