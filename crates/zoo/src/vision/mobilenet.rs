//! MobileNetV2. Sandler et al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, 2018.

use thalweg::prelude::*;

use super::{Sequence, plain_conv, sequence};

/// min(max(x, 0), 6).
#[derive(Clone, Copy, Debug, Module)]
struct Relu6;

impl Layer for Relu6 {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        x.relu().minimum(6.0)
    }
}

/// A convolution in each channel, batch norm, ReLU6.
fn depthwise(init: &mut Init, channels: usize, stride: usize) -> Sequence {
    let config = ConvConfig::new(channels, channels, [3, 3]).groups(channels).stride(stride).padding(1);
    sequence![config.without_bias().build(init), BatchNorm::new(init, channels), Relu6]
}

/// A convolution, batch norm, ReLU6.
fn conv_norm(init: &mut Init, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Sequence {
    sequence![plain_conv(init, inputs, outputs, kernel, stride), BatchNorm::new(init, outputs), Relu6]
}

/// From few channels to many, in each of them, and back to few without an activation.
#[derive(Debug, Module)]
struct Inverted {
    conv: Sequence,
    around: bool,
}

impl Inverted {
    fn new(init: &mut Init, inputs: usize, outputs: usize, expansion: usize, stride: usize) -> Inverted {
        let wide = inputs * expansion;
        let mut conv = Sequence::new();
        if expansion > 1 {
            conv.push(Box::new(conv_norm(init, inputs, wide, 1, 1)));
        }
        conv.push(Box::new(depthwise(init, wide, stride)));
        conv.push(Box::new(plain_conv(init, wide, outputs, 1, 1)));
        conv.push(Box::new(BatchNorm::new(init, outputs)));
        Inverted { conv, around: stride == 1 && inputs == outputs }
    }
}

impl Layer for Inverted {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let y = self.conv.forward(x, cx);
        if self.around { x + y } else { y }
    }
}

/// MobileNetV2 of width 1.
#[derive(Debug, Module)]
pub struct MobileNetV2 {
    features: Sequence,
    classifier: Sequence,
}

/// The expansion, the channels, the number and the stride of the first of each stage of blocks.
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

impl MobileNetV2 {
    /// For images of 224 x 224 pixels.
    pub fn new(init: &mut Init, classes: usize) -> MobileNetV2 {
        MobileNetV2::with_strides(init, 2, STAGES, classes)
    }

    /// For images of 32 x 32 pixels: the first two halvings are left out.
    pub fn cifar(init: &mut Init, classes: usize) -> MobileNetV2 {
        let mut stages = STAGES;
        stages[1].3 = 1;
        MobileNetV2::with_strides(init, 1, stages, classes)
    }

    fn with_strides(
        init: &mut Init,
        first: usize,
        stages: [(usize, usize, usize, usize); 7],
        classes: usize,
    ) -> MobileNetV2 {
        let mut features = sequence![conv_norm(init, 3, 32, 3, first)];
        let mut inputs = 32;
        for (expansion, channels, depth, stride) in stages {
            for position in 0..depth {
                let stride = if position == 0 { stride } else { 1 };
                features.push(Box::new(Inverted::new(init, inputs, channels, expansion, stride)));
                inputs = channels;
            }
        }
        features.push(Box::new(conv_norm(init, inputs, 1280, 1, 1)));
        MobileNetV2 { features, classifier: sequence![Dropout::new(0.2), Linear::new(init, 1280, classes)] }
    }
}

impl Layer for MobileNetV2 {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.features.forward(x, cx);
        self.classifier.forward(&GlobalPool::Average.forward(&x, cx), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn published_sizes() {
        check([3, 224, 224], 1000, 3_504_872, &Init::build(1, |init| MobileNetV2::new(init, 1000)));
        // The same with ten classes.
        let ten = 3_504_872 - 1281 * 990;
        check([3, 32, 32], 10, ten, &Init::build(1, |init| MobileNetV2::cifar(init, 10)));
    }

    #[test]
    fn names_are_those_of_torchvision() {
        let net = Init::build(1, |init| MobileNetV2::new(init, 10));
        let names: Vec<String> = net.variables().into_iter().map(|(name, _)| name).collect();
        for name in
            ["features.0.0.weight", "features.1.conv.0.0.weight", "features.1.conv.1.weight", "features.2.conv.3.bias"]
        {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
    }
}
