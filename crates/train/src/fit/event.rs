//! What happens in a training, and those who want to know of it or to change it.

use std::path::Path;

use thalweg_data::{Batch, Loader};
use thalweg_nn::Step;
use thalweg_run::Session;
use thalweg_run::graph::{Tensor, Variable};

use super::{FitError, Task};
use crate::checkpoint::{Checkpoint, CheckpointError, Saved};
use crate::evaluate::Evaluation;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Training begins, or goes on after the step of the [`Moment`].
    Begin,
    /// The first batch of an epoch comes next, or, where training goes on within one, the next of it.
    EpochBegins,
    /// A step was made.
    Step(StepNumbers),
    /// The model is measured next.
    Measures,
    /// An epoch ended, or the model was validated between two.
    Measured {
        /// The mean loss of the rows of the epoch so far, while they were trained on.
        train_loss: f64,
        /// What the validation set says, if there is one.
        validation: Option<&'a Evaluation>,
    },
    /// An epoch ended; this was its last batch.
    EpochEnds(&'a Batch),
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
    /// The steps that had been made when the training began, or this phase of it.
    pub first_step: u64,
    /// The step at which it ends.
    pub last_step: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Whether the training goes on from a checkpoint.
    pub resumed: bool,
    /// The folder of the run, if it is saved.
    pub run: Option<&'a Path>,
    /// The graphs that are trained.
    pub task: &'a Task,
    /// What is made smaller: the training loss, as callbacks changed it.
    pub loss: &'a Tensor,
    /// The training graph.
    pub optimization: &'a Step,
    /// Where the variables have their values.
    pub session: &'a Session,
    /// The training data.
    pub data: &'a Loader,
}

/// How training goes on. Of what several callbacks want, all happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It goes on once the state is saved. Where nothing is saved, the model is measured only.
    Save,
    /// The state is saved, and training ends in order.
    Stop,
    /// The numbers are wrong, for this reason: training ends with [`FitError::Diverged`], which says in which tensor that
    /// began, and the session is as the last good state.
    Diverged(String),
}

/// Whether a batch is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    Take,
    /// It is left out, and the next batch comes in its place.
    Skip,
}

/// Someone who wants to know what happens in a training, and may change or end it. Everything in
/// [`callbacks`](crate::callbacks) is written with this.
///
/// | when | asked |
/// | --- | --- |
/// | once, while the graphs are built | [`loss`](Callback::loss), [`gradients`](Callback::gradients), [`rate`](Callback::rate), [`step`](Callback::step): what they change is compiled into the step |
/// | before a batch is fed | [`prepare`](Callback::prepare) |
/// | whenever something happened | [`on`](Callback::on) |
/// | at a checkpoint, and when one is resumed | [`remember`](Callback::remember), [`recall`](Callback::recall), under the [`name`](Callback::name) |
///
/// A function of event and moment is one, too:
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
    /// Under which name checkpoints hold what it remembers: without `/`, and of no other callback of the training. Who
    /// remembers nothing needs none.
    fn name(&self) -> String {
        String::new()
    }

    /// What is made smaller in place of `loss`, the training loss of the task.
    fn loss(&mut self, loss: Tensor, task: &Task) -> Tensor {
        let _ = task;
        loss
    }

    /// What moves the parameters in place of their gradients, see [`Hooks::gradients`](thalweg_nn::optim::Hooks::gradients).
    fn gradients(&mut self, gradients: Vec<(Variable, Tensor)>) -> Vec<(Variable, Tensor)> {
        gradients
    }

    /// The learning rate in place of `rate`, see [`Hooks::rate`](thalweg_nn::optim::Hooks::rate). A rate that is to follow
    /// from what happens is multiplied by a variable, which [`on`](Callback::on) writes.
    fn rate(&mut self, group: Option<&str>, rate: Tensor, made: &Tensor) -> Tensor {
        let _ = (group, made);
        rate
    }

    /// Changes the finished step, see [`Hooks::step`](thalweg_nn::optim::Hooks::step).
    fn step(&mut self, step: &mut Step) {
        let _ = step;
    }

    /// Changes a batch before it is fed, or leaves it out. A batch that is to be drawn upon by chance is changed with what
    /// [`Random`](thalweg_data::Random) gives for its epoch and position, so that a resumed training draws the same.
    ///
    /// # Errors
    /// What it returns ends the training without saving.
    fn prepare(&mut self, batch: &mut Batch, moment: &Moment<'_>) -> Result<Turn, FitError> {
        let _ = (batch, moment);
        Ok(Turn::Take)
    }

    /// Hears of an event.
    ///
    /// # Errors
    /// What it returns ends the training without saving.
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        let _ = (event, moment);
        Ok(Flow::Continue)
    }

    /// Writes what it must know in a training that is resumed, into a part of each checkpoint that is its own. Nothing
    /// where nothing is said.
    fn remember(&self, memory: &mut Checkpoint) {
        let _ = memory;
    }

    /// Takes over what was remembered, before the training goes on.
    ///
    /// # Errors
    /// If that was something else: a callback of another kind had this name.
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
