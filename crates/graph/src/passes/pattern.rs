//! What rewriting rules are written with: looking at the nodes behind a node, and building new ones.

use std::collections::HashSet;

use thalweg_array::scalar::{Binary, Unary};
use thalweg_array::{Array, Scalar};

use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::elementwise::{ElementwiseBinary, ElementwiseUnary};
use crate::ops::shape::Expand;
use crate::ops::source::Constant;
use crate::tensor::{Meta, TensorId};

/// A graph under construction, seen from one node that may be replaced.
pub(super) struct Rewriter<'a> {
    /// The graph that is built.
    pub(super) graph: &'a mut Graph,
    /// The node that is looked at; what is built gets its scope and line.
    pub(super) like: &'a Node,
    /// Tensors that no rule looks behind.
    pub(super) closed: &'a HashSet<TensorId>,
}

impl Rewriter<'_> {
    /// The op of a node, unless no rule may look at it.
    pub(super) fn op(&self, id: NodeId) -> Option<&Op> {
        let node = &self.graph[id];
        let is_closed = !self.closed.is_empty() && node.origin.as_ref().is_some_and(|t| self.closed.contains(&t.id()));
        (!is_closed).then_some(&node.op)
    }

    pub(super) fn meta(&self, id: NodeId) -> &Meta {
        &self.graph[id].meta
    }

    /// The inputs of a node whose op was looked at.
    pub(super) fn input(&self, id: NodeId) -> NodeId {
        self.graph[id].inputs[0]
    }

    /// x, where the node is f(x).
    pub(super) fn unary(&self, f: Unary, id: NodeId) -> Option<NodeId> {
        match self.op(id)? {
            Op::Unary(ElementwiseUnary(found)) if *found == f => Some(self.input(id)),
            _ => None,
        }
    }

    /// x and y, where the node is f(x, y).
    pub(super) fn binary(&self, f: Binary, id: NodeId) -> Option<(NodeId, NodeId)> {
        match self.op(id)? {
            Op::Binary(ElementwiseBinary(found)) if *found == f => {
                Some((self.graph[id].inputs[0], self.graph[id].inputs[1]))
            }
            _ => None,
        }
    }

    /// The number that stands everywhere in a constant or a repeated constant.
    pub(super) fn splat(&self, id: NodeId) -> Option<Scalar> {
        match self.op(id)? {
            Op::Constant(constant) => constant.splat(),
            Op::Expand(_) => match self.op(self.input(id))? {
                Op::Constant(constant) => constant.splat(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the number `value` stands everywhere.
    pub(super) fn is(&self, id: NodeId, value: f64) -> bool {
        self.splat(id).is_some_and(|found| found.to_f64() == value)
    }

    /// A new node; `None` if the op refuses the inputs.
    pub(super) fn emit(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Option<NodeId> {
        self.graph.add(op, inputs, self.like).ok()
    }

    pub(super) fn emit_unary(&mut self, f: Unary, x: NodeId) -> Option<NodeId> {
        self.emit(ElementwiseUnary(f), &[x])
    }

    /// `value` everywhere in a tensor of this dtype and shape.
    pub(super) fn number(&mut self, value: Scalar, meta: &Meta) -> Option<NodeId> {
        let scalar = self.emit(Constant::new(Array::full(&[], meta.dtype, value)), &[])?;
        if meta.shape.rank() == 0 { Some(scalar) } else { self.emit(Expand { shape: meta.shape.clone() }, &[scalar]) }
    }
}
