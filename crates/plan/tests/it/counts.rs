//! How many calls known programs become.

use thalweg_graph::{
    Array, AttentionOptions, Bindings, ConvOptions, DType, Graph, Tensor, Update, Variable, attention, autodiff::grad,
    iota, passes, placeholder, random_normal, random_uniform, zeros,
};
use thalweg_plan::{Buffer, Cpu, Kernel, Place, Plan, lower, verify};

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
fn parts_that_nobody_else_reads_are_written_side_by_side() {
    let (x, y) = (placeholder("x", DType::F32, [6, 8]), placeholder("y", DType::F32, [6, 8]));
    let common = (&x + &y).exp();
    let (a, b, c) = (&common * &y, common.tanh(), common.sigmoid());
    let all = Tensor::concat(&[&a, &b, &c], -1);
    let twice = plan(&[&all, &Tensor::concat(&[&b, &a], -1)], &[]);
    assert_eq!(twice.calls.len(), 1, "{twice}");
    assert!(matches!(&twice.calls[0].kernel, Kernel::Map(map) if map.outputs.len() == 5), "{twice}");
    assert_eq!(plan(&[&all.sum_over(1)], &[]).calls.len(), 2);
    let fetched = plan(&[&all, &b], &[]);
    assert_eq!(fetched.calls.len(), 2, "{fetched}");
    let matrix = placeholder("matrix", DType::F32, [8, 8]);
    let read = plan(&[&all, &b.matmul(&matrix)], &[]);
    assert_eq!(read.calls.len(), 3, "{read}");
    assert_eq!(plan(&[&Tensor::concat(&[&a, &b], 0)], &[]).calls.len(), 2, "rows one below the other are moved");
}

/// x normalised over everything but its channels, scaled and shifted.
fn normalized(x: &Tensor, name: &str, parameters: &mut Vec<Variable>) -> Tensor {
    let channels = x.size(1).number().unwrap();
    let [scale, shift] = ["scale", "shift"].map(|part| variable(&format!("{name}/{part}"), &[channels]));
    let per_channel = |v: &Tensor| v.reshape([channels, 1, 1]);
    let deviation = x - per_channel(&x.mean_over([0, 2, 3]));
    let root = (deviation.square().mean_over([0, 2, 3]) + 1e-5).rsqrt();
    let y = deviation * per_channel(&(root * &scale)) + per_channel(&shift);
    parameters.extend([scale, shift]);
    y
}

/// A step of a small residual network: a stem, a block of its width and one of twice that at half the resolution.
fn residual_step() -> Plan {
    let x = placeholder("x", DType::F32, [2, 3, 8, 8]);
    let t = placeholder("t", DType::F32, [2, 10]);
    let mut parameters: Vec<Variable> = Vec::new();
    let mut conv = |x: &Tensor, name: &str, outputs: usize, kernel: usize, stride: usize| {
        let w = variable(name, &[outputs, x.size(1).number().unwrap(), kernel, kernel]);
        let options = ConvOptions::new().stride(stride).padding(kernel / 2);
        let y = normalized(&x.conv2d(&w, &options), name, &mut parameters);
        parameters.push(w);
        y
    };
    let mut h = conv(&x, "stem", 16, 3, 1).relu();
    for (name, width, stride) in [("a", 16, 1), ("b", 32, 2)] {
        let inner = conv(&h, &format!("{name}1"), width, 3, stride).relu();
        let inner = conv(&inner, &format!("{name}2"), width, 3, 1);
        let shortcut = if stride == 1 { h.clone() } else { conv(&h, &format!("{name}3"), width, 1, stride) };
        h = (inner + shortcut).relu();
    }
    let w = variable("dense", &[32, 10]);
    let logits = h.mean_over([2, 3]).matmul(&w);
    parameters.push(w);
    let loss = (logits.log_sum_exp(-1) - (&logits * &t).sum_over(-1)).mean();
    let gradients = grad(&loss, &parameters.iter().map(|p| p.tensor()).collect::<Vec<_>>());
    let updates: Vec<Update> = parameters.iter().zip(&gradients).map(|(p, g)| p.assign(&(p - g * 0.01))).collect();
    let graph = passes::optimize(Graph::capture([&loss], &updates), &passes::Options::default());
    let plan = lower(&graph, &Bindings::new(), &Cpu { memory_limit: 1 << 40 }).unwrap();
    verify(&plan).unwrap();
    plan
}

#[test]
fn between_convolutions_nothing_is_transposed() {
    let plan = residual_step();
    let convolutions = plan.calls.iter().filter(|call| matches!(call.kernel, Kernel::Convolution(_))).count();
    // Six forward, six to weights, five to inputs.
    assert_eq!(convolutions, 17, "{plan}");
    // What is repeated for a fold is no transposition.
    let moves = |kernel: &Kernel| match kernel {
        Kernel::Copy { from, .. } if !from.strides.contains(&0) => Some(from.buffer),
        _ => None,
    };
    let moved: Vec<_> = plan.calls.iter().filter_map(|call| moves(&call.kernel)).collect();
    assert_eq!(moved.len(), 1, "{plan}");
    assert!(matches!(plan[moved[0]].place, Place::Feed(0)), "{plan}");
}

#[test]
fn what_follows_a_convolution_at_inference_is_its_epilogue() {
    let x = placeholder("x", DType::F32, [1, 16, 8, 8]);
    let conv = |x: &Tensor, name: &str| {
        let w = variable(name, &[16, 16, 3, 3]);
        let [scale, shift, mean, variance] =
            ["scale", "shift", "mean", "variance"].map(|part| variable(&format!("{name}/{part}"), &[16]));
        let y = x.conv2d(&w, &ConvOptions::new().padding(1));
        y.normalized_by(1, [&mean, &variance], [&scale, &shift], 1e-5)
    };
    let stem = conv(&x, "stem").relu();
    let y = (conv(&conv(&stem, "a").relu(), "b") + &stem).relu().adaptive_average_pool([1, 1]).flatten(1);
    let graph = passes::optimize(Graph::capture([&y], &[]), &passes::Options::default());
    let plan = lower(&graph, &Bindings::new(), &Cpu { memory_limit: 1 << 40 }).unwrap();
    verify(&plan).unwrap();
    // The picture is put in order, then per convolution the factors of its channels and itself, at last the mean.
    let large = plan.calls.iter().filter(|call| plan.cost(call).bytes > 1000);
    let names: Vec<&str> = large.map(|call| call.ops()).collect();
    let expected = [
        "permute",
        "convolution+sub+mul+add+relu",
        "convolution+sub+mul+add+relu",
        "convolution+sub+mul+add+relu",
        "sum",
    ];
    assert_eq!(names, expected, "{plan}");
}

#[test]
fn a_softmax_is_one_call() {
    let x = placeholder("x", DType::F32, [64, 1000]);
    let plan = plan(&[&x.softmax(-1)], &[]);
    assert_eq!(plan.calls.len(), 1, "{plan}");
}

#[test]
fn what_is_the_same_in_all_columns_is_copied_once_for_them() {
    let x = placeholder("x", DType::F32, [6, 5, 100]);
    // A part of each of the rows of `shifts`: over it, the first two axes are no single one.
    let shifts = placeholder("shifts", DType::F32, [6, 2, 5]).index(1, 1).reshape([6, 5, 1]);
    let y = (&x - &shifts).exp();
    let plan = plan(&[&(&y / &y.sum_over(-1).reshape([6, 5, 1])).sum_over([0, 1])], &[]);
    let copies = plan.calls.iter().filter_map(|call| match &call.kernel {
        Kernel::Copy { to, .. } => Some(plan[to.buffer].bytes()),
        _ => None,
    });
    assert_eq!(copies.collect::<Vec<_>>(), [6 * 5 * 4], "{plan}");
}

#[test]
fn a_label_says_which_column_it_is() {
    let is_asked = |dtype| {
        let x = placeholder("x", DType::F32, [6, 300]);
        let labels = placeholder("labels", dtype, [6]).reshape([6, 1]);
        let is_label = labels.equal(iota([6, 300], 1, dtype));
        plan(&[&is_label.select(&x, 0.0).sum_over(-1)], &[]).to_string().contains("is column")
    };
    assert!(is_asked(DType::I64) && is_asked(DType::I32) && !is_asked(DType::F32));
}

#[test]
fn attention_draws_what_it_drops_by_itself() {
    let x = variable("x", &[2, 70, 4, 8]).tensor().clone();
    let found = attention(&x, &x, &x, &AttentionOptions::new().causal(true).dropout(0.1));
    let gradient = grad(&found.square().sum(), &[&x]).remove(0);
    let plan = plan(&[&gradient], &[]);
    let attentions = plan.calls.iter().filter(|call| matches!(call.kernel, Kernel::Attention(_))).count();
    // Nothing has a number for each pair.
    let is_small = |buffer: &Buffer| buffer.bytes() < 4 * 2 * 4 * 70 * 70;
    assert!(attentions == 2 && plan.buffers.iter().all(is_small), "{plan}");
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

#[test]
fn normal_numbers_are_drawn_once_and_uniform_ones_by_all_who_read_them() {
    let drawn = |noise: Tensor, name: &str| {
        let x = placeholder("x", DType::F32, [8, 8]);
        let plan = plan(&[&((&noise * &x).matmul(&x).exp() * &noise)], &[]);
        assert_eq!(plan.calls.len(), 2, "{plan}");
        plan.to_string().matches(name).count()
    };
    assert_eq!(drawn(random_normal([8, 8], DType::F32), "normal"), 1);
    assert_eq!(drawn(random_uniform([8, 8], DType::F32), "uniform"), 2);
}
