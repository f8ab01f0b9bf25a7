//! Functions of primitives that keep their name in the graph: their expansion is what they are, and their gradient
//! unless they name another.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, Real};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::random::random_uniform;
use crate::tensor::{Meta, Tensor};

impl Tensor {
    /// eˣ / Σ eˣ along `axis`, computed from x − max x.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        Tensor::apply(Softmax { axis: self.axis(axis) }, [self.clone()])
    }

    /// ln softmax along `axis`.
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        Tensor::apply(LogSoftmax { axis: self.axis(axis) }, [self.clone()])
    }

    /// ln Σ eˣ along `axis`, which vanishes; computed from x − max x.
    #[track_caller]
    pub fn log_sum_exp(&self, axis: isize) -> Tensor {
        Tensor::apply(LogSumExp { axis: self.axis(axis) }, [self.clone()])
    }

    /// Each number 0 with probability `rate`, else multiplied by 1/(1 − rate) (Srivastava et al. 2014). Off in
    /// evaluation.
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn dropout(&self, rate: f64) -> Tensor {
        let uniform = random_uniform(self.shape(), self.dtype());
        Tensor::apply(Dropout { rate: Real(rate) }, [self.clone(), uniform])
    }
}

/// What a composite says when it is asked for a reference of its own.
fn no_reference(cx: &Reference<'_>) -> ! {
    unreachable!("{} is interpreted through its expansion: a bug in Thalweg", cx.label)
}

fn float_with_axis(x: &Meta, axis: usize) -> Result<(), ShapeError> {
    if !x.dtype.is_float() {
        return Err(ShapeError::new(format!("not defined on {}", x.dtype)).hint("`cast` to a float dtype first"));
    }
    if axis >= x.shape.rank() {
        return Err(ShapeError::new(format!("there is no axis {axis}")));
    }
    Ok(())
}

/// max x along the axis, kept; −∞ and ∞ replaced by 0 so that a row of −∞ gives NaN-free differences where it can.
fn finite_max(x: &Tensor, axis: isize) -> Tensor {
    let max = x.max_over(axis).keep_axes(axis, x).stop_gradient();
    max.is_finite().select(&max, 0.0)
}

/// eˣ / Σ eˣ along an axis. A row of −∞ gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Softmax {
    /// The axis of the classes.
    pub axis: usize,
}

impl OpRules for Softmax {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        float_with_axis(x, self.axis)?;
        Ok(x.clone())
    }

    /// x̄ = y (ȳ − Σ ȳ y)
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (y, c, axis) = (cx.output, cx.cotangent, self.axis as isize);
        let weighted = c * y;
        let sum = weighted.sum_over(axis).keep_axes(axis, y);
        vec![Some(y * (c - sum))]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let (x, axis) = (&inputs[0], self.axis as isize);
        let e = (x - finite_max(x, axis)).exp();
        let sum = e.sum_over(axis).keep_axes(axis, x);
        Some(e / sum)
    }
}

/// ln softmax along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogSoftmax {
    /// The axis of the classes.
    pub axis: usize,
}

impl OpRules for LogSoftmax {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        float_with_axis(x, self.axis)?;
        Ok(x.clone())
    }

    /// x̄ = ȳ − softmax(x) Σ ȳ
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, c, axis) = (&cx.inputs[0], cx.cotangent, self.axis as isize);
        let sum = c.sum_over(axis).keep_axes(axis, x);
        vec![Some(c - x.softmax(axis) * sum)]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let (x, axis) = (&inputs[0], self.axis as isize);
        let shifted = x - finite_max(x, axis);
        let sum = shifted.exp().sum_over(axis).keep_axes(axis, x);
        Some(&shifted - sum.log())
    }
}

/// ln Σ eˣ along an axis. A row of −∞ gives −∞.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogSumExp {
    /// The axis, which vanishes.
    pub axis: usize,
}

impl OpRules for LogSumExp {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        float_with_axis(x, self.axis)?;
        let mut shape = x.shape.clone();
        shape.sizes_mut().remove(self.axis);
        Ok(Meta::new(x.dtype, shape))
    }

    /// x̄ = softmax(x) ȳ
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, axis) = (&cx.inputs[0], self.axis as isize);
        vec![Some(x.softmax(axis) * cx.cotangent.keep_axes(axis, x))]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let (x, axis) = (&inputs[0], self.axis as isize);
        let max = finite_max(x, axis);
        let sum = (x - &max).exp().sum_over(axis);
        let shape = sum.shape().clone();
        Some(sum.log() + max.reshape(shape))
    }
}

/// x where u ≥ rate, multiplied by 1/(1 − rate), else 0. Inputs: x, and u uniform in [0, 1) of the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dropout {
    /// The probability of 0.
    pub rate: Real,
}

impl OpRules for Dropout {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, uniform] = exactly(inputs)?;
        if !(0.0..1.0).contains(&self.rate.0) {
            return Err(ShapeError::new(format!("the rate is {:?}; it must be at least 0 and below 1", self.rate)));
        }
        if !x.dtype.is_float() {
            return Err(ShapeError::new(format!("not defined on {}", x.dtype)));
        }
        if x != uniform {
            return Err(ShapeError::new("the uniform numbers have another dtype or shape than the input"));
        }
        Ok(x.clone())
    }

    /// The same numbers of the cotangent are dropped.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(Tensor::apply(*self, [cx.cotangent.clone(), cx.inputs[1].clone()])), None]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let (x, u) = (&inputs[0], &inputs[1]);
        Some(u.greater_equal(self.rate.0).select(&(x * (1.0 / (1.0 - self.rate.0))), 0.0))
    }
}
