//! [`Loop`] and its results, [`Output`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType, Shape, Size};

use super::Body;
use crate::error::{EvalError, ShapeError};
use crate::op::{Op, OpRules, Reference, Vjp, exactly};
use crate::tensor::{Meta, Tensor};

/// The same body for each position of the inputs, one after the other.
///
/// Its inputs are the carries before the first step, then tensors of which a step sees the slice at its position along axis
/// 0, then tensors that every step sees whole. The body's parameters are called after them: `carry0`, …, `input0`, …,
/// `outer0`, …. What it fetches are the carries after the step, then the outputs of the step. The results of the loop are
/// the carries after the last step, then the outputs of all steps, stacked along a new axis 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Loop {
    /// How many steps.
    pub length: Size,
    /// How many numbers are carried.
    pub carries: usize,
    /// How many inputs are walked along.
    pub inputs: usize,
    /// From the last position to the first.
    pub reverse: bool,
    /// Whether the first carry, a truth value, says before each step whether it is taken: the loop ends before the step for
    /// which it is false, and `length` is how many there are at most. Such a loop walks along nothing and stacks nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gated: bool,
    /// What is done in a step.
    pub body: Body,
}

impl Loop {
    /// What the body calls the input of this position.
    pub fn parameter(&self, position: usize) -> Arc<str> {
        parameter(self.carries, self.inputs, position)
    }

    /// The position of the input that the body calls so.
    pub fn position(&self, parameter: &str) -> Option<usize> {
        let digits = parameter.find(|c: char| c.is_ascii_digit())?;
        let (role, number) = parameter.split_at(digits);
        let number: usize = number.parse().ok()?;
        let position = match role {
            "carry" if number < self.carries => number,
            "input" if number < self.inputs => self.carries + number,
            "outer" => (self.carries + self.inputs).checked_add(number)?,
            _ => return None,
        };
        // No other way of writing the number.
        (*self.parameter(position) == *parameter).then_some(position)
    }

    /// dtype and shape of each result.
    pub fn results(&self) -> Vec<Meta> {
        let graph = self.body.graph();
        let meta = |(number, id): (usize, &crate::NodeId)| {
            let meta = &graph[*id].meta;
            if number < self.carries { meta.clone() } else { stacked(&self.length, meta) }
        };
        graph.fetches().iter().enumerate().map(meta).collect()
    }
}

/// What a body with so many carries and inputs calls the input of the loop at `position`.
pub(super) fn parameter(carries: usize, inputs: usize, position: usize) -> Arc<str> {
    match position {
        carry if carry < carries => format!("carry{carry}"),
        input if input < carries + inputs => format!("input{}", input - carries),
        outer => format!("outer{}", outer - carries - inputs),
    }
    .into()
}

/// A tensor of this kind for each of so many steps.
pub(crate) fn stacked(length: &Size, meta: &Meta) -> Meta {
    Meta::new(meta.dtype, [length].into_iter().chain(meta.shape.iter()).cloned().collect())
}

/// What a loop is itself: nothing that could be read.
fn nothing() -> Meta {
    Meta::new(DType::Bool, Shape::from_iter([Size::from(0)]))
}

impl OpRules for Loop {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let Loop { length, carries, inputs: walked, .. } = self;
        let graph = self.body.graph();
        if inputs.len() < carries + walked || graph.fetches().len() < *carries {
            return Err(ShapeError::new(format!(
                "{carries} carries and {walked} inputs, but {} tensors and {} results of a step",
                inputs.len(),
                graph.fetches().len()
            )));
        }
        if self.gated {
            let flag = Meta::new(DType::Bool, Shape::from_iter::<[Size; 0]>([]));
            if *carries == 0 || *inputs[0] != flag || *walked > 0 || graph.fetches().len() > *carries {
                let reason =
                    "a gated loop carries first a truth value, walks along nothing and gives nothing but carries";
                return Err(ShapeError::new(reason));
            }
        }
        if !graph.updates().is_empty() {
            return Err(ShapeError::new("the body updates variables"));
        }
        let mut seen: Vec<Option<Meta>> = inputs.iter().map(|meta| Some((*meta).clone())).collect();
        for (position, meta) in inputs.iter().enumerate().skip(*carries).take(*walked) {
            if meta.shape.rank() == 0 || meta.shape[0] != *length {
                return Err(ShapeError::new(format!(
                    "{} is {meta}; its axis 0 must be {length}, the steps",
                    self.parameter(position)
                )));
            }
            seen[position] = Some(Meta::new(meta.dtype, meta.shape.iter().skip(1).cloned().collect()));
        }
        for node in graph.nodes() {
            match &node.op {
                Op::Placeholder(placeholder) => {
                    let given = self.position(&placeholder.name).and_then(|position| seen.get(position)?.clone());
                    let Some(given) = given else {
                        return Err(ShapeError::new(format!(
                            "the body reads `{}`, which it is not given",
                            placeholder.name
                        )));
                    };
                    if given != node.meta {
                        return Err(ShapeError::new(format!(
                            "the body expects `{}` as {}, but is given {given}",
                            placeholder.name, node.meta
                        )));
                    }
                }
                Op::Variable(_) | Op::Random(_) | Op::WithUpdate(_) => {
                    let reason = format!("the body has {}; a step depends on its parameters alone", node.describe());
                    return Err(ShapeError::new(reason).hint("hand it in"));
                }
                _ => {}
            }
        }
        for (carry, id) in graph.fetches().iter().take(*carries).enumerate() {
            let (before, after) = (inputs[carry], &graph[*id].meta);
            if before != after {
                return Err(ShapeError::new(format!("carry {carry} is {before}, after a step {after}")));
            }
        }
        Ok(nothing())
    }

    /// The gradient of all results is built at once, see [`crate::autodiff`].
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None; cx.inputs.len()]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        unreachable!("{} has several results, the interpreter runs it itself: a bug in Thalweg", cx.label)
    }
}

/// One of the results of a loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Output {
    /// Which.
    pub index: usize,
    /// Its dtype.
    pub dtype: DType,
    /// Its sizes.
    pub shape: Shape,
}

impl OpRules for Output {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [of] = exactly(inputs)?;
        if *of != nothing() {
            return Err(ShapeError::new(format!("{of} is no loop, of which one result could be taken")));
        }
        Ok(Meta::new(self.dtype, self.shape.clone()))
    }

    /// See [`Loop`].
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        unreachable!("{} is what the interpreter has kept: a bug in Thalweg", cx.label)
    }
}
