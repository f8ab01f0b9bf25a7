//! What pictures of graphs write into their boxes.

use std::collections::HashSet;

use super::print::literal;
use super::split_op;
use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;

impl Graph {
    /// For each node what a picture writes into its box, by lines: the name if it has one, the op with its attributes and
    /// the numbers that it takes, dtype and shape. `None` for a single number, expanded or not: it is written where it is
    /// used, unless it is fetched or becomes a variable's value.
    ///
    /// ```
    /// use thalweg_graph::{DType, Graph, placeholder};
    /// let y = placeholder("x", DType::F32, [3]) * 2.0;
    /// let captions = Graph::capture([&y], &[]).captions();
    /// assert!(captions.contains(&Some("x\nplaceholder\nf32[3]".to_string())));
    /// ```
    pub fn captions(&self) -> Vec<Option<String>> {
        let roots: HashSet<NodeId> = self.roots().collect();
        let mut numbers: Vec<Option<String>> = Vec::with_capacity(self.len());
        let caption = |(id, node): (NodeId, &Node)| {
            let number = match &node.op {
                _ if roots.contains(&id) => None,
                Op::Constant(constant) if constant.array().rank() == 0 => literal(constant.array()),
                Op::Expand(_) => numbers[node.inputs[0].index()].clone(),
                _ => None,
            };
            let caption = match number {
                Some(_) => None,
                None => Some(caption(node, node.inputs.iter().filter_map(|input| numbers[input.index()].as_deref()))),
            };
            numbers.push(number);
            caption
        };
        self.ids().zip(self.nodes()).map(caption).collect()
    }
}

fn caption<'a>(node: &Node, numbers: impl Iterator<Item = &'a str>) -> String {
    let (mut op, attributes) = split_op(&node.op);
    if let Op::Constant(constant) = &node.op
        && let Some(elements) = literal(constant.array())
    {
        op += &format!(" {elements}");
    }
    for number in numbers {
        op += &format!(" {number}");
    }
    // Told otherwise, or, as streams, nothing to look at.
    let left_out = ["hex", "dtype", "shape", "name", "to", "stream", "body"];
    for (key, value) in attributes.iter().filter(|(key, value)| !left_out.contains(&key.as_str()) && !value.is_null()) {
        op += &match value.as_str() {
            Some(word) => format!(" {word}"),
            None => format!(" {key}={value}"),
        };
    }
    let name = node.name.as_deref().or_else(|| node.op.own_name());
    name.into_iter().chain([&*op, &node.meta.to_string()]).collect::<Vec<_>>().join("\n")
}
