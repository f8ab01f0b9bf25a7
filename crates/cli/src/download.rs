//! `thalweg download`: sets and weights from their public homes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use thalweg::data::cache_folder;
use thalweg::data::download::{RemoteSet, SETS};

use crate::output;

/// What `thalweg download` takes.
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// What
    #[arg(value_parser = PossibleValuesParser::new(SETS.iter().map(|set| set.name)))]
    set: String,
    /// The folder; if not said, where `thalweg train` looks for what it needs
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Gets what the folder does not have yet.
pub(crate) fn run(args: &DownloadArgs) -> anyhow::Result<ExitCode> {
    let Some(set) = RemoteSet::named(&args.set) else { anyhow::bail!("no home of `{}` is known", args.set) };
    let folder = args.to.clone().or_else(|| cache_folder(set.name));
    let Some(folder) = folder else {
        anyhow::bail!("this system names no folder for what can be fetched again; name one by --to")
    };
    // Hidden where standard error is no terminal.
    let bar = ProgressBar::new(set.bytes());
    bar.set_style(ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")?);
    let paths = set.fetch(&folder, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let paths = paths?;
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    output::line(match args.json {
        true => json!({ "set": set.name, "folder": folder.display().to_string(), "files": names }).to_string(),
        false => format!("{}: {} in {}", set.name, set.about, folder.display()),
    })?;
    Ok(ExitCode::SUCCESS)
}
