//! VGG. Simonyan and Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2015.

use thalweg::prelude::*;

use super::{Sequence, classified, conv, sequence};

/// How many convolutions of how many channels stand before each pooling.
pub type Stages = [(usize, usize); 5];

/// Configuration A, 11 layers with parameters.
pub const VGG_11: Stages = [(1, 64), (1, 128), (2, 256), (2, 512), (2, 512)];
/// Configuration D, 16 layers.
pub const VGG_16: Stages = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

/// VGG.
#[derive(Debug, Module)]
pub struct Vgg {
    features: Sequence,
    classifier: Sequence,
}

impl Vgg {
    /// For images of 224 x 224 pixels.
    pub fn new(init: &mut Init, stages: Stages, classes: usize) -> Vgg {
        Vgg { features: features(init, stages, false), classifier: classifier(init, classes) }
    }

    /// The same with batch norm behind each convolution.
    pub fn with_batch_norm(init: &mut Init, stages: Stages, classes: usize) -> Vgg {
        Vgg { features: features(init, stages, true), classifier: classifier(init, classes) }
    }

    /// For images of 32 x 32 pixels: batch norm, and one dense layer.
    pub fn cifar(init: &mut Init, stages: Stages, classes: usize) -> Vgg {
        Vgg { features: features(init, stages, true), classifier: sequence![Linear::new(init, 512, classes)] }
    }
}

fn features(init: &mut Init, stages: Stages, batch_norm: bool) -> Sequence {
    let mut layers = Sequence::new();
    let mut inputs = 3;
    for (depth, channels) in stages {
        for _ in 0..depth {
            layers.push(Box::new(conv(init, inputs, channels, 3, 1)));
            if batch_norm {
                layers.push(Box::new(BatchNorm::new(init, channels)));
            }
            layers.push(Box::new(Activation::Relu));
            inputs = channels;
        }
        layers.push(Box::new(MaxPool(Pool::new([2, 2]))));
    }
    layers
}

fn classifier(init: &mut Init, classes: usize) -> Sequence {
    sequence![
        Linear::new(init, 512 * 7 * 7, 4096),
        Activation::Relu,
        Dropout::new(0.5),
        Linear::new(init, 4096, 4096),
        Activation::Relu,
        Dropout::new(0.5),
        Linear::new(init, 4096, classes),
    ]
}

impl Layer for Vgg {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        classified(&self.features, &self.classifier, x, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn published_sizes() {
        let (large, small) = ([3, 224, 224], [3, 32, 32]);
        check(large, 1000, 132_863_336, &Init::build(1, |init| Vgg::new(init, VGG_11, 1000)));
        check(large, 1000, 138_357_544, &Init::build(1, |init| Vgg::new(init, VGG_16, 1000)));
        check(large, 1000, 138_365_992, &Init::build(1, |init| Vgg::with_batch_norm(init, VGG_16, 1000)));
        check(small, 10, 9_231_114, &Init::build(1, |init| Vgg::cifar(init, VGG_11, 10)));
        check(small, 10, 14_728_266, &Init::build(1, |init| Vgg::cifar(init, VGG_16, 10)));
    }
}
