//! `spoken-digits`: which digits are heard, from speakers that the model has not met.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `corpus` | recordings in parts that share no speaker, other voices, strings of digits |
//! | `ears` | [`Ears`](ears::Ears): convolutions over time and pitch |
//! | `conv` | one digit, by convolutions |

mod conv;
mod corpus;
mod ears;

use std::path::Path;

use thalweg::data::DataError;
use thalweg::prelude::*;
use thalweg::train::{FitError, Length};

use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};
use corpus::Speakers;

/// The recipe `spoken-digits`.
pub(crate) struct SpokenDigits;

/// The column of the frames of sounds.
const SOUND: &str = "sound";

impl Recipe for SpokenDigits {
    fn name(&self) -> &'static str {
        "spoken-digits"
    }

    fn about(&self) -> &'static str {
        "digits that are heard, from speakers that the model has not met"
    }

    fn source(&self) -> Source {
        Source::Folder(
            "recordings `digit_speaker_take.wav` of three speakers or more, as the Free Spoken Digit Dataset has them",
        )
    }

    fn defaults(&self, _: Option<&str>) -> Defaults {
        Defaults { length: Length::Epochs(10), batch: 32, lr: 2e-3, optimizer: "adam" }
    }

    fn models(&self) -> &'static [Model] {
        &[Model {
            name: "conv",
            about: "one digit; three convolutions over time and pitch, and the mean of what each moment says",
        }]
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting { name: "hidden", about: "units of a layer", default: 128.0, range: (1.0, 4096.0) },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.3, range: (0.0, 0.95) },
                Setting {
                    name: "voices",
                    about: "1: recordings are also learned from a tenth lower and slower, and a tenth higher and faster",
                    default: 1.0,
                    range: (0.0, 1.0),
                },
                classifier::weight_decay(0.05),
            ]
        }
    }

    /// No speaker is in two parts: in the order of their names the last is for the test, the one before to choose by, the others
    /// are learned from. Of the Free Spoken Digit Dataset these are yweweler, theo, and the four others.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        conv::data(Speakers::split(corpus::read(folder)?)?, settings)
    }

    /// Each fold is one speaker, if there are as many folds as speakers.
    fn folds(&self, folder: &Path, settings: &Settings, k: usize) -> Result<Vec<Splits>, ZooError> {
        let recordings = corpus::read(folder)?;
        let fold = |group| Ok(conv::data(Speakers::fold(recordings.clone(), k, group)?, settings)?);
        (0..k).map(fold).collect()
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        conv::blank(settings)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        conv::learner(data, settings)
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop)
    }
}

/// With sounds of about the same length in a batch.
fn bucketed(data: TrainingData) -> TrainingData {
    /// The rows of so many batches are sorted.
    const POOL: usize = 16;
    data.augmented(|loader| loader.bucketed(&[SOUND], POOL))
}
