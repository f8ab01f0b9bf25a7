//! [`Loss`]: how far an output is from what it should be.
//!
//! A loss is a few settings and three methods: [`mean`](Loss::mean), [`sum`](Loss::sum) and [`each`](Loss::each), the
//! loss of every sample. The usual ones have functions that give the mean. All are finite, and so are their gradients,
//! for outputs up to ±10⁴ in f32.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mod@cross_entropy`] | [`CrossEntropy`]: logits against labels or distributions |
//! | [`binary`] | [`BinaryCrossEntropy`]: logits against yes and no |
//! | [`regression`] | [`SquaredError`], [`L1`], [`Huber`] |
//! | [`margin`] | [`Hinge`], [`MultiClassHinge`], [`Perceptron`], [`MultiClassPerceptron`] |
//! | [`divergence`] | [`KlDivergence`] |
//! | [`similarity`] | [`Cosine`], [`Triplet`] |
//! | [`sequence`] | [`SequenceCrossEntropy`]: of texts that are padded; perplexity |
//! | [`mod@ctc`] | [`Ctc`]: labels of which it is not known where they stand |
//! | [`sampled`] | [`SampledSoftmax`]: cross-entropy over many classes by a few of them |

use thalweg_graph::{DType, Size, Tensor, iota};

use crate::error::refuse;

pub mod binary;
pub mod cross_entropy;
pub mod ctc;
pub mod divergence;
pub mod margin;
pub mod regression;
pub mod sampled;
pub mod sequence;
pub mod similarity;

pub use binary::{BinaryCrossEntropy, binary_cross_entropy_with_logits};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use ctc::Ctc;
pub use divergence::KlDivergence;
pub use margin::{Hinge, MultiClassHinge, MultiClassPerceptron, Perceptron, hinge};
pub use regression::{Huber, L1, SquaredError, huber, l1, squared_error};
pub use sampled::SampledSoftmax;
pub use sequence::{SequenceCrossEntropy, SequenceLoss};
pub use similarity::{Cosine, Triplet};

/// How far an output is from a target.
pub trait Loss {
    /// The loss of every sample.
    #[track_caller]
    fn each(&self, output: &Tensor, target: &Tensor) -> Tensor;

    /// The mean over all samples; NaN of none.
    #[track_caller]
    fn mean(&self, output: &Tensor, target: &Tensor) -> Tensor {
        self.each(output, target).mean()
    }

    /// The mean over the samples where `mask` is `true`; 0 if none is. What the others cost changes nothing, and their
    /// gradient is 0 if their outputs are finite. Bool, of the shape of [`each`](Loss::each).
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// use thalweg_nn::{Loss, loss::Huber};
    /// let [output, target] = ["output", "target"].map(|name| placeholder(name, DType::F32, ("batch", "time")));
    /// let spoken = placeholder("spoken", DType::Bool, ("batch", "time"));
    /// let loss = Huber::new(1.0).masked_mean(&output, &target, &spoken);
    /// ```
    #[track_caller]
    fn masked_mean(&self, output: &Tensor, target: &Tensor, mask: &Tensor) -> Tensor {
        let each = self.each(output, target);
        if mask.dtype() != DType::Bool || mask.shape() != each.shape() {
            let reason = format!("the mask is a truth value for each sample, bool{}", each.shape());
            refuse("masked_mean", &[("output", output), ("mask", mask)], reason);
        }
        let count = mask.cast(each.dtype()).sum().maximum(1.0);
        mask.select(&each, 0.0).sum() / count
    }

    /// The sum over all samples.
    #[track_caller]
    fn sum(&self, output: &Tensor, target: &Tensor) -> Tensor {
        self.each(output, target).sum()
    }
}

/// Refuses a target of another shape or dtype than the output: broadcasting `[n]` against `[n, 1]` is the classic
/// silent mistake.
#[track_caller]
fn expect_alike(loss: &str, output: &Tensor, target: &Tensor) {
    if output.meta() != target.meta() {
        refuse(loss, &[("output", output), ("target", target)], "output and target differ in dtype or shape");
    }
}

/// Refuses labels that are not integers of the output's shape without the class axis.
#[track_caller]
fn expect_labels(loss: &str, output: &Tensor, labels: &Tensor, axis: isize) -> usize {
    let inputs = [("output", output), ("labels", labels)];
    if output.rank() == 0 {
        refuse(loss, &inputs, "the output needs an axis of classes");
    }
    let axis = output.axis(axis);
    if !labels.dtype().is_int() {
        refuse(loss, &inputs, format!("labels are class numbers, integers, not {}", labels.dtype()));
    }
    let mut expected = output.shape().clone();
    expected.sizes_mut().remove(axis);
    if labels.shape() != &expected {
        refuse(loss, &inputs, format!("labels must have the shape {expected}: that of the output without axis {axis}"));
    }
    axis
}

/// Whether each class is that of the label, in the shape of `output`; a label that is no class fails the run.
#[track_caller]
fn is_label(output: &Tensor, labels: &Tensor, axis: usize) -> Tensor {
    let classes: Size = output.shape()[axis].clone();
    let labels = labels.cast(DType::I64).check_indices(classes).unsqueeze(axis as isize);
    labels.equal(iota(output.shape(), axis, DType::I64))
}

/// The numbers of `output` at the labels.
#[track_caller]
fn at_label(output: &Tensor, is_label: &Tensor, axis: usize) -> Tensor {
    is_label.select(output, 0.0).sum_over(axis as isize)
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    #[test]
    fn a_mask_leaves_samples_out_whatever_they_are() {
        let target = constant([[0.0, 0.0], [1.0, 1.0]]);
        let mask = constant([[true, false], [true, false]]);
        let loss = |x: &Tensor| SquaredError.masked_mean(x, &target, &mask);
        assert_close(&numbers(&loss(&constant([[2.0, f64::NAN], [4.0, 1e300]]))), &[(4.0 + 9.0) / 2.0], 1e-12);
        assert_gradients(|x| loss(&x[0]), &[Array::from([[0.5, 2.0], [-1.0, 3.0]])]);
        let x = Array::from([[1.0f32, 1e30], [0.0, 2.0]]);
        let gradient = gradient_f32(
            |x| {
                let (target, mask) = (target.cast(DType::F32), mask.clone());
                L1.masked_mean(x, &target, &mask)
            },
            x,
        );
        assert_close(&gradient, &[0.5, 0.0, -0.5, 0.0], 1e-7);
        let nothing = constant([[false; 2]; 2]);
        assert_eq!(numbers(&SquaredError.masked_mean(&constant([[1.0; 2]; 2]), &target, &nothing)), [0.0]);
    }

    #[test]
    #[should_panic(expected = "the mask is a truth value for each sample, bool[2]")]
    fn a_mask_of_another_shape_is_refused() {
        let scores = constant([[1.0, 2.0], [0.0, 1.0]]);
        MultiClassHinge::default().masked_mean(&scores, &constant([0i64, 1]), &constant([[true; 2]; 2]));
    }
}
