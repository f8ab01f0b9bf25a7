//! What a learner's model is wrong about, and how its layers are.

use thalweg_data::Loader;

use super::Learner;
use crate::diagnosis::Report;
use crate::evaluate::scalar;
use crate::fit::FitError;
use crate::inputs::Inputs;

/// A row of the validation set with its loss.
#[derive(Clone, Debug, PartialEq)]
pub struct TopLoss {
    /// The row.
    pub row: usize,
    /// Its loss.
    pub loss: f64,
    /// Of a classifier: the class of the row, that for which it was taken, and the probability of that.
    pub classes: Option<(String, String, f64)>,
}

/// A class that is taken for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confused {
    /// What the rows are.
    pub actual: String,
    /// What they were taken for.
    pub predicted: String,
    /// How many.
    pub count: u64,
}

impl Learner {
    /// The `n` rows of the validation set with the largest losses, the largest first.
    ///
    /// # Errors
    /// If the data cannot be read.
    pub fn top_losses(&self, n: usize) -> Result<Vec<TopLoss>, FitError> {
        let (loss, answer) = (&self.inference.loss, self.answer());
        let inputs = Inputs::of([loss, &answer]);
        let mut losses = Vec::new();
        for batch in Loader::new(&self.data.validation()?, 1)?.epoch(0)? {
            let batch = batch?;
            let (loss, answer) = self.session.evaluate((loss, &answer), inputs.feeds(&batch)?)?;
            let classes = match &self.inference.label {
                Some(label) => {
                    let probabilities = answer.to_vec::<f64>();
                    let best = (0..probabilities.len())
                        .fold(0, |a, b| if probabilities[b] > probabilities[a] { b } else { a });
                    let actual = batch.column(label)?.to_vec::<i64>().first().copied().unwrap_or_default() as usize;
                    let probability = probabilities.get(best).copied().unwrap_or(f64::NAN);
                    Some((self.class(actual), self.class(best), probability))
                }
                None => None,
            };
            losses.push(TopLoss { row: batch.rows()[0], loss: scalar(&loss), classes });
        }
        losses.sort_by(|a, b| b.loss.total_cmp(&a.loss));
        losses.truncate(n);
        Ok(losses)
    }

    /// The pairs of classes of which rows of the one were taken for the other at least `least` times, the most frequent first.
    ///
    /// # Errors
    /// If the model is no classifier, or the data cannot be read.
    pub fn most_confused(&self, least: u64) -> Result<Vec<Confused>, FitError> {
        let Some(matrix) = self.validate()?.matrix else {
            let reason = "only the model of a target that is a class confuses classes".into();
            return Err(FitError::Setting { setting: format!("the target `{}`", self.data.target()), reason });
        };
        let confused = |(actual, predicted, count)| Confused {
            actual: self.class(actual),
            predicted: self.class(predicted),
            count,
        };
        Ok(matrix.most_confused().into_iter().take_while(|(.., count)| *count >= least).map(confused).collect())
    }

    /// How the layers are on the first batch of training, at the learning rate of the last phase: activations, dead units,
    /// saturation, gradients, the size of a step. It prints as a table with what is likely to be wrong.
    ///
    /// # Errors
    /// If the data do not fit the graphs.
    pub fn diagnose(&mut self) -> Result<Report, FitError> {
        let batch = self.first_batch()?;
        self.trial(self.optimizer.schedule().clone())?.report(&batch)
    }

    /// What a class is called.
    pub(super) fn class(&self, class: usize) -> String {
        self.data.classes().get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}
