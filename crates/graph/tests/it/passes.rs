//! All passes together: what random graphs compute stays, work grows with the size of the graph and no faster.

use std::time::Instant;

use proptest::prelude::*;
use thalweg_graph::passes::{self, Options};
use thalweg_graph::reference::{Feeds, interpret};
use thalweg_graph::{
    Array, ConvOptions, DType, Graph, Pool, Tensor, Variable, constant, grad, placeholder, random_uniform,
};

/// Applies the function of number `kind` to tensors picked from `known`, all of shape [n, 3].
fn grow(known: &[Tensor], kind: usize, a: usize, b: usize) -> Tensor {
    let (x, y) = (&known[a % known.len()], &known[b % known.len()]);
    let shape = x.shape();
    match kind % 26 {
        0 => x + y,
        1 => x - y,
        2 => x * y,
        3 => -x,
        4 => x * 1.0,
        5 => x + 0.0,
        6 => 0.0 - x,
        7 => x / 4.0,
        8 => x * -1.5,
        9 => x.tanh().exp(),
        10 => x.sigmoid(),
        11 => 1.0 - x.sigmoid(),
        12 => (x.tanh().exp() + 1.0).log(),
        13 => x.softmax(1).log(),
        14 => x.sigmoid().log(),
        15 => x.sum_over(1).unsqueeze(1).expand(shape),
        16 => x.max_over(0).expand(shape),
        17 => x.flatten(0).reshape(shape),
        18 => x.swap_axes(0, 1).swap_axes(0, 1),
        19 => x.greater(y).logical_not().select(x, y),
        20 => x.square().pow(0.5),
        21 => x.cast(DType::F64).cast(DType::F32),
        22 => x.tanh().exp() - 1.0,
        23 => x.tanh().exp().sum_over([0, 1]).log().expand(shape),
        24 => x * x.ones_like() + x.zeros_like(),
        _ => x.stop_gradient().dropout(0.25),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_random_graphs_compute_stays(
        choices in prop::collection::vec((0usize..26, 0usize..9, 0usize..9), 1..24),
        numbers in prop::collection::vec(-3.0f32..3.0, 6),
    ) {
        let x = placeholder("x", DType::F32, ("n", 3));
        let mut known = vec![x.clone(), constant([[1.0f32, 0.0, -2.0]]).expand(x.shape())];
        for (kind, a, b) in choices {
            known.push(grow(&known, kind, a, b));
        }
        let graph = Graph::capture(&known, &[]);
        let feeds = Feeds::new([("x", Array::new(&[2, 3], numbers).unwrap())]);
        let expected = interpret(&graph, &feeds).unwrap();
        let optimized = passes::optimize(graph.clone(), &Options::default());
        prop_assert!(optimized.len() <= graph.len() + 8, "{}\n{}", graph, optimized);
        let found = interpret(&optimized, &feeds).unwrap();
        for (position, (a, b)) in expected.fetches.iter().zip(&found.fetches).enumerate() {
            for (a, b) in a.to_vec::<f64>().into_iter().zip(b.to_vec::<f64>()) {
                // Where the formula as written overflows or cancels, the stable one may know better.
                let close = (a - b).abs() <= 1e-3 * (1.0 + a.abs()) || !a.is_finite() || a.abs() > 1e6;
                prop_assert!(close, "fetch {} was {}, is {}\n{}\n{}", position, a, b, graph, optimized);
            }
        }
    }
}

/// As [`grow`], of pictures: tensors of shape [n, 2, 4, 4], often from a convolution.
fn grow_pictures(known: &[Tensor], weight: &Tensor, kind: usize, a: usize, b: usize) -> Tensor {
    let (x, y) = (&known[known.len() - 1 - a % known.len()], &known[b % known.len()]);
    let (shape, axis) = (x.shape(), (a % 4) as isize);
    let conv = |x: &Tensor| x.conv2d(weight, &ConvOptions::new().padding_same());
    match kind % 20 {
        0..=3 => conv(x),
        4 => x + y,
        5 => x * y.tanh(),
        6 => x.greater(y).select(x, y.tanh()),
        7 => x.mean_over([0, 2, 3]).reshape([1, 2, 1, 1]).expand(shape),
        8 => x.max_over(axis).keep_axes(axis, x).expand(shape) * 0.5,
        9 => x.swap_axes(2, 3),
        10 => Tensor::concat(&[&x.slice(1, ..1), &y.slice(1, 1..)], 1),
        11 => x.flip(axis),
        12 => x.max_pool(&Pool::new([3, 3]).stride(1).padding(1)),
        13 => x.average_pool(&Pool::new([2, 2])).upsample_nearest(&[2, 3], 2),
        14 => x.windows(3, 2, 1, 1).square().overlap_add(3, 4, 1, 1) * 0.2,
        15 => x.pad(2, 1, 1, 0.5).slice(2, 1..5),
        16 => x.softmax(axis),
        17 => x.flatten(2).softmax(2).reshape(shape),
        18 => x.flatten(1).tanh().reshape(shape),
        _ => x.permute(&[0, 2, 3, 1]).flatten(1).sin().reshape(("n", 4, 4, 2)).permute(&[0, 3, 1, 2]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_random_networks_compute_stays(
        choices in prop::collection::vec((0usize..20, 0usize..9, 0usize..9), 1..12),
        numbers in prop::collection::vec(-2.0f64..2.0, 64),
        weights in prop::collection::vec(-0.4f64..0.4, 36),
    ) {
        let x = placeholder("x", DType::F64, ("n", 2, 4, 4));
        let weight = constant(Array::new(&[2, 2, 3, 3], weights).unwrap());
        let mut known = vec![x.clone()];
        for (kind, a, b) in choices {
            known.push(grow_pictures(&known, &weight, kind, a, b));
        }
        let last = known[known.len() - 1].clone();
        let gradient = grad(&last.tanh().sum(), &[&x]).remove(0);
        let graph = Graph::capture([&last, &gradient], &[]);
        let feeds = Feeds::new([("x", Array::new(&[2, 2, 4, 4], numbers).unwrap())]);
        let expected = interpret(&graph, &feeds).unwrap();
        let found = interpret(&passes::optimize(graph.clone(), &Options::default()), &feeds).unwrap();
        for (a, b) in expected.fetches.iter().zip(&found.fetches) {
            for (a, b) in a.to_vec::<f64>().into_iter().zip(b.to_vec::<f64>()) {
                prop_assert!((a - b).abs() <= 1e-8 * (1.0 + a.abs()), "was {}, is {}\n{}", a, b, graph);
            }
        }
    }
}

#[test]
fn the_effect_of_each_pass_is_told() {
    let x = placeholder("x", DType::F32, ["n"]);
    let y = (x.softmax(0) * 1.0).log();
    let (graph, explanation) = passes::explain(Graph::capture([&y], &[]), &Options::default());
    assert_eq!(graph.to_string(), "%x: f32[n] = placeholder\n%0: f32[n] = log_softmax %x axis=0\nreturn %0\n");
    let changed: Vec<&str> = explanation.passes.iter().filter(|p| p.after.is_some()).map(|p| p.pass).collect();
    assert_eq!(changed, ["simplify", "stable_forms", "dead_code"]);
    let text = explanation.to_string();
    assert!(text.starts_with("captured\n%x: f32[n] = placeholder") && text.contains("ms, unchanged"), "{text}");
    let options = Options { stop_after: 2, ..Options::default() };
    let stopped = passes::optimize(Graph::capture([&y], &[]), &options);
    assert!(stopped.to_string().contains("= log %"), "{stopped}");
}

#[test]
fn a_long_chain_takes_the_time_of_its_length() {
    let body = || {
        let x = placeholder("x", DType::F32, ["n"]);
        let chain = |length: usize| {
            let one = x.ones_like();
            let mut y = x.clone();
            for step in 0..length / 5 {
                y = match step % 3 {
                    0 => (-(&y * &one)).sin(),
                    1 => y.expand(("m", "n")).max_over(0) * 0.3,
                    _ => y.unsqueeze(0).cos().reshape(x.shape()) - 0.1,
                };
            }
            Graph::capture([&y], &[])
        };
        // The best of a few, for other programs run too.
        let time = |graph: Graph| {
            let options = Options { verify: false, ..Options::default() };
            let one = |graph: Graph| {
                let start = Instant::now();
                let optimized = passes::optimize(graph, &options);
                assert!(optimized.len() > 1000);
                start.elapsed()
            };
            (0..4).map(|_| one(graph.clone())).min().expect("there are four")
        };
        let (short, long) = (time(chain(2_000)), time(chain(20_000)));
        assert!(long < 40 * short, "ten times the nodes took {short:?} and {long:?}");
        let text = chain(20_000).to_string();
        assert_eq!(thalweg_graph::text::parse(&text).unwrap().to_string().len(), text.len());
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(body).unwrap().join().unwrap();
}

/// A training step as users write it: two layers, dropout, cross-entropy, Adam on every variable.
fn training_step() -> Graph {
    let x = placeholder("x", DType::F32, ("batch", 784));
    let labels = placeholder("labels", DType::I64, ["batch"]);
    let variable = |name: &str, shape: &[usize]| Variable::new(name, Array::zeros(shape, DType::F32));
    let w1 = Variable::new("w1", random_uniform([784, 128], DType::F32));
    let parameters = [w1, variable("b1", &[128]), variable("w2", &[128, 10]), variable("b2", &[10])];
    let [w1, b1, w2, b2] = &parameters;
    let hidden = (x.matmul(w1) + b1).relu().dropout(0.2);
    let logits = hidden.matmul(w2) + b2;
    let picked = logits.softmax(1).log().take_along(&labels.unsqueeze(1), 1);
    let loss = -picked.mean();
    let gradients = grad(&loss, &parameters.each_ref().map(|p| p.tensor()));
    let mut updates = Vec::new();
    for (p, g) in parameters.iter().zip(&gradients) {
        let m = variable(&format!("{}/m", p.name()), p.core().shape());
        let v = variable(&format!("{}/v", p.name()), p.core().shape());
        let next_m = &m * 0.9 + g * 0.1;
        let next_v = &v * 0.999 + g.square() * 0.001;
        let next = p.tensor() - &next_m / (next_v.sqrt() + 1e-8) * 0.001;
        updates.extend([p.assign(&next), m.assign(&next_m), v.assign(&next_v)]);
    }
    Graph::capture([&loss], &updates)
}

#[test]
fn a_training_step_gets_smaller_and_stable() {
    let graph = training_step();
    let before = graph.len();
    let optimized = passes::optimize(graph, &Options::default());
    let text = optimized.to_string();
    assert!(optimized.len() < before, "{before} nodes became {}", optimized.len());
    assert!(text.contains("log_softmax") && !text.contains("= log %") && !text.contains("stop_gradient"), "{text}");
}
