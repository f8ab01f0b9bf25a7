//! Gradients through loops: against differences, against the same unrolled, and what is kept of a step for them.

use thalweg_graph::autodiff::{CheckOptions, check_gradients, jvp, recompute};
use thalweg_graph::ops::control::{Scan, scan};
use thalweg_graph::passes::{Options, optimize};
use thalweg_graph::reference::{Feeds, interpret};
use thalweg_graph::{Array, DType, Graph, Op, Tensor, constant, grad, placeholder, random_uniform, zeros};

use crate::gradients::check;
use crate::support::Draw;

const RANGE: (f64, f64) = (-1.0, 1.0);

/// hₜ = tanh(xₜ W + hₜ₋₁ U + b); the last h and all of them.
fn rnn(x: &Tensor, h: &Tensor, w: &Tensor, u: &Tensor, b: &Tensor) -> (Tensor, Tensor) {
    let (last, outputs) = scan(&[h], &[x], |h, x| {
        let next = (x[0].matmul(w) + h[0].matmul(u) + b).tanh();
        (vec![next.clone()], vec![next])
    });
    (last[0].clone(), outputs[0].clone())
}

/// A cell with two carries, gates and a number that counts.
fn lstm(x: &Tensor, h: &Tensor, w: &Tensor, u: &Tensor) -> Tensor {
    let n = h.shape()[1].number().unwrap() as isize;
    let c = h * 0.5;
    let (last, outputs) = Scan::new().reverse().run(&[h, &constant(1i64), &c], &[x], |carry, x| {
        let gates = x[0].matmul(w) + carry[0].matmul(u);
        let gate = |number: isize| gates.slice(1, number as usize * n as usize..(number as usize + 1) * n as usize);
        let c = gate(0).sigmoid() * &carry[2] + gate(1).sigmoid() * gate(2).tanh();
        let h = gate(3).sigmoid() * c.tanh() * carry[1].cast(DType::F64).reciprocal();
        (vec![h.clone(), &carry[1] + 1i64, c], vec![h])
    });
    outputs[0].sin() + &last[2]
}

/// All loops, first and second order.
pub(crate) fn loops() {
    let mut draw = Draw::new(31);
    for steps in [0, 1, 3] {
        let mut array = |shape: &[usize]| draw.array(shape, RANGE);
        let inputs = [array(&[steps, 2, 2]), array(&[2, 3]), array(&[2, 3]), array(&[3, 3]), array(&[3])];
        check("the last state", &inputs, |x| rnn(&x[0], &x[1], &x[2], &x[3], &x[4]).0);
        check("all states", &inputs, |x| rnn(&x[0], &x[1], &x[2], &x[3], &x[4]).1.square());
        let both = |x: &[Tensor]| {
            let (last, all) = rnn(&x[0], &x[1], &x[2], &x[3], &x[4]);
            all.sum_over(0) * last
        };
        check("last and all", &inputs, both);
        check("computed again", &inputs, |x| recompute(|| both(x)));
        let inputs = [array(&[steps, 2, 2]), array(&[2, 2]), array(&[2, 8]), array(&[2, 8])];
        check("gates", &inputs, |x| lstm(&x[0], &x[1], &x[2], &x[3]));
        let inputs = [array(&[steps, 3]), array(&[3]), array(&[])];
        check("elementwise invariants, used twice", &inputs, |x| {
            let (last, sums) = scan(&[&x[1]], &[&x[0]], |c, y| {
                let next = (&c[0] * &x[2] + &y[0] * &x[1]).sin() * &x[2];
                (vec![next.clone()], vec![(&next * &x[1]).sum()])
            });
            last[0].sum() + sums[0].sum()
        });
        let inputs = [array(&[steps, 2, 3]), array(&[3]), array(&[3, 3])];
        check("a loop in a loop", &inputs, |x| {
            let (last, _) = scan(&[&x[1]], &[&x[0]], |c, rows| {
                let (inner, _) =
                    scan(&[&c[0]], &[&rows[0]], |c, row| (vec![(c[0].matmul(&x[2]) + &row[0]).tanh()], vec![]));
                (vec![&inner[0] * 0.5 + &c[0] * 0.5], vec![])
            });
            last[0].clone()
        });
        let inputs = [array(&[steps, 4])];
        check("dropout inside", &inputs, |x| {
            let (last, _) =
                scan(&[&zeros([4], DType::F64)], &[&x[0]], |c, x| (vec![(&c[0] + x[0].dropout(0.5)).tanh()], vec![]));
            last[0].clone()
        });
    }
    let inputs = [draw.array(&[2, 2], RANGE)];
    check("a power", &inputs, |x| {
        let (last, _) = Scan::new().length(3).run(&[&x[0]], &[], |c, _| (vec![c[0].matmul(&x[0])], vec![]));
        last[0].clone()
    });
    check("carries that change places, one of which nobody asks for", &inputs, |x| {
        let (last, _) = Scan::new().length(3).run(&[&x[0], &x[0].square(), &x[0].exp()], &[], |c, _| {
            (vec![c[1].sin(), &c[0] * &c[0], &c[2] + &c[1]], vec![])
        });
        last[0].clone()
    });
}

#[test]
fn a_batch_of_any_size_has_a_gradient() {
    let x = placeholder("x", DType::F64, ("time", "batch", 2));
    let [w, u, b] =
        [&[2usize, 3][..], &[3, 3], &[3]].map(|shape| placeholder(format!("p{shape:?}"), DType::F64, shape));
    let (last, _) = rnn(&x, &zeros(("batch", 3), DType::F64), &w, &u, &b);
    let gradients = grad(&last.square().sum(), &[&w, &u, &b, &x]);
    let metas: Vec<String> = gradients.iter().map(|gradient| gradient.meta().to_string()).collect();
    assert_eq!(metas, ["f64[2,3]", "f64[3,3]", "f64[3]", "f64[time,batch,2]"]);
}

/// The bodies of the loops of a graph.
fn bodies(graph: &Graph) -> Vec<Graph> {
    let body = |op: &Op| if let Op::Loop(op) = op { Some(op.body.graph().clone()) } else { None };
    graph.nodes().filter_map(|node| body(&node.op)).collect()
}

#[test]
fn weights_get_their_gradient_outside_of_the_loop() {
    let x = placeholder("x", DType::F64, ("time", "batch", 2));
    let [w, u, b] =
        [&[2usize, 3][..], &[3, 3], &[3]].map(|shape| placeholder(format!("p{shape:?}"), DType::F64, shape));
    let (_, all) = rnn(&x, &zeros(("batch", 3), DType::F64), &w, &u, &b);
    let gradients = grad(&all.square().sum(), &[&w, &u, &b]);
    let graph = optimize(Graph::capture(&gradients, &[]), &Options::default());
    let Some(Op::Loop(back)) = graph.nodes().map(|node| &node.op).find(|op| matches!(op, Op::Loop(op) if op.reverse))
    else {
        panic!("there is no loop back in {graph}")
    };
    assert_eq!(back.carries, 1, "{graph}");
    let products = back.body.graph().nodes().filter(|node| node.op.label() == "matmul").count();
    assert_eq!(products, 1, "h alone: {}", back.body.graph());
    assert_eq!(bodies(&graph).len(), 2, "one loop there, one back: {graph}");
}

#[test]
fn a_step_computed_again_keeps_its_carries_alone() {
    let x = placeholder("x", DType::F64, ("time", 3));
    let w = placeholder("w", DType::F64, [3, 3]);
    let deep = |h: &Tensor, x: &Tensor| (0..4).fold(h + x, |h, _| h.matmul(&w).tanh().exp().sin());
    let loss = |wrap: &dyn Fn(&dyn Fn() -> Tensor) -> Tensor| {
        let (last, _) = scan(&[&zeros([3], DType::F64)], &[&x], |h, x| (vec![wrap(&|| deep(&h[0], &x[0]))], vec![]));
        grad(&last[0].sum(), &[&w])
    };
    let (kept, again) = (loss(&|step| step()), loss(&|step| recompute(step)));
    let outputs = |gradient: &[Tensor]| {
        let graph = optimize(Graph::capture(gradient, &[]), &Options::default());
        bodies(&graph)[0].fetches().len()
    };
    assert!(outputs(&kept) > 8, "{}", outputs(&kept));
    assert_eq!(outputs(&again), 2, "the carry, and the carry before each step");
    let fed = Feeds::new([
        ("x", Array::from([[0.1, 0.2, -0.3], [0.5, -0.4, 0.0]])),
        ("w", Array::from([[0.3, 0.1, 0.0], [-0.2, 0.4, 0.1], [0.0, 0.2, 0.5]])),
    ]);
    let run = |gradient: &[Tensor]| interpret(&Graph::capture(gradient, &[]), &fed).unwrap().fetches[0].to_vec::<f64>();
    for (a, b) in run(&kept).into_iter().zip(run(&again)) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn chance_is_the_same_there_and_back() {
    let w = placeholder("w", DType::F64, [6]);
    let (last, masks) = Scan::new().length(4).run(&[&zeros([6], DType::F64)], &[], |h, _| {
        let mask = random_uniform([6], DType::F64);
        (vec![&h[0] + &mask * &w], vec![mask])
    });
    let gradient = grad(&last[0].sum(), &[&w]).remove(0);
    let graph = Graph::capture([&gradient, &masks[0].sum_over(0)], &[]);
    let found = interpret(&graph, &Feeds::new([("w", Array::zeros(&[6], DType::F64))])).unwrap().fetches;
    assert_eq!(found[0].to_vec::<f64>(), found[1].to_vec::<f64>());
}

#[test]
fn forward_mode_goes_through_loops() {
    let mut draw = Draw::new(5);
    let x = constant(draw.array(&[3, 2], RANGE));
    let (h, v) = (constant(draw.array(&[2], RANGE)), constant(draw.array(&[2], RANGE)));
    let f = |h: &Tensor| scan(&[h], &[&x], |h, x| (vec![(&h[0] * &x[0]).sin()], vec![])).0.remove(0);
    let slope = jvp(&[&f(&h)], &[&h], &[&v]).remove(0);
    let step = 1e-6;
    let moved = |by: f64| f(&(&h + &v * by));
    let difference = (moved(step) - moved(-step)) / (2.0 * step);
    let error = (slope - difference).abs().max_over(0);
    assert!(thalweg_graph::reference::evaluate(&error).unwrap().item().unwrap() < 1e-8);
}

#[test]
fn many_steps_agree_with_differences() {
    let mut draw = Draw::new(6);
    let inputs = [draw.array(&[40, 3, 2], RANGE), draw.array(&[2, 8], RANGE), draw.array(&[2, 8], RANGE)];
    let f = |x: &[Tensor]| lstm(&x[0], &zeros([3, 2], DType::F64), &x[1], &x[2]).sum();
    check_gradients(f, &inputs, &CheckOptions::default()).unwrap();
}
