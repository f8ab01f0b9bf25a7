//! The training loop, metrics, checkpoints and event files.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`checkpoint`] | saved training state: the newest and the best kept, atomic, checksummed |
//! | [`events`] | records of training for TensorBoard: scalars, histograms, the graph |

pub mod checkpoint;
pub mod events;
