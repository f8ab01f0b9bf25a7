//! [`ModelCard`]: what a checkpoint says of the model in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Graph, Tensor, Variable};
use thalweg_run::{RunError, Session};

use super::training::{name_of, states_of};
use super::{Function, Prepare};
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
    /// Whether the graph also returns of how many terms of a batch the loss is the mean.
    #[serde(default)]
    pub terms: bool,
    /// The placeholders of what is carried from batch to batch. What they are after a batch is what the graph returns last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// What the model does beside its answer, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, FunctionCard>,
}

/// A [`Function`] as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionCard {
    /// The text form of the graph, over the variables of the model. It returns the outputs, and what states are afterwards.
    pub graph: String,
    /// The placeholders of the states.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
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
        let afters = model.states.iter().map(|state| &state.after);
        let graph = [&model.loss, &model.output, &answer].into_iter().chain(&model.terms).chain(afters);
        ModelCard {
            graph: Graph::capture(graph, &[]).to_string(),
            label: model.label.clone(),
            classes: classes.to_vec(),
            prepare,
            terms: model.terms.is_some(),
            states: model.states.iter().map(name_of).collect(),
            functions: BTreeMap::new(),
        }
    }

    /// Which also does this.
    pub(crate) fn with_functions(self, functions: &BTreeMap<String, Function>) -> ModelCard {
        let card = |(name, function): (&String, &Function)| (name.clone(), function.card());
        ModelCard { functions: functions.iter().map(card).collect(), ..self }
    }

    /// The model that the graph of this card returns, and its answer.
    pub(super) fn model(&self, fetches: &[Tensor]) -> Result<(Inference, Tensor), String> {
        let count = 3 + usize::from(self.terms) + self.states.len();
        let ([loss, output, answer], others) = match fetches.split_first_chunk() {
            Some(parts) if fetches.len() == count => parts,
            _ => {
                let found = fetches.len();
                return Err(format!(
                    "the graph returns {found} tensors, expected {count}: loss, output, answer and others"
                ));
            }
        };
        let (terms, afters) = others.split_at(usize::from(self.terms));
        let states = states_of(&self.states, afters.to_vec())?;
        let (label, terms) = (self.label.clone(), terms.first().cloned());
        Ok((Inference { loss: loss.clone(), output: output.clone(), label, terms, states }, answer.clone()))
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
