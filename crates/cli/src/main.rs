//! The binary `thalweg`.
fn main() {}
