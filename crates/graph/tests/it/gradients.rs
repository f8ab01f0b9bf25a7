//! The gradient of every op, first and second order, at random shapes and at the edges: rank 0, size 0, size 1
//! repeated on both sides, rank 5, one tensor as both operands.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::slice::from_ref;

use thalweg_graph::array::Real;
use thalweg_graph::autodiff::{CheckOptions, check_gradients, jvp};
use thalweg_graph::op::Vjp;
use thalweg_graph::ops::assemble::{Pad, PadAxis, Slice, SliceAxis};
use thalweg_graph::ops::attention::AttentionGradient;
use thalweg_graph::ops::scan::CumSum;
use thalweg_graph::reference::evaluate;
use thalweg_graph::tensor::topological;
use thalweg_graph::{
    Array, AttentionOptions, ConvOptions, Custom, CustomOp, DType, Meta, Op, Pool, ShapeError, Size, Tensor, Variable,
    attention, constant, einsum, random_uniform,
};

use crate::registry::{Gradient, KINDS, binaries, folds, kind, unaries};
use crate::support::Draw;

const CASES: u64 = 32;
const ANY: (f64, f64) = (-2.0, 2.0);

thread_local! {
    /// The kinds of op that were checked so far.
    static SEEN: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Checks `f` at `inputs`, first and second order.
#[track_caller]
pub(crate) fn check(what: &str, inputs: &[Array], f: impl Fn(&[Tensor]) -> Tensor) {
    check_with(what, inputs, &CheckOptions { order: 2, ..CheckOptions::default() }, f);
}

#[track_caller]
fn check_with(what: &str, inputs: &[Array], options: &CheckOptions, f: impl Fn(&[Tensor]) -> Tensor) {
    let watched = |x: &[Tensor]| {
        let y = f(x);
        for tensor in topological([&y]) {
            if SEEN.with_borrow_mut(|seen| seen.insert(kind(tensor.op()))) {
                reads_back(tensor.op());
            }
        }
        y
    };
    if let Err(error) = check_gradients(watched, inputs, options) {
        let shapes: Vec<&[usize]> = inputs.iter().map(Array::shape).collect();
        panic!("{what} at {shapes:?}: {error}\n{inputs:?}");
    }
}

/// What is written of an op can be read back as the same op; a variable is a new one, and a custom op says why not.
#[track_caller]
fn reads_back(op: &Op) {
    if !matches!(op, Op::Custom(_) | Op::Variable(_) | Op::WithUpdate(_)) {
        let text = serde_json::to_string(op).unwrap();
        assert_eq!(&serde_json::from_str::<Op>(&text).unwrap(), op, "{text}");
    }
}

/// The shapes that are always tried: rank 0, size 0, size 1, rank 5.
const EDGES: [&[usize]; 5] = [&[], &[0], &[2, 0, 3], &[1], &[2, 1, 2, 1, 2]];

/// Random shapes and the edges.
fn shapes(draw: &mut Draw) -> Vec<Vec<usize>> {
    let random: Vec<Vec<usize>> = (0..CASES).map(|_| draw.shape()).collect();
    random.into_iter().chain(EDGES.map(<[usize]>::to_vec)).collect()
}

fn shapes_with_axis(draw: &mut Draw) -> Vec<Vec<usize>> {
    let random: Vec<Vec<usize>> = (0..CASES).map(|_| draw.shape_with_axis()).collect();
    random.into_iter().chain(EDGES.iter().filter(|shape| !shape.is_empty()).map(|shape| shape.to_vec())).collect()
}

fn unary_functions() {
    let mut draw = Draw::new(1);
    for (f, domain) in unaries() {
        let Some([domain]) = domain else { continue };
        for shape in shapes(&mut draw) {
            check(&format!("{f:?}"), &[draw.array(&shape, domain)], |x| x[0].unary(f));
        }
    }
}

/// Two shapes that broadcast: axes of the common shape left out or set to 1 on either side.
fn pair(draw: &mut Draw) -> [Vec<usize>; 2] {
    let shape = draw.shape();
    [(); 2].map(|()| {
        let skip = draw.below(shape.len() + 1);
        let from = if draw.below(3) == 0 { skip } else { 0 };
        shape[from..].iter().map(|&size| if draw.below(3) == 0 { 1 } else { size }).collect()
    })
}

fn binary_functions() {
    let mut draw = Draw::new(2);
    for (f, domains) in binaries() {
        let Some([left, right]) = domains else { continue };
        let edges = [
            [vec![], vec![]],
            [vec![0], vec![1]],
            [vec![2, 1], vec![1, 3]],
            [vec![], vec![2, 2]],
            [vec![2, 1, 2, 1, 2], vec![2, 1, 2, 1]],
        ];
        let random: Vec<[Vec<usize>; 2]> = (0..CASES).map(|_| pair(&mut draw)).collect();
        for [a, b] in random.into_iter().chain(edges) {
            let inputs = [draw.array(&a, left), draw.array(&b, right)];
            check(&format!("{f:?}"), &inputs, |x| x[0].binary(f, &x[1]));
        }
        let both = draw.array(&[3], (left.0.max(right.0), left.1.min(right.1)));
        use thalweg_graph::array::scalar::Binary::{Max, Min, Rem};
        // x % x jumps, and max(x, x) is a tie: those are in the table of ties.
        if !matches!(f, Rem | Max | Min) {
            check(&format!("{f:?} of one tensor"), &[both], |x| x[0].binary(f, &x[0]));
        }
    }
    let (x, y) = (draw.array(&[2, 3], ANY), draw.array(&[3], ANY));
    check("a power of a negative number", from_ref(&x), |x| x[0].pow(3.0) + x[0].pow(0.0) + x[0].pow(-2.0));
    check("select", &[x.clone(), y.clone()], |x| x[0].greater(&x[1]).select(&x[0].square(), &x[1]));
    check("clamp", &[x], |x| x[0].clamp(-1.0, 0.5).square());
}

fn reductions() {
    let mut draw = Draw::new(3);
    for shape in shapes(&mut draw) {
        let axes: Vec<isize> = (0..shape.len() as isize).filter(|_| draw.below(2) == 0).collect();
        let empty = axes.iter().any(|&axis| shape[axis as usize] == 0);
        for fold in folds() {
            use thalweg_graph::array::scalar::Fold::{Max, Min};
            if !(empty && matches!(fold, Max | Min)) {
                let x = draw.array(&shape, ANY);
                check(&format!("{fold:?} over {axes:?}"), &[x], |x| x[0].fold(fold, axes.as_slice()));
            }
        }
        if empty {
            continue;
        }
        let x = [draw.array(&shape, ANY)];
        check(&format!("mean over {axes:?}"), &x, |x| x[0].mean_over(axes.as_slice()).square());
        check(&format!("variance over {axes:?}"), &x, |x| x[0].variance(axes.as_slice(), 0));
        // Of a single number the deviation is 0 and the root has a corner.
        if axes.iter().any(|&axis| shape[axis as usize] > 1) {
            check(&format!("std over {axes:?}"), &x, |x| x[0].std(axes.as_slice(), 0));
        }
        check(&format!("norms over {axes:?}"), &x, |x| x[0].norm_l1(axes.as_slice()) + x[0].norm_l2(axes.as_slice()));
        check(&format!("largest over {axes:?}"), &x, |x| x[0].norm_inf(axes.as_slice()));
    }
    let first = CheckOptions::default();
    for zeros in [[0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]] {
        check_with("a product with zeros", &[Array::from(zeros)], &first, |x| x[0].prod_over(..));
    }
    // The second order is missing there: the rule takes the zeros out by a comparison, which has no gradient.
    let second = CheckOptions { order: 2, ..first };
    let error = check_gradients(|x| x[0].prod_over(..), &[Array::from([0.0, 2.0, 3.0])], &second).unwrap_err();
    assert!(error.to_string().contains("order 2"), "{error}");
}

fn matrix_products() {
    let mut draw = Draw::new(4);
    let edges: [[&[usize]; 2]; 7] = [
        [&[3], &[3]],
        [&[3], &[3, 2]],
        [&[2, 3], &[3]],
        [&[2, 0], &[0, 3]],
        [&[2, 1, 2, 3], &[4, 3, 2]],
        [&[2, 2, 3], &[3, 1]],
        [&[1, 2, 1, 2, 2], &[2, 2]],
    ];
    for [a, b] in edges {
        check("matmul", &[draw.array(a, ANY), draw.array(b, ANY)], |x| x[0].matmul(&x[1]));
    }
    for _ in 0..CASES {
        let [m, k, n] = [(); 3].map(|()| draw.below(4));
        let inputs = [draw.array(&[m, k], ANY), draw.array(&[k, n], ANY)];
        check("matmul", &inputs, |x| x[0].matmul(&x[1]));
        check("einsum", &inputs, |x| einsum("mk,kn->nm", &[&x[0], &x[1]]));
    }
    check("matmul of one tensor", &[draw.array(&[3, 3], ANY)], |x| x[0].matmul(&x[0]));
    check("the trace", &[draw.array(&[3, 3], ANY)], |x| einsum("ii", &[&x[0]]));
}

/// A convolution at random: sizes, steps, padding and groups, over one to three axes; with weight and both ways.
fn convolutions() {
    let mut draw = Draw::new(10);
    for case in 0..CASES as usize {
        let spatial = 1 + case % 3;
        let groups = 1 + draw.below(2);
        let (c, o, n) = (groups * (1 + draw.below(2)), groups * (1 + draw.below(2)), draw.below(3));
        let mut each = |f: &mut dyn FnMut(&mut Draw) -> usize| (0..spatial).map(|_| f(&mut draw)).collect::<Vec<_>>();
        let kernel = each(&mut |draw| 1 + draw.below(3));
        let stride = each(&mut |draw| 1 + draw.below(3));
        let dilation = each(&mut |draw| 1 + draw.below(2));
        let (low, high) = (each(&mut |draw| draw.below(3)), each(&mut |draw| draw.below(3)));
        let more = each(&mut |draw| draw.below(3));
        let around: Vec<(usize, usize)> = low.into_iter().zip(high).collect();
        let size = |axis: usize| {
            let extent = dilation[axis] * (kernel[axis] - 1) + 1;
            extent.saturating_sub(around[axis].0 + around[axis].1).max(1) + more[axis]
        };
        let sizes: Vec<usize> = (0..spatial).map(size).collect();
        let options = ConvOptions::new().stride(&stride[..]).dilation(&dilation[..]).padding_around(&around[..]);
        let options = options.groups(groups);
        let x = draw.array(&[&[n, c], &sizes[..]].concat(), ANY);
        let w = draw.array(&[&[o, c / groups], &kernel[..]].concat(), ANY);
        check("conv", &[x.clone(), w.clone()], |x| x[0].try_conv(&x[1], spatial, &options).unwrap());
        let y = constant(x).try_conv(&constant(w.clone()), spatial, &options).unwrap();
        let y = draw.array(&y.shape().numbers().unwrap(), ANY);
        // Padding that would leave nothing is refused; there are enough other cases.
        if constant(y.clone()).try_conv_transpose(&constant(w.clone()), spatial, &options).is_ok() {
            check("conv_transpose", &[y, w], |x| x[0].try_conv_transpose(&x[1], spatial, &options).unwrap());
        }
    }
}

fn windows_and_pools() {
    let mut draw = Draw::new(11);
    for shape in shapes_with_axis(&mut draw) {
        let (axis, stride, dilation, size) =
            (draw.below(shape.len()), 1 + draw.below(3), 1 + draw.below(2), 1 + draw.below(3));
        let mut shape = shape;
        shape[axis] += dilation * (size - 1) + 1;
        let (x, length) = ([draw.array(&shape, ANY)], shape[axis]);
        let axis = axis as isize;
        let what = format!("windows of {size} along {axis} by {stride}, {dilation}");
        check(&what, &x, |x| {
            let windows = x[0].windows(axis, size, stride, dilation);
            windows.square().overlap_add(axis, length, stride, dilation) * &x[0]
        });
    }
    let x = [draw.array(&[2, 2, 5, 4], ANY)];
    let pool = Pool::new([3, 2]).stride(2).padding(1);
    check("max_pool", &x, |x| x[0].max_pool(&pool).square());
    check("max_pool, partial", &x, |x| x[0].max_pool(&Pool::new([2, 3]).with_partial_windows()).square());
    check("average_pool", &x, |x| x[0].average_pool(&pool).square());
    check("average_pool of what is there", &x, |x| {
        x[0].average_pool(&pool.clone().without_counting_padding()).square()
    });
    check("adaptive_max_pool", &x, |x| x[0].adaptive_max_pool([2, 3]).square());
    check("adaptive_average_pool", &x, |x| x[0].adaptive_average_pool([5, 2]).square());
    check("upsample_nearest", &x, |x| x[0].upsample_nearest(&[2, 3], 2).square());
    check("resample_linear", &x, |x| x[0].resample_linear(2, 7).resample_linear(3, 3).square());
}

fn shapes_and_parts() {
    let mut draw = Draw::new(5);
    for shape in shapes(&mut draw) {
        let x = [draw.array(&shape, ANY)];
        let count: usize = shape.iter().product();
        let order: Vec<isize> = (0..shape.len() as isize).rev().collect();
        let wide: Vec<usize> = [2].iter().chain(&shape).map(|&size| if size == 1 { 3 } else { size }).collect();
        check("reshape", &x, |x| x[0].reshape([count]).square());
        check("permute", &x, |x| x[0].permute(&order).square());
        check("expand", &x, |x| x[0].expand(wide.as_slice()).square());
    }
    for shape in shapes_with_axis(&mut draw) {
        let x = [draw.array(&shape, ANY)];
        let (axis, step) = (draw.below(shape.len()), 1 + draw.below(3));
        let size = shape[axis];
        let start = draw.below(size + 1);
        let length = if size > start { 1 + (size - start - 1) / step } else { 0 };
        let whole = |sizes: &[Size]| -> Vec<SliceAxis> { sizes.iter().map(SliceAxis::whole).collect() };
        check(&format!("slice from {start} by {step}"), &x, |x| {
            let mut axes = whole(x[0].shape());
            axes[axis] = SliceAxis { start: start.into(), length: length.into(), step };
            Tensor::apply(Slice { axes: axes.into_iter().collect() }, [x[0].clone()]).square()
        });
        check(&format!("pad from {start} by {step}"), &x, |x| {
            let mut axes: Vec<PadAxis> = x[0].shape().iter().map(PadAxis::whole).collect();
            axes[axis] = PadAxis { start: start.into(), step, size: (start + size * step + 1).into() };
            Tensor::apply(Pad { axes: axes.into_iter().collect(), value: 3.0.into() }, [x[0].clone()]).square()
        });
        let axis = axis as isize;
        check("flip", &x, |x| x[0].flip(axis).square() * &x[0]);
        check("concat", &x, |x| Tensor::concat(&[&x[0], &x[0].square(), &x[0]], axis));
        check("stack", &x, |x| Tensor::stack(&[&x[0], &x[0].square()], axis));
        for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
            let sum = CumSum { axis: axis as usize, exclusive, reverse };
            check(&format!("{sum:?}"), &x, |x| Tensor::apply(sum.clone(), [x[0].square()]));
        }
    }
}

fn by_index() {
    let mut draw = Draw::new(6);
    for shape in shapes_with_axis(&mut draw) {
        let axis = draw.below(shape.len());
        let size = shape[axis];
        if size == 0 {
            continue;
        }
        let picked = draw.below(4);
        let at_shape = if draw.below(2) == 0 { vec![picked] } else { vec![2, picked] };
        let at = constant(draw.indices(&at_shape, size));
        let gathered: Vec<usize> = shape[..axis].iter().chain(&at_shape).chain(&shape[axis + 1..]).copied().collect();
        let along_shape: Vec<usize> =
            shape.iter().enumerate().map(|(other, &size)| if other == axis { picked } else { size }).collect();
        let along = constant(draw.indices(&along_shape, size));
        let x = draw.array(&shape, ANY);
        let axis = axis as isize;
        check("gather", from_ref(&x), |x| x[0].gather(&at, axis).square());
        check("take_along", from_ref(&x), |x| x[0].take_along(&along, axis).square());
        let updates = draw.array(&gathered, ANY);
        check("scatter_add", &[x.clone(), updates], |x| x[0].square().scatter_add(&at, &x[1].square(), axis));
        let updates = draw.array(&along_shape, ANY);
        check("scatter_add_along", &[x.clone(), updates], |x| {
            x[0].square().scatter_add_along(&along, &x[1].square(), axis)
        });
        check("sort", from_ref(&x), |x| x[0].sort(axis) * x[0].sort_descending(axis));
        check("top_k", &[x], |x| x[0].top_k(1, axis).0.square());
    }
}

fn composites() {
    let mut draw = Draw::new(7);
    for shape in shapes_with_axis(&mut draw) {
        let x = [draw.array(&shape, (-3.0, 3.0))];
        let axis = draw.below(shape.len());
        if shape[axis] > 0 {
            let axis = axis as isize;
            check("softmax", &x, |x| x[0].softmax(axis));
            check("log_softmax", &x, |x| x[0].log_softmax(axis));
            check("log_sum_exp", &x, |x| x[0].log_sum_exp(axis));
        }
        check("dropout", &x, |x| x[0].square().dropout(0.4));
        let last = shape[shape.len() - 1];
        if last > 0 {
            let inputs = [x[0].clone(), draw.array(&[last], ANY), draw.array(&[last], ANY)];
            // An eps of the size of the variance: the third derivative stays moderate.
            check("layer_norm", &inputs, |x| x[0].layer_norm(&x[1], &x[2], 0.5));
        }
    }
    for (keys, causal, masked) in
        [(3, true, false), (3, false, true), (4, false, false), (4, true, true), (1, true, false)]
    {
        let mask = constant(vec![true, false, true, true]).slice(0, 0..keys).reshape([1, 1, 1, keys]);
        let inputs = [[2, 3, 4, 2], [2, keys, 2, 2], [2, keys, 2, 3]].map(|shape| draw.array(&shape, ANY));
        let options = AttentionOptions::new().causal(causal).scale(0.6);
        let options = masked.then_some(&mask).into_iter().fold(options, AttentionOptions::mask);
        let dropping = options.clone().dropout(0.4);
        check("attention", &inputs, |x| attention(&x[0], &x[1], &x[2], &options).square());
        check("attention", &inputs, |x| attention(&x[0], &x[1], &x[2], &dropping).square());
        let of = [[2, 3, 4, 3]; 2].map(|shape| draw.array(&shape, ANY));
        let inputs: Vec<Array> = inputs.into_iter().chain(of).collect();
        for rate in [0.0, 0.4] {
            let (scale, dropout, joined) = (Real(0.6), Real(rate), keys == 3);
            let uniform = (rate != 0.0).then(|| random_uniform([2, 4, 3, keys], DType::F64));
            check("attention_gradient", &inputs, |x| {
                let gradient = AttentionGradient { causal, scale, dropout, joined };
                Tensor::apply(gradient, x.iter().chain(&uniform).cloned())
            });
        }
    }
    for (axis, shape) in [(1, &[3, 2][..]), (1, &[2, 3, 2, 2]), (2, &[2, 2, 3])] {
        let channels = shape[axis as usize];
        let inputs: Vec<Array> = [shape, &[channels], &[channels]].map(|shape| draw.array(shape, ANY)).to_vec();
        check("batch_norm", &inputs, |x| {
            let (mean, variance) = x[0].channel_statistics(axis);
            let other = mean.zeros_like();
            x[0].batch_norm(axis, [&mean.evaluated_as(&other), &variance], [&x[1], &x[2]], 0.5).square()
        });
        let given = [draw.array(&[channels], ANY), draw.array(&[channels], (0.2, 3.0))];
        let inputs: Vec<Array> = inputs.into_iter().chain(given).collect();
        check("normalized_by", &inputs, |x| x[0].normalized_by(axis, [&x[3], &x[4]], [&x[1], &x[2]], 0.5).square());
        check("group_norm", &inputs[..1], |x| x[0].unsqueeze(1).group_norm(1, 0.5).square());
        check("rms_norm", &inputs[..1], |x| x[0].rms_norm(axis, 0.5).square());
    }
    check("maxout", &[draw.array(&[2, 6], ANY)], |x| x[0].maxout(3, -1).square());
}

/// sin, by hand.
#[derive(Debug)]
struct Sine;

impl CustomOp for Sine {
    fn name(&self) -> &str {
        "sine"
    }

    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = thalweg_graph::op::exactly(inputs)?;
        Ok(x.clone())
    }

    fn forward(&self, inputs: &[&Array]) -> Result<Array, String> {
        let elements = inputs[0].to_vec::<f64>().into_iter().map(f64::sin).collect();
        Array::new(inputs[0].shape(), elements).map_err(|error| error.to_string())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent * cx.inputs[0].cos())]
    }
}

fn the_rest() {
    let mut draw = Draw::new(8);
    let sine = Custom::new(Sine);
    let coarse = CheckOptions { step: 1e-2, tolerance: 1e-4, ..CheckOptions::default() };
    let state = Variable::new("state", 0.0);
    for shape in shapes(&mut draw) {
        let x = [draw.array(&shape, ANY)];
        check("custom", &x, |x| sine.apply(&[&x[0]]));
        check("with_update", &x, |x| x[0].square().with_update(&state, &constant(1.0f32)));
        // f32 has 7 digits: a coarse step, and a function without curvature.
        check_with("cast", &x, &coarse, |x| x[0].cast(DType::F32).cast(DType::F64));
    }
}

#[test]
fn every_differentiable_op_agrees_with_differences() {
    unary_functions();
    binary_functions();
    reductions();
    matrix_products();
    convolutions();
    windows_and_pools();
    shapes_and_parts();
    by_index();
    composites();
    the_rest();
    crate::through_time::loops();
    SEEN.with_borrow(|seen| {
        let missing: Vec<&str> = KINDS
            .iter()
            .filter(|(kind, gradient)| *gradient == Gradient::Checked && !seen.contains(kind))
            .map(|(kind, _)| *kind)
            .collect();
        assert!(missing.is_empty(), "no gradient case for {missing:?}");
    });
}

/// Forward mode is reverse mode transposed: uᵀ(J v) = (Jᵀ u)ᵀ v must hold to the last digits.
#[test]
fn forward_and_reverse_mode_are_transposes() {
    let mut draw = Draw::new(9);
    for _ in 0..CASES {
        let [m, k, n] = [(); 3].map(|()| 1 + draw.below(3));
        let mut tensor = |shape: &[usize]| constant(draw.array(shape, ANY));
        let (x, w, v, u) = (tensor(&[m, k]), tensor(&[k, n]), tensor(&[m, k]), tensor(&[m, n]));
        let y = x.matmul(&w).gelu().softmax(-1) * x.sum_over(1).unsqueeze(1).sin();
        let forward = (jvp(&[&y], &[&x], &[&v]).remove(0) * &u).sum();
        let back = thalweg_graph::autodiff::pull_back(&[(&y, &u)], &[&x]).remove(0).unwrap();
        let backward = (back * v).sum();
        let [forward, backward] = [forward, backward].map(|slope| evaluate(&slope).unwrap().item().unwrap());
        assert!((forward - backward).abs() < 1e-12, "{forward} {backward}");
    }
}
