//! Mini-batches, prepared ahead of the step on other threads.
//!
//! The order of an epoch and every random number of a transform are functions of (seed, epoch, row): a loader has no
//! state, so training resumes at any batch of any epoch without replaying what came before, on any number of threads.
//!
//! One thread prepares, with others to help it where rows are made one by one; a bounded queue holds what is ready; a
//! batch that is dropped sends its buffers back to be filled again. The thread ends when the last batch is sent, when a
//! transform fails, or when the iterator is dropped.

mod batches;
mod order;

use std::fmt;
use std::sync::Arc;

use thalweg_array::Element;

pub use batches::Batches;
use order::Buckets;

use crate::batch::Batch;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::parallel::default_workers;
use crate::random::Random;
use crate::transform::{PerBatch, PerSample, Transform, TransformError};

/// Cuts a [`Dataset`] into batches: as it is made, for validation and use, in the order of the data and without chance;
/// made for [training](Loader::training), in random order and with chance.
///
/// ```
/// use thalweg_data::{Loader, digits};
///
/// let loader = Loader::new(&digits(), 64)?.training(42);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch)? {
///         let batch = batch?;
///         let (images, labels) = (&batch["image"], &batch["label"]);
///         assert_eq!(images.shape()[0], labels.shape()[0]);
///     }
/// }
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone)]
pub struct Loader {
    dataset: Dataset,
    batch_size: usize,
    seed: u64,
    shuffled: bool,
    augmented: bool,
    drop_last: bool,
    buckets: Option<Buckets>,
    jitter: usize,
    ahead: usize,
    workers: usize,
    transforms: Vec<Arc<dyn Transform>>,
}

impl Loader {
    /// A loader of `dataset` in its own order, in batches of `batch_size` rows; the last batch of an epoch holds what
    /// is left. In rows that are made, chance takes its middle. [Contiguous](Dataset::is_contiguous) data are cut into
    /// `batch_size` lanes of equal length, see [`text::windows`](crate::text::windows).
    ///
    /// # Errors
    /// If the data set is empty, `batch_size` is 0, or contiguous data have fewer rows than that.
    pub fn new(dataset: &Dataset, batch_size: usize) -> Result<Loader, DataError> {
        if batch_size == 0 {
            return Err(DataError::setting("batch size 0", "a batch holds at least one row"));
        }
        if dataset.is_empty() {
            let columns: Vec<&str> = dataset.names().collect();
            let reason = format!("no rows to make batches of (columns: {})", columns.join(", "));
            return Err(DataError::setting("an empty data set", reason));
        }
        if dataset.is_contiguous() && dataset.len() < batch_size {
            let reason = format!("there are only {} windows to share among them", dataset.len());
            return Err(DataError::setting(format!("{batch_size} lanes of a stream"), reason));
        }
        Ok(Loader {
            dataset: dataset.clone(),
            batch_size,
            seed: 0,
            shuffled: false,
            augmented: false,
            drop_last: false,
            buckets: None,
            jitter: 0,
            ahead: 2,
            workers: default_workers(),
            transforms: Vec::new(),
        })
    }

    /// The seed of the order and of the transforms; 0 unless given.
    pub fn seed(mut self, seed: u64) -> Loader {
        self.seed = seed;
        self
    }

    /// Every epoch in another order, a function of seed and epoch; but [contiguous](Dataset::is_contiguous) data keep
    /// theirs.
    pub fn shuffled(mut self) -> Loader {
        self.shuffled = true;
        self
    }

    /// Lets chance into rows that are made, which is what augmentation is; what they draw is a function of seed, epoch
    /// and row.
    pub fn augmented(mut self) -> Loader {
        self.augmented = true;
        self
    }

    /// With this seed, in random order, augmented: how a model is trained.
    pub fn training(self, seed: u64) -> Loader {
        self.seed(seed).shuffled().augmented()
    }

    /// Leaves out a last batch that is not full.
    ///
    /// # Errors
    /// If no batch would be left.
    pub fn drop_last(mut self) -> Result<Loader, DataError> {
        self.drop_last = true;
        if self.n_batches() == 0 {
            let setting = format!("batch size {} without the last partial batch", self.batch_size);
            return Err(DataError::setting(setting, format!("the data set has only {} rows", self.dataset.len())));
        }
        Ok(self)
    }

    /// How many batches may wait in the queue; 2 unless given.
    pub fn ahead(mut self, batches: usize) -> Loader {
        self.ahead = batches;
        self
    }

    /// How many threads make rows; as many as run at once, at most 8, unless given. No number depends on it.
    ///
    /// # Errors
    /// If there are none.
    pub fn workers(mut self, threads: usize) -> Result<Loader, DataError> {
        if threads == 0 {
            return Err(DataError::setting("0 threads of a loader", "rows are made on at least one"));
        }
        self.workers = threads;
        Ok(self)
    }

    /// Changes each sample of `column` in place by `f`, on the loader's thread. What `f` draws depends on seed, epoch
    /// and row alone.
    ///
    /// ```
    /// use thalweg_data::{Loader, digits, image};
    ///
    /// let loader = Loader::new(&digits(), 64)?.map("image", |pixels: &mut [f32], random| {
    ///     image::random_shift(pixels, (8, 8), 1, random);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such column, or its elements are not of type `T`.
    pub fn map<T: Element>(
        mut self,
        column: &str,
        f: impl Fn(&mut [T], &mut Random) -> Result<(), TransformError> + Send + Sync + 'static,
    ) -> Result<Loader, DataError> {
        let (_, found) = self.dataset.row(column)?;
        if found != T::DTYPE {
            return Err(DataError::column(column, format!("is {found}, transformed as {}", T::DTYPE)));
        }
        self.transforms.push(Arc::new(PerSample::new(column, f)));
        Ok(self)
    }

    /// Changes each batch by `f`, on the loader's thread. What `f` draws depends on seed, epoch and the batch's
    /// position.
    pub fn map_batches(
        mut self,
        f: impl Fn(&mut Batch, &mut Random) -> Result<(), TransformError> + Send + Sync + 'static,
    ) -> Loader {
        self.transforms.push(Arc::new(PerBatch(f)));
        self
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Rows per batch, but for the last one.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The batches of `epoch`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn epoch(&self, epoch: u64) -> Result<Batches, DataError> {
        self.iter_from(epoch, 0)
    }

    /// The batches of `epoch` from batch `position` on.
    ///
    /// # Errors
    /// If the epoch has fewer than `position` batches, or the thread cannot be started.
    pub fn iter_from(&self, epoch: u64, position: usize) -> Result<Batches, DataError> {
        self.start(epoch, position, Some(epoch))
    }

    /// The batches from batch `position` of `epoch` on, one epoch after the other without end: the next epoch is
    /// prepared while the last batches of this one are used.
    ///
    /// # Errors
    /// As [`Loader::iter_from`].
    pub fn stream_from(&self, epoch: u64, position: usize) -> Result<Batches, DataError> {
        self.start(epoch, position, None)
    }

    fn start(&self, epoch: u64, position: usize, last: Option<u64>) -> Result<Batches, DataError> {
        if position > self.n_batches() {
            let setting = format!("batch {position} of epoch {epoch}");
            let reason = format!(
                "an epoch of {} rows in batches of {} has {}; were data or batch size others when this was saved?",
                self.dataset.len(),
                self.batch_size,
                self.n_batches()
            );
            return Err(DataError::setting(setting, reason));
        }
        Batches::start(self.clone(), epoch, position, last)
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("rows", &self.dataset.len())
            .field("batch_size", &self.batch_size)
            .field("seed", &self.seed)
            .field("shuffled", &self.shuffled)
            .field("augmented", &self.augmented)
            .field("drop_last", &self.drop_last)
            .field("buckets", &self.buckets)
            .field("jitter", &self.jitter)
            .field("ahead", &self.ahead)
            .field("workers", &self.workers)
            .field("transforms", &self.transforms.iter().map(|transform| transform.name()).collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use thalweg_array::Array;

    use super::*;
    use crate::rows::Rows;

    /// Rows 0 to n-1: `x` is [10·row, 10·row + 1], `label` the row.
    fn data(n: usize) -> Dataset {
        let x = (0..n).flat_map(|row| [10.0 * row as f32, 10.0 * row as f32 + 1.0]).collect();
        let labels: Vec<i64> = (0..n as i64).collect();
        Dataset::new([("x", Array::new::<f32>(&[n, 2], x).unwrap()), ("label", labels.into())]).unwrap()
    }

    /// The labels of each batch.
    fn labels(batches: Batches) -> Vec<Vec<i64>> {
        batches.map(|batch| batch.unwrap()["label"].as_slice().unwrap().to_vec()).collect()
    }

    #[test]
    fn an_epoch_holds_each_row_once_and_columns_stay_together() {
        let loader = Loader::new(&data(10), 3).unwrap().seed(7).shuffled();
        let mut seen = Vec::new();
        for (position, batch) in loader.epoch(4).unwrap().enumerate() {
            let batch = batch.unwrap();
            assert_eq!((batch.epoch(), batch.position(), batch.len()), (4, position, if position < 3 { 3 } else { 1 }));
            assert_eq!(batch["x"].shape(), [batch.len(), 2]);
            for (index, &row) in batch.rows().iter().enumerate() {
                assert_eq!(batch["x"].as_slice::<f32>().unwrap()[2 * index + 1], 10.0 * row as f32 + 1.0);
                assert_eq!(batch["label"].as_slice::<i64>().unwrap()[index], row as i64);
            }
            seen.extend_from_slice(batch.rows());
        }
        assert_eq!(seen, loader.order(4));
        assert_ne!(seen, loader.order(5));
        seen.sort();
        assert!(seen.into_iter().eq(0..10));
    }

    #[test]
    fn the_last_partial_batch_is_kept_or_dropped() {
        let loader = Loader::new(&data(7), 3).unwrap();
        assert_eq!(labels(loader.epoch(0).unwrap()), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        let loader = loader.drop_last().unwrap();
        assert_eq!((loader.n_batches(), labels(loader.epoch(0).unwrap()).len()), (2, 2));
        assert_eq!(labels(Loader::new(&data(2), 5).unwrap().epoch(0).unwrap()), [[0, 1]]);
    }

    #[test]
    fn settings_that_make_no_batch_are_refused() {
        let message = Loader::new(&data(3), 0).unwrap_err().to_string();
        assert!(message.contains("batch size 0"), "{message}");
        let message = Loader::new(&data(0), 3).unwrap_err().to_string();
        assert!(message.contains("empty data set") && message.contains("x, label"), "{message}");
        let message = Loader::new(&data(3), 4).unwrap().drop_last().unwrap_err().to_string();
        assert!(message.contains("batch size 4") && message.contains("only 3 rows"), "{message}");
        let message = Loader::new(&data(3), 2).unwrap().iter_from(1, 3).unwrap_err().to_string();
        assert!(message.contains("batch 3 of epoch 1") && message.contains("has 2"), "{message}");
        let message = Loader::new(&data(3), 2).unwrap().map("x", |_: &mut [f64], _| Ok(())).unwrap_err().to_string();
        assert_eq!(message, "column `x`: is f32, transformed as f64");
        let message = Loader::new(&data(3), 2).unwrap().map("y", |_: &mut [f32], _| Ok(())).unwrap_err().to_string();
        assert!(message.contains("no column `y`"), "{message}");
    }

    /// Row r is [r, r + noise], but there is no row 13.
    #[derive(Debug)]
    struct Noisy(usize);

    impl Rows for Noisy {
        type Element = f32;

        fn len(&self) -> usize {
            self.0
        }

        fn shape(&self) -> &[usize] {
            &[2]
        }

        fn read(&self, row: usize, chance: Option<&mut Random>, to: &mut [f32]) -> Result<(), TransformError> {
            if row == 13 {
                return Err("unlucky".into());
            }
            to.copy_from_slice(&[row as f32, row as f32 + chance.map_or(0.0, Random::uniform)]);
            Ok(())
        }

        fn fingerprint(&self, rows: &[usize]) -> String {
            format!("noisy {rows:?}")
        }
    }

    /// All of `made` in the batches of two epochs.
    fn made(loader: &Loader) -> Vec<Vec<f32>> {
        let batches = loader.stream_from(1, 0).unwrap().take(2 * loader.n_batches());
        batches.map(|batch| batch.unwrap()["made"].to_vec()).collect()
    }

    #[test]
    fn rows_are_made_alike_on_any_number_of_threads() {
        let data = data(11).with_rows("made", Noisy(11)).unwrap();
        let loader = |workers| Loader::new(&data, 4).unwrap().training(5).workers(workers).unwrap();
        let expected = made(&loader(1));
        for workers in [2, 3, 7, 16] {
            assert_eq!(made(&loader(workers)), expected);
        }
        let noise = |pair: &[f32]| pair[1] - pair[0];
        let noises: BTreeSet<u32> = expected.iter().flat_map(|x| x.chunks(2)).map(|x| noise(x).to_bits()).collect();
        assert!(noises.len() > 18, "two epochs of 11 rows draw other numbers: {noises:?}");
    }

    #[test]
    fn without_training_there_is_neither_order_nor_chance() {
        let data = data(5).with_rows("made", Noisy(5)).unwrap();
        let loader = Loader::new(&data, 4).unwrap().seed(5);
        assert_eq!(made(&loader)[..2], [vec![0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0], vec![4.0, 4.0]]);
        let augmented = made(&loader.augmented());
        assert!(augmented[0].chunks(2).all(|pair| pair[1] > pair[0]));
    }

    #[test]
    fn a_row_that_cannot_be_made_is_named_whatever_the_threads() {
        let data = data(16).with_rows("made", Noisy(16)).unwrap();
        for workers in [1, 4] {
            let loader = Loader::new(&data, 8).unwrap().workers(workers).unwrap();
            let results: Vec<_> = loader.epoch(2).unwrap().collect();
            let message = results[1].as_ref().unwrap_err().to_string();
            assert_eq!(message, "sample 13 (epoch 2, batch 1): column `made`: unlucky");
            assert_eq!(results.len(), 2);
        }
        let message = Loader::new(&data, 8).unwrap().workers(0).unwrap_err().to_string();
        assert!(message.contains("0 threads of a loader"), "{message}");
    }

    /// A loader that adds noise to `x` by both kinds of transform.
    fn noisy(n: usize) -> Loader {
        let noise = |x: &mut [f32], random: &mut Random| {
            x.iter_mut().for_each(|x| *x += random.normal());
            Ok(())
        };
        Loader::new(&data(n), 4).unwrap().seed(3).shuffled().map("x", noise).unwrap().map_batches(
            move |batch, random| {
                let mut x = batch.column("x")?.clone();
                noise(x.as_mut_slice()?, random)?;
                batch.set_column("x", x);
                Ok(())
            },
        )
    }

    #[test]
    fn a_resumed_stream_equals_the_undisturbed_one() {
        let loader = noisy(10);
        let read = |batches: Batches| -> Vec<(u64, usize, Array)> {
            let batches = batches.take(7).map(Result::unwrap);
            batches.map(|batch| (batch.epoch(), batch.position(), batch["x"].clone())).collect()
        };
        let whole = read(loader.stream_from(0, 0).unwrap());
        assert_eq!(
            whole.iter().map(|(epoch, position, _)| (*epoch, *position)).collect::<Vec<_>>(),
            [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
        );
        assert_eq!(read(loader.iter_from(0, 1).unwrap()), whole[1..3]);
        assert_eq!(read(loader.clone().ahead(0).stream_from(1, 1).unwrap())[..3], whole[4..]);
        assert_eq!(loader.iter_from(5, 3).unwrap().count(), 0);
    }

    #[test]
    fn what_a_sample_draws_does_not_depend_on_the_batch() {
        let draws = |batch_size: usize| {
            let loader =
                Loader::new(&data(6), batch_size).unwrap().seed(9).shuffled().map("x", |x: &mut [f32], random| {
                    x[1] = random.uniform();
                    Ok(())
                });
            let mut draws = Vec::new();
            for batch in loader.unwrap().epoch(2).unwrap() {
                let batch = batch.unwrap();
                let x = batch["x"].as_slice::<f32>().unwrap();
                draws.extend(batch.rows().iter().enumerate().map(|(index, &row)| (row, x[2 * index + 1].to_bits())));
            }
            draws.sort();
            draws
        };
        assert_eq!(draws(1), draws(4));
        assert_eq!(draws(1).iter().map(|(_, bits)| bits).collect::<BTreeSet<_>>().len(), 6);
    }

    #[test]
    fn buffers_are_filled_again() {
        let loader = Loader::new(&data(1000), 4).unwrap();
        let mut places = BTreeSet::new();
        for batch in loader.stream_from(0, 0).unwrap().take(1000) {
            places.insert(batch.unwrap()["x"].as_slice::<f32>().unwrap().as_ptr() as usize);
        }
        assert!(places.len() <= 4, "{} buffers", places.len());
    }

    #[test]
    fn a_kept_batch_and_a_kept_array_are_not_overwritten() {
        let loader = Loader::new(&data(8), 1).unwrap();
        let mut arrays = Vec::new();
        let mut batches = Vec::new();
        for (row, batch) in loader.epoch(0).unwrap().enumerate() {
            let batch = batch.unwrap();
            arrays.push(batch["x"].clone());
            if row % 2 == 0 {
                batches.push(batch);
            }
        }
        for (row, x) in arrays.iter().enumerate() {
            assert_eq!(x.as_slice::<f32>().unwrap(), [10.0 * row as f32, 10.0 * row as f32 + 1.0]);
        }
        assert!(batches.iter().enumerate().all(|(index, batch)| batch.rows() == [2 * index]));
    }

    #[test]
    fn a_panic_in_a_transform_is_an_error_that_names_the_sample() {
        let loader = Loader::new(&data(10), 3).unwrap().map("x", |x: &mut [f32], _| {
            assert!(x[0] != 70.0, "seventy");
            Ok(())
        });
        let mut batches = loader.unwrap().epoch(5).unwrap();
        assert!(batches.next().unwrap().is_ok() && batches.next().unwrap().is_ok());
        let message = batches.next().unwrap().unwrap_err().to_string();
        assert_eq!(message, "sample 7 (epoch 5, batch 2): transform of `x`: panicked: seventy");
        assert!(batches.next().is_none() && batches.thread.is_none());
    }

    #[test]
    fn an_error_of_a_batch_transform_names_the_batch() {
        let loader = Loader::new(&data(10), 3)
            .unwrap()
            .map_batches(|batch, _| if batch.rows().contains(&4) { Err("no fours".into()) } else { Ok(()) });
        let results: Vec<_> = loader.epoch(0).unwrap().collect();
        assert_eq!(results.len(), 2);
        let message = results[1].as_ref().unwrap_err().to_string();
        assert_eq!(message, "sample 3 (epoch 0, batch 1): transform of batches: no fours");
    }

    #[test]
    fn an_iterator_dropped_early_ends_its_thread() {
        let alive = Arc::new(AtomicUsize::new(0));
        struct Guard(Arc<AtomicUsize>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        for taken in 0..5 {
            alive.fetch_add(1, Ordering::SeqCst);
            let guard = Guard(alive.clone());
            // The transform, and the guard in it, lives as long as the thread does.
            let loader = Loader::new(&data(100), 2).unwrap().map_batches(move |_, _| {
                let _ = &guard;
                Ok(())
            });
            let mut batches = loader.stream_from(0, 0).unwrap();
            drop(loader);
            let kept = batches.by_ref().take(taken).last();
            drop(batches);
            assert_eq!(alive.load(Ordering::SeqCst), 0);
            assert!(kept.is_none_or(|batch| batch.unwrap().position() == taken - 1));
        }
    }

    #[test]
    fn slow_and_fast_sides_and_nested_loaders_finish() {
        for (prepare, use_up) in [(0, 300), (300, 0), (200, 200)] {
            let loader = Loader::new(&data(20), 2).unwrap().map_batches(move |_, _| {
                thread::sleep(Duration::from_micros(prepare));
                Ok(())
            });
            let mut n_pairs = 0;
            for _ in loader.epoch(0).unwrap() {
                for inner in loader.clone().ahead(0).epoch(1).unwrap() {
                    inner.unwrap();
                    thread::sleep(Duration::from_micros(use_up));
                    n_pairs += 1;
                }
            }
            assert_eq!(n_pairs, 100);
        }
    }
}
