//! Pooling, flattening and other resolutions: layers without variables around the methods of tensors.

use thalweg_graph::{Pool, Tensor};

use crate::layer::{Forward, Layer};
use crate::module::without_variables;

/// The largest number of each window: [`Tensor::max_pool`].
///
/// ```
/// use thalweg_graph::{DType, Pool, placeholder};
/// use thalweg_nn::{Forward, Layer, MaxPool};
/// let x = placeholder("x", DType::F32, ("batch", 16, 28, 28));
/// let y = MaxPool(Pool::new([2, 2])).forward(&x, &mut Forward::infer());
/// assert_eq!(y.meta().to_string(), "f32[batch,16,14,14]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool(pub Pool);

/// The mean of each window: [`Tensor::average_pool`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AveragePool(pub Pool);

/// The largest number of each of so many parts of the last axes: [`Tensor::adaptive_max_pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool<const N: usize>(pub [usize; N]);

/// The mean of each of so many parts of the last axes: [`Tensor::adaptive_average_pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAveragePool<const N: usize>(pub [usize; N]);

/// What is made of a channel over all its positions: `[batch, channel, …] → [batch, feature]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalPool {
    /// The mean.
    Average,
    /// The largest number.
    Max,
    /// The means of all channels, then the largest numbers: twice the features.
    AverageAndMax,
}

/// The axes from this one on as one; [`Flatten::default`] keeps the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// The first axis.
    pub first: isize,
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten { first: 1 }
    }
}

/// A higher resolution of the axes behind the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsample {
    /// Each position so many times.
    Nearest(usize),
    /// So many times as many positions, between neighbours in a straight line; over two axes bilinear.
    Linear(usize),
}

without_variables!(Pool, MaxPool, AveragePool, GlobalPool, Flatten, Upsample);

impl<const N: usize> crate::Module for AdaptiveMaxPool<N> {
    fn visit(&self, _: &mut crate::Path, _: &mut crate::Visitor<'_>) {}
}

impl<const N: usize> crate::Module for AdaptiveAveragePool<N> {
    fn visit(&self, _: &mut crate::Path, _: &mut crate::Visitor<'_>) {}
}

impl Layer for MaxPool {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.max_pool(&self.0)
    }
}

impl Layer for AveragePool {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.average_pool(&self.0)
    }
}

impl<const N: usize> Layer for AdaptiveMaxPool<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.adaptive_max_pool(self.0)
    }
}

impl<const N: usize> Layer for AdaptiveAveragePool<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.adaptive_average_pool(self.0)
    }
}

impl Layer for GlobalPool {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        let axes: Vec<isize> = (2..x.rank() as isize).collect();
        let (mean, max) = (|| x.mean_over(axes.as_slice()), || x.max_over(axes.as_slice()));
        match self {
            GlobalPool::Average => mean(),
            GlobalPool::Max => max(),
            GlobalPool::AverageAndMax => Tensor::concat(&[&mean(), &max()], 1),
        }
    }
}

impl Layer for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.flatten(self.first)
    }
}

impl Layer for Upsample {
    /// # Panics
    /// If a size is not known, for [`Upsample::Linear`].
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        let axes: Vec<isize> = (2..x.rank() as isize).collect();
        match *self {
            Upsample::Nearest(times) => x.upsample_nearest(&axes, times),
            Upsample::Linear(times) => {
                let mut y = x.clone();
                for axis in axes {
                    // A size without a number is refused there, by name.
                    let to = y.size(axis).number().unwrap_or(0) * times;
                    y = y.resample_linear(axis, to);
                }
                y
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{DType, constant, placeholder};

    use super::*;
    use crate::testing::numbers;

    #[test]
    fn shapes_and_numbers() {
        let cx = &mut Forward::infer();
        let x = constant([[1.0f32, 2.0, 3.0, 6.0]]).reshape([1, 1, 2, 2]);
        assert_eq!(numbers(&MaxPool(Pool::new([1, 2])).forward(&x, cx)), [2.0, 6.0]);
        assert_eq!(numbers(&AveragePool(Pool::new([2, 1])).forward(&x, cx)), [2.0, 4.0]);
        assert_eq!(numbers(&GlobalPool::AverageAndMax.forward(&x, cx)), [3.0, 6.0]);
        assert_eq!(numbers(&AdaptiveMaxPool([1, 2]).forward(&x, cx)), [3.0, 6.0]);
        assert_eq!(numbers(&Upsample::Linear(2).forward(&x, cx))[..4], [1.0, 1.25, 1.75, 2.0]);
        let y = placeholder("y", DType::F32, ("batch", 3, 4, 4));
        let layers = (Upsample::Nearest(2), AdaptiveAveragePool([2, 2]), Flatten::default());
        assert_eq!(layers.forward(&y, cx).meta().to_string(), "f32[batch,12]");
    }
}
