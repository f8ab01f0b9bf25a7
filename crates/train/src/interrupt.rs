//! Ctrl-C: the first asks the training to finish its step, save and stop; the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use thiserror::Error;

/// The exit code of a process that was interrupted, whether it stopped in order or at once: 128 + SIGINT, as shells have it.
/// SIGTERM and SIGHUP ask for the same and give the same code.
pub const EXIT_CODE: i32 = 130;

/// The signals cannot be handled.
#[derive(Debug, Error)]
#[error("Ctrl-C cannot be handled: {0}")]
pub struct InterruptError(String);

/// Whether the user asked to stop. Clones share the answer.
///
/// ```
/// use thalweg_train::interrupt::{Interrupt, Reaction};
/// let interrupt = Interrupt::default();
/// assert!(!interrupt.requested());
/// assert_eq!(interrupt.request(), Reaction::Finish); // what the first Ctrl-C does
/// assert!(interrupt.requested());                    // what the loop looks at after each step
/// assert_eq!(interrupt.request(), Reaction::ExitNow); // what the second does
/// ```
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

/// What a signal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The step is finished, the state saved, the process ends with [`EXIT_CODE`].
    Finish,
    /// The process ends now, with [`EXIT_CODE`]; what was saved before stays whole.
    ExitNow,
}

impl Interrupt {
    /// Listens to Ctrl-C, SIGTERM and SIGHUP, for the whole process and as long as it runs. Later calls give the same.
    ///
    /// # Errors
    /// If something else in the process handles them already.
    pub fn listen() -> Result<Interrupt, InterruptError> {
        static LISTENING: OnceLock<Result<Interrupt, String>> = OnceLock::new();
        let listening = LISTENING.get_or_init(|| {
            let interrupt = Interrupt::default();
            let heard = interrupt.clone();
            let handler = move || match heard.request() {
                Reaction::Finish => {}
                Reaction::ExitNow => std::process::exit(EXIT_CODE),
            };
            ctrlc::set_handler(handler).map_err(|error| error.to_string())?;
            Ok(interrupt)
        });
        listening.clone().map_err(InterruptError)
    }

    /// Asks to stop, as a signal does.
    pub fn request(&self) -> Reaction {
        if self.requested.swap(true, Ordering::SeqCst) { Reaction::ExitNow } else { Reaction::Finish }
    }

    /// Whether the user asked to stop.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Forgets the request: before another training in the same process.
    pub fn clear(&self) {
        self.requested.store(false, Ordering::SeqCst);
    }
}
