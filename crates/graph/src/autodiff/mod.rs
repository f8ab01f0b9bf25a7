//! Differentiation: graph to graph, so that gradients can be printed, optimized and differentiated again.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`reverse`] | [`grad`]: of one number with respect to many tensors |
//! | [`forward`] | [`jvp`]: along a direction; [`jacobian`], [`hessian_vector_product`] |
//! | [`mod@recompute`] | [`recompute()`]: values computed again for the gradient instead of kept |
//! | `through_loops` | the gradient of a loop is a loop back |
//! | `through_branches` | the gradient of a branch is a branch |
//! | `totals` | sums over its steps, outside of it |
//! | [`check`] | [`check_gradients`]: gradients held against differences |

pub mod check;
pub mod forward;
pub mod recompute;
pub mod reverse;
mod through_branches;
mod through_loops;
mod totals;

pub use check::{CheckOptions, GradientMismatch, check_gradients};
pub use forward::{hessian_vector_product, jacobian, jvp};
pub use recompute::recompute;
pub use reverse::{GradError, grad, pull_back, try_grad};
