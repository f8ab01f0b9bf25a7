//! Cross-validation: a recipe on each of several folds of its data.

use serde::Serialize;

use crate::error::ZooError;
use crate::options::{Options, Settings};
use crate::recipe::{Recipe, Splits};
use crate::train::{Outcome, folder_of, train_on};

/// What came of training on all folds but one, for each of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Folds {
    /// The recipe.
    pub recipe: String,
    /// Which of its models, if it has several.
    pub model: Option<String>,
    /// The folds that were made to their end.
    pub folds: Vec<Fold>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
}

/// A fold that was held out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fold {
    /// The rows that were trained on.
    pub train_rows: usize,
    /// The rows that were held out.
    pub test_rows: usize,
    /// What came of the training.
    pub outcome: Outcome,
}

impl Folds {
    /// The mean over the folds of the share of rows that is right, and its standard deviation from fold to fold; of
    /// `augmented`, each row seen several times.
    ///
    /// None if there are no folds, or nothing was measured.
    pub fn accuracy(&self, augmented: bool) -> Option<(f64, f64)> {
        let of = |outcome: &Outcome| if augmented { outcome.test_accuracy_augmented } else { outcome.test_accuracy };
        let shares = self.folds.iter().map(|fold| of(&fold.outcome)).collect::<Option<Vec<f64>>>()?;
        let n = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / n;
        let squares: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
        (n > 0.0).then(|| (mean, (squares / (n - 1.0).max(1.0)).sqrt()))
    }
}

/// Follows a recipe once for each of `k` folds of its data, each held out in turn; every class is spread evenly over them.
/// `told` hears of each fold. Nothing is saved.
///
/// # Errors
/// As [`train`](crate::train()); and if the recipe has a test set of its own, or there are fewer rows than folds.
pub fn cross_validate(
    recipe: &dyn Recipe,
    options: &Options,
    k: usize,
    mut told: impl FnMut(usize, &Fold),
) -> Result<Folds, ZooError> {
    let settings = Settings::new(recipe, options)?;
    recipe.ready(&settings)?;
    let splits = recipe.folds(&folder_of(recipe, options.data.as_deref())?, &settings, k)?;
    let model = settings.model.map(str::to_string);
    let mut done = Folds { recipe: recipe.name().into(), model, folds: Vec::new(), interrupted: false };
    for (number, splits) in splits.into_iter().enumerate() {
        let Splits { data, test } = &splits;
        let (train_rows, test_rows) = (data.train().len(), test.as_ref().map_or(0, |test| test.len()));
        let outcome = train_on(recipe, splits, &Options { run: None, ..options.clone() }, &settings)?;
        if outcome.interrupted {
            done.interrupted = true;
            break;
        }
        let fold = Fold { train_rows, test_rows, outcome };
        told(number, &fold);
        done.folds.push(fold);
    }
    Ok(done)
}
