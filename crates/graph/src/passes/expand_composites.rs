//! softmax(x) ⇒ exp(x − max x) / Σ exp(x − max x): composites become the primitives that define them.

use std::collections::HashMap;

use crate::graph::{Graph, Node, NodeId};
use crate::op::OpRules;
use crate::ops::source::placeholder_like;
use crate::tensor::Tensor;

/// The graph with every composite replaced by its expansion.
pub fn expand_composites(graph: &Graph) -> Graph {
    expand_composites_but(graph, &|_, _, _| false)
}

/// Whether a node of a graph with these inputs stays a composite.
pub type Keep<'a> = &'a dyn Fn(&Graph, &Node, &[NodeId]) -> bool;

/// As [`expand_composites`], with the nodes left for which `keep` holds.
pub fn expand_composites_but(graph: &Graph, keep: Keep<'_>) -> Graph {
    let mut graph = graph.clone();
    // Expansions may be written in composites.
    while graph.nodes().any(|node| node.op.is_composite() && !keep(&graph, node, &node.inputs)) {
        graph = expand_once(graph, keep);
    }
    graph
}

fn expand_once(graph: Graph, keep: Keep<'_>) -> Graph {
    let expanded = graph.rebuild(|graph, node, inputs| {
        if !node.op.is_composite() || keep(graph, node, inputs) {
            return None;
        }
        let stand_ins: Vec<Tensor> = inputs.iter().map(|input| placeholder_like(&graph[*input].meta)).collect();
        let expansion = node.op.expand(&stand_ins)?;
        let known: HashMap<_, _> = stand_ins.iter().map(Tensor::id).zip(inputs.iter().copied()).collect();
        Some(graph.splice(&expansion, &known, node))
    });
    expanded.value
}

#[cfg(test)]
mod tests {
    use crate::op::OpRules;
    use crate::passes::testing::same_meaning;
    use crate::text::parse;

    #[test]
    fn nothing_composite_is_left_and_the_meaning_stays() {
        let graph = parse(
            "%x: f64[n,3] = placeholder
             %u: f64[n,3] = random distribution=\"uniform\" stream=7
             %0: f64[n,3] = dropout %x %u rate=0.5
             %1: f64[n,3] = log_softmax %0 axis=1
             %2: f64[n] = log_sum_exp %1 axis=1
             return %1, %2",
        )
        .unwrap();
        let expanded = super::expand_composites(&graph);
        assert!(expanded.nodes().all(|node| !node.op.is_composite()), "{expanded}");
        same_meaning(&graph, &expanded);
    }
}
