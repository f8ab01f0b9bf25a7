//! The command line of Thalweg.
//!
//! Results go to standard output, progress and errors to standard error. The exit code is 0 for success, 1 for a
//! failure, 2 for a command that cannot be followed, 130 (SIGINT), 143 (SIGTERM) or 129 (SIGHUP) for a training that was
//! interrupted.

mod bench;
mod choices;
mod curves;
mod diagnose;
#[cfg(feature = "download")]
mod download;
mod evaluate;
mod folds;
mod graph;
mod hearing;
mod lr_find;
mod maps;
mod message;
mod neighbors;
mod output;
mod plot_file;
mod predict;
mod recipes;
mod responding;
mod summary;
mod train;
mod writing;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Deep learning in Rust: train, evaluate and use networks; look at their graphs
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, after_help = FIRST_STEPS)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  thalweg train digits --run runs/digits     learn to read handwriting, in seconds
  thalweg evaluate runs/digits               how well, and what is mistaken for what
  thalweg predict runs/digits three.png      read a drawing of one's own
  thalweg graph digits --explain             what is computed, and how
  thalweg diagnose digits                    whether it can learn, and how its layers are

Results go to standard output, progress and errors to standard error. Exit codes:
  0                success
  1                failure
  2                a command that cannot be followed
  130, 143, 129    a training that was interrupted: by Ctrl-C (SIGINT), SIGTERM, SIGHUP";

#[derive(Debug, Subcommand)]
enum Command {
    /// List the recipes: data, model and settings that go together
    Recipes,
    /// Follow a recipe: train its model on its data
    Train(train::TrainArgs),
    /// Get a public data set or public weights
    #[cfg(feature = "download")]
    Download(download::DownloadArgs),
    /// Measure a trained model on the test set of its recipe
    Evaluate(evaluate::EvaluateArgs),
    /// Say what a trained model sees in pictures
    Predict(predict::PredictArgs),
    /// Show where a trained model looks in photos
    Maps(maps::MapsArgs),
    /// Find the learning rate at which the model of a recipe learns fastest
    LrFind(lr_find::LrFindArgs),
    /// Show what the model of a recipe consists of: layers, shapes, parameters, memory, operations
    Summary(summary::SummaryArgs),
    /// Say whether the model of a recipe can learn, and how its layers are
    Diagnose(diagnose::DiagnoseArgs),
    /// Compare trainings: how a number went in each, as a table and as a picture
    Curves(curves::CurvesArgs),
    /// Show the graph of a recipe: as text, as a picture, or what the compiler makes of it
    Graph(graph::GraphArgs),
    /// Time fixed workloads, beside other frameworks if there are figures of them
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let CommandLine { command } = message::parse();
    let (name, result) = match &command {
        Command::Recipes => ("recipes", recipes::run()),
        Command::Train(args) => ("train", train::run(args)),
        #[cfg(feature = "download")]
        Command::Download(args) => ("download", download::run(args)),
        Command::Evaluate(args) => ("evaluate", evaluate::run(args)),
        Command::Predict(args) => ("predict", predict::run(args)),
        Command::Maps(args) => ("maps", maps::run(args)),
        Command::LrFind(args) => ("lr-find", lr_find::run(args)),
        Command::Summary(args) => ("summary", summary::run(args)),
        Command::Diagnose(args) => ("diagnose", diagnose::run(args)),
        Command::Curves(args) => ("curves", curves::run(args)),
        Command::Graph(args) => ("graph", graph::run(args)),
        Command::Bench(args) => ("bench", bench::run(args)),
    };
    result.unwrap_or_else(|error| message::report::<CommandLine>(name, &error))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::CommandLine::command().debug_assert();
    }
}
