//! [`Body`]: what is done in a step of a loop, as a graph with parameters.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::graph::Graph;
use crate::op::Op;
use crate::tensor::Tensor;

/// A graph whose placeholders are parameters: its fetches are functions of them, of nothing else. It reads no variable,
/// draws no number and updates nothing. Clones share the graph.
#[derive(Clone)]
pub struct Body(Arc<Graph>);

impl Body {
    /// The body that computes the fetches of `graph`.
    pub fn new(graph: Graph) -> Body {
        Body(Arc::new(graph))
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.0
    }

    /// A tensor for each node of the graph, with those that `parameter` gives in the place of the placeholders.
    pub(crate) fn inline(&self, parameter: impl Fn(&str) -> Tensor) -> Vec<Tensor> {
        let mut tensors: Vec<Tensor> = Vec::with_capacity(self.0.len());
        for node in self.0.nodes() {
            let tensor = match &node.op {
                Op::Placeholder(placeholder) => parameter(&placeholder.name),
                _ => Tensor::of_node(node, node.inputs.iter().map(|input| tensors[input.index()].clone()).collect()),
            };
            tensors.push(tensor);
        }
        tensors
    }
}

/// Node by node: two bodies are equal if they compute the same in the same order.
impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        let mut pairs = self.0.nodes().zip(other.0.nodes());
        self.0.len() == other.0.len()
            && self.0.fetches() == other.0.fetches()
            && pairs.all(|(a, b)| a.op == b.op && a.inputs == b.inputs && a.meta == b.meta)
    }
}

impl Eq for Body {}

impl Hash for Body {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in self.0.nodes() {
            node.op.hash(state);
            node.inputs.hash(state);
        }
        self.0.fetches().hash(state);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} nodes)", self.0.len())
    }
}

/// The lines of the text form.
impl Serialize for Body {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.to_string().lines())
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Body, D::Error> {
        let lines = Vec::<String>::deserialize(from)?;
        let graph = crate::text::parse(&lines.join("\n"));
        graph.map(Body::new).map_err(|error| serde::de::Error::custom(format!("in the body: {error}")))
    }
}
