//! Callbacks that end a training: [`EarlyStopping`] when it no longer gets better, [`Target`] when it is good enough.

use thalweg_formats::array::Real;
use thalweg_run::State;

use super::Watch;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::fit::{Callback, Event, FitError, Flow, Moment};

/// Ends a training when so many measurements in a row were no better than the best, and puts the session back to where
/// it was best (Prechelt 1998). It looks ahead: patience is how far.
///
/// What it remembers, the best weights included, is a part of the checkpoints: a training that was interrupted and resumed
/// ends at the same step with the same weights. The files themselves hold the weights of their steps; the best of them, by
/// validation loss, is kept beside the newest.
///
/// ```
/// use thalweg_train::callbacks::{EarlyStopping, Watch};
/// use thalweg_train::fit::Callback;
/// let mut stopping = EarlyStopping::new(Watch::valid_loss(), 5).min_delta(1e-4);
/// let callbacks: &mut [&mut dyn Callback] = &mut [&mut stopping];
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    watch: Watch,
    patience: u32,
    min_delta: f64,
    best: Option<Best>,
    waited: u32,
}

#[derive(Clone, Debug)]
struct Best {
    value: f64,
    step: u64,
    state: State,
}

impl EarlyStopping {
    /// Ends after `patience` measurements that are not better.
    ///
    /// # Panics
    /// If the patience is 0.
    #[track_caller]
    pub fn new(watch: Watch, patience: u32) -> EarlyStopping {
        assert!(patience > 0, "early stopping: the patience is 0; it must be at least 1 measurement");
        EarlyStopping { watch, patience, min_delta: 0.0, best: None, waited: 0 }
    }

    /// Only what is better by more than `delta` counts as better; 0 if not said.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn min_delta(self, delta: f64) -> EarlyStopping {
        assert!(
            delta.is_finite() && delta >= 0.0,
            "early stopping: min_delta is {delta}; it must be finite and at least 0"
        );
        EarlyStopping { min_delta: delta, ..self }
    }

    /// The best measurement so far: the steps made, and the number.
    pub fn best(&self) -> Option<(u64, f64)> {
        self.best.as_ref().map(|best| (best.step, best.value))
    }

    fn is_better(&self, value: f64) -> bool {
        let goal = self.watch.goal();
        match &self.best {
            None => !value.is_nan(),
            Some(best) => goal.improves(value, best.value) && (value - best.value).abs() > self.min_delta,
        }
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> String {
        format!("early stopping by {}", self.watch.name())
    }

    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        if matches!(event, Event::Begin) && !moment.resumed {
            (self.best, self.waited) = (None, 0);
        }
        if let Some(value) = self.watch.read(event)? {
            if self.is_better(value) {
                self.best = Some(Best { value, step: moment.step, state: moment.session.state()? });
                self.waited = 0;
            } else {
                self.waited += 1;
            }
        }
        if let (Event::End, Some(best)) = (event, &self.best) {
            moment.session.load_state(&best.state)?;
        }
        Ok(if self.waited >= self.patience { Flow::Stop } else { Flow::Continue })
    }

    fn remember(&self, memory: &mut Checkpoint) {
        if let Some(Best { value, step, state }) = &self.best {
            memory.tensors = state.variables.clone();
            memory.set("early_stopping", &(self.waited, Real(*value), step, state.step, state.seed));
        }
    }

    fn recall(&mut self, memory: &Checkpoint) -> Result<(), CheckpointError> {
        let (waited, Real(value), step, session_step, seed) = memory.get("early_stopping")?;
        let state = State { variables: memory.tensors.clone(), step: session_step, seed };
        (self.waited, self.best) = (waited, Some(Best { value, step, state }));
        Ok(())
    }
}

/// Ends a training when a measurement reaches a target. [`validate_every`](crate::fit::FitOptions::validate_every) and
/// [`validate_each`](crate::fit::FitOptions::validate_each) say how often it is measured.
///
/// ```
/// use thalweg_train::callbacks::{Target, Watch};
/// let target = Target::new(Watch::valid_accuracy(), 0.99);
/// assert_eq!(target.reached(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Target {
    watch: Watch,
    value: f64,
    reached: Option<u64>,
}

impl Target {
    /// Ends when the number is `value` or better.
    ///
    /// # Panics
    /// If the value is NaN.
    #[track_caller]
    pub fn new(watch: Watch, value: f64) -> Target {
        assert!(!value.is_nan(), "a target of NaN is never reached");
        Target { watch, value, reached: None }
    }

    /// The number of steps after which the target was reached first, if it was.
    pub fn reached(&self) -> Option<u64> {
        self.reached
    }
}

impl Callback for Target {
    fn name(&self) -> String {
        format!("target of {}", self.watch.name())
    }

    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        if matches!(event, Event::Begin) && !moment.resumed {
            self.reached = None;
        }
        let is_met = |value: f64| value == self.value || self.watch.goal().improves(value, self.value);
        if self.reached.is_none() && self.watch.read(event)?.is_some_and(is_met) {
            self.reached = Some(moment.step);
        }
        Ok(if self.reached.is_some() { Flow::Stop } else { Flow::Continue })
    }

    fn remember(&self, memory: &mut Checkpoint) {
        memory.set("target", &self.reached);
    }

    fn recall(&mut self, memory: &Checkpoint) -> Result<(), CheckpointError> {
        self.reached = memory.get("target")?;
        Ok(())
    }
}
