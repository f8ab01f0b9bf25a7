//! [`CsvLog`]: what was measured, as a table.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thalweg_formats::FormatError;
use thalweg_formats::atomic::{self, LocalDisk};

use crate::checkpoint::LOG;
use crate::fit::{Callback, Event, FitError, Flow, Moment};

const HEADER: &str = "step,epoch,learning_rate,train_loss,valid_loss,valid_accuracy";

/// A line of comma-separated numbers for each measurement; what is not measured is empty. A training that is resumed goes on
/// behind the lines of its checkpoint, so that the file ends as that of one that was not stopped.
#[derive(Clone, Debug)]
pub struct CsvLog {
    path: PathBuf,
    learning_rate: Option<f64>,
}

impl CsvLog {
    /// Into this file, which a training that begins anew writes over.
    pub fn new(path: impl Into<PathBuf>) -> CsvLog {
        CsvLog { path: path.into(), learning_rate: None }
    }

    /// Into the file `log.csv` in the folder of a run, of which it is a part then: a run that ended before its first
    /// checkpoint is begun anew in its folder, table or not.
    pub fn in_run(run: impl AsRef<Path>) -> CsvLog {
        CsvLog::new(run.as_ref().join(LOG))
    }

    /// The header, and the lines of the steps that were made and count.
    fn begin(&self, moment: &Moment<'_>) -> Result<(), FormatError> {
        let old = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(FormatError::io(&self.path, "read"))?,
        };
        let step = |line: &str| line.split(',').next()?.parse::<u64>().ok();
        let counts = |line: &&str| step(line).is_some_and(|step| step <= moment.step) && moment.step > 0;
        let mut text = format!("{HEADER}\n");
        // What a killed process left of a line has no end.
        let whole = old.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.filter(counts).for_each(|line| text += &format!("{line}\n"));
        atomic::replace(&LocalDisk, &self.path, text.len() as u64, |file| file.write_all(text.as_bytes()))
    }

    fn append(&self, line: &str) -> Result<(), FormatError> {
        let file = fs::OpenOptions::new().append(true).open(&self.path);
        let mut file = file.map_err(FormatError::io(&self.path, "open"))?;
        file.write_all(line.as_bytes()).map_err(FormatError::io(&self.path, "write"))
    }
}

impl Callback for CsvLog {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        match event {
            Event::Begin => self.begin(moment)?,
            Event::Step(numbers) => self.learning_rate = Some(numbers.learning_rate),
            Event::Measured { train_loss, validation } => {
                let shown = |x: Option<f64>| x.map(|x| x.to_string()).unwrap_or_default();
                let loss = validation.map(|validation| validation.loss);
                let accuracy = validation.and_then(|validation| validation.accuracy());
                let numbers = [self.learning_rate, Some(*train_loss), loss, accuracy].map(shown).join(",");
                self.append(&format!("{},{},{numbers}\n", moment.step, moment.epoch))?;
            }
            Event::EpochBegins
            | Event::Measures
            | Event::EpochEnds(_)
            | Event::Saved(_)
            | Event::Note(_)
            | Event::End => {}
        }
        Ok(Flow::Continue)
    }
}
