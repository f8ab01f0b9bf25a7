//! Arguments that several commands take.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use thalweg::nn::optim::names;
use thalweg::train::checkpoint::Which;
use thalweg_zoo::Options;

/// What changes the defaults of a recipe.
#[derive(Debug, Args)]
pub(crate) struct Choices {
    /// Which of the recipe's models, where it has several (see `thalweg recipes`)
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Weights that were trained elsewhere, for a recipe that begins with such (see `thalweg recipes`)
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Rows in a batch
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    batch: Option<usize>,
    /// Learning rate; of a schedule the highest
    #[arg(long, value_name = "X", value_parser = learning_rate, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Optimizer
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(names::NAMES))]
    optimizer: Option<String>,
    /// A setting of the recipe (see `thalweg recipes`) or of the optimizer (weight_decay, beta1, clip_norm, …); repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, f64)>,
}

/// A recipe on its data, with what changes its defaults.
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// The recipe
    #[arg(value_parser = recipe_name())]
    pub(crate) recipe: String,
    /// Folder of the data, where the recipe needs one
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    choices: Choices,
    /// What all that is random follows from
    #[arg(long, value_name = "N", value_parser = number::<u64>, default_value_t = 0)]
    seed: u64,
    /// Threads; as many as processors if not said. The result is the same
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<u16>,
}

impl Subject {
    /// The options that follow.
    pub(crate) fn options(&self) -> Options {
        self.choices.over(Options {
            data: self.data.clone(),
            seed: self.seed,
            threads: self.threads.map(usize::from),
            ..Options::default()
        })
    }
}

impl Choices {
    /// `options` with these.
    pub(crate) fn over(&self, options: Options) -> Options {
        let Choices { model, weights, batch, lr, optimizer, set } = self;
        Options {
            model: model.clone(),
            weights: weights.clone(),
            batch: *batch,
            lr: *lr,
            optimizer: optimizer.clone(),
            set: set.clone(),
            ..options
        }
    }
}

/// The name of a recipe.
pub(crate) fn recipe_name() -> PossibleValuesParser {
    PossibleValuesParser::new(thalweg_zoo::recipes().iter().map(|recipe| recipe.name()))
}

/// A whole number from 1 on; far more than makes sense is taken for a slip.
pub(crate) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    whole(text, 1, 1 << 24)
}

/// A whole number from 0 on.
pub(crate) fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    whole(text, 0, u64::MAX)
}

fn whole<T: TryFrom<u64>>(text: &str, least: u64, greatest: u64) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| (least..=greatest).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("give a whole number from {least} to {greatest}"))
}

/// How many folds.
pub(crate) fn folds(text: &str) -> Result<usize, String> {
    whole(text, 2, 1 << 16)
}

/// How many threads.
pub(crate) fn threads(text: &str) -> Result<u16, String> {
    whole(text, 1, 1024)
}

fn learning_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(lr) if lr.is_finite() && lr > 0.0 => Ok(lr),
        _ => Err("a learning rate is a number above 0".into()),
    }
}

fn setting(text: &str) -> Result<(String, f64), String> {
    let (key, value) = text.split_once('=').ok_or("a setting is written KEY=VALUE")?;
    let value = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
    Ok((key.to_string(), value))
}

/// Which checkpoint of a run.
pub(crate) fn checkpoint(text: &str) -> Result<Which, String> {
    text.parse()
}
