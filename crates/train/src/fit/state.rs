//! What a checkpoint holds of a training, beside the variables.

use serde::{Deserialize, Serialize};
use thalweg_data::Batch;
use thalweg_formats::array::{Array, Element, Real, with_elements};
use thalweg_run::State;

use super::RunFolder;
use super::callbacks::take_memories;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::evaluate::Evaluation;
use crate::inputs::Carried;
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
    /// The phase of the training.
    #[serde(default)]
    pub(super) phase: Phase,
}

/// A part of a training that has a length, a learning rate and frozen layers of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// Which it is, from 0.
    pub(crate) number: u64,
    /// The steps made before it.
    pub(crate) first_step: u64,
    /// What the optimizer's counter stood at when it began: after early stopping, fewer.
    pub(crate) first_count: u64,
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
    /// At the beginning of the next phase, and so of an epoch; the optimizer has counted `count` steps.
    pub(crate) fn next_phase(mut self, count: u64) -> Place {
        if self.batch > 0 {
            self.end_epoch();
        }
        let phase = Phase { number: self.phase.number + 1, first_step: self.step, first_count: count };
        Place { phase, ..self }
    }

    /// The steps made.
    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    /// The phase.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The same place in this phase.
    pub(crate) fn in_phase(self, phase: Phase) -> Place {
        Place { phase, ..self }
    }

    /// The epoch of the next batch, from 0.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.epoch
    }

    /// Behind the batches of a round, of epochs of `n_batches` batches.
    pub(super) fn take(&mut self, round: &Round, n_batches: usize) {
        self.batch += round.taken;
        if self.batch == n_batches as u64 {
            self.end_epoch();
        }
    }

    /// Behind a step.
    pub(super) fn make_step(&mut self, loss: &Mean, clipped: bool) {
        self.step += 1;
        self.clipped += u64::from(clipped);
        self.loss.merge(loss);
    }

    /// That of a checkpoint, but for its step.
    pub(crate) fn saved(checkpoint: &Checkpoint) -> Result<Place, CheckpointError> {
        checkpoint.get(key::PLACE)
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

/// The batches of a step.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Those that are trained on; none if all were left out until the end of the epoch.
    pub(super) batches: Vec<Batch>,
    /// How many were taken from the data.
    pub(super) taken: u64,
}

/// All of a training at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(super) place: Place,
    /// What goes on from batch to batch.
    pub(super) carried: Carried,
    /// What callbacks remember.
    pub(super) memories: Checkpoint,
}

/// Before the names of what is carried over, among the tensors of a checkpoint.
const CARRIED: &str = "carried ";

mod key {
    pub(super) const PLACE: &str = "place";
    /// The session's counter of runs and its seed: what random numbers depend on.
    pub(super) const SESSION: &str = "session";
}

impl Snapshot {
    /// The first variable that holds a NaN or an infinity.
    pub(super) fn not_finite(&self) -> Option<&str> {
        let finite = |value: &Array| with_elements!(value.storage(), elements => elements.iter().all(|x| x.to_f64().is_finite()));
        let floats = self.state.variables.iter().filter(|(_, value)| value.dtype().is_float());
        floats.into_iter().find(|(_, value)| !finite(value)).map(|(name, _)| &**name)
    }

    pub(super) fn to_checkpoint(&self, run: &RunFolder) -> Checkpoint {
        let mut checkpoint = self.memories.clone();
        checkpoint.tensors.extend(self.state.variables.clone());
        let carried = self.carried.0.iter().map(|(name, value)| (format!("{CARRIED}{name}"), value.clone()));
        checkpoint.tensors.extend(carried);
        checkpoint.set(key::PLACE, &self.place);
        checkpoint.set(key::SESSION, &(self.state.step, self.state.seed));
        checkpoint.set_config(&run.config);
        if let Some(model) = &run.model {
            model.write(&mut checkpoint);
        }
        checkpoint
    }

    pub(crate) fn from_checkpoint(mut checkpoint: Checkpoint, step: u64) -> Result<Snapshot, CheckpointError> {
        let place = Place { step, ..Place::saved(&checkpoint)? };
        let (counter, seed) = checkpoint.get(key::SESSION)?;
        let memories = take_memories(&mut checkpoint);
        let carried = checkpoint.tensors.extract_if(.., |key, _| key.starts_with(CARRIED));
        let carried = Carried(carried.map(|(key, value)| (key[CARRIED.len()..].to_string(), value)).collect());
        let state = State { variables: checkpoint.tensors, step: counter, seed };
        Ok(Snapshot { state, place, carried, memories })
    }
}
