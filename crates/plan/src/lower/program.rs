//! Writes the tile program of a group, and cuts its space down to the fewest axes that all operands allow.

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};
use thalweg_graph::array::program::{Extent, Input, Instruction, Output, OutputKind, Program, Register};
use thalweg_graph::array::scalar::Binary;
use thalweg_graph::ops::elementwise::ElementwiseBinary;
use thalweg_graph::{Graph, Node, NodeId, Op, Scalar};

use super::groups::{Group, Home, Role};
use super::views::{Dims, Strides, View, contiguous, splat};
use crate::plan::BufferId;

/// Whose numbers an operand looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The buffer of a node.
    Node(NodeId),
    /// A copy made for the purpose.
    Copy(BufferId),
}

/// A strided look at numbers over the axes of a space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Look {
    pub(crate) source: Source,
    pub(crate) offset: usize,
    pub(crate) strides: Strides,
}

/// Where members of groups are stored that do not stand alone: as parts of other nodes.
pub(crate) type Placed = HashMap<NodeId, SmallVec<[Look; 1]>>;

/// What a program reads and writes elsewhere than in the buffer of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere<'a> {
    /// The row-major copies of looks.
    pub(crate) copies: &'a HashMap<Look, Look>,
    /// Where parts are written.
    pub(crate) placed: &'a Placed,
}

/// A program before its buffers are known.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) dims: Dims,
    pub(crate) program: Program,
    pub(crate) inputs: Vec<Look>,
    /// What is stored, in the order of the program's outputs.
    pub(crate) outputs: Vec<Look>,
}

/// How a node of a group gets at one of its inputs.
pub(crate) enum Access {
    Constant(Scalar),
    Register,
    Random,
    Column,
    Load,
}

/// How a node of `group` gets at one of its inputs.
pub(crate) fn access(graph: &Graph, views: &[View], homes: &[Home], group: &Group, input: NodeId) -> Access {
    let view = &views[input.index()];
    if let Some(value) = splat(graph, views, input) {
        return Access::Constant(value);
    }
    match (homes[view.base.index()], &graph[view.base].op) {
        (Home::Group { group: home, .. }, _) if home == group.id => Access::Register,
        (Home::Leaf, Op::Random(_)) if view.is_identity() && view.dims == group.dims => Access::Random,
        (Home::Leaf, Op::Iota(_)) if is_column(group, view) => Access::Column,
        _ => Access::Load,
    }
}

/// Whether a view of 0, 1, 2, … is the column of each element of the space.
fn is_column(space: &Group, view: &View) -> bool {
    let Some((&last, lead)) = view.strides.split_last() else { return false };
    let rank = space.dims.len();
    let alone = space.columns.is_none_or(|columns| columns == rank - 1);
    alone
        && view.dims == space.dims
        && view.offset == 0
        && last == 1
        && lead.iter().zip(&view.dims).all(|(&stride, &size)| stride == 0 || size == 1)
}

/// What the space of a program must keep apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments {
    /// The first axis of the columns.
    pub(crate) columns: Option<usize>,
    /// The first axis of the rows that are put together.
    pub(crate) fold_start: Option<usize>,
}

struct Writer<'a> {
    graph: &'a Graph,
    views: &'a [View],
    homes: &'a [Home],
    group: &'a Group,
    program: Program,
    loads: Vec<Look>,
    known: HashMap<Instruction, Register>,
    registers: HashMap<NodeId, Register>,
    uses_column: bool,
    /// Whether constants are read from memory like everything else.
    loads_constants: bool,
}

/// The program of a group; `stored` are the members whose numbers are needed outside, those in `placed` as parts of others.
///
/// `Err` names looks that do not fit the fewest axes that the program needs: they must be copied to row-major order
/// first, then this is called again.
pub(crate) fn write(
    graph: &Graph,
    views: &[View],
    homes: &[Home],
    group: &Group,
    stored: &[NodeId],
    segments: Segments,
    elsewhere: Elsewhere<'_>,
) -> Result<Draft, Vec<Look>> {
    let writer = |loads_constants| Writer {
        graph,
        views,
        homes,
        group,
        loads_constants,
        program: Program::default(),
        loads: Vec::new(),
        known: HashMap::new(),
        registers: HashMap::new(),
        uses_column: false,
    };
    let draft = writer(false).draft(stored, segments, elsewhere)?;
    if has_small_register(&draft) {
        // Nothing but constants: loaded, they are a number per element.
        let draft = writer(true).draft(stored, segments, elsewhere)?;
        debug_assert!(!has_small_register(&draft), "row values alone became a full one: a bug in Thalweg\n{draft:?}");
        return Ok(draft);
    }
    Ok(draft)
}

/// The strides over the space with which a member is stored row-major.
fn store_strides(group: &Group, role: Role) -> Strides {
    let rank = group.dims.len();
    let columns = group.columns.unwrap_or(rank);
    match role {
        Role::Full => contiguous(&group.dims),
        Role::Row => {
            let mut strides = contiguous(&group.dims[..columns]);
            strides.resize(rank, 0);
            strides
        }
        Role::FoldRows => {
            let start = group.fold_start.unwrap_or(columns);
            let kept: Dims = group.dims[..start].iter().chain(&group.dims[columns..]).copied().collect();
            let kept = contiguous(&kept);
            (0..rank)
                .map(|axis| match axis {
                    axis if axis < start => kept[axis],
                    axis if axis < columns => 0,
                    axis => kept[axis - (columns - start)],
                })
                .collect()
        }
        Role::FoldAll => smallvec![0; rank],
    }
}

impl Writer<'_> {
    /// The program, its space cut down.
    fn draft(
        mut self,
        stored: &[NodeId],
        segments: Segments,
        Elsewhere { copies, placed }: Elsewhere<'_>,
    ) -> Result<Draft, Vec<Look>> {
        for &member in &self.group.members {
            self.member(member);
        }
        let mut outputs = Vec::new();
        let mut is_full = Vec::new();
        for &member in stored {
            let role = match self.homes[member.index()] {
                Home::Group { role, .. } => role,
                // A leaf that is stored is alone in its group.
                Home::Leaf | Home::Given | Home::Kernel { .. } => Role::Full,
            };
            let kind = match (role, &self.graph[member].op) {
                (Role::FoldRows, Op::Reduce(reduce)) => OutputKind::FoldRows(reduce.fold),
                (Role::FoldAll, Op::Reduce(reduce)) => OutputKind::FoldAll(reduce.fold),
                _ => OutputKind::Store,
            };
            let alone = || Look { source: Source::Node(member), offset: 0, strides: store_strides(self.group, role) };
            for look in placed.get(&member).cloned().unwrap_or_else(|| smallvec![alone()]) {
                self.program.outputs.push(Output { register: self.registers[&member], kind });
                outputs.push(look);
                is_full.push(role == Role::Full);
            }
        }
        let (dims, program, mut loads) = (self.group.dims.clone(), self.program, self.loads);
        for look in &mut loads {
            if let Some(copy) = copies.get(look) {
                *look = copy.clone();
            }
        }
        let columns = if self.uses_column { Some(dims.len() - 1) } else { segments.columns };
        let segments = Segments { columns, ..segments };
        let mut draft = Draft { dims, program, inputs: loads, outputs };
        collapse(&mut draft, segments)?;
        if draft.dims.last() == Some(&1) {
            // One column: a step there goes nowhere, and looks the same as an input's.
            for (output, _) in draft.outputs.iter_mut().zip(is_full).filter(|(_, is_full)| *is_full) {
                output.strides[draft.dims.len() - 1] = 1;
            }
        }
        declare_extents(&mut draft);
        Ok(draft)
    }

    fn push(&mut self, instruction: Instruction) -> Register {
        if let Some(&register) = self.known.get(&instruction) {
            return register;
        }
        let register = self.program.push(instruction);
        self.known.insert(instruction, register);
        register
    }

    fn member(&mut self, id: NodeId) {
        let node = &self.graph[id];
        if let Some(register) = self.is_column(node) {
            self.registers.insert(id, register);
            return;
        }
        let operands: SmallVec<[Register; 3]> = node.inputs.iter().map(|&input| self.operand(input)).collect();
        let dtype = |number: usize| self.graph[node.inputs[number]].meta.dtype;
        let register = match &node.op {
            Op::Unary(f) => self.push(Instruction::Unary { f: f.0, dtype: dtype(0), x: operands[0] }),
            Op::Binary(f) => self.push(Instruction::Binary { f: f.0, dtype: dtype(0), x: operands[0], y: operands[1] }),
            Op::Select(_) => self.push(Instruction::Select {
                dtype: dtype(1),
                condition: operands[0],
                x: operands[1],
                y: operands[2],
            }),
            Op::Cast(cast) => self.push(Instruction::Cast { from: dtype(0), to: cast.to, x: operands[0] }),
            Op::Reduce(reduce) => match self.homes[id.index()] {
                Home::Group { role: Role::Row, .. } => {
                    self.push(Instruction::FoldRow { f: reduce.fold, dtype: dtype(0), x: operands[0] })
                }
                // Put together on the way out.
                _ => operands[0],
            },
            Op::Random(_) | Op::Iota(_) => self.leaf(id),
            other => unreachable!("{other:?} in a group: a bug in Thalweg"),
        };
        self.registers.insert(id, register);
    }

    /// The register of a comparison of 0, 1, 2, … along the columns with an integer per row: labels say so which classes they are.
    fn is_column(&mut self, node: &Node) -> Option<Register> {
        let Op::Binary(ElementwiseBinary(Binary::Eq)) = node.op else { return None };
        let is = |input: NodeId, what: fn(&Access) -> bool| {
            what(&access(self.graph, self.views, self.homes, self.group, input))
        };
        let repeats = |input: NodeId| {
            let view = &self.views[input.index()];
            view.dims != self.group.dims || view.strides.last() == Some(&0)
        };
        let dtype = self.graph[node.inputs[0]].meta.dtype;
        let (x, y) = (node.inputs[0], node.inputs[1]);
        let number = [(x, y), (y, x)].into_iter().find_map(|(column, number)| {
            let found = is(column, |access| matches!(access, Access::Column))
                && is(number, |access| matches!(access, Access::Load))
                && repeats(number);
            found.then_some(number)
        });
        let number = number.filter(|_| !dtype.is_float())?;
        self.uses_column = true;
        let x = self.operand(number);
        Some(self.push(Instruction::IsColumn { dtype, x }))
    }

    /// Random numbers or positions.
    fn leaf(&mut self, id: NodeId) -> Register {
        let node = &self.graph[id];
        match &node.op {
            Op::Random(random) => self.push(Instruction::Random {
                distribution: random.distribution,
                dtype: random.dtype,
                stream: random.stream.expect("a captured graph has streams"),
            }),
            _ => {
                self.uses_column = true;
                self.push(Instruction::Column { dtype: node.meta.dtype })
            }
        }
    }

    fn operand(&mut self, input: NodeId) -> Register {
        let view = &self.views[input.index()];
        let dtype = self.graph[input].meta.dtype;
        match access(self.graph, self.views, self.homes, self.group, input) {
            Access::Constant(value) if !self.loads_constants => self.push(Instruction::Constant { value, dtype }),
            Access::Register => self.registers[&view.base],
            Access::Random | Access::Column => self.leaf(view.base),
            Access::Constant(_) | Access::Load => {
                // A view over the rows says nothing of the columns: it repeats there.
                let mut strides: Strides = view.strides.clone();
                if view.dims != self.group.dims {
                    let rank = self.group.dims.len();
                    strides.truncate(self.group.columns.unwrap_or(rank));
                    strides.resize(rank, 0);
                }
                let look = Look { source: Source::Node(view.base), offset: view.offset, strides };
                let number = self.loads.iter().position(|known| *known == look).unwrap_or_else(|| {
                    self.loads.push(look);
                    // The extent is declared when the axes are known.
                    self.program.inputs.push(Input { dtype, extent: Extent::Full });
                    self.loads.len() - 1
                });
                self.push(Instruction::Load { input: number as u16 })
            }
        }
    }
}

/// Runs neighbouring axes together where all looks allow it, and drops axes of size 1. Afterwards the columns are one
/// axis, and the rows that are put together are one axis before them.
///
/// `Err`: looks that keep axes apart which must be one.
pub(crate) fn collapse(draft: &mut Draft, segments: Segments) -> Result<(), Vec<Look>> {
    let rank = draft.dims.len();
    let starts: SmallVec<[usize; 2]> = [segments.fold_start, segments.columns].into_iter().flatten().collect();
    // Axes that carry something, cut into runs that end where a segment does.
    let mut runs: Vec<(usize, Vec<usize>)> = Vec::new();
    if !starts.contains(&0) {
        runs.push((0, Vec::new()));
    }
    for axis in 0..rank {
        if starts.contains(&axis) {
            runs.push((axis, Vec::new()));
        }
        if draft.dims[axis] != 1 {
            runs.last_mut().expect("never empty").1.push(axis);
        }
    }
    if starts.contains(&rank) {
        runs.push((rank, Vec::new()));
    }
    let looks = || draft.inputs.iter().chain(&draft.outputs);
    let joins = |look: &Look, a: usize, b: usize| look.strides[a] == look.strides[b] * draft.dims[b] as isize;

    let mut dims = Dims::new();
    let mut strides: Vec<Strides> = vec![Strides::new(); draft.inputs.len() + draft.outputs.len()];
    let mut stubborn: Vec<Look> = Vec::new();
    let n_inputs = draft.inputs.len();
    // One element along a new axis: inputs step as if dense, outputs have nowhere to go.
    let add_axis = |dims: &mut Dims, strides: &mut Vec<Strides>| {
        dims.push(1);
        strides.iter_mut().enumerate().for_each(|(number, strides)| strides.push((number < n_inputs) as isize));
    };
    for (start, axes) in &runs {
        let single = starts.contains(start);
        let first = dims.len();
        for (index, &axis) in axes.iter().enumerate() {
            if index > 0 {
                let before = axes[index - 1];
                if looks().all(|look| joins(look, before, axis)) {
                    *dims.last_mut().expect("the axis before") *= draft.dims[axis];
                    for (strides, look) in strides.iter_mut().zip(looks()) {
                        *strides.last_mut().expect("the axis before") = look.strides[axis];
                    }
                    continue;
                }
                if single {
                    let apart = draft.inputs.iter().filter(|look| !joins(look, before, axis));
                    stubborn.extend(apart.cloned());
                }
            }
            dims.push(draft.dims[axis]);
            for (strides, look) in strides.iter_mut().zip(looks()) {
                strides.push(look.strides[axis]);
            }
        }
        if single && dims.len() == first {
            add_axis(&mut dims, &mut strides);
        }
    }
    if !stubborn.is_empty() {
        stubborn.dedup();
        return Err(stubborn);
    }
    if dims.is_empty() {
        add_axis(&mut dims, &mut strides);
    }
    draft.dims = dims;
    for (look, strides) in draft.inputs.iter_mut().chain(&mut draft.outputs).zip(strides) {
        look.strides = strides;
    }
    Ok(())
}

/// The sizes of a row-major copy of what a look sees, and how the copy is looked at over the space: what repeats along the
/// columns is copied once for all of them.
pub(crate) fn copied(space: &[usize], segments: Segments, look: &Look) -> (Dims, Strides) {
    let columns = segments.columns.filter(|&columns| look.strides[columns..].iter().all(|&stride| stride == 0));
    let dims: Dims = space[..columns.unwrap_or(space.len())].into();
    let mut strides = contiguous(&dims);
    strides.resize(space.len(), 0);
    (dims, strides)
}

/// Says of each input whether it varies along the columns. What is folded or stored per element must be full: where a
/// register would be smaller, the inputs behind it are read repeatedly.
pub(crate) fn declare_extents(draft: &mut Draft) {
    for (input, look) in draft.program.inputs.iter_mut().zip(&draft.inputs) {
        let (last, lead) = look.strides.split_last().expect("a space has an axis");
        input.extent = match (*last, lead.iter().zip(&draft.dims).all(|(&stride, &size)| stride == 0 || size == 1)) {
            (0, true) => Extent::One,
            (0, false) => Extent::Row,
            _ => Extent::Full,
        };
    }
    if has_small_register(draft) {
        draft.program.inputs.iter_mut().for_each(|input| input.extent = Extent::Full);
    }
}

/// Whether a register that is folded, or stored per element, has less than a number per element.
fn has_small_register(draft: &Draft) -> bool {
    let extents = draft.program.extents();
    let full_store = |output: &Output, look: &Look| {
        let columns = draft.dims.last().copied().unwrap_or(1);
        output.kind != OutputKind::Store || (columns != 1 && look.strides.last() != Some(&0))
    };
    let mut outputs = draft.program.outputs.iter().zip(&draft.outputs);
    let small_store =
        outputs.any(|(output, look)| full_store(output, look) && extents[output.register as usize] != Extent::Full);
    let small_fold = draft.program.instructions.iter().any(|instruction| match instruction {
        Instruction::FoldRow { x, .. } => extents[*x as usize] != Extent::Full,
        _ => false,
    });
    small_store || small_fold
}
