//! Matrix products.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType, Shape, Size, with_dtype};

use crate::error::{BuildError, EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::elementwise::broadcast_shapes;
use crate::reference::built;
use crate::tensor::{Meta, Tensor};

impl Tensor {
    /// The matrix product over the last two axes: `[…, m, k] · […, k, n] → […, m, n]`; the axes before broadcast.
    /// A tensor of rank 1 is a row on the left, a column on the right, and its axis vanishes from the result.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let x = placeholder("x", DType::F32, ("batch", "time", 8));
    /// let w = placeholder("w", DType::F32, [8, 3]);
    /// assert_eq!(x.matmul(&w).meta().to_string(), "f32[batch,time,3]");
    /// ```
    ///
    /// # Panics
    /// If the inner sizes or the dtypes differ, or one has no axes.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        match self.try_matmul(other) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Tensor::matmul`].
    ///
    /// # Errors
    /// If the inner sizes or the dtypes differ, or one has no axes.
    #[track_caller]
    pub fn try_matmul(&self, other: &Tensor) -> Result<Tensor, BuildError> {
        let refuse = |error| {
            BuildError::new("matmul".into(), std::panic::Location::caller(), &[self.clone(), other.clone()], error)
        };
        if self.rank() == 0 || other.rank() == 0 {
            return Err(refuse(ShapeError::new("a number has no matrix product").hint("multiply with `*`")));
        }
        if let Some(error) = inner_mismatch(self, other) {
            return Err(refuse(error));
        }
        if self.rank() == 1 {
            let row = self.unsqueeze(0).try_matmul(other)?;
            return Ok(row.squeeze(if other.rank() == 1 { -1 } else { -2 }));
        }
        if other.rank() == 1 {
            return Ok(self.try_matmul(&other.unsqueeze(1))?.squeeze(-1));
        }
        // One large product instead of many small ones: the axes before are rows like any others.
        if other.rank() == 2 && self.rank() > 2 {
            let (lead, last) = self.shape().split_at(self.rank() - 1);
            let rows = lead.iter().fold(Size::from(1), |rows, size| &rows * size);
            let product = self.reshape([rows, last[0].clone()]).try_matmul(other)?;
            let shape: Shape = lead.iter().chain([&other.shape()[1]]).cloned().collect();
            return Ok(product.reshape(shape));
        }
        let lead = |t: &Tensor| -> Shape { t.shape()[..t.rank() - 2].iter().cloned().collect() };
        let batch = broadcast_shapes(&lead(self), &lead(other)).map_err(refuse)?;
        let with_batch = |t: &Tensor| {
            let shape: Shape = batch.iter().chain(&t.shape()[t.rank() - 2..]).cloned().collect();
            t.expand(&shape)
        };
        Tensor::try_apply(MatMul {}, [with_batch(self), with_batch(other)])
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        self.swap_axes(-2, -1)
    }
}

/// Why the inner sizes do not fit, said of the tensors as the user wrote them.
fn inner_mismatch(left: &Tensor, right: &Tensor) -> Option<ShapeError> {
    if left.dtype() != right.dtype() {
        return Some(
            ShapeError::new(format!("dtypes differ: {} and {}", left.dtype(), right.dtype()))
                .hint("nothing is converted silently; `cast` one of them"),
        );
    }
    let left_axis = left.rank() - 1;
    let right_axis = right.rank().saturating_sub(2);
    let (a, b) = (&left.shape()[left_axis], &right.shape()[right_axis]);
    if a == b {
        return None;
    }
    let mut error = ShapeError::new("inner sizes differ")
        .detail(format!("axis {left_axis} of left is {a}, axis {right_axis} of right is {b}"));
    if right.rank() >= 2 && &right.shape()[right.rank() - 1] == a {
        error = error.hint(format!("axis {} of right is {a}; did you mean right.t()?", right.rank() - 1));
    }
    Some(error)
}

/// `[…, m, k] · […, k, n] → […, m, n]` with equal leading axes. k = 0 gives zeros.
///
/// f16 and bf16 add up in f32. Gradients: Ā = C̄ Bᵀ, B̄ = Aᵀ C̄.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatMul {}

impl OpRules for MatMul {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [a, b] = exactly(inputs)?;
        if a.dtype != b.dtype {
            return Err(ShapeError::new(format!("dtypes differ: {} and {}", a.dtype, b.dtype)));
        }
        if a.dtype == DType::Bool {
            return Err(ShapeError::new("not defined on bool").hint("`cast` to i64 or f32"));
        }
        let rank = a.shape.rank();
        if rank < 2 || b.shape.rank() != rank || a.shape[..rank - 2] != b.shape[..rank - 2] {
            return Err(ShapeError::new("the axes before the last two differ"));
        }
        if a.shape[rank - 1] != b.shape[rank - 2] {
            return Err(ShapeError::new("inner sizes differ").detail(format!(
                "axis {} of left is {}, axis {} of right is {}",
                rank - 1,
                a.shape[rank - 1],
                rank - 2,
                b.shape[rank - 2]
            )));
        }
        let mut shape = a.shape.clone();
        shape.sizes_mut()[rank - 1] = b.shape[rank - 1].clone();
        Ok(Meta::new(a.dtype, shape))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (a, b, c) = (&cx.inputs[0], &cx.inputs[1], cx.cotangent);
        vec![
            cx.wanted[0].then(|| c.matmul(&b.t())), // [m,n] · [k,n]ᵀ → [m,k]
            cx.wanted[1].then(|| a.t().matmul(c)),  // [m,k]ᵀ · [m,n] → [k,n]
        ]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let (a, b) = (inputs[0], inputs[1]);
        let rank = a.rank();
        let (m, k, n) = (a.shape()[rank - 2], a.shape()[rank - 1], b.shape()[rank - 1]);
        let batch: usize = a.shape()[..rank - 2].iter().product();
        let is_float = a.dtype().is_float();
        let (af, bf) = if is_float { (a.to_vec::<f64>(), b.to_vec::<f64>()) } else { (vec![], vec![]) };
        let (ai, bi) = if is_float { (vec![], vec![]) } else { (a.to_vec::<i64>(), b.to_vec::<i64>()) };
        let at = |batch: usize, i: usize, j: usize, p: usize| ((batch * m + i) * k + p, (batch * k + p) * n + j);
        let storage = with_dtype!(cx.dtype, T => {
            use thalweg_array::Element;
            let mut c: Vec<T> = Vec::with_capacity(batch * m * n);
            for (s, i, j) in (0..batch).flat_map(|s| (0..m).flat_map(move |i| (0..n).map(move |j| (s, i, j)))) {
                c.push(if is_float {
                    T::from_f64((0..k).map(|p| at(s, i, j, p)).map(|(x, y)| af[x] * bf[y]).sum())
                } else {
                    let products = (0..k).map(|p| at(s, i, j, p)).map(|(x, y)| ai[x].wrapping_mul(bi[y]));
                    T::from_i64(products.fold(0, i64::wrapping_add))
                });
            }
            T::into_storage(c)
        });
        Ok(built(cx.shape, storage))
    }
}
