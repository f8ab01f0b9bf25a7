//! [`Trained`]: a trained model from the folder of its run, without the code that made it.
//!
//! Each checkpoint carries a [`ModelCard`]: the graph as text, what its outputs are, the names of the classes, and how an
//! input is prepared. So a program that knows neither the recipe nor the model can load it, evaluate it and use it:
//!
//! ```no_run
//! use thalweg_train::Trained;
//! # let image = thalweg_data::digits()["image"].rows(0..1);
//! let answer = Trained::open("runs/digits")?.predict(&image)?;
//! println!("{} with {:.1} %", answer.name, 100.0 * answer.probability());
//! # Ok::<(), thalweg_train::TrainedError>(())
//! ```
//!
//! The training step stands there too, with its updates, so that such a program can also train the model on. Its text has
//! about 80 bytes for each node, however large the weights: 16 KB for a network of three layers and Adam.
//!
//! ```no_run
//! use thalweg_data::Loader;
//! use thalweg_train::{FitOptions, Length, Trained, fit};
//! let trained = Trained::open("runs/digits")?;
//! let training = trained.training()?;
//! let new = trained.prepared(&thalweg_data::digits())?;
//! fit(&training.on(&Loader::new(&new, 32)?, None), &FitOptions::new(Length::Epochs(1)), &mut [])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod card;
mod function;
mod generate;
mod maps;
mod prepare;
mod respond;
mod sequences;
mod training;
mod transcribe;
mod vectors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thalweg_data::{Augment, DataError, Dataset, Loader, Picture};
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::text::{ParseError, parse};
use thalweg_run::graph::{Array, Tensor, Variable};
use thalweg_run::{RunError, Session};
use thiserror::Error;

pub use card::{FunctionCard, ModelCard, export};
pub use function::Function;
pub use generate::Generator;
pub use maps::{Look, MapMethod, Maps};
pub use prepare::{Drawing, Prepare};
pub use respond::{Attention, Reply, Responder, Search};
pub(crate) use training::StepCard;
pub use training::StoredTraining;
pub use transcribe::{Transcriber, Transcript};

use crate::augmented::{Augmented, refuse_without_chance};
use crate::checkpoint::{self, CheckpointError, Extra, Loaded, Signature, Which};
use crate::evaluate::{Evaluation, Inference, ROWS, evaluate, rows_at_a_time};
use crate::fit::{FitError, RunFolder, Snapshot, Task};
use crate::inputs::{Carried, Inputs};

/// Why a trained model cannot be used.
#[derive(Debug, Error)]
pub enum TrainedError {
    /// There is no checkpoint, or none that can be loaded.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint carries no model that can be used.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The text of a graph is none.
    #[error("{}: the model's graph: {source}", path.display())]
    Graph {
        /// The checkpoint.
        path: PathBuf,
        /// Where and why.
        source: ParseError,
    },
    /// The input is not one that the model takes.
    #[error("the model takes {expected}, was given {found}")]
    Input {
        /// What one row of the input is.
        expected: String,
        /// The dtype and shape given.
        found: String,
    },
    /// The input cannot be prepared.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The evaluation failed.
    #[error(transparent)]
    Evaluation(#[from] FitError),
}

/// A trained model, ready to be used.
#[derive(Debug)]
pub struct Trained {
    session: Session,
    card: ModelCard,
    checkpoint: Loaded,
    /// What the answer is computed from.
    inputs: Inputs,
    functions: BTreeMap<String, Function>,
    inference: Inference,
    answer: Tensor,
}

/// What a classifier says of one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The most probable class.
    pub class: usize,
    /// What it is called.
    pub name: String,
    /// The probability of each class.
    pub probabilities: Vec<f32>,
}

impl Prediction {
    /// The probability of the class.
    pub fn probability(&self) -> f32 {
        self.probabilities[self.class]
    }
}

impl Trained {
    /// The newest checkpoint of the run in this folder.
    ///
    /// # Errors
    /// If there is none that can be loaded, or it carries no model.
    pub fn open(run: impl AsRef<Path>) -> Result<Trained, TrainedError> {
        Trained::open_checkpoint(run, Which::Last)
    }

    /// A checkpoint of the run in this folder.
    ///
    /// # Errors
    /// As [`Trained::open`].
    pub fn open_checkpoint(run: impl AsRef<Path>, which: Which) -> Result<Trained, TrainedError> {
        Trained::from_loaded(checkpoint::load(run.as_ref(), which)?)
    }

    /// The model of a checkpoint.
    pub(crate) fn from_loaded(checkpoint: Loaded) -> Result<Trained, TrainedError> {
        let path = &checkpoint.path;
        let model = |reason: String| TrainedError::Model { path: path.clone(), reason };
        let card = ModelCard::read(&checkpoint.checkpoint).map_err(|error| model(error.to_string()))?;
        let graph = parse(&card.graph).map_err(|source| TrainedError::Graph { path: path.clone(), source })?;
        let fetches = graph.to_tensors();
        let (inference, answer) = card.model(&fetches).map_err(model)?;
        let inputs = Inputs::of([&answer]);
        if inputs.columns().iter().chain([&answer]).any(|tensor| tensor.rank() == 0) {
            return Err(model("the input and the answer need an axis of rows".into()));
        }
        let function = |(name, card): (&String, &FunctionCard)| Ok((name.clone(), Function::read(card, &graph, path)?));
        let functions = card.functions.iter().map(function).collect::<Result<_, TrainedError>>()?;
        let session = Session::cpu();
        load_variables(&session, &fetches, &checkpoint)?;
        Ok(Trained { inputs, functions, inference, answer, session, card, checkpoint })
    }

    /// What the checkpoint says of the model.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The checkpoint: its step, its file, what the run was configured with.
    pub fn checkpoint(&self) -> &Loaded {
        &self.checkpoint
    }

    /// The names of the classes; empty if the model is no classifier.
    pub fn classes(&self) -> &[String] {
        &self.card.classes
    }

    /// Which class one input is of. The input is as in the data set, not yet prepared: one row, with or without the axis
    /// of rows.
    ///
    /// # Errors
    /// If the input is not one row of what the model takes, or the model is no classifier.
    pub fn predict(&self, input: &Array) -> Result<Prediction, TrainedError> {
        let row = match input.rank() + 1 == self.input()?.rank() {
            true => one(input)?,
            false => input.clone(),
        };
        let mut predictions = self.predict_rows(&row)?;
        match (predictions.pop(), predictions.is_empty()) {
            (Some(prediction), true) => Ok(prediction),
            _ => Err(wrong_input(self.input()?, input)),
        }
    }

    /// Which class each row of `inputs` is of. The inputs are as in the data set, not yet prepared.
    ///
    /// # Errors
    /// If they are not what the model takes, or it is no classifier.
    pub fn predict_rows(&self, inputs: &Array) -> Result<Vec<Prediction>, TrainedError> {
        let prepared = self.card.prepare.apply(self.input_name()?, inputs)?;
        self.classify(&prepared)
    }

    /// Which class each row of `data` is of, which are not yet prepared: rows of any kind, texts and files of photos too.
    ///
    /// # Errors
    /// If the data are not what the model takes, or it is no classifier.
    pub fn predict_data(&self, data: &Dataset) -> Result<Vec<Prediction>, TrainedError> {
        let data = self.prepared(data)?;
        let mut found = Vec::with_capacity(data.len());
        for batch in Loader::new(&data, rows_at_a_time(&data, ROWS))?.epoch(0)? {
            let batch = batch?;
            let probabilities = self.session.evaluate(&self.answer, self.inputs.feeds(&batch)?)?;
            found.extend(self.predictions(&probabilities, batch.len())?);
        }
        Ok(found)
    }

    /// Which class the drawing in a gray picture is of: `pixels` row by row, `size` (height, width), dark on light or
    /// light on dark. Also gives what the model saw: the picture as a row of the data set.
    ///
    /// # Errors
    /// If the picture holds no drawing, or the model was not trained on drawings.
    pub fn predict_picture(&self, pixels: &[f32], size: (usize, usize)) -> Result<(Prediction, Array), TrainedError> {
        let seen = self.card.prepare.picture(pixels, size)?;
        let prediction = self.predict(&seen)?;
        Ok((prediction, seen))
    }

    /// Which class a photo of any size is of. Also gives what the model saw of it, before colors become numbers.
    ///
    /// # Errors
    /// If the model was not trained on pictures, or it is no classifier.
    pub fn predict_photo(&self, photo: Picture) -> Result<(Prediction, Picture), TrainedError> {
        let steps = self.photos()?;
        let seen = steps.apply(photo.clone(), None)?;
        let mut predictions = self.classify(&one(&steps.numbers(photo)?)?)?;
        Ok((predictions.swap_remove(0), seen))
    }

    /// How a photo becomes what the model takes.
    fn photos(&self) -> Result<Augment, TrainedError> {
        let input = self.input()?;
        let sizes: Vec<Option<usize>> = input.shape().iter().map(|size| size.number()).collect();
        match sizes[..] {
            [_, Some(3), Some(height), Some(width)] => Ok(self.card.prepare.photos((height, width))?),
            _ => Err(TrainedError::Model {
                path: self.checkpoint.path.clone(),
                reason: format!("it takes {}, which are no pictures in color", input.meta()),
            }),
        }
    }

    /// What the model answers to each row of `inputs`, which are as in the data set: of a classifier probabilities.
    ///
    /// # Errors
    /// If they are not what the model takes.
    pub fn answer(&self, inputs: &Array) -> Result<Array, TrainedError> {
        self.run(&self.card.prepare.apply(self.input_name()?, inputs)?)
    }

    /// Evaluates the model on `data`, which are not yet prepared.
    ///
    /// # Errors
    /// If the data are not what the model takes.
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation, TrainedError> {
        let data = self.prepared(data)?;
        Ok(evaluate(&self.session, &self.inference, &data, rows_at_a_time(&data, ROWS))?)
    }

    /// What the model says of `data`, which are not yet prepared, when each row is seen `passes` times as pictures are
    /// changed in training, and once as it is, which counts a quarter.
    ///
    /// # Errors
    /// If there are no passes, the model was not trained on pictures that are changed by chance, or the data are not what
    /// it takes.
    pub fn evaluate_augmented(&self, data: &Dataset, passes: u64) -> Result<Augmented, TrainedError> {
        let by_chance = self.card.prepare.pictures.as_ref().is_some_and(Augment::has_chance);
        refuse_without_chance(by_chance, passes)?;
        let data = self.prepared(data)?;
        let plain = Loader::new(&data, rows_at_a_time(&data, ROWS))?;
        let changed = |pass| Ok(plain.clone().seed(pass).augmented());
        Ok(Augmented::new(&self.session, &self.inference, &self.answer, &plain, passes, changed)?)
    }

    /// `data` as the model takes them.
    ///
    /// # Errors
    /// If they lack the column of the input, or its rows have another number of features.
    pub fn prepared(&self, data: &Dataset) -> Result<Dataset, TrainedError> {
        match self.inputs.columns() {
            [_] => Ok(self.card.prepare.dataset(self.input_name()?, data)?),
            _ => Ok(data.clone()),
        }
    }

    /// The training of the model as it stood when the checkpoint was saved, to be gone on with. The session is one of its
    /// own: what is trained there changes nothing here.
    ///
    /// # Errors
    /// If the checkpoint carries no training step that can be used: one of an older version, or one with an op of the
    /// program's own.
    pub fn training(&self) -> Result<StoredTraining, TrainedError> {
        let Loaded { path, checkpoint, step, .. } = &self.checkpoint;
        let failed = |reason: String| TrainedError::Model { path: path.clone(), reason };
        let card = StepCard::read(checkpoint).map_err(|error| failed(error.to_string()))?;
        let model = parse(&self.card.graph).map_err(|source| TrainedError::Graph { path: path.clone(), source })?;
        let (graphs, train_states) = card.graphs(&model, path)?;
        let train_loss = graphs.loss.clone();
        let (inference, _) = self.card.model(&model.to_tensors()).map_err(failed)?;
        let session = Session::cpu();
        session.meet((&train_loss, &graphs.add, &graphs.apply, &inference.loss, &inference.output))?;
        session.load_state(&Snapshot::from_checkpoint(checkpoint.clone(), *step)?.state)?;
        Ok(StoredTraining { session, task: Task::new(train_loss, inference).carrying(&train_states), graphs })
    }

    /// The folder `run` as one in which this training goes on where the checkpoint left it.
    ///
    /// # Errors
    /// If the checkpoint does not say what the run was configured with.
    pub fn resumed_in(&self, run: impl Into<PathBuf>) -> Result<RunFolder, TrainedError> {
        let config = self.checkpoint.checkpoint.config()?;
        Ok(RunFolder { resume: true, config, model: Some(self.card.clone()), ..RunFolder::new(run) })
    }

    /// The session in which the variables have their values.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What the model does beside its answer, by name.
    ///
    /// # Errors
    /// If it does nothing of this name; the message says what it does.
    pub fn function(&self, name: &str) -> Result<&Function, TrainedError> {
        self.functions.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.functions.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            self.refusal(format!("the model has no function `{name}`; there are: {known}"))
        })
    }

    fn refusal(&self, reason: String) -> TrainedError {
        TrainedError::Model { path: self.checkpoint.path.clone(), reason }
    }

    /// The one column that the answer depends on.
    fn input(&self) -> Result<&Tensor, TrainedError> {
        match self.inputs.columns() {
            [input] => Ok(input),
            columns => {
                let names: Vec<&str> = columns.iter().filter_map(Tensor::name).collect();
                let reason = format!("the answer depends on {} columns ({})", names.len(), names.join(", "));
                Err(self.refusal(format!("{reason}, so that one input alone has none")))
            }
        }
    }

    fn input_name(&self) -> Result<&str, TrainedError> {
        Ok(self.input()?.name().unwrap_or_default())
    }

    fn classify(&self, prepared: &Array) -> Result<Vec<Prediction>, TrainedError> {
        self.predictions(&self.run(prepared)?, prepared.shape()[0])
    }

    /// What the answer to so many rows says of their classes.
    fn predictions(&self, probabilities: &Array, rows: usize) -> Result<Vec<Prediction>, TrainedError> {
        let classes = self.card.classes.len();
        if classes == 0 || probabilities.shape() != [rows, classes] {
            let reason = format!("the model has {classes} classes, its answer is of shape {:?}", probabilities.shape());
            return Err(TrainedError::Model { path: self.checkpoint.path.clone(), reason });
        }
        let rows = probabilities.to_vec::<f32>();
        let prediction = |row: &[f32]| {
            let class = (0..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            Prediction { class, name: self.card.classes[class].clone(), probabilities: row.to_vec() }
        };
        Ok(rows.chunks_exact(classes).map(prediction).collect())
    }

    fn run(&self, prepared: &Array) -> Result<Array, TrainedError> {
        let input = self.input()?;
        if prepared.rank() != input.rank() || prepared.shape()[0] == 0 {
            return Err(wrong_input(input, prepared));
        }
        let carried = Carried::default();
        let feeds = self.inputs.feeds_of(|_| Ok(prepared), &carried)?;
        Ok(self.session.evaluate(&self.answer, feeds)?)
    }
}

fn wrong_input(input: &Tensor, found: &Array) -> TrainedError {
    let (expected, found) = (input.meta().to_string(), format!("{}{:?}", found.dtype(), found.shape()));
    TrainedError::Input { expected, found }
}

/// `row` with an axis of rows.
fn one(row: &Array) -> Result<Array, DataError> {
    Ok(row.reshape(&[&[1], row.shape()].concat())?)
}

/// Gives the variables of the graph their values: all of them or none.
fn load_variables(session: &Session, fetches: &[Tensor], loaded: &Loaded) -> Result<(), TrainedError> {
    let variables: Vec<Variable> =
        topological(fetches).iter().filter_map(|tensor| Variable::try_from(tensor).ok()).collect();
    let kind = |variable: &Variable| (variable.dtype(), variable.core().shape().to_vec());
    let wanted: Signature = variables.iter().map(|variable| (variable.name().to_string(), kind(variable))).collect();
    // Slots of the optimizer are in the file too.
    let mut values = loaded.checkpoint.select(&wanted, Extra::Ignore)?;
    for variable in &variables {
        if let Some(value) = values.remove(&*variable.name()) {
            session.write(variable, value)?;
        }
    }
    Ok(())
}
