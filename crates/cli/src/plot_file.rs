//! Plots in files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use thalweg::train::plot::Plot;
use thalweg_zoo::ZooError;

/// A file for a plot, in the form that its name says.
#[derive(Clone, Debug)]
pub(crate) struct PlotFile {
    path: PathBuf,
    form: Form,
}

/// Pictures of lines.
#[derive(Clone, Copy, Debug)]
enum Form {
    Svg,
    Png,
}

impl PlotFile {
    /// The file of this name, which ends in `.svg` or `.png`.
    pub(crate) fn named(text: &str) -> Result<PlotFile, String> {
        let path = PathBuf::from(text);
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("svg") => Ok(PlotFile { path, form: Form::Svg }),
            Some("png") => Ok(PlotFile { path, form: Form::Png }),
            _ => Err("a plot is written to a file that ends in .svg or .png".into()),
        }
    }

    /// Refuses a file that cannot be written, before there is anything to write: what is in it stays.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let opened = fs::OpenOptions::new().append(true).create(true).open(&self.path);
        opened.map(drop).with_context(|| cannot_write(&self.path))
    }

    pub(crate) fn write(&self, plot: &Plot) -> anyhow::Result<()> {
        match self.form {
            Form::Svg => fs::write(&self.path, plot.svg()).with_context(|| cannot_write(&self.path)),
            Form::Png => Ok(plot.picture().write_png(&self.path).map_err(ZooError::from)?),
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("{}: cannot write", path.display())
}
