//! [`StoredTraining`]: a training that goes on from the folder of its run, without the code that began it.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_data::{Dataset, Loader};
use thalweg_formats::array::Real;
use thalweg_nn::optim::{Accumulation, Hooks};
use thalweg_nn::{State, Step};
use thalweg_run::graph::text::parse_beside;
use thalweg_run::graph::{Graph, Tensor, Update, placeholder};
use thalweg_run::{Feeds, RunError, Session};

use super::TrainedError;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::fit::{FitError, Minimize, StepNumbers, Task, Training, make_step};

/// What a checkpoint says of the training step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepCard {
    /// The text form of the step. It returns the loss, the learning rate, the norm of the gradients, and the gradients.
    /// Where several batches make a step, the updates that add the gradients of one up stand behind those of the step.
    graph: String,
    /// How many updates are those of the step.
    updates: usize,
    /// The parameters, in the order of their gradients.
    parameters: Vec<String>,
    /// The variable that counts the steps.
    counter: String,
    /// The norm above which the gradients are scaled down.
    #[serde(default)]
    clip_norm: Option<Real>,
    /// The placeholders of what is carried from batch to batch. What they are after a batch stands behind the gradients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    states: Vec<String>,
}

const KEY: &str = "training";

impl StepCard {
    /// Of these graphs. They are captured with what is fetched of a step, as they are run: what is random in a graph
    /// depends on what was captured together. What adds up is a part of the step, and random where the step is.
    pub(crate) fn new(graphs: &Accumulation, states: &[State]) -> StepCard {
        let Accumulation { loss, add, apply } = graphs;
        let gradients = apply.gradients.iter().map(|(_, gradient)| gradient);
        let afters = states.iter().map(|state| &state.after);
        let numbers = [loss, &apply.learning_rate, &apply.gradient_norm];
        let updates = [&apply.updates[..], add].concat();
        StepCard {
            graph: Graph::capture(numbers.into_iter().chain(gradients).chain(afters), &updates).to_string(),
            updates: apply.updates.len(),
            parameters: apply.gradients.iter().map(|(name, _)| name.to_string()).collect(),
            counter: apply.counter.name().to_string(),
            clip_norm: apply.clip_norm.map(Real),
            states: states.iter().map(name_of).collect(),
        }
    }

    pub(crate) fn write(&self, checkpoint: &mut Checkpoint) {
        checkpoint.set(KEY, self);
    }

    pub(super) fn read(checkpoint: &Checkpoint) -> Result<StepCard, CheckpointError> {
        checkpoint.get(KEY)
    }

    /// The graphs of a step, over the variables of `model`; `path` is that of the checkpoint.
    pub(super) fn graphs(&self, model: &Graph, path: &Path) -> Result<(Accumulation, Vec<State>), TrainedError> {
        let failed = |reason| TrainedError::Model { path: path.to_path_buf(), reason };
        let unreadable = |source| TrainedError::Graph { path: path.to_path_buf(), source };
        let (mut fetches, mut updates) = parse_beside(&self.graph, model).map_err(unreadable)?.to_roots();
        let afters = fetches.split_off(fetches.len().saturating_sub(self.states.len()));
        let Some(([loss, learning_rate, gradient_norm], gradients)) = fetches.split_first_chunk() else {
            return Err(failed(format!("the training step returns {} tensors, expected 3 and more", fetches.len())));
        };
        if gradients.len() != self.parameters.len() {
            let (found, expected) = (gradients.len(), self.parameters.len());
            return Err(failed(format!("the training step returns {found} gradients of {expected} parameters")));
        }
        if self.updates > updates.len() {
            let (found, expected) = (updates.len(), self.updates);
            return Err(failed(format!("the training step has {found} updates, expected {expected}")));
        }
        let add = updates.split_off(self.updates);
        for Update { variable, .. } in updates.iter().chain(&add) {
            variable.set_trainable(self.parameters.iter().any(|name| **name == *variable.name()));
        }
        let counter = updates.iter().map(|update| &update.variable).find(|variable| *variable.name() == *self.counter);
        let Some(counter) = counter.cloned() else {
            return Err(failed(format!("the training step does not count `{}`", self.counter)));
        };
        let gradients = self.parameters.iter().map(|name| Arc::from(&**name)).zip(gradients.iter().cloned()).collect();
        let (gradient_norm, clip_norm) = (gradient_norm.clone(), self.clip_norm.map(|limit| limit.0));
        let apply = Step::from_parts(updates, gradients, gradient_norm, clip_norm, learning_rate.clone(), counter);
        let states = states_of(&self.states, afters).map_err(failed)?;
        Ok((Accumulation { loss: loss.clone(), add, apply }, states))
    }
}

/// The name by which a state is fed.
pub(super) fn name_of(state: &State) -> String {
    state.before.name().unwrap_or_default().to_string()
}

/// The states of these names, which become `afters`.
pub(super) fn states_of(names: &[String], afters: Vec<Tensor>) -> Result<Vec<State>, String> {
    if names.len() != afters.len() {
        return Err(format!("the graph returns {} of {} states", afters.len(), names.len()));
    }
    // A placeholder is known by its name.
    let before = |name: &String, after: &Tensor| placeholder(name, after.dtype(), after.shape().clone());
    Ok(names.iter().zip(afters).map(|(name, after)| State { before: before(name, &after), after }).collect())
}

/// A training that goes on without the code that began it: its graphs, and a session in which every variable, slots of
/// the optimizer and counters included, is as the checkpoint says. Comes from [`Trained::training`](super::Trained::training).
///
/// It goes on with the same bits as if it had never stopped, by hand with [`step`](StoredTraining::step), or in the
/// training loop with [`on`](StoredTraining::on).
#[derive(Debug)]
pub struct StoredTraining {
    pub(super) session: Session,
    pub(super) task: Task,
    pub(super) graphs: Accumulation,
}

impl StoredTraining {
    /// Where the variables have their values.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The graphs.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Makes one step on one batch, fed by the names of the columns and prepared as the model takes it. Numbers out of
    /// range are given as they are: whoever goes on by hand looks at them.
    ///
    /// # Errors
    /// If the feeds are not what the graph takes; then nothing has changed.
    pub fn step(&self, feeds: Feeds<'_>) -> Result<StepNumbers, RunError> {
        Ok(make_step(&self.session, &self.task.train_loss, &self.graphs.apply, &[], feeds)?.0)
    }

    /// The training of this model on these data, which are prepared as the model takes them, for [`fit`](crate::fit()).
    pub fn on<'a>(&'a self, data: &'a Loader, validation: Option<&'a Dataset>) -> Training<'a> {
        Training { session: &self.session, task: &self.task, optimizer: self, data, validation }
    }
}

impl Minimize for StoredTraining {
    fn graphs(&self, loss: &Tensor, accumulate: usize, _: &mut dyn Hooks) -> Result<Accumulation, FitError> {
        if loss.id() != self.task.train_loss.id() {
            return Err(FitError::Graph("the stored training step makes another loss smaller".into()));
        }
        if accumulate > 1 && self.graphs.add.is_empty() {
            let reason = "the stored training step takes one batch".into();
            return Err(FitError::Setting { setting: format!("accumulate {accumulate}"), reason });
        }
        Ok(self.graphs.clone())
    }
}
