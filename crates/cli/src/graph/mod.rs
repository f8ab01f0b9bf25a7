//! `thalweg graph`: what a recipe computes, as text, as a picture, or as the compiler sees it.

mod layout;
mod svg;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use thalweg::array::{Bindings, Size};
use thalweg::graph::{Graph, passes};
use thalweg::plan::{Cpu, lower};
use thalweg_zoo::{Options, Settings, build, recipe};

use crate::choices::{Choices, recipe_name};
use crate::output;

/// What `thalweg graph` takes.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// The recipe
    #[arg(value_parser = recipe_name())]
    recipe: String,
    /// The model as it is used, not the training step with gradients and updates
    #[arg(long)]
    inference: bool,
    /// What each pass of the compiler changes, then the plan: calls with their costs, and buffers
    #[arg(long, conflicts_with = "format")]
    explain: bool,
    /// A line a node, which reads back; the language of Graphviz; or a picture for a browser
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    choices: Choices,
}

/// The forms of a graph.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Dot,
    Svg,
}

/// Prints the graph.
pub(crate) fn run(args: &GraphArgs) -> anyhow::Result<ExitCode> {
    let recipe = recipe(&args.recipe)?;
    let options = args.choices.over(Options::default());
    let (task, step) = build(recipe, &options)?;
    let graph = if args.inference {
        Graph::capture([&task.inference.loss, &task.inference.output], &[])
    } else {
        Graph::capture([&task.train_loss], &step.updates)
    };
    let text = match args.format {
        _ if args.explain => explain(graph, Settings::new(recipe, &options)?.batch)?,
        Format::Text => graph.to_string(),
        Format::Dot => graph.to_dot(),
        Format::Svg => svg::svg(&graph),
    };
    output::line(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// What a session does with the graph, for `batch` rows: each pass, and the plan.
fn explain(graph: Graph, batch: usize) -> anyhow::Result<String> {
    let names: Vec<_> = graph.placeholders().flat_map(|(_, fed)| fed.shape.iter().flat_map(Size::names)).collect();
    let bindings = Bindings::from_iter(names.iter().map(|name| (&**name, batch)));
    let graph = passes::bind::bind(graph, &bindings)?;
    let (graph, explanation) = passes::explain(graph, &passes::Options::default());
    let plan = lower(&graph, &bindings, &Cpu { memory_limit: isize::MAX as usize })?;
    Ok(format!("{explanation}\n{plan}"))
}

/// The width of a character in pictures, and the height of a line.
const CHARACTER: f64 = 6.62;
const LINE: f64 = 14.0;

/// How wide a text is in a picture.
fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}
