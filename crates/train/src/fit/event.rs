//! What happens in a training, and those who want to know.

use thalweg_data::Batch;
use thalweg_nn::Step;
use thalweg_run::Session;

use super::{FitError, Task};
use crate::checkpoint::{Checkpoint, CheckpointError, Saved};
use crate::evaluate::Evaluation;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Training begins, or goes on after the step of the [`Moment`].
    Begin,
    /// A step was made.
    Step(StepNumbers),
    /// An epoch ended, or the model was validated between two.
    Measured {
        /// The mean loss of the rows of the epoch so far, while they were trained on.
        train_loss: f64,
        /// What the validation set says, if there is one.
        validation: Option<&'a Evaluation>,
    },
    /// An epoch ended; this was its last batch.
    Epoch(&'a Batch),
    /// A checkpoint was saved.
    Saved(&'a Saved),
    /// Something the user should know.
    Note(&'a str),
    /// Training ends, for whatever reason but an error.
    End,
}

/// What is known of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepNumbers {
    /// The mean loss of its rows.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// √Σ g² over all gradients, before clipping.
    pub gradient_norm: f64,
    /// Whether that was above the limit of [`thalweg_nn::Optimizer::clip_norm`], so that the gradients were scaled down.
    pub clipped: bool,
}

/// When it happened, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The steps made.
    pub step: u64,
    /// The step at which training ends.
    pub last_step: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// The graphs that are trained.
    pub task: &'a Task,
    /// The training graph.
    pub optimization: &'a Step,
    /// Where the variables have their values.
    pub session: &'a Session,
}

/// Whether training goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// The state is saved, and training ends in order.
    Stop,
}

impl Flow {
    /// On only if both want to go on.
    pub fn and(self, other: Flow) -> Flow {
        match self {
            Flow::Continue => other,
            Flow::Stop => Flow::Stop,
        }
    }
}

/// Someone who wants to know what happens, and may end it.
///
/// ```
/// use thalweg_train::fit::{Callback, Event, Flow, Moment};
/// let mut stop_when_good = |event: &Event<'_>, _: &Moment<'_>| match event {
///     Event::Measured { validation: Some(good), .. } if good.accuracy() > Some(0.99) => Flow::Stop,
///     _ => Flow::Continue,
/// };
/// let callback: &mut dyn Callback = &mut stop_when_good;
/// ```
pub trait Callback {
    /// Hears of an event.
    ///
    /// # Errors
    /// What it returns ends the training without saving.
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError>;

    /// Writes what it must know in a training that is resumed, into a part of each checkpoint that is its own. Nothing
    /// where nothing is said.
    fn remember(&self, memory: &mut Checkpoint) {
        let _ = memory;
    }

    /// Takes over what was remembered, before the training goes on.
    ///
    /// # Errors
    /// If that was something else: the callback at its place was another one.
    fn recall(&mut self, memory: &Checkpoint) -> Result<(), CheckpointError> {
        let _ = memory;
        Ok(())
    }
}

impl<F: FnMut(&Event<'_>, &Moment<'_>) -> Flow> Callback for F {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        Ok(self(event, moment))
    }
}
