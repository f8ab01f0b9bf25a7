//! `thalweg evaluate`: a trained model on the test set of its recipe.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::train::checkpoint::Which;
use thalweg_zoo::{Report, evaluate};

use crate::choices::checkpoint;
use crate::output::{self, note, percent};

/// What `thalweg evaluate` takes.
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// Folder of the run, as `thalweg train --run` made it
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Folder of the data, where the recipe needs one
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which checkpoint: the number of its step, `best` or `last`
    #[arg(long, value_name = "STEP|best|last", default_value = "last", value_parser = checkpoint)]
    checkpoint: Which,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Evaluates, and prints what was measured.
pub(crate) fn run(args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let report = evaluate(&args.run, args.data.as_deref(), args.checkpoint)?;
    report.notes.iter().for_each(note);
    output::line(if args.json { as_json(&report).to_string() } else { as_text(&report) })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(report: &Report) -> Value {
    let Report { recipe, step, classes, is_test, evaluation, accuracy_augmented, figures, .. } = report;
    let matrix = evaluation.matrix.as_ref().map(|matrix| {
        let row = |label| (0..matrix.classes()).map(|predicted| matrix.count(label, predicted)).collect::<Vec<_>>();
        (0..matrix.classes()).map(row).collect::<Vec<_>>()
    });
    let mut object = json!({
        "recipe": recipe,
        "step": step,
        "rows": evaluation.rows,
        "test_set": is_test,
        "test_loss": evaluation.loss,
        "test_accuracy": evaluation.accuracy(),
        "test_accuracy_augmented": accuracy_augmented,
        "classes": classes,
        "confusion": matrix,
    });
    for (name, figure) in figures {
        object[format!("test_{name}")] = json!(figure);
    }
    object
}

fn as_text(report: &Report) -> String {
    let Report { recipe, step, classes, is_test, evaluation, accuracy_augmented, figures, .. } = report;
    let mut right = evaluation.accuracy().map_or(String::new(), |accuracy| format!("{} right, ", percent(accuracy)));
    if let Some(accuracy) = accuracy_augmented {
        right += &format!("{} with test-time augmentation, ", percent(*accuracy));
    }
    for (name, figure) in figures {
        right += &format!("{name} {figure:.2}, ");
    }
    let rows = if *is_test { "test rows" } else { "rows held out in training, since there is no test set" };
    let summary = format!("{recipe} after step {step}, {} {rows}: {right}loss {:.4}", evaluation.rows, evaluation.loss);
    match &evaluation.matrix {
        Some(matrix) if matrix.classes() == classes.len() => {
            format!("{summary}\n\n{}", matrix.named(classes).to_string().trim_end())
        }
        Some(matrix) => format!("{summary}\n\n{}", matrix.to_string().trim_end()),
        None => summary,
    }
}
