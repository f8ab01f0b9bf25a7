//! Thalweg: a deep-learning framework in Rust. One graph, differentiated, compiled, trained.
