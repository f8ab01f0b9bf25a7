//! [`fit`]: the training loop.
//!
//! Batches are prepared ahead; after each epoch the model is measured on the validation set and saved; what happens is
//! told to [`Callback`]s, which may change or end it. All that decides how training goes on stands in its checkpoints: weights, slots,
//! the session's counter, the place in the data, the sums of the metrics, what callbacks remember. So a training that was stopped anywhere and
//! resumed ends with the same bytes as one that was not.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `options` | [`FitOptions`], [`RunFolder`], [`Length`] |
//! | `event` | [`Event`], [`Callback`], [`Flow`]; those that exist are in [`callbacks`](crate::callbacks) |
//! | `callbacks` | all of a training: asked in turn, remembered by name |
//! | `minimize` | [`Minimize`]: where the graphs of a step come from |
//! | `state` | what a checkpoint holds of a training |
//! | `diagnose` | which tensor went wrong first |
//! | `error` | [`FitError`] |

mod callbacks;
mod diagnose;
mod error;
mod event;
mod minimize;
mod options;
mod state;

use std::path::PathBuf;
use std::time::Instant;

use thalweg_data::{Batch, Batches, Dataset, Loader};
use thalweg_nn::State;
use thalweg_nn::optim::Accumulation;
use thalweg_run::Session;
use thalweg_run::graph::Tensor;

pub use error::FitError;
pub use event::{Callback, Event, Flow, Moment, StepNumbers, Turn};
pub use minimize::Minimize;
pub(crate) use minimize::make_step;
pub use options::{FitOptions, Length, RunFolder};

use crate::callbacks::{Saving, ShowProgress, StopOnNan, TensorBoard};
use crate::checkpoint::{Checkpoint, EVENTS, Goal, Loaded, Saver, SaverOptions};
use crate::evaluate::{Inference, evaluate, rows_at_a_time, scalar};
use crate::inputs::{Carried, Inputs};
use crate::metrics::Mean;
use crate::trained::StepCard;
use callbacks::{Building, Callbacks, Wishes};
use state::{Measured, Round};
pub(crate) use state::{Phase, Place, Snapshot};

/// What is trained: a graph for training and one for use, over the same variables.
#[derive(Clone, Debug)]
pub struct Task {
    /// The mean loss of a training batch: dropout drops. Placeholders are called as the columns that feed them.
    pub train_loss: Tensor,
    /// What the model says in training, if that is a tensor of its own: for callbacks that change the loss.
    pub train_output: Option<Tensor>,
    /// What the model carries from batch to batch in training.
    pub train_states: Vec<State>,
    /// The model as it is used.
    pub inference: Inference,
}

impl Task {
    /// What is trained by this loss, and is used so.
    pub fn new(train_loss: Tensor, inference: Inference) -> Task {
        Task { train_loss, train_output: None, train_states: Vec::new(), inference }
    }

    /// Which says this in training.
    pub fn output(self, train_output: Tensor) -> Task {
        Task { train_output: Some(train_output), ..self }
    }

    /// Which carries these states from batch to batch in training.
    pub fn carrying(self, states: &[State]) -> Task {
        Task { train_states: states.to_vec(), ..self }
    }
}

/// Who trains what on which data.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// Where the variables have their values; after the training, those of its last step.
    pub session: &'a Session,
    /// The graphs.
    pub task: &'a Task,
    /// How the loss is made smaller: an [`Optimizer`](thalweg_nn::Optimizer), or the step that a checkpoint carries.
    pub optimizer: &'a dyn Minimize,
    /// The training data.
    pub data: &'a Loader,
    /// The validation data, if there are any.
    pub validation: Option<&'a Dataset>,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps were made.
    Finished,
    /// All steps had been made before it was resumed.
    AlreadyFinished,
    /// The user asked for it; resumed, it goes on.
    Interrupted,
    /// A callback asked for it; resumed, it goes on.
    Stopped,
    /// The run that is resumed was in a later phase already: nothing was done.
    Behind,
}

/// What came of a training.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Why it ended.
    pub end: End,
    /// The steps made, those before it was resumed included.
    pub steps: u64,
    /// The epochs begun.
    pub epochs: u64,
    /// How long this took, in seconds; what was before it was resumed is not counted.
    pub seconds: f64,
    /// The mean loss of the rows of the last epoch, or of what there is of it, while they were trained on.
    pub train_loss: f64,
    /// The last loss on the validation set.
    pub valid_loss: Option<f64>,
    /// The last accuracy on the validation set.
    pub valid_accuracy: Option<f64>,
    /// The steps whose gradients were scaled down by [`Optimizer::clip_norm`](thalweg_nn::Optimizer::clip_norm), those before it was resumed included.
    pub clipped_steps: u64,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
}

/// Trains `training` as `options` say; `callbacks` hear what happens and may change it.
///
/// The checkpoint with the smallest validation loss is kept beside the newest.
///
/// # Errors
/// If the data do not fit the graphs, the run's folder is not empty (or, resumed, holds another training), something
/// cannot be written, or the numbers leave their range ([`FitError::Diverged`]; then the session is as the last good
/// checkpoint).
pub fn fit(
    training: &Training<'_>,
    options: &FitOptions,
    callbacks: &mut [&mut dyn Callback],
) -> Result<Fitted, FitError> {
    fit_from(Place::default(), training, options, callbacks).map(|(fitted, _)| fitted)
}

/// As [`fit`], a phase that begins at a place. Gives the place at which it ended. A phase that was over when the run was
/// saved changes nothing.
pub(crate) fn fit_from(
    place: Place,
    training: &Training<'_>,
    options: &FitOptions,
    callbacks: &mut [&mut dyn Callback],
) -> Result<(Fitted, Place), FitError> {
    let begun = Instant::now();
    let mut fit = Fit::begin(place, training, options, callbacks)?;
    let end = fit.run()?;
    if end != End::Behind {
        let Place { clipped, step, .. } = fit.place;
        if clipped > 0 {
            fit.tell(&Event::Note(&format!("the gradients were clipped in {clipped} of {step} steps")))?;
        }
        fit.tell(&Event::End)?;
    }
    let Place { measured, .. } = &fit.place;
    let fitted = Fitted {
        end,
        steps: fit.place.step,
        epochs: fit.place.epochs_begun(),
        seconds: begun.elapsed().as_secs_f64(),
        train_loss: fit.place.train_loss(),
        valid_loss: measured.as_ref().map(|measured| measured.loss.0),
        valid_accuracy: measured.as_ref().and_then(|measured| measured.accuracy).map(|accuracy| accuracy.0),
        clipped_steps: fit.place.clipped,
        checkpoint: fit.checkpoint,
    };
    Ok((fitted, fit.place))
}

/// A training under way.
struct Fit<'a, 'c> {
    training: &'a Training<'a>,
    options: &'a FitOptions,
    callbacks: Callbacks<'a, 'c>,
    /// What a step reads.
    inputs: Inputs,
    graphs: Accumulation,
    /// The same as text, for checkpoints that carry the model.
    step_card: Option<StepCard>,
    last_step: u64,
    saver: Option<Saver>,
    checkpoint: Option<PathBuf>,
    /// Whether it goes on from a checkpoint.
    resumed: bool,
    /// Whether what was saved is of a later phase.
    behind: bool,
    place: Place,
    /// What goes on from the last batch to the next.
    carried: Carried,
    /// When the model was measured last, or training began.
    measured_at: Instant,
    /// The last state that is known to be good.
    good: Snapshot,
}

impl Fit<'_, '_> {
    /// The loop.
    fn run(&mut self) -> Result<End, FitError> {
        if self.behind {
            return Ok(End::Behind);
        }
        if self.place.step >= self.last_step {
            let step = self.place.step;
            self.tell(&Event::Note(&format!("the training is finished: all {step} steps have been made")))?;
            return Ok(End::AlreadyFinished);
        }
        let mut wishes = self.tell(&Event::Begin)?;
        if wishes.stop {
            return Ok(End::Stopped);
        }
        let mut batches = self.batches()?;
        let mut epoch_begins = true;
        loop {
            if epoch_begins {
                wishes += self.tell(&Event::EpochBegins)?;
            }
            let round = self.next_round(&mut batches)?;
            if let Some(numbers) = self.make_step(&round)? {
                wishes += self.tell(&Event::Step(numbers))?;
            }
            self.refuse_if_diverged(&mut wishes)?;
            let is_last = self.place.step == self.last_step;
            let epoch_ends = self.place.batch == 0;
            if wishes.save || is_last || epoch_ends || self.is_due_to_validate() {
                wishes += self.measure()?;
            }
            if epoch_ends && let Some(batch) = round.batches.last() {
                wishes += self.tell(&Event::EpochEnds(batch))?;
            }
            self.refuse_if_diverged(&mut wishes)?;
            let save = is_last || wishes.save;
            let end = match () {
                () if is_last => Some(End::Finished),
                () if self.options.interrupt.requested() => Some(End::Interrupted),
                () if wishes.stop => Some(End::Stopped),
                () => None,
            };
            if save || end.is_some() {
                self.save(save)?;
            }
            if let Some(end) = end {
                return Ok(end);
            }
            (epoch_begins, wishes) = (epoch_ends, Wishes::default());
        }
    }

    /// Whether the model is validated now, beside the ends of epochs.
    fn is_due_to_validate(&self) -> bool {
        self.options.is_due_to_validate(self.place.step, self.measured_at.elapsed())
    }

    /// Where a callback found the numbers wrong, the error that says where that began.
    fn refuse_if_diverged(&mut self, wishes: &mut Wishes) -> Result<(), FitError> {
        match wishes.diverged.take() {
            Some(what) => Err(self.diagnose(what)?),
            None => Ok(()),
        }
    }

    /// The batches of the next step, prepared by the callbacks: as many as make one, fewer at the end of an epoch.
    fn next_round(&mut self, batches: &mut Batches) -> Result<Round, FitError> {
        let n_batches = self.training.data.n_batches() as u64;
        let mut round = Round::default();
        while round.batches.len() < self.options.accumulate && self.place.batch + round.taken < n_batches {
            let mut batch = batches.next().expect("a stream of batches has no end: a bug in Thalweg")?;
            round.taken += 1;
            let moment = moment(self.training, self.options, &self.graphs, &self.place, self.last_step, self.resumed);
            match self.callbacks.prepare(&mut batch, &moment)? {
                Turn::Take => round.batches.push(batch),
                Turn::Skip => {}
            }
        }
        if round.batches.is_empty() && self.place.batch == 0 {
            let reason = "callbacks left out every batch of an epoch, so that no step can be made".into();
            return Err(FitError::Setting { setting: format!("epoch {}", self.place.epoch + 1), reason });
        }
        Ok(round)
    }

    /// One step, on `round`; none if it is empty.
    fn make_step(&mut self, round: &Round) -> Result<Option<StepNumbers>, FitError> {
        let made = if round.batches.is_empty() { None } else { Some(self.advance(&round.batches)?) };
        if let Some((loss, numbers)) = &made {
            self.place.make_step(loss, numbers.clipped);
        }
        self.place.take(round, self.training.data.n_batches());
        if self.place.batch == 0 {
            self.carried = Carried::default();
        }
        Ok(made.map(|(_, numbers)| numbers))
    }

    /// Runs the training graph over the batches of one step. Gives the losses weighted by rows, and the step's numbers.
    fn advance(&mut self, round: &[Batch]) -> Result<(Mean, StepNumbers), FitError> {
        let (session, Accumulation { loss, add, apply }) = (self.training.session, &self.graphs);
        let states = &self.training.task.train_states;
        let afters: Vec<&Tensor> = states.iter().map(|state| &state.after).collect();
        let mut mean = Mean::default();
        let (last, others) = round.split_last().expect("a step has a batch: a bug in Thalweg");
        for batch in others {
            let (value, after, _) =
                session.run((loss, &afters, add), self.inputs.feeds_after(batch, &self.carried)?)?;
            self.carried = Carried::new(states, after);
            mean.add(scalar(&value), batch.len() as f64);
        }
        let feeds = self.inputs.feeds_after(last, &self.carried)?;
        let (numbers, carried) = make_step(session, loss, apply, states, feeds)?;
        self.carried = carried;
        mean.add(numbers.loss, last.len() as f64);
        let loss = mean.value();
        Ok((mean, StepNumbers { loss, ..numbers }))
    }

    /// Measures the model on the validation set, if there is one, and tells.
    fn measure(&mut self) -> Result<Wishes, FitError> {
        let mut wishes = self.tell(&Event::Measures)?;
        let Training { session, task, validation, .. } = self.training;
        let batch = |data| rows_at_a_time(data, self.options.validation_batch);
        let measure = |data| evaluate(session, &task.inference, data, batch(data));
        let evaluation = validation.map(measure).transpose()?;
        self.measured_at = Instant::now();
        self.place.measured = evaluation.as_ref().map(Measured::from);
        wishes +=
            self.tell(&Event::Measured { train_loss: self.place.train_loss(), validation: evaluation.as_ref() })?;
        Ok(wishes)
    }

    /// Remembers the state, and saves it if there is where; `measured` says that the model was validated in it. A state that
    /// is not finite is not kept.
    fn save(&mut self, measured: bool) -> Result<(), FitError> {
        let (state, place) = (self.training.session.state()?, self.place.clone());
        let now = Snapshot { state, place, carried: self.carried.clone(), memories: self.callbacks.memories()? };
        if let Some(name) = now.not_finite() {
            return Err(self.diagnose(format!("the variable `{name}` is no longer finite"))?);
        }
        self.good = now;
        let (Some(saver), Some(run)) = (&mut self.saver, &self.options.run) else { return Ok(()) };
        let metric = self.place.measured.as_ref().filter(|_| measured).map(|measured| measured.loss.0);
        let mut checkpoint = self.good.to_checkpoint(run);
        if let Some(card) = &self.step_card {
            card.write(&mut checkpoint);
        }
        let saved = saver.save(self.place.step, &checkpoint, metric)?;
        self.checkpoint = Some(saved.path.clone());
        self.tell(&Event::Saved(&saved)).map(drop)
    }
}

impl<'a, 'c> Fit<'a, 'c> {
    /// Opens the folder, and goes to where the training stands.
    fn begin(
        place: Place,
        training: &'a Training<'a>,
        options: &'a FitOptions,
        users: &'a mut [&'c mut dyn Callback],
    ) -> Result<Fit<'a, 'c>, FitError> {
        options.check()?;
        let mut callbacks = Callbacks::new(own_callbacks(options), users);
        let Training { session, task, optimizer, data, .. } = training;
        if let Some(state) = task.train_states.first()
            && !data.dataset().is_contiguous()
        {
            return Err(FitError::Graph(format!(
                "the model carries {} from batch to batch, but the rows of the data do not go on where the rows of the batch \
                 before ended: `text::windows` makes such data",
                state.before.meta()
            )));
        }
        let mut building = Building { callbacks: &mut callbacks, task };
        let graphs = optimizer.graphs(&task.train_loss, options.accumulate, &mut building)?;
        let stored = options.run.as_ref().and_then(|run| run.model.as_ref());
        let afters: Vec<&Tensor> = task.train_states.iter().map(|state| &state.after).collect();
        let fetched = (&graphs.loss, &graphs.add, &graphs.apply, &task.inference.loss, &task.inference.output, &afters);
        session.meet(fetched)?;
        let (state, memories) = (session.state()?, Checkpoint::default());
        let good = Snapshot { state, place, carried: Carried::default(), memories };
        let mut fit = Fit {
            training,
            options,
            callbacks,
            inputs: Inputs::of([&graphs.loss]),
            step_card: stored.map(|_| StepCard::new(&graphs, &task.train_states)),
            graphs,
            last_step: good.place.phase.first_step + options.length.steps(data, options.accumulate),
            saver: None,
            checkpoint: None,
            resumed: false,
            behind: false,
            place: good.place.clone(),
            carried: Carried::default(),
            measured_at: Instant::now(),
            good,
        };
        if let Some(run) = &options.run {
            fit.open(run)?;
        }
        Ok(fit)
    }

    fn open(&mut self, run: &RunFolder) -> Result<(), FitError> {
        let best = self.training.validation.map(|_| ("valid_loss".to_string(), Goal::Min));
        let saver_options = SaverOptions { keep: run.keep, best, ..SaverOptions::default() };
        let phase = self.place.phase.number;
        if !run.resume && phase == 0 {
            self.saver = Some(Saver::create(&run.path, saver_options)?);
            return Ok(());
        }
        let (saver, loaded) = Saver::resume(&run.path, saver_options)?;
        self.saver = Some(saver);
        let Some(loaded) = loaded else {
            let note = format!("nothing was saved yet: the training begins at step {}", self.place.step);
            return self.tell(&Event::Note(&note)).map(drop);
        };
        self.checkpoint = Some(loaded.path.clone());
        let saved = Place::saved(&loaded.checkpoint)?.phase;
        self.behind = saved.number > phase;
        if saved.number == phase {
            self.go_on(loaded, run)?;
        }
        Ok(())
    }

    /// Goes on from a checkpoint of this phase.
    fn go_on(&mut self, loaded: Loaded, run: &RunFolder) -> Result<(), FitError> {
        loaded.checkpoint.check_config(&run.config, &run.may_differ)?;
        let differs = loaded.checkpoint.config()? != run.config;
        self.good = Snapshot::from_checkpoint(loaded.checkpoint, loaded.step)?;
        let left = self.callbacks.recall(&self.good.memories)?;
        self.training.session.load_state(&self.good.state)?;
        let mut notes = loaded.notes;
        notes.push(format!("resumed after step {}", loaded.step));
        notes.extend(
            left.iter().map(|name| format!("the run was trained with the callback `{name}`, which is missing now")),
        );
        if differs && self.good.place.batch > 0 {
            // A place in other data means nothing.
            self.good.place.end_epoch();
            self.good.carried = Carried::default();
            notes.push("with other data than before, the next epoch begins".into());
        }
        (self.place, self.carried) = (self.good.place.clone(), self.good.carried.clone());
        let steps = self.options.length.steps(self.training.data, self.options.accumulate);
        (self.last_step, self.resumed) = (self.place.phase.first_step + steps, true);
        notes.iter().try_for_each(|note| self.tell(&Event::Note(note)).map(drop))
    }

    /// The batches from where the training stands, without end.
    fn batches(&self) -> Result<Batches, FitError> {
        Ok(self.training.data.stream_from(self.place.epoch, self.place.batch as usize)?)
    }

    /// Tells everyone.
    fn tell(&mut self, event: &Event<'_>) -> Result<Wishes, FitError> {
        let moment = moment(self.training, self.options, &self.graphs, &self.place, self.last_step, self.resumed);
        self.callbacks.tell(event, &moment)
    }
}

/// What every training brings along.
fn own_callbacks(options: &FitOptions) -> Vec<Box<dyn Callback>> {
    let mut own: Vec<Box<dyn Callback>> = vec![Box::new(StopOnNan), Box::new(ShowProgress::new(options.progress))];
    own.push(Box::new(Saving::every(options.run.as_ref().and_then(|run| run.save_every))));
    if let Some(run) = &options.run {
        own.push(Box::new(TensorBoard::new(run.path.join(EVENTS))));
    }
    own
}

/// The moment at which a training is at `place`.
fn moment<'m>(
    training: &'m Training<'_>,
    options: &'m FitOptions,
    graphs: &'m Accumulation,
    place: &Place,
    last_step: u64,
    resumed: bool,
) -> Moment<'m> {
    Moment {
        step: place.step,
        first_step: place.phase.first_step,
        last_step,
        epoch: place.epochs_begun().max(1),
        resumed,
        run: options.run.as_ref().map(|run| &*run.path),
        task: training.task,
        loss: &graphs.loss,
        optimization: &graphs.apply,
        session: training.session,
        data: training.data,
    }
}
