//! [`Learner::overfit_one_batch`]: can it learn at all?

use std::collections::BTreeMap;
use std::fmt;

use thalweg_data::Batch;

use super::Learner;
use crate::diagnosis::{Statistics, short};
use crate::fit::FitError;

/// The steps of each try.
const STEPS: usize = 200;
/// The loss is gone where less than this part of it is left.
const GONE: f64 = 0.05;
/// The learning rates that are tried beside the first, as parts of it.
const OTHERS: [f64; 7] = [10.0, 0.1, 100.0, 0.01, 1e3, 1e-3, 1e4];

/// How a model learned one batch by heart.
#[derive(Clone, Debug, PartialEq)]
pub struct Overfit {
    /// The loss of the batch before.
    pub before: f64,
    /// After 200 steps on it alone.
    pub after: f64,
    /// Where it failed, what is likely to be the cause.
    pub causes: Vec<String>,
}

impl Overfit {
    /// Whether the model learned the batch.
    pub fn passed(&self) -> bool {
        self.causes.is_empty()
    }
}

impl Learner {
    /// Trains on the first batch alone, 200 steps at this learning rate, in a session of its own. A model, a loss and data
    /// that fit together learn it by heart, and the loss goes almost to 0. Where it does not, what is likely to be the cause
    /// is named: labels that contradict each other, inputs that are out of scale or all alike, layers that get no gradient,
    /// dead units, a learning rate that is too small or too large.
    ///
    /// # Errors
    /// If the data do not fit the graphs.
    pub fn overfit_one_batch(&mut self, lr: f64) -> Result<Overfit, FitError> {
        let batch = self.first_batch()?;
        let (before, after) = self.learn_by_heart(&batch, lr)?;
        let mut causes = Vec::new();
        if !is_gone(before, after) {
            causes = self.causes(&batch, lr, after)?;
            if causes.is_empty() {
                causes.push(
                    "nothing else is seen: the model may be too small, or its output may not fit the loss".into(),
                );
            }
        }
        Ok(Overfit { before, after, causes })
    }

    /// The loss of `batch` before and after so many steps on it.
    fn learn_by_heart(&mut self, batch: &Batch, lr: f64) -> Result<(f64, f64), FitError> {
        let trial = self.trial(lr)?;
        let before = trial.loss(batch)?;
        for _ in 0..STEPS {
            if !trial.step(batch)?.loss.is_finite() {
                return Ok((before, f64::NAN));
            }
        }
        Ok((before, trial.loss(batch)?))
    }

    /// What may be why the loss stays.
    fn causes(&mut self, batch: &Batch, lr: f64, after: f64) -> Result<Vec<String>, FitError> {
        let mut causes = Vec::new();
        let input = batch.column(self.data.input())?;
        let rows: Vec<Vec<u8>> = rows_of(input);
        let targets = rows_of(batch.column(self.data.target())?);
        let mut known: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (row, content) in rows.iter().enumerate() {
            let first = *known.entry(content).or_insert(row);
            if targets[first] != targets[row] {
                let (first, row) = (batch.rows()[first], batch.rows()[row]);
                causes.push(format!(
                    "rows {first} and {row} of the training set have the same input and different targets: no model can have \
                     both right"
                ));
                break;
            }
        }
        let statistics = Statistics::of(input);
        if rows.len() > 1 && known.len() == 1 {
            causes.push(format!(
                "all rows of `{}` are alike: is the input read and prepared as it should be?",
                self.data.input()
            ));
        } else if statistics.nan + statistics.infinite > 0 {
            causes.push(format!("`{}` holds numbers that are none: {statistics}", self.data.input()));
        } else if input.dtype().is_float() && statistics.norm / (statistics.count.max(1) as f64).sqrt() > 30.0 {
            causes.push(format!("`{}` is out of scale: {statistics}; `standardized` helps", self.data.input()));
        }
        if !after.is_nan() {
            let trial = self.trial(lr)?;
            for _ in 0..10 {
                trial.step(batch)?;
            }
            causes.extend(trial.report(batch)?.faults());
        }
        for factor in OTHERS {
            let (before, after) = self.learn_by_heart(batch, lr * factor)?;
            if is_gone(before, after) {
                let (kind, lr, better) = (if factor > 1.0 { "small" } else { "large" }, short(lr), short(lr * factor));
                causes.push(format!("a learning rate of {lr} is too {kind}: with {better} the batch is learned"));
                break;
            }
        }
        Ok(causes)
    }
}

fn is_gone(before: f64, after: f64) -> bool {
    after < GONE * before || after < 1e-3
}

/// The bytes of each row.
fn rows_of(array: &thalweg_formats::array::Array) -> Vec<Vec<u8>> {
    let rows = array.shape().first().copied().unwrap_or(0);
    let bytes = array.storage().bytes();
    bytes.chunks((bytes.len() / rows.max(1)).max(1)).map(<[u8]>::to_vec).collect()
}

/// What came of it, and the causes.
impl fmt::Display for Overfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (short(self.before), short(self.after));
        let how = if self.passed() { "one batch is learned by heart" } else { "one batch is not learned" };
        write!(f, "{how}: its loss went from {before} to {after} in {STEPS} steps")?;
        self.causes.iter().try_for_each(|cause| write!(f, "\n- {cause}"))
    }
}
