//! Pictures as rows of a column.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use thalweg_array::{Array, DType};

use super::Augment;
use super::levels::Levels;
use crate::dataset::{Column, Dataset};
use crate::error::DataError;
use crate::fingerprint::hexadecimal;
use crate::folder::Entry;
use crate::picture::{Limits, Picture};
use crate::random::Random;
use crate::rows::Rows;
use crate::transform::TransformError;

/// Where the pictures of a column come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Files, read and decoded whenever they are needed.
    Files { entries: Arc<[Entry]>, limits: Limits },
    /// `[n, 3, height, width]` bytes.
    InMemory(Array),
}

/// Pictures as a model is fed them.
#[derive(Debug)]
pub(crate) struct PictureRows {
    source: Source,
    /// Height and width of all pictures, if they are the same and known.
    size: Option<(usize, usize)>,
    augment: Augment,
    shape: [usize; 3],
    levels: Levels,
}

impl PictureRows {
    /// Pictures of `source`, all of `size` (height, width) if it is known.
    pub(crate) fn new(
        source: Source,
        size: Option<(usize, usize)>,
        augment: &Augment,
    ) -> Result<PictureRows, DataError> {
        augment.check()?;
        let Some((height, width)) = size.map(|size| augment.size_of(size)).or_else(|| augment.size()) else {
            let reason = "pictures of different sizes do not fit into a batch; resize or crop them";
            return Err(DataError::setting("augmentation", reason));
        };
        let levels = Levels::new(augment.normalization());
        Ok(PictureRows { source, size, augment: augment.clone(), shape: [3, height, width], levels })
    }
}

impl Rows for PictureRows {
    type Element = f32;

    fn len(&self) -> usize {
        match &self.source {
            Source::Files { entries, .. } => entries.len(),
            Source::InMemory(pictures) => pictures.shape()[0],
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn read(&self, row: usize, chance: Option<&mut Random>, to: &mut [f32]) -> Result<(), TransformError> {
        let (name, picture) = match &self.source {
            Source::Files { entries, limits } => (Some(&entries[row].path), entries[row].read(limits)?),
            Source::InMemory(pictures) => (None, interleaved(pictures, row)?),
        };
        // A picture in memory has no name; a file has.
        let named = |error: DataError| match name {
            Some(path) => DataError::File { path: path.clone(), reason: format!("cannot be prepared: {error}") },
            None => error,
        };
        let picture = self.augment.apply(picture, chance).map_err(named)?;
        let [_, height, width] = self.shape;
        if picture.size() != (height, width) {
            let reason =
                format!("is prepared to {} x {}, others to {height} x {width}", picture.height(), picture.width());
            return Err(named(DataError::Image { height: picture.height(), width: picture.width(), reason }).into());
        }
        self.levels.write(&picture, to);
        Ok(())
    }

    fn augmentation(&self) -> Option<&Augment> {
        Some(&self.augment)
    }

    fn augmented(&self, augment: &Augment) -> Option<Result<PictureRows, DataError>> {
        Some(PictureRows::new(self.source.clone(), self.size, augment))
    }

    fn fingerprint(&self, rows: &[usize]) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.augment));
        match &self.source {
            Source::Files { entries, .. } => rows.iter().for_each(|&row| entries[row].identify(&mut hash)),
            Source::InMemory(pictures) => {
                let bytes = pictures.storage().bytes();
                let width = pictures.shape()[1..].iter().product::<usize>();
                rows.iter().for_each(|row| hash.update(&bytes[row * width..][..width]));
            }
        }
        hexadecimal(hash)
    }
}

/// Row `row` of `[n, 3, height, width]` bytes.
fn interleaved(pictures: &Array, row: usize) -> Result<Picture, DataError> {
    let &[_, _, height, width] = pictures.shape() else { unreachable!("checked when the rows were made") };
    let area = height * width;
    let planes = &pictures.as_slice::<u8>()?[3 * row * area..][..3 * area];
    let (red, rest) = planes.split_at(area);
    let (green, blue) = rest.split_at(area);
    let pixels = red.iter().zip(green).zip(blue).flat_map(|((&red, &green), &blue)| [red, green, blue]).collect();
    Picture::new(height, width, pixels)
}

impl Dataset {
    /// The same rows with the pictures in the column `name`, bytes `[n, 3, height, width]`, as `augment` has them, made
    /// when a batch needs them: numbers of shape `[3, height, width]`, in training with chance. Pictures that are made so
    /// already, as those of a folder, are made so instead.
    ///
    /// # Errors
    /// If there is no such column, it holds no pictures, or `augment` has settings that no picture can follow.
    pub fn augment(self, name: &str, augment: &Augment) -> Result<Dataset, DataError> {
        if let Some(column) = self.made(name)?.and_then(|made| made.augmented(augment)) {
            return self.replace(name, Column::Made(column?));
        }
        let pictures = self.column(name)?;
        let &[_, 3, height, width] = pictures.shape() else {
            let reason = format!("has shape {:?}; pictures are [n, 3, height, width]", pictures.shape());
            return Err(DataError::column(name, reason));
        };
        if pictures.dtype() != DType::U8 || height * width == 0 {
            let reason =
                format!("is {} of shape {:?}; pictures are u8 and have pixels", pictures.dtype(), pictures.shape());
            return Err(DataError::column(name, reason));
        }
        let rows = PictureRows::new(Source::InMemory(pictures.clone()), Some((height, width)), augment)?;
        self.map_rows(name, rows)
    }
}
