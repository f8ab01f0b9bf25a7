//! What is made of reductions: any and all, variance, norms. Functions of primitives.

use smallvec::SmallVec;
use thalweg_array::Size;
use thalweg_array::scalar::Fold;

use crate::ops::reduce::Axes;
use crate::ops::source::size_number;
use crate::tensor::Tensor;

impl Tensor {
    /// Whether any truth value along `axes` is true; of none false.
    ///
    /// # Panics
    /// If this is not bool.
    #[track_caller]
    pub fn any(&self, axes: impl Axes) -> Tensor {
        self.expect_bool("any");
        self.fold(Fold::Max, axes)
    }

    /// Whether all truth values along `axes` are true; of none true.
    ///
    /// # Panics
    /// If this is not bool.
    #[track_caller]
    pub fn all(&self, axes: impl Axes) -> Tensor {
        self.expect_bool("all");
        self.fold(Fold::Min, axes)
    }

    #[track_caller]
    fn expect_bool(&self, what: &str) {
        assert!(
            self.dtype() == thalweg_array::DType::Bool,
            "{what}: {} is {}, not bool; compare first: x.greater(0.0)   --> {}",
            self.display_name(),
            self.meta(),
            std::panic::Location::caller()
        );
    }

    /// The variance over `axes`: Σ (x − mean)² / (n − correction). With correction 0 that of the numbers themselves,
    /// with 1 the unbiased estimate from a sample; NaN where n ≤ correction.
    ///
    /// The mean is subtracted before squaring, so that a large mean costs no digits. In f32 it overflows to ∞ beyond
    /// deviations of 10¹⁹.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("batch", 8));
    /// assert_eq!(x.variance(1, 0).meta().to_string(), "f32[batch]");
    /// ```
    #[track_caller]
    pub fn variance(&self, axes: impl Axes, correction: usize) -> Tensor {
        let axes = axes.axes(self);
        let count = axes.iter().fold(Size::from(1), |count, &axis| count * self.shape()[axis].clone());
        let axes: SmallVec<[isize; 4]> = axes.iter().map(|&axis| axis as isize).collect();
        let axes = axes.as_slice();
        let deviation = self - self.mean_over(axes).keep_axes(axes, self);
        let freedom = size_number(&count, self.dtype()) - correction as i64;
        deviation.square().sum_over(axes) / freedom.maximum(0.0)
    }

    /// The square root of [`Tensor::variance`]; its gradient where the variance is 0 is 0.
    #[track_caller]
    pub fn std(&self, axes: impl Axes, correction: usize) -> Tensor {
        self.variance(axes, correction).sqrt_flat_at_zero()
    }

    /// Σ |x| over `axes`; the gradient at 0 is 0.
    #[track_caller]
    pub fn norm_l1(&self, axes: impl Axes) -> Tensor {
        self.abs().sum_over(axes)
    }

    /// √Σ x² over `axes`; the gradient where all are 0 is 0. In f32 it overflows to ∞ beyond 10¹⁹.
    #[track_caller]
    pub fn norm_l2(&self, axes: impl Axes) -> Tensor {
        self.square().sum_over(axes).sqrt_flat_at_zero()
    }

    /// max |x| over `axes`; the gradient at 0 is 0, and several that are largest share it evenly.
    #[track_caller]
    pub fn norm_inf(&self, axes: impl Axes) -> Tensor {
        self.abs().max_over(axes)
    }

    /// √x whose gradient at 0 is 0 instead of infinite: the root is taken of 1 there and its result not used, so that
    /// no infinity meets the 0 of the inner gradient.
    #[track_caller]
    fn sqrt_flat_at_zero(&self) -> Tensor {
        let zero = self.equal(0.0);
        let root = zero.select(&self.ones_like(), self).sqrt();
        zero.select(&self.zeros_like(), root)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_array::{Array, DType};

    use crate::autodiff::grad;
    use crate::ops::source::{constant, placeholder, zeros};
    use crate::reference::{Feeds, evaluate, interpret};

    #[test]
    fn truth_along_axes() {
        let x = constant([[true, false], [true, true]]);
        assert_eq!(evaluate(&x.any(1)).unwrap(), Array::from([true, true]));
        assert_eq!(evaluate(&x.all(1)).unwrap(), Array::from([false, true]));
        assert_eq!(evaluate(&zeros([0], DType::Bool).any(..)).unwrap(), Array::scalar(false));
        assert_eq!(evaluate(&zeros([0], DType::Bool).all(..)).unwrap(), Array::scalar(true));
    }

    #[test]
    fn spread_and_size() {
        let x = constant([1e8, 1e8 + 1.0, 1e8 + 2.0]);
        assert_eq!(evaluate(&x.variance(.., 1)).unwrap().item(), Ok(1.0));
        assert_eq!(evaluate(&x.variance(.., 0)).unwrap().item(), Ok(2.0 / 3.0));
        assert!(evaluate(&constant([5.0]).variance(.., 1)).unwrap().item().unwrap().is_nan());
        let x = constant([3.0, -4.0]);
        assert_eq!(evaluate(&x.norm_l1(..)).unwrap().item(), Ok(7.0));
        assert_eq!(evaluate(&x.norm_l2(..)).unwrap().item(), Ok(5.0));
        assert_eq!(evaluate(&x.norm_inf(..)).unwrap().item(), Ok(4.0));
        assert_eq!(evaluate(&x.std(.., 0)).unwrap().item(), Ok(3.5));
    }

    #[test]
    fn norms_are_flat_at_zero() {
        let x = placeholder("x", DType::F64, [2]);
        for y in [x.norm_l1(..), x.norm_l2(..), x.norm_inf(..), x.std(.., 0)] {
            let graph = crate::Graph::capture(&grad(&y, &[&x]), &[]);
            let results = interpret(&graph, &Feeds::new([("x", Array::from([0.0, 0.0]))])).unwrap();
            assert_eq!(results.fetches[0], Array::from([0.0, 0.0]));
        }
    }

    #[test]
    #[should_panic(expected = "any: x is f32[3], not bool")]
    fn truth_of_numbers_is_refused() {
        placeholder("x", DType::F32, [3]).any(..);
    }
}
