//! `thalweg summary`: what the model of a recipe consists of.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::train::learner::{Summary, SummaryRow};
use thalweg_zoo::{ZooError, blank_learner, learner, recipe};

use crate::choices::Subject;
use crate::output;

/// What `thalweg summary` takes.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct SummaryArgs {
    #[command(flatten)]
    subject: Subject,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Prints the layers. Data are read only where they are named.
pub(crate) fn run(args: &SummaryArgs) -> anyhow::Result<ExitCode> {
    let recipe = recipe(&args.subject.recipe)?;
    let options = args.subject.options();
    let mut learner = match &options.data {
        Some(_) => learner(recipe, &options)?,
        None => blank_learner(recipe, &options)?,
    };
    let summary = learner.summary().map_err(ZooError::from)?;
    let text = summary.to_string();
    output::line(if args.json { as_json(recipe.name(), &summary).to_string() } else { text.trim_end().into() })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(recipe: &str, summary: &Summary) -> Value {
    let layer = |SummaryRow { path, output, parameters, trained, flops }: &SummaryRow| json!({ "layer": path, "output": output, "parameters": parameters, "trained": trained, "operations": flops });
    json!({
        "recipe": recipe,
        "layers": summary.layers.iter().map(layer).collect::<Vec<_>>(),
        "parameters": summary.parameters(),
        "trained": summary.trained(),
        "operations": summary.flops(),
        "weight_bytes": summary.weight_bytes,
        "batch": summary.batch,
        "step_bytes": summary.step_bytes,
    })
}
