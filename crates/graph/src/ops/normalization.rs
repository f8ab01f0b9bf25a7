//! Numbers brought to mean 0 and variance 1 over a batch or a group of channels, or to a mean square of 1.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thalweg_array::{Array, Real, Shape, Size};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::source::size_number;
use crate::tensor::{Meta, Tensor};

impl Tensor {
    /// The mean and the (biased) variance of each channel, over all axes but `axis`.
    #[track_caller]
    pub fn channel_statistics(&self, axis: isize) -> (Tensor, Tensor) {
        let axes = all_but(self.rank(), self.axis(axis));
        (self.mean_over(axes.as_slice()), self.variance(axes.as_slice(), 0))
    }

    /// (x − mean)/√(variance + eps)·scale + shift, a number of each for each position of `axis` (Ioffe and Szegedy 2015).
    ///
    /// If mean and variance are [`Tensor::channel_statistics`] of this tensor, or those
    /// [`evaluated_as`](Tensor::evaluated_as) others, [`Tensor::batch_norm`] has the shorter gradient.
    ///
    /// # Panics
    /// If one of the four does not have the size of the axis.
    #[track_caller]
    pub fn normalized_by(
        &self,
        axis: isize,
        [mean, variance]: [&Tensor; 2],
        [scale, shift]: [&Tensor; 2],
        eps: f64,
    ) -> Tensor {
        let norm = BatchNorm { axis: self.axis(axis), eps: Real(eps), of_batch: false };
        Tensor::apply(norm, [self, scale, shift, mean, variance].map(Clone::clone))
    }

    /// As [`Tensor::normalized_by`], for the [`Tensor::channel_statistics`] of this very tensor, possibly
    /// [`evaluated_as`](Tensor::evaluated_as) others: the gradient knows it, and goes through them.
    ///
    /// ```
    /// use thalweg_graph::{DType, ones, placeholder, zeros};
    /// let x = placeholder("x", DType::F32, ("batch", 64, 8, 8));
    /// let (mean, variance) = x.channel_statistics(1);
    /// let (scale, shift) = (ones([64], DType::F32), zeros([64], DType::F32));
    /// let y = x.batch_norm(1, [&mean, &variance], [&scale, &shift], 1e-5);
    /// assert_eq!(y.meta(), x.meta());
    /// ```
    ///
    /// # Panics
    /// If one of the four does not have the size of the axis.
    #[track_caller]
    pub fn batch_norm(
        &self,
        axis: isize,
        [mean, variance]: [&Tensor; 2],
        [scale, shift]: [&Tensor; 2],
        eps: f64,
    ) -> Tensor {
        let norm = BatchNorm { axis: self.axis(axis), eps: Real(eps), of_batch: true };
        Tensor::apply(norm, [self, scale, shift, mean, variance].map(Clone::clone))
    }

    /// Axis 1 in `groups` parts, each with all axes after it brought to mean 0 and variance 1 for itself (Wu and He 2018);
    /// as many groups as channels is instance norm (Ulyanov et al. 2016).
    ///
    /// # Panics
    /// If there are fewer than two axes, or the channels do not divide.
    #[track_caller]
    pub fn group_norm(&self, groups: usize, eps: f64) -> Tensor {
        let channels = self.size(1);
        let Some(part) = (if groups == 0 { None } else { channels.exact_div(&Size::from(groups)) }) else {
            panic!(
                "group_norm: {channels} channels of {} ({}) do not divide into {groups} groups   --> {}",
                self.display_name(),
                self.meta(),
                std::panic::Location::caller()
            );
        };
        let lead = [self.size(0), Size::from(groups), part];
        let cut: Shape = lead.into_iter().chain(self.shape()[2..].iter().cloned()).collect();
        let x = self.reshape(cut);
        let axes: SmallVec<[isize; 4]> = (2..x.rank() as isize).collect();
        let mean = |x: &Tensor| x.mean_over(axes.as_slice()).keep_axes(axes.as_slice(), x);
        let deviation = &x - mean(&x);
        let root = (mean(&deviation.square()) + eps).rsqrt();
        (deviation * root).reshape(self.shape())
    }

    /// x/√(mean of x² along `axis` + eps) (Zhang and Sennrich 2019).
    #[track_caller]
    pub fn rms_norm(&self, axis: isize, eps: f64) -> Tensor {
        let mean = self.square().mean_over(axis).keep_axes(axis, self);
        self * (mean + eps).rsqrt()
    }
}

fn all_but(rank: usize, axis: usize) -> SmallVec<[isize; 4]> {
    (0..rank).filter(|&other| other != axis).map(|axis| axis as isize).collect()
}

/// (x − mean)/√(variance + eps)·scale + shift. Inputs: x, then scale, shift, mean and variance `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchNorm {
    /// The axis of the channels.
    pub axis: usize,
    /// Added to the variance, so that a channel of equal numbers gives zeros.
    pub eps: Real,
    /// Whether mean and variance are those of x, so that the gradient of x goes through them as well.
    pub of_batch: bool,
}

impl BatchNorm {
    /// 1/√(variance + eps).
    fn reciprocal(&self, variance: &Tensor) -> Tensor {
        (variance + self.eps.0).rsqrt()
    }
}

impl OpRules for BatchNorm {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, scale, shift, mean, variance] = exactly(inputs)?;
        if !x.dtype.is_float() {
            return Err(ShapeError::new(format!("not defined on {}", x.dtype)).hint("`cast` to a float dtype first"));
        }
        let Some(channels) = x.shape.get(self.axis) else {
            return Err(ShapeError::new(format!("there is no axis {} in {x}", self.axis)));
        };
        for (name, meta) in [("scale", scale), ("shift", shift), ("the mean", mean), ("the variance", variance)] {
            if meta.dtype != x.dtype {
                return Err(ShapeError::new(format!("dtypes differ: {name} is {}, x {}", meta.dtype, x.dtype)));
            }
            if meta.shape[..] != [channels.clone()] {
                return Err(ShapeError::new(format!("{name} is {}; it must be [{channels}]", meta.shape))
                    .detail(format!("axis {} of {x} has size {channels}", self.axis)));
            }
        }
        if !(self.eps.0 >= 0.0 && self.eps.0.is_finite()) {
            return Err(ShapeError::new(format!("eps is {:?}; it must be a number of at least 0", self.eps)));
        }
        Ok(x.clone())
    }

    /// With r = 1/√(variance + eps), d = x − mean and sums over all axes but that of the channels: the scale's Σ ȳ r d, the
    /// shift's Σ ȳ. With given mean and variance x̄ = scale·r·ȳ, the mean's −scale·r·Σ ȳ, the variance's
    /// −½ scale·r³·Σ ȳ d; through those of a batch of n x̄ = scale·r·(ȳ − Σ ȳ/n − d·r²·Σ ȳ d/n), and nothing is left for
    /// them.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let [x, scale, shift, mean, variance] = cx.inputs else { unreachable!("`infer` wants five inputs") };
        let c = cx.cotangent;
        let rank = x.rank();
        let axes = all_but(rank, self.axis);
        let along = |t: &Tensor| t.aligned_to(self.axis, rank);
        let deviation = x - along(mean);
        let r = self.reciprocal(variance);
        let factor = scale * &r;
        let sum = c.sum_over(axes.as_slice());
        let moment = (c * &deviation).sum_over(axes.as_slice());
        let dx = || {
            if !self.of_batch {
                return c * along(&factor);
            }
            let count = axes.iter().fold(Size::from(1), |count, &axis| count * x.size(axis));
            let count = size_number(&count, x.dtype());
            let (level, slope) = (&sum / &count, &moment * r.square() / &count);
            (c - along(&level) - deviation * along(&slope)) * along(&factor)
        };
        let given = |wanted: bool| wanted && !self.of_batch;
        vec![
            cx.wanted[0].then(dx),
            cx.wanted[1].then(|| &moment * &r),
            cx.wanted[2].then(|| sum.reshape(shift.shape())),
            given(cx.wanted[3]).then(|| -(&sum * &factor)),
            given(cx.wanted[4]).then(|| &moment * &factor * r.square() * -0.5),
        ]
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        unreachable!("{} is interpreted through its expansion: a bug in Thalweg", cx.label)
    }

    fn is_composite(&self) -> bool {
        true
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let [x, scale, shift, mean, variance] = inputs else { return None };
        let along = |t: &Tensor| t.aligned_to(self.axis, x.rank());
        Some((x - along(mean)) * along(&(scale * self.reciprocal(variance))) + along(shift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::evaluate;
    use thalweg_array::DType;

    fn values(tensor: &Tensor) -> Vec<f64> {
        evaluate(tensor).unwrap().to_vec()
    }

    #[test]
    fn by_hand() {
        // Channels 1, 3 and 2, 2: means 2 and 2, variances 1 and 0.
        let x = constant([[1.0, 2.0], [3.0, 2.0]]);
        let (mean, variance) = x.channel_statistics(1);
        assert_eq!((values(&mean), values(&variance)), (vec![2.0, 2.0], vec![1.0, 0.0]));
        let (scale, shift) = (constant([2.0, 3.0]), constant([0.5, -1.0]));
        let y = x.batch_norm(1, [&mean, &variance], [&scale, &shift], 0.0625);
        let r = 1.0 / 1.0625f64.sqrt();
        assert_eq!(values(&y), [0.5 - 2.0 * r, -1.0, 0.5 + 2.0 * r, -1.0]);
        let given = x.normalized_by(0, [&scale, &shift], [&shift, &scale], 2.0);
        let r = [1.0 / 2.5f64.sqrt(), 1.0];
        assert_eq!(values(&given), [-0.5 * r[0] + 2.0, 2.0, 3.0, 1.0 + 3.0 * r[1]]);
        let x = constant([1.0, 3.0, 5.0, 5.0]).reshape([1, 4, 1]);
        assert_eq!(values(&x.group_norm(2, 0.0))[..2], [-1.0, 1.0]);
        assert_eq!(values(&constant([3.0, 4.0]).rms_norm(0, 0.0)), [3.0 / 12.5f64.sqrt(), 4.0 / 12.5f64.sqrt()]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = placeholder("x", DType::F32, ("batch", 8, 4, 4));
        let of = |n: usize| placeholder("p", DType::F32, [n]);
        let inputs = [x.clone(), of(8), of(8), of(7), of(8)];
        let norm = BatchNorm { axis: 1, eps: Real(1e-5), of_batch: false };
        let message = Tensor::try_apply(norm, inputs).unwrap_err().to_string();
        assert!(message.contains("the mean is [7]; it must be [8]") && message.contains("axis 1 of"), "{message}");
    }

    #[test]
    #[should_panic(expected = "group_norm: 8 channels of x (f32[batch,8,4]) do not divide into 3 groups")]
    fn groups_that_leave_a_rest_are_refused() {
        placeholder("x", DType::F32, ("batch", 8, 4)).group_norm(3, 1e-5);
    }
}
