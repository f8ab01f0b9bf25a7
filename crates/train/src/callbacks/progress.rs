//! [`ShowProgress`]: how far a training is.

use crate::fit::{Callback, Event, FitError, Flow, Moment};
use crate::progress::{Progress, Style};

/// Shows events on standard error as [`Progress`] does. Every training has one, of the style of its options.
#[derive(Debug)]
pub struct ShowProgress {
    style: Style,
    progress: Progress,
}

impl ShowProgress {
    /// In this style.
    pub fn new(style: Style) -> ShowProgress {
        // Until it is known where training begins.
        ShowProgress { style, progress: Progress::new(style, 0, None) }
    }
}

impl Callback for ShowProgress {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        let Moment { step, last_step, epoch, .. } = *moment;
        match event {
            Event::Begin => self.progress = Progress::new(self.style, step, Some(last_step)),
            Event::Step(numbers) => self.progress.step(step, epoch, numbers.loss),
            Event::Measured { train_loss, validation } => {
                let mut values = vec![("train_loss", *train_loss)];
                if let Some(evaluation) = validation {
                    values.push(("valid_loss", evaluation.loss));
                    values.extend(evaluation.accuracy().map(|accuracy| ("valid_accuracy", accuracy)));
                }
                self.progress.epoch(epoch, step, &values);
            }
            Event::EpochBegins | Event::Measures | Event::EpochEnds(_) => {}
            Event::Saved(saved) => saved.warnings.iter().for_each(|warning| self.progress.message(warning)),
            Event::Note(note) => self.progress.message(note),
            Event::End => self.progress.finish(),
        }
        Ok(Flow::Continue)
    }
}
