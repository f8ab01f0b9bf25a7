//! What can go wrong with checkpoints.

use std::path::PathBuf;

use thalweg_formats::FormatError;
use thiserror::Error;

use super::LoadReport;

/// What can go wrong with checkpoints.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file cannot be read or written, or is not what it should be.
    #[error(transparent)]
    File(#[from] FormatError),
    /// Another process trains in the folder.
    #[error("{}: process {pid} is training here; wait for its end or choose another folder", run.display())]
    Locked {
        /// The folder of the run.
        run: PathBuf,
        /// The process, as far as it is known.
        pid: String,
    },
    /// A new run would write into a folder that holds something else.
    #[error("{}: the folder is not empty (it holds {}); resume the run that is in it or choose another", run.display(), found.join(", "))]
    NotEmpty {
        /// The folder of the run.
        run: PathBuf,
        /// Some of the names in it.
        found: Vec<String>,
    },
    /// A safetensors file that no [`Saver`](super::Saver) wrote.
    #[error("{}: not a checkpoint: {reason}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of a newer version.
    #[error("{}: the checkpoint has version {found}; this program reads up to {newest}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is known.
        newest: u32,
    },
    /// There are no checkpoints.
    #[error("{}: no checkpoint has been saved here; name the folder of a run, in which `checkpoints` stands", folder.display())]
    Nothing {
        /// Where they would be.
        folder: PathBuf,
    },
    /// There are checkpoints, but none can be loaded.
    #[error("{}: no checkpoint can be loaded: {}", folder.display(), reasons.join("; "))]
    NoneGood {
        /// Where they are.
        folder: PathBuf,
        /// What is wrong with each.
        reasons: Vec<String>,
    },
    /// There is no checkpoint of this step.
    #[error("{}: no checkpoint of step {step}; there are {available:?}", folder.display())]
    NoSuchStep {
        /// Where it would be.
        folder: PathBuf,
        /// The step.
        step: u64,
        /// The steps that were saved and kept.
        available: Vec<u64>,
    },
    /// The best checkpoint was asked for, but nothing was measured.
    #[error("{}: no checkpoint was measured, so that none is the best; `last` is step {last}", folder.display())]
    NoBest {
        /// Where it would be.
        folder: PathBuf,
        /// The newest step.
        last: u64,
    },
    /// An entry of the metadata is not there or not as expected.
    #[error("the checkpoint entry `{key}` {reason}")]
    Entry {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// The run is configured otherwise than the saved one.
    #[error("the saved run was configured otherwise: {}", differences.join("; "))]
    Config {
        /// Each difference.
        differences: Vec<String>,
    },
    /// The arrays are not those of the model.
    #[error("the checkpoint does not fit the model: {0}")]
    Tensors(LoadReport),
}
