//! How a training goes: how long, where it is saved, how it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use thalweg_data::Loader;

use super::FitError;
use crate::evaluate::ROWS;
use crate::interrupt::Interrupt;
use crate::progress::Style;
use crate::trained::ModelCard;

/// How long a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So often over all the data.
    Epochs(u64),
    /// So many steps.
    Steps(u64),
}

impl From<u64> for Length {
    fn from(epochs: u64) -> Length {
        Length::Epochs(epochs)
    }
}

impl Length {
    /// The number of steps over the batches of `loader`, of which `accumulate` make a step; the last step of an epoch may
    /// have fewer.
    pub fn steps(self, loader: &Loader, accumulate: usize) -> u64 {
        match self {
            Length::Epochs(epochs) => epochs * loader.n_batches().div_ceil(accumulate.max(1)) as u64,
            Length::Steps(steps) => steps,
        }
    }
}

/// The folder of a run: checkpoints and event files.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// Where it is. Without [`resume`](RunFolder::resume) it must be empty or not be there.
    pub path: PathBuf,
    /// Goes on from the newest checkpoint; from the beginning if there is none.
    pub resume: bool,
    /// A checkpoint every so many steps; at the end of each epoch if not said, and always at the end.
    pub save_every: Option<u64>,
    /// How many of the newest checkpoints are kept, beside the best.
    pub keep: usize,
    /// What the training is configured with: a run that is resumed otherwise is refused. No paths, no machines.
    pub config: BTreeMap<String, String>,
    /// What of it may differ when a run is resumed: what describes the data. If it does, the next epoch begins.
    pub may_differ: BTreeSet<String>,
    /// What the checkpoints say of the model, so that it can be used and trained on without the code that made it.
    pub model: Option<ModelCard>,
}

impl RunFolder {
    /// A new run in `path`, three checkpoints kept.
    pub fn new(path: impl Into<PathBuf>) -> RunFolder {
        let path = path.into();
        let (config, may_differ) = Default::default();
        RunFolder { path, resume: false, save_every: None, keep: 3, config, may_differ, model: None }
    }
}

/// How a training goes.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// How long it is.
    pub length: Length,
    /// How many batches make a step: their gradients are averaged by rows, as if they were one batch.
    pub accumulate: usize,
    /// Rows at a time in validation, at most: fewer where rows are so large that these would take more than 16 MiB.
    pub validation_batch: usize,
    /// Measures on the validation set every so many steps, beside the end of each epoch.
    pub validate_every: Option<u64>,
    /// Measures on the validation set also whenever so much time has passed since the last measurement. The weights do
    /// not depend on it; which checkpoint is the best may.
    pub validate_each: Option<Duration>,
    /// Where it is saved and recorded; nowhere if not said.
    pub run: Option<RunFolder>,
    /// How progress is shown.
    pub progress: Style,
    /// What can stop it from outside, after a step.
    pub interrupt: Interrupt,
}

impl FitOptions {
    /// So long, saved nowhere, shown nowhere.
    pub fn new(length: Length) -> FitOptions {
        FitOptions {
            length,
            accumulate: 1,
            validation_batch: ROWS,
            validate_every: None,
            validate_each: None,
            run: None,
            progress: Style::Silent,
            interrupt: Interrupt::default(),
        }
    }

    /// Whether the model is validated after `step`, beside the ends of epochs; `since` the last time so much has passed.
    pub(super) fn is_due_to_validate(&self, step: u64, since: Duration) -> bool {
        self.validate_every.is_some_and(|every| step.is_multiple_of(every))
            || self.validate_each.is_some_and(|each| since >= each)
    }

    /// Refuses what cannot be followed.
    pub(super) fn check(&self) -> Result<(), FitError> {
        let save_every = self.run.as_ref().and_then(|run| run.save_every);
        let keep = self.run.as_ref().map(|run| run.keep as u64);
        for (setting, value) in [
            ("accumulate", Some(self.accumulate as u64)),
            ("validate every", self.validate_every),
            ("save every", save_every),
            ("keep", keep),
        ] {
            if value == Some(0) {
                let reason = "must be at least 1".into();
                return Err(FitError::Setting { setting: format!("{setting} 0"), reason });
            }
        }
        if self.validate_each == Some(Duration::ZERO) {
            let reason = "must be longer than nothing".into();
            return Err(FitError::Setting { setting: "validate each 0 s".into(), reason });
        }
        let (setting, length) = match self.length {
            Length::Epochs(epochs) => ("epochs", epochs),
            Length::Steps(steps) => ("steps", steps),
        };
        // Beyond this f32, in which schedules count, would skip steps.
        const MOST: u64 = 1 << 24;
        if !(1..=MOST).contains(&length) {
            let reason = format!("a training has from 1 to {MOST}");
            return Err(FitError::Setting { setting: format!("{setting} {length}"), reason });
        }
        Ok(())
    }
}
