//! Writing.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;
use thalweg_graph::array::Array;

use super::header::{MAX_HEADER_BYTES, MAX_METADATA, MAX_TENSORS, METADATA, dtype_name};
use super::read::{blank_own_checksum, checksum};
use super::{CHECKSUM_KIND, CHECKSUMS, FORMAT};
use crate::atomic::{self, LocalDisk};
use crate::error::FormatError;

/// Writes a file at `path`, replacing an old one all or nothing.
///
/// # Errors
/// If it cannot be written (the old file is then untouched), or as [`Encoded::new`].
pub fn write(
    path: impl AsRef<Path>,
    tensors: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), FormatError> {
    let path = path.as_ref();
    let encoded = Encoded::new(tensors, metadata, path)?;
    atomic::replace(&LocalDisk, path, encoded.len(), |file| encoded.write_to(file))
}

/// A file ready to be written: the header made, the tensors still where they are.
#[derive(Debug)]
pub struct Encoded<'a> {
    header: Vec<u8>,
    tensors: Vec<&'a Array>,
}

impl<'a> Encoded<'a> {
    /// Lays out a file, whose name in messages is `path`.
    ///
    /// # Errors
    /// If a name or key is one that the format keeps for itself, or there are more entries than a reader would take.
    pub fn new(
        tensors: &'a BTreeMap<String, Array>,
        metadata: &BTreeMap<String, String>,
        path: &Path,
    ) -> Result<Encoded<'a>, FormatError> {
        let malformed = |reason| Err(FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, reason });
        if tensors.contains_key(METADATA) {
            return malformed(format!("a tensor may not be named `{METADATA}`"));
        }
        if let Some(key) = [CHECKSUM_KIND.0, CHECKSUMS].into_iter().find(|&key| metadata.contains_key(key)) {
            return malformed(format!("the metadata key `{key}` is kept for the checksums"));
        }
        if tensors.len() > MAX_TENSORS {
            return malformed(format!("{} tensors; the most is {MAX_TENSORS}", tensors.len()));
        }
        let own = metadata.len() + 2; // the two of the checksums
        if own > MAX_METADATA {
            return malformed(format!("{own} metadata entries with our own; the most is {MAX_METADATA}"));
        }
        // Falling element sizes keep every tensor aligned without holes.
        let mut ordered: Vec<(&String, &Array)> = tensors.iter().collect();
        ordered.sort_by_key(|(_, array)| Reverse(array.dtype().size()));

        let mut checksums = checksum(&[]);
        for (_, array) in &ordered {
            checksums.push(' ');
            checksums.push_str(&checksum(array.storage().bytes()));
        }
        let mut text = String::from("{");
        write_metadata(&mut text, metadata, &checksums);
        let mut begin = 0;
        for (name, array) in &ordered {
            let end = begin + array.storage().bytes().len();
            let (dtype, sizes) = (dtype_name(array.dtype()), list(array.shape()));
            let name = quoted(name);
            write!(text, r#",{name}:{{"dtype":"{dtype}","shape":[{sizes}],"data_offsets":[{begin},{end}]}}"#)
                .expect("a String takes everything");
            begin = end;
        }
        text.push('}');
        while text.len() % 8 != 0 {
            text.push(' ');
        }
        if text.len() as u64 > MAX_HEADER_BYTES {
            return malformed(format!("a header of {} bytes; the most is {MAX_HEADER_BYTES}", text.len()));
        }
        let mut header = text.into_bytes();
        let digits = blank_own_checksum(&mut header).expect("the key was written above");
        let own = checksum(&header);
        header[digits].copy_from_slice(own.as_bytes());
        Ok(Encoded { header, tensors: ordered.into_iter().map(|(_, array)| array).collect() })
    }

    /// The bytes of the whole file.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> u64 {
        let elements: usize = self.tensors.iter().map(|array| array.storage().bytes().len()).sum();
        8 + self.header.len() as u64 + elements as u64
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_to(&self, to: &mut (impl Write + ?Sized)) -> io::Result<()> {
        to.write_all(&(self.header.len() as u64).to_le_bytes())?;
        to.write_all(&self.header)?;
        self.tensors.iter().try_for_each(|array| to.write_all(array.storage().bytes()))
    }
}

/// The metadata: our own, then those of the caller by key.
fn write_metadata(text: &mut String, metadata: &BTreeMap<String, String>, checksums: &str) {
    let (kind_key, kind) = CHECKSUM_KIND;
    write!(text, r#""{METADATA}":{{"{kind_key}":"{kind}","{CHECKSUMS}":"{checksums}""#)
        .expect("a String takes everything");
    for (key, value) in metadata {
        write!(text, ",{}:{}", quoted(key), quoted(value)).expect("a String takes everything");
    }
    text.push('}');
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn list(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
