//! Derive macros of Thalweg: Module.
