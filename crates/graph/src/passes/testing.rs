//! The one frame of every pass test: text before, text after, and both mean the same on random feeds.

use expect_test::Expect;
use thalweg_array::random::Philox;
use thalweg_array::{Array, Bindings, DType};

use super::{Options, Pass};
use crate::graph::Graph;
use crate::op::Op;
use crate::reference::{Feeds, interpret};
use crate::text::parse;
use crate::verify::verify;

/// Runs `pass` on the graph of this text and compares what comes out with the expected text, and what both compute.
#[track_caller]
pub(super) fn check(pass: Pass, before: &str, after: Expect) {
    let before = parse(before).unwrap_or_else(|error| panic!("{error}"));
    verify(&before).unwrap_or_else(|error| panic!("{error}"));
    let result = pass.run(before.clone(), &Options::default());
    verify(&result.value).unwrap_or_else(|error| panic!("after {}: {error}\n{}", pass.name, result.value));
    assert_eq!(result.changed, before.to_string() != result.value.to_string(), "`changed` must say the truth");
    same_meaning(&before, &result.value);
    // The orphans of a pass are no concern of its test.
    let cleaned = super::dead_code::drop_unused(result.value).value;
    after.assert_eq(&cleaned.to_string());
}

/// Interprets both graphs on the same random feeds and compares fetches and next values.
#[track_caller]
pub(super) fn same_meaning(before: &Graph, after: &Graph) {
    for seed in 0..3 {
        let feeds = random_feeds(before, seed);
        let expected = interpret(before, &feeds).unwrap_or_else(|error| panic!("before: {error}"));
        let found = interpret(after, &feeds).unwrap_or_else(|error| panic!("after: {error}\n{after}"));
        let pairs = expected.fetches.iter().zip(&found.fetches).chain(expected.updates.iter().zip(&found.updates));
        for (position, (expected, found)) in pairs.enumerate() {
            assert_eq!((expected.dtype(), expected.shape()), (found.dtype(), found.shape()));
            let tolerance = match expected.dtype() {
                DType::F64 => 1e-12,
                DType::F32 => 1e-5,
                DType::F16 | DType::BF16 => 1e-2,
                DType::I32 | DType::I64 | DType::U8 | DType::Bool => 0.0,
            };
            for (a, b) in expected.to_vec::<f64>().into_iter().zip(found.to_vec::<f64>()) {
                let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1.0 + a.abs());
                assert!(close, "root {position} was {a}, is {b}\n{before}\n{after}");
            }
        }
    }
}

/// Numbers for every placeholder and variable; the names of sizes get 2, 3, ….
fn random_feeds(graph: &Graph, seed: u64) -> Feeds {
    let mut feeds = Feeds { seed, ..Feeds::default() };
    let mut bindings = Bindings::new();
    let mut next = 2 + seed as usize;
    for (stream, node) in graph.nodes().enumerate() {
        for name in node.meta.shape.iter().flat_map(|size| size.names()) {
            if bindings.get(&name).is_none() {
                bindings.bind(&name, next).expect("the name is new");
                next += 1;
            }
        }
        let array = || {
            let shape = node.meta.shape.evaluate(&bindings).expect("all names are bound");
            random_array(&shape, node.meta.dtype, Philox::new(seed, stream as u64))
        };
        match &node.op {
            Op::Placeholder(placeholder) if !feeds.placeholders.contains_key(&*placeholder.name) => {
                feeds.placeholders.insert(placeholder.name.to_string(), array());
            }
            Op::Variable(read) => {
                feeds.variables.entry(read.variable().id()).or_insert_with(array);
            }
            _ => {}
        }
    }
    feeds
}

/// Normal numbers for floats, 0 or 1 for the others.
fn random_array(shape: &[usize], dtype: DType, generator: Philox) -> Array {
    let count = shape.iter().product::<usize>() as u64;
    let draw = |index| generator.normal(index, 0);
    let numbers: Vec<f64> = if dtype.is_float() {
        (0..count).map(draw).collect()
    } else {
        (0..count).map(|index| f64::from(draw(index) > 0.0)).collect()
    };
    Array::new(shape, numbers).expect("the count is that of the shape").cast(dtype)
}
