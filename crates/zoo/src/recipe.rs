//! [`Recipe`]: which data, which model, which settings.

use std::path::Path;

use thalweg::data::{Augment, DataError};
use thalweg::nn::NnError;
use thalweg::prelude::*;
use thalweg::train::{Drawing, Length, Prepare};

use crate::cifar10::Cifar10;
use crate::digits::Digits;
use crate::error::ZooError;
use crate::mnist::Mnist;
use crate::options::Settings;

/// Which data, which model, which settings. A recipe reaches what it promises with its defaults and any seed.
pub trait Recipe: Sync {
    /// What command lines call it.
    fn name(&self) -> &'static str;

    /// What it is, in a line.
    fn about(&self) -> &'static str;

    /// Where its data come from.
    fn source(&self) -> Source;

    /// What is used where the user says nothing, for the model of this name.
    fn defaults(&self, model: Option<&str>) -> Defaults;

    /// The models among which the user may choose; the first is taken where nothing is said.
    fn models(&self) -> &'static [Model] {
        &[]
    }

    /// What else can be set, by name.
    fn settings(&self) -> &'static [Setting];

    /// The data, not yet prepared. `folder` is there if the [`source`](Recipe::source) is one.
    ///
    /// # Errors
    /// If they cannot be read.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError>;

    /// The training batches: augmented, prepared, shuffled.
    ///
    /// # Errors
    /// If the data are not what the recipe expects.
    fn loader(&self, train: &Dataset, prepare: &Prepare, settings: &Settings) -> Result<Loader, DataError>;

    /// The graphs of the model. Its variables begin as the seed says.
    ///
    /// # Errors
    /// If a setting is out of its range.
    fn task(&self, settings: &Settings) -> Result<Task, ZooError>;

    /// How the loss is made smaller in `steps` steps.
    ///
    /// # Errors
    /// If a setting is out of its range, or no optimizer has that name.
    fn optimizer(&self, settings: &Settings, steps: u64) -> Result<Optimizer, NnError>;
}

/// Where data come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// They are in the program.
    Embedded,
    /// They are in a folder that the user names; here stands what must be in it.
    Folder(&'static str),
}

/// What is used where the user says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// How long.
    pub length: Length,
    /// Rows in a batch.
    pub batch: usize,
    /// The learning rate; of a schedule the highest.
    pub lr: f64,
    /// The optimizer, by name.
    pub optimizer: &'static str,
}

/// A model of a recipe that has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// What command lines call it.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
}

/// A number that can be set by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The name.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
    /// What it is where the user says nothing.
    pub default: f64,
    /// The least and the greatest it may be.
    pub range: (f64, f64),
}

/// Data in three parts, not yet prepared, with the names of the classes.
#[derive(Clone, Debug)]
pub struct Splits {
    /// To be trained on.
    pub train: Dataset,
    /// To choose by.
    pub valid: Dataset,
    /// To be looked at once.
    pub test: Dataset,
    /// As what drawings the images were made, if they are drawings.
    pub drawing: Option<Drawing>,
    /// How pictures become what a model takes, if the images are pictures.
    pub pictures: Option<Augment>,
}

impl Splits {
    /// How an image becomes what a model takes: pictures as they are prepared, others with the statistics of the training
    /// part.
    ///
    /// # Errors
    /// If the images hold a number that is not finite.
    pub fn prepare(&self) -> Result<Prepare, DataError> {
        let normalize = match &self.pictures {
            Some(_) => None,
            None => Some(Normalize::standard("image", &self.train["image"], Per::All)?),
        };
        Ok(Prepare { drawing: self.drawing, normalize, pictures: self.pictures.clone() })
    }
}

/// All recipes.
pub fn recipes() -> &'static [&'static dyn Recipe] {
    &[&Digits, &Mnist, &Cifar10]
}

/// The recipe of this name.
///
/// # Errors
/// If there is none; the message names the nearest.
pub fn recipe(name: &str) -> Result<&'static dyn Recipe, ZooError> {
    let names = recipes().iter().map(|recipe| recipe.name());
    let found = recipes().iter().copied().find(|recipe| recipe.name() == name);
    found.ok_or_else(|| ZooError::unknown("recipe", name, names))
}
