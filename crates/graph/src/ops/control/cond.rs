//! [`cond()`]: what users call.

use std::panic::Location;

use thalweg_array::Size;

use super::close::Draft;
use super::while_loop::check_flag;
use crate::error::{BuildError, ShapeError};
use crate::ops::source::{constant, placeholder_like, zeros};
use crate::tensor::{Tensor, TensorId};

/// What `then` makes of the inputs if the predicate holds, a truth value without axes, else what `otherwise` makes of them;
/// both give the same number of tensors of the same dtypes and shapes.
///
/// Of what depends on the inputs, only the branch that is taken is computed; what the closures use besides is there in any
/// case. Random numbers are drawn in any case too, each branch its own. Gradients flow through the branch that is taken,
/// and compute it again, with the same random numbers.
///
/// ```
/// use thalweg_graph::ops::control::cond;
/// use thalweg_graph::{Variable, constant, grad, reference};
/// let x = Variable::new("x", 3.0);
/// let found = cond(&x.greater(2.0), &[&x], |x| vec![x[0].square()], |x| vec![-&x[0]]);
/// let gradient = grad(&found[0], &[&x]);
/// assert_eq!(reference::evaluate(&found[0])?.item().unwrap(), 9.0);
/// assert_eq!(reference::evaluate(&gradient[0])?.item().unwrap(), 6.0);
/// # Ok::<(), thalweg_graph::EvalError>(())
/// ```
///
/// # Panics
/// With the message of [`try_cond`].
#[track_caller]
pub fn cond(
    predicate: &Tensor,
    inputs: &[&Tensor],
    then: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
    otherwise: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
) -> Vec<Tensor> {
    match try_cond(predicate, inputs, then, otherwise) {
        Ok(results) => results,
        Err(error) => panic!("{error}"),
    }
}

/// As [`cond()`].
///
/// # Errors
/// If the predicate is no truth value without axes; if the branches differ in what they give or update a variable.
#[track_caller]
pub fn try_cond(
    predicate: &Tensor,
    inputs: &[&Tensor],
    then: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
    otherwise: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
) -> Result<Vec<Tensor>, BuildError> {
    let location = crate::scope::blamed(Location::caller());
    check_flag("cond", "the predicate", predicate, location)?;
    let begin = |results: &[Tensor]| Ok(results.iter().map(|like| zeros(like.shape(), like.dtype())).collect());
    let taken = branch(predicate, inputs, then, begin, location)?;
    let begin = |results: &[Tensor]| {
        let metas = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.meta().to_string()).collect::<Vec<_>>();
        let (one, other) = (metas(&taken), metas(results));
        if one != other {
            let reason = format!("one branch gives {}, the other {}", one.join(", "), other.join(", "));
            return Err(BuildError::new("cond".into(), location, &[], ShapeError::new(reason)));
        }
        Ok(taken.clone())
    };
    branch(&predicate.logical_not(), inputs, otherwise, begin, location)
}

/// What `body` makes of the inputs if the flag holds, else what `begin` says: a loop that takes one step or none.
fn branch(
    flag: &Tensor,
    inputs: &[&Tensor],
    body: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
    begin: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>, BuildError>,
    location: &'static Location<'static>,
) -> Result<Vec<Tensor>, BuildError> {
    let first = TensorId::next();
    let seen: Vec<Tensor> = inputs.iter().map(|input| placeholder_like(input.meta())).collect();
    let results = body(&seen);
    let begin = begin(&results)?;
    let outers = seen.into_iter().zip(inputs.iter().map(|&input| input.clone())).collect();
    once_if(flag, results.into_iter().zip(begin).collect(), outers, first, location)
}

/// For each pair the first, made of what the outers see, if the flag holds, else the second.
pub(crate) fn once_if(
    flag: &Tensor,
    results: Vec<(Tensor, Tensor)>,
    outers: Vec<(Tensor, Tensor)>,
    first: TensorId,
    location: &'static Location<'static>,
) -> Result<Vec<Tensor>, BuildError> {
    let seen_flag = (placeholder_like(flag.meta()), flag.clone());
    let carry = |(_, begin): &(Tensor, Tensor)| (placeholder_like(begin.meta()), begin.clone());
    let carries = std::iter::once(seen_flag).chain(results.iter().map(carry)).collect();
    let next: Vec<Tensor> = std::iter::once(constant(false)).chain(results.into_iter().map(|(made, _)| made)).collect();
    let draft =
        Draft { length: Size::from(1), reverse: false, gated: true, carries, inputs: Vec::new(), outers, first };
    Ok(draft.close(&next, &[], location)?.split_off(1))
}
