//! What a checkpoint holds of a training, beside the variables.

use serde::{Deserialize, Serialize};
use thalweg_data::Batch;
use thalweg_formats::array::{Array, Element, Real, with_elements};
use thalweg_run::State;

use super::{Callback, RunFolder};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::evaluate::Evaluation;
use crate::metrics::Mean;

/// Where a training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The steps made. In files it is the step of the checkpoint.
    #[serde(skip)]
    pub(super) step: u64,
    /// The epoch of the next batch, from 0.
    pub(super) epoch: u64,
    /// The next batch of that epoch.
    pub(super) batch: u64,
    /// The losses of the epoch so far.
    pub(super) loss: Mean,
    /// The mean loss of the epoch before.
    pub(super) last_loss: Option<Real>,
    /// How many steps had gradients that were clipped by norm.
    #[serde(default)]
    pub(super) clipped: u64,
    /// What was measured last on the validation set.
    pub(super) measured: Option<Measured>,
}

/// What was measured on the validation set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(super) loss: Real,
    pub(super) accuracy: Option<Real>,
}

impl From<&Evaluation> for Measured {
    fn from(evaluation: &Evaluation) -> Measured {
        Measured { loss: Real(evaluation.loss), accuracy: evaluation.accuracy().map(Real) }
    }
}

impl Place {
    /// Behind a step on the batches `round`, of epochs of `n_batches` batches.
    pub(super) fn make_step(&mut self, round: &[Batch], loss: &Mean, clipped: bool, n_batches: usize) {
        self.step += 1;
        self.clipped += u64::from(clipped);
        self.loss.merge(loss);
        self.batch += round.len() as u64;
        if self.batch == n_batches as u64 {
            self.end_epoch();
        }
    }

    /// At the beginning of the next epoch.
    pub(super) fn end_epoch(&mut self) {
        self.last_loss = Some(Real(self.loss.value()));
        (self.epoch, self.batch, self.loss) = (self.epoch + 1, 0, Mean::default());
    }

    /// The mean loss of the epoch so far, or of the whole one that just ended.
    pub(super) fn train_loss(&self) -> f64 {
        match self.last_loss {
            Some(Real(last)) if self.batch == 0 => last,
            _ => self.loss.value(),
        }
    }

    /// How many epochs a batch was trained on of.
    pub(super) fn epochs_begun(&self) -> u64 {
        self.epoch + u64::from(self.batch > 0)
    }
}

/// All of a training at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(super) place: Place,
}

mod key {
    pub(super) const PLACE: &str = "place";
    /// The session's counter of runs and its seed: what random numbers depend on.
    pub(super) const SESSION: &str = "session";
    /// How the names begin of what callbacks remember; their positions follow.
    pub(super) const MEMORY: &str = "callback ";
}

/// Writes down what callbacks remember, each under its position.
pub(super) fn write_memories(callbacks: &[&mut dyn Callback], checkpoint: &mut Checkpoint) {
    for (position, callback) in callbacks.iter().enumerate() {
        let mut memory = Checkpoint::default();
        callback.remember(&mut memory);
        let name = |name| format!("{}{position}/{name}", key::MEMORY);
        checkpoint.tensors.extend(memory.tensors.into_iter().map(|(key, value)| (name(key), value)));
        checkpoint.metadata.extend(memory.metadata.into_iter().map(|(key, value)| (name(key), value)));
    }
}

/// Lets callbacks recall what was written; those that left nothing are not asked.
pub(super) fn read_memories(
    callbacks: &mut [&mut dyn Callback],
    checkpoint: &Checkpoint,
) -> Result<(), CheckpointError> {
    for (position, callback) in callbacks.iter_mut().enumerate() {
        let prefix = format!("{}{position}/", key::MEMORY);
        let own = |name: &String| name.strip_prefix(&*prefix).map(String::from);
        let memory = Checkpoint {
            tensors: checkpoint.tensors.iter().filter_map(|(name, x)| Some((own(name)?, x.clone()))).collect(),
            metadata: checkpoint.metadata.iter().filter_map(|(name, x)| Some((own(name)?, x.clone()))).collect(),
        };
        if memory != Checkpoint::default() {
            callback.recall(&memory)?;
        }
    }
    Ok(())
}

impl Snapshot {
    /// The first variable that holds a NaN or an infinity.
    pub(super) fn not_finite(&self) -> Option<&str> {
        let finite = |value: &Array| with_elements!(value.storage(), elements => elements.iter().all(|x| x.to_f64().is_finite()));
        let floats = self.state.variables.iter().filter(|(_, value)| value.dtype().is_float());
        floats.into_iter().find(|(_, value)| !finite(value)).map(|(name, _)| &**name)
    }

    pub(super) fn to_checkpoint(&self, run: &RunFolder) -> Checkpoint {
        let mut checkpoint = Checkpoint { tensors: self.state.variables.clone(), ..Checkpoint::default() };
        checkpoint.set(key::PLACE, &self.place);
        checkpoint.set(key::SESSION, &(self.state.step, self.state.seed));
        checkpoint.set_config(&run.config);
        if let Some(model) = &run.model {
            model.write(&mut checkpoint);
        }
        checkpoint
    }

    pub(crate) fn from_checkpoint(mut checkpoint: Checkpoint, step: u64) -> Result<Snapshot, CheckpointError> {
        let place = Place { step, ..checkpoint.get(key::PLACE)? };
        let (counter, seed) = checkpoint.get(key::SESSION)?;
        checkpoint.tensors.retain(|name, _| !name.starts_with(key::MEMORY));
        Ok(Snapshot { state: State { variables: checkpoint.tensors, step: counter, seed }, place })
    }
}
