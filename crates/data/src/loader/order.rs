//! Which rows make which batch: in order, at random, of like length, or in lanes that go on from batch to batch. All of
//! it is a function of seed and epoch.

use thalweg_array::random::{Philox, permutation, stream};

use super::Loader;
use crate::dataset::Column;
use crate::error::DataError;
use crate::random::Random;
use crate::sequences::Shift;

/// Batches of rows of like length.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    columns: Vec<String>,
    pool: usize,
}

impl Loader {
    /// Puts rows of like length into the same batch, so that there is little padding: `pool` batches at a time, as the
    /// order of the epoch has them, are sorted by the lengths of `columns` (the first decides, then the next) and cut
    /// again; then, if the loader shuffles, the batches are.
    ///
    /// ```
    /// use thalweg_data::{Dataset, Loader, Sequences};
    ///
    /// let words = Sequences::of_tokens([vec![1, 1, 1], vec![2], vec![3, 3, 3], vec![4]])?;
    /// let data = Dataset::of_sequences("word", words);
    /// let loader = Loader::new(&data, 2)?.bucketed(&["word"], 100)?;
    /// assert_eq!(loader.order(0), [1, 3, 0, 2]);
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// If `pool` is 0, there is no such column of sequences, or the data are contiguous and keep their order.
    pub fn bucketed(mut self, columns: &[&str], pool: usize) -> Result<Loader, DataError> {
        if pool == 0 {
            return Err(DataError::setting("buckets of 0 batches", "at least one batch is sorted at a time"));
        }
        if self.dataset.is_contiguous() {
            return Err(DataError::setting("buckets of a stream", "its windows are equally long and keep their order"));
        }
        columns.iter().try_for_each(|column| self.dataset.sequences(column).map(|_| ()))?;
        self.buckets = Some(Buckets { columns: columns.iter().map(|&column| column.to_string()).collect(), pool });
        Ok(self)
    }

    /// Moves each cut between two windows of a stream by up to `most` tokens, in every epoch elsewhere: so a model does
    /// not always meet the same words at the beginning of a window. Windows become up to twice `most` shorter or
    /// longer; their number stays. Batches have up to 4·`most` + 1 sizes, each of which is compiled once.
    ///
    /// # Errors
    /// If the data are no [`windows`](crate::text::windows) of a stream, or a window could lose all its tokens.
    pub fn jittered(mut self, most: usize) -> Result<Loader, DataError> {
        let setting = || format!("windows jittered by {most}");
        if !self.dataset.is_contiguous() {
            return Err(DataError::setting(setting(), "the data are no windows of a stream"));
        }
        for (name, column) in self.dataset.columns() {
            let Column::Sequences(sequences) = column else {
                return Err(DataError::setting(setting(), format!("column `{name}` is no column of windows")));
            };
            let shortest = sequences.lengths().min().unwrap_or(0);
            if 2 * most >= shortest {
                let reason = format!("windows of {shortest} could lose all; at most {} will do", (shortest - 1) / 2);
                return Err(DataError::setting(setting(), reason));
            }
        }
        self.jitter = most;
        Ok(self)
    }

    /// Batches per epoch.
    pub fn n_batches(&self) -> usize {
        if self.drop_last || self.dataset.is_contiguous() {
            self.dataset.len() / self.batch_size
        } else {
            self.dataset.len().div_ceil(self.batch_size)
        }
    }

    /// The rows of the data set in the order of `epoch`.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let n = self.dataset.len();
        if self.dataset.is_contiguous() {
            let per_lane = n / self.batch_size;
            return (0..per_lane).flat_map(|at| (0..self.batch_size).map(move |lane| lane * per_lane + at)).collect();
        }
        let order = if self.shuffled {
            permutation(Philox::new(self.seed, stream("loader", 0)), epoch, n)
        } else {
            (0..n).collect()
        };
        match &self.buckets {
            Some(buckets) => self.by_length(order, buckets, epoch),
            None => order,
        }
    }

    /// `order` with rows of like length together. A batch that is not full stays the last.
    fn by_length(&self, mut order: Vec<usize>, Buckets { columns, pool }: &Buckets, epoch: u64) -> Vec<usize> {
        let columns: Vec<_> =
            columns.iter().map(|column| self.dataset.sequences(column).expect("checked by `bucketed`")).collect();
        for pool in order.chunks_mut(pool * self.batch_size) {
            pool.sort_by_cached_key(|&row| columns.iter().map(|column| column.length(row)).collect::<Vec<_>>());
        }
        if !self.shuffled {
            return order;
        }
        let (full, rest) = order.split_at(order.len() / self.batch_size * self.batch_size);
        let shuffled = permutation(Philox::new(self.seed, stream("buckets", 0)), epoch, full.len() / self.batch_size);
        let batches = shuffled.into_iter().flat_map(|batch| &full[batch * self.batch_size..][..self.batch_size]);
        batches.chain(rest).copied().collect()
    }

    /// How far the windows of batch `position` are moved.
    pub(super) fn shift(&self, epoch: u64, position: usize) -> Shift {
        let cut = |at: usize| {
            // Lanes keep their ends.
            if self.jitter == 0 || at == 0 || at == self.n_batches() {
                return 0;
            }
            let most = self.jitter as i32;
            Random::new(self.seed, epoch, "cut", at as u64).within(-most..=most) as isize
        };
        Shift { start: cut(position), end: cut(position + 1) }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_array::Array;

    use super::*;
    use crate::dataset::Dataset;
    use crate::sequences::Sequences;
    use crate::text::windows;

    /// Row r has length r % 7 + 1.
    fn ragged(n: usize) -> Dataset {
        Dataset::of_sequences("x", Sequences::of_tokens((0..n).map(|row| vec![row as i64; row % 7 + 1])).unwrap())
    }

    #[test]
    fn buckets_hold_each_row_once_and_little_padding() {
        let plain = Loader::new(&ragged(103), 10).unwrap().training(5);
        let bucketed = plain.clone().bucketed(&["x"], 4).unwrap();
        let padding = |loader: &Loader| -> usize {
            let masks = loader.epoch(3).unwrap().map(|batch| batch.unwrap()["x.mask"].to_vec::<u8>());
            masks.flatten().filter(|&mask| mask == 0).count()
        };
        assert!(padding(&bucketed) * 3 < padding(&plain), "{} {}", padding(&bucketed), padding(&plain));
        let mut order = bucketed.order(3);
        assert_ne!(order, bucketed.order(4));
        order.sort();
        assert!(order.into_iter().eq(0..103));
        let sizes: Vec<usize> = bucketed.epoch(3).unwrap().map(|batch| batch.unwrap().len()).collect();
        assert_eq!(sizes, [&[10; 10][..], &[3]].concat());
        let message = plain.clone().bucketed(&["y"], 4).unwrap_err().to_string();
        assert!(message.contains("no column `y`"), "{message}");
        let message = plain.bucketed(&["x"], 0).unwrap_err().to_string();
        assert!(message.contains("buckets of 0 batches"), "{message}");
    }

    fn tokens(n: i64) -> Array {
        (0..n).collect::<Vec<i64>>().into()
    }

    /// The tokens that each lane sees in an epoch, and the lengths of the windows.
    fn lanes(loader: &Loader, column: &str) -> (Vec<Vec<i64>>, Vec<usize>) {
        let mut lanes = vec![Vec::new(); loader.batch_size()];
        let mut lengths = Vec::new();
        for batch in loader.epoch(1).unwrap() {
            let batch = batch.unwrap();
            let time = batch[column].shape()[1];
            lengths.push(time);
            for (lane, window) in lanes.iter_mut().zip(batch[column].as_slice::<i64>().unwrap().chunks(time)) {
                lane.extend_from_slice(window);
            }
        }
        (lanes, lengths)
    }

    #[test]
    fn lanes_go_on_from_batch_to_batch_also_when_shuffled() {
        let loader = Loader::new(&windows(&tokens(101), 5).unwrap(), 3).unwrap().training(7);
        assert_eq!(loader.n_batches(), 6, "20 windows, of which 2 are left over");
        let (inputs, lengths) = lanes(&loader, "input");
        assert_eq!(lengths, [5; 6]);
        for (lane, tokens) in inputs.iter().enumerate() {
            assert!(tokens.iter().copied().eq(30 * lane as i64..30 * (lane as i64 + 1)), "{tokens:?}");
        }
        let (targets, _) = lanes(&loader, "target");
        assert!(targets[2].iter().copied().eq(61..91), "{targets:?}");
    }

    #[test]
    fn jitter_moves_cuts_and_loses_nothing() {
        let plain = Loader::new(&windows(&tokens(501), 10).unwrap(), 2).unwrap().seed(3);
        let jittered = plain.clone().jittered(4).unwrap();
        assert_eq!(jittered.n_batches(), plain.n_batches());
        for column in ["input", "target"] {
            let (tokens, lengths) = lanes(&jittered, column);
            assert_eq!(tokens, lanes(&plain, column).0);
            assert!(lengths.iter().all(|length| (2..=18).contains(length)), "{lengths:?}");
            assert!(lengths.iter().any(|&length| length < 8) && lengths.iter().any(|&length| length > 12));
        }
        let resumed: Vec<_> = jittered.iter_from(1, 7).unwrap().map(|batch| batch.unwrap()["input"].clone()).collect();
        let whole: Vec<_> = jittered.epoch(1).unwrap().map(|batch| batch.unwrap()["input"].clone()).collect();
        assert_eq!(resumed, whole[7..]);
        let message = plain.jittered(5).unwrap_err().to_string();
        assert_eq!(message, "windows jittered by 5: windows of 10 could lose all; at most 4 will do");
        let message = Loader::new(&ragged(9), 2).unwrap().jittered(1).unwrap_err().to_string();
        assert!(message.contains("no windows of a stream"), "{message}");
    }

    #[test]
    fn a_stream_needs_a_window_for_each_lane() {
        let data = windows(&tokens(101), 25).unwrap();
        let message = Loader::new(&data, 5).unwrap_err().to_string();
        assert_eq!(message, "5 lanes of a stream: there are only 4 windows to share among them");
        let message = Loader::new(&data, 2).unwrap().bucketed(&["input"], 1).unwrap_err().to_string();
        assert!(message.contains("buckets of a stream"), "{message}");
    }
}
