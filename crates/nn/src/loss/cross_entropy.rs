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
/// (1−ε)·c\[y\]·(ln Σ eˣ − x\[y\]) + ε/k·Σⱼ cⱼ(ln Σ eˣ − xⱼ); the mean divides by Σ c\[y\], for distributions by the number
/// of samples.
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

        // Against the largest logit, so that the difference below does not cancel: ln Σ eˣ − x[y] would be right to the
        // last digit of the logits only. Forward and backward pass share the one exponential.
        let logits = logits - logits.max_over(classes).keep_axes(classes, logits).stop_gradient();
        let normalizer = logits.exp().sum_over(classes).log();
        let is_label = is_label(&logits, &labels, axis);
        let smoothing = self.label_smoothing;
        let mut loss = &normalizer - at_label(&logits, &is_label, axis);
        let mut weight = None;
        match self.weights(&logits, axis) {
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
#[track_caller]
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

#[cfg(test)]
mod tests {
    use thalweg_graph::passes::{Options, optimize};
    use thalweg_graph::reference::evaluate;
    use thalweg_graph::{Graph, placeholder};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    const LOGITS: [[f64; 3]; 2] = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.25]];

    fn logits() -> Tensor {
        constant(LOGITS)
    }

    fn labels() -> Tensor {
        constant([2i64, 0])
    }

    /// −ln softmax of every number, by the definition.
    fn surprise() -> [[f64; 3]; 2] {
        LOGITS.map(|row| {
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            row.map(|x| -(x.exp() / total).ln())
        })
    }

    #[test]
    fn labels_by_the_definition() {
        let s = surprise();
        let each = [s[0][2], s[1][0]];
        let loss = CrossEntropy::new();
        assert_close(&numbers(&loss.each(&logits(), &labels())), &each, 1e-12);
        assert_close(&numbers(&loss.sum(&logits(), &labels())), &[each[0] + each[1]], 1e-12);
        assert_close(&numbers(&cross_entropy(&logits(), &labels())), &[(each[0] + each[1]) / 2.0], 1e-12);
        let of_bytes = loss.each(&logits(), &constant([2u8, 0]));
        assert_close(&numbers(&of_bytes), &each, 1e-12);
    }

    #[test]
    fn smoothing_and_weights_by_their_formula() {
        let s = surprise();
        let (e, c) = (0.1, [0.5, 2.0, 3.0]);
        let plain = |row: usize, label: usize| (1.0 - e) * s[row][label] + e / 3.0 * s[row].iter().sum::<f64>();
        let smooth = CrossEntropy::new().label_smoothing(e);
        assert_close(&numbers(&smooth.each(&logits(), &labels())), &[plain(0, 2), plain(1, 0)], 1e-12);

        let weighted = |row: usize, label: usize| {
            let spread: f64 = s[row].iter().zip(c).map(|(s, c)| s * c).sum();
            (1.0 - e) * c[label] * s[row][label] + e / 3.0 * spread
        };
        let each = [weighted(0, 2), weighted(1, 0)];
        let loss = smooth.class_weights(&c);
        assert_close(&numbers(&loss.each(&logits(), &labels())), &each, 1e-12);
        let mean = (each[0] + each[1]) / (c[2] + c[0]);
        assert_close(&numbers(&loss.mean(&logits(), &labels())), &[mean], 1e-12);
    }

    #[test]
    fn distributions_that_are_labels_cost_the_same() {
        let distributions = constant([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
        for loss in [
            CrossEntropy::new(),
            CrossEntropy::new().label_smoothing(0.2),
            CrossEntropy::new().class_weights(&[1.0, 2.0, 0.5]).label_smoothing(0.2),
        ] {
            let expected = numbers(&loss.each(&logits(), &labels()));
            assert_close(&numbers(&loss.each(&logits(), &distributions)), &expected, 1e-12);
        }
    }

    #[test]
    fn what_does_not_count_costs_nothing() {
        let s = surprise();
        let ignoring = CrossEntropy::new().ignore_index(-100);
        let labels = constant([2i64, -100]);
        assert_close(&numbers(&ignoring.each(&logits(), &labels)), &[s[0][2], 0.0], 1e-12);
        assert_close(&numbers(&ignoring.mean(&logits(), &labels)), &[s[0][2]], 1e-12);
        assert_eq!(numbers(&ignoring.mean(&logits(), &constant([-100i64, -100]))), [0.0]);

        let masked = CrossEntropy::new().mask(&constant([false, true]));
        assert_close(&numbers(&masked.mean(&logits(), &constant([77i64, 0]))), &[s[1][0]], 1e-12);
        let distributions = constant([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
        assert_close(&numbers(&masked.mean(&logits(), &distributions)), &[s[1][0]], 1e-12);
    }

    #[test]
    fn any_leading_axes_and_any_class_axis() {
        let x = logits().reshape([1, 2, 3]);
        let y = labels().reshape([1, 2]);
        let expected = numbers(&cross_entropy(&logits(), &labels()));
        assert_close(&numbers(&cross_entropy(&x, &y)), &expected, 1e-12);
        let classes_first = x.permute(&[2, 0, 1]);
        assert_close(&numbers(&CrossEntropy::new().axis(0).mean(&classes_first, &y)), &expected, 1e-12);
    }

    #[test]
    fn gradients() {
        let x = Array::from(LOGITS);
        let weighted = CrossEntropy::new().class_weights(&[0.5, 2.0, 3.0]).label_smoothing(0.1);
        let distributions = Array::from([[0.2, 0.3, 0.5], [0.1, 0.9, 0.0]]);
        assert_gradients(|x| weighted.mean(&x[0], &x[1]), &[x.clone(), distributions]);
        let x = [x];
        assert_gradients(|x| cross_entropy(&x[0], &labels()), &x);
        assert_gradients(|x| weighted.mean(&x[0], &labels()), &x);
    }

    #[test]
    fn finite_at_extreme_logits() {
        let x = Array::from([[1e4f32, -1e4, 0.0], [-1e4, 1e4, 1e4]]);
        let y = constant([1i64, 2]);
        let loss = numbers(&CrossEntropy::new().each(&constant(x.clone()), &y));
        assert_close(&loss, &[2e4, 2f64.ln()], 1e-6);
        let gradient = gradient_f32(|x| CrossEntropy::new().each(x, &y), x);
        assert_close(&gradient, &[1.0, -1.0, 0.0, 0.0, 0.5, -0.5], 1e-6);
    }

    #[test]
    fn the_gradient_is_softmax_minus_one_hot_without_another_exponential() {
        let x = placeholder("x", DType::F32, ("batch", 10));
        let y = placeholder("y", DType::I64, ["batch"]);
        let loss = cross_entropy(&x, &y);
        let gradient = thalweg_graph::grad(&loss, &[&x]);
        let graph = Graph::capture([&loss, &gradient[0]], &[]);
        let graph = optimize(graph, &Options::default());
        let count = |label: &str| graph.nodes().filter(|node| node.op.label() == label).count();
        assert_eq!((count("exp"), count("log"), count("max"), count("check_indices")), (1, 1, 1, 1));
    }

    #[test]
    fn a_label_that_is_no_class_is_named() {
        for label in [3i64, -1] {
            let message = evaluate(&cross_entropy(&logits(), &constant([0, label]))).unwrap_err().to_string();
            assert!(message.contains(&format!("index {label} at position 1")), "{message}");
        }
    }

    #[test]
    #[should_panic(expected = "labels must have the shape [2]")]
    fn labels_of_another_shape_are_refused() {
        cross_entropy(&logits(), &constant([0i64, 1, 2]));
    }

    #[test]
    #[should_panic(expected = "labels are class numbers, integers, not bool")]
    fn truth_values_are_no_labels() {
        cross_entropy(&logits(), &constant([true, false]));
    }

    #[test]
    #[should_panic(expected = "distributions have the dtype and the shape of the logits; labels are integers")]
    fn float_labels_are_refused() {
        cross_entropy(&logits(), &constant([0.0, 1.0]));
    }

    #[test]
    #[should_panic(expected = "cross_entropy: label_smoothing is 1;")]
    fn smoothing_everything_away_is_refused() {
        let _ = CrossEntropy::new().label_smoothing(1.0);
    }
}
