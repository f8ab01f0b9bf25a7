//! [`Graph`]: the nodes that some fetches and updates need, captured into an arena with typed ids for the passes.

use std::collections::{BTreeMap, HashMap};
use std::panic::Location;
use std::sync::Arc;

use smallvec::SmallVec;
use thalweg_array::random;

use crate::autodiff::recompute::Part;
use crate::error::ShapeError;
use crate::op::{Op, OpRules};
use crate::tensor::{Meta, Tensor, topological};
use crate::variable::{Update, Variable, VariableCore};

/// The position of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The position.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One application of an op.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// From what; all stand before this node.
    pub inputs: SmallVec<[NodeId; 3]>,
    /// dtype and shape.
    pub meta: Meta,
    /// The name a user gave it.
    pub name: Option<Arc<str>>,
    /// The name scope it was made in.
    pub scope: Arc<str>,
    /// The user's line that made it; a pass's replacement keeps that of what it replaces.
    pub location: Option<&'static Location<'static>>,
    /// The part of the model that is computed again for gradients, if it is in one.
    pub(crate) part: Option<Part>,
    /// The tensor it was captured from, while it still computes the same.
    pub(crate) origin: Option<Tensor>,
}

impl Node {
    /// Op, name and line, for messages: `gather 'rows' (made at src/main.rs:3:5)`.
    pub fn describe(&self) -> String {
        let mut text = self.op.label();
        if let Some(name) = self.name.as_deref().or_else(|| self.op.own_name()) {
            text += &format!(" '{name}'");
        }
        if let Some(location) = self.location {
            text += &format!(" (made at {location})");
        }
        text
    }
}

/// A logical program: nodes in an order in which inputs come before users, what is fetched, what is updated.
///
/// Clones share their nodes, and so does what a pass makes of them where it leaves them as they are.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Arc<Node>>,
    fetches: Vec<NodeId>,
    updates: Vec<(Variable, NodeId)>,
}

/// What gives the new node for an old one, or nothing to keep it.
type Rewrite<'a> = dyn FnMut(&mut Graph, &Node, &[NodeId]) -> Option<NodeId> + 'a;

impl Graph {
    /// Captures what `fetches` and `updates` need.
    ///
    /// Random ops get their streams here: the hash of the scope path and of the op's position among the random ops of
    /// the scope, in the order in which they were made.
    ///
    /// Of a loop what is needed comes along: neither results that nobody reads, nor what only they depend on.
    pub fn capture<'a>(fetches: impl IntoIterator<Item = &'a Tensor>, updates: &[Update]) -> Graph {
        let graph = Graph::capture_whole(&fetches.into_iter().collect::<Vec<_>>(), updates);
        if graph.nodes().any(|node| matches!(node.op, Op::Loop(_))) {
            crate::passes::loops::needed(graph)
        } else {
            graph
        }
    }

    /// As [`Graph::capture`], with loops as they were made.
    pub(crate) fn capture_whole(fetches: &[&Tensor], updates: &[Update]) -> Graph {
        let order = topological(fetches.iter().copied().chain(updates.iter().map(|update| &update.value)));
        let streams = assign_streams(&order);
        let mut graph = Graph { nodes: Vec::with_capacity(order.len()), ..Graph::default() };
        let mut ids = HashMap::with_capacity(order.len());
        for tensor in &order {
            let op = match streams.get(&tensor.id()) {
                Some(&stream) => tensor.op().with_stream(stream),
                None => tensor.op().clone(),
            };
            let id = graph.push(Node {
                op,
                inputs: tensor.inputs().iter().map(|input| ids[&input.id()]).collect(),
                meta: tensor.meta().clone(),
                name: tensor.name().map(Into::into),
                scope: tensor.scope().clone(),
                location: Some(tensor.location()),
                part: tensor.part(),
                origin: Some(tensor.clone()),
            });
            ids.insert(tensor.id(), id);
        }
        graph.fetches = fetches.iter().map(|tensor| ids[&tensor.id()]).collect();
        graph.updates = updates.iter().map(|update| (update.variable.clone(), ids[&update.value.id()])).collect();
        graph
    }

    /// Captures the graph of the value with which `variable` begins. Random ops that name no stream get one
    /// that depends on the variable's name and on nothing around it, so that the same seed begins with the same numbers
    /// whatever else a session runs.
    pub fn capture_initial(variable: &VariableCore) -> Graph {
        let name = variable.name();
        let mut ordinal = 0;
        let rebuilt = Graph::capture([variable.initial()], &[]).rebuild(|graph, node, inputs| {
            if !node.origin.as_ref().is_some_and(|tensor| tensor.op().needs_stream()) {
                return None;
            }
            let op = node.op.with_stream(random::stream(&name, ordinal));
            ordinal += 1;
            let id = graph.add(op, inputs, node);
            Some(id.expect("another stream changes no shape: a bug in Thalweg"))
        });
        rebuilt.value
    }

    /// Appends a node whose dtype and shape are known.
    ///
    /// # Panics
    /// If an input does not stand before it.
    pub fn push(&mut self, node: Node) -> NodeId {
        self.push_shared(Arc::new(node))
    }

    fn push_shared(&mut self, node: Arc<Node>) -> NodeId {
        assert!(
            node.inputs.iter().all(|input| input.index() < self.nodes.len()),
            "inputs come first: a bug in Thalweg"
        );
        self.nodes.push(node);
        NodeId((self.nodes.len() - 1) as u32)
    }

    /// Gives a node another op, dtype and shape; it is no longer the tensor it came from.
    pub(crate) fn replace(&mut self, id: NodeId, op: Op, meta: Meta) {
        let node = Arc::make_mut(&mut self.nodes[id.index()]);
        (node.op, node.meta, node.origin) = (op, meta, None);
    }

    /// The id that the next node will get.
    pub(crate) fn next_id(&self) -> NodeId {
        NodeId(self.nodes.len() as u32)
    }

    /// Appends an op, with the names and the place of `like`.
    ///
    /// # Errors
    /// If the op refuses the inputs.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId], like: &Node) -> Result<NodeId, ShapeError> {
        let op = op.into();
        let meta = op.infer(&inputs.iter().map(|input| &self[*input].meta).collect::<SmallVec<[&Meta; 4]>>())?;
        let (scope, location, part) = (like.scope.clone(), like.location, like.part);
        Ok(self.push(Node { op, inputs: inputs.into(), meta, name: None, scope, location, part, origin: None }))
    }

    /// The nodes in order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> + DoubleEndedIterator {
        self.nodes.iter().map(|node| &**node)
    }

    /// The ids in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = NodeId> + DoubleEndedIterator + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What is fetched, in order.
    pub fn fetches(&self) -> &[NodeId] {
        &self.fetches
    }

    /// What is updated, with the node of the next value.
    pub fn updates(&self) -> &[(Variable, NodeId)] {
        &self.updates
    }

    /// What must be computed: fetches, then next values.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> {
        self.fetches.iter().copied().chain(self.updates.iter().map(|(_, id)| *id))
    }

    /// Sets what is fetched and updated.
    pub fn set_roots(&mut self, fetches: Vec<NodeId>, updates: Vec<(Variable, NodeId)>) {
        self.fetches = fetches;
        self.updates = updates;
    }

    /// How many nodes and roots use each node.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.nodes.len()];
        for id in self.nodes.iter().flat_map(|node| node.inputs.iter().copied()).chain(self.roots()) {
            counts[id.index()] += 1;
        }
        counts
    }

    /// The same program rebuilt node by node: `rewrite` gets the new graph, the old node and its inputs in the new
    /// graph, and gives the new node for it, or `None` to keep it as it is. The frame of most passes. Says whether any
    /// node was replaced. The inputs of the old node are given as they stand in the new graph.
    pub fn rebuild(self, mut rewrite: impl FnMut(&mut Graph, &Node, &[NodeId]) -> Option<NodeId>) -> Changed<Graph> {
        self.rebuild_by(&mut rewrite)
    }

    fn rebuild_by(self, rewrite: &mut Rewrite<'_>) -> Changed<Graph> {
        let Graph { nodes, fetches, updates } = self;
        let mut graph = Graph { nodes: Vec::with_capacity(nodes.len()), ..Graph::default() };
        // For each old node: the new one, and whether it still computes the same from the same.
        let mut ids: Vec<(NodeId, bool)> = Vec::with_capacity(nodes.len());
        let mut changed = false;
        for mut node in nodes {
            let unchanged = node.inputs.iter().all(|input| ids[input.index()].1);
            if node.inputs.iter().any(|input| ids[input.index()].0 != *input) {
                for input in &mut Arc::make_mut(&mut node).inputs {
                    *input = ids[input.index()].0;
                }
            }
            ids.push(match rewrite(&mut graph, &node, &node.inputs) {
                Some(id) => {
                    changed = true;
                    // What stands for a named node is called like it.
                    let stand_in = &mut graph.nodes[id.index()];
                    if node.name.is_some() && stand_in.name.is_none() && stand_in.origin.is_none() {
                        Arc::make_mut(stand_in).name = node.name.clone();
                    }
                    (id, false)
                }
                None => {
                    if !unchanged && node.origin.is_some() {
                        Arc::make_mut(&mut node).origin = None;
                    }
                    (graph.push_shared(node), unchanged)
                }
            });
        }
        graph.fetches = fetches.iter().map(|id| ids[id.index()].0).collect();
        graph.updates = updates.into_iter().map(|(variable, id)| (variable, ids[id.index()].0)).collect();
        Changed { value: graph, changed }
    }

    /// The same program without the nodes for which `keep` is `false`; what is kept uses kept nodes only.
    pub fn retain(self, keep: &[bool]) -> Graph {
        let Graph { nodes, fetches, updates } = self;
        let mut ids = Vec::with_capacity(nodes.len());
        let mut kept = Vec::with_capacity(nodes.len());
        for (mut node, &keep) in nodes.into_iter().zip(keep) {
            ids.push(NodeId(kept.len() as u32));
            if keep {
                if node.inputs.iter().any(|input| ids[input.index()] != *input) {
                    for input in &mut Arc::make_mut(&mut node).inputs {
                        *input = ids[input.index()];
                    }
                }
                kept.push(node);
            }
        }
        let fetches = fetches.iter().map(|id| ids[id.index()]).collect();
        let updates = updates.into_iter().map(|(variable, id)| (variable, ids[id.index()])).collect();
        Graph { nodes: kept, fetches, updates }
    }

    /// Splices the nodes that compute `tensor` in; nodes equal to a key of `known` become its value.
    pub fn splice(&mut self, tensor: &Tensor, known: &HashMap<crate::tensor::TensorId, NodeId>, like: &Node) -> NodeId {
        let mut ids = known.clone();
        for tensor in crate::tensor::topological_until([tensor], |tensor| known.contains_key(&tensor.id())) {
            if ids.contains_key(&tensor.id()) {
                continue;
            }
            let id = self.push(Node {
                op: tensor.op().clone(),
                inputs: tensor.inputs().iter().map(|input| ids[&input.id()]).collect(),
                meta: tensor.meta().clone(),
                name: None,
                scope: like.scope.clone(),
                location: like.location,
                part: like.part,
                origin: None,
            });
            ids.insert(tensor.id(), id);
        }
        ids[&tensor.id()]
    }

    /// The fetches as tensors, to be run or built upon: the way from a text form back to a program. Nodes that still
    /// compute what they were captured from are those tensors, the others new ones.
    ///
    /// ```
    /// use thalweg_graph::{Graph, text};
    /// let text = "%x: f32[n] = placeholder\n%y: f32[n] = exp %x @layer\nreturn %y\n";
    /// let [y] = &text::parse(text)?.to_tensors()[..] else { panic!("one fetch") };
    /// assert_eq!(Graph::capture([&(y * 2.0)], &[]).to_string().lines().next(), text.lines().next());
    /// assert_eq!(Graph::capture([y], &[]).to_string(), text);
    /// # Ok::<(), text::ParseError>(())
    /// ```
    pub fn to_tensors(&self) -> Vec<Tensor> {
        self.to_roots().0
    }

    /// As [`Graph::to_tensors`], with the updates: a whole training step.
    pub fn to_roots(&self) -> (Vec<Tensor>, Vec<Update>) {
        let mut tensors: Vec<Tensor> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let made =
                || Tensor::of_node(node, node.inputs.iter().map(|input| tensors[input.index()].clone()).collect());
            let tensor = node.origin.clone().unwrap_or_else(made);
            tensors.push(tensor);
        }
        let tensor = |id: &NodeId| tensors[id.index()].clone();
        let update = |(variable, id): &(Variable, NodeId)| Update { variable: variable.clone(), value: tensor(id) };
        (self.fetches.iter().map(tensor).collect(), self.updates.iter().map(update).collect())
    }

    /// The placeholders, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = (NodeId, &crate::ops::source::Placeholder)> {
        self.ids().zip(self.nodes()).filter_map(|(id, node)| match &node.op {
            Op::Placeholder(placeholder) => Some((id, placeholder)),
            _ => None,
        })
    }
}

/// A value and whether making it changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<T> {
    /// The value.
    pub value: T,
    /// Whether it differs from what it was made of.
    pub changed: bool,
}

impl std::ops::Index<NodeId> for Graph {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }
}

/// The stream of each random op: scope path and position in the scope, by age.
fn assign_streams(order: &[Tensor]) -> BTreeMap<crate::tensor::TensorId, u64> {
    let mut random_ops: Vec<&Tensor> = order.iter().filter(|tensor| tensor.op().needs_stream()).collect();
    random_ops.sort_by_key(|tensor| tensor.id());
    let mut ordinals: HashMap<&str, u64> = HashMap::new();
    random_ops
        .into_iter()
        .map(|tensor| {
            let ordinal = ordinals.entry(tensor.scope()).or_insert(0);
            *ordinal += 1;
            (tensor.id(), random::stream(tensor.scope(), *ordinal - 1))
        })
        .collect()
}
