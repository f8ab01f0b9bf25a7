//! Ctrl-C: the first asks the training to finish its step, save and stop; the second ends the process at once.

use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use thiserror::Error;

/// What asks to stop: Ctrl-C; the wish of the system, of `kill`, of a scheduler; a terminal that was closed.
const SIGNALS: &[c_int] = &[
    SIGINT,
    SIGTERM,
    #[cfg(unix)]
    signal_hook::consts::SIGHUP,
];

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
    /// The last signal, 0 before the first.
    signal: Arc<AtomicUsize>,
}

/// What a signal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The step is finished, the state saved, the process ends with [`Interrupt::exit_code`].
    Finish,
    /// The process ends now, with the same code; what was saved before stays whole.
    ExitNow,
}

impl Interrupt {
    /// Listens to Ctrl-C, SIGTERM and SIGHUP, for the whole process and as long as it runs. Later calls give the same.
    ///
    /// # Errors
    /// If the system does not let them be handled.
    pub fn listen() -> Result<Interrupt, InterruptError> {
        static LISTENING: OnceLock<Result<Interrupt, String>> = OnceLock::new();
        let listening = LISTENING.get_or_init(|| {
            let interrupt = Interrupt::default();
            SIGNALS.iter().try_for_each(|&signal| interrupt.heed(signal)).map_err(|error| error.to_string())?;
            Ok(interrupt)
        });
        listening.clone().map_err(InterruptError)
    }

    /// The second signal is looked for first: the one that asks must not end what it asks to finish.
    fn heed(&self, signal: c_int) -> std::io::Result<()> {
        flag::register_conditional_shutdown(signal, exit_code_of(signal as usize).into(), self.requested.clone())?;
        flag::register_usize(signal, self.signal.clone(), signal as usize)?;
        flag::register(signal, self.requested.clone()).map(drop)
    }

    /// Asks to stop, as a signal does.
    pub fn request(&self) -> Reaction {
        if self.requested.swap(true, Ordering::SeqCst) { Reaction::ExitNow } else { Reaction::Finish }
    }

    /// Whether the user asked to stop.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// The exit code of a process that stopped because it was asked to, in order or at once: 128 + the number of the
    /// signal, as shells have it. 130 after Ctrl-C and after [`request`](Interrupt::request), 143 after SIGTERM, 129 after
    /// SIGHUP.
    pub fn exit_code(&self) -> u8 {
        match self.signal.load(Ordering::SeqCst) {
            0 => exit_code_of(SIGINT as usize),
            signal => exit_code_of(signal),
        }
    }

    /// Forgets the request: before another training in the same process.
    pub fn clear(&self) {
        self.requested.store(false, Ordering::SeqCst);
        self.signal.store(0, Ordering::SeqCst);
    }
}

fn exit_code_of(signal: usize) -> u8 {
    128 + signal as u8
}
