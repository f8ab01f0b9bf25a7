//! [`Optimizer`]: from a loss to a [`Step`], the updates that make it smaller.
//!
//! ```
//! use thalweg_graph::Variable;
//! use thalweg_nn::{Adam, Schedule};
//!
//! let w = Variable::new("w", 3.0);
//! let loss = w.square();
//! let step = Adam::new(Schedule::cosine(1e-2, 1000)).clip_norm(1.0).minimize(&loss);
//! let changed: Vec<String> = step.updates.iter().map(|update| update.variable.name().to_string()).collect();
//! assert_eq!(changed, ["w", "w/first_moment", "w/second_moment", "global_step"]);
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`optimizer`] | [`Optimizer`]: learning rate, decay, clipping, largest norm, around a [`Rule`] |
//! | [`group`] | [`Group`]: what is different for some parameters |
//! | [`rule`] | [`Rule`]: how one parameter moves; its settings by name |
//! | [`sgd`], [`adaptive`], [`adam`], [`sign`] | the rules |
//! | [`names`] | optimizers by name, for command lines |
//! | [`step`] | [`Step`] |
//! | [`hooks`] | [`Hooks`]: what changes a step while it is built |
//! | `build` | from a loss to a step |
//! | `gradients` | what a loss depends on, gradients, their norm |
//! | `slots` | the state, made once per optimizer |
//! | [`accumulate`] | gradients added up over micro-batches |
//! | [`average`] | moving averages of the weights: EMA, SWA |

pub mod accumulate;
pub mod adam;
pub mod adaptive;
pub mod average;
mod build;
pub(crate) mod gradients;
pub mod group;
pub mod hooks;
pub mod names;
pub mod optimizer;
pub mod rule;
pub mod sgd;
pub mod sign;
mod slots;
pub mod step;

pub use accumulate::Accumulation;
pub use adam::{Adam, AdamW, Adamax, Lamb, NAdam};
pub use adaptive::{Adadelta, Adagrad, RmsProp};
pub use average::{Average, Averages};
pub use gradients::clipped_by_norm;
pub use group::Group;
pub use hooks::Hooks;
pub use names::by_name;
pub use optimizer::Optimizer;
pub use rule::{Rule, Setting};
pub use sgd::Sgd;
pub use sign::Lion;
pub use step::Step;
