//! [`ModelCard`]: what a checkpoint says of the model in it.

use serde::{Deserialize, Serialize};
use thalweg_run::graph::Graph;

use super::Prepare;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::evaluate::Inference;

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

    pub(crate) fn write(&self, checkpoint: &mut Checkpoint) {
        checkpoint.set(KEY, self);
    }

    pub(super) fn read(checkpoint: &Checkpoint) -> Result<ModelCard, CheckpointError> {
        checkpoint.get(KEY)
    }
}
