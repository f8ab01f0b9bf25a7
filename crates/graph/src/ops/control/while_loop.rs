//! [`while_loop()`]: what users call.

use std::panic::Location;

use thalweg_array::{DType, IntoSize, Size};

use super::close::Draft;
use super::scan::Scan;
use crate::error::{BuildError, ShapeError};
use crate::ops::source::placeholder_like;
use crate::tensor::{Tensor, TensorId};

/// Takes `body` of the carries as long as `condition` holds of them, a truth value without axes, and gives what they are then;
/// if it does not hold at first, they are given back as they are.
///
/// Both closures build graphs of a step, as that of [`scan()`](super::scan()) does; `condition` is called twice, for the first step
/// and the next. How many steps there were is not known to anybody, so there is no gradient and nothing is stacked;
/// [`WhileLoop::at_most`] has one.
///
/// ```
/// use thalweg_graph::ops::control::while_loop;
/// use thalweg_graph::{constant, reference};
/// // √2 by Newton, until it changes no more.
/// let found = while_loop(
///     &[&constant(1.0), &constant(2.0)],
///     |x| (&x[0] - &x[1]).abs().greater(1e-12),
///     |x| vec![(&x[0] + 2.0 / &x[0]) * 0.5, x[0].clone()],
/// );
/// assert!((reference::evaluate(&found[0])?.item().unwrap() - 2f64.sqrt()).abs() < 1e-12);
/// # Ok::<(), thalweg_graph::EvalError>(())
/// ```
///
/// # Panics
/// If the condition is no truth value without axes; if a step gives a carry back in another dtype or shape, updates a variable
/// or draws random numbers, which [`WhileLoop::at_most`] allows.
#[track_caller]
pub fn while_loop(
    carry: &[&Tensor],
    condition: impl Fn(&[Tensor]) -> Tensor,
    body: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
) -> Vec<Tensor> {
    WhileLoop::new().run(carry, condition, body)
}

/// A [`while_loop()`] with settings.
#[derive(Clone, Debug, Default)]
pub struct WhileLoop {
    at_most: Option<Size>,
}

/// More steps than a loop ever takes.
const UNBOUNDED: usize = u32::MAX as usize;

impl WhileLoop {
    /// Until the condition holds no more.
    pub fn new() -> WhileLoop {
        WhileLoop::default()
    }

    /// At most so many steps, so that there is a gradient: it is a [`scan()`](super::scan()) of so many, in which the steps
    /// after the last are computed too, but change nothing. Where they are not finite, neither is the gradient.
    ///
    /// ```
    /// use thalweg_graph::ops::control::WhileLoop;
    /// use thalweg_graph::{Variable, grad, reference};
    /// let x = Variable::new("x", 3.0);
    /// // Doubled until it is above 20.
    /// let found = WhileLoop::new().at_most(10).run(&[&x], |x| x[0].less(20.0), |x| vec![&x[0] * 2.0]);
    /// let gradient = grad(&found[0], &[&x]);
    /// assert_eq!(reference::evaluate(&found[0])?.item().unwrap(), 24.0);
    /// assert_eq!(reference::evaluate(&gradient[0])?.item().unwrap(), 8.0);
    /// # Ok::<(), thalweg_graph::EvalError>(())
    /// ```
    pub fn at_most(self, steps: impl IntoSize) -> WhileLoop {
        WhileLoop { at_most: Some(steps.into_size()) }
    }

    /// As [`while_loop()`].
    ///
    /// # Panics
    /// As [`while_loop()`].
    #[track_caller]
    pub fn run(
        self,
        carry: &[&Tensor],
        condition: impl Fn(&[Tensor]) -> Tensor,
        body: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
    ) -> Vec<Tensor> {
        match self.try_run(carry, condition, body) {
            Ok(results) => results,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`WhileLoop::run`].
    ///
    /// # Errors
    /// Where [`while_loop()`] panics; the message names the carry.
    #[track_caller]
    pub fn try_run(
        self,
        carry: &[&Tensor],
        condition: impl Fn(&[Tensor]) -> Tensor,
        body: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
    ) -> Result<Vec<Tensor>, BuildError> {
        let location = crate::scope::blamed(Location::caller());
        let given: Vec<Tensor> = carry.iter().map(|&carry| carry.clone()).collect();
        let goes_on = condition(&given);
        check_flag("while_loop", "the condition", &goes_on, location)?;
        if let Some(steps) = self.at_most {
            let masked = |states: &[Tensor], _: &[Tensor]| {
                let goes_on = condition(states);
                let kept = |(after, before): (Tensor, &Tensor)| match after.meta() == before.meta() {
                    true => goes_on.select(&after, before),
                    // Refused where carries are compared.
                    false => after,
                };
                let after = body(states);
                let next = match after.len() == states.len() {
                    true => after.into_iter().zip(states).map(kept).collect(),
                    false => after,
                };
                (next, Vec::new())
            };
            return Scan::new().length(steps).try_run(carry, &[], masked).map(|(carries, _)| carries);
        }
        let first = TensorId::next();
        let flag = placeholder_like(goes_on.meta());
        let seen: Vec<Tensor> = given.iter().map(|given| placeholder_like(given.meta())).collect();
        let after = body(&seen);
        let goes_on_after = match after.len() == seen.len() {
            true => condition(&after),
            false => flag.clone(),
        };
        let draft = Draft {
            length: Size::from(UNBOUNDED),
            reverse: false,
            gated: true,
            carries: std::iter::once((flag, goes_on)).chain(seen.into_iter().zip(given)).collect(),
            inputs: Vec::new(),
            outers: Vec::new(),
            first,
        };
        let next: Vec<Tensor> = std::iter::once(goes_on_after).chain(after).collect();
        Ok(draft.close(&next, &[], location)?.split_off(1))
    }
}

/// Refuses what is no truth value without axes.
pub(super) fn check_flag(
    op: &str,
    what: &str,
    flag: &Tensor,
    location: &'static Location<'static>,
) -> Result<(), BuildError> {
    if flag.dtype() == DType::Bool && flag.rank() == 0 {
        return Ok(());
    }
    let error = ShapeError::new(format!("{what} is {}, not one truth value", flag.meta()))
        .hint("`all` and `any` make one of several; `select` decides number by number");
    Err(BuildError::new(op.into(), location, std::slice::from_ref(flag), error))
}
