//! The phases of a training: so many epochs at a constant rate, one cycle, cycles one after the other.

use thalweg_nn::Schedule;
use thalweg_nn::schedule::OneCycle;

use super::{Learner, Rates};
use crate::callbacks::Saving;
use crate::checkpoint::{self, CheckpointError, Which};
use crate::fit::{Callback, End, FitError, FitOptions, Fitted, Length, Place, RunFolder, Training, fit_from};

/// The momentum, or β₁, at the ends of a cycle and at its top.
const MOMENTUM: (f64, f64) = (0.95, 0.85);

/// How the learning rate goes in a phase: of the steps of the phase, from 0.
struct Course {
    rate: Schedule,
    momentum: Option<Schedule>,
    /// Steps after which a checkpoint is made.
    snapshots: Vec<u64>,
}

impl Learner {
    /// Trains for so long at a constant learning rate; a number is that of epochs.
    ///
    /// # Errors
    /// If a rate is not above 0, or as [`fit`](crate::fit()); and [`FitError::Interrupted`] if it was stopped from outside.
    pub fn fit(&mut self, length: impl Into<Length>, lr: impl Into<Rates>) -> Result<Fitted, FitError> {
        self.fit_schedule(length, lr, |lr, _| Schedule::from(lr))
    }

    /// Trains for so long in one cycle: the learning rate rises to `lr` and falls to almost nothing, the momentum goes the
    /// other way ([`OneCycle`]). A number is that of epochs.
    ///
    /// # Errors
    /// As [`Learner::fit`].
    pub fn fit_one_cycle(&mut self, length: impl Into<Length>, lr: impl Into<Rates>) -> Result<Fitted, FitError> {
        let length = length.into();
        self.phase(&format!("one cycle of {length:?}"), length, lr.into(), |lr, steps| {
            let cycle = OneCycle::new(lr, steps);
            let (high, low) = MOMENTUM;
            Course { rate: cycle.into(), momentum: Some(cycle.momentum(high, low).into()), snapshots: Vec::new() }
        })
    }

    /// Trains a model whose first layer groups were trained on other data, in two phases of one cycle each: `alone` the last
    /// group, which is new, at the rate `lr`, the others frozen; then for so long `all`, the last group at half that rate and
    /// the first at a hundredth of the half. A phase of no length is left out. Parts and rates are those of fast.ai (Howard and
    /// Gugger 2020). A number is that of epochs.
    ///
    /// # Errors
    /// As [`Learner::fit`].
    pub fn fine_tune(
        &mut self,
        alone: impl Into<Length>,
        all: impl Into<Length>,
        lr: f64,
    ) -> Result<Option<Fitted>, FitError> {
        const OF_ALL: f64 = 0.5;
        const OF_FIRST: f64 = 0.01;
        let is_some = |length: &Length| !matches!(length, Length::Epochs(0) | Length::Steps(0));
        let mut fitted = None;
        if let Some(length) = Some(alone.into()).filter(is_some) {
            self.freeze()?;
            fitted = Some(self.fit_one_cycle(length, lr)?);
        }
        if let Some(length) = Some(all.into()).filter(is_some) {
            self.unfreeze()?;
            fitted = Some(self.fit_one_cycle(length, (lr * OF_ALL * OF_FIRST, lr * OF_ALL))?);
        }
        Ok(fitted)
    }

    /// Trains in `cycles` cycles, the first of so many epochs, each `growth` times as long as the one before: in each the
    /// learning rate falls from `lr` to 0 as half a cosine (SGDR, Loshchilov and Hutter 2017). Each ends with a checkpoint.
    ///
    /// # Errors
    /// As [`Learner::fit`]; and if there are no cycles, or their lengths do not grow.
    pub fn fit_cycles(
        &mut self,
        cycles: u32,
        epochs: u64,
        growth: u64,
        lr: impl Into<Rates>,
    ) -> Result<Fitted, FitError> {
        let ends = (0..cycles).scan((0u64, epochs), |(end, length), _| {
            *end = end.saturating_add(*length);
            *length = length.saturating_mul(growth);
            Some(*end)
        });
        let ends: Vec<u64> = ends.collect();
        if cycles == 0 || growth == 0 {
            let (setting, reason) =
                (format!("{cycles} cycles that grow by {growth}"), "both must be at least 1".into());
            return Err(FitError::Setting { setting, reason });
        }
        let name = format!("{cycles} cycles of {epochs} epochs, growing by {growth}");
        let all = ends.last().copied().unwrap_or(0);
        self.phase(&name, Length::Epochs(all), lr.into(), |lr, steps| {
            let an_epoch = steps / all.max(1);
            let rate = Schedule::warm_restarts(lr, an_epoch * epochs, growth);
            Course { rate, momentum: None, snapshots: ends.iter().map(|end| end * an_epoch).collect() }
        })
    }

    /// Trains for so long by a schedule that `course` makes of the learning rate and the number of steps, which are counted
    /// from the beginning of this phase. A number is that of epochs.
    ///
    /// ```
    /// # use thalweg_nn::Schedule;
    /// # use thalweg_train::{FitError, Learner};
    /// fn fit(learner: &mut Learner) -> Result<(), FitError> {
    ///     learner.fit_schedule(5, 1e-2, Schedule::one_cycle)?;
    ///     learner.fit_schedule(2, 1e-3, |lr, steps| Schedule::linear(lr, 0.0, steps))?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Learner::fit`].
    pub fn fit_schedule(
        &mut self,
        length: impl Into<Length>,
        lr: impl Into<Rates>,
        course: impl Fn(f64, u64) -> Schedule,
    ) -> Result<Fitted, FitError> {
        // A run is known by its schedule over so many steps, since their number depends on how many rows there are.
        const SHOWN: u64 = 1_000;
        let (length, lr) = (length.into(), lr.into());
        let (largest, _) = self.rates(&lr)?;
        let mut name = format!("{length:?}");
        match course(largest, SHOWN) {
            constant if constant == Schedule::from(largest) => {}
            rate => name += &format!(", of {SHOWN} steps {rate:?}"),
        }
        self.phase(&name, length, lr, |lr, steps| Course {
            rate: course(lr, steps),
            momentum: None,
            snapshots: Vec::new(),
        })
    }

    /// What came of all phases so far together: the seconds are those of all. Nothing before the first. A phase that was
    /// stopped from outside is counted.
    pub fn fitted(&self) -> Option<&Fitted> {
        self.fitted.as_ref()
    }

    /// One phase of the training, which is called `name` where a run says what it was configured with.
    fn phase(
        &mut self,
        name: &str,
        length: Length,
        rates: Rates,
        course: impl FnOnce(f64, u64) -> Course,
    ) -> Result<Fitted, FitError> {
        // The first phase makes a step, so that there is something to go on from.
        if self.fitted.is_some() && self.options.interrupt.requested() {
            return Err(self.interrupted());
        }
        let from = self.begin()?;
        let phase = from.phase();
        let (loader, valid) = (self.data.loader()?, self.data.validation()?);
        let (lr, groups) = self.rates(&rates)?;
        let Course { rate, momentum, snapshots } = course(lr, length.steps(&loader, self.options.accumulate));
        let momentum = momentum.map(|momentum| momentum.starting_at(phase.first_count));
        self.optimizer.begin_phase(rate.starting_at(phase.first_count), momentum, groups)?;
        self.configure(phase.number, format!("{name}, rates {rates:?}, frozen to group {}", self.frozen_to));
        let options = FitOptions { length, ..self.options.clone() };

        let task = self.task();
        let (session, optimizer) = (&self.session, &self.optimizer);
        let training = Training { session, task: &task, optimizer, data: &loader, validation: Some(&valid) };
        let mut saving = Saving::after(snapshots.into_iter().map(|step| phase.first_step + step));
        let mut callbacks: Vec<&mut dyn Callback> = vec![&mut saving];
        callbacks.extend(self.callbacks.iter_mut().map(|callback| &mut **callback as &mut dyn Callback));
        let (fitted, place) = fit_from(from, &training, &options, &mut callbacks)?;

        self.trained = None;
        self.place = place.next_phase(self.count()?);
        self.checkpoint = fitted.checkpoint.clone();
        let seconds = self.fitted.as_ref().map_or(0.0, |before| before.seconds) + fitted.seconds;
        self.fitted = Some(Fitted { seconds, ..fitted.clone() });
        match fitted.end {
            End::Interrupted => Err(self.interrupted()),
            End::Finished | End::AlreadyFinished | End::Stopped | End::Behind => Ok(fitted),
        }
    }

    /// Where the next phase begins: if it is that in which a resumed run stood, as it began there.
    fn begin(&mut self) -> Result<Place, FitError> {
        if self.saved.is_none() {
            self.saved = Some(match &self.options.run {
                Some(RunFolder { resume: true, path, .. }) => match checkpoint::load(path, Which::Last) {
                    Ok(loaded) => Some(Place::saved(&loaded.checkpoint)?.phase()),
                    Err(CheckpointError::Nothing { .. }) => None,
                    Err(error) => return Err(error.into()),
                },
                _ => None,
            });
        }
        let now = self.place.phase();
        let saved = self.saved.flatten().filter(|saved| saved.number == now.number);
        Ok(self.place.clone().in_phase(saved.unwrap_or(now)))
    }

    /// Says in the configuration of the run what it is a training of.
    fn configure(&mut self, phase: u64, name: String) {
        let card = self.card();
        let Some(run) = &mut self.options.run else { return };
        run.config.insert(format!("phase {}", phase + 1), name);
        run.config.extend(self.data.fingerprints());
        run.config.insert("optimizer".into(), self.optimizer.rule().name().into());
        run.config.insert("seed".into(), self.session.seed().to_string());
        run.model = Some(card);
    }

    /// What the optimizer's counter stands at.
    pub(super) fn count(&self) -> Result<u64, FitError> {
        let counter = self.session.variables().remove(self.optimizer.counter_name());
        let count = counter.map(|counter| self.session.read(&counter)).transpose()?;
        Ok(count.map_or(0, |count| count.item().unwrap_or(0.0) as u64))
    }

    /// Says what is left of a training that was stopped from outside.
    fn interrupted(&self) -> FitError {
        let kept = match &self.checkpoint {
            Some(path) => format!("what was made is in {}, and the program resumes there", path.display()),
            None => "nothing of it is saved, since no folder was given".into(),
        };
        FitError::Interrupted { step: self.place.steps(), kept }
    }
}
