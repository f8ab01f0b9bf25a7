//! Parts of a concatenation that one group computes are written where they belong, and never moved.

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;
use thalweg_graph::{Graph, NodeId, Op};

use super::groups::{GroupId, Grouping, Home, Role};
use super::program::{Look, Placed, Source};
use super::views::{View, contiguous, dims};

/// What is written in place.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where the parts are written.
    pub(super) parts: Placed,
    /// The concatenations that each group writes.
    pub(super) wholes: HashMap<GroupId, Vec<NodeId>>,
}

impl Places {
    /// The concatenations along the last axis whose parts one group computes and nobody else reads.
    pub(super) fn find(graph: &Graph, views: &[View], grouping: &Grouping) -> Places {
        let mut found: HashMap<NodeId, GroupId> = graph
            .ids()
            .filter_map(|id| match &graph[id].op {
                Op::Concat(concat) => writer(graph, views, grouping, id, concat.axis).map(|group| (id, group)),
                _ => None,
            })
            .collect();
        if found.is_empty() {
            return Places::default();
        }
        // A part that somebody else reads stands alone, and with it all others of its concatenations: until none is left.
        let mut alone: HashSet<NodeId> = graph.roots().map(|root| views[root.index()].base).collect();
        loop {
            for id in graph.ids().filter(|id| !found.contains_key(id)) {
                let group = match grouping.homes[id.index()] {
                    Home::Group { group, .. } => Some(group),
                    Home::Kernel { .. } => None,
                    Home::Given | Home::Leaf => continue,
                };
                let bases = graph[id].inputs.iter().map(|input| views[input.index()].base);
                alone.extend(bases.filter(|base| group.is_none() || home(grouping, *base) != group));
            }
            let before = found.len();
            found.retain(|id, _| graph[*id].inputs.iter().all(|input| !alone.contains(input)));
            if found.len() == before {
                break;
            }
        }
        let mut places = Places::default();
        for id in graph.ids() {
            let Some(&group) = found.get(&id) else { continue };
            let mut offset = 0;
            for &part in &graph[id].inputs {
                let look = Look { source: Source::Node(id), offset, strides: contiguous(&dims(graph, id)) };
                places.parts.entry(part).or_insert_with(SmallVec::new).push(look);
                offset += dims(graph, part).last().copied().unwrap_or(0);
            }
            places.wholes.entry(group).or_default().push(id);
        }
        places
    }
}

fn home(grouping: &Grouping, id: NodeId) -> Option<GroupId> {
    match grouping.homes[id.index()] {
        Home::Group { group, .. } => Some(group),
        Home::Kernel { .. } | Home::Given | Home::Leaf => None,
    }
}

/// The group that computes all parts of a concatenation, as many numbers as its space has.
fn writer(graph: &Graph, views: &[View], grouping: &Grouping, id: NodeId, axis: usize) -> Option<GroupId> {
    let parts = &graph[id].inputs;
    let group = home(grouping, *parts.first()?)?;
    let space = &grouping.groups[group].dims;
    let is_full = |part: &NodeId| {
        grouping.homes[part.index()] == Home::Group { group, role: Role::Full } && dims(graph, *part) == *space
    };
    // The columns of a weight's gradient are several axes.
    let of_convolution = |member: &NodeId| {
        graph[*member].inputs.iter().any(|input| matches!(graph[views[input.index()].base].op, Op::Convolution(_)))
    };
    if grouping.groups[group].members.iter().any(of_convolution) {
        return None;
    }
    let distinct = parts.iter().collect::<HashSet<_>>().len() == parts.len();
    // Rows stay one axis, columns another.
    let one_column_axis = grouping.groups[group].columns.is_none_or(|columns| columns == axis);
    let is_update = graph.updates().iter().any(|(_, value)| views[value.index()].base == id);
    let fits = space.len() >= 2 && axis + 1 == space.len() && one_column_axis && !space.contains(&0) && !is_update;
    (fits && distinct && parts.iter().all(is_full)).then_some(group)
}
