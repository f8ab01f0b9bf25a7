//! [`Prepare`]: from what a user has to what a model takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thalweg_data::audio::SoundEncoding;
use thalweg_data::text::TextEncoding;
use thalweg_data::{Augment, DataError, Dataset, Normalize, image};
use thalweg_formats::array::Array;

/// How an input is prepared; travels with the model. The default does nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prepare {
    /// How a picture becomes a row of the data set, if rows are drawings.
    pub drawing: Option<Drawing>,
    /// How rows of the data set are normalized, with the statistics of the training part.
    pub normalize: Option<Normalize>,
    /// How pictures become what the model takes, if rows are pictures: bytes `[3, height, width]`, or files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Augment>,
    /// How texts become tokens, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, TextEncoding>,
    /// How sounds become frames, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sounds: BTreeMap<String, SoundEncoding>,
}

/// Data sets of drawings, and how a drawing is scaled and placed as theirs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drawing {
    /// [`image::like_mnist`]: 28 x 28, from 0 to 255.
    Mnist,
    /// [`image::like_digits`]: 8 x 8, from 0 to 16.
    Digits,
}

impl Drawing {
    /// Height and width.
    pub fn size(self) -> (usize, usize) {
        match self {
            Drawing::Mnist => (28, 28),
            Drawing::Digits => (8, 8),
        }
    }

    /// The number of full ink; paper is 0.
    pub fn ink(self) -> f32 {
        match self {
            Drawing::Mnist => 255.0,
            Drawing::Digits => 16.0,
        }
    }
}

impl Prepare {
    /// Rows of the data set as the model takes them. `name` names the column in errors.
    ///
    /// # Errors
    /// If rows have another number of features than the statistics.
    pub fn apply(&self, name: &str, rows: &Array) -> Result<Array, DataError> {
        match (&self.pictures, &self.normalize) {
            (Some(augment), _) => {
                let pictures = Dataset::new([(name, rows.clone())])?.augment(name, augment)?.in_memory()?;
                Ok(pictures[name].clone())
            }
            (None, Some(normalize)) => normalize.apply(name, rows),
            (None, None) => Ok(rows.clone()),
        }
    }

    /// A data set whose inputs are in the column `name`, as the model takes them. Pictures become rows that are made one by
    /// one, those of files too, which were made in another way until now.
    ///
    /// # Errors
    /// As [`Prepare::apply`], or if there is no such column.
    pub fn dataset(&self, name: &str, data: &Dataset) -> Result<Dataset, DataError> {
        match (&self.pictures, &self.normalize) {
            (Some(augment), _) if data.augmentation(name)? == Some(augment) => Ok(data.clone()),
            (Some(augment), _) => data.clone().augment(name, augment),
            (None, Some(_)) => data.clone().map(name, |rows| self.apply(name, rows)),
            (None, None) => Ok(data.clone()),
        }
    }

    /// How a photo becomes what the model takes, which is pictures of `size` (height, width).
    ///
    /// # Errors
    /// If the model was not trained on pictures.
    pub fn photos(&self, size: (usize, usize)) -> Result<Augment, DataError> {
        match &self.pictures {
            Some(augment) => Ok(augment.clone().from_any_size(size)),
            None => Err(DataError::Setting {
                setting: "a photo".into(),
                reason: "the model was not trained on pictures in color: give it rows of its data set".into(),
            }),
        }
    }

    /// How texts become the tokens of the column `name`.
    ///
    /// # Errors
    /// If that column holds no tokens of texts.
    pub fn text(&self, name: &str) -> Result<&TextEncoding, DataError> {
        one_of("text", &self.texts, name)
    }

    /// How sounds become the frames of the column `name`.
    ///
    /// # Errors
    /// If that column holds no frames of sounds.
    pub fn sound(&self, name: &str) -> Result<&SoundEncoding, DataError> {
        one_of("sound", &self.sounds, name)
    }

    /// A gray picture of `size` (height, width) as one row of the data set, without the axis of rows.
    ///
    /// # Errors
    /// If it holds no drawing, or the data set has no drawings.
    pub fn picture(&self, pixels: &[f32], size: (usize, usize)) -> Result<Array, DataError> {
        let row = match self.drawing {
            Some(Drawing::Mnist) => image::like_mnist(pixels, size)?,
            Some(Drawing::Digits) => image::like_digits(pixels, size)?,
            None => {
                let reason = "the model was not trained on drawings: give it rows of its data set".into();
                return Err(DataError::Image { height: size.0, width: size.1, reason });
            }
        };
        let (height, width) = self.drawing.map_or((1, row.len()), Drawing::size);
        Ok(Array::new(&[height, width], row)?)
    }
}

/// The encoding of the column `name`.
fn one_of<'e, E>(what: &str, encodings: &'e BTreeMap<String, E>, name: &str) -> Result<&'e E, DataError> {
    encodings.get(name).ok_or_else(|| {
        let reason = match encodings.is_empty() {
            true => format!("the model was not trained on {what}s"),
            false => {
                format!("the model takes {what}s for {}", encodings.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        };
        DataError::Setting { setting: format!("a {what} for `{name}`"), reason }
    })
}
