//! What holds for every graph, checked between passes in debug builds and tests, and on request.
//!
//! - The inputs of a node stand before it, and the roots exist.
//! - dtype and shape of a node are what its op infers from its inputs.
//! - Every random op has a stream.
//! - Only nodes that take one of its results read a loop, and its body is sound too.
//! - A variable is updated at most once, and its next value has its dtype and shape.
//! - Nodes that read variables of one name read one variable: sessions and checkpoints know them by name.
//! - Placeholders of one name agree in dtype and shape: one feed serves them all.

use std::collections::HashMap;

use smallvec::SmallVec;
use thiserror::Error;

use crate::error::ShapeError;
use crate::graph::{Graph, Node, NodeId};
use crate::op::{Op, OpRules};
use crate::ops::control::Output;
use crate::tensor::{Meta, TensorId};

/// Which rule a graph breaks, and where.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum VerifyError {
    /// A node stands before one of its inputs.
    #[error("{node} at %{position} uses %{input}, which does not stand before it")]
    Order {
        /// The node.
        node: String,
        /// Its position.
        position: usize,
        /// The position of the input.
        input: usize,
    },
    /// A fetch or a next value is no node of the graph.
    #[error("the graph has {len} nodes, but %{position} is fetched or assigned")]
    Root {
        /// The position.
        position: usize,
        /// The number of nodes.
        len: usize,
    },
    /// An op does not accept its inputs.
    #[error("{node}: {error}")]
    Refused {
        /// The node.
        node: String,
        /// The op's reason.
        error: ShapeError,
    },
    /// dtype or shape of a node are not what its op gives.
    #[error("{node} gives {inferred}, the graph says {found}")]
    Meta {
        /// The node.
        node: String,
        /// What the op gives.
        inferred: String,
        /// What the graph says.
        found: String,
    },
    /// A random op without a stream.
    #[error("{node} has no stream; `Graph::capture` gives one")]
    NoStream {
        /// The node.
        node: String,
    },
    /// A variable is updated twice in one run.
    #[error(
        "the variable `{name}` gets two next values, {first} and {second}\n  hint: combine them, or fetch one of the updates"
    )]
    UpdatedTwice {
        /// The variable.
        name: String,
        /// The first next value.
        first: String,
        /// The second.
        second: String,
    },
    /// The next value does not fit the variable.
    #[error("the variable `{name}` is {variable}, its next value, {node}, is {value}")]
    Update {
        /// The variable.
        name: String,
        /// Its dtype and shape.
        variable: String,
        /// The next value.
        node: String,
        /// Its dtype and shape.
        value: String,
    },
    /// Two variables of one name.
    #[error(
        "two variables are called `{name}`: {first} and {second}\n  hint: name one of them otherwise, or share one variable"
    )]
    SameName {
        /// The name.
        name: String,
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// The body of a loop breaks a rule.
    #[error("in the body of {node}: {error}")]
    Body {
        /// The loop.
        node: String,
        /// What the body breaks.
        error: Box<VerifyError>,
    },
    /// A loop has several results; only what takes one of them out may read it.
    #[error("{node} reads {of} as if it were one tensor")]
    Whole {
        /// Who reads, or `a root`.
        node: String,
        /// The loop.
        of: String,
    },
    /// A result that its loop does not give.
    #[error("{node} takes result {index} of {of}, which gives {results}")]
    Result {
        /// The node.
        node: String,
        /// Which result.
        index: usize,
        /// What should be a loop.
        of: String,
        /// What it gives.
        results: String,
    },
    /// Two placeholders of one name that cannot take one feed.
    #[error("two placeholders are called `{name}`, {first} and {second}; one feed cannot serve both")]
    SamePlaceholder {
        /// The name.
        name: String,
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
}

/// Checks what the [module](self) lists.
///
/// # Errors
/// The first rule that does not hold, naming the node.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    let mut variables: HashMap<_, (TensorId, NodeId)> = HashMap::new();
    let mut placeholders: HashMap<&str, &Meta> = HashMap::new();
    for (id, node) in graph.ids().zip(graph.nodes()) {
        if let Some(input) = node.inputs.iter().find(|input| input.index() >= id.index()) {
            return Err(VerifyError::Order { node: node.describe(), position: id.index(), input: input.index() });
        }
        let inputs: SmallVec<[&Meta; 4]> = node.inputs.iter().map(|input| &graph[*input].meta).collect();
        match node.op.infer(&inputs) {
            Ok(inferred) if inferred == node.meta => {}
            Ok(inferred) => {
                let (inferred, found) = (inferred.to_string(), node.meta.to_string());
                return Err(VerifyError::Meta { node: node.describe(), inferred, found });
            }
            Err(error) => return Err(VerifyError::Refused { node: node.describe(), error }),
        }
        if node.op.needs_stream() {
            return Err(VerifyError::NoStream { node: node.describe() });
        }
        for input in &node.inputs {
            if matches!(graph[*input].op, Op::Loop(_)) && !matches!(node.op, Op::Output(_)) {
                return Err(VerifyError::Whole { node: node.describe(), of: graph[*input].describe() });
            }
        }
        match &node.op {
            Op::Loop(op) => verify(op.body.graph())
                .map_err(|error| VerifyError::Body { node: node.describe(), error: Box::new(error) })?,
            Op::Output(output) => verify_output(graph, node, output)?,
            Op::Variable(read) => {
                let identity = read.variable().id();
                let (first, first_node) = *variables.entry(read.variable().name()).or_insert((identity, id));
                if first != identity {
                    return Err(VerifyError::SameName {
                        name: read.variable().name().to_string(),
                        first: format!("{} {}", graph[first_node].meta, graph[first_node].describe()),
                        second: format!("{} {}", node.meta, node.describe()),
                    });
                }
            }
            Op::Placeholder(placeholder) => {
                let first = *placeholders.entry(&placeholder.name).or_insert(&node.meta);
                if *first != node.meta {
                    return Err(VerifyError::SamePlaceholder {
                        name: placeholder.name.to_string(),
                        first: first.to_string(),
                        second: node.meta.to_string(),
                    });
                }
            }
            _ => {}
        }
    }
    if let Some(root) = graph.roots().find(|root| root.index() >= graph.len()) {
        return Err(VerifyError::Root { position: root.index(), len: graph.len() });
    }
    if let Some(root) = graph.roots().find(|root| matches!(graph[*root].op, Op::Loop(_))) {
        return Err(VerifyError::Whole { node: "a root".into(), of: graph[root].describe() });
    }
    verify_updates(graph)
}

fn verify_output(graph: &Graph, node: &Node, output: &Output) -> Result<(), VerifyError> {
    let of = &graph[node.inputs[0]];
    let results = if let Op::Loop(op) = &of.op { op.results() } else { Vec::new() };
    if results.get(output.index) == Some(&node.meta) {
        return Ok(());
    }
    let results: Vec<String> = results.iter().map(Meta::to_string).collect();
    let (index, of, results) = (output.index, of.describe(), results.join(", "));
    Err(VerifyError::Result { node: node.describe(), index, of, results })
}

fn verify_updates(graph: &Graph) -> Result<(), VerifyError> {
    let mut updated: HashMap<TensorId, NodeId> = HashMap::new();
    for (variable, value) in graph.updates() {
        let node = &graph[*value];
        let name = || variable.name().to_string();
        if let Some(first) = updated.insert(variable.id(), *value) {
            let (first, second) = (graph[first].describe(), node.describe());
            return Err(VerifyError::UpdatedTwice { name: name(), first, second });
        }
        if &node.meta != variable.tensor().meta() {
            return Err(VerifyError::Update {
                name: name(),
                variable: variable.tensor().meta().to_string(),
                node: node.describe(),
                value: node.meta.to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::placeholder;
    use crate::text::parse;
    use crate::{DType, Variable};

    #[track_caller]
    fn refuse(graph: &Graph, expected: &[&str]) {
        let message = verify(graph).unwrap_err().to_string();
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn a_captured_graph_is_sound() {
        let w = Variable::new("w", 2.0);
        let loss = (placeholder("x", DType::F32, ["n"]).dropout(0.5) * &w).mean();
        verify(&Graph::capture([&loss], &[w.assign(&loss)])).unwrap();
    }

    #[test]
    fn variables_of_one_name_are_refused_naming_both() {
        let (v, w) = (Variable::new("w", 2.0), Variable::new("w", crate::Array::from([1.0f32, 2.0])));
        let lines = format!("{} {}", v.location(), w.location());
        let graph = Graph::capture([&(&v * &w)], &[]);
        refuse(&graph, &["two variables are called `w`", "f32[] ", "f32[2] ", lines.split(' ').next().unwrap()]);
        let x = placeholder("x", DType::F32, [2]) + placeholder("x", DType::F32, ());
        refuse(&Graph::capture([&x], &[]), &["two placeholders are called `x`", "f32[2] and f32[]"]);
    }

    #[test]
    fn a_variable_has_one_next_value() {
        let w = Variable::new("w", 2.0);
        let (double, square) = (&w * 2.0, w.square());
        let graph = Graph::capture([], &[w.assign(&double), w.assign(&square)]);
        refuse(&graph, &["`w` gets two next values, mul", "square", "verify.rs"]);
    }

    #[test]
    fn a_wrong_meta_and_a_missing_stream_are_named() {
        let mut graph = parse("%x: f32[n] = placeholder\nreturn %x").unwrap();
        let node = crate::Node {
            meta: Meta::new(DType::F64, graph.nodes().next().unwrap().meta.shape.clone()),
            ..graph.nodes().next().unwrap().clone()
        };
        graph.push(node);
        refuse(&graph, &["placeholder 'x' gives f32[n], the graph says f64[n]"]);
        let graph = parse("%u: f32[n] = random distribution=\"uniform\"").unwrap();
        refuse(&graph, &["random 'u' has no stream"]);
    }
}
