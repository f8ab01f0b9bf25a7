//! Random valid graphs: the compiled plan against the reference interpreter, and fused against unfused.
//!
//! For the first each graph is built twice, in f32 and in f64. What the plan gives may differ from the f64 reference by
//! no more than four times what rounding every node to f32 does, plus a term for the longest reduction. For the second
//! elementwise graphs are run whole and node by node: the bits are the same. Debug builds fill the arena with NaN before
//! each run, so that a buffer read before it is written shows. `THALWEG_RANDOM_GRAPHS` sets how many graphs are drawn.

use std::collections::HashMap;

use thalweg_graph::array::random::{Philox, permutation};
use thalweg_graph::array::scalar::{Binary, Fold, Unary};
use thalweg_graph::reference::{self, interpret};
use thalweg_graph::tensor::topological;
use thalweg_graph::{
    Array, AttentionOptions, ConvOptions, DType, Graph, Op, Scan, Tensor, TensorId, WhileLoop, attention, autodiff,
    cond, placeholder,
};
use thalweg_run::{Feeds, Session};

const GRAPHS: u64 = 1000;
const NODES: usize = 30;

/// Numbers for decisions, one after the other.
struct Dice {
    generator: Philox,
    thrown: u64,
}

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice { generator: Philox::new(seed, 17), thrown: 0 }
    }

    fn below(&mut self, n: usize) -> usize {
        self.thrown += 1;
        (self.generator.uniform(self.thrown, 0) as f64 * n as f64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A program with its feeds.
struct Program {
    fetches: Vec<Tensor>,
    feeds: Vec<(Tensor, Array)>,
}

/// The program of a seed in a dtype; the same structure and numbers for every dtype.
fn program(seed: u64, dtype: DType) -> Program {
    let mut dice = Dice::new(seed);
    let (a, b, c) = (1 + dice.below(5), 1 + dice.below(70), 1 + dice.below(6));
    let shapes: [Vec<usize>; 7] = [vec![a, b], vec![b], vec![a, 1], vec![], vec![c, a, b], vec![b, a], vec![3, a, 2]];
    let mut feeds = Vec::new();
    for (number, shape) in shapes.iter().enumerate() {
        let count = shape.iter().product();
        let generator = Philox::new(seed, number as u64);
        let numbers: Vec<f32> = (0..count).map(|index| generator.uniform(index as u64, 1) * 2.0 - 1.0).collect();
        let tensor = placeholder(format!("p{number}"), dtype, shape.as_slice());
        feeds.push((tensor, Array::new(shape, numbers).unwrap().cast(dtype)));
    }
    let mut pool: Vec<Tensor> = feeds.iter().map(|(tensor, _)| tensor.clone()).collect();
    let nodes = 3 + dice.below(NODES);
    for _ in 0..nodes {
        if let Some(tensor) = grow(&mut dice, &pool) {
            pool.push(tensor);
        }
    }
    let mut fetches: Vec<Tensor> =
        (0..1 + dice.below(3)).map(|_| pool[pool.len() - 1 - dice.below(4)].clone()).collect();
    if dice.below(2) == 0 {
        let loss = fetches[0].tanh().mean();
        let wrt: Vec<&Tensor> = feeds.iter().map(|(tensor, _)| tensor).collect();
        for wrt in wrt {
            if let Ok(gradient) = autodiff::try_grad(&loss, &[wrt]) {
                fetches.extend(gradient);
            }
        }
    }
    Program { fetches, feeds }
}

/// Functions that no pass rewrites into others with other roundings.
const UNARY: [Unary; 14] = [
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Relu,
    Unary::Abs,
    Unary::Square,
    Unary::Neg,
    Unary::Sin,
    Unary::Softplus,
    Unary::Gelu,
    Unary::Erf,
    Unary::Silu,
    Unary::Cos,
    Unary::Atan,
    Unary::Selu,
];
const BINARY: [Binary; 5] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Min];

/// One more node over some of the pool, if the drawn op fits.
fn grow(dice: &mut Dice, pool: &[Tensor]) -> Option<Tensor> {
    // Late nodes more often than early ones.
    let recent = pool.len().min(8);
    let x = if dice.below(3) == 0 { dice.pick(pool) } else { dice.pick(&pool[pool.len() - recent..]) }.clone();
    let axis = |dice: &mut Dice| (x.rank() > 0).then(|| dice.below(x.rank()) as isize);
    let grown = match dice.below(24) {
        0..=3 => x.unary(*dice.pick(&UNARY)),
        4..=6 => {
            let y = dice.pick(pool).clone();
            x.try_binary(*dice.pick(&BINARY), &y).ok()?
        }
        7 => {
            let fold = *dice.pick(&[Fold::Sum, Fold::Max, Fold::Min]);
            x.fold(fold, axis(dice)?)
        }
        8 => {
            let axis = axis(dice)?;
            x.mean_over(axis).keep_axes(axis, &x)
        }
        9 => x.softmax(axis(dice)?),
        10 => x.log_softmax(axis(dice)?),
        11 => {
            let y = dice.pick(pool).clone();
            let y = if y.rank() >= 2 && dice.below(2) == 0 { y.t() } else { y };
            (x.rank() > 0 && y.rank() > 0).then(|| x.try_matmul(&y).ok())?? * 0.1
        }
        12 => {
            let order: Vec<isize> = permutation(Philox::new(3, 5), dice.below(100) as u64, x.rank())
                .into_iter()
                .map(|a| a as isize)
                .collect();
            x.permute(&order)
        }
        13 => x.flatten(dice.below(x.rank() + 1) as isize),
        14 => {
            let axis = axis(dice)?;
            let size = x.size(axis).number()?;
            let start = dice.below(size);
            x.slice_step(axis, start..size, 1 + dice.below(3) as isize)
        }
        15 => {
            let axis = axis(dice)?;
            if dice.below(2) == 0 { Tensor::concat(&[&x, &x.tanh()], axis) } else { x.flip(axis) }
        }
        16 => {
            let axis = axis(dice)?;
            if dice.below(2) == 0 { x.cum_sum(axis) * 0.1 } else { x.pad(axis, dice.below(3), 1, 0.5) }
        }
        // The last of the feeds is a weight for pictures of as many channels.
        17 => {
            let (weight, stride) = (&pool[6], 1 + dice.below(2));
            let options = ConvOptions::new().stride(stride).padding_around((dice.below(2), dice.below(2)));
            match dice.below(2) {
                0 => x.try_conv(weight, 1, &options).ok()? * 0.2,
                _ => x.try_conv(&weight.swap_axes(0, 1), 1, &options).ok()? * 0.2,
            }
        }
        18 => {
            let (axis, size) = (axis(dice)?, 1 + dice.below(3));
            let (stride, dilation) = (1 + dice.below(3), 1 + dice.below(2));
            let length = x.size(axis).number()?;
            let fits = dilation * (size - 1) < length;
            let windows = || x.windows(axis, size, stride, dilation);
            match dice.below(3) {
                _ if !fits => return None,
                0 => windows().max_over(axis + 1),
                1 => windows().mean_over(axis + 1),
                _ => windows().tanh().overlap_add(axis, length, stride, dilation) * 0.5,
            }
        }
        19 => attended(dice, &x)?,
        20 => walked(dice, &x)?,
        21 => cond(&x.mean().greater(THRESHOLD), &[&x], |x| vec![x[0].tanh()], |x| vec![&x[0] * 0.5]).remove(0),
        22 => {
            let halved = |x: &[Tensor]| vec![&x[0] * 0.5];
            WhileLoop::new().at_most(3).run(&[&x], |x| x[0].square().mean().greater(THRESHOLD), halved).remove(0)
        }
        _ => x.greater(0.1).select(&(&x * 2.0), x.square()),
    };
    (grown.shape().count().number()? <= 4000).then_some(grown)
}

/// What decides which way a program goes: nothing that sums to it exactly.
const THRESHOLD: f64 = 0.1234567;

/// The rows of `x` look at each other, over one head or two.
fn attended(dice: &mut Dice, x: &Tensor) -> Option<Tensor> {
    let (heads, causal) = (1 + dice.below(2), dice.below(2) == 0);
    let rank = x.rank() as isize;
    let (time, features) = (x.shape().get(x.rank().checked_sub(2)?)?.number()?, x.size(-1).number()?);
    let batch = x.shape().count().number()? / (time * features).max(1);
    if features == 0 || features % heads != 0 || rank > 3 {
        return None;
    }
    let by_head = x.reshape([batch, time, heads, features / heads]);
    let mask = by_head.permute(&[0, 2, 1, 3]).slice(-1, 0..1).greater(-0.5);
    let options = AttentionOptions::new().causal(causal).scale(0.5).dropout([0.0, 0.3][dice.below(2)]);
    let options = if dice.below(2) == 0 { options.mask(&mask) } else { options };
    Some(attention(&by_head, &by_head.tanh(), &by_head, &options).reshape(x.shape()))
}

/// A state that goes along the first axis of `x`, in either direction.
fn walked(dice: &mut Dice, x: &Tensor) -> Option<Tensor> {
    let (steps, length) = (if dice.below(2) == 0 { Scan::new() } else { Scan::new().reverse() }, dice.below(2));
    (x.rank() > 0 && x.size(0).number()? > 0).then(|| {
        let (last, states) = steps.run(&[&x.mean_over(0)], &[x], |state, row| {
            let next = (&state[0] * 0.5 + &row[0]).tanh();
            (vec![next.clone()], vec![next * &state[0]])
        });
        if length == 0 { states[0].clone() } else { last[0].clone() }
    })
}

fn reference(program: &Program) -> Vec<Array> {
    let feeds = program.feeds.iter().map(|(tensor, array)| (tensor.name().unwrap(), array.clone()));
    interpret(&Graph::capture(&program.fetches, &[]), &reference::Feeds::new(feeds)).unwrap().fetches
}

fn graphs() -> u64 {
    std::env::var("THALWEG_RANDOM_GRAPHS").map_or(GRAPHS, |n| n.parse().expect("a number of graphs"))
}

#[test]
fn plans_agree_with_the_interpreter() {
    let graphs = graphs();
    let (mut redrawn, mut convolved, mut attended, mut looped) = (0, 0, 0, 0);
    for seed in 0..graphs {
        let (single, double) = (program(seed, DType::F32), program(seed, DType::F64));
        let (ref32, ref64) = (reference(&single), reference(&double));
        // Ill-conditioned: rounding alone moves it by much.
        let moved = |a: &Array, b: &Array| {
            a.to_vec::<f64>()
                .iter()
                .zip(b.to_vec::<f64>())
                .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))
                .fold(0.0, f64::max)
        };
        if ref32.iter().zip(&ref64).any(|(a, b)| moved(a, b) >= 1e-3) {
            redrawn += 1;
            continue;
        }
        let nodes = topological(&single.fetches);
        let has = |kind: fn(&Op) -> bool| u64::from(nodes.iter().any(|tensor| kind(tensor.op())));
        convolved += has(|op| matches!(op, Op::Convolution(_)));
        attended += has(|op| matches!(op, Op::Attention(_)));
        looped += has(|op| matches!(op, Op::Loop(_)));
        let session = Session::cpu();
        let mut feeds = Feeds::new();
        for (tensor, array) in &single.feeds {
            if Graph::capture(&single.fetches, &[]).placeholders().any(|(_, p)| Some(&*p.name) == tensor.name()) {
                feeds = feeds.with(tensor, array);
            }
        }
        let planned = session.run(&single.fetches, feeds).unwrap();
        let largest = ref64.iter().flat_map(|array| array.to_vec::<f64>()).fold(1.0, |a: f64, b| a.max(b.abs()));
        for (number, ((ours, ref32), ref64)) in planned.iter().zip(&ref32).zip(&ref64).enumerate() {
            assert_eq!(ours.shape(), ref64.shape(), "seed {seed}, fetch {number}");
            let (ours, ref32, ref64) = (ours.to_vec::<f64>(), ref32.to_vec::<f64>(), ref64.to_vec::<f64>());
            let rounding = ref32.iter().zip(&ref64).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let bound = 4.0 * rounding + 2.0 * 500.0 * f64::from(f32::EPSILON) * largest;
            for (position, (ours, expected)) in ours.iter().zip(&ref64).enumerate() {
                assert!(
                    (ours - expected).abs() <= bound,
                    "seed {seed}, fetch {number}, element {position}: {ours}, expected {expected} within {bound:e}\n{}",
                    Graph::capture(&single.fetches, &[])
                );
            }
        }
    }
    assert!(redrawn * 5 < graphs, "{redrawn} of {graphs} graphs were ill-conditioned");
    for (count, what) in [(convolved, "a convolution"), (attended, "attention"), (looped, "a loop")] {
        assert!(count * 50 > graphs, "{count} of {graphs} graphs have {what}");
    }
}

/// A program of elementwise functions over shapes that broadcast.
fn elementwise(seed: u64, dtype: DType) -> Program {
    let mut dice = Dice::new(seed);
    let (a, b) = (1 + dice.below(40), 1 + dice.below(90));
    let shapes = [vec![a, b], vec![b], vec![a, 1], vec![], vec![a, b]];
    let mut feeds = Vec::new();
    for (number, shape) in shapes.iter().enumerate() {
        let generator = Philox::new(seed, number as u64);
        let count: usize = shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|index| generator.uniform(index as u64, 2) * 6.0 - 3.0).collect();
        let tensor = placeholder(format!("p{number}"), dtype, shape.as_slice());
        feeds.push((tensor, Array::new(shape, numbers).unwrap().cast(dtype)));
    }
    let mut pool: Vec<Tensor> = feeds.iter().map(|(tensor, _)| tensor.clone()).collect();
    for _ in 0..3 + dice.below(50) {
        let x = dice.pick(&pool[pool.len().saturating_sub(6)..]).clone();
        let y = dice.pick(&pool).clone();
        pool.push(match dice.below(8) {
            0..=2 => x.unary(*dice.pick(&UNARY)),
            3..=6 => x.binary(*dice.pick(&BINARY), &y),
            _ => x.greater(&y).select(&x, &y),
        });
    }
    let fetches = (0..1 + dice.below(3)).map(|_| pool[pool.len() - 1 - dice.below(6)].clone()).collect();
    Program { fetches, feeds }
}

/// Each node by a run of its own, from what the runs before gave.
fn node_by_node(session: &Session, program: &Program) -> Vec<Array> {
    let mut values: HashMap<TensorId, Array> =
        program.feeds.iter().map(|(tensor, array)| (tensor.id(), array.clone())).collect();
    for node in topological(&program.fetches) {
        if values.contains_key(&node.id()) {
            continue;
        }
        let named = |(number, input): (usize, &Tensor)| placeholder(format!("x{number}"), input.dtype(), input.shape());
        let inputs: Vec<Tensor> = node.inputs().iter().enumerate().map(named).collect();
        let fed = inputs.iter().zip(node.inputs());
        let feeds = fed.fold(Feeds::new(), |feeds, (input, from)| feeds.with(input, &values[&from.id()]));
        let value = session.run(Tensor::apply(node.op().clone(), inputs.iter().cloned()), feeds).unwrap();
        values.insert(node.id(), value);
    }
    program.fetches.iter().map(|fetch| values[&fetch.id()].clone()).collect()
}

#[test]
fn fused_is_unfused_bit_for_bit() {
    for seed in 0..graphs() {
        let dtype = [DType::F32, DType::F64, DType::BF16, DType::F16][seed as usize % 4];
        let program = elementwise(seed, dtype);
        let session = Session::builder().threads(2).plan_cache(1).build().unwrap();
        let graph = Graph::capture(&program.fetches, &[]);
        let read = |name: &str| graph.placeholders().any(|(_, placeholder)| &*placeholder.name == name);
        let fed = program.feeds.iter().filter(|(tensor, _)| read(tensor.name().unwrap()));
        let feeds = fed.fold(Feeds::new(), |feeds, (tensor, array)| feeds.with(tensor, array));
        let fused = session.run(&program.fetches, feeds).unwrap();
        for (number, (fused, unfused)) in fused.iter().zip(node_by_node(&session, &program)).enumerate() {
            assert_eq!(fused.shape(), unfused.shape());
            // Passes may change the sign of a zero.
            let same = |(a, b): (f64, f64)| a == b || a.is_nan() && b.is_nan();
            let mut pairs = fused.to_vec::<f64>().into_iter().zip(unfused.to_vec::<f64>());
            let different = pairs.position(|pair| !same(pair));
            assert_eq!(different, None, "seed {seed}, fetch {number}\n{fused:?}\n{unfused:?}\n{graph}");
        }
    }
}
