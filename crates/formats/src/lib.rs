//! Files: what stands on disk and how it gets there whole.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`safetensors`] | names → arrays and text, in the format of Hugging Face, read strictly and written deterministically |
//! | [`atomic`] | replacing a file so that a reader, or the next start after a crash, sees the old or the new, never a mix |
//! | [`regular`] | opening regular files only |

pub mod atomic;
mod error;
pub mod regular;
pub mod safetensors;

pub use error::FormatError;
pub use thalweg_graph::array;
