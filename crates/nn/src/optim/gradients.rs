//! From a loss to the gradients of what it depends on.

use std::collections::HashSet;

use thalweg_graph::tensor::topological_until;
use thalweg_graph::{DType, Op, Tensor, Variable, grad};

/// The trainable variables that `loss` depends on through something with a gradient, in the order of their names.
#[track_caller]
pub(crate) fn parameters_of(loss: &Tensor) -> Vec<Variable> {
    let stopped = |tensor: &Tensor| matches!(tensor.op(), Op::StopGradient(_));
    let mut seen = HashSet::new();
    let mut parameters: Vec<Variable> = topological_until([loss], stopped)
        .iter()
        .filter_map(|tensor| Variable::try_from(tensor).ok())
        .filter(|variable| variable.is_trainable() && variable.dtype().is_float() && seen.insert(variable.id()))
        .collect();
    assert!(!parameters.is_empty(), "minimize: {} depends on no trainable variable", loss.display_name());
    if let Some(unnamed) = parameters.iter().find(|variable| variable.core().known_name().is_none()) {
        panic!(
            "minimize: a variable {} has no name (made at {})\n  hint: build the module with Init::build, or call \
             name_variables() on it",
            unnamed.meta(),
            unnamed.location()
        );
    }
    parameters.sort_by_key(|variable| variable.name());
    if let Some(pair) = parameters.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
        panic!(
            "minimize: two variables are called `{}` (made at {} and {})",
            pair[0].name(),
            pair[0].location(),
            pair[1].location()
        );
    }
    parameters
}

/// The gradient of `loss` for each of `parameters`.
#[track_caller]
pub(crate) fn differentiate(loss: &Tensor, parameters: &[Variable]) -> Vec<(Variable, Tensor)> {
    let tensors: Vec<&Tensor> = parameters.iter().map(Variable::tensor).collect();
    parameters.iter().cloned().zip(grad(loss, &tensors)).collect()
}

/// What rules compute in: f64 for f64, f32 for f32 and the storage formats f16 and bf16.
pub(crate) fn working_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// √Σ g² over all numbers of all gradients.
pub(crate) fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> Tensor {
    let squares =
        gradients.into_iter().map(|gradient| gradient.cast(working_dtype(gradient.dtype())).square().sum()).collect();
    sum_of_numbers(squares).sqrt()
}

/// `tensors` scaled together so that √Σ x² over all their numbers is at most `limit` (Pascanu, Mikolov, Bengio 2013).
pub fn clipped_by_norm(tensors: &[Tensor], limit: f64) -> Vec<Tensor> {
    // 1 while the norm is below the limit, and no division by 0.
    let scale = global_norm(tensors).maximum(limit).reciprocal() * limit;
    tensors.iter().map(|tensor| tensor * scale.cast(tensor.dtype())).collect()
}

/// The sum of numbers without axes, each f32 or f64: f64 if one is.
pub(crate) fn sum_of_numbers(numbers: Vec<Tensor>) -> Tensor {
    let dtype = if numbers.iter().any(|number| number.dtype() == DType::F64) { DType::F64 } else { DType::F32 };
    let sum = numbers.into_iter().map(|number| number.cast(dtype)).reduce(|sum, number| sum + number);
    sum.unwrap_or_else(|| thalweg_graph::zeros((), dtype))
}
