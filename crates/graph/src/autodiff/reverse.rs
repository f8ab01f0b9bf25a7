//! Reverse mode: from one number back to everything it depends on. The rules of the ops give cotangents; this walk
//! accumulates them and skips what leads nowhere. (Linnainmaa 1970; the notation is JAX's.)

use std::collections::{BTreeMap, HashMap, HashSet};

use smallvec::SmallVec;
use thiserror::Error;

use super::recompute::Recomputation;
use super::through_loops::Through;
use crate::op::{Op, OpRules, Vjp};
use crate::scope::scope;
use crate::tensor::{Tensor, TensorId, topological_until};

/// Why a gradient cannot be taken.
#[derive(Clone, Debug, Error)]
pub enum GradError {
    /// A gradient needs one number to start from.
    #[error(
        "grad: {name} ({meta}) has axes, a gradient is that of one number (made at {location})\n  hint: reduce it first, with .mean() or .sum(), or give a cotangent to `pull_back`"
    )]
    NotScalar {
        /// The tensor.
        name: String,
        /// Its dtype and shape.
        meta: String,
        /// Where it was made.
        location: String,
    },
    /// Integers and truth values have no gradient.
    #[error(
        "grad: {name} is {dtype}; only floats have gradients (made at {location})\n  hint: `cast` to f32 before the computation"
    )]
    NotFloat {
        /// The tensor.
        name: String,
        /// Its dtype.
        dtype: String,
        /// Where it was made.
        location: String,
    },
    /// The number does not depend on the tensor.
    #[error(
        "grad: {output} does not depend on {name} ({meta}, made at {location}), or only through what has no gradient"
    )]
    Independent {
        /// The tensor that is differentiated.
        output: String,
        /// The tensor asked about.
        name: String,
        /// Its dtype and shape.
        meta: String,
        /// Where it was made.
        location: String,
    },
}

/// ∂loss/∂t for each of `wrt`, of its dtype and shape.
///
/// The loss is put into numerically stable form first, so that `log(softmax(x))` at ±10⁴ has finite gradients.
///
/// ```
/// use thalweg_graph::{Variable, autodiff::grad};
/// let w = Variable::new("w", 3.0);
/// let loss = w.square();
/// let [dw] = &grad(&loss, &[&w])[..] else { unreachable!() };
/// assert_eq!(dw.meta().to_string(), "f32[]");
/// ```
///
/// # Panics
/// With the message of [`try_grad`].
#[track_caller]
pub fn grad(loss: &Tensor, wrt: &[&Tensor]) -> Vec<Tensor> {
    match try_grad(loss, wrt) {
        Ok(gradients) => gradients,
        Err(error) => panic!("{error}"),
    }
}

/// As [`grad`].
///
/// # Errors
/// If the loss has axes or is no float, or does not depend on one of `wrt`; the message names it.
///
/// # Panics
/// If it depends on them through a [`while_loop`](crate::ops::control::while_loop()) without a bound.
#[track_caller]
pub fn try_grad(loss: &Tensor, wrt: &[&Tensor]) -> Result<Vec<Tensor>, GradError> {
    if loss.rank() != 0 {
        return Err(GradError::NotScalar {
            name: loss.display_name(),
            meta: loss.meta().to_string(),
            location: loss.location().to_string(),
        });
    }
    for tensor in [loss].iter().chain(wrt) {
        if !tensor.dtype().is_float() {
            return Err(GradError::NotFloat {
                name: tensor.display_name(),
                dtype: tensor.dtype().to_string(),
                location: tensor.location().to_string(),
            });
        }
    }
    let stable = crate::passes::stable_forms::stabilize(loss, wrt);
    let gradients = scope("grad", || pull_back(&[(&stable, &stable.ones_like())], wrt));
    let found = |(gradient, tensor): (Option<Tensor>, &&Tensor)| {
        gradient.ok_or_else(|| GradError::Independent {
            output: loss.display_name(),
            name: tensor.display_name(),
            meta: tensor.meta().to_string(),
            location: tensor.location().to_string(),
        })
    };
    gradients.into_iter().zip(wrt).map(found).collect()
}

/// The cotangents of `wrt`, given those of `outputs`; `None` where nothing flows. The nodes of `wrt` are leaves: the
/// walk does not look behind them.
#[track_caller]
pub fn pull_back(outputs: &[(&Tensor, &Tensor)], wrt: &[&Tensor]) -> Vec<Option<Tensor>> {
    let leaves: HashSet<TensorId> = wrt.iter().map(|tensor| tensor.id()).collect();
    let order = topological_until(outputs.iter().map(|(output, _)| *output), |tensor| leaves.contains(&tensor.id()));

    // What lies between the leaves and the outputs; everything else needs no cotangent.
    let mut active = leaves.clone();
    for tensor in &order {
        if tensor.inputs().iter().any(|input| active.contains(&input.id())) {
            active.insert(tensor.id());
        }
    }

    let mut pending: HashMap<TensorId, SmallVec<[Tensor; 2]>> = HashMap::new();
    for (output, cotangent) in outputs {
        pending.entry(output.id()).or_default().push((*cotangent).clone());
    }
    let mut recomputation = Recomputation::new(&order);
    let mut found: HashMap<TensorId, Tensor> = HashMap::new();
    // The cotangents of the results of each loop.
    let mut of_results: HashMap<TensorId, BTreeMap<usize, Tensor>> = HashMap::new();
    for tensor in order.iter().rev() {
        if !active.contains(&tensor.id()) {
            continue;
        }
        if let (Op::Loop(op), Some(cotangents)) = (tensor.op(), of_results.remove(&tensor.id())) {
            let first = cotangents.values().next().expect("a result has a cotangent");
            let again = recomputation.of(tensor, first);
            let seen = |tensor: &Tensor| again.and_then(|again| again.get(&tensor.id())).unwrap_or(tensor).clone();
            let seen: Vec<Tensor> = tensor.inputs().iter().map(seen).collect();
            let wanted: Vec<bool> = tensor.inputs().iter().map(|input| active.contains(&input.id())).collect();
            let (given, location) = (tensor.inputs(), tensor.location());
            let through = Through { op, given, seen: &seen, cotangents: &cotangents, wanted: &wanted, location };
            let pulled = crate::scope::on_behalf_of(location, || match op.gated {
                true => through.pull_back_branch(),
                false => through.pull_back(),
            });
            for (input, cotangent) in given.iter().zip(pulled) {
                if let Some(cotangent) = cotangent {
                    debug_assert_eq!(cotangent.meta(), input.meta(), "the gradient of {tensor:?} has another shape");
                    pending.entry(input.id()).or_default().push(cotangent);
                }
            }
            continue;
        }
        let Some(terms) = pending.remove(&tensor.id()) else { continue };
        let cotangent = sum(terms);
        if leaves.contains(&tensor.id()) {
            found.insert(tensor.id(), cotangent);
            continue;
        }
        if let Op::Output(output) = tensor.op() {
            let results = of_results.entry(tensor.inputs()[0].id()).or_default();
            let sum = results.remove(&output.index).map_or(cotangent.clone(), |sum| sum + &cotangent);
            results.insert(output.index, sum);
            continue;
        }
        let wanted: SmallVec<[bool; 4]> = tensor.inputs().iter().map(|input| active.contains(&input.id())).collect();
        // The values that the rule sees: those of the forward pass, or the same computed again.
        let again = recomputation.of(tensor, &cotangent);
        let seen = |tensor: &Tensor| again.and_then(|again| again.get(&tensor.id())).unwrap_or(tensor).clone();
        let (inputs, output): (SmallVec<[Tensor; 3]>, Tensor) =
            (tensor.inputs().iter().map(seen).collect(), seen(tensor));
        let cx = Vjp { inputs: &inputs, output: &output, cotangent: &cotangent, wanted: &wanted };
        let rule = || crate::scope::inside(tensor.scope(), || tensor.op().vjp(&cx));
        let cotangents = crate::scope::on_behalf_of(tensor.location(), rule);
        for ((input, wanted), cotangent) in tensor.inputs().iter().zip(&wanted).zip(cotangents) {
            if let (true, Some(cotangent)) = (wanted, cotangent) {
                debug_assert_eq!(cotangent.meta(), input.meta(), "the gradient of {tensor:?} has another shape");
                pending.entry(input.id()).or_default().push(cotangent);
            }
        }
    }
    wrt.iter().map(|tensor| found.get(&tensor.id()).cloned()).collect()
}

fn sum(terms: SmallVec<[Tensor; 2]>) -> Tensor {
    let mut terms = terms.into_iter();
    let first = terms.next().expect("an entry has a term");
    terms.fold(first, |sum, term| sum + term)
}

#[cfg(test)]
mod tests {
    use thalweg_array::{Array, DType};

    use super::*;
    use crate::graph::Graph;
    use crate::ops::source::placeholder;
    use crate::reference::{Feeds, interpret};

    #[test]
    fn the_gradient_of_least_squares() {
        let x = placeholder("x", DType::F64, ["n"]);
        let w = placeholder("w", DType::F64, ());
        let loss = (&w * &x - 1.0).square().mean();
        let gradients = grad(&loss, &[&w]);
        let feeds = Feeds::new([("x", Array::from([1.0, 2.0, 3.0])), ("w", Array::scalar(2.0))]);
        let results = interpret(&Graph::capture(&gradients, &[]), &feeds).unwrap();
        // 2/n Σ x (wx − 1) = 2/3 (1·1 + 2·3 + 3·5)
        assert!((results.fetches[0].item().unwrap() - 2.0 / 3.0 * 22.0).abs() < 1e-12);
    }

    #[test]
    fn second_order() {
        let x = placeholder("x", DType::F64, ());
        let first = grad(&x.tanh(), &[&x]);
        let second = grad(&first[0], &[&x]);
        let at = 0.3f64;
        let results = interpret(&Graph::capture(&second, &[]), &Feeds::new([("x", Array::scalar(at))])).unwrap();
        let expected = -2.0 * at.tanh() * (1.0 - at.tanh().powi(2));
        assert!((results.fetches[0].item().unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_tensor_with_axes_has_no_gradient() {
        let x = placeholder("x", DType::F32, ["n"]).named("values");
        let message = try_grad(&x.square(), &[&x]).unwrap_err().to_string();
        assert!(message.contains("f32[n]") && message.contains(".mean()"), "{message}");
        let other = placeholder("other", DType::F32, ());
        let message = try_grad(&x.mean(), &[&other]).unwrap_err().to_string();
        assert!(message.contains("does not depend on other"), "{message}");
    }

    #[test]
    fn a_long_chain_is_built_differentiated_and_dropped_on_a_small_stack() {
        let body = || {
            let x = placeholder("x", DType::F32, ());
            let mut y = x.clone();
            for _ in 0..100_000 {
                y = y.sin();
            }
            let gradients = grad(&y, &[&x]);
            assert!(Graph::capture(&gradients, &[]).len() > 200_000);
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(body).unwrap().join().unwrap();
    }
}
