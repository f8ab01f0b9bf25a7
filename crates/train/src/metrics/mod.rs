//! How good a model is: metrics that gather over batches, in f64.
//!
//! Everything is defined: a mean over nothing is NaN, a rate whose denominator is zero is 0 where scikit-learn says 0.
//! Where several classes are the highest the first counts; NaN is higher than every number, as in `argmax`, and never
//! correct.

mod classification;
mod language;
mod ranking;
mod regression;
mod rouge;

use serde::{Deserialize, Serialize};
use thalweg_formats::array::{Array, Real};
use thiserror::Error;

pub use classification::{ConfusionMatrix, Named, Scores, TopK};
pub use language::{Bleu, ErrorRate, Perplexity, Smoothing};
pub use ranking::RocAuc;
pub use regression::Regression;
pub use rouge::{Overlap, Rouge};

/// What is wrong with what a metric is given.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MetricError {
    /// The arrays do not belong together.
    #[error("{what}: expected {expected}, found {found}")]
    Input {
        /// Which array.
        what: &'static str,
        /// The shape or dtype it should have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A label that is no class.
    #[error("row {row}: the label {label} is not one of the classes 0..{classes}")]
    Label {
        /// The row of the batch.
        row: usize,
        /// The label.
        label: i64,
        /// The number of classes.
        classes: usize,
    },
}

/// A weighted mean. Saved with a checkpoint it goes on bit for bit.
///
/// ```
/// use thalweg_train::metrics::Mean;
/// let mut loss = Mean::default();
/// loss.add(0.5, 100.0);
/// loss.add(0.2, 50.0);
/// assert_eq!(loss.value(), 0.4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mean {
    sum: Real,
    weight: Real,
}

impl Default for Mean {
    fn default() -> Self {
        Mean { sum: Real(0.0), weight: Real(0.0) }
    }
}

impl Mean {
    /// Adds a value that counts `weight` times: the mean loss of a batch, and its rows.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.sum.0 += value * weight;
        self.weight.0 += weight;
    }

    /// Adds all that another mean was given.
    pub fn merge(&mut self, other: &Mean) {
        self.sum.0 += other.sum.0;
        self.weight.0 += other.weight.0;
    }

    /// The mean so far; NaN if nothing was added.
    pub fn value(&self) -> f64 {
        self.sum.0 / self.weight.0
    }
}

/// A shape and dtype as messages show them.
fn kind(array: &Array) -> String {
    format!("{}{:?}", array.dtype(), array.shape())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_goes_on_after_being_saved() {
        let mut mean = Mean::default();
        assert!(mean.value().is_nan());
        mean.add(0.1, 3.0);
        let mut again: Mean = serde_json::from_str(&serde_json::to_string(&mean).unwrap()).unwrap();
        assert_eq!(again, mean);
        mean.add(f64::NAN, 1.0);
        again = serde_json::from_str(&serde_json::to_string(&mean).unwrap()).unwrap();
        assert!(again.value().is_nan());
    }
}
