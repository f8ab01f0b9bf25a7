//! Zip archives that are read, never unpacked: entries by name, each checked against its CRC-32.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::budget::Budget;
use crate::error::{FormatError, shown};

/// What a file in memory may become when it is unpacked.
const MOST_RATIO: usize = 32;

/// An archive in memory.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    names: Vec<String>,
    path: PathBuf,
    /// What its tensors may take.
    pub(crate) budget: Budget,
}

impl<'a> Archive<'a> {
    /// Whether a file that begins like this is an archive.
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
    }

    /// The archive of these bytes; `path` names it in errors.
    pub(crate) fn open(bytes: &'a [u8], path: &Path) -> Result<Archive<'a>, FormatError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| malformed(path, error.to_string()))?;
        let names = zip.file_names().map(|name| name.map(|name| name.into_owned()));
        let mut names: Vec<String> =
            names.collect::<Result<_, _>>().map_err(|error| malformed(path, error.to_string()))?;
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(malformed(path, format!("the entry {} stands in it twice", shown(&twice[0]))));
        }
        let budget = Budget::new(bytes.len(), MOST_RATIO);
        Ok(Archive { zip, names, path: path.to_path_buf(), budget })
    }

    /// The entries, in order.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The bytes of an entry.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<u8>, FormatError> {
        let refused = |reason: String| malformed(&self.path, format!("the entry {}: {reason}", shown(name)));
        let entry = self.zip.by_name(name).map_err(|error| refused(error.to_string()))?;
        let most = self.budget.left();
        let mut bytes = Vec::new();
        // What it says of its size is not believed: the bytes are counted as they come.
        entry.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|error| refused(error.to_string()))?;
        if bytes.len() > most { Err(refused(self.budget.exceeded())) } else { Ok(bytes) }
    }
}

fn malformed(path: &Path, reason: String) -> FormatError {
    FormatError::Malformed { path: path.to_path_buf(), format: "zip", reason }
}
