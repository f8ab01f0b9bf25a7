//! Attention held against the figures of PyTorch 2 on the same numbers, and against differences.

use thalweg_graph::{Array, DType, Tensor, constant, placeholder};

use super::*;
use crate::testing::{State, assert_close, assert_gradients, numbers, waves};

fn queries_keys_values() -> [Tensor; 3] {
    [([2, 3, 2], 1), ([2, 4, 2], 2), ([2, 4, 3], 3)].map(|(shape, n)| constant(waves(n, &shape, 1.5)))
}

fn attend(attention: &Attention, mask: &Mask) -> Vec<f64> {
    let [q, k, v] = queries_keys_values();
    numbers(&attention.attend(&q, &k, &v, mask, &mut Forward::infer()).values)
}

fn present() -> Tensor {
    constant([[true, true, false, true], [false, true, true, false]])
}

fn built<M>(body: impl FnOnce(&mut Init) -> M) -> M {
    body(&mut Init::new(1).dtype(DType::F64))
}

/// The numbers of `y` where the variables of `module` are waves.
fn with_waves(module: &dyn Module, fetches: &[&Tensor]) -> Vec<Vec<f64>> {
    let mut state = State::default();
    state.make_waves(module);
    state.fetch(fetches, &[], &[])
}

#[test]
fn dot_products_are_those_of_pytorch() {
    let expected = [
        0.723553679,
        0.312455645,
        -0.148985236,
        0.812510808,
        0.39113767,
        -0.09598312,
        0.463860766,
        0.091304409,
        -0.288243334,
        0.920552583,
        0.559487675,
        -0.048950875,
        1.356427481,
        0.956328027,
        0.174781319,
        1.032990007,
        0.635678375,
        -0.015719367,
    ];
    assert_close(&attend(&Attention::ScaledDot, &Mask::none()), &expected, 1e-8);
    let expected = [
        0.891333363,
        0.47221486,
        -0.027657323,
        0.964730908,
        0.547347949,
        0.035243364,
        0.629821618,
        0.217901048,
        -0.226590026,
        1.10188502,
        0.710642078,
        0.018632929,
        1.446827131,
        1.054839408,
        0.24252674,
        1.223940159,
        0.817571856,
        0.087689213,
    ];
    assert_close(&attend(&Attention::Dot, &Mask::none()), &expected, 1e-8);
    let expected = [
        0.819393834,
        0.383661056,
        -0.11979283,
        0.868054332,
        0.432706801,
        -0.07844241,
        0.671390181,
        0.242508245,
        -0.231390562,
        -0.722932844,
        -0.868268537,
        -0.622406345,
        -0.695669509,
        -1.243444257,
        -1.230751842,
        -0.707107228,
        -1.08604773,
        -0.975534186,
    ];
    assert_close(&attend(&Attention::ScaledDot, &Mask::keys(&present())), &expected, 1e-8);
    let expected = [
        1.29481405,
        0.921561387,
        0.387929024,
        0.870362117,
        0.43194366,
        -0.08193838,
        0.478038514,
        0.073874772,
        -0.331769588,
        1.488105282,
        1.101595647,
        0.275592418,
        1.364614409,
        0.961094552,
        0.178174131,
        1.005676837,
        0.620830624,
        0.000639966,
    ];
    assert_close(&attend(&Attention::ScaledDot, &Mask::causal()), &expected, 1e-8);
}

#[test]
fn heads_are_those_of_pytorch() {
    let x = constant(waves(9, &[2, 3, 4], 1.0));
    let layer = built(|init| AttentionConfig::new(4, 2).build(init));
    let found = layer.attend(&x, &Mask::causal(), &mut Forward::infer());
    let found = with_waves(&layer, &[&found.values, &found.weights]);
    let expected = [
        0.23954852,
        0.381721122,
        0.375532311,
        0.22030762,
        0.221741527,
        0.330373276,
        0.315180178,
        0.178998178,
        0.378491686,
        0.31405691,
        0.168317785,
        -0.03249137,
        0.287097031,
        0.427225723,
        0.406564785,
        0.225218306,
        0.371526565,
        0.412260474,
        0.317955402,
        0.103703197,
        0.327786036,
        0.262869213,
        0.136818667,
        -0.030309934,
    ];
    assert_close(&found[0], &expected, 1e-8);
    let expected = [
        1.0,
        0.0,
        0.0,
        0.400952492,
        0.599047508,
        0.0,
        0.353199945,
        0.273261206,
        0.373538849,
        1.0,
        0.0,
        0.0,
        0.628738937,
        0.371261063,
        0.0,
        0.433913163,
        0.324748286,
        0.241338551,
        1.0,
        0.0,
        0.0,
        0.601703703,
        0.398296297,
        0.0,
        0.229647938,
        0.622972482,
        0.14737958,
        1.0,
        0.0,
        0.0,
        0.8423246,
        0.1576754,
        0.0,
        0.275427422,
        0.460127373,
        0.264445204,
    ];
    assert_close(&found[1], &expected, 1e-8);

    let grouped = built(|init| AttentionConfig::new(4, 4).key_heads(2).build(init));
    let y = grouped.forward(&x, &Mask::none(), &mut Forward::infer());
    let expected = [
        0.267017655,
        0.118955219,
        -0.033649472,
        -0.168082352,
        0.402621147,
        0.266914943,
        0.090308048,
        -0.102595743,
        0.519396619,
        0.438155002,
        0.275022068,
        0.045931234,
        0.374336063,
        0.254620449,
        0.08542361,
        -0.109476426,
        0.509203287,
        0.335510146,
        0.121384165,
        -0.103015197,
        0.379559323,
        0.261288512,
        0.093339913,
        -0.100872783,
    ];
    assert_close(&with_waves(&grouped, &[&y])[0], &expected, 1e-8);
}

#[test]
fn positions_are_those_of_the_papers() {
    let turned = Rotary::default().turn(&constant(waves(4, &[1, 3, 1, 4], 1.0)), &constant([0i64, 1, 2]));
    let expected = [
        0.33498815,
        -0.038397905,
        -0.424497969,
        -0.756802495,
        0.140427785,
        -0.978480054,
        -1.234747728,
        -0.402154969,
        -0.901422548,
        0.590985234,
        -0.284367831,
        0.986582624,
    ];
    assert_close(&numbers(&turned), &expected, 1e-8);
    let zeros = constant(Array::full(&[1, 3, 4], DType::F64, 0.0));
    let y = Positions::Sinusoidal.forward(&zeros, &mut Forward::infer());
    let expected = [
        0.0,
        1.0,
        0.0,
        1.0,
        0.841470985,
        0.540302306,
        0.009999833,
        0.99995,
        0.909297427,
        -0.416146837,
        0.019998667,
        0.999800007,
    ];
    assert_close(&numbers(&y), &expected, 1e-8);
}

#[test]
fn additive_scores_are_the_formula() {
    let additive = built(|init| Additive::new(init, 2, 3, 5));
    let (q, k) = (waves(1, &[1, 2, 2], 1.0), waves(2, &[1, 3, 3], 1.0));
    let attention = Attention::Additive(additive.clone());
    let found = attention.attend(
        &constant(q.clone()),
        &constant(k.clone()),
        &constant(k.clone()),
        &Mask::none(),
        &mut Forward::infer(),
    );
    let found = with_waves(&attention, &[&found.weights]).remove(0);
    let (w, b, u, v) = (waves(0, &[2, 5], 0.5), waves(1, &[5], 0.5), waves(2, &[3, 5], 0.5), waves(3, &[5], 0.5));
    let [q, k, w, b, u, v] = [q, k, w, b, u, v].map(|array| array.to_vec::<f64>());
    for i in 0..2 {
        let score = |j: usize| {
            let hidden = |h: usize| {
                let query: f64 = (0..2).map(|p| q[2 * i + p] * w[5 * p + h]).sum();
                let key: f64 = (0..3).map(|p| k[3 * j + p] * u[5 * p + h]).sum();
                (query + key + b[h]).tanh()
            };
            (0..5).map(|h| v[h] * hidden(h)).sum::<f64>().exp()
        };
        let sum: f64 = (0..3).map(score).sum();
        let expected: Vec<f64> = (0..3).map(|j| score(j) / sum).collect();
        assert_close(&found[3 * i..3 * i + 3], &expected, 1e-12);
    }
}

#[test]
fn a_query_that_may_look_at_nothing_gets_nothing() {
    let [q, k, v] = queries_keys_values();
    let mask = Mask::keys(&constant([[false; 4], [true, false, false, false]]));
    let found = Attention::ScaledDot.attend(&q, &k, &v, &mask, &mut Forward::infer());
    let (values, weights) = (numbers(&found.values), numbers(&found.weights));
    assert!(values[..9].iter().chain(&weights[..12]).all(|x| *x == 0.0), "{values:?} {weights:?}");
    assert_eq!(values[9..12], numbers(&v)[12..15]);
    let gradient = numbers(&thalweg_graph::grad(&found.values.square().sum(), &[&q])[0]);
    assert!(gradient.iter().all(|x| x.is_finite()), "{gradient:?}");
}

#[test]
fn gradients_of_attention() {
    let inputs = [waves(1, &[2, 3, 2], 1.0), waves(2, &[2, 4, 2], 1.0), waves(3, &[2, 4, 3], 1.0)];
    let additive = Attention::Additive(built(|init| Additive::new(init, 2, 2, 3)));
    for attention in [Attention::Dot, Attention::ScaledDot, additive] {
        for mask in [Mask::none(), Mask::causal(), Mask::causal().and(Mask::keys(&present()))] {
            let f = |x: &[Tensor]| {
                attention.attend(&x[0], &x[1], &x[2], &mask, &mut Forward::infer()).values.square().sum()
            };
            assert_gradients(f, &inputs);
        }
    }
}

#[test]
fn gradients_of_layers() {
    let x = || waves(9, &[2, 3, 8], 1.0);
    let grouped = built(|init| AttentionConfig::new(8, 4).key_heads(2).rotary(Rotary::default()).build(init));
    let mask = Mask::causal();
    assert_gradients(|x| grouped.forward(&x[0], &mask, &mut Forward::infer()).square().sum(), &[x()]);
    let cross = built(|init| AttentionConfig::new(8, 2).build_cross(init, 4));
    let f = |x: &[Tensor]| {
        let cx = &mut Forward::infer();
        let on = cross.keys_values(&x[1], cx);
        cross.forward(&x[0], &on, &Mask::none(), cx).square().sum()
    };
    assert_gradients(f, &[x(), waves(2, &[2, 5, 4], 1.0)]);
    let learned = built(|init| Positions::learned(init, 4, 8));
    for positions in [Positions::Sinusoidal, learned] {
        assert_gradients(|x| positions.forward(&x[0], &mut Forward::infer()).square().sum(), &[x()]);
    }
}

#[test]
fn weights_are_dropped_in_training_only() {
    let layer = Init::build(1, |init| AttentionConfig::new(8, 2).dropout(0.5).build(init));
    let x = constant(waves(9, &[2, 5, 8], 1.0).cast(DType::F32));
    let y = |mut cx: Forward| numbers(&layer.forward(&x, &Mask::none(), &mut cx));
    assert_eq!(y(Forward::infer()), y(Forward::infer()));
    assert_ne!(y(Forward::infer()), y(Forward::train()));
}

#[test]
#[should_panic(expected = "positions: x has 9 positions, the table 8")]
fn more_positions_than_learned_are_refused() {
    let positions = Init::build(1, |init| Positions::learned(init, 8, 4));
    positions.forward(&placeholder("x", DType::F32, ("batch", 9, 4)), &mut Forward::infer());
}

#[test]
#[should_panic(expected = "attention: queries and keys must have one width")]
fn queries_and_keys_of_two_widths_are_refused() {
    let [q, _, v] = queries_keys_values();
    Attention::Dot.attend(&q, &v, &v, &Mask::none(), &mut Forward::infer());
}

#[test]
#[should_panic(expected = "attention: there must be a value for each key")]
fn keys_without_values_are_refused() {
    let [q, k, _] = queries_keys_values();
    Attention::Dot.attend(&q, &k, &q, &Mask::none(), &mut Forward::infer());
}

#[test]
#[should_panic(expected = "attention: 10 features do not divide into 4 heads")]
fn heads_that_do_not_divide_are_refused() {
    AttentionConfig::new(10, 4);
}
