//! [`BatchNorm`].

use thalweg_graph::{Size, Tensor, Variable, size_number};

use crate::Module;
use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, Layer};

/// Axis 1 of `[batch, channel, …]`, channel by channel: (x − mean)/√(variance + eps)·weight + bias (Ioffe and Szegedy 2015).
///
/// In training mean and variance are those of the batch, and a training step moves the running ones towards them. An
/// inference graph, and a training graph that is evaluated, take the running ones. So does a training graph where these
/// are frozen ([`Module::freeze`] of the layer, or [`Module::keep_statistics`]), and leaves them alone.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{BatchNorm, Forward, Init, Layer, Module};
///
/// let norm = Init::build(1, |init| BatchNorm::new(init, 64));
/// let x = placeholder("x", DType::F32, ("batch", 64, 8, 8));
/// assert_eq!(norm.forward(&x, &mut Forward::train()).meta(), x.meta());
/// let names: Vec<String> = norm.variables().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["weight", "bias", "running_mean", "running_var"]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct BatchNorm {
    /// `[channels]`.
    pub weight: Variable,
    /// `[channels]`.
    pub bias: Variable,
    /// `[channels]`, what evaluation takes for the mean.
    pub running_mean: Variable,
    /// `[channels]`, what evaluation takes for the variance.
    pub running_var: Variable,
    /// The share of the batch in the running statistics: 0.1 forgets nine tenths in 22 steps.
    pub momentum: f64,
    /// What keeps channels of equal numbers finite.
    pub eps: f64,
}

impl BatchNorm {
    /// Over `channels`: weight 1, bias 0, running statistics 0 and 1, momentum 0.1, eps 1e-5.
    #[track_caller]
    pub fn new(init: &mut Init, channels: usize) -> BatchNorm {
        let mut variable = |initializer| init.variable(&[channels], initializer);
        BatchNorm {
            weight: variable(Initializer::Ones),
            bias: variable(Initializer::Zeros),
            running_mean: variable(Initializer::Zeros).not_trainable(),
            running_var: variable(Initializer::Ones).not_trainable(),
            momentum: 0.1,
            eps: 1e-5,
        }
    }

    /// Beginning with a weight of 0: of a residual block it begins as its shortcut (Goyal et al. 2017).
    #[track_caller]
    pub fn zero(init: &mut Init, channels: usize) -> BatchNorm {
        BatchNorm { weight: init.variable(&[channels], Initializer::Zeros), ..BatchNorm::new(init, channels) }
    }

    /// With this share of the batch in the running statistics.
    pub fn momentum(self, momentum: f64) -> BatchNorm {
        BatchNorm { momentum, ..self }
    }

    /// With this eps.
    pub fn eps(self, eps: f64) -> BatchNorm {
        BatchNorm { eps, ..self }
    }

    /// What stands for a running statistic after a step.
    fn moved(&self, running: &Variable, batch: &Tensor) -> Tensor {
        running.tensor() + (batch - running.tensor()) * self.momentum
    }
}

impl Layer for BatchNorm {
    /// # Panics
    /// If axis 1 of `x` is not that of the channels.
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let channels = self.weight.size(0);
        if x.rank() < 2 || x.size(1) != channels {
            let reason = format!("axis 1 of x must have {channels} channels");
            refuse("batch_norm", &[("x", x), ("weight", &self.weight)], reason);
        }
        let affine = [self.weight.tensor(), self.bias.tensor()];
        let running = [self.running_mean.tensor(), self.running_var.tensor()];
        if !cx.training() || self.running_mean.core().is_frozen() {
            return x.normalized_by(1, running, affine, self.eps);
        }
        let count = x.shape().iter().enumerate().filter(|&(axis, _)| axis != 1);
        let count = count.fold(Size::from(1), |count, (_, size)| count * size.clone());
        if count.is(1) {
            refuse("batch_norm", &[("x", x)], "a batch of one number per channel has no variance to train on");
        }
        let (mean, variance) = x.channel_statistics(1);
        let statistics = [&mean.evaluated_as(running[0]), &variance.evaluated_as(running[1])];
        let y = x.batch_norm(1, statistics, affine, self.eps);
        // The variance that a sample tells of all numbers.
        let count = size_number(&count, x.dtype());
        let unbiased = &variance * (&count / (&count - 1.0).maximum(1.0));
        y.with_update(&self.running_mean, &self.moved(&self.running_mean, &mean))
            .with_update(&self.running_var, &self.moved(&self.running_var, &unbiased))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::passes::for_evaluation;
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::{Array, DType, Graph, constant, placeholder, updates_of};

    use super::*;
    use crate::testing::{State, assert_close};

    /// Two rows of two channels, then others.
    fn batch(shift: f64) -> Array {
        let numbers = [1.0, 10.0, 3.0, 30.0, 5.0, 20.0, 7.0, 40.0].map(|x| (x + shift) as f32);
        Array::new(&[4, 2, 1], numbers.to_vec()).unwrap()
    }

    #[test]
    fn running_statistics_follow_the_batches() {
        let norm = Init::build(0, |init| BatchNorm::new(init, 2));
        let mut state = State::default();
        let y = norm.forward(&constant(batch(0.0)), &mut Forward::train());
        let updates = updates_of([&y]);
        assert_eq!(updates.len(), 2);
        let y = state.fetch(&[&y], &updates, &[]).remove(0);
        // Means 4 and 25, variances 5 and 125; of a sample 20/3 and 500/3.
        let root = |x: f64| (x + 1e-5).sqrt();
        assert_close(&y[..2], &[-3.0 / root(5.0), -15.0 / root(125.0)], 1e-6);
        assert_close(&state.read(&norm.running_mean), &[0.4, 2.5], 1e-6);
        assert_close(&state.read(&norm.running_var), &[0.9 + 2.0 / 3.0, 0.9 + 50.0 / 3.0], 1e-6);
        let x = constant(batch(1.0));
        state.run(&updates_of([&norm.forward(&x, &mut Forward::train())]), &[]);
        assert_close(&state.read(&norm.running_mean), &[0.4 * 0.9 + 0.5, 2.5 * 0.9 + 2.6], 1e-6);
        let y = state.fetch(&[&norm.forward(&x, &mut Forward::infer())], &[], &[]).remove(0);
        let (mean, variance) = (state.read(&norm.running_mean), state.read(&norm.running_var));
        assert_close(&y[..1], &[(2.0 - mean[0]) / root(variance[0])], 1e-6);
    }

    #[test]
    fn a_training_graph_evaluates_with_the_running_statistics() {
        let norm = Init::build(0, |init| BatchNorm::new(init, 2));
        let x = placeholder("x", DType::F32, ("n", 2, 1));
        let feeds = Feeds::new([("x", batch(0.0))]);
        let run = |graph: Graph| interpret(&graph, &feeds).unwrap().fetches.remove(0);
        let [train, infer] = [Forward::train(), Forward::infer()]
            .map(|mut cx| for_evaluation(Graph::capture([&norm.forward(&x, &mut cx)], &[])).unwrap());
        assert!(!train.to_string().contains("sum"), "{train}");
        assert_eq!(run(train), run(infer));
    }

    #[test]
    fn frozen_statistics_are_used_and_left_alone() {
        let norm = Init::build(0, |init| BatchNorm::new(init, 2));
        let x = constant(batch(0.0));
        let carried = || updates_of([&norm.forward(&x, &mut Forward::train())]).len();
        norm.freeze("").unwrap();
        assert_eq!(carried(), 0);
        norm.unfreeze("").unwrap();
        assert_eq!(carried(), 2);
        norm.keep_statistics();
        assert_eq!(carried(), 0);
        assert_eq!(norm.parameters().len(), 2);
    }

    #[test]
    #[should_panic(expected = "batch_norm: a batch of one number per channel has no variance")]
    fn a_batch_of_one_is_refused() {
        let norm = Init::build(0, |init| BatchNorm::new(init, 2));
        norm.forward(&placeholder("x", DType::F32, [1, 2, 1, 1]), &mut Forward::train());
    }

    #[test]
    #[should_panic(expected = "batch_norm: axis 1 of x must have 3 channels")]
    fn other_channels_are_refused() {
        let norm = Init::build(0, |init| BatchNorm::new(init, 3));
        norm.forward(&placeholder("x", DType::F32, ("batch", 2, 4)), &mut Forward::train());
    }
}
