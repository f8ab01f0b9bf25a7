//! What can be wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What can be wrong with a file. Every message begins with its path.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `open`, `read`, `write`, `sync`, `rename`, …
        action: &'static str,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// There is no room for the file.
    #[error("{}: the disk is full: the file needs {need} bytes; what stood there before is untouched", path.display())]
    Full {
        /// The file that was being written.
        path: PathBuf,
        /// The bytes of the whole file.
        need: u64,
    },
    /// A directory, pipe or device where a file is wanted.
    #[error("{}: {kind}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What stands there.
        kind: &'static str,
    },
    /// The header, or the file as a whole, breaks the format.
    #[error("{}: not a valid {format} file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be: `safetensors`.
        format: &'static str,
        /// Expected and found.
        reason: String,
    },
    /// The entry of one tensor breaks the format, or is of a kind that arrays cannot hold.
    #[error("{}: tensor {}: {reason}", path.display(), shown(tensor))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The name of the tensor.
        tensor: String,
        /// Expected and found.
        reason: String,
    },
    /// The bytes are not those that were written.
    #[error("{}: damaged: the checksum of {part} is {found}, but {expected} was written", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// `the header`, or the tensor.
        part: String,
        /// The checksum in the file.
        expected: String,
        /// The checksum of the bytes in the file.
        found: String,
    },
}

impl FormatError {
    /// An answer of the operating system to `action` on `path`.
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> FormatError {
        move |source| FormatError::Io { path: path.to_path_buf(), action, source }
    }

    /// The file or folder at fault.
    pub fn path(&self) -> &Path {
        match self {
            FormatError::Io { path, .. }
            | FormatError::Full { path, .. }
            | FormatError::NotAFile { path, .. }
            | FormatError::Malformed { path, .. }
            | FormatError::Tensor { path, .. }
            | FormatError::Damaged { path, .. } => path,
        }
    }
}

/// A name as it is shown in messages: quoted, control characters escaped, long ones cut.
pub(crate) fn shown(name: &str) -> String {
    const LONGEST: usize = 120;
    let quoted: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    match name.chars().nth(LONGEST) {
        None => format!("`{quoted}`"),
        Some(_) => format!("`{quoted}…` ({} bytes)", name.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_escaped_and_cut() {
        assert_eq!(shown("a\nb\0"), "`a\\nb\\0`");
        let long = shown(&"x".repeat(1 << 20));
        assert!(long.ends_with("…` (1048576 bytes)") && long.len() < 200, "{long}");
    }
}
