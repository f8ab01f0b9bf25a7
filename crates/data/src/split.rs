//! Splits: which rows are held out, and which are the rest.
//!
//! Every split marks each row once, so no row can be on both sides, and both sides keep the order of the data.
//! A third part comes from splitting the rest again.

use std::collections::BTreeMap;

use thalweg_array::random::{Philox, permutation, stream};
use thalweg_array::{Array, DType};

use crate::dataset::Dataset;
use crate::error::DataError;

/// The rows of a data set in two parts that do not overlap and leave nothing out; neither is empty.
///
/// ```
/// use thalweg_data::{Split, digits};
///
/// let data = digits();
/// let (rest, test) = data.split(&Split::by_index(data.len(), |row| row % 5 == 4)?);
/// let (train, valid) = rest.split(&Split::stratified("label", &rest["label"], 0.15, 42)?);
/// assert_eq!((train.len(), valid.len(), test.len()), (1222, 216, 359));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    rest: Vec<usize>,
    held_out: Vec<usize>,
}

impl Split {
    /// Holds out the rows of `0..n` of which `held_out` is true.
    ///
    /// # Errors
    /// If that leaves one side empty.
    pub fn by_index(n: usize, held_out: impl FnMut(usize) -> bool) -> Result<Split, DataError> {
        Split::marked("a split by index", (0..n).map(held_out).collect())
    }

    /// Holds out a random `fraction` of `n` rows, to the nearest row.
    ///
    /// # Errors
    /// If the fraction is not between 0 and 1, or leaves one side empty.
    pub fn by_fraction(n: usize, fraction: f64, seed: u64) -> Result<Split, DataError> {
        Split::spread(shuffled(n, seed), fraction)
    }

    /// Holds out the last `count` of `n` rows, as they lie: for text and time.
    ///
    /// # Errors
    /// If that leaves one side empty.
    pub fn last(n: usize, count: usize) -> Result<Split, DataError> {
        let what = format!("a split that holds out the last {count}");
        Split::marked(&what, (0..n).map(|row| n - row <= count).collect())
    }

    /// Holds out about `fraction` of the rows so that each value in `labels` is held out in that proportion, to within
    /// one row. `name` names the column in errors.
    ///
    /// # Errors
    /// If the fraction is not between 0 and 1 or leaves one side empty, or the labels are not one whole number a row.
    pub fn stratified(name: &str, labels: &Array, fraction: f64, seed: u64) -> Result<Split, DataError> {
        Split::spread(sorted_by_key(name, labels, seed)?, fraction)
    }

    /// Holds out whole groups, the rows with the same number in `groups`: random groups, until about `fraction` of the
    /// rows is held out. `name` names the column in errors.
    ///
    /// # Errors
    /// If the fraction is not between 0 and 1 or leaves one side empty, or the groups are not one whole number a row.
    pub fn grouped(name: &str, groups: &Array, fraction: f64, seed: u64) -> Result<Split, DataError> {
        check_fraction(fraction)?;
        let keys = keys(name, groups)?;
        let mut sizes: BTreeMap<i64, usize> = BTreeMap::new();
        for &key in &keys {
            *sizes.entry(key).or_insert(0) += 1;
        }
        let sizes: Vec<(i64, usize)> = sizes.into_iter().collect();
        let wanted = fraction * keys.len() as f64;
        let mut n_held_out = 0;
        let mut held_out = BTreeMap::new();
        for index in shuffled(sizes.len(), seed) {
            let (key, size) = sizes[index];
            // A group that overshoots is taken only if that comes nearer to the fraction than stopping short.
            let taken = (n_held_out as f64) + (size as f64) / 2.0 <= wanted;
            n_held_out += if taken { size } else { 0 };
            held_out.insert(key, taken);
        }
        let what = format!("a split by the {} groups of `{name}` at {fraction}", held_out.len());
        Split::marked(&what, keys.iter().map(|key| held_out[key]).collect())
    }

    /// `k` splits of `n` rows in random order, each of which holds out another k-th.
    ///
    /// # Errors
    /// If there are fewer than 2 folds or fewer rows than folds.
    pub fn k_folds(n: usize, k: usize, seed: u64) -> Result<Vec<Split>, DataError> {
        Split::folds(shuffled(n, seed), k)
    }

    /// As [`Split::k_folds`], each value in `labels` spread evenly over the folds, to within one row.
    ///
    /// # Errors
    /// As [`Split::k_folds`]; or if the labels are not one whole number a row.
    pub fn stratified_k_folds(name: &str, labels: &Array, k: usize, seed: u64) -> Result<Vec<Split>, DataError> {
        Split::folds(sorted_by_key(name, labels, seed)?, k)
    }

    /// The rows that are not held out, in ascending order.
    pub fn rest(&self) -> &[usize] {
        &self.rest
    }

    /// The rows that are held out, in ascending order.
    pub fn held_out(&self) -> &[usize] {
        &self.held_out
    }

    /// Holds out `fraction` of `order`, spread evenly along it: with equal labels side by side, this stratifies.
    fn spread(order: Vec<usize>, fraction: f64) -> Result<Split, DataError> {
        check_fraction(fraction)?;
        let count = |position: usize| (position as f64 * fraction).round() as usize;
        let mut held_out = vec![false; order.len()];
        for (position, row) in order.into_iter().enumerate() {
            held_out[row] = count(position + 1) > count(position);
        }
        Split::marked(&format!("a split at {fraction}"), held_out)
    }

    /// Deals `order` out to `k` folds as cards to players.
    fn folds(order: Vec<usize>, k: usize) -> Result<Vec<Split>, DataError> {
        if k < 2 || k > order.len() {
            let reason = format!("there must be at least 2, and no more than the {} rows", order.len());
            return Err(DataError::setting(format!("{k} folds"), reason));
        }
        let mut fold_of = vec![0; order.len()];
        for (position, row) in order.into_iter().enumerate() {
            fold_of[row] = position % k;
        }
        let fold = |fold| Split::marked("a fold", fold_of.iter().map(|&own| own == fold).collect());
        (0..k).map(fold).collect()
    }

    fn marked(what: &str, held_out: Vec<bool>) -> Result<Split, DataError> {
        let n = held_out.len();
        let (held_out, rest): (Vec<usize>, Vec<usize>) = (0..n).partition(|&row| held_out[row]);
        if rest.is_empty() || held_out.is_empty() {
            let reason = format!("of {n} rows it holds out {}; neither side may be empty", held_out.len());
            return Err(DataError::setting(what, reason));
        }
        Ok(Split { rest, held_out })
    }
}

impl Dataset {
    /// The rest and the rows held out by `split`.
    ///
    /// # Panics
    /// If the split was made for another number of rows.
    #[track_caller]
    pub fn split(&self, split: &Split) -> (Dataset, Dataset) {
        let n = split.rest.len() + split.held_out.len();
        assert!(n == self.len(), "a split of {n} rows, a data set of {}", self.len());
        (self.select(&split.rest), self.select(&split.held_out))
    }
}

fn check_fraction(fraction: f64) -> Result<(), DataError> {
    if fraction > 0.0 && fraction < 1.0 {
        return Ok(());
    }
    Err(DataError::setting(format!("a split at {fraction}"), "the fraction must lie between 0 and 1"))
}

fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    permutation(Philox::new(seed, stream("split", 0)), 0, n)
}

/// The rows sorted by their number in `column`, in random order where the numbers are equal.
fn sorted_by_key(name: &str, column: &Array, seed: u64) -> Result<Vec<usize>, DataError> {
    let keys = keys(name, column)?;
    let mut order = shuffled(keys.len(), seed);
    order.sort_by_key(|&row| keys[row]);
    Ok(order)
}

/// One whole number a row.
fn keys(name: &str, column: &Array) -> Result<Vec<i64>, DataError> {
    if column.rank() != 1 {
        return Err(DataError::column(name, format!("has shape {:?}; a split needs one number a row", column.shape())));
    }
    match column.dtype() {
        DType::I32 | DType::I64 | DType::U8 | DType::Bool => Ok(column.to_vec()),
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
            Err(DataError::column(name, format!("is {}; a split needs whole numbers (`cast`)", column.dtype())))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each of `0..n` once, over both sides.
    fn covers(split: &Split, n: usize) -> bool {
        let mut all = [split.rest(), split.held_out()].concat();
        all.sort();
        all.into_iter().eq(0..n)
    }

    proptest! {
        #[test]
        fn no_split_overlaps_or_leaves_out(n in 2usize..200, fraction in 0.01f64..0.99, seed: u64, k in 2usize..9) {
            let labels = Array::from((0..n as i64).map(|row| row * row % 7).collect::<Vec<_>>());
            let splits = [
                Split::by_fraction(n, fraction, seed),
                Split::last(n, (n / 3).max(1)),
                Split::by_index(n, |row| row % 5 == 1),
                Split::stratified("y", &labels, fraction, seed),
                Split::grouped("y", &labels, fraction, seed),
            ];
            for split in splits.into_iter().flatten() {
                prop_assert!(covers(&split, n));
            }
            if k <= n {
                let folds = Split::k_folds(n, k, seed).unwrap();
                let mut held_out: Vec<usize> = folds.iter().flat_map(|fold| fold.held_out().to_vec()).collect();
                held_out.sort();
                prop_assert!(held_out.into_iter().eq(0..n) && folds.iter().all(|fold| covers(fold, n)));
            }
        }

        #[test]
        fn strata_keep_their_proportion(seed: u64, fraction in 0.05f64..0.95) {
            let labels: Vec<i64> = (0..300).map(|row| if row < 40 { 0 } else { 1 + row % 2 }).collect();
            let held_out = |split: &Split, label| split.held_out().iter().filter(|&&row| labels[row] == label).count();
            let column = Array::from(labels.clone());
            let split = Split::stratified("y", &column, fraction, seed).unwrap();
            let folds = Split::stratified_k_folds("y", &column, 4, seed).unwrap();
            for (label, count) in [(0, 40.0), (1, 130.0), (2, 130.0)] {
                prop_assert!((held_out(&split, label) as f64 - count * fraction).abs() <= 1.0);
                prop_assert!(folds.iter().all(|fold| (held_out(fold, label) as f64 - count / 4.0).abs() <= 1.0));
            }
        }
    }

    #[test]
    fn a_split_is_a_function_of_its_seed() {
        let split = |seed| Split::by_fraction(1000, 0.2, seed).unwrap();
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
        assert_eq!(split(1).held_out().len(), 200);
        assert_eq!(Split::last(5, 2).unwrap().held_out(), [3, 4]);
    }

    #[test]
    fn groups_stay_together() {
        let groups = Array::from((0..100u8).map(|row| row % 10).collect::<Vec<_>>());
        let split = Split::grouped("speaker", &groups, 0.3, 5).unwrap();
        assert_eq!(split.held_out().len(), 30);
        assert!(split.held_out().iter().all(|row| split.rest().iter().all(|other| other % 10 != row % 10)));
    }

    #[test]
    fn splits_with_an_empty_side_are_refused() {
        let message = |split: Result<Split, DataError>| split.unwrap_err().to_string();
        assert!(message(Split::by_fraction(3, 0.1, 0)).contains("of 3 rows it holds out 0"));
        assert!(message(Split::by_fraction(0, 0.5, 0)).contains("of 0 rows"));
        assert!(message(Split::last(3, 3)).contains("the last 3: of 3 rows it holds out 3"));
        assert!(message(Split::by_index(3, |_| false)).contains("by index"));
        for fraction in [0.0, 1.0, -0.5, f64::NAN] {
            let text = message(Split::by_fraction(10, fraction, 0));
            assert!(text.contains(&format!("{fraction}")) && text.contains("between 0 and 1"), "{text}");
        }
        for k in [0, 1, 4] {
            let text = Split::k_folds(3, k, 0).unwrap_err().to_string();
            assert!(text.contains(&format!("{k} folds")) && text.contains("3 rows"), "{text}");
        }
        let one_group = Array::from([1i64, 1, 1]);
        assert!(message(Split::grouped("g", &one_group, 0.5, 0)).contains("by the 1 groups of `g`"));
    }

    #[test]
    fn columns_that_are_no_keys_are_refused() {
        let message = Split::stratified("y", &Array::from([0.5f32]), 0.5, 0).unwrap_err().to_string();
        assert!(message.contains("column `y`: is f32"), "{message}");
        let message = Split::grouped("y", &Array::from([[1i64, 2]]), 0.5, 0).unwrap_err().to_string();
        assert!(message.contains("has shape [1, 2]"), "{message}");
    }
}
