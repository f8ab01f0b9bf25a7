//! [`Samples`]: what a model says as it is trained, beside its run.

use std::fs::OpenOptions;
use std::io::Write;

use thalweg::train::FitError;
use thalweg::train::checkpoint::{Checkpoint, CheckpointError};
use thalweg::train::fit::{Callback, Event, Flow, Moment};

/// The file in the folder of a run.
const FILE: &str = "samples.txt";

/// What a model says at some moment of its training.
type Say = dyn Fn(&Moment<'_>) -> Result<String, FitError>;

/// Writes what a model says into the folder of its run, each time that the loss of what was held out has become smaller by a
/// twentieth, and at the end.
pub(crate) struct Samples {
    say: Box<Say>,
    /// That of the last sample.
    loss: Option<f64>,
}

impl Samples {
    pub(crate) fn new(say: impl Fn(&Moment<'_>) -> Result<String, FitError> + 'static) -> Samples {
        Samples { say: Box::new(say), loss: None }
    }
}

impl Callback for Samples {
    fn name(&self) -> String {
        "samples".into()
    }

    /// # Errors
    /// If the model cannot be asked, or the file not be written.
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        let (Event::Measured { validation: Some(evaluation), .. }, Some(run)) = (event, moment.run) else {
            return Ok(Flow::Continue);
        };
        let is_better = self.loss.is_none_or(|last| evaluation.loss < 0.95 * last);
        if is_better || moment.step == moment.last_step {
            let (path, said) = (run.join(FILE), (self.say)(moment)?);
            let heading = format!("--- after step {}, held-out loss {:.3}", moment.step, evaluation.loss);
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.and_then(|mut file| writeln!(file, "{heading}\n{said}\n")).map_err(|error| FitError::Setting {
                setting: path.display().to_string(),
                reason: error.to_string(),
            })?;
            self.loss = Some(evaluation.loss);
        }
        Ok(Flow::Continue)
    }

    fn remember(&self, memory: &mut Checkpoint) {
        memory.set("loss", &self.loss);
    }

    fn recall(&mut self, memory: &Checkpoint) -> Result<(), CheckpointError> {
        self.loss = memory.get("loss")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_of_the_last_sample_is_remembered() {
        let [mut before, mut after] = [(), ()].map(|()| Samples::new(|_| Ok(String::new())));
        before.loss = Some(1.5);
        let mut memory = Checkpoint::default();
        before.remember(&mut memory);
        after.recall(&memory).unwrap();
        assert_eq!(after.loss, Some(1.5));
    }
}
