//! [`Learner::summary`]: what a model consists of.

use std::fmt;

use thalweg_run::graph::Variable;

use super::Learner;
use crate::diagnosis::{layers_of, table};
use crate::fit::FitError;

/// What a model consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The layers, from the input on.
    pub layers: Vec<SummaryRow>,
    /// The bytes of the weights.
    pub weight_bytes: usize,
    /// The rows of a batch.
    pub batch: usize,
    /// The bytes that a training step on a batch works in, beside weights and state of the optimizer.
    pub step_bytes: usize,
}

/// A layer.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryRow {
    /// The path of its variables.
    pub path: String,
    /// Dtype and shape of what comes out of it.
    pub output: String,
    /// The number of its parameters, frozen ones included.
    pub parameters: usize,
    /// How many of them are trained.
    pub trained: usize,
    /// Floating-point operations for one row, with those of the activation behind it; a multiply-add is two.
    pub flops: u64,
}

impl Learner {
    /// What the model consists of: layers in the order of the graph, the shapes of their outputs, parameters and which are
    /// trained, operations, memory. It prints as a table.
    ///
    /// # Errors
    /// If the data do not fit the graphs.
    pub fn summary(&mut self) -> Result<Summary, FitError> {
        let rows = layers_of(&self.inference.output).into_iter().map(|layer| {
            let is_parameter = |variable: &&Variable| variable.is_frozen() || variable.is_trainable();
            let count = |variables: &mut dyn Iterator<Item = &Variable>| -> usize {
                variables.map(|variable| variable.core().count()).sum()
            };
            SummaryRow {
                path: layer.path.clone(),
                output: layer.output.meta().to_string(),
                parameters: count(&mut layer.variables.iter().filter(is_parameter)),
                trained: count(&mut layer.variables.iter().filter(|variable| variable.is_trainable())),
                flops: layer.flops,
            }
        });
        let layers = rows.collect();
        let bytes = |(_, variable): &(String, Variable)| variable.core().count() * variable.dtype().size();
        let weight_bytes = self.variables.iter().map(bytes).sum();
        let batch = self.first_batch()?;
        let step_bytes = self.trial(self.optimizer.schedule().clone())?.step_bytes(&batch)?;
        Ok(Summary { layers, weight_bytes, batch: batch.len(), step_bytes })
    }
}

impl Summary {
    /// The number of parameters, frozen ones included.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// How many of them are trained.
    pub fn trained(&self) -> usize {
        self.layers.iter().map(|layer| layer.trained).sum()
    }

    /// Floating-point operations for one row.
    pub fn flops(&self) -> u64 {
        self.layers.iter().map(|layer| layer.flops).sum()
    }
}

/// A table of the layers, and the sums.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["layer", "output", "parameters", "trained", "operations a row"].map(String::from)];
        for SummaryRow { path, output, parameters, trained, flops } in &self.layers {
            let is_trained = match trained {
                0 => "no",
                _ if trained == parameters => "yes",
                _ => "in part",
            };
            rows.push([
                path.clone(),
                output.clone(),
                grouped(*parameters),
                is_trained.into(),
                grouped(*flops as usize),
            ]);
        }
        let (all, flops) = (grouped(self.parameters()), grouped(self.flops() as usize));
        rows.push(["total".into(), String::new(), all, String::new(), flops]);
        f.write_str(&table(&rows))?;
        writeln!(f, "{} of {} parameters are trained", grouped(self.trained()), grouped(self.parameters()))?;
        let [weights, step] = [self.weight_bytes, self.step_bytes].map(size);
        writeln!(f, "weights {weights}; a step on {} rows works in {step}", self.batch)
    }
}

/// So many bytes as `0.4 KiB` or `7.5 MiB`.
fn size(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.1} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}

/// 1234567 as `1,234,567`.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
