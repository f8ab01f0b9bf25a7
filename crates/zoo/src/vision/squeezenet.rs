//! SqueezeNet 1.1. Iandola et al., *SqueezeNet: AlexNet-level accuracy with 50x fewer parameters*, 2016.

use std::collections::BTreeMap;

use thalweg::formats::weights::{NameClash, Names};
use thalweg::prelude::*;

use super::{Sequence, pool_3_2, sequence};

/// A narrow layer, then two wide ones beside each other.
#[derive(Debug, Module)]
struct Fire {
    squeeze: Conv2d,
    expand1x1: Conv2d,
    expand3x3: Conv2d,
}

impl Fire {
    /// From `inputs` through `narrow` to twice `wide` channels.
    fn new(init: &mut Init, inputs: usize, narrow: usize, wide: usize) -> Fire {
        Fire {
            squeeze: Conv2d::new(init, inputs, narrow, 1),
            expand1x1: Conv2d::new(init, narrow, wide, 1),
            expand3x3: Conv2d::new(init, narrow, wide, 3),
        }
    }
}

impl Layer for Fire {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.squeeze.forward(x, cx).relu();
        Tensor::concat(&[&self.expand1x1.forward(&x, cx).relu(), &self.expand3x3.forward(&x, cx).relu()], 1)
    }
}

/// SqueezeNet 1.1, for images of 224 x 224 or 227 x 227 pixels.
#[derive(Debug, Module)]
pub struct SqueezeNet {
    features: Sequence,
    classifier: Sequence,
}

/// The channels that [`SqueezeNet::features`] gives.
pub const FEATURES: usize = 512;

impl SqueezeNet {
    /// To so many classes.
    pub fn new(init: &mut Init, classes: usize) -> SqueezeNet {
        SqueezeNet {
            features: SqueezeNet::features(init),
            classifier: sequence![
                Dropout::new(0.5),
                ConvConfig::new(FEATURES, classes, [1, 1]).build(init),
                Activation::Relu,
                GlobalPool::Average,
            ],
        }
    }

    /// The convolutions alone: `[batch, 3, y, x] → [batch, 512, y/16, x/16]`, for a head of one's own.
    pub fn features(init: &mut Init) -> Sequence {
        sequence![
            ConvConfig::new(3, 64, [3, 3]).stride(2).build(init),
            Activation::Relu,
            pool_3_2(),
            Fire::new(init, 64, 16, 64),
            Fire::new(init, 128, 16, 64),
            pool_3_2(),
            Fire::new(init, 128, 32, 128),
            Fire::new(init, 256, 32, 128),
            pool_3_2(),
            Fire::new(init, 256, 48, 192),
            Fire::new(init, 384, 48, 192),
            Fire::new(init, 384, 64, 256),
            Fire::new(init, 512, 64, 256),
        ]
    }
}

/// What the published net was trained on: red, green and blue less 123, 117 and 104.
pub fn normalization() -> Normalize {
    let mean = [123.0, 117.0, 104.0].map(|mean| mean / 255.0);
    Normalize::new(mean.to_vec(), vec![1.0 / 255.0; 3]).expect("three finite numbers and their deviations")
}

/// The weights of the published Caffe net under the names of this one: `fire2/squeeze1x1.weight` is
/// `features.3.squeeze.weight`. Its first layer reads blue, green, red; its weights are turned to red, green, blue.
///
/// # Errors
/// If two tensors would have one name.
pub fn from_caffe(tensors: BTreeMap<String, Array>) -> Result<BTreeMap<String, Array>, NameClash> {
    let mut tensors = caffe_names().apply(tensors)?;
    if let Some(first) = tensors.get_mut("features.0.weight") {
        *first = with_reversed_inputs(first);
    }
    Ok(tensors)
}

fn caffe_names() -> Names {
    let positions = [(2, 3), (3, 4), (4, 6), (5, 7), (6, 9), (7, 10), (8, 11), (9, 12)];
    let fires = positions.into_iter().fold(Names::new(), |names, (fire, position)| {
        names.replace(&format!("fire{fire}/"), &format!("features.{position}."))
    });
    fires.replace("squeeze1x1", "squeeze").replace("conv10.", "classifier.1.").replace("conv1.", "features.0.")
}

/// `[out, in, y, x]` with the inputs in reverse order, as f32.
fn with_reversed_inputs(weight: &Array) -> Array {
    let &[outputs, inputs, height, width] = weight.shape() else { return weight.clone() };
    let (numbers, size) = (weight.to_vec::<f32>(), height * width);
    let filter = |output: usize| (0..inputs).rev().map(move |input| (output * inputs + input) * size);
    let reversed = (0..outputs).flat_map(filter).flat_map(|begin| numbers[begin..begin + size].iter().copied());
    Array::new(weight.shape(), reversed.collect()).expect("as many numbers as before")
}

impl Layer for SqueezeNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.features.forward(x, cx);
        self.classifier.forward(&x, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn published_size() {
        check([3, 224, 224], 1000, 1_235_496, &Init::build(1, |init| SqueezeNet::new(init, 1000)));
    }

    #[test]
    fn the_first_layer_reads_red_green_blue() {
        let weight = Array::new(&[2, 3, 1, 2], (0..12u8).map(f32::from).collect()).unwrap();
        let turned = from_caffe([("conv1.weight".to_string(), weight)].into()).unwrap();
        let expected = [4.0f32, 5.0, 2.0, 3.0, 0.0, 1.0, 10.0, 11.0, 8.0, 9.0, 6.0, 7.0];
        assert_eq!(turned["features.0.weight"].to_vec::<f32>(), expected);
    }

    #[test]
    fn names_of_caffe() {
        let of = |name: &str| caffe_names().of(name).unwrap();
        assert_eq!(of("conv1.weight"), "features.0.weight");
        assert_eq!(of("conv10.bias"), "classifier.1.bias");
        assert_eq!(of("fire9/expand3x3.bias"), "features.12.expand3x3.bias");
    }
}
