//! [`Plan`]: what runs, as plain data: calls over numbered buffers, in order, for one combination of sizes.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use thalweg_graph::array::program::Program;
use thalweg_graph::array::scalar::Fold;
use thalweg_graph::ops::convolution::{self, Side};
use thalweg_graph::ops::custom::Custom;
use thalweg_graph::ops::windows::Grid;
use thalweg_graph::{Array, Bindings, DType, Scalar, Variable};

/// The position of a buffer in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub(crate) u32);

impl BufferId {
    /// The position.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

/// Where a buffer's memory is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the arena of the run, `offset` bytes from its start; a multiple of [`ALIGNMENT`].
    Arena {
        /// Bytes from the start of the arena.
        offset: usize,
    },
    /// What the caller feeds as [`Plan::feeds`] of this number; read only.
    Feed(usize),
    /// The session's storage of [`Plan::variables`] of this number; written by the calls from [`Plan::commit`] on.
    Variable(usize),
    /// Known numbers; read only.
    Constant(Array),
    /// What the caller receives as [`Plan::fetches`] of this number.
    Fetch(usize),
}

/// Bytes to whose multiples buffers in the arena are aligned: a cache line.
pub const ALIGNMENT: usize = 64;

/// A stretch of memory that calls read and write: row-major, contiguous.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// The dtype of the elements.
    pub dtype: DType,
    /// The sizes.
    pub shape: SmallVec<[usize; 4]>,
    /// Where it is.
    pub place: Place,
}

impl Buffer {
    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number of bytes.
    pub fn bytes(&self) -> usize {
        self.count() * self.dtype.size()
    }
}

/// How a call looks at a buffer: where it begins and, for each axis of the call's space, how many elements the next
/// one is away. 0 repeats; negative strides walk backwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// The buffer.
    pub buffer: BufferId,
    /// The first element.
    pub offset: usize,
    /// Elements between neighbours along each axis of the space.
    pub strides: SmallVec<[isize; 4]>,
}

/// A fused group: a tile program over a space.
#[derive(Clone, Debug)]
pub struct Map {
    /// The sizes of the space; the last axis is the columns, all before it the rows. Axes are collapsed as far as all
    /// operands allow.
    pub dims: SmallVec<[usize; 4]>,
    /// What is done.
    pub program: Program,
    /// The inputs of the program, one stride per axis of the space.
    pub inputs: Vec<Operand>,
    /// The outputs of the program. Strides: of a full store one per axis; of a row store one per axis, 0 for the
    /// columns; of rows put together (reduction over the last axis but one) one per axis, 0 for that axis; of
    /// everything put together all 0.
    pub outputs: Vec<Operand>,
}

/// Matrix products: for each index of the batch, `C[m,n] = A[m,k] · B[k,n]`.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// The dtype of all three.
    pub dtype: DType,
    /// The sizes of the batch axes, collapsed.
    pub batch: SmallVec<[usize; 4]>,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Strides: batch axes, then rows, then columns. Transposed operands have a column stride other than 1.
    pub a: Operand,
    /// As `a`.
    pub b: Operand,
    /// Row-major, contiguous. None if nobody but the epilogue looks at C: its blocks then never leave the cache.
    pub c: Option<BufferId>,
    /// What is done to each block of C while it is in cache.
    pub epilogue: Option<Epilogue>,
}

/// One side of a convolution. The result is a matrix: pixels by channels, or for the weight outputs by channels and taps.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// The dtype of all three.
    pub dtype: DType,
    /// Which side, and the way of the kernel; sizes are numbers.
    pub op: convolution::Convolution,
    /// Pictures.
    pub batch: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// The first operand of the op, row-major.
    pub a: BufferId,
    /// The second.
    pub b: BufferId,
    /// The result, row-major. None if nobody but the epilogue looks at it.
    pub c: Option<BufferId>,
    /// What is done to each block of the result while it is in cache. Its space is rows, columns.
    pub epilogue: Option<Epilogue>,
}

impl Convolution {
    /// Rows and columns of the result.
    pub fn result(&self) -> [usize; 2] {
        match self.op.side {
            Side::Output => [self.batch * self.positions(), self.outputs],
            Side::Input => {
                let input = |grid: &Grid| grid.input.number().unwrap_or(0);
                [self.batch * self.op.axes.iter().map(input).product::<usize>(), self.channels]
            }
            Side::Weight => [self.outputs, self.products_of_output()],
        }
    }

    /// Multiplications and additions, those with the padding's zeros among them.
    pub fn flops(&self) -> u64 {
        2 * (self.batch * self.positions() * self.outputs) as u64 * self.products_of_output() as u64
    }

    /// Windows of a picture.
    fn positions(&self) -> usize {
        self.op.axes.iter().map(|grid| grid.positions().number().unwrap_or(0)).product()
    }

    /// Products that are added up to an element of the output.
    fn products_of_output(&self) -> usize {
        self.channels / self.op.groups * self.op.axes.iter().map(|grid| grid.kernel).product::<usize>()
    }
}

/// Attention of queries to keys, or its gradients. Operands are `[batch, positions, heads, width]`, widths without gaps.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Texts.
    pub batch: usize,
    /// Of the queries.
    pub heads: usize,
    /// Of keys and values.
    pub key_heads: usize,
    /// Positions of the queries.
    pub queries: usize,
    /// Positions of keys and values.
    pub keys: usize,
    /// Of queries and keys.
    pub width: usize,
    /// Of the values.
    pub value_width: usize,
    /// What scores are multiplied by.
    pub scale: f64,
    /// A query sees no key behind its own position.
    pub causal: bool,
    /// Queries, keys, values.
    pub inputs: [Operand; 3],
    /// What may be seen, `[batch, heads, queries, keys]`.
    pub mask: Option<Operand>,
    /// Which weights are dropped.
    pub dropout: Option<Dropout>,
    /// Of what its gradients are made, if it is about them.
    pub gradient: Option<AttentionGradient>,
    /// What is found, `[batch, queries, heads, value width]`; or the gradients.
    pub y: BufferId,
}

/// Weights that are 0 by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability; the others are multiplied by 1/(1 − it).
    pub rate: f64,
    /// Of the uniform numbers `[batch, heads, queries, keys]`: where they are below the rate, weights are 0.
    pub stream: u64,
}

/// Of what the gradients of [`Attention`] are made, beside its inputs.
#[derive(Clone, Debug)]
pub struct AttentionGradient {
    /// What was found.
    pub found: Operand,
    /// The cotangent of it.
    pub cotangent: Operand,
    /// The gradients of a position stand together; else all of queries, then of keys, then of values of a text.
    pub joined: bool,
}

impl Attention {
    /// Multiplications and additions; of causal ones those of all pairs.
    pub fn flops(&self) -> u64 {
        let pairs = (self.batch * self.heads * self.queries * self.keys) as u64;
        let (width, value_width) = (self.width as u64, self.value_width as u64);
        2 * pairs * if self.gradient.is_some() { 3 * width + 2 * value_width } else { width + value_width }
    }

    /// What is read, with the sizes of the space over which it steps.
    pub fn reads(&self) -> Vec<([usize; 4], &Operand)> {
        let Attention { batch, heads, key_heads, queries, keys, width, value_width, .. } = *self;
        let found = [batch, queries, heads, value_width];
        let [q, k, v] = &self.inputs;
        let mut reads = vec![
            ([batch, queries, heads, width], q),
            ([batch, keys, key_heads, width], k),
            ([batch, keys, key_heads, value_width], v),
        ];
        reads.extend(self.mask.iter().map(|mask| ([batch, heads, queries, keys], mask)));
        reads.extend(self.gradient.iter().flat_map(|of| [(found, &of.found), (found, &of.cotangent)]));
        reads
    }
}

/// A program over the output of a matrix product. Its space is batch axes, rows, columns.
#[derive(Clone, Debug)]
pub struct Epilogue {
    /// What is done; input 0 is the product. Only full stores.
    pub program: Program,
    /// The inputs from 1 on, one stride per axis of the space.
    pub inputs: Vec<Operand>,
    /// The outputs.
    pub outputs: Vec<Operand>,
}

/// A box of elements on its way into a larger buffer.
#[derive(Clone, Debug)]
pub struct Part {
    /// The sizes of the box.
    pub dims: SmallVec<[usize; 4]>,
    /// Where the elements are, one stride per axis.
    pub from: Operand,
    /// Where they go, one stride per axis.
    pub to: Operand,
}

/// Three sizes into which an axis splits a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AroundAxis {
    /// The product of the sizes before the axis.
    pub outer: usize,
    /// The size of the axis.
    pub size: usize,
    /// The product of the sizes after it.
    pub inner: usize,
}

/// The same plan for each position, one after the other.
#[derive(Clone, Debug)]
pub struct Loop {
    /// How many steps.
    pub length: usize,
    /// From the last position to the first.
    pub reverse: bool,
    /// Whether the first carry says before each step whether it is taken; `length` is how many there are at most.
    pub gated: bool,
    /// What is done in a step. Its arena is in `memory`.
    pub body: Arc<Plan>,
    /// What each feed of the body is.
    pub feeds: Vec<Given>,
    /// What travels from step to step.
    pub carries: Vec<Carry>,
    /// The outputs of all steps, one below the other.
    pub outputs: Vec<BufferId>,
    /// What each fetch of the body becomes.
    pub taken: Vec<Taken>,
    /// What the steps work in.
    pub memory: BufferId,
}

/// What a step of a [`Loop`] reads.
#[derive(Clone, Debug)]
pub enum Given {
    /// A carry, as the step before left it.
    Carry(usize),
    /// The row-major part at the step's position, with the stride from one to the next.
    Slices(Operand),
    /// All of a buffer.
    Whole(BufferId),
}

/// What a step of a [`Loop`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A carry, for the next step.
    Carry(usize),
    /// The part at the step's position of an output.
    Output(usize),
}

/// A carry of a [`Loop`].
#[derive(Clone, Debug)]
pub struct Carry {
    /// What the first step reads.
    pub first: BufferId,
    /// What the last step leaves.
    pub last: BufferId,
    /// Where it is between the steps.
    pub kept: Carried,
}

/// Where a carry of a [`Loop`] is between steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// By turns in `last` and so many bytes into the memory of the loop.
    Between {
        /// Bytes from the start.
        offset: usize,
    },
    /// In this output, which is the carry after each step.
    After(usize),
    /// In this output, which is the carry before each step.
    Before(usize),
}

impl Loop {
    /// The sum of the body's costs over all steps; over one where their number is not known.
    pub fn cost(&self) -> crate::Cost {
        let step = self.body.total_cost();
        let steps = if self.gated { 1 } else { self.length as u64 };
        crate::Cost { flops: step.flops * steps, bytes: step.bytes * steps }
    }
}

/// What a call does. All buffers named without strides are read and written whole, row-major.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Kernel {
    /// A fused group.
    Map(Map),
    /// Matrix products.
    MatMul(MatMul),
    /// One side of a convolution.
    Convolution(Convolution),
    /// A box of elements from one place to another.
    Copy { dims: SmallVec<[usize; 4]>, from: Operand, to: Operand },
    /// Boxes of elements put into one buffer: parts one after the other, or one part with a margin of `fill`.
    Assemble { fill: Option<Scalar>, parts: Vec<Part>, to: BufferId },
    /// One number everywhere.
    Fill { value: Scalar, to: BufferId },
    /// `y[o, j, i] = x[o, indices[j], i]`. Refuses an index outside the axis.
    Gather { x: BufferId, indices: BufferId, y: BufferId, around: AroundAxis },
    /// `y = base; y[o, indices[j], i] += updates[o, j, i]`, in the order of j, where the part `base` is all of y. Refuses an
    /// index outside the axis.
    ScatterAdd { base: Part, indices: BufferId, updates: BufferId, y: BufferId, around: AroundAxis },
    /// `y[o, j, i] = x[o, indices[o, j, i], i]`, j in 0..count. Refuses an index outside the axis.
    TakeAlong { x: BufferId, indices: BufferId, y: BufferId, around: AroundAxis, count: usize },
    /// `y = base; y[o, indices[o, j, i], i] += updates[o, j, i]`. Refuses an index outside the axis.
    ScatterAddAlong {
        base: BufferId,
        indices: BufferId,
        updates: BufferId,
        y: BufferId,
        around: AroundAxis,
        count: usize,
    },
    /// Refuses an index outside 0..bound.
    CheckIndices { indices: BufferId, bound: usize },
    /// `y[o, i]` = the position of the extreme of `x[o, ·, i]`, the first of equals; NaN wins.
    ArgReduce { x: BufferId, y: BufferId, around: AroundAxis, max: bool },
    /// Running sums along the axis.
    CumSum { x: BufferId, y: BufferId, around: AroundAxis, exclusive: bool, reverse: bool },
    /// `y[o, ·, i]` = the stable order that sorts `x[o, ·, i]`; NaN last ascending.
    ArgSort { x: BufferId, y: BufferId, around: AroundAxis, descending: bool },
    /// `y[o, i]` = fold of `x[o, ·, i]`.
    Fold { x: BufferId, y: BufferId, around: AroundAxis, fold: Fold },
    /// `y = 0; y[o, t·stride + k·dilation, i] += x[o, t, k, i]`, in the order of t, then k. `around` is of y's axis.
    OverlapAdd { x: BufferId, y: BufferId, around: AroundAxis, kernel: usize, stride: usize, dilation: usize },
    /// What queries find among keys, or its gradients.
    Attention(Box<Attention>),
    /// A plan for each position.
    Loop(Box<Loop>),
    /// A user's op, on arrays.
    Custom { op: Custom, inputs: Vec<BufferId>, y: BufferId },
}

/// One step of a plan.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it does.
    pub kernel: Kernel,
    /// The ops it stands for, for profiles and messages: `matmul+add+relu (made at src/main.rs:12:5)`.
    pub label: Arc<str>,
}

impl Call {
    /// The ops it stands for, without the line: `matmul+add+relu`.
    pub fn ops(&self) -> &str {
        self.label_parts().0
    }

    /// The user's line that made the last of them, if it is known: `src/main.rs:12:5`.
    pub fn location(&self) -> Option<&str> {
        self.label_parts().1
    }

    fn label_parts(&self) -> (&str, Option<&str>) {
        match self.label.rsplit_once(" (made at ") {
            Some((ops, location)) => (ops, Some(location.trim_end_matches(')'))),
            None => (&self.label, None),
        }
    }
}

/// A fed buffer.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The placeholder's name.
    pub name: Arc<str>,
    /// Its buffer; none if nothing reads it.
    pub buffer: BufferId,
}

/// What runs, for one combination of sizes: plain data that can be printed, costed and checked without being run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// All memory that calls touch.
    pub buffers: Vec<Buffer>,
    /// What happens, in order.
    pub calls: Vec<Call>,
    /// The first call that writes a variable. No call from here on can fail.
    pub commit: usize,
    /// The placeholders, in the order of [`Place::Feed`].
    pub feeds: Vec<Feed>,
    /// The variables that are read or written, in the order of [`Place::Variable`], with their buffers.
    pub variables: Vec<(Variable, BufferId)>,
    /// The buffers that the caller receives, in order.
    pub fetches: Vec<BufferId>,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Bytes of weights that stay packed from run to run; 0 until an executor decides that.
    pub packed_bytes: usize,
    /// The sizes for which the plan was made.
    pub bindings: Bindings,
}

impl std::ops::Index<BufferId> for Plan {
    type Output = Buffer;

    fn index(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.index()]
    }
}

impl Kernel {
    /// Whether the call can refuse its numbers.
    pub fn can_fail(&self) -> bool {
        match self {
            Kernel::Gather { .. }
            | Kernel::ScatterAdd { .. }
            | Kernel::TakeAlong { .. }
            | Kernel::ScatterAddAlong { .. }
            | Kernel::CheckIndices { .. }
            | Kernel::Custom { .. } => true,
            Kernel::Loop(repeat) => repeat.body.calls.iter().any(|call| call.kernel.can_fail()),
            Kernel::Map(_)
            | Kernel::MatMul(_)
            | Kernel::Convolution(_)
            | Kernel::Attention(_)
            | Kernel::OverlapAdd { .. }
            | Kernel::Copy { .. }
            | Kernel::Assemble { .. }
            | Kernel::Fill { .. }
            | Kernel::ArgReduce { .. }
            | Kernel::CumSum { .. }
            | Kernel::ArgSort { .. }
            | Kernel::Fold { .. } => false,
        }
    }

    /// The buffers that are read.
    pub fn reads(&self) -> SmallVec<[BufferId; 4]> {
        match self {
            Kernel::Map(map) => map.inputs.iter().map(|input| input.buffer).collect(),
            Kernel::MatMul(matmul) => {
                let epilogue = matmul.epilogue.iter().flat_map(|epilogue| &epilogue.inputs);
                [&matmul.a, &matmul.b].into_iter().chain(epilogue).map(|operand| operand.buffer).collect()
            }
            Kernel::Convolution(convolution) => {
                let epilogue = convolution.epilogue.iter().flat_map(|epilogue| &epilogue.inputs);
                [convolution.a, convolution.b].into_iter().chain(epilogue.map(|operand| operand.buffer)).collect()
            }
            Kernel::Attention(attention) => attention.reads().iter().map(|(_, operand)| operand.buffer).collect(),
            Kernel::Copy { from, .. } => smallvec::smallvec![from.buffer],
            Kernel::Assemble { parts, .. } => parts.iter().map(|part| part.from.buffer).collect(),
            Kernel::Fill { .. } => smallvec::smallvec![],
            Kernel::Gather { x, indices, .. } | Kernel::TakeAlong { x, indices, .. } => {
                smallvec::smallvec![*x, *indices]
            }
            Kernel::ScatterAdd { base, indices, updates, .. } => {
                smallvec::smallvec![base.from.buffer, *indices, *updates]
            }
            Kernel::ScatterAddAlong { base, indices, updates, .. } => {
                smallvec::smallvec![*base, *indices, *updates]
            }
            Kernel::CheckIndices { indices, .. } => smallvec::smallvec![*indices],
            Kernel::ArgReduce { x, .. }
            | Kernel::CumSum { x, .. }
            | Kernel::ArgSort { x, .. }
            | Kernel::Fold { x, .. }
            | Kernel::OverlapAdd { x, .. } => smallvec::smallvec![*x],
            Kernel::Loop(repeat) => {
                let given = repeat.feeds.iter().filter_map(|given| match given {
                    Given::Carry(_) => None,
                    Given::Slices(operand) => Some(operand.buffer),
                    Given::Whole(buffer) => Some(*buffer),
                });
                given.chain(repeat.carries.iter().map(|carry| carry.first)).collect()
            }
            Kernel::Custom { inputs, .. } => inputs.iter().copied().collect(),
        }
    }

    /// The buffers that are written.
    pub fn writes(&self) -> SmallVec<[BufferId; 4]> {
        match self {
            Kernel::Map(map) => map.outputs.iter().map(|output| output.buffer).collect(),
            Kernel::MatMul(matmul) => {
                let epilogue = matmul.epilogue.iter().flat_map(|epilogue| &epilogue.outputs);
                matmul.c.into_iter().chain(epilogue.map(|operand| operand.buffer)).collect()
            }
            Kernel::Convolution(convolution) => {
                let epilogue = convolution.epilogue.iter().flat_map(|epilogue| &epilogue.outputs);
                convolution.c.into_iter().chain(epilogue.map(|operand| operand.buffer)).collect()
            }
            Kernel::Attention(attention) => smallvec::smallvec![attention.y],
            Kernel::Copy { to, .. } => smallvec::smallvec![to.buffer],
            Kernel::Assemble { to, .. } | Kernel::Fill { to, .. } => smallvec::smallvec![*to],
            Kernel::Gather { y, .. }
            | Kernel::ScatterAdd { y, .. }
            | Kernel::TakeAlong { y, .. }
            | Kernel::ScatterAddAlong { y, .. }
            | Kernel::ArgReduce { y, .. }
            | Kernel::CumSum { y, .. }
            | Kernel::ArgSort { y, .. }
            | Kernel::Fold { y, .. }
            | Kernel::OverlapAdd { y, .. }
            | Kernel::Custom { y, .. } => smallvec::smallvec![*y],
            Kernel::Loop(repeat) => {
                let lasts = repeat.carries.iter().map(|carry| carry.last);
                lasts.chain(repeat.outputs.iter().copied()).chain([repeat.memory]).collect()
            }
            Kernel::CheckIndices { .. } => smallvec::smallvec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_ops_and_maybe_a_line() {
        let call = |label: &str| Call {
            kernel: Kernel::Fill { value: Scalar::from(0.0f32), to: BufferId(0) },
            label: label.into(),
        };
        let known = call("matmul+add 'hidden (made at home)' (made at src/main.rs:12:5)");
        assert_eq!((known.ops(), known.location()), ("matmul+add 'hidden (made at home)'", Some("src/main.rs:12:5")));
        let unknown = call("matmul+add");
        assert_eq!((unknown.ops(), unknown.location()), ("matmul+add", None));
    }
}
