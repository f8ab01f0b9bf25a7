//! [`Mlp`]: linear layers with an activation between them.

use thalweg_graph::Tensor;

use crate::Module;
use crate::init::{Init, Initializer};
use crate::layer::{Activation, Dropout, Forward, Layer, Linear, LinearConfig};

/// A multi-layer perceptron: linear layers, after each but the last an activation and, if asked for, dropout.
///
/// ```
/// use thalweg_nn::{Init, Mlp, Module};
/// let net = Init::build(7, |init| Mlp::new(init, &[784, 128, 32, 10]));
/// assert_eq!(net.parameter_count(), 784 * 128 + 128 + 128 * 32 + 32 + 32 * 10 + 10);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Mlp {
    /// The linear layers.
    pub layers: Vec<Linear>,
    /// What stands after each but the last.
    pub activation: Activation,
    /// What follows the activation in training.
    pub dropout: Option<Dropout>,
}

impl Mlp {
    /// Layers of these widths, the first being that of the input, with ReLU between.
    ///
    /// # Panics
    /// If there are fewer than two widths.
    #[track_caller]
    pub fn new(init: &mut Init, widths: &[usize]) -> Mlp {
        MlpConfig::new(widths).build(init)
    }
}

impl Layer for Mlp {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let mut y = x.clone();
        for (position, layer) in self.layers.iter().enumerate() {
            if position > 0 {
                y = self.dropout.forward(&self.activation.apply(&y), cx);
            }
            y = layer.forward(&y, cx);
        }
        y
    }
}

/// How an [`Mlp`] is made.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpConfig {
    /// The widths, the first being that of the input.
    pub widths: Vec<usize>,
    /// What stands between the layers.
    pub activation: Activation,
    /// The rate of dropout after each activation.
    pub dropout: f64,
}

impl MlpConfig {
    /// ReLU, no dropout.
    ///
    /// # Panics
    /// If there are fewer than two widths.
    #[track_caller]
    pub fn new(widths: &[usize]) -> MlpConfig {
        assert!(widths.len() >= 2, "an MLP needs the widths of its input and output, got {widths:?}");
        MlpConfig { widths: widths.to_vec(), activation: Activation::Relu, dropout: 0.0 }
    }

    /// With this activation; the weights begin with its gain.
    pub fn activation(self, activation: Activation) -> MlpConfig {
        MlpConfig { activation, ..self }
    }

    /// With dropout after each activation.
    pub fn dropout(self, rate: f64) -> MlpConfig {
        MlpConfig { dropout: rate, ..self }
    }

    /// The network.
    #[track_caller]
    pub fn build(self, init: &mut Init) -> Mlp {
        let last = self.widths.len() - 2;
        let mut layers = Vec::with_capacity(last + 1);
        for (position, pair) in self.widths.windows(2).enumerate() {
            let gain = if position == last { 1.0 } else { self.activation.gain() };
            layers.push(LinearConfig::new(pair[0], pair[1]).weight(Initializer::HeNormal { gain }).build(init));
        }
        let dropout = (self.dropout != 0.0).then(|| Dropout::new(self.dropout));
        Mlp { layers, activation: self.activation, dropout }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::tensor::topological;
    use thalweg_graph::{Array, DType, Graph, constant, placeholder};

    use super::*;
    use crate::testing::State;
    use crate::{Adam, binary_cross_entropy_with_logits};

    #[test]
    fn layers_are_applied_in_order_with_the_activation_between() {
        let config = MlpConfig::new(&[2, 3, 1]).activation(Activation::Tanh);
        let net = Init::build(3, |init| config.build(init));
        let x = placeholder("x", DType::F32, ("batch", 2));
        let mut cx = Forward::infer();
        let y = net.forward(&x, &mut cx);
        let by_hand = net.layers[1].forward(&net.layers[0].forward(&x, &mut cx).tanh(), &mut cx);
        let feeds = Feeds::new([("x", Array::from([[1.0f32, -2.0]]))]);
        let found = interpret(&Graph::capture([&y, &by_hand], &[]), &feeds).unwrap().fetches;
        assert_eq!(found[0], found[1]);
        assert_ne!(found[0].item().unwrap(), 0.0);
    }

    #[test]
    fn two_hidden_units_learn_exclusive_or() {
        let config = MlpConfig::new(&[2, 2, 1]).activation(Activation::Tanh);
        let net = Init::build(1, |init| config.build(init));
        let x = constant([[0.0f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
        let y = constant([[0.0f32], [1.0], [1.0], [0.0]]);
        let logits = net.forward(&x, &mut Forward::train());
        let step = Adam::new(0.05).minimize(&binary_cross_entropy_with_logits(&logits, &y));
        let mut state = State::default();
        for _ in 0..200 {
            state.run(&step.updates, &[]);
        }
        let right = logits.greater(0.0).equal(y.greater(0.5));
        assert_eq!(state.fetch(&[&right], &[], &[])[0], [1.0; 4]);
    }

    #[test]
    fn dropout_stands_in_the_training_graph_only() {
        let net = Init::build(3, |init| MlpConfig::new(&[2, 3, 3, 1]).dropout(0.5).build(init));
        let x = placeholder("x", DType::F32, ("batch", 2));
        let drops = |mut cx: Forward| {
            topological([&net.forward(&x, &mut cx)]).iter().filter(|node| node.op().label() == "dropout").count()
        };
        assert_eq!((drops(Forward::train()), drops(Forward::infer())), (2, 0));
    }
}
