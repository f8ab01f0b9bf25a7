//! Published image networks.
//!
//! | module | networks |
//! | --- | --- |
//! | [`lenet`] | LeNet-5 (LeCun et al. 1998) |
//! | [`alexnet`] | AlexNet (Krizhevsky 2014) |
//! | [`zfnet`] | ZFNet (Zeiler and Fergus 2014) |
//! | [`vgg`] | VGG-11, VGG-16 (Simonyan and Zisserman 2015) |
//! | [`googlenet`] | GoogLeNet (Szegedy et al. 2015) |
//! | [`squeezenet`] | SqueezeNet 1.1 (Iandola et al. 2016) |
//! | [`mobilenet`] | MobileNetV2 (Sandler et al. 2018) |
//! | [`resnet`] | ResNet-18, -34, -50 (He et al. 2016), with pre-activation, and the small ones for CIFAR |
//! | [`transfer`] | a new head on the convolutions of SqueezeNet |
//!
//! All take `[batch, channel, y, x]` and give `[batch, class]`. Their parameters have the names that they have in
//! torchvision, so that its weights load ([`torch_names`]); what it does not have is called as in the best known
//! implementation. Their numbers of parameters are the published ones.

pub mod alexnet;
pub mod googlenet;
pub mod lenet;
pub mod mobilenet;
pub mod resnet;
pub mod squeezenet;
pub mod transfer;
pub mod vgg;
pub mod zfnet;

use thalweg::formats::weights::Names;
use thalweg::prelude::*;

/// Layers one after the other, with their positions as names.
pub type Sequence = Vec<Box<dyn Layer>>;

/// A [`Sequence`] of these layers.
macro_rules! sequence {
    ($($layer:expr),* $(,)?) => {
        vec![$(Box::new($layer) as Box<dyn Layer>),*]
    };
}
use sequence;

/// How the names of torchvision's weights become those of our networks: dense weights, which it has as `[out, in]`, are
/// turned, and the counters of its batch norms are left out.
///
/// ```
/// use thalweg_zoo::vision::torch_names;
/// assert_eq!(torch_names().of("bn1.num_batches_tracked"), None);
/// ```
pub fn torch_names() -> Names {
    Names::new().ignore("num_batches_tracked").transpose_matrices()
}

/// A convolution with its bias, an odd kernel and as much padding that a stride of 1 keeps the size.
fn conv(init: &mut Init, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv2d {
    ConvConfig::new(inputs, outputs, [kernel; 2]).stride(stride).padding(kernel / 2).build(init)
}

/// The same without a bias, as before batch norm.
fn plain_conv(init: &mut Init, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv2d {
    ConvConfig::new(inputs, outputs, [kernel; 2]).stride(stride).padding(kernel / 2).without_bias().build(init)
}

/// 3 x 3 windows, from one to the next two positions, the last one partial where a rest is left.
fn pool_3_2() -> MaxPool {
    MaxPool(Pool::new([3, 3]).stride(2).with_partial_windows())
}

/// Three dense layers with dropout before the first two, as AlexNet ends.
fn dense_end(init: &mut Init, features: usize, classes: usize) -> Sequence {
    sequence![
        Dropout::new(0.5),
        Linear::new(init, features, 4096),
        Activation::Relu,
        Dropout::new(0.5),
        Linear::new(init, 4096, 4096),
        Activation::Relu,
        Linear::new(init, 4096, classes),
    ]
}

/// The features of `x`, flattened, to a number per class.
#[track_caller]
fn classified(features: &Sequence, classifier: &Sequence, x: &Tensor, cx: &mut Forward) -> Tensor {
    let features = features.forward(x, cx);
    classifier.forward(&features.flatten(1), cx)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a network's number of parameters and that it takes images of this size in training and in use.
    #[track_caller]
    pub(super) fn check(size: [usize; 3], classes: usize, parameters: usize, net: &dyn Layer) {
        assert_eq!(net.parameter_count(), parameters);
        let [channels, height, width] = size;
        let image = placeholder("image", f32, ("batch", channels, height, width));
        for cx in [&mut Forward::train(), &mut Forward::infer()] {
            assert_eq!(net.forward(&image, cx).meta().to_string(), format!("f32[batch,{classes}]"));
        }
    }
}
