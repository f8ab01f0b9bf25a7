//! AlexNet, as in Krizhevsky, *One weird trick for parallelizing convolutional neural networks*, 2014: the net of 2012 on one
//! device.

use thalweg::prelude::*;

use super::{Sequence, classified, dense_end, sequence};

/// AlexNet.
#[derive(Debug, Module)]
pub struct AlexNet {
    features: Sequence,
    classifier: Sequence,
}

impl AlexNet {
    /// For images of 224 x 224 pixels.
    pub fn new(init: &mut Init, classes: usize) -> AlexNet {
        let windows = Pool::new([3, 3]).stride(2);
        AlexNet { features: features(init, 2, &windows), classifier: dense_end(init, 256 * 6 * 6, classes) }
    }

    /// For images of 32 x 32 pixels: smaller windows, and one dense layer after the same convolutions.
    pub fn cifar(init: &mut Init, classes: usize) -> AlexNet {
        AlexNet {
            features: features(init, 5, &Pool::new([2, 2])),
            classifier: sequence![Linear::new(init, 256, classes)],
        }
    }
}

fn features(init: &mut Init, padding: usize, windows: &Pool) -> Sequence {
    sequence![
        ConvConfig::new(3, 64, [11, 11]).stride(4).padding(padding).build(init),
        Activation::Relu,
        MaxPool(windows.clone()),
        Conv2d::new(init, 64, 192, 5),
        Activation::Relu,
        MaxPool(windows.clone()),
        Conv2d::new(init, 192, 384, 3),
        Activation::Relu,
        Conv2d::new(init, 384, 256, 3),
        Activation::Relu,
        Conv2d::new(init, 256, 256, 3),
        Activation::Relu,
        MaxPool(windows.clone()),
    ]
}

impl Layer for AlexNet {
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
        check([3, 224, 224], 1000, 61_100_840, &Init::build(1, |init| AlexNet::new(init, 1000)));
        check([3, 32, 32], 10, 2_472_266, &Init::build(1, |init| AlexNet::cifar(init, 10)));
    }
}
