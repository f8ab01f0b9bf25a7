//! Columns whose rows differ in length: sentences, recordings.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use thalweg_array::{Array, DType, Element, Scalar, with_elements};

use crate::dataset::fit;
use crate::error::DataError;
use crate::fingerprint::hexadecimal;

/// Rows that differ in the size of their first axis: the tokens of sentences, the frames of recordings. A batch of the
/// column `x` holds them padded, under three names: `x`, of shape `[rows, time, …]`; `x.mask`, bool `[rows, time]`,
/// true where `x` is no padding; `x.length`, i64 `[rows]`. How long `time` is, is decided for each batch.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::{Dataset, Loader, Sequences};
///
/// let sentences = Sequences::of_tokens([vec![7, 8, 9], vec![5]])?;
/// let data = Dataset::of_sequences("word", sentences).with_column("label", [1i64, 0].into())?;
/// let batch = Loader::new(&data, 2)?.epoch(0)?.next().expect("one batch")?;
/// assert_eq!(batch["word"], Array::from([[7i64, 8, 9], [5, 0, 0]]));
/// assert_eq!(batch["word.mask"], Array::from([[true, true, true], [true, false, false]]));
/// assert_eq!(batch["word.length"], Array::from([3i64, 1]));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences {
    /// All rows, one after the other along the first axis.
    values: Array,
    rows: Arc<[Span]>,
    padding: Scalar,
    time: Time,
    /// Whether batches have masks and lengths beside the values.
    measured: bool,
}

/// Where a row lies along the first axis of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: usize,
    len: usize,
}

/// How long the rows of a batch become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// The longest row, rounded up to a multiple of this.
    Longest(usize),
    Exactly(usize),
}

/// How far the two ends of each row of a batch are moved along the values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shift {
    pub(crate) start: isize,
    pub(crate) end: isize,
}

impl Sequences {
    /// Rows of tokens, padded with 0 unless said otherwise.
    ///
    /// # Errors
    /// If a row is empty: a sequence of length 0 has no last state and no mean.
    pub fn of_tokens(rows: impl IntoIterator<Item = Vec<i64>>) -> Result<Sequences, DataError> {
        let mut spans = Vec::new();
        let mut values = Vec::new();
        for row in rows {
            spans.push(Span { start: values.len(), len: row.len() });
            values.extend(row);
        }
        Sequences::new(values.into(), spans)
    }

    /// Rows that are arrays of one dtype, equal in all axes but the first, padded with 0 unless said otherwise.
    ///
    /// # Errors
    /// If there is no row, a row is empty, or rows differ in dtype or another axis than the first.
    pub fn of_arrays(rows: &[Array]) -> Result<Sequences, DataError> {
        let Some(first) = rows.first() else {
            return Err(DataError::setting("sequences without rows", "their dtype and shape come from the first row"));
        };
        let kind = |array: &Array| (array.dtype(), array.shape().get(1..).map(<[usize]>::to_vec));
        if let Some(row) = rows.iter().position(|row| row.rank() == 0 || kind(row) != kind(first)) {
            let (dtype, shape) = (rows[row].dtype(), rows[row].shape());
            let reason = format!(
                "is {dtype}{shape:?}, but row 0 is {}{:?}; only the first axis may differ",
                first.dtype(),
                first.shape()
            );
            return Err(DataError::setting(format!("row {row} of sequences"), reason));
        }
        fn joined<T: Element>(_: &[T], rows: &[Array]) -> Result<Vec<T>, DataError> {
            let mut values = Vec::new();
            for row in rows {
                values.extend_from_slice(row.as_slice::<T>()?);
            }
            Ok(values)
        }
        let mut spans = Vec::with_capacity(rows.len());
        let mut total = 0;
        for row in rows {
            spans.push(Span { start: total, len: row.shape()[0] });
            total += row.shape()[0];
        }
        let mut shape = first.shape().to_vec();
        shape[0] = total;
        let values = with_elements!(first.storage(), elements => Array::new(&shape, joined(elements, rows)?)?);
        Sequences::new(values, spans)
    }

    fn new(values: Array, rows: Vec<Span>) -> Result<Sequences, DataError> {
        if let Some(row) = rows.iter().position(|row| row.len == 0) {
            let reason =
                "has length 0; a sequence holds at least one element: leave empty ones out, or mark their ends";
            return Err(DataError::setting(format!("row {row} of sequences"), reason));
        }
        Ok(Sequences { values, rows: rows.into(), padding: Scalar::Int(0), time: Time::Longest(1), measured: true })
    }

    /// `count` windows of `len` each, one after the other from `first` on; without masks, as all are equally long.
    pub(crate) fn windows(values: Array, first: usize, len: usize, count: usize) -> Sequences {
        let rows = (0..count).map(|row| Span { start: first + row * len, len }).collect();
        Sequences { values, rows, padding: Scalar::Int(0), time: Time::Longest(1), measured: false }
    }

    /// Padded with this value.
    pub fn padded_with(self, padding: impl Into<Scalar>) -> Sequences {
        Sequences { padding: padding.into(), ..self }
    }

    /// Padded to multiples of `multiple`, so that there are fewer different sizes of batches: each is compiled once.
    ///
    /// # Errors
    /// If it is 0.
    pub fn padded_to_multiple(self, multiple: usize) -> Result<Sequences, DataError> {
        if multiple == 0 {
            return Err(DataError::setting("padding to a multiple of 0", "it must be at least 1"));
        }
        Ok(Sequences { time: Time::Longest(multiple), ..self })
    }

    /// Padded to `time` in every batch.
    ///
    /// # Errors
    /// If a row is longer; [`cut`](Sequences::cut) shortens rows.
    pub fn padded_to(self, time: usize) -> Result<Sequences, DataError> {
        if let Some(row) = self.rows.iter().position(|row| row.len > time) {
            let reason = format!("row {row} has length {}; `cut` shortens rows", self.rows[row].len);
            return Err(DataError::setting(format!("sequences padded to {time}"), reason));
        }
        Ok(Sequences { time: Time::Exactly(time), ..self })
    }

    /// With the end of rows left out that are longer than `longest`.
    ///
    /// # Errors
    /// If it is 0.
    pub fn cut(self, longest: usize) -> Result<Sequences, DataError> {
        if longest == 0 {
            return Err(DataError::setting("sequences cut to length 0", "a sequence holds at least one element"));
        }
        let rows = self.rows.iter().map(|row| Span { len: row.len.min(longest), ..*row }).collect();
        Ok(Sequences { rows, ..self })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The length of each row, without padding.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.rows.iter().map(|row| row.len)
    }

    /// Looks whether each row is a label that can be read off as many frames as `frames` says, as connectionist temporal
    /// classification does (`Ctc`): a row needs a frame for each of its symbols, and one for the blank between equal
    /// neighbours. A model that makes one frame of several says so: `labels.check_alignable(sounds.lengths().map(|n| n / 4))`.
    ///
    /// # Errors
    /// If a row has too few frames or holds the blank, which is 0; if there are not as many numbers as rows, or the rows
    /// hold no integers.
    pub fn check_alignable(&self, frames: impl IntoIterator<Item = usize>) -> Result<(), DataError> {
        let frames: Vec<usize> = frames.into_iter().collect();
        if frames.len() != self.len() || !self.dtype().is_int() || !self.element_shape().is_empty() {
            let what = format!("{} labels of {}{:?}", self.len(), self.dtype(), self.element_shape());
            let reason = format!("a label is a row of integers, and there are {} numbers of frames", frames.len());
            return Err(DataError::setting(what, reason));
        }
        for (row, frames) in frames.into_iter().enumerate() {
            let symbols: Vec<i64> = self.row(row).to_vec();
            if let Some(place) = symbols.iter().position(|&symbol| symbol == 0) {
                let reason = "0 is the blank, which stands between symbols; symbols are numbered from 1";
                return Err(DataError::setting(format!("symbol 0 at position {place} of label {row}"), reason));
            }
            let repeated = symbols.windows(2).filter(|pair| pair[0] == pair[1]).count();
            let needed = symbols.len() + repeated;
            if frames < needed {
                let reason = format!(
                    "{} symbols, {repeated} of them like the one before, need {needed} frames; leave the row out, or make \
                     more frames of it",
                    symbols.len()
                );
                return Err(DataError::setting(format!("label {row} of {frames} frames"), reason));
            }
        }
        Ok(())
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// The shape of one element of a row: `[]` of tokens, `[40]` of frames of 40 numbers.
    pub fn element_shape(&self) -> &[usize] {
        &self.values.shape()[1..]
    }

    /// Row `row`, without padding.
    ///
    /// # Panics
    /// If it is not below [`len`](Sequences::len).
    #[track_caller]
    pub fn row(&self, row: usize) -> Array {
        let Span { start, len } = self.rows[row];
        self.values.rows(start..start + len)
    }

    /// What batches call the mask and the length of the column `name`, if they have them.
    pub fn measure_names(&self, name: &str) -> Option<[String; 2]> {
        self.measured.then(|| measure_names(name))
    }

    pub(crate) fn length(&self, row: usize) -> usize {
        self.rows[row].len
    }

    pub(crate) fn select(&self, indices: &[usize]) -> Sequences {
        Sequences { rows: indices.iter().map(|&index| self.rows[index]).collect(), ..self.clone() }
    }

    /// The SHA-256 of all that batches show of the rows.
    pub(crate) fn fingerprint(&self) -> String {
        let Sequences { values, rows, padding, time, measured } = self;
        let size: usize = self.element_shape().iter().product::<usize>() * self.dtype().size();
        let mut hash = Sha256::new();
        hash.update(format!("{}{:?}{padding}{time:?}{measured}", self.dtype(), self.element_shape()));
        for row in rows.iter() {
            hash.update((row.len as u64).to_le_bytes());
            hash.update(&values.storage().bytes()[row.start * size..][..row.len * size]);
        }
        format!("sequences {}", hexadecimal(hash))
    }

    /// The rows at `indices`, padded, in `to`; it is made anew unless it has their shape and dtype.
    ///
    /// # Errors
    /// If memory cannot hold them.
    pub(crate) fn fill(&self, name: &str, indices: &[usize], shift: Shift, to: &mut Array) -> Result<(), DataError> {
        let longest = indices.iter().map(|&index| self.rows[index].moved(shift).len).max().unwrap_or(0);
        let time = match self.time {
            Time::Longest(multiple) => longest.next_multiple_of(multiple),
            Time::Exactly(time) => time,
        };
        let row_shape: Vec<usize> = std::iter::once(time).chain(self.element_shape().iter().copied()).collect();
        fit(name, indices.len(), &row_shape, self.dtype(), to)?;
        let width: usize = self.element_shape().iter().product();
        let spans = indices.iter().map(|&index| self.rows[index].moved(shift));
        fn copy<T: Element>(
            from: &[T],
            spans: impl Iterator<Item = Span>,
            (time, width): (usize, usize),
            padding: Scalar,
            to: &mut Array,
        ) {
            let to = to.as_mut_slice::<T>().expect("of the dtype of the column");
            for (to, Span { start, len }) in to.chunks_exact_mut((time * width).max(1)).zip(spans) {
                let (values, rest) = to.split_at_mut(len * width);
                values.copy_from_slice(&from[start * width..][..len * width]);
                rest.fill(padding.to::<T>());
            }
        }
        with_elements!(self.values.storage(), values => copy(values, spans, (time, width), self.padding, to));
        Ok(())
    }

    /// The columns `name.mask` and `name.length` of a batch of the rows at `indices`, which is `time` long.
    pub(crate) fn measures(&self, name: &str, indices: &[usize], time: usize) -> [(String, Array); 2] {
        let lengths: Vec<i64> = indices.iter().map(|&index| self.rows[index].len as i64).collect();
        let mask = lengths.iter().flat_map(|&len| (0..time as i64).map(move |at| at < len)).collect();
        let mask = Array::new::<bool>(&[indices.len(), time], mask).expect("a truth value for each element");
        let [mask_name, length_name] = measure_names(name);
        [(mask_name, mask), (length_name, lengths.into())]
    }
}

/// What masks and lengths of the column `name` are called.
fn measure_names(name: &str) -> [String; 2] {
    [format!("{name}.mask"), format!("{name}.length")]
}

impl Span {
    fn moved(self, Shift { start, end }: Shift) -> Span {
        let moved = |at: usize, by: isize| at.checked_add_signed(by).expect("windows are moved within their values");
        let (start, end) = (moved(self.start, start), moved(self.start + self.len, end));
        Span { start, len: end - start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;
    use crate::loader::Loader;

    fn letters() -> Sequences {
        Sequences::of_tokens([vec![1, 2, 3], vec![4], vec![5, 6]]).unwrap()
    }

    fn filled(sequences: &Sequences, indices: &[usize]) -> Array {
        let mut to = Array::from(Vec::<u8>::new());
        sequences.fill("x", indices, Shift::default(), &mut to).unwrap();
        to
    }

    #[test]
    fn rows_are_padded_to_the_longest_a_multiple_or_a_size() {
        assert_eq!(filled(&letters(), &[1, 2]), Array::from([[4i64, 0], [5, 6]]));
        let padded = letters().padded_with(-1).padded_to_multiple(4).unwrap();
        assert_eq!(filled(&padded, &[0, 1]), Array::from([[1i64, 2, 3, -1], [4, -1, -1, -1]]));
        assert_eq!(filled(&letters().padded_to(3).unwrap(), &[1]), Array::from([[4i64, 0, 0]]));
        assert_eq!(filled(&letters().cut(2).unwrap(), &[0, 2]), Array::from([[1i64, 2], [5, 6]]));
        let message = letters().padded_to(2).unwrap_err().to_string();
        assert_eq!(message, "sequences padded to 2: row 0 has length 3; `cut` shortens rows");
        let message = letters().padded_to_multiple(0).unwrap_err().to_string();
        assert!(message.contains("multiple of 0"), "{message}");
        let message = letters().cut(0).unwrap_err().to_string();
        assert!(message.contains("cut to length 0"), "{message}");
    }

    #[test]
    fn frames_of_several_numbers_are_padded_whole() {
        let frames = Sequences::of_arrays(&[[[1.0f32, 2.0]].into(), [[3.0f32, 4.0], [5.0, 6.0]].into()]).unwrap();
        assert_eq!((frames.element_shape(), frames.row(1)), (&[2][..], Array::from([[3.0f32, 4.0], [5.0, 6.0]])));
        let batch = filled(&frames, &[0, 1]);
        assert_eq!(batch.shape(), [2, 2, 2]);
        assert_eq!(batch.as_slice::<f32>().unwrap(), [1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn rows_that_are_no_sequences_are_refused() {
        let message = Sequences::of_tokens([vec![1], vec![]]).unwrap_err().to_string();
        assert!(message.starts_with("row 1 of sequences: has length 0;"), "{message}");
        let message = Sequences::of_arrays(&[]).unwrap_err().to_string();
        assert!(message.contains("without rows"), "{message}");
        for other in
            [Array::from([1.0f32]), Array::from([[1.0f64, 2.0]]), Array::from([[1.0f32]]), Array::scalar(1.0f32)]
        {
            let message = Sequences::of_arrays(&[[[1.0f32, 2.0]].into(), other]).unwrap_err().to_string();
            assert!(
                message.contains("row 1 of sequences: is f") && message.contains("row 0 is f32[1, 2]"),
                "{message}"
            );
        }
    }

    #[test]
    fn labels_longer_than_their_frames_are_named() {
        let labels = Sequences::of_tokens([vec![1, 2, 2], vec![3], vec![4, 4, 4]]).unwrap();
        assert!(labels.check_alignable([4, 1, 5]).is_ok());
        let message = labels.check_alignable([4, 1, 4]).unwrap_err().to_string();
        let part = "label 2 of 4 frames: 3 symbols, 2 of them like the one before, need 5 frames";
        assert!(message.starts_with(part), "{message}");
        let message = labels.check_alignable([4, 0, 5]).unwrap_err().to_string();
        assert!(message.starts_with("label 1 of 0 frames"), "{message}");
        let message = labels.check_alignable([4, 1]).unwrap_err().to_string();
        assert!(
            message.contains("3 labels of i64[]") && message.contains("there are 2 numbers of frames"),
            "{message}"
        );
        let blank = Sequences::of_tokens([vec![1], vec![2, 0]]).unwrap();
        let message = blank.check_alignable([9, 9]).unwrap_err().to_string();
        assert!(message.contains("symbol 0 at position 1 of label 1: 0 is the blank"), "{message}");
    }

    #[test]
    fn a_data_set_selects_and_tells_them_apart() {
        let data = Dataset::of_sequences("x", letters());
        let taken = data.select(&[2, 1]).select(&[0]);
        assert_eq!(taken.sequences("x").unwrap().row(0), Array::from([5i64, 6]));
        assert_eq!(taken.fingerprint(), data.select(&[2]).fingerprint());
        assert_ne!(taken.fingerprint(), data.select(&[1]).fingerprint());
        let other = Dataset::of_sequences("x", letters().padded_with(9));
        assert_ne!(other.fingerprint(), data.fingerprint());
        assert_eq!(data.in_memory().unwrap(), data);
        let message = data.column("x").unwrap_err().to_string();
        assert!(message.contains("column `x`: its rows differ in length"), "{message}");
        let message = data.row("x").unwrap_err().to_string();
        assert!(message.contains("column `x`: its rows differ in length"), "{message}");
        let message = data.clone().with_column("x.mask", [1i64, 2, 3].into()).unwrap_err().to_string();
        assert!(message.contains("column `x.mask`: the name is taken"), "{message}");
        let message = data.with_sequences("y", Sequences::of_tokens([vec![1]]).unwrap()).unwrap_err().to_string();
        assert_eq!(message, "column `y`: has 1 rows, but column `x` has 3");
    }

    #[test]
    fn batches_of_every_size_have_masks_and_lengths() {
        let data = Dataset::of_sequences("x", letters());
        let loader = Loader::new(&data, 2).unwrap();
        for _ in 0..2 {
            let batches: Vec<_> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
            assert_eq!(batches[0]["x"], Array::from([[1i64, 2, 3], [4, 0, 0]]));
            assert_eq!(batches[0]["x.length"], Array::from([3i64, 1]));
            assert_eq!(batches[1]["x.mask"], Array::from([[true, true]]));
            assert_eq!(batches[1].columns().map(|(name, _)| name).collect::<Vec<_>>(), ["x", "x.mask", "x.length"]);
        }
    }
}
