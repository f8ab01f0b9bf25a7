//! Windows that go along an axis: the way they go, looking through them, and adding up what they hold.

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use thalweg_array::{Array, IntoSize, Scalar, Shape, Size, with_dtype};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::assemble::known;
use crate::reference::{built, multi_indices, ravel, rearrange};
use crate::tensor::{Meta, Tensor};

/// A value for each of the axes that a window goes along, or one for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerAxis<T>(Values<T>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Values<T> {
    All(T),
    Each(SmallVec<[T; 3]>),
}

impl<T: Copy> PerAxis<T> {
    /// The same with each value replaced.
    pub fn map<U>(&self, f: impl Fn(T) -> U) -> PerAxis<U> {
        PerAxis(match &self.0 {
            Values::All(value) => Values::All(f(*value)),
            Values::Each(values) => Values::Each(values.iter().map(|&value| f(value)).collect()),
        })
    }

    /// A value for each of so many axes.
    ///
    /// # Errors
    /// If there are values for another number of axes; `what` names them.
    pub fn over(&self, axes: usize, what: &str) -> Result<SmallVec<[T; 3]>, ShapeError> {
        match &self.0 {
            Values::All(value) => Ok(smallvec![*value; axes]),
            Values::Each(values) if values.len() == axes => Ok(values.clone()),
            Values::Each(values) => {
                Err(ShapeError::new(format!("{what} for {} axes; the window has {axes}", values.len())))
            }
        }
    }
}

impl<T> From<T> for PerAxis<T> {
    fn from(value: T) -> Self {
        PerAxis(Values::All(value))
    }
}

impl<T, const N: usize> From<[T; N]> for PerAxis<T> {
    fn from(values: [T; N]) -> Self {
        PerAxis(Values::Each(values.into_iter().collect()))
    }
}

impl<T: Copy> From<&[T]> for PerAxis<T> {
    fn from(values: &[T]) -> Self {
        PerAxis(Values::Each(values.iter().copied().collect()))
    }
}

/// No axis is longer, for no memory holds it.
const LARGEST: u64 = 1 << 40;

/// How a window of `kernel` elements goes along an axis: element k of window t stands at position
/// t·stride + k·dilation − padding.0 of the input, where positions outside are zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// The size of the axis.
    pub input: Size,
    /// The elements of a window.
    pub kernel: usize,
    /// From a window to the next; at least 1.
    pub stride: usize,
    /// From an element of a window to the next; at least 1.
    pub dilation: usize,
    /// Positions before and after the axis.
    pub padding: (usize, usize),
}

impl Grid {
    /// Positions from the first element of a window to behind its last.
    pub fn extent(&self) -> usize {
        (self.kernel.saturating_sub(1)).saturating_mul(self.dilation).saturating_add(1)
    }

    /// The input with what is around it.
    fn padded(&self) -> Size {
        &self.input + self.padding.0.saturating_add(self.padding.1)
    }

    /// The number of windows that fit: ⌊(padded − extent) / stride⌋ + 1.
    pub fn positions(&self) -> Size {
        (self.padded() - self.extent()).floor_div(self.stride) + 1
    }

    /// The position of element `k` of window `t` on an axis of `size`; none outside of it.
    pub fn position(&self, t: usize, k: usize, size: usize) -> Option<usize> {
        (t * self.stride + k * self.dilation).checked_sub(self.padding.0).filter(|&position| position < size)
    }

    /// The same way along the axis on which there are as many windows as this one has positions: of all such axes the
    /// one that is `more` positions longer than the shortest.
    ///
    /// # Errors
    /// If `more` is not below the stride, or the padding leaves nothing.
    pub fn spanning(&self, more: usize) -> Result<Grid, ShapeError> {
        if more >= self.stride.max(1) {
            let reason = format!("an output padding of {more}; it must be below the stride, {}", self.stride);
            return Err(ShapeError::new(reason));
        }
        let reach = &self.input * self.stride + self.extent() + more;
        let input = reach - self.stride - self.padding.0 - self.padding.1;
        if known(&input).is_some_and(|size| size < 0) {
            return Err(ShapeError::new(format!("the padding {:?} leaves nothing of the result", self.padding)));
        }
        Ok(Grid { input, ..self.clone() })
    }

    /// Whether windows can go so along `axis`.
    ///
    /// # Errors
    /// If a step or the window is 0, anything is larger than any memory, or the window is larger than the padded axis.
    pub fn check(&self, axis: usize) -> Result<(), ShapeError> {
        let steps = [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)];
        let padding = [("padding before", self.padding.0), ("padding behind", self.padding.1)];
        for (what, number) in steps {
            if number == 0 {
                return Err(ShapeError::new(format!("the {what} on axis {axis} of the window is 0; it is at least 1")));
            }
        }
        for (what, number) in steps.into_iter().chain(padding) {
            if number as u64 > LARGEST {
                let reason = format!("the {what} on axis {axis} of the window is {number}; it is at most {LARGEST}");
                return Err(ShapeError::new(reason));
            }
        }
        let (extent, padded) = (self.extent(), self.padded());
        if known(&padded).is_some_and(|padded| padded < extent as i128) {
            let mut error =
                ShapeError::new(format!("the window is larger than the padded input on axis {axis} of the window"));
            error = error.detail(format!(
                "{} elements with dilation {} take {extent} positions; the input has {}, {} before and {} after it",
                self.kernel, self.dilation, self.input, self.padding.0, self.padding.1
            ));
            return Err(error);
        }
        Ok(())
    }
}

impl Tensor {
    /// Windows of `size` elements along `axis`, one each `stride` positions: the axis becomes one of windows and one of
    /// their elements, `y[…, t, k, …] = x[…, t·stride + k·dilation, …]`. Moves nothing: windows that overlap look at the
    /// same numbers.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("batch", 10, 3));
    /// assert_eq!(x.windows(1, 4, 2, 1).meta().to_string(), "f32[batch,4,4,3]");
    /// ```
    ///
    /// # Panics
    /// If a number is 0, or the window is larger than the axis.
    #[track_caller]
    pub fn windows(&self, axis: isize, size: usize, stride: usize, dilation: usize) -> Tensor {
        Tensor::apply(Windows { axis: self.axis(axis), size, stride, dilation }, [self.clone()])
    }

    /// The transpose of [`Tensor::windows`]: the windows `[…, t, k, …]` along `axis` added up where they overlap, into an
    /// axis of `size`: `y[…, t·stride + k·dilation, …] += x[…, t, k, …]`, from 0.
    ///
    /// # Panics
    /// If an axis of `size` does not have that many windows.
    #[track_caller]
    pub fn overlap_add(&self, axis: isize, size: impl IntoSize, stride: usize, dilation: usize) -> Tensor {
        let size = size.into_size();
        Tensor::apply(OverlapAdd { axis: self.axis(axis), size, stride, dilation }, [self.clone()])
    }
}

/// Windows along an axis, which becomes two; see [`Tensor::windows`]. Gradient: [`OverlapAdd`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Windows {
    /// Along which axis.
    pub axis: usize,
    /// The elements of a window.
    pub size: usize,
    /// From a window to the next.
    pub stride: usize,
    /// From an element of a window to the next.
    pub dilation: usize,
}

impl Windows {
    fn grid(&self, input: Size) -> Grid {
        Grid { input, kernel: self.size, stride: self.stride, dilation: self.dilation, padding: (0, 0) }
    }
}

/// `shape` with `axis` replaced.
fn with_axis(shape: &[Size], axis: usize, sizes: impl IntoIterator<Item = Size>) -> Shape {
    shape[..axis].iter().cloned().chain(sizes).chain(shape[axis + 1..].iter().cloned()).collect()
}

impl OpRules for Windows {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        let Some(size) = x.shape.get(self.axis) else {
            return Err(ShapeError::new(format!("there is no axis {} in {x}", self.axis)));
        };
        let grid = self.grid(size.clone());
        grid.check(0)?;
        Ok(Meta::new(x.dtype, with_axis(&x.shape, self.axis, [grid.positions(), Size::from(self.size)])))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let size = cx.inputs[0].shape()[self.axis].clone();
        vec![Some(cx.cotangent.overlap_add(self.axis as isize, size, self.stride, self.dilation))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        Ok(rearrange(x, cx.shape, Scalar::Int(0), |index| {
            let mut source: SmallVec<[usize; 8]> = index.into();
            let k = source.remove(self.axis + 1);
            source[self.axis] = source[self.axis] * self.stride + k * self.dilation;
            Some(ravel(&source, x.shape()))
        }))
    }
}

/// Windows added up along an axis; see [`Tensor::overlap_add`]. Gradient: [`Windows`]. f16 and bf16 are added up
/// without rounding between.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OverlapAdd {
    /// The axis of the windows; their elements are the next.
    pub axis: usize,
    /// The size of the axis that they add up to.
    pub size: Size,
    /// From a window to the next.
    pub stride: usize,
    /// From an element of a window to the next.
    pub dilation: usize,
}

impl OpRules for OverlapAdd {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        if self.axis + 1 >= x.shape.rank() {
            return Err(ShapeError::new(format!("there are no axes {} and {} in {x}", self.axis, self.axis + 1)));
        }
        if x.dtype == thalweg_array::DType::Bool {
            return Err(ShapeError::new("not defined on bool").hint("`cast` to i64 to count"));
        }
        let (windows, elements) = (&x.shape[self.axis], &x.shape[self.axis + 1]);
        let Some(size) = elements.number() else {
            return Err(ShapeError::new(format!("the windows have {elements} elements; that must be a number")));
        };
        let windows_of = Windows { axis: self.axis, size, stride: self.stride, dilation: self.dilation };
        let grid = windows_of.grid(self.size.clone());
        grid.check(0)?;
        if grid.positions() != *windows {
            let reason = format!("{windows} windows on an axis of {}, which has {}", self.size, grid.positions());
            return Err(ShapeError::new(reason));
        }
        let mut shape = with_axis(&x.shape, self.axis, [self.size.clone()]);
        shape.sizes_mut().remove(self.axis + 1);
        Ok(Meta::new(x.dtype, shape))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let size = cx.inputs[0].shape()[self.axis + 1].number().expect("`infer` wants a number");
        vec![Some(cx.cotangent.windows(self.axis as isize, size, self.stride, self.dilation))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        let target = |index: &[usize]| {
            let mut target: SmallVec<[usize; 8]> = index.into();
            let k = target.remove(self.axis + 1);
            target[self.axis] = target[self.axis] * self.stride + k * self.dilation;
            ravel(&target, cx.shape)
        };
        let count = cx.shape.iter().product();
        let storage = with_dtype!(cx.dtype, T => {
            use thalweg_array::Element;
            if cx.dtype.is_float() {
                let mut sums = vec![0.0; count];
                for (index, x) in multi_indices(x.shape()).zip(x.to_vec::<f64>()) {
                    sums[target(&index)] += x;
                }
                T::into_storage(sums.into_iter().map(T::from_f64).collect())
            } else {
                let mut sums = vec![0i64; count];
                for (index, x) in multi_indices(x.shape()).zip(x.to_vec::<i64>()) {
                    let sum = &mut sums[target(&index)];
                    *sum = sum.wrapping_add(x);
                }
                T::into_storage(sums.into_iter().map(T::from_i64).collect())
            }
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

    #[test]
    fn windows_overlap_and_add_up() {
        let x = constant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let windows = x.windows(0, 2, 2, 3);
        assert_eq!(evaluate(&windows).unwrap(), Array::from([[1.0, 4.0], [3.0, 6.0]]));
        assert_eq!(evaluate(&windows.overlap_add(0, 6, 2, 3)).unwrap().to_vec::<f64>(), [1.0, 0.0, 3.0, 4.0, 0.0, 6.0]);
        let thrice = x.windows(0, 3, 1, 1).overlap_add(0, 6, 1, 1);
        assert_eq!(evaluate(&thrice).unwrap().to_vec::<f64>(), [1.0, 4.0, 9.0, 12.0, 10.0, 6.0]);
        // A size has as many windows as a larger one that they do not reach.
        assert_eq!(evaluate(&windows.overlap_add(0, 7, 2, 3)).unwrap().to_vec::<f64>()[6], 0.0);
    }

    #[test]
    fn named_sizes() {
        let x = placeholder("x", DType::F32, ("n", 3));
        assert_eq!(x.windows(0, 4, 2, 1).meta().to_string(), "f32[(n)/2-1,4,3]");
        assert_eq!(x.windows(0, 4, 2, 1).overlap_add(0, "n", 2, 1).meta(), x.meta());
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let x = placeholder("x", DType::F32, ["n", "5"]);
        let windows = |op: Windows| Tensor::try_apply(op, [x.clone()]).unwrap_err().to_string();
        let large = windows(Windows { axis: 1, size: 3, stride: 1, dilation: 3 });
        assert!(large.contains("3 elements with dilation 3 take 7 positions; the input has 5"), "{large}");
        assert!(windows(Windows { axis: 1, size: 3, stride: 0, dilation: 1 }).contains("the stride on axis 0"));
        assert!(windows(Windows { axis: 2, size: 3, stride: 1, dilation: 1 }).contains("there is no axis 2"));
        let add = OverlapAdd { axis: 0, size: 9.into(), stride: 2, dilation: 1 };
        let few = Tensor::try_apply(add, [placeholder("x", DType::F32, [3, 2])]).unwrap_err().to_string();
        assert!(few.contains("3 windows on an axis of 9, which has 4"), "{few}");
    }
}
