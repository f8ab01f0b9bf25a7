//! From what a closure made of its parameters to the body of a loop.
//!
//! The nodes of the body are those that depend on its parameters. What else they read stays outside and is handed in, but for
//! what costs nothing in the body: known numbers, positions, and views, through which the calls of a step read.

use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;

use thalweg_array::Size;

use super::Body;
use super::rules::{Loop, Output, parameter, stacked};
use crate::error::{BuildError, ShapeError};
use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::random::Random;
use crate::ops::source::Placeholder;
use crate::tensor::{Meta, Tensor, TensorId, topological_until};

/// A loop in the making. In each pair the first is what the body sees, the second what the loop is given.
pub(crate) struct Draft {
    pub(crate) length: Size,
    pub(crate) reverse: bool,
    /// As that of [`Loop`].
    pub(crate) gated: bool,
    pub(crate) carries: Vec<(Tensor, Tensor)>,
    pub(crate) inputs: Vec<(Tensor, Tensor)>,
    pub(crate) outers: Vec<(Tensor, Tensor)>,
    /// Tensors from this one on were made by the closure.
    pub(crate) first: TensorId,
}

/// A constant of at most so many numbers is known in the body.
const KNOWN: usize = 16;

impl Draft {
    /// The results of the loop whose steps give `next`, the carries, and `outputs`.
    ///
    /// # Errors
    /// If a carry changes its dtype or shape, or a variable is to be updated.
    pub(crate) fn close(
        mut self,
        next: &[Tensor],
        outputs: &[Tensor],
        location: &'static Location<'static>,
    ) -> Result<Vec<Tensor>, BuildError> {
        let fail = |tensors: &[Tensor], error| BuildError::new("scan".into(), location, tensors, error);
        if next.len() != self.carries.len() {
            let given: Vec<Tensor> = self.carries.iter().map(|(_, given)| given.clone()).collect();
            let reason = format!("{} tensors are carried, but a step gives {}", given.len(), next.len());
            return Err(fail(&given, ShapeError::new(reason)));
        }
        for (number, ((_, before), after)) in self.carries.iter().zip(next).enumerate() {
            if before.meta() != after.meta() {
                let reason = format!("carry {number} is {}, after a step {}", before.meta(), after.meta());
                let error = ShapeError::new(reason).hint("a step gives each carry back in its dtype and shape");
                return Err(fail(&[before.clone(), after.clone()], error));
            }
        }
        let pairs = || self.carries.iter().chain(&self.inputs).chain(&self.outers);
        let leaves: HashSet<TensorId> = pairs().map(|(seen, _)| seen.id()).collect();
        let first = self.first;
        let is_outside = |tensor: &Tensor| tensor.id() < first || leaves.contains(&tensor.id());
        let order = topological_until(next.iter().chain(outputs), is_outside);
        let made: Vec<Tensor> = order.into_iter().filter(|tensor| !is_outside(tensor)).collect();
        if let Some(update) = made.iter().find(|tensor| matches!(tensor.op(), Op::WithUpdate(_))) {
            let Op::WithUpdate(with) = update.op() else { unreachable!("just found") };
            let reason = format!("a step would update the variable `{}`", with.variable.variable().name());
            let hint = "variables change once in a run: carry the number, and update the variable with what comes out";
            return Err(fail(std::slice::from_ref(update), ShapeError::new(reason).hint(hint)));
        }
        self.draw_outside(&made, location)?;

        let mut body = Closing::default();
        let (carries, inputs) = (self.carries.len(), self.inputs.len());
        for (seen, _) in self.carries.iter().chain(&self.inputs) {
            let name = parameter(carries, inputs, body.graph.len());
            let id = body.parameter(name, seen);
            body.ids.insert(seen.id(), id);
        }
        for (seen, given) in &self.outers {
            let id = body.outer(given, seen);
            body.ids.insert(seen.id(), id);
        }
        body.depends = self.carries.iter().chain(&self.inputs).map(|(seen, _)| seen.id()).collect();
        body.depends.extend(self.outers.iter().map(|(seen, _)| seen.id()));
        for tensor in &made {
            if !body.depends.contains(&tensor.id())
                && tensor.inputs().iter().any(|input| body.depends.contains(&input.id()))
            {
                body.depends.insert(tensor.id());
                body.member(tensor);
            }
        }
        let fetches = next.iter().chain(outputs).map(|tensor| body.id(tensor)).collect();
        let Closing { mut graph, outers, .. } = body;
        graph.set_roots(fetches, Vec::new());
        // Now, so that the loop of the loss and the one that its gradient is taken of are the same.
        let graph = crate::passes::stable_forms::stable_body(graph);

        let given = self.carries.iter().chain(&self.inputs).map(|(_, given)| given.clone()).chain(outers);
        let op = Loop {
            length: self.length,
            carries,
            inputs,
            reverse: self.reverse,
            gated: self.gated,
            body: Body::new(graph),
        };
        crate::scope::on_behalf_of(location, || outputs_of(op, given))
    }

    /// Hands in the random numbers of a step: they are drawn at once for all steps, of which each sees its part, and where
    /// there is one at most, whether it is taken or not.
    fn draw_outside(&mut self, made: &[Tensor], location: &'static Location<'static>) -> Result<(), BuildError> {
        for random in made {
            let Op::Random(op) = random.op() else { continue };
            if !self.gated {
                let meta = stacked(&self.length, random.meta());
                let op = Random { shape: meta.shape.clone(), ..op.clone() };
                self.inputs.push((random.clone(), random.made_like(op.into(), meta)));
            } else if self.length.is(1) {
                self.outers.push((random.clone(), random.made_like(random.op().clone(), random.meta().clone())));
            } else {
                let error = ShapeError::new("random numbers would be drawn where it is not known how often")
                    .hint("`at_most` says how often, or draw them outside, which makes them the same in each step");
                return Err(BuildError::new("while_loop".into(), location, std::slice::from_ref(random), error));
            }
        }
        Ok(())
    }
}

/// The results of a loop over these tensors.
pub(crate) fn outputs_of(op: Loop, given: impl IntoIterator<Item = Tensor>) -> Result<Vec<Tensor>, BuildError> {
    let results = op.results();
    let node = Tensor::try_apply(op, given)?;
    let result = |(index, Meta { dtype, shape })| Tensor::try_apply(Output { index, dtype, shape }, [node.clone()]);
    results.into_iter().enumerate().map(result).collect()
}

/// A body in the making.
#[derive(Default)]
struct Closing {
    graph: Graph,
    ids: HashMap<TensorId, NodeId>,
    /// What depends on the parameters.
    depends: HashSet<TensorId>,
    /// What is handed in whole, in the order of its parameters.
    outers: Vec<Tensor>,
    known_outers: HashMap<TensorId, NodeId>,
}

impl Closing {
    fn push(&mut self, tensor: &Tensor, op: Op, inputs: impl IntoIterator<Item = NodeId>) -> NodeId {
        self.graph.push(node(tensor, op, inputs))
    }

    fn parameter(&mut self, name: Arc<str>, seen: &Tensor) -> NodeId {
        let op = Placeholder { name, dtype: seen.dtype(), shape: seen.shape().clone() }.into();
        self.graph.push(Node { name: None, ..node(seen, op, []) })
    }

    /// The parameter for a tensor that every step sees whole.
    fn outer(&mut self, given: &Tensor, seen: &Tensor) -> NodeId {
        if let Some(&known) = self.known_outers.get(&given.id()) {
            return known;
        }
        let id = self.parameter(format!("outer{}", self.outers.len()).into(), seen);
        self.outers.push(given.clone());
        self.known_outers.insert(given.id(), id);
        id
    }

    fn member(&mut self, tensor: &Tensor) {
        let inputs: Vec<NodeId> = tensor.inputs().iter().map(|input| self.id(input)).collect();
        let id = self.push(tensor, tensor.op().clone(), inputs);
        self.ids.insert(tensor.id(), id);
    }

    /// The node for a tensor of the body or from outside.
    fn id(&mut self, tensor: &Tensor) -> NodeId {
        let mut views = Vec::new();
        let mut at = tensor.clone();
        while !self.ids.contains_key(&at.id()) && is_free_view(&at) {
            let base = at.inputs()[0].clone();
            views.push(std::mem::replace(&mut at, base));
        }
        let mut id = match self.ids.get(&at.id()) {
            Some(&id) => id,
            None => {
                let known = match at.op() {
                    Op::Constant(constant) => constant.array().len() <= KNOWN,
                    Op::Size(_) | Op::Iota(_) => true,
                    _ => false,
                };
                let id = if known { self.push(&at, at.op().clone(), []) } else { self.outer(&at, &at) };
                self.ids.insert(at.id(), id);
                id
            }
        };
        for view in views.iter().rev() {
            id = self.push(view, view.op().clone(), [id]);
            self.ids.insert(view.id(), id);
        }
        id
    }
}

/// A node where a tensor was made.
fn node(tensor: &Tensor, op: Op, inputs: impl IntoIterator<Item = NodeId>) -> Node {
    Node {
        op,
        inputs: inputs.into_iter().collect(),
        meta: tensor.meta().clone(),
        name: tensor.name().map(Into::into),
        scope: tensor.scope().clone(),
        location: Some(tensor.location()),
        part: tensor.part(),
        origin: None,
    }
}

/// Whether a tensor moves no number of the one that it is made of, whoever reads it.
pub(crate) fn is_free_view(tensor: &Tensor) -> bool {
    match tensor.op() {
        Op::Expand(_) | Op::Permute(_) | Op::Slice(_) => true,
        Op::Reshape(_) => !matches!(tensor.inputs()[0].op(), Op::Expand(_) | Op::Permute(_) | Op::Slice(_)),
        _ => false,
    }
}
