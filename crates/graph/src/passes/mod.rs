//! Passes: functions from graph to graph. Each is tested alone, as text before and after, and by interpreting both.
//!
//! [`expand_composites`] stands apart from the list: it takes the graph from what a user wrote to primitives.

use std::collections::HashMap;

use crate::graph::Graph;
use crate::op::OpRules;
use crate::ops::source::placeholder_like;

pub mod stable_forms;

/// The graph with every composite replaced by its expansion.
pub fn expand_composites(graph: &Graph) -> Graph {
    let expanded = graph.clone().rebuild(|graph, node, inputs| {
        if !node.op.is_composite() {
            return None;
        }
        let stand_ins: Vec<crate::Tensor> = inputs.iter().map(|input| placeholder_like(&graph[*input].meta)).collect();
        let expansion = node.op.expand(&stand_ins)?;
        let known: HashMap<_, _> = stand_ins.iter().map(|tensor| tensor.id()).zip(inputs.iter().copied()).collect();
        Some(graph.splice(&expansion, &known, node))
    });
    expanded.value
}
