//! Cells against figures of PyTorch 2 (f64, the same weights) and against differences; walks against others that must
//! give the same.

use thalweg_graph::passes::for_evaluation;
use thalweg_graph::reference::{Feeds, interpret};
use thalweg_graph::{Array, DType, Graph, Tensor, Variable, constant, grad, ones, placeholder, random_normal};

use super::*;
use crate::testing::{State, assert_close};
use crate::{Activation, Dropout, Init, Module};

/// sin(0.7 i + phase), the numbers that PyTorch was given.
fn wave(shape: &[usize], phase: f64) -> Array {
    let numbers: Vec<f64> = (0..shape.iter().product()).map(|i: usize| (0.7 * i as f64 + phase).sin()).collect();
    Array::new(shape, numbers).unwrap()
}

fn fetch(tensors: &[&Tensor]) -> Vec<Vec<f64>> {
    State::default().fetch(tensors, &[], &[])
}

/// Two rows of three steps through a cell of two units, with all that is fed and asked for a variable: what it gives, its last
/// state, and the gradients of a weighted sum with respect to x and `weights`.
fn against(cell: impl Cell, weights: &[&Variable], expected: &[&[f64]]) {
    let x = Variable::new("x", wave(&[2, 3, 2], 0.5));
    let layer = Recurrent::new(cell);
    let states: Vec<Tensor> =
        [0.6, 0.7].iter().zip(layer.states()).map(|(&phase, size)| constant(wave(&[2, size], phase))).collect();
    let (outputs, last) = layer.run(&x, Some(&states), None, &mut Forward::train());
    let mut loss = (&outputs * constant(wave(&[2, 3, 2], 0.8))).sum();
    if let Some(memory) = last.get(1) {
        loss = loss + (memory * constant(wave(&[2, 2], 0.9))).sum();
    }
    let wrt: Vec<&Tensor> = [&x].into_iter().chain(weights.iter().copied()).map(|variable| variable.tensor()).collect();
    let gradients = grad(&loss, &wrt);
    let asked: Vec<&Tensor> = [&outputs, &last[last.len() - 1]].into_iter().chain(&gradients).collect();
    for (found, expected) in fetch(&asked).iter().zip(expected) {
        assert_close(found, expected, 1e-9);
    }
}

fn weights(gates: usize) -> (Variable, Variable, Variable) {
    let new = |name, shape: &[usize], phase| Variable::new(name, wave(shape, phase));
    (new("w", &[2, 2 * gates], 0.1), new("u", &[2, 2 * gates], 0.2), new("b", &[2 * gates], 0.3))
}

#[test]
fn rnn_is_that_of_pytorch() {
    let (weight, recurrent, bias) = weights(1);
    let asked = [&weight, &recurrent, &bias].map(Variable::clone);
    let cell = Rnn { weight, recurrent, bias, activation: Activation::Tanh, norms: None };
    let outputs = [
        0.9819165663,
        0.9959474998,
        0.9701477704,
        0.9979821533,
        0.6139026186,
        0.9247086627,
        0.0327012433,
        0.4856632461,
        0.8516592717,
        0.9047974017,
        0.9837119968,
        0.9985571148,
    ];
    let last = [outputs[4], outputs[5], outputs[10], outputs[11]];
    let of_x = [
        0.0085994637,
        0.0326719753,
        0.0034232893,
        0.0376749285,
        -0.1227684602,
        -0.3823943376,
        -0.3106741767,
        -1.0960389927,
        0.1026689345,
        0.1460406867,
        0.0048727652,
        0.0340444551,
    ];
    let of_weight = [0.9589014686, 0.3171599277, 0.9511849839, 0.4225561086];
    let of_recurrent = [-0.9531233819, -0.4052671651, -0.5264879277, -0.1906565573];
    let of_bias = [-0.9878720976, -0.3000679024];
    let expected: [&[f64]; 6] = [&outputs, &last, &of_x, &of_weight, &of_recurrent, &of_bias];
    against(cell, &asked.each_ref(), &expected);
}

#[test]
fn gru_is_that_of_pytorch() {
    let (weight, recurrent, bias) = weights(3);
    let recurrent_bias = Variable::new("c", wave(&[6], 0.4));
    let asked = [&weight, &recurrent, &bias, &recurrent_bias].map(Variable::clone);
    let cell = Gru { weight, recurrent, bias, recurrent_bias, norms: None };
    let outputs = [
        0.5898589313,
        0.8907984523,
        0.5980063589,
        0.8031195331,
        0.5424000068,
        0.5347116385,
        0.763999783,
        0.1018006401,
        0.7292795278,
        -0.0142683586,
        0.7300832529,
        -0.063540065,
    ];
    let last = [outputs[4], outputs[5], outputs[10], outputs[11]];
    let of_x = [
        -0.0032966104,
        0.0706001945,
        -0.0285903658,
        -0.0278047131,
        -0.1865175657,
        -0.0600268046,
        0.1818155875,
        0.0595087045,
        0.1165234081,
        0.1866453751,
        0.023255259,
        0.0398084936,
    ];
    let of_weight = [
        0.0037016216,
        0.0034239838,
        -0.0300045813,
        -0.217490146,
        0.0213964181,
        -0.039313394,
        0.0112679879,
        -0.0079566603,
        0.0016871166,
        0.0923368162,
        0.119879907,
        0.0861816293,
    ];
    let of_recurrent = [
        0.0042075077,
        -0.0148241864,
        0.0132765243,
        0.2060272697,
        0.0462507652,
        0.0960422446,
        0.0036538835,
        -0.0019036826,
        -0.0293923502,
        -0.0750623723,
        0.0025926263,
        0.0045383253,
    ];
    let of_bias = [0.0061645372, -0.0188720656, 0.0038187234, 0.1795033489, 0.1287761548, 0.1437996869];
    let of_recurrent_bias = [0.0061645372, -0.0188720656, 0.0038187234, 0.1795033489, 0.0579330416, 0.1166164679];
    let expected: [&[f64]; 7] = [&outputs, &last, &of_x, &of_weight, &of_recurrent, &of_bias, &of_recurrent_bias];
    against(cell, &asked.each_ref(), &expected);
}

#[test]
fn lstm_is_that_of_pytorch() {
    let (weight, recurrent, bias) = weights(4);
    let asked = [&weight, &recurrent, &bias].map(Variable::clone);
    let cell = Lstm { weight, recurrent, bias, norms: None, memory_norm: None };
    let outputs = [
        0.0390171935,
        0.0090812958,
        0.0894030715,
        -0.0247646397,
        0.1206256174,
        -0.2417622777,
        0.1018235072,
        -0.1009784558,
        0.1026478309,
        -0.111958954,
        0.0581695908,
        -0.052458324,
    ];
    let memory = [0.3444597531, -0.5587685376, 0.7594244488, -1.0629412507];
    let of_x = [
        -0.0933506887,
        -0.0014640723,
        -0.0457144015,
        0.1225653048,
        -0.0523371857,
        0.3314432882,
        0.1253231767,
        0.2552246377,
        0.0906498059,
        0.3642137212,
        0.0213040233,
        0.0935241439,
    ];
    let of_weight = [
        0.2629480946,
        -0.0204787835,
        -0.0510405944,
        0.0108217526,
        -0.004264856,
        0.1428477485,
        0.1817255893,
        -0.0622838629,
        0.3564252897,
        0.0177571649,
        -0.1264172258,
        0.0298616699,
        0.050010676,
        0.1242052239,
        0.1809192174,
        -0.1662387742,
    ];
    let of_recurrent = [
        0.0386152095,
        -0.0453969602,
        0.088585971,
        0.0104811876,
        0.2719709055,
        0.1971956633,
        -0.0395196219,
        0.0166217756,
        0.0477320916,
        -0.0248703482,
        0.0232948145,
        0.0187053417,
        0.0373598724,
        0.1533248921,
        -0.0100084834,
        0.0235560674,
    ];
    let of_bias = [
        0.2480715375,
        -0.2187250396,
        0.3595306852,
        -0.0335468944,
        1.1843925613,
        0.8557660463,
        0.0436919691,
        0.0189138338,
    ];
    let expected: [&[f64]; 6] = [&outputs, &memory, &of_x, &of_weight, &of_recurrent, &of_bias];
    against(cell, &asked.each_ref(), &expected);
}

/// The layer that `make` makes, of f64 and with names.
fn built<M: Module>(make: impl FnOnce(&mut Init) -> M) -> M {
    let layer = make(&mut Init::new(7).dtype(DType::F64));
    layer.name_variables();
    layer
}

/// Stops the test unless the gradient of each parameter, and of the input, is what differences show.
#[track_caller]
fn assert_gradients_through_time(layer: &impl Recurrence) {
    let x = Variable::new("x", wave(&[2, 4, 3], 0.5));
    let mask = constant(Array::from([[true, true, true, true], [true, true, false, false]]));
    let states: Vec<Variable> = layer
        .states()
        .into_iter()
        .enumerate()
        .map(|(number, size)| Variable::new(format!("state{number}"), wave(&[2, size], 0.3 + number as f64)))
        .collect();
    let given: Vec<Tensor> = states.iter().map(|state| state.tensor().clone()).collect();
    let (outputs, last) = layer.run(&x, Some(&given), Some(&mask), &mut Forward::train());
    let weighted = |tensor: &Tensor, phase| {
        let sizes: Vec<usize> = tensor.shape().iter().map(|size| size.number().unwrap()).collect();
        (tensor * constant(wave(&sizes, phase))).sum()
    };
    let loss = last.iter().fold(weighted(&outputs, 0.2), |loss, last| loss + weighted(last, 1.1));
    let variables: Vec<Variable> = [x].into_iter().chain(states).chain(layer.parameters()).collect();
    let wrt: Vec<&Tensor> = variables.iter().map(|variable| variable.tensor()).collect();
    let gradients = grad(&loss, &wrt);
    let found = fetch(&gradients.iter().collect::<Vec<_>>());
    for (variable, gradient) in variables.iter().zip(found) {
        let start = State::default().read(variable);
        let direction: Vec<f64> = (0..start.len()).map(|i| (1.3 * i as f64 + 0.4).cos()).collect();
        let at = |step: f64| {
            let moved: Vec<f64> = start.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            let mut state = State::default();
            state.write(variable, Array::new(variable.core().shape(), moved).unwrap());
            state.fetch(&[&loss], &[], &[])[0][0]
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let name = variable.name();
        assert!((difference - slope).abs() <= 1e-7 * slope.abs().max(1.0), "{name}: {slope}, differences {difference}");
    }
}

#[test]
fn gradients_through_time_are_what_differences_show() {
    assert_gradients_through_time(&built(|init| Recurrent::rnn(init, 3, 4)));
    assert_gradients_through_time(&built(|init| {
        Recurrent::new(Rnn::new(init, 3, 4).activation(Activation::Softplus).normalized(init)).reversed()
    }));
    assert_gradients_through_time(&built(|init| Recurrent::gru(init, 3, 4)));
    assert_gradients_through_time(&built(|init| Recurrent::new(Gru::new(init, 3, 4).normalized(init)).reversed()));
    assert_gradients_through_time(&built(|init| Recurrent::lstm(init, 3, 4)));
    assert_gradients_through_time(&built(|init| Recurrent::new(Lstm::new(init, 3, 4).normalized(init))));
    assert_gradients_through_time(&built(|init| {
        Stacked::new(3, &[4, 2], |inputs, hidden| Bidirectional::new(|| Recurrent::gru(init, inputs, hidden)))
    }));
}

#[test]
fn padding_changes_nothing() {
    let x = constant(wave(&[2, 4, 3], 0.5));
    let mask = constant(Array::from([[true, true, false, false], [true; 4]]));
    let layers = built(|init| (Recurrent::lstm(init, 3, 2), Recurrent::gru(init, 3, 2).reversed()));
    for layer in [&layers.0 as &dyn Recurrence, &layers.1] {
        let (outputs, last) = layer.run(&x, None, Some(&mask), &mut Forward::infer());
        let (alone, last_alone) = layer.run(&x.slice(0, 0..1).slice(1, 0..2), None, None, &mut Forward::infer());
        let (full, last_full) = layer.run(&x.slice(0, 1..2), None, None, &mut Forward::infer());
        let found = fetch(&[&outputs, &alone, &full, &last[0], &last_alone[0], &last_full[0]]);
        assert_eq!(found[0], [&found[1][..], &[0.0; 4], &found[2]].concat());
        assert_eq!(found[3], [&found[4][..], &found[5]].concat());
    }
}

#[test]
fn both_ways_are_two_walks_and_stacks_are_one_after_the_other() {
    let x = constant(wave(&[2, 4, 3], 0.5));
    let stack = built(|init| {
        Stacked::new(3, &[2, 3], |inputs, hidden| Bidirectional::new(|| Recurrent::lstm(init, inputs, hidden)))
    });
    assert_eq!((stack.features(), stack.states()), (6, vec![2, 2, 2, 2, 3, 3, 3, 3]));
    let paths: Vec<String> = stack.variables().into_iter().map(|(path, _)| path).take(4).collect();
    let cell = "layers.0.forwards.cell";
    assert_eq!(paths[..3], ["weight", "recurrent", "bias"].map(|name| format!("{cell}.{name}")));
    assert_eq!(paths[3], "layers.0.backwards.cell.weight");

    let cx = &mut Forward::infer();
    let (outputs, last) = stack.run(&x, None, None, cx);
    let lower = stack.layers[0].forward(&x, cx);
    let upper = &stack.layers[1];
    let (there, last_there) = upper.forwards.run(&lower, None, None, cx);
    // A walk backwards is one forwards along what is turned around, turned around.
    let turned = Recurrent::new(upper.backwards.cell.clone());
    let (turned, _) = turned.run(&lower.flip([1]), None, None, cx);
    let expected = Tensor::concat(&[&there, &turned.flip([1])], -1);
    let found = fetch(&[&outputs, &expected, &last[4], &last_there[0]]);
    assert_eq!(found[0], found[1]);
    assert_eq!(found[2], found[3]);
}

#[test]
fn steps_one_by_one_are_a_walk() {
    let two = built(|init| Stacked::new(3, &[4, 2], |inputs, hidden| Recurrent::lstm(init, inputs, hidden)));
    let x = constant(wave(&[2, 5, 3], 0.4));
    let mut states: Vec<Tensor> = two.states().iter().map(|&size| constant(wave(&[2, size], 0.6))).collect();
    let (outputs, last) = two.run(&x, Some(&states), None, &mut Forward::infer());
    for time in 0..5 {
        let (output, after) = two.step(&x.index(1, time), &states, &mut Forward::infer());
        let [walked, stepped] = &fetch(&[&outputs.index(1, time), &output])[..] else { unreachable!() };
        assert_close(walked, stepped, 1e-12);
        states = after;
    }
    for (walked, stepped) in
        fetch(&last.iter().collect::<Vec<_>>()).iter().zip(fetch(&states.iter().collect::<Vec<_>>()))
    {
        assert_close(walked, &stepped, 1e-12);
    }
}

#[test]
fn batches_that_go_on_are_one_long_walk() {
    let layer = built(|init| Stateful { layer: Stacked::new(3, &[4, 2], |i, h| Recurrent::lstm(init, i, h)) });
    let x = placeholder("x", DType::F64, ("lanes", "time", 3));
    let mut cx = Forward::train();
    let outputs = layer.forward(&x, &mut cx);
    let names: Vec<&str> = cx.states().iter().map(|state| state.before.name().unwrap()).collect();
    assert_eq!(names, ["state:0", "state:1", "state:2", "state:3"]);

    let whole = wave(&[2, 6, 3], 0.5);
    let part = |steps: std::ops::Range<usize>| {
        let part = constant(whole.clone()).slice(1, steps.start..steps.end);
        thalweg_graph::reference::evaluate(&part).unwrap()
    };
    let mut carried: Vec<Array> = [4, 4, 2, 2].iter().map(|&size| Array::zeros(&[2, size], DType::F64)).collect();
    let fetches: Vec<&Tensor> = [&outputs].into_iter().chain(cx.states().iter().map(|state| &state.after)).collect();
    let graph = Graph::capture(fetches, &[]);
    let mut found = Vec::new();
    for steps in [0..2, 2..6] {
        let mut feeds = vec![("x", part(steps))];
        feeds.extend(names.iter().copied().zip(carried.iter().cloned()));
        let mut fetched = interpret(&graph, &Feeds::new(feeds)).unwrap().fetches;
        carried = fetched.split_off(1);
        found.push(fetched.remove(0));
    }
    let joined = Tensor::concat(&[&constant(found[0].clone()), &constant(found[1].clone())], 1);
    let long = layer.layer.forward(&constant(whole), &mut Forward::train());
    let compared = fetch(&[&joined, &long]);
    assert_eq!(compared[0], compared[1]);
}

/// What it sees of its state, which stays 1, and what it would write.
struct Looking;

impl Module for Looking {
    fn visit(&self, _: &mut crate::Path, _: &mut crate::Visitor<'_>) {}
}

impl Cell for Looking {
    fn states(&self) -> Vec<usize> {
        vec![40, 40, 40]
    }

    fn project(&self, x: &Tensor) -> Tensor {
        x.clone()
    }

    fn step(&self, now: &CellInput<'_>) -> Vec<Tensor> {
        let ones = now.states[0].ones_like();
        vec![ones.clone(), &now.states[1] * 2.0 + now.seen, &now.states[2] * 2.0 + now.update(ones)]
    }
}

#[test]
fn recurrent_dropout_is_the_same_in_all_steps_and_update_dropout_is_not() {
    let layer = Recurrent::new(Looking).recurrent_dropout(0.5).update_dropout(0.5);
    let x = constant(wave(&[3, 4, 1], 0.0));
    let begin = [ones([3, 40], DType::F64), ones([3, 40], DType::F64) * 0.0, ones([3, 40], DType::F64) * 0.0];
    let last = |cx: &mut Forward| layer.run(&x, Some(&begin), None, cx).1;
    // 2 in the steps in which the unit stayed: binary digits of which steps these were.
    let trained = last(&mut Forward::train());
    let found = fetch(&[&trained[1], &trained[2]]);
    let kept = found[0].iter().filter(|&&steps| steps == 30.0).count();
    assert!((30..90).contains(&kept) && found[0].iter().all(|&steps| steps == 0.0 || steps == 30.0), "{:?}", found[0]);
    let patterns: std::collections::BTreeSet<u64> = found[1].iter().map(|&steps| steps as u64).collect();
    assert!(patterns.len() > 10, "{patterns:?}");
    assert!(fetch(&last(&mut Forward::infer()).iter().collect::<Vec<_>>())[1..].concat().iter().all(|&x| x == 15.0));
    let evaluated = for_evaluation(Graph::capture([&trained[1], &trained[2]], &[])).unwrap();
    let evaluated = interpret(&evaluated, &Feeds::default()).unwrap().fetches;
    assert!(evaluated.iter().all(|last| last.to_vec::<f64>().iter().all(|&x| x == 15.0)));
}

#[test]
fn dropout_stands_between_layers_only() {
    let stack = built(|init| Stacked::new(3, &[4, 2], |i, h| Recurrent::rnn(init, i, h))).dropout(Dropout::new(0.5));
    let x = constant(wave(&[2, 4, 3], 0.5));
    let [dropped, whole] = [Forward::train(), Forward::infer()].map(|mut cx| stack.run(&x, None, None, &mut cx));
    let last_outputs = dropped.0.index(1, -1);
    let found = fetch(&[&dropped.0, &whole.0, &dropped.1[0], &whole.1[0], &last_outputs, &dropped.1[1]]);
    assert_ne!(found[0], found[1], "the upper layer sees dropout");
    assert_eq!(found[2], found[3], "the lower one does not");
    assert_eq!(found[4], found[5], "nor does who reads the upper one");
}

#[test]
fn gates_begin_orthogonal_and_memory_lasts() {
    let cell = built(|init| Lstm::new(init, 3, 5));
    let state = State::default();
    let recurrent = state.read(&cell.recurrent);
    for gate in 0..4 {
        for (row, other) in (0..5).flat_map(|row| (0..5).map(move |other| (row, other))) {
            let at = |row: usize, column: usize| recurrent[row * 20 + gate * 5 + column];
            let product: f64 = (0..5).map(|column| at(row, column) * at(other, column)).sum();
            assert!((product - f64::from(row == other)).abs() < 1e-12, "gate {gate}: {product}");
        }
    }
    assert_eq!(state.read(&cell.bias), [[0.0; 5], [1.0; 5], [0.0; 5], [0.0; 5]].concat());
    assert!(state.read(&cell.weight).iter().all(|w| w.abs() <= (6.0f64 / 8.0).sqrt()), "the fans are those of a gate");
}

/// The message with which `body` panics.
fn message(body: impl FnOnce() -> (Tensor, Vec<Tensor>) + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(body).expect_err("it must be refused");
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| panic!("the message is no text"))
}

#[test]
fn what_does_not_fit_is_refused() {
    let layer = || Init::build(1, |init| Stacked::new(3, &[4, 4], |i, h| Recurrent::lstm(init, i, h)));
    let x = || placeholder("x", DType::F32, ("n", "t", 3));
    let found = message(move || layer().run(&x().slice(2, 0..2), None, None, &mut Forward::infer()));
    assert!(
        found.starts_with("lstm: the last axis of x must have 3 features") && found.contains("tests.rs"),
        "{found}"
    );
    let found = message(move || layer().run(&x().sum_over(1), None, None, &mut Forward::infer()));
    assert!(found.starts_with("recurrent: x must have the axes batch, time and features"), "{found}");
    let mask = || placeholder("mask", DType::Bool, ("t", "n"));
    let found = message(move || layer().run(&x(), None, Some(&mask()), &mut Forward::infer()));
    assert!(found.starts_with("recurrent: the mask must be bool[n,t]"), "{found}");
    let found =
        message(move || layer().run(&x(), Some(&[random_normal(("n", 4), DType::F32)]), None, &mut Forward::infer()));
    assert!(found.starts_with("recurrent: there are 4 states, 1 are given"), "{found}");
    let states = || vec![random_normal(("n", 5), DType::F32); 4];
    let found = message(move || layer().run(&x(), Some(&states()), None, &mut Forward::infer()));
    assert!(found.starts_with("recurrent: state 0 must be f32[n,4]"), "{found}");
}
