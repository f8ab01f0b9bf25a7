//! A recipe from data to outcome.

use std::path::{Path, PathBuf};

use serde::Serialize;
use thalweg::nn::Step;
use thalweg::prelude::*;
use thalweg::train::checkpoint::CheckpointError;
use thalweg::train::{End, FitError, Fitted, ModelCard};

use crate::error::ZooError;
use crate::options::{Options, Settings};
use crate::recipe::{Recipe, Source, Splits};

/// Rows at a time in evaluation.
pub(crate) const EVALUATION_BATCH: usize = 500;

/// What the data of a run are called where it says what it was configured with.
pub(crate) const DATA: [&str; 2] = ["data", "validation data"];

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
    let splits = load(recipe, options.data.as_deref(), &settings)?;
    let Splits { train, valid, test, .. } = &splits;
    let prepare = splits.prepare()?;
    let prepared = |data: &Dataset| match &prepare.pictures {
        Some(pictures) => data.clone().augment("image", pictures),
        None => data.clone().map("image", |images| prepare.apply("image", images)),
    };

    let task = recipe.task(&settings)?;
    let loader = recipe.loader(train, &prepare, &settings)?;
    let optimizer = recipe.optimizer(&settings, settings.length.steps(&loader, settings.accumulate))?;
    let mut builder = Session::builder().seed(settings.seed);
    if let Some(threads) = options.threads {
        builder = builder.threads(threads);
    }
    let session = builder.build()?;
    let run = options.run.as_ref().map(|path| RunFolder {
        resume: options.resume,
        save_every: options.save_every,
        config: settings.config(recipe).into_iter().chain(fingerprints(&splits)).collect(),
        may_differ: DATA.into_iter().filter(|_| options.new_data).map(String::from).collect(),
        model: Some(ModelCard::new(&task.inference, train.classes(), prepare.clone())),
        ..RunFolder::new(path)
    });
    let fit_options = FitOptions {
        accumulate: settings.accumulate,
        validation_batch: EVALUATION_BATCH,
        run,
        progress: options.progress,
        interrupt: options.interrupt.clone(),
        ..FitOptions::new(settings.length)
    };
    let valid = prepared(valid)?;
    let training =
        Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: Some(&valid) };
    let fitted: Fitted = fit(&training, &fit_options, &mut []).map_err(advised)?;
    let interrupted = match fitted.end {
        End::Finished | End::AlreadyFinished | End::Behind => false,
        End::Interrupted | End::Stopped => true,
    };
    let test_accuracy = if interrupted {
        None
    } else {
        evaluate(&session, &task.inference, &prepared(test)?, EVALUATION_BATCH)?.accuracy()
    };
    Ok(Outcome {
        recipe: recipe.name().into(),
        steps: fitted.steps,
        epochs: fitted.epochs,
        seconds: fitted.seconds,
        train_loss: fitted.train_loss,
        valid_loss: fitted.valid_loss,
        valid_accuracy: fitted.valid_accuracy,
        test_accuracy,
        checkpoint: fitted.checkpoint,
        interrupted,
    })
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

/// What tells the data from others, for the configuration of a run.
fn fingerprints(splits: &Splits) -> impl Iterator<Item = (String, String)> {
    DATA.map(String::from)
        .into_iter()
        .zip([&splits.train, &splits.valid].map(|data| format!("sha256:{}", data.fingerprint())))
}

/// The graphs of a recipe without its data: the task, and the training step of a run of 1,000 steps.
///
/// # Errors
/// If a setting is wrong.
pub fn build(recipe: &dyn Recipe, options: &Options) -> Result<(Task, Step), ZooError> {
    let settings = Settings::new(recipe, options)?;
    let task = recipe.task(&settings)?;
    let step = recipe.optimizer(&settings, 1_000)?.minimize(&task.train_loss);
    Ok((task, step))
}

/// The data of a recipe.
pub(crate) fn load(recipe: &dyn Recipe, folder: Option<&Path>, settings: &Settings) -> Result<Splits, ZooError> {
    let folder = match (recipe.source(), folder) {
        (Source::Embedded, None) => Path::new(""),
        (Source::Embedded, Some(folder)) => {
            let reason = format!("the recipe `{}` has its data in the program", recipe.name());
            return Err(ZooError::setting(format!("data {}", folder.display()), reason));
        }
        (Source::Folder(_), Some(folder)) => folder,
        (Source::Folder(what), None) => return Err(ZooError::NeedsData { recipe: recipe.name(), what }),
    };
    Ok(recipe.load(folder, settings)?)
}
