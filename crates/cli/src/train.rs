//! `thalweg train`: follows a recipe.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::train::Length;
use thalweg::train::interrupt::Interrupt;
use thalweg::train::progress::{Progress, Style};
use thalweg_zoo::{Options, Outcome, recipe, train};

use crate::choices::{Subject, count, folds};
use crate::folds;
use crate::output::{self, percent};

/// What `thalweg train` takes.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    subject: Subject,
    /// Folder for checkpoints and event files; without it nothing is saved
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// How often over all the data
    #[arg(long, value_name = "N", value_parser = count::<u64>, conflicts_with = "steps")]
    epochs: Option<u64>,
    /// How many steps
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    steps: Option<u64>,
    /// Go on with what is saved in the folder of the run
    #[arg(long, requires = "run")]
    resume: bool,
    /// Go on with other data than those that the run was begun with
    #[arg(long, requires = "resume")]
    new_data: bool,
    /// Save every so many steps; after each epoch if not said
    #[arg(long, value_name = "STEPS", value_parser = count::<u64>, requires = "run")]
    save_every: Option<u64>,
    /// Measure what is held out every so many steps, beside the ends of epochs
    #[arg(long, value_name = "STEPS", value_parser = count::<u64>)]
    measure_every: Option<u64>,
    /// Put the gradients of so many batches together to one step
    #[arg(long, value_name = "N", value_parser = count::<usize>, default_value_t = 1)]
    accumulate: usize,
    /// Train once for each of K parts of the data, which is held out for the test, and print a table
    #[arg(long, value_name = "K", value_parser = folds, conflicts_with_all = ["run", "resume"])]
    folds: Option<usize>,
    /// Print the result as one line of JSON, and progress on standard error as one object a line
    #[arg(long)]
    json: bool,
}

/// Trains, and prints what came of it.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let style = if args.json { Style::Json } else { Style::detect() };
    let interrupt = Interrupt::listen()?;
    let length = args.epochs.map(Length::Epochs).or(args.steps.map(Length::Steps));
    let options = Options {
        run: args.run.clone(),
        length,
        resume: args.resume,
        new_data: args.new_data,
        save_every: args.save_every,
        measure_every: args.measure_every,
        accumulate: args.accumulate,
        progress: style,
        interrupt: interrupt.clone(),
        ..args.subject.options()
    };
    let recipe = recipe(&args.subject.recipe)?;
    if let Some(folds) = args.folds {
        let interrupted = folds::run(recipe, &options, folds, args.json)?;
        return Ok(if interrupted { ExitCode::from(interrupt.exit_code()) } else { ExitCode::SUCCESS });
    }
    let outcome = train(recipe, &options)?;
    output::line(if args.json { as_json(&outcome).to_string() } else { as_text(&outcome) })?;
    if outcome.interrupted {
        Progress::new(style, 0, None).message(match &args.run {
            Some(_) => "interrupted; the same command with --resume goes on",
            None => "interrupted; nothing is saved without --run",
        });
        return Ok(ExitCode::from(interrupt.exit_code()));
    }
    Ok(ExitCode::SUCCESS)
}

/// NaN and infinities are `null`.
fn as_json(outcome: &Outcome) -> Value {
    let mut object = json!({
        "recipe": outcome.recipe,
        "steps": outcome.steps,
        "epochs": outcome.epochs,
        "seconds": outcome.seconds,
        "train_loss": outcome.train_loss,
        "valid_loss": outcome.valid_loss,
        "valid_accuracy": outcome.valid_accuracy,
        "test_accuracy": outcome.test_accuracy,
        "test_accuracy_augmented": outcome.test_accuracy_augmented,
        "checkpoint": outcome.checkpoint.as_ref().map(|path| path.to_string_lossy()),
        "interrupted": outcome.interrupted,
    });
    for (name, figure) in &outcome.test_figures {
        object[format!("test_{name}")] = json!(figure);
    }
    object
}

fn as_text(outcome: &Outcome) -> String {
    let Outcome { recipe, steps, epochs, seconds, train_loss, .. } = outcome;
    let counted = |count: u64, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (steps, epochs) = (counted(*steps, "step"), counted(*epochs, "epoch"));
    let mut text = format!("{recipe}: {steps}, {epochs}, {seconds:.1} s, training loss {train_loss:.4}");
    if let Some(loss) = outcome.valid_loss {
        text += &format!("\n  validation  loss {loss:.4}");
    }
    if let Some(accuracy) = outcome.valid_accuracy {
        text += &format!(", {} right", percent(accuracy));
    }
    if let Some(accuracy) = outcome.test_accuracy {
        text += &format!("\n  test        {} right", percent(accuracy));
    }
    if let Some(accuracy) = outcome.test_accuracy_augmented {
        text += &format!(", {} with test-time augmentation", percent(accuracy));
    }
    for (name, figure) in &outcome.test_figures {
        text += &format!("\n  test        {name} {figure:.2}");
    }
    if let Some(checkpoint) = &outcome.checkpoint {
        text += &format!("\n  saved       {}", Path::display(checkpoint));
    }
    text
}
