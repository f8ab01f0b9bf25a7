//! What a step of a loop costs: a GRU forwards, its training gradients, and a step that does next to nothing.
//!
//! ```text
//! cargo run --release -p thalweg-run --example loop_bench
//! ```

use std::time::{Duration, Instant};

use thalweg_graph::ops::control::scan;
use thalweg_graph::{Array, DType, Tensor, Variable, grad, placeholder, random_normal, zeros};
use thalweg_run::{Session, feeds};

const BATCH: usize = 32;
const INPUT: usize = 64;
const HIDDEN: usize = 128;

/// h ← (1 − z) n + z h, gates as in Cho et al. 2014.
fn gru(x: &Tensor, w: &Variable, u: &Variable, v: &Variable) -> Tensor {
    let (_, outputs) = scan(&[&zeros((BATCH, HIDDEN), DType::F32)], &[x], |h, x| {
        let (of_x, of_h) = (x[0].matmul(w), h[0].matmul(u));
        let gate = |number: usize| of_x.slice(1, number * HIDDEN..(number + 1) * HIDDEN);
        let gate_h = |number: usize| of_h.slice(1, number * HIDDEN..(number + 1) * HIDDEN);
        let (z, r) = ((gate(0) + gate_h(0)).sigmoid(), (gate(1) + gate_h(1)).sigmoid());
        let n = (gate(2) + (&h[0] * r).matmul(v)).tanh();
        let next = (1.0 - &z) * n + z * &h[0];
        (vec![next.clone()], vec![next])
    });
    outputs[0].clone()
}

/// The best time of a run.
fn best(mut run: impl FnMut()) -> Duration {
    run();
    let time = |_| {
        let begin = Instant::now();
        run();
        begin.elapsed()
    };
    (0..20).map(time).min().unwrap_or_default()
}

fn main() {
    let weight = |name: &str, rows, columns| Variable::new(name, random_normal([rows, columns], DType::F32) * 0.1);
    let (w, u, v) = (weight("w", INPUT, 3 * HIDDEN), weight("u", HIDDEN, 2 * HIDDEN), weight("v", HIDDEN, HIDDEN));
    let x = placeholder("x", DType::F32, ("time", BATCH, INPUT));
    let states = gru(&x, &w, &u, &v);
    let gradients = grad(&states.square().mean(), &[&w, &u, &v]);
    let idle = scan(&[&zeros([4], DType::F32)], &[&x], |c, x| (vec![&c[0] + x[0].slice(0, 0..1).sum()], vec![])).0;
    for threads in [1, 2] {
        let session = Session::builder().threads(threads).build().expect("so many threads");
        for time in [10, 100] {
            let fed = Array::full(&[time, BATCH, INPUT], DType::F32, 0.5);
            let per_step = |fetches: &[Tensor]| {
                let took = best(|| drop(session.run(fetches, feeds! { x => &fed }).expect("it runs")));
                took.as_secs_f64() * 1e6 / time as f64
            };
            let compiled = session.compile_times(&gradients, feeds! { x => &fed }).expect("it compiles").total();
            println!(
                "{threads} threads, {time} steps: forwards {:.2} µs a step, gradients {:.2}, next to nothing {:.2}; compiled in {:.2} ms",
                per_step(std::slice::from_ref(&states)),
                per_step(&gradients),
                per_step(&idle),
                compiled.as_secs_f64() * 1e3
            );
        }
        if threads == 1 {
            let fed = Array::full(&[100, BATCH, INPUT], DType::F32, 0.5);
            println!("{}", session.profile(&gradients, feeds! { x => &fed }).expect("it runs").1);
            println!("{}", session.plan(&gradients, feeds! { x => &fed }).expect("it compiles"));
        }
    }
}
