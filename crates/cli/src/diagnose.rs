//! `thalweg diagnose`: whether the model of a recipe can learn, and how its layers are after some steps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use thalweg::train::diagnosis::{LayerReport, Report};
use thalweg::train::learner::Overfit;
use thalweg::train::{Learner, Length};
use thalweg_zoo::{Settings, ZooError, learner, recipe};

use crate::choices::{Subject, count};
use crate::output;
use crate::plot_file::PlotFile;

/// What `thalweg diagnose` takes.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct DiagnoseArgs {
    #[command(flatten)]
    subject: Subject,
    /// Look at the layers after so many steps
    #[arg(long, value_name = "N", value_parser = count::<u64>, default_value_t = 50)]
    steps: u64,
    /// Draw what each layer hands on, as histograms, into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Learns one batch by heart, then makes some steps as in training, and prints what is seen.
pub(crate) fn run(args: &DiagnoseArgs) -> anyhow::Result<ExitCode> {
    let recipe = recipe(&args.subject.recipe)?;
    let options = args.subject.options();
    let settings = Settings::new(recipe, &options)?;
    if let Some(folder) = &args.out {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    }
    let mut learner = learner(recipe, &options)?;
    let overfit = learner.overfit_one_batch(settings.lr).map_err(ZooError::from)?;
    if !args.json {
        // At once: the steps that follow may leave their range, and this may say why.
        output::line(&overfit)?;
    }
    let report = after_steps(&mut learner, args.steps, settings.lr)?;
    if let Some(folder) = &args.out {
        draw(folder, &report)?;
    }
    if args.json {
        output::line(as_json(recipe.name(), &overfit, args.steps, &report))?;
    } else {
        output::line(format_args!("\nafter {} steps:\n{}", args.steps, report.to_string().trim_end()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How the layers are after `steps` steps at the highest rate of the training.
fn after_steps(learner: &mut Learner, steps: u64, lr: f64) -> Result<Report, ZooError> {
    learner.fit(Length::Steps(steps), lr)?;
    Ok(learner.diagnose()?)
}

/// A picture for each layer, numbered in their order.
fn draw(folder: &Path, report: &Report) -> anyhow::Result<()> {
    for (number, layer) in report.layers.iter().enumerate() {
        let name = folder.join(format!("{:02}-{}.svg", number + 1, layer.path));
        let file = PlotFile::named(&name.to_string_lossy()).map_err(anyhow::Error::msg)?;
        file.write(&layer.histogram())?;
    }
    Ok(())
}

/// NaN and infinities are `null`.
fn as_json(recipe: &str, overfit: &Overfit, steps: u64, report: &Report) -> Value {
    let layer = |layer: &LayerReport| {
        let LayerReport { path, statistics, units, dead, saturated, parameters, .. } = layer;
        let parameter = |(name, gradient, ratio): &(String, f64, f64)| json!({ "name": name, "gradient": gradient, "step_to_weight": ratio });
        json!({
            "layer": path,
            "mean": statistics.mean,
            "deviation": statistics.std,
            "units": units,
            "dead": dead,
            "saturated": saturated,
            "parameters": parameters.iter().map(parameter).collect::<Vec<_>>(),
        })
    };
    json!({
        "recipe": recipe,
        "one_batch": {
            "learned": overfit.passed(),
            "loss_before": overfit.before,
            "loss_after": overfit.after,
            "causes": overfit.causes,
        },
        "steps": steps,
        "loss": report.loss,
        "layers": report.layers.iter().map(layer).collect::<Vec<_>>(),
        "findings": report.findings(),
    })
}
