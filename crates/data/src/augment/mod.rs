//! From a picture to what a model is fed: sizes, chance, numbers.

mod chance;
mod color;
mod levels;
mod rows;
mod seen;
#[cfg(test)]
mod tests;
mod window;

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType};

use crate::error::DataError;
use crate::image::Filter;
use crate::normalize::Normalize;
use crate::picture::{Picture, Position};
use crate::random::Random;
use crate::resample::{level, resample};

pub(crate) use rows::{PictureRows, Source};
pub use seen::Part;
pub use window::Border;

/// What is done to a picture before a model sees it, step by step, and the numbers it becomes: f32 of shape
/// `[3, height, width]`, from 0 to 1, [normalized](Augment::normalize) if that is asked for.
///
/// The steps with chance in them draw in training; for validation and use chance takes its middle: no flip, no
/// rotation, the center of the picture. So one description serves both. It is written with a model, so that the model
/// is used as it was trained.
///
/// ```
/// use thalweg_data::{Augment, Normalize};
///
/// // For photos and a model trained on ImageNet.
/// let photos = Augment::new().random_resized_crop(224, 224).flip().brightness(0.2).normalize(Normalize::imagenet())?;
/// // For CIFAR.
/// let small = Augment::new().random_crop(32, 32, 4).flip();
/// # assert_eq!(small.size_of((32, 32)), (32, 32));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Augment {
    steps: Vec<Step>,
    normalize: Option<Normalize>,
}

/// One step of an [`Augment`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// To this size, whatever the proportions.
    Resize {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
        /// How the pixels are weighed.
        filter: Filter,
    },
    /// So that the shorter side has this length; the proportions stay.
    ResizeShorter {
        /// In pixels.
        side: usize,
    },
    /// The center.
    Crop {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
    },
    /// Any part of the picture after so many pixels were added on each side. Without chance the center.
    RandomCrop {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
        /// The pixels added on each side.
        padding: usize,
        /// What is added.
        border: Border,
    },
    /// A part of the picture of random place, area and proportions, at this size (Szegedy et al. 2014, "Going Deeper
    /// with Convolutions", section 6). Without chance the center, of which an eighth of the length is cut off.
    RandomResizedCrop {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
        /// The least and greatest share of the picture's area.
        area: (f32, f32),
        /// The least and greatest width of the part in terms of its height.
        ratio: (f32, f32),
    },
    /// Left and right change places, every other time.
    Flip,
    /// Top and bottom change places, every other time.
    FlipVertical,
    /// One of the eight positions in which a square covers itself; of pictures that are not square, one of four.
    AnyPosition,
    /// By an angle up to this many degrees, either way, around the middle.
    Rotate {
        /// The greatest angle.
        degrees: f32,
        /// What comes in at the corners.
        border: Border,
    },
    /// All numbers times a factor from 1 - by to 1 + by.
    Brightness {
        /// The greatest change.
        by: f32,
    },
    /// The distances from the mean gray of the picture times a factor from 1 - by to 1 + by.
    Contrast {
        /// The greatest change.
        by: f32,
    },
    /// The distances of the colors from their gray times a factor from 1 - by to 1 + by.
    Saturation {
        /// The greatest change.
        by: f32,
    },
    /// A square of this side, anywhere, is covered with the mean color of the normalization, or with gray; what hangs
    /// over the edges is lost (DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with
    /// Cutout").
    Cutout {
        /// In pixels.
        side: usize,
    },
}

/// Building: each method adds a step.
impl Augment {
    /// Nothing: the pixels as numbers from 0 to 1.
    pub fn new() -> Augment {
        Augment::default()
    }

    /// [`Step::Resize`], bilinear.
    pub fn resize(self, height: usize, width: usize) -> Augment {
        self.step(Step::Resize { height, width, filter: Filter::Bilinear })
    }

    /// [`Step::ResizeShorter`].
    pub fn resize_shorter(self, side: usize) -> Augment {
        self.step(Step::ResizeShorter { side })
    }

    /// [`Step::Crop`].
    pub fn crop(self, height: usize, width: usize) -> Augment {
        self.step(Step::Crop { height, width })
    }

    /// [`Step::RandomCrop`], black outside the picture.
    pub fn random_crop(self, height: usize, width: usize, padding: usize) -> Augment {
        self.step(Step::RandomCrop { height, width, padding, border: Border::Color([0; 3]) })
    }

    /// [`Step::RandomResizedCrop`] of 8 to 100 % of the area, 3:4 to 4:3.
    pub fn random_resized_crop(self, height: usize, width: usize) -> Augment {
        self.step(Step::RandomResizedCrop { height, width, area: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0) })
    }

    /// [`Step::Flip`].
    pub fn flip(self) -> Augment {
        self.step(Step::Flip)
    }

    /// [`Step::FlipVertical`].
    pub fn flip_vertical(self) -> Augment {
        self.step(Step::FlipVertical)
    }

    /// [`Step::AnyPosition`].
    pub fn any_position(self) -> Augment {
        self.step(Step::AnyPosition)
    }

    /// [`Step::Rotate`], the picture mirrored beyond its edges.
    pub fn rotate(self, degrees: f32) -> Augment {
        self.step(Step::Rotate { degrees, border: Border::Mirror })
    }

    /// [`Step::Brightness`].
    pub fn brightness(self, by: f32) -> Augment {
        self.step(Step::Brightness { by })
    }

    /// [`Step::Contrast`].
    pub fn contrast(self, by: f32) -> Augment {
        self.step(Step::Contrast { by })
    }

    /// [`Step::Saturation`].
    pub fn saturation(self, by: f32) -> Augment {
        self.step(Step::Saturation { by })
    }

    /// [`Step::Cutout`].
    pub fn cutout(self, side: usize) -> Augment {
        self.step(Step::Cutout { side })
    }

    /// One more step.
    pub fn step(mut self, step: Step) -> Augment {
        self.steps.push(step);
        self
    }

    /// At the end, numbers from 0 to 1 become (x - mean) / std of their channel: [`Normalize::imagenet`], or what
    /// [`Normalize::of_dataset`] takes from the set.
    ///
    /// # Errors
    /// If there is not one mean for all, or one for each of the three channels.
    pub fn normalize(mut self, normalize: Normalize) -> Result<Augment, DataError> {
        let means = normalize.mean().len();
        if means != 1 && means != 3 {
            let reason = "pictures have one mean for all, or one for each of red, green and blue";
            return Err(DataError::setting(format!("normalization with {means} means"), reason));
        }
        self.normalize = Some(normalize);
        Ok(self)
    }

    /// For pictures of any size, where the steps were meant for pictures of `size` (height, width), as those of CIFAR are: if
    /// none of them resizes, pictures are brought to that size first, and what is left over at the ends is cut off.
    ///
    /// ```
    /// use thalweg_data::Augment;
    /// let small = Augment::new().random_crop(32, 32, 4).flip();
    /// assert_eq!(small.clone().from_any_size((32, 32)).seen((100, 200)).width, 100.0);
    /// assert_eq!(small.seen((100, 200)).width, 32.0);
    /// ```
    pub fn from_any_size(mut self, (height, width): (usize, usize)) -> Augment {
        let resizes = |step: &Step| {
            matches!(step, Step::Resize { .. } | Step::ResizeShorter { .. } | Step::RandomResizedCrop { .. })
        };
        if !self.steps.iter().any(resizes) {
            let fit = [Step::ResizeShorter { side: height.max(width) }, Step::Crop { height, width }];
            self.steps.splice(0..0, fit);
        }
        self
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether a step has chance in it, so that training sees another picture each time.
    pub fn has_chance(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Resize { .. } | Step::ResizeShorter { .. } | Step::Crop { .. } => false,
            Step::RandomCrop { .. } | Step::RandomResizedCrop { .. } => true,
            Step::Flip | Step::FlipVertical | Step::AnyPosition | Step::Rotate { .. } | Step::Cutout { .. } => true,
            Step::Brightness { .. } | Step::Contrast { .. } | Step::Saturation { .. } => true,
        })
    }

    /// The normalization, if there is one.
    pub fn normalization(&self) -> Option<&Normalize> {
        self.normalize.as_ref()
    }
}

/// Using it.
impl Augment {
    /// What becomes of `picture`; with `chance` as in training, without as for validation and use.
    ///
    /// # Errors
    /// If a part is to be cut out that is larger than the picture.
    pub fn apply(&self, picture: Picture, mut chance: Option<&mut Random>) -> Result<Picture, DataError> {
        self.steps.iter().try_fold(picture, |picture, step| self.take(*step, picture, chance.as_deref_mut()))
    }

    /// The numbers that a model is fed for `picture`, without chance: f32 `[3, height, width]`.
    ///
    /// ```
    /// use thalweg_data::{Augment, Picture};
    /// let red = Picture::plain(20, 30, [255, 0, 0]);
    /// let numbers = Augment::new().resize_shorter(4).numbers(red)?;
    /// assert_eq!((numbers.shape(), numbers.to_vec::<f32>()[0]), (&[3, 4, 6][..], 1.0));
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Augment::apply`].
    pub fn numbers(&self, picture: Picture) -> Result<Array, DataError> {
        let picture = self.apply(picture, None)?;
        let mut numbers = Array::zeros(&[3, picture.height(), picture.width()], DType::F32);
        levels::Levels::new(self.normalization()).write(&picture, numbers.as_mut_slice()?);
        Ok(numbers)
    }

    /// The size of what becomes of a picture of `size` (height, width).
    pub fn size_of(&self, size: (usize, usize)) -> (usize, usize) {
        self.steps.iter().fold(size, |size, step| step.size_of(size))
    }

    /// The size of what becomes of any picture, if it is the same for all.
    pub fn size(&self) -> Option<(usize, usize)> {
        let fixes = |step: &Step| match *step {
            Step::Resize { height, width, .. }
            | Step::Crop { height, width }
            | Step::RandomCrop { height, width, .. }
            | Step::RandomResizedCrop { height, width, .. } => Some((height, width)),
            Step::ResizeShorter { .. } => None,
            Step::Flip | Step::FlipVertical | Step::AnyPosition | Step::Rotate { .. } | Step::Cutout { .. } => None,
            Step::Brightness { .. } | Step::Contrast { .. } | Step::Saturation { .. } => None,
        };
        // Behind the last step that fixes a size, another may change it again in proportion.
        let (index, size) =
            self.steps.iter().enumerate().rev().find_map(|(index, step)| Some((index, fixes(step)?)))?;
        Some(self.steps[index..].iter().fold(size, |size, step| step.size_of(size)))
    }

    /// Refuses settings that no picture can follow.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        self.steps.iter().try_for_each(Step::check)
    }

    fn take(&self, step: Step, picture: Picture, chance: Option<&mut Random>) -> Result<Picture, DataError> {
        let Some(random) = chance else { return step.middle(picture) };
        Ok(match step {
            Step::Resize { .. } | Step::ResizeShorter { .. } | Step::Crop { .. } => return step.middle(picture),
            Step::RandomCrop { height, width, padding, border } => {
                picture.random_crop((height, width), padding, border, random)?
            }
            Step::RandomResizedCrop { height, width, area, ratio } => {
                let (at, size) = chance::part(picture.size(), area, ratio, random);
                picture.crop(at, size).resized((height, width), Filter::Bilinear)
            }
            Step::Flip => turned_if(random.chance(0.5), picture, Position { mirrored: true, ..Position::default() }),
            Step::FlipVertical => {
                turned_if(random.chance(0.5), picture, Position { upside_down: true, ..Position::default() })
            }
            Step::AnyPosition => {
                // Of eight, those that keep the size of a picture that is not square come first.
                let positions = if picture.height() == picture.width() { 8 } else { 4 };
                let position = Position::ALL[random.within(0..=positions - 1) as usize];
                turned_if(position != Position::default(), picture, position)
            }
            Step::Rotate { degrees, border } => picture.rotated(chance::either_way(degrees, random), border),
            Step::Brightness { by } => picture.brightened(1.0 + chance::either_way(by, random)),
            Step::Contrast { by } => picture.contrasted(1.0 + chance::either_way(by, random)),
            Step::Saturation { by } => picture.saturated(1.0 + chance::either_way(by, random)),
            Step::Cutout { side } => picture.covered(side, self.mean_color(), random),
        })
    }

    /// What becomes 0, or the middle of what can be.
    fn mean_color(&self) -> [u8; 3] {
        let level = |mean: f64| level(255.0 * mean as f32);
        match self.normalize.as_ref().map(Normalize::mean) {
            Some(&[red, green, blue]) => [red, green, blue].map(level),
            Some(&[all]) => [level(all); 3],
            Some(_) | None => [128; 3],
        }
    }
}

impl Step {
    fn size_of(&self, size: (usize, usize)) -> (usize, usize) {
        match *self {
            Step::Resize { height, width, .. }
            | Step::Crop { height, width }
            | Step::RandomCrop { height, width, .. }
            | Step::RandomResizedCrop { height, width, .. } => (height, width),
            Step::ResizeShorter { side } => shorter(size, side),
            Step::Flip | Step::FlipVertical | Step::AnyPosition | Step::Rotate { .. } | Step::Cutout { .. } => size,
            Step::Brightness { .. } | Step::Contrast { .. } | Step::Saturation { .. } => size,
        }
    }

    fn check(&self) -> Result<(), DataError> {
        /// More makes no sense for what a model sees, and would fill memory.
        const MOST: usize = 1 << 14;
        let refuse = |reason: &str| Err(DataError::setting(format!("augmentation step {self:?}"), reason));
        let sides = match *self {
            Step::Resize { height, width, .. }
            | Step::Crop { height, width }
            | Step::RandomCrop { height, width, .. }
            | Step::RandomResizedCrop { height, width, .. } => [height, width],
            Step::ResizeShorter { side } | Step::Cutout { side } => [side; 2],
            Step::Flip | Step::FlipVertical | Step::AnyPosition | Step::Rotate { .. } => [1; 2],
            Step::Brightness { .. } | Step::Contrast { .. } | Step::Saturation { .. } => [1; 2],
        };
        if sides.iter().any(|side| !(1..=MOST).contains(side)) {
            return refuse("a side has from 1 to 16384 pixels");
        }
        match *self {
            Step::RandomCrop { padding, .. } if padding > MOST => refuse("at most 16384 pixels can be added"),
            Step::RandomResizedCrop { area: (least, most), .. } if !(0.0 < least && least <= most && most <= 1.0) => {
                refuse("areas go from above 0 to 1, the least first")
            }
            Step::RandomResizedCrop { ratio: (least, most), .. }
                if !(0.0 < least && least <= most && most.is_finite()) =>
            {
                refuse("proportions are above 0, the least first")
            }
            Step::Rotate { degrees, .. } if !(0.0..=180.0).contains(&degrees) => {
                refuse("an angle goes from 0 to 180 degrees")
            }
            Step::Brightness { by } | Step::Contrast { by } | Step::Saturation { by } if !(0.0..=1.0).contains(&by) => {
                refuse("a change goes from 0 to 1")
            }
            _ => Ok(()),
        }
    }

    /// The step with chance at its middle.
    fn middle(self, picture: Picture) -> Result<Picture, DataError> {
        Ok(match self {
            Step::Resize { height, width, filter } => picture.resized((height, width), filter),
            Step::ResizeShorter { side } => picture.resized(shorter(picture.size(), side), Filter::Bilinear),
            Step::Crop { height, width } => picture.center((height, width), 0, Border::Mirror)?,
            Step::RandomCrop { height, width, padding, border } => picture.center((height, width), padding, border)?,
            Step::RandomResizedCrop { height, width, .. } => {
                let (at, size) = chance::middle_part(picture.size(), (height, width));
                picture.crop(at, size).resized((height, width), Filter::Bilinear)
            }
            Step::Flip | Step::FlipVertical | Step::AnyPosition | Step::Rotate { .. } | Step::Cutout { .. } => picture,
            Step::Brightness { .. } | Step::Contrast { .. } | Step::Saturation { .. } => picture,
        })
    }
}

fn turned_if(turned: bool, picture: Picture, position: Position) -> Picture {
    if turned { picture.turned(position) } else { picture }
}

/// The size at which the shorter side has this length.
fn shorter((height, width): (usize, usize), side: usize) -> (usize, usize) {
    let scaled = |length: usize, other: usize| ((length * side + other / 2) / other).max(side);
    if height <= width { (side, scaled(width, height)) } else { (scaled(height, width), side) }
}

impl Picture {
    /// At another size.
    ///
    /// # Panics
    /// If a side is 0.
    #[track_caller]
    pub fn resized(&self, size: (usize, usize), filter: Filter) -> Picture {
        if size == self.size() {
            return self.clone();
        }
        let numbers = resample(self.pixels(), 3, self.size(), size, filter);
        let pixels = numbers.into_iter().map(level).collect();
        Picture::new(size.0, size.1, pixels).expect("three numbers for each pixel")
    }
}
