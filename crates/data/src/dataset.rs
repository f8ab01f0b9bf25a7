//! Data: named columns of equal length, in memory or made row by row.

use std::ops::Index;

use sha2::{Digest, Sha256};
use thalweg_array::array::byte_count;
use thalweg_array::{Array, DType, Element, with_elements};

use crate::augment::Augment;
use crate::error::DataError;
use crate::fingerprint::hexadecimal;
use crate::parallel::default_workers;
use crate::rows::{Made, Rows};
use crate::sequences::Sequences;

/// Named columns with a common first axis, and the names of the classes if there are any. A column is an array in
/// memory, or its [`Rows`] are made when a batch needs them, as those of a folder of images, or they are [`Sequences`]
/// that differ in length. Cloning shares the columns.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::Dataset;
///
/// let images = Array::zeros(&[3, 8, 8], thalweg_array::DType::F32);
/// let labels = Array::from([0i64, 1, 1]);
/// let data = Dataset::new([("image", images), ("label", labels)])?.with_classes(["cat", "dog"]);
///
/// assert_eq!(data.len(), 3);
/// assert_eq!(data.select(&[2, 0])["label"], Array::from([1i64, 0]));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    columns: Vec<(String, Column)>,
    len: usize,
    classes: Vec<String>,
    /// Whether each row goes on where the one before it ends.
    contiguous: bool,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column {
    InMemory(Array),
    Made(Made),
    Sequences(Sequences),
}

impl Column {
    /// The shape of one row, if all have the same, and the type of its elements.
    pub(crate) fn row(&self) -> Option<(&[usize], DType)> {
        match self {
            Column::InMemory(array) => Some((&array.shape()[1..], array.dtype())),
            Column::Made(made) => Some((made.row_shape(), made.dtype())),
            Column::Sequences(_) => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Column::InMemory(array) => array.shape()[0],
            Column::Made(made) => made.len(),
            Column::Sequences(sequences) => sequences.len(),
        }
    }

    fn select(&self, indices: &[usize]) -> Column {
        match self {
            Column::InMemory(array) => Column::InMemory(select_rows(array, indices)),
            Column::Made(made) => Column::Made(made.select(indices)),
            Column::Sequences(sequences) => Column::Sequences(sequences.select(indices)),
        }
    }
}

impl Dataset {
    /// A data set of these columns; each array holds one row per step of its first axis.
    ///
    /// # Errors
    /// If there is no column, a name occurs twice, a column has no axes, or the columns differ in length.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Array)>) -> Result<Dataset, DataError> {
        let mut columns = columns.into_iter();
        let Some((name, first)) = columns.next() else {
            return Err(DataError::setting("a data set without columns", "it needs at least one"));
        };
        let data = Dataset::of(name.into(), in_memory, first)?;
        columns.try_fold(data, |data, (name, column)| data.with_column(name, column))
    }

    /// A data set of one column whose rows are made when a batch needs them.
    ///
    /// # Errors
    /// If a row holds no numbers.
    pub fn of_rows(name: impl Into<String>, rows: impl Rows) -> Result<Dataset, DataError> {
        Dataset::of(name.into(), made, rows)
    }

    /// A data set of one column whose rows differ in length.
    pub fn of_sequences(name: impl Into<String>, sequences: Sequences) -> Dataset {
        Dataset::of_column(name.into(), Column::Sequences(sequences))
    }

    fn of<T>(
        name: String,
        column: impl FnOnce(&str, T) -> Result<Column, DataError>,
        values: T,
    ) -> Result<Dataset, DataError> {
        let column = column(&name, values)?;
        Ok(Dataset::of_column(name, column))
    }

    fn of_column(name: String, column: Column) -> Dataset {
        let len = column.len();
        Dataset { columns: vec![(name, column)], len, classes: Vec::new(), contiguous: false }
    }

    /// The same rows with one more column.
    ///
    /// # Errors
    /// If the name is taken, or the column has another length.
    pub fn with_column(self, name: impl Into<String>, column: Array) -> Result<Dataset, DataError> {
        let name = name.into();
        let column = in_memory(&name, column)?;
        self.with(name, column)
    }

    /// The same rows with one more column, whose rows are made when a batch needs them.
    ///
    /// # Errors
    /// If the name is taken, the column has another length, or a row holds no numbers.
    pub fn with_rows(self, name: impl Into<String>, rows: impl Rows) -> Result<Dataset, DataError> {
        let name = name.into();
        let column = made(&name, rows)?;
        self.with(name, column)
    }

    /// The same rows with one more column, whose rows differ in length.
    ///
    /// # Errors
    /// If the name is taken, or the column has another length.
    pub fn with_sequences(self, name: impl Into<String>, sequences: Sequences) -> Result<Dataset, DataError> {
        self.with(name.into(), Column::Sequences(sequences))
    }

    /// The same rows; batches of those columns whose rows differ in length are padded to
    /// [multiples](Sequences::padded_to_multiple) of this.
    ///
    /// ```
    /// use thalweg_data::{Dataset, Loader, Sequences};
    /// let words = Sequences::of_tokens([vec![7, 8, 9], vec![5]])?;
    /// let data = Dataset::of_sequences("word", words).padded_to_multiple(4)?;
    /// let batch = Loader::new(&data, 2)?.epoch(0)?.next().expect("one batch")?;
    /// assert_eq!(batch["word"].shape(), [2, 4]);
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// If it is 0.
    pub fn padded_to_multiple(mut self, multiple: usize) -> Result<Dataset, DataError> {
        for (_, column) in &mut self.columns {
            if let Column::Sequences(sequences) = column {
                *sequences = sequences.clone().padded_to_multiple(multiple)?;
            }
        }
        Ok(self)
    }

    fn with(mut self, name: String, column: Column) -> Result<Dataset, DataError> {
        let taken: Vec<String> = self.columns.iter().flat_map(|(name, column)| in_batches(name, column)).collect();
        if in_batches(&name, &column).iter().any(|name| taken.contains(name)) {
            return Err(DataError::column(&name, "the name is taken; `map` replaces a column"));
        }
        self.check_len(&name, &column)?;
        self.columns.push((name, column));
        Ok(self)
    }

    /// The same rows with the column `name` replaced by `f` of it.
    ///
    /// # Errors
    /// If there is no such column in memory, `f` fails, or its result has another length.
    pub fn map(self, name: &str, f: impl FnOnce(&Array) -> Result<Array, DataError>) -> Result<Dataset, DataError> {
        let replaced = in_memory(name, f(self.column(name)?)?)?;
        self.replace(name, replaced)
    }

    /// The same rows with the column `name` replaced by rows that are made when a batch needs them.
    ///
    /// # Errors
    /// If there is no such column, the rows differ in number, or a row holds no numbers.
    pub fn map_rows(self, name: &str, rows: impl Rows) -> Result<Dataset, DataError> {
        let replaced = made(name, rows)?;
        self.replace(name, replaced)
    }

    pub(crate) fn replace(mut self, name: &str, replaced: Column) -> Result<Dataset, DataError> {
        find(&self.columns, name)?;
        self.check_len(name, &replaced)?;
        for (known, column) in &mut self.columns {
            if known == name {
                *column = replaced;
                break;
            }
        }
        Ok(self)
    }

    /// The same data with names for the classes 0, 1, 2, …
    pub fn with_classes<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Dataset {
        self.classes = names.into_iter().map(Into::into).collect();
        self
    }

    fn check_len(&self, name: &str, column: &Column) -> Result<(), DataError> {
        let len = column.len();
        if len != self.len {
            let (first, _) = &self.columns[0];
            let shape = column.row().map_or(String::new(), |(shape, _)| format!(" (of shape {shape:?})"));
            let reason = format!("has {len} rows{shape}, but column `{first}` has {}", self.len);
            return Err(DataError::column(name, reason));
        }
        Ok(())
    }

    /// The same rows, each of which goes on where the one before it ends: a [`Loader`](crate::Loader) then gives them
    /// in order, so that a state can be carried from batch to batch.
    pub(crate) fn made_contiguous(self) -> Dataset {
        Dataset { contiguous: true, ..self }
    }

    /// The same rows, each for itself: for models that carry nothing from row to row. A [`Loader`](crate::Loader) may then give
    /// them in any order.
    ///
    /// ```
    /// use thalweg_data::{Loader, text::windows};
    /// let tokens = (0..13).collect::<Vec<i64>>().into();
    /// let data = windows(&tokens, 3)?.in_any_order();
    /// let order = Loader::new(&data, 2)?.training(1).order(0);
    /// assert_ne!(order, [0, 2, 1, 3]);
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    pub fn in_any_order(self) -> Dataset {
        Dataset { contiguous: false, ..self }
    }

    /// Whether each row goes on where the one before it ends, as [windows](crate::text::windows) of a text do.
    pub fn is_contiguous(&self) -> bool {
        self.contiguous
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The column `name`, which lies in memory.
    ///
    /// # Errors
    /// If there is none, which the message says with those there are; or its rows are made when a batch needs them, or
    /// differ in length.
    pub fn column(&self, name: &str) -> Result<&Array, DataError> {
        match find(&self.columns, name)? {
            Column::InMemory(array) => Ok(array),
            Column::Made(_) => Err(DataError::column(
                name,
                "its rows are made when a batch needs them; batches have it, and `in_memory` reads it whole",
            )),
            Column::Sequences(_) => Err(differ_in_length(name)),
        }
    }

    /// The column `name`, whose rows differ in length.
    ///
    /// # Errors
    /// If there is none, or its rows are all of one shape.
    pub fn sequences(&self, name: &str) -> Result<&Sequences, DataError> {
        match find(&self.columns, name)? {
            Column::Sequences(sequences) => Ok(sequences),
            Column::InMemory(_) | Column::Made(_) => {
                Err(DataError::column(name, "its rows are all of one shape, they are no sequences"))
            }
        }
    }

    /// The names of the columns, in the order in which they were added.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|(name, _)| &**name)
    }

    /// The shape of one row of the column `name`, and the type of its elements.
    ///
    /// # Errors
    /// If there is no such column, or its rows differ in length.
    pub fn row(&self, name: &str) -> Result<(&[usize], DType), DataError> {
        find(&self.columns, name)?.row().ok_or_else(|| differ_in_length(name))
    }

    /// How pictures become the rows of the column `name`, if they do ([`Rows::augmentation`]).
    ///
    /// # Errors
    /// If there is no such column.
    pub fn augmentation(&self, name: &str) -> Result<Option<&Augment>, DataError> {
        Ok(self.made(name)?.and_then(Made::augmentation))
    }

    /// The column `name`, if its rows are made when a batch needs them.
    pub(crate) fn made(&self, name: &str) -> Result<Option<&Made>, DataError> {
        Ok(match find(&self.columns, name)? {
            Column::InMemory(_) | Column::Sequences(_) => None,
            Column::Made(made) => Some(made),
        })
    }

    pub(crate) fn columns(&self) -> &[(String, Column)] {
        &self.columns
    }

    /// The same rows with all columns in memory: what is made when a batch needs it is made once, as for validation.
    ///
    /// # Errors
    /// If a row cannot be made, or memory cannot hold them.
    pub fn in_memory(&self) -> Result<Dataset, DataError> {
        let all: Vec<usize> = (0..self.len).collect();
        let mut read = self.clone();
        for (name, column) in &mut read.columns {
            if let Column::Made(made) = column {
                let mut array = room(name, self.len, made.row_shape(), made.dtype())?;
                made.fill(&all, None, default_workers(), &mut array).map_err(|(row, error)| DataError::Row {
                    column: name.clone(),
                    row,
                    reason: error.to_string(),
                })?;
                *column = Column::InMemory(array);
            }
        }
        Ok(read)
    }

    /// The names of the classes 0, 1, 2, …; none if labels are no classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What tells these data from others: the SHA-256 of names, dtypes, shapes and numbers of the columns and of the
    /// names of the classes, in hexadecimal. The same for the same data on every machine with the same order of bytes.
    /// Of a column whose rows are made, what they are made of and how ([`Rows::fingerprint`]) stands for the numbers.
    ///
    /// ```
    /// let digits = thalweg_data::digits();
    /// assert_eq!(digits.fingerprint(), digits.clone().fingerprint());
    /// assert_ne!(digits.fingerprint(), digits.select(&[0, 1]).fingerprint());
    /// ```
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        // Each text with its length, so that no two data sets write the same.
        let text = |hash: &mut Sha256, text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        for (name, column) in &self.columns {
            text(&mut hash, name);
            match column {
                Column::InMemory(array) => {
                    text(&mut hash, &format!("{}{:?}", array.dtype(), array.shape()));
                    hash.update(array.storage().bytes());
                }
                Column::Made(made) => text(&mut hash, &made.fingerprint()),
                Column::Sequences(sequences) => text(&mut hash, &sequences.fingerprint()),
            }
        }
        self.classes.iter().for_each(|name| text(&mut hash, name));
        hexadecimal(hash)
    }

    /// The rows at `indices`, in that order; a row may come more than once.
    ///
    /// # Panics
    /// If an index is not below [`len`](Dataset::len).
    #[track_caller]
    pub fn select(&self, indices: &[usize]) -> Dataset {
        if let Some(index) = indices.iter().find(|&&index| index >= self.len) {
            panic!("row {index} of a data set of {} rows", self.len);
        }
        let columns = self.columns.iter().map(|(name, column)| (name.clone(), column.select(indices))).collect();
        let contiguous = self.contiguous && indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
        Dataset { columns, len: indices.len(), classes: self.classes.clone(), contiguous }
    }
}

/// The column of that name; panics if there is none in memory.
impl Index<&str> for Dataset {
    type Output = Array;

    #[track_caller]
    fn index(&self, name: &str) -> &Array {
        self.column(name).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn in_memory(name: &str, array: Array) -> Result<Column, DataError> {
    if array.rank() == 0 {
        return Err(DataError::column(name, "is a single number without axes; the first axis counts the rows"));
    }
    Ok(Column::InMemory(array))
}

fn made(name: &str, rows: impl Rows) -> Result<Column, DataError> {
    if rows.shape().contains(&0) {
        return Err(DataError::column(name, format!("a row of shape {:?} holds no numbers", rows.shape())));
    }
    Ok(Column::Made(Made::new(rows)))
}

/// What batches call what comes of this column.
fn in_batches(name: &str, column: &Column) -> Vec<String> {
    let measures = match column {
        Column::Sequences(sequences) => sequences.measure_names(name).map_or(Vec::new(), Vec::from),
        Column::InMemory(_) | Column::Made(_) => Vec::new(),
    };
    std::iter::once(name.to_string()).chain(measures).collect()
}

fn differ_in_length(name: &str) -> DataError {
    DataError::column(name, "its rows differ in length; batches have it padded, and `sequences` gives it as it is")
}

/// Zeros where `rows` rows of this shape will stand in the column `name`.
pub(crate) fn room(name: &str, rows: usize, row_shape: &[usize], dtype: DType) -> Result<Array, DataError> {
    let shape: Vec<usize> = std::iter::once(rows).chain(row_shape.iter().copied()).collect();
    byte_count(&shape, dtype).map_err(|error| DataError::column(name, error.to_string()))?;
    Ok(Array::zeros(&shape, dtype))
}

/// Room in `taken` for so many rows of this shape: its own, unless a transform has left another array there.
pub(crate) fn fit(
    name: &str,
    rows: usize,
    row_shape: &[usize],
    dtype: DType,
    taken: &mut Array,
) -> Result<(), DataError> {
    if taken.dtype() != dtype || taken.shape().split_first() != Some((&rows, row_shape)) {
        *taken = room(name, rows, row_shape, dtype)?;
    }
    Ok(())
}

/// The column `name` among `columns`.
pub(crate) fn find<'a, C>(columns: &'a [(String, C)], name: &str) -> Result<&'a C, DataError> {
    columns.iter().find(|(known, _)| known == name).map(|(_, column)| column).ok_or_else(|| DataError::NoColumn {
        column: name.to_string(),
        known: columns.iter().map(|(known, _)| known.clone()).collect(),
    })
}

/// The rows of `column` along its first axis at `indices`, in that order; a row may come more than once.
///
/// # Panics
/// If it has no axes, or an index is not below its first size.
#[track_caller]
pub fn select_rows(column: &Array, indices: &[usize]) -> Array {
    let mut shape = column.shape().to_vec();
    shape[0] = indices.len();
    let mut taken = Array::zeros(&shape, column.dtype());
    gather(column, indices, &mut taken);
    taken
}

/// Copies the rows of `column` at `indices` into `taken`, which has their shape and dtype.
pub(crate) fn gather(column: &Array, indices: &[usize], taken: &mut Array) {
    fn copy<T: Element>(from: &[T], width: usize, indices: &[usize], to: &mut Array) {
        let to = to.as_mut_slice::<T>().expect("of the dtype of the column");
        for (to, &index) in to.chunks_exact_mut(width).zip(indices) {
            to.copy_from_slice(&from[index * width..][..width]);
        }
    }
    let width: usize = column.shape()[1..].iter().product();
    if width > 0 {
        with_elements!(column.storage(), elements => copy(elements, width, indices, taken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::transform::TransformError;

    fn data() -> Dataset {
        let x = Array::from([[0.0f32, 1.0], [2.0, 3.0], [4.0, 5.0]]);
        Dataset::new([("x", x), ("label", Array::from([0i64, 1, 2]))]).unwrap()
    }

    #[test]
    fn columns_of_different_length_are_refused_with_both_sizes() {
        let error = data().with_column("weight", Array::zeros(&[4, 2], DType::F32)).unwrap_err().to_string();
        assert_eq!(error, "column `weight`: has 4 rows (of shape [2]), but column `x` has 3");
        let error = data().map("label", |labels| Ok(labels.rows(0..2))).unwrap_err().to_string();
        assert!(error.contains("column `label`: has 2 rows"), "{error}");
    }

    #[test]
    fn bad_names_are_refused() {
        let error = data().with_column("x", Array::from([1i64, 2, 3])).unwrap_err().to_string();
        assert!(error.contains("column `x`: the name is taken"), "{error}");
        let error = data().column("image").unwrap_err().to_string();
        assert_eq!(error, "no column `image`; there are: x, label");
        let error = Dataset::new([("x", Array::scalar(1i64))]).unwrap_err().to_string();
        assert!(error.contains("column `x`: is a single number"), "{error}");
        let error = Dataset::new(Vec::<(String, Array)>::new()).unwrap_err().to_string();
        assert!(error.contains("without columns"), "{error}");
    }

    #[test]
    fn select_takes_rows_in_order_and_repeated() {
        let taken = data().with_classes(["a", "b", "c"]).select(&[2, 0, 2]);
        assert_eq!(taken["x"], Array::from([[4.0f32, 5.0], [0.0, 1.0], [4.0, 5.0]]));
        assert_eq!(taken["label"], Array::from([2i64, 0, 2]));
        assert_eq!(taken.classes(), ["a", "b", "c"]);
        assert!(data().select(&[]).is_empty());
    }

    #[test]
    #[should_panic(expected = "row 3 of a data set of 3 rows")]
    fn select_out_of_bounds_panics() {
        data().select(&[0, 3]);
    }

    #[test]
    fn rows_may_hold_nothing() {
        let data = Dataset::new([("x", Array::zeros(&[3, 0], DType::Bool))]).unwrap();
        assert_eq!(data.select(&[1, 1])["x"].shape(), [2, 0]);
    }

    /// Row r is [r, r + noise].
    #[derive(Debug)]
    struct Counted(usize, [usize; 1]);

    impl Rows for Counted {
        type Element = f32;

        fn len(&self) -> usize {
            self.0
        }

        fn shape(&self) -> &[usize] {
            &self.1
        }

        fn read(&self, row: usize, chance: Option<&mut Random>, to: &mut [f32]) -> Result<(), TransformError> {
            assert!(row != 13, "thirteen");
            to.copy_from_slice(&[row as f32, row as f32 + chance.map_or(0.0, |random| random.uniform())]);
            Ok(())
        }

        fn fingerprint(&self, rows: &[usize]) -> String {
            format!("counted {rows:?}")
        }
    }

    #[test]
    fn rows_that_are_made_are_selected_and_read_as_others() {
        let data = data().with_rows("made", Counted(3, [2])).unwrap();
        let taken = data.select(&[2, 0, 2]).select(&[1, 2]);
        assert_eq!(taken.row("made").unwrap(), (&[2][..], DType::F32));
        assert_eq!(taken.names().collect::<Vec<_>>(), ["x", "label", "made"]);
        assert_eq!(taken.in_memory().unwrap()["made"], Array::from([[0.0f32, 0.0], [2.0, 2.0]]));
        assert_ne!(taken.fingerprint(), data.select(&[0, 1]).fingerprint());
        assert_eq!(taken.fingerprint(), data.select(&[0, 2]).fingerprint());
        let message = data.column("made").unwrap_err().to_string();
        assert!(message.contains("column `made`: its rows are made when a batch needs them"), "{message}");
        let message = data.with_rows("more", Counted(4, [2])).unwrap_err().to_string();
        assert_eq!(message, "column `more`: has 4 rows (of shape [2]), but column `x` has 3");
        let message = Dataset::of_rows("none", Counted(4, [0])).unwrap_err().to_string();
        assert!(message.contains("column `none`: a row of shape [0] holds no numbers"), "{message}");
    }

    #[test]
    fn a_row_that_cannot_be_made_is_named() {
        let data = Dataset::of_rows("made", Counted(20, [2])).unwrap().select(&[3, 13, 5, 13]);
        let message = data.in_memory().unwrap_err().to_string();
        assert_eq!(message, "column `made`, row 1: panicked: thirteen");
    }
}
