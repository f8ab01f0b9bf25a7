//! [`Trial`]: steps in a session of their own, which leave the learner as it is.

use thalweg_data::Batch;
use thalweg_nn::Schedule;
use thalweg_nn::optim::Accumulation;
use thalweg_run::Session;

use super::Learner;
use crate::diagnosis::Report;
use crate::evaluate::scalar;
use crate::fit::{FitError, Minimize, StepNumbers, Task, make_step};
use crate::inputs::Inputs;

/// The model of a learner with its weights, in a session of its own, and an optimizer that begins.
pub(super) struct Trial {
    pub(super) session: Session,
    pub(super) task: Task,
    pub(super) graphs: Accumulation,
    inputs: Inputs,
}

impl Learner {
    /// Steps by this learning rate, from the weights as they are.
    pub(super) fn trial(&mut self, rate: impl Into<Schedule>) -> Result<Trial, FitError> {
        let task = self.task();
        let graphs = self.optimizer.apart(|optimizer| {
            optimizer.begin_phase(rate, None, Vec::new())?;
            Minimize::graphs(optimizer, &task.train_loss, 1, &mut ())
        })?;
        let session = Session::builder().threads(self.session.threads()).seed(self.session.seed()).build()?;
        for (_, variable) in &self.variables {
            session.write(variable, self.session.read(variable)?)?;
        }
        let inputs = Inputs::of([&graphs.loss]);
        Ok(Trial { session, task, graphs, inputs })
    }

    /// The first batch of training.
    pub(super) fn first_batch(&self) -> Result<Batch, FitError> {
        Ok(self.data.loader()?.epoch(0)?.next().expect("a data set has rows: a bug in Thalweg")?)
    }
}

impl Trial {
    /// One step.
    pub(super) fn step(&self, batch: &Batch) -> Result<StepNumbers, FitError> {
        Ok(make_step(&self.session, &self.graphs.loss, &self.graphs.apply, &[], self.inputs.feeds(batch)?)?.0)
    }

    /// The loss of the model as it is used.
    pub(super) fn loss(&self, batch: &Batch) -> Result<f64, FitError> {
        let loss = &self.task.inference.loss;
        Ok(scalar(&self.session.evaluate(loss, Inputs::of([loss]).feeds(batch)?)?))
    }

    /// How the layers are.
    pub(super) fn report(&self, batch: &Batch) -> Result<Report, FitError> {
        Report::new(&self.session, &self.graphs.loss, &self.graphs.apply, batch)
    }

    /// The bytes that a step on `batch` works in, beside weights and state of the optimizer.
    pub(super) fn step_bytes(&self, batch: &Batch) -> Result<usize, FitError> {
        let plan = self.session.plan((&self.graphs.loss, &self.graphs.apply), self.inputs.feeds(batch)?)?;
        Ok(plan.arena_bytes)
    }
}
