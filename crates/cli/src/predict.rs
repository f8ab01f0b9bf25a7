//! `thalweg predict`: what a trained model sees in drawings and photos, hears in recordings, or takes rows of its test set for;
//! what it writes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use thalweg::array::Array;
use thalweg::data::audio::read_wav;
use thalweg::data::{Augment, Dataset, Limits, Picture, contact_sheet, picture_sheet};
use thalweg::train::checkpoint::Which;
use thalweg::train::{Generator, Prediction, Responder, Trained, Transcriber};
use thalweg_zoo::{TestRow, ZooError, picture, test_row};

use crate::choices::{checkpoint, number};
use crate::hearing;
use crate::message::{FAILED, one_line};
use crate::neighbors::{self, Neighbors, Vectors};
use crate::output::{self, note, percent};
use crate::responding::{self, RespondingArgs};
use crate::writing::{self, WritingArgs};

/// What `thalweg predict` takes.
#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    override_usage = "thalweg predict [OPTIONS] <RUN> <FILE>...\n       thalweg predict [OPTIONS] <RUN> <TEXT>...\n       thalweg predict [OPTIONS] <RUN> --row <N>"
)]
pub(crate) struct PredictArgs {
    /// Folder of the run, as `thalweg train --run` made it
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Pictures (PNG, JPEG, GIF, BMP, WebP) of any size: photos, or drawings, dark on light or light on dark; of a model
    /// of sounds, recordings (WAV): to be told of which class they are, or what is said; of a model of texts, texts: to be told of which class they are, to be gone on with, or to be
    /// answered, as by a translator
    #[arg(value_name = "FILE|TEXT", required_unless_present = "row", conflicts_with = "row")]
    subjects: Vec<String>,
    /// A row of the test set in place of pictures, counted from 0
    #[arg(long, value_name = "N", value_parser = number::<usize>)]
    row: Option<usize>,
    /// Folder of the data for --row, where the recipe needs one
    #[arg(long, value_name = "DIR", requires = "row")]
    data: Option<PathBuf>,
    /// Which checkpoint: the number of its step, `best` or `last`
    #[arg(long, value_name = "STEP|best|last", default_value = "last", value_parser = checkpoint)]
    checkpoint: Which,
    /// Draw what the model saw into this PNG file, several pictures side by side; of a model that answers texts, where it
    /// looked for its last answer
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    writing: WritingArgs,
    #[command(flatten)]
    responding: RespondingArgs,
}

/// What the model saw in one picture, and took it for.
struct Sighting {
    /// What it was given.
    input: String,
    /// What it is, where that is known.
    label: Option<String>,
    /// What it was taken for.
    prediction: Prediction,
    /// What the model saw.
    seen: Seen,
    /// The nearest sentences that it has learned from, if it tells classes by their vectors.
    near: Neighbors,
}

/// What a model sees of what it is given.
enum Seen {
    /// A row of the data set.
    Row(Array),
    /// The part of a photo, at the size that the model takes.
    Photo(Picture),
    /// Nothing that can be drawn: a text, a sound.
    Unseen,
}

/// Predicts, and prints the classes. A picture that cannot be read does not keep the others from being read.
pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let trained = Trained::open_checkpoint(&args.run, args.checkpoint).map_err(ZooError::from)?;
    trained.checkpoint().notes.iter().for_each(note);
    let vectors = if args.row.is_none() { Vectors::of(&trained, &args.run)? } else { None };
    if let (Some(vectors), true) = (&vectors, trained.classes().is_empty()) {
        let given = [args.responding.given(), args.writing.given(), args.show.as_ref().map(|_| "--show")];
        let reason = "is for other models; this one says what is near in meaning";
        given.into_iter().try_for_each(|option| refuse(option, reason))?;
        return neighbors::run(&trained, vectors, &args.subjects, args.json);
    }
    if trained.function(Responder::NEXT).is_ok() && args.row.is_none() {
        refuse(args.writing.of_chance(), "is for models that go on with texts; this one answers them")?;
        let (length, show) = (args.writing.length, args.show.as_deref());
        return responding::run(&trained, &args.subjects, &args.responding, length, show, args.json);
    }
    refuse(args.responding.given(), "is for models that answer texts with texts, which this one does not")?;
    if trained.function(Generator::NEXT).is_ok() && args.row.is_none() {
        if args.show.is_some() {
            let reason = "is for models that see pictures; this one writes texts".into();
            return Err(ZooError::Setting { setting: "--show".into(), reason }.into());
        }
        return writing::run(&trained, &args.subjects, &args.writing, args.json);
    }
    refuse(args.writing.given(), "is for models that write texts, which this one does not")?;
    if Transcriber::of(&trained).is_ok() && args.row.is_none() {
        refuse(
            args.show.as_ref().map(|_| "--show"),
            "is for models that see pictures; this one writes down what it hears",
        )?;
        return hearing::run(&trained, &args.subjects, args.json);
    }
    let results: Vec<anyhow::Result<Sighting>> = match args.row {
        Some(row) => vec![Ok(see_row(&trained, args, row)?)],
        None => args.subjects.iter().map(|subject| see(&trained, vectors.as_ref(), subject)).collect(),
    };
    let mut sightings = Vec::new();
    for result in results {
        match result {
            Ok(sighting) => sightings.push(sighting),
            Err(error) => note(format_args!("error: {}", one_line(&error))),
        }
    }
    let wanted = if args.row.is_some() { 1 } else { args.subjects.len() };
    if let (Some(file), false) = (&args.show, sightings.is_empty()) {
        show(&trained, file, &sightings)?;
    }
    if args.json {
        output::line(as_json(&trained, &sightings))?;
    } else if !sightings.is_empty() {
        let texts: Vec<String> = sightings.iter().map(|sighting| as_text(sighting, trained.classes())).collect();
        output::line(texts.join("\n").trim_end())?;
    }
    Ok(if sightings.len() == wanted { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Refuses an option that was given to another kind of model.
fn refuse(option: Option<&str>, reason: &str) -> Result<(), ZooError> {
    option.map_or(Ok(()), |option| Err(ZooError::Setting { setting: option.into(), reason: reason.into() }))
}

fn see_row(trained: &Trained, args: &PredictArgs, row: usize) -> Result<Sighting, ZooError> {
    let TestRow { data, input, label } = test_row(trained, args.data.as_deref(), row)?;
    let prediction = trained.predict_data(&data)?.swap_remove(0);
    let name = format!("test row {row}");
    let (name, seen) = if let Some(encoding) = trained.card().prepare.texts.get(&input) {
        let text = encoding.text(&data.sequences(&input)?.row(0).to_vec::<i64>())?;
        (format!("{name}, `{text}`"), Seen::Unseen)
    } else if trained.card().prepare.sounds.contains_key(&input) {
        (name, Seen::Unseen)
    } else {
        (name, Seen::Row(seen_row(trained, &data, &input)?))
    };
    Ok(Sighting { input: name, label: Some(label), prediction, seen, near: Vec::new() })
}

/// A row as it is in the data; of the file of a photo what the model sees of it, in colors.
fn seen_row(trained: &Trained, data: &Dataset, input: &str) -> Result<Array, ZooError> {
    if let Ok(row) = data.column(input) {
        return Ok(row.clone());
    }
    let photo = trained.prepared(data)?.in_memory()?;
    Ok(match trained.card().prepare.pictures.as_ref().and_then(Augment::normalization) {
        Some(normalize) => normalize.invert(input, photo.column(input)?)?,
        None => photo.column(input)?.clone(),
    })
}

/// A text, of a model that was trained on texts, the sound in a file, of one trained on sounds; else the picture in a file.
fn see(trained: &Trained, vectors: Option<&Vectors<'_>>, subject: &str) -> anyhow::Result<Sighting> {
    let prepare = &trained.card().prepare;
    let prediction = if !prepare.sounds.is_empty() {
        trained.predict_sound(&read_wav(subject)?).with_context(|| subject.to_string())?
    } else if !prepare.texts.is_empty() {
        trained.predict_text(subject).map_err(ZooError::from)?
    } else {
        return see_picture(trained, Path::new(subject));
    };
    let near = vectors.map_or(Ok(Vec::new()), |vectors| vectors.near(subject))?;
    Ok(Sighting { input: subject.into(), label: None, prediction, seen: Seen::Unseen, near })
}

fn see_picture(trained: &Trained, file: &Path) -> anyhow::Result<Sighting> {
    let input = file.display().to_string();
    let (prediction, seen) = if trained.card().prepare.pictures.is_some() {
        let photo = Picture::read(file, &Limits::default())?;
        let (prediction, seen) = trained.predict_photo(photo).with_context(|| input.clone())?;
        (prediction, Seen::Photo(seen))
    } else {
        let picture = picture::read(file)?;
        let (prediction, seen) =
            trained.predict_picture(&picture.pixels, picture.size).with_context(|| input.clone())?;
        (prediction, Seen::Row(seen))
    };
    Ok(Sighting { input, label: None, prediction, seen, near: Vec::new() })
}

/// Draws what the model saw, side by side.
fn show(trained: &Trained, file: &Path, sightings: &[Sighting]) -> Result<(), ZooError> {
    let mut rows = Vec::new();
    let mut photos = Vec::new();
    for sighting in sightings {
        match &sighting.seen {
            Seen::Row(row) => rows.push(row),
            Seen::Photo(photo) => photos.push((photo.clone(), sighting.prediction.name.clone())),
            Seen::Unseen => {
                let reason = "the model takes texts or sounds, of which there is no picture".into();
                return Err(ZooError::Setting { setting: "--show".into(), reason });
            }
        }
    }
    if rows.is_empty() {
        let (photos, captions): (Vec<Picture>, Vec<String>) = photos.into_iter().unzip();
        return Ok(picture_sheet(&photos, &captions)?.write_png(file)?);
    }
    match rows[..] {
        [row] if row.rank() == 4 && row.shape()[1] == 3 => {
            let captions: Vec<String> = sightings.iter().map(|sighting| sighting.prediction.name.clone()).collect();
            Ok(contact_sheet(row, &captions)?.write_png(file)?)
        }
        _ => show_rows(trained, file, &rows),
    }
}

/// Draws rows of a data set of drawings, side by side.
fn show_rows(trained: &Trained, file: &Path, rows: &[&Array]) -> Result<(), ZooError> {
    /// The side of a drawn picture, about, in pixels.
    const SIDE: usize = 280;
    let sheet = side_by_side(rows)?;
    let largest = |array: &Array| array.to_vec::<f32>().into_iter().fold(f32::MIN_POSITIVE, f32::max);
    let most = trained.card().prepare.drawing.map_or_else(|| largest(&sheet), |drawing| drawing.ink());
    let zoom = SIDE.div_ceil(sheet.shape()[0].max(1));
    picture::write(file, &sheet, most, zoom)
}

/// One picture of `[height, width]` of several, which may have an axis of one row before; with an empty column between.
fn side_by_side(pictures: &[&Array]) -> Result<Array, ZooError> {
    let (height, width) = match pictures[0].shape() {
        [height, width] | [1, height, width] => (*height, *width),
        shape => {
            let reason = format!("a row of shape {shape:?} is no gray picture");
            return Err(ZooError::Setting { setting: "--show".into(), reason });
        }
    };
    let pixels: Vec<Vec<f32>> = pictures.iter().map(|picture| picture.to_vec()).collect();
    let line = |y: usize| {
        let rows: Vec<&[f32]> = pixels.iter().map(|pixels| &pixels[y * width..][..width]).collect();
        rows.join(&[0.0][..])
    };
    let sheet: Vec<f32> = (0..height).flat_map(line).collect();
    Ok(Array::new(&[height, pictures.len() * (width + 1) - 1], sheet)?)
}

fn as_json(trained: &Trained, sightings: &[Sighting]) -> Value {
    let one = |Sighting { input, label, prediction, near, .. }: &Sighting| {
        let mut object = json!({
            "input": input,
            "class": prediction.name,
            "probability": prediction.probability(),
            "probabilities": prediction.probabilities,
        });
        if let Some(label) = label {
            object["label"] = json!(label);
        }
        if !near.is_empty() {
            object["neighbors"] = neighbors::as_json(near);
        }
        object
    };
    json!({
        "step": trained.checkpoint().step,
        "classes": trained.classes(),
        "predictions": sightings.iter().map(one).collect::<Vec<Value>>(),
    })
}

/// The class, and the probabilities as a bar chart: of all classes, or of the likeliest where there are many.
fn as_text(Sighting { input, label, prediction, near, .. }: &Sighting, classes: &[String]) -> String {
    const MOST_BARS: usize = 10;
    let probabilities = &prediction.probabilities;
    let mut shown: Vec<usize> = (0..classes.len()).collect();
    if shown.len() > MOST_BARS {
        shown.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
        shown.truncate(MOST_BARS);
    }
    let width = shown.iter().map(|&class| classes[class].chars().count()).max().unwrap_or(0);
    let label = label.as_ref().map_or(String::new(), |label| format!(", labelled {label}"));
    let mut text = format!("{input}: {} ({}){label}\n", prediction.name, percent(prediction.probability().into()));
    let plain = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    for class in shown {
        let probability = f64::from(probabilities[class]);
        let bar = bar(probability, plain);
        let _ = writeln!(text, "  {:>width$}  {bar}  {:>7}", classes[class], percent(probability));
    }
    text + &neighbors::as_text(near)
}

/// A bar on a ground of its full length: drawn by eighths of a character, or with `#` where that is all there is.
fn bar(share: f64, plain: bool) -> String {
    const LENGTH: usize = 30;
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let bar = if plain {
        "#".repeat((share * LENGTH as f64).round() as usize)
    } else {
        let eighths = (share * 8.0 * LENGTH as f64).round() as usize;
        "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
    };
    format!("{bar:LENGTH$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(0.0, false), " ".repeat(30));
        assert_eq!(bar(1.0, false), "█".repeat(30));
        assert_eq!(bar(0.05, false).trim_end(), "█▌");
        assert_eq!(bar(0.5, true).trim_end(), "#".repeat(15));
        assert_eq!(bar(f64::NAN, true).trim_end(), "");
    }

    #[test]
    fn many_classes_are_cut_to_the_likeliest() {
        let classes: Vec<String> = (0..30).map(|class| format!("c{class}")).collect();
        let mut probabilities = vec![0.01; 30];
        (probabilities[20], probabilities[7]) = (0.4, 0.32);
        let prediction = Prediction { class: 20, name: "c20".into(), probabilities };
        let seen = Seen::Row(Array::scalar(0f32));
        let text = as_text(&Sighting { input: "x".into(), label: None, prediction, seen, near: Vec::new() }, &classes);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        assert_eq!(lines[0], "x: c20 (40.0 %)");
        assert!(lines[1].starts_with("  c20") && lines[2].starts_with("   c7"), "{text}");
    }

    #[test]
    fn pictures_stand_side_by_side() {
        let a = Array::from([[1.0f32, 2.0], [3.0, 4.0]]);
        let b = Array::from([5.0f32, 6.0, 7.0, 8.0]).reshape(&[1, 2, 2]).unwrap();
        let sheet = side_by_side(&[&a, &b]).unwrap();
        assert_eq!(sheet, Array::from([[1.0f32, 2.0, 0.0, 5.0, 6.0], [3.0, 4.0, 0.0, 7.0, 8.0]]));
        let message = side_by_side(&[&Array::from([1.0f32])]).unwrap_err().to_string();
        assert!(message.contains("[1] is no gray picture"), "{message}");
    }
}
