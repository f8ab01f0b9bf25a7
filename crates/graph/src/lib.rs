//! The logical program: ops, shape rules, autodiff, passes, verifier, text form, reference interpreter.

pub use thalweg_array as array;
