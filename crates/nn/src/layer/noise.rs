//! [`GaussianNoise`].

use thalweg_graph::{Tensor, random_normal};

use crate::error::or_panic;
use crate::layer::{Forward, Layer};
use crate::module::without_variables;
use crate::optim::rule::Range;

/// In training, x + std·z with z normal, drawn anew for each number in each run; otherwise nothing.
///
/// On an input it is an old regularizer (Bishop 1995: of small noise, Tikhonov's), between layers another, and on a
/// weight a third (Graves 2011): [`Linear`](crate::Linear) has it as a setting, and a layer of one's own calls
/// `forward` on its weight. The gradient is that at the noisy place.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{Forward, GaussianNoise, Init, Layer, Mlp};
/// let net = Init::build(7, |init| (GaussianNoise::new(0.1), Mlp::new(init, &[4, 8, 2])));
/// let x = placeholder("x", DType::F32, ("batch", 4));
/// let (noisy, exact) = (net.forward(&x, &mut Forward::train()), net.forward(&x, &mut Forward::infer()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianNoise {
    std: f64,
}

impl GaussianNoise {
    /// Noise of this standard deviation.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn new(std: f64) -> GaussianNoise {
        GaussianNoise { std: or_panic(Range::NotNegative.check("gaussian_noise", "std", std)) }
    }

    /// The standard deviation.
    pub fn std(&self) -> f64 {
        self.std
    }
}

without_variables!(GaussianNoise);

impl Layer for GaussianNoise {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        if cx.training() && self.std > 0.0 { x + random_normal(x.shape(), x.dtype()) * self.std } else { x.clone() }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, DType, full};

    use super::*;
    use crate::testing::{assert_gradients, numbers};

    #[test]
    fn adds_noise_of_its_deviation_in_training() {
        let x = full([10_000], DType::F64, 3.0);
        let layer = GaussianNoise::new(0.5);
        assert_eq!(layer.forward(&x, &mut Forward::infer()), x);
        assert_eq!(GaussianNoise::new(0.0).forward(&x, &mut Forward::train()), x);
        let y = numbers(&layer.forward(&x, &mut Forward::train()));
        let mean = y.iter().sum::<f64>() / 1e4;
        let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / 1e4;
        assert!((mean - 3.0).abs() < 0.02 && (variance.sqrt() - 0.5).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn the_gradient_is_that_at_the_noisy_place() {
        let x = Array::from([0.5, -1.0, 2.0]);
        assert_gradients(|x| GaussianNoise::new(0.3).forward(&x[0], &mut Forward::train()).exp().sum(), &[x]);
    }

    #[test]
    #[should_panic(expected = "gaussian_noise: std is -1; it must be finite and at least 0")]
    fn a_negative_deviation_is_refused() {
        GaussianNoise::new(-1.0);
    }
}
