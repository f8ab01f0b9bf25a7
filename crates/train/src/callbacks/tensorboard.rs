//! [`TensorBoard`]: event files with scalars, histograms of weights, gradients and activations, the graph.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use thalweg_run::graph::Graph;
use thalweg_run::graph::text::split_op;

use crate::diagnosis::{Paths, Report};
use crate::events::{EventWriter, GraphNode, Histogram, Value};
use crate::fit::{Callback, Event, FitError, Flow, Moment};
use crate::inputs::Inputs;

/// A step is recorded every so many.
const EVERY: u64 = 10;

/// Records a training for TensorBoard. Every training that is saved has one, in the folder `events` of its run.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    /// From the beginning of the training on.
    events: Option<EventWriter>,
}

impl TensorBoard {
    /// Event files in this folder, which is made if it is not there. What older files in it say of later steps does not
    /// count any more.
    pub fn new(folder: impl Into<PathBuf>) -> TensorBoard {
        TensorBoard { folder: folder.into(), events: None }
    }

    fn begin(&mut self, moment: &Moment<'_>) -> Result<(), FitError> {
        // Of a training that ended before its first checkpoint there may be records: they no longer count.
        let mut events = match moment.resumed || self.folder.exists() {
            true => EventWriter::resume(&self.folder, now(), moment.step)?,
            false => EventWriter::create(&self.folder, now())?,
        };
        if moment.step == 0 {
            events.graph(now(), &nodes(&training_graph(moment)))?;
        }
        self.events = Some(events);
        Ok(())
    }
}

impl Callback for TensorBoard {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        if let Event::Begin = event {
            self.begin(moment)?;
        }
        let Some(events) = &mut self.events else { return Ok(Flow::Continue) };
        let scalar = |x: f64| Value::Scalar(x as f32);
        match event {
            Event::Step(numbers) => {
                if moment.step.is_multiple_of(EVERY) || moment.step == 1 {
                    let values = [
                        ("loss/batch", scalar(numbers.loss)),
                        ("learning_rate", scalar(numbers.learning_rate)),
                        ("gradient_norm", scalar(numbers.gradient_norm)),
                    ];
                    events.log(moment.step, now(), &values)?;
                }
            }
            Event::EpochEnds(batch) => {
                let mut values = Vec::new();
                let gradients: Vec<_> = moment.optimization.gradients.iter().map(|(_, gradient)| gradient).collect();
                // A run of its own, which changes nothing: the training step stays the one plan that it is.
                // With the loss, so that the sizes of the batch are known: a gradient may need a size and not the numbers.
                let loss = moment.loss;
                let inputs = Inputs::of(gradients.iter().copied().chain([loss]));
                let (gradients, _) = moment.session.run((&gradients, loss), inputs.feeds(batch)?)?;
                for ((name, _), gradient) in moment.optimization.gradients.iter().zip(&gradients) {
                    values.push((format!("gradients/{name}"), Value::Histogram(Histogram::of(gradient))));
                }
                let report = Report::new(moment.session, loss, moment.optimization, batch)?;
                for layer in &report.layers {
                    let dead = layer.dead as f64 / layer.units.max(1) as f64;
                    values.push((
                        format!("activations/{}", layer.path),
                        Value::Histogram(Histogram::of(&layer.activation)),
                    ));
                    values.push((format!("dead_units/{}", layer.path), scalar(dead)));
                    values.extend(layer.saturated.map(|share| (format!("saturated/{}", layer.path), scalar(share))));
                    let ratio =
                        |(name, _, ratio): &(String, f64, f64)| (format!("step_to_weight/{name}"), scalar(*ratio));
                    values.extend(layer.parameters.iter().map(ratio));
                }
                for (name, variable) in moment.session.variables() {
                    if variable.is_trainable() {
                        let weights = Histogram::of(&moment.session.read(&variable)?);
                        values.push((format!("weights/{name}"), Value::Histogram(weights)));
                    }
                }
                let values: Vec<(&str, Value)> = values.iter().map(|(tag, value)| (&**tag, value.clone())).collect();
                events.log(moment.step, now(), &values)?;
            }
            Event::Measured { train_loss, validation } => {
                let mut values = vec![("loss/train", scalar(*train_loss))];
                if let Some(evaluation) = validation {
                    values.push(("loss/valid", scalar(evaluation.loss)));
                    values.extend(evaluation.accuracy().map(|accuracy| ("accuracy/valid", scalar(accuracy))));
                }
                events.log(moment.step, now(), &values)?;
            }
            Event::Begin | Event::EpochBegins | Event::Measures | Event::Saved(_) | Event::Note(_) | Event::End => {}
        }
        Ok(Flow::Continue)
    }
}

/// Seconds since 1970. It stands in event files alone; nothing depends on it.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn training_graph(moment: &Moment<'_>) -> Graph {
    Graph::capture([moment.loss], &moment.optimization.updates)
}

/// The nodes as TensorBoard draws them: called by scope and name, or by scope and op with a number.
fn nodes(graph: &Graph) -> Vec<GraphNode> {
    // Constants of many numbers say nothing in a picture.
    const LONGEST: usize = 80;
    let mut paths = Paths::default();
    let mut names: Vec<String> = Vec::with_capacity(graph.len());
    let mut drawn = Vec::with_capacity(graph.len());
    for node in graph.nodes() {
        let (op, attributes) = split_op(&node.op);
        let own = node.op.own_name().or(node.name.as_deref()).unwrap_or(&op);
        let name = paths.of(&node.scope, own);
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
