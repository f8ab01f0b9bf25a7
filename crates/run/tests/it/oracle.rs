//! What a session computes against the reference interpreter, over the kinds of call and odd sizes.

use thalweg_run::graph::op::Vjp;
use thalweg_run::graph::ops::custom::{Custom, CustomOp};
use thalweg_run::graph::reference::{self, interpret};
use thalweg_run::graph::{Array, Bindings, DType, Graph, Meta, ShapeError, Tensor, grad, placeholder, random_normal};
use thalweg_run::{Feeds, Session};

/// Numbers that are small, of both signs and different.
fn numbers(shape: &[usize], dtype: DType) -> Array {
    let count = shape.iter().product::<usize>();
    let values: Vec<f64> = (0..count).map(|i| ((i * 37 + 11) % 101) as f64 / 50.0 - 1.0).collect();
    let values = if dtype.is_float() { values } else { values.iter().map(|x| (x * 10.0).round()).collect() };
    Array::from(values).reshape(shape).unwrap().cast(dtype)
}

/// Holds a session's numbers against the interpreter's, with each name standing for each size.
#[track_caller]
fn check(build: impl Fn() -> (Vec<Tensor>, Vec<Tensor>)) {
    for (n, m) in [(1, 1), (3, 5), (37, 2), (2, 1100), (260, 33), (0, 4)] {
        let (placeholders, fetches) = build();
        let bindings = Bindings::from_iter([("n", n), ("m", m)]);
        let mut feeds = Feeds::new();
        let mut expected = reference::Feeds { seed: 3, ..Default::default() };
        for placeholder in &placeholders {
            let shape = placeholder.shape().evaluate(&bindings).unwrap();
            let array = numbers(&shape, placeholder.dtype());
            expected.placeholders.insert(placeholder.name().unwrap().to_string(), array.clone());
            feeds = feeds.with(placeholder, array);
        }
        let expected = interpret(&Graph::capture(&fetches, &[]), &expected).unwrap().fetches;
        let found = Session::builder().threads(2).seed(3).build().unwrap().run(&fetches, feeds).unwrap();
        for ((fetch, expected), found) in fetches.iter().zip(expected).zip(found) {
            assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{fetch:?}");
            let close =
                |(x, y): (f64, f64)| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance(x, fetch);
            let pairs = expected.to_vec::<f64>().into_iter().zip(found.to_vec::<f64>());
            if let Some((position, pair)) = pairs.enumerate().find(|(_, pair)| !close(*pair)) {
                panic!("{fetch:?} with n = {n}, m = {m}: at {position} expected and found are {pair:?}");
            }
        }
    }
}

fn tolerance(x: f64, fetch: &Tensor) -> f64 {
    let relative = match fetch.dtype() {
        DType::F64 => 1e-12,
        DType::F32 => 2e-5,
        DType::F16 => 2e-3,
        DType::BF16 => 1.6e-2,
        _ => 0.0,
    };
    relative * (1.0 + x.abs())
}

fn x(dtype: DType) -> Tensor {
    placeholder("x", dtype, ("n", "m"))
}

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

#[test]
fn elementwise_and_reductions() {
    for dtype in FLOATS {
        check(|| {
            let x = x(dtype);
            let y = (&x * 0.5 + 1.0).tanh() * &x;
            let fetches = vec![
                y.sum_over(-1),
                y.sum_over(0),
                y.sum(),
                y.softmax(-1),
                y.mean_over(0),
                y.sum_over(0).exp(),
                &y - y.sum_over(0),
                y.clone(),
            ];
            (vec![x], fetches)
        });
    }
}

/// Row values that become full ones without anything that varies along the columns.
#[test]
fn rows_repeated_and_computed_upon() {
    check(|| {
        let x = x(DType::F32);
        let repeated = |fold: Tensor| fold.unsqueeze(1).expand(("n", "m")).flip(1);
        let (sum, product) = (repeated(x.sum_over(1)), repeated((&x * 0.1).sum_over(1)));
        let fetches = vec![
            &sum * 0.1,
            &sum + &product,
            (&sum * 0.1).matmul(&x.t()),
            sum.greater(&product).select(&sum, &product).sum_over(0),
            (&sum * 0.1).sum_over(1),
            (&sum * 0.1).softmax(1) + &x,
        ];
        (vec![x], fetches)
    });
}

/// More numbers than constant folding looks at.
#[test]
fn one_number_everywhere() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::I64] {
        check(|| {
            let x = x(dtype);
            let ones = x.ones_like();
            let fetches = vec![
                ones.clone(),
                ones.sum_over(1),
                ones.sum_over(0),
                ones.sum(),
                ones.sum_over(1).unsqueeze(1).expand(("n", "m")).flip(1) * &ones,
                (&ones * &ones).cum_sum(1),
                ones.matmul(&ones.t()),
                ones.equal(&x).select(&ones, &ones).sum_over(1),
                ones.prod_over(1).unsqueeze(1) + &x,
            ];
            (vec![x], fetches)
        });
    }
}

#[test]
fn products_with_and_without_what_follows() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64] {
        check(|| {
            let a = placeholder("a", dtype, ("n", 7));
            let b = placeholder("b", dtype, (7, "m"));
            let c = placeholder("c", dtype, ["m"]);
            let product = a.matmul(&b);
            let mut fetches = vec![&product + &c, b.t().matmul(&a.t()), product.clone()];
            if dtype.is_float() {
                fetches.push((a.matmul(&b) * 0.1 + &c).tanh());
            }
            (vec![a, b, c], fetches)
        });
    }
}

#[test]
fn batches_of_products() {
    for dtype in [DType::F32, DType::BF16, DType::I32] {
        check(|| {
            let a = placeholder("a", dtype, (2, "n", 3));
            let b = placeholder("b", dtype, (2, 3, "m"));
            let product = a.matmul(&b);
            (vec![a.clone(), b.clone()], vec![product.clone(), &product + &product, a.matmul(&b)])
        });
    }
}

#[test]
fn movements() {
    for dtype in DType::ALL {
        check(|| {
            let x = x(dtype);
            let turned = x.t();
            let fetches = vec![
                turned.clone(),
                Tensor::concat(&[&turned, &turned], 1),
                Tensor::concat(&[&x, &x, &x], 0).flatten(0),
                x.expand((3, "n", "m")),
                x.flip(-1),
                x.slice_step(1, .., 2),
                x.flip(0).flatten(0),
                x.pad(1, 2, 1, 1),
            ];
            (vec![x], fetches)
        });
    }
}

#[test]
fn gradients() {
    check(|| {
        let a = placeholder("a", DType::F64, ("n", 4));
        let b = placeholder("b", DType::F64, (4, "m"));
        let c = placeholder("c", DType::F64, ["m"]);
        let loss = (a.matmul(&b) + &c).sigmoid().square().sum() + a.log_sum_exp(-1).sum();
        let gradients = grad(&loss, &[&a, &b, &c]);
        (vec![a, b, c], [vec![loss], gradients].concat())
    });
}

#[test]
fn random_numbers() {
    check(|| {
        let x = x(DType::F32);
        let noise = random_normal(("n", "m"), DType::F32);
        let dropped = x.dropout(0.3);
        (vec![x.clone()], vec![&x + &noise, noise.sum_over(0), dropped, noise])
    });
}

/// 1 − x, as a user would write it.
#[derive(Debug)]
struct OneMinus;

impl CustomOp for OneMinus {
    fn name(&self) -> &str {
        "one_minus"
    }
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        Ok(inputs[0].clone())
    }
    fn forward(&self, inputs: &[&Array]) -> Result<Array, String> {
        let x = inputs[0].to_vec::<f32>();
        if x.contains(&0.5) {
            return Err("0.5 is refused".into());
        }
        Array::new(inputs[0].shape(), x.iter().map(|x| 1.0 - x).collect()).map_err(|error| error.to_string())
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(-cx.cotangent)]
    }
}

#[test]
fn ops_of_users() {
    check(|| {
        let x = placeholder("x", DType::F32, ("n", 3));
        let y = Custom::new(OneMinus).apply(&[&(&x * 2.0 + 7.0)]);
        (vec![x], vec![&y * 3.0, y])
    });
    let x = placeholder("x", DType::F32, ["n"]);
    let y = Custom::new(OneMinus).apply(&[&x]);
    let message = Session::cpu().run(&y, thalweg_run::feeds! { x => [0.5f32] }).unwrap_err().to_string();
    assert!(message.contains("0.5 is refused") && message.contains("oracle.rs"), "{message}");
}

#[test]
fn picking_by_index_and_order() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::I64] {
        check(|| {
            let x = placeholder("x", dtype, (4, "m"));
            let rows = thalweg_run::graph::constant([3i64, 0, 0, 2]);
            let columns = thalweg_run::graph::constant([1i32, 1]);
            let picked = x.gather(&rows, 0);
            let fetches = vec![
                picked.clone(),
                x.scatter_add(&columns, &x.gather(&columns, 0), 0),
                x.take_along(&x.argsort(0), 0),
                x.argsort_descending(0),
                x.argmax(0),
                x.cum_sum(0),
                &picked + &picked,
            ];
            (vec![x], fetches)
        });
    }
}
