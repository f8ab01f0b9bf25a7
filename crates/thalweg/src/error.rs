//! [`enum@Error`]: whatever can go wrong, under one type.

use thiserror::Error;

/// Whatever can go wrong. Messages are those of what went wrong.
#[derive(Debug, Error)]
#[error(transparent)]
pub enum Error {
    /// An array that cannot be made or read.
    Array(#[from] crate::array::ArrayError),
    /// A graph whose text is none.
    Text(#[from] crate::graph::text::ParseError),
    /// An op that cannot be applied.
    Build(#[from] crate::graph::BuildError),
    /// A run that failed.
    Run(#[from] crate::run::RunError),
    /// A setting of a model or an optimizer.
    Model(#[from] crate::nn::NnError),
    /// Data that are not what they should be.
    Data(#[from] crate::data::DataError),
    /// A file that cannot be read or written.
    File(#[from] crate::formats::FormatError),
    /// A checkpoint that cannot be saved or loaded.
    Checkpoint(#[from] crate::train::checkpoint::CheckpointError),
    /// A metric that was given something else.
    Metric(#[from] crate::train::metrics::MetricError),
    /// Text that cannot be decoded.
    Decode(#[from] crate::train::decoding::DecodeError),
    /// A training that stopped.
    Fit(#[from] crate::train::FitError),
    /// A trained model that cannot be used.
    Trained(#[from] crate::train::TrainedError),
}

/// A result with [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
