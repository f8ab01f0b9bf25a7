//! Many numbers put together along axes: sums, products, extremes, and what is made of them.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thalweg_array::scalar::Fold;
use thalweg_array::{Array, DType, Shape, Size};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::source::size_number;
use crate::reference::{built, multi_indices, ravel};
use crate::tensor::{Meta, Tensor};

/// Which axes: a number, an array of numbers (negative ones count from the end), or `..` for all.
pub trait Axes {
    /// The axes of a tensor, counted from the front, in order, each once.
    ///
    /// # Panics
    /// If there is no such axis or one is named twice.
    fn axes(&self, tensor: &Tensor) -> SmallVec<[usize; 4]>;
}

impl Axes for std::ops::RangeFull {
    fn axes(&self, tensor: &Tensor) -> SmallVec<[usize; 4]> {
        (0..tensor.rank()).collect()
    }
}

impl Axes for isize {
    #[track_caller]
    fn axes(&self, tensor: &Tensor) -> SmallVec<[usize; 4]> {
        SmallVec::from_slice(&[tensor.axis(*self)])
    }
}

impl Axes for &[isize] {
    #[track_caller]
    fn axes(&self, tensor: &Tensor) -> SmallVec<[usize; 4]> {
        let mut axes: SmallVec<[usize; 4]> = SmallVec::new();
        for &axis in *self {
            axes.push(tensor.axis(axis));
        }
        axes.sort();
        if let Some(pair) = axes.windows(2).find(|pair| pair[0] == pair[1]) {
            panic!(
                "axis {} of {} ({}) is named twice   --> {}",
                pair[0],
                tensor.display_name(),
                tensor.meta(),
                std::panic::Location::caller()
            );
        }
        axes
    }
}

impl<const N: usize> Axes for [isize; N] {
    #[track_caller]
    fn axes(&self, tensor: &Tensor) -> SmallVec<[usize; 4]> {
        self.as_slice().axes(tensor)
    }
}

impl Tensor {
    /// The numbers along `axes` put together with `fold`; the axes vanish.
    #[track_caller]
    pub fn fold(&self, fold: Fold, axes: impl Axes) -> Tensor {
        let axes = axes.axes(self);
        if axes.is_empty() { self.clone() } else { Tensor::apply(Reduce { fold, axes }, [self.clone()]) }
    }

    /// Σ over everything.
    #[track_caller]
    pub fn sum(&self) -> Tensor {
        self.fold(Fold::Sum, ..)
    }

    /// Σ over `axes`; of nothing 0.
    #[track_caller]
    pub fn sum_over(&self, axes: impl Axes) -> Tensor {
        self.fold(Fold::Sum, axes)
    }

    /// Π over `axes`; of nothing 1.
    #[track_caller]
    pub fn prod_over(&self, axes: impl Axes) -> Tensor {
        self.fold(Fold::Prod, axes)
    }

    /// The largest over `axes`; NaN if any is. Where several are largest they share the gradient evenly.
    #[track_caller]
    pub fn max_over(&self, axes: impl Axes) -> Tensor {
        self.fold(Fold::Max, axes)
    }

    /// The smallest over `axes`; NaN if any is. Where several are smallest they share the gradient evenly.
    #[track_caller]
    pub fn min_over(&self, axes: impl Axes) -> Tensor {
        self.fold(Fold::Min, axes)
    }

    /// The mean of everything; NaN of nothing.
    #[track_caller]
    pub fn mean(&self) -> Tensor {
        self.mean_over(..)
    }

    /// The mean over `axes`; NaN of nothing.
    #[track_caller]
    pub fn mean_over(&self, axes: impl Axes) -> Tensor {
        let axes = axes.axes(self);
        let count = axes.iter().fold(Size::from(1), |count, &axis| count * self.shape()[axis].clone());
        let signed: SmallVec<[isize; 4]> = axes.iter().map(|&axis| axis as isize).collect();
        self.sum_over(signed.as_slice()) / size_number(&count, self.dtype())
    }

    /// This tensor, a reduction of `like` over `axes`, with those axes back as size 1, so that it broadcasts against
    /// `like`.
    #[track_caller]
    pub fn keep_axes(&self, axes: impl Axes, like: &Tensor) -> Tensor {
        let axes = axes.axes(like);
        let sizes = like.shape().iter().enumerate();
        let shape: Shape =
            sizes.map(|(axis, size)| if axes.contains(&axis) { Size::from(1) } else { size.clone() }).collect();
        self.reshape(shape)
    }
}

/// The numbers along `axes` put together: `y[kept]` = fold over `x[kept, axes]`; the axes vanish.
///
/// dtype: of x; f16 and bf16 add up in f32. Empty: 0 for sums, 1 for products; extremes are refused, or −∞ and
/// ∞ where a name turns out to be 0. Bool has extremes only, any and all: of nothing false and true. Gradient of
/// products: where a number is 0, to first order only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reduce {
    /// How two numbers become one.
    pub fold: Fold,
    /// Which axes, in order.
    pub axes: SmallVec<[usize; 4]>,
}

impl OpRules for Reduce {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        if let Some(axis) = self.axes.iter().find(|&&axis| axis >= x.shape.rank()) {
            return Err(ShapeError::new(format!("there is no axis {axis}")));
        }
        if !self.axes.is_sorted_by(|a, b| a < b) {
            return Err(ShapeError::new(format!("the axes {:?} are not in order, each once", self.axes)));
        }
        match self.fold {
            Fold::Sum | Fold::Prod if x.dtype == DType::Bool => {
                return Err(ShapeError::new("not defined on bool").hint("`cast` to i64 to count, or use `any`, `all`"));
            }
            Fold::Max | Fold::Min if x.dtype != DType::Bool && self.axes.iter().any(|&axis| x.shape[axis].is(0)) => {
                return Err(ShapeError::new(format!("the extreme of no numbers: {} has a size 0", x.shape)));
            }
            Fold::Sum | Fold::Prod | Fold::Max | Fold::Min => {}
        }
        let kept = x.shape.iter().enumerate().filter(|(axis, _)| !self.axes.contains(axis));
        Ok(Meta::new(x.dtype, kept.map(|(_, size)| size.clone()).collect()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, c) = (&cx.inputs[0], cx.cotangent);
        let axes: SmallVec<[isize; 4]> = self.axes.iter().map(|&axis| axis as isize).collect();
        let axes = axes.as_slice();
        let spread = |t: &Tensor| t.keep_axes(axes, x).expand(x.shape());
        if !x.dtype().is_float() {
            return vec![None];
        }
        vec![Some(match self.fold {
            Fold::Sum => spread(c),
            // The product of the others: y/x, with the zeros taken out so that one zero gets the product of the rest.
            Fold::Prod => {
                let zero = x.equal(0.0);
                let rest = zero.select(&x.ones_like(), x);
                let zeros = zero.cast(x.dtype()).sum_over(axes);
                let product = spread(&rest.prod_over(axes)) / &rest;
                let others = spread(&zeros) - zero.cast(x.dtype());
                spread(c) * others.equal(0.0).select(&product, 0.0)
            }
            Fold::Max | Fold::Min => {
                let best = x.equal(spread(cx.output)).cast(x.dtype());
                spread(&(c / best.sum_over(axes))) * best
            }
        })]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        let is_float = x.dtype().is_float();
        let identity = self.fold.identity(x.dtype());
        let f = self.fold.binary();
        let mut floats = vec![identity.to_f64(); cx.shape.iter().product()];
        let mut ints = vec![identity.to_i64(); floats.len()];
        let (x_float, x_int) = if is_float { (x.to_vec::<f64>(), vec![]) } else { (vec![], x.to_vec::<i64>()) };
        for (position, index) in multi_indices(x.shape()).enumerate() {
            let kept: Vec<usize> =
                index.iter().enumerate().filter(|(axis, _)| !self.axes.contains(axis)).map(|(_, &i)| i).collect();
            let target = ravel(&kept, cx.shape);
            if is_float {
                floats[target] = f.apply(floats[target], x_float[position]);
            } else {
                ints[target] = f.apply_int(ints[target], x_int[position]);
            }
        }
        let whole = if is_float { Array::new(cx.shape, floats) } else { Array::new(cx.shape, ints) };
        Ok(whole.map(|array| array.cast(cx.dtype)).unwrap_or_else(|_| built(cx.shape, x.storage().clone())))
    }
}
