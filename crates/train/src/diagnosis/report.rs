//! [`Report`]: how the layers of a model are.

use std::fmt;

use thalweg_data::Batch;
use thalweg_formats::array::Array;
use thalweg_nn::Step;
use thalweg_run::Session;
use thalweg_run::graph::{Tensor, Variable};

use super::layers::{LayerView, layers_of};
use super::statistics::{Statistics, short};
use crate::events::Histogram;
use crate::fit::FitError;
use crate::inputs::Inputs;
use crate::plot::{Axis, Plot, Scale};

/// How near to its ends a number is that a sigmoid or tanh has pressed flat, as a part of the range.
const FLAT: f64 = 0.01;

/// How the layers of a model are on one batch.
#[derive(Clone, Debug)]
pub struct Report {
    /// The layers, from the input on.
    pub layers: Vec<LayerReport>,
    /// The loss of the batch.
    pub loss: f64,
}

/// How a layer is on one batch.
#[derive(Clone, Debug)]
pub struct LayerReport {
    /// Its path.
    pub path: String,
    /// What it hands on, after its activation.
    pub activation: Array,
    /// The same in a few numbers.
    pub statistics: Statistics,
    /// How many units there are: positions along the axis of features, the last, or of images along axis 1.
    pub units: usize,
    /// How many of them are 0 in every row.
    pub dead: usize,
    /// The share of numbers that a sigmoid or tanh has pressed to its ends, where there is one.
    pub saturated: Option<f64>,
    /// Its parameters that are trained: name, ‖gradient‖, and ‖step‖/‖weight‖ of the next step.
    pub parameters: Vec<(String, f64, f64)>,
}

impl Report {
    /// Of the model of `loss`, in a run of its own on `batch` that changes nothing: what its layers hand on, and what `step`
    /// would do.
    ///
    /// # Errors
    /// If the batch lacks a column that the loss reads, or the run fails.
    pub fn new(session: &Session, loss: &Tensor, step: &Step, batch: &Batch) -> Result<Report, FitError> {
        let layers = layers_of(loss);
        let activations: Vec<&Tensor> = layers.iter().map(|layer| &layer.activation).collect();
        let mut trained: Vec<(&Variable, &Tensor, &Tensor)> = Vec::new();
        for variable in layers.iter().flat_map(|layer| &layer.variables) {
            let gradient = step.gradients.iter().find(|(name, _)| **name == *variable.name());
            if let (Some((_, gradient)), Some(next)) = (gradient, step.next(variable)) {
                trained.push((variable, gradient, next));
            }
        }
        let now: Vec<&Tensor> = trained.iter().map(|(variable, ..)| variable.tensor()).collect();
        let gradients: Vec<&Tensor> = trained.iter().map(|(_, gradient, _)| *gradient).collect();
        let nexts: Vec<&Tensor> = trained.iter().map(|(.., next)| *next).collect();
        let fetches = (loss, &activations, &now, &gradients, &nexts);
        let inputs = Inputs::of(activations.iter().copied().chain(nexts.iter().copied()).chain([loss]));
        let (loss, activations, now, gradients, nexts) = session.run(fetches, inputs.feeds(batch)?)?;
        let moves = now.iter().zip(&gradients).zip(&nexts);
        let numbers: Vec<(String, f64, f64)> = trained
            .iter()
            .zip(moves)
            .map(|((variable, ..), ((now, gradient), next))| {
                let ratio = distance(next, now) / Statistics::of(now).norm;
                (variable.name().to_string(), Statistics::of(gradient).norm, ratio)
            })
            .collect();
        let report = |(layer, activation): (&LayerView, Array)| {
            let is_own =
                |(name, ..): &&(String, f64, f64)| layer.variables.iter().any(|variable| *variable.name() == **name);
            let parameters = numbers.iter().filter(is_own).cloned().collect();
            LayerReport::new(layer, activation, parameters)
        };
        let layers = layers.iter().zip(activations).map(report).collect();
        Ok(Report { layers, loss: loss.item().unwrap_or(f64::NAN) })
    }

    /// What is likely to be wrong, in words: the faults, and steps that are large; nothing if nothing is seen.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = self.faults();
        // Of the weight alone: a bias that begins at 0 is moved by more than its size.
        for (name, _, ratio) in self.layers.iter().filter_map(|layer| layer.parameters.first()) {
            if *ratio > 0.1 {
                findings.push(format!(
                    "a step moves `{name}` by {} of its size; 0.001 is usual: the learning rate is large",
                    short(*ratio)
                ));
            }
        }
        findings
    }

    /// What is wrong with the layers at whatever learning rate: numbers that are none, dead units, saturation, parameters
    /// without gradient.
    pub fn faults(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for layer in &self.layers {
            let LayerReport { path, units, dead, statistics, .. } = layer;
            if statistics.nan + statistics.infinite > 0 {
                findings.push(format!("`{path}` hands on numbers that are none: {statistics}"));
            }
            if *dead * 2 > *units {
                findings.push(format!(
                    "{dead} of {units} units of `{path}` are 0 in every row: a smaller learning rate, or an activation that \
                     leaks, keeps them alive"
                ));
            }
            if let Some(share) = layer.saturated.filter(|share| *share > 0.5) {
                let percent = 100.0 * share;
                findings.push(format!(
                    "{percent:.0} % of what `{path}` hands on is at the ends of its sigmoid or tanh, where there is no slope: \
                     smaller weights or a normalization before it help"
                ));
            }
            for (name, ..) in layer.parameters.iter().filter(|(_, gradient, _)| *gradient == 0.0) {
                findings.push(format!("the gradient of `{name}` is 0: it does not learn"));
            }
        }
        findings
    }
}

impl LayerReport {
    fn new(layer: &LayerView, activation: Array, parameters: Vec<(String, f64, f64)>) -> LayerReport {
        let statistics = Statistics::of(&activation);
        let (units, dead) = dead_units(&activation);
        let saturated = layer.squashed.map(|(low, high)| {
            let near = FLAT * (high - low);
            let all = activation.to_vec::<f64>();
            let flat = all.iter().filter(|&&x| x - low < near || high - x < near).count();
            flat as f64 / all.len().max(1) as f64
        });
        LayerReport { path: layer.path.clone(), activation, statistics, units, dead, saturated, parameters }
    }
}

/// As a picture.
impl LayerReport {
    /// How the numbers that the layer hands on are distributed: how many there are of each size.
    pub fn histogram(&self) -> Plot {
        let Histogram { min, limits, counts, .. } = Histogram::of(&self.activation);
        let (mut points, mut left) = (vec![(min, 0.0)], min);
        for (right, count) in limits.into_iter().zip(counts) {
            points.extend([(left, count), (right, count)]);
            left = right;
        }
        points.push((left, 0.0));
        let axis = |name: &str| Axis { name: name.into(), scale: Scale::Linear };
        Plot::new(axis("what it hands on"), axis("how many")).line(&self.path, &points)
    }
}

/// √Σ (a − b)².
fn distance(a: &Array, b: &Array) -> f64 {
    let pairs = a.to_vec::<f64>().into_iter().zip(b.to_vec::<f64>());
    pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// How many units an activation has, and how many of them are 0 everywhere.
fn dead_units(activation: &Array) -> (usize, usize) {
    let shape = activation.shape();
    let axis = match shape.len() {
        0 => return (1, usize::from(activation.to_vec::<f64>() == [0.0])),
        1 => 0,
        4 => 1,
        rank => rank - 1,
    };
    let (units, behind) = (shape[axis], shape[axis + 1..].iter().product::<usize>().max(1));
    let mut alive = vec![false; units];
    for (at, x) in activation.to_vec::<f64>().into_iter().enumerate() {
        alive[at / behind % units] |= x != 0.0;
    }
    (units, alive.iter().filter(|alive| !**alive).count())
}

/// A table, and the findings below it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows =
            vec![["layer", "mean", "deviation", "dead", "flat", "gradient", "step/weight"].map(String::from)];
        for layer in &self.layers {
            let weight = layer.parameters.first();
            rows.push([
                layer.path.clone(),
                short(layer.statistics.mean),
                short(layer.statistics.std),
                format!("{}/{}", layer.dead, layer.units),
                layer.saturated.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share)),
                weight.map_or("frozen".into(), |(_, gradient, _)| short(*gradient)),
                weight.map_or(String::new(), |(.., ratio)| short(*ratio)),
            ]);
        }
        f.write_str(&table(&rows))?;
        writeln!(f, "loss {}", short(self.loss))?;
        self.findings().iter().try_for_each(|finding| writeln!(f, "- {finding}"))
    }
}

/// Rows of columns as wide as they must be; the first column to the left, the others to the right.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let mut line = format!("{:1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        line.trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_dead_that_are_zero_in_every_row() {
        assert_eq!(dead_units(&[[0.0f32, 1.0, 0.0], [0.0, 0.0, 2.0]].into()), (3, 1));
        // Two rows of two channels of 1 x 2 pixels.
        let images = Array::new(&[2, 2, 1, 2], vec![0.0f32, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        assert_eq!(dead_units(&images), (2, 1));
        assert_eq!(dead_units(&Array::scalar(0.0f32)), (1, 1));
        assert_eq!(dead_units(&Array::from(Vec::<f32>::new())), (0, 0));
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [["layer", "n"], ["a", "100"]].map(|row| row.map(String::from));
        assert_eq!(table(&rows), "layer    n\na      100\n");
    }
}
