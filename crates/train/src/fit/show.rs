//! Progress for the user.

use super::{Callback, Event, FitError, Flow, Moment};
use crate::progress::{Progress, Style};

/// Shows events as [`Progress`] does.
pub(super) struct Show {
    style: Style,
    progress: Progress,
}

impl Show {
    pub(super) fn new(style: Style) -> Show {
        // Until it is known where training begins.
        Show { style, progress: Progress::new(style, 0, None) }
    }
}

impl Callback for Show {
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
            Event::Epoch(_) => {}
            Event::Saved(saved) => saved.warnings.iter().for_each(|warning| self.progress.message(warning)),
            Event::Note(note) => self.progress.message(note),
            Event::End => self.progress.finish(),
        }
        Ok(Flow::Continue)
    }
}
