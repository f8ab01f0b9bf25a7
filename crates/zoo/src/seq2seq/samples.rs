//! [`Samples`]: what a model says while it is trained.

use std::fmt::Write;
use std::io::Write as _;
use std::path::Path;

use thalweg::data::DataError;
use thalweg::data::text::TextEncoding;
use thalweg::prelude::*;
use thalweg::train::fit::{Callback, Event, Flow, Moment};
use thalweg::train::{FitError, Function, Responder};

use super::{REPLY, SOURCE, exchange};

/// The file beside a run.
const FILE: &str = "samples.txt";

/// So many texts are shown.
const TEXTS: usize = 5;

/// Writes into the folder of the run what the model says to some of the texts that are held out, each time that their loss
/// has become smaller by a twentieth, and at the end.
pub(super) struct Samples {
    functions: [Function; 2],
    encodings: [TextEncoding; 2],
    /// Texts and what is to be said to them.
    exchanges: Vec<(Vec<i64>, Vec<i64>)>,
    /// That of the last samples.
    loss: f64,
}

impl Samples {
    pub(super) fn new(data: &TrainingData, functions: [Function; 2]) -> Result<Samples, DataError> {
        let encodings = [data.prepare().text(SOURCE)?.clone(), data.prepare().text(REPLY)?.clone()];
        let rows = data.valid().len();
        let shown = (0..TEXTS.min(rows)).map(|n| exchange(data.valid(), n * rows / TEXTS.min(rows)));
        let exchanges = shown.collect::<Result<_, _>>()?;
        Ok(Samples { functions, encodings, exchanges, loss: f64::INFINITY })
    }

    fn write(&self, path: &Path, loss: f64, moment: &Moment<'_>) -> Result<(), FitError> {
        let [encode, next] = &self.functions;
        let [source, reply] = &self.encodings;
        let responder = Responder::new(moment.session, [encode, next], [source, reply]);
        let texts: Vec<Vec<i64>> = self.exchanges.iter().map(|(text, _)| text.clone()).collect();
        let mut lines = format!("--- after step {}, held-out loss {loss:.3}\n", moment.step);
        for ((text, expected), said) in self.exchanges.iter().zip(responder.greedy(&texts)?) {
            let [text, said, expected] = [source.text(text)?, reply.text(&said)?, reply.text(expected)?];
            let _ = writeln!(lines, "text      {text}\nsaid      {said}\nexpected  {expected}\n");
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(|error| FitError::Setting { setting: path.display().to_string(), reason: error.to_string() })
    }
}

impl Callback for Samples {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        let (Event::Measured { validation: Some(evaluation), .. }, Some(run)) = (event, moment.run) else {
            return Ok(Flow::Continue);
        };
        if evaluation.loss < 0.95 * self.loss || moment.step == moment.last_step {
            self.write(&run.join(FILE), evaluation.loss, moment)?;
            self.loss = evaluation.loss;
        }
        Ok(Flow::Continue)
    }
}
