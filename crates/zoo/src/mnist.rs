//! `mnist`: the classic lab, 784-128-32-10. Standardized pixels, one-pixel shifts, Adam over one cycle.

use std::path::Path;

use thalweg::data::{self, DataError};
use thalweg::nn::NnError;
use thalweg::prelude::*;
use thalweg::train::{Drawing, Length, Prepare};

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
        Source::Folder("the four files of MNIST, as IDX or IDX in gzip")
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

    fn load(&self, folder: &Path, _: &Settings) -> Result<Splits, DataError> {
        let data::Mnist { train, test } = data::mnist(folder)?;
        let (train, valid) = train.split(&Split::last(train.len(), VALIDATION)?);
        Ok(Splits { train, valid, test, drawing: Some(Drawing::Mnist), pictures: None })
    }

    fn loader(&self, train: &Dataset, prepare: &Prepare, settings: &Settings) -> Result<Loader, DataError> {
        let shift = settings.get("shift") as u16;
        classifier::loader(train, settings.batch, settings.seed, SIZE, shift, prepare)
    }

    fn task(&self, settings: &Settings) -> Result<Task, ZooError> {
        let config = MlpConfig::new(&[SIZE.0 * SIZE.1, 128, 32, 10]).dropout(settings.get("dropout"));
        Ok(classifier::task(&Init::build(settings.seed, |init| config.build(init)), SIZE))
    }

    fn optimizer(&self, settings: &Settings, steps: u64) -> Result<Optimizer, NnError> {
        classifier::optimizer(settings, steps)
    }
}
