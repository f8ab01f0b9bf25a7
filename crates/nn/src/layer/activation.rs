//! [`Activation`]: the activations that need no axis, by name.

use std::fmt;
use std::str::FromStr;

use thalweg_graph::Tensor;
use thalweg_graph::array::Real;
use thalweg_graph::array::scalar::Unary;

use crate::error::NnError;
use crate::layer::{Forward, Layer};
use crate::module::without_variables;

/// A function between layers.
///
/// ```
/// use thalweg_nn::Activation;
/// assert_eq!("gelu".parse::<Activation>()?, Activation::Gelu);
/// # Ok::<(), thalweg_nn::NnError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x.
    Identity,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// tanh x.
    Tanh,
    /// clamp(x, −1, 1).
    HardTanh,
    /// max(x, 0).
    Relu,
    /// x where x ≥ 0, 0.01·x below (Maas 2013).
    LeakyRelu,
    /// x where x ≥ 0, eˣ − 1 below (Clevert 2015).
    Elu,
    /// Self-normalizing ELU (Klambauer 2017).
    Selu,
    /// x·Φ(x) (Hendrycks and Gimpel 2016).
    Gelu,
    /// The tanh form of GELU.
    GeluTanh,
    /// x·sigmoid(x).
    Silu,
    /// ln(1 + eˣ).
    Softplus,
}

/// The slope of [`Activation::LeakyRelu`] below 0.
const LEAK: f64 = 0.01;

impl Activation {
    /// Every activation.
    pub const ALL: [Activation; 12] = [
        Activation::Identity,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::HardTanh,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Softplus,
    ];

    /// The name: `leaky_relu`.
    pub const fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::HardTanh => "hard_tanh",
            Activation::Relu => "relu",
            Activation::LeakyRelu => "leaky_relu",
            Activation::Elu => "elu",
            Activation::Selu => "selu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
            Activation::Softplus => "softplus",
        }
    }

    /// The function of numbers behind it; `None` for the identity.
    pub const fn function(self) -> Option<Unary> {
        Some(match self {
            Activation::Identity => return None,
            Activation::Sigmoid => Unary::Sigmoid,
            Activation::Tanh => Unary::Tanh,
            Activation::HardTanh => Unary::HardTanh,
            Activation::Relu => Unary::Relu,
            Activation::LeakyRelu => Unary::LeakyRelu { slope: Real(LEAK) },
            Activation::Elu => Unary::Elu { alpha: Real(1.0) },
            Activation::Selu => Unary::Selu,
            Activation::Gelu => Unary::Gelu,
            Activation::GeluTanh => Unary::GeluTanh,
            Activation::Silu => Unary::Silu,
            Activation::Softplus => Unary::Softplus,
        })
    }

    /// The function of `x`.
    #[track_caller]
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self.function() {
            Some(function) => x.unary(function),
            None => x.clone(),
        }
    }

    /// The gain with which He's and Xavier's initializers keep the variance: √2 for ReLU and its smooth relatives,
    /// √(2/(1 + slope²)) for leaky ReLU, 5/3 for tanh, 3/4 for SELU, else 1 (the values of PyTorch's
    /// `calculate_gain`, which knows the first four).
    pub fn gain(self) -> f64 {
        match self {
            Activation::Relu | Activation::Elu | Activation::Gelu | Activation::GeluTanh | Activation::Silu => {
                std::f64::consts::SQRT_2
            }
            Activation::LeakyRelu => (2.0 / (1.0 + LEAK * LEAK)).sqrt(),
            Activation::Tanh | Activation::HardTanh => 5.0 / 3.0,
            Activation::Selu => 0.75,
            Activation::Identity | Activation::Sigmoid | Activation::Softplus => 1.0,
        }
    }
}

without_variables!(Activation);

impl Layer for Activation {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        self.apply(x)
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activation {
    type Err = NnError;

    fn from_str(name: &str) -> Result<Activation, NnError> {
        let found = Activation::ALL.into_iter().find(|activation| activation.name() == name);
        found.ok_or_else(|| NnError::unknown("activation", name, Activation::ALL.map(Activation::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_others_are_refused() {
        for activation in Activation::ALL {
            assert_eq!(activation.name().parse(), Ok(activation));
        }
        let message = "rlu".parse::<Activation>().unwrap_err().to_string();
        assert!(message.contains("`rlu`") && message.contains("leaky_relu"), "{message}");
    }

    #[test]
    fn the_name_is_that_of_the_op_it_adds() {
        let x = thalweg_graph::placeholder("x", thalweg_graph::DType::F32, ["n"]);
        for activation in Activation::ALL.into_iter().filter(|&activation| activation != Activation::Identity) {
            assert_eq!(activation.apply(&x).op().label(), activation.name());
        }
        assert_eq!(Activation::Identity.apply(&x), x);
    }
}
