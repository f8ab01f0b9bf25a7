//! [`Saving`]: when checkpoints are made.

use crate::fit::{Callback, Event, FitError, Flow, Moment};

/// Asks for a checkpoint every so many steps, or at the end of each epoch. Every training has one, set by
/// [`RunFolder::save_every`](crate::fit::RunFolder::save_every); another adds to it.
///
/// ```
/// use thalweg_train::callbacks::Saving;
/// // A snapshot where each cycle of a schedule of restarts ends, with cycles of 100, 200, 400 steps.
/// let snapshots = Saving::after([100, 300, 700]);
/// ```
#[derive(Clone, Debug)]
pub struct Saving {
    every: Every,
}

#[derive(Clone, Debug)]
enum Every {
    Epoch,
    Steps(u64),
    /// After these steps.
    Listed(Vec<u64>),
}

impl Saving {
    /// Every so many steps; at the end of each epoch where none are given.
    ///
    /// # Panics
    /// If it is every 0 steps.
    #[track_caller]
    pub fn every(steps: Option<u64>) -> Saving {
        assert!(steps != Some(0), "saving every 0 steps; it must be at least 1");
        Saving { every: steps.map_or(Every::Epoch, Every::Steps) }
    }

    /// After these steps: where the cycles of a schedule end.
    pub fn after(steps: impl IntoIterator<Item = u64>) -> Saving {
        Saving { every: Every::Listed(steps.into_iter().collect()) }
    }
}

impl Callback for Saving {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        let due = match (&self.every, event) {
            (Every::Epoch, Event::EpochEnds(_)) => true,
            (Every::Steps(steps), Event::Step(_)) => moment.step.is_multiple_of(*steps),
            (Every::Listed(steps), Event::Step(_)) => steps.contains(&moment.step),
            _ => false,
        };
        Ok(if due { Flow::Save } else { Flow::Continue })
    }
}
