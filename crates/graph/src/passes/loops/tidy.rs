//! Drops what nobody reads of a loop: results, then carries that nothing but themselves depends on, then inputs.
//!
//! ```text
//! %0: bool[0] = loop %h %c %x …      ⇒  %0: bool[0] = loop %h %x …
//! %1: f32[4] = output %0 index=0        %1: f32[4] = output %0 index=0
//! ```
//!
//! What is handed in twice is handed in once, what is given twice is given once; a carry that no step changes is handed
//! in whole, and a result that is an input is that input.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::dead_code::drop_unused;
use crate::graph::{Changed, Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::control::{Body, Loop, Output};
use crate::ops::source::Placeholder;

/// The graph with tidy loops.
pub(crate) fn tidy(graph: Graph) -> Changed<Graph> {
    let Some(used) = used_results(&graph) else { return Changed { value: graph, changed: false } };
    let mut position = 0;
    // For each new loop where its old results are now.
    let mut found: HashMap<NodeId, Vec<Source>> = HashMap::new();
    graph.rebuild(|graph, node, inputs| {
        position += 1;
        match &node.op {
            Op::Loop(op) => {
                let used = used.get(&(position - 1)).map_or(&[][..], |used| used);
                let Tidy { op, inputs, sources } = tidy_loop(op, inputs, used)?;
                let id = graph.add(op, &inputs, node).expect("a tidy loop is a loop: a bug in Thalweg");
                found.insert(id, sources);
                Some(id)
            }
            Op::Output(output) => match found.get(&inputs[0])?[output.index] {
                Source::Result(index) => {
                    let op = Output { index, ..output.clone() };
                    let node = Node { op: op.into(), inputs: inputs.into(), origin: None, ..node.clone() };
                    Some(graph.push(node))
                }
                Source::Node(id) => Some(id),
                Source::Nowhere => None,
            },
            _ => None,
        }
    })
}

/// Where a result of a loop is now.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// This result of the new loop.
    Result(usize),
    /// Another node.
    Node(NodeId),
    /// Nobody asks.
    Nowhere,
}

/// For each loop, by position, which of its results somebody needs. `None` where there is no loop.
fn used_results(graph: &Graph) -> Option<HashMap<usize, Vec<bool>>> {
    if !graph.nodes().any(|node| matches!(node.op, Op::Loop(_))) {
        return None;
    }
    let mut live = vec![false; graph.len()];
    graph.roots().for_each(|root| live[root.index()] = true);
    let mut used: HashMap<usize, Vec<bool>> = HashMap::new();
    for (position, node) in graph.nodes().enumerate().rev().collect::<Vec<_>>() {
        if !live[position] {
            continue;
        }
        node.inputs.iter().for_each(|input| live[input.index()] = true);
        if let (Op::Output(output), Op::Loop(op)) =
            (&node.op, node.inputs.first().map_or(&node.op, |of| &graph[*of].op))
        {
            let results = op.body.graph().fetches().len();
            used.entry(node.inputs[0].index()).or_insert_with(|| vec![false; results])[output.index] = true;
        }
    }
    Some(used)
}

struct Tidy {
    op: Loop,
    inputs: Vec<NodeId>,
    sources: Vec<Source>,
}

/// The loop with what is needed for the results that are `used`; `None` if that is all there is.
fn tidy_loop(op: &Loop, given: &[NodeId], used: &[bool]) -> Option<Tidy> {
    let graph = op.body.graph();
    let is_used = |result: usize| used.get(result).copied().unwrap_or(false);
    // The node of each parameter; it may have none, or several after merging.
    let mut parameters: Vec<Vec<NodeId>> = vec![Vec::new(); given.len()];
    let mut role: HashMap<NodeId, usize> = HashMap::new();
    for (id, placeholder) in graph.placeholders() {
        let position = op.position(&placeholder.name)?;
        parameters[position].push(id);
        role.insert(id, position);
    }
    let fetches = graph.fetches();
    let is_gate = |carry: usize| op.gated && carry == 0;
    let is_constant = |carry: usize| role.get(&fetches[carry]) == Some(&carry) && !is_gate(carry);

    // What is needed: first for the results, then for the carries that these need, until nothing is added.
    let mut needed: Vec<bool> = (0..fetches.len()).map(|result| is_used(result) || is_gate(result)).collect();
    let mut live = vec![false; graph.len()];
    loop {
        for (result, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            live[fetches[result].index()] = true;
        }
        for (position, node) in graph.nodes().enumerate().rev().collect::<Vec<_>>() {
            if live[position] {
                node.inputs.iter().for_each(|input| live[input.index()] = true);
            }
        }
        let reads = |carry: &usize| parameters[*carry].iter().any(|id| live[id.index()]);
        let more: Vec<usize> = (0..op.carries).filter(|carry| !needed[*carry] && reads(carry)).collect();
        if more.is_empty() {
            break;
        }
        more.into_iter().for_each(|carry| needed[carry] = true);
    }

    // Carries, inputs and outers that stay, by old position; a carry that nothing changes is an outer.
    let walked_end = op.carries + op.inputs;
    let reads = |position: &usize| parameters[*position].iter().any(|id| live[id.index()]);
    let carries: Vec<usize> = (0..op.carries).filter(|carry| needed[*carry] && !is_constant(*carry)).collect();
    let distinct = |positions: Vec<usize>| {
        let mut kept: Vec<usize> = Vec::new();
        let same = |kept: &[usize], position: usize| kept.iter().position(|&other| given[other] == given[position]);
        let places: Vec<(usize, usize)> = positions
            .into_iter()
            .map(|position| {
                let place = same(&kept, position).unwrap_or_else(|| {
                    kept.push(position);
                    kept.len() - 1
                });
                (position, place)
            })
            .collect();
        (kept, places)
    };
    let (inputs, input_places) = distinct((op.carries..walked_end).filter(reads).collect());
    let constants = (0..op.carries).filter(|&carry| is_constant(carry));
    let (outers, outer_places) = distinct(constants.chain(walked_end..given.len()).filter(reads).collect());

    let mut new_op =
        Loop { carries: carries.len(), inputs: inputs.len(), body: op.body.clone(), length: op.length.clone(), ..*op };
    let mut new_position: HashMap<usize, usize> = HashMap::new();
    new_position.extend(carries.iter().enumerate().map(|(place, &position)| (position, place)));
    new_position.extend(input_places.iter().map(|&(position, place)| (position, carries.len() + place)));
    new_position.extend(outer_places.iter().map(|&(position, place)| (position, carries.len() + inputs.len() + place)));

    // The results: carries that stay, then outputs, each once.
    let mut new_fetches: Vec<NodeId> = carries.iter().map(|&carry| fetches[carry]).collect();
    let mut sources = vec![Source::Nowhere; fetches.len()];
    for (place, &carry) in carries.iter().enumerate() {
        sources[carry] = Source::Result(place);
    }
    let first_output = carries.len();
    for result in 0..fetches.len() {
        let walked = role.get(&fetches[result]).filter(|position| (op.carries..walked_end).contains(position));
        sources[result] = match walked {
            _ if result < op.carries && is_constant(result) => Source::Node(given[result]),
            _ if result < op.carries => continue,
            _ if !is_used(result) => Source::Nowhere,
            Some(&position) => Source::Node(given[position]),
            None => {
                let same = new_fetches[first_output..].iter().position(|&fetch| fetch == fetches[result]);
                Source::Result(same.map_or(new_fetches.len(), |place| first_output + place))
            }
        };
        if let Source::Result(place) = sources[result]
            && place == new_fetches.len()
        {
            new_fetches.push(fetches[result]);
        }
    }
    let new_given: Vec<NodeId> = [&carries, &inputs, &outers].into_iter().flatten().map(|&old| given[old]).collect();
    if new_given == given && new_fetches == fetches {
        return None;
    }
    let name = |position: usize| new_position.get(&position).map(|&position| new_op.parameter(position));
    new_op.body = renamed(graph, new_fetches, &role, name);
    Some(Tidy { op: new_op, inputs: new_given, sources })
}

/// The body that gives `fetches`, with the names of its parameters that `name` says of their old positions.
fn renamed(
    graph: &Graph,
    fetches: Vec<NodeId>,
    role: &HashMap<NodeId, usize>,
    name: impl Fn(usize) -> Option<Arc<str>>,
) -> Body {
    let mut graph = graph.clone();
    graph.set_roots(fetches, Vec::new());
    let ids: Vec<NodeId> = graph.ids().collect();
    let mut position = 0;
    let rebuilt = graph.rebuild(|graph, node, _| {
        position += 1;
        let name = name(*role.get(&ids[position - 1])?)?;
        let Op::Placeholder(placeholder) = &node.op else { return None };
        let op = Placeholder { name, ..placeholder.clone() };
        Some(graph.push(Node { op: op.into(), origin: None, ..node.clone() }))
    });
    Body::new(drop_unused(rebuilt.value).value)
}
