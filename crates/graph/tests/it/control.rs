//! Loops: what they compute, what they refuse, what their bodies hold.

use thalweg_graph::autodiff::check::{CheckOptions, check_gradients};
use thalweg_graph::ops::control::{Scan, WhileLoop, cond, scan, while_loop};
use thalweg_graph::passes::{Options, for_evaluation, optimize};
use thalweg_graph::reference::{Feeds, interpret};
use thalweg_graph::text::parse;
use thalweg_graph::verify::verify;
use thalweg_graph::{
    Array, DType, Graph, Op, Tensor, Variable, constant, full, grad, ones, placeholder, random_normal, random_uniform,
    zeros,
};

use crate::support::refusal;

/// The bodies of the loops of a graph.
fn bodies(graph: &Graph) -> Vec<Graph> {
    let body = |op: &Op| if let Op::Loop(op) = op { Some(op.body.graph().clone()) } else { None };
    graph.nodes().filter_map(|node| body(&node.op)).collect()
}

fn run(fetches: &[Tensor], feeds: &[(&str, Array)]) -> Vec<Array> {
    let graph = Graph::capture(fetches, &[]);
    verify(&graph).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let feeds = Feeds::new(feeds.iter().cloned());
    let found = interpret(&graph, &feeds).unwrap_or_else(|error| panic!("{error}\n{graph}")).fetches;
    let optimized = optimize(graph, &Options::default());
    assert_eq!(interpret(&optimized, &feeds).unwrap().fetches, found, "{optimized}");
    found
}

/// h ← tanh(x W + h U), with h and 2 h as outputs.
fn cell(x: &Tensor, h: &Tensor, w: &Tensor, u: &Tensor) -> (Vec<Tensor>, Vec<Tensor>) {
    let (last, outputs) = scan(&[h], &[x], |h, x| {
        let next = (x[0].matmul(w) + h[0].matmul(u)).tanh();
        (vec![next.clone()], vec![next.clone(), &next * 2.0])
    });
    (last, outputs)
}

#[test]
fn a_loop_is_what_its_steps_are_one_after_the_other() {
    let x = placeholder("x", DType::F64, ("time", "batch", 2));
    let h = zeros(("batch", 3), DType::F64);
    let w = constant([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]]);
    let u = constant([[0.3, -0.1, 0.2], [0.5, 0.25, -0.4], [-0.7, 0.8, 0.05]]);
    let (last, outputs) = cell(&x, &h, &w, &u);
    assert_eq!(outputs[1].meta().to_string(), "f64[time,batch,3]");
    let numbers: Vec<f64> = (0..4 * 2 * 2).map(|i| (i as f64 * 0.7).sin()).collect();
    let fed = Array::new(&[4, 2, 2], numbers.clone()).unwrap();
    let found = run(&[last[0].clone(), outputs[0].clone(), outputs[1].clone()], &[("x", fed)]);

    let mut by_hand = zeros((2, 3), DType::F64);
    let mut steps = Vec::new();
    for t in 0..4 {
        let x = constant(Array::new(&[2, 2], numbers[4 * t..4 * t + 4].to_vec()).unwrap());
        by_hand = (x.matmul(&w) + by_hand.matmul(&u)).tanh();
        steps.push(by_hand.clone());
    }
    let stacked = Tensor::stack(&steps.iter().collect::<Vec<_>>(), 0);
    let expected = run(&[by_hand, stacked.clone(), stacked * 2.0], &[]);
    assert_eq!(found, expected);
}

#[test]
fn no_step_gives_the_carry_back_and_empty_outputs() {
    let x = placeholder("x", DType::F32, ("time", 2));
    let (last, outputs) = scan(&[&full([2], DType::F32, 7.0)], &[&x], |c, x| (vec![&c[0] + &x[0]], vec![c[0].clone()]));
    let found = run(&[last[0].clone(), outputs[0].clone()], &[("x", Array::zeros(&[0, 2], DType::F32))]);
    assert_eq!(found[0].to_vec::<f32>(), [7.0, 7.0]);
    assert_eq!(found[1].shape(), [0, 2]);
    let found = run(&[last[0].clone(), outputs[0].clone()], &[("x", Array::from([[1.0f32, 2.0]]))]);
    assert_eq!((found[0].to_vec::<f32>(), found[1].to_vec::<f32>()), (vec![8.0, 9.0], vec![7.0, 7.0]));
}

#[test]
fn carries_of_other_dtypes_and_loops_in_loops() {
    // Σ over rows of the running maximum of each row, and how many steps there were.
    let x = placeholder("x", DType::F64, ("rows", "columns"));
    let (last, sums) = scan(&[&constant(0i64), &constant(0.0)], &[&x], |c, row| {
        let (_, running) = scan(&[&constant(f64::NEG_INFINITY)], &[&row[0]], |m, x| {
            let m = m[0].maximum(&x[0]);
            (vec![m.clone()], vec![&m + &c[1] * 0.0])
        });
        let sum = running[0].sum();
        (vec![&c[0] + 1i64, &c[1] + &sum], vec![sum])
    });
    let fed = Array::from([[1.0, 3.0, 2.0], [-1.0, -2.0, 5.0]]);
    let found = run(&[last[0].clone(), last[1].clone(), sums[0].clone()], &[("x", fed)]);
    assert_eq!(found[0].to_vec::<i64>(), [2]);
    assert_eq!(found[1].item().unwrap(), 7.0 + 3.0);
    assert_eq!(found[2].to_vec::<f64>(), [7.0, 3.0]);
}

#[test]
fn work_that_no_step_changes_stays_outside() {
    let x = placeholder("x", DType::F32, ("time", 4));
    let (w, b) = (Variable::new("w", Array::zeros(&[4, 4], DType::F32)), Variable::new("b", 0.5));
    let (last, _) = scan(&[&zeros([4], DType::F32)], &[&x], |h, x| {
        let scaled = w.square().t();
        (vec![h[0].matmul(&scaled) + &x[0] * 2.0 + b.expand([4]) + ones([4], DType::F32)], vec![])
    });
    let graph = Graph::capture([&last[0]], &[]);
    let body = bodies(&graph).remove(0);
    let labels: Vec<String> = body.nodes().map(|node| node.op.label()).collect();
    assert!(!labels.contains(&"square".to_string()) && labels.contains(&"permute".to_string()), "{body}");
    let outers = body.placeholders().filter(|(_, placeholder)| placeholder.name.starts_with("outer")).count();
    assert_eq!(outers, 2, "{body}");
    assert!(graph.nodes().any(|node| node.op.label() == "square"));
}

#[test]
fn chance_inside_is_drawn_in_each_step_and_chance_outside_once() {
    let mask = random_uniform([8], DType::F32);
    let (_, outputs) = Scan::new().length(3).run(&[&zeros([8], DType::F32)], &[], |h, _| {
        (vec![&h[0] + 1.0], vec![random_uniform([8], DType::F32) + &h[0] * 0.0, &mask + &h[0] * 0.0])
    });
    let graph = Graph::capture(&outputs, &[]);
    verify(&graph).unwrap();
    let found = interpret(&graph, &Feeds::default()).unwrap().fetches;
    let rows = |array: &Array| array.to_vec::<f32>().chunks(8).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (inside, outside) = (rows(&found[0]), rows(&found[1]));
    assert!(inside[0] != inside[1] && inside[1] != inside[2]);
    assert!(outside[0] == outside[1] && outside[1] == outside[2]);
    assert!(inside[0] != outside[0]);
}

#[test]
fn dropout_in_a_loop_is_off_in_evaluation() {
    let x = placeholder("x", DType::F64, ("time", 8));
    let (last, _) = scan(&[&zeros([8], DType::F64)], &[&x], |h, x| (vec![&h[0] + x[0].dropout(0.5)], vec![]));
    let graph = for_evaluation(Graph::capture([&last[0]], &[])).unwrap_or_else(|error| panic!("{error}"));
    let fed = Feeds::new([("x", Array::full(&[3, 8], DType::F64, 1.0))]);
    assert_eq!(interpret(&graph, &fed).unwrap().fetches[0].to_vec::<f64>(), [3.0; 8]);
    let branch = cond(&constant(true), &[&x], |x| vec![x[0].dropout(0.5)], |x| x.to_vec());
    let graph = for_evaluation(Graph::capture(&branch, &[])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(interpret(&graph, &fed).unwrap().fetches[0].to_vec::<f64>(), [1.0; 24]);
    let (last, _) = scan(&[&zeros([8], DType::F64)], &[&x], |h, x| {
        (vec![&h[0] + (&x[0] * random_normal([8], DType::F64)).exp()], vec![])
    });
    assert!(for_evaluation(Graph::capture([&last[0]], &[])).is_err());
}

#[test]
fn what_does_not_fit_is_refused_by_name_at_the_users_line() {
    let (x, h) = (placeholder("x", DType::F32, ("time", 3)), zeros([3], DType::F32));
    let seen = Variable::new("seen", 0.0);
    let keep = |c: &[Tensor], _: &[Tensor]| (c.to_vec(), vec![]);
    let refused: [(String, &[&str]); 7] = [
        (refusal(|| scan(&[&h], &[&x], |c, _| (vec![c[0].sum()], vec![]))), &["carry 0 is f32[3], after a step f32[]"]),
        (
            refusal(|| scan(&[&h, &h], &[&x], |c, _| (vec![c[0].clone(), c[1].cast(DType::F64)], vec![]))),
            &["carry 1 is f32[3], after a step f64[3]"],
        ),
        (refusal(|| scan(&[&h], &[&x], |_, _| (vec![], vec![]))), &["1 tensors are carried, but a step gives 0"]),
        (
            refusal(|| scan(&[&h], &[&x, &zeros([4], DType::F32)], keep)),
            &["input 1 has 4 positions", "there are time steps"],
        ),
        (refusal(|| scan(&[&h], &[&constant(1.0)], keep)), &["input 0 has no axis"]),
        (refusal(|| scan(&[&h], &[], keep)), &["no input says how many steps", "length(n)"]),
        (
            refusal(|| scan(&[&h], &[&x], |c, _| (vec![c[0].with_update(&seen, &(&seen + 1.0))], vec![]))),
            &["update the variable `seen`", "carry the number"],
        ),
    ];
    for (message, parts) in &refused {
        for part in *parts {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        assert!(message.contains("control.rs:"), "{message}");
    }
}

#[test]
fn a_loop_is_read_back_from_text() {
    let x = placeholder("x", DType::F64, ("time", 2));
    let w = Variable::new("w", Array::from([[0.5, 0.25], [-0.5, 1.0]]));
    let (last, sums) = scan(&[&zeros([2], DType::F64)], &[&x], |h, x| {
        let (inner, _) =
            Scan::new().length(2).run(&[&h[0]], &[], |c, _| (vec![c[0].matmul(&w).named("product")], vec![]));
        let next = (&inner[0] + &x[0]).named("next \"state\"");
        (vec![next.clone()], vec![next.sum()])
    });
    let graph = Graph::capture([&last[0], &sums[0]], &[]);
    let text = graph.to_string();
    let read = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_string(), text);
    verify(&read).unwrap();
    let broken = text.replace("matmul", "matmull");
    let message = parse(&broken).unwrap_err().to_string();
    assert!(message.contains("in the body") && message.contains("did you mean `matmul`"), "{message}");
    let greedy = text.replacen("index=1", "index=2", 1);
    let message = verify(&parse(&greedy).unwrap()).unwrap_err().to_string();
    assert!(message.contains("takes result 2 of loop"), "{message}");
}

#[test]
fn what_nobody_reads_of_a_loop_goes() {
    let x = placeholder("x", DType::F32, ("time", 3));
    let y = placeholder("y", DType::F32, ("time", 3));
    let zero = zeros([3], DType::F32);
    let (last, outputs) = scan(&[&zero, &zero, &x.sum_over(0)], &[&x, &y, &x], |c, x| {
        let next = vec![&c[0] + &x[0] * &c[2] + &x[2], &c[1] * 2.0 + &x[1], c[2].clone()];
        (next, vec![x[1].exp(), c[0].clone(), x[0].clone()])
    });
    let graph = optimize(Graph::capture([&last[0], &last[2], &outputs[1], &outputs[2]], &[]), &Options::default());
    let Some(Op::Loop(op)) = graph.nodes().map(|node| &node.op).find(|op| matches!(op, Op::Loop(_))) else {
        panic!("{graph}")
    };
    assert_eq!((op.carries, op.inputs, op.body.graph().fetches().len()), (1, 1, 2), "{graph}");
    assert!(!graph.placeholders().any(|(_, placeholder)| &*placeholder.name == "y"), "{graph}");
}

/// 3n + 1 until 1, counted, and a vector that is moved along.
fn collatz(x: &Tensor, n: &Tensor, limit: Option<usize>) -> Vec<Tensor> {
    let begin = [n.clone(), constant(0i64), x.clone()];
    let loops = limit.map_or(WhileLoop::new(), |limit| WhileLoop::new().at_most(limit));
    loops.run(
        &begin.each_ref(),
        |c| c[0].greater(1),
        |c| {
            let odd = (&c[0] % 2).equal(1);
            vec![odd.select(&(&c[0] * 3 + 1), &c[0] / 2), &c[1] + 1, (&c[2] * 0.9).sin()]
        },
    )
}

#[test]
fn a_while_loop_takes_as_many_steps_as_it_needs() {
    let (x, n) = (placeholder("x", DType::F64, ["n"]), placeholder("start", DType::I64, ()));
    for (start, steps) in [(1i64, 0), (2, 1), (6, 8), (27, 111)] {
        let feeds = [("x", Array::from([0.3, -1.5])), ("start", Array::scalar(start))];
        let found = run(&collatz(&x, &n, None), &feeds);
        let moved = (0..steps).fold([0.3f64, -1.5], |x, _| x.map(|x| (x * 0.9).sin()));
        assert_eq!((found[0].item().unwrap(), found[1].item().unwrap()), (1.0, steps as f64));
        assert_eq!(found[2].to_vec::<f64>(), moved);
        assert_eq!(run(&collatz(&x, &n, Some(111)), &feeds), found);
        let short = run(&collatz(&x, &n, Some(5)), &feeds);
        assert_eq!(short[1].item().unwrap(), steps.min(5) as f64);
    }
}

#[test]
fn a_bounded_while_loop_has_a_gradient_and_another_says_how_to_get_one() {
    let steps = |x: &Tensor| collatz(x, &constant(6i64), Some(12)).remove(2).sum();
    check_gradients(|x| steps(&x[0]), &[Array::from([0.3, -1.5])], &CheckOptions::default()).unwrap();
    let x = Variable::new("x", Array::from([0.3, -1.5]));
    let message = refusal(|| {
        grad(&collatz(&x, &constant(6i64), None).remove(2).sum(), &[&x]);
    });
    assert!(message.contains("a loop without a bound has no gradient"), "{message}");
    assert!(message.contains("control.rs:") && message.contains("at_most"), "{message}");
    // No gradient is asked of what only says how often.
    let scaled = &x * collatz(&x, &constant(6i64), None)[1].cast(DType::F64);
    assert_eq!(run(&grad(&scaled.sum(), &[&x]), &[])[0].to_vec::<f64>(), [8.0; 2]);
}

/// One of two functions of x and w.
fn either(p: &Tensor, x: &Tensor, w: &Tensor) -> Tensor {
    let given = [x, w];
    let mut found = cond(p, &given, |i| vec![i[0].matmul(&i[1]).tanh()], |i| vec![(&i[0] * 2.0).matmul(&i[1])]);
    found.remove(0)
}

#[test]
fn a_branch_is_what_it_would_be_alone_and_so_is_its_gradient() {
    let x = Array::from([[0.5, -0.25], [1.0, 2.0]]);
    let w = Array::from([[0.1, 0.7], [-0.3, 0.2]]);
    let p = placeholder("p", DType::Bool, ());
    let [px, pw] = ["x", "w"].map(|name| placeholder(name, DType::F64, [2, 2]));
    let found = either(&p, &px, &pw);
    let mut all = vec![found.clone()];
    all.extend(grad(&found.square().sum(), &[&px, &pw]));
    for taken in [true, false] {
        let alone = if taken { px.matmul(&pw).tanh() } else { (&px * 2.0).matmul(&pw) };
        let mut expected = vec![alone.clone()];
        expected.extend(grad(&alone.square().sum(), &[&px, &pw]));
        let feeds = [("p", Array::scalar(taken)), ("x", x.clone()), ("w", w.clone())];
        assert_eq!(run(&all, &feeds), run(&expected, &feeds), "{taken}");
        // Of the second order too.
        let twice = |y: &Tensor| {
            let first = grad(&y.square().sum(), &[&px]).remove(0);
            grad(&first.square().sum(), &[&pw]).remove(0)
        };
        let (one, other) = (run(&[twice(&found)], &feeds), run(&[twice(&alone)], &feeds));
        for (a, b) in one[0].to_vec::<f64>().iter().zip(other[0].to_vec::<f64>()) {
            assert!((a - b).abs() < 1e-12, "{taken}: {a} {b}");
        }
    }
}

#[test]
fn a_branch_draws_random_numbers_and_its_gradient_sees_the_same() {
    let (p, x) = (placeholder("p", DType::Bool, ()), placeholder("x", DType::F64, [4]));
    let noise = |x: &[Tensor]| vec![&x[0] * random_uniform([4], DType::F64)];
    let found = cond(&p, &[&x], noise, noise).remove(0);
    let gradient = grad(&found.sum(), &[&x]).remove(0);
    let numbers = [1.0, -2.0, 4.0, 0.5];
    let draws = [true, false].map(|taken| {
        let feeds = [("p", Array::scalar(taken)), ("x", Array::from(numbers))];
        let [found, gradient] = run(&[found.clone(), gradient.clone()], &feeds).try_into().unwrap();
        let scaled: Vec<f64> = gradient.to_vec::<f64>().iter().zip(numbers).map(|(draw, x)| draw * x).collect();
        assert_eq!(found.to_vec::<f64>(), scaled, "{taken}");
        gradient.to_vec::<f64>()
    });
    assert_ne!(draws[0], draws[1], "each branch draws its own");
    assert!(draws.iter().flatten().all(|draw| (0.0..1.0).contains(draw)), "{draws:?}");
    // In a loop, each step draws anew.
    let (_, steps) = scan(&[&zeros((), DType::F64)], &[&ones([3], DType::F64)], |c, i| {
        let drawn = cond(&p, &[&i[0]], |i| vec![&i[0] * random_uniform((), DType::F64)], |i| i.to_vec());
        (c.to_vec(), drawn)
    });
    let steps = run(&steps, &[("p", Array::scalar(true))])[0].to_vec::<f64>();
    assert!(steps[0] != steps[1] && steps[1] != steps[2], "{steps:?}");
}

#[test]
fn the_other_branch_is_not_computed() {
    // An index that there is not would fail the run.
    let (p, at) = (placeholder("p", DType::Bool, ()), placeholder("at", DType::I64, [1]));
    let table = constant([1.0, 2.0, 4.0]);
    let found = cond(&p, &[&at], |at| vec![table.gather(&at[0], 0)], |_| vec![zeros([1], DType::F64)]);
    let feeds = |p: bool, at: i64| [("p", Array::scalar(p)), ("at", Array::from([at]))];
    assert_eq!(run(&found, &feeds(true, 2))[0].to_vec::<f64>(), [4.0]);
    assert_eq!(run(&found, &feeds(false, 99))[0].to_vec::<f64>(), [0.0]);
    let graph = Graph::capture(&found, &[]);
    assert!(interpret(&graph, &Feeds::new(feeds(true, 99))).unwrap_err().to_string().contains("index 99"));
}

#[test]
fn gated_loops_are_read_back_from_text() {
    let (x, n) = (placeholder("x", DType::F64, ["n"]), placeholder("start", DType::I64, ()));
    let mut fetches = collatz(&x, &n, None);
    fetches.push(either(&n.greater(3), &zeros([2, 2], DType::F64), &ones([2, 2], DType::F64)));
    let text = Graph::capture(&fetches, &[]).to_string();
    let read = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_string(), text);
    verify(&read).unwrap();
    assert_eq!(text.matches("gated=true").count(), 3, "{text}");
}

#[test]
fn branches_and_conditions_that_do_not_fit_are_refused() {
    let (x, p) = (placeholder("x", DType::F64, [3]), placeholder("p", DType::Bool, ()));
    let message = refusal(|| {
        cond(&x.greater(0.0), &[&x], |x| x.to_vec(), |x| x.to_vec());
    });
    assert!(message.contains("the predicate is bool[3], not one truth value"), "{message}");
    assert!(message.contains("control.rs:") && message.contains("`select`"), "{message}");
    let message = refusal(|| {
        cond(&p, &[&x], |x| x.to_vec(), |x| vec![x[0].sum()]);
    });
    assert!(message.contains("one branch gives f64[3], the other f64[]"), "{message}");
    let message = refusal(|| {
        while_loop(&[&x], |x| x[0].less(1.0), |x| x.to_vec());
    });
    assert!(message.contains("the condition is bool[3]"), "{message}");
    for loops in [WhileLoop::new(), WhileLoop::new().at_most(3)] {
        let message = refusal(|| {
            loops.run(&[&x], |x| x[0].sum().less(1.0), |x| vec![x[0].sum()]);
        });
        assert!(message.contains("is f64[3], after a step f64[]"), "{message}");
    }
    let message = refusal(|| {
        while_loop(&[&x], |x| x[0].sum().less(1.0), |x| vec![&x[0] + random_uniform([3], DType::F64)]);
    });
    assert!(message.contains("random numbers would be drawn where it is not known how often"), "{message}");
    assert!(message.contains("control.rs:") && message.contains("`at_most` says how often"), "{message}");
}
