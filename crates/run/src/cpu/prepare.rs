//! [`Prepared`]: a plan with everything worked out that does not change from run to run: kernels chosen for the
//! sizes, offsets in bytes, scratch memory.

use std::ops::Range;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use thalweg_kernels::convolution::{self, Winograd};
use thalweg_kernels::cpu::{Isa, calls_copies_back_slowly};
use thalweg_kernels::matmul::{Matmul, Problem, Strides, output_dtype};
use thalweg_kernels::movement::StridedCopy;
use thalweg_kernels::tile::{self, Space};
use thalweg_plan::graph::array::program::{Extent, Input, Instruction, Output, OutputKind, Program};
use thalweg_plan::graph::array::scalar::Fold;
use thalweg_plan::graph::array::with_dtype;
use thalweg_plan::graph::ops::convolution as ops;
use thalweg_plan::graph::ops::windows::Grid;
use thalweg_plan::graph::{DType, Scalar};
use thalweg_plan::{
    ALIGNMENT, AroundAxis, Buffer, BufferId, Epilogue, Given, Kernel, Map, MatMul, Operand, Part, Place, Plan,
};

use super::attention::Attention;
use super::gather::{AddedRows, Rows};
use super::loops;
use super::packed::{Copies, PackedOperand, Packer};
use super::repeat::Repeat;
use super::shared::Shared;

/// A plan ready to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) steps: Vec<Step>,
    /// What products and convolutions read packed.
    pub(crate) packed: Vec<PackedOperand>,
    /// The numbers of the variables that a run writes.
    pub(crate) written: Vec<usize>,
    /// Bytes that the chunks of a call share.
    pub(crate) shared_bytes: usize,
    /// Bytes that each thread has to itself.
    pub(crate) scratch_bytes: usize,
    /// Bytes in which loops keep packed what all their steps read.
    pub(crate) held_bytes: usize,
}

/// What is left open by a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    /// All sums are formed as they are defined.
    pub(crate) exact: bool,
    /// Products may go to matrix units, which are chosen by the number of rows among others.
    pub(crate) matrix_units: bool,
    /// Weights that the plan does not write stay packed from run to run.
    pub(crate) keeps_packed: bool,
    /// There are several threads.
    pub(crate) several_threads: bool,
}

/// A part of a call.
#[derive(Debug)]
pub(crate) struct Step {
    /// The position of the call.
    pub(crate) call: usize,
    pub(crate) work: Work,
}

/// What is done.
#[derive(Debug)]
pub(crate) enum Work {
    /// A tile program.
    Map { tile: Box<tile::Prepared>, inputs: Vec<Look>, outputs: Vec<Look> },
    /// Matrix products.
    Product(Box<Product>),
    /// Rows picked by index.
    Gather(Rows),
    /// Rows added where indices say.
    ScatterAdd(AddedRows),
    /// A box of elements.
    Copy { copy: StridedCopy, from: Look, to: Look },
    /// One side of a convolution.
    Convolution(Box<Convolution>),
    /// What queries find among keys, or its gradients.
    Attention(Box<Attention>),
    /// One number in a box of elements; its bytes are the first of `value`.
    Fill { value: u64, fill: StridedCopy, to: Look },
    /// A plan for each step.
    Loop(Box<Repeat>),
    /// A loop over whole buffers: the call says which.
    Whole,
}

/// An operand: its buffer and the bytes from there to its first element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) buffer: BufferId,
    pub(crate) offset: isize,
}

/// Matrix products with all that belongs to them.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) matmul: Matmul,
    pub(crate) a: Look,
    pub(crate) b: Look,
    /// Which of the packed operands stands for B.
    pub(crate) packed_b: Option<usize>,
    /// None if only the epilogue sees C.
    pub(crate) c: Option<Look>,
    /// For each index of the batch the bytes by which A, B and C are further on.
    pub(crate) batch: Vec<[isize; 3]>,
    /// How many products one chunk does, where a product is too small to be shared.
    pub(crate) products_per_chunk: usize,
    pub(crate) epilogue: Option<Tail>,
}

impl Product {
    /// Whether several threads work on one product of the batch.
    pub(crate) fn is_shared(&self) -> bool {
        self.matmul.chunks() > 1
    }

    /// The bytes of a thread's own memory that come before those of the epilogue: a product that is not shared keeps what
    /// others would share there as well.
    pub(crate) fn tail_offset(&self) -> usize {
        let shared = if self.is_shared() { 0 } else { self.matmul.shared_scratch_bytes() };
        self.matmul.worker_scratch_bytes() + shared
    }
}

/// A convolution with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Convolution {
    pub(crate) kernel: convolution::Convolution,
    pub(crate) a: BufferId,
    pub(crate) b: BufferId,
    /// Which of the packed operands stands for the weight.
    pub(crate) packed_weight: Option<usize>,
    /// None if only the epilogue sees the result.
    pub(crate) c: Option<BufferId>,
    /// Of a batch of one.
    pub(crate) epilogue: Option<Tail>,
}

/// What is done to each block of a product.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) tile: tile::Prepared,
    /// Without the product itself, which is the first.
    pub(crate) inputs: Vec<Look>,
    pub(crate) outputs: Vec<Look>,
    /// Of `inputs` and of `outputs`, those that are fetched into the caches beside the product.
    pub(crate) far: [Vec<Far>; 2],
    /// For each index of the batch the bytes by which inputs and outputs are further on.
    pub(crate) batch: Vec<Vec<isize>>,
}

/// An operand that is as wide as the product and so large that it is far from the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Far {
    /// Its number.
    pub(crate) number: usize,
    /// Bytes from a row to the next.
    pub(crate) row_bytes: usize,
    /// Bytes of an element.
    pub(crate) element_bytes: usize,
}

/// Below so many operations a product is not worth being handed to another thread on its own.
const CHUNK_FLOPS: u64 = 500_000;

/// Bytes of a product from which on it goes past the caches, where the copies that other threads have of what it replaces are
/// called back slowly; what is smaller takes no time.
const LEAST_CALLED_BACK: usize = 8 << 10;

/// Bytes from which on an operand is far from the processor.
const FAR_BYTES: usize = 256 << 10;

/// By what means results are computed.
#[derive(Clone, Copy)]
struct Means {
    winograd: Winograd,
    isa: Isa,
    /// Whether it takes long to write what other threads have copies of.
    copies_are_slow: bool,
}

impl Prepared {
    /// Makes a plan ready.
    pub(crate) fn new(plan: Plan, choices: Choices) -> Prepared {
        let Choices { exact, matrix_units, keeps_packed, several_threads } = choices;
        let means = Means {
            winograd: if exact { Winograd::Never } else { winograd(&plan) },
            isa: if matrix_units && !exact { Isa::best() } else { Isa::best().of_vectors() },
            copies_are_slow: several_threads && calls_copies_back_slowly(),
        };
        Prepared::with(plan, means, keeps_packed, &[])
    }

    /// Makes a plan ready, of which the feeds in `whole` stay the same over many steps.
    fn with(mut plan: Plan, means: Means, keeps_packed: bool, whole: &[bool]) -> Prepared {
        let written = written(&plan);
        let shared = if means.copies_are_slow { Shared::of(&plan) } else { Shared::default() };
        let mut packed = PackedOperands { plan: &plan, keeps_packed, written: &written, whole, operands: Vec::new() };
        let mut steps = Vec::new();
        for (call, kernel) in plan.calls.iter().map(|call| &call.kernel).enumerate() {
            let mut push = |work| steps.push(Step { call, work });
            match kernel {
                Kernel::Map(map) => push(map_work(&plan, map, &shared)),
                Kernel::MatMul(matmul) => {
                    product(&plan, matmul, means, &shared, &mut packed).into_iter().for_each(push);
                }
                Kernel::Convolution(convolution) => {
                    self::convolution(&plan, convolution, means, &shared, &mut packed).into_iter().for_each(push)
                }
                Kernel::Attention(attention) => {
                    push(Work::Attention(Box::new(Attention::new(&plan, attention, means.isa))))
                }
                Kernel::Copy { dims, from, to } => push(copy(&plan, dims, from, to)),
                Kernel::Assemble { fill, parts, to } => {
                    if let Some(value) = *fill {
                        ground(&plan, value, parts, *to).into_iter().for_each(&mut push);
                    }
                    parts.iter().for_each(|part| push(copy(&plan, &part.dims, &part.from, &part.to)));
                }
                Kernel::Fill { value, to } => ground(&plan, *value, &[], *to).into_iter().for_each(push),
                Kernel::Loop(repeat) => {
                    let stays = |given: &Given| repeat.length > 1 && matches!(given, Given::Whole(_));
                    let whole: Vec<bool> = repeat.feeds.iter().map(stays).collect();
                    let body = Prepared::with((*repeat.body).clone(), means, keeps_packed, &whole);
                    push(Work::Loop(Box::new(Repeat::new(&plan, repeat, body))));
                }
                Kernel::Fold { x, y, around, fold: f } => push(fold(&plan, *x, *y, *around, *f)),
                Kernel::Gather { x, indices, y, around } => {
                    push(Work::Gather(Rows::new(&plan, [*x, *indices, *y], *around)));
                }
                Kernel::ScatterAdd { base, indices, updates, y, around } => {
                    push(copy(&plan, &base.dims, &base.from, &base.to));
                    push(Work::ScatterAdd(AddedRows::new(&plan, [*updates, *indices, *y], *around)));
                }
                Kernel::TakeAlong { .. }
                | Kernel::ScatterAddAlong { .. }
                | Kernel::CheckIndices { .. }
                | Kernel::ArgReduce { .. }
                | Kernel::CumSum { .. }
                | Kernel::ArgSort { .. }
                | Kernel::OverlapAdd { .. }
                | Kernel::Custom { .. } => push(Work::Whole),
            }
        }
        let most = |bytes: &dyn Fn(&Step) -> usize| {
            steps.iter().map(|step| bytes(step).next_multiple_of(ALIGNMENT)).max().unwrap_or(0)
        };
        let shared_bytes = most(&|step| match &step.work {
            Work::Map { tile, .. } => tile.partial_bytes(),
            Work::Product(product) if product.is_shared() => product.matmul.shared_scratch_bytes(),
            Work::Convolution(convolution) => convolution.kernel.shared_scratch_bytes(),
            Work::Loop(repeat) => repeat.body.shared_bytes,
            Work::Product(_) | Work::Attention(_) | Work::Gather(_) | Work::ScatterAdd(_) => 0,
            Work::Copy { .. } | Work::Fill { .. } | Work::Whole => 0,
        });
        let scratch_bytes = most(&|step| match &step.work {
            Work::Map { tile, .. } => tile.scratch_bytes(),
            Work::Product(product) => product.tail_offset() + tail_bytes(&product.epilogue),
            Work::Convolution(convolution) => {
                convolution.kernel.worker_scratch_bytes() + tail_bytes(&convolution.epilogue)
            }
            Work::Attention(attention) => attention.scratch_bytes(),
            Work::Loop(repeat) => repeat.body.scratch_bytes,
            Work::Whole => loops::scratch_elements(&plan.calls[step.call].kernel) * size_of::<i64>(),
            Work::Gather(_) | Work::ScatterAdd(_) | Work::Copy { .. } | Work::Fill { .. } => 0,
        });
        let held_bytes = most(&|step| match &step.work {
            Work::Loop(repeat) => repeat.body.packed_bytes() + repeat.body.held_bytes,
            Work::Map { .. } | Work::Product(_) | Work::Convolution(_) | Work::Attention(_) => 0,
            Work::Gather(_) | Work::ScatterAdd(_) => 0,
            Work::Copy { .. } | Work::Fill { .. } | Work::Whole => 0,
        });
        let packed = packed.operands;
        let mut prepared =
            Prepared { plan: Arc::default(), steps, packed, written, shared_bytes, scratch_bytes, held_bytes };
        plan.packed_bytes = prepared.packed_bytes();
        prepared.plan = Arc::new(plan);
        prepared
    }

    /// Bytes of all packed operands, each from a multiple of [`ALIGNMENT`] on.
    pub(super) fn packed_bytes(&self) -> usize {
        self.packed.iter().map(|operand| operand.packer.bytes().next_multiple_of(ALIGNMENT)).sum()
    }

    /// Bytes of memory that a run on so many threads takes besides feeds, variables and results.
    pub(crate) fn workspace_bytes(&self, threads: usize) -> usize {
        let arena = self.plan.arena_bytes.next_multiple_of(ALIGNMENT);
        arena + self.shared_bytes + self.scratch_bytes * threads + self.held_bytes
    }
}

fn tail_bytes(epilogue: &Option<Tail>) -> usize {
    epilogue.as_ref().map_or(0, |tail| tail.tile.scratch_bytes())
}

pub(super) fn look(plan: &Plan, operand: &Operand) -> Look {
    Look { buffer: operand.buffer, offset: (operand.offset * plan[operand.buffer].dtype.size()) as isize }
}

fn looks(plan: &Plan, operands: &[Operand]) -> Vec<Look> {
    operands.iter().map(|operand| look(plan, operand)).collect()
}

fn map_work(plan: &Plan, map: &Map, shared: &Shared) -> Work {
    let strides = |operands: &[Operand]| operands.iter().map(|operand| operand.strides.to_vec()).collect();
    let folds_rows = map.program.outputs.iter().any(|output| matches!(output.kind, OutputKind::FoldRows(_)));
    let space = Space {
        dims: map.dims.to_vec(),
        outer: if folds_rows { map.dims.len() - 2 } else { 0 },
        inputs: strides(&map.inputs),
        outputs: strides(&map.outputs),
    };
    let tile = tile::Prepared::new(&map.program, &space).past_caches_in_place(&shared.among(plan, &map.outputs));
    let fetched = |output: &Operand| matches!(plan[output.buffer].place, Place::Fetch(_));
    let is_read = |output: &Operand| plan.calls.iter().any(|call| call.kernel.reads().contains(&output.buffer));
    let read_by_nobody = || map.outputs.iter().all(|output| fetched(output) && !is_read(output));
    Work::Map {
        tile: Box::new(tile.past_caches_if(read_by_nobody)),
        inputs: looks(plan, &map.inputs),
        outputs: looks(plan, &map.outputs),
    }
}

fn copy(plan: &Plan, dims: &[usize], from: &Operand, to: &Operand) -> Work {
    let size = plan[from.buffer].dtype.size();
    let copy = StridedCopy::new(size, dims, &from.strides, &to.strides);
    Work::Copy { copy, from: look(plan, from), to: look(plan, to) }
}

/// One number in a box of a buffer.
fn fill(plan: &Plan, value: Scalar, to: BufferId, within: &[Range<usize>]) -> Work {
    let Buffer { dtype, shape, .. } = &plan[to];
    let strides = tile::dense_strides(shape);
    let dims: Vec<usize> = within.iter().map(|range| range.len()).collect();
    let first: usize = within.iter().zip(&strides).map(|(range, &stride)| range.start * stride as usize).sum();
    let mut bytes = 0u64;
    with_dtype!(*dtype, T => {
        let value: T = value.to();
        let value = bytemuck::bytes_of(&value);
        bytemuck::bytes_of_mut(&mut bytes)[..value.len()].copy_from_slice(value);
    });
    let fill = StridedCopy::new(dtype.size(), &dims, &vec![0; dims.len()], &strides);
    Work::Fill { value: bytes, fill, to: Look { buffer: to, offset: (first * dtype.size()) as isize } }
}

/// One number wherever no part goes: around a single part, or everywhere where that is no box.
fn ground(plan: &Plan, value: Scalar, parts: &[Part], to: BufferId) -> Vec<Work> {
    let shape = &plan[to].shape;
    let whole: Vec<Range<usize>> = shape.iter().map(|&size| 0..size).collect();
    if shape.contains(&0) {
        return Vec::new();
    }
    let strides = tile::dense_strides(shape);
    let [part] = parts else { return vec![fill(plan, value, to, &whole)] };
    if part.to.strides[..] != strides[..] {
        return vec![fill(plan, value, to, &whole)];
    }
    let mut fills = Vec::new();
    // Before and after the part along each axis; what lies beside it along the axes before is filled already.
    let (mut within, mut rest) = (whole, part.to.offset);
    for axis in 0..shape.len() {
        let start = rest / strides[axis] as usize;
        rest -= start * strides[axis] as usize;
        let end = start + part.dims[axis];
        for margin in [0..start, end..shape[axis]] {
            if !margin.is_empty() {
                within[axis] = margin;
                fills.push(fill(plan, value, to, &within));
            }
        }
        within[axis] = start..end;
    }
    fills
}

/// A fold along an axis as the program that does nothing else.
fn fold(plan: &Plan, x: BufferId, y: BufferId, around: AroundAxis, fold: Fold) -> Work {
    let AroundAxis { outer, size, inner } = around;
    let dtype = plan[x].dtype;
    let mut program = Program { inputs: vec![Input { dtype, extent: Extent::Full }], ..Program::default() };
    let loaded = program.push(Instruction::Load { input: 0 });
    let (dims, strides, register, kind): (SmallVec<[usize; 4]>, SmallVec<[isize; 4]>, _, _) = if inner > 1 {
        let strides = smallvec![inner as isize, 0, 1];
        (smallvec![outer, size, inner], strides, loaded, OutputKind::FoldRows(fold))
    } else if outer > 1 {
        let row = program.push(Instruction::FoldRow { f: fold, dtype, x: loaded });
        (smallvec![outer, size], smallvec![1, 0], row, OutputKind::Store)
    } else {
        (smallvec![outer, size], smallvec![0, 0], loaded, OutputKind::FoldAll(fold))
    };
    program.outputs.push(Output { register, kind });
    let whole = tile::dense_strides(&dims).into();
    let map = Map {
        dims,
        program,
        inputs: vec![Operand { buffer: x, offset: 0, strides: whole }],
        outputs: vec![Operand { buffer: y, offset: 0, strides }],
    };
    map_work(plan, &map, &Shared::default())
}

/// None where there is nothing to compute.
fn product(
    plan: &Plan,
    matmul: &MatMul,
    means: Means,
    shared: &Shared,
    packed: &mut PackedOperands<'_>,
) -> Option<Work> {
    let MatMul { dtype, ref batch, m, k, n, ref a, ref b, c, ref epilogue } = *matmul;
    if m == 0 || n == 0 || batch.contains(&0) {
        return None;
    }
    let rank = batch.len();
    let matrix = |operand: &Operand| Strides {
        row: operand.strides[rank].unsigned_abs(),
        column: operand.strides[rank + 1].unsigned_abs(),
    };
    let problem = Problem { dtype, m, k, n, a: matrix(a), b: matrix(b), c_row_stride: n, accumulate: false };
    let mut kernel = Matmul::new(problem, means.isa);
    // A matrix for each product of a batch stays as it is.
    let one_b = b.strides[..rank].iter().zip(batch).all(|(&stride, &size)| stride == 0 || size == 1);
    let mut packed_b = None;
    if kernel.packs_b() && one_b {
        packed_b = packed.number(b.buffer, || Packer::Product(kernel.b_packer(), look(plan, b).offset));
    }
    if packed_b.is_some() {
        kernel = kernel.with_packed_b();
    }
    if shared.among(plan, std::slice::from_ref(b))[0] {
        kernel = kernel.with_distant_b();
    }
    if c.is_none() {
        kernel = kernel.with_c_in_scratch();
    }
    let product_bytes = m * n * output_dtype(dtype).size();
    let is_shared = c.is_some_and(|c| matches!(plan[c].place, Place::Arena { .. })) && kernel.chunks() > 1;
    if means.copies_are_slow && is_shared && product_bytes >= LEAST_CALLED_BACK {
        kernel = kernel.with_c_past_caches();
    }
    let product_size = product_bytes as isize;
    let positions = positions(batch);
    let offsets = positions
        .iter()
        .enumerate()
        .map(|(number, index)| [further(a, index, dtype), further(b, index, dtype), number as isize * product_size]);
    let tail = |epilogue: &Epilogue| tail(plan, epilogue, [m, n], kernel.c_row_stride(), &positions, shared);
    Some(Work::Product(Box::new(Product {
        a: look(plan, a),
        b: look(plan, b),
        packed_b,
        c: c.map(|buffer| Look { buffer, offset: 0 }),
        batch: offsets.collect(),
        products_per_chunk: (CHUNK_FLOPS / problem.flops().max(1)).max(1) as usize,
        epilogue: epilogue.as_ref().map(tail),
        matmul: kernel,
    })))
}

/// The bytes from the first element of an operand to that of the matrix at `index` of its batch.
fn further(operand: &Operand, index: &[usize], dtype: DType) -> isize {
    let elements: isize = index.iter().zip(&operand.strides).map(|(&i, &stride)| i as isize * stride).sum();
    elements * dtype.size() as isize
}

/// A program over matrices of `rows` and `columns` that lie so many elements apart, at these `positions` of a batch.
fn tail(
    plan: &Plan,
    epilogue: &Epilogue,
    [rows, columns]: [usize; 2],
    row_stride: usize,
    positions: &[SmallVec<[usize; 4]>],
    shared: &Shared,
) -> Tail {
    let rank = positions.first().map_or(0, |position| position.len());
    let operands = || epilogue.inputs.iter().chain(&epilogue.outputs);
    let strides = |operand: &Operand| operand.strides[rank..].to_vec();
    let first = vec![row_stride as isize, 1];
    let space = Space {
        dims: vec![rows, columns],
        outer: 0,
        inputs: std::iter::once(first).chain(epilogue.inputs.iter().map(strides)).collect(),
        outputs: epilogue.outputs.iter().map(strides).collect(),
    };
    let along = |index: &SmallVec<[usize; 4]>| {
        operands().map(|operand| further(operand, index, plan[operand.buffer].dtype)).collect()
    };
    // Others stay in cache by themselves.
    let far = |(number, operand): (usize, &Operand)| {
        let [row, column] = operand.strides[rank..] else { return None };
        let buffer = &plan[operand.buffer];
        let element_bytes = buffer.dtype.size();
        let is_far = column == 1 && row > 0 && buffer.bytes() >= FAR_BYTES;
        is_far.then_some(Far { number, row_bytes: row as usize * element_bytes, element_bytes })
    };
    Tail {
        far: [&epilogue.inputs, &epilogue.outputs]
            .map(|operands| operands.iter().enumerate().filter_map(far).collect()),
        tile: tile::Prepared::for_rectangles(&epilogue.program, &space)
            .past_caches_in_place(&shared.among(plan, &epilogue.outputs)),
        inputs: looks(plan, &epilogue.inputs),
        outputs: looks(plan, &epilogue.outputs),
        batch: positions.iter().map(along).collect(),
    }
}

/// The numbers of the variables that a plan writes.
fn written(plan: &Plan) -> Vec<usize> {
    let variable = |buffer: BufferId| match plan[buffer].place {
        Place::Variable(number) => Some(number),
        Place::Arena { .. } | Place::Feed(_) | Place::Constant(_) | Place::Fetch(_) => None,
    };
    let writes = plan.calls[plan.commit..].iter().flat_map(|call| call.kernel.writes());
    writes.filter_map(variable).collect()
}

/// The operands that stay packed from run to run, or from step to step, as they are found.
struct PackedOperands<'a> {
    plan: &'a Plan,
    keeps_packed: bool,
    written: &'a [usize],
    /// Which feeds stay the same.
    whole: &'a [bool],
    operands: Vec<PackedOperand>,
}

impl PackedOperands<'_> {
    /// The number of a buffer packed in this way; none if its numbers may change from run to run, or step to step.
    fn number(&mut self, buffer: BufferId, packer: impl FnOnce() -> Packer) -> Option<usize> {
        let stays = match self.plan[buffer].place {
            Place::Variable(number) => !self.written.contains(&number),
            Place::Constant(_) => true,
            Place::Feed(number) => self.whole.get(number).copied().unwrap_or(false),
            Place::Arena { .. } | Place::Fetch(_) => false,
        };
        if !(stays && self.keeps_packed) {
            return None;
        }
        let packer = packer();
        let known = self.operands.iter().position(|known| known.buffer == buffer && known.packer == packer);
        Some(known.unwrap_or_else(|| {
            self.operands.push(PackedOperand { buffer, packer, of_constant: Copies::default() });
            self.operands.len() - 1
        }))
    }
}

/// How far Winograd's algorithm may go: what is learned from keeps its digits.
fn winograd(plan: &Plan) -> Winograd {
    fn learns(kernel: &Kernel) -> bool {
        match kernel {
            Kernel::Convolution(convolution) => convolution.op.side == ops::Side::Weight,
            Kernel::Loop(repeat) => repeat.body.calls.iter().any(|call| learns(&call.kernel)),
            _ => false,
        }
    }
    let trains = plan.commit < plan.calls.len() || plan.calls.iter().any(|call| learns(&call.kernel));
    if trains { Winograd::UpTo2x2 } else { Winograd::UpTo4x4 }
}

/// None where there is nothing to compute.
fn convolution(
    plan: &Plan,
    convolution: &thalweg_plan::Convolution,
    means: Means,
    shared: &Shared,
    packed: &mut PackedOperands<'_>,
) -> Option<Work> {
    use thalweg_kernels::convolution::{Axis, Convolution as Kernel, Problem, Side};
    let thalweg_plan::Convolution { dtype, ref op, batch, channels, outputs, a, b, c, ref epilogue } = *convolution;
    let result = convolution.result();
    if result.contains(&0) {
        return None;
    }
    let side = match op.side {
        ops::Side::Output => Side::Output,
        ops::Side::Input => Side::Input,
        ops::Side::Weight => Side::Weight,
    };
    let axis = |grid: &Grid| {
        let input = grid.input.number().expect("lowering works on bound graphs: a bug in Thalweg");
        Axis::new(input, grid.kernel, grid.stride, grid.dilation, grid.padding)
    };
    let axes: SmallVec<[Axis; 3]> = op.axes.iter().map(axis).collect();
    let problem = Problem::new(dtype, side, batch, channels, outputs, &axes);
    let problem = Problem { groups: op.groups, winograd: means.winograd, ..problem };
    let mut kernel = Kernel::new(problem, means.isa);
    let mut packed_weight = None;
    if kernel.packs_weight() {
        packed_weight = packed.number(b, || Packer::Convolution(kernel.weight_packer()));
    }
    if packed_weight.is_some() {
        kernel = kernel.with_packed_weight();
    }
    if c.is_none() {
        kernel = kernel.with_c_in_scratch();
    }
    let alone = [SmallVec::new()];
    let epilogue =
        epilogue.as_ref().map(|epilogue| tail(plan, epilogue, result, kernel.c_row_stride(), &alone, shared));
    Some(Work::Convolution(Box::new(Convolution { kernel, a, b, packed_weight, c, epilogue })))
}

/// Every index into axes of these sizes, row-major.
fn positions(sizes: &[usize]) -> Vec<SmallVec<[usize; 4]>> {
    let count = sizes.iter().product();
    let position = |mut number: usize| {
        let mut index: SmallVec<[usize; 4]> = sizes.into();
        for (entry, &size) in index.iter_mut().zip(sizes).rev() {
            *entry = number % size;
            number /= size;
        }
        index
    };
    (0..count).map(position).collect()
}

#[cfg(test)]
mod tests {
    use thalweg_plan::graph::autodiff::grad;
    use thalweg_plan::graph::{Bindings, Graph, Variable, passes, placeholder, zeros};
    use thalweg_plan::{Cpu, lower};

    use super::*;

    /// What runs in a step of two layers whose weights move.
    fn step_of_training(copies_are_slow: bool) -> String {
        let x = placeholder("x", DType::F32, [256, 300]);
        let variable = |name: &str, shape: &[usize]| Variable::new(name, zeros(shape, DType::F32));
        let variables =
            [variable("w1", &[300, 100]), variable("b1", &[100]), variable("w2", &[100, 64]), variable("b2", &[64])];
        let hidden = (x.matmul(&variables[0]) + &variables[1]).relu();
        let loss = (hidden.matmul(&variables[2]) + &variables[3]).square().mean();
        let gradients = grad(&loss, &variables.each_ref().map(Variable::tensor));
        let moved =
            variables.iter().zip(&gradients).map(|(variable, gradient)| variable.assign(&(variable - gradient * 0.1)));
        let graph = passes::optimize(Graph::capture([&loss], &moved.collect::<Vec<_>>()), &passes::Options::default());
        let plan = lower(&graph, &Bindings::new(), &Cpu { memory_limit: 1 << 40 }).unwrap();
        let means = Means { winograd: Winograd::Never, isa: Isa::best().of_vectors(), copies_are_slow };
        Prepared::with(plan, means, false, &[]).describe().join("\n")
    }

    #[test]
    fn large_weights_come_from_memory_and_shared_products_go_there_where_copies_are_slow() {
        let usual = step_of_training(false);
        assert!(!usual.contains("memory") && !usual.contains("past"), "{usual}");
        let past = step_of_training(true);
        // The 120 kB of the first layer, not the 26 of the second.
        assert_eq!(past.matches("B from memory").count(), 1, "{past}");
        let can = matches!(Isa::best().of_vectors(), Isa::Avx2 | Isa::Avx512);
        assert_eq!(past.contains("C past the caches"), can, "{past}");
    }
}
