//! Standard output.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard output.
///
/// # Errors
/// If it cannot be written. Where the reader went away (`| head`), the program ends without a word.
pub(crate) fn line(text: impl Display) -> anyhow::Result<()> {
    // At once, so that a large text is one write.
    io::stdout().lock().write_all(format!("{text}\n").as_bytes()).map_err(|error| OutputError(error).into())
}

/// Writes a piece of a text to standard output at once.
///
/// # Errors
/// As [`line()`].
pub(crate) fn text(piece: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(piece.as_bytes()).and_then(|()| out.flush()).map_err(|error| OutputError(error).into())
}

/// Writes a line to standard error; if nobody reads it, that is no reason to stop.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Standard output cannot be written to.
#[derive(Debug)]
pub(crate) struct OutputError(io::Error);

impl OutputError {
    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

impl Display for OutputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "standard output: cannot write: {}", self.0)
    }
}

impl std::error::Error for OutputError {}

/// A share of 1 as people read it: `97.8 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
