//! Equal computations once (common subexpression elimination).
//!
//! ```text
//! %0: f32[n] = mul %x %y
//! %1: f32[n] = mul %y %x
//! %2: f32[n] = add %0 %1     ⇒  %1: f32[n] = add %0 %0
//! ```
//!
//! Two nodes are equal if op, attributes and inputs are; the operands of commutative functions have no order.
//! Placeholders are equal by name, variables by identity, constants by their bits, random ops by their stream.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};

use smallvec::SmallVec;

use super::{Options, Pass};
use crate::graph::{Changed, Graph, NodeId};
use crate::op::{Op, OpRules};
use crate::ops::elementwise::ElementwiseBinary;

/// The pass.
pub const PASS: Pass = Pass { name: "cse", run };

fn run(graph: Graph, _: &Options) -> Changed<Graph> {
    // By hash alone, the nodes themselves stay in the graph: ops are not cloned into keys.
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut seen: HashMap<u64, SmallVec<[NodeId; 1]>> = HashMap::with_capacity(graph.len());
    graph.rebuild(|graph, node, inputs| {
        if !node.op.is_pure() {
            return None;
        }
        let inputs = ordered(&node.op, inputs);
        let mut state = hasher.build_hasher();
        node.op.hash(&mut state);
        inputs.hash(&mut state);
        let same = seen.entry(state.finish()).or_default();
        let equal = |id: &&NodeId| {
            let other = &graph[**id];
            other.op == node.op && other.meta == node.meta && ordered(&other.op, &other.inputs) == inputs
        };
        let found = same.iter().find(equal).copied();
        if found.is_none() {
            same.push(graph.next_id());
        }
        found
    })
}

/// The inputs, sorted where their order does not matter.
fn ordered(op: &Op, inputs: &[NodeId]) -> SmallVec<[NodeId; 3]> {
    let mut inputs = SmallVec::from_slice(inputs);
    if let Op::Binary(ElementwiseBinary(f)) = op
        && f.is_commutative()
    {
        inputs.sort();
    }
    inputs
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::PASS;
    use crate::passes::testing::check;

    #[test]
    fn equal_computations_are_shared() {
        check(
            PASS,
            "%x: f32[n] = placeholder
             %y: f32[n] = placeholder
             %z: f32[n] = placeholder name=\"x\"
             %0: f32[n] = mul %x %y
             %1: f32[n] = mul %y %z
             %2: f32[n] = add %0 %1
             %3: f32[n] = sub %x %y
             %4: f32[n] = sub %y %x
             return %2, %3, %4",
            expect![[r#"
                %x: f32[n] = placeholder
                %y: f32[n] = placeholder
                %0: f32[n] = mul %x %y
                %1: f32[n] = add %0 %0
                %2: f32[n] = sub %x %y
                %3: f32[n] = sub %y %x
                return %1, %2, %3
            "#]],
        );
    }

    #[test]
    fn random_numbers_are_shared_within_a_stream_only() {
        check(
            PASS,
            "%a: f32[2] = random distribution=\"normal\" stream=1
             %b: f32[2] = random distribution=\"normal\" stream=2
             %c: f32[2] = random distribution=\"normal\" stream=1
             %0: f32[] = constant 0.0
             %1: f32[] = constant -0.0
             return %a, %b, %c, %0, %1",
            expect![[r#"
                %a: f32[2] = random distribution="normal" stream=1
                %b: f32[2] = random distribution="normal" stream=2
                %0: f32[] = constant 0.0
                %1: f32[] = constant -0.0
                return %a, %b, %a, %0, %1
            "#]],
        );
    }
}
