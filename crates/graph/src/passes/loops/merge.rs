//! Loops that do the same become one, with the results of all: a loop, and the same with what its gradient keeps.
//!
//! ```text
//! %0: bool[0] = loop %c %x …      (gives the last carry)
//! %1: bool[0] = loop %c %x …      (gives the carries before each step)     ⇒  %0: bool[0] = loop %c %x … (gives both)
//! ```

use std::collections::HashMap;

use crate::graph::{Changed, Graph, NodeId};
use crate::op::Op;
use crate::ops::control::{Body, Loop, Output};

/// The graph with equal loops made one.
pub(crate) fn merge(graph: Graph) -> Changed<Graph> {
    let loops: Vec<usize> =
        graph.nodes().enumerate().filter(|(_, node)| matches!(node.op, Op::Loop(_))).map(|(at, _)| at).collect();
    let nodes: Vec<_> = graph.nodes().collect();
    let op_at = |at: usize| if let Op::Loop(op) = &nodes[at].op { op } else { unreachable!("a loop, see above") };
    // For each loop the first that does the same, and for each of those what all of them fetch.
    let mut first_of: HashMap<usize, usize> = HashMap::new();
    let mut fetches: HashMap<usize, Vec<NodeId>> = HashMap::new();
    for &at in &loops {
        let same = |first: &usize| nodes[*first].inputs == nodes[at].inputs && do_the_same(op_at(*first), op_at(at));
        let first = loops
            .iter()
            .copied()
            .take_while(|&other| other < at)
            .find(|other| first_of[other] == *other && same(other));
        let first = first.unwrap_or(at);
        first_of.insert(at, first);
        let all = fetches.entry(first).or_insert_with(|| op_at(at).body.graph().fetches().to_vec());
        for fetch in &op_at(at).body.graph().fetches()[op_at(at).carries..] {
            if first != at && !all[op_at(at).carries..].contains(fetch) {
                all.push(*fetch);
            }
        }
    }
    if fetches.len() == loops.len() {
        return Changed { value: graph, changed: false };
    }
    // Where each result is found.
    let place = |output: &Output, of: usize| {
        let (op, all) = (op_at(of), &fetches[&first_of[&of]]);
        let fetch = op.body.graph().fetches()[output.index];
        let found = all[op.carries..].iter().position(|&other| other == fetch).map(|place| op.carries + place);
        if output.index < op.carries { output.index } else { found.expect("all results were collected") }
    };
    let places: HashMap<usize, usize> = nodes
        .iter()
        .enumerate()
        .filter_map(|(at, node)| match &node.op {
            Op::Output(output) => Some((at, place(output, node.inputs[0].index()))),
            _ => None,
        })
        .collect();
    drop(nodes);
    let mut position = 0;
    let mut new_ids: HashMap<usize, NodeId> = HashMap::new();
    graph.rebuild(|graph, node, inputs| {
        position += 1;
        let at = position - 1;
        match &node.op {
            Op::Loop(_) if first_of[&at] != at => Some(new_ids[&first_of[&at]]),
            Op::Loop(op) => {
                new_ids.insert(at, graph.next_id());
                let all = &fetches[&at];
                if all[..] == *op.body.graph().fetches() {
                    return None;
                }
                let mut body = op.body.graph().clone();
                body.set_roots(all.clone(), Vec::new());
                let op = Loop { body: Body::new(body), ..op.clone() };
                Some(graph.add(op, inputs, node).expect("more results change nothing: a bug in Thalweg"))
            }
            Op::Output(output) if places[&at] != output.index => {
                let op = Output { index: places[&at], ..output.clone() };
                Some(graph.add(op, inputs, node).expect("the loop has this result: a bug in Thalweg"))
            }
            _ => None,
        }
    })
}

/// Whether two loops take the same steps, whatever they give of them.
fn do_the_same(a: &Loop, b: &Loop) -> bool {
    let (one, two) = (a.body.graph(), b.body.graph());
    (a.carries, a.inputs, a.reverse, a.gated, &a.length) == (b.carries, b.inputs, b.reverse, b.gated, &b.length)
        && one.len() == two.len()
        && one.fetches()[..a.carries] == two.fetches()[..b.carries]
        && one.nodes().zip(two.nodes()).all(|(a, b)| a.op == b.op && a.inputs == b.inputs && a.meta == b.meta)
}
