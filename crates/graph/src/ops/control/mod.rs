//! Control flow: a loop over the positions of tensors, with numbers carried from step to step.
//!
//! ```text
//! scan(carry, inputs, body)      for each position t along axis 0 of the inputs:
//!                                    carry, outputs[t] = body(carry, inputs[t])
//! ```
//!
//! A loop is one node, [`Loop`], that holds what is done in a step as a graph of its own, its [`Body`]. Its results are
//! taken out by nodes that are called [`Output`]; nothing else reads it. What the body needs from outside is found by walking
//! back from its results: what does not depend on its parameters stays outside and is handed in.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mod@scan`] | [`scan()`], [`Scan`]: what users call |
//! | [`body`] | [`Body`]: the graph of a step |
//! | `close` | from what a closure made to a body |
//! | `interpret` | loops by the reference interpreter |
//! | [`rules`] | [`Loop`], [`Output`]: the ops |

pub mod body;
pub(crate) mod close;
pub(crate) mod interpret;
pub mod rules;
pub mod scan;

pub use body::Body;
pub use rules::{Loop, Output};
pub use scan::{Scan, scan};
