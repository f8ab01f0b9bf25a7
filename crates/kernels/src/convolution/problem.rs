//! Sizes of a convolution, and where a tap of the kernel falls.

use smallvec::SmallVec;
use thalweg_array::DType;

/// Which of the three tensors is computed from the other two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// y from x and w: the convolution.
    Output,
    /// x from y and w: the gradient to the input, and the transposed convolution.
    Input,
    /// w from x and y: the gradient to the weight.
    Weight,
}

/// How far Winograd's algorithm may be used, which saves multiplications of 3 x 3 kernels and rounds otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Winograd {
    /// Not at all: each product of the definition is formed.
    #[default]
    Never,
    /// F(2x2, 3x3): 2.25 times fewer multiplications, errors as without it: 0.64 times as large for the output and the
    /// input, 1.3 times for the weight (measured for 64 channels).
    UpTo2x2,
    /// F(4x4, 3x3) as well, for the output and the input: 4 times fewer multiplications, errors about twice as large.
    UpTo4x4,
}

/// A spatial axis: position t of the output and tap k of the kernel meet input position
/// `t * stride + k * dilation - padding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Positions of the input.
    pub input: usize,
    /// Taps of the kernel.
    pub kernel: usize,
    /// Positions of the output.
    pub output: usize,
    /// Input positions from one of the output to the next.
    pub stride: usize,
    /// Input positions from one tap to the next.
    pub dilation: usize,
    /// Zeros before the input. How many follow it is a matter of `output`.
    pub padding: usize,
}

impl Axis {
    /// An axis with as many positions of the output as fit into the input with its padding on both sides.
    ///
    /// # Panics
    /// If the stride is 0.
    #[track_caller]
    pub fn new(input: usize, kernel: usize, stride: usize, dilation: usize, padding: (usize, usize)) -> Axis {
        let padded = input + padding.0 + padding.1;
        let reach = dilation * kernel.saturating_sub(1) + 1;
        let output = if kernel == 0 || padded < reach { 0 } else { (padded - reach) / stride + 1 };
        Axis { input, kernel, output, stride, dilation, padding: padding.0 }
    }

    /// The input position that output position `t` and tap `k` meet, if it is inside.
    pub fn source(&self, t: usize, k: usize) -> Option<usize> {
        (t * self.stride + k * self.dilation).checked_sub(self.padding).filter(|&position| position < self.input)
    }

    /// The output position that meets input position `position` with tap `k`, if there is one.
    pub fn target(&self, position: usize, k: usize) -> Option<usize> {
        let distance = (position + self.padding).checked_sub(k * self.dilation)?;
        (distance.is_multiple_of(self.stride)).then(|| distance / self.stride).filter(|&t| t < self.output)
    }

    /// An axis of one position everywhere.
    pub(super) const POINT: Axis = Axis { input: 1, kernel: 1, output: 1, stride: 1, dilation: 1, padding: 0 };
}

/// What is to be computed. All tensors are dense, x `[batch, input…, in_channels]` and y
/// `[batch, output…, out_channels]` with channels last, w `[out_channels, in_channels / groups, kernel…]` as it is
/// trained and published: it is packed anyway, and its gradient is added up once more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The dtype of what is given; that of the result is [`output_dtype`](crate::matmul::output_dtype)`(dtype)`.
    pub dtype: DType,
    /// What is computed.
    pub side: Side,
    /// Images.
    pub batch: usize,
    /// Channels of x.
    pub in_channels: usize,
    /// Channels of y.
    pub out_channels: usize,
    /// Output channel o reads the input channels of group `o / (out_channels / groups)` alone.
    pub groups: usize,
    /// The spatial axes, one to three, the outermost first.
    pub axes: SmallVec<[Axis; 3]>,
    /// Whether sums may be formed in Winograd's way.
    pub winograd: Winograd,
}

impl Problem {
    /// A problem with one group and without Winograd's algorithm.
    pub fn new(
        dtype: DType,
        side: Side,
        batch: usize,
        in_channels: usize,
        out_channels: usize,
        axes: &[Axis],
    ) -> Problem {
        let (axes, winograd) = (axes.into(), Winograd::Never);
        Problem { dtype, side, batch, in_channels, out_channels, groups: 1, axes, winograd }
    }

    /// The same for another side.
    pub fn on(&self, side: Side) -> Problem {
        Problem { side, ..self.clone() }
    }

    /// Multiplications and additions of the definition, counted apart, those with zeros of the padding included.
    pub fn flops(&self) -> u64 {
        2 * (self.pixels(|axis| axis.output) * self.out_channels) as u64 * self.terms_of_output() as u64
    }

    /// Elements of x, w and y.
    pub fn elements(&self) -> [usize; 3] {
        let x = self.pixels(|axis| axis.input) * self.in_channels;
        let w = self.taps() * (self.in_channels / self.groups) * self.out_channels;
        [x, w, self.pixels(|axis| axis.output) * self.out_channels]
    }

    /// Rows and columns of the result as a matrix.
    pub fn result(&self) -> [usize; 2] {
        match self.side {
            Side::Output => [self.pixels(|axis| axis.output), self.out_channels],
            Side::Input => [self.pixels(|axis| axis.input), self.in_channels],
            Side::Weight => [self.out_channels, self.in_channels / self.groups * self.taps()],
        }
    }

    /// Taps of the kernel over all axes.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// Pixels of all images together.
    fn pixels(&self, size: impl Fn(&Axis) -> usize) -> usize {
        self.batch * self.axes.iter().map(size).product::<usize>()
    }

    fn terms_of_output(&self) -> usize {
        self.taps() * self.in_channels / self.groups
    }

    /// Products that an element of the result adds up, roughly.
    pub(super) fn terms(&self) -> usize {
        match self.side {
            Side::Output => self.terms_of_output(),
            Side::Input => self.taps() * self.out_channels / self.groups,
            Side::Weight => self.pixels(|axis| axis.output),
        }
    }

    /// The axes, with points put before them so that there are three.
    pub(super) fn three_axes(&self) -> [Axis; 3] {
        let mut axes = [Axis::POINT; 3];
        axes[3 - self.axes.len()..].copy_from_slice(&self.axes);
        axes
    }

    /// Whether every pixel is multiplied by the same matrix, and that is all.
    pub(super) fn is_product(&self) -> bool {
        let is_point =
            |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.padding == 0 && axis.output == axis.input;
        self.groups == 1 && self.axes.iter().all(is_point)
    }

    #[track_caller]
    pub(super) fn check(&self) {
        let Problem { dtype, in_channels, out_channels, groups, axes, .. } = self;
        assert!(dtype.is_float(), "a convolution of {dtype}; cast to a float first");
        assert!((1..=3).contains(&axes.len()), "a convolution over {} axes; 1 to 3 are possible", axes.len());
        assert!(
            *groups > 0 && in_channels.is_multiple_of(*groups) && out_channels.is_multiple_of(*groups),
            "{groups} groups do not divide {in_channels} input and {out_channels} output channels"
        );
        for axis in axes {
            assert!(axis.stride > 0 && axis.dilation > 0, "a stride or dilation of 0 in {axis:?}");
        }
    }
}
