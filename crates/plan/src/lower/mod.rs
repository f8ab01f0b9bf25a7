//! Lowering: from what is meant to what runs. The only place that sees both.
//!
//! ```text
//! graph ── views ── groups ── programs and kernels ── commit ── schedule ── memory ──► plan
//! ```
//!
//! `views`: what moves nothing is a strided look. `groups`: which nodes become one tile program. `program` writes them, with
//! what `places` says of parts that are written side by side; `kernels` makes calls of the other nodes. `commit`: what writes variables. Then the schedule orders the calls, and the
//! memory plan places the buffers.

mod commit;
mod groups;
mod kernels;
mod loops;
mod places;
mod program;
mod views;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use thalweg_graph::array::program::{Instruction, OutputKind, Register};
use thalweg_graph::{Bindings, DType, Graph, NodeId, Op, TensorId, Variable};
use thiserror::Error;

use self::groups::{Group, GroupId, Grouping, Home, Role};
use self::places::Places;
use self::program::{Access, Draft, Elsewhere, Look, Segments, Source};
use self::views::View;
pub(crate) use self::views::contiguous;
use crate::plan::{Buffer, BufferId, Call, Epilogue, Feed, Kernel, Map, Operand, Place, Plan};
use crate::target::Target;

/// Why a graph cannot be lowered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LowerError {
    /// A tensor that no memory holds.
    #[error("{tensor} takes {bytes} bytes, more than the {limit} that a run may use")]
    TooLarge {
        /// Op, name and line.
        tensor: String,
        /// What it takes.
        bytes: usize,
        /// What there is.
        limit: usize,
    },
    /// A size without a number.
    #[error("{tensor} has a size without a number; bind the graph first")]
    Unbound {
        /// Op, name and line.
        tensor: String,
    },
}

/// Lowers a graph whose sizes are numbers ([`thalweg_graph::passes::bind()`]) and whose composites are expanded.
///
/// # Errors
/// If a tensor is larger than the target's memory, or a size has no number.
pub fn lower(graph: &Graph, bindings: &Bindings, target: &dyn Target) -> Result<Plan, LowerError> {
    for node in graph.nodes() {
        let Some(sizes) = node.meta.shape.numbers() else {
            return Err(LowerError::Unbound { tensor: node.describe() });
        };
        let bytes = sizes.iter().try_fold(node.meta.dtype.size(), |bytes, &size| bytes.checked_mul(size));
        let bytes = bytes.unwrap_or(usize::MAX);
        // What is only looked at with strides takes no memory.
        let repeated = matches!(node.op, Op::Expand(_));
        if bytes > target.memory_limit() && !repeated {
            return Err(LowerError::TooLarge { tensor: node.describe(), bytes, limit: target.memory_limit() });
        }
    }
    let graph = &kernels::canonical(graph.clone());
    let views = views::views(graph);
    let grouping = groups::group(graph, &views, target);
    let mut steps = HashMap::new();
    for id in graph.ids() {
        if let Op::Loop(op) = &graph[id].op {
            steps.insert(id, loops::step(op, target)?);
        }
    }
    let mut lowering = Lowering {
        graph,
        views: &views,
        grouping: &grouping,
        plan: Plan { bindings: bindings.clone(), ..Plan::default() },
        buffers: HashMap::new(),
        copies: HashMap::new(),
        stored: stored(graph, &views, &grouping),
        places: Places::find(graph, &views, &grouping),
        variable_numbers: HashMap::new(),
        absorbed: HashSet::new(),
        product_of: HashMap::new(),
        product_readers: product_readers(graph, &views, &grouping),
        roots: graph.roots().map(|root| views[root.index()].base).collect(),
        drafts: Vec::new(),
        makers: HashMap::new(),
        steps,
        results: loops::outputs(graph),
    };
    lowering.declare_feeds();
    lowering.calls();
    let (mut plan, drafts, makers) = lowering.finish();
    crate::schedule::order(&mut plan, drafts, &makers);
    crate::memory::assign(&mut plan);
    debug_assert_eq!(crate::verify(&plan), Ok(()), "{plan}");
    Ok(plan)
}

/// A call before its place in the order is known: ties are broken by the node it comes from.
#[derive(Debug)]
pub(crate) struct DraftCall {
    pub(crate) rank: usize,
    pub(crate) call: Call,
    /// Bases that are computed before, though the call does not read them.
    pub(crate) awaits: Vec<NodeId>,
}

struct Lowering<'a> {
    graph: &'a Graph,
    views: &'a [View],
    grouping: &'a Grouping,
    plan: Plan,
    /// The buffer of each base that is stored.
    buffers: HashMap<NodeId, BufferId>,
    /// Row-major copies of views, by view.
    copies: HashMap<(Look, views::Dims), BufferId>,
    /// Which bases need a buffer.
    stored: Vec<bool>,
    /// Matrix products and convolutions that a group takes over as its epilogue's input.
    absorbed: HashSet<NodeId>,
    /// The product of each group that took one over.
    product_of: HashMap<GroupId, NodeId>,
    /// Who reads each matrix product or convolution, views looked through.
    product_readers: HashMap<NodeId, Vec<NodeId>>,
    /// The bases of fetches and next values.
    roots: HashSet<NodeId>,
    /// What groups write in place.
    places: Places,
    /// The number of each variable that the plan has met.
    variable_numbers: HashMap<TensorId, usize>,
    drafts: Vec<DraftCall>,
    /// The call that computes each base.
    makers: HashMap<NodeId, usize>,
    /// The plan of a step of each loop that has no call yet.
    steps: HashMap<NodeId, loops::Step>,
    /// The nodes that take the results of each loop.
    results: HashMap<NodeId, Vec<NodeId>>,
}

/// The bases whose numbers are read from memory by someone.
fn stored(graph: &Graph, views: &[View], grouping: &Grouping) -> Vec<bool> {
    let mut stored = vec![false; graph.len()];
    for id in graph.ids() {
        let inputs = &graph[id].inputs;
        for (position, &input) in inputs.iter().enumerate() {
            let base = views[input.index()].base;
            let read = match grouping.homes[id.index()] {
                // A view reads nothing; what looks through it does.
                Home::Given | Home::Leaf => false,
                Home::Kernel { .. } => position + 1 < inputs.len() || !kernels::draws_last(&graph[id].op),
                Home::Group { group, .. } => {
                    let group = &grouping.groups[group];
                    matches!(program::access(graph, views, &grouping.homes, group, input), Access::Load)
                }
            };
            stored[base.index()] |= read;
        }
        if matches!(graph[id].op, Op::CheckIndices(_)) {
            stored[views[id.index()].base.index()] = true;
        }
    }
    for root in graph.roots() {
        stored[views[root.index()].base.index()] = true;
    }
    stored
}

/// Who reads each matrix product or convolution, views looked through: calls and members of groups.
fn product_readers(graph: &Graph, views: &[View], grouping: &Grouping) -> HashMap<NodeId, Vec<NodeId>> {
    let mut readers: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for id in graph.ids().filter(|id| !matches!(grouping.homes[id.index()], Home::Given | Home::Leaf)) {
        for input in &graph[id].inputs {
            let base = views[input.index()].base;
            if kernels::is_product(&graph[base].op) {
                readers.entry(base).or_default().push(id);
            }
        }
    }
    readers
}

impl Lowering<'_> {
    fn declare_feeds(&mut self) {
        for (id, placeholder) in self.graph.placeholders() {
            let name = placeholder.name.clone();
            let place = Place::Feed(self.plan.feeds.len());
            let buffer = self.new_buffer(id, place);
            self.plan.feeds.push(Feed { name, buffer });
            self.buffers.insert(id, buffer);
        }
    }

    fn new_buffer(&mut self, like: NodeId, place: Place) -> BufferId {
        self.push_buffer(self.graph[like].meta.dtype, views::dims(self.graph, like), place)
    }

    fn push_buffer(&mut self, dtype: DType, shape: views::Dims, place: Place) -> BufferId {
        self.plan.buffers.push(Buffer { dtype, shape, place });
        BufferId((self.plan.buffers.len() - 1) as u32)
    }

    fn temporary(&mut self, dtype: DType, shape: views::Dims) -> BufferId {
        self.push_buffer(dtype, shape, Place::Arena { offset: 0 })
    }

    /// The buffer of a base.
    fn buffer(&mut self, base: NodeId) -> BufferId {
        if let Some(&buffer) = self.buffers.get(&base) {
            return buffer;
        }
        let mut new_variable = None;
        let place = match &self.graph[base].op {
            Op::Constant(constant) => Place::Constant(constant.array().clone()),
            Op::Variable(read) => {
                // An update may have met it before anyone reads it.
                let known = self.variable_numbers.get(&read.variable().id()).copied();
                if known.is_none() {
                    new_variable = Some(read.handle());
                }
                Place::Variable(known.unwrap_or(self.plan.variables.len()))
            }
            _ => Place::Arena { offset: 0 },
        };
        let buffer = self.new_buffer(base, place);
        if let Some(variable) = new_variable {
            self.meet(variable, buffer);
        }
        self.buffers.insert(base, buffer);
        buffer
    }

    /// Takes note of a variable; says its number.
    fn meet(&mut self, variable: Variable, buffer: BufferId) -> usize {
        let number = self.plan.variables.len();
        self.variable_numbers.insert(variable.id(), number);
        self.plan.variables.push((variable, buffer));
        number
    }

    fn operand(&mut self, look: &Look) -> Operand {
        let buffer = match look.source {
            Source::Node(node) => self.buffer(node),
            Source::Copy(buffer) => buffer,
        };
        Operand { buffer, offset: look.offset, strides: look.strides.clone() }
    }

    /// A buffer that holds what a node shows, row-major: the base itself or a copy.
    fn whole(&mut self, id: NodeId) -> BufferId {
        let view = self.views[id.index()].clone();
        if view.is_identity() {
            return self.buffer(view.base);
        }
        let look = Look { source: Source::Node(view.base), offset: view.offset, strides: view.strides.clone() };
        self.copy(look, &view.dims, self.graph[id].meta.dtype, id)
    }

    /// A row-major copy of a look.
    fn copy(&mut self, look: Look, dims: &views::Dims, dtype: DType, rank: NodeId) -> BufferId {
        if let Some(&buffer) = self.copies.get(&(look.clone(), dims.clone())) {
            return buffer;
        }
        let buffer = self.temporary(dtype, dims.clone());
        let from = self.operand(&look);
        let to = Operand { buffer, offset: 0, strides: contiguous(dims) };
        self.push(rank, &[rank], Kernel::Copy { dims: dims.clone(), from, to });
        self.copies.insert((look, dims.clone()), buffer);
        buffer
    }

    /// Adds a call that stands for `nodes`.
    fn push(&mut self, rank: NodeId, nodes: &[NodeId], kernel: Kernel) {
        let label = label(self.graph, nodes);
        let looks = nodes.iter().flat_map(|node| [node].into_iter().chain(&self.graph[*node].inputs));
        let awaits = looks.flat_map(|look| self.views[look.index()].awaits.iter().copied()).collect();
        self.makers.extend(nodes.iter().map(|&node| (node, self.drafts.len())));
        self.drafts.push(DraftCall { rank: rank.index(), call: Call { kernel, label }, awaits });
    }

    fn calls(&mut self) {
        self.absorb_products();
        let placed: HashSet<NodeId> = self.places.wholes.values().flatten().copied().collect();
        for id in self.graph.ids() {
            if matches!(self.graph[id].op, Op::CheckIndices(_)) {
                self.kernel(id);
            }
            match self.grouping.homes[id.index()] {
                Home::Kernel { .. } if !self.absorbed.contains(&id) && !placed.contains(&id) => self.kernel(id),
                Home::Leaf if self.stored[id.index()] => self.stored_leaf(id),
                // A group is written when its last member is reached.
                Home::Group { group, .. } if self.grouping.groups[group].members.last() == Some(&id) => {
                    self.group(group);
                }
                Home::Kernel { .. } | Home::Leaf | Home::Group { .. } | Home::Given => {}
            }
        }
    }

    /// Random numbers or positions that someone reads from memory.
    fn stored_leaf(&mut self, id: NodeId) {
        let dims = views::dims(self.graph, id);
        let after_all = self.grouping.groups.len();
        let alone = Group { id: after_all, dims, columns: None, fold_start: None, members: vec![id], level: 0 };
        let segments = Segments { columns: None, fold_start: None };
        let homes = &self.grouping.homes;
        let elsewhere = Elsewhere { copies: &HashMap::new(), placed: &HashMap::new() };
        let draft = program::write(self.graph, self.views, homes, &alone, &[id], segments, elsewhere);
        self.map(&[id], draft.expect("a leaf loads nothing"));
    }

    fn group(&mut self, id: GroupId) {
        let group = &self.grouping.groups[id];
        let stored: Vec<NodeId> = group.members.iter().copied().filter(|member| self.stored[member.index()]).collect();
        if stored.is_empty() {
            return;
        }
        if group.dims.contains(&0) {
            // No numbers: nothing is computed, but what follows finds its (empty) buffers.
            for member in stored {
                self.buffer(member);
            }
            return;
        }
        let product = self.product_of.get(&id).copied();
        let segments = match product {
            // The rows of the product are one axis, its columns another.
            Some(product) => {
                let columns = kernels::columns(&self.graph[product].op, &group.dims);
                Segments { columns: Some(columns), fold_start: Some(0) }
            }
            None => Segments { columns: group.columns, fold_start: group.fold_start },
        };
        let homes = &self.grouping.homes;
        let mut copies = HashMap::new();
        let draft = loop {
            let elsewhere = Elsewhere { copies: &copies, placed: &self.places.parts };
            match program::write(self.graph, self.views, homes, group, &stored, segments, elsewhere) {
                Ok(draft) => break draft,
                Err(stubborn) => {
                    for look in stubborn {
                        let Source::Node(base) = look.source else { unreachable!("copies are row-major") };
                        let dtype = self.graph[base].meta.dtype;
                        let (dims, strides) = program::copied(&group.dims, segments, &look);
                        let rows_only = Look { strides: look.strides[..dims.len()].into(), ..look.clone() };
                        let buffer = self.copy(rows_only, &dims, dtype, group.members[0]);
                        copies.insert(look, Look { source: Source::Copy(buffer), offset: 0, strides });
                    }
                }
            }
        };
        match product {
            Some(product) => self.product_with_epilogue(product, &group.members, draft),
            None => self.map(&group.members, draft),
        }
        let wholes = self.places.wholes.get(&id).into_iter().flatten();
        self.makers.extend(wholes.map(|&whole| (whole, self.drafts.len() - 1)));
    }

    fn map(&mut self, members: &[NodeId], draft: Draft) {
        let inputs = draft.inputs.iter().map(|look| self.operand(look)).collect();
        let outputs = draft.outputs.iter().map(|look| self.operand(look)).collect();
        let map = Map { dims: draft.dims, program: draft.program, inputs, outputs };
        let rank = *members.last().expect("a group has members");
        self.push(rank, members, Kernel::Map(map));
    }

    /// Decides which groups of full values take over the matrix product they read.
    fn absorb_products(&mut self) {
        for group in &self.grouping.groups {
            let full =
                |member: &NodeId| matches!(self.grouping.homes[member.index()], Home::Group { role: Role::Full, .. });
            if group.columns.is_some()
                || group.dims.len() < 2
                || group.dims.contains(&0)
                || !group.members.iter().all(full)
            {
                continue;
            }
            let inputs = group.members.iter().flat_map(|member| &self.graph[*member].inputs);
            let products = inputs.filter_map(|input| {
                let view = &self.views[input.index()];
                let fresh = self.grouping.homes[view.base.index()] == Home::Kernel { level: group.level };
                let op = &self.graph[view.base].op;
                let product = kernels::is_product(op) && !self.absorbed.contains(&view.base);
                // The rows may have been cut into other axes, unless they are those of a batch or the columns are many.
                let dims = views::dims(self.graph, view.base);
                let same =
                    dims == group.dims || (kernels::has_free_rows(op, &dims) && dims.last() == group.dims.last());
                (fresh && product && same && view.is_identity() && view.dims == group.dims).then_some(view.base)
            });
            if let Some(product) = products.max() {
                let dims = views::dims(self.graph, product);
                let batched = matches!(self.graph[product].op, Op::MatMul(_)) && dims.len() > 2;
                // A 16-bit product is in memory as f32 while its epilogue runs: nobody else could read it.
                let dtype = self.graph[product].meta.dtype;
                let widened = kernels::product_dtype(dtype) != dtype;
                let shared = widened && self.product_read_elsewhere(product, &group.members);
                if !batched && !shared {
                    self.absorbed.insert(product);
                    self.product_of.insert(group.id, product);
                }
            }
        }
    }

    /// A matrix product whose blocks go through the program while they are in cache.
    fn product_with_epilogue(&mut self, product: NodeId, members: &[NodeId], mut draft: Draft) {
        let rank = *members.last().expect("a group has members");
        let position = draft.inputs.iter().position(|look| look.source == Source::Node(product));
        let position = position.expect("the group reads the product");
        draft.inputs.remove(position);
        put_input_first(&mut draft, position);

        let inputs: Vec<Operand> = draft.inputs.iter().map(|look| self.operand(look)).collect();
        let outputs: Vec<Operand> = draft.outputs.iter().map(|look| self.operand(look)).collect();
        // The product is in memory only if others read it.
        let c = self.product_read_elsewhere(product, members).then(|| self.buffer(product));
        let epilogue = Epilogue { program: draft.program, inputs, outputs };
        let kernel = self.product(product, c, Some(epilogue));
        let nodes: Vec<NodeId> = [product].iter().chain(members).copied().collect();
        self.push(rank, &nodes, kernel);
    }

    /// Whether someone outside `members` needs the product itself.
    fn product_read_elsewhere(&self, product: NodeId, members: &[NodeId]) -> bool {
        let mut readers = self.product_readers.get(&product).into_iter().flatten();
        self.roots.contains(&product) || readers.any(|reader| !members.contains(reader))
    }

    fn finish(mut self) -> (Plan, Vec<DraftCall>, HashMap<NodeId, usize>) {
        self.fetches_and_updates();
        (self.plan, self.drafts, self.makers)
    }
}

/// The program with input `position` moved to the front and read as the product: in f32 where the dtype is 16 bits.
fn put_input_first(draft: &mut Draft, position: usize) {
    let input = draft.program.inputs.remove(position);
    draft.program.inputs.insert(0, input);
    for instruction in &mut draft.program.instructions {
        if let Instruction::Load { input } = instruction {
            *input = match *input as usize {
                number if number == position => 0,
                number if number < position => number as u16 + 1,
                number => number as u16,
            };
        }
    }
    let dtype = input.dtype;
    let computed = kernels::product_dtype(dtype);
    if computed == dtype {
        return;
    }
    draft.program.inputs[0].dtype = computed;
    let load = draft.program.instructions.iter().position(|i| *i == Instruction::Load { input: 0 });
    let load = load.expect("the product is loaded") as Register;
    insert_after(draft, load, Instruction::Cast { from: computed, to: dtype, x: load });
}

/// Inserts an instruction behind register `after`; what read `after` reads the new register.
fn insert_after(draft: &mut Draft, after: Register, instruction: Instruction) {
    let renumber = |register: &mut Register| {
        if *register >= after {
            *register += 1;
        }
    };
    for instruction in &mut draft.program.instructions {
        instruction.operands_mut().into_iter().for_each(renumber);
    }
    for output in &mut draft.program.outputs {
        renumber(&mut output.register);
        debug_assert!(matches!(output.kind, OutputKind::Store));
    }
    draft.program.instructions.insert(after as usize + 1, instruction);
}

/// `matmul+add+relu (made at src/main.rs:12:5)`: the ops in order, and the line of the last.
fn label(graph: &Graph, nodes: &[NodeId]) -> Arc<str> {
    const SHOWN: usize = 6;
    let mut names: Vec<String> = nodes.iter().map(|node| graph[*node].op.label()).collect();
    names.dedup();
    let mut text = names[..names.len().min(SHOWN)].join("+");
    if names.len() > SHOWN {
        text += &format!("+{} more", names.len() - SHOWN);
    }
    let last = nodes.last().map(|node| &graph[*node]);
    if let Some(name) = last.and_then(|node| node.name.as_deref()) {
        text += &format!(" '{name}'");
    }
    if let Some(location) = last.and_then(|node| node.location) {
        text += &format!(" (made at {location})");
    }
    text.into()
}
