//! What can be wrong with data: one error for the crate.

use std::io;
use std::path::{Path, PathBuf};

use thalweg_array::ArrayError;
use thiserror::Error;

/// What is wrong with data. Rows count from 0, as they do in a [`Dataset`](crate::Dataset); lines count from 1, as
/// they do in an editor.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Where a set should be is no folder.
    #[error("{} is no folder that can be read; {hint}", folder.display())]
    NoFolder {
        /// What was named.
        folder: PathBuf,
        /// What should be in it, and where to get it.
        hint: String,
    },
    /// A set lacks a file.
    #[error("{} has no file `{file}` (nor `{file}.gz`); {hint}", folder.display())]
    MissingFile {
        /// The folder.
        folder: PathBuf,
        /// The file it should have.
        file: String,
        /// Where to get it.
        hint: String,
    },
    /// A file is not what it should be.
    #[error("{}: {place}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file: a field of its header, a line.
        place: String,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// One cell of a table is wrong.
    #[error("{}: row {row} (line {line}), column `{column}`: {reason}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The row, from 0, the header not counted.
        row: usize,
        /// The line on which the row begins, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A column of a data set is wrong.
    #[error("column `{column}`: {reason}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such column.
    #[error("no column `{column}`; there are: {}", known.join(", "))]
    NoColumn {
        /// The column asked for.
        column: String,
        /// The columns there are.
        known: Vec<String>,
    },
    /// A label is no class number.
    #[error("column `{column}`, row {row}: label {label} {reason}")]
    Label {
        /// The column of the labels.
        column: String,
        /// The row.
        row: usize,
        /// The label, as written.
        label: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A row of a column that is made as needed cannot be made.
    #[error("column `{column}`, row {row}: {reason}")]
    Row {
        /// The column.
        column: String,
        /// The row.
        row: usize,
        /// Why not.
        reason: String,
    },
    /// A setting cannot be followed.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting with its value.
        setting: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// A file or folder cannot be used.
    #[error("{} {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it; the sentence goes on from its name.
        reason: String,
    },
    /// What stands at an address cannot be used.
    #[error("{url} {reason}")]
    Remote {
        /// The address.
        url: String,
        /// What is wrong with it; the sentence goes on from the address.
        reason: String,
    },
    /// Bytes are no picture that can be read.
    #[error("the picture {reason}")]
    Undecodable {
        /// What is wrong; the sentence goes on from the picture.
        reason: String,
    },
    /// A picture cannot be prepared.
    #[error("image of {height} x {width}: {reason}")]
    Image {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A transform failed or panicked on the loader's thread.
    #[error("sample {row} (epoch {epoch}, batch {batch}): {transform}: {reason}")]
    Sample {
        /// The row of the data set; of a transform of whole batches, the first row of the batch.
        row: usize,
        /// The epoch.
        epoch: u64,
        /// The batch of the epoch.
        batch: usize,
        /// Which transform.
        transform: String,
        /// What it said.
        reason: String,
    },
    /// The loader's thread could not be started, or ended early.
    #[error("the loader's thread {reason}")]
    Thread {
        /// What happened.
        reason: String,
    },
    /// An array cannot be made or read.
    #[error(transparent)]
    Array(#[from] ArrayError),
}

impl DataError {
    pub(crate) fn malformed(
        path: &Path,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> DataError {
        DataError::Malformed {
            path: path.to_path_buf(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(crate) fn column(column: &str, reason: impl Into<String>) -> DataError {
        DataError::Column { column: column.to_string(), reason: reason.into() }
    }

    pub(crate) fn setting(setting: impl Into<String>, reason: impl Into<String>) -> DataError {
        DataError::Setting { setting: setting.into(), reason: reason.into() }
    }
}
