//! The training loop, metrics, checkpoints and event files.
