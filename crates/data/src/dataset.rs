//! Data in memory: named columns of equal length.

use std::ops::Index;

use sha2::{Digest, Sha256};
use thalweg_array::{Array, Element, with_elements};

use crate::error::DataError;

/// Named columns with a common first axis, and the names of the classes if there are any. Cloning shares the columns.
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
    columns: Vec<(String, Array)>,
    len: usize,
    classes: Vec<String>,
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
        let name = name.into();
        let &len = first.shape().first().ok_or_else(|| no_axes(&name))?;
        let data = Dataset { columns: vec![(name, first)], len, classes: Vec::new() };
        columns.try_fold(data, |data, (name, column)| data.with_column(name, column))
    }

    /// The same rows with one more column.
    ///
    /// # Errors
    /// If the name is taken, or the column has another length.
    pub fn with_column(mut self, name: impl Into<String>, column: Array) -> Result<Dataset, DataError> {
        let name = name.into();
        if self.columns.iter().any(|(known, _)| *known == name) {
            return Err(DataError::column(&name, "the name is taken; `map` replaces a column"));
        }
        self.check_len(&name, &column)?;
        self.columns.push((name, column));
        Ok(self)
    }

    /// The same rows with the column `name` replaced by `f` of it.
    ///
    /// # Errors
    /// If there is no such column, `f` fails, or its result has another length.
    pub fn map(mut self, name: &str, f: impl FnOnce(&Array) -> Result<Array, DataError>) -> Result<Dataset, DataError> {
        let replaced = f(self.column(name)?)?;
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

    fn check_len(&self, name: &str, column: &Array) -> Result<(), DataError> {
        let &len = column.shape().first().ok_or_else(|| no_axes(name))?;
        if len != self.len {
            let (first, _) = &self.columns[0];
            let reason = format!("has {len} rows (shape {:?}), but column `{first}` has {}", column.shape(), self.len);
            return Err(DataError::column(name, reason));
        }
        Ok(())
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The column `name`.
    ///
    /// # Errors
    /// If there is none; the message lists those there are.
    pub fn column(&self, name: &str) -> Result<&Array, DataError> {
        find(&self.columns, name)
    }

    /// The columns with their names, in the order in which they were added.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &Array)> {
        self.columns.iter().map(|(name, column)| (&**name, column))
    }

    /// The names of the classes 0, 1, 2, …; none if labels are no classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What tells these data from others: the SHA-256 of names, dtypes, shapes and numbers of the columns and of the names
    /// of the classes, in hexadecimal. The same for the same data on every machine with the same order of bytes.
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
        for (name, column) in self.columns() {
            text(&mut hash, name);
            text(&mut hash, &format!("{}{:?}", column.dtype(), column.shape()));
            hash.update(column.storage().bytes());
        }
        self.classes.iter().for_each(|name| text(&mut hash, name));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
        let columns = self.columns.iter().map(|(name, column)| (name.clone(), rows(column, indices))).collect();
        Dataset { columns, len: indices.len(), classes: self.classes.clone() }
    }
}

/// The column of that name; panics if there is none.
impl Index<&str> for Dataset {
    type Output = Array;

    #[track_caller]
    fn index(&self, name: &str) -> &Array {
        self.column(name).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn no_axes(name: &str) -> DataError {
    DataError::column(name, "is a single number without axes; the first axis counts the rows")
}

/// The column `name` among `columns`.
pub(crate) fn find<'a>(columns: &'a [(String, Array)], name: &str) -> Result<&'a Array, DataError> {
    columns.iter().find(|(known, _)| known == name).map(|(_, column)| column).ok_or_else(|| DataError::NoColumn {
        column: name.to_string(),
        known: columns.iter().map(|(known, _)| known.clone()).collect(),
    })
}

/// The rows of `column` at `indices`, copied.
fn rows(column: &Array, indices: &[usize]) -> Array {
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
    use thalweg_array::DType;

    use super::*;

    fn data() -> Dataset {
        let x = Array::from([[0.0f32, 1.0], [2.0, 3.0], [4.0, 5.0]]);
        Dataset::new([("x", x), ("label", Array::from([0i64, 1, 2]))]).unwrap()
    }

    #[test]
    fn columns_of_different_length_are_refused_with_both_sizes() {
        let error = data().with_column("weight", Array::zeros(&[4, 2], DType::F32)).unwrap_err().to_string();
        assert_eq!(error, "column `weight`: has 4 rows (shape [4, 2]), but column `x` has 3");
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
}
