//! Forward mode and what is built from both modes.
//!
//! The cotangents x̄ = Jᵀ ȳ that reverse mode gives are linear in ȳ. Reverse mode through them, from x̄ back to ȳ, gives
//! the transpose of the transpose, ẏ = J ẋ: forward mode without rules of its own. The ȳ in between is never needed
//! and drops out of the graph. (Townsend 2017, "A new trick for calculating Jacobian vector products".)

use thalweg_array::{Shape, Size};

use crate::autodiff::reverse::{GradError, pull_back, try_grad};
use crate::ops::index::iota;
use crate::ops::source::placeholder_like;
use crate::scope::scope;
use crate::tensor::Tensor;

/// ẏ = J ẋ for each of `outputs`: how they change when `inputs` move along `tangents`, of their dtypes and shapes.
/// Outputs that do not depend on the inputs do not change.
///
/// ```
/// use thalweg_graph::autodiff::jvp;
/// use thalweg_graph::{constant, reference};
/// let x = constant([1.0, 2.0]);
/// let y = x.square();
/// let moved = jvp(&[&y], &[&x], &[&constant([1.0, 10.0])]);
/// assert_eq!(reference::evaluate(&moved[0])?.to_vec::<f64>(), [2.0, 40.0]);
/// # Ok::<(), thalweg_graph::EvalError>(())
/// ```
///
/// # Panics
/// If there are not as many tangents as inputs, or one differs in dtype or shape.
#[track_caller]
pub fn jvp(outputs: &[&Tensor], inputs: &[&Tensor], tangents: &[&Tensor]) -> Vec<Tensor> {
    assert!(inputs.len() == tangents.len(), "jvp: {} tangents for {} inputs", tangents.len(), inputs.len());
    for (input, tangent) in inputs.iter().zip(tangents) {
        assert!(
            input.meta() == tangent.meta(),
            "jvp: the tangent of {} ({}) is {}; it must be of the same dtype and shape   --> {}",
            input.display_name(),
            input.meta(),
            tangent.meta(),
            std::panic::Location::caller()
        );
    }
    scope("jvp", || {
        let seeds: Vec<Tensor> = outputs.iter().map(|output| placeholder_like(output.meta())).collect();
        let seeded: Vec<(&Tensor, &Tensor)> = outputs.iter().copied().zip(&seeds).collect();
        let cotangents = pull_back(&seeded, inputs);
        let moved: Vec<(&Tensor, &Tensor)> = cotangents
            .iter()
            .zip(tangents)
            .filter_map(|(cotangent, tangent)| cotangent.as_ref().map(|cotangent| (cotangent, *tangent)))
            .collect();
        let tangents = pull_back(&moved, &seeds.iter().collect::<Vec<_>>());
        tangents.into_iter().zip(outputs).map(|(tangent, y)| tangent.unwrap_or_else(|| y.zeros_like())).collect()
    })
}

/// ∂y/∂x, of the shape of `y` followed by that of `x`. A Jacobian holds a number for each pair of elements and takes a
/// walk over the graph for each element of the smaller one: for small tensors with known sizes.
///
/// ```
/// use thalweg_graph::autodiff::jacobian;
/// use thalweg_graph::{Array, constant, reference};
/// let x = constant([1.0, 2.0]);
/// let j = jacobian(&x.square(), &x);
/// assert_eq!(reference::evaluate(&j)?, Array::from([[2.0, 0.0], [0.0, 4.0]]));
/// # Ok::<(), thalweg_graph::EvalError>(())
/// ```
///
/// # Panics
/// If a size of `x` or `y` is a name.
#[track_caller]
pub fn jacobian(y: &Tensor, x: &Tensor) -> Tensor {
    let count = |tensor: &Tensor| match tensor.shape().numbers() {
        Some(sizes) => sizes.iter().product::<usize>(),
        None => panic!(
            "jacobian: {} ({}) has a size without a number   --> {}",
            tensor.display_name(),
            tensor.meta(),
            std::panic::Location::caller()
        ),
    };
    let (rows, columns) = (count(y), count(x));
    let shape: Shape = y.shape().iter().chain(x.shape().iter()).cloned().collect();
    if rows == 0 || columns == 0 {
        return crate::ops::source::zeros(shape, y.dtype());
    }
    // 1 at one element, 0 elsewhere.
    let unit = |like: &Tensor, count: usize, at: usize| {
        iota([count], 0, thalweg_array::DType::I64).equal(at as i64).cast(like.dtype()).reshape(like.shape())
    };
    let lines: Vec<Tensor> = if rows <= columns {
        let row = |at| pull_back(&[(y, &unit(y, rows, at))], &[x]).remove(0).unwrap_or_else(|| x.zeros_like());
        (0..rows).map(row).collect()
    } else {
        (0..columns).map(|at| jvp(&[y], &[x], &[&unit(x, columns, at)]).remove(0)).collect()
    };
    let flat: Vec<Tensor> = lines.iter().map(|line| line.reshape([line.shape().count()])).collect();
    let stacked = Tensor::stack(&flat.iter().collect::<Vec<_>>(), if rows <= columns { 0 } else { 1 });
    debug_assert_eq!(stacked.shape().count(), Size::from(rows * columns));
    stacked.reshape(shape)
}

/// H v with the Hessian H = ∂²loss/∂x², without H itself (Pearlmutter 1994): the gradient's change along `v`.
///
/// ```
/// use thalweg_graph::autodiff::hessian_vector_product;
/// use thalweg_graph::{constant, reference};
/// let x = constant([1.0, 2.0]);
/// let loss = (x.square() * &x).sum();
/// let hv = hessian_vector_product(&loss, &x, &constant([1.0, 1.0]))?;
/// assert_eq!(reference::evaluate(&hv)?.to_vec::<f64>(), [6.0, 12.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the loss has axes, is no float, or does not depend on `x`.
///
/// # Panics
/// If `v` is not of the dtype and shape of `x`.
#[track_caller]
pub fn hessian_vector_product(loss: &Tensor, x: &Tensor, v: &Tensor) -> Result<Tensor, GradError> {
    let gradient = try_grad(loss, &[x])?.remove(0);
    Ok(jvp(&[&gradient], &[x], &[v]).remove(0))
}

#[cfg(test)]
mod tests {
    use thalweg_array::{Array, DType};

    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::evaluate;

    #[test]
    fn forward_mode_agrees_with_the_jacobian() {
        let x = constant([[0.3, -0.4], [0.5, 0.7]]);
        let w = constant([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]]);
        let y = x.matmul(&w).tanh().softmax(-1);
        let v = constant([[1.0, -1.0], [0.5, 2.0]]);
        let moved = evaluate(&jvp(&[&y], &[&x], &[&v])[0]).unwrap().to_vec::<f64>();
        let wide = evaluate(&jacobian(&y, &x)).unwrap();
        assert_eq!(wide.shape(), [2, 3, 2, 2]);
        let tall = evaluate(&jacobian(&y.sum_over(1), &x)).unwrap();
        assert_eq!(tall.shape(), [2, 2, 2]);
        let direction = evaluate(&v).unwrap().to_vec::<f64>();
        for (row, moved) in wide.to_vec::<f64>().chunks(4).zip(&moved) {
            let product: f64 = row.iter().zip(&direction).map(|(j, v)| j * v).sum();
            assert!((product - moved).abs() < 1e-12);
        }
        // Rows of a softmax add up to 1, whatever x is.
        assert!(tall.to_vec::<f64>().iter().all(|x| x.abs() < 1e-12));
    }

    #[test]
    fn what_does_not_depend_does_not_move() {
        let x = placeholder("x", DType::F64, ["n"]);
        let other = constant([1.0, 2.0]);
        let moved = jvp(&[&other], &[&x], &[&x.ones_like()]);
        assert_eq!(evaluate(&moved[0]).unwrap(), Array::from([0.0, 0.0]));
    }

    #[test]
    #[should_panic(expected = "jvp: the tangent of x (f64[n]) is f64[]")]
    fn a_tangent_has_the_shape_of_its_input() {
        let x = placeholder("x", DType::F64, ["n"]);
        jvp(&[&x], &[&x], &[&constant(1.0)]);
    }
}
