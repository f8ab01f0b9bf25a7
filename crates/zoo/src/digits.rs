//! `digits`: the UCI optical digits, 8 x 8, embedded. A network with two hidden layers, one-pixel shifts and dropout.

use std::path::Path;

use thalweg::data::{DataError, digits};
use thalweg::prelude::*;
use thalweg::train::{Drawing, FitError, Length};

use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Recipe, Setting, Source, Splits};

/// The recipe `digits`.
pub(crate) struct Digits;

const SIZE: (usize, usize) = (8, 8);

impl Recipe for Digits {
    fn name(&self) -> &'static str {
        "digits"
    }

    fn about(&self) -> &'static str {
        "1,797 handwritten digits of 8 x 8 pixels, in the program; two hidden layers, at least 97 % right"
    }

    fn source(&self) -> Source {
        Source::Embedded
    }

    fn defaults(&self, _: Option<&str>) -> Defaults {
        Defaults { length: Length::Epochs(100), batch: 32, lr: 4e-3, optimizer: "adam" }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting {
                    name: "width",
                    about: "neurons of the first hidden layer",
                    default: 512.0,
                    range: (1.0, 4096.0),
                },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.1, range: (0.0, 0.95) },
                Setting {
                    name: "shift",
                    about: "pixels by which images are moved at most",
                    default: 1.0,
                    range: (0.0, 4.0),
                },
                classifier::weight_decay(0.01),
            ]
        }
    }

    /// Every fifth row is the test set; of the rest 15 % are held out, of each digit as many.
    fn load(&self, _: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let data = digits();
        let (rest, test) = data.split(&Split::by_index(data.len(), |row| row % 5 == 4)?);
        let (train, valid) = rest.split(&Split::stratified("label", &rest["label"], 0.15, settings.seed)?);
        let shift = settings.get("shift") as u16;
        Ok(Splits { data: classifier::drawings(train, valid, Drawing::Digits, shift)?, test: Some(test) })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        Ok(self.load(Path::new(""), settings)?.data)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let widths = [SIZE.0 * SIZE.1, settings.get("width") as usize, 64, 10];
        classifier::mlp(data, MlpConfig::new(&widths).dropout(settings.get("dropout")), settings)
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop)
    }
}
