//! Norms that look at one row of the batch: [`LayerNorm`], [`GroupNorm`], [`InstanceNorm`], [`RmsNorm`].

use thalweg_graph::{Tensor, Variable};

use crate::Module;
use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::conv::per_channel;
use crate::layer::{Forward, Layer};
use crate::module::without_variables;

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

/// Groups of channels of `[batch, channel, …]`, each row for itself: (x − mean)/√(variance + eps)·weight + bias, mean and
/// (biased) variance over the group and all axes after it (Wu and He 2018).
#[derive(Clone, Debug, Module)]
pub struct GroupNorm {
    /// `[channels]`.
    pub weight: Variable,
    /// `[channels]`.
    pub bias: Variable,
    /// The number of groups.
    pub groups: usize,
    /// What keeps groups of equal numbers finite.
    pub eps: f64,
}

impl GroupNorm {
    /// Of `channels` in `groups`: weight 1, bias 0, eps 1e-5.
    ///
    /// # Panics
    /// If the channels do not divide.
    #[track_caller]
    pub fn new(init: &mut Init, groups: usize, channels: usize) -> GroupNorm {
        let divides = groups > 0 && channels.is_multiple_of(groups);
        assert!(divides, "group_norm: {channels} channels do not divide into {groups} groups");
        let weight = init.variable(&[channels], Initializer::Ones);
        GroupNorm { weight, bias: init.variable(&[channels], Initializer::Zeros), groups, eps: 1e-5 }
    }
}

impl Layer for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        let [weight, bias] = [&self.weight, &self.bias].map(|numbers| per_channel(numbers, x.rank()));
        x.group_norm(self.groups, self.eps) * weight + bias
    }
}

/// Each channel of each row of `[batch, channel, …]` for itself: (x − mean)/√(variance + eps) (Ulyanov et al. 2016). With
/// weight and bias it is a [`GroupNorm`] of as many groups as channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNorm {
    /// What keeps channels of equal numbers finite.
    pub eps: f64,
}

impl Default for InstanceNorm {
    /// eps 1e-5.
    fn default() -> InstanceNorm {
        InstanceNorm { eps: 1e-5 }
    }
}

without_variables!(InstanceNorm);

impl Layer for InstanceNorm {
    /// # Panics
    /// If the channels have a named size.
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        match x.size(1).number() {
            Some(channels) => x.group_norm(channels, self.eps),
            None => refuse("instance_norm", &[("x", x)], "the number of channels must be known"),
        }
    }
}

/// y = x/√(mean of x² + eps)·weight over the last axis (Zhang and Sennrich 2019).
#[derive(Clone, Debug, Module)]
pub struct RmsNorm {
    /// `[features]`.
    pub weight: Variable,
    /// What keeps rows of zeros finite.
    pub eps: f64,
}

impl RmsNorm {
    /// Over `features` numbers, weight 1, eps 1e-6.
    #[track_caller]
    pub fn new(init: &mut Init, features: usize) -> RmsNorm {
        RmsNorm { weight: init.variable(&[features], Initializer::Ones), eps: 1e-6 }
    }
}

impl Layer for RmsNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.rms_norm(-1, self.eps) * &self.weight
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

    #[test]
    fn groups_and_instances_of_each_row() {
        let x = thalweg_graph::constant([[1.0f32, 3.0, 5.0, 5.0], [0.0, 4.0, 1.0, -1.0]]).reshape([2, 2, 2]);
        let y = |layer: &dyn Layer| crate::testing::numbers(&layer.forward(&x, &mut Forward::train()));
        let instance = y(&InstanceNorm { eps: 0.25 });
        let root = |variance: f64| (variance + 0.25).sqrt();
        let expected = [-1.0 / root(1.0), 1.0 / root(1.0), 0.0, 0.0, -2.0 / root(4.0), 2.0 / root(4.0)];
        crate::testing::assert_close(&instance[..6], &expected, 1e-6);
        let norm = Init::build(0, |init| GroupNorm { eps: 0.25, ..GroupNorm::new(init, 1, 2) });
        let state = crate::testing::State::default().fetch(&[&norm.forward(&x, &mut Forward::train())], &[], &[]);
        // Mean 3.5, variance (6.25 + 0.25 + 2.25 + 2.25)/4 = 2.75.
        crate::testing::assert_close(&state[0][..2], &[-2.5 / root(2.75), -0.5 / root(2.75)], 1e-6);
    }

    #[test]
    fn rows_get_mean_square_one() {
        let norm = Init::build(0, |init| RmsNorm { eps: 0.0, ..RmsNorm::new(init, 2) });
        let y = norm.forward(&thalweg_graph::constant([3.0f32, 4.0]), &mut Forward::train());
        let y = crate::testing::State::default().fetch(&[&y], &[], &[]).remove(0);
        crate::testing::assert_close(&y, &[3.0 / 12.5f64.sqrt(), 4.0 / 12.5f64.sqrt()], 1e-6);
    }
}
