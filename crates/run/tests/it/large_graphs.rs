//! Graphs of a hundred thousand nodes: built, differentiated, compiled, run and dropped in linear time on a thread with
//! a small stack. `THALWEG_LARGE_GRAPH` sets another number of nodes.

use thalweg_run::graph::{Array, DType, Tensor, Update, Variable, grad, placeholder};
use thalweg_run::{Session, feeds};

fn size() -> usize {
    std::env::var("THALWEG_LARGE_GRAPH").ok().map_or(100_000, |text| text.parse().expect("a number of nodes"))
}

/// Runs `body` where recursion over the nodes would overflow.
fn on_a_small_stack(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(body).unwrap().join().unwrap();
}

/// Two threads are enough, and no more plans than needed are alive.
fn session() -> Session {
    Session::builder().threads(2).build().unwrap()
}

#[test]
fn a_chain_of_elementwise_ops() {
    on_a_small_stack(|| {
        let n = size();
        let x = placeholder("x", DType::F32, ["n"]);
        let mut y = x.clone();
        for _ in 0..n {
            y = y.sin();
        }
        let gradient = grad(&y.sum(), &[&x]).remove(0);
        let (y, gradient) = session().run((&y, &gradient), feeds! { x => [0.0f32, 1.0] }).unwrap();
        assert_eq!(y.to_vec::<f32>()[0], 0.0);
        // sin(sin(… 1)) falls like √(3/n).
        let expected = (3.0 / n as f32).sqrt();
        assert!((y.to_vec::<f32>()[1] - expected).abs() < 0.01 * expected, "{y:?}");
        assert_eq!(gradient.to_vec::<f32>()[0], 1.0);
    });
}

#[test]
fn a_chain_of_products() {
    on_a_small_stack(|| {
        let layers = size() / 20;
        let x = placeholder("x", DType::F32, ("batch", 2));
        // A quarter turn: four of them are none.
        let w = Variable::new("w", Array::from([[0.0f32, 1.0], [-1.0, 0.0]]));
        let b = Variable::new("b", Array::from([0.0f32, 0.0]));
        let mut h = x.clone();
        for _ in 0..layers / 4 * 4 {
            h = (h.matmul(&w) + &b).clamp(-2.0, 2.0);
        }
        let gradient = grad(&h.sum(), &[&x]).remove(0);
        let (h, gradient) = session().run((&h, &gradient), feeds! { x => [[1.0f32, 0.5]] }).unwrap();
        assert_eq!(h, Array::from([[1.0f32, 0.5]]));
        assert_eq!(gradient, Array::from([[1.0f32, 1.0]]));
    });
}

#[test]
fn thousands_of_variables_are_trained() {
    on_a_small_stack(|| {
        let n = size() / 20;
        let x = placeholder("x", DType::F32, [2]);
        let variables: Vec<Variable> =
            (0..n).map(|i| Variable::new(format!("w{i}"), Array::full(&[2], DType::F32, 1.0 / n as f64))).collect();
        let mut total = x.zeros_like();
        for variable in &variables {
            total = total + &x * &**variable;
        }
        let wrt: Vec<&Tensor> = variables.iter().map(|variable| variable.tensor()).collect();
        let gradients = grad(&total.sum(), &wrt);
        let updates: Vec<Update> = variables
            .iter()
            .zip(gradients)
            .map(|(variable, gradient)| variable.assign(&(&**variable - gradient)))
            .collect();
        let session = session();
        let (total, _) = session.run((&total, &updates), feeds! { x => [1.0f32, 2.0] }).unwrap();
        assert!((total.to_vec::<f32>()[0] - 1.0).abs() < 1e-3, "{total:?}");
        let last = session.read(&variables[n - 1]).unwrap().to_vec::<f32>();
        assert!((last[1] + 2.0).abs() < 1e-3, "{last:?}");
        assert_eq!(session.state().unwrap().variables.len(), n);
    });
}

#[test]
fn a_chain_of_many_kinds_of_op() {
    on_a_small_stack(|| {
        let rounds = size() / 100;
        let x = placeholder("x", DType::F32, (2, 3));
        let order = thalweg_run::graph::constant([2i64, 0, 1]);
        let mut y = x.clone();
        for _ in 0..rounds {
            y = (&y + &y) * 0.5;
            y = y.reshape([3, 2]).t().flatten(0).reshape([2, 3]);
            y = &y - y.mean_over(1).unsqueeze(1);
            y = Tensor::concat(&[&y.slice(1, 1..), &y.slice(1, ..1)], 1).flip(1);
            y = y.gather(&order, 1).softmax(-1).greater(0.3).select(&y, &(-&y));
            y = y.pad(1, 1, 0, 0.0).cum_sum(1).slice(1, 1..).tanh();
        }
        let gradient = grad(&y.sum(), &[&x]).remove(0);
        let fed = Array::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 7.0]]);
        let results = session().run((&y, &gradient), feeds! { x => &fed }).unwrap();
        for array in [results.0, results.1] {
            assert!(array.shape() == [2, 3] && array.to_vec::<f32>().iter().all(|x| x.is_finite()), "{array:?}");
        }
    });
}

#[test]
fn variables_that_change_places() {
    on_a_small_stack(|| {
        let n = size() / 50;
        let variables: Vec<Variable> = (0..n).map(|i| Variable::new(format!("w{i}"), i as f64)).collect();
        // Each waits for its partner to read it.
        let updates: Vec<Update> = (0..n / 2 * 2).map(|i| variables[i].assign(&variables[i ^ 1])).collect();
        let session = session();
        session.run(&updates, feeds! {}).unwrap();
        for i in [0, 1, n / 4 * 2, n / 2 * 2 - 1] {
            assert_eq!(session.read(&variables[i]).unwrap().item().unwrap(), (i ^ 1) as f64);
        }
    });
}
