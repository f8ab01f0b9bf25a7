//! The same numbers under other shapes and in other orders.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thalweg_array::{Array, IntoShape, Scalar, Shape, Size};

use crate::error::{BuildError, EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::reference::{ravel, rearrange};
use crate::tensor::{Meta, Tensor};

impl Tensor {
    /// The same elements in the same order under another shape.
    ///
    /// # Panics
    /// If the counts differ, for any numbers that the names may have.
    #[track_caller]
    pub fn reshape(&self, shape: impl IntoShape) -> Tensor {
        let shape = shape.into_shape();
        if &shape == self.shape() { self.clone() } else { Tensor::apply(Reshape { shape }, [self.clone()]) }
    }

    /// As [`Tensor::reshape`], with at most one size −1, which becomes what the others leave.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let image = placeholder("image", DType::F32, ("batch", 28, 28));
    /// assert_eq!(image.reshape_infer(&[-1, 784]).meta().to_string(), "f32[batch,784]");
    /// ```
    ///
    /// # Panics
    /// With the message of [`Tensor::try_reshape_infer`].
    #[track_caller]
    pub fn reshape_infer(&self, sizes: &[isize]) -> Tensor {
        match self.try_reshape_infer(sizes) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Tensor::reshape_infer`].
    ///
    /// # Errors
    /// If two sizes are −1 or one is below, the others hold no elements, or the count does not divide.
    #[track_caller]
    pub fn try_reshape_infer(&self, sizes: &[isize]) -> Result<Tensor, BuildError> {
        let location = std::panic::Location::caller();
        let refuse = |reason: String| {
            BuildError::new("reshape".into(), location, std::slice::from_ref(self), ShapeError::new(reason))
        };
        if sizes.iter().filter(|&&size| size == -1).count() > 1 {
            return Err(refuse(format!("two sizes of {sizes:?} are -1; only one can be inferred")));
        }
        if let Some(size) = sizes.iter().find(|&&size| size < -1) {
            return Err(refuse(format!("{size} in {sizes:?} is no size")));
        }
        let known = sizes.iter().filter(|&&size| size != -1);
        let rest = known.fold(Size::from(1), |product, &size| &product * &Size::from(size.unsigned_abs()));
        let count = self.shape().count();
        let inferred = || {
            if rest.is(0) {
                return Err(refuse(format!("-1 in {sizes:?} cannot be inferred: the other sizes hold 0 elements")));
            }
            count
                .exact_div(&rest)
                .ok_or_else(|| refuse(format!("{count} elements do not fit {sizes:?}: the other sizes hold {rest}")))
        };
        let mut shape = Shape::scalar();
        for &size in sizes {
            shape.sizes_mut().push(if size == -1 { inferred()? } else { Size::from(size.unsigned_abs()) });
        }
        if &shape == self.shape() { Ok(self.clone()) } else { Tensor::try_apply(Reshape { shape }, [self.clone()]) }
    }

    /// The axes from `first` on as one.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let image = placeholder("image", DType::F32, ("batch", 28, 28));
    /// assert_eq!(image.flatten(1).meta().to_string(), "f32[batch,784]");
    /// ```
    #[track_caller]
    pub fn flatten(&self, first: isize) -> Tensor {
        let first = if self.rank() as isize == first { self.rank() } else { self.axis(first) };
        let (lead, rest) = self.shape().split_at(first);
        let merged = rest.iter().fold(Size::from(1), |product, size| &product * size);
        self.reshape(lead.iter().cloned().chain([merged]).collect::<Shape>())
    }

    /// A new axis of size 1 at `axis` of the result; negative axes count from the end of the result.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let rank = self.rank() as isize + 1;
        let at = if axis < 0 { axis + rank } else { axis };
        assert!(
            (0..rank).contains(&at),
            "unsqueeze: axis {axis} of a result with {rank} axes   --> {}",
            std::panic::Location::caller()
        );
        let mut shape = self.shape().clone();
        shape.sizes_mut().insert(at as usize, Size::from(1));
        self.reshape(shape)
    }

    /// Without `axis`, which must have size 1.
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Tensor {
        let at = self.axis(axis);
        assert!(
            self.shape()[at].is(1),
            "squeeze: axis {axis} of {} ({}) is {}, not 1   --> {}",
            self.display_name(),
            self.meta(),
            self.shape()[at],
            std::panic::Location::caller()
        );
        let mut shape = self.shape().clone();
        shape.sizes_mut().remove(at);
        self.reshape(shape)
    }

    /// The axes in another order: axis i of the result is axis `order[i]` of this.
    ///
    /// # Panics
    /// If `order` is no permutation of the axes.
    #[track_caller]
    pub fn permute(&self, order: &[isize]) -> Tensor {
        let mut axes: SmallVec<[usize; 4]> = SmallVec::new();
        for &axis in order {
            axes.push(self.axis(axis));
        }
        if axes.iter().copied().eq(0..self.rank()) {
            return self.clone();
        }
        Tensor::apply(Permute { axes }, [self.clone()])
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn swap_axes(&self, a: isize, b: isize) -> Tensor {
        let (a, b) = (self.axis(a), self.axis(b));
        let mut order: SmallVec<[isize; 4]> = (0..self.rank() as isize).collect();
        order.swap(a, b);
        self.permute(&order)
    }

    /// Repeated to `shape`: sizes are aligned at the last axis, size 1 and missing axes are repeated.
    ///
    /// # Panics
    /// If a size other than 1 differs.
    #[track_caller]
    pub fn expand(&self, shape: impl IntoShape) -> Tensor {
        match self.try_expand(shape) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Tensor::expand`].
    ///
    /// # Errors
    /// If a size other than 1 differs.
    #[track_caller]
    pub fn try_expand(&self, shape: impl IntoShape) -> Result<Tensor, BuildError> {
        let shape = shape.into_shape();
        if &shape == self.shape() { Ok(self.clone()) } else { Tensor::try_apply(Expand { shape }, [self.clone()]) }
    }

    /// A tensor of one axis as `axis` of `rank` axes, the others of size 1.
    #[track_caller]
    pub(crate) fn aligned_to(&self, axis: usize, rank: usize) -> Tensor {
        let size = self.shape()[0].clone();
        let shape: Shape = (0..rank).map(|other| if other == axis { size.clone() } else { Size::from(1) }).collect();
        self.reshape(shape)
    }

    /// What is left of a cotangent of this shape when `shape` had been expanded to it: the repetitions added up.
    #[track_caller]
    pub fn sum_to(&self, shape: &Shape) -> Tensor {
        let extra = self.rank() - shape.rank();
        let repeated = |axis: usize| axis < extra || (shape[axis - extra].is(1) && !self.shape()[axis].is(1));
        let axes: Vec<isize> = (0..self.rank()).filter(|&axis| repeated(axis)).map(|axis| axis as isize).collect();
        self.sum_over(axes.as_slice()).reshape(shape)
    }
}

/// Another shape of the same elements in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reshape {
    /// The new sizes.
    pub shape: Shape,
}

impl OpRules for Reshape {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        let (from, to) = (x.shape.count(), self.shape.count());
        if from != to {
            return Err(ShapeError::new(format!("{} elements do not fit {}", from, self.shape))
                .detail(format!("{} has {from} elements, {} has {to}", x.shape, self.shape)));
        }
        Ok(Meta::new(x.dtype, self.shape.clone()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent.reshape(cx.inputs[0].shape()))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        inputs[0].reshape(cx.shape).map_err(|error| EvalError::Size { op: cx.label.into(), reason: error.to_string() })
    }
}

/// Axes in another order: axis i of the result is axis `axes[i]` of the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Permute {
    /// The input's axis for each axis of the result.
    pub axes: SmallVec<[usize; 4]>,
}

impl Permute {
    /// The permutation that undoes this one.
    pub fn inverse(&self) -> Permute {
        let mut axes: SmallVec<[usize; 4]> = SmallVec::from_elem(0, self.axes.len());
        for (to, &from) in self.axes.iter().enumerate() {
            axes[from] = to;
        }
        Permute { axes }
    }
}

impl OpRules for Permute {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        let mut sorted = self.axes.clone();
        sorted.sort();
        if !sorted.iter().copied().eq(0..x.shape.rank()) {
            return Err(ShapeError::new(format!("{:?} is no order of {} axes", self.axes, x.shape.rank()))
                .hint("every axis must stand exactly once"));
        }
        Ok(Meta::new(x.dtype, self.axes.iter().map(|&axis| x.shape[axis].clone()).collect()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(Tensor::apply(self.inverse(), [cx.cotangent.clone()]))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        Ok(rearrange(x, cx.shape, Scalar::Int(0), |index| {
            let mut source = vec![0; index.len()];
            for (to, &from) in self.axes.iter().enumerate() {
                source[from] = index[to];
            }
            Some(ravel(&source, x.shape()))
        }))
    }
}

/// Repetition along axes of size 1 and along new leading axes. Gradient: the repetitions added up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expand {
    /// The new sizes.
    pub shape: Shape,
}

impl OpRules for Expand {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        let from = &x.shape;
        let Some(extra) = self.shape.rank().checked_sub(from.rank()) else {
            return Err(ShapeError::new(format!("{from} has more axes than {}", self.shape)));
        };
        for (axis, size) in from.iter().enumerate() {
            let to = &self.shape[axis + extra];
            if size != to && !size.is(1) {
                return Err(ShapeError::new(format!("{from} does not repeat to {}", self.shape))
                    .detail(format!("axis {axis} is {size} and would become {to}; only 1 repeats")));
            }
        }
        Ok(Meta::new(x.dtype, self.shape.clone()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent.sum_to(cx.inputs[0].shape()))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        let extra = cx.shape.len() - x.rank();
        Ok(rearrange(x, cx.shape, Scalar::Int(0), |index| {
            let source: Vec<usize> =
                x.shape().iter().zip(&index[extra..]).map(|(&size, &i)| if size == 1 { 0 } else { i }).collect();
            Some(ravel(&source, x.shape()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use thalweg_array::DType;

    use crate::ops::source::placeholder;

    #[test]
    fn one_size_is_inferred() {
        let x = placeholder("x", DType::F32, ("batch", 4, 6));
        assert_eq!(x.reshape_infer(&[-1, 8]).meta().to_string(), "f32[3*batch,8]");
        assert_eq!(placeholder("y", DType::F32, [6]).reshape_infer(&[2, 3]).meta().to_string(), "f32[2,3]");
        let empty = placeholder("empty", DType::F32, (0, 3));
        assert_eq!(empty.reshape_infer(&[-1, 3]).meta().to_string(), "f32[0,3]");
        for (sizes, expected) in [
            (&[-1, -1][..], "two sizes of [-1, -1] are -1"),
            (&[-1, 0], "the other sizes hold 0 elements"),
            (&[-1, 5], "24*batch elements do not fit [-1, 5]: the other sizes hold 5"),
            (&[-2, 5], "-2 in [-2, 5] is no size"),
            (&[7], "24*batch elements do not fit [7]"),
        ] {
            let message = x.try_reshape_infer(sizes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("f32[batch,4,6]") && message.contains("shape.rs"), "{message}");
        }
    }
}
