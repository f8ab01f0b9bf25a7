//! What goes on inside a model: layers found in its graph, tensors read by name, and what is wrong with them.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `layers` | [`layers_of`]: the layers of any graph |
//! | `probe` | [`Probe`]: tensors and their gradients, by path, during a run |
//! | `report` | [`Report`]: activations, dead units, saturation, gradients, updates, layer by layer |
//! | `statistics` | [`Statistics`]: many numbers in a few |
//! | `paths` | what nodes are called |

mod layers;
mod paths;
mod probe;
mod report;
mod statistics;

pub use layers::{LayerView, layers_of};
pub(crate) use paths::Paths;
pub use probe::{Probe, Reading};
pub(crate) use report::table;
pub use report::{LayerReport, Report};
pub use statistics::Statistics;
pub(crate) use statistics::short;
