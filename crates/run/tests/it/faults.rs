//! What goes wrong changes nothing.

use std::sync::Arc;

use thalweg_run::graph::op::Vjp;
use thalweg_run::graph::ops::custom::{Custom, CustomOp};
use thalweg_run::graph::{
    Array, DType, Meta, ShapeError, Tensor, Update, Variable, grad, ones, placeholder, random_normal,
};
use thalweg_run::{RunError, Session, feeds};

#[test]
fn a_bad_index_names_op_position_index_and_bound_and_changes_nothing() {
    let table = Variable::new("table", Array::from([[1.0f32, 2.0], [3.0, 4.0]]));
    let words = placeholder("words", DType::I64, ["n"]);
    let counter = Variable::new("counter", 0.0);
    let rows = table.gather(&words, 0);
    let updates = [table.assign(&table.scatter_add(&words, &rows, 0)), counter.assign(&(&*counter + 1.0))];
    let session = Session::cpu();
    session.run(&updates, feeds! { words => [0i64, 1] }).unwrap();
    let before = session.state().unwrap();
    for bad in [2, -1] {
        let error = session.run((&rows, &updates), feeds! { words => [0i64, 1, bad] }).unwrap_err();
        let message = error.to_string();
        for part in ["gather", "faults.rs", "position 2", &format!("index {bad}"), "0..2"] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert_eq!(session.state().unwrap(), before);
    }
    session.run(&updates, feeds! { words => [0i64, 1] }).unwrap();
    assert_eq!((session.step(), session.read(&counter).unwrap().item().unwrap()), (2, 2.0));
}

#[test]
fn more_memory_than_there_is_is_refused_before_anything_runs() {
    let n = placeholder("n", DType::F32, ["n"]);
    let huge = (n.reshape(("n", 1)) * ones((1, 100 << 30), DType::F32)).named("huge");
    let session = Session::builder().memory_limit(16 << 30).build().unwrap();
    let error = session.run(&huge, feeds! { n => [1.0f32] }).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, RunError::TooLarge { .. }), "{message}");
    for part in ["huge", "400.0 GiB", "429496729600 bytes", "16.0 GiB"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// Panics on negative numbers.
#[derive(Debug)]
struct Panics;

impl CustomOp for Panics {
    fn name(&self) -> &str {
        "panics"
    }
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        Ok(inputs[0].clone())
    }
    fn forward(&self, inputs: &[&Array]) -> Result<Array, String> {
        assert!(inputs[0].to_vec::<f32>().iter().all(|&x| x >= 0.0), "below zero");
        Ok(inputs[0].clone())
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(cx.cotangent.clone())]
    }
}

#[test]
fn a_panic_in_a_run_is_an_error_and_the_session_goes_on() {
    let x = placeholder("x", DType::F32, ["n"]);
    let w = Variable::new("w", 1.0);
    let y = Custom::new(Panics).apply(&[&x]);
    let step = w.assign(&(&*w + y.sum()));
    let session = Session::cpu();
    let message = session.run(&step, feeds! { x => [-1.0f32] }).unwrap_err().to_string();
    for part in ["panics", "faults.rs", "below zero"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert_eq!((session.step(), session.read(&w).unwrap().item().unwrap()), (0, 1.0));
    session.run(&step, feeds! { x => [2.0f32] }).unwrap();
    assert_eq!((session.step(), session.read(&w).unwrap().item().unwrap()), (1, 3.0));
}

/// A network large enough that its work is shared.
fn network() -> (Tensor, Tensor, Vec<Update>, Vec<Variable>) {
    let x = placeholder("x", DType::F32, ("batch", 257));
    let sizes = [257, 190, 31];
    let mut parameters = Vec::new();
    let mut h = x.dropout(0.3);
    for layer in 0..2 {
        let initial = random_normal([sizes[layer], sizes[layer + 1]], DType::F32) * 0.1;
        let w = Variable::new(format!("w{layer}"), initial);
        let b = Variable::new(format!("b{layer}"), Array::zeros(&[sizes[layer + 1]], DType::F32));
        h = (h.matmul(&w) + &b).tanh();
        parameters.extend([w, b]);
    }
    let loss = h.log_softmax(-1).slice(1, 0..1).mean() * -1.0;
    let wrt: Vec<&Tensor> = parameters.iter().map(|parameter| parameter.tensor()).collect();
    let gradients = grad(&loss, &wrt);
    let updates = parameters.iter().zip(gradients).map(|(p, gradient)| p.assign(&(&**p - gradient * 0.5))).collect();
    (x, loss, updates, parameters)
}

fn image(batch: usize) -> Array {
    let numbers: Vec<f32> = (0..batch * 257).map(|i| ((i * 71) % 255) as f32 / 255.0).collect();
    Array::new(&[batch, 257], numbers).unwrap()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let train = |threads| {
        let (x, loss, updates, _) = network();
        let session = Session::builder().threads(threads).seed(11).build().unwrap();
        let mut losses = Vec::new();
        for batch in [300, 300, 37, 1] {
            let (loss, _) = session.run((&loss, &updates), feeds! { x => image(batch) }).unwrap();
            losses.push(loss.item().unwrap().to_bits());
        }
        (losses, session.state().unwrap())
    };
    let expected = train(1);
    for threads in [2, 3, 7] {
        assert_eq!(train(threads), expected, "{threads} threads");
    }
}

#[test]
fn a_row_is_the_same_whatever_batch_it_rides_in() {
    let (x, _, _, parameters) = network();
    let h = (x.matmul(&parameters[0]) + &parameters[1]).tanh();
    let session = Session::builder().threads(2).build().unwrap();
    let whole = session.run(&h, feeds! { x => image(64) }).unwrap();
    for batch in [1, 3, 17] {
        let part = session.run(&h, feeds! { x => image(64).rows(5..5 + batch) }).unwrap();
        assert_eq!(part, whole.rows(5..5 + batch), "a batch of {batch}");
    }
}

#[test]
fn runs_side_by_side_do_not_disturb_each_other() {
    let (x, _, _, parameters) = network();
    let h = (x.matmul(&parameters[0]) + &parameters[1]).tanh();
    let session = Arc::new(Session::builder().threads(3).build().unwrap());
    let expected: Vec<Array> = (1..5).map(|n| session.run(&h, feeds! { x => image(40 * n) }).unwrap()).collect();
    std::thread::scope(|scope| {
        for (n, expected) in (1..5).zip(&expected) {
            let (session, x, h) = (session.clone(), &x, &h);
            scope.spawn(move || {
                for _ in 0..25 {
                    assert_eq!(session.run(h, feeds! { x => image(40 * n) }).unwrap(), *expected);
                }
            });
        }
    });
}

#[test]
fn the_callers_denormals_are_left_alone() {
    use std::hint::black_box;
    let x = placeholder("x", DType::F32, ());
    let y = &x * 0.5;
    let tiny = Session::cpu().run(&y, feeds! { x => f32::MIN_POSITIVE }).unwrap();
    assert_eq!(tiny.item().unwrap(), 0.0, "flushed inside the run");
    assert_ne!(black_box(f32::MIN_POSITIVE) * black_box(0.5), 0.0);
}
