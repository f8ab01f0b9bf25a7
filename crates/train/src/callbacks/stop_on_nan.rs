//! [`StopOnNan`]: a training ends where a number is none.

use crate::fit::{Callback, Event, FitError, Flow, Moment};

/// Ends a training in whose step the loss or the norm of the gradients is NaN or infinite. What the step changed is undone,
/// and the error names the first tensor that was out of range. Every training has it.
#[derive(Clone, Copy, Debug)]
pub struct StopOnNan;

impl Callback for StopOnNan {
    fn on(&mut self, event: &Event<'_>, _: &Moment<'_>) -> Result<Flow, FitError> {
        let Event::Step(numbers) = event else { return Ok(Flow::Continue) };
        let numbers = [("loss", numbers.loss), ("norm of the gradients", numbers.gradient_norm)];
        Ok(match numbers.into_iter().find(|(_, x)| !x.is_finite()) {
            Some((what, x)) => Flow::Diverged(format!("the {what} is {x}")),
            None => Flow::Continue,
        })
    }
}
