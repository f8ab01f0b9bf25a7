//! `thalweg lr-find`: how fast can the model of a recipe learn?

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::train::learner::RateCurve;
use thalweg_zoo::{learner, recipe};

use crate::choices::Subject;
use crate::output;
use crate::plot_file::PlotFile;

/// What `thalweg lr-find` takes.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct LrFindArgs {
    #[command(flatten)]
    subject: Subject,
    /// Draw the loss over the learning rate into this file, SVG or PNG
    #[arg(long, value_name = "FILE", value_parser = PlotFile::named)]
    out: Option<PlotFile>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Makes steps at rates that rise, and prints what came of it.
pub(crate) fn run(args: &LrFindArgs) -> anyhow::Result<ExitCode> {
    let recipe = recipe(&args.subject.recipe)?;
    let options = args.subject.options();
    if let Some(file) = &args.out {
        file.check()?;
    }
    let curve = learner(recipe, &options)?.find_rate().map_err(thalweg_zoo::ZooError::from)?;
    if let Some(file) = &args.out {
        file.write(&curve.plot())?;
    }
    output::line(if args.json { as_json(recipe.name(), &curve).to_string() } else { curve.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(recipe: &str, curve: &RateCurve) -> Value {
    let point = |&(rate, loss): &(f64, f64)| json!({ "learning_rate": rate, "loss": loss });
    json!({
        "recipe": recipe,
        "suggestion": curve.suggestion,
        "points": curve.points.iter().map(point).collect::<Vec<_>>(),
    })
}
