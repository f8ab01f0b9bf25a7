//! The digits lab: a network with two hidden layers learns handwritten digits and is saved on the way; then each of its
//! checkpoints is loaded and evaluated, and the last one looks at single images.
//!
//! `cargo run --release --example digits_lab [PICTURES] [--data MNIST]`
//!
//! Without `--data` the digits are the 1,797 of 8 x 8 pixels that Thalweg carries; with it, the 60,000 of MNIST.

mod support;

use std::path::{Path, PathBuf};

use support::{Axis, Panel, Result, Series, draw};
use thalweg::data::{digits, mnist};
use thalweg::prelude::*;
use thalweg::run::State;
use thalweg::train::checkpoint::{self, Checkpoint, Saver, SaverOptions, Which};

/// The steps after which the training is saved; the last one ends it.
const SAVED: [u64; 4] = [10, 40, 150, 1000];

fn main() -> Result<()> {
    let (mut pictures, mut mnist_folder) = (PathBuf::from("pictures"), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--data" => mnist_folder = Some(arguments.next().ok_or("--data needs the folder of MNIST")?),
            _ => pictures = PathBuf::from(argument),
        }
    }
    let lab = match mnist_folder {
        Some(folder) => Lab::new(28, mnist(folder)?.train, |row| row >= 55_000)?,
        None => Lab::new(8, digits(), |row| row % 5 == 4)?,
    };

    // A run begins in an empty folder: that of an earlier one goes.
    let run = pictures.join("digits_lab");
    if run.exists() {
        std::fs::remove_dir_all(&run)?;
    }
    println!("training on {} images, saved in {}", lab.train.len(), run.display());
    lab.train(0, &run)?;

    println!("\nevery checkpoint on all {} images of the validation set:\n", lab.valid.len());
    println!("step    loss  accuracy");
    let measured = lab.evaluate_each(&run)?;
    for Measured { step, loss, accuracy } in &measured {
        println!("{step:4}  {loss:6.4}  {:6.2} %", 100.0 * accuracy);
    }

    let looked_at = lab.look(&run)?;
    for look in looked_at.iter().take(2).chain(looked_at.iter().find(|look| look.is_wrong())) {
        println!("\n{look}");
    }
    draw(&pictures, "digits_lab", &[course(&measured)])?;
    let wrong = looked_at.iter().filter(|look| look.is_wrong()).take(2);
    let panels: Vec<Panel> = looked_at.iter().take(2).chain(wrong).map(Look::panel).collect();
    draw(&pictures, "digits_lab_images", &panels)?;
    Ok(())
}

/// The inference graph: two hidden layers.
#[derive(Module)]
struct Digits {
    hidden1: Linear,
    hidden2: Linear,
    logits: Linear,
}

impl Digits {
    fn new(init: &mut Init, n_pixels: usize) -> Digits {
        Digits {
            hidden1: Linear::new(init, n_pixels, 128),
            hidden2: Linear::new(init, 128, 32),
            logits: Linear::new(init, 32, 10),
        }
    }

    fn forward(&self, image: &Tensor, cx: &mut Forward) -> Tensor {
        let hidden = self.hidden1.forward(&image.flatten(1), cx).relu();
        let hidden = self.hidden2.forward(&hidden, cx).relu();
        self.logits.forward(&hidden, cx)
    }
}

/// Images of `side` x `side` pixels in two parts: the one is learned from, the other never seen in training.
struct Lab {
    side: usize,
    train: Dataset,
    valid: Dataset,
}

/// How good a checkpoint is on the validation set.
struct Measured {
    step: u64,
    loss: f64,
    accuracy: f64,
}

impl Lab {
    fn new(side: usize, data: Dataset, is_valid: impl FnMut(usize) -> bool) -> Result<Lab> {
        let (train, valid) = data.split(&Split::by_index(data.len(), is_valid)?);
        let normalize = Normalize::range("image", &train["image"], Per::All)?;
        let scaled = |data: Dataset| data.map("image", |images| normalize.apply("image", images));
        Ok(Lab { side, train: scaled(train)?, valid: scaled(valid)? })
    }

    /// The graph from an image to logits, and its loss.
    fn model(&self, seed: u64) -> Inference {
        let image = placeholder("image", f32, ("batch", self.side, self.side));
        let label = placeholder("label", i64, ["batch"]);
        let net = Init::build(seed, |init| Digits::new(init, self.side * self.side));
        let output = net.forward(&image, &mut Forward::infer());
        Inference::new(cross_entropy(&output, &label), output).labeled("label")
    }

    /// Trains until the last of [`SAVED`], and saves on the way.
    fn train(&self, seed: u64, run: &Path) -> Result<()> {
        let model = self.model(seed);
        let step = Adam::new(1e-3).minimize(&model.loss);
        let session = Session::builder().seed(seed).build()?;
        let mut saver = Saver::create(run, SaverOptions { keep: SAVED.len(), ..SaverOptions::default() })?;
        let batches = Loader::new(&self.train, 100)?.seed(seed).shuffled().stream_from(0, 0)?;
        for batch in batches {
            let batch = batch?;
            session.run(&step, feeds! { "image" => &batch["image"], "label" => &batch["label"] })?;
            let global_step = session.read(&step.counter)?.item()? as u64;
            if SAVED.contains(&global_step) {
                let tensors = session.state()?.variables;
                saver.save(global_step, &Checkpoint { tensors, ..Checkpoint::default() }, None)?;
            }
            if Some(&global_step) == SAVED.last() {
                break;
            }
        }
        Ok(())
    }

    /// A model with the weights of a checkpoint, in a session of its own: nothing is left of the training but files.
    fn load(&self, run: &Path, which: Which) -> Result<(Inference, Session)> {
        let model = self.model(0);
        let session = Session::cpu();
        session.meet((&model.loss, &model.output))?;
        let mut variables = checkpoint::load(run, which)?.checkpoint.tensors;
        variables.retain(|name, _| session.variables().contains_key(name));
        session.load_state(&State { variables, ..State::default() })?;
        Ok((model, session))
    }

    /// Loads every checkpoint and evaluates it on the whole validation set.
    fn evaluate_each(&self, run: &Path) -> Result<Vec<Measured>> {
        let mut measured = Vec::new();
        for step in checkpoint::steps(run)? {
            let (model, session) = self.load(run, Which::Step(step))?;
            let evaluation = evaluate(&session, &model, &self.valid, 500)?;
            let accuracy = evaluation.accuracy().ok_or("the model is no classifier")?;
            measured.push(Measured { step, loss: evaluation.loss, accuracy });
        }
        Ok(measured)
    }

    /// What the last checkpoint says of the first images of the validation set, one at a time.
    fn look(&self, run: &Path) -> Result<Vec<Look>> {
        let (model, session) = self.load(run, Which::Last)?;
        let probabilities = model.output.softmax(-1);
        let mut looked_at = Vec::new();
        for row in 0..self.valid.len().min(1000) {
            let one = self.valid.select(&[row]);
            looked_at.push(Look {
                side: self.side,
                pixels: one["image"].to_vec(),
                label: one["label"].as_slice::<i64>()?[0] as usize,
                probabilities: session.run(&probabilities, feeds! { "image" => &one["image"] })?.to_vec(),
            });
        }
        Ok(looked_at)
    }
}

/// One image, what it is, and what it was taken for.
struct Look {
    side: usize,
    /// From 0 (paper) to 1 (ink).
    pixels: Vec<f32>,
    label: usize,
    probabilities: Vec<f64>,
}

impl Look {
    fn answer(&self) -> usize {
        (0..10).fold(0, |best, class| if self.probabilities[class] > self.probabilities[best] { class } else { best })
    }

    fn is_wrong(&self) -> bool {
        self.answer() != self.label
    }

    fn title(&self) -> String {
        let answer = self.answer();
        format!("{}, taken for {answer} ({:.1} %)", self.label, 100.0 * self.probabilities[answer])
    }

    fn panel(&self) -> Panel {
        let side = self.side as f64;
        // Paper is white: the lighter half of the scale of colors.
        let ink = |row: &[f32]| row.iter().map(|&pixel| 0.5 - 0.5 * f64::from(pixel)).collect();
        Panel {
            title: self.title(),
            x: Axis("column", 0.0, side),
            y: Axis("row, from below", 0.0, side),
            surface: self.pixels.chunks(self.side).rev().map(ink).collect(),
            ..Panel::default()
        }
    }
}

/// The image in letters, beside it the probabilities as bars.
impl std::fmt::Display for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.title())?;
        for line in 0..self.side.max(10) {
            let pixels = self.pixels.chunks(self.side).nth(line).unwrap_or_default();
            let ink = |&pixel: &f32| [' ', '░', '▒', '▓', '█'][(pixel * 4.0).round() as usize];
            let drawn: String = pixels.iter().map(ink).flat_map(|ink| [ink, ink]).collect();
            write!(f, "\n  {drawn:width$}", width = 2 * self.side)?;
            if let Some(&probability) = self.probabilities.get(line) {
                let bar = "█".repeat((probability * 30.0).round() as usize);
                write!(f, "    {line}  {:5.1} %  {bar}", 100.0 * probability)?;
            }
        }
        Ok(())
    }
}

fn course(measured: &[Measured]) -> Panel {
    let points = |value: fn(&Measured) -> f64| measured.iter().map(|m| ((m.step as f64).log10(), value(m))).collect();
    let accuracy: Vec<(f64, f64)> = points(|measured| measured.accuracy);
    let loss: Vec<(f64, f64)> = points(|measured| measured.loss);
    Panel {
        title: "Each checkpoint on the validation set".into(),
        x: Axis("log₁₀ of the step", 0.8, 3.2),
        y: Axis("loss and accuracy", 0.0, 2.4),
        lines: vec![Series(2, String::new(), loss.clone()), Series(3, String::new(), accuracy.clone())],
        dots: vec![Series(2, "loss".into(), loss), Series(3, "accuracy".into(), accuracy)],
        ..Panel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_checkpoint_is_loaded_and_the_early_ones_are_worse() {
        let folder = tempfile::tempdir().unwrap();
        let lab = Lab::new(8, digits(), |row| row % 5 == 4).unwrap();
        lab.train(7, folder.path()).unwrap();
        let measured = lab.evaluate_each(folder.path()).unwrap();
        assert!(measured.iter().map(|measured| measured.step).eq(SAVED));
        for pair in measured.windows(2) {
            assert!(pair[1].loss < pair[0].loss && pair[1].accuracy > pair[0].accuracy, "step {}", pair[1].step);
        }
        let [first, .., last] = &measured[..] else { panic!("several checkpoints") };
        assert!(first.accuracy < 0.7 && last.accuracy > 0.95, "{} {}", first.accuracy, last.accuracy);

        let looked_at = lab.look(folder.path()).unwrap();
        let right = looked_at.iter().filter(|look| !look.is_wrong()).count();
        assert_eq!(
            right as f64 / lab.valid.len() as f64,
            last.accuracy,
            "one image at a time is as good as all at once"
        );
    }
}
