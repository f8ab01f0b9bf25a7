//! Which nodes become one tile program.
//!
//! Every node gets a level: an edge inside a group keeps it, any other edge raises it. So two nodes of a group are
//! never connected by a path that leaves the group, and fusing them makes no cycle. One pass in topological order.
//!
//! What a view waits for counts as read, so that nothing waits in a circle.
//!
//! A group works on a space, the shape of its full values. A node in it is full (a number per element of the space), a
//! row value (a number per row: the result of a fold along the columns and what is computed from such), or an end (a
//! fold over rows or over everything, which only leaves the group).

use smallvec::SmallVec;
use thalweg_graph::array::scalar::Distribution;
use thalweg_graph::{Graph, NodeId, Op};

use super::views::{Dims, View, splat};
use crate::target::Target;

/// The position of a group.
pub(crate) type GroupId = usize;

/// The longest program: registers are many then, and calls are few enough. All of its members may be needed outside,
/// and a tile program has at most so many outputs.
const MAX_MEMBERS: usize = 64;

/// What a node is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A number per element of the space.
    Full,
    /// A number per row.
    Row,
    /// The rows put together.
    FoldRows,
    /// Everything put together.
    FoldAll,
}

/// Where a node is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Given: fed, known, or a variable; or a view of another node.
    Given,
    /// Computed inside every group that reads it: uniform random numbers, positions.
    Leaf,
    /// By a kernel of its own.
    Kernel {
        /// See the module.
        level: u32,
    },
    /// In a group.
    Group {
        /// Which.
        group: GroupId,
        /// As what.
        role: Role,
    },
}

/// Nodes that become one program.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Its position among the groups.
    pub(crate) id: GroupId,
    /// The space.
    pub(crate) dims: Dims,
    /// The axis from which on the axes are columns, once a fold has decided it.
    pub(crate) columns: Option<usize>,
    /// The axis from which on, up to the columns, the axes are rows that are put together.
    pub(crate) fold_start: Option<usize>,
    /// The nodes, in topological order once all groups are made.
    pub(crate) members: Vec<NodeId>,
    /// See the module.
    pub(crate) level: u32,
}

/// The groups and where each node is computed.
#[derive(Debug)]
pub(crate) struct Grouping {
    pub(crate) groups: Vec<Group>,
    pub(crate) homes: Vec<Home>,
}

/// What a node that can be part of a program does there.
enum Part {
    Elementwise,
    Fold { first: usize, end: usize },
}

fn part(graph: &Graph, node: &thalweg_graph::Node, target: &dyn Target) -> Option<Part> {
    match &node.op {
        Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_) | Op::Random(_) => Some(Part::Elementwise),
        Op::Reduce(reduce) => {
            let first = *reduce.axes.first()?;
            let end = reduce.axes.last()? + 1;
            let dims = super::views::dims(graph, node.inputs[0]);
            // Many long rows are folded by a kernel that does not hold on to them.
            let rows: usize = dims[..first].iter().product();
            let long = dims[first..].iter().product::<usize>() > target.longest_row() && rows > 1;
            let run = end - first == reduce.axes.len() && !dims.contains(&0);
            (run && !(end == dims.len() && long)).then_some(Part::Fold { first, end })
        }
        _ => None,
    }
}

/// Puts every node somewhere.
pub(crate) fn group(graph: &Graph, views: &[View], target: &dyn Target) -> Grouping {
    let mut grouping = Grouping { groups: Vec::new(), homes: Vec::with_capacity(graph.len()) };
    for id in graph.ids() {
        let node = &graph[id];
        let home = if views[id.index()].base != id {
            Home::Given
        } else {
            match &node.op {
                Op::Placeholder(_) | Op::Constant(_) | Op::Variable(_) | Op::Size(_) => Home::Given,
                // Normal ones take a logarithm, a root and a cosine: to read them is faster than to draw them again.
                Op::Random(random) if random.distribution == Distribution::Uniform => Home::Leaf,
                Op::Iota(iota) if iota.axis + 1 == node.meta.shape.rank() => Home::Leaf,
                _ => match part(graph, node, target) {
                    Some(part) => grouping.place(graph, views, id, part, target),
                    None => Home::Kernel { level: grouping.level_after(graph, views, id) },
                },
            }
        };
        grouping.homes.push(home);
    }
    grouping.sink(graph, views);
    // Merging put members behind each other: back into topological order.
    for group in &mut grouping.groups {
        group.members.sort();
    }
    grouping
}

/// Who reads what a group computes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    None,
    /// One group, element by element.
    One(GroupId),
    /// Several, or one that needs the numbers in memory.
    Memory,
}

impl Grouping {
    /// Moves elementwise groups that one other group alone reads, element by element, into that group: `β·m` of an
    /// optimizer depends on nothing in the step, but is best computed where it is used.
    ///
    /// No cycle: all paths out of the moved group lead into the other at once, and none leads back, since levels rise
    /// along every path.
    fn sink(&mut self, graph: &Graph, views: &[View]) {
        let readers = self.readers(graph, views);
        // Where the members of each group are by now: of those that later groups read, that is settled.
        let mut sunk_into: Vec<GroupId> = (0..self.groups.len()).collect();
        // Late groups first: what sinks may take along what sank into it.
        let mut order: Vec<GroupId> = (0..self.groups.len()).collect();
        order.sort_by_key(|&group| std::cmp::Reverse((self.groups[group].level, group)));
        for from in order {
            let Readers::One(reader) = readers[from] else { continue };
            let to = sunk_into[reader];
            let elementwise =
                |member: &NodeId| matches!(self.homes[member.index()], Home::Group { role: Role::Full, .. });
            let fits = self.groups[from].columns.is_none()
                && self.groups[from].dims == self.groups[to].dims
                && self.groups[from].level < self.groups[to].level
                && self.groups[from].members.len() + self.groups[to].members.len() <= MAX_MEMBERS
                && self.groups[from].members.iter().all(elementwise);
            if !fits {
                continue;
            }
            let members = std::mem::take(&mut self.groups[from].members);
            for member in &members {
                self.homes[member.index()] = Home::Group { group: to, role: Role::Full };
            }
            self.groups[to].members.extend(members);
            sunk_into[from] = to;
        }
    }

    fn readers(&self, graph: &Graph, views: &[View]) -> Vec<Readers> {
        let mut readers = vec![Readers::None; self.groups.len()];
        let mut note = |base: NodeId, reader: Readers| {
            let Home::Group { group, .. } = self.homes[base.index()] else { return };
            if reader != Readers::One(group) {
                readers[group] = match readers[group] {
                    Readers::None => reader,
                    same if same == reader => same,
                    Readers::One(_) | Readers::Memory => Readers::Memory,
                };
            }
        };
        for id in graph.ids() {
            for input in &graph[id].inputs {
                let view = &views[input.index()];
                // What somebody waits for stays where it is.
                view.awaits.iter().for_each(|&awaited| note(awaited, Readers::Memory));
                match self.homes[id.index()] {
                    // A view reads nothing; what looks through it does. A check is a call of its own.
                    Home::Given if matches!(graph[id].op, Op::CheckIndices(_)) => note(view.base, Readers::Memory),
                    Home::Given | Home::Leaf => {}
                    Home::Kernel { .. } => note(view.base, Readers::Memory),
                    Home::Group { group, .. } => {
                        let element_by_element = view.is_identity() && view.dims == self.groups[group].dims;
                        note(view.base, if element_by_element { Readers::One(group) } else { Readers::Memory });
                    }
                }
            }
        }
        for root in graph.roots() {
            note(views[root.index()].base, Readers::Memory);
        }
        readers
    }

    fn base_level(&self, base: NodeId) -> u32 {
        match self.homes[base.index()] {
            Home::Given | Home::Leaf => 0,
            Home::Kernel { level } => level,
            Home::Group { group, .. } => self.groups[group].level,
        }
    }

    /// The level of a kernel that reads the inputs of `id`: above all of them.
    fn level_after(&self, graph: &Graph, views: &[View], id: NodeId) -> u32 {
        needs(graph, views, id).map(|base| self.base_level(base) + 1).max().unwrap_or(1)
    }

    /// The level of a new group that reads the inputs of `id`: above all groups, not below any kernel.
    fn level_of_new_group(&self, graph: &Graph, views: &[View], id: NodeId) -> u32 {
        needs(graph, views, id).map(|base| self.level_behind(base)).max().unwrap_or(0)
    }

    /// The lowest level of another group that may need `base`.
    fn level_behind(&self, base: NodeId) -> u32 {
        match self.homes[base.index()] {
            Home::Given | Home::Leaf => 0,
            Home::Kernel { level } => level,
            Home::Group { group, .. } => self.groups[group].level + 1,
        }
    }

    fn place(&mut self, graph: &Graph, views: &[View], id: NodeId, part: Part, target: &dyn Target) -> Home {
        self.join(graph, views, id, &part, target).unwrap_or_else(|| {
            let node = &graph[id];
            let space = if matches!(part, Part::Elementwise) { id } else { node.inputs[0] };
            let mut group = Group {
                id: self.groups.len(),
                dims: super::views::dims(graph, space),
                columns: None,
                fold_start: None,
                members: vec![id],
                level: self.level_of_new_group(graph, views, id),
            };
            let role = match part {
                Part::Elementwise => Role::Full,
                Part::Fold { first, end } => {
                    fold_role(&mut group, first, end, target).expect("a new group has no fold that could disagree")
                }
            };
            let id = group.id;
            self.groups.push(group);
            Home::Group { group: id, role }
        })
    }

    /// The group of the inputs at the highest level takes the node in, if all of them can be registers for it.
    fn join(&mut self, graph: &Graph, views: &[View], id: NodeId, part: &Part, target: &dyn Target) -> Option<Home> {
        let inputs: SmallVec<[&View; 3]> = graph[id].inputs.iter().map(|input| &views[input.index()]).collect();
        let level = inputs.iter().map(|view| self.base_level(view.base)).max()?;
        if inputs.iter().flat_map(|view| &view.awaits).any(|&awaited| self.level_behind(awaited) > level) {
            return None;
        }
        let mut joined: SmallVec<[GroupId; 3]> = SmallVec::new();
        for view in &inputs {
            if let Home::Group { group, .. } = self.homes[view.base.index()]
                && self.groups[group].level == level
                && !joined.contains(&group)
            {
                joined.push(group);
            }
        }
        let &first = joined.first()?;
        let mut merged = self.groups[first].clone();
        for &other in &joined[1..] {
            merged = merge(&merged, &self.groups[other])?;
        }
        if merged.members.len() >= MAX_MEMBERS {
            return None;
        }
        let mut roles = SmallVec::<[Role; 3]>::new();
        for view in &inputs {
            match self.homes[view.base.index()] {
                Home::Group { group, role } if joined.contains(&group) => {
                    roles.push(register_role(&merged, role, view)?);
                }
                _ => {}
            }
        }
        let role = match *part {
            Part::Elementwise => {
                let dims = super::views::dims(graph, id);
                if dims == merged.dims {
                    Role::Full
                } else if roles.iter().all(|&role| role == Role::Row) && is_row_shape(&merged, &dims) {
                    Role::Row
                } else {
                    return None;
                }
            }
            Part::Fold { first, end } => {
                if roles.iter().any(|&role| role != Role::Full) || inputs[0].dims != merged.dims {
                    return None;
                }
                fold_role(&mut merged, first, end, target)?
            }
        };
        // A row value read by a full node is repeated over the columns; the view must say so.
        if role == Role::Full && roles.contains(&Role::Row) && merged.columns.is_none() {
            return None;
        }
        // Of row values alone comes a register with a number per row: it cannot be stored per element. What is loaded
        // beside them can be read so that it has one per element.
        let numbers = graph[id].inputs.iter().filter(|&&input| splat(graph, views, input).is_none()).count();
        let one_column = merged.columns.is_some_and(|columns| merged.dims[columns..].iter().all(|&size| size == 1));
        if role == Role::Full && !one_column && roles.len() == numbers && roles.iter().all(|&role| role == Role::Row) {
            return None;
        }
        merged.members.push(id);
        for &other in &joined[1..] {
            for member in std::mem::take(&mut self.groups[other].members) {
                if let Home::Group { group, .. } = &mut self.homes[member.index()] {
                    *group = first;
                }
            }
        }
        self.groups[first] = merged;
        Some(Home::Group { group: first, role })
    }
}

/// The bases that must be computed before node `id`: those that it reads, and those that it waits for.
fn needs(graph: &Graph, views: &[View], id: NodeId) -> impl Iterator<Item = NodeId> {
    let seen = graph[id].inputs.iter().map(|input| &views[input.index()]);
    seen.flat_map(|view| [view.base].into_iter().chain(view.awaits.iter().copied()))
}

/// The two groups as one, if their spaces and folds agree.
fn merge(a: &Group, b: &Group) -> Option<Group> {
    fn agree(a: Option<usize>, b: Option<usize>) -> Option<Option<usize>> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            (a, b) => Some(a.or(b)),
        }
    }
    if a.dims != b.dims || a.members.len() + b.members.len() > MAX_MEMBERS {
        return None;
    }
    Some(Group {
        id: a.id,
        dims: a.dims.clone(),
        columns: agree(a.columns, b.columns)?,
        fold_start: agree(a.fold_start, b.fold_start)?,
        members: a.members.iter().chain(&b.members).copied().collect(),
        level: a.level,
    })
}

/// As what a node of the group is seen through `view` by another node of the group, if its register can be used.
fn register_role(group: &Group, role: Role, view: &View) -> Option<Role> {
    match role {
        Role::Full => (view.is_identity() && view.dims == group.dims).then_some(Role::Full),
        Role::Row => {
            let columns = group.columns?;
            if is_row_shape(group, &view.dims) && view.is_identity() {
                return Some(Role::Row);
            }
            // Repeated over the columns: the strides of the rows, then zeros.
            let rows = super::views::contiguous(&group.dims[..columns]);
            let fits = |axis: usize| {
                let expected = if axis < columns { rows[axis] } else { 0 };
                group.dims[axis] == 1 || view.strides[axis] == expected
            };
            (view.offset == 0 && view.dims == group.dims && (0..group.dims.len()).all(fits)).then_some(Role::Row)
        }
        Role::FoldRows | Role::FoldAll => None,
    }
}

/// Whether `dims` are the rows of the group, with or without ones in place of the columns.
fn is_row_shape(group: &Group, dims: &[usize]) -> bool {
    let Some(columns) = group.columns else { return false };
    dims.len() >= columns
        && dims[..columns] == group.dims[..columns]
        && dims[columns..].iter().all(|&size| size == 1)
        && dims.len() <= group.dims.len()
}

/// As what a fold over the axes first..end of the space takes part; decides the group's columns.
fn fold_role(group: &mut Group, first: usize, end: usize, target: &dyn Target) -> Option<Role> {
    let rank = group.dims.len();
    let mut decide = |columns: usize, fold_start: Option<usize>| {
        if group.columns.is_some_and(|decided| decided != columns) {
            return None;
        }
        if fold_start.is_some() && group.fold_start.is_some() && group.fold_start != fold_start {
            return None;
        }
        group.columns = Some(columns);
        group.fold_start = group.fold_start.or(fold_start);
        Some(())
    };
    if end < rank {
        decide(end, Some(first))?;
        return Some(Role::FoldRows);
    }
    let length: usize = group.dims[first..].iter().product();
    let rows: usize = group.dims[..first].iter().product();
    if rows == 1 && length > target.longest_row() {
        return Some(Role::FoldAll);
    }
    decide(first, None)?;
    Some(Role::Row)
}
