//! Gradients where a function has a corner, a jump or equal candidates: what the documentation of the methods says.

use thalweg_graph::{Array, Tensor};

use crate::support::{assert_same, value_and_gradient};

#[test]
fn the_gradient_at_corners_is_as_documented() {
    type Case = (&'static str, fn(&Tensor) -> Tensor, &'static [f64], &'static [f64]);
    let cases: &[Case] = &[
        ("abs", |x| x.abs(), &[0.0, -0.0], &[0.0, 0.0]),
        ("sign", |x| x.sign() + x * 0.0, &[0.0], &[0.0]),
        ("floor", |x| x.floor() + x * 0.0, &[1.0], &[0.0]),
        ("relu", |x| x.relu(), &[0.0], &[0.0]),
        ("leaky_relu", |x| x.leaky_relu(0.1), &[0.0], &[1.0]),
        ("elu", |x| x.elu(0.5), &[0.0], &[1.0]),
        ("hard_tanh", |x| x.hard_tanh(), &[-1.0, 1.0], &[0.0, 0.0]),
        ("maximum of one tensor", |x| x.maximum(x), &[3.0], &[1.0]),
        ("maximum with an equal number", |x| x.maximum(3.0), &[3.0], &[0.5]),
        ("minimum with an equal number", |x| x.minimum(3.0), &[3.0], &[0.5]),
        ("clamp at its bounds", |x| x.clamp(0.0, 1.0), &[0.0, 1.0], &[0.5, 0.5]),
        ("max_over shares evenly", |x| x.max_over(..), &[2.0, 1.0, 2.0], &[0.5, 0.0, 0.5]),
        ("min_over shares evenly", |x| x.min_over(..), &[2.0, 2.0, 2.0, 2.0], &[0.25; 4]),
        ("top_k takes the first", |x| x.top_k(1, 0).0, &[2.0, 2.0], &[1.0, 0.0]),
        ("x % x", |x| x % x, &[3.0], &[0.0]),
        ("prod_over with one zero", |x| x.prod_over(..), &[0.0, 2.0, 3.0], &[6.0, 0.0, 0.0]),
        ("prod_over with two zeros", |x| x.prod_over(..), &[0.0, 0.0, 3.0], &[0.0, 0.0, 0.0]),
        ("norm_l2 at 0", |x| x.norm_l2(..), &[0.0, 0.0], &[0.0, 0.0]),
        ("norm_inf at 0", |x| x.norm_inf(..), &[0.0, 0.0], &[0.0, 0.0]),
        ("std of equal numbers", |x| x.std(.., 0), &[7.0, 7.0], &[0.0, 0.0]),
    ];
    for (what, f, x, expected) in cases {
        let (_, gradient) = value_and_gradient(f, Array::from(*x));
        assert_same(what, &gradient, expected);
    }
}
