//! [`Mixup`]: rows between rows.

use std::collections::HashMap;

use thalweg_data::{Batch, Random};
use thalweg_run::graph::array::random::{Philox, permutation, stream};
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Array, DType, Op, Tensor, on_behalf_of, placeholder, scope};

use crate::fit::{Callback, FitError, Moment, Task, Turn};

/// What is fed beside the columns of the batch: which row is mixed into each, and the share of the row itself.
const OTHERS: &str = "mixup/others";
const SHARE: &str = "mixup/share";

/// Trains on rows between rows: λ·a + (1−λ)·b for each row a of a batch and another b, with the losses at both targets in
/// the same parts (Zhang et al. 2018). λ is drawn for each batch from Beta(α, α). All inputs that are floats are mixed;
/// targets are not, so that any loss will do.
///
/// A callback whose part of the loss is to see the mixed rows, such as [`LabelSmoothing`](super::LabelSmoothing), stands
/// before this one.
///
/// ```
/// use thalweg_train::callbacks::Mixup;
/// let mixup = Mixup::new(0.4);
/// ```
#[derive(Clone, Debug)]
pub struct Mixup {
    alpha: f64,
    seed: u64,
    target: Option<String>,
}

impl Mixup {
    /// With this α: the larger, the more is mixed; 0.2 to 0.4 are usual.
    ///
    /// # Panics
    /// If α is not finite and above 0.
    #[track_caller]
    pub fn new(alpha: f64) -> Mixup {
        assert!(alpha.is_finite() && alpha > 0.0, "mixup: alpha is {alpha}; it must be finite and above 0");
        Mixup { alpha, seed: 0, target: None }
    }

    /// What is drawn depends on this, the epoch and the position of the batch; 0 if not said.
    pub fn seed(self, seed: u64) -> Mixup {
        Mixup { seed, ..self }
    }

    /// The column of the targets; that of the labels if not said.
    pub fn target(self, column: impl Into<String>) -> Mixup {
        Mixup { target: Some(column.into()), ..self }
    }
}

impl Callback for Mixup {
    /// # Panics
    /// If the loss does not read the column of the targets.
    fn loss(&mut self, loss: Tensor, task: &Task) -> Tensor {
        let target = self.target.as_ref().or(task.inference.label.as_ref());
        let target = target.expect("mixup: the task has no column of labels; `target` names that of the targets");
        let read: Vec<Tensor> = topological([&loss]).into_iter().filter(is_placeholder).collect();
        let Some(labels) = read.iter().find(|tensor| tensor.name() == Some(target)) else {
            panic!("mixup: the training loss reads no column `{target}`");
        };
        scope("mixup", || {
            let others = placeholder(OTHERS, DType::I64, [labels.size(0)]);
            let share = placeholder(SHARE, DType::F32, ());
            let inputs = read.iter().filter(|tensor| tensor.dtype().is_float() && tensor.rank() > 0);
            let mixed = inputs.filter(|tensor| tensor.name() != Some(target)).map(|tensor| {
                let share = share.cast(tensor.dtype());
                (tensor, tensor * &share + tensor.gather(&others, 0) * (1.0 - share))
            });
            let at_own = replaced(&loss, mixed);
            let at_other = replaced(&at_own, [(labels, labels.gather(&others, 0))]);
            let share = share.cast(loss.dtype());
            at_own * &share + at_other * (1.0 - share)
        })
    }

    fn prepare(&mut self, batch: &mut Batch, _: &Moment<'_>) -> Result<Turn, FitError> {
        let (epoch, position) = (batch.epoch(), batch.position() as u64);
        let share = beta(self.alpha, &mut Random::new(self.seed, epoch, "mixup", position));
        let order = permutation(Philox::new(self.seed, stream("mixup", position)), epoch, batch.len());
        let order: Vec<i64> = order.into_iter().map(|row| row as i64).collect();
        batch.set_column(OTHERS, order.into());
        batch.set_column(SHARE, Array::scalar(share as f32));
        Ok(Turn::Take)
    }
}

fn is_placeholder(tensor: &Tensor) -> bool {
    matches!(tensor.op(), Op::Placeholder(_))
}

/// `root` with other tensors, of the same dtypes and shapes, in the place of some that it depends on.
fn replaced<'a>(root: &Tensor, others: impl IntoIterator<Item = (&'a Tensor, Tensor)>) -> Tensor {
    let mut new: HashMap<_, Tensor> = others.into_iter().map(|(tensor, other)| (tensor.id(), other)).collect();
    for tensor in topological([root]) {
        if new.contains_key(&tensor.id()) || tensor.inputs().iter().all(|input| !new.contains_key(&input.id())) {
            continue;
        }
        let inputs = tensor.inputs().iter().map(|input| new.get(&input.id()).unwrap_or(input).clone());
        let again =
            scope(tensor.scope(), || on_behalf_of(tensor.location(), || Tensor::apply(tensor.op().clone(), inputs)));
        let again = if let Some(name) = tensor.name() { again.named(name) } else { again };
        new.insert(tensor.id(), again);
    }
    new.remove(&root.id()).unwrap_or_else(|| root.clone())
}

/// A number of the distribution Beta(α, α): a part of two of Gamma(α).
fn beta(alpha: f64, random: &mut Random) -> f64 {
    let (a, b) = (gamma(alpha, random), gamma(alpha, random));
    // Both may be too small for a number.
    if a + b > 0.0 { a / (a + b) } else { 0.5 }
}

/// A number of the distribution Gamma(α) (Marsaglia and Tsang 2000; below 1 from that of α + 1).
fn gamma(alpha: f64, random: &mut Random) -> f64 {
    if alpha < 1.0 {
        let uniform = f64::from(random.uniform());
        return gamma(alpha + 1.0, random) * uniform.powf(1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    loop {
        let x = f64::from(random.normal());
        let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
        let accepted = v > 0.0 && f64::from(random.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln();
        if accepted {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_run::graph::Variable;

    use super::*;

    #[test]
    fn shares_have_the_moments_of_beta() {
        for alpha in [0.2, 0.4, 1.0, 3.0] {
            let draw = |index| beta(alpha, &mut Random::new(1, 0, "test", index));
            let drawn: Vec<f64> = (0..20_000).map(draw).collect();
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.01 && (variance - expected).abs() < 0.005, "{alpha}: {mean} {variance}");
            assert!(drawn.iter().all(|x| (0.0..=1.0).contains(x)));
        }
    }

    #[test]
    fn what_does_not_depend_on_a_replaced_tensor_stays_the_same_node() {
        let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 2.0));
        let kept = w.square();
        let root = scope("outer", || (&x * &kept).named("product")).sum();
        let again = replaced(&root, [(&x, &x * 3.0)]);
        let nodes = topological([&again]);
        assert!(nodes.contains(&kept));
        let product = nodes.iter().find(|node| node.name() == Some("product")).unwrap();
        assert_eq!(&**product.scope(), "outer");
        assert_eq!(replaced(&root, []), root);
    }
}
