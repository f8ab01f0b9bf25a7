//! The files of this crate, from outside: what is refused and why, and what other programs make of what is written.

mod safetensors;
mod weights;
