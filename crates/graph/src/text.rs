//! The text form of a graph: one line a node, read back by [`parse`].
//!
//! ```text
//! %x: f32[batch,4] = placeholder
//! %0: f32[] = constant 2.0
//! %1: f32[batch,4] = expand %0
//! %y: f32[batch,4] = mul %x %1
//! return %y
//! ```
//!
//! A line is name, dtype and shape, op, inputs, attributes as `key=json`. What the line says already (the shape of an
//! `expand`) is not said again.

use serde_json::{Map, Value};

use crate::op::Op;

/// What the op is called and its attributes, from its serialized form.
///
/// `{"unary": "exp"}` is `exp`; `{"unary": {"elu": {"alpha": 1.0}}}` is `elu` with an attribute;
/// `{"reduce": {"fold": "sum", "axes": [0]}}` is `sum` with an attribute.
pub fn split_op(op: &Op) -> (String, Map<String, Value>) {
    let bug = "an op serializes as one entry: a bug in Thalweg";
    let value = serde_json::to_value(op).expect(bug);
    let Value::Object(map) = value else { panic!("{bug}") };
    let (kind, body) = map.into_iter().next().expect(bug);
    match (kind.as_str(), body) {
        ("unary" | "binary", Value::String(name)) => (name, Map::new()),
        ("unary", Value::Object(map)) => match map.into_iter().next() {
            Some((name, Value::Object(attributes))) => (name, attributes),
            other => panic!("{bug}: {other:?}"),
        },
        ("reduce", Value::Object(mut attributes)) => match attributes.remove("fold") {
            Some(Value::String(name)) => (name, attributes),
            other => panic!("{bug}: {other:?}"),
        },
        (_, Value::Object(attributes)) => (kind, attributes),
        (_, Value::Null) => (kind, Map::new()),
        (_, other) => panic!("{bug}: {kind} {other:?}"),
    }
}
