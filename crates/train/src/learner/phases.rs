//! The phases of a training: so many epochs at a constant rate, one cycle, cycles one after the other.

use thalweg_nn::Schedule;
use thalweg_nn::schedule::OneCycle;

use super::{Learner, Rates};
use crate::callbacks::Saving;
use crate::checkpoint::{self, CheckpointError, Which};
use crate::fit::{Callback, End, FitError, FitOptions, Fitted, Length, Place, RunFolder, Training, fit_from};
use crate::trained::ModelCard;

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
    /// Trains for so many epochs at a constant learning rate.
    ///
    /// # Errors
    /// If a rate is not above 0, or as [`fit`](crate::fit()); and [`FitError::Interrupted`] if it was stopped from outside.
    pub fn fit(&mut self, epochs: u64, lr: impl Into<Rates>) -> Result<Fitted, FitError> {
        self.fit_schedule(Length::Epochs(epochs), lr, Schedule::from)
    }

    /// Trains for so many epochs in one cycle: the learning rate rises to `lr` and falls to almost nothing, the momentum
    /// goes the other way ([`OneCycle`]).
    ///
    /// # Errors
    /// As [`Learner::fit`].
    pub fn fit_one_cycle(&mut self, epochs: u64, lr: impl Into<Rates>) -> Result<Fitted, FitError> {
        let length = Length::Epochs(epochs);
        self.phase(&format!("one cycle of {epochs} epochs"), length, lr.into(), |lr, steps| {
            let cycle = OneCycle::new(lr, steps);
            let (high, low) = MOMENTUM;
            Course { rate: cycle.into(), momentum: Some(cycle.momentum(high, low).into()), snapshots: Vec::new() }
        })
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

    /// Trains for so long by a schedule that `course` makes of the learning rate; its steps are counted from the beginning
    /// of this phase.
    ///
    /// # Errors
    /// As [`Learner::fit`].
    pub fn fit_schedule(
        &mut self,
        length: Length,
        lr: impl Into<Rates>,
        course: impl FnOnce(f64) -> Schedule,
    ) -> Result<Fitted, FitError> {
        let mut shown = String::new();
        let lr = lr.into();
        let (largest, _) = self.rates(&lr)?;
        let rate = course(largest);
        if rate != Schedule::from(largest) {
            shown = format!(" by {rate:?}");
        }
        self.phase(&format!("{length:?}{shown}"), length, lr, |_, _| Course { rate, momentum: None, snapshots: vec![] })
    }

    /// One phase of the training, which is called `name` where a run says what it was configured with.
    fn phase(
        &mut self,
        name: &str,
        length: Length,
        rates: Rates,
        course: impl FnOnce(f64, u64) -> Course,
    ) -> Result<Fitted, FitError> {
        if self.options.interrupt.requested() {
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
        let Some(run) = &mut self.options.run else { return };
        run.config.insert(format!("phase {}", phase + 1), name);
        run.config.extend(self.data.fingerprints());
        run.config.insert("optimizer".into(), self.optimizer.rule().name().into());
        run.config.insert("seed".into(), self.session.seed().to_string());
        let card = ModelCard::new(&self.inference, self.data.classes(), self.data.prepare().clone());
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
