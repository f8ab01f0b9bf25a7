//! Running sums.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType, with_dtype};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::reference::{built, multi_indices, ravel};
use crate::tensor::{Meta, Tensor};

impl Tensor {
    /// The sum up to each position along `axis`, that position included.
    ///
    /// # Panics
    /// On bool.
    #[track_caller]
    pub fn cum_sum(&self, axis: isize) -> Tensor {
        Tensor::apply(CumSum { axis: self.axis(axis), exclusive: false, reverse: false }, [self.clone()])
    }
}

/// Sums along an axis: y\[i\] = Σ x\[j\] over j ≤ i. f16 and bf16 add up in f32.
///
/// Gradient: the same from the other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CumSum {
    /// Along which axis.
    pub axis: usize,
    /// j < i instead of j ≤ i: begins with 0.
    pub exclusive: bool,
    /// From the end: j ≥ i or j > i.
    pub reverse: bool,
}

impl OpRules for CumSum {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        if self.axis >= x.shape.rank() {
            return Err(ShapeError::new(format!("there is no axis {} in {x}", self.axis)));
        }
        if x.dtype == DType::Bool {
            return Err(ShapeError::new("not defined on bool").hint("`cast` to i64 to count"));
        }
        Ok(x.clone())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(Tensor::apply(CumSum { reverse: !self.reverse, ..self.clone() }, [cx.cotangent.clone()]))]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let is_float = cx.dtype.is_float();
        let (floats, ints) =
            if is_float { (inputs[0].to_vec::<f64>(), vec![]) } else { (vec![], inputs[0].to_vec::<i64>()) };
        // The position that stands `steps` before `index` in the direction of the sum.
        let before = |index: &[usize], steps: usize| {
            let mut index = index.to_vec();
            index[self.axis] = if self.reverse { index[self.axis] + steps } else { index[self.axis] - steps };
            ravel(&index, cx.shape)
        };
        let storage = with_dtype!(cx.dtype, T => {
            use thalweg_array::Element;
            let sum = |index: Vec<usize>| {
                let at = index[self.axis];
                let earlier = if self.reverse { cx.shape[self.axis] - 1 - at } else { at };
                let terms = (self.exclusive as usize..=earlier).rev().map(|steps| before(&index, steps));
                if is_float {
                    T::from_f64(terms.map(|position| floats[position]).sum())
                } else {
                    T::from_i64(terms.map(|position| ints[position]).fold(0, i64::wrapping_add))
                }
            };
            T::into_storage(multi_indices(cx.shape).map(sum).collect())
        });
        Ok(built(cx.shape, storage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::constant;
    use crate::reference::evaluate;

    #[test]
    fn running_sums_in_four_ways() {
        let x = constant([[1i32, 2, 3], [10, 20, 30]]);
        let run = |exclusive, reverse| {
            evaluate(&Tensor::apply(CumSum { axis: 1, exclusive, reverse }, [x.clone()])).unwrap().to_vec::<i32>()
        };
        assert_eq!(run(false, false), [1, 3, 6, 10, 30, 60]);
        assert_eq!(run(true, false), [0, 1, 3, 0, 10, 30]);
        assert_eq!(run(false, true), [6, 5, 3, 60, 50, 30]);
        assert_eq!(run(true, true), [5, 3, 0, 50, 30, 0]);
        assert_eq!(evaluate(&x.cum_sum(0)).unwrap(), Array::from([[1i32, 2, 3], [11, 22, 33]]));
    }
}
