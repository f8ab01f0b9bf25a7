//! Evaluation graphs: dropout ⇒ its input. Other randomness and updates have no place in evaluation.

use thiserror::Error;

use super::dead_code;
use crate::graph::{Graph, Node};
use crate::op::Op;

/// Why a graph cannot serve evaluation.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvaluationError {
    /// Random numbers are left that are not those of a dropout.
    #[error(
        "an evaluation must not depend on chance, but {node} is still in its graph\n  hint: dropout is turned off by itself; leave other random ops out of what is evaluated, or run it as training"
    )]
    Random {
        /// The random op.
        node: String,
    },
    /// A variable would change.
    #[error(
        "an evaluation must not change variables, but `{variable}` is updated with {node}\n  hint: fetch the update in a training run"
    )]
    Update {
        /// The variable.
        variable: String,
        /// Its next value.
        node: String,
    },
}

/// The graph as it evaluates: dropout is identity, carried updates are ignored.
///
/// # Errors
/// If random ops or updates are left; the message names one.
pub fn for_evaluation(graph: Graph) -> Result<Graph, EvaluationError> {
    if let Some((variable, value)) = graph.updates().first() {
        let (variable, node) = (variable.name().to_string(), graph[*value].describe());
        return Err(EvaluationError::Update { variable, node });
    }
    let graph = graph.rebuild(|_, node, inputs| match node.op {
        Op::Dropout(_) | Op::WithUpdate(_) => Some(inputs[0]),
        _ => None,
    });
    let graph = dead_code::drop_unused(graph.value).value;
    let random = graph.nodes().find(|node| matches!(node.op, Op::Random(_))).map(Node::describe);
    match random {
        Some(node) => Err(EvaluationError::Random { node }),
        None => Ok(graph),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::random::random_normal;
    use crate::ops::source::placeholder;
    use crate::{DType, Variable};

    #[test]
    fn dropout_is_off() {
        let x = placeholder("x", DType::F32, ["n"]);
        let seen = Variable::new("seen", 0.0);
        let y = x.dropout(0.5).with_update(&seen, &(&seen + 1.0)).exp();
        let graph = for_evaluation(Graph::capture([&y], &[])).unwrap();
        assert_eq!(graph.to_string(), "%x: f32[n] = placeholder\n%0: f32[n] = exp %x\nreturn %0\n");
    }

    #[test]
    fn other_randomness_and_updates_are_refused_by_name() {
        let noisy = placeholder("x", DType::F32, ["n"]) + random_normal(["n"], DType::F32).named("noise");
        let message = for_evaluation(Graph::capture([&noisy], &[])).unwrap_err().to_string();
        assert!(message.contains("random 'noise' (made at") && message.contains("for_evaluation.rs"), "{message}");
        let step = Variable::new("step", 0.0);
        let graph = Graph::capture([], &[step.assign(&(&step + 1.0))]);
        let message = for_evaluation(graph).unwrap_err().to_string();
        assert!(message.contains("`step` is updated with add"), "{message}");
    }
}
