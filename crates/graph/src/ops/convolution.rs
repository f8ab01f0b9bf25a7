//! Convolutions over one to three axes, and the two other sides of the same form.
//!
//! With input x `[N, S…, C]`, weight w `[O, C/groups, K…]` and output y `[N, T…, O]` the sum
//!
//! ```text
//! Σ y[n,t,o] · x[n, t·stride + k·dilation − padding, c] · w[o,c,k]
//! ```
//!
//! is linear in each of the three, so each has a derivative of the same kind: from two of them [`Convolution`] computes
//! the third. The output is the convolution (a correlation, as everywhere in the field), the input the transposed
//! convolution, the weight the gradient to it; the gradient of each is one of the two others.
//!
//! The op has channels last, as kernels read them. The methods have channels first, as users and published weights do;
//! which of the permutations between them move anything is the passes' affair.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thalweg_array::{Array, Shape, Size, with_dtype};

use crate::error::{BuildError, EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::windows::{Grid, PerAxis};
use crate::reference::{built, multi_indices, ravel};
use crate::tensor::{Meta, Tensor};

/// How a convolution goes over its input: stride 1, no padding, dilation 1, one group, unless said otherwise. What is
/// one number stands for all axes.
///
/// ```
/// use thalweg_graph::{ConvOptions, DType, placeholder};
/// let x = placeholder("x", DType::F32, ("batch", 3, 32, 32));
/// let w = placeholder("w", DType::F32, [16, 3, 5, 5]);
/// let y = x.conv2d(&w, &ConvOptions::new().stride(2).padding(2));
/// assert_eq!(y.meta().to_string(), "f32[batch,16,16,16]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    stride: PerAxis<usize>,
    padding: Padding,
    dilation: PerAxis<usize>,
    output_padding: PerAxis<usize>,
    groups: usize,
}

/// What is added around the input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Padding {
    /// Zeros before and after.
    Zeros(PerAxis<(usize, usize)>),
    /// As many that a stride of 1 keeps the size; where they are odd, one more after.
    Same,
}

impl Default for ConvOptions {
    fn default() -> Self {
        ConvOptions::new()
    }
}

impl ConvOptions {
    /// Stride 1, no padding, dilation 1, one group.
    pub fn new() -> ConvOptions {
        ConvOptions {
            stride: 1.into(),
            padding: Padding::Zeros((0, 0).into()),
            dilation: 1.into(),
            output_padding: 0.into(),
            groups: 1,
        }
    }

    /// From an output to the next, so many positions of the input.
    pub fn stride(self, stride: impl Into<PerAxis<usize>>) -> ConvOptions {
        ConvOptions { stride: stride.into(), ..self }
    }

    /// So many zeros before and after the input.
    pub fn padding(self, padding: impl Into<PerAxis<usize>>) -> ConvOptions {
        ConvOptions { padding: Padding::Zeros(padding.into().map(|zeros| (zeros, zeros))), ..self }
    }

    /// So many zeros before and so many after the input.
    pub fn padding_around(self, padding: impl Into<PerAxis<(usize, usize)>>) -> ConvOptions {
        ConvOptions { padding: Padding::Zeros(padding.into()), ..self }
    }

    /// As many zeros that a stride of 1 keeps the size; of an odd number one more after than before.
    pub fn padding_same(self) -> ConvOptions {
        ConvOptions { padding: Padding::Same, ..self }
    }

    /// From an element of the kernel to the next, so many positions of the input.
    pub fn dilation(self, dilation: impl Into<PerAxis<usize>>) -> ConvOptions {
        ConvOptions { dilation: dilation.into(), ..self }
    }

    /// So many parts of the channels, each with outputs of its own; as many as channels is a depthwise convolution.
    pub fn groups(self, groups: usize) -> ConvOptions {
        ConvOptions { groups, ..self }
    }

    /// Of a transposed convolution: so many positions more at the end. Several sizes have the same number of strides; this
    /// says which is meant.
    pub fn output_padding(self, positions: impl Into<PerAxis<usize>>) -> ConvOptions {
        ConvOptions { output_padding: positions.into(), ..self }
    }

    /// The way of the kernel along each axis of `x`, as users may ask for it.
    fn grids(&self, x: &Tensor, weight: &Tensor, spatial: usize) -> Result<SmallVec<[Grid; 3]>, ShapeError> {
        if !(1..=3).contains(&spatial) {
            return Err(ShapeError::new(format!("over {spatial} axes; a convolution goes over 1 to 3")));
        }
        for (what, tensor, axes) in [("left", x, "batch, channel"), ("right", weight, "output, channel/groups")] {
            if tensor.rank() != spatial + 2 {
                return Err(ShapeError::new(format!("{what} has {} axes, not {}", tensor.rank(), spatial + 2))
                    .detail(format!("{what} is [{axes}] and {spatial} more")));
            }
        }
        if self.groups == 0 {
            return Err(ShapeError::new("0 groups; there is at least 1"));
        }
        let stride = self.stride.over(spatial, "a stride")?;
        let dilation = self.dilation.over(spatial, "a dilation")?;
        let mut grids = SmallVec::new();
        for axis in 0..spatial {
            let Some(kernel) = weight.shape()[2 + axis].number() else {
                let reason = format!("the kernel {} has a named size; its sizes are numbers", weight.shape());
                return Err(ShapeError::new(reason));
            };
            let padding = match &self.padding {
                Padding::Zeros(padding) => padding.over(spatial, "a padding")?[axis],
                Padding::Same => {
                    let all = dilation[axis] * kernel.saturating_sub(1);
                    (all / 2, all - all / 2)
                }
            };
            let input = x.shape()[2 + axis].clone();
            grids.push(Grid { input, kernel, stride: stride[axis], dilation: dilation[axis], padding });
        }
        Ok(grids)
    }
}

impl Tensor {
    /// The convolution `[batch, channel, x] → [batch, output, t]` with a weight `[output, channel/groups, k]`.
    ///
    /// # Panics
    /// With the message of [`Tensor::try_conv`].
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        self.conv::<1>(weight, options)
    }

    /// The convolution `[batch, channel, y, x] → [batch, output, …]` with a weight `[output, channel/groups, ky, kx]`.
    ///
    /// # Panics
    /// With the message of [`Tensor::try_conv`].
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        self.conv::<2>(weight, options)
    }

    /// The convolution `[batch, channel, z, y, x] → [batch, output, …]` with a weight
    /// `[output, channel/groups, kz, ky, kx]`.
    ///
    /// # Panics
    /// With the message of [`Tensor::try_conv`].
    #[track_caller]
    pub fn conv3d(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        self.conv::<3>(weight, options)
    }

    #[track_caller]
    fn conv<const SPATIAL: usize>(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        match self.try_conv(weight, SPATIAL, options) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// The convolution over the last `spatial` axes, one to three: `[batch, channel, …] → [batch, output, …]`.
    ///
    /// # Errors
    /// If the numbers of axes, the channels or the dtypes do not fit, or the window is larger than the padded input.
    #[track_caller]
    pub fn try_conv(&self, weight: &Tensor, spatial: usize, options: &ConvOptions) -> Result<Tensor, BuildError> {
        let location = std::panic::Location::caller();
        let refuse =
            |error| BuildError::new(format!("conv{spatial}d"), location, &[self.clone(), weight.clone()], error);
        let axes = options.grids(self, weight, spatial).map_err(refuse)?;
        let groups = options.groups;
        let inner = &weight.shape()[1] * groups;
        if self.shape()[1] != inner {
            let mut error = ShapeError::new("channels differ").detail(format!(
                "axis 1 of left is {}, of right {} in {groups} groups",
                self.shape()[1],
                weight.shape()[1]
            ));
            if groups == 1 && self.shape().last() == Some(&inner) {
                error = error
                    .hint(format!("channels stand before the {spatial} axes that the kernel goes over; `permute`"));
            }
            return Err(refuse(error));
        }
        let op = Convolution { side: Side::Output, axes, groups };
        let y = Tensor::try_apply(op, [channels_last(self), weight.clone()]);
        Ok(channels_first(&y.map_err(|error| refuse(error.reason().clone()))?))
    }

    /// The transposed convolution `[batch, channel, t] → [batch, output, x]` with a weight
    /// `[channel, output/groups, k]`: what the gradient of [`Tensor::conv1d`] does to its input.
    ///
    /// # Panics
    /// With the message of [`Tensor::try_conv_transpose`].
    #[track_caller]
    pub fn conv_transpose1d(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        self.conv_transpose::<1>(weight, options)
    }

    /// The transposed convolution `[batch, channel, …] → [batch, output, y, x]` with a weight
    /// `[channel, output/groups, ky, kx]`: what the gradient of [`Tensor::conv2d`] does to its input.
    ///
    /// ```
    /// use thalweg_graph::{ConvOptions, DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("batch", 16, 8, 8));
    /// let w = placeholder("w", DType::F32, [16, 3, 3, 3]);
    /// let y = x.conv_transpose2d(&w, &ConvOptions::new().stride(2).padding(1).output_padding(1));
    /// assert_eq!(y.meta().to_string(), "f32[batch,3,16,16]");
    /// ```
    ///
    /// # Panics
    /// With the message of [`Tensor::try_conv_transpose`].
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        self.conv_transpose::<2>(weight, options)
    }

    /// The transposed convolution `[batch, channel, …] → [batch, output, z, y, x]` with a weight
    /// `[channel, output/groups, kz, ky, kx]`: what the gradient of [`Tensor::conv3d`] does to its input.
    ///
    /// # Panics
    /// With the message of [`Tensor::try_conv_transpose`].
    #[track_caller]
    pub fn conv_transpose3d(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        self.conv_transpose::<3>(weight, options)
    }

    #[track_caller]
    fn conv_transpose<const SPATIAL: usize>(&self, weight: &Tensor, options: &ConvOptions) -> Tensor {
        match self.try_conv_transpose(weight, SPATIAL, options) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// The transposed convolution over the last `spatial` axes, one to three: `[batch, channel, …] → [batch, output, …]`
    /// with a weight `[channel, output/groups, k…]`; an axis of size t becomes one of
    /// (t − 1)·stride − padding + dilation·(k − 1) + 1 + output padding.
    ///
    /// # Errors
    /// If the numbers of axes, the channels or the dtypes do not fit, or the output padding is not below the stride.
    #[track_caller]
    pub fn try_conv_transpose(
        &self,
        weight: &Tensor,
        spatial: usize,
        options: &ConvOptions,
    ) -> Result<Tensor, BuildError> {
        let location = std::panic::Location::caller();
        let refuse = |error| {
            let op = format!("conv_transpose{spatial}d");
            BuildError::new(op, location, &[self.clone(), weight.clone()], error)
        };
        let grids = options.grids(self, weight, spatial).map_err(refuse)?;
        let more = options.output_padding.over(spatial, "an output padding").map_err(refuse)?;
        let spanning = |(grid, more): (&Grid, &usize)| grid.spanning(*more);
        let axes = grids.iter().zip(&more).map(spanning).collect::<Result<_, _>>().map_err(refuse)?;
        if self.shape()[1] != weight.shape()[0] {
            let detail = format!("axis 1 of left is {}, axis 0 of right is {}", self.shape()[1], weight.shape()[0]);
            return Err(refuse(ShapeError::new("channels differ").detail(detail)));
        }
        let op = Convolution { side: Side::Input, axes, groups: options.groups };
        let x = Tensor::try_apply(op, [channels_last(self), weight.clone()]);
        Ok(channels_first(&x.map_err(|error| refuse(error.reason().clone()))?))
    }
}

/// `[N, C, …]` as `[N, …, C]`.
#[track_caller]
fn channels_last(x: &Tensor) -> Tensor {
    let order: SmallVec<[isize; 5]> = [0].into_iter().chain(2..x.rank() as isize).chain([1]).collect();
    x.permute(&order)
}

/// `[N, …, C]` as `[N, C, …]`.
#[track_caller]
fn channels_first(x: &Tensor) -> Tensor {
    let last = x.rank() as isize - 1;
    let order: SmallVec<[isize; 5]> = [0, last].into_iter().chain(1..last).collect();
    x.permute(&order)
}

/// Which of the three is computed from the two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// y from x and w: the convolution.
    Output,
    /// x from y and w: the transposed convolution.
    Input,
    /// w from x and y: the gradient to the weight.
    Weight,
}

/// One side of a convolution from the two others; see the [module](self). Inputs: x and w for the output, y and w for the
/// input, x and y for the weight.
///
/// x is `[N, S…, C]`, w `[O, C/groups, K…]`, y `[N, T…, O]`: output o of group o / (O/groups) sees the channels of that
/// group. Floats only; f16 and bf16 add up in f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Convolution {
    /// What is computed.
    pub side: Side,
    /// How the kernel goes along each axis, one to three.
    pub axes: SmallVec<[Grid; 3]>,
    /// The parts of the channels that do not mix.
    pub groups: usize,
}

impl Convolution {
    fn of_side(&self, side: Side, inputs: [&Tensor; 2]) -> Tensor {
        Tensor::apply(Convolution { side, ..self.clone() }, inputs.map(Clone::clone))
    }

    /// The channels of x and of y, from the sizes of the inputs.
    pub fn channels(&self, a: &[usize], b: &[usize]) -> (usize, usize) {
        let last = self.axes.len() + 1;
        match self.side {
            Side::Output => (a[last], b[0]),
            Side::Input => (b[1] * self.groups, a[last]),
            Side::Weight => (a[last], b[last]),
        }
    }

    /// Sizes of the input along the axes.
    fn input_sizes(&self) -> impl Iterator<Item = Size> {
        self.axes.iter().map(|grid| grid.input.clone())
    }

    /// Sizes of the output along the axes.
    fn output_sizes(&self) -> impl Iterator<Item = Size> {
        self.axes.iter().map(Grid::positions)
    }
}

impl OpRules for Convolution {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [a, b] = exactly(inputs)?;
        let spatial = self.axes.len();
        if !(1..=3).contains(&spatial) {
            return Err(ShapeError::new(format!("over {spatial} axes; a convolution goes over 1 to 3")));
        }
        if a.dtype != b.dtype {
            return Err(ShapeError::new(format!("dtypes differ: {} and {}", a.dtype, b.dtype))
                .hint("nothing is converted silently; `cast` one of them"));
        }
        if !a.dtype.is_float() {
            return Err(ShapeError::new(format!("not defined on {}", a.dtype)).hint("`cast` to a float dtype first"));
        }
        for (axis, grid) in self.axes.iter().enumerate() {
            grid.check(axis)?;
        }
        let groups = self.groups;
        let divided = |what: &str, channels: &Size| {
            let part = if groups == 0 { None } else { channels.exact_div(&Size::from(groups)) };
            part.ok_or_else(|| ShapeError::new(format!("{channels} {what} do not divide into {groups} groups")))
        };
        let expect = |what: &str, meta: &Meta, sizes: &mut dyn Iterator<Item = Size>| {
            let found = if what == "w" { &meta.shape[2..] } else { &meta.shape[1..1 + spatial] };
            let sizes: Shape = sizes.collect();
            if found == &sizes[..] {
                return Ok(());
            }
            Err(ShapeError::new(format!("{what} is {}; along the axes of the kernel it must be {sizes}", meta.shape)))
        };
        if let Some(meta) = [a, b].into_iter().find(|meta| meta.shape.rank() != spatial + 2) {
            return Err(ShapeError::new(format!("{meta} has {} axes, not {}", meta.shape.rank(), spatial + 2)));
        }
        let kernel = || self.axes.iter().map(|grid| Size::from(grid.kernel));
        let last = |meta: &Meta| meta.shape[spatial + 1].clone();
        let channels_last = |batch: &Size, sizes: &mut dyn Iterator<Item = Size>, channels: Size| {
            [batch.clone()].into_iter().chain(sizes).chain([channels]).collect::<Shape>()
        };
        let shape = match self.side {
            Side::Output => {
                expect("x", a, &mut self.input_sizes())?;
                expect("w", b, &mut kernel())?;
                divided("outputs", &b.shape[0])?;
                if last(a) != &b.shape[1] * groups {
                    let reason = format!("x has {} channels, w {} in {groups} groups", last(a), b.shape[1]);
                    return Err(ShapeError::new(reason));
                }
                channels_last(&a.shape[0], &mut self.output_sizes(), b.shape[0].clone())
            }
            Side::Input => {
                expect("y", a, &mut self.output_sizes())?;
                expect("w", b, &mut kernel())?;
                divided("outputs", &b.shape[0])?;
                if last(a) != b.shape[0] {
                    return Err(ShapeError::new(format!("y has {} outputs, w {}", last(a), b.shape[0])));
                }
                channels_last(&a.shape[0], &mut self.input_sizes(), &b.shape[1] * groups)
            }
            Side::Weight => {
                expect("x", a, &mut self.input_sizes())?;
                expect("y", b, &mut self.output_sizes())?;
                divided("outputs", &last(b))?;
                if a.shape[0] != b.shape[0] {
                    return Err(ShapeError::new(format!("x has a batch of {}, y of {}", a.shape[0], b.shape[0])));
                }
                [last(b), divided("channels", &last(a))?].into_iter().chain(kernel()).collect()
            }
        };
        Ok(Meta::new(a.dtype, shape))
    }

    /// The two other sides.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (a, b, c) = (&cx.inputs[0], &cx.inputs[1], cx.cotangent);
        let (first, second) = match self.side {
            Side::Output => ((Side::Input, [c, b]), (Side::Weight, [a, c])),
            Side::Input => ((Side::Output, [c, b]), (Side::Weight, [c, a])),
            Side::Weight => ((Side::Input, [b, c]), (Side::Output, [a, c])),
        };
        let side = |(side, inputs): (Side, [&Tensor; 2])| self.of_side(side, inputs);
        vec![cx.wanted[0].then(|| side(first)), cx.wanted[1].then(|| side(second))]
    }

    /// Every product of the form goes where it belongs.
    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let [x, w, y]: [&[usize]; 3] = match self.side {
            Side::Output => [inputs[0].shape(), inputs[1].shape(), cx.shape],
            Side::Input => [cx.shape, inputs[1].shape(), inputs[0].shape()],
            Side::Weight => [inputs[0].shape(), cx.shape, inputs[1].shape()],
        };
        let (a, b) = (inputs[0].to_vec::<f64>(), inputs[1].to_vec::<f64>());
        let mut sums = vec![0.0; cx.shape.iter().product()];
        let outputs_of_group = w[0] / self.groups;
        for place in multi_indices(y) {
            let (n, t, o) = (place[0], &place[1..place.len() - 1], place[place.len() - 1]);
            let at_y = ravel(&place, y);
            for tap in multi_indices(&w[1..]) {
                let (c, k) = (tap[0], &tap[1..]);
                let along = |axis: usize| self.axes[axis].position(t[axis], k[axis], x[1 + axis]);
                let Some(s) = (0..k.len()).map(along).collect::<Option<SmallVec<[usize; 3]>>>() else { continue };
                let channel = o / outputs_of_group * w[1] + c;
                let at_x = ravel(&[&[n], &s[..], &[channel]].concat(), x);
                let at_w = ravel(&[&[o], &tap[..]].concat(), w);
                match self.side {
                    Side::Output => sums[at_y] += a[at_x] * b[at_w],
                    Side::Input => sums[at_x] += a[at_y] * b[at_w],
                    Side::Weight => sums[at_w] += a[at_x] * b[at_y],
                }
            }
        }
        let storage = with_dtype!(cx.dtype, T => {
            use thalweg_array::Element;
            T::into_storage(sums.into_iter().map(T::from_f64).collect())
        });
        Ok(built(cx.shape, storage))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_array::DType;

    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::evaluate;
    use crate::{einsum, iota};

    /// Different numbers of this shape.
    fn numbers(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        ((iota([count], 0, DType::F64) * 7.0) % 11.0 - 4.5).reshape(shape)
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        evaluate(tensor).unwrap().to_vec()
    }

    #[test]
    fn by_hand() {
        let x = constant([1.0, 2.0, 4.0, 8.0]).reshape([1, 1, 4]);
        let w = constant([1.0, -1.0]).reshape([1, 1, 2]);
        assert_eq!(values(&x.conv1d(&w, &ConvOptions::new())), [-1.0, -2.0, -4.0]);
        assert_eq!(values(&x.conv1d(&w, &ConvOptions::new().padding_around((1, 0)).stride(2))), [-1.0, -2.0]);
        assert_eq!(values(&x.conv1d(&w, &ConvOptions::new().dilation(3))), [-7.0]);
        assert_eq!(values(&x.conv1d(&w, &ConvOptions::new().padding_same())), [-1.0, -2.0, -4.0, 8.0]);
        let spread = x.conv_transpose1d(&w, &ConvOptions::new().stride(2).output_padding(1));
        assert_eq!(values(&spread), [1.0, -1.0, 2.0, -2.0, 4.0, -4.0, 8.0, -8.0, 0.0]);
    }

    #[test]
    fn the_product_of_windows_and_weight() {
        let (x, w) = (numbers(&[2, 3, 7, 6]), numbers(&[4, 3, 3, 2]));
        let options = ConvOptions::new().stride([2, 1]).dilation([1, 2]).padding_around([(1, 0), (0, 2)]);
        let padded = x.pad(2, 1, 0, 0.0).pad(3, 0, 2, 0.0);
        let windows = padded.windows(2, 3, 2, 1).windows(4, 2, 1, 2);
        let expected = einsum("nctkul,ockl->notu", &[&windows, &w]);
        assert_eq!(expected.meta().to_string(), "f64[2,4,3,6]");
        assert_eq!(values(&x.conv2d(&w, &options)), values(&expected));
    }

    #[test]
    fn groups_do_not_mix() {
        let (x, w) = (numbers(&[1, 4, 5]), numbers(&[6, 2, 3]));
        let y = x.conv1d(&w, &ConvOptions::new().groups(2));
        let part = |group: usize| {
            let (c, o) = (2 * group, 3 * group);
            x.slice(1, c..c + 2).conv1d(&w.slice(0, o..o + 3), &ConvOptions::new())
        };
        assert_eq!(values(&y), values(&Tensor::concat(&[&part(0), &part(1)], 1)));
    }

    #[test]
    fn transposed_is_the_transpose() {
        for (size, more) in [(7, 0), (8, 1)] {
            let options = ConvOptions::new().stride(2).padding(1).output_padding(more).groups(2);
            let (x, w, y) = (numbers(&[2, 4, size, size]), numbers(&[6, 2, 3, 3]), numbers(&[2, 6, 4, 4]));
            let forward = (x.conv2d(&w, &options) * &y).sum();
            let backward = y.conv_transpose2d(&w, &options);
            assert_eq!(backward.shape(), x.shape());
            assert_eq!(values(&forward), values(&(backward * &x).sum()));
        }
    }

    #[test]
    fn named_sizes() {
        let x = placeholder("x", DType::F32, ("n", 3, "h", 9));
        let w = placeholder("w", DType::F32, [5, 3, 3, 3]);
        let y = x.conv2d(&w, &ConvOptions::new().stride(2));
        assert_eq!(y.meta().to_string(), "f32[n,5,(h+1)/2-1,4]");
        let gradients = crate::grad(&y.sum(), &[&x, &w]);
        assert_eq!(gradients[0].shape(), x.shape());
        assert_eq!(gradients[1].shape(), w.shape());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = placeholder("x", DType::F32, ("n", 4, 8, 8));
        let refusal = |shape: &[usize], options: &ConvOptions| {
            let w = placeholder("w", DType::F32, shape);
            let message = x.try_conv(&w, 2, options).unwrap_err().to_string();
            assert!(message.contains("conv2d: ") && message.contains("x ") && message.contains("convolution.rs"));
            message
        };
        let plain = ConvOptions::new();
        for (shape, options, part) in [
            (&[6, 4, 3][..], &plain, "right has 3 axes, not 4"),
            (&[6, 3, 3, 3], &plain, "axis 1 of left is 4, of right 3 in 1 groups"),
            (&[6, 8, 3, 3], &plain, "`permute`"),
            (&[5, 2, 3, 3], &plain.clone().groups(2), "5 outputs do not divide into 2 groups"),
            (
                &[6, 4, 9, 3],
                &plain,
                "9 elements with dilation 1 take 9 positions; the input has 8, 0 before and 0 after",
            ),
            (&[6, 4, 3, 3], &plain.clone().stride([1, 0]), "the stride on axis 1 of the window is 0"),
            (&[6, 4, 3, 3], &plain.clone().dilation([1, 1, 1]), "a dilation for 3 axes; the window has 2"),
            (&[6, 4, 3, 3], &plain.clone().dilation(0), "the dilation on axis 0 of the window is 0"),
            (&[6, 4, 0, 3], &plain, "on axis 0 of the window is 0"),
            (&[6, 4, 3, 3], &plain.clone().groups(0), "0 groups; there is at least 1"),
            (
                &[6, 4, 3, 3],
                &plain.clone().padding(1 << 62),
                "the padding before on axis 0 of the window is 4611686018427387904",
            ),
            (
                &[6, 4, 3, 3],
                &plain.clone().stride(usize::MAX),
                "the stride on axis 0 of the window is 18446744073709551615",
            ),
        ] {
            let message = refusal(shape, options);
            assert!(message.contains(part), "{message}");
        }
        let w = placeholder("w", DType::F32, [4, 6, 3, 3]);
        let more = x.try_conv_transpose(&w, 2, &plain.clone().stride(2).output_padding(2)).unwrap_err().to_string();
        assert!(more.contains("conv_transpose2d: an output padding of 2; it must be below the stride, 2"), "{more}");
        let whole = x.cast(DType::I64).try_conv(&w.cast(DType::I64), 2, &plain).unwrap_err().to_string();
        assert!(whole.contains("channels differ"), "{whole}");
        let w = placeholder("w", DType::I64, [6, 4, 3, 3]);
        let whole = x.cast(DType::I64).try_conv(&w, 2, &plain).unwrap_err().to_string();
        assert!(whole.contains("not defined on i64"), "{whole}");
    }
}
