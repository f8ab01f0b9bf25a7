//! `spoken-digits`: which digits are heard, from speakers that the model has not met.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `corpus` | recordings in parts that share no speaker, other voices, strings of digits |
//! | `ears` | [`Ears`](ears::Ears): convolutions over time and pitch |
//! | `strings` | strings of digits and how they are written down, as data sets |
//! | `conv` | one digit, by convolutions |
//! | `ctc` | strings of digits, by an LSTM and connectionist temporal classification |
//! | `listener` | the same, spelled by a decoder that looks at what was heard |

mod conv;
mod corpus;
mod ctc;
mod ears;
mod listener;
mod strings;

use std::path::Path;

use thalweg::data::DataError;
use thalweg::prelude::*;
use thalweg::train::{FitError, Length, Transcriber};

use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};
use corpus::{BANDS, Speakers};
use strings::Writing;

/// The recipe `spoken-digits`.
pub(crate) struct SpokenDigits;

/// The norm beyond which gradients are scaled down.
const CLIP: f64 = 5.0;

/// How the strings are written down that a model reads off recordings; none of `conv`, which knows single digits.
fn writing(settings: &Settings) -> Option<Writing> {
    match settings.model {
        Some("lstm-ctc") => Some(Writing::Digits { frames: ctc::FRAMES }),
        Some("listener") => Some(Writing::Letters),
        _ => None,
    }
}

fn splits(speakers: Speakers, settings: &Settings) -> Result<Splits, DataError> {
    match writing(settings) {
        Some(writing) => strings::data(speakers, settings, writing),
        None => conv::data(speakers, settings),
    }
}

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

    fn defaults(&self, model: Option<&str>) -> Defaults {
        let epochs = match model {
            Some("lstm-ctc") => 15,
            Some("listener") => 20,
            _ => 10,
        };
        Defaults { length: Length::Epochs(epochs), batch: 32, lr: 2e-3, optimizer: "adam" }
    }

    fn models(&self) -> &'static [Model] {
        &[
            Model {
                name: "conv",
                about: "one digit; three convolutions over time and pitch, and the mean of what each moment says",
            },
            Model { name: "lstm-ctc", about: "strings of digits; two convolutions, an LSTM both ways, and CTC" },
            Model {
                name: "listener",
                about: "strings of digits, spelled; LSTMs that halve the time, and a decoder with attention",
            },
        ]
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
                Setting {
                    name: "strings",
                    about: "how many strings of digits are learned from; of others a fifth as many",
                    default: 1500.0,
                    range: (1.0, 100_000.0),
                },
                Setting { name: "longest", about: "digits of a string at most", default: 5.0, range: (1.0, 100.0) },
                classifier::weight_decay(0.05),
            ]
        }
    }

    /// No speaker is in two parts: in the order of their names the last is for the test, the one before to choose by, the others
    /// are learned from. Of the Free Spoken Digit Dataset these are yweweler, theo, and the four others.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        splits(Speakers::split(corpus::read(folder)?)?, settings)
    }

    /// Each fold is one speaker, if there are as many folds as speakers.
    fn folds(&self, folder: &Path, settings: &Settings, k: usize) -> Result<Vec<Splits>, ZooError> {
        let recordings = corpus::read(folder)?;
        let fold = |group| Ok(splits(Speakers::fold(recordings.clone(), k, group)?, settings)?);
        (0..k).map(fold).collect()
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        match writing(settings) {
            Some(writing) => strings::blank(settings, writing),
            None => conv::blank(settings),
        }
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        match writing(settings) {
            Some(Writing::Digits { .. }) => ctc::learner(data, settings),
            Some(Writing::Letters) => listener::learner(data, settings),
            None => conv::learner(data, settings),
        }
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop)
    }

    /// Of strings the word error rate, in per cent.
    fn measure(
        &self,
        trained: &Trained,
        _: &TrainingData,
        test: &Dataset,
    ) -> Result<Vec<(&'static str, f64)>, ZooError> {
        if !trained.classes().is_empty() {
            return Ok(Vec::new());
        }
        let rate = Transcriber::of(trained)?.error_rate(test)?;
        Ok(vec![("word_error_percent", 100.0 * rate.value())])
    }
}

/// The frames of sounds that a function is fed, and how many frames each sound has.
fn sound_of_rows() -> (Tensor, Tensor) {
    (placeholder(Transcriber::SOUND, f32, ("rows", "sound_time", BANDS)), placeholder("sound.length", i64, ["rows"]))
}

/// With sounds of about the same length in a batch.
fn bucketed(data: TrainingData) -> TrainingData {
    /// The rows of so many batches are sorted.
    const POOL: usize = 16;
    data.augmented(|loader| loader.bucketed(&[Transcriber::SOUND], POOL))
}
