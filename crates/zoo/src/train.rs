//! A recipe from data to outcome.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;
use thalweg::data::{Augment, cache_folder};
use thalweg::nn::Step;
use thalweg::prelude::*;
use thalweg::train::checkpoint::CheckpointError;
use thalweg::train::fit::{Event, Flow, Moment};
use thalweg::train::{FitError, Prepare};

use crate::error::ZooError;
use crate::options::{Options, Settings};
use crate::recipe::{Recipe, Source, Splits};

/// How often a picture of the test set is seen, beside as it is, where training changes pictures by chance.
pub(crate) const PASSES: u64 = 4;

/// What the data of a run are called where it says what it was configured with.
const DATA: [&str; 2] = ["data", "validation data"];

/// What came of a training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The recipe.
    pub recipe: String,
    /// The steps made.
    pub steps: u64,
    /// The epochs begun.
    pub epochs: u64,
    /// How long the training took, in seconds: reading the data and the test are not counted.
    pub seconds: f64,
    /// The mean loss of the training rows in the last epoch, while they were trained on.
    pub train_loss: f64,
    /// The loss on the validation set at the end.
    pub valid_loss: Option<f64>,
    /// The share of the validation set that is right at the end.
    pub valid_accuracy: Option<f64>,
    /// The share of the test set that is right; of a training that was made to its end.
    pub test_accuracy: Option<f64>,
    /// The same where each picture is seen several times, changed as in training: of a recipe that changes pictures by
    /// chance.
    pub test_accuracy_augmented: Option<f64>,
    /// What else the recipe [measures](Recipe::measure) on the test set, by name.
    pub test_figures: BTreeMap<&'static str, f64>,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// Whether it was stopped before its end; resumed, it goes on.
    pub interrupted: bool,
}

/// Follows a recipe.
///
/// # Errors
/// If a setting is wrong, the data cannot be read, the run's folder cannot be used, or the numbers leave their range.
pub fn train(recipe: &dyn Recipe, options: &Options) -> Result<Outcome, ZooError> {
    let settings = Settings::new(recipe, options)?;
    recipe.ready(&settings)?;
    train_on(recipe, load(recipe, options.data.as_deref(), &settings)?, options, &settings)
}

/// Follows a recipe on these data.
pub(crate) fn train_on(
    recipe: &dyn Recipe,
    splits: Splits,
    options: &Options,
    settings: &Settings,
) -> Result<Outcome, ZooError> {
    let Splits { data, test } = splits;
    let run = options.run.as_ref().map(|path| RunFolder {
        resume: options.resume,
        save_every: options.save_every,
        config: settings.config(recipe),
        may_differ: DATA.into_iter().filter(|_| options.new_data).map(String::from).collect(),
        ..RunFolder::new(path)
    });
    let learner = on_data(recipe, data, options, settings)?;
    let learner = learner.progress(options.progress).interrupt(options.interrupt.clone());
    let mut learner = learner.options(|settings| {
        settings.run = run;
        settings.validate_every = options.measure_every.or(settings.validate_every);
    });

    let interrupted = match recipe.fit(&mut learner, settings) {
        Ok(()) => false,
        Err(FitError::Interrupted { .. }) => true,
        Err(error) => return Err(advised(error)),
    };
    let fitted = learner.fitted().expect("a recipe trains in at least one phase: a bug in Thalweg").clone();
    let (mut test_accuracy, mut test_accuracy_augmented, mut test_figures) = (None, None, BTreeMap::new());
    if let (false, Some(test)) = (interrupted, test) {
        test_accuracy = learner.evaluate(&test)?.accuracy();
        if sees_changed_pictures(learner.data().prepare()) {
            test_accuracy_augmented = learner.evaluate_augmented(&test, PASSES)?.accuracy();
        }
        let data = learner.data().clone();
        test_figures.extend(recipe.measure(learner.trained()?, &data, &test)?);
    }
    Ok(Outcome {
        recipe: recipe.name().into(),
        steps: fitted.steps,
        epochs: fitted.epochs,
        seconds: fitted.seconds,
        train_loss: fitted.train_loss,
        valid_loss: fitted.valid_loss,
        valid_accuracy: fitted.valid_accuracy,
        test_accuracy,
        test_accuracy_augmented,
        test_figures,
        checkpoint: fitted.checkpoint,
        interrupted,
    })
}

/// Whether pictures are changed by chance in training, so that a model that sees one several times says more.
pub(crate) fn sees_changed_pictures(prepare: &Prepare) -> bool {
    prepare.pictures.as_ref().is_some_and(Augment::has_chance)
}

/// The learner of a recipe on its data, before its first step.
///
/// # Errors
/// If a setting is wrong, or the data cannot be read.
pub fn learner(recipe: &dyn Recipe, options: &Options) -> Result<Learner, ZooError> {
    let settings = Settings::new(recipe, options)?;
    recipe.ready(&settings)?;
    let Splits { data, .. } = load(recipe, options.data.as_deref(), &settings)?;
    on_data(recipe, data, options, &settings)
}

/// The learner of a recipe without its data: on rows of their form that say nothing.
///
/// # Errors
/// If a setting is wrong.
pub fn blank_learner(recipe: &dyn Recipe, options: &Options) -> Result<Learner, ZooError> {
    let settings = Settings::new(recipe, options)?;
    on_data(recipe, recipe.blank(&settings)?, options, &settings)
}

/// The learner of a recipe on `data`, in a session with the seed.
fn on_data(
    recipe: &dyn Recipe,
    data: TrainingData,
    options: &Options,
    settings: &Settings,
) -> Result<Learner, ZooError> {
    let mut session = Session::builder().seed(settings.seed);
    if let Some(threads) = options.threads {
        session = session.threads(threads);
    }
    let data = data.batch(settings.batch).seed(settings.seed);
    let learner = recipe.learner(data, settings)?.in_session(session.build()?)?;
    Ok(learner.options(|options| options.accumulate = settings.accumulate))
}

/// Says what the user can do about a folder that cannot be trained in as it is.
fn advised(error: FitError) -> ZooError {
    let of_data = |difference: &String| DATA.iter().any(|name| difference.starts_with(&format!("{name} was ")));
    let advice = match &error {
        FitError::Checkpoint(CheckpointError::NotEmpty { .. }) => "`--resume` resumes",
        FitError::Checkpoint(CheckpointError::Config { differences }) if differences.iter().all(of_data) => {
            "`--new-data` goes on with other data"
        }
        FitError::Checkpoint(CheckpointError::Config { .. }) => "repeat its settings, or choose another folder",
        _ => return error.into(),
    };
    ZooError::Advised { source: Box::new(error.into()), advice }
}

/// The graphs of a recipe without its data: the task, and the training step of its first phase.
///
/// # Errors
/// If a setting is wrong.
pub fn build(recipe: &dyn Recipe, options: &Options) -> Result<(Task, Step), ZooError> {
    let first: Rc<RefCell<Option<(Task, Step)>>> = Rc::default();
    let seen = Rc::clone(&first);
    // Each phase builds its graphs, and is stopped before its first step.
    let look = move |_: &Event<'_>, moment: &Moment<'_>| {
        seen.borrow_mut().get_or_insert_with(|| (moment.task.clone(), moment.optimization.clone()));
        Flow::Stop
    };
    let mut learner = blank_learner(recipe, options)?.callback(look);
    recipe.fit(&mut learner, &Settings::new(recipe, options)?)?;
    Ok(first.take().expect("a recipe trains in at least one phase: a bug in Thalweg"))
}

/// The data of a recipe.
pub(crate) fn load(recipe: &dyn Recipe, folder: Option<&Path>, settings: &Settings) -> Result<Splits, ZooError> {
    Ok(recipe.load(&folder_of(recipe, folder)?, settings)?)
}

/// Where the data of a recipe are, if they are in a folder: in `folder`, else where public sets are kept.
pub(crate) fn folder_of(recipe: &dyn Recipe, folder: Option<&Path>) -> Result<PathBuf, ZooError> {
    match (recipe.source(), folder) {
        (Source::Embedded, None) => Ok(PathBuf::new()),
        (Source::Embedded, Some(folder)) => {
            let reason = format!("the recipe `{}` has its data in the program", recipe.name());
            Err(ZooError::setting(format!("data {}", folder.display()), reason))
        }
        (Source::Folder(_), Some(folder)) => Ok(folder.into()),
        (Source::Folder(what), None) => {
            let recipe = recipe.name();
            let cached = cache_folder(recipe).filter(|folder| folder.is_dir());
            cached.ok_or(ZooError::NeedsData { recipe, what })
        }
    }
}
