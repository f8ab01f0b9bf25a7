//! [`Tensor`]: a handle to a node of the dataflow graph. Operations on tensors compute nothing: they add nodes.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;
use thalweg_array::{DType, Shape, Size};

use crate::autodiff::recompute::{Part, current_part};
use crate::error::BuildError;
use crate::op::{Op, OpRules};
use crate::scope::current_scope;

/// What is known of a tensor before any number is: its dtype and its shape. Displays as `f32[batch,784]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Meta {
    /// The dtype of the elements.
    pub dtype: DType,
    /// The sizes.
    pub shape: Shape,
}

impl Meta {
    /// This dtype and shape.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        Meta { dtype, shape }
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The identity of a node, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(u64);

impl TensorId {
    pub(crate) fn next() -> TensorId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        TensorId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The identity as a number, for cache keys.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A handle to a node of the graph: an op applied to inputs. Cloning is cheap and keeps the identity.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// let x = placeholder("x", DType::F32, ("batch", 3));
/// let y = (&x * 2.0 + 1.0).named("y");
/// assert_eq!(y.meta().to_string(), "f32[batch,3]");
/// ```
#[derive(Clone)]
pub struct Tensor(Arc<Node>);

struct Node {
    id: TensorId,
    op: Op,
    inputs: SmallVec<[Tensor; 2]>,
    meta: Meta,
    name: Option<Arc<str>>,
    scope: Arc<str>,
    /// The part of the model that is computed again for gradients, if it is in one.
    part: Option<Part>,
    location: &'static Location<'static>,
}

impl Tensor {
    /// Applies `op` to `inputs`; the core that importers use.
    ///
    /// # Errors
    /// If the op refuses the inputs; the message names them, where they were made, and the reason.
    #[track_caller]
    pub fn try_apply(op: impl Into<Op>, inputs: impl IntoIterator<Item = Tensor>) -> Result<Tensor, BuildError> {
        let location = crate::scope::blamed(Location::caller());
        Tensor::try_apply_at(op.into(), inputs.into_iter().collect(), location)
    }

    fn try_apply_at(
        op: Op,
        inputs: SmallVec<[Tensor; 2]>,
        location: &'static Location<'static>,
    ) -> Result<Tensor, BuildError> {
        let inferred = op.infer(&inputs.iter().map(Tensor::meta).collect::<SmallVec<[&Meta; 4]>>());
        match inferred {
            Ok(meta) => Ok(Tensor(Arc::new(Node {
                id: TensorId::next(),
                op,
                inputs,
                meta,
                name: None,
                scope: current_scope(),
                part: current_part(),
                location,
            }))),
            Err(error) => Err(BuildError::new(op.label(), location, &inputs, error)),
        }
    }

    /// The tensor that a node of a graph stands for, with the node's names and line.
    pub(crate) fn of_node(node: &crate::graph::Node, inputs: SmallVec<[Tensor; 2]>) -> Tensor {
        Tensor(Arc::new(Node {
            id: TensorId::next(),
            op: node.op.clone(),
            inputs,
            meta: node.meta.clone(),
            name: node.name.clone(),
            scope: node.scope.clone(),
            part: node.part,
            location: node.location.unwrap_or(Location::caller()),
        }))
    }

    /// A tensor without inputs that was made where this one was.
    pub(crate) fn made_like(&self, op: Op, meta: Meta) -> Tensor {
        let Node { scope, part, location, .. } = &*self.0;
        let (scope, part, location) = (scope.clone(), *part, *location);
        Tensor(Arc::new(Node {
            id: TensorId::next(),
            op,
            inputs: SmallVec::new(),
            meta,
            name: None,
            scope,
            part,
            location,
        }))
    }

    /// Applies `op` to `inputs`.
    ///
    /// # Panics
    /// At the caller's line, with the message of [`Tensor::try_apply`].
    #[track_caller]
    pub fn apply(op: impl Into<Op>, inputs: impl IntoIterator<Item = Tensor>) -> Tensor {
        match Tensor::try_apply(op, inputs) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same node under a name that messages, pictures and text forms show.
    ///
    /// The name belongs to a node, so this makes a new one: name a tensor before it is used.
    #[track_caller]
    pub fn named(&self, name: impl AsRef<str>) -> Tensor {
        Tensor(Arc::new(Node {
            id: TensorId::next(),
            op: self.0.op.clone(),
            inputs: self.0.inputs.clone(),
            meta: self.0.meta.clone(),
            name: Some(name.as_ref().into()),
            scope: self.0.scope.clone(),
            part: self.0.part,
            location: self.0.location,
        }))
    }

    /// The identity of the node.
    pub fn id(&self) -> TensorId {
        self.0.id
    }

    /// What the node computes.
    pub fn op(&self) -> &Op {
        &self.0.op
    }

    /// What it is computed from.
    pub fn inputs(&self) -> &[Tensor] {
        &self.0.inputs
    }

    /// dtype and shape.
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        self.0.meta.dtype
    }

    /// The sizes.
    pub fn shape(&self) -> &Shape {
        &self.0.meta.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.meta.shape.rank()
    }

    /// The size of `axis`; negative axes count from the end.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn size(&self, axis: isize) -> Size {
        self.shape()[self.axis(axis)].clone()
    }

    /// `axis` counted from the front; negative axes count from the end.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn axis(&self, axis: isize) -> usize {
        let rank = self.rank() as isize;
        let normal = if axis < 0 { axis + rank } else { axis };
        if !(0..rank).contains(&normal) {
            panic!(
                "axis {axis} of {} ({}): its axes are {}   --> {}",
                self.display_name(),
                self.meta(),
                if rank == 0 { "none".to_string() } else { format!("0..{rank}, or -{rank}..0 from the end") },
                Location::caller()
            );
        }
        normal as usize
    }

    /// The name given to the node, or of the placeholder or variable that it is.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref().or_else(|| self.0.op.own_name())
    }

    /// The name, or what the op is called.
    pub fn display_name(&self) -> String {
        self.name().map_or_else(|| self.0.op.label(), str::to_string)
    }

    /// The name scope in which the node was made.
    pub fn scope(&self) -> &Arc<str> {
        &self.0.scope
    }

    /// The part of the model that is computed again for gradients, if the node is in one.
    pub(crate) fn part(&self) -> Option<Part> {
        self.0.part
    }

    /// The line of the user's program that made the node.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }
}

impl PartialEq for Tensor {
    /// Whether both are the same node.
    fn eq(&self, other: &Tensor) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Tensor {}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.display_name(), self.meta())
    }
}

/// A chain of a million nodes is taken apart in a loop: dropping `inputs` field by field would recurse once per node.
impl Drop for Node {
    fn drop(&mut self) {
        let mut orphans: SmallVec<[Tensor; 2]> = std::mem::take(&mut self.inputs);
        while let Some(Tensor(node)) = orphans.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                orphans.append(&mut node.inputs);
            }
        }
    }
}

/// The nodes that `roots` need, each once, inputs before users. Explicit stack: any depth.
pub fn topological<'a>(roots: impl IntoIterator<Item = &'a Tensor>) -> Vec<Tensor> {
    topological_until(roots, |_| false)
}

/// As [`topological`], without looking behind the nodes for which `stop` holds.
pub fn topological_until<'a>(
    roots: impl IntoIterator<Item = &'a Tensor>,
    stop: impl Fn(&Tensor) -> bool,
) -> Vec<Tensor> {
    walk(&mut roots.into_iter(), &stop)
}

fn walk(roots: &mut dyn Iterator<Item = &Tensor>, stop: &dyn Fn(&Tensor) -> bool) -> Vec<Tensor> {
    let mut order: Vec<Tensor> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut stack: Vec<(Tensor, usize)> = Vec::new();
    for root in roots {
        if seen.insert(root.id()) {
            stack.push((root.clone(), 0));
        }
        while let Some((node, next)) = stack.last_mut() {
            let inputs = if stop(node) { &[] } else { node.inputs() };
            match inputs.get(*next) {
                Some(input) => {
                    *next += 1;
                    if seen.insert(input.id()) {
                        let input = input.clone();
                        stack.push((input, 0));
                    }
                }
                None => {
                    let (node, _) = stack.pop().expect("the loop looked at it");
                    order.push(node);
                }
            }
        }
    }
    order
}
