//! What a user asks for, and the settings that follow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use thalweg::nn::NnError;
use thalweg::nn::optim::by_name;
use thalweg::prelude::*;
use thalweg::train::Length;
use thalweg::train::interrupt::Interrupt;
use thalweg::train::progress::Style;

use crate::error::ZooError;
use crate::recipe::{Recipe, Setting};

/// What a user asks for; where nothing is said, the recipe's defaults count.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the data.
    pub data: Option<PathBuf>,
    /// The folder of the run; nothing is saved without one.
    pub run: Option<PathBuf>,
    /// How long.
    pub length: Option<Length>,
    /// Which of the recipe's models, if it has several.
    pub model: Option<String>,
    /// Rows in a batch.
    pub batch: Option<usize>,
    /// A file of weights that were trained elsewhere, for a recipe that begins with such.
    pub weights: Option<PathBuf>,
    /// The learning rate; of a schedule the highest.
    pub lr: Option<f64>,
    /// The optimizer, by name.
    pub optimizer: Option<String>,
    /// What the split, the order, the first weights and all else that is random follow from.
    pub seed: u64,
    /// How many threads; as many as there are processors if not said. The result is the same.
    pub threads: Option<usize>,
    /// Goes on with the run in the folder.
    pub resume: bool,
    /// Goes on though the data are others than before.
    pub new_data: bool,
    /// A checkpoint every so many steps; at the end of each epoch if not said.
    pub save_every: Option<u64>,
    /// Measures what is held out every so many steps; as the recipe does if not said, mostly at the end of each epoch.
    pub measure_every: Option<u64>,
    /// How many batches make a step.
    pub accumulate: usize,
    /// Further settings of the recipe and of the optimizer, by name.
    pub set: Vec<(String, f64)>,
    /// How progress is shown.
    pub progress: Style,
    /// What can stop the training from outside.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            data: None,
            run: None,
            length: None,
            model: None,
            weights: None,
            batch: None,
            lr: None,
            optimizer: None,
            seed: 0,
            threads: None,
            resume: false,
            new_data: false,
            save_every: None,
            measure_every: None,
            accumulate: 1,
            set: Vec::new(),
            progress: Style::Silent,
            interrupt: Interrupt::default(),
        }
    }
}

/// All that decides what comes of a training: the user's wishes over the recipe's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which of the recipe's models, if it has several.
    pub model: Option<&'static str>,
    /// The file of weights that were trained elsewhere; of a recipe that takes [`weights`](Recipe::weights).
    pub weights: Option<PathBuf>,
    /// How long.
    pub length: Length,
    /// Rows in a batch.
    pub batch: usize,
    /// How many batches make a step.
    pub accumulate: usize,
    /// The learning rate; of a schedule the highest.
    pub lr: f64,
    /// The optimizer, by name.
    pub optimizer: String,
    /// What is random follows from it.
    pub seed: u64,
    /// The settings of the recipe by name.
    pub own: BTreeMap<&'static str, f64>,
    /// Settings of the optimizer by name.
    pub of_optimizer: BTreeMap<String, f64>,
}

impl Settings {
    /// What follows from `options` for `recipe`.
    ///
    /// # Errors
    /// If a setting is not known or out of its range, or no optimizer has that name.
    pub fn new(recipe: &dyn Recipe, options: &Options) -> Result<Settings, ZooError> {
        let model = chosen_model(recipe, options.model.as_deref())?;
        if let (Some(file), None) = (&options.weights, recipe.weights()) {
            let reason = format!("the recipe `{}` begins with weights of its own", recipe.name());
            return Err(ZooError::setting(format!("weights {}", file.display()), reason));
        }
        let defaults = recipe.defaults(model);
        let mut settings = Settings {
            model,
            weights: options.weights.clone(),
            length: options.length.unwrap_or(defaults.length),
            batch: options.batch.unwrap_or(defaults.batch),
            accumulate: options.accumulate,
            lr: options.lr.unwrap_or(defaults.lr),
            optimizer: options.optimizer.clone().unwrap_or_else(|| defaults.optimizer.to_string()),
            seed: options.seed,
            own: recipe.settings().iter().map(|setting| (setting.name, setting.default)).collect(),
            of_optimizer: BTreeMap::new(),
        };
        let mut trial = by_name(&settings.optimizer, settings.lr)?;
        for (position, (name, value)) in options.set.iter().enumerate() {
            if options.set[..position].iter().any(|(earlier, _)| earlier == name) {
                return Err(ZooError::setting(format!("`{name}`"), "is set twice"));
            }
            match recipe.settings().iter().find(|setting| setting.name == name) {
                Some(setting) => {
                    settings.own.insert(setting.name, setting.checked(*value)?);
                }
                None => {
                    trial.set(name, *value).map_err(|error| unknown_setting(recipe, error))?;
                    settings.of_optimizer.insert(name.clone(), *value);
                }
            }
        }
        Ok(settings)
    }

    /// A setting of the recipe.
    ///
    /// # Panics
    /// If the recipe has none of this name.
    #[track_caller]
    pub fn get(&self, name: &str) -> f64 {
        self.own[name]
    }

    /// The optimizer of this name with these settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn optimizer(&self, lr: impl Into<Schedule>) -> Result<Optimizer, NnError> {
        let mut optimizer = by_name(&self.optimizer, lr)?;
        self.of_optimizer.iter().try_for_each(|(name, value)| optimizer.set(name, *value))?;
        Ok(optimizer)
    }

    /// What a resumed run is compared by, and a finished one known by.
    pub fn config(&self, recipe: &dyn Recipe) -> BTreeMap<String, String> {
        let length = match self.length {
            Length::Epochs(epochs) => ("epochs", epochs),
            Length::Steps(steps) => ("steps", steps),
        };
        let fixed = [
            ("recipe", recipe.name().to_string()),
            (length.0, length.1.to_string()),
            ("batch", self.batch.to_string()),
            ("accumulate", self.accumulate.to_string()),
            ("lr", self.lr.to_string()),
            ("optimizer", self.optimizer.clone()),
            ("seed", self.seed.to_string()),
        ];
        let model = self.model.map(|model| ("model", model.to_string()));
        let own = self.own.iter().map(|(name, value)| (format!("set {name}"), value.to_string()));
        let of_optimizer = self.of_optimizer.iter().map(|(name, value)| (format!("set {name}"), value.to_string()));
        fixed
            .into_iter()
            .chain(model)
            .map(|(name, value)| (name.to_string(), value))
            .chain(own)
            .chain(of_optimizer)
            .collect()
    }
}

/// The model of this name, or the first.
fn chosen_model(recipe: &dyn Recipe, name: Option<&str>) -> Result<Option<&'static str>, ZooError> {
    let models = recipe.models();
    let Some(name) = name else { return Ok(models.first().map(|model| model.name)) };
    if models.is_empty() {
        let reason = format!("the recipe `{}` has one model; `--model` is for recipes with several", recipe.name());
        return Err(ZooError::setting(format!("model `{name}`"), reason));
    }
    let names = models.iter().map(|model| model.name);
    names.clone().find(|known| *known == name).map(Some).ok_or_else(|| ZooError::unknown("model", name, names))
}

impl Setting {
    fn checked(&self, value: f64) -> Result<f64, ZooError> {
        let (least, greatest) = self.range;
        if (least..=greatest).contains(&value) {
            return Ok(value);
        }
        let reason = format!("must be from {least} to {greatest} ({})", self.about);
        Err(ZooError::setting(format!("{} = {value}", self.name), reason))
    }
}

/// A name that neither the recipe nor the optimizer knows: with the names of both.
fn unknown_setting(recipe: &dyn Recipe, error: NnError) -> ZooError {
    match error {
        NnError::Unknown { name, known, .. } => {
            let own: Vec<&str> = recipe.settings().iter().map(|setting| setting.name).collect();
            let of_optimizer = known.split(' ').filter(|name| !own.contains(name));
            let all: Vec<&str> = own.iter().copied().chain(of_optimizer).collect();
            ZooError::unknown("setting", &name, all)
        }
        error @ (NnError::Setting { .. } | NnError::NoSuchPath { .. }) => error.into(),
    }
}
