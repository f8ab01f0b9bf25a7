//! Event files: scalars, histograms of weights and gradients, the graph.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use thalweg_run::graph::text::split_op;
use thalweg_run::graph::{Graph, Node};

use super::{Callback, Event, FitError, Flow, Moment};
use crate::evaluate::{columns_read, feeds};
use crate::events::{EventWriter, GraphNode, Histogram, Value};

/// A step is recorded every so many.
const EVERY: u64 = 10;

/// Records events for TensorBoard.
pub(super) struct Record {
    events: EventWriter,
    resumed: bool,
}

impl Record {
    /// Begins a file in `folder`; `resumed` is the step behind which the training goes on.
    pub(super) fn open(folder: &Path, resumed: Option<u64>) -> Result<Record, FitError> {
        let events = match resumed {
            Some(step) => EventWriter::resume(folder, now(), step)?,
            None => EventWriter::create(folder, now())?,
        };
        Ok(Record { events, resumed: resumed.is_some_and(|step| step > 0) })
    }
}

impl Callback for Record {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        let scalar = |x: f64| Value::Scalar(x as f32);
        match event {
            Event::Begin if self.resumed => {}
            Event::Begin => self.events.graph(now(), &nodes(&training_graph(moment)))?,
            Event::Step(numbers) => {
                if moment.step.is_multiple_of(EVERY) || moment.step == 1 {
                    let values = [
                        ("loss/batch", scalar(numbers.loss)),
                        ("learning_rate", scalar(numbers.learning_rate)),
                        ("gradient_norm", scalar(numbers.gradient_norm)),
                    ];
                    self.events.log(moment.step, now(), &values)?;
                }
            }
            Event::Epoch(batch) => {
                let mut values = Vec::new();
                let gradients: Vec<_> = moment.optimization.gradients.iter().map(|(_, gradient)| gradient).collect();
                // A run of its own, which changes nothing: the training step stays the one plan that it is.
                // With the loss, so that the sizes of the batch are known: a gradient may need a size and not the numbers.
                let loss = &moment.task.train_loss;
                let columns = columns_read(gradients.iter().copied().chain([loss]));
                let (gradients, _) = moment.session.run((&gradients, loss), feeds(&columns, batch)?)?;
                for ((name, _), gradient) in moment.optimization.gradients.iter().zip(&gradients) {
                    values.push((format!("gradients/{name}"), Value::Histogram(Histogram::of(gradient))));
                }
                for (name, variable) in moment.session.variables() {
                    if variable.is_trainable() {
                        let weights = Histogram::of(&moment.session.read(&variable)?);
                        values.push((format!("weights/{name}"), Value::Histogram(weights)));
                    }
                }
                let values: Vec<(&str, Value)> = values.iter().map(|(tag, value)| (&**tag, value.clone())).collect();
                self.events.log(moment.step, now(), &values)?;
            }
            Event::Measured { train_loss, validation } => {
                let mut values = vec![("loss/train", scalar(*train_loss))];
                if let Some(evaluation) = validation {
                    values.push(("loss/valid", scalar(evaluation.loss)));
                    values.extend(evaluation.accuracy().map(|accuracy| ("accuracy/valid", scalar(accuracy))));
                }
                self.events.log(moment.step, now(), &values)?;
            }
            Event::Saved(_) | Event::Note(_) | Event::End => {}
        }
        Ok(Flow::Continue)
    }
}

/// Seconds since 1970. It stands in event files alone; nothing depends on it.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn training_graph(moment: &Moment<'_>) -> Graph {
    Graph::capture([&moment.task.train_loss], &moment.optimization.updates)
}

/// The nodes as TensorBoard draws them: called by scope and name, or by scope and op with a number.
fn nodes(graph: &Graph) -> Vec<GraphNode> {
    // Constants of many numbers say nothing in a picture.
    const LONGEST: usize = 80;
    let mut taken = BTreeMap::new();
    let mut names: Vec<String> = Vec::with_capacity(graph.len());
    let mut drawn = Vec::with_capacity(graph.len());
    for node in graph.nodes() {
        let (op, attributes) = split_op(&node.op);
        let name = unique(&full_name(node, &op), &mut taken);
        drawn.push(GraphNode {
            name: name.clone(),
            op,
            inputs: node.inputs.iter().map(|input| names[input.index()].clone()).collect(),
            dtype: node.meta.dtype,
            shape: node.meta.shape.clone(),
            attributes: attributes
                .into_iter()
                .map(|(key, value)| (key, value.to_string()))
                .filter(|(_, text)| text.len() <= LONGEST)
                .collect(),
        });
        names.push(name);
    }
    drawn
}

fn full_name(node: &Node, op: &str) -> String {
    let name = node.op.own_name().or(node.name.as_deref()).unwrap_or(op);
    if node.scope.is_empty() { name.to_string() } else { format!("{}/{name}", node.scope) }
}

fn unique(name: &str, taken: &mut BTreeMap<String, usize>) -> String {
    let mut unique = name.to_string();
    while let Some(count) = taken.get_mut(&unique) {
        *count += 1;
        unique = format!("{name}_{count}");
    }
    taken.insert(unique.clone(), 0);
    unique
}
