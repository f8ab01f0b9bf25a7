//! Blocks held against the figures of PyTorch 2 on the same numbers, and against differences.

use thalweg_graph::{DType, Tensor, constant};

use super::*;
use crate::layer::Forward;
use crate::layer::attention::Mask;
use crate::testing::{State, assert_close, assert_gradients, waves};

fn config(place: NormPlace) -> TransformerConfig {
    TransformerConfig { norm: place, ..TransformerConfig::new(4, 2, 1).hidden(6) }
}

fn f64_init() -> Init {
    Init::new(1).dtype(DType::F64)
}

/// A block of waves on waves; of a decoder where there is a memory.
fn block(place: NormPlace, memory: Option<&Tensor>) -> Vec<f64> {
    let block = config(place).block(&mut f64_init(), memory.map(|_| 4));
    let cx = &mut Forward::infer();
    let on = memory.map(|memory| block.cross.as_ref().unwrap().attention.keys_values(memory, cx));
    let on = on.as_ref().map(|on| (on, Mask::none()));
    let x = constant(waves(9, &[2, 3, 4], 1.0));
    let y = block.forward(&x, &Mask::causal(), on.as_ref().map(|(on, mask)| (*on, mask)), cx);
    let mut state = State::default();
    state.make_waves(&block);
    state.fetch(&[&y], &[], &[]).remove(0)
}

#[test]
fn blocks_are_those_of_pytorch() {
    let expected = [
        0.444652975,
        0.847323256,
        1.082700953,
        1.122239919,
        1.477845044,
        1.327657769,
        0.854062403,
        0.15037507,
        0.041037097,
        -0.421546714,
        -0.752100686,
        -0.81703228,
        0.071336686,
        0.706658761,
        1.139430496,
        1.179138426,
        1.28136655,
        0.689433836,
        -0.150811173,
        -0.847209837,
        -0.446368867,
        0.06372472,
        0.688084975,
        1.007492008,
    ];
    assert_close(&block(NormPlace::Before, None), &expected, 1e-8);
    let expected = [
        0.083937983,
        -0.138984778,
        -0.608878573,
        -0.560743179,
        -0.623479983,
        -0.910389324,
        -0.467186648,
        0.55431492,
        -0.686200482,
        -1.077464324,
        -0.092863015,
        0.440233859,
        0.092137261,
        -0.137210369,
        -0.668747621,
        -0.521423975,
        -0.654244348,
        -0.964044236,
        -0.358623101,
        0.536429694,
        0.043504986,
        -0.092502691,
        -0.564008847,
        -0.597084389,
    ];
    assert_close(&block(NormPlace::After, None), &expected, 1e-8);
    let memory = constant(waves(8, &[2, 2, 4], 1.0));
    let expected = [
        0.221015389,
        0.578049891,
        0.827098099,
        0.929672232,
        1.230498547,
        1.02932724,
        0.588243327,
        -0.019722766,
        -0.250710185,
        -0.717850409,
        -0.980517342,
        -0.949505401,
        0.001529001,
        0.489671805,
        0.867622702,
        0.943700138,
        1.168871603,
        0.483516492,
        -0.354878858,
        -0.97984343,
        -0.525736878,
        -0.148917366,
        0.42856039,
        0.781787327,
    ];
    assert_close(&block(NormPlace::Before, Some(&memory)), &expected, 1e-8);
    let expected = [
        -0.40727427,
        -1.006398222,
        -0.48698656,
        0.281500552,
        -0.270664437,
        -0.220565648,
        -0.551250671,
        -1.167452429,
        -0.22633013,
        -0.224106773,
        -0.832418237,
        -0.975936083,
        -0.283472178,
        -1.043964484,
        -0.525613605,
        0.040713962,
        -0.237946518,
        -0.239834079,
        -0.672151428,
        -1.09647022,
        -0.274083011,
        -0.974920069,
        -0.708993427,
        0.114805151,
    ];
    assert_close(&block(NormPlace::After, Some(&memory)), &expected, 1e-8);
}

#[test]
fn gradients_of_encoder_and_decoder() {
    for place in [NormPlace::Before, NormPlace::After] {
        let config = TransformerConfig { norm: place, blocks: 2, ..config(place) };
        let model = config.build_encoder_decoder(&mut f64_init());
        let present = Mask::keys(&constant([[true, true], [true, false]]));
        let f = |x: &[Tensor]| model.forward(&x[0], &present, &x[1], &mut Forward::infer()).square().sum();
        assert_gradients(f, &[waves(1, &[2, 2, 4], 1.0), waves(2, &[2, 3, 4], 1.0)]);
    }
}

#[test]
#[should_panic(expected = "transformer: a decoder needs a memory to look at")]
fn a_decoder_without_a_memory_is_refused() {
    let decoder = TransformerConfig::new(4, 2, 1).build_decoder(&mut f64_init(), 4);
    decoder.forward(&constant(waves(9, &[2, 3, 4], 1.0)), &Mask::causal(), &mut Forward::infer());
}

#[test]
#[should_panic(expected = "transformer: an encoder has no part that looks at a memory")]
fn an_encoder_with_a_memory_is_refused() {
    let encoder = TransformerConfig::new(4, 2, 1).build(&mut f64_init());
    encoder.memory(&constant(waves(9, &[2, 3, 4], 1.0)), &Mask::none(), &mut Forward::infer());
}
