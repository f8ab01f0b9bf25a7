//! Zeros, infinities and NaN: IEEE results, forward and gradient, fixed here.

use thalweg_graph::{Array, Tensor};

use crate::support::{assert_same, value_and_gradient};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

type Case = (&'static str, fn(&Tensor) -> Tensor, &'static [f64], &'static [f64], &'static [f64]);

#[track_caller]
fn check(cases: &[Case]) {
    for (what, f, x, value, gradient) in cases {
        let found = value_and_gradient(f, Array::from(*x));
        assert_same(what, &found.0, value);
        assert_same(&format!("gradient of {what}"), &found.1, gradient);
    }
}

#[test]
fn functions_at_the_ends_of_their_domains() {
    check(&[
        ("log", |x| x.log(), &[0.0, -1.0, INF], &[-INF, NAN, INF], &[INF, -1.0, 0.0]),
        ("log1p", |x| x.log1p(), &[-1.0, -2.0], &[-INF, NAN], &[INF, -1.0]),
        ("1/x", |x| 1.0 / x, &[0.0, -0.0, INF], &[INF, -INF, 0.0], &[-INF, -INF, 0.0]),
        ("reciprocal", |x| x.reciprocal(), &[0.0, INF], &[INF, 0.0], &[-INF, 0.0]),
        ("x/0", |x| x / 0.0, &[1.0, -1.0, 0.0], &[INF, -INF, NAN], &[INF, INF, INF]),
        ("sqrt", |x| x.sqrt(), &[0.0, -1.0, INF], &[0.0, NAN, INF], &[INF, NAN, 0.0]),
        ("rsqrt", |x| x.rsqrt(), &[0.0, INF], &[INF, 0.0], &[-INF, 0.0]),
        ("exp", |x| x.exp(), &[1e4, -1e4, NAN], &[INF, 0.0, NAN], &[INF, 0.0, NAN]),
        ("x⁰", |x| x.pow(0.0), &[0.0, INF, NAN], &[1.0, 1.0, 1.0], &[0.0, 0.0, 0.0]),
        ("0ˣ", |x| x.scalar_like(0.0).expand(x.shape()).pow(x), &[0.0, 2.0, -1.0], &[1.0, 0.0, INF], &[0.0, 0.0, NAN]),
        ("√ of a negative by power", |x| x.pow(0.5), &[-1.0], &[NAN], &[NAN]),
        ("asin", |x| x.asin(), &[2.0], &[NAN], &[NAN]),
        ("x % 0", |x| x % 0.0, &[1.0], &[NAN], &[1.0]),
    ]);
}

#[test]
fn activations_saturate_without_nan() {
    check(&[
        ("sigmoid", |x| x.sigmoid(), &[1e4, -1e4], &[1.0, 0.0], &[0.0, 0.0]),
        ("tanh", |x| x.tanh(), &[1e4, -1e4], &[1.0, -1.0], &[0.0, 0.0]),
        ("softplus", |x| x.softplus(), &[1e4, -1e4], &[1e4, 0.0], &[1.0, 0.0]),
        ("gelu", |x| x.gelu(), &[1e4, -1e4], &[1e4, 0.0], &[1.0, 0.0]),
        ("gelu_tanh", |x| x.gelu_tanh(), &[1e4, -1e4], &[1e4, 0.0], &[1.0, 0.0]),
        ("silu", |x| x.silu(), &[1e4, -1e4], &[1e4, 0.0], &[1.0, 0.0]),
        ("elu", |x| x.elu(1.0), &[1e4, -1e4], &[1e4, -1.0], &[1.0, 0.0]),
        ("relu", |x| x.relu(), &[NAN, INF, -INF], &[NAN, INF, 0.0], &[0.0, 1.0, 0.0]),
    ]);
}

#[test]
fn softmax_and_its_kin_at_extremes() {
    check(&[
        ("softmax", |x| x.softmax(0).slice(0, ..1), &[1e4, -1e4], &[1.0], &[0.0, 0.0]),
        ("log_softmax", |x| x.log_softmax(0).slice(0, ..1), &[-1e4, 1e4], &[-2e4], &[1.0, -1.0]),
        ("log_softmax at 1e30", |x| x.log_softmax(0), &[1e30, 1e30], &[-std::f64::consts::LN_2; 2], &[0.0, 0.0]),
        ("log_sum_exp", |x| x.log_sum_exp(0), &[1e30, -1e30], &[1e30], &[1.0, 0.0]),
        // Nothing but −∞: the sum is 0, its logarithm −∞, and no share of it is defined.
        ("log_sum_exp of nothing", |x| x.log_sum_exp(0), &[-INF, -INF], &[-INF], &[NAN, NAN]),
        ("softmax of nothing", |x| x.softmax(0), &[-INF, -INF], &[NAN, NAN], &[NAN, NAN]),
        ("softmax with a masked class", |x| x.softmax(0), &[0.0, -INF], &[1.0, 0.0], &[0.0, 0.0]),
        ("variance", |x| x.variance(0, 0), &[1e30, 1e30], &[0.0], &[0.0, 0.0]),
    ]);
}

#[test]
fn nan_is_never_lost_among_extremes() {
    check(&[
        ("max_over", |x| x.max_over(0), &[1.0, NAN, 2.0], &[NAN], &[NAN, NAN, NAN]),
        ("min_over", |x| x.min_over(0), &[NAN, 1.0], &[NAN], &[NAN, NAN]),
        ("maximum", |x| x.maximum(1.0), &[NAN], &[NAN], &[0.0]),
        ("minimum", |x| x.minimum(1.0), &[NAN], &[NAN], &[0.0]),
    ]);
}

#[test]
fn means_of_nothing_are_nan_and_sums_zero() {
    let nothing = || Array::from(Vec::<f64>::new());
    assert_same("sum", &value_and_gradient(|x| x.sum(), nothing()).0, &[0.0]);
    assert_same("prod", &value_and_gradient(|x| x.prod_over(..), nothing()).0, &[1.0]);
    assert_same("mean", &value_and_gradient(|x| x.mean(), nothing()).0, &[NAN]);
    assert_same("variance", &value_and_gradient(|x| x.variance(.., 1), nothing()).0, &[NAN]);
    assert_same("softmax", &value_and_gradient(|x| x.softmax(0), nothing()).0, &[]);
    assert_same("log_sum_exp", &value_and_gradient(|x| x.log_sum_exp(0), nothing()).0, &[-INF]);
}
