//! The training loop, metrics, checkpoints and event files.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`checkpoint`] | saved training state: the newest and the best kept, atomic, checksummed |

pub mod checkpoint;
