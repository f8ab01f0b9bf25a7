//! `mnist`: the classic lab, 784-128-32-10. Standardized pixels, one-pixel shifts, Adam over one cycle.

use std::path::Path;

use thalweg::data::{self, DataError};
use thalweg::prelude::*;
use thalweg::train::{Drawing, FitError, Length};

use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Recipe, Setting, Source, Splits};

/// The recipe `mnist`.
pub(crate) struct Mnist;

const SIZE: (usize, usize) = (28, 28);

/// The last rows of the training part are the validation set.
const VALIDATION: usize = 5_000;

impl Recipe for Mnist {
    fn name(&self) -> &'static str {
        "mnist"
    }

    fn about(&self) -> &'static str {
        "70,000 handwritten digits of 28 x 28 pixels; 784-128-32-10, at least 98 % right"
    }

    fn source(&self) -> Source {
        Source::Folder("the four files of MNIST, as IDX or IDX in gzip (`thalweg download mnist` gets them)")
    }

    fn defaults(&self, _: Option<&str>) -> Defaults {
        Defaults { length: Length::Epochs(20), batch: 128, lr: 6e-3, optimizer: "adam" }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting { name: "dropout", about: "the part that is dropped", default: 0.0, range: (0.0, 0.95) },
                Setting {
                    name: "shift",
                    about: "pixels by which images are moved at most",
                    default: 1.0,
                    range: (0.0, 14.0),
                },
                classifier::weight_decay(0.05),
            ]
        }
    }

    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let data::Mnist { train, test } = data::mnist(folder)?;
        let (train, valid) = train.split(&Split::last(train.len(), VALIDATION)?);
        let shift = settings.get("shift") as u16;
        Ok(Splits { data: classifier::drawings(train, valid, Drawing::Mnist, shift)?, test: Some(test) })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let rows = classifier::blank(settings.batch, &[SIZE.0, SIZE.1], f32)?;
        classifier::drawings(rows.clone(), rows, Drawing::Mnist, settings.get("shift") as u16)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let widths = [SIZE.0 * SIZE.1, 128, 32, 10];
        classifier::mlp(data, MlpConfig::new(&widths).dropout(settings.get("dropout")), settings)
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop)
    }
}
