//! [`fit`]: the training loop.
//!
//! Batches are prepared ahead; after each epoch the model is measured on the validation set and saved; what happens is
//! told to [`Callback`]s, which may end it. All that decides how training goes on stands in its checkpoints: weights, slots,
//! the session's counter, the place in the data, the sums of the metrics. So a training that was stopped anywhere and
//! resumed ends with the same bytes as one that was not.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `options` | [`FitOptions`], [`RunFolder`], [`Length`] |
//! | `event` | [`Event`], [`Callback`], [`Flow`] |
//! | `minimize` | [`Minimize`]: where the graphs of a step come from |
//! | `stop` | [`EarlyStopping`], [`Target`] |
//! | `plateau` | [`ReduceOnPlateau`] |
//! | `state` | what a checkpoint holds of a training |
//! | `diagnose` | which tensor went wrong first |
//! | `record` | event files |
//! | `show` | progress for the user |
//! | `error` | [`FitError`] |

mod diagnose;
mod error;
mod event;
mod minimize;
mod options;
mod plateau;
mod record;
mod show;
mod state;
mod stop;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use thalweg_data::{Batch, Batches, Dataset, Loader};
use thalweg_nn::Step;
use thalweg_nn::optim::Accumulation;
use thalweg_run::Session;
use thalweg_run::graph::{Tensor, Update};

pub use error::FitError;
pub use event::{Callback, Event, Flow, Moment, StepNumbers};
pub use minimize::Minimize;
pub(crate) use minimize::make_step;
pub use options::{FitOptions, Length, RunFolder};
pub use plateau::ReduceOnPlateau;
pub use stop::{EarlyStopping, Target, Watch};

use crate::checkpoint::{EVENTS, Goal, Saver, SaverOptions};
use crate::evaluate::{Inference, columns_read, evaluate, feeds, scalar};
use crate::metrics::Mean;
use crate::trained::StepCard;
use record::Record;
use show::Show;
pub(crate) use state::Snapshot;
use state::{Measured, Place, read_memories, write_memories};

/// What is trained: a graph for training and one for use, over the same variables.
#[derive(Clone, Debug)]
pub struct Task {
    /// The mean loss of a training batch: dropout drops. Placeholders are called as the columns that feed them.
    pub train_loss: Tensor,
    /// The model as it is used.
    pub inference: Inference,
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

/// Trains `training` as `options` say, and tells `callbacks` what happens.
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
    let begun = Instant::now();
    let mut fit = Fit::begin(training, options, callbacks)?;
    let end = fit.run()?;
    let Place { clipped, step, .. } = fit.place;
    if clipped > 0 {
        fit.tell(&Event::Note(&format!("the gradients were clipped in {clipped} of {step} steps")))?;
    }
    fit.tell(&Event::End)?;
    let Place { measured, .. } = &fit.place;
    Ok(Fitted {
        end,
        steps: fit.place.step,
        epochs: fit.place.epochs_begun(),
        seconds: begun.elapsed().as_secs_f64(),
        train_loss: fit.place.train_loss(),
        valid_loss: measured.as_ref().map(|measured| measured.loss.0),
        valid_accuracy: measured.as_ref().and_then(|measured| measured.accuracy).map(|accuracy| accuracy.0),
        clipped_steps: clipped,
        checkpoint: fit.checkpoint,
    })
}

/// A training under way.
struct Fit<'a, 'c> {
    training: &'a Training<'a>,
    options: &'a FitOptions,
    callbacks: &'a mut [&'c mut dyn Callback],
    own_callbacks: Vec<Box<dyn Callback>>,
    columns: BTreeSet<String>,
    /// Adds the gradients of a batch up: of all batches of a step but its last.
    add: Vec<Update>,
    step: Step,
    /// The same as text, for checkpoints that carry the model.
    step_card: Option<StepCard>,
    last_step: u64,
    saver: Option<Saver>,
    checkpoint: Option<PathBuf>,
    place: Place,
    /// When the model was measured last, or training began.
    measured_at: Instant,
    /// The last state that is known to be good.
    good: Snapshot,
}

impl Fit<'_, '_> {
    /// The loop.
    fn run(&mut self) -> Result<End, FitError> {
        if self.place.step >= self.last_step {
            let step = self.place.step;
            self.tell(&Event::Note(&format!("the training is finished: all {step} steps have been made")))?;
            return Ok(End::AlreadyFinished);
        }
        let mut flow = self.tell(&Event::Begin)?;
        if flow == Flow::Stop {
            return Ok(End::Stopped);
        }
        let mut batches = self.batches()?;
        loop {
            let round = self.next_round(&mut batches)?;
            let numbers = self.make_step(&round)?;
            flow = flow.and(self.tell(&Event::Step(numbers))?);
            let is_last = self.place.step == self.last_step;
            let epoch_ends = self.place.batch == 0;
            let save = is_last || self.options.is_due_to_save(self.place.step, epoch_ends);
            if save || epoch_ends || self.is_due_to_validate() {
                flow = flow.and(self.measure()?);
            }
            if epoch_ends && let Some(batch) = round.last() {
                flow = flow.and(self.tell(&Event::Epoch(batch))?);
            }
            let end = match flow {
                _ if is_last => Some(End::Finished),
                _ if self.options.interrupt.requested() => Some(End::Interrupted),
                Flow::Stop => Some(End::Stopped),
                Flow::Continue => None,
            };
            if save || end.is_some() {
                self.save(save)?;
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    fn is_due_to_validate(&self) -> bool {
        self.options.is_due_to_validate(self.place.step, self.measured_at.elapsed())
    }

    /// The batches of the next step: as many as make one, fewer at the end of an epoch.
    fn next_round(&self, batches: &mut Batches) -> Result<Vec<Batch>, FitError> {
        let n_batches = self.training.data.n_batches();
        let mut round: Vec<Batch> = Vec::with_capacity(self.options.accumulate);
        while round.len() < self.options.accumulate && round.last().is_none_or(|batch| batch.position() + 1 < n_batches)
        {
            round.push(batches.next().expect("a stream of batches has no end: a bug in Thalweg")?);
        }
        Ok(round)
    }

    /// One step, on `round`; refuses numbers out of range.
    fn make_step(&mut self, round: &[Batch]) -> Result<StepNumbers, FitError> {
        let (loss, numbers) = self.advance(round)?;
        let problem = |what: &str, x: f64| {
            if x.is_finite() { None } else { Some(format!("the {what} is {x}")) }
        };
        let problem = problem("loss", numbers.loss).or_else(|| problem("norm of the gradients", numbers.gradient_norm));
        self.place.make_step(round, &loss, numbers.clipped, self.training.data.n_batches());
        match problem {
            None => Ok(numbers),
            Some(what) => Err(self.diagnose(what)?),
        }
    }

    /// Runs the training graph over the batches of one step. Gives the losses weighted by rows, and the step's numbers.
    fn advance(&self, round: &[Batch]) -> Result<(Mean, StepNumbers), FitError> {
        let Training { session, task, .. } = self.training;
        let mut loss = Mean::default();
        let (last, others) = round.split_last().expect("a step has a batch: a bug in Thalweg");
        for batch in others {
            let (mean, _) = session.run((&task.train_loss, &self.add), feeds(&self.columns, batch)?)?;
            loss.add(scalar(&mean), batch.len() as f64);
        }
        let numbers = make_step(session, &task.train_loss, &self.step, feeds(&self.columns, last)?)?;
        loss.add(numbers.loss, last.len() as f64);
        Ok((loss, StepNumbers { loss: loss.value(), ..numbers }))
    }

    /// Measures the model on the validation set, if there is one, and tells.
    fn measure(&mut self) -> Result<Flow, FitError> {
        let Training { session, task, validation, .. } = self.training;
        let measure = |data| evaluate(session, &task.inference, data, self.options.validation_batch);
        let evaluation = validation.map(measure).transpose()?;
        self.measured_at = Instant::now();
        self.place.measured = evaluation.as_ref().map(Measured::from);
        self.tell(&Event::Measured { train_loss: self.place.train_loss(), validation: evaluation.as_ref() })
    }

    /// Remembers the state, and saves it if there is where; `measured` says that the model was validated in it. A state that
    /// is not finite is not kept.
    fn save(&mut self, measured: bool) -> Result<(), FitError> {
        let now = Snapshot { state: self.training.session.state()?, place: self.place.clone() };
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
        write_memories(self.callbacks, &mut checkpoint);
        let saved = saver.save(self.place.step, &checkpoint, metric)?;
        self.checkpoint = Some(saved.path.clone());
        self.tell(&Event::Saved(&saved)).map(drop)
    }
}

impl<'a, 'c> Fit<'a, 'c> {
    /// Opens the folder, and goes to where the training stands.
    fn begin(
        training: &'a Training<'a>,
        options: &'a FitOptions,
        callbacks: &'a mut [&'c mut dyn Callback],
    ) -> Result<Fit<'a, 'c>, FitError> {
        options.check()?;
        let Training { session, task, optimizer, data, .. } = training;
        let graphs = optimizer.graphs(&task.train_loss, options.accumulate)?;
        let stored = options.run.as_ref().and_then(|run| run.model.as_ref());
        let step_card = stored.map(|_| StepCard::new(&task.train_loss, &graphs));
        let Accumulation { add, apply: step } = graphs;
        session.meet((&task.train_loss, &add, &step, &task.inference.loss, &task.inference.output))?;
        let mut fit = Fit {
            training,
            options,
            callbacks,
            own_callbacks: vec![Box::new(Show::new(options.progress))],
            columns: columns_read([&task.train_loss]),
            add,
            step,
            step_card,
            last_step: options.length.steps(data, options.accumulate),
            saver: None,
            checkpoint: None,
            place: Place::default(),
            measured_at: Instant::now(),
            good: Snapshot { state: session.state()?, place: Place::default() },
        };
        if let Some(run) = &options.run {
            fit.open(run)?;
        }
        Ok(fit)
    }

    fn open(&mut self, run: &RunFolder) -> Result<(), FitError> {
        let best = self.training.validation.map(|_| ("valid_loss".to_string(), Goal::Min));
        let saver_options = SaverOptions { keep: run.keep, best, ..SaverOptions::default() };
        let mut notes = Vec::new();
        if !run.resume {
            self.saver = Some(Saver::create(&run.path, saver_options)?);
        } else {
            let (saver, loaded) = Saver::resume(&run.path, saver_options)?;
            self.saver = Some(saver);
            match loaded {
                Some(loaded) => {
                    loaded.checkpoint.check_config(&run.config, &run.may_differ)?;
                    let differs = loaded.checkpoint.config()? != run.config;
                    read_memories(self.callbacks, &loaded.checkpoint)?;
                    self.good = Snapshot::from_checkpoint(loaded.checkpoint, loaded.step)?;
                    self.training.session.load_state(&self.good.state)?;
                    self.checkpoint = Some(loaded.path);
                    notes = loaded.notes;
                    notes.push(format!("resumed after step {}", loaded.step));
                    if differs && self.good.place.batch > 0 {
                        // A place in other data means nothing.
                        self.good.place.end_epoch();
                        notes.push("with other data than before, the next epoch begins".into());
                    }
                    self.place = self.good.place.clone();
                }
                None => notes.push("nothing was saved yet: the training begins at step 0".into()),
            }
        }
        if self.place.step < self.last_step {
            let events = run.path.join(EVENTS);
            // Of a training that ended before its first checkpoint there may be records: they no longer count.
            let goes_on = run.resume || events.exists();
            self.own_callbacks.push(Box::new(Record::open(&events, goes_on.then_some(self.place.step))?));
        }
        notes.iter().try_for_each(|note| self.tell(&Event::Note(note)).map(drop))
    }

    /// The batches from where the training stands, without end.
    fn batches(&self) -> Result<Batches, FitError> {
        Ok(self.training.data.stream_from(self.place.epoch, self.place.batch as usize)?)
    }

    /// Tells everyone; one who wants to stop is enough.
    fn tell(&mut self, event: &Event<'_>) -> Result<Flow, FitError> {
        let moment = Moment {
            step: self.place.step,
            last_step: self.last_step,
            epoch: self.place.epochs_begun().max(1),
            task: self.training.task,
            optimization: &self.step,
            session: self.training.session,
        };
        let mut flow = Flow::Continue;
        for callback in &mut self.own_callbacks {
            flow = flow.and(callback.on(event, &moment)?);
        }
        for callback in self.callbacks.iter_mut() {
            flow = flow.and(callback.on(event, &moment)?);
        }
        Ok(flow)
    }
}
