//! [`Recipe`]: which data, which model, which settings.

use std::path::Path;

use thalweg::data::DataError;
use thalweg::prelude::*;
use thalweg::train::{FitError, Length};

use crate::char_lm::CharLm;
use crate::cifar10::Cifar10;
use crate::digits::Digits;
use crate::error::ZooError;
use crate::gpt::GptRecipe;
use crate::images::Images;
use crate::mnist::Mnist;
use crate::options::Settings;
use crate::reply_or_not::ReplyOrNot;
use crate::sentence_vectors::SentenceVectors;
use crate::smart_reply::SmartReply;
use crate::spoken_digits::SpokenDigits;
use crate::translate::Translate;
use crate::word_vectors::WordVectorsRecipe;

/// Which data, which model, which settings. A recipe reaches what it promises with its defaults and any seed.
///
/// It is written on the [`Learner`], in three parts: [`load`](Recipe::load) makes the data, [`learner`](Recipe::learner) puts
/// model, loss and optimizer on them, and [`fit`](Recipe::fit) trains, phase by phase. Whoever follows it ([`train`](crate::train()))
/// adds what is not of the recipe: the session, the folder of the run, progress.
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

    /// Which weights, trained elsewhere, it can begin with ([`Settings::weights`]); none of most.
    fn weights(&self) -> Option<&'static str> {
        None
    }

    /// What else can be set, by name.
    fn settings(&self) -> &'static [Setting];

    /// Whether it can be trained with these settings. Graphs are built without asking.
    ///
    /// # Errors
    /// If something is missing, such as weights, or does not fit.
    fn ready(&self, settings: &Settings) -> Result<(), ZooError> {
        let _ = settings;
        Ok(())
    }

    /// The data, with how they are prepared and augmented. `folder` is there if the [`source`](Recipe::source) is one. Batch
    /// size and seed are set by whoever follows the recipe.
    ///
    /// # Errors
    /// If they cannot be read.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError>;

    /// The data in `k` ways, each with another k-th of them for the test, for a recipe whose data have no test set of their own.
    ///
    /// # Errors
    /// If they have one, cannot be read, or are fewer than folds.
    fn folds(&self, folder: &Path, settings: &Settings, k: usize) -> Result<Vec<Splits>, ZooError> {
        let (_, _) = (folder, settings);
        let reason = format!("the recipe `{}` has a test set of its own", self.name());
        Err(ZooError::setting(format!("{k} folds"), reason))
    }

    /// Data of the same form that say nothing, [`Settings::batch`] rows: what graphs are made of where there are no data.
    ///
    /// # Errors
    /// If a setting is out of its range.
    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError>;

    /// The model on the data, with loss, optimizer and callbacks. Its variables begin as the seed says, or with weights that
    /// were trained elsewhere; layers that the first phase freezes are frozen.
    ///
    /// # Errors
    /// If a setting is out of its range, or the data do not fit the model.
    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError>;

    /// Trains: at least one phase.
    ///
    /// # Errors
    /// As the phases of the [`Learner`].
    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError>;

    /// What else is measured on the test set, by name: of a translator how much of its translations is right. Nothing of most.
    /// `data` are those that were trained on.
    ///
    /// # Errors
    /// If the model does not do what is measured.
    fn measure(
        &self,
        trained: &Trained,
        data: &TrainingData,
        test: &Dataset,
    ) -> Result<Vec<(&'static str, f64)>, ZooError> {
        let (_, _, _) = (trained, data, test);
        Ok(Vec::new())
    }
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

/// Data in three parts.
#[derive(Clone, Debug)]
pub struct Splits {
    /// To be trained on and to choose by.
    pub data: TrainingData,
    /// To be looked at once: of the same form as the others, not yet prepared. None where all that is held out is measured
    /// while training goes on.
    pub test: Option<Dataset>,
}

/// All recipes.
pub fn recipes() -> &'static [&'static dyn Recipe] {
    &[
        &Digits,
        &Mnist,
        &Cifar10,
        &Images,
        &CharLm,
        &GptRecipe,
        &ReplyOrNot,
        &Translate,
        &SmartReply,
        &SpokenDigits,
        &WordVectorsRecipe,
        &SentenceVectors,
    ]
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
