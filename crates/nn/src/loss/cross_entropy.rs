//! [`CrossEntropy`]: softmax cross-entropy of logits.

use thalweg_graph::{Array, DType, Tensor, constant};

use crate::error::{or_panic, refuse};
use crate::loss::{Loss, at_label, expect_labels, is_label};
use crate::optim::rule::Range;

/// The mean of [`CrossEntropy`] with the classes on the last axis.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::cross_entropy;
/// let logits = placeholder("logits", DType::F32, ("batch", 10));
/// let labels = placeholder("labels", DType::I64, ["batch"]);
/// assert_eq!(cross_entropy(&logits, &labels).meta().to_string(), "f32[]");
/// ```
#[track_caller]
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Tensor {
    CrossEntropy::new().mean(logits, targets)
}

/// −ln softmax(x)\[y\] = ln Σ eˣ − x\[y\], in nats. Its gradient is softmax(x) − onehot(y).
///
/// Targets are labels (integers, of the logits' shape without the class axis) or distributions (floats, of the logits'
/// shape). A label that is no class fails the run, which names it.
///
/// With smoothing ε and class weights c over k classes (Szegedy et al. 2016; in PyTorch's form):
/// (1−ε)·c\[y\]·(ln Σ eˣ − x\[y\]) + ε/k·Σⱼ cⱼ(ln Σ eˣ − xⱼ); the mean divides by Σ c\[y\].
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{CrossEntropy, Loss};
/// let logits = placeholder("logits", DType::F32, ("batch", "time", 85));
/// let labels = placeholder("labels", DType::I64, ("batch", "time"));
/// let loss = CrossEntropy::new().label_smoothing(0.1).ignore_index(-1).mean(&logits, &labels);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    axis: isize,
    label_smoothing: f64,
    class_weights: Option<Vec<f64>>,
    ignore_index: Option<i64>,
    mask: Option<Tensor>,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy::new()
    }
}

impl CrossEntropy {
    /// Classes on the last axis, no smoothing, no weights.
    pub fn new() -> CrossEntropy {
        CrossEntropy { axis: -1, label_smoothing: 0.0, class_weights: None, ignore_index: None, mask: None }
    }

    /// Classes on this axis; negative ones count from the end.
    pub fn axis(self, axis: isize) -> CrossEntropy {
        CrossEntropy { axis, ..self }
    }

    /// This part of the target spread evenly over all classes.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn label_smoothing(self, part: f64) -> CrossEntropy {
        let label_smoothing = or_panic(Range::Fraction.check("cross_entropy", "label_smoothing", part));
        CrossEntropy { label_smoothing, ..self }
    }

    /// A weight for each class.
    ///
    /// # Panics
    /// If one is negative or not finite.
    #[track_caller]
    pub fn class_weights(self, weights: &[f64]) -> CrossEntropy {
        for (class, &weight) in weights.iter().enumerate() {
            or_panic(Range::NotNegative.check("cross_entropy", &format!("the weight of class {class}"), weight));
        }
        CrossEntropy { class_weights: Some(weights.to_vec()), ..self }
    }

    /// Samples with this label count nothing; it need not be a class.
    pub fn ignore_index(self, label: i64) -> CrossEntropy {
        CrossEntropy { ignore_index: Some(label), ..self }
    }

    /// Samples where the mask is `false` count nothing, whatever their label. Bool, of the shape of the labels.
    pub fn mask(self, mask: &Tensor) -> CrossEntropy {
        CrossEntropy { mask: Some(mask.clone()), ..self }
    }

    /// The loss of every sample and its weight in the mean; `None` where all weigh 1.
    #[track_caller]
    fn weighted(&self, logits: &Tensor, targets: &Tensor) -> (Tensor, Option<Tensor>) {
        if !logits.dtype().is_float() {
            refuse("cross_entropy", &[("logits", logits), ("targets", targets)], "logits are floats");
        }
        if targets.dtype().is_float() {
            return self.of_distributions(logits, targets);
        }
        let axis = expect_labels("cross_entropy", logits, targets, self.axis);
        let classes = axis as isize;
        let labels = targets.cast(DType::I64);
        let counted = self.counted(&labels);
        let labels = counted.as_ref().map_or(labels.clone(), |counted| counted.select(&labels, 0));

        let is_label = is_label(logits, &labels, axis);
        let normalizer = logits.log_sum_exp(classes);
        let smoothing = self.label_smoothing;
        let mut loss = &normalizer - at_label(logits, &is_label, axis);
        let mut weight = None;
        match self.weights(logits, axis) {
            None if smoothing > 0.0 => {
                loss = loss * (1.0 - smoothing) + (normalizer - logits.mean_over(classes)) * smoothing;
            }
            None => {}
            Some(weights) => {
                let of_label = at_label(&weights, &is_label, axis);
                loss = loss * &of_label;
                if smoothing > 0.0 {
                    let spread = (&weights * (normalizer.unsqueeze(classes) - logits)).mean_over(classes);
                    loss = loss * (1.0 - smoothing) + spread * smoothing;
                }
                weight = Some(of_label);
            }
        }
        without_uncounted(loss, weight, counted)
    }

    /// −Σ t ln softmax(x).
    #[track_caller]
    fn of_distributions(&self, logits: &Tensor, targets: &Tensor) -> (Tensor, Option<Tensor>) {
        let inputs = [("logits", logits), ("targets", targets)];
        if logits.meta() != targets.meta() {
            refuse(
                "cross_entropy",
                &inputs,
                "distributions have the dtype and the shape of the logits; labels are integers",
            );
        }
        if self.ignore_index.is_some() {
            refuse("cross_entropy", &inputs, "distributions have no label to ignore; use `mask`");
        }
        let axis = logits.axis(self.axis);
        let classes = axis as isize;
        let mut targets = targets.clone();
        if self.label_smoothing > 0.0 {
            let count = thalweg_graph::size_number(&logits.shape()[axis], logits.dtype());
            targets = targets * (1.0 - self.label_smoothing) + self.label_smoothing / count;
        }
        if let Some(weights) = self.weights(logits, axis) {
            targets = targets * weights;
        }
        let loss = -(targets * logits.log_softmax(classes)).sum_over(classes);
        without_uncounted(loss, None, self.mask.clone())
    }

    /// Which samples count; `None` for all.
    fn counted(&self, labels: &Tensor) -> Option<Tensor> {
        let kept = self.ignore_index.map(|label| labels.not_equal(label));
        match (kept, &self.mask) {
            (Some(kept), Some(mask)) => Some(kept.logical_and(mask)),
            (kept, mask) => kept.or_else(|| mask.clone()),
        }
    }

    /// The class weights in the shape of the logits.
    #[track_caller]
    fn weights(&self, logits: &Tensor, axis: usize) -> Option<Tensor> {
        let weights = self.class_weights.as_ref()?;
        if !logits.shape()[axis].is(weights.len()) {
            refuse("cross_entropy", &[("logits", logits)], format!("{} class weights", weights.len()));
        }
        let mut shape = vec![1; logits.rank()];
        shape[axis] = weights.len();
        let weights = constant(Array::from(weights.clone()).cast(logits.dtype()));
        Some(weights.reshape(shape).expand(logits.shape()))
    }
}

/// Loss and weight 0 where a sample does not count.
fn without_uncounted(loss: Tensor, weight: Option<Tensor>, counted: Option<Tensor>) -> (Tensor, Option<Tensor>) {
    match counted {
        None => (loss, weight),
        Some(counted) => {
            let weight = weight.unwrap_or_else(|| loss.ones_like());
            (counted.select(&loss, 0.0), Some(counted.select(&weight, 0.0)))
        }
    }
}

impl Loss for CrossEntropy {
    #[track_caller]
    fn each(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        self.weighted(logits, targets).0
    }

    /// The mean by weight over the samples that count; 0 if none does.
    #[track_caller]
    fn mean(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        let (loss, weight) = self.weighted(logits, targets);
        match weight {
            None => loss.mean(),
            Some(weight) => {
                let total = weight.sum();
                loss.sum() / total.equal(0.0).select(&total.ones_like(), &total)
            }
        }
    }
}
