//! [`Watch`]: what a callback looks at.

use std::fmt;

use crate::checkpoint::Goal;
use crate::evaluate::Evaluation;
use crate::fit::{Event, FitError};

/// A number of each measurement, and which way is better.
///
/// ```
/// use thalweg_train::checkpoint::Goal;
/// use thalweg_train::callbacks::Watch;
/// let f1 = Watch::new("macro F1", Goal::Max, |_, validation| {
///     Some(validation?.matrix.as_ref()?.macro_average().f1)
/// });
/// ```
#[derive(Clone, Copy)]
pub struct Watch {
    name: &'static str,
    goal: Goal,
    of: fn(f64, Option<&Evaluation>) -> Option<f64>,
}

impl Watch {
    /// A number of one's own: `of` gets the training loss and what the validation set says, and gives `None` where there is
    /// no such number.
    pub fn new(name: &'static str, goal: Goal, of: fn(f64, Option<&Evaluation>) -> Option<f64>) -> Watch {
        Watch { name, goal, of }
    }

    /// The loss on the rows that are trained on.
    pub fn train_loss() -> Watch {
        Watch::new("training loss", Goal::Min, |loss, _| Some(loss))
    }

    /// The loss on the validation set.
    pub fn valid_loss() -> Watch {
        Watch::new("validation loss", Goal::Min, |_, validation| Some(validation?.loss))
    }

    /// The accuracy on the validation set.
    pub fn valid_accuracy() -> Watch {
        Watch::new("validation accuracy", Goal::Max, |_, validation| validation?.accuracy())
    }

    /// What is watched.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Which way is better.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// The number, if the event is a measurement.
    ///
    /// # Errors
    /// If this training does not measure it.
    pub fn read(&self, event: &Event<'_>) -> Result<Option<f64>, FitError> {
        let Event::Measured { train_loss, validation } = event else { return Ok(None) };
        match (self.of)(*train_loss, *validation) {
            Some(value) => Ok(Some(value)),
            None => Err(FitError::Setting {
                setting: format!("watching the {}", self.name),
                reason: "this training does not measure it; is there a validation set?".into(),
            }),
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("name", &self.name).field("goal", &self.goal).finish_non_exhaustive()
    }
}
