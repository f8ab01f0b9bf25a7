//! What stops a training.

use thalweg_data::DataError;
use thalweg_formats::FormatError;
use thalweg_nn::NnError;
use thalweg_run::RunError;
use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::decoding::DecodeError;
use crate::metrics::MetricError;
use crate::trained::TrainedError;

/// What stops a training, or an evaluation.
#[derive(Debug, Error)]
pub enum FitError {
    /// The numbers left their range: the loss or the gradients are NaN or infinite.
    #[error("step {step}: {what}; {origin}; {kept}")]
    Diverged {
        /// The step that went wrong; it changed nothing that is kept.
        step: u64,
        /// `the loss is NaN`.
        what: String,
        /// The first tensor of the step with a NaN or an infinity.
        origin: String,
        /// What is left of the training.
        kept: String,
    },
    /// A program of several phases was asked to stop in one of them.
    #[error("interrupted after step {step}; {kept}")]
    Interrupted {
        /// The steps made.
        step: u64,
        /// What is left of the training.
        kept: String,
    },
    /// A setting that cannot be followed.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting with its value.
        setting: String,
        /// Why not.
        reason: String,
    },
    /// A graph that is not what is needed.
    #[error("{0}")]
    Graph(String),
    /// The data cannot be fed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint cannot be saved or loaded, or is that of another training.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Records cannot be written.
    #[error(transparent)]
    Records(#[from] FormatError),
    /// Outputs and labels do not belong together.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A trained model cannot be used.
    #[error(transparent)]
    Trained(#[from] Box<TrainedError>),
    /// A text cannot be written.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A setting of the model or the optimizer is out of its range.
    #[error(transparent)]
    Model(#[from] NnError),
}
