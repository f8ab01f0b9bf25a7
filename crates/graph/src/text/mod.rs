//! The text form of a graph: one line a node, written by `Display`, read back by [`parse`].
//!
//! ```text
//! %x: f32[batch,4] = placeholder
//! %0: f32[] = constant 2.0
//! %1: f32[batch,4] = expand %0
//! %y: f32[batch,4] = mul %x %1 @dense1
//! update %w <- %y
//! return %y
//! ```
//!
//! A line is name, dtype and shape, op, inputs, attributes as `key=json`, name scope. What the line says already (the
//! shape of an `expand`) is not said again. A node without a name is called by its position. Lines that begin with `#`
//! are comments.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `print` | writing |
//! | `parse` | reading text from anywhere: no text panics or hangs |
//! | `caption` | [`Graph::captions`](crate::Graph::captions): what stands in the boxes of pictures |
//! | `dot` | [`Graph::to_dot`](crate::Graph::to_dot): pictures |

use serde::Deserialize;
use serde::de::{DeserializeOwned, Visitor};
use serde_json::{Map, Value};
use thalweg_array::scalar::{Binary, Fold, Unary};

use crate::op::Op;

mod caption;
mod dot;
mod parse;
mod print;

pub use parse::{ParseError, parse, parse_beside};

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

/// The op of this name and these attributes: the inverse of [`split_op`].
///
/// # Errors
/// If no op is called so, or its attributes are others; the message says which.
pub fn join_op(name: &str, mut attributes: Map<String, Value>) -> Result<Op, String> {
    let given: Vec<String> = attributes.keys().cloned().collect();
    let is_fold = variants::<Fold>().contains(&name);
    // `max` of two tensors and `max` over axes share a name.
    let entry = if is_fold && (attributes.contains_key("axes") || !variants::<Binary>().contains(&name)) {
        attributes.insert("fold".into(), name.into());
        ("reduce", Value::Object(attributes))
    } else if variants::<Unary>().contains(&name) && attributes.is_empty() {
        ("unary", name.into())
    } else if variants::<Unary>().contains(&name) {
        ("unary", Value::Object(Map::from_iter([(name.to_string(), Value::Object(attributes))])))
    } else if variants::<Binary>().contains(&name) && attributes.is_empty() {
        ("binary", name.into())
    } else if names().any(|known| known == name) {
        (name, Value::Object(attributes))
    } else {
        return Err(match nearest(name, names()) {
            Some(near) => format!("there is no op `{name}`; did you mean `{near}`?"),
            None => format!("there is no op `{name}`"),
        });
    };
    let value = Value::Object(Map::from_iter([(entry.0.to_string(), entry.1)]));
    let op = Op::deserialize(value).map_err(|error| format!("{name}: {error}"))?;
    let known = split_op(&op).1;
    match given.iter().find(|key| !known.contains_key(*key)) {
        Some(key) => Err(format!("{name} has no attribute `{key}`")),
        None => Ok(op),
    }
}

/// What ops are called.
fn names() -> impl Iterator<Item = &'static str> {
    let own = variants::<Op>().iter().filter(|kind| !["unary", "binary", "reduce"].contains(kind));
    own.chain(variants::<Unary>()).chain(variants::<Binary>()).chain(variants::<Fold>()).copied()
}

/// The known name that takes the fewest changes, if it takes few: for messages about typos.
///
/// ```
/// use thalweg_graph::text::nearest;
/// assert_eq!(nearest("droput", ["shift", "dropout"]), Some("dropout"));
/// assert_eq!(nearest("momentum", ["shift", "dropout"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = name.chars().take(32).collect();
    let near = known.into_iter().map(|known| (distance(&word, known), known)).min()?;
    (near.0 <= 1 + word.len() / 4).then_some(near.1)
}

/// How many characters must be inserted, removed or replaced (Levenshtein 1966).
fn distance(word: &[char], known: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (i, b) in known.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &a) in word.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[word.len()]
}

/// The names of the variants of an enum, which its derived `Deserialize` tells.
fn variants<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask(&'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for &mut Ask {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("not an enum"))
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0 = variants;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }

    let mut ask = Ask(&[]);
    match T::deserialize(&mut ask) {
        Ok(_) => &[],
        Err(_) => ask.0,
    }
}

/// The attributes that an op's dtype and shape say already, so that the line does not say them twice.
fn implied(op: &str) -> &'static [&'static str] {
    match op {
        "placeholder" | "variable" | "random" | "iota" => &["dtype", "shape"],
        "reshape" | "expand" => &["shape"],
        "size" => &["dtype"],
        "cast" => &["to"],
        "output" => &["dtype", "shape"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_gets_the_nearest_name() {
        let message = |name: &str| join_op(name, Map::new()).unwrap_err();
        assert!(message("sofmax").contains("did you mean `softmax`?"), "{}", message("sofmax"));
        assert!(message("ad").contains("did you mean `add`?"), "{}", message("ad"));
        assert_eq!(message("quaternion"), "there is no op `quaternion`");
        assert_eq!(message("sum"), "sum: missing field `axes`");
        let unknown = Map::from_iter([("speed".to_string(), Value::from(3))]);
        assert_eq!(join_op("matmul", unknown).unwrap_err(), "matmul has no attribute `speed`");
    }
}
