//! Layers that walk along time with states: `[batch, time, features] → [batch, time, hidden]`.
//!
//! A [`Cell`] says what a step does; [`Recurrent`] walks it, and all that walks is a [`Recurrence`]: walks back, walks both
//! ways, walks on top of each other. What a cell makes of the inputs alone is one product for all steps, before the loop.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`cell`] | [`Cell`], [`CellInput`]: a step, for cells of one's own |
//! | [`rnn`] | [`Rnn`]: h = tanh(x W + h U + b) |
//! | [`gru`] | [`Gru`] |
//! | [`lstm`] | [`Lstm`] |
//! | [`walk`] | [`Recurrent`]: a cell along time; padding, dropout, from the end |
//! | [`stacked`] | [`Stacked`], [`Bidirectional`]: layers on top of each other, both ways |
//! | [`stateful`] | [`Stateful`]: states that go on from batch to batch |

pub mod cell;
pub mod gru;
pub mod lstm;
pub mod rnn;
pub mod stacked;
pub mod stateful;
#[cfg(test)]
mod tests;
pub mod walk;

pub use cell::{Cell, CellInput};
pub use gru::Gru;
pub use lstm::Lstm;
pub use rnn::Rnn;
pub use stacked::{Bidirectional, Stacked};
pub use stateful::Stateful;
pub use walk::Recurrent;

use thalweg_graph::Tensor;

use crate::layer::{Forward, Layer};

/// What walks along the time of `[batch, time, features]` with states of `[batch, size]`. As a [`Layer`] it begins with
/// states of 0, and nothing is padding.
pub trait Recurrence: Layer {
    /// Features of its output.
    fn features(&self) -> usize;

    /// The size of each state.
    fn states(&self) -> Vec<usize>;

    /// The output at each time and the states after the last. It begins with `states`, 0 if there are none; where `mask`,
    /// bool `[batch, time]`, is false, a step leaves the states as they are and its output is 0.
    ///
    /// # Panics
    /// If x is not `[batch, time, features]`, or states or mask do not fit.
    #[track_caller]
    fn run(
        &self,
        x: &Tensor,
        states: Option<&[Tensor]>,
        mask: Option<&Tensor>,
        cx: &mut Forward,
    ) -> (Tensor, Vec<Tensor>);
}
