//! One mini-batch: arrays ready to be fed, whose memory goes back to the loader.

use std::ops::Index;
use std::sync::mpsc::SyncSender;

use thalweg_array::Array;

use crate::dataset::find;
use crate::error::DataError;

/// The columns of a batch, and which rows they are.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) columns: Vec<(String, Array)>,
    pub(crate) rows: Vec<usize>,
}

/// Some rows of a data set, ready to be fed. Dropping it returns its memory to the loader.
#[derive(Debug)]
pub struct Batch {
    epoch: u64,
    position: usize,
    parts: Parts,
    /// Where the parts go when the batch is dropped.
    home: SyncSender<Parts>,
}

impl Batch {
    pub(crate) fn new(epoch: u64, position: usize, parts: Parts, home: SyncSender<Parts>) -> Batch {
        Batch { epoch, position, parts, home }
    }

    pub(crate) fn parts_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// The epoch it belongs to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Which batch of the epoch it is, from 0.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The number of rows.
    #[allow(clippy::len_without_is_empty, reason = "no batch is empty")]
    pub fn len(&self) -> usize {
        self.parts.rows.len()
    }

    /// The rows of the data set it holds, in order.
    pub fn rows(&self) -> &[usize] {
        &self.parts.rows
    }

    /// The column `name`.
    ///
    /// # Errors
    /// If there is none; the message lists those there are.
    pub fn column(&self, name: &str) -> Result<&Array, DataError> {
        find(&self.parts.columns, name)
    }

    /// The columns with their names, in the order of the data set.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &Array)> {
        self.parts.columns.iter().map(|(name, column)| (&**name, column))
    }

    /// Puts `column` in the place of the column `name`, or beside the others if there is none; for transforms of
    /// batches.
    pub fn set_column(&mut self, name: &str, column: Array) {
        match self.parts.columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = column,
            None => self.parts.columns.push((name.to_string(), column)),
        }
    }
}

/// The column of that name; panics if there is none.
impl Index<&str> for Batch {
    type Output = Array;

    #[track_caller]
    fn index(&self, name: &str) -> &Array {
        self.column(name).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // Full or gone: then the memory is freed here.
        let _ = self.home.try_send(std::mem::take(&mut self.parts));
    }
}
