//! Tensors cut into parts and put together from parts: slice, pad, flip, concat, and what is made of them.

use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thalweg_array::{Array, Bindings, IntoSize, Scalar, Size};

use crate::error::{BuildError, EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::reduce::Axes;
use crate::reference::{ravel, rearrange};
use crate::tensor::{Meta, Tensor};

/// A part of an axis: `1..4`, `2..`, `..3`, `..`, with numbers, [`Size`]s or names (`"n"`).
pub trait SizeRange {
    /// Start and end on an axis of `size`.
    fn bounds(self, size: &Size) -> (Size, Size);
}

impl<S: IntoSize> SizeRange for Range<S> {
    #[track_caller]
    fn bounds(self, _: &Size) -> (Size, Size) {
        (self.start.into_size(), self.end.into_size())
    }
}

impl<S: IntoSize> SizeRange for RangeFrom<S> {
    #[track_caller]
    fn bounds(self, size: &Size) -> (Size, Size) {
        (self.start.into_size(), size.clone())
    }
}

impl<S: IntoSize> SizeRange for RangeTo<S> {
    #[track_caller]
    fn bounds(self, _: &Size) -> (Size, Size) {
        (Size::from(0), self.end.into_size())
    }
}

impl SizeRange for RangeFull {
    fn bounds(self, size: &Size) -> (Size, Size) {
        (Size::from(0), size.clone())
    }
}

/// The number behind a size without names, negative ones included.
pub(crate) fn known(size: &Size) -> Option<i128> {
    match size.evaluate(&Bindings::new()) {
        Ok(number) => Some(number as i128),
        Err(thalweg_array::SizeError::Negative { value, .. }) if size.names().is_empty() => Some(value),
        Err(_) => None,
    }
}

impl Tensor {
    /// The part of `axis` in `range`.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("time", 8));
    /// assert_eq!(x.slice(1, 2..5).meta().to_string(), "f32[time,3]");
    /// assert_eq!(x.slice(0, 1..).meta().to_string(), "f32[time-1,8]");
    /// ```
    ///
    /// # Panics
    /// If the range runs backwards or beyond the axis.
    #[track_caller]
    pub fn slice(&self, axis: isize, range: impl SizeRange) -> Tensor {
        self.slice_step(axis, range, 1)
    }

    /// Every `step`-th position of `axis` in `range`, beginning with its start.
    ///
    /// # Panics
    /// If the step is below 1, or the range runs backwards or beyond the axis. Backwards is
    /// `slice(…).flip(axis)`.
    #[track_caller]
    pub fn slice_step(&self, axis: isize, range: impl SizeRange, step: isize) -> Tensor {
        match self.try_slice_step(axis, range, step) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Tensor::slice_step`].
    ///
    /// # Errors
    /// If the step is below 1, or the range runs backwards or beyond the axis.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn try_slice_step(&self, axis: isize, range: impl SizeRange, step: isize) -> Result<Tensor, BuildError> {
        let axis = self.axis(axis);
        let (start, end) = range.bounds(&self.shape()[axis]);
        let location = std::panic::Location::caller();
        let refuse = |error| Err(BuildError::new("slice".into(), location, std::slice::from_ref(self), error));
        let Some(step) = usize::try_from(step).ok().filter(|&step| step > 0) else {
            return refuse(
                ShapeError::new(format!("step {step} on axis {axis}; a step is at least 1"))
                    .hint("`flip` the axis to walk it backwards"),
            );
        };
        let span = &end - &start;
        if known(&span).is_some_and(|span| span < 0) {
            return refuse(ShapeError::new(format!("{start}..{end} on axis {axis} runs backwards")));
        }
        let mut axes: SmallVec<[SliceAxis; 4]> = self.shape().iter().map(SliceAxis::whole).collect();
        axes[axis] = SliceAxis { start, length: span.ceil_div(step), step };
        Tensor::try_apply(Slice { axes }, [self.clone()])
    }

    /// `length` positions of `axis` from `start` on.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: impl IntoSize, length: impl IntoSize) -> Tensor {
        let start = start.into_size();
        let end = &start + &length.into_size();
        self.slice(axis, start..end)
    }

    /// The slice at position `at` of `axis`, which vanishes; a negative position counts from the end.
    ///
    /// # Panics
    /// If there is no such position.
    #[track_caller]
    pub fn index(&self, axis: isize, at: isize) -> Tensor {
        let at = if at < 0 { self.size(axis) - at.unsigned_abs() } else { Size::from(at.unsigned_abs()) };
        self.narrow(axis, at, 1).squeeze(axis)
    }

    /// `before` and `after` positions of `value` around `axis`.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("batch", 28));
    /// assert_eq!(x.pad(1, 2, 2, 0.0).meta().to_string(), "f32[batch,32]");
    /// ```
    ///
    /// # Panics
    /// If the dtype cannot hold the value.
    #[track_caller]
    pub fn pad(&self, axis: isize, before: impl IntoSize, after: impl IntoSize, value: impl Into<Scalar>) -> Tensor {
        let axis = self.axis(axis);
        let start = before.into_size();
        let size = &(&start + &self.shape()[axis]) + &after.into_size();
        let mut axes: SmallVec<[PadAxis; 4]> = self.shape().iter().map(PadAxis::whole).collect();
        axes[axis] = PadAxis { start, step: 1, size };
        Tensor::apply(Pad { axes, value: value.into() }, [self.clone()])
    }

    /// `axes` in reverse order.
    #[track_caller]
    pub fn flip(&self, axes: impl Axes) -> Tensor {
        let axes = axes.axes(self);
        if axes.is_empty() { self.clone() } else { Tensor::apply(Flip { axes }, [self.clone()]) }
    }

    /// `tensors` one after the other along `axis`; the other sizes are equal.
    ///
    /// ```
    /// use thalweg_graph::{DType, Tensor, placeholder};
    /// let x = placeholder("x", DType::F32, ("a", 3));
    /// let y = placeholder("y", DType::F32, ("b", 3));
    /// assert_eq!(Tensor::concat(&[&x, &y], 0).meta().to_string(), "f32[b+a,3]");
    /// ```
    ///
    /// # Panics
    /// If there are no tensors, or they differ in dtype or in another size.
    #[track_caller]
    pub fn concat(tensors: &[&Tensor], axis: isize) -> Tensor {
        match tensors {
            [] => panic!("concat: of no tensors   --> {}", std::panic::Location::caller()),
            [tensor] => (*tensor).clone(),
            [first, ..] => Tensor::apply(Concat { axis: first.axis(axis) }, tensors.iter().copied().cloned()),
        }
    }

    /// `tensors` of one shape along a new `axis` of the result.
    ///
    /// # Panics
    /// If there are no tensors, or they differ in dtype or shape.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], axis: isize) -> Tensor {
        let mut lifted: Vec<Tensor> = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            lifted.push(tensor.unsqueeze(axis));
        }
        Tensor::concat(&lifted.iter().collect::<Vec<_>>(), axis)
    }

    /// `pieces` equal parts of `axis`.
    ///
    /// # Panics
    /// If the size does not divide.
    #[track_caller]
    pub fn split(&self, pieces: usize, axis: isize) -> Vec<Tensor> {
        let size = self.size(axis);
        match if pieces == 0 { None } else { size.exact_div(&Size::from(pieces)) } {
            Some(piece) => self.split_sizes(&vec![piece; pieces], axis),
            None => panic!(
                "split: {size} positions of axis {axis} of {} ({}) do not divide into {pieces} equal parts   --> {}",
                self.display_name(),
                self.meta(),
                std::panic::Location::caller()
            ),
        }
    }

    /// Parts of `axis` of these sizes, in order.
    ///
    /// # Panics
    /// If the sizes do not add up to that of the axis.
    #[track_caller]
    pub fn split_sizes<S: IntoSize + Clone>(&self, sizes: &[S], axis: isize) -> Vec<Tensor> {
        let sizes: Vec<Size> = sizes.iter().cloned().map(IntoSize::into_size).collect();
        let sum = sizes.iter().fold(Size::from(0), |sum, size| &sum + size);
        assert!(
            sum == self.size(axis),
            "split: the parts {sizes:?} add up to {sum}, axis {axis} of {} ({}) is {}   --> {}",
            self.display_name(),
            self.meta(),
            self.size(axis),
            std::panic::Location::caller()
        );
        let mut start = Size::from(0);
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let end = &start + &size;
            parts.push(self.narrow(axis, start, size));
            start = end;
        }
        parts
    }
}

/// Which positions of one axis: start, start + step, …, `length` of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SliceAxis {
    /// The first position.
    pub start: Size,
    /// How many positions.
    pub length: Size,
    /// From one to the next; at least 1.
    pub step: usize,
}

impl SliceAxis {
    /// All positions of an axis of `size`.
    pub fn whole(size: &Size) -> SliceAxis {
        SliceAxis { start: Size::from(0), length: size.clone(), step: 1 }
    }
}

/// The grid start, start + step, … of `length` positions must lie in 0..size; `what` names it.
fn expect_inside(axis: usize, start: i128, length: i128, step: usize, size: i128) -> Result<(), String> {
    let last = start + (length - 1) * step as i128;
    if length > 0 && last >= size {
        return Err(format!("position {last} of axis {axis}, which has size {size}"));
    }
    if start > size {
        return Err(format!("start {start} on axis {axis}, which has size {size}"));
    }
    Ok(())
}

/// As [`expect_inside`], where all numbers are known; sizes must not be negative and the step not 0.
fn expect_grid(axis: usize, start: &Size, length: &Size, step: usize, size: &Size) -> Result<(), ShapeError> {
    if step == 0 {
        return Err(ShapeError::new(format!("step 0 on axis {axis}; a step is at least 1")));
    }
    for (what, size) in [("start", start), ("length", length), ("size", size)] {
        if known(size).is_some_and(|number| number < 0) {
            return Err(ShapeError::new(format!("{what} {size} on axis {axis}; a position is at least 0")));
        }
    }
    match (known(start), known(length), known(size)) {
        (Some(start), Some(length), Some(size)) => expect_inside(axis, start, length, step, size)
            .map_err(|reason| ShapeError::new(format!("there is no {reason}"))),
        // All of a named axis, or its end: what the name stands for does not matter.
        (_, _, _) => Ok(()),
    }
}

fn expect_axes(count: usize, x: &Meta) -> Result<(), ShapeError> {
    if count == x.shape.rank() {
        return Ok(());
    }
    Err(ShapeError::new(format!("describes {count} axes, {x} has {}", x.shape.rank())))
}

/// Evaluates the start of each axis and checks its grid on the numbers of this run.
fn starts<'a>(
    axes: impl Iterator<Item = (&'a Size, usize)>,
    lengths: &[usize],
    sizes: &[usize],
    cx: &Reference<'_>,
) -> Result<Vec<usize>, EvalError> {
    let fail = |reason: String| EvalError::Size { op: cx.label.into(), reason };
    axes.enumerate()
        .map(|(axis, (start, step))| {
            let start = start.evaluate(cx.bindings).map_err(|error| fail(error.to_string()))?;
            expect_inside(axis, start as i128, lengths[axis] as i128, step, sizes[axis] as i128)
                .map_err(|reason| fail(format!("there is no {reason}")))?;
            Ok(start)
        })
        .collect()
}

/// Some positions of each axis: y\[i…\] = x\[start + step·i…\].
///
/// Gradient: [`Pad`] with zeros to where the positions were.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slice {
    /// Which positions, for each axis.
    pub axes: SmallVec<[SliceAxis; 4]>,
}

impl OpRules for Slice {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        expect_axes(self.axes.len(), x)?;
        for (axis, part) in self.axes.iter().enumerate() {
            expect_grid(axis, &part.start, &part.length, part.step, &x.shape[axis])?;
        }
        Ok(Meta::new(x.dtype, self.axes.iter().map(|part| part.length.clone()).collect()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let spread = |(part, size): (&SliceAxis, &Size)| PadAxis {
            start: part.start.clone(),
            step: part.step,
            size: size.clone(),
        };
        let axes = self.axes.iter().zip(cx.inputs[0].shape().iter()).map(spread).collect();
        vec![Some(Tensor::apply(Pad { axes, value: Scalar::Int(0) }, [cx.cotangent.clone()]))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        let grid = self.axes.iter().map(|part| (&part.start, part.step));
        let starts = starts(grid, cx.shape, x.shape(), cx)?;
        Ok(rearrange(x, cx.shape, Scalar::Int(0), |index| {
            let along = |axis: usize| starts[axis] + self.axes[axis].step * index[axis];
            Some(ravel(&(0..index.len()).map(along).collect::<Vec<_>>(), x.shape()))
        }))
    }
}

/// Where the positions of one axis go: position i to start + step·i of `size`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PadAxis {
    /// Where the first position goes: how much stands before.
    pub start: Size,
    /// From one to the next; at least 1. Larger steps leave gaps.
    pub step: usize,
    /// The size of the result.
    pub size: Size,
}

impl PadAxis {
    /// Nothing added to an axis of `size`.
    pub fn whole(size: &Size) -> PadAxis {
        PadAxis { start: Size::from(0), step: 1, size: size.clone() }
    }
}

/// x on a larger ground of one value, the inverse of [`Slice`]: y\[start + step·i…\] = x\[i…\], elsewhere `value`.
///
/// Gradient: the slice of the cotangent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pad {
    /// Where positions go, for each axis.
    pub axes: SmallVec<[PadAxis; 4]>,
    /// What stands elsewhere.
    pub value: Scalar,
}

impl OpRules for Pad {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        expect_axes(self.axes.len(), x)?;
        for (axis, part) in self.axes.iter().enumerate() {
            expect_grid(axis, &part.start, &x.shape[axis], part.step, &part.size)?;
        }
        let exact = self.value.rounded_to(x.dtype).to_f64() == self.value.to_f64();
        if !exact && !x.dtype.is_float() {
            return Err(ShapeError::new(format!("{} is no {}", self.value, x.dtype)));
        }
        Ok(Meta::new(x.dtype, self.axes.iter().map(|part| part.size.clone()).collect()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let part = |(part, size): (&PadAxis, &Size)| SliceAxis {
            start: part.start.clone(),
            length: size.clone(),
            step: part.step,
        };
        let axes = self.axes.iter().zip(cx.inputs[0].shape().iter()).map(part).collect();
        vec![Some(Tensor::apply(Slice { axes }, [cx.cotangent.clone()]))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        let grid = self.axes.iter().map(|part| (&part.start, part.step));
        let starts = starts(grid, x.shape(), cx.shape, cx)?;
        Ok(rearrange(x, cx.shape, self.value, |index| {
            let along = |axis: usize| {
                let offset = index[axis].checked_sub(starts[axis])?;
                let step = self.axes[axis].step;
                (offset % step == 0 && offset / step < x.shape()[axis]).then_some(offset / step)
            };
            let source: Option<Vec<usize>> = (0..index.len()).map(along).collect();
            source.map(|source| ravel(&source, x.shape()))
        }))
    }
}

/// Axes in reverse order. Gradient: the same of the cotangent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flip {
    /// Which axes.
    pub axes: SmallVec<[usize; 4]>,
}

impl OpRules for Flip {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        match self.axes.iter().find(|&&axis| axis >= x.shape.rank()) {
            Some(axis) => Err(ShapeError::new(format!("there is no axis {axis} in {x}"))),
            None => Ok(x.clone()),
        }
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(Tensor::apply(self.clone(), [cx.cotangent.clone()]))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(rearrange(inputs[0], cx.shape, Scalar::Int(0), |index| {
            let mut source = index.to_vec();
            for &axis in &self.axes {
                source[axis] = cx.shape[axis] - 1 - index[axis];
            }
            Some(ravel(&source, cx.shape))
        }))
    }
}

/// Tensors one after the other along an axis. Any number of inputs of one dtype, of equal sizes but along the axis;
/// empty ones add nothing.
///
/// Gradients: the parts of the cotangent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Concat {
    /// Along which axis.
    pub axis: usize,
}

impl OpRules for Concat {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let Some((first, rest)) = inputs.split_first() else {
            return Err(ShapeError::new("takes at least 1 input, got 0"));
        };
        if self.axis >= first.shape.rank() {
            return Err(ShapeError::new(format!("there is no axis {} in {first}", self.axis)));
        }
        let mut shape = first.shape.clone();
        for (position, x) in rest.iter().enumerate() {
            if x.dtype != first.dtype {
                return Err(ShapeError::new(format!("dtypes differ: {} and {}", first.dtype, x.dtype))
                    .hint("nothing is converted silently; `cast` one of them"));
            }
            if x.shape.rank() != first.shape.rank() {
                return Err(ShapeError::new(format!("numbers of axes differ: {first} and {x}"))
                    .hint("`stack` joins along a new axis"));
            }
            for axis in (0..first.shape.rank()).filter(|&axis| axis != self.axis) {
                if x.shape[axis] != first.shape[axis] {
                    return Err(ShapeError::new(format!("sizes of axis {axis} differ")).detail(format!(
                        "{} in input 0, {} in input {}; only axis {} may differ",
                        first.shape[axis],
                        x.shape[axis],
                        position + 1,
                        self.axis
                    )));
                }
            }
            let sum = &shape[self.axis] + &x.shape[self.axis];
            shape.sizes_mut()[self.axis] = sum;
        }
        Ok(Meta::new(first.dtype, shape))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let mut start = Size::from(0);
        let part = |(input, &wanted): (&Tensor, &bool)| {
            let size = input.shape()[self.axis].clone();
            let from = start.clone();
            start = &start + &size;
            wanted.then(|| cx.cotangent.narrow(self.axis as isize, from, size))
        };
        cx.inputs.iter().zip(cx.wanted).map(part).collect()
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        // Lines before the axis alternate between the inputs: copy a line of each in turn.
        let lines: usize = cx.shape[..self.axis].iter().product();
        let storage = thalweg_array::with_dtype!(cx.dtype, T => {
            let parts: Vec<(Vec<T>, usize)> = inputs
                .iter()
                .map(|input| (input.to_vec::<T>(), input.shape()[self.axis..].iter().product()))
                .collect();
            let mut joined: Vec<T> = Vec::with_capacity(cx.shape.iter().product());
            for line in 0..lines {
                for (elements, width) in &parts {
                    joined.extend_from_slice(&elements[line * width..(line + 1) * width]);
                }
            }
            thalweg_array::Element::into_storage(joined)
        });
        Ok(crate::reference::built(cx.shape, storage))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_array::DType;

    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::{Feeds, evaluate, interpret};

    fn numbers() -> Tensor {
        constant([[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]])
    }

    #[test]
    fn parts() {
        let x = numbers();
        assert_eq!(evaluate(&x.slice(1, 1..3)).unwrap(), Array::from([[2.0, 3.0], [7.0, 8.0]]));
        assert_eq!(evaluate(&x.slice_step(1, .., 2)).unwrap(), Array::from([[1.0, 3.0, 5.0], [6.0, 8.0, 10.0]]));
        assert_eq!(evaluate(&x.index(0, -1).slice(0, ..2)).unwrap(), Array::from([6.0, 7.0]));
        assert_eq!(evaluate(&x.slice(1, 5..)).unwrap().shape(), [2, 0]);
        assert_eq!(evaluate(&x.flip([0, 1]).slice(1, ..2)).unwrap(), Array::from([[10.0, 9.0], [5.0, 4.0]]));
        let parts = x.split_sizes(&[1usize, 4], 1);
        assert_eq!(
            evaluate(&Tensor::concat(&[&parts[1], &parts[0]], -1).slice(0, ..1)).unwrap().to_vec::<f64>(),
            [2.0, 3.0, 4.0, 5.0, 1.0]
        );
        assert_eq!(x.split(2, 0)[1].meta().to_string(), "f64[1,5]");
    }

    #[test]
    fn put_together() {
        let x = constant([1.0, 2.0]);
        assert_eq!(evaluate(&x.pad(0, 1, 2, 9.0)).unwrap(), Array::from([9.0, 1.0, 2.0, 9.0, 9.0]));
        assert_eq!(evaluate(&Tensor::stack(&[&x, &x], 1)).unwrap(), Array::from([[1.0, 1.0], [2.0, 2.0]]));
        let gapped =
            Pad { axes: [PadAxis { start: 1.into(), step: 3, size: 5.into() }].into_iter().collect(), value: 0.into() };
        assert_eq!(evaluate(&Tensor::apply(gapped, [x.clone()])).unwrap(), Array::from([0.0, 1.0, 0.0, 0.0, 2.0]));
        let empty = crate::ops::source::zeros([0], DType::F64);
        assert_eq!(evaluate(&Tensor::concat(&[&empty, &x, &empty], 0)).unwrap(), Array::from([1.0, 2.0]));
    }

    #[test]
    fn named_sizes() {
        let x = placeholder("x", DType::F64, ["n"]);
        let y = Tensor::concat(&[&x.slice(0, 1..), &x], 0).slice_step(0, .., 2);
        assert_eq!(y.meta().to_string(), "f64[n]");
        assert_eq!(x.slice_step(0, .., 2).meta().to_string(), "f64[(n+1)/2]");
        let run = |y: &Tensor, x: Array| {
            interpret(&crate::Graph::capture([y], &[]), &Feeds::new([("x", x)]))
                .map(|results| results.fetches[0].clone())
        };
        assert_eq!(run(&y, Array::from([1.0, 2.0, 3.0])).unwrap(), Array::from([2.0, 1.0, 3.0]));
        let message = run(&x.slice(0, ..4), Array::from([1.0, 2.0, 3.0])).unwrap_err().to_string();
        assert!(message.contains("slice") && message.contains("position 3 of axis 0, which has size 3"), "{message}");
        let message = run(&x.slice(0, 4..), Array::from([1.0])).unwrap_err().to_string();
        assert!(message.contains("n-4"), "{message}");
    }

    #[test]
    fn what_cannot_be_put_together_is_refused() {
        let x = numbers();
        let concat =
            |other: &Tensor| Tensor::try_apply(Concat { axis: 0 }, [x.clone(), other.clone()]).unwrap_err().to_string();
        assert!(concat(&x.cast(DType::F32)).contains("f64 and f32"));
        assert!(concat(&x.index(0, 0)).contains("stack"));
        let pad = |part: PadAxis, value: Scalar| {
            let pad = Pad { axes: [part].into_iter().collect(), value };
            Tensor::try_apply(pad, [constant([1i64, 2])]).unwrap_err().to_string()
        };
        assert!(pad(PadAxis::whole(&2.into()), 0.5.into()).contains("0.5 is no i64"));
        let beyond = PadAxis { start: 1.into(), step: 2, size: 3.into() };
        assert!(pad(beyond, 0.into()).contains("no position 3 of axis 0, which has size 3"));
    }
}
