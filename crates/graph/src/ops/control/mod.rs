//! Control flow: loops with numbers carried from step to step, and branches.
//!
//! ```text
//! scan(carry, inputs, body)               for each position t along axis 0 of the inputs:
//!                                             carry, outputs[t] = body(carry, inputs[t])
//! while_loop(carry, condition, body)      while condition(carry): carry = body(carry)
//! cond(predicate, inputs, then, other)    if predicate: then(inputs) else: other(inputs)
//! ```
//!
//! A loop is one node, [`Loop`], that holds what is done in a step as a graph of its own, its [`Body`]. Its results are
//! taken out by nodes that are called [`Output`]; nothing else reads it. What the body needs from outside is found by walking
//! back from its results: what does not depend on its parameters stays outside and is handed in.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mod@scan`] | [`scan()`], [`Scan`]: what users call |
//! | [`mod@while_loop`] | [`while_loop()`], [`WhileLoop`]: loops that end when something holds no more |
//! | [`mod@cond`] | [`cond()`]: one of two branches |
//! | [`body`] | [`Body`]: the graph of a step |
//! | `close` | from what a closure made to a body |
//! | `interpret` | loops by the reference interpreter |
//! | [`rules`] | [`Loop`], [`Output`]: the ops |

pub mod body;
pub(crate) mod close;
pub mod cond;
pub(crate) mod interpret;
pub mod rules;
pub mod scan;
pub mod while_loop;

pub use body::Body;
pub use cond::cond;
pub use rules::{Loop, Output};
pub use scan::{Scan, scan};
pub use while_loop::{WhileLoop, while_loop};
