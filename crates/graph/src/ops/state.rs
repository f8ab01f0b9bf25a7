//! What gradients and runs are told: where no gradient flows, what waits for what, what changes at the end.

use serde::{Deserialize, Serialize};
use thalweg_array::Array;

use crate::error::{EvalError, ShapeError};
use crate::op::{Op, OpRules, Reference, Vjp, exactly};
use crate::ops::source::VariableRead;
use crate::tensor::{Meta, Tensor, topological};
use crate::variable::{Update, Variable};

impl Tensor {
    /// The same numbers; no gradient flows back.
    #[track_caller]
    pub fn stop_gradient(&self) -> Tensor {
        Tensor::apply(StopGradient {}, [self.clone()])
    }

    /// The same numbers; what reads them is computed when `other` is there, not before. It is another node than this one, so
    /// that what is computed from it is not taken for what is computed from this one.
    #[track_caller]
    pub(crate) fn after(&self, other: &Tensor) -> Tensor {
        Tensor::apply(After {}, [self.clone(), other.clone()])
    }

    /// The same numbers, carrying the word that `variable` becomes `value` when a training step that contains this
    /// tensor runs ([`updates_of`] collects it; plain fetches ignore it). For layers with running statistics.
    ///
    /// # Panics
    /// If dtype or shape of the value differ from the variable's.
    #[track_caller]
    pub fn with_update(&self, variable: &Variable, value: &Tensor) -> Tensor {
        let update = variable.assign(value);
        let Op::Variable(read) = variable.tensor().op() else { unreachable!("a variable reads itself") };
        Tensor::apply(WithUpdate { variable: read.clone() }, [self.clone(), update.value])
    }
}

impl Tensor {
    /// These numbers in a run, those of `other` in an evaluation: for layers that are trained on one thing and used on
    /// another, as batch norm is on the statistics of the batch and those of all batches. Gradients flow to this tensor
    /// alone.
    ///
    /// ```
    /// use thalweg_graph::passes::for_evaluation;
    /// use thalweg_graph::{DType, Graph, placeholder};
    /// let (x, y) = (placeholder("x", DType::F32, ["n"]), placeholder("y", DType::F32, ["n"]));
    /// let graph = for_evaluation(Graph::capture([&x.evaluated_as(&y)], &[]))?;
    /// assert_eq!(graph.to_string(), "%y: f32[n] = placeholder\nreturn %y\n");
    /// # Ok::<(), thalweg_graph::passes::EvaluationError>(())
    /// ```
    ///
    /// # Panics
    /// If dtype or shape differ.
    #[track_caller]
    pub fn evaluated_as(&self, other: &Tensor) -> Tensor {
        Tensor::apply(EvaluatedAs {}, [self.clone(), other.clone()])
    }
}

/// The updates that the ancestors of `roots` carry.
pub fn updates_of<'a>(roots: impl IntoIterator<Item = &'a Tensor>) -> Vec<Update> {
    let carried = |tensor: &Tensor| match tensor.op() {
        Op::WithUpdate(with) => {
            let variable = with.variable.handle();
            Some(variable.assign(&tensor.inputs()[1].stop_gradient()))
        }
        _ => None,
    };
    topological(roots).iter().filter_map(carried).collect()
}

/// Identity without gradient.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StopGradient {}

impl OpRules for StopGradient {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        Ok(x.clone())
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn reference(&self, inputs: &[&Array], _: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(inputs[0].clone())
    }
}

/// Identity of the first input; what reads it is computed when the second is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct After {}

impl OpRules for After {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, _] = exactly(inputs)?;
        Ok(x.clone())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent.clone()), None]
    }

    fn reference(&self, inputs: &[&Array], _: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(inputs[0].clone())
    }
}

/// Identity of the first input; in evaluation graphs of the second.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EvaluatedAs {}

impl OpRules for EvaluatedAs {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, other] = exactly(inputs)?;
        if x != other {
            return Err(ShapeError::new(format!("trained as {x}, evaluated as {other}")));
        }
        Ok(x.clone())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent.clone()), None]
    }

    fn reference(&self, inputs: &[&Array], _: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(inputs[0].clone())
    }
}

/// Identity of the first input; the second is the next value of the variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WithUpdate {
    /// What changes.
    pub variable: VariableRead,
}

impl OpRules for WithUpdate {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, value] = exactly(inputs)?;
        let variable = self.variable.infer(&[])?;
        if *value != variable {
            return Err(ShapeError::new(format!("the next value is {value}, the variable {variable}")));
        }
        Ok(x.clone())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent.clone()), None]
    }

    fn reference(&self, inputs: &[&Array], _: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(inputs[0].clone())
    }
}
