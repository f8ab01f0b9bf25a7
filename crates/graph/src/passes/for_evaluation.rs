//! Evaluation graphs: dropout ⇒ its input, what is evaluated as something else ⇒ that, other random numbers that disturb data ⇒ their mean. What is left to chance
//! then has no place in evaluation, nor have updates.

use thiserror::Error;

use super::{dead_code, expectation, in_bodies, loops};
use crate::graph::{Changed, Graph, Node};
use crate::op::Op;
use crate::ops::attention;

/// Why a graph cannot serve evaluation.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvaluationError {
    /// Random numbers are left that have no mean to stand for them.
    #[error(
        "an evaluation must not depend on chance, but {node} is still in its graph\n  hint: random numbers are turned off by themselves where they are added to data or multiplied into them (dropout, noise); leave others out of what is evaluated, or run it as training"
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

/// The graph as it evaluates: dropout is identity, noise is gone, carried updates are ignored.
///
/// ```
/// use thalweg_graph::passes::for_evaluation;
/// use thalweg_graph::{DType, Graph, placeholder, random_normal, random_uniform};
/// let x = placeholder("x", DType::F32, ["n"]);
/// let kept = random_uniform(["n"], DType::F32).less(0.5).cast(DType::F32);
/// let y = &x * kept * 2.0 + random_normal(["n"], DType::F32) * 0.1;
/// assert!(for_evaluation(Graph::capture([&y], &[])).is_ok());
/// assert!(for_evaluation(Graph::capture([&random_normal(["n"], DType::F32)], &[])).is_err());
/// ```
///
/// # Errors
/// If random ops or updates are left; the message names one.
pub fn for_evaluation(graph: Graph) -> Result<Graph, EvaluationError> {
    if let Some((variable, value)) = graph.updates().first() {
        let (variable, node) = (variable.name().to_string(), graph[*value].describe());
        return Err(EvaluationError::Update { variable, node });
    }
    let graph = dead_code::drop_unused(expectation::take_means(without_training(graph).value)).value;
    let random = graph.nodes().find(|node| matches!(node.op, Op::Random(_))).map(Node::describe);
    match random {
        Some(node) => Err(EvaluationError::Random { node }),
        None => Ok(graph),
    }
}

/// Without what only a training run does, in the bodies of loops too.
fn without_training(graph: Graph) -> Changed<Graph> {
    let inside = in_bodies(graph, &mut |_, body| without_training(body));
    let outside = inside.value.rebuild(|graph, node, inputs| match node.op {
        Op::Attention(_) | Op::AttentionGradient(_) => {
            let (plain, count) = attention::without_dropout(&node.op, inputs.len())?;
            graph.add(plain, &inputs[..count], node).ok()
        }
        Op::Dropout(_) | Op::After(_) | Op::WithUpdate(_) => Some(inputs[0]),
        Op::EvaluatedAs(_) => Some(inputs[1]),
        _ => None,
    });
    let tidy = loops::tidy::tidy(outside.value);
    Changed { value: tidy.value, changed: inside.changed || outside.changed || tidy.changed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::random::{random_normal, random_uniform};
    use crate::ops::source::placeholder;
    use crate::reference::{Feeds, interpret};
    use crate::{Array, DType, Tensor, Variable};

    #[test]
    fn dropout_is_off() {
        let x = placeholder("x", DType::F32, ["n"]);
        let seen = Variable::new("seen", 0.0);
        let y = x.dropout(0.5).with_update(&seen, &(&seen + 1.0)).exp();
        let graph = for_evaluation(Graph::capture([&y], &[])).unwrap();
        assert_eq!(graph.to_string(), "%x: f32[n] = placeholder\n%0: f32[n] = exp %x\nreturn %0\n");
    }

    /// What evaluates to the numbers 1, -2, 4 of x, however dropout and noise were written.
    #[track_caller]
    fn assert_off(disturbed: impl Fn(&Tensor) -> Tensor) {
        for dtype in [DType::F64, DType::F32] {
            let w = Variable::new("w", Array::from([1.0, -2.0, 4.0]).cast(dtype));
            let y = disturbed(w.tensor());
            let train = interpret(&Graph::capture([&y], &[]), &Feeds::default()).unwrap();
            let graph = for_evaluation(Graph::capture([&y], &[])).unwrap_or_else(|error| panic!("{error}"));
            let found: Vec<f64> = interpret(&graph, &Feeds::default()).unwrap().fetches[0].to_vec();
            assert_ne!(found, train.fetches[0].to_vec::<f64>(), "training is disturbed");
            for (found, expected) in found.iter().zip([1.0, -2.0, 4.0]) {
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} for {expected}\n{graph}");
            }
        }
    }

    #[test]
    fn dropout_written_by_hand_is_off() {
        let u = |x: &Tensor| random_uniform(x.shape(), x.dtype());
        assert_off(|x| x * u(x).greater_equal(0.75).cast(x.dtype()) * 4.0);
        assert_off(|x| x * (u(x).less(0.25).cast(x.dtype()) / 0.25));
        assert_off(|x| u(x).less(0.75).select(&x.zeros_like(), &(x * 4.0)));
        assert_off(|x| u(x).less(0.25).select(&(x / 0.25), 0.0));
        assert_off(|x| u(x).less(0.75).logical_not().cast(x.dtype()) * x * 4.0);
        assert_off(|x| x * (1.0 - u(x).less(0.75).cast(x.dtype())) * 4.0);
        // As in the paper: nothing is scaled in training, and in evaluation everything by how often it stays.
        assert_off(|x| x * 2.0 * u(x).less(0.5).cast(x.dtype()));
        // One decision for all, and rates that a variable holds.
        assert_off(|x| x * random_uniform((), x.dtype()).greater(0.875).cast(x.dtype()).expand(x.shape()) * 8.0);
        let rate = |x: &Tensor| Variable::new("rate", Array::from(0.75).cast(x.dtype())).tensor().expand(x.shape());
        assert_off(|x| x * u(x).greater_equal(rate(x)).cast(x.dtype()) / (1.0 - rate(x)));
        assert_off(|x| x * rate(x).less(u(x)).cast(x.dtype()) / (1.0 - rate(x)));
    }

    #[test]
    fn noise_written_by_hand_is_off() {
        let n = |x: &Tensor| random_normal(x.shape(), x.dtype());
        assert_off(|x| x + n(x));
        assert_off(|x| x - n(x) * 0.1);
        assert_off(|x| x * (1.0 + 0.5 * n(x)));
        assert_off(|x| x + x.exp() * n(x));
        assert_off(|x| x + (random_uniform(x.shape(), x.dtype()) - 0.5) * 0.2);
        assert_off(|x| x + (-n(x) + n(x)).stop_gradient() / 3.0);
        assert_off(|x| x + n(&x.sum()).expand(x.shape()));
    }

    #[test]
    fn what_only_chance_decides_is_refused_by_name() {
        let x = placeholder("x", DType::F32, ("n", 2));
        let noise = || random_normal(x.shape(), DType::F32).named("noise");
        let uniform = || random_uniform(x.shape(), DType::F32).named("noise");
        let w = Variable::new("w", Array::zeros(&[2, 2], DType::F32));
        for (what, y) in [
            ("fetched itself", noise()),
            ("scaled noise", noise() * &x),
            ("the input of a generator", noise().matmul(&w)),
            ("a function that is not linear", &x + noise().square()),
            ("Gumbel numbers", &x - (-uniform().log()).log()),
            ("a product of two", &x + noise() * noise()),
            ("a divisor", &x / noise()),
            ("an extreme", x.maximum(noise())),
            ("chance among integers", uniform().less(0.5).cast(DType::I32).cast(DType::F32) * &x),
            ("a mean that is infinite", uniform().less(0.5).select(&x, f64::NEG_INFINITY)),
            ("a decision by normal numbers", noise().less(0.5).cast(DType::F32) * &x),
        ] {
            let Err(error) = for_evaluation(Graph::capture([&y], &[])) else { panic!("{what} is accepted") };
            let message = error.to_string();
            assert!(message.contains("random 'noise' (made at") && message.contains("for_evaluation.rs"), "{message}");
        }
    }

    #[test]
    fn updates_are_refused_by_name() {
        let step = Variable::new("step", 0.0);
        let graph = Graph::capture([], &[step.assign(&(&step + 1.0))]);
        let message = for_evaluation(graph).unwrap_err().to_string();
        assert!(message.contains("`step` is updated with add"), "{message}");
    }
}
