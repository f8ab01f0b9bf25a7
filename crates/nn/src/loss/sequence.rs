//! [`SequenceCrossEntropy`]: cross-entropy of texts that are padded.

use thalweg_graph::{DType, Tensor};

use crate::error::refuse;
use crate::loss::{CrossEntropy, Loss};

/// Cross-entropy at each position of `[batch, time]` where the mask is `true`: of logits `[batch, time, classes]` against
/// labels `[batch, time]`. What stands where it is `false`, label or logits, changes nothing.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::loss::SequenceCrossEntropy;
/// let logits = placeholder("logits", DType::F32, ("batch", "time", 5000));
/// let words = placeholder("target", DType::I64, ("batch", "time"));
/// let mask = placeholder("target.mask", DType::Bool, ("batch", "time"));
/// let loss = SequenceCrossEntropy::new().label_smoothing(0.1).of(&logits, &words, &mask);
/// assert_eq!(loss.mean.meta().to_string(), "f32[]");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceCrossEntropy {
    of_a_position: CrossEntropy,
}

/// What [`SequenceCrossEntropy::of`] gives.
#[derive(Clone, Debug)]
pub struct SequenceLoss {
    /// The mean over all positions that count, in nats; 0 if none does.
    pub mean: Tensor,
    /// How many positions count, of the dtype of the mean: the weight of a batch among others.
    pub positions: Tensor,
    /// The loss at each position, `[batch, time]`; 0 where it does not count.
    pub each: Tensor,
    /// e to the mean without label smoothing: of how many words, all equally likely, a word is as hard to guess.
    pub perplexity: Tensor,
}

impl SequenceCrossEntropy {
    /// Without label smoothing.
    pub fn new() -> SequenceCrossEntropy {
        SequenceCrossEntropy::default()
    }

    /// This part of the target spread evenly over all classes, as [`CrossEntropy::label_smoothing`].
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn label_smoothing(self, part: f64) -> SequenceCrossEntropy {
        SequenceCrossEntropy { of_a_position: self.of_a_position.label_smoothing(part) }
    }

    /// The loss of a batch.
    ///
    /// # Panics
    /// If shapes or dtypes are others than above.
    #[track_caller]
    pub fn of(&self, logits: &Tensor, labels: &Tensor, mask: &Tensor) -> SequenceLoss {
        let inputs = [("logits", logits), ("labels", labels), ("mask", mask)];
        if logits.rank() != 3 || !labels.dtype().is_int() {
            refuse(
                "sequence_cross_entropy",
                &inputs,
                "logits are [batch, time, classes], labels integers [batch, time]",
            );
        }
        if mask.dtype() != DType::Bool || mask.shape() != labels.shape() {
            let reason = format!("the mask is a truth value for each label, bool{}", labels.shape());
            refuse("sequence_cross_entropy", &inputs, reason);
        }
        // Padding may be NaN, where 0 · NaN would come back as a gradient.
        let logits = mask.unsqueeze(-1).select(logits, 0.0);
        let positions = mask.cast(logits.dtype()).sum();
        let each = |of_a_position: &CrossEntropy| of_a_position.clone().mask(mask).each(&logits, labels);
        let mean = |each: &Tensor| each.sum() / positions.maximum(1.0);
        let smoothed = each(&self.of_a_position);
        let perplexity = mean(&each(&CrossEntropy::new())).exp();
        SequenceLoss { mean: mean(&smoothed), positions, each: smoothed, perplexity }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    fn logits() -> Array {
        let one = [[0.5, -1.0, 2.0], [1.5, 0.0, 0.25], [9.0, 9.0, -9.0]];
        let other = [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.5, 0.5, 3.0]];
        Array::new(&[2, 3, 3], [one, other].concat().concat()).unwrap()
    }

    fn labels() -> Tensor {
        constant([[2i64, 0, -7], [1, 99, 0]])
    }

    fn mask() -> Tensor {
        constant([[true, true, false], [true, false, true]])
    }

    #[test]
    fn the_mean_is_that_of_the_positions_that_count() {
        let log_p = |row: [f64; 3], label: usize| row[label] - row.iter().map(|x| x.exp()).sum::<f64>().ln();
        let (a, b, c, d) = ([0.5, -1.0, 2.0], [1.5, 0.0, 0.25], [0.0; 3], [0.5, 0.5, 3.0]);
        let each = [-log_p(a, 2), -log_p(b, 0), 0.0, -log_p(c, 1), 0.0, -log_p(d, 0)];
        let loss = SequenceCrossEntropy::new().of(&constant(logits()), &labels(), &mask());
        let mean = each.iter().sum::<f64>() / 4.0;
        assert_close(&numbers(&loss.each), &each, 1e-12);
        assert_close(&numbers(&loss.mean), &[mean], 1e-12);
        assert_close(&numbers(&loss.perplexity), &[mean.exp()], 1e-12);
        assert_eq!(numbers(&loss.positions), [4.0]);
    }

    #[test]
    fn smoothing_is_that_of_cross_entropy_and_no_part_of_perplexity() {
        let plain = SequenceCrossEntropy::new().of(&constant(logits()), &labels(), &mask());
        let smooth = SequenceCrossEntropy::new().label_smoothing(0.2).of(&constant(logits()), &labels(), &mask());
        let valid = mask().select(&labels(), 0);
        let expected = CrossEntropy::new().label_smoothing(0.2).masked_mean(&constant(logits()), &valid, &mask());
        assert_close(&numbers(&smooth.mean), &numbers(&expected), 1e-12);
        assert!(numbers(&smooth.mean)[0] > numbers(&plain.mean)[0]);
        assert_eq!(numbers(&smooth.perplexity), numbers(&plain.perplexity));
        let loss = |x: &[Tensor]| SequenceCrossEntropy::new().label_smoothing(0.2).of(&x[0], &labels(), &mask()).mean;
        assert_gradients(loss, &[logits()]);
    }

    #[test]
    fn padding_may_be_anything() {
        let x = Array::new(&[1, 2, 2], vec![1.0f32, 2.0, f32::NAN, f32::INFINITY]).unwrap();
        let (labels, mask) = (constant([[0i64, 5]]), constant([[true, false]]));
        let loss = |x: &Tensor| SequenceCrossEntropy::new().of(x, &labels, &mask);
        assert_close(&numbers(&loss(&constant(x.clone())).mean), &[(1.0 + 1f64.exp()).ln()], 1e-6);
        let gradient = gradient_f32(|x| loss(x).mean, x.clone());
        assert!(gradient[0] < 0.0 && gradient[2..] == [0.0, 0.0], "{gradient:?}");
        let nothing = SequenceCrossEntropy::new().of(&constant(x), &labels, &constant([[false, false]]));
        assert_eq!((numbers(&nothing.mean), numbers(&nothing.positions)), (vec![0.0], vec![0.0]));
    }

    #[test]
    #[should_panic(expected = "the mask is a truth value for each label, bool[2,3]")]
    fn masks_of_another_shape_are_refused() {
        SequenceCrossEntropy::new().of(&constant(logits()), &labels(), &constant([true, false]));
    }
}
