//! [`Conv`] and [`ConvTranspose`]: convolutions over one to three axes.

use thalweg_graph::{ConvOptions, PerAxis, Tensor, Variable};

use crate::Module;
use crate::init::{Fans, Init, Initializer};
use crate::layer::{Forward, Layer};
use crate::module::without_variables;

without_variables!(ConvOptions);

/// A convolution over one axis: `[batch, in, x] → [batch, out, x]`.
pub type Conv1d = Conv<1>;
/// A convolution over two axes: `[batch, in, y, x] → [batch, out, y, x]`.
pub type Conv2d = Conv<2>;
/// A convolution over three axes: `[batch, in, z, y, x] → [batch, out, z, y, x]`.
pub type Conv3d = Conv<3>;
/// A transposed convolution over one axis.
pub type ConvTranspose1d = ConvTranspose<1>;
/// A transposed convolution over two axes.
pub type ConvTranspose2d = ConvTranspose<2>;
/// A transposed convolution over three axes.
pub type ConvTranspose3d = ConvTranspose<3>;

/// y = x ∗ weight + bias over the last `SPATIAL` axes: `[batch, in, …] → [batch, out, …]`.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{Conv2d, ConvConfig, Forward, Init, Layer, Module};
///
/// let stem: Conv2d = Init::build(1, |init| ConvConfig::new(3, 64, [7, 7]).stride(2).padding(3).build(init));
/// let image = placeholder("image", DType::F32, ("batch", 3, 224, 224));
/// assert_eq!(stem.forward(&image, &mut Forward::infer()).meta().to_string(), "f32[batch,64,112,112]");
/// assert_eq!(stem.parameter_count(), 64 * 3 * 7 * 7 + 64);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Conv<const SPATIAL: usize> {
    /// `[out, in/groups, kernel…]`.
    pub weight: Variable,
    /// `[out]`.
    pub bias: Option<Variable>,
    options: ConvOptions,
}

impl<const SPATIAL: usize> Conv<SPATIAL> {
    /// From `inputs` to `outputs` channels, a kernel of equal sides and as much padding that the size stays with an odd
    /// one; weights as He et al. for ReLU, bias 0.
    #[track_caller]
    pub fn new(init: &mut Init, inputs: usize, outputs: usize, kernel: usize) -> Conv<SPATIAL> {
        ConvConfig::new(inputs, outputs, [kernel; SPATIAL]).padding(kernel / 2).build(init)
    }
}

impl<const SPATIAL: usize> Layer for Conv<SPATIAL> {
    /// # Panics
    /// As [`Tensor::try_conv`] refuses.
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        match x.try_conv(&self.weight, SPATIAL, &self.options) {
            Ok(y) => with_bias(y, &self.bias, SPATIAL),
            Err(error) => panic!("{error}"),
        }
    }
}

/// y = x transposed-∗ weight + bias over the last `SPATIAL` axes, what the gradient of a [`Conv`] does to its input:
/// `[batch, in, …] → [batch, out, …]`, a stride makes it larger.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{ConvConfig, ConvTranspose2d, Forward, Init, Layer};
///
/// let config = ConvConfig::new(64, 32, [2, 2]).stride(2);
/// let up: ConvTranspose2d = Init::build(1, |init| config.build_transpose(init));
/// let x = placeholder("x", DType::F32, ("batch", 64, 8, 8));
/// assert_eq!(up.forward(&x, &mut Forward::infer()).meta().to_string(), "f32[batch,32,16,16]");
/// ```
#[derive(Clone, Debug, Module)]
pub struct ConvTranspose<const SPATIAL: usize> {
    /// `[in, out/groups, kernel…]`.
    pub weight: Variable,
    /// `[out]`.
    pub bias: Option<Variable>,
    options: ConvOptions,
}

impl<const SPATIAL: usize> Layer for ConvTranspose<SPATIAL> {
    /// # Panics
    /// As [`Tensor::try_conv_transpose`] refuses.
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        match x.try_conv_transpose(&self.weight, SPATIAL, &self.options) {
            Ok(y) => with_bias(y, &self.bias, SPATIAL),
            Err(error) => panic!("{error}"),
        }
    }
}

#[track_caller]
fn with_bias(y: Tensor, bias: &Option<Variable>, spatial: usize) -> Tensor {
    match bias {
        Some(bias) => y + per_channel(bias, spatial + 2),
        None => y,
    }
}

/// A number per channel so that it broadcasts against `[batch, channel, …]` with so many axes.
#[track_caller]
pub(super) fn per_channel(numbers: &Tensor, rank: usize) -> Tensor {
    let ones = std::iter::repeat_n(1, rank.saturating_sub(2)).map(thalweg_graph::Size::from);
    numbers.reshape([numbers.size(0)].into_iter().chain(ones).collect::<thalweg_graph::Shape>())
}

/// How a [`Conv`] or a [`ConvTranspose`] is made.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvConfig<const SPATIAL: usize> {
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// The sizes of the kernel.
    pub kernel: [usize; SPATIAL],
    /// Parts of the channels that do not mix.
    pub groups: usize,
    /// Stride, padding, dilation.
    pub options: ConvOptions,
    /// How the weight begins.
    pub weight: Initializer,
    /// How the bias begins; `None` for no bias.
    pub bias: Option<Initializer>,
}

impl<const SPATIAL: usize> ConvConfig<SPATIAL> {
    /// From `inputs` to `outputs` channels with stride 1 and no padding; weights as He et al. for ReLU, bias 0.
    pub fn new(inputs: usize, outputs: usize, kernel: [usize; SPATIAL]) -> ConvConfig<SPATIAL> {
        let (weight, bias) = (Initializer::he_normal(), Some(Initializer::Zeros));
        ConvConfig { inputs, outputs, kernel, groups: 1, options: ConvOptions::new(), weight, bias }
    }

    fn with(self, set: impl FnOnce(ConvOptions) -> ConvOptions) -> Self {
        ConvConfig { options: set(self.options), ..self }
    }

    /// From an output to the next, so many positions of the input.
    pub fn stride(self, stride: impl Into<PerAxis<usize>>) -> Self {
        self.with(|options| options.stride(stride))
    }

    /// So many zeros before and after the input.
    pub fn padding(self, padding: impl Into<PerAxis<usize>>) -> Self {
        self.with(|options| options.padding(padding))
    }

    /// So many zeros before and so many after the input.
    pub fn padding_around(self, padding: impl Into<PerAxis<(usize, usize)>>) -> Self {
        self.with(|options| options.padding_around(padding))
    }

    /// As many zeros that a stride of 1 keeps the size.
    pub fn padding_same(self) -> Self {
        self.with(ConvOptions::padding_same)
    }

    /// From an element of the kernel to the next, so many positions of the input.
    pub fn dilation(self, dilation: impl Into<PerAxis<usize>>) -> Self {
        self.with(|options| options.dilation(dilation))
    }

    /// Of a transposed convolution: so many positions more at the end.
    pub fn output_padding(self, positions: impl Into<PerAxis<usize>>) -> Self {
        self.with(|options| options.output_padding(positions))
    }

    /// So many parts of the channels, each with outputs of its own.
    ///
    /// # Panics
    /// If they do not divide the channels.
    #[track_caller]
    pub fn groups(self, groups: usize) -> Self {
        let (inputs, outputs) = (self.inputs, self.outputs);
        assert!(
            groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
            "conv: {inputs} and {outputs} channels do not divide into {groups} groups"
        );
        ConvConfig { groups, ..self }.with(|options| options.groups(groups))
    }

    /// Without bias, as before batch norm, which has one.
    pub fn without_bias(self) -> Self {
        ConvConfig { bias: None, ..self }
    }

    /// The weight begins so.
    pub fn weight(self, weight: Initializer) -> Self {
        ConvConfig { weight, ..self }
    }

    /// The bias begins so.
    pub fn bias(self, bias: Initializer) -> Self {
        ConvConfig { bias: Some(bias), ..self }
    }

    /// The convolution.
    #[track_caller]
    pub fn build(self, init: &mut Init) -> Conv<SPATIAL> {
        let (weight, bias) = self.variables(init, [self.outputs, self.inputs / self.groups]);
        Conv { weight, bias, options: self.options }
    }

    /// The transposed convolution.
    #[track_caller]
    pub fn build_transpose(self, init: &mut Init) -> ConvTranspose<SPATIAL> {
        let (weight, bias) = self.variables(init, [self.inputs, self.outputs / self.groups]);
        ConvTranspose { weight, bias, options: self.options }
    }

    #[track_caller]
    fn variables(&self, init: &mut Init, channels: [usize; 2]) -> (Variable, Option<Variable>) {
        let taps: usize = self.kernel.iter().product();
        let of_a_group = |channels: usize| channels / self.groups * taps;
        let fans = Fans { input: of_a_group(self.inputs), output: of_a_group(self.outputs) };
        let shape: Vec<usize> = channels.into_iter().chain(self.kernel).collect();
        let weight = init.variable_with_fans(&shape, fans, self.weight);
        (weight, self.bias.map(|bias| init.variable(&[self.outputs], bias)))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, DType, constant, placeholder};

    use super::*;
    use crate::testing::State;

    #[test]
    fn a_bias_per_channel() {
        let config = ConvConfig::new(2, 2, [2]).weight(Initializer::Ones).bias(Initializer::Constant(0.5));
        let layer: Conv1d = Init::build(0, |init| config.clone().groups(2).build(init));
        let names: Vec<String> = layer.variables().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["weight", "bias"]);
        assert_eq!(layer.weight.meta().to_string(), "f32[2,1,2]");
        let x = constant(Array::new(&[1, 2, 3], vec![1.0f32, 2.0, 4.0, 10.0, 20.0, 40.0]).unwrap());
        let run = |y: &Tensor| State::default().fetch(&[y], &[], &[]).remove(0);
        let y = layer.forward(&x, &mut Forward::infer());
        assert_eq!(run(&y), [3.5, 6.5, 30.5, 60.5]);
        let up: ConvTranspose1d = Init::build(0, |init| config.stride(2).build_transpose(init));
        assert_eq!(run(&up.forward(&x, &mut Forward::infer()))[..6], [11.5, 11.5, 22.5, 22.5, 44.5, 44.5]);
    }

    #[test]
    fn weights_begin_with_the_variance_of_their_fan() {
        let layer: Conv2d = Init::build(3, |init| Conv::new(init, 32, 64, 3));
        let weight = State::default().read(&layer.weight);
        let square = weight.iter().map(|w| w * w).sum::<f64>() / weight.len() as f64;
        assert!((square * 288.0 / 2.0 - 1.0).abs() < 0.05, "{square}");
    }

    #[test]
    #[should_panic(expected = "conv2d: channels differ")]
    fn other_channels_are_refused() {
        let layer: Conv2d = Init::build(0, |init| Conv::new(init, 3, 8, 3));
        layer.forward(&placeholder("x", DType::F32, ("batch", 4, 8, 8)), &mut Forward::infer());
    }
}
