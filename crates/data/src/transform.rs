//! Changes made to samples and batches on the loader's thread. Their panics become errors that name the sample.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thalweg_array::Element;

use crate::batch::{Batch, Parts};
use crate::random::Random;

/// What a transform may fail with: any error, or text.
pub type TransformError = Box<dyn std::error::Error + Send + Sync>;

/// A change made to batches while they are prepared.
pub(crate) trait Transform: Send + Sync {
    /// What errors call it.
    fn name(&self) -> String;
    /// Changes `batch`; an error comes with the row of the data set at which it occurred.
    fn apply(&self, batch: &mut Batch, draw: &Draw) -> Result<(), (usize, TransformError)>;
}

/// Where the random numbers of one transform come from.
pub(crate) struct Draw {
    pub(crate) seed: u64,
    /// The position of the transform in the loader's list: two transforms draw different numbers.
    pub(crate) ordinal: usize,
}

/// A function of one sample of one column.
pub(crate) struct PerSample<T, F> {
    column: String,
    f: F,
    element: PhantomData<fn(T)>,
}

impl<T, F> PerSample<T, F> {
    pub(crate) fn new(column: &str, f: F) -> Self {
        PerSample { column: column.to_string(), f, element: PhantomData }
    }
}

impl<T, F> Transform for PerSample<T, F>
where
    T: Element,
    F: Fn(&mut [T], &mut Random) -> Result<(), TransformError> + Send + Sync,
{
    fn name(&self) -> String {
        format!("transform of `{}`", self.column)
    }

    fn apply(&self, batch: &mut Batch, draw: &Draw) -> Result<(), (usize, TransformError)> {
        let epoch = batch.epoch();
        let Parts { columns, rows } = batch.parts_mut();
        let (_, column) = columns.iter_mut().find(|(name, _)| *name == self.column).expect("checked by `map`");
        let width: usize = column.shape()[1..].iter().product();
        let elements = column.as_mut_slice::<T>().map_err(|error| (rows[0], error.into()))?;
        let kind = format!("sample/{}", draw.ordinal);
        for (position, &row) in rows.iter().enumerate() {
            let mut random = Random::new(draw.seed, epoch, &kind, row as u64);
            let sample = &mut elements[position * width..][..width];
            guarded(|| (self.f)(sample, &mut random)).map_err(|error| (row, error))?;
        }
        Ok(())
    }
}

/// A function of a whole batch.
pub(crate) struct PerBatch<F>(pub(crate) F);

impl<F> Transform for PerBatch<F>
where
    F: Fn(&mut Batch, &mut Random) -> Result<(), TransformError> + Send + Sync,
{
    fn name(&self) -> String {
        "transform of batches".to_string()
    }

    fn apply(&self, batch: &mut Batch, draw: &Draw) -> Result<(), (usize, TransformError)> {
        let row = batch.rows()[0];
        let kind = format!("batch/{}", draw.ordinal);
        let mut random = Random::new(draw.seed, batch.epoch(), &kind, batch.position() as u64);
        guarded(|| (self.0)(batch, &mut random)).map_err(|error| (row, error))
    }
}

/// What `f` returns; a panic in it becomes an error.
pub(crate) fn guarded(f: impl FnOnce() -> Result<(), TransformError>) -> Result<(), TransformError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(panicked(&*panic).into()))
}

/// `panicked: ` and the message.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", message.unwrap_or("(no message)"))
}
