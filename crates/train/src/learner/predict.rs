//! What a learner's model says: of the validation set, of new inputs, of inputs changed as in training.

use std::path::{Path, PathBuf};

use thalweg_data::{Dataset, Loader};
use thalweg_run::graph::{Array, Tensor};

use super::Learner;
use crate::checkpoint::{Checkpoint, Loaded, Saver, SaverOptions};
use crate::evaluate::{Evaluation, columns_read, evaluate, feeds};
use crate::fit::FitError;
use crate::metrics::ConfusionMatrix;
use crate::trained::{ModelCard, Prediction, Trained};

/// The part of the unchanged input in an answer with test-time augmentation.
const PLAIN: f64 = 0.25;

/// What a model says of the validation set, each row seen several times.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmented {
    /// The mean answer to each row: of a classifier probabilities.
    pub answers: Array,
    /// For a classifier: how many rows of each class were taken for which.
    pub matrix: Option<ConfusionMatrix>,
}

impl Augmented {
    /// The share of rows whose class is right; of classifiers.
    pub fn accuracy(&self) -> Option<f64> {
        self.matrix.as_ref().map(ConfusionMatrix::accuracy)
    }
}

impl Learner {
    /// Measures the model on the validation set.
    ///
    /// # Errors
    /// If the data cannot be read.
    pub fn validate(&self) -> Result<Evaluation, FitError> {
        self.evaluate(&self.data.valid().clone())
    }

    /// Measures the model on other data, which are not yet prepared.
    ///
    /// # Errors
    /// If they are not what the model takes.
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation, FitError> {
        evaluate(&self.session, &self.inference, &self.data.prepared(data)?, self.options.validation_batch)
    }

    /// Which class one input is of. The input is as in the data set, not yet prepared.
    ///
    /// # Errors
    /// If the input is not one row of what the model takes, or the model is no classifier.
    pub fn predict(&mut self, input: &Array) -> Result<Prediction, FitError> {
        self.trained()?.predict(input).map_err(|error| FitError::Trained(Box::new(error)))
    }

    /// The model as it is now, apart from its training: what a program gets that opens an export.
    ///
    /// # Errors
    /// If it has an op of the program's own, which has no text form.
    pub fn trained(&mut self) -> Result<&Trained, FitError> {
        if self.trained.is_none() {
            let path = self.options.run.as_ref().map_or_else(|| PathBuf::from("the learner"), |run| run.path.clone());
            let (checkpoint, notes) = (self.as_checkpoint()?, Vec::new());
            let loaded = Loaded { step: self.place.steps(), path, checkpoint, best: None, notes };
            self.trained = Some(Trained::from_loaded(loaded).map_err(|error| FitError::Trained(Box::new(error)))?);
        }
        Ok(self.trained.as_ref().expect("just made"))
    }

    /// Writes the model as it is now into a folder of its own, which must be empty or not be there:
    /// [`Trained::open`](crate::Trained::open) opens it, without the code that made it. Gives the file.
    ///
    /// # Errors
    /// If the folder holds something or cannot be written to.
    pub fn export(&self, folder: impl AsRef<Path>) -> Result<PathBuf, FitError> {
        let mut saver = Saver::create(folder, SaverOptions::default())?;
        Ok(saver.save(self.place.steps(), &self.as_checkpoint()?, None)?.path)
    }

    /// What the model says of the validation set when each row is seen `passes` times as training batches are changed, and
    /// once as it is, which counts a quarter.
    ///
    /// # Errors
    /// If there are no passes, or training batches are not changed by chance, so that each would say the same.
    pub fn test_time_augmentation(&self, passes: u64) -> Result<Augmented, FitError> {
        if passes == 0 || !self.data.changes() {
            let reason = match passes {
                0 => "there must be at least 1 pass",
                _ => "training batches are not changed by chance, so that each pass would say the same",
            };
            let setting = format!("test-time augmentation in {passes} passes");
            return Err(FitError::Setting { setting, reason: reason.into() });
        }
        let valid = self.data.validation()?;
        let plain = self.answers(&Loader::new(&valid, self.options.validation_batch)?)?;
        let shape = plain.shape().to_vec();
        let mut mean: Vec<f64> = plain.to_vec::<f64>().into_iter().map(|x| PLAIN * x).collect();
        for pass in 1..=passes {
            let answers = self.answers(&self.data.augmented_rows(self.data.valid(), pass)?)?;
            for (mean, x) in mean.iter_mut().zip(answers.to_vec::<f64>()) {
                *mean += (1.0 - PLAIN) / passes as f64 * x;
            }
        }
        let answers = Array::new(&shape, mean).map_err(thalweg_data::DataError::from)?.cast(plain.dtype());
        let mut matrix = None;
        if self.inference.label.is_some() {
            let classes = shape.last().copied().unwrap_or(0).max(1);
            let mut counts = ConfusionMatrix::new(classes);
            counts.update(&answers, self.data.valid_targets()?)?;
            matrix = Some(counts);
        }
        Ok(Augmented { answers, matrix })
    }

    /// What the model answers: of a classifier probabilities.
    pub(super) fn answer(&self) -> Tensor {
        match self.inference.label {
            Some(_) => self.inference.output.softmax(-1),
            None => self.inference.output.clone(),
        }
    }

    /// The answers to all rows of a loader, in their order.
    fn answers(&self, rows: &Loader) -> Result<Array, FitError> {
        let answer = self.answer();
        let columns = columns_read([&answer]);
        let (mut elements, mut shape) = (Vec::<f32>::new(), Vec::new());
        for batch in rows.epoch(0)? {
            let answers = self.session.evaluate(&answer, feeds(&columns, &batch?)?)?;
            shape = answers.shape().to_vec();
            elements.extend(answers.to_vec::<f32>());
        }
        shape[0] = rows.dataset().len();
        Ok(Array::new(&shape, elements).map_err(thalweg_data::DataError::from)?)
    }

    /// Weights and model, as they are now.
    fn as_checkpoint(&self) -> Result<Checkpoint, FitError> {
        let mut checkpoint = Checkpoint::default();
        for (_, variable) in &self.variables {
            checkpoint.tensors.insert(variable.name().to_string(), self.session.read(variable)?);
        }
        ModelCard::new(&self.inference, self.data.classes(), self.data.prepare().clone()).write(&mut checkpoint);
        Ok(checkpoint)
    }
}
