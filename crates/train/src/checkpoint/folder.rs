//! The checkpoints in the folder of a run: which there are, and loading one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thalweg_formats::FormatError;
use thalweg_formats::array::Real;
use thalweg_formats::safetensors::{self, TensorFile};

use super::{Checkpoint, CheckpointError, FORMAT_VERSION};

/// Whether a smaller or a larger metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Smaller is better: a loss.
    Min,
    /// Larger is better: an accuracy.
    Max,
}

impl Goal {
    /// Whether `new` is better than `old`; NaN never is, and equal is not better.
    pub fn improves(self, new: f64, old: f64) -> bool {
        match self {
            Goal::Min => new < old,
            Goal::Max => new > old,
        }
    }
}

/// The best checkpoint of a run so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    /// What was measured.
    pub metric: String,
    /// Which way is better.
    pub goal: Goal,
    /// The step of the checkpoint.
    pub step: u64,
    /// What it reached.
    pub value: Real,
}

/// Which checkpoint of a run. As text: `last`, `best`, or the number of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Last,
    /// The one with the best metric.
    Best,
    /// That of a step.
    Step(u64),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Which, String> {
        match text {
            "last" => Ok(Which::Last),
            "best" => Ok(Which::Best),
            number => match number.parse() {
                Ok(step) => Ok(Which::Step(step)),
                Err(_) => Err(format!("`{text}` is not `last`, `best` or the number of a step")),
            },
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Last => f.write_str("last"),
            Which::Best => f.write_str("best"),
            Which::Step(step) => write!(f, "{step}"),
        }
    }
}

/// A checkpoint that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its step.
    pub step: u64,
    /// Its file.
    pub path: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
    /// The best checkpoint as of this one.
    pub best: Option<Best>,
    /// What the user should be told: newer checkpoints that are damaged and were passed over.
    pub notes: Vec<String>,
}

/// The keys that the saver keeps for itself.
pub(super) mod key {
    pub(in super::super) const VERSION: &str = "version";
    pub(in super::super) const STEP: &str = "step";
    pub(in super::super) const BEST: &str = "best";
}

/// Where the checkpoints of a run are.
pub(super) fn checkpoints(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

/// The file of a step.
pub(super) fn file_of(run: &Path, step: u64) -> PathBuf {
    checkpoints(run).join(format!("step-{step:09}.safetensors"))
}

/// The steps whose checkpoints are in the folder of a run, oldest first. Whether they are whole is not looked at.
///
/// # Errors
/// If the folder cannot be listed. A run without one has no checkpoints.
pub fn steps(run: &Path) -> Result<Vec<u64>, CheckpointError> {
    let folder = checkpoints(run);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(FormatError::io(&folder, "list")(error).into()),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry.map_err(FormatError::io(&folder, "list"))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok());
        // Only names as they are written, so that no two are of one step.
        if let Some(step) = number.filter(|&step| file_of(run, step).file_name() == Some(&name)) {
            steps.push(step);
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Loads a checkpoint of a run, all or nothing. It may be training meanwhile.
///
/// If the newest is damaged, [`Which::Last`] falls back to the one before and says so in [`Loaded::notes`]. The best and that
/// of a step have no stand-ins.
///
/// # Errors
/// If there is none, or it cannot be read, is damaged, or is of a newer version.
pub fn load(run: &Path, which: Which) -> Result<Loaded, CheckpointError> {
    match which {
        Which::Last => latest(run)?.ok_or_else(|| CheckpointError::Nothing { folder: checkpoints(run) }),
        Which::Step(step) => load_step(run, step),
        Which::Best => {
            let last = load(run, Which::Last)?;
            match last.best {
                Some(best) => load_step(run, best.step),
                None => Err(CheckpointError::NoBest { folder: checkpoints(run), last: last.step }),
            }
        }
    }
}

/// The newest checkpoint that is whole, if any was saved.
pub(super) fn latest(run: &Path) -> Result<Option<Loaded>, CheckpointError> {
    let mut reasons = Vec::new();
    for step in steps(run)?.into_iter().rev() {
        match load_step(run, step) {
            Ok(loaded) => {
                let notes = reasons.iter().map(|reason| format!("{reason}; step {step} is loaded instead")).collect();
                return Ok(Some(Loaded { notes, ..loaded }));
            }
            Err(error) if is_damage(&error) => reasons.push(error.to_string()),
            // Removed since the folder was listed, so that there are newer ones now.
            Err(CheckpointError::NoSuchStep { available, .. }) if !available.contains(&step) => return latest(run),
            Err(error) => return Err(error),
        }
    }
    if reasons.is_empty() { Ok(None) } else { Err(CheckpointError::NoneGood { folder: checkpoints(run), reasons }) }
}

/// Whether the file is at fault: another one may be loaded instead. A disk that does not answer, a missing permission or a
/// newer version must be seen by the user.
pub(super) fn is_damage(error: &CheckpointError) -> bool {
    match error {
        CheckpointError::File(error) => match error {
            FormatError::Malformed { .. }
            | FormatError::Tensor { .. }
            | FormatError::Damaged { .. }
            | FormatError::NotAFile { .. } => true,
            FormatError::Io { .. } | FormatError::Full { .. } => false,
        },
        CheckpointError::NotACheckpoint { .. } => true,
        CheckpointError::Locked { .. }
        | CheckpointError::NotEmpty { .. }
        | CheckpointError::Version { .. }
        | CheckpointError::Nothing { .. }
        | CheckpointError::NoneGood { .. }
        | CheckpointError::NoSuchStep { .. }
        | CheckpointError::NoBest { .. }
        | CheckpointError::Entry { .. }
        | CheckpointError::Config { .. }
        | CheckpointError::Tensors(_) => false,
    }
}

pub(super) fn load_step(run: &Path, step: u64) -> Result<Loaded, CheckpointError> {
    let path = file_of(run, step);
    let TensorFile { tensors, metadata } = match safetensors::read(&path) {
        Err(FormatError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(CheckpointError::NoSuchStep { folder: checkpoints(run), step, available: steps(run)? });
        }
        read => read?,
    };
    let mut checkpoint = Checkpoint { tensors, metadata };
    let not_a_checkpoint = |reason| CheckpointError::NotACheckpoint { path: path.clone(), reason };
    let entry = |error: CheckpointError| not_a_checkpoint(error.to_string());
    let version: u32 = checkpoint.get(key::VERSION).map_err(entry)?;
    if version > FORMAT_VERSION {
        return Err(CheckpointError::Version { path, found: version, newest: FORMAT_VERSION });
    }
    let inside: u64 = checkpoint.get(key::STEP).map_err(entry)?;
    if inside != step {
        return Err(not_a_checkpoint(format!("named step {step}, but saved at step {inside}")));
    }
    let best = checkpoint.get(key::BEST).map_err(entry)?;
    for key in [key::VERSION, key::STEP, key::BEST] {
        checkpoint.metadata.remove(key);
    }
    Ok(Loaded { step, path, checkpoint, best, notes: Vec::new() })
}
