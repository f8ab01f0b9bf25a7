//! A run afterwards: against its test set, and row by row.

use std::collections::BTreeMap;
use std::path::Path;

use thalweg::prelude::*;
use thalweg::train::Evaluation;
use thalweg::train::checkpoint::Which;

use crate::error::ZooError;
use crate::options::{Options, Settings};
use crate::recipe::{Recipe, Splits, recipe};
use crate::train::{PASSES, load, sees_changed_pictures};

/// What a run reaches on the test set of its recipe, or where there is none on what is held out in training.
#[derive(Clone, Debug)]
pub struct Report {
    /// The recipe.
    pub recipe: &'static str,
    /// The step of the checkpoint.
    pub step: u64,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Whether it was measured on a test set, and not, where there is none, on what is held out in training.
    pub is_test: bool,
    /// What was measured.
    pub evaluation: Evaluation,
    /// The accuracy where each picture is seen several times, changed as in training: of a model that was trained on pictures
    /// changed by chance.
    pub accuracy_augmented: Option<f64>,
    /// What else the recipe [measures](Recipe::measure) on a test set, by name.
    pub figures: BTreeMap<&'static str, f64>,
    /// What the user should know: damaged checkpoints that were passed over.
    pub notes: Vec<String>,
}

/// Evaluates a checkpoint of the run in the folder `run` on the test set of its recipe, whose data are in `data`.
///
/// # Errors
/// If there is no such checkpoint, or the data cannot be read.
pub fn evaluate(run: &Path, data: Option<&Path>, which: Which) -> Result<Report, ZooError> {
    let trained = Trained::open_checkpoint(run, which)?;
    let (recipe, Splits { data, test }) = data_of(&trained, data)?;
    let is_test = test.is_some();
    let test = test.unwrap_or_else(|| data.valid().clone());
    let mut accuracy_augmented = None;
    if sees_changed_pictures(&trained.card().prepare) {
        accuracy_augmented = trained.evaluate_augmented(&test, PASSES)?.accuracy();
    }
    Ok(Report {
        recipe: recipe.name(),
        step: trained.checkpoint().step,
        classes: trained.classes().to_vec(),
        is_test,
        evaluation: trained.evaluate(&test)?,
        accuracy_augmented,
        figures: if is_test { recipe.measure(&trained, &data, &test)?.into_iter().collect() } else { BTreeMap::new() },
        notes: trained.checkpoint().notes.clone(),
    })
}

/// A row of a test set.
#[derive(Clone, Debug)]
pub struct TestRow {
    /// It alone, not yet prepared.
    pub data: Dataset,
    /// The column that models see.
    pub input: String,
    /// The name of its class.
    pub label: String,
}

/// One row of the test set of the recipe that `trained` was trained by.
///
/// # Errors
/// If the data cannot be read, or there is no such row.
pub fn test_row(trained: &Trained, data: Option<&Path>, row: usize) -> Result<TestRow, ZooError> {
    let (recipe, Splits { data, test }) = data_of(trained, data)?;
    let Some(test) = test else {
        let reason = format!("the recipe `{}` has no test set", recipe.name());
        return Err(ZooError::setting(format!("row {row}"), reason));
    };
    if row >= test.len() {
        let reason = format!("the test set has {} rows, numbered from 0", test.len());
        return Err(ZooError::setting(format!("row {row}"), reason));
    }
    let label = test.column(data.target())?.to_vec::<i64>()[row];
    let name = usize::try_from(label).ok().and_then(|class| test.classes().get(class)).cloned();
    let label = name.unwrap_or_else(|| label.to_string());
    Ok(TestRow { data: test.select(&[row]), input: data.input().into(), label })
}

/// The recipe of a run and its data, split as they were for the training.
fn data_of(trained: &Trained, data: Option<&Path>) -> Result<(&'static dyn Recipe, Splits), ZooError> {
    let config: BTreeMap<String, String> = trained.checkpoint().checkpoint.config()?;
    let entry = |name: &str| {
        config
            .get(name)
            .ok_or_else(|| ZooError::setting(format!("`{name}`"), "the run does not say with what it was trained"))
    };
    let recipe = recipe(entry("recipe")?)?;
    let seed = entry("seed")?;
    let seed = seed.parse().map_err(|_| ZooError::setting(format!("seed `{seed}`"), "the run's seed is no number"))?;
    let model = config.get("model").cloned();
    let set = recipe.settings().iter().filter_map(|setting| {
        let value = config.get(&format!("set {}", setting.name))?;
        Some((setting.name.to_string(), value.parse().ok()?))
    });
    let options = Options { seed, model, set: set.collect(), ..Options::default() };
    let settings = Settings::new(recipe, &options)?;
    Ok((recipe, load(recipe, data, &settings)?))
}
