//! Loops carry, read and give what is needed, and nothing else.
//!
//! | module | what it does |
//! | --- | --- |
//! | `merge` | makes one of loops that take the same steps |
//! | `products` | takes products of all steps out |
//! | `tidy` | drops what nobody reads: results, carries, inputs |

use super::{Options, Pass};
use crate::graph::{Changed, Graph};

mod merge;
mod products;
pub(super) mod tidy;

/// The pass.
pub const PASS: Pass = Pass { name: "loops", run };

fn run(graph: Graph, _: &Options) -> Changed<Graph> {
    let once = once_and_needed(graph);
    let out = products::take_out(once.value);
    if !out.changed {
        return Changed { value: out.value, changed: once.changed };
    }
    // The loops are given less now, and give other things, some of them twice.
    Changed { value: once_and_needed(out.value).value, changed: true }
}

/// The graph with each loop once, without what nobody needs.
pub(crate) fn needed(graph: Graph) -> Graph {
    super::dead_code::drop_unused(once_and_needed(graph).value).value
}

/// The graph with each loop once, giving what is needed.
fn once_and_needed(graph: Graph) -> Changed<Graph> {
    let merged = merge::merge(graph);
    let tidy = tidy::tidy(merged.value);
    Changed { value: tidy.value, changed: merged.changed || tidy.changed }
}
