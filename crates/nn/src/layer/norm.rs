//! [`LayerNorm`].

use thalweg_graph::{Tensor, Variable};

use crate::Module;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, Layer};

/// y = (x − mean)/√(variance + eps)·scale + shift, mean and (biased) variance over the last axis (Ba, Kiros, Hinton
/// 2016).
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// `[features]`.
    pub scale: Variable,
    /// `[features]`.
    pub shift: Variable,
    /// What keeps constant rows finite.
    pub eps: f64,
}

impl LayerNorm {
    /// Over `features` numbers, scale 1, shift 0, eps 1e-5.
    #[track_caller]
    pub fn new(init: &mut Init, features: usize) -> LayerNorm {
        let scale = init.variable(&[features], Initializer::Ones);
        LayerNorm { scale, shift: init.variable(&[features], Initializer::Zeros), eps: 1e-5 }
    }
}

impl Layer for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.layer_norm(&self.scale, &self.shift, self.eps)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::{Array, DType, Graph, placeholder};

    use super::*;

    #[test]
    fn rows_get_mean_zero_and_variance_one() {
        let norm = Init::build(0, |init| LayerNorm::new(init, 4));
        let x = placeholder("x", DType::F32, ("batch", 4));
        let y = norm.forward(&x, &mut Forward::train());
        let feeds = Feeds::new([("x", Array::from([[1.0f32, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]]))]);
        let y: Vec<f64> = interpret(&Graph::capture([&y], &[]), &feeds).unwrap().fetches[0].to_vec();
        // mean 3, variance (4 + 1 + 0 + 9)/4 = 3.5
        let expected = [-2.0, -1.0, 0.0, 3.0].map(|x: f64| x / (3.5f64 + 1e-5).sqrt());
        for (found, expected) in y.iter().zip(expected.iter().chain(&[0.0; 4])) {
            assert!((found - expected).abs() < 1e-6, "{y:?}");
        }
    }
}
