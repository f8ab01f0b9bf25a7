//! `thalweg curves`: how trainings went, beside each other.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use thalweg::train::events::scalars;
use thalweg::train::plot::{Axis, Plot, Scale};

use crate::output;
use crate::plot_file::PlotFile;

/// What `thalweg curves` takes.
#[derive(Debug, Args)]
pub(crate) struct CurvesArgs {
    /// Folders of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// What is compared: a tag of the runs' event files
    #[arg(long, value_name = "TAG", default_value = "accuracy/valid")]
    of: String,
    /// Draw the curves into this file, SVG or PNG
    #[arg(long, value_name = "FILE", value_parser = PlotFile::named)]
    out: Option<PlotFile>,
    /// Print the points as JSON, an object a line and run
    #[arg(long)]
    json: bool,
}

/// Prints where each run began, was at its highest and lowest, and ended; draws the curves.
pub(crate) fn run(args: &CurvesArgs) -> anyhow::Result<ExitCode> {
    let mut curves: Vec<(String, Vec<(u64, f64)>)> = Vec::new();
    for run in &args.runs {
        curves.push((name_of(run), curve(run, &args.of)?));
    }
    let axis = |name: &str| Axis { name: name.into(), scale: Scale::Linear };
    if let Some(file) = &args.out {
        let plot = curves.iter().fold(Plot::new(axis("step"), axis(&args.of)), |plot, (name, points)| {
            let points: Vec<(f64, f64)> = points.iter().map(|&(step, x)| (step as f64, x)).collect();
            plot.line(name, &points)
        });
        file.write(&plot)?;
    }
    if args.json {
        for (name, points) in &curves {
            output::line(json!({ "run": name, "tag": args.of, "points": points }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let width = curves.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    output::line(format!(
        "{:width$}  {:>8}  {:>8}  {:>8}  {:>8}  {}",
        "", "first", "lowest", "highest", "last", args.of
    ))?;
    for (name, points) in &curves {
        let numbers = || points.iter().map(|(_, x)| *x);
        let [first, last] = [points.first(), points.last()].map(|point| point.map_or(f64::NAN, |(_, x)| *x));
        let (lowest, highest) = (numbers().fold(f64::NAN, f64::min), numbers().fold(f64::NAN, f64::max));
        let steps = points.last().map_or(0, |(step, _)| *step);
        let all = format!("{first:8.4}  {lowest:8.4}  {highest:8.4}  {last:8.4}");
        output::line(format!("{name:width$}  {all}  {steps} steps"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The points of a run that are not of another.
fn curve(run: &Path, tag: &str) -> anyhow::Result<Vec<(u64, f64)>> {
    if !run.join("events").is_dir() {
        let what = if run.is_dir() { "is no run: it has no folder `events`" } else { "there is no such folder" };
        anyhow::bail!("{}: {what}; give folders that `thalweg train … --run FOLDER` has written", run.display());
    }
    let mut lines = scalars(run)?;
    match lines.remove(tag) {
        Some(points) => Ok(points),
        None => {
            let known: Vec<&str> = lines.keys().map(String::as_str).filter(|tag| !tag.is_empty()).collect();
            anyhow::bail!("{}: nothing is called `{tag}` there; there are: {}", run.display(), known.join(", "))
        }
    }
}

/// What a run is called: the end of its path.
fn name_of(run: &Path) -> String {
    run.file_name().unwrap_or(run.as_os_str()).to_string_lossy().into_owned()
}
