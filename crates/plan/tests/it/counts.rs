//! How many calls known programs become.

use thalweg_graph::{Array, Tensor, zeros};
use thalweg_graph::{Bindings, DType, Graph, Update, Variable, autodiff::grad, placeholder};
use thalweg_plan::{Cpu, Kernel, Plan, lower, verify};

fn plan(fetches: &[&Tensor], updates: &[Update]) -> Plan {
    let graph = Graph::capture(fetches.iter().copied(), updates);
    let plan = lower(&graph, &Bindings::new(), &Cpu { memory_limit: 1 << 40 }).unwrap();
    verify(&plan).unwrap();
    plan
}

fn variable(name: &str, shape: &[usize]) -> Variable {
    Variable::new(name, zeros(shape, DType::F32))
}

/// 784-128-32-10 with ReLU, softmax cross-entropy from one-hot targets, SGD.
fn mlp_step() -> Plan {
    let x = placeholder("x", DType::F32, [100, 784]);
    let t = placeholder("t", DType::F32, [100, 10]);
    let sizes = [784, 128, 32, 10];
    let mut parameters = Vec::new();
    let mut h = x;
    for layer in 0..3 {
        let w = variable(&format!("w{layer}"), &[sizes[layer], sizes[layer + 1]]);
        let b = variable(&format!("b{layer}"), &[sizes[layer + 1]]);
        h = h.matmul(&w) + &b;
        if layer < 2 {
            h = h.relu();
        }
        parameters.extend([w, b]);
    }
    let loss = (h.log_sum_exp(-1) - (&h * &t).sum_over(-1)).mean();
    let wrt: Vec<&Tensor> = parameters.iter().map(|p| p.tensor()).collect();
    let gradients = grad(&loss, &wrt);
    let updates: Vec<Update> = parameters.iter().zip(&gradients).map(|(p, g)| p.assign(&(p - g * 0.01))).collect();
    plan(&[&loss], &updates)
}

#[test]
fn a_training_step_is_few_calls() {
    let plan = mlp_step();
    let matmuls = plan.calls.iter().filter(|call| matches!(call.kernel, Kernel::MatMul(_))).count();
    assert_eq!(matmuls, 8);
    assert!(plan.calls.len() <= 18, "{plan}");
    let copies = plan.calls.iter().filter(|call| matches!(call.kernel, Kernel::Copy { .. })).count();
    assert_eq!(copies, 0, "{plan}");
}

#[test]
fn a_softmax_is_one_call() {
    let x = placeholder("x", DType::F32, [64, 1000]);
    let plan = plan(&[&x.softmax(-1)], &[]);
    assert_eq!(plan.calls.len(), 1, "{plan}");
}

#[test]
fn a_variable_that_is_written_and_read_is_one() {
    let (a, b) = (variable("a", &[]), variable("b", &[]));
    let plan = plan(&[], &[a.assign(&b), b.assign(&a)]);
    assert_eq!(plan.variables.len(), 2, "{plan}");
}

#[test]
fn constants_are_fetched() {
    let plan = plan(&[&thalweg_graph::constant(Array::from([1.0f32, 2.0]))], &[]);
    assert_eq!(plan.calls.len(), 1, "{plan}");
}
