//! One picture of a folder.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::Check;
use super::walk::Candidate;
use crate::error::DataError;
use crate::picture::{Limits, Picture, read_bytes};

/// A picture as it was when the folder was opened.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Within the folder, with `/` between the parts: the same on every machine.
    pub(crate) name: String,
    /// The class, 0 if there are none.
    pub(crate) label: i64,
    bytes: u64,
    /// SHA-256 of the file, if it was read.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Entry {
    /// Looks at a file; why it cannot be used, or what it is with its size in pixels.
    pub(super) fn check(
        candidate: &Candidate,
        check: Check,
        limits: &Limits,
    ) -> Result<(Entry, Option<(usize, usize)>), String> {
        let Candidate { path, name, label } = candidate.clone();
        match check {
            Check::Decode => {
                let bytes = read_bytes(&path, limits)?;
                let size = Picture::decode(&bytes, limits).map_err(|error| reason(&error))?.size();
                let digest = Some(Sha256::digest(&bytes).into());
                Ok((Entry { path, name, label, bytes: bytes.len() as u64, digest }, Some(size)))
            }
            Check::Presence => {
                let kind = std::fs::metadata(&path).map_err(|error| format!("cannot be read: {error}"))?;
                if !kind.is_file() || kind.len() == 0 {
                    return Err(if kind.is_file() { "is an empty file".into() } else { "is not a file".into() });
                }
                if kind.len() > limits.file_bytes {
                    return Err(format!("is too large: {} bytes of at most {}", kind.len(), limits.file_bytes));
                }
                Ok((Entry { path, name, label, bytes: kind.len(), digest: None }, None))
            }
        }
    }

    /// The picture, if the file is still what it was.
    pub(crate) fn read(&self, limits: &Limits) -> Result<Picture, DataError> {
        let refuse = |reason| DataError::File { path: self.path.clone(), reason };
        let bytes = read_bytes(&self.path, limits).map_err(refuse)?;
        let length = bytes.len() as u64;
        if length != self.bytes {
            return Err(refuse(format!(
                "has changed since the folder was opened: {} bytes then, {length} now",
                self.bytes
            )));
        }
        if self.digest.is_some_and(|digest| digest != <[u8; 32]>::from(Sha256::digest(&bytes))) {
            return Err(refuse(
                "has changed since the folder was opened: the length is the same, the content is not".into(),
            ));
        }
        Picture::decode(&bytes, limits).map_err(|error| refuse(reason(&error)))
    }

    /// Adds what tells this picture from others to `hash`.
    pub(crate) fn identify(&self, hash: &mut Sha256) {
        hash.update((self.name.len() as u64).to_le_bytes());
        hash.update(&self.name);
        hash.update(self.bytes.to_le_bytes());
        hash.update(self.digest.unwrap_or_default());
    }
}

/// What is wrong with a picture, as a sentence that goes on from its name.
fn reason(error: &DataError) -> String {
    match error {
        DataError::Undecodable { reason } => reason.clone(),
        other => other.to_string(),
    }
}
