//! Every op on every dtype, with no axes, no elements, one element and odd sizes, through a session: the numbers of the
//! interpreter, or a refusal where it refuses. The op registry of `graph`'s tests says which ops there are.

use std::collections::BTreeSet;

use thalweg_graph::array::Real;
use thalweg_graph::array::scalar::Fold;
use thalweg_graph::op::Vjp;
use thalweg_graph::ops::assemble::{Concat, Flip, Pad, PadAxis, Slice, SliceAxis};
use thalweg_graph::ops::attention::{Attention, AttentionGradient};
use thalweg_graph::ops::composite::{LayerNorm, LogSoftmax, LogSumExp, Softmax};
use thalweg_graph::ops::convolution::{Convolution, Side};
use thalweg_graph::ops::elementwise::{Cast, ElementwiseBinary, ElementwiseUnary, Select};
use thalweg_graph::ops::index::{CheckIndices, Gather, Iota, ScatterAdd, ScatterAddAlong, TakeAlong};
use thalweg_graph::ops::matmul::MatMul;
use thalweg_graph::ops::normalization::BatchNorm;
use thalweg_graph::ops::order::{ArgReduce, ArgSort};
use thalweg_graph::ops::reduce::Reduce;
use thalweg_graph::ops::scan::CumSum;
use thalweg_graph::ops::shape::{Expand, Permute, Reshape};
use thalweg_graph::ops::source::size_number;
use thalweg_graph::ops::state::{After, EvaluatedAs, StopGradient};
use thalweg_graph::ops::windows::{Grid, OverlapAdd, Windows};
use thalweg_graph::reference::{self, interpret};
use thalweg_graph::tensor::topological;
use thalweg_graph::{
    Array, Custom, CustomOp, DType, Graph, Meta, Op, Scalar, ShapeError, Tensor, Variable, placeholder, random_normal,
    random_uniform,
};
use thalweg_run::{Feeds, Session};

use crate::registry::{KINDS, binaries, folds, kind, unaries};

const SHAPES: [&[usize]; 8] = [&[], &[0], &[1], &[5], &[2, 0, 3], &[3, 37], &[2, 1, 2, 1, 2], &[2, 300]];
const SEED: u64 = 7;

/// What was fed, asked and seen.
#[derive(Default)]
struct Checks {
    inputs: Vec<(Tensor, Array)>,
    fetches: Vec<Tensor>,
    seen: BTreeSet<&'static str>,
    differences: Vec<String>,
}

impl Checks {
    /// A placeholder with its numbers.
    fn feed(&mut self, array: Array) -> Tensor {
        let tensor = placeholder(format!("p{}", self.inputs.len()), array.dtype(), array.shape());
        self.inputs.push((tensor.clone(), array));
        tensor
    }

    /// Asks for an op; one that is not defined on this dtype is left out.
    fn ask<const N: usize>(&mut self, op: impl Into<Op>, inputs: [&Tensor; N]) {
        self.fetches.extend(Tensor::try_apply(op, inputs.map(Clone::clone)));
    }

    /// Runs everything that was asked for, all together and each alone.
    fn hold(&mut self, what: &str) {
        let fetches = std::mem::take(&mut self.fetches);
        self.seen.extend(topological(&fetches).iter().map(|tensor| kind(tensor.op())));
        self.compare(what, &fetches);
        for fetch in &fetches {
            self.compare(what, std::slice::from_ref(fetch));
        }
        self.inputs.clear();
    }

    fn compare(&mut self, what: &str, fetches: &[Tensor]) {
        let graph = Graph::capture(fetches, &[]);
        let needed: BTreeSet<&str> = graph.placeholders().map(|(_, placeholder)| &*placeholder.name).collect();
        let mut feeds = Feeds::new();
        let mut expected = reference::Feeds { seed: SEED, ..Default::default() };
        for (tensor, array) in self.inputs.iter().filter(|(tensor, _)| needed.contains(tensor.name().unwrap())) {
            feeds = feeds.with(tensor, array);
            expected.placeholders.insert(tensor.name().unwrap().to_string(), array.clone());
        }
        let session = Session::builder().threads(1).seed(SEED).build().unwrap();
        let expected = interpret(&graph, &expected).unwrap_or_else(|error| panic!("{what}: {error}\n{graph}")).fetches;
        let found = match session.run(fetches, feeds) {
            Ok(found) => found,
            Err(error) => return self.differences.push(format!("{what}: {error}\n{graph}")),
        };
        for (number, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let tolerance = tolerance(fetches[number].op(), expected.dtype());
            if let Err(difference) = same(expected, found, tolerance) {
                let fetch = &fetches[number];
                let alone = Graph::capture([fetch], &[]);
                self.differences.push(format!("{what}: one of {}: {difference}\n{alone}", fetches.len()));
            }
        }
    }
}

impl Drop for Checks {
    /// All differences at once.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.differences.is_empty(), "{}", self.differences.join("\n"));
        }
    }
}

/// How far an op may be from the interpreter, relative to the number or to 1.
fn tolerance(op: &Op, dtype: DType) -> f64 {
    let rounding = match dtype {
        DType::F64 => 1e-13,
        DType::F32 => 2e-6,
        DType::F16 => 2e-3,
        DType::BF16 => 1.6e-2,
        DType::I32 | DType::I64 | DType::U8 | DType::Bool => 0.0,
    };
    match op {
        // Each addition to a place rounds to the dtype.
        Op::ScatterAdd(_) | Op::ScatterAddAlong(_) | Op::OverlapAdd(_) => 4.0 * rounding,
        // Roundings of weights meet in sums.
        Op::Attention(_) | Op::AttentionGradient(_) => 16.0 * rounding,
        _ => rounding,
    }
}

/// Whether what was found is what was expected: integers and truth values to the bit, floats up to rounding.
fn same(expected: &Array, found: &Array, tolerance: f64) -> Result<(), String> {
    if (expected.dtype(), expected.shape()) != (found.dtype(), found.shape()) {
        return Err(format!("{}{:?} for {}{:?}", found.dtype(), found.shape(), expected.dtype(), expected.shape()));
    }
    if !expected.dtype().is_float() {
        let (expected, found) = (expected.to_vec::<i64>(), found.to_vec::<i64>());
        let differs = |(a, b): (&i64, &i64)| a != b;
        let position = expected.iter().zip(&found).position(differs);
        return position.map_or(Ok(()), |at| Err(format!("{} for {} at {at}", found[at], expected[at])));
    }
    for (at, (x, y)) in expected.to_vec::<f64>().into_iter().zip(found.to_vec::<f64>()).enumerate() {
        let close = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance * x.abs().max(1.0);
        if !close {
            return Err(format!("{y:e} for {x:e} at {at}"));
        }
    }
    Ok(())
}

/// Different numbers of both signs; only positive ones for bytes.
fn numbers(shape: &[usize], dtype: DType, (low, high): (f64, f64)) -> Array {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|i| low + (high - low) * (((i * 37 + 11) % 101) as f64 / 100.0));
    let whole = |x: f64| if dtype == DType::Bool { f64::from(x > 0.0) } else { (x * 4.0).round() };
    let values: Vec<f64> = values.map(|x| if dtype.is_float() { x } else { whole(x) }).collect();
    Array::new(shape, values).unwrap().cast(dtype)
}

const ANY: (f64, f64) = (-2.0, 2.0);

#[test]
fn functions_of_numbers() {
    let mut checks = Checks::default();
    for dtype in DType::ALL {
        for shape in SHAPES {
            for (f, domain) in unaries() {
                let x = checks.feed(numbers(shape, dtype, domain.map_or(ANY, |[domain]| domain)));
                checks.ask(ElementwiseUnary(f), [&x]);
            }
            checks.hold(&format!("functions of one number on {dtype}{shape:?}"));
            for (f, domains) in binaries() {
                let [left, right] = domains.unwrap_or([ANY, ANY]);
                let x = checks.feed(numbers(shape, dtype, left));
                // Another order, with some equal to their partner.
                let y = checks.feed(numbers(shape, dtype, (right.1, right.0)));
                checks.ask(ElementwiseBinary(f), [&x, &y]);
            }
            let (x, y) = (checks.feed(numbers(shape, dtype, ANY)), checks.feed(numbers(shape, dtype, (2.0, -1.0))));
            let condition = checks.feed(numbers(shape, DType::Bool, ANY));
            checks.ask(Select {}, [&condition, &x, &y]);
            for to in DType::ALL {
                checks.ask(Cast { to }, [&x]);
            }
            checks.hold(&format!("functions of two numbers on {dtype}{shape:?}"));
        }
    }
    assert!(["Unary", "Binary", "Select", "Cast"].iter().all(|kind| checks.seen.contains(kind)));
}

/// Every subset of the axes.
fn subsets(rank: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1usize << rank).map(move |set| (0..rank).filter(|axis| set >> axis & 1 == 1).collect())
}

/// The op that leaves positive numbers as they are.
#[derive(Debug)]
struct Same;

impl CustomOp for Same {
    fn name(&self) -> &str {
        "same"
    }
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        Ok(inputs[0].clone())
    }
    fn forward(&self, inputs: &[&Array]) -> Result<Array, String> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent.clone())]
    }
}

fn ask_for_folds(checks: &mut Checks, x: &Tensor, shape: &[usize]) {
    for axes in subsets(shape.len()) {
        let empty = axes.iter().any(|&axis| shape[axis] == 0);
        for fold in folds().into_iter().filter(|fold| !(empty && matches!(fold, Fold::Max | Fold::Min))) {
            checks.ask(Reduce { fold, axes: axes.iter().copied().collect() }, [x]);
        }
    }
}

fn ask_for_movements(checks: &mut Checks, x: &Tensor, shape: &[usize]) {
    let rank = shape.len();
    let count: usize = shape.iter().product();
    let wide: Vec<usize> = [2].iter().chain(shape).map(|&size| if size == 1 { 3 } else { size }).collect();
    checks.ask(Reshape { shape: [count].into_iter().collect() }, [x]);
    checks.ask(Permute { axes: (0..rank).rev().collect() }, [x]);
    checks.ask(Expand { shape: wide.into_iter().collect() }, [x]);
    for axes in subsets(rank) {
        checks.ask(Flip { axes: axes.into_iter().collect() }, [x]);
    }
    for axis in 0..rank {
        checks.ask(Concat { axis }, [x, x, x]);
        for step in 1..4 {
            let mut axes: Vec<SliceAxis> = x.shape().iter().map(SliceAxis::whole).collect();
            let start = 1.min(shape[axis]);
            let length = (shape[axis] - start).div_ceil(step);
            axes[axis] = SliceAxis { start: start.into(), length: length.into(), step };
            checks.ask(Slice { axes: axes.into_iter().collect() }, [x]);
            let mut axes: Vec<PadAxis> = x.shape().iter().map(PadAxis::whole).collect();
            axes[axis] = PadAxis { start: 2.into(), step, size: (3 + shape[axis] * step).into() };
            let value = if x.dtype() == DType::Bool { Scalar::from(true) } else { Scalar::from(3i64) };
            checks.ask(Pad { axes: axes.into_iter().collect(), value }, [x]);
        }
    }
}

fn ask_for_windows(checks: &mut Checks, x: &Tensor, shape: &[usize]) {
    for (axis, &length) in shape.iter().enumerate() {
        for (size, stride, dilation) in [(1, 1, 1), (3, 1, 1), (2, 2, 1), (2, 3, 4), (5, 2, 2)] {
            let windows = Windows { axis, size, stride, dilation };
            let Ok(y) = Tensor::try_apply(windows, [x.clone()]) else { continue };
            let y = checks.feed(numbers(&y.shape().numbers().unwrap(), x.dtype(), ANY));
            checks.ask(Windows { axis, size, stride, dilation }, [x]);
            checks.ask(OverlapAdd { axis, size: length.into(), stride, dilation }, [&y]);
            if y.dtype() != DType::Bool {
                checks.fetches.extend([x.windows(axis as isize, size, stride, dilation).sum_over(axis as isize + 1)]);
            }
            checks.fetches.extend([x.windows(axis as isize, size, stride, dilation).max_over(axis as isize + 1)]);
        }
    }
}

/// All sides over one to three axes; with groups, steps, gaps and padding, and of nothing.
fn ask_for_convolutions(checks: &mut Checks, dtype: DType) {
    let grid = |input: usize, kernel, stride, dilation, padding| Grid {
        input: input.into(),
        kernel,
        stride,
        dilation,
        padding,
    };
    let cases = [
        (2, 3, 4, 1, vec![grid(9, 3, 1, 1, (1, 1))]),
        (1, 4, 6, 2, vec![grid(8, 3, 2, 1, (2, 0))]),
        (3, 1, 1, 1, vec![grid(1, 1, 1, 1, (0, 0)), grid(1, 1, 1, 1, (0, 0))]),
        (2, 3, 17, 1, vec![grid(7, 3, 1, 1, (1, 1)), grid(5, 3, 1, 1, (1, 1))]),
        (2, 16, 5, 1, vec![grid(7, 1, 2, 1, (0, 0)), grid(6, 1, 2, 1, (0, 0))]),
        (1, 6, 6, 6, vec![grid(7, 3, 2, 2, (1, 3)), grid(9, 5, 3, 1, (2, 2))]),
        (2, 2, 4, 1, vec![grid(4, 2, 1, 1, (0, 1)), grid(3, 3, 1, 1, (1, 1)), grid(5, 2, 2, 1, (0, 0))]),
        (0, 2, 3, 1, vec![grid(4, 2, 1, 1, (0, 0))]),
        (2, 0, 3, 1, vec![grid(4, 2, 1, 1, (0, 0))]),
        (2, 3, 0, 1, vec![grid(4, 2, 1, 1, (0, 0))]),
    ];
    for (n, c, o, groups, axes) in cases {
        let along = |f: &dyn Fn(&Grid) -> usize| axes.iter().map(f).collect::<Vec<_>>();
        let (inputs, kernel) = (along(&|grid| grid.input.number().unwrap()), along(&|grid| grid.kernel));
        let outputs = along(&|grid| grid.positions().number().unwrap());
        let x = checks.feed(numbers(&[&[n], &inputs[..], &[c]].concat(), dtype, ANY));
        let w = checks.feed(numbers(&[&[o, c / groups], &kernel[..]].concat(), dtype, (-0.3, 0.4)));
        let y = checks.feed(numbers(&[&[n], &outputs[..], &[o]].concat(), dtype, (-0.5, 0.4)));
        for (side, inputs) in [(Side::Output, [&x, &w]), (Side::Input, [&y, &w]), (Side::Weight, [&x, &y])] {
            checks.ask(Convolution { side, axes: axes.iter().cloned().collect(), groups }, inputs);
        }
    }
}

fn ask_by_position(checks: &mut Checks, x: &Tensor, shape: &[usize]) {
    for axis in 0..shape.len() {
        for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
            checks.ask(CumSum { axis, exclusive, reverse }, [x]);
        }
        for order in [false, true] {
            checks.ask(ArgSort { axis, descending: order }, [x]);
            if shape[axis] > 0 {
                checks.ask(ArgReduce { axis, max: order }, [x]);
            }
        }
        // From an empty axis only nothing can be taken.
        let picked = if shape[axis] == 0 { 0 } else { 4 };
        for dtype in [DType::I64, DType::I32, DType::U8] {
            let index = |count: usize| (0..count).map(|i| (i * 5 % shape[axis].max(1)) as i64).collect::<Vec<_>>();
            let at = checks.feed(Array::from(index(picked)).cast(dtype));
            let along: Vec<usize> =
                shape.iter().enumerate().map(|(a, &n)| if a == axis { picked } else { n }).collect();
            let lines = Array::new(&along, index(along.iter().product())).unwrap().cast(dtype);
            let lines = checks.feed(lines);
            let updates = checks.feed(numbers(&along, x.dtype(), ANY));
            if shape[axis] > 0 {
                checks.ask(Gather { axis }, [x, &at]);
                checks.ask(CheckIndices { bound: shape[axis].into() }, [&at]);
            }
            checks.ask(ScatterAdd { axis }, [x, &at, &updates]);
            checks.ask(TakeAlong { axis }, [x, &lines]);
            checks.ask(ScatterAddAlong { axis }, [x, &lines, &updates]);
        }
    }
}

/// Attention and its gradients: one query, several blocks, shared heads, masks, nothing.
fn ask_for_attention(checks: &mut Checks, dtype: DType) {
    for [queries, keys] in [[1, 1], [3, 3], [70, 70], [2, 5], [0, 3], [3, 0]] {
        let of = |checks: &mut Checks, shape: [usize; 4]| checks.feed(numbers(&shape, dtype, ANY));
        let (q, k) = (of(checks, [2, queries, 4, 3]), of(checks, [2, keys, 2, 3]));
        let (v, cotangent) = (of(checks, [2, keys, 2, 5]), of(checks, [2, queries, 4, 5]));
        let mask = checks.feed(numbers(&[2, 4, queries, keys], DType::Bool, ANY));
        // Drawn by the kernel, or not.
        let scores = [2, 4, queries, keys];
        let drawn = dtype.is_float().then(|| random_uniform(scores, dtype));
        let normal = dtype.is_float().then(|| random_normal(scores, dtype));
        let uniform = [drawn, normal, Some(of(checks, scores))];
        for (causal, joined) in [(false, false), (true, queries == keys)] {
            let plain = Attention { causal, scale: Real(0.3), dropout: Real(0.0) };
            let dropping = Attention { dropout: Real(0.4), ..plain };
            checks.ask(plain, [&q, &k, &v]);
            checks.ask(plain, [&q, &k, &v, &mask]);
            // What lies in another order is copied.
            let flipped = |x: &Tensor| x.flip(3);
            checks.ask(plain, [&flipped(&q), &flipped(&k), &v.flip(1)]);
            let found = Tensor::try_apply(plain, [q.clone(), k.clone(), v.clone()]);
            let Ok(found) = found else { continue };
            let gradient = AttentionGradient { causal, scale: plain.scale, dropout: plain.dropout, joined };
            checks.ask(gradient, [&q, &k, &v, &found, &cotangent]);
            checks.ask(gradient, [&q, &k, &v, &found, &cotangent, &mask]);
            for uniform in uniform.iter().flatten() {
                checks.ask(dropping, [&q, &k, &v, uniform]);
                checks.ask(dropping, [&q, &k, &v, &mask, uniform]);
                let gradient = AttentionGradient { dropout: dropping.dropout, ..gradient };
                checks.ask(gradient, [&q, &k, &v, &found, &cotangent, uniform]);
                checks.ask(gradient, [&q, &k, &v, &found, &cotangent, &mask, uniform]);
            }
        }
    }
}

fn ask_for_composites(checks: &mut Checks, x: &Tensor, shape: &[usize]) {
    for axis in 0..shape.len() {
        checks.ask(Softmax { axis }, [x]);
        checks.ask(LogSoftmax { axis }, [x]);
        checks.ask(LogSumExp { axis }, [x]);
    }
    if let Some(&last) = shape.last() {
        let (scale, shift) = (numbers(&[last], x.dtype(), (0.5, 1.5)), numbers(&[last], x.dtype(), ANY));
        let (scale, shift) = (checks.feed(scale), checks.feed(shift));
        checks.ask(LayerNorm { eps: Real(0.1) }, [x, &scale, &shift]);
        let norm = BatchNorm { axis: shape.len() - 1, eps: Real(0.1), of_batch: false };
        checks.ask(norm, [x, &scale, &shift, &shift, &scale]);
    }
    if x.dtype().is_float() {
        checks.fetches.extend([x.dropout(0.4), random_uniform(shape, x.dtype()), random_normal(shape, x.dtype())]);
        checks.fetches.extend([x.mean(), x.variance(.., 0), x.norm_l2(..)]);
    }
}

fn ask_for_the_rest(checks: &mut Checks, x: &Tensor, array: &Array) {
    let variable = Variable::new("v", array.clone());
    checks.fetches.push(variable.with_update(&variable, x));
    checks.ask(StopGradient {}, [x]);
    checks.ask(After {}, [x, &x.not_equal(x)]);
    checks.ask(EvaluatedAs {}, [x, x]);
    checks.fetches.push(Custom::new(Same).apply(&[x]));
    checks.fetches.push(thalweg_graph::constant(array.clone()));
    if x.dtype() != DType::Bool {
        let rows = placeholder("rows", x.dtype(), ("n", 2));
        checks.inputs.push((rows.clone(), numbers(&[3, 2], x.dtype(), ANY)));
        checks.fetches.push(&rows * &size_number(&rows.size(0), x.dtype()));
    }
    for axis in 0..array.rank() {
        checks.ask(Iota { axis, shape: x.shape().clone(), dtype: x.dtype() }, []);
    }
}

#[test]
fn ops_over_axes() {
    let mut checks = Checks::default();
    for dtype in DType::ALL {
        for shape in SHAPES {
            for ask in [ask_for_folds, ask_for_movements, ask_for_windows, ask_by_position, ask_for_composites] {
                let x = checks.feed(numbers(shape, dtype, ANY));
                ask(&mut checks, &x, shape);
                checks.hold(&format!("{dtype}{shape:?}"));
            }
            let array = numbers(shape, dtype, ANY);
            let x = checks.feed(array.clone());
            ask_for_the_rest(&mut checks, &x, &array);
            checks.hold(&format!("{dtype}{shape:?}"));
        }
        let products: [[&[usize]; 2]; 9] = [
            [&[2, 0], &[0, 3]],
            [&[0, 4], &[4, 3]],
            [&[4, 5], &[5, 0]],
            [&[1, 1], &[1, 1]],
            [&[3, 37], &[37, 17]],
            [&[2, 3, 5], &[2, 5, 4]],
            [&[2, 0, 5], &[2, 5, 4]],
            [&[0, 3, 5], &[0, 5, 4]],
            [&[2, 3, 0], &[2, 0, 4]],
        ];
        for [a, b] in products {
            let (a, b) = (checks.feed(numbers(a, dtype, ANY)), checks.feed(numbers(b, dtype, ANY)));
            checks.ask(MatMul {}, [&a, &b]);
        }
        checks.hold(&format!("products of {dtype}"));
        ask_for_attention(&mut checks, dtype);
        checks.hold(&format!("attention of {dtype}"));
        ask_for_convolutions(&mut checks, dtype);
        checks.hold(&format!("convolutions of {dtype}"));
    }
    let elsewhere = ["Unary", "Binary", "Select", "Cast", "Loop", "Output"];
    let missing: Vec<&str> = KINDS
        .iter()
        .map(|(kind, _)| *kind)
        .filter(|kind| !checks.seen.contains(kind) && !elsewhere.contains(kind))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

/// Numbers at the ends of what a dtype holds.
fn extremes(dtype: DType) -> Vec<Scalar> {
    match dtype {
        DType::Bool => vec![Scalar::from(false), Scalar::from(true)],
        DType::U8 => [0i64, 1, 127, 255].map(Scalar::from).to_vec(),
        DType::I32 => [0, 1, -1, 46_341, i64::from(i32::MIN), i64::from(i32::MAX)].map(Scalar::from).to_vec(),
        DType::I64 => [0, 1, -1, 3_037_000_500, i64::MIN, i64::MAX].map(Scalar::from).to_vec(),
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
            let (nan, inf) = (f64::NAN, f64::INFINITY);
            [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.0, 1e4, -1e4, 1e30, -1e30, inf, -inf, nan].map(Scalar::from).to_vec()
        }
    }
}

fn array_of(values: &[Scalar], dtype: DType) -> Array {
    let elements: Vec<Array> = values.iter().map(|&value| Array::full(&[1], dtype, value)).collect();
    let bytes: Vec<u8> = elements.iter().flat_map(|array| array.storage().bytes().to_vec()).collect();
    Array::from_bytes(&[values.len()], dtype, &bytes).unwrap()
}

/// Rows A24 to A26 of the catalogue: overflow, division by 0, NaN and ∞ give what the interpreter says, whose results
/// the tests of `graph` fix.
#[test]
fn extremes_of_every_dtype() {
    let mut checks = Checks::default();
    for dtype in DType::ALL {
        let values = extremes(dtype);
        let pairs: Vec<[Scalar; 2]> = values.iter().flat_map(|&x| values.iter().map(move |&y| [x, y])).collect();
        let x = checks.feed(array_of(&values, dtype));
        for (f, _) in unaries() {
            // Sine and its kin promise nothing beyond 2²⁰.
            use thalweg_graph::array::scalar::Unary::{Cos, Sin, Tan};
            if !matches!(f, Sin | Cos | Tan) {
                checks.ask(ElementwiseUnary(f), [&x]);
            }
        }
        for to in DType::ALL {
            checks.ask(Cast { to }, [&x]);
        }
        let column = |side: usize| pairs.iter().map(|pair| pair[side]).collect::<Vec<_>>();
        let left = checks.feed(array_of(&column(0), dtype));
        let right = checks.feed(array_of(&column(1), dtype));
        for (f, _) in binaries() {
            checks.ask(ElementwiseBinary(f), [&left, &right]);
        }
        checks.hold(&format!("functions at the ends of {dtype}"));

        // Rows of pairs and of triples, and their columns.
        let rows =
            Array::from_bytes(&[pairs.len(), 2], dtype, array_of(&pairs.concat(), dtype).storage().bytes()).unwrap();
        let x = checks.feed(rows.clone());
        ask_for_folds(&mut checks, &x, rows.shape());
        checks.fetches.retain(|fetch| matches!(fetch.op(), Op::Reduce(reduce) if reduce.axes[..] == [1]));
        for axis in 0..2 {
            for order in [false, true] {
                checks.ask(ArgSort { axis, descending: order }, [&x]);
                checks.ask(ArgReduce { axis, max: order }, [&x]);
            }
            for fold in [Fold::Max, Fold::Min] {
                checks.ask(Reduce { fold, axes: [axis].into_iter().collect() }, [&x]);
            }
        }
        checks.ask(Softmax { axis: 1 }, [&x]);
        checks.ask(LogSoftmax { axis: 1 }, [&x]);
        checks.ask(LogSumExp { axis: 1 }, [&x]);
        checks.ask(CumSum { axis: 1, exclusive: false, reverse: false }, [&x]);
        checks.fetches.extend(dtype.is_float().then(|| x.top_k(1, 1).0));
        checks.hold(&format!("rows of the ends of {dtype}"));
    }
}

/// Sizes with names: what cannot be computed of nothing is refused by the session where the interpreter refuses.
#[test]
fn refusals_agree_with_the_interpreter() {
    let x = placeholder("x", DType::F32, ("n", 2));
    let at = placeholder("at", DType::I64, ["m"]);
    let cases = [
        x.max_over(0),
        x.min_over(0),
        x.argmax(0),
        x.gather(&at, 0),
        x.slice(0, 1..),
        x.slice(0, ..1),
        x.top_k(1, 0).0,
        x.sum_over(0),
        x.softmax(0),
        x.mean_over(0),
        x.reshape(("n", 2)),
    ];
    for y in &cases {
        for (n, index) in [(0, vec![]), (0, vec![0i64]), (2, vec![0, 1]), (2, vec![2]), (2, vec![-1]), (3, vec![1])] {
            let (rows, index) = (numbers(&[n, 2], DType::F32, ANY), Array::from(index));
            let graph = Graph::capture([y], &[]);
            let reads_index = graph.placeholders().count() == 2;
            let mut feeds = Feeds::new().with(&x, &rows);
            let mut reference = vec![("x", rows.clone())];
            if reads_index {
                feeds = feeds.with(&at, &index);
                reference.push(("at", index.clone()));
            }
            let expected = interpret(&graph, &reference::Feeds::new(reference));
            let found = Session::builder().threads(1).build().unwrap().run(y, feeds);
            match (expected, found) {
                (Ok(expected), Ok(found)) => same(&expected.fetches[0], &found, 2e-6).unwrap(),
                (Err(_), Err(found)) => {
                    let message = found.to_string();
                    assert!(message.contains("every_op.rs"), "no place in {message:?}");
                    let parts = ["with n = ", "index", "`n-1`"];
                    assert!(parts.iter().any(|part| message.contains(part)), "no numbers in {message:?}");
                }
                (expected, found) => panic!("{y:?} with n = {n}, {index:?}: {expected:?} but {found:?}"),
            }
        }
    }
}
