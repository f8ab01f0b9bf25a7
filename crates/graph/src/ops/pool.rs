//! The largest numbers and the means of windows, and pictures at other resolutions: functions of primitives.
//!
//! Pooling goes along one axis after the other: the largest of the largest is the largest, and the mean of the means of
//! equally many numbers the mean.

use smallvec::SmallVec;
use thalweg_array::{Array, DType, Scalar, Shape, Size};

use crate::error::ShapeError;
use crate::ops::assemble::{Pad, PadAxis};
use crate::ops::source::{constant, ones, size_number};
use crate::ops::windows::{Grid, PerAxis};
use crate::tensor::Tensor;

/// Windows over the last axes of a tensor, as many as there are sizes: without overlap or padding, unless said
/// otherwise. What is one number stands for all axes.
///
/// ```
/// use thalweg_graph::{DType, Pool, placeholder};
/// let x = placeholder("x", DType::F32, ("batch", 64, 112, 112));
/// let y = x.max_pool(&Pool::new([3, 3]).stride(2).padding(1));
/// assert_eq!(y.meta().to_string(), "f32[batch,64,56,56]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    sizes: SmallVec<[usize; 3]>,
    stride: Option<PerAxis<usize>>,
    padding: PerAxis<(usize, usize)>,
    dilation: PerAxis<usize>,
    partial: bool,
    counts_padding: bool,
}

impl Pool {
    /// Windows of these sizes, one after the other.
    pub fn new<const N: usize>(sizes: [usize; N]) -> Pool {
        Pool {
            sizes: SmallVec::from_slice(&sizes),
            stride: None,
            padding: (0, 0).into(),
            dilation: 1.into(),
            partial: false,
            counts_padding: true,
        }
    }

    /// From a window to the next, so many positions.
    pub fn stride(self, stride: impl Into<PerAxis<usize>>) -> Pool {
        Pool { stride: Some(stride.into()), ..self }
    }

    /// So many positions before and after; they are never the largest, and zeros to a mean.
    pub fn padding(self, padding: impl Into<PerAxis<usize>>) -> Pool {
        Pool { padding: padding.into().map(|positions| (positions, positions)), ..self }
    }

    /// So many positions before and so many after.
    pub fn padding_around(self, padding: impl Into<PerAxis<(usize, usize)>>) -> Pool {
        Pool { padding: padding.into(), ..self }
    }

    /// From an element of a window to the next, so many positions.
    pub fn dilation(self, dilation: impl Into<PerAxis<usize>>) -> Pool {
        Pool { dilation: dilation.into(), ..self }
    }

    /// With a last window that hangs over the end, where the others leave a rest (`ceil_mode` elsewhere). What hangs over
    /// is never the largest and does not count in a mean.
    pub fn with_partial_windows(self) -> Pool {
        Pool { partial: true, ..self }
    }

    /// Means over the numbers that are there, without the padding (`count_include_pad=False` elsewhere).
    pub fn without_counting_padding(self) -> Pool {
        Pool { counts_padding: false, ..self }
    }

    /// The way along each of the last axes of `x`, and the positions added to make the last window whole.
    fn grids(&self, x: &Tensor) -> Result<SmallVec<[(Grid, usize); 3]>, ShapeError> {
        let count = self.sizes.len();
        if count == 0 || x.rank() < count {
            return Err(ShapeError::new(format!("windows over {count} axes; x has {}", x.rank())));
        }
        let stride = match &self.stride {
            Some(stride) => stride.over(count, "a stride")?,
            None => self.sizes.clone(),
        };
        let (padding, dilation) = (self.padding.over(count, "a padding")?, self.dilation.over(count, "a dilation")?);
        let mut grids = SmallVec::new();
        for axis in 0..count {
            let input = x.shape()[x.rank() - count + axis].clone();
            let (before, after) = padding[axis];
            let mut grid = Grid {
                input,
                kernel: self.sizes[axis],
                stride: stride[axis],
                dilation: dilation[axis],
                padding: padding[axis],
            };
            grid.check(axis)?;
            if before.max(after) >= grid.extent() {
                return Err(ShapeError::new(format!(
                    "a padding of {} on axis {axis} of the window",
                    before.max(after)
                ))
                .detail(format!("a window of {} positions could see nothing else", grid.extent())));
            }
            let more = if self.partial { partial(&grid, axis)? } else { 0 };
            grid.padding.1 += more;
            grids.push((grid, more));
        }
        Ok(grids)
    }
}

/// How many positions a last window hangs over the end, if it begins within the input or before it.
fn partial(grid: &Grid, axis: usize) -> Result<usize, ShapeError> {
    let Some(size) = grid.input.number() else {
        let reason = format!("partial windows on axis {axis} of the window, whose size {} is no number", grid.input);
        return Err(ShapeError::new(reason));
    };
    let padded = size + grid.padding.0 + grid.padding.1;
    let rest = (padded - grid.extent()) % grid.stride;
    let next = padded - grid.extent() - rest + grid.stride;
    let begins_inside = next < size + grid.padding.0;
    Ok(if rest > 0 && begins_inside { grid.stride - rest } else { 0 })
}

impl Tensor {
    /// The largest number of each window over the last axes; NaN if any is. Where several are largest they share the
    /// gradient.
    ///
    /// # Panics
    /// If the windows do not fit.
    #[track_caller]
    pub fn max_pool(&self, pool: &Pool) -> Tensor {
        let grids = self.expect_pool("max_pool", pool.grids(self));
        let mut y = self.padded(&grids, lowest(self.dtype()));
        for (position, (grid, _)) in grids.iter().enumerate().rev() {
            let axis = (self.rank() - grids.len() + position) as isize;
            y = y.windows(axis, grid.kernel, grid.stride, grid.dilation).max_over(axis + 1);
        }
        y
    }

    /// The mean of each window over the last axes; padding counts as zeros, unless the windows say otherwise.
    ///
    /// # Panics
    /// If the windows do not fit, or this is not of floats.
    #[track_caller]
    pub fn average_pool(&self, pool: &Pool) -> Tensor {
        let grids = self.expect_pool("average_pool", pool.grids(self));
        let mut y = self.padded(&grids, Scalar::Int(0));
        for (position, (grid, partial)) in grids.iter().enumerate().rev() {
            let axis = (self.rank() - grids.len() + position) as isize;
            let sum =
                |x: &Tensor, axis: isize| x.windows(axis, grid.kernel, grid.stride, grid.dilation).sum_over(axis + 1);
            let (before, after) = grid.padding;
            // What counts: the input, or the input with its padding, never what a partial window hangs over.
            let (counted, (low, high)) = match pool.counts_padding {
                true => (&grid.input + (before + after - partial), (0, *partial)),
                false => (grid.input.clone(), grid.padding),
            };
            y = sum(&y, axis);
            y = if (low, high) == (0, 0) {
                y / size_number(&Size::from(grid.kernel), self.dtype())
            } else {
                let counts = sum(&ones([counted], self.dtype()).pad(0, low, high, 0.0), 0);
                y / counts.aligned_to(axis as usize, self.rank())
            };
        }
        y
    }

    /// The largest number of each of so many parts of the last axes: part i of n covers the positions from ⌊i·size/n⌋ to
    /// below ⌈(i + 1)·size/n⌉. One part of each axis is the largest of all.
    ///
    /// # Panics
    /// If there are fewer axes, a number is 0, or a named size does not divide.
    #[track_caller]
    pub fn adaptive_max_pool<const N: usize>(&self, parts: [usize; N]) -> Tensor {
        self.adaptive_pool("adaptive_max_pool", &parts, &|x, axes| x.max_over(axes))
    }

    /// The mean of each of so many parts of the last axes: part i of n covers the positions from ⌊i·size/n⌋ to below
    /// ⌈(i + 1)·size/n⌉. One part of each axis is the mean of all.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("batch", 512, "h", "w"));
    /// assert_eq!(x.adaptive_average_pool([1, 1]).flatten(1).meta().to_string(), "f32[batch,512]");
    /// ```
    ///
    /// # Panics
    /// If there are fewer axes, a number is 0, or a named size does not divide.
    #[track_caller]
    pub fn adaptive_average_pool<const N: usize>(&self, parts: [usize; N]) -> Tensor {
        self.adaptive_pool("adaptive_average_pool", &parts, &|x, axes| x.mean_over(axes))
    }

    #[track_caller]
    fn adaptive_pool(&self, op: &str, parts: &[usize], pool: &dyn Fn(&Tensor, &[isize]) -> Tensor) -> Tensor {
        let fits = parts.len() <= self.rank() && !parts.is_empty() && !parts.contains(&0);
        let refusal = ShapeError::new(format!("{parts:?} parts of the last axes of {} axes", self.rank()));
        self.expect_pool(op, if fits { Ok(()) } else { Err(refusal) });
        let first = self.rank() - parts.len();
        // Where all sizes divide, the parts are axes.
        let divided = |(position, &n): (usize, &usize)| self.shape()[first + position].exact_div(&Size::from(n));
        let sizes: Option<Vec<Size>> = parts.iter().enumerate().map(divided).collect();
        if let Some(sizes) = sizes {
            let cut = parts.iter().zip(sizes).flat_map(|(&n, size)| [Size::from(n), size]);
            let shape: Shape = self.shape()[..first].iter().cloned().chain(cut).collect();
            let axes: Vec<isize> = (0..parts.len()).map(|position| (first + 2 * position + 1) as isize).collect();
            return pool(&self.reshape(shape), &axes);
        }
        let mut y = self.clone();
        for (position, &n) in parts.iter().enumerate() {
            let axis = (first + position) as isize;
            let size = self.size(axis);
            let refusal = || ShapeError::new(format!("{size} positions of axis {axis} do not divide into {n} parts"));
            let size = self.expect_pool(op, size.number().ok_or_else(refusal));
            let part = |i: usize| {
                let range = i * size / n..((i + 1) * size).div_ceil(n);
                pool(&y.slice(axis, range), &[axis])
            };
            let pieces: Vec<Tensor> = (0..n).map(part).collect();
            y = Tensor::stack(&pieces.iter().collect::<Vec<_>>(), axis);
        }
        y
    }

    /// Each position of `axes` repeated `times` times: the nearest number at a higher resolution.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("batch", 3, 8, 8));
    /// assert_eq!(x.upsample_nearest(&[2, 3], 2).meta().to_string(), "f32[batch,3,16,16]");
    /// ```
    #[track_caller]
    pub fn upsample_nearest(&self, axes: &[isize], times: usize) -> Tensor {
        let mut y = self.clone();
        for &axis in axes {
            let at = self.axis(axis);
            let size = y.size(axis);
            let mut repeated = y.unsqueeze(at as isize + 1).shape().clone();
            repeated.sizes_mut()[at + 1] = Size::from(times);
            let mut merged = y.shape().clone();
            merged.sizes_mut()[at] = size * times;
            y = y.unsqueeze(at as isize + 1).expand(repeated).reshape(merged);
        }
        y
    }

    /// `axis` at another resolution, between neighbours in a straight line: position i of the result is position
    /// (i + ½)·size/`to` − ½, or the end before or behind it (`align_corners=False` elsewhere). Over two axes one after the
    /// other this is bilinear.
    ///
    /// # Panics
    /// If the size is no number or 0, or this is not of floats.
    #[track_caller]
    pub fn resample_linear(&self, axis: isize, to: usize) -> Tensor {
        let at = self.axis(axis);
        let refusal = ShapeError::new(format!("{} positions of axis {at}; they must be a number", self.size(axis)));
        let size = self.size(axis).number().filter(|&size| size > 0).ok_or(refusal);
        let size = self.expect_pool("resample_linear", size);
        let place = |i: usize| ((i as f64 + 0.5) * size as f64 / to as f64 - 0.5).clamp(0.0, (size - 1) as f64);
        let before: Vec<i64> = (0..to).map(|i| place(i).floor() as i64).collect();
        let after: Vec<i64> = before.iter().map(|&i| (i + 1).min(size as i64 - 1)).collect();
        let share: Vec<f64> = (0..to).map(|i| place(i).fract()).collect();
        let share = constant(Array::from(share).cast(self.dtype())).aligned_to(at, self.rank());
        let (before, after) = (constant(Array::from(before)), constant(Array::from(after)));
        let low = self.gather(&before, axis);
        let high = self.gather(&after, axis);
        &low + (high - &low) * share
    }

    /// What was asked for, or a panic that names the op and this tensor.
    #[track_caller]
    fn expect_pool<T>(&self, op: &str, result: Result<T, ShapeError>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => {
                let location = std::panic::Location::caller();
                panic!("{}", crate::BuildError::new(op.into(), location, std::slice::from_ref(self), error))
            }
        }
    }

    /// With the padding of all windows around it.
    #[track_caller]
    fn padded(&self, grids: &[(Grid, usize)], value: Scalar) -> Tensor {
        if grids.iter().all(|(grid, _)| grid.padding == (0, 0)) {
            return self.clone();
        }
        let mut axes: SmallVec<[PadAxis; 4]> = self.shape().iter().map(PadAxis::whole).collect();
        let first = self.rank() - grids.len();
        for (axis, (grid, _)) in axes[first..].iter_mut().zip(grids) {
            let (before, after) = grid.padding;
            *axis = PadAxis { start: Size::from(before), step: 1, size: &grid.input + (before + after) };
        }
        Tensor::apply(Pad { axes, value }, [self.clone()])
    }
}

/// The number that is never larger than another.
fn lowest(dtype: DType) -> Scalar {
    thalweg_array::scalar::Fold::Max.identity(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::placeholder;
    use crate::reference::evaluate;

    fn values(tensor: &Tensor) -> Vec<f64> {
        evaluate(tensor).unwrap().to_vec()
    }

    fn picture() -> Tensor {
        constant([[1.0, 5.0, 2.0], [-1.0, 0.0, 3.0], [4.0, 6.0, -2.0]]).reshape([1, 1, 3, 3])
    }

    #[test]
    fn largest_and_mean_by_hand() {
        let x = picture();
        let two = Pool::new([2, 2]);
        assert_eq!(values(&x.max_pool(&two)), [5.0]);
        assert_eq!(values(&x.average_pool(&two)), [1.25]);
        let dense = two.clone().stride(1);
        assert_eq!(values(&x.max_pool(&dense)), [5.0, 5.0, 6.0, 6.0]);
        assert_eq!(values(&x.average_pool(&dense)), [1.25, 2.5, 2.25, 1.75]);
        let padded = two.clone().stride(2).padding(1);
        assert_eq!(values(&x.max_pool(&padded)), [1.0, 5.0, 4.0, 6.0]);
        assert_eq!(values(&x.average_pool(&padded)), [0.25, 1.75, 0.75, 1.75]);
        assert_eq!(values(&x.average_pool(&padded.without_counting_padding())), [1.0, 3.5, 1.5, 1.75]);
        let wide = Pool::new([2]).dilation(2).stride(1);
        assert_eq!(values(&x.max_pool(&wide)), [2.0, 3.0, 4.0]);
    }

    #[test]
    fn partial_windows_hang_over_the_end() {
        let x = picture();
        let two = Pool::new([2, 2]).with_partial_windows();
        assert_eq!(values(&x.max_pool(&two)), [5.0, 3.0, 6.0, -2.0]);
        assert_eq!(values(&x.average_pool(&two)), [1.25, 2.5, 5.0, -2.0]);
        // The window that would begin in the padding is left out.
        assert_eq!(x.max_pool(&two.clone().padding(1)).meta().to_string(), "f64[1,1,2,2]");
        let exact = constant([1.0, 2.0]).max_pool(&Pool::new([2]).with_partial_windows());
        assert_eq!(values(&exact), [2.0]);
    }

    #[test]
    fn parts_of_any_number() {
        let x = picture();
        assert_eq!(values(&x.adaptive_max_pool([1, 1])), [6.0]);
        assert_eq!(values(&x.adaptive_average_pool([1, 1])), [2.0]);
        assert_eq!(values(&x.adaptive_max_pool([3, 1])), [5.0, 3.0, 6.0]);
        // Parts 0..2 and 1..3.
        assert_eq!(values(&x.adaptive_max_pool([2, 2])), [5.0, 5.0, 6.0, 6.0]);
        assert_eq!(values(&x.adaptive_average_pool([2, 2])), [1.25, 2.5, 2.25, 1.75]);
        assert_eq!(values(&constant([1.0, 2.0]).adaptive_average_pool([3])), [1.0, 1.5, 2.0]);
        let named = placeholder("x", DType::F32, ("n", "h"));
        assert_eq!(named.adaptive_max_pool([1]).meta().to_string(), "f32[n,1]");
    }

    #[test]
    fn other_resolutions() {
        let x = constant([[1.0, 3.0]]);
        assert_eq!(values(&x.upsample_nearest(&[0, 1], 2)), [1.0, 1.0, 3.0, 3.0, 1.0, 1.0, 3.0, 3.0]);
        assert_eq!(values(&x.resample_linear(1, 4)), [1.0, 1.5, 2.5, 3.0]);
        assert_eq!(values(&constant([1.0, 2.0, 3.0, 5.0]).resample_linear(0, 2)), [1.5, 4.0]);
    }

    #[test]
    #[should_panic(expected = "max_pool: a padding of 2 on axis 0 of the window")]
    fn windows_of_padding_alone_are_refused() {
        picture().max_pool(&Pool::new([2]).padding(2));
    }

    #[test]
    #[should_panic(expected = "n positions of axis 0 do not divide into 2 parts")]
    fn parts_of_a_named_size_are_refused() {
        placeholder("x", DType::F32, ["n"]).adaptive_max_pool([2]);
    }
}
