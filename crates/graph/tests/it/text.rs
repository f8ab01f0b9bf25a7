//! The text form: every op goes there and back, and no text from anywhere panics or hangs.

use proptest::prelude::*;
use thalweg_graph::array::scalar::{Distribution, Unary};
use thalweg_graph::{
    Array, ConvOptions, DType, Graph, Tensor, Variable, constant, iota, passes, placeholder, random_normal, text,
    verify,
};

/// A graph with a node of every kind.
fn everything() -> Graph {
    let x = placeholder("x", DType::F32, ("n", 4));
    let at = placeholder("at", DType::I64, ["n"]);
    let w = Variable::new("dense1/weight", Array::from([[0.5f32; 3]; 4]));
    let filters = constant(Array::zeros(&[1, 1, 2], DType::F32));
    let seen = Variable::new("seen", 0.0);
    let hidden = thalweg_graph::scope("dense1", || x.matmul(&w).leaky_relu(0.01).dropout(0.5).named("hidden"));
    let logits = (&hidden + constant([1.0f32, f32::INFINITY, -0.0])).with_update(&seen, &hidden.mean());
    let picked = logits.log_softmax(1).take_along(&at.check_indices(3).unsqueeze(1), 1);
    let fetches: Vec<Tensor> = vec![
        -picked.mean(),
        logits.softmax(-1).stop_gradient(),
        logits.log_sum_exp(1).cast(DType::F16),
        hidden.gather(&at, 0).scatter_add(&at, &hidden, 0),
        hidden.swap_axes(0, 1).flip([0]).slice_step(1, .., 1).pad(0, 2, "n", f64::NEG_INFINITY),
        hidden.sort(1).cum_sum(0).max_over(1).maximum(2.0),
        hidden.argmax(1) + iota(["n"], 0, DType::I64),
        hidden.greater(0.0).logical_not().select(&hidden, f64::NAN),
        hidden.pow(3.0).variance(0, 0),
        random_normal(("2*n+1", 3), DType::F64).reshape(["6*n+3"]),
        constant([[1u8, 255]]) + constant(Array::zeros(&[1, 2], DType::U8)),
        constant(Array::full(&[40], DType::BF16, 0.1)),
        Tensor::concat(&[&hidden, &hidden], 0),
        hidden.windows(0, 3, 2, 1).overlap_add(0, "n", 2, 1),
        x.unsqueeze(1).conv1d(&filters, &ConvOptions::new().padding_around((1, 0)).dilation(2)),
        x.unsqueeze(1).conv_transpose1d(&filters, &ConvOptions::new().stride(2)),
    ];
    Graph::capture(&fetches, &[w.assign(&(&w * 0.9)), seen.assign(&hidden.sum())])
}

#[test]
fn every_op_goes_there_and_back() {
    let graph = everything();
    verify::verify(&graph).unwrap();
    let text = graph.to_string();
    let read = text::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_string(), text);
    verify::verify(&read).unwrap();
    for (written, read) in graph.nodes().zip(read.nodes()) {
        assert_eq!(written.op.label(), read.op.label());
        assert_eq!((&written.meta, &written.inputs, &written.scope), (&read.meta, &read.inputs, &read.scope));
    }
    for f in [Unary::Neg, Unary::Elu { alpha: thalweg_graph::array::Real(0.1) }, Unary::GeluTanh] {
        let op = thalweg_graph::ops::elementwise::ElementwiseUnary(f).into();
        let (name, attributes) = text::split_op(&op);
        assert_eq!(text::join_op(&name, attributes), Ok(op));
    }
    assert!(text.contains(&format!("distribution={:?}", format!("{:?}", Distribution::Normal).to_lowercase())));
}

#[test]
fn pictures_hold_every_op_once() {
    let graph = everything();
    let dot = graph.to_dot();
    assert!(dot.contains("label=\"dense1\"") && dot.contains("hidden\\ndropout rate=0.5\\nf32[n,3]"), "{dot}");
    assert!(dot.contains("update dense1/weight") && dot.contains("fetch 12"), "{dot}");
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
}

/// A place in the text and what happens there.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, String)>> {
    let inserted = prop_oneof![
        "[ -~]{0,12}",
        "[\\[\\]{}(),:=%@#\"\\\\]{1,4}",
        "[0-9]{1,24}",
        Just("\u{0}é𝒙".to_string()),
        Just("[0,0,0,0,0,0,0,0,0]".to_string()),
        Just("-1".to_string()),
        Just("%0".to_string()),
        Just("n*n*n+1/3".to_string()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, inserted), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_panics(edits in edits()) {
        let mut text: Vec<char> = everything().to_string().chars().collect();
        for (at, kind, insertion) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            let end = (at + insertion.chars().count()).min(text.len());
            match kind {
                0 => drop(text.splice(at..at, insertion.chars())),
                1 => drop(text.splice(at..end, insertion.chars())),
                2 => drop(text.drain(at..end)),
                // A piece of a line above, again.
                _ => {
                    let piece = text[at..end].to_vec();
                    text.splice(end..end, piece);
                }
            }
        }
        let text: String = text.into_iter().collect();
        match text::parse(&text) {
            Ok(graph) => {
                let written = graph.to_string();
                prop_assert_eq!(&text::parse(&written).unwrap().to_string(), &written);
                if verify::verify(&graph).is_ok() {
                    passes::optimize(graph, &passes::Options::default());
                }
            }
            Err(error) => prop_assert!(error.line >= 1 && error.column >= 1 && !error.reason.is_empty()),
        }
    }

    #[test]
    fn no_line_panics(
        op in prop::sample::select(vec![
            "add", "exp", "sum", "max", "matmul", "reshape", "permute", "expand", "gather", "scatter_add", "take_along",
            "concat", "slice", "pad", "flip", "arg_sort", "arg_reduce", "cum_sum", "softmax", "log_sum_exp",
            "layer_norm", "dropout", "select", "cast", "iota", "random", "size", "with_update", "check_indices",
            "constant", "variable", "placeholder", "custom",
        ]),
        inputs in "( %[xyi]){0,4}",
        meta in "(f32|i64|bool)\\[(n|3|0|1|)(,(2|n))?\\]",
        attributes in "( (axis=(0|1|9)|axes=\\[(0|1|1,0|0,0|9|)\\]|rate=(0.5|2)|eps=1e-5|max=true|descending=false|exclusive=true|reverse=true|size=\"n\"|dtype=\"f32\"|axes=\\[\\{\"start\":1,\"length\":\"n\",\"step\":(0|1|2)\\}\\]|axes=\\[\\{\"start\":1,\"size\":\"n\",\"step\":(0|1)\\}\\]|value=0.0|bound=\"n\"|distribution=\"normal\"|stream=1)){0,4}",
    ) {
        let text = format!(
            "%x: f32[n,2] = placeholder\n%y: f32[2,n] = placeholder\n%i: i64[n] = placeholder\n%z: {meta} = {op}{inputs}{attributes}\nreturn %z"
        );
        if let Ok(graph) = text::parse(&text) {
            prop_assert_eq!(text::parse(&graph.to_string()).unwrap().to_string(), graph.to_string());
        }
    }
}
