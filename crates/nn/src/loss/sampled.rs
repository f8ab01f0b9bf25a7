//! [`SampledSoftmax`]: cross-entropy over many classes by a few of them.

use thalweg_graph::{DType, Size, Tensor, random_uniform, size_number};

use crate::error::refuse;
use crate::loss::{CrossEntropy, Loss};

/// Softmax cross-entropy over so many classes that their logits cost too much (Jean et al. 2015): in training each label is
/// set against candidates that are drawn once for the batch, in evaluation against all classes.
///
/// The logits are hidden·weightᵀ + bias: `output` is what the last layer makes, `[…, features]`, labels are integers
/// `[…]`, the weight is `[classes, features]` as that of an embedding. From each logit the logarithm of the probability is
/// taken away with which its class is among the candidates, 1 − (1 − p)ⁿ for n draws of which doubles are left out; so the
/// loss tends to the full one as n grows. A candidate that happens to be the label is left out for that label.
///
/// ```
/// use thalweg_graph::{Array, DType, Variable, placeholder};
/// use thalweg_nn::loss::{Loss, SampledSoftmax};
/// let words = Variable::new("words", Array::zeros(&[50_000, 64], DType::F32));
/// let [hidden, next] = [("hidden", DType::F32), ("next", DType::I64)].map(|(name, dtype)| match name {
///     "hidden" => placeholder(name, dtype, ("batch", "time", 64)),
///     _ => placeholder(name, dtype, ("batch", "time")),
/// });
/// let loss = SampledSoftmax::new(500, &words, None).mean(&hidden, &next);
/// assert_eq!(loss.meta().to_string(), "f32[]");
/// ```
#[derive(Clone, Debug)]
pub struct SampledSoftmax {
    draws: usize,
    weight: Tensor,
    bias: Option<Tensor>,
    proposal: Proposal,
}

/// How likely a class is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proposal {
    /// ln((k+2)/(k+1)) / ln(classes+1).
    LogUniform,
    /// 1 / classes.
    Uniform,
}

impl SampledSoftmax {
    /// `draws` candidates from the log-uniform distribution, p(k) ~ ln(1 + 1/(k+1)): for words in the order of their
    /// frequency.
    ///
    /// # Panics
    /// If nothing is drawn, the weight is no float `[classes, features]`, or the bias not `[classes]`.
    #[track_caller]
    pub fn new(draws: usize, weight: &Tensor, bias: Option<&Tensor>) -> SampledSoftmax {
        let inputs = |bias| [("weight", weight), ("bias", bias)];
        if draws == 0 || weight.rank() != 2 || !weight.dtype().is_float() {
            let reason = format!("{draws} draws of classes; at least one, of a weight [classes, features]");
            refuse("sampled_softmax", &[("weight", weight)], reason);
        }
        if let Some(bias) = bias
            && (bias.rank() != 1 || bias.size(0) != weight.size(0) || bias.dtype() != weight.dtype())
        {
            refuse("sampled_softmax", &inputs(bias), "the bias is a number for each class");
        }
        SampledSoftmax { draws, weight: weight.clone(), bias: bias.cloned(), proposal: Proposal::LogUniform }
    }

    /// With all classes equally likely: for classes in no order.
    pub fn uniform(self) -> SampledSoftmax {
        SampledSoftmax { proposal: Proposal::Uniform, ..self }
    }

    fn classes(&self) -> Size {
        self.weight.size(0)
    }

    /// The candidates in rising order, `[draws]`. f64, as the largest of many classes lie close together.
    fn draw(&self) -> Tensor {
        let u = random_uniform([self.draws], DType::F64);
        let classes = size_number(&self.classes(), DType::F64);
        let drawn = match self.proposal {
            Proposal::LogUniform => (u * (&classes + 1.0).log()).exp() - 1.0,
            Proposal::Uniform => u * &classes,
        };
        // 0 ≤ u < 1, but a rounded product may be the bound itself.
        drawn.floor().maximum(0.0).minimum(classes - 1.0).cast(DType::I64).sort(0)
    }

    /// ln of the probability that these classes are drawn at least once.
    fn log_expected(&self, classes: &Tensor) -> Tensor {
        let all = size_number(&self.classes(), DType::F64);
        let p = match self.proposal {
            Proposal::LogUniform => (classes.cast(DType::F64) + 1.0).reciprocal().log1p() / (all + 1.0).log(),
            Proposal::Uniform => all.reciprocal().expand(classes.shape()),
        };
        let expected = -((-p).log1p() * self.draws as f64).expm1();
        expected.log().cast(self.weight.dtype())
    }

    /// The logits of all classes.
    #[track_caller]
    fn logits(&self, hidden: &Tensor) -> Tensor {
        plus(hidden.matmul(&self.weight.t()), self.bias.as_ref())
    }
}

#[track_caller]
fn plus(logits: Tensor, bias: Option<&Tensor>) -> Tensor {
    match bias {
        Some(bias) => logits + bias,
        None => logits,
    }
}

impl Loss for SampledSoftmax {
    /// # Panics
    /// If output and labels are others than above.
    #[track_caller]
    fn each(&self, output: &Tensor, labels: &Tensor) -> Tensor {
        let inputs = [("output", output), ("labels", labels), ("weight", &self.weight)];
        let rows = output.shape().iter().take(output.rank().saturating_sub(1));
        if output.rank() < 2 || !labels.dtype().is_int() || !labels.shape().iter().eq(rows) {
            refuse("sampled_softmax", &inputs, "the output is [rows, features], labels integers [rows]");
        }
        if output.size(-1) != self.weight.size(1) || output.dtype() != self.weight.dtype() {
            refuse("sampled_softmax", &inputs, "output and weight have the same features, of one dtype");
        }
        let labels = labels.cast(DType::I64).check_indices(self.classes());
        let candidates = self.draw();
        let first = candidates.pad(0, 1, 0, -1).slice(0, ..self.draws).not_equal(&candidates);

        let of = |classes: &Tensor| {
            let bias = self.bias.as_ref().map(|bias| bias.gather(classes, 0));
            (self.weight.gather(classes, 0), bias, self.log_expected(classes))
        };
        let (weight, bias, log_expected) = of(&labels);
        let right = plus((output * weight).sum_over(-1), bias.as_ref()) - log_expected;
        let (weight, bias, log_expected) = of(&candidates);
        let others = plus(output.matmul(&weight.t()), bias.as_ref()) - log_expected;
        let stands = labels.unsqueeze(-1).not_equal(&candidates).logical_and(&first);
        let others = stands.select(&others, others.scalar_like(f64::NEG_INFINITY));

        // Against the largest, as in `CrossEntropy`.
        let largest = others.max_over(-1).maximum(&right).stop_gradient();
        let right = right - &largest;
        let total = (others - largest.unsqueeze(-1)).exp().sum_over(-1) + right.exp();
        (total.log() - right).evaluated_as(&CrossEntropy::new().each(&self.logits(output), &labels))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::passes::for_evaluation;
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::{Array, Graph, constant, grad};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, numbers};

    /// Three rows of two features, five classes, a bias, labels.
    fn model() -> ([Array; 3], Array) {
        let wave = |n: usize, f: f64| (0..n).map(|i| (i as f64 * f).sin()).collect::<Vec<f64>>();
        let array = |shape: &[usize], numbers: Vec<f64>| Array::new(shape, numbers).unwrap();
        let arrays = [array(&[3, 2], wave(6, 1.3)), array(&[5, 2], wave(10, 2.1)), array(&[5], wave(5, 0.7))];
        (arrays, [4i64, 0, 2].into())
    }

    fn tensors() -> ([Tensor; 3], Tensor) {
        let (arrays, labels) = model();
        (arrays.map(constant), constant(labels))
    }

    fn full() -> Vec<f64> {
        let ([x, w, b], labels) = tensors();
        numbers(&CrossEntropy::new().each(&(x.matmul(&w.t()) + b), &labels))
    }

    #[test]
    fn many_draws_cost_what_all_classes_cost() {
        let ([x, w, b], labels) = tensors();
        let loss = SampledSoftmax::new(2000, &w, Some(&b));
        assert_close(&numbers(&loss.each(&x, &labels)), &full(), 1e-9);
        assert_close(&numbers(&loss.uniform().each(&x, &labels)), &full(), 1e-9);
        let x = x.reshape([1, 3, 2]);
        let each = SampledSoftmax::new(2000, &w, Some(&b)).each(&x, &labels.reshape([1, 3]));
        assert_eq!(each.meta().to_string(), "f64[1,3]");
        assert_close(&numbers(&each), &full(), 1e-9);
    }

    #[test]
    fn classes_are_drawn_as_often_as_is_said() {
        let w = constant(Array::zeros(&[7, 1], DType::F32));
        for uniform in [false, true] {
            let draws = |n: usize| {
                let of = SampledSoftmax::new(n, &w, None);
                if uniform { of.uniform() } else { of }
            };
            let classes = constant([0i64, 1, 2, 3, 4, 5, 6]);
            let p: Vec<f64> = numbers(&draws(1).log_expected(&classes)).iter().map(|log| log.exp()).collect();
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{p:?}");
            let drawn = numbers(&draws(20_000).draw());
            for (class, p) in p.iter().enumerate() {
                let share = drawn.iter().filter(|&&drawn| drawn == class as f64).count() as f64 / 20_000.0;
                assert!((share - p).abs() < 0.015, "class {class}: {share}, {p}");
            }
            assert_eq!(uniform, (p[0] - p[6]).abs() < 1e-6);
        }
    }

    /// Of two classes, the other is a candidate or not; as one is the label, doubles and the label never count.
    #[test]
    fn doubles_and_labels_are_no_candidates() {
        let (x, w) = (constant([[1.0]]), constant([[0.3], [0.8]]));
        let loss = SampledSoftmax::new(40, &w, None).uniform();
        let corrected = 0.5f64.powi(40);
        let expected = (1.0 + (0.3f64 - 0.8).exp()).ln();
        assert!(corrected < 1e-12);
        assert_close(&numbers(&loss.each(&x, &constant([1i64]))), &[expected], 1e-9);
        let alone = SampledSoftmax::new(3, &w.slice(0, ..1), None);
        assert_eq!(numbers(&alone.each(&x, &constant([0i64]))), [0.0]);
    }

    #[test]
    fn gradients_reach_all_that_was_drawn() {
        let (arrays, labels) = model();
        let labels = constant(labels);
        assert_gradients(|x| SampledSoftmax::new(3, &x[1], Some(&x[2])).mean(&x[0], &labels), &arrays);
        let ([x, w, _], _) = tensors();
        let loss = SampledSoftmax::new(2000, &w, None).mean(&x, &labels);
        assert!(numbers(&grad(&loss, &[&w])[0]).iter().all(|g| *g != 0.0));
    }

    #[test]
    fn evaluation_is_over_all_classes() {
        let ([x, w, b], labels) = tensors();
        let loss = SampledSoftmax::new(2, &w, Some(&b)).each(&x, &labels);
        let graph = for_evaluation(Graph::capture([&loss], &[])).unwrap();
        assert!(!graph.to_string().contains("random"), "{graph}");
        assert_close(&interpret(&graph, &Feeds::default()).unwrap().fetches[0].to_vec(), &full(), 1e-12);
        assert!(numbers(&loss) != full());
    }

    #[test]
    #[should_panic(expected = "output and weight have the same features, of one dtype")]
    fn other_features_are_refused() {
        let ([x, _, _], labels) = tensors();
        SampledSoftmax::new(2, &constant([[0.0; 3]; 5]), None).each(&x, &labels);
    }
}
