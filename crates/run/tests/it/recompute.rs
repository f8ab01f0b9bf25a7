//! Recomputation: the same training in less memory.

use thalweg_run::graph::autodiff::recompute;
use thalweg_run::graph::{Array, DType, Tensor, Update, Variable, grad, placeholder};
use thalweg_run::{Session, feeds};

const WIDTH: usize = 32;

/// A deep net of `parts` of four layers each with dropout and a counter, its loss and a step of gradient descent.
fn deep(x: &Tensor, parts: usize, again: bool) -> (Tensor, Vec<Variable>, Vec<Update>) {
    let mut variables = Vec::new();
    let counter = Variable::new("counter", Array::scalar(0.0f32));
    let mut y = x.clone();
    for part in 0..parts {
        let weights: Vec<Variable> = (0..4)
            .map(|layer| {
                let number = |i: usize| ((i * 37 + part * 11 + layer * 5) % 23) as f32 * 0.03 - 0.3;
                let value = Array::new(&[WIDTH, WIDTH], (0..WIDTH * WIDTH).map(number).collect()).unwrap();
                Variable::new(format!("w{part}.{layer}"), value)
            })
            .collect();
        let body = || {
            let y = weights.iter().fold(y.clone(), |y, w| y.matmul(w.tensor()).tanh().dropout(0.1));
            if part == 1 { y.with_update(&counter, &(&counter + 1.0)) } else { y }
        };
        y = if again { recompute(body) } else { body() };
        variables.extend(weights);
    }
    let loss = y.square().mean();
    let tensors: Vec<&Tensor> = variables.iter().map(Variable::tensor).collect();
    let gradients = grad(&loss, &tensors);
    let mut updates: Vec<Update> =
        variables.iter().zip(&gradients).map(|(w, slope)| w.assign(&(w.tensor() - slope * 0.05))).collect();
    updates.extend(thalweg_run::graph::updates_of([&loss]));
    (loss, variables, updates)
}

/// The bytes of the arena of a step, and the variables after three.
fn trained(parts: usize, again: bool) -> (usize, Vec<Array>) {
    let x = placeholder("x", DType::F32, ("batch", WIDTH));
    let (loss, variables, updates) = deep(&x, parts, again);
    let session = Session::builder().seed(7).build().unwrap();
    let fed = Array::new(&[256, WIDTH], (0..256 * WIDTH).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect()).unwrap();
    let bytes = session.plan((&loss, &updates), feeds! { x => &fed }).unwrap().arena_bytes;
    for _ in 0..3 {
        session.run((&loss, &updates), feeds! { x => &fed }).unwrap();
    }
    (bytes, variables.iter().map(|variable| session.read(variable).unwrap()).collect())
}

#[test]
fn training_is_the_same_to_the_bit_and_takes_less_memory() {
    let (kept, expected) = trained(8, false);
    let (recomputed, found) = trained(8, true);
    assert_eq!(found, expected);
    // 8 parts of 4 layers: what stays is an activation for each part and those of one part.
    assert!(recomputed * 2 < kept, "{recomputed} bytes instead of {kept}");
}

#[test]
fn memory_grows_with_the_parts_not_with_their_layers() {
    let [(small, _), (large, _)] = [4, 12].map(|parts| trained(parts, true));
    let activation = 256 * WIDTH * size_of::<f32>();
    assert!(large - small <= 8 * activation * 3 / 2, "{small} {large}");
}
