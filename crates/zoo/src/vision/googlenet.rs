//! GoogLeNet. Szegedy et al., *Going Deeper with Convolutions*, 2015, with batch norm and without the auxiliary classifiers.

use thalweg::prelude::*;

use super::{conv, plain_conv, pool_3_2};

/// A convolution, batch norm, ReLU.
#[derive(Debug, Module)]
struct ConvNorm {
    conv: Conv2d,
    bn: BatchNorm,
}

impl ConvNorm {
    fn new(init: &mut Init, form: Form, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvNorm {
        match form {
            Form::Large => ConvNorm {
                conv: plain_conv(init, inputs, outputs, kernel, stride),
                bn: BatchNorm::new(init, outputs).eps(1e-3),
            },
            Form::Cifar => {
                ConvNorm { conv: conv(init, inputs, outputs, kernel, stride), bn: BatchNorm::new(init, outputs) }
            }
        }
    }
}

impl Layer for ConvNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.conv.forward(x, cx);
        self.bn.forward(&x, cx).relu()
    }
}

/// Which of the published forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// That of torchvision, whose kernel of 5 is one of 3.
    Large,
    /// For CIFAR: two kernels of 3 in place of one of 5, convolutions with biases.
    Cifar,
}

/// Four ways beside each other, their channels one after the other.
#[derive(Debug, Module)]
struct Inception {
    branch1: ConvNorm,
    branch2: (ConvNorm, ConvNorm),
    branch3: Vec<ConvNorm>,
    branch4: (MaxPool, ConvNorm),
}

impl Inception {
    /// Channels: of the way through 1 x 1; of the narrow and the wide part of the ways through 3 x 3 and 5 x 5; of the way
    /// through pooling.
    fn new(init: &mut Init, form: Form, inputs: usize, [a, b, c, d, e, f]: [usize; 6]) -> Inception {
        let layer = |init: &mut Init, inputs, outputs, kernel| ConvNorm::new(init, form, inputs, outputs, kernel, 1);
        let mut branch3 = vec![layer(init, inputs, d, 1), layer(init, d, e, 3)];
        if form == Form::Cifar {
            branch3.push(layer(init, e, e, 3));
        }
        Inception {
            branch1: layer(init, inputs, a, 1),
            branch2: (layer(init, inputs, b, 1), layer(init, b, c, 3)),
            branch3,
            branch4: (MaxPool(Pool::new([3, 3]).stride(1).padding(1)), layer(init, inputs, f, 1)),
        }
    }
}

impl Layer for Inception {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let branches = [
            self.branch1.forward(x, cx),
            self.branch2.forward(x, cx),
            self.branch3.forward(x, cx),
            self.branch4.forward(x, cx),
        ];
        Tensor::concat(&branches.each_ref(), 1)
    }
}

/// GoogLeNet.
#[derive(Debug, Module)]
pub struct GoogLeNet {
    conv1: ConvNorm,
    /// With pooling around them; not for CIFAR.
    conv2: Option<ConvNorm>,
    conv3: Option<ConvNorm>,
    inception3a: Inception,
    inception3b: Inception,
    inception4a: Inception,
    inception4b: Inception,
    inception4c: Inception,
    inception4d: Inception,
    inception4e: Inception,
    inception5a: Inception,
    inception5b: Inception,
    dropout: Dropout,
    fc: Linear,
}

impl GoogLeNet {
    /// For images of 224 x 224 pixels.
    pub fn new(init: &mut Init, classes: usize) -> GoogLeNet {
        let layer = |init: &mut Init, inputs, outputs, kernel, stride| {
            ConvNorm::new(init, Form::Large, inputs, outputs, kernel, stride)
        };
        let begin = [layer(init, 3, 64, 7, 2), layer(init, 64, 64, 1, 1), layer(init, 64, 192, 3, 1)];
        let [conv1, conv2, conv3] = begin;
        GoogLeNet::behind(init, Form::Large, (conv1, Some(conv2), Some(conv3)), 0.2, classes)
    }

    /// For images of 32 x 32 pixels.
    pub fn cifar(init: &mut Init, classes: usize) -> GoogLeNet {
        let conv1 = ConvNorm::new(init, Form::Cifar, 3, 192, 3, 1);
        GoogLeNet::behind(init, Form::Cifar, (conv1, None, None), 0.0, classes)
    }

    fn behind(
        init: &mut Init,
        form: Form,
        (conv1, conv2, conv3): (ConvNorm, Option<ConvNorm>, Option<ConvNorm>),
        dropout: f64,
        classes: usize,
    ) -> GoogLeNet {
        let mut inception = |inputs, sizes| Inception::new(init, form, inputs, sizes);
        GoogLeNet {
            conv1,
            conv2,
            conv3,
            inception3a: inception(192, [64, 96, 128, 16, 32, 32]),
            inception3b: inception(256, [128, 128, 192, 32, 96, 64]),
            inception4a: inception(480, [192, 96, 208, 16, 48, 64]),
            inception4b: inception(512, [160, 112, 224, 24, 64, 64]),
            inception4c: inception(512, [128, 128, 256, 24, 64, 64]),
            inception4d: inception(512, [112, 144, 288, 32, 64, 64]),
            inception4e: inception(528, [256, 160, 320, 32, 128, 128]),
            inception5a: inception(832, [256, 160, 320, 32, 128, 128]),
            inception5b: inception(832, [384, 192, 384, 48, 128, 128]),
            dropout: Dropout::new(dropout),
            fc: Linear::new(init, 1024, classes),
        }
    }
}

impl Layer for GoogLeNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let mut x = self.conv1.forward(x, cx);
        if let (Some(conv2), Some(conv3)) = (&self.conv2, &self.conv3) {
            x = pool_3_2().forward(&x, cx);
            x = conv3.forward(&conv2.forward(&x, cx), cx);
            x = pool_3_2().forward(&x, cx);
        }
        let x = self.inception3b.forward(&self.inception3a.forward(&x, cx), cx);
        let mut x = pool_3_2().forward(&x, cx);
        let fourth = [&self.inception4a, &self.inception4b, &self.inception4c, &self.inception4d, &self.inception4e];
        for inception in fourth {
            x = inception.forward(&x, cx);
        }
        let x = MaxPool(Pool::new([2, 2]).stride(2).with_partial_windows()).forward(&x, cx);
        let x = self.inception5b.forward(&self.inception5a.forward(&x, cx), cx);
        let x = self.dropout.forward(&GlobalPool::Average.forward(&x, cx), cx);
        self.fc.forward(&x, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn published_sizes() {
        check([3, 224, 224], 1000, 6_624_904, &Init::build(1, |init| GoogLeNet::new(init, 1000)));
        check([3, 32, 32], 10, 6_166_250, &Init::build(1, |init| GoogLeNet::cifar(init, 10)));
    }
}
