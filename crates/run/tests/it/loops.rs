//! Loops through a session: the numbers of the interpreter, whatever is done in a step and however long they are.

use thalweg_graph::array::random::Philox;
use thalweg_graph::autodiff::try_grad;
use thalweg_graph::ops::control::{Scan, WhileLoop, cond, scan, while_loop};
use thalweg_graph::reference::{self, interpret};
use thalweg_graph::{
    Array, Bindings, DType, Graph, Tensor, constant, placeholder, random_normal, random_uniform, zeros,
};
use thalweg_run::{Feeds, Session, feeds};

fn numbers(shape: &[usize], seed: u64) -> Array {
    let generator = Philox::new(seed, 3);
    let count = shape.iter().product::<usize>() as u64;
    let elements: Vec<f64> = (0..count).map(|index| generator.uniform(index, 0) as f64 * 1.6 - 0.8).collect();
    Array::new(shape, elements).unwrap()
}

/// Runs what `build` makes of its placeholders with these lengths, and gradients of it, in f64.
#[track_caller]
fn hold(what: &str, build: &dyn Fn() -> (Vec<Tensor>, Vec<Tensor>)) {
    for time in [0, 1, 2, 7] {
        let (placeholders, mut fetches) = build();
        let loss = fetches.iter().map(|fetch| fetch.sin().sum()).reduce(|sum, next| sum + next).unwrap();
        let wrt: Vec<&Tensor> = placeholders.iter().collect();
        fetches.extend(try_grad(&loss, &wrt).unwrap_or_else(|error| panic!("{what}: {error}")));
        let bindings = Bindings::from_iter([("time", time), ("batch", 3)]);
        let mut expected = reference::Feeds { seed: 3, ..Default::default() };
        let mut feeds = Feeds::new();
        for (number, tensor) in placeholders.iter().enumerate() {
            let array = numbers(&tensor.shape().evaluate(&bindings).unwrap(), number as u64);
            expected.placeholders.insert(tensor.name().unwrap().to_string(), array.clone());
            feeds = feeds.with(tensor, array);
        }
        let expected = interpret(&Graph::capture(&fetches, &[]), &expected).unwrap().fetches;
        let session = Session::builder().threads(2).seed(3).build().unwrap();
        let plan = session.plan(&fetches, feeds.clone()).unwrap();
        let found = session.run(&fetches, feeds).unwrap();
        for (number, (expected, found)) in expected.iter().zip(&found).enumerate() {
            assert_eq!((expected.dtype(), expected.shape()), (found.dtype(), found.shape()));
            for (a, b) in expected.to_vec::<f64>().into_iter().zip(found.to_vec::<f64>()) {
                let close = (a - b).abs() <= 1e-11 * (1.0 + a.abs());
                assert!(close, "{what}, {time} steps, fetch {number}: {b} instead of {a}\n{plan}");
            }
        }
    }
}

fn p(name: &str, shape: impl thalweg_graph::IntoShape) -> Tensor {
    placeholder(name, DType::F64, shape)
}

/// hₜ = tanh(xₜ W + hₜ₋₁ U + b).
fn rnn(scan: Scan, x: &Tensor, h: &Tensor, w: &Tensor, u: &Tensor, b: &Tensor) -> (Tensor, Tensor) {
    let (last, outputs) = scan.run(&[h], &[x], |h, x| {
        let next = (x[0].matmul(w) + h[0].matmul(u) + b).tanh();
        (vec![next.clone()], vec![next])
    });
    (last[0].clone(), outputs[0].clone())
}

fn rnn_inputs() -> Vec<Tensor> {
    vec![p("x", ("time", "batch", 2)), p("h", ("batch", 5)), p("w", [2, 5]), p("u", [5, 5]), p("b", [5])]
}

#[test]
fn recurrent_cells() {
    hold("the last state", &|| {
        let i = rnn_inputs();
        let (last, _) = rnn(Scan::new(), &i[0], &i[1], &i[2], &i[3], &i[4]);
        (i, vec![last])
    });
    hold("all states, backwards", &|| {
        let i = rnn_inputs();
        let (_, all) = rnn(Scan::new().reverse(), &i[0], &i[1], &i[2], &i[3], &i[4]);
        (i, vec![all])
    });
    hold("two layers, last and all", &|| {
        let i = rnn_inputs();
        let (last, all) = rnn(Scan::new(), &i[0], &i[1], &i[2], &i[3], &i[4]);
        let (_, second) = rnn(Scan::new().reverse(), &all, &last, &i[3], &i[3].sin(), &i[4]);
        (i, vec![last, second, all])
    });
    hold("gates, batch first", &|| {
        let (x, h) = (p("x", ("batch", "time", 2)), p("h", ("batch", 4)));
        let (w, u) = (p("w", [2, 16]), p("u", [4, 16]));
        let (last, outputs) = scan(&[&h, &constant(2i64), &h.cos()], &[&x.permute(&[1, 0, 2])], |carry, x| {
            let gates = x[0].matmul(&w) + carry[0].matmul(&u);
            let gate = |number: usize| gates.slice(1, 4 * number..4 * number + 4);
            let c = gate(0).sigmoid() * &carry[2] + gate(1).sigmoid() * gate(2).tanh();
            let h = gate(3).sigmoid() * c.tanh() / carry[1].cast(DType::F64);
            (vec![h.clone(), &carry[1] + 1i64, c], vec![h.permute(&[1, 0])])
        });
        (vec![x, h, w, u], vec![outputs[0].clone(), last[2].clone()])
    });
    hold("a reset gate after the product", &|| {
        let (x, h) = (p("x", ("time", "batch", 12)), p("h", ("batch", 4)));
        let u = p("u", [4, 12]);
        let (_, outputs) = scan(&[&h], &[&x], |h, x| {
            let of_h = h[0].matmul(&u);
            let gate = |of: &Tensor, number: usize| of.slice(1, 4 * number..4 * number + 4);
            let [r, z] = [0, 1].map(|number| (gate(&x[0], number) + gate(&of_h, number)).sigmoid());
            let n = (gate(&x[0], 2) + r * gate(&of_h, 2)).tanh();
            let next = &n + z * (&h[0] - &n);
            (vec![next.clone()], vec![next])
        });
        (vec![x, h, u], vec![outputs[0].clone()])
    });
    hold("weights that are worth packing", &|| {
        let (x, h) = (p("x", ("time", 40, 6)), p("h", (40, 150)));
        let (w, u, b) = (p("w", [6, 150]), p("u", [150, 150]), p("b", [150]));
        // Small enough that rounding does not grow from step to step.
        let small = &u * 0.1;
        let (last, _) = rnn(Scan::new(), &x, &h, &w, &small, &b);
        let (_, all) = rnn(Scan::new().reverse(), &x, &last, &w, &small.t(), &b);
        (vec![x, h, w, u, b], vec![all])
    });
}

#[test]
fn carries_of_every_kind() {
    hold("carries that change places", &|| {
        let (x, a) = (p("x", ("time", 3)), p("a", [3]));
        let (last, outputs) = scan(&[&a, &a.sin(), &a.cos()], &[&x], |c, x| {
            (vec![c[1].clone(), &c[0] + &x[0], c[0].clone()], vec![c[0].clone(), c[2].clone(), c[0].clone()])
        });
        (vec![x, a], [last, outputs].concat())
    });
    hold("one number for two carries", &|| {
        let (x, a) = (p("x", ("time", 3)), p("a", [3]));
        let (last, outputs) = scan(&[&a, &a], &[&x], |c, x| {
            let next = (&c[0] * &c[1] + &x[0]).sin();
            (vec![next.clone(), next.clone()], vec![next.clone(), next])
        });
        (vec![x, a], [last, outputs].concat())
    });
    hold("what no step changes", &|| {
        let (x, a) = (p("x", ("time", 3)), p("a", [3]));
        let (last, outputs) = scan(&[&a, &x.sum_over(0)], &[&x], |c, x| {
            (vec![&c[0] * &x[0], c[1].clone()], vec![x[0].clone(), a.exp(), &c[1] * 2.0])
        });
        (vec![x, a], [last, outputs].concat())
    });
    hold("inputs that are looked at in another way", &|| {
        let (x, a) = (p("x", ("time", 4)), p("a", [4]));
        let other = Tensor::concat(&[&x.t(), &x.t()], 0).t();
        let (last, outputs) = scan(&[&a], &[&x.flip(0), &other, &a.expand(("time", 4)), &x.slice(1, 1..3)], |c, x| {
            let next = &c[0] + &x[0] * x[1].slice(0, 4..8) + &x[2] * x[3].sum();
            (vec![next.clone()], vec![next.flip(0)])
        });
        (vec![x, a], [last, outputs].concat())
    });
}

#[test]
fn loops_in_loops_and_chance() {
    hold("a loop in a loop", &|| {
        let (x, a, w) = (p("x", ("time", "batch", 4)), p("a", [4]), p("w", [4, 4]));
        let (last, outputs) = scan(&[&a], &[&x], |c, rows| {
            let (inner, steps) = scan(&[&c[0]], &[&rows[0]], |c, row| {
                let next = (c[0].matmul(&w) + &row[0]).tanh();
                (vec![next.clone()], vec![next])
            });
            (vec![&inner[0] * 0.5 + &c[0] * 0.5], vec![steps[0].mean_over(0)])
        });
        (vec![x, a, w], [last, outputs].concat())
    });
    hold("dropout", &|| {
        let (x, a) = (p("x", ("time", "batch", 8)), p("a", [8]));
        let mask = zeros([8], DType::F64) + 1.0;
        let mask = mask.dropout(0.5);
        let (last, outputs) = scan(&[&a.expand(("batch", 8))], &[&x], |c, x| {
            let next = (&c[0] * &mask + x[0].dropout(0.3)).tanh();
            (vec![next.clone()], vec![next.dropout(0.1)])
        });
        (vec![x, a], [last, outputs].concat())
    });
}

/// Random functions of what is there, all of one shape.
fn random_body(seed: u64, given: &[Tensor], w: &Tensor, results: usize) -> Vec<Tensor> {
    let generator = Philox::new(seed, 9);
    let mut thrown = 0;
    let mut below = |n: usize| {
        thrown += 1;
        (generator.uniform(thrown, 0) as f64 * n as f64) as usize
    };
    let mut pool = given.to_vec();
    for _ in 0..3 + below(12) {
        let x = pool[below(pool.len())].clone();
        let y = pool[below(pool.len())].clone();
        pool.push(match below(8) {
            0 => x.tanh(),
            1 => &x + &y,
            2 => (&x * &y).sin(),
            3 => x.matmul(w) * 0.3,
            4 => x.flip(1),
            5 => x.softmax(1) + &y,
            6 => x.greater(&y).select(&x, y.sigmoid()),
            _ => &x - x.mean_over(0).unsqueeze(0),
        });
    }
    (0..results).map(|_| pool[pool.len() - 1 - below(pool.len().min(5))].clone()).collect()
}

#[test]
fn random_bodies() {
    for seed in 0..25 {
        hold(&format!("body {seed}"), &|| {
            let (x, y) = (p("x", ("time", "batch", 4)), p("y", ("time", "batch", 4)));
            let (a, b, w) = (p("a", ("batch", 4)), p("b", ("batch", 4)), p("w", [4, 4]));
            let steps = if seed % 2 == 0 { Scan::new() } else { Scan::new().reverse() };
            let (last, outputs) = steps.run(&[&a, &b], &[&x, &y], |c, x| {
                let given = [c, x, std::slice::from_ref(&b)].concat();
                let mut results = random_body(seed, &given, &w, 4);
                let outputs = results.split_off(2);
                (results, outputs)
            });
            // Whatever the body is, all have a gradient.
            let all = &x * 0.1 + &y * 0.1;
            let rest = (&a + &b).matmul(&w);
            (vec![x, y, a, b, w], [last, outputs, vec![all, rest]].concat())
        });
    }
}

#[test]
fn an_index_out_of_bounds_stops_a_loop_and_names_the_line() {
    let (x, rows) = (p("x", [4, 2]), placeholder("rows", DType::I64, ["time"]));
    let (last, _) = scan(&[&zeros([2], DType::F64)], &[&rows], |c, row| (vec![&c[0] + x.gather(&row[0], 0)], vec![]));
    let session = Session::cpu();
    let fed = Array::new(&[4, 2], vec![1.0; 8]).unwrap();
    let sum = session.run(&last[0], feeds! { x => &fed, rows => [0i64, 3] }).unwrap();
    assert_eq!(sum.to_vec::<f64>(), [2.0, 2.0]);
    let message = session.run(&last[0], feeds! { x => &fed, rows => [0i64, 4] }).unwrap_err().to_string();
    assert!(message.contains("index 4") && message.contains("loops.rs"), "{message}");
}

#[test]
fn a_longer_loop_is_no_larger_plan() {
    let i = rnn_inputs();
    let (_, all) = rnn(Scan::new(), &i[0], &i[1], &i[2], &i[3], &i[4]);
    let gradients = try_grad(&all.square().sum(), &[&i[2], &i[3], &i[4]]).unwrap();
    let calls = |time: usize| {
        let session = Session::cpu();
        let shapes = [vec![time, 3, 2], vec![3, 5], vec![2, 5], vec![5, 5], vec![5]];
        let fed = i.iter().zip(&shapes).fold(Feeds::new(), |feeds, (i, shape)| feeds.with(i, numbers(shape, 1)));
        let plan = session.plan(&gradients, fed).unwrap();
        let text = plan.to_string();
        assert!(text.contains(&format!("loop of {time} steps")) && text.contains("    |   b"), "{text}");
        plan.calls.len()
    };
    assert_eq!(calls(2), calls(1000));
}

#[test]
fn while_loops_end_where_the_interpreter_ends_them() {
    let (x, w) = (p("x", ("batch", 4)), p("w", [4, 4]));
    let (limit_of, start) = (p("limit", ()), placeholder("n", DType::I64, ()));
    let norm = |x: &Tensor| x.square().sum();
    let turned = |loops: WhileLoop| {
        let zero = constant(0i64);
        let body = |c: &[Tensor]| vec![c[0].matmul(&w).tanh() * 0.9, &c[1] + 1];
        loops.run(&[&x, &zero], |c| norm(&c[0]).greater(&limit_of), body)
    };
    let halved = while_loop(&[&start], |n| n[0].greater(1), |n| vec![&n[0] / 2]);
    let mut fetches = turned(WhileLoop::new());
    fetches.extend(turned(WhileLoop::new().at_most(20)));
    fetches.extend(halved);
    fetches.extend(try_grad(&fetches[2].sum(), &[&x, &w]).unwrap());
    let session = Session::builder().threads(2).build().unwrap();
    let mut lengths = Vec::new();
    // One plan for all lengths; none, an odd and an even number of steps.
    for (limit, n) in [(1e9, 1i64), (1.0, 2), (0.3, 5), (0.02, 1000)] {
        let arrays = [("x", numbers(&[3, 4], 1)), ("w", numbers(&[4, 4], 2)), ("limit", Array::scalar(limit))];
        let mut expected = reference::Feeds { seed: 3, ..Default::default() };
        let mut feeds = Feeds::new().with(&start, Array::scalar(n));
        expected.placeholders.insert("n".into(), Array::scalar(n));
        for ((name, array), tensor) in arrays.into_iter().zip([&x, &w, &limit_of]) {
            expected.placeholders.insert(name.into(), array.clone());
            feeds = feeds.with(tensor, array);
        }
        let expected = interpret(&Graph::capture(&fetches, &[]), &expected).unwrap().fetches;
        let found = session.run(&fetches, feeds).unwrap();
        for (number, (expected, found)) in expected.iter().zip(&found).enumerate() {
            assert_eq!((expected.dtype(), expected.shape()), (found.dtype(), found.shape()));
            for (a, b) in expected.to_vec::<f64>().into_iter().zip(found.to_vec::<f64>()) {
                assert!((a - b).abs() <= 1e-11 * (1.0 + a.abs()), "limit {limit}, fetch {number}: {b} instead of {a}");
            }
        }
        assert_eq!(found[1], found[3], "the bounded loop takes as many");
        lengths.push(found[1].item().unwrap());
    }
    assert!(lengths[0] == 0.0 && lengths[1] > 0.0 && lengths.windows(2).all(|pair| pair[0] < pair[1]), "{lengths:?}");
}

#[test]
fn branches_and_bounded_loops_draw_the_numbers_of_the_interpreter() {
    let (x, which) = (p("x", [2, 5]), placeholder("which", DType::Bool, ()));
    let drop = |x: &Tensor| x * random_uniform([2, 5], DType::F64).less(0.5).cast(DType::F64);
    let branch = cond(&which, &[&x], |x| vec![drop(&x[0])], |x| vec![drop(&x[0]).exp()]);
    let norm = |x: &Tensor| x.square().sum();
    let walked = WhileLoop::new().at_most(6).run(
        &[&x],
        |x| norm(&x[0]).less(9.0),
        |x| vec![&x[0] + random_normal([2, 5], DType::F64)],
    );
    let mut fetches = vec![branch[0].clone(), walked[0].clone()];
    fetches.extend(try_grad(&(norm(&branch[0]) + norm(&walked[0])), &[&x]).unwrap());
    let given = numbers(&[2, 5], 4);
    let session = Session::builder().threads(2).seed(3).build().unwrap();
    for taken in [true, false] {
        let mut expected = reference::Feeds { seed: 3, ..Default::default() };
        expected.placeholders.insert("x".into(), given.clone());
        expected.placeholders.insert("which".into(), Array::scalar(taken));
        let expected = interpret(&Graph::capture(&fetches, &[]), &expected).unwrap().fetches;
        let found = session.run(&fetches, feeds! { x => &given, which => Array::scalar(taken) }).unwrap();
        for (expected, found) in expected.iter().zip(&found) {
            for (a, b) in expected.to_vec::<f64>().into_iter().zip(found.to_vec::<f64>()) {
                assert!((a - b).abs() <= 1e-11 * (1.0 + a.abs()), "{taken}: {b} instead of {a}");
            }
        }
    }
}

#[test]
fn a_branch_is_taken_or_not_in_one_plan() {
    let (x, w, which) = (p("x", [2, 3]), p("w", [3, 3]), placeholder("which", DType::Bool, ()));
    let found = cond(&which, &[&x, &w], |i| vec![i[0].matmul(&i[1]), i[0].sum()], |i| vec![i[0].exp(), i[1].sum()]);
    let mut fetches = found.clone();
    fetches.extend(try_grad(&(found[0].square().sum() + &found[1]), &[&x, &w]).unwrap());
    let session = Session::builder().threads(2).build().unwrap();
    let (xs, ws) = (numbers(&[2, 3], 1), numbers(&[3, 3], 2));
    for taken in [true, false, true] {
        let alone = if taken { [x.matmul(&w), x.sum()] } else { [x.exp(), w.sum()] };
        let mut expected = alone.to_vec();
        let loss = alone[0].square().sum() + &alone[1];
        expected
            .extend(thalweg_graph::autodiff::pull_back(&[(&loss, &loss.ones_like())], &[&x, &w]).into_iter().flatten());
        let found = session.run(&fetches, feeds! { which => taken, x => &xs, w => &ws }).unwrap();
        let expected = session.run(&expected, feeds! { x => &xs, w => &ws }).unwrap();
        assert_eq!(found, expected, "{taken}");
    }
}
