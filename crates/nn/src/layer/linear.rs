//! [`Linear`]: the dense layer.

use thalweg_graph::{Tensor, Variable};

use crate::Module;
use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, GaussianNoise, Layer};

/// y = x W + b over the last axis: `[…, in] → […, out]`.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{Forward, Init, Layer, Linear};
///
/// let hidden = Init::build(1, |init| Linear::new(init, 784, 128));
/// let image = placeholder("image", DType::F32, ("batch", 784));
/// assert_eq!(hidden.forward(&image, &mut Forward::infer()).meta().to_string(), "f32[batch,128]");
/// ```
#[derive(Clone, Debug, Module)]
pub struct Linear {
    /// `[in, out]`.
    pub weight: Variable,
    /// `[out]`.
    pub bias: Option<Variable>,
    /// What is added to the weight in training.
    pub weight_noise: Option<GaussianNoise>,
}

impl Linear {
    /// From `in_features` to `out_features`, weights as He et al. for ReLU, bias 0.
    #[track_caller]
    pub fn new(init: &mut Init, in_features: usize, out_features: usize) -> Linear {
        LinearConfig::new(in_features, out_features).build(init)
    }
}

impl Layer for Linear {
    /// # Panics
    /// If the last axis of `x` is not `in`.
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let in_features = self.weight.size(0);
        if x.rank() == 0 || x.size(-1) != in_features {
            let reason = format!("the last axis of x must have {in_features} features");
            refuse("linear", &[("x", x), ("weight", &self.weight)], reason);
        }
        let y = x.matmul(&self.weight_noise.forward(&self.weight, cx));
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

/// How a [`Linear`] is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearConfig {
    /// Features of the input.
    pub in_features: usize,
    /// Features of the output.
    pub out_features: usize,
    /// How the weight begins.
    pub weight: Initializer,
    /// How the bias begins; `None` for no bias.
    pub bias: Option<Initializer>,
    /// The standard deviation of noise on the weight in training; 0 for none.
    pub weight_noise: f64,
}

impl LinearConfig {
    /// As [`Linear::new`].
    pub fn new(in_features: usize, out_features: usize) -> LinearConfig {
        let (weight, bias) = (Initializer::he_normal(), Some(Initializer::Zeros));
        LinearConfig { in_features, out_features, weight, bias, weight_noise: 0.0 }
    }

    /// Without bias.
    pub fn without_bias(self) -> LinearConfig {
        LinearConfig { bias: None, ..self }
    }

    /// The weight begins so.
    pub fn weight(self, weight: Initializer) -> LinearConfig {
        LinearConfig { weight, ..self }
    }

    /// The bias begins so.
    pub fn bias(self, bias: Initializer) -> LinearConfig {
        LinearConfig { bias: Some(bias), ..self }
    }

    /// With noise of this standard deviation on the weight in training (Graves 2011).
    pub fn weight_noise(self, std: f64) -> LinearConfig {
        LinearConfig { weight_noise: std, ..self }
    }

    /// The layer.
    #[track_caller]
    pub fn build(self, init: &mut Init) -> Linear {
        let weight = init.variable(&[self.in_features, self.out_features], self.weight);
        let bias = self.bias.map(|bias| init.variable(&[self.out_features], bias));
        let weight_noise = (self.weight_noise != 0.0).then(|| GaussianNoise::new(self.weight_noise));
        Linear { weight, bias, weight_noise }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::{Array, DType, Graph, placeholder};

    use super::*;
    use crate::testing::State;

    #[test]
    fn rows_times_weight_plus_bias() {
        let config = LinearConfig::new(3, 2).weight(Initializer::Constant(2.0)).bias(Initializer::Constant(0.5));
        let layer = Init::build(0, |init| config.build(init));
        let x = placeholder("x", DType::F32, ("batch", 3));
        let y = layer.forward(&x, &mut Forward::infer());
        let feeds = Feeds::new([("x", Array::from([[1.0f32, 2.0, 3.0], [0.0, 1.0, -1.0]]))]);
        let y = interpret(&Graph::capture([&y], &[]), &feeds).unwrap().fetches.remove(0);
        assert_eq!(y, Array::from([[12.5f32, 12.5], [0.5, 0.5]]));
    }

    #[test]
    fn noise_moves_the_weight_in_training_and_all_rows_alike() {
        let config = LinearConfig::new(2, 1).weight(Initializer::Constant(1.0)).weight_noise(0.1);
        let layer = Init::build(0, |init| config.build(init));
        let x = thalweg_graph::constant([[1.0f32, 2.0], [1.0, 2.0]]);
        let y = |mut cx: Forward| State::default().fetch(&[&layer.forward(&x, &mut cx)], &[], &[]).remove(0);
        assert_eq!(y(Forward::infer()), [3.0, 3.0]);
        let noisy = y(Forward::train());
        assert!(noisy[0] == noisy[1] && noisy[0] != 3.0 && (noisy[0] - 3.0).abs() < 1.5, "{noisy:?}");
    }

    #[test]
    #[should_panic(expected = "linear: the last axis of x must have 3 features")]
    fn another_width_is_refused() {
        let layer = Init::build(0, |init| Linear::new(init, 3, 2));
        layer.forward(&placeholder("x", DType::F32, ("batch", 4)), &mut Forward::infer());
    }
}
