//! What is fed against what the graph expects: every placeholder once, dtypes and sizes that fit, one number per name.

use std::collections::BTreeMap;

use smallvec::SmallVec;
use thalweg_plan::graph::array::array::byte_count;
use thalweg_plan::graph::ops::source::Placeholder;
use thalweg_plan::graph::{Bindings, DType, Graph, Meta, Scalar, Size};

use crate::error::{RunError, sized};
use crate::feed::{FeedName, Feeds, Value};

/// Holds `feeds` against the placeholders of `graph`; gives the numbers of the names.
pub(crate) fn bind(graph: &Graph, feeds: &Feeds<'_>) -> Result<Bindings, RunError> {
    let mut expected: BTreeMap<&str, Vec<&Placeholder>> = BTreeMap::new();
    for (_, placeholder) in graph.placeholders() {
        expected.entry(&placeholder.name).or_default().push(placeholder);
    }
    refuse_strangers(&expected, feeds)?;
    let wanted: Vec<&[&Placeholder]> = feeds.0.iter().map(|feed| &*expected[feed.name.name()]).collect();
    for (feed, placeholders) in feeds.0.iter().zip(&wanted) {
        for placeholder in *placeholders {
            check_dtype(&feed.value.0, placeholder)?;
        }
    }

    let mut bindings = Bindings::new();
    let mut flat: Vec<(&[&Placeholder], usize)> = Vec::new();
    for (feed, &placeholders) in feeds.0.iter().zip(&wanted) {
        let found: &[usize] = match feed.value.0.sizes() {
            Some((_, found, false)) => found,
            Some((_, found, true)) if placeholders.iter().any(|placeholder| placeholder.shape.rank() == 1) => found,
            Some((_, found, true)) => {
                flat.push((placeholders, found[0]));
                continue;
            }
            None => &[],
        };
        check_bytes(&feed.value.0, placeholders[0])?;
        for placeholder in placeholders {
            unify(&mut bindings, placeholder, found)?;
        }
    }
    // Flat slices take the sizes of the placeholder; one may tell a name that another needs.
    while let Some(next) = (0..flat.len()).min_by_key(|&next| unknown_axes(flat[next].0[0], &bindings).len()) {
        let (placeholders, count) = flat.swap_remove(next);
        let shape = fill(placeholders[0], count, &bindings)?;
        for placeholder in placeholders {
            unify(&mut bindings, placeholder, &shape)?;
        }
    }
    Ok(bindings)
}

fn refuse_strangers(expected: &BTreeMap<&str, Vec<&Placeholder>>, feeds: &Feeds<'_>) -> Result<(), RunError> {
    for (position, feed) in feeds.0.iter().enumerate() {
        let name = feed.name.name();
        if let FeedName::Other(tensor) = feed.name {
            return Err(RunError::FeedNotPlaceholder {
                name: tensor.display_name(),
                meta: tensor.meta().to_string(),
                location: tensor.location().to_string(),
            });
        }
        if !expected.contains_key(name) {
            let expected = expected.keys().map(|name| name.to_string()).collect();
            return Err(RunError::FeedExtra { name: name.to_string(), expected });
        }
        if feeds.0[..position].iter().any(|earlier| earlier.name.name() == name) {
            return Err(RunError::FeedTwice { name: name.to_string() });
        }
    }
    for (name, placeholders) in expected {
        if !feeds.0.iter().any(|feed| feed.name.name() == *name) {
            let fed = feeds.0.iter().map(|feed| feed.name.name().to_string()).collect();
            return Err(RunError::FeedMissing { name: name.to_string(), meta: meta(placeholders[0]), fed });
        }
    }
    Ok(())
}

/// A number alone takes the placeholder's dtype where that loses nothing but precision.
fn check_dtype(value: &Value<'_>, placeholder: &Placeholder) -> Result<(), RunError> {
    let found = match value {
        Value::Lent { dtype, .. } => *dtype,
        Value::Given { array, .. } => array.dtype(),
        Value::Number(number) => {
            let fits = match number {
                Scalar::Bool(_) => placeholder.dtype == DType::Bool,
                Scalar::Int(_) => placeholder.dtype != DType::Bool,
                Scalar::Float(_) => placeholder.dtype.is_float(),
            };
            if fits { placeholder.dtype } else { number.default_dtype() }
        }
    };
    if found == placeholder.dtype {
        return Ok(());
    }
    Err(RunError::FeedDType { name: placeholder.name.to_string(), meta: meta(placeholder), found })
}

/// Bytes from outside must fill the shape that they came with.
fn check_bytes(value: &Value<'_>, placeholder: &Placeholder) -> Result<(), RunError> {
    let Value::Lent { dtype, shape, bytes, .. } = value else { return Ok(()) };
    if byte_count(shape, *dtype)? == bytes.len() {
        return Ok(());
    }
    let reason = format!("there are {} bytes, which do not fill it", bytes.len());
    Err(refused(placeholder, sized(*dtype, shape), reason))
}

fn unify(bindings: &mut Bindings, placeholder: &Placeholder, found: &[usize]) -> Result<(), RunError> {
    let refused = |reason: String| refused(placeholder, sized(placeholder.dtype, found), reason);
    if placeholder.shape.rank() != found.len() {
        return Err(refused(format!("it has {} axes, the feed {}", placeholder.shape.rank(), found.len())));
    }
    for (size, &found) in placeholder.shape.iter().zip(found) {
        bindings.unify(size, found).map_err(|error| refused(error.to_string()))?;
    }
    Ok(())
}

/// The axes whose sizes have names without a number.
fn unknown_axes(placeholder: &Placeholder, bindings: &Bindings) -> SmallVec<[usize; 4]> {
    let unknown = |size: &Size| size.names().iter().any(|name| bindings.get(name).is_none());
    (0..placeholder.shape.rank()).filter(|&axis| unknown(&placeholder.shape[axis])).collect()
}

/// The shape that `count` elements have as this placeholder.
fn fill(placeholder: &Placeholder, count: usize, bindings: &Bindings) -> Result<SmallVec<[usize; 4]>, RunError> {
    let refused = |reason: String| refused(placeholder, format!("{count} elements"), reason);
    let unknown = unknown_axes(placeholder, bindings);
    let mut shape: SmallVec<[usize; 4]> = SmallVec::new();
    for (axis, size) in placeholder.shape.iter().enumerate() {
        let size = if unknown.contains(&axis) { Ok(1) } else { size.evaluate(bindings) };
        shape.push(size.map_err(|error| refused(error.to_string()))?);
    }
    let known = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let known = known.ok_or_else(|| refused("its sizes overflow".into()))?;
    match unknown[..] {
        [] if known == count => Ok(shape),
        [] => Err(refused(format!("it has {known} elements"))),
        [axis] if known > 0 && count.is_multiple_of(known) => {
            shape[axis] = count / known;
            Ok(shape)
        }
        [_] => Err(refused(format!("that is no multiple of {known}"))),
        [..] => Err(refused("more than one size is unknown; feed an `Array` with a shape".into())),
    }
}

fn refused(placeholder: &Placeholder, found: String, reason: String) -> RunError {
    RunError::FeedShape { name: placeholder.name.to_string(), meta: meta(placeholder), found, reason }
}

fn meta(placeholder: &Placeholder) -> String {
    Meta::new(placeholder.dtype, placeholder.shape.clone()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::RawBytes;
    use crate::feeds;
    use thalweg_plan::graph::{Array, placeholder};

    fn graph() -> Graph {
        let x = placeholder("x", DType::F32, ("n", 3));
        let y = placeholder("y", DType::F32, ["n"]);
        let rate = placeholder("rate", DType::F32, ());
        Graph::capture([&x, &y, &rate], &[])
    }

    fn n(feeds: Feeds<'_>) -> Option<usize> {
        bind(&graph(), &feeds).unwrap().get("n")
    }

    #[test]
    fn flat_slices_take_the_shape_of_the_placeholder() {
        let x = [0.0f32; 6];
        assert_eq!(n(feeds! { "x" => &x, "y" => [1.0f32, 2.0], "rate" => 0.5 }), Some(2));
        assert_eq!(n(feeds! { "rate" => [1.0f32], "y" => vec![0.0f32; 2], "x" => &x[..] }), Some(2));
        assert_eq!(n(feeds! { "x" => [0.0f32; 0], "y" => [0.0f32; 0], "rate" => 1 }), Some(0));
    }

    #[test]
    fn refusals_name_the_feed_and_what_it_expects() {
        let (x, y) = (Array::zeros(&[2, 3], DType::F32), Array::zeros(&[2], DType::F32));
        let computed = placeholder("x", DType::F32, ()) * 2.0;
        let raw = RawBytes { dtype: DType::F32, shape: &[2, 3], bytes: &[0; 23] };
        for (feeds, parts) in [
            (feeds! { "x" => &x, "rate" => 0.5 }, &["`y` (f32[n]) is not fed", "`x`, `rate`"][..]),
            (feeds! {}, &["`rate` (f32[]) is not fed", "none"]),
            (feeds! { "x" => &x, "y" => &y, "rate" => 0.5, "z" => 1.0 }, &["`z` is fed", "`rate`, `x`, `y`"]),
            (feeds! { "x" => &x, "x" => &x, "y" => &y, "rate" => 0.5 }, &["`x` is fed twice"]),
            (feeds! { computed => 1.0, "x" => &x }, &["`mul`", "f32[]", "bind.rs", "no placeholder"]),
            (feeds! { "x" => &x, "y" => [1i64, 2], "rate" => 0.5 }, &["`y` expects f32[n]", "was fed i64"]),
            (feeds! { "x" => &x, "y" => &y, "rate" => true }, &["`rate` expects f32[]", "was fed bool"]),
            (feeds! { "x" => &y, "y" => &y, "rate" => 0.5 }, &["`x` expects f32[n,3], was fed f32[2]", "2 axes"]),
            (feeds! { "x" => &x, "y" => [1.0f32], "rate" => 0.5 }, &["`y` expects f32[n], was fed f32[1]", "2 and 1"]),
            (feeds! { "x" => [0.0f32; 7], "y" => &y, "rate" => 0.5 }, &["`x`", "7 elements", "it has 6 elements"]),
            (feeds! { "x" => &x, "y" => &y, "rate" => [0.0f32; 2] }, &["`rate`", "2 elements"]),
            (feeds! { "x" => raw, "y" => &y, "rate" => 0.5 }, &["`x`", "23 bytes"]),
        ] {
            let message = bind(&graph(), &feeds).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
    }

    #[test]
    fn two_unknown_sizes_need_an_array() {
        let x = placeholder("x", DType::F32, ("n", "m"));
        let message = bind(&Graph::capture([&x], &[]), &feeds! { x => [0.0f32; 6] }).unwrap_err().to_string();
        assert!(message.contains("more than one size is unknown"), "{message}");
    }
}
