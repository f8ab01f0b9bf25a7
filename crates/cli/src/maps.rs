//! `thalweg maps`: where a trained model looks in photos.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use thalweg::data::{Limits, Picture};
use thalweg::train::checkpoint::Which;
use thalweg::train::{MapMethod, Maps, Trained};
use thalweg_zoo::ZooError;

use crate::choices::checkpoint;
use crate::message::{FAILED, one_line};
use crate::output::{self, note, percent};

/// What `thalweg maps` takes.
#[derive(Debug, Args)]
pub(crate) struct MapsArgs {
    /// Folder of the run, as `thalweg train --run` made it
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Photos (PNG, JPEG, GIF, BMP, WebP) of any size
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Folder for the maps, one PNG file for each photo
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How it is told what counts
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Method::GradCam)]
    method: Method,
    /// The class that is looked for; that which the model sees if not said
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Which checkpoint: the number of its step, `best` or `last`
    #[arg(long, value_name = "STEP|best|last", default_value = "last", value_parser = checkpoint)]
    checkpoint: Which,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// [`MapMethod`] as a word.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
    /// Gradients at the last feature map: for any net with convolutions
    GradCam,
    /// What each position adds to the score: for nets that end with average pooling and a dense layer
    Cam,
}

/// A map that was drawn.
struct Drawn {
    photo: PathBuf,
    map: PathBuf,
    class: String,
    probability: f32,
}

/// Draws the maps, and prints where they are. A photo that cannot be read does not keep the others from being drawn.
pub(crate) fn run(args: &MapsArgs) -> anyhow::Result<ExitCode> {
    let trained = Trained::open_checkpoint(&args.run, args.checkpoint).map_err(ZooError::from)?;
    trained.checkpoint().notes.iter().for_each(note);
    let class = args.class.as_deref().map(|name| class_named(&trained, name)).transpose()?;
    let method = match args.method {
        Method::GradCam => MapMethod::GradCam,
        Method::Cam => MapMethod::Cam,
    };
    let maps = trained.maps(method).map_err(ZooError::from)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("{}: cannot be made", args.out.display()))?;

    let mut drawn = Vec::new();
    for (photo, map) in args.files.iter().zip(names(&args.files)) {
        match draw(&maps, photo, args.out.join(map), class) {
            Ok(map) => drawn.push(map),
            Err(error) => note(format_args!("error: {}", one_line(&error))),
        }
    }
    if args.json {
        let one = |Drawn { photo, map, class, probability }: &Drawn| json!({ "input": photo.to_string_lossy(), "map": map.to_string_lossy(), "class": class, "probability": probability });
        let drawn: Vec<_> = drawn.iter().map(one).collect();
        output::line(json!({ "step": trained.checkpoint().step, "features": maps.features(), "maps": drawn }))?;
    } else if !drawn.is_empty() {
        let line = |Drawn { photo, map, class, probability }: &Drawn| {
            format!("{}: {class} ({}), {}", photo.display(), percent((*probability).into()), map.display())
        };
        output::line(drawn.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(if drawn.len() == args.files.len() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn draw(maps: &Maps<'_>, photo: &Path, map: PathBuf, class: Option<usize>) -> anyhow::Result<Drawn> {
    let picture = Picture::read(photo, &Limits::default())?;
    let look = maps.look(&picture, class).with_context(|| photo.display().to_string())?;
    look.over(&picture).with_context(|| photo.display().to_string())?.write_png(&map)?;
    let (class, probability) = (look.prediction.name.clone(), look.prediction.probability());
    Ok(Drawn { photo: photo.to_path_buf(), map, class, probability })
}

/// The number of a class.
fn class_named(trained: &Trained, name: &str) -> Result<usize, ZooError> {
    let classes = trained.classes();
    let found = classes.iter().position(|class| class == name);
    found.ok_or_else(|| ZooError::unknown("class", name, classes.iter().map(String::as_str)))
}

/// What the maps of photos are called: as the photos, with a number where that is taken.
fn names(photos: &[PathBuf]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut name = |photo: &PathBuf| {
        let stem = photo.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = |number: usize| match number {
            1 => format!("{stem}-map.png"),
            _ => format!("{stem}-map-{number}.png"),
        };
        (1..).map(numbered).find(|name| taken.insert(name.clone())).unwrap_or_default()
    };
    photos.iter().map(&mut name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_of_one_name_have_maps_of_their_own() {
        let photos = ["a/1.jpg", "b/1.png", "b/2.png", "1.gif", ".."].map(PathBuf::from);
        assert_eq!(names(&photos), ["1-map.png", "1-map-2.png", "2-map.png", "1-map-3.png", "-map.png"]);
    }
}
