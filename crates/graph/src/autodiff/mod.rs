//! Differentiation: graph to graph, so that gradients can be printed, optimized and differentiated again.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`reverse`] | [`grad`]: of one number with respect to many tensors |

pub mod reverse;

pub use reverse::{GradError, grad, pull_back, try_grad};
