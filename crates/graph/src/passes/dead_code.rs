//! Drops what neither a fetch nor an update needs.
//!
//! ```text
//! %x: f32[n] = placeholder
//! %0: f32[n] = exp %x
//! %1: f32[n] = sin %x        ⇒  gone
//! return %0
//! ```

use super::{Options, Pass};
use crate::graph::{Changed, Graph};

/// The pass.
pub const PASS: Pass = Pass { name: "dead_code", run };

fn run(graph: Graph, _: &Options) -> Changed<Graph> {
    drop_unused(graph)
}

/// The graph of the nodes that its roots need.
pub(super) fn drop_unused(graph: Graph) -> Changed<Graph> {
    let mut live = vec![false; graph.len()];
    for root in graph.roots() {
        live[root.index()] = true;
    }
    // Users stand after their inputs: one walk from the end sees each user first.
    for (position, node) in graph.nodes().enumerate().rev() {
        if live[position] {
            for input in &node.inputs {
                live[input.index()] = true;
            }
        }
    }
    if live.iter().all(|&live| live) {
        return Changed { value: graph, changed: false };
    }
    Changed { value: graph.retain(&live), changed: true }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::PASS;
    use crate::passes::testing::check;

    #[test]
    fn what_no_root_needs_is_dropped() {
        check(
            PASS,
            "%x: f32[n] = placeholder
             %unused: f32[m] = placeholder
             %w: f32[] = variable
             %0: f32[n] = exp %x
             %1: f32[n] = sin %0
             %2: f32[] = neg %w
             update %w <- %2
             return %0",
            expect![[r#"
                %x: f32[n] = placeholder
                %w: f32[] = variable
                %0: f32[n] = exp %x
                %1: f32[] = neg %w
                update %w <- %1
                return %0
            "#]],
        );
    }
}
