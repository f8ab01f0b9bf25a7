//! Layers, losses, initializers, optimizers and schedules: functions that add nodes.
//!
//! Nothing here runs anything: a layer adds nodes to the inference graph, a loss to the loss, an optimizer adds the
//! gradients and the updates.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mod@module`] | [`Module`]: what holds variables; paths, freezing, summaries |
//! | [`init`] | [`Init`], [`Initializer`]: how variables begin |
//! | [`layer`] | [`Layer`]: [`Linear`], [`Mlp`], [`Conv`], [`Recurrent`], [`LayerNorm`], [`Dropout`], [`GaussianNoise`], [`Activation`] |
//! | [`loss`] | [`Loss`]: cross-entropy and all others that need no sequence |
//! | [`penalty`] | [`Penalty`]: L1 and L2 on weights |
//! | [`optim`] | [`Optimizer`]: [`Sgd`] … [`Lion`], clipping, decay, accumulation, averaging |
//! | [`schedule`] | [`Schedule`]: the learning rate over the steps |
//! | [`error`] | [`NnError`] |

// The derive macro names this crate from outside, also in its own tests.
extern crate self as thalweg_nn;

pub mod error;
pub mod init;
pub mod layer;
pub mod loss;
pub mod module;
pub mod optim;
pub mod penalty;
pub mod schedule;
#[cfg(test)]
mod testing;

pub use error::NnError;
pub use init::{Fans, Init, Initializer};
pub use layer::{
    Activation, AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, BatchNorm, Bidirectional, Branches, Conv, Conv1d,
    Conv2d, Conv3d, ConvConfig, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Dropout, Embedding,
    Flatten, Forward, GaussianNoise, GlobalPool, GroupNorm, Gru, InstanceNorm, Layer, LayerNorm, Linear, LinearConfig,
    Lstm, MaxPool, Mlp, MlpConfig, Recurrence, Recurrent, Residual, RmsNorm, Rnn, Stacked, State, Stateful,
    Transformer, TransformerConfig, Upsample, is_state,
};
pub use loss::{CrossEntropy, Loss, binary_cross_entropy_with_logits, cross_entropy, l1, squared_error};
pub use module::{Module, Path, Visitor};
pub use optim::{Adam, AdamW, Lion, Optimizer, Sgd, Step};
pub use penalty::Penalty;
pub use schedule::Schedule;
