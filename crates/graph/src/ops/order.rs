//! Numbers by their order: sort, the largest k, the position of the extreme.
//!
//! NaN counts as greater than every number, here as in [`Tensor::max_over`]: last ascending, first descending, and it
//! is both the largest and the smallest that [`Tensor::argmax`] and [`Tensor::argmin`] look for, so that it is never
//! overlooked. 0 and −0 are equal. Equal numbers keep their order, in both directions.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::reference::{built, multi_indices, ravel};
use crate::tensor::{Meta, Tensor};

impl Tensor {
    /// The positions, as i64, that sort each line along `axis` ascending.
    #[track_caller]
    pub fn argsort(&self, axis: isize) -> Tensor {
        Tensor::apply(ArgSort { axis: self.axis(axis), descending: false }, [self.clone()])
    }

    /// The positions, as i64, that sort each line along `axis` descending.
    #[track_caller]
    pub fn argsort_descending(&self, axis: isize) -> Tensor {
        Tensor::apply(ArgSort { axis: self.axis(axis), descending: true }, [self.clone()])
    }

    /// Each line along `axis` ascending. The gradient goes back to where the numbers came from.
    #[track_caller]
    pub fn sort(&self, axis: isize) -> Tensor {
        self.take_along(&self.argsort(axis), axis)
    }

    /// Each line along `axis` descending. The gradient goes back to where the numbers came from.
    #[track_caller]
    pub fn sort_descending(&self, axis: isize) -> Tensor {
        self.take_along(&self.argsort_descending(axis), axis)
    }

    /// The `k` largest numbers of each line along `axis`, descending, and their positions as i64.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let logits = placeholder("logits", DType::F32, ("batch", 10));
    /// let (best, classes) = logits.top_k(5, -1);
    /// assert_eq!((best.meta().to_string(), classes.meta().to_string()), ("f32[batch,5]".into(), "i64[batch,5]".into()));
    /// ```
    ///
    /// # Panics
    /// If the axis has fewer than `k` positions.
    #[track_caller]
    pub fn top_k(&self, k: usize, axis: isize) -> (Tensor, Tensor) {
        let size = self.size(axis);
        if size.number().is_some_and(|size| k > size) {
            panic!(
                "top_k: {k} of the {size} positions of axis {axis} of {} ({})   --> {}",
                self.display_name(),
                self.meta(),
                std::panic::Location::caller()
            );
        }
        let positions = self.argsort_descending(axis).slice(axis, ..k);
        (self.take_along(&positions, axis), positions)
    }

    /// The position, as i64, of the largest number along `axis`, which vanishes; the first of several, NaN before all.
    ///
    /// # Panics
    /// If the axis is empty.
    #[track_caller]
    pub fn argmax(&self, axis: isize) -> Tensor {
        Tensor::apply(ArgReduce { max: true, axis: self.axis(axis) }, [self.clone()])
    }

    /// The position, as i64, of the smallest number along `axis`, which vanishes; the first of several, NaN before
    /// all.
    ///
    /// # Panics
    /// If the axis is empty.
    #[track_caller]
    pub fn argmin(&self, axis: isize) -> Tensor {
        Tensor::apply(ArgReduce { max: false, axis: self.axis(axis) }, [self.clone()])
    }
}

/// The order of the elements of `x` by their positions: NaN after all numbers and equal to itself.
fn comparison(x: &Array) -> Box<dyn Fn(usize, usize) -> Ordering> {
    if x.dtype().is_float() {
        let x = x.to_vec::<f64>();
        Box::new(move |a, b| x[a].partial_cmp(&x[b]).unwrap_or_else(|| x[a].is_nan().cmp(&x[b].is_nan())))
    } else {
        let x = x.to_vec::<i64>();
        Box::new(move |a, b| x[a].cmp(&x[b]))
    }
}

/// The positions in `x` of the line along `axis` through the multi-index `index`.
fn line(index: &[usize], axis: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = index.to_vec();
    (0..shape[axis])
        .map(|position| {
            index[axis] = position;
            ravel(&index, shape)
        })
        .collect()
}

fn axis_missing(x: &Meta, axis: usize) -> Option<ShapeError> {
    (axis >= x.shape.rank()).then(|| ShapeError::new(format!("there is no axis {axis} in {x}")))
}

/// The positions that sort each line along an axis; i64. Stable; see [the module](self) for NaN.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArgSort {
    /// Along which axis the lines lie.
    pub axis: usize,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl OpRules for ArgSort {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        match axis_missing(x, self.axis) {
            Some(error) => Err(error),
            None => Ok(Meta::new(DType::I64, x.shape.clone())),
        }
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let compare = comparison(inputs[0]);
        let mut sorted = vec![0i64; inputs[0].len()];
        for index in multi_indices(cx.shape).filter(|index| index[self.axis] == 0) {
            let line = line(&index, self.axis, cx.shape);
            let mut order: Vec<usize> = (0..line.len()).collect();
            order.sort_by(|&a, &b| {
                let ascending = compare(line[a], line[b]);
                if self.descending { ascending.reverse() } else { ascending }
            });
            for (target, source) in line.iter().zip(order) {
                sorted[*target] = source as i64;
            }
        }
        Ok(built(cx.shape, thalweg_array::Element::into_storage(sorted)))
    }
}

/// The position of the extreme along an axis, which vanishes; i64. The first of several; NaN before all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArgReduce {
    /// Whether the largest is looked for, else the smallest.
    pub max: bool,
    /// The axis, which vanishes.
    pub axis: usize,
}

impl OpRules for ArgReduce {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        if let Some(error) = axis_missing(x, self.axis) {
            return Err(error);
        }
        if x.shape[self.axis].is(0) {
            return Err(ShapeError::new(format!("the extreme of no numbers: axis {} of {x} is empty", self.axis)));
        }
        let mut shape = x.shape.clone();
        shape.sizes_mut().remove(self.axis);
        Ok(Meta::new(DType::I64, shape))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let x = inputs[0];
        if x.shape()[self.axis] == 0 {
            let reason = format!("the extreme of no numbers: axis {} is empty", self.axis);
            return Err(EvalError::Size { op: cx.label.into(), reason });
        }
        let compare = comparison(x);
        let is_nan: Vec<bool> =
            if x.dtype().is_float() { x.to_vec::<f64>().iter().map(|x| x.is_nan()).collect() } else { vec![] };
        let nan = |position: usize| is_nan.get(position).copied().unwrap_or(false);
        let better = |a: usize, b: usize| match compare(a, b) {
            Ordering::Equal => false,
            Ordering::Less => !self.max && !nan(b),
            Ordering::Greater => self.max || nan(a),
        };
        let first = |index: Vec<usize>| {
            let line = line(&index, self.axis, x.shape());
            let mut best = 0;
            for candidate in 1..line.len() {
                if better(line[candidate], line[best]) {
                    best = candidate;
                }
            }
            best as i64
        };
        let positions = multi_indices(x.shape()).filter(|index| index[self.axis] == 0).map(first).collect();
        Ok(built(cx.shape, thalweg_array::Element::into_storage(positions)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::grad;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::{Feeds, evaluate, interpret};

    const NAN: f64 = f64::NAN;

    #[test]
    fn nan_is_the_greatest_and_equal_numbers_keep_their_order() {
        let x = constant([[2.0, NAN, -0.0, 0.0], [1.0, f64::INFINITY, 1.0, NAN]]);
        let positions = |y: &Tensor| evaluate(y).unwrap().to_vec::<i64>();
        assert_eq!(positions(&x.argsort(1)), [2, 3, 0, 1, 0, 2, 1, 3]);
        assert_eq!(positions(&x.argsort_descending(-1)), [1, 0, 2, 3, 3, 1, 0, 2]);
        assert_eq!(positions(&x.argmax(1)), [1, 3]);
        assert_eq!(positions(&x.argmin(1)), [1, 3]);
        assert_eq!(positions(&constant([3i32, 1, 3, 1]).argmax(0)), [0]);
        assert_eq!(positions(&constant([3.0, 1.0, 3.0, 1.0]).argmin(0)), [1]);
        assert_eq!(positions(&constant([true, false]).argsort(0)), [1, 0]);
        let (best, at) = x.top_k(2, 1);
        let best = evaluate(&best).unwrap().to_vec::<f64>();
        assert!(best[0].is_nan() && best[1] == 2.0 && best[2].is_nan() && best[3] == f64::INFINITY);
        assert_eq!(positions(&at), [1, 0, 3, 1]);
    }

    #[test]
    fn the_gradient_of_sort_goes_back_to_its_origin() {
        let x = placeholder("x", DType::F64, [3]);
        let loss = (x.sort(0) * constant([1.0, 10.0, 100.0])).sum();
        let graph = crate::Graph::capture(&grad(&loss, &[&x]), &[]);
        let results = interpret(&graph, &Feeds::new([("x", Array::from([7.0, 9.0, 8.0]))])).unwrap();
        assert_eq!(results.fetches[0], Array::from([1.0, 100.0, 10.0]));
    }

    #[test]
    fn the_extreme_of_nothing_is_refused() {
        let x = placeholder("x", DType::F32, (3, 0));
        let message = Tensor::try_apply(ArgReduce { max: true, axis: 1 }, [x]).unwrap_err().to_string();
        assert!(message.contains("axis 1 of f32[3,0] is empty"), "{message}");
        let x = placeholder("x", DType::F32, ["n"]).named("scores");
        let graph = crate::Graph::capture([&x.argmin(0)], &[]);
        let error = interpret(&graph, &Feeds::new([("x", Array::from(Vec::<f32>::new()))])).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("axis 0 of f32[0] is empty") && message.contains("n = 0"), "{message}");
    }

    #[test]
    #[should_panic(expected = "top_k: 4 of the 3 positions of axis 0 of x (f32[3])")]
    fn more_than_all_is_refused() {
        placeholder("x", DType::F32, [3]).top_k(4, 0);
    }
}
