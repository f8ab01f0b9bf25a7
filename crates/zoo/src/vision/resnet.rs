//! Residual networks. He, Zhang, Ren and Sun, *Deep Residual Learning for Image Recognition*, 2016; *Identity Mappings in Deep
//! Residual Networks*, 2016.

use thalweg::formats::weights::Names;
use thalweg::prelude::*;

use super::{plain_conv, torch_names};

/// Two convolutions of 3 x 3.
#[derive(Debug, Module)]
struct Basic {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Basic {
    fn new(init: &mut Init, inputs: usize, channels: usize, stride: usize) -> Basic {
        Basic {
            conv1: plain_conv(init, inputs, channels, 3, stride),
            bn1: BatchNorm::new(init, channels),
            conv2: plain_conv(init, channels, channels, 3, 1),
            bn2: BatchNorm::new(init, channels),
            downsample: downsample(init, inputs, channels, stride),
        }
    }

    fn body(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let y = self.conv1.forward(x, cx);
        let y = self.bn1.forward(&y, cx).relu();
        let y = self.conv2.forward(&y, cx);
        self.bn2.forward(&y, cx)
    }
}

/// A shortcut that brings x to other sizes.
fn downsample(init: &mut Init, inputs: usize, outputs: usize, stride: usize) -> Option<(Conv2d, BatchNorm)> {
    let other = stride != 1 || inputs != outputs;
    other.then(|| (plain_conv(init, inputs, outputs, 1, stride), BatchNorm::new(init, outputs)))
}

impl Layer for Basic {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let y = self.body(x, cx);
        (y + self.downsample.forward(x, cx)).relu()
    }
}

/// 1 x 1 to fewer channels, 3 x 3, 1 x 1 to four times as many.
#[derive(Debug, Module)]
struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Conv2d,
    bn3: BatchNorm,
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Bottleneck {
    fn new(init: &mut Init, inputs: usize, channels: usize, stride: usize) -> Bottleneck {
        let outputs = 4 * channels;
        Bottleneck {
            conv1: plain_conv(init, inputs, channels, 1, 1),
            bn1: BatchNorm::new(init, channels),
            conv2: plain_conv(init, channels, channels, 3, stride),
            bn2: BatchNorm::new(init, channels),
            conv3: plain_conv(init, channels, outputs, 1, 1),
            bn3: BatchNorm::new(init, outputs),
            downsample: downsample(init, inputs, outputs, stride),
        }
    }
}

impl Layer for Bottleneck {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let y = self.conv1.forward(x, cx);
        let y = self.bn1.forward(&y, cx).relu();
        let y = self.conv2.forward(&y, cx);
        let y = self.bn2.forward(&y, cx).relu();
        let y = self.conv3.forward(&y, cx);
        let y = self.bn3.forward(&y, cx);
        (y + self.downsample.forward(x, cx)).relu()
    }
}

/// Which blocks, and how many in each of the four stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    bottlenecks: bool,
    blocks: [usize; 4],
}

/// ResNet-18.
pub const RESNET_18: Depth = Depth { bottlenecks: false, blocks: [2, 2, 2, 2] };
/// ResNet-34.
pub const RESNET_34: Depth = Depth { bottlenecks: false, blocks: [3, 4, 6, 3] };
/// ResNet-50.
pub const RESNET_50: Depth = Depth { bottlenecks: true, blocks: [3, 4, 6, 3] };

/// ResNet.
#[derive(Debug, Module)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Box<dyn Layer>>,
    layer2: Vec<Box<dyn Layer>>,
    layer3: Vec<Box<dyn Layer>>,
    layer4: Vec<Box<dyn Layer>>,
    fc: Linear,
    pools: bool,
}

impl ResNet {
    /// For images of 224 x 224 pixels.
    pub fn new(init: &mut Init, depth: Depth, classes: usize) -> ResNet {
        let conv1 = plain_conv(init, 3, 64, 7, 2);
        ResNet::behind(init, conv1, true, depth, classes)
    }

    /// For images of 32 x 32 pixels: a stem of 3 x 3 that halves nothing.
    pub fn cifar(init: &mut Init, depth: Depth, classes: usize) -> ResNet {
        let conv1 = plain_conv(init, 3, 64, 3, 1);
        ResNet::behind(init, conv1, false, depth, classes)
    }

    fn behind(init: &mut Init, conv1: Conv2d, pools: bool, depth: Depth, classes: usize) -> ResNet {
        let bn1 = BatchNorm::new(init, 64);
        let mut inputs = 64;
        let mut stage = |stage: usize| -> Vec<Box<dyn Layer>> {
            let channels = 64 << stage;
            let blocks = (0..depth.blocks[stage]).map(|block| {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let from = inputs;
                if depth.bottlenecks {
                    inputs = 4 * channels;
                    Box::new(Bottleneck::new(init, from, channels, stride)) as Box<dyn Layer>
                } else {
                    inputs = channels;
                    Box::new(Basic::new(init, from, channels, stride))
                }
            });
            blocks.collect()
        };
        let [layer1, layer2, layer3, layer4] = [stage(0), stage(1), stage(2), stage(3)];
        ResNet { conv1, bn1, layer1, layer2, layer3, layer4, fc: Linear::new(init, inputs, classes), pools }
    }
}

impl Layer for ResNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.conv1.forward(x, cx);
        let mut x = self.bn1.forward(&x, cx).relu();
        if self.pools {
            x = x.max_pool(&Pool::new([3, 3]).stride(2).padding(1));
        }
        for layer in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            x = layer.forward(&x, cx);
        }
        self.fc.forward(&GlobalPool::Average.forward(&x, cx), cx)
    }
}

/// The small ResNets of the paper for images of 32 x 32 pixels: three stages of 16, 32 and 64 channels; where channels are
/// added, the shortcut takes every second position and fills up with zeros.
#[derive(Debug, Module)]
pub struct CifarResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Basic>,
    layer2: Vec<Basic>,
    layer3: Vec<Basic>,
    linear: Linear,
}

impl CifarResNet {
    /// With 6·`blocks` + 2 layers with parameters: 3 is ResNet-20, 5 is ResNet-32.
    pub fn new(init: &mut Init, blocks: usize, classes: usize) -> CifarResNet {
        let (conv1, bn1) = (plain_conv(init, 3, 16, 3, 1), BatchNorm::new(init, 16));
        let mut stage = |inputs: usize, channels: usize| -> Vec<Basic> {
            let block = |block| match (block, inputs == channels) {
                (0, false) => Basic { downsample: None, ..Basic::new(init, inputs, channels, 2) },
                _ => Basic::new(init, channels, channels, 1),
            };
            (0..blocks).map(block).collect()
        };
        let [layer1, layer2, layer3] = [stage(16, 16), stage(16, 32), stage(32, 64)];
        CifarResNet { conv1, bn1, layer1, layer2, layer3, linear: Linear::new(init, 64, classes) }
    }

    /// How the names of Idelbayev's weights (<https://github.com/akamaster/pytorch_resnet_cifar10>) become those of this net.
    pub fn published_names() -> Names {
        torch_names().strip("state_dict.").strip("module.")
    }
}

/// Every second position of `[batch, channel, y, x]`, with zeros for the channels that are added on both sides.
fn zero_filled(x: &Tensor, channels: usize) -> Tensor {
    let added = channels / 4;
    x.slice_step(2, .., 2).slice_step(3, .., 2).pad(1, added, added, 0.0)
}

impl Layer for CifarResNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.conv1.forward(x, cx);
        let mut x = self.bn1.forward(&x, cx).relu();
        for (stage, layer) in [&self.layer1, &self.layer2, &self.layer3].into_iter().enumerate() {
            for (position, block) in layer.iter().enumerate() {
                let shortcut = if stage > 0 && position == 0 { zero_filled(&x, 16 << stage) } else { x.clone() };
                x = (block.body(&x, cx) + shortcut).relu();
            }
        }
        self.linear.forward(&GlobalPool::Average.forward(&x, cx), cx)
    }
}

/// A block whose batch norms and ReLUs stand before its convolutions.
#[derive(Debug, Module)]
struct PreActivated {
    bn1: BatchNorm,
    conv1: Conv2d,
    bn2: BatchNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl PreActivated {
    fn new(init: &mut Init, inputs: usize, channels: usize, stride: usize) -> PreActivated {
        let other = stride != 1 || inputs != channels;
        PreActivated {
            bn1: BatchNorm::new(init, inputs),
            conv1: plain_conv(init, inputs, channels, 3, stride),
            bn2: BatchNorm::new(init, channels),
            conv2: plain_conv(init, channels, channels, 3, 1),
            shortcut: other.then(|| plain_conv(init, inputs, channels, 1, stride)),
        }
    }
}

impl Layer for PreActivated {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let active = self.bn1.forward(x, cx).relu();
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(&active, cx),
            None => x.clone(),
        };
        let y = self.conv1.forward(&active, cx);
        let y = self.bn2.forward(&y, cx).relu();
        self.conv2.forward(&y, cx) + shortcut
    }
}

/// ResNet-18 with pre-activation for images of 32 x 32 pixels.
#[derive(Debug, Module)]
pub struct PreActResNet {
    conv1: Conv2d,
    layers: Vec<PreActivated>,
    bn: BatchNorm,
    linear: Linear,
}

impl PreActResNet {
    /// To so many classes.
    pub fn new(init: &mut Init, classes: usize) -> PreActResNet {
        let conv1 = plain_conv(init, 3, 64, 3, 1);
        let mut layers = Vec::new();
        let mut inputs = 64;
        for stage in 0..4 {
            for block in 0..2 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                layers.push(PreActivated::new(init, inputs, 64 << stage, stride));
                inputs = 64 << stage;
            }
        }
        PreActResNet { conv1, layers, bn: BatchNorm::new(init, inputs), linear: Linear::new(init, inputs, classes) }
    }
}

impl Layer for PreActResNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.conv1.forward(x, cx);
        let x = self.layers.forward(&x, cx);
        let x = self.bn.forward(&x, cx).relu();
        self.linear.forward(&GlobalPool::Average.forward(&x, cx), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn published_sizes() {
        let (large, small) = ([3, 224, 224], [3, 32, 32]);
        for (depth, parameters) in [(RESNET_18, 11_689_512), (RESNET_34, 21_797_672), (RESNET_50, 25_557_032)] {
            check(large, 1000, parameters, &Init::build(1, |init| ResNet::new(init, depth, 1000)));
        }
        for (depth, parameters) in [(RESNET_18, 11_173_962), (RESNET_34, 21_282_122), (RESNET_50, 23_520_842)] {
            check(small, 10, parameters, &Init::build(1, |init| ResNet::cifar(init, depth, 10)));
        }
        for (blocks, parameters) in [(3, 269_722), (5, 464_154), (7, 658_586), (9, 853_018), (18, 1_727_962)] {
            check(small, 10, parameters, &Init::build(1, |init| CifarResNet::new(init, blocks, 10)));
        }
        // Known as 11,171,146 without the last batch norm, which the paper has.
        check(small, 10, 11_171_146 + 2 * 512, &Init::build(1, |init| PreActResNet::new(init, 10)));
    }
}
