//! LeNet-5. LeCun, Bottou, Bengio and Haffner, *Gradient-Based Learning Applied to Document Recognition*, 1998; with all
//! maps of the second convolution connected to all of the first.

use thalweg::prelude::*;

/// LeNet-5 for images of 32 x 32 pixels: digits of 28 x 28 with a border of 2.
#[derive(Debug, Module)]
pub struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    /// From images of so many channels to so many classes.
    pub fn new(init: &mut Init, channels: usize, classes: usize) -> LeNet {
        LeNet {
            conv1: ConvConfig::new(channels, 6, [5, 5]).build(init),
            conv2: ConvConfig::new(6, 16, [5, 5]).build(init),
            fc1: Linear::new(init, 16 * 5 * 5, 120),
            fc2: Linear::new(init, 120, 84),
            fc3: Linear::new(init, 84, classes),
        }
    }
}

impl Layer for LeNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let halves = Pool::new([2, 2]);
        let x = self.conv1.forward(x, cx).tanh().average_pool(&halves);
        let x = self.conv2.forward(&x, cx).tanh().average_pool(&halves);
        let x = self.fc1.forward(&x.flatten(1), cx).tanh();
        let x = self.fc2.forward(&x, cx).tanh();
        self.fc3.forward(&x, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn published_sizes() {
        check([1, 32, 32], 10, 61_706, &Init::build(1, |init| LeNet::new(init, 1, 10)));
        check([3, 32, 32], 10, 62_006, &Init::build(1, |init| LeNet::new(init, 3, 10)));
    }
}
