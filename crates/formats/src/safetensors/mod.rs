//! Safetensors: names → arrays and text, in one file that is safe to open.
//!
//! The format (<https://github.com/huggingface/safetensors>): eight bytes with the length of the header, the header in
//! JSON with dtype, shape and place of each tensor, then the elements, little-endian, without gaps.
//!
//! **Reading is strict.** Whatever the format forbids is refused by name, and so are duplicate keys, which its reference
//! implementation lets pass. Names are names, never paths. Before a file is refused it costs at most twice its size and
//! 64 MiB in memory: nothing is believed before it is compared with the bytes that are there.
//!
//! **Writing is deterministic.** The same tensors and text give the same bytes, on every machine: tensors stand in the
//! order of falling element size, then of names, so that each is aligned to its elements; the header is padded with
//! spaces to a multiple of eight.
//!
//! **Damage is noticed.** The format has no checksum, so the metadata carry our own: the key `thalweg.crc32` holds the
//! CRC-32 of the header (its own digits taken as zeros) and of each tensor in the order of the file, so that any flipped
//! bit is found and the tensor named. A second key, `thalweg.checksum`, says that the first must be there: a bit flipped in
//! the name of either does not turn the check off. Files of others, without both, are read without it.

mod header;
mod read;
mod write;

use std::collections::BTreeMap;

use thalweg_graph::array::{Array, DType};

pub use header::{MAX_HEADER_BYTES, MAX_METADATA, MAX_TENSORS};
pub use read::{decode, read, read_header};
pub use write::{Encoded, write};

/// What a file holds: arrays by name and text by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// The arrays.
    pub tensors: BTreeMap<String, Array>,
    /// The text.
    pub metadata: BTreeMap<String, String>,
}

/// What a file says about itself, without the elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Dtype and shape of each tensor.
    pub tensors: BTreeMap<String, (DType, Vec<usize>)>,
    /// The text.
    pub metadata: BTreeMap<String, String>,
}

/// What messages call the format.
const FORMAT: &str = "safetensors";
/// The key of the checksums in the metadata.
const CHECKSUMS: &str = "thalweg.crc32";
/// The key that says that there are checksums, and its value.
const CHECKSUM_KIND: (&str, &str) = ("thalweg.checksum", "crc32");

// The format is little-endian, and elements are moved between file and memory as they are.
const _: () = assert!(cfg!(target_endian = "little"), "safetensors files need a little-endian machine");
