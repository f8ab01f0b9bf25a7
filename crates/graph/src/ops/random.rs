//! Random tensors. The numbers are a function of (seed, stream, step, position), see [`thalweg_array::random`].

use serde::{Deserialize, Serialize};
use thalweg_array::random::Philox;
use thalweg_array::scalar::Distribution;
use thalweg_array::{Array, DType, Element, IntoShape, Shape, with_dtype};

use crate::error::{EvalError, ShapeError};
use crate::op::{Op, OpRules, Reference, Vjp, exactly};
use crate::reference::built;
use crate::tensor::{Meta, Tensor};

/// Numbers uniform in [0, 1), drawn anew in each run.
#[track_caller]
pub fn random_uniform(shape: impl IntoShape, dtype: DType) -> Tensor {
    Tensor::apply(Random { distribution: Distribution::Uniform, dtype, shape: shape.into_shape(), stream: None }, [])
}

/// Numbers from the normal distribution with mean 0 and variance 1, drawn anew in each run.
#[track_caller]
pub fn random_normal(shape: impl IntoShape, dtype: DType) -> Tensor {
    Tensor::apply(Random { distribution: Distribution::Normal, dtype, shape: shape.into_shape(), stream: None }, [])
}

/// Random numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Random {
    /// From which distribution.
    pub distribution: Distribution,
    /// f32, f64, f16 or bf16.
    pub dtype: DType,
    /// The sizes.
    pub shape: Shape,
    /// Which stream; given when the graph is captured.
    pub stream: Option<u64>,
}

impl OpRules for Random {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [] = exactly(inputs)?;
        if !self.dtype.is_float() {
            return Err(
                ShapeError::new(format!("random numbers of {}", self.dtype)).hint("draw f32, scale, and `cast`")
            );
        }
        Ok(Meta::new(self.dtype, self.shape.clone()))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let generator = Philox::new(cx.seed, self.stream.unwrap_or_default());
        let count = cx.shape.iter().product::<usize>() as u64;
        let draw = |index| match self.distribution {
            Distribution::Uniform => generator.uniform(index, cx.step) as f64,
            Distribution::Normal => generator.normal(index, cx.step),
        };
        let storage =
            with_dtype!(cx.dtype, T => T::into_storage((0..count).map(|index| T::from_f64(draw(index))).collect()));
        Ok(built(cx.shape, storage))
    }

    fn is_pure(&self) -> bool {
        self.stream.is_some()
    }
}

impl Op {
    /// Whether this is a random op that has no stream yet.
    pub fn needs_stream(&self) -> bool {
        matches!(self, Op::Random(Random { stream: None, .. }))
    }

    /// The op with its random numbers taken from `stream`.
    pub fn with_stream(&self, stream: u64) -> Op {
        match self.clone() {
            Op::Random(random) => Random { stream: Some(stream), ..random }.into(),
            other => other,
        }
    }
}
