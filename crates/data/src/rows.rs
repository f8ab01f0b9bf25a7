//! Columns whose rows are made when a batch needs them: read from files, decoded, transformed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_array::{Array, DType, Element};

use crate::augment::Augment;
use crate::error::DataError;
use crate::parallel::{lock, together};
use crate::random::Random;
use crate::transform::{TransformError, guarded};

/// Where the rows of a column come from, if they do not lie in memory. Several threads read at once.
///
/// ```
/// use thalweg_data::{Dataset, Loader, Random, Rows, TransformError};
///
/// /// Points on a circle; in training moved a little.
/// #[derive(Debug)]
/// struct Circle(usize);
///
/// impl Rows for Circle {
///     type Element = f32;
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn shape(&self) -> &[usize] {
///         &[2]
///     }
///     fn read(&self, row: usize, chance: Option<&mut Random>, to: &mut [f32]) -> Result<(), TransformError> {
///         let angle = row as f32 + chance.map_or(0.0, |random| 0.1 * random.normal());
///         to.copy_from_slice(&[angle.cos(), angle.sin()]);
///         Ok(())
///     }
///     fn fingerprint(&self, rows: &[usize]) -> String {
///         format!("circle {rows:?}")
///     }
/// }
///
/// let data = Dataset::of_rows("point", Circle(100))?;
/// for batch in Loader::new(&data, 32)?.training(7).epoch(0)? {
///     assert_eq!(batch?["point"].shape()[1], 2);
/// }
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[allow(clippy::len_without_is_empty, reason = "asked once, by the data set")]
pub trait Rows: fmt::Debug + Send + Sync + 'static {
    /// What a row consists of.
    type Element: Element;

    /// The number of rows.
    fn len(&self) -> usize;

    /// The shape of one row; the same for all.
    fn shape(&self) -> &[usize];

    /// Writes row `row` to `to`, which has room for one and holds anything. In training `chance` gives random numbers,
    /// always the same for the same seed, epoch and row; without it, chance takes its middle: the row as it is used for
    /// validation.
    ///
    /// # Errors
    /// If the row cannot be made; the message names what it comes from, the loader adds its number.
    fn read(&self, row: usize, chance: Option<&mut Random>, to: &mut [Self::Element]) -> Result<(), TransformError>;

    /// What tells these rows, as they are read without chance, from others; see
    /// [`Dataset::fingerprint`](crate::Dataset::fingerprint).
    fn fingerprint(&self, rows: &[usize]) -> String;

    /// How pictures become these rows, if they do: so that it can be written with a model, and undone to show them.
    fn augmentation(&self) -> Option<&Augment> {
        None
    }

    /// The same pictures, made into rows in another way, if they are pictures.
    fn augmented(&self, augment: &Augment) -> Option<Result<Self, DataError>>
    where
        Self: Sized,
    {
        let _ = augment;
        None
    }
}

/// A row that a batch needs.
pub(crate) struct Wanted {
    row: usize,
    random: Option<Random>,
}

/// [`Rows`] of any type of elements.
trait AnyRows: fmt::Debug + Send + Sync {
    fn shape(&self) -> &[usize];
    fn dtype(&self) -> DType;
    fn fingerprint(&self, rows: &[usize]) -> String;
    fn augmentation(&self) -> Option<&Augment>;
    fn augmented(&self, augment: &Augment) -> Option<Result<Arc<dyn AnyRows>, DataError>>;
    fn fill(&self, wanted: Vec<Wanted>, workers: usize, to: &mut Array) -> Result<(), (usize, TransformError)>;
}

impl<R: Rows> AnyRows for R {
    fn shape(&self) -> &[usize] {
        Rows::shape(self)
    }

    fn dtype(&self) -> DType {
        R::Element::DTYPE
    }

    fn fingerprint(&self, rows: &[usize]) -> String {
        Rows::fingerprint(self, rows)
    }

    fn augmentation(&self) -> Option<&Augment> {
        Rows::augmentation(self)
    }

    fn augmented(&self, augment: &Augment) -> Option<Result<Arc<dyn AnyRows>, DataError>> {
        let rows = Rows::augmented(self, augment)?;
        Some(rows.map(|rows| Arc::new(rows) as Arc<dyn AnyRows>))
    }

    fn fill(&self, wanted: Vec<Wanted>, workers: usize, to: &mut Array) -> Result<(), (usize, TransformError)> {
        let width: usize = Rows::shape(self).iter().product();
        let workers = workers.min(wanted.len());
        let elements = to.as_mut_slice::<R::Element>().map_err(|error| (0, error.into()))?;
        let queue = Mutex::new(wanted.into_iter().zip(elements.chunks_exact_mut(width)).enumerate());
        // Rows are handed out in order, so the first one that fails is among those at work when another has failed.
        let failed: Mutex<Option<(usize, TransformError)>> = Mutex::new(None);
        let work = || {
            while lock(&failed).is_none() {
                let next = lock(&queue).next();
                let Some((position, (mut wanted, to))) = next else { return };
                if let Err(error) = guarded(|| self.read(wanted.row, wanted.random.as_mut(), to)) {
                    let mut failed = lock(&failed);
                    if failed.as_ref().is_none_or(|(first, _)| position < *first) {
                        *failed = Some((position, error));
                    }
                }
            }
        };
        together(workers, work);
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// Some rows of a source, in some order.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    source: Arc<dyn AnyRows>,
    /// Which row of the source each row is.
    rows: Arc<[usize]>,
}

/// What random numbers of rows depend on, beside the row.
pub(crate) struct Chance {
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    /// The column: two columns draw different numbers.
    pub(crate) column: String,
}

impl Made {
    pub(crate) fn new(source: impl Rows) -> Made {
        let rows = (0..source.len()).collect();
        Made { source: Arc::new(source), rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The shape of one row.
    pub(crate) fn row_shape(&self) -> &[usize] {
        self.source.shape()
    }

    pub(crate) fn dtype(&self) -> DType {
        self.source.dtype()
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.source.fingerprint(&self.rows)
    }

    pub(crate) fn augmentation(&self) -> Option<&Augment> {
        self.source.augmentation()
    }

    /// The same pictures, made into rows in another way; none if they are no pictures.
    pub(crate) fn augmented(&self, augment: &Augment) -> Option<Result<Made, DataError>> {
        let source = self.source.augmented(augment)?;
        Some(source.map(|source| Made { source, rows: self.rows.clone() }))
    }

    pub(crate) fn select(&self, indices: &[usize]) -> Made {
        Made { source: self.source.clone(), rows: indices.iter().map(|&index| self.rows[index]).collect() }
    }

    /// Makes the rows at `indices` in `to`, which has their shape and dtype, on `workers` threads. An error comes with
    /// the first row that failed.
    pub(crate) fn fill(
        &self,
        indices: &[usize],
        chance: Option<&Chance>,
        workers: usize,
        to: &mut Array,
    ) -> Result<(), (usize, TransformError)> {
        let random = |index: usize| {
            chance.map(|chance| Random::new(chance.seed, chance.epoch, &format!("row/{}", chance.column), index as u64))
        };
        let wanted = indices.iter().map(|&index| Wanted { row: self.rows[index], random: random(index) }).collect();
        self.source.fill(wanted, workers, to).map_err(|(position, error)| (indices[position], error))
    }
}

/// The same rows of the very same source.
impl PartialEq for Made {
    fn eq(&self, other: &Made) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.rows == other.rows
    }
}
