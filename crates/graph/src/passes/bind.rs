//! Numbers for named sizes: the program of one combination of sizes.
//!
//! ```text
//! %x: f32[batch,4] = placeholder     ⇒  %x: f32[32,4] = placeholder
//! %0: f32[] = size size="batch"      ⇒  %0: f32[] = constant 32.0
//! ```

use smallvec::SmallVec;
use thalweg_array::{Array, Bindings, Shape, Size, SizeError};
use thiserror::Error;

use crate::error::ShapeError;
use crate::graph::Graph;
use crate::op::{Op, OpRules};
use crate::ops::control::Body;
use crate::ops::source::Constant;
use crate::tensor::Meta;

/// Why numbers do not fit a graph.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum BindError {
    /// A size has no number, or is below zero.
    #[error("{node}: {error}")]
    Size {
        /// The node that mentions the size.
        node: String,
        /// What is wrong with the size.
        error: SizeError,
    },
    /// With these numbers an op is not defined.
    #[error("{node}: {error}\n  with {sizes}")]
    Refused {
        /// The node.
        node: String,
        /// The op's reason.
        error: ShapeError,
        /// The numbers.
        sizes: String,
    },
}

/// The graph with every named size replaced by its number.
///
/// # Errors
/// If a size has no number or is below zero, or an op is not defined with these numbers; names the node.
pub fn bind(mut graph: Graph, bindings: &Bindings) -> Result<Graph, BindError> {
    let mut changed = vec![false; graph.len()];
    for id in graph.ids() {
        let node = &graph[id];
        let mut op = node.op.clone();
        let own = op.bind_sizes(bindings).map_err(|error| BindError::Size { node: node.describe(), error })?;
        if let Op::Loop(op) = &mut op {
            op.body = Body::new(bind(op.body.graph().clone(), bindings)?);
        } else if !own && !node.inputs.iter().any(|input| changed[input.index()]) {
            continue;
        }
        changed[id.index()] = true;
        let inferred = op.infer(&node.inputs.iter().map(|id| &graph[*id].meta).collect::<SmallVec<[&Meta; 4]>>());
        let meta = inferred.map_err(|error| BindError::Refused {
            node: node.describe(),
            error,
            sizes: bindings.iter().map(|(name, number)| format!("{name} = {number}")).collect::<Vec<_>>().join(", "),
        })?;
        graph.replace(id, op, meta);
    }
    Ok(graph)
}

impl Op {
    /// Replaces every named size among the attributes by its number. Says whether there was one.
    ///
    /// # Errors
    /// If a size has no number, or is below zero.
    pub fn bind_sizes(&mut self, bindings: &Bindings) -> Result<bool, SizeError> {
        match self {
            Op::Placeholder(op) => bind_shape(&mut op.shape, bindings),
            Op::Reshape(op) => bind_shape(&mut op.shape, bindings),
            Op::Expand(op) => bind_shape(&mut op.shape, bindings),
            Op::Iota(op) => bind_shape(&mut op.shape, bindings),
            Op::Random(op) => bind_shape(&mut op.shape, bindings),
            Op::Convolution(op) => bind_all(op.axes.iter_mut().map(|grid| &mut grid.input), bindings),
            Op::OverlapAdd(op) => bind_all([&mut op.size], bindings),
            Op::CheckIndices(op) => bind_all([&mut op.bound], bindings),
            Op::Slice(op) => {
                bind_all(op.axes.iter_mut().flat_map(|axis| [&mut axis.start, &mut axis.length]), bindings)
            }
            Op::Pad(op) => bind_all(op.axes.iter_mut().flat_map(|axis| [&mut axis.start, &mut axis.size]), bindings),
            Op::Size(op) => {
                let number = op.size.evaluate(bindings)?;
                *self = Constant::new(Array::full(&[], op.dtype, number as i64)).into();
                Ok(true)
            }
            Op::Constant(_) | Op::Variable(_) => Ok(false),
            Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_) => Ok(false),
            Op::Reduce(_) | Op::MatMul(_) | Op::Permute(_) | Op::Windows(_) | Op::Concat(_) | Op::Flip(_) => Ok(false),
            Op::Gather(_) | Op::ScatterAdd(_) | Op::TakeAlong(_) | Op::ScatterAddAlong(_) => Ok(false),
            Op::ArgSort(_) | Op::ArgReduce(_) | Op::CumSum(_) => Ok(false),
            Op::StopGradient(_) | Op::After(_) | Op::WithUpdate(_) | Op::EvaluatedAs(_) => Ok(false),
            Op::BatchNorm(_) | Op::Attention(_) | Op::AttentionGradient(_) => Ok(false),
            Op::Softmax(_) | Op::LogSoftmax(_) | Op::LogSumExp(_) | Op::Dropout(_) | Op::LayerNorm(_) => Ok(false),
            Op::Loop(op) => bind_all([&mut op.length], bindings),
            Op::Output(op) => bind_shape(&mut op.shape, bindings),
            Op::Custom(_) => Ok(false),
        }
    }
}

fn bind_shape(shape: &mut Shape, bindings: &Bindings) -> Result<bool, SizeError> {
    bind_all(shape.sizes_mut(), bindings)
}

fn bind_all<'a>(sizes: impl IntoIterator<Item = &'a mut Size>, bindings: &Bindings) -> Result<bool, SizeError> {
    let mut changed = false;
    for size in sizes {
        if size.number().is_none() {
            *size = Size::from(size.evaluate(bindings)?);
            changed = true;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::ops::random::random_normal;
    use crate::ops::source::placeholder;
    use crate::verify::verify;

    #[test]
    fn nothing_named_is_left() {
        let x = placeholder("x", DType::F32, ("batch", 4));
        let noise = random_normal(("batch", 4), DType::F32);
        let y = (x.reshape(["4*batch"]).slice(0, 1..) + noise.reshape(["4*batch"]).slice(0, 1..)).mean();
        let label = placeholder("label", DType::I64, ["batch"]);
        let z = label.one_hot(x.size(0), DType::F32).pad(0, 1, "batch", 0.0);
        let graph = bind(Graph::capture([&y, &z], &[]), &Bindings::from_iter([("batch", 3)])).unwrap();
        verify(&graph).unwrap();
        assert!(!graph.to_string().contains("batch"), "{graph}");
        assert!(graph.to_string().contains("constant 11.0"), "{graph}");
        assert_eq!(graph[graph.fetches()[1]].meta.to_string(), "f32[7,3]");
    }

    #[test]
    fn numbers_that_do_not_fit_name_the_node() {
        let x = placeholder("x", DType::F32, ["n"]);
        let graph = Graph::capture([&x.max_over(0).named("best")], &[]);
        let message = bind(graph.clone(), &Bindings::new()).unwrap_err().to_string();
        assert!(message.contains("placeholder 'x'") && message.contains("needs a number for `n`"), "{message}");
        let message = bind(graph, &Bindings::from_iter([("n", 0)])).unwrap_err().to_string();
        assert!(message.contains("max 'best'") && message.contains("size 0") && message.contains("n = 0"), "{message}");
    }
}
