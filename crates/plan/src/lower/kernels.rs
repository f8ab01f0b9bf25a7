//! Calls of nodes that have a kernel of their own.

use smallvec::SmallVec;
use thalweg_graph::array::scalar::{Distribution, Fold};
use thalweg_graph::ops::assemble::{Slice, SliceAxis};
use thalweg_graph::ops::convolution::Side;
use thalweg_graph::ops::elementwise::ElementwiseBinary;
use thalweg_graph::ops::index::Iota;
use thalweg_graph::ops::reduce::Reduce;
use thalweg_graph::ops::shape::{Expand, Permute, Reshape};
use thalweg_graph::{DType, Graph, Node, NodeId, Op, Shape, Size};

use super::Lowering;
use super::program::{Look, Source};
use super::views::{Strides, View, contiguous, dims};
use crate::plan::{
    AroundAxis, Attention, AttentionGradient, BufferId, Convolution, Dropout, Epilogue, Kernel, MatMul, Operand, Part,
};

/// The dtype in which a matrix product of `dtype` is computed and written: 16-bit floats in f32.
pub(super) fn product_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U8 | DType::Bool => dtype,
    }
}

/// Whether the op has a kernel that hands out finished blocks of a matrix, to which a program can be done.
pub(super) fn is_product(op: &Op) -> bool {
    matches!(op, Op::MatMul(_) | Op::Convolution(_))
}

/// Of a product the first axis of its columns, in a space of these sizes.
pub(super) fn columns(op: &Op, dims: &[usize]) -> usize {
    match op {
        Op::Convolution(convolution) if convolution.side == Side::Weight => 1,
        _ => dims.len() - 1,
    }
}

/// Whether the rows of a product of these sizes can be looked at as other axes of as many positions.
pub(super) fn has_free_rows(op: &Op, dims: &[usize]) -> bool {
    match op {
        Op::Convolution(convolution) => convolution.side != Side::Weight,
        _ => dims.len() == 2,
    }
}

/// Whether a composite has a kernel of its own.
fn has_kernel(graph: &Graph, node: &Node, inputs: &[NodeId]) -> bool {
    let draws = match dropout_of(&node.op) {
        None => return false,
        Some(0.0) => true,
        // The kernel draws the numbers by which it drops.
        Some(_) => inputs.last().is_some_and(|&last| match &graph[last].op {
            Op::Random(random) => random.distribution == Distribution::Uniform,
            _ => false,
        }),
    };
    draws && node.meta.dtype == DType::F32
}

/// The rate at which attention drops weights.
fn dropout_of(op: &Op) -> Option<f64> {
    match op {
        Op::Attention(attention) => Some(attention.dropout.0),
        Op::AttentionGradient(gradient) => Some(gradient.dropout.0),
        _ => None,
    }
}

/// Whether the kernel of an op draws the random numbers of its last input itself, which nobody needs to write.
pub(super) fn draws_last(op: &Op) -> bool {
    dropout_of(op).is_some_and(|rate| rate != 0.0)
}

/// The graph with composites expanded that have no kernel, and with what has no kernel said in terms of what has: 0, 1, 2, … along any axis
/// is a row of them, repeated; a fold over axes that are not neighbours is one over the last axes of a permutation, over
/// a short window a function of its elements.
pub(super) fn canonical(graph: Graph) -> Graph {
    let graph = thalweg_graph::passes::expand_composites_but(&graph, &has_kernel);
    let rebuilt = graph.rebuild(|graph, node, inputs| match &node.op {
        Op::Iota(iota) if iota.shape.rank() > 1 => {
            let size = iota.shape[iota.axis].clone();
            let row = Iota { axis: 0, shape: Shape::from_iter([size.clone()]), dtype: iota.dtype };
            let row = graph.add(row, &[], node).ok()?;
            let rank = iota.shape.rank();
            let aligned = (0..rank).map(|axis| if axis == iota.axis { size.clone() } else { Size::from(1) });
            let row = graph.add(Reshape { shape: aligned.collect() }, &[row], node).ok()?;
            graph.add(Expand { shape: iota.shape.clone() }, &[row], node).ok()
        }
        Op::Reduce(reduce) if is_short_window(graph, inputs[0], reduce) => unrolled(graph, node, inputs[0], reduce),
        Op::Reduce(reduce) if !reduce.axes.windows(2).all(|pair| pair[0] + 1 == pair[1]) => {
            let rank = graph[inputs[0]].meta.shape.rank();
            let kept = (0..rank).filter(|axis| !reduce.axes.contains(axis));
            let axes = kept.chain(reduce.axes.iter().copied()).collect();
            let permuted = graph.add(Permute { axes }, inputs, node).ok()?;
            let axes = (rank - reduce.axes.len()..rank).collect();
            graph.add(Reduce { fold: reduce.fold, axes }, &[permuted], node).ok()
        }
        _ => None,
    });
    rebuilt.value
}

/// Whether a fold over the elements of windows is a few loads of a program. 16-bit sums round once as folds.
fn is_short_window(graph: &Graph, x: NodeId, reduce: &Reduce) -> bool {
    const LONGEST: usize = 16;
    let Op::Windows(windows) = &graph[x].op else { return false };
    let computed = match graph[x].meta.dtype {
        DType::F64 | DType::F32 | DType::I64 | DType::I32 | DType::U8 => true,
        DType::F16 | DType::BF16 => matches!(reduce.fold, Fold::Max | Fold::Min),
        DType::Bool => false,
    };
    computed && reduce.axes[..] == [windows.axis + 1] && windows.size <= LONGEST
}

/// A fold over the elements of windows as a function of as many slices: it reads along rows, and fuses with what comes
/// after it.
fn unrolled(graph: &mut Graph, node: &Node, x: NodeId, reduce: &Reduce) -> Option<NodeId> {
    let (axis, shape) = (reduce.axes[0], graph[x].meta.shape.clone());
    let mut folded = None;
    for k in 0..shape[axis].number()? {
        let mut axes: SmallVec<[SliceAxis; 4]> = shape.iter().map(SliceAxis::whole).collect();
        axes[axis] = SliceAxis { start: Size::from(k), length: Size::from(1), step: 1 };
        let slice = graph.add(Slice { axes }, &[x], node).ok()?;
        let element = graph.add(Reshape { shape: node.meta.shape.clone() }, &[slice], node).ok()?;
        folded = Some(match folded {
            None => element,
            Some(folded) => graph.add(ElementwiseBinary(reduce.fold.binary()), &[folded, element], node).ok()?,
        });
    }
    folded
}

impl Lowering<'_> {
    /// The call of a node.
    pub(super) fn kernel(&mut self, id: NodeId) {
        let node = &self.graph[id];
        let input = |number: usize| node.inputs[number];
        let around = |of: NodeId, axis: usize| {
            let dims = dims(self.graph, of);
            AroundAxis {
                outer: dims[..axis].iter().product(),
                size: dims[axis],
                inner: dims[axis + 1..].iter().product(),
            }
        };
        let kernel = match &node.op {
            Op::MatMul(_) | Op::Convolution(_) => return self.plain_product(id),
            Op::Loop(op) => return self.repeat(id, op),
            // The call of the loop computes it.
            Op::Output(_) => return,
            Op::OverlapAdd(add) => Kernel::OverlapAdd {
                around: around(id, add.axis),
                kernel: dims(self.graph, input(0))[add.axis + 1],
                stride: add.stride,
                dilation: add.dilation,
                x: self.whole(input(0)),
                y: self.buffer(id),
            },
            Op::Reshape(_) => {
                // The elements must be moved: a copy in the input's order.
                let view = self.views[input(0).index()].clone();
                let from = self.view_operand(&view);
                let to = Operand { buffer: self.buffer(id), offset: 0, strides: contiguous(&view.dims) };
                Kernel::Copy { dims: view.dims, from, to }
            }
            Op::Gather(gather) => Kernel::Gather {
                around: around(input(0), gather.axis),
                x: self.whole(input(0)),
                indices: self.whole(input(1)),
                y: self.buffer(id),
            },
            Op::ScatterAdd(scatter) => {
                let view = self.views[input(0).index()].clone();
                let from = self.view_operand(&view);
                let to = Operand { buffer: self.buffer(id), offset: 0, strides: contiguous(&view.dims) };
                Kernel::ScatterAdd {
                    around: around(input(0), scatter.axis),
                    base: Part { dims: view.dims, from, to },
                    indices: self.whole(input(1)),
                    updates: self.whole(input(2)),
                    y: self.buffer(id),
                }
            }
            Op::TakeAlong(take) => Kernel::TakeAlong {
                around: around(input(0), take.axis),
                count: dims(self.graph, input(1))[take.axis],
                x: self.whole(input(0)),
                indices: self.whole(input(1)),
                y: self.buffer(id),
            },
            Op::ScatterAddAlong(scatter) => Kernel::ScatterAddAlong {
                around: around(input(0), scatter.axis),
                count: dims(self.graph, input(1))[scatter.axis],
                base: self.whole(input(0)),
                indices: self.whole(input(1)),
                updates: self.whole(input(2)),
                y: self.buffer(id),
            },
            Op::CheckIndices(check) => Kernel::CheckIndices {
                bound: check.bound.number().expect("lowering works on bound graphs: a bug in Thalweg"),
                indices: self.whole(id),
            },
            Op::Concat(concat) => {
                let to = self.buffer(id);
                let strides = contiguous(&dims(self.graph, id));
                let mut start = 0;
                let mut parts = Vec::new();
                for &input in &self.graph[id].inputs {
                    let view = self.views[input.index()].clone();
                    let offset = start * strides[concat.axis] as usize;
                    start += view.dims[concat.axis];
                    if !view.dims.contains(&0) {
                        let from = self.view_operand(&view);
                        parts.push(Part {
                            dims: view.dims,
                            from,
                            to: Operand { buffer: to, offset, strides: strides.clone() },
                        });
                    }
                }
                Kernel::Assemble { fill: None, parts, to }
            }
            Op::Pad(pad) => {
                let to = self.buffer(id);
                let view = self.views[input(0).index()].clone();
                let mut strides = contiguous(&dims(self.graph, id));
                let mut offset = 0;
                for (axis, part) in pad.axes.iter().enumerate() {
                    let start = part.start.number().expect("lowering works on bound graphs: a bug in Thalweg");
                    offset += start * strides[axis] as usize;
                    strides[axis] *= part.step as isize;
                }
                let mut parts = Vec::new();
                if !view.dims.contains(&0) {
                    let from = self.view_operand(&view);
                    parts.push(Part { dims: view.dims, from, to: Operand { buffer: to, offset, strides } });
                }
                Kernel::Assemble { fill: Some(pad.value), parts, to }
            }
            Op::ArgSort(sort) => Kernel::ArgSort {
                around: around(input(0), sort.axis),
                x: self.whole(input(0)),
                y: self.buffer(id),
                descending: sort.descending,
            },
            Op::ArgReduce(reduce) => Kernel::ArgReduce {
                around: around(input(0), reduce.axis),
                x: self.whole(input(0)),
                y: self.buffer(id),
                max: reduce.max,
            },
            Op::CumSum(sum) => Kernel::CumSum {
                around: around(input(0), sum.axis),
                x: self.whole(input(0)),
                y: self.buffer(id),
                exclusive: sum.exclusive,
                reverse: sum.reverse,
            },
            Op::Custom(op) => {
                let inputs = node.inputs.iter().map(|&input| self.whole(input)).collect();
                Kernel::Custom { op: op.clone(), inputs, y: self.buffer(id) }
            }
            Op::Reduce(reduce) => return self.fold(id, reduce.fold, &reduce.axes),
            Op::Attention(op) => self.attention(id, op.causal, op.scale.0, None),
            Op::AttentionGradient(op) => self.attention(id, op.causal, op.scale.0, Some(op.joined)),
            Op::Placeholder(_)
            | Op::Constant(_)
            | Op::Variable(_)
            | Op::Size(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select(_)
            | Op::Cast(_)
            | Op::Permute(_)
            | Op::Expand(_)
            | Op::Slice(_)
            | Op::Windows(_)
            | Op::Flip(_)
            | Op::Iota(_)
            | Op::Random(_)
            | Op::StopGradient(_)
            | Op::After(_)
            | Op::WithUpdate(_)
            | Op::EvaluatedAs(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::LogSumExp(_)
            | Op::LayerNorm(_)
            | Op::BatchNorm(_)
            | Op::Dropout(_) => unreachable!("{} has no kernel of its own: a bug in Thalweg", node.describe()),
        };
        self.push(id, &[id], kernel);
    }

    /// Attention, or its gradients, joined or not.
    fn attention(&mut self, id: NodeId, causal: bool, scale: f64, joined: Option<bool>) -> Kernel {
        let mut inputs = self.graph[id].inputs.clone();
        let rate = dropout_of(&self.graph[id].op).filter(|&rate| rate != 0.0);
        let dropout = rate.map(|rate| match inputs.pop().map(|uniform| &self.graph[uniform].op) {
            Some(Op::Random(random)) => Dropout { rate, stream: random.stream.expect("a captured graph has streams") },
            _ => unreachable!("attention with other numbers is expanded: a bug in Thalweg"),
        });
        let [q, k, v] = [0, 1, 2].map(|input| dims(self.graph, inputs[input]));
        let gradient = joined.map(|joined| AttentionGradient {
            found: self.rows(inputs[3]),
            cotangent: self.rows(inputs[4]),
            joined,
        });
        let mask = inputs.get(if gradient.is_some() { 5 } else { 3 });
        let mask = mask.map(|&mask| {
            let view = self.views[mask.index()].clone();
            match view.strides.iter().all(|&stride| stride >= 0) {
                true => self.view_operand(&view),
                false => Operand { buffer: self.whole(mask), offset: 0, strides: contiguous(&view.dims) },
            }
        });
        Kernel::Attention(Box::new(Attention {
            batch: q[0],
            heads: q[2],
            key_heads: k[2],
            queries: q[1],
            keys: k[1],
            width: q[3],
            value_width: v[3],
            scale,
            causal,
            inputs: [0, 1, 2].map(|input| self.rows(inputs[input])),
            mask,
            dropout,
            gradient,
            y: self.buffer(id),
        }))
    }

    /// A view whose last axis lies without gaps, and that does not walk backwards; else a copy.
    fn rows(&mut self, id: NodeId) -> Operand {
        let view = self.views[id.index()].clone();
        let is_near = view.strides.last().is_none_or(|&last| last == 1);
        if is_near && view.strides.iter().all(|&stride| stride >= 0) {
            return self.view_operand(&view);
        }
        Operand { buffer: self.whole(id), offset: 0, strides: contiguous(&view.dims) }
    }

    fn view_operand(&mut self, view: &View) -> Operand {
        let source = Source::Node(view.base);
        self.operand(&Look { source, offset: view.offset, strides: view.strides.clone() })
    }

    /// A fold without a group: of nothing, or of many rows too long to hold on to.
    fn fold(&mut self, id: NodeId, fold: Fold, axes: &[usize]) {
        let x = self.graph[id].inputs[0];
        let sizes = dims(self.graph, x);
        let y = self.buffer(id);
        if sizes.contains(&0) {
            let value = fold.identity(self.graph[id].meta.dtype);
            return self.push(id, &[id], Kernel::Fill { value, to: y });
        }
        let (first, end) = (axes[0], axes[axes.len() - 1] + 1);
        let around = AroundAxis {
            outer: sizes[..first].iter().product(),
            size: sizes[first..end].iter().product(),
            inner: sizes[end..].iter().product(),
        };
        let x = self.whole(x);
        self.push(id, &[id], Kernel::Fold { x, y, around, fold });
    }

    /// A matrix product or a convolution on its own.
    fn plain_product(&mut self, id: NodeId) {
        let dtype = self.graph[id].meta.dtype;
        let y = self.buffer(id);
        if product_dtype(dtype) == dtype {
            let kernel = self.product(id, Some(y), None);
            return self.push(id, &[id], kernel);
        }
        // Computed in f32 and rounded block by block.
        use thalweg_graph::array::program::{Extent, Input, Instruction, Output, OutputKind, Program};
        let computed = product_dtype(dtype);
        let mut program =
            Program { inputs: vec![Input { dtype: computed, extent: Extent::Full }], ..Program::default() };
        let x = program.push(Instruction::Load { input: 0 });
        let register = program.push(Instruction::Cast { from: computed, to: dtype, x });
        program.outputs.push(Output { register, kind: OutputKind::Store });
        let sizes = dims(self.graph, id);
        let sizes = match &self.graph[id].op {
            Op::MatMul(_) => sizes,
            op => {
                let (rows, columns) = sizes.split_at(columns(op, &sizes));
                [rows.iter().product(), columns.iter().product()].into_iter().collect()
            }
        };
        let outputs = vec![Operand { buffer: y, offset: 0, strides: contiguous(&sizes) }];
        let kernel = self.product(id, None, Some(Epilogue { program, inputs: Vec::new(), outputs }));
        self.push(id, &[id], kernel);
    }

    /// The matrix product or convolution of a node's inputs, into `c` if it is to be in memory.
    pub(super) fn product(&mut self, id: NodeId, c: Option<BufferId>, epilogue: Option<Epilogue>) -> Kernel {
        let node = &self.graph[id];
        let (dtype, a, b) = (node.meta.dtype, node.inputs[0], node.inputs[1]);
        let sizes = dims(self.graph, id);
        if let Op::Convolution(op) = &node.op {
            let (channels, outputs) = op.channels(&dims(self.graph, a), &dims(self.graph, b));
            let (batch, op) = (dims(self.graph, a)[0], op.clone());
            let (a, b) = (self.whole(a), self.whole(b));
            return Kernel::Convolution(Convolution { dtype, op, batch, channels, outputs, a, b, c, epilogue });
        }
        let rank = sizes.len();
        Kernel::MatMul(MatMul {
            dtype,
            batch: sizes[..rank - 2].into(),
            m: sizes[rank - 2],
            k: dims(self.graph, a)[rank - 1],
            n: sizes[rank - 1],
            a: self.matrix(a),
            b: self.matrix(b),
            c,
            epilogue,
        })
    }

    /// A factor: any view whose rows and columns do not walk backwards, else a copy.
    fn matrix(&mut self, id: NodeId) -> Operand {
        let view = self.views[id.index()].clone();
        let rank = view.dims.len();
        if view.strides[rank - 2..].iter().all(|&stride| stride >= 0) {
            let mut operand = self.view_operand(&view);
            // Strides of axes of size 1 say nothing; plain ones are recognised faster.
            for axis in rank - 2..rank {
                if view.dims[axis] == 1 {
                    operand.strides[axis] = contiguous(&view.dims)[axis];
                }
            }
            return operand;
        }
        let strides: Strides = contiguous(&view.dims);
        Operand { buffer: self.whole(id), offset: 0, strides }
    }
}
