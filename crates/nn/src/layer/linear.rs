//! [`Linear`]: the dense layer.

use thalweg_graph::{Tensor, Variable};

use crate::Module;
use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, Layer};

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
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        let in_features = self.weight.size(0);
        if x.rank() == 0 || x.size(-1) != in_features {
            let reason = format!("the last axis of x must have {in_features} features");
            refuse("linear", &[("x", x), ("weight", &self.weight)], reason);
        }
        let y = x.matmul(&self.weight);
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
}

impl LinearConfig {
    /// As [`Linear::new`].
    pub fn new(in_features: usize, out_features: usize) -> LinearConfig {
        LinearConfig { in_features, out_features, weight: Initializer::he_normal(), bias: Some(Initializer::Zeros) }
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

    /// The layer.
    #[track_caller]
    pub fn build(self, init: &mut Init) -> Linear {
        let weight = init.variable(&[self.in_features, self.out_features], self.weight);
        Linear { weight, bias: self.bias.map(|bias| init.variable(&[self.out_features], bias)) }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::{Array, DType, Graph, placeholder};

    use super::*;

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
    #[should_panic(expected = "linear: the last axis of x must have 3 features")]
    fn another_width_is_refused() {
        let layer = Init::build(0, |init| Linear::new(init, 3, 2));
        layer.forward(&placeholder("x", DType::F32, ("batch", 4)), &mut Forward::infer());
    }
}
