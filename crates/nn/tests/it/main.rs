//! The crate as its users see it: a network of one's own, and mistakes that stop at the user's line.

use std::panic::catch_unwind;

use thalweg_graph::{DType, Tensor, Variable, placeholder};
use thalweg_nn::{Adam, Forward, Init, Layer, Linear, Mlp, Module, Path, Visitor, cross_entropy};

/// Embeddings that the output layer uses again: a module written by hand.
struct Tied {
    table: Variable,
}

impl Module for Tied {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        path.enter("table", |path| self.table.visit(path, visitor));
    }
}

#[derive(Module)]
struct Digits {
    hidden: (Linear, Linear),
    logits: Tied,
    again: Option<Variable>,
}

impl Digits {
    fn new(init: &mut Init) -> Digits {
        let table = init.variable(&[32, 10], thalweg_nn::Initializer::xavier_uniform());
        let hidden = (Linear::new(init, 784, 128), Linear::new(init, 128, 32));
        Digits { hidden, logits: Tied { table: table.clone() }, again: Some(table) }
    }

    fn forward(&self, image: &Tensor, cx: &mut Forward) -> Tensor {
        let h = self.hidden.0.forward(image, cx).relu();
        let h = self.hidden.1.forward(&h, cx).relu();
        h.matmul(&self.logits.table)
    }
}

fn image() -> Tensor {
    placeholder("image", DType::F32, ("batch", 784))
}

#[test]
fn a_network_of_ones_own_is_named_and_trained() {
    let digits = Init::build(42, Digits::new);
    let loss = cross_entropy(&digits.forward(&image(), &mut Forward::train()), &placeholder("y", DType::U8, ["batch"]));
    let step = Adam::new(1e-3).minimize(&loss);
    let names: Vec<&str> = step.gradients.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["hidden.0.bias", "hidden.0.weight", "hidden.1.bias", "hidden.1.weight", "logits.table"]);
    assert_eq!(step.updates.len(), 3 * names.len() + 1);
    assert_eq!(digits.parameter_count(), 784 * 128 + 128 + 128 * 32 + 32 + 32 * 10);
}

/// The message with which `body` panics.
fn message(body: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = catch_unwind(body).expect_err("it must be refused");
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| panic!("the message is no text"))
}

#[test]
fn misuse_stops_at_the_users_line() {
    let cases: [(&str, String); 4] = [
        (
            "must have 784 features",
            message(|| {
                let digits = Init::build(42, Digits::new);
                digits.forward(&placeholder("image", DType::F32, ("batch", 783)), &mut Forward::infer());
            }),
        ),
        (
            "must have 4 features",
            message(|| {
                let net = Init::build(1, |init| (Mlp::new(init, &[3, 5]), Mlp::new(init, &[4, 2])));
                net.forward(&placeholder("x", DType::F32, ("batch", 3)), &mut Forward::infer());
            }),
        ),
        (
            "labels must have the shape [batch]",
            message(|| {
                cross_entropy(&image(), &placeholder("labels", DType::I64, ("batch", 784)));
            }),
        ),
        (
            "adam: lr is -0.001",
            message(|| {
                let _ = Adam::new(-1e-3);
            }),
        ),
    ];
    for (expected, message) in cases {
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("main.rs:"), "{message}");
    }
}
