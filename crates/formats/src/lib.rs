//! Files: what stands on disk and how it gets there whole.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`weights`] | trained weights of others, whatever file they are in, and whether they fit |
//! | [`safetensors`] | names → arrays and text, in the format of Hugging Face, read strictly and written deterministically |
//! | `torch`, `npz` | what PyTorch and NumPy write |
//! | [`atomic`] | replacing a file so that a reader, or the next start after a crash, sees the old or the new, never a mix |
//! | [`regular`] | opening regular files only |

mod archive;
pub mod atomic;
mod budget;
mod error;
mod npz;
pub mod regular;
pub mod safetensors;
mod torch;
pub mod weights;

pub use error::FormatError;
pub use thalweg_graph::array;
