//! Opening regular files, and nothing else: a pipe would wait for its writer, a device never end.

use std::fs::{File, Metadata};
use std::path::Path;

use crate::error::FormatError;

/// Opens a regular file, or a symbolic link to one, for reading; also returns its size.
///
/// # Errors
/// If it cannot be opened, or something else stands there.
pub fn open(path: &Path) -> Result<(File, u64), FormatError> {
    let size = |metadata: Metadata| match metadata {
        metadata if metadata.is_file() => Ok(metadata.len()),
        metadata => {
            let kind = if metadata.is_dir() { "a directory" } else { "a pipe or device" };
            Err(FormatError::NotAFile { path: path.to_path_buf(), kind })
        }
    };
    // Looked at first, because opening a pipe waits; and again, because another may stand there by now.
    size(std::fs::metadata(path).map_err(FormatError::io(path, "open"))?)?;
    let file = File::open(path).map_err(FormatError::io(path, "open"))?;
    let size = size(file.metadata().map_err(FormatError::io(path, "open"))?)?;
    Ok((file, size))
}
