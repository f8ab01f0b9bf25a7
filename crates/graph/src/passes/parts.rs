//! A sum of parts on grounds of zeros that leave nothing out: the parts side by side, which the gradients of slices add up
//! to.
//!
//! ```text
//! %0: f32[n,4] = pad %a …                  columns 0 and 1
//! %1: f32[n,4] = pad %b …                  columns 2 and 3
//! %2: f32[n,4] = add %0 %1     ⇒  %2: f32[n,4] = concat %a %b axis=1
//! ```

use thalweg_array::Size;
use thalweg_array::scalar::Binary;

use super::pattern::Rewriter;
use crate::graph::NodeId;
use crate::op::Op;
use crate::ops::assemble::{Concat, Pad, PadAxis, SliceAxis};
use crate::ops::elementwise::ElementwiseBinary;

/// A sum of more parts is left as it is.
const MOST: usize = 64;

/// Numbers that stand somewhere along an axis.
struct Part {
    axis: usize,
    start: usize,
    end: usize,
    of: NodeId,
}

/// x + y as what they are parts of.
pub(super) fn side_by_side(r: &mut Rewriter<'_>, x: NodeId, y: NodeId) -> Option<NodeId> {
    let mut parts: Vec<Part> = Vec::new();
    let mut terms = vec![x, y];
    while let Some(term) = terms.pop() {
        match r.op(term)? {
            Op::Pad(pad) if parts.len() < MOST => parts.push(part(r, pad, term)?),
            Op::Binary(ElementwiseBinary(Binary::Add)) if terms.len() < MOST => {
                terms.extend(r.binary(Binary::Add, term).map(|(x, y)| [x, y])?);
            }
            _ => return None,
        }
    }
    parts.sort_by_key(|part| part.start);
    // Two that stand in the same place are added; more might be added in another order than they were.
    let places: Vec<&[Part]> = parts.chunk_by(|a, b| (a.axis, a.start, a.end) == (b.axis, b.start, b.end)).collect();
    let (first, last) = (&places.first()?[0], &places.last()?[0]);
    let whole = first.start == 0 && r.meta(x).shape[first.axis].is(last.end);
    let meet = places.windows(2).all(|pair| pair[0][0].axis == pair[1][0].axis && pair[0][0].end == pair[1][0].start);
    if !(whole && meet && places.iter().all(|place| place.len() <= 2)) {
        return None;
    }
    let mut inputs = Vec::with_capacity(places.len());
    for place in &places {
        inputs.push(match place {
            [part, other] => r.emit(ElementwiseBinary(Binary::Add), &[part.of, other.of])?,
            [part, ..] => part.of,
            [] => return None,
        });
    }
    let concat = Concat { axis: first.axis };
    whole_again(r, concat.axis, &inputs).or_else(|| r.emit(concat, &inputs))
}

/// Slices of one tensor that leave nothing out, as they stood ⇒ the tensor.
fn whole_again(r: &Rewriter<'_>, axis: usize, inputs: &[NodeId]) -> Option<NodeId> {
    let Op::Slice(_) = r.op(inputs[0])? else { return None };
    let of = r.input(inputs[0]);
    let mut end = Size::from(0);
    for &input in inputs {
        let Op::Slice(slice) = r.op(input)? else { return None };
        let along = &slice.axes[axis];
        let whole = |(at, part): (usize, &SliceAxis)| at == axis || *part == SliceAxis::whole(&r.meta(of).shape[at]);
        if r.input(input) != of || along.step != 1 || along.start != end || !slice.axes.iter().enumerate().all(whole) {
            return None;
        }
        end = &end + &along.length;
    }
    (end == r.meta(of).shape[axis]).then_some(of)
}

/// Where x stands, if it fills all axes but one on a ground of zeros.
fn part(r: &Rewriter<'_>, pad: &Pad, id: NodeId) -> Option<Part> {
    let of = r.input(id);
    let sizes = &r.meta(of).shape;
    let is_whole = |axis: usize, along: &PadAxis| *along == PadAxis::whole(&sizes[axis]);
    let mut cut = pad.axes.iter().enumerate().filter(|(axis, along)| !is_whole(*axis, along));
    let (axis, along) = cut.next()?;
    if cut.next().is_some() || along.step != 1 || pad.value.to_f64() != 0.0 {
        return None;
    }
    let (start, length) = (along.start.number()?, sizes[axis].number()?);
    (length > 0).then_some(Part { axis, start, end: start + length, of })
}

#[cfg(test)]
mod tests {
    use thalweg_array::DType;

    use crate::autodiff::grad;
    use crate::graph::Graph;
    use crate::ops::attention::{AttentionOptions, attention};
    use crate::ops::source::placeholder;
    use crate::passes::testing::same_meaning;
    use crate::passes::{Options, optimize};
    use crate::tensor::Tensor;

    /// How many pads and concatenations there are after the passes, which keep the numbers.
    fn optimized(y: &Tensor, x: &Tensor) -> [usize; 2] {
        let gradient = grad(&y.sum(), &[x]);
        let graph = Graph::capture(&gradient, &[]);
        let optimized = optimize(graph.clone(), &Options::default());
        same_meaning(&graph, &optimized);
        let text = optimized.to_string();
        ["= pad ", "= concat "].map(|op| text.matches(op).count())
    }

    #[test]
    fn gates_get_their_gradients_side_by_side() {
        let x = placeholder("x", DType::F64, ("n", 6));
        let gate = |number: usize| x.slice(1, 2 * number..2 * number + 2);
        let all = gate(2).exp() * gate(0).tanh() + gate(1).square();
        assert_eq!(optimized(&all, &x), [0, 1]);
        assert_eq!(optimized(&(all + gate(1).exp()), &x), [0, 1], "a gate that was cut out twice");
    }

    #[test]
    fn the_gradients_of_one_product_for_queries_keys_and_values_are_not_moved() {
        let x = placeholder("x", DType::F64, (2, 3, 12));
        let part = |first: usize| x.slice(2, first..first + 4).reshape([2, 3, 2, 2]);
        assert_eq!(
            optimized(&attention(&part(0), &part(4), &part(8), &AttentionOptions::new().causal(true)), &x),
            [0, 0]
        );
    }

    #[test]
    fn what_overlaps_or_leaves_gaps_is_added() {
        let x = placeholder("x", DType::F64, (4, 6));
        let cut = |axis, from: usize, to: usize| x.slice(axis, from..to).exp().sum();
        assert_eq!(optimized(&(cut(1, 0, 2) + cut(1, 3, 6)), &x), [2, 0]);
        assert_eq!(optimized(&(cut(1, 0, 4) + cut(1, 3, 6)), &x), [2, 0]);
        assert_eq!(optimized(&(cut(1, 0, 3) + cut(0, 2, 4)), &x), [2, 0]);
        assert_eq!(optimized(&(cut(0, 0, 3) + cut(0, 3, 4)), &x), [0, 1]);
    }
}
