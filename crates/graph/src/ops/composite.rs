//! Functions of primitives that keep their name in the graph: their expansion is what they are, and their gradient
//! unless they name another.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, Real, Size};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::random::random_uniform;
use crate::ops::reduce::Axes;
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

    /// Each line along the last axis with mean 0 and variance 1, times `scale` plus `shift` (Ba et al. 2016):
    /// (x − mean) / √(variance + eps) · scale + shift. The variance is the biased one. `scale` and `shift` have the size
    /// of the last axis.
    ///
    /// ```
    /// use thalweg_graph::{DType, ones, placeholder, zeros};
    /// let x = placeholder("x", DType::F32, ("batch", "time", 64));
    /// let (scale, shift) = (ones([64], DType::F32), zeros([64], DType::F32));
    /// assert_eq!(x.layer_norm(&scale, &shift, 1e-5).meta().to_string(), "f32[batch,time,64]");
    /// ```
    #[track_caller]
    pub fn layer_norm(&self, scale: &Tensor, shift: &Tensor, eps: f64) -> Tensor {
        Tensor::apply(LayerNorm { eps: Real(eps) }, [self.clone(), scale.clone(), shift.clone()])
    }

    /// Maxout (Goodfellow et al. 2013): the largest of each `pieces` neighbours along `axis`, which shrinks to the
    /// `pieces`-th part.
    ///
    /// # Panics
    /// If the size does not divide.
    #[track_caller]
    pub fn maxout(&self, pieces: usize, axis: isize) -> Tensor {
        let at = self.axis(axis);
        let size = &self.shape()[at];
        let Some(groups) = size.exact_div(&Size::from(pieces)) else {
            panic!(
                "maxout: {size} positions of axis {axis} of {} ({}) do not divide into groups of {pieces}   --> {}",
                self.display_name(),
                self.meta(),
                std::panic::Location::caller()
            );
        };
        let mut shape = self.shape().clone();
        shape.sizes_mut()[at] = groups;
        shape.sizes_mut().insert(at + 1, Size::from(pieces));
        self.reshape(shape).max_over(at as isize + 1)
    }

    /// Each number 0 with probability `rate`, else multiplied by 1/(1 − rate) (Srivastava et al. 2014). Off in
    /// evaluation.
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn dropout(&self, rate: f64) -> Tensor {
        self.dropout_along(rate, [])
    }

    /// As [`Tensor::dropout`], one decision for all numbers along `axes`: of pictures `[batch, channel, y, x]` with axes
    /// 2 and 3 whole channels go, of words `[batch, time, feature]` with axis 2 whole words.
    ///
    /// # Panics
    /// If the rate is outside [0, 1), or there is no such axis.
    #[track_caller]
    pub fn dropout_along(&self, rate: f64, axes: impl Axes) -> Tensor {
        let mut decisions = self.shape().clone();
        for axis in axes.axes(self) {
            decisions.sizes_mut()[axis] = Size::from(1);
        }
        let uniform = random_uniform(decisions, self.dtype()).expand(self.shape());
        Tensor::apply(Dropout { rate: Real(rate) }, [self.clone(), uniform])
    }
}

/// What a composite says when it is asked for a reference of its own.
pub(crate) fn no_reference(cx: &Reference<'_>) -> ! {
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

/// max x along the axis, kept; −∞ and ∞ replaced by 0 so that a row of −∞ gives NaN-free differences where it can. Of
/// an empty row 0: there is nothing that it could be too large for.
fn finite_max(x: &Tensor, axis: isize) -> Tensor {
    if x.size(axis).is(0) {
        return x.sum_over(axis).keep_axes(axis, x);
    }
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
        // A quotient for each line, not for each number.
        Some(e * sum.reciprocal())
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

/// Lines along the last axis with mean 0 and variance 1, scaled and shifted. Inputs: x `[…, n]`, scale `[n]`, shift
/// `[n]`. Empty lines give empty lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Added to the variance, so that a line of equal numbers gives zeros.
    pub eps: Real,
}

impl LayerNorm {
    /// (x − mean) / √(variance + eps), and the reciprocal of that root with the last axis kept as 1.
    fn normalized(&self, x: &Tensor) -> (Tensor, Tensor) {
        let deviation = x - x.mean_over(-1).keep_axes(-1, x);
        let variance = deviation.square().mean_over(-1).keep_axes(-1, x);
        let reciprocal = (variance + self.eps.0).rsqrt();
        (deviation * &reciprocal, reciprocal)
    }
}

impl OpRules for LayerNorm {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, scale, shift] = exactly(inputs)?;
        let Some(last) = x.shape.last() else {
            return Err(ShapeError::new("a number has no last axis"));
        };
        float_with_axis(x, x.shape.rank() - 1)?;
        for (name, parameter) in [("scale", scale), ("shift", shift)] {
            if parameter.dtype != x.dtype {
                return Err(ShapeError::new(format!("dtypes differ: {name} is {}, x {}", parameter.dtype, x.dtype)));
            }
            if parameter.shape[..] != [last.clone()] {
                return Err(ShapeError::new(format!("{name} is {}; it must be [{last}]", parameter.shape))
                    .detail(format!("the last axis of {x} has size {last}")));
            }
        }
        if !(self.eps.0 >= 0.0 && self.eps.0.is_finite()) {
            return Err(ShapeError::new(format!("eps is {:?}; it must be a number of at least 0", self.eps)));
        }
        Ok(x.clone())
    }

    /// With x̂ the normalized lines, r their factor and g = ȳ·scale:
    /// x̄ = r (g − mean g − x̂ mean(g x̂)), the scale's Σ ȳ x̂, the shift's Σ ȳ over all lines.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, scale, c) = (&cx.inputs[0], &cx.inputs[1], cx.cotangent);
        let (normal, reciprocal) = self.normalized(x);
        let dx = || {
            let g = c * scale;
            let mean = |t: &Tensor| t.mean_over(-1).keep_axes(-1, x);
            reciprocal * (&g - mean(&g) - &normal * mean(&(&g * &normal)))
        };
        vec![
            cx.wanted[0].then(dx),
            cx.wanted[1].then(|| (c * &normal).sum_to(scale.shape())),
            cx.wanted[2].then(|| c.sum_to(cx.inputs[2].shape())),
        ]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let (normal, _) = self.normalized(&inputs[0]);
        Some(normal * &inputs[1] + &inputs[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::evaluate;

    #[test]
    fn layer_norm_by_hand() {
        let x = constant([[1.0, 3.0], [5.0, 5.0]]);
        let y = x.layer_norm(&constant([2.0, 10.0]), &constant([0.5, -1.0]), 0.0);
        // Mean 2, variance 1 in the first line; equal numbers with eps 0 divide 0 by 0.
        let y = evaluate(&y).unwrap().to_vec::<f64>();
        assert_eq!(y[..2], [-1.5, 9.0]);
        assert!(y[2].is_nan());
        let y = x.layer_norm(&constant([2.0, 10.0]), &constant([0.5, -1.0]), 1.0);
        assert_eq!(evaluate(&y).unwrap().to_vec::<f64>()[2..], [0.5, -1.0]);
    }

    #[test]
    fn softmax_by_hand() {
        let x = constant([[0.0, 3f64.ln()]]);
        let close = |y: &Tensor, expected: [f64; 2]| {
            let y = evaluate(y).unwrap().to_vec::<f64>();
            assert!(y.iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-15), "{y:?}");
        };
        close(&x.softmax(1), [0.25, 0.75]);
        close(&x.log_softmax(-1), [0.25f64.ln(), 0.75f64.ln()]);
        close(&x.log_sum_exp(1), [4f64.ln(); 2]);
        assert_eq!(x.log_sum_exp(1).meta().to_string(), "f64[1]");
        assert_eq!(evaluate(&constant([1.0, 5.0, 2.0, 0.0]).maxout(2, 0)).unwrap(), Array::from([5.0, 2.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = placeholder("x", thalweg_array::DType::F32, ("batch", 8));
        let of = |n: usize| placeholder("p", thalweg_array::DType::F32, [n]);
        let norm = |scale: usize, shift: usize, eps: f64| {
            let inputs = [x.clone(), of(scale), of(shift)];
            Tensor::try_apply(LayerNorm { eps: Real(eps) }, inputs).unwrap_err().to_string()
        };
        assert!(norm(7, 8, 1e-5).contains("scale is [7]; it must be [8]"), "{}", norm(7, 8, 1e-5));
        assert!(norm(8, 1, 1e-5).contains("shift is [1]; it must be [8]"));
        assert!(norm(8, 8, -1.0).contains("eps is -1.0"));
        let rate = Tensor::try_apply(Dropout { rate: Real(1.0) }, [x.clone(), x.clone()]).unwrap_err().to_string();
        assert!(rate.contains("the rate is 1.0; it must be at least 0 and below 1"), "{rate}");
    }

    #[test]
    #[should_panic(expected = "maxout: 8 positions of axis 1 of x (f32[batch,8]) do not divide into groups of 3")]
    fn a_maxout_that_leaves_a_rest_is_refused() {
        placeholder("x", thalweg_array::DType::F32, ("batch", 8)).maxout(3, 1);
    }
}
