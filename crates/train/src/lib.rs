//! The training loop, metrics, checkpoints and event files.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`checkpoint`] | saved training state: the newest and the best kept, atomic, checksummed |
//! | [`events`] | records of training for TensorBoard: scalars, histograms, the graph |
//! | [`interrupt`] | Ctrl-C that saves and stops |
//! | [`metrics`] | accuracy, top-k, precision, recall, F1, confusion matrix, errors of regressions |
//! | [`progress`] | how far training is: a bar, plain lines or JSON on standard error |

pub mod checkpoint;
pub mod events;
pub mod interrupt;
pub mod metrics;
pub mod progress;
