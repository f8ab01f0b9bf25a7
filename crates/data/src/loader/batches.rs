//! The loader's thread, and the batches that come from it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use thalweg_array::Array;

use super::Loader;
use crate::batch::{Batch, Parts};
use crate::dataset::{Column, fit, gather};
use crate::error::DataError;
use crate::rows::Chance;
use crate::transform::{Draw, panicked};

/// The loader's thread.
struct Producer {
    loader: Loader,
    ready: SyncSender<Result<Batch, DataError>>,
    used: SyncSender<Parts>,
    returned: Receiver<Parts>,
    spare: Vec<Parts>,
}

impl Producer {
    fn run(mut self, epoch: u64, position: usize, last: Option<u64>) {
        let mut first = position;
        for epoch in epoch..=last.unwrap_or(u64::MAX) {
            let order = self.loader.order(epoch);
            for position in first..self.loader.n_batches() {
                let start = position * self.loader.batch_size;
                let end = (start + self.loader.batch_size).min(order.len());
                let batch = self.prepare(epoch, position, &order[start..end]);
                let failed = batch.is_err();
                if self.ready.send(batch).is_err() || failed {
                    return;
                }
            }
            first = 0;
        }
    }

    fn prepare(&mut self, epoch: u64, position: usize, rows: &[usize]) -> Result<Batch, DataError> {
        let mut parts = self.buffers(rows.len());
        parts.rows.clear();
        parts.rows.extend_from_slice(rows);
        let Loader { dataset, seed, augmented, workers, .. } = &self.loader;
        let mut measures = Vec::new();
        for ((name, column), (_, taken)) in dataset.columns().iter().zip(&mut parts.columns) {
            match column {
                Column::InMemory(array) => {
                    fit(name, rows.len(), &array.shape()[1..], array.dtype(), taken)?;
                    gather(array, rows, taken);
                }
                Column::Made(made) => {
                    fit(name, rows.len(), made.row_shape(), made.dtype(), taken)?;
                    let chance = augmented.then(|| Chance { seed: *seed, epoch, column: name.clone() });
                    made.fill(rows, chance.as_ref(), *workers, taken).map_err(|(row, error)| {
                        let (transform, reason) = (format!("column `{name}`"), error.to_string());
                        DataError::Sample { row, epoch, batch: position, transform, reason }
                    })?;
                }
                Column::Sequences(sequences) => {
                    sequences.fill(name, rows, self.loader.shift(epoch, position), taken)?;
                    if sequences.measure_names(name).is_some() {
                        measures.extend(sequences.measures(name, rows, taken.shape()[1]));
                    }
                }
            }
        }
        parts.columns.extend(measures);
        let mut batch = Batch::new(epoch, position, parts, self.used.clone());
        for (ordinal, transform) in self.loader.transforms.iter().enumerate() {
            transform.apply(&mut batch, &Draw { seed: self.loader.seed, ordinal }).map_err(|(row, error)| {
                let (transform, reason) = (transform.name(), error.to_string());
                DataError::Sample { row, epoch, batch: position, transform, reason }
            })?;
        }
        Ok(batch)
    }

    /// Buffers of a used batch of `rows` rows, or new ones.
    fn buffers(&mut self, rows: usize) -> Parts {
        self.spare.extend(self.returned.try_iter());
        let n_columns = self.loader.dataset.columns().len();
        if let Some(index) = self.spare.iter().position(|parts| parts.rows.len() == rows) {
            let mut parts = self.spare.swap_remove(index);
            parts.columns.truncate(n_columns);
            return parts;
        }
        let columns = self.loader.dataset.columns();
        Parts {
            columns: columns.iter().map(|(name, _)| (name.clone(), Array::from(Vec::<u8>::new()))).collect(),
            rows: Vec::new(),
        }
    }
}

/// Batches as they become ready. After an error there are no more. Dropping it ends the thread.
#[derive(Debug)]
pub struct Batches {
    ready: Option<Receiver<Result<Batch, DataError>>>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.ready.as_ref()?.recv() {
            Ok(Ok(batch)) => Some(Ok(batch)),
            Ok(Err(error)) => {
                self.end();
                Some(Err(error))
            }
            Err(_) => self.end().map(Err),
        }
    }
}

impl Batches {
    /// Those from batch `position` of `epoch` on, to the end of the epoch `last`.
    pub(super) fn start(loader: Loader, epoch: u64, position: usize, last: Option<u64>) -> Result<Batches, DataError> {
        let (ready_in, ready) = sync_channel(loader.ahead);
        // Room for all that can be on their way: in the queue, being prepared, in the caller's hands, and one to spare.
        let (used, used_out) = sync_channel(loader.ahead + 3);
        let producer = Producer { loader, ready: ready_in, used, returned: used_out, spare: Vec::new() };
        let thread = thread::Builder::new().name("loader".into()).spawn(move || producer.run(epoch, position, last));
        let thread = thread.map_err(|error| DataError::Thread { reason: format!("could not be started: {error}") })?;
        Ok(Batches { ready: Some(ready), thread: Some(thread) })
    }

    /// Waits for the thread to end; the error says how it died, if it did.
    fn end(&mut self) -> Option<DataError> {
        // Without a receiver the thread's next send fails.
        self.ready = None;
        let panic = self.thread.take()?.join().err()?;
        Some(DataError::Thread { reason: panicked(&*panic) })
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.end();
    }
}
