//! ZFNet. Zeiler and Fergus, *Visualizing and Understanding Convolutional Networks*, 2014, without its contrast
//! normalization.

use thalweg::prelude::*;

use super::{Sequence, classified, dense_end, pool_3_2, sequence};

/// ZFNet, for images of 224 x 224 pixels: AlexNet with a finer first layer.
#[derive(Debug, Module)]
pub struct ZfNet {
    features: Sequence,
    classifier: Sequence,
}

impl ZfNet {
    /// To so many classes.
    pub fn new(init: &mut Init, classes: usize) -> ZfNet {
        let features = sequence![
            ConvConfig::new(3, 96, [7, 7]).stride(2).padding(1).build(init),
            Activation::Relu,
            pool_3_2(),
            ConvConfig::new(96, 256, [5, 5]).stride(2).build(init),
            Activation::Relu,
            pool_3_2(),
            Conv2d::new(init, 256, 384, 3),
            Activation::Relu,
            Conv2d::new(init, 384, 384, 3),
            Activation::Relu,
            Conv2d::new(init, 384, 256, 3),
            Activation::Relu,
            MaxPool(Pool::new([3, 3]).stride(2)),
        ];
        ZfNet { features, classifier: dense_end(init, 256 * 6 * 6, classes) }
    }
}

impl Layer for ZfNet {
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
    fn published_size() {
        check([3, 224, 224], 1000, 62_357_608, &Init::build(1, |init| ZfNet::new(init, 1000)));
    }
}
