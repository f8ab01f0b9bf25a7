//! PyTorch's `.pt`, `.pth` and `.bin`: tensors by name, read without executing anything.
//!
//! What `torch.save` writes is a pickle beside the raw elements: since version 1.6 in a zip archive, before that as five
//! pickles and the elements in one stream. Python opens such a file by running the pickle, which may run anything. Here it
//! is read as a description ([`pickle`]): the calls that stand for tensors and ordered dictionaries are understood, all
//! others are passed over.
//!
//! **Names** are the keys on the way to a tensor, joined by dots: of a state dictionary its own, of a checkpoint with
//! several parts `state_dict.conv1.weight`, of a whole module that of the parameter, as in its state dictionary. Numbers and
//! text on the way (`epoch`, `best_prec1`) become metadata.
//!
//! **Elements** of f32, f64, f16, bf16, i32, i64, u8 and bool keep their dtype, i8 and i16 become i32; strides are laid
//! out row by row. A file costs at most 64 MiB and three times its size in memory.

mod pickle;
mod stream;
mod tensor;
mod walk;
mod zipped;

use std::path::Path;

use crate::error::FormatError;

pub(crate) use stream::decode as decode_stream;
pub(crate) use zipped::{decode as decode_archive, program as archive_program};

/// What messages call the format.
const FORMAT: &str = "PyTorch";

fn malformed(path: &Path, reason: impl Into<String>) -> FormatError {
    FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, reason: reason.into() }
}
