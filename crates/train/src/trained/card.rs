//! [`ModelCard`]: what a checkpoint says of the model in it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Graph, Variable};
use thalweg_run::{RunError, Session};

use super::Prepare;
use crate::checkpoint::{Checkpoint, CheckpointError, Saver, SaverOptions};
use crate::evaluate::Inference;
use crate::fit::FitError;

/// What a checkpoint says of the model in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The text form of the graph. It returns the loss, the output (logits), and the answer to the user: probabilities.
    pub graph: String,
    /// The column of the labels; none if the model is no classifier.
    pub label: Option<String>,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// How an input is prepared.
    pub prepare: Prepare,
}

const KEY: &str = "model";

/// Writes a model with the values that its variables have in `session` into a folder of its own, which must be empty or not
/// be there: [`Trained::open`](super::Trained::open) opens it, without the code that made it. So a model whose weights were
/// trained elsewhere is used as one that was trained here. Gives the file.
///
/// # Errors
/// If the folder holds something or cannot be written to.
pub fn export(
    folder: impl AsRef<Path>,
    session: &Session,
    model: &Inference,
    classes: &[String],
    prepare: Prepare,
) -> Result<PathBuf, FitError> {
    let checkpoint = ModelCard::new(model, classes, prepare).with_values(model, session)?;
    Ok(Saver::create(folder, SaverOptions::default())?.save(0, &checkpoint, None)?.path)
}

impl ModelCard {
    /// Of this model; the answer is the softmax of a classifier's logits, and of others the output itself.
    pub fn new(model: &Inference, classes: &[String], prepare: Prepare) -> ModelCard {
        let answer = match model.label {
            Some(_) => model.output.softmax(-1).named("probabilities"),
            None => model.output.clone(),
        };
        let graph = Graph::capture([&model.loss, &model.output, &answer], &[]);
        ModelCard { graph: graph.to_string(), label: model.label.clone(), classes: classes.to_vec(), prepare }
    }

    /// A checkpoint of the model alone, with the values that its variables have now.
    pub(crate) fn with_values(&self, model: &Inference, session: &Session) -> Result<Checkpoint, RunError> {
        let mut checkpoint = Checkpoint::default();
        for tensor in topological([&model.loss, &model.output]) {
            if let Ok(variable) = Variable::try_from(&tensor) {
                checkpoint.tensors.insert(variable.name().to_string(), session.read(&variable)?);
            }
        }
        self.write(&mut checkpoint);
        Ok(checkpoint)
    }

    pub(crate) fn write(&self, checkpoint: &mut Checkpoint) {
        checkpoint.set(KEY, self);
    }

    pub(super) fn read(checkpoint: &Checkpoint) -> Result<ModelCard, CheckpointError> {
        checkpoint.get(KEY)
    }
}
