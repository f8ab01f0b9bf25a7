//! What a learner's model says: of the validation set, of new inputs, of inputs changed as in training.

use std::path::{Path, PathBuf};

use thalweg_data::{Dataset, Loader};
use thalweg_run::graph::{Array, Tensor};

use super::Learner;
use crate::augmented::{Augmented, refuse_without_chance};
use crate::checkpoint::{Checkpoint, Loaded, Saver, SaverOptions};
use crate::evaluate::{Evaluation, evaluate, rows_at_a_time};
use crate::fit::FitError;
use crate::trained::{Prediction, Trained};

impl Learner {
    /// Measures the model on the validation set.
    ///
    /// # Errors
    /// If the data cannot be read.
    pub fn validate(&self) -> Result<Evaluation, FitError> {
        self.evaluate(self.data.valid())
    }

    /// Measures the model on other data, which are not yet prepared.
    ///
    /// # Errors
    /// If they are not what the model takes.
    pub fn evaluate(&self, data: &Dataset) -> Result<Evaluation, FitError> {
        let data = self.data.prepared(data)?;
        let batch = rows_at_a_time(&data, self.options.validation_batch);
        evaluate(&self.session, &self.inference, &data, batch)
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
        self.evaluate_augmented(self.data.valid(), passes)
    }

    /// As [`Learner::test_time_augmentation`], of other data, which are not yet prepared.
    ///
    /// # Errors
    /// As [`Learner::test_time_augmentation`], and if they are not what the model takes.
    pub fn evaluate_augmented(&self, data: &Dataset, passes: u64) -> Result<Augmented, FitError> {
        refuse_without_chance(passes == 0 || self.data.changes(), passes)?;
        let prepared = self.data.prepared(data)?;
        let batch = rows_at_a_time(&prepared, self.options.validation_batch);
        let plain = Loader::new(&prepared, batch)?;
        let changed = |pass| Ok(self.data.augmented_rows(data, batch, pass)?);
        Augmented::new(&self.session, &self.inference, &self.answer(), &plain, passes, changed)
    }

    /// What the model answers: of a classifier probabilities.
    pub(super) fn answer(&self) -> Tensor {
        match self.inference.label {
            Some(_) => self.inference.output.softmax(-1),
            None => self.inference.output.clone(),
        }
    }

    /// Weights and model, as they are now.
    fn as_checkpoint(&self) -> Result<Checkpoint, FitError> {
        Ok(self.card().with_values(&self.inference, &self.session)?)
    }
}
