//! Numerically stable forms: what a formula says, written so that no intermediate number overflows or cancels.
//!
//! ```text
//! %0: f32[n,k] = softmax %x axis=1
//! %1: f32[n,k] = log %0      ⇒  %1: f32[n,k] = log_softmax %x axis=1
//! ```
//!
//! | formula | stable form |
//! | --- | --- |
//! | log(softmax x), also of a part or rearrangement of it | log_softmax x |
//! | eˣ / Σ eˣ | softmax x |
//! | log Σ eˣ, its axes kept or not, x not yet shifted by its largest | log_sum_exp x |
//! | 1/(1 + e⁻ˣ), eˣ/(1 + eˣ) | sigmoid x |
//! | 1 − sigmoid x | sigmoid(−x) |
//! | log(sigmoid x) | −softplus(−x) |
//! | log(1 + eˣ) | softplus x |
//! | log(1 + x), log(1 − x) | log1p(x), log1p(−x) |
//! | eˣ − 1 | expm1 x |
//! | log(eˣ) | x |
//!
//! Together they find the cross-entropies: −(t·log s + (1 − t)·log(1 − s)) with s = sigmoid x holds softplus of x and
//! −x only. Gradients are taken of the stable forms ([`stabilize`]): that of log(softmax x) is finite where that of
//! its two steps is 0·∞.

use std::collections::HashSet;

use thalweg_array::scalar::{Binary, Fold, Unary};
use thalweg_array::{Shape, Size};

use super::pattern::Rewriter;
use super::{Options, Pass};
use crate::graph::{Changed, Graph, NodeId};
use crate::op::Op;
use crate::ops::composite::{LogSoftmax, LogSumExp, Softmax};
use crate::ops::elementwise::{ElementwiseBinary, ElementwiseUnary};
use crate::ops::reduce::Reduce;
use crate::ops::shape::Reshape;
use crate::tensor::{Tensor, TensorId, topological, topological_until};

/// The pass.
pub const PASS: Pass = Pass { name: "stable_forms", run };

fn run(graph: Graph, _: &Options) -> Changed<Graph> {
    let nothing = HashSet::new();
    rewrite_all(graph, &nothing, &nothing)
}

/// `loss` with unstable formulas replaced. The tensors of `keep` stay what they are and no rule looks behind them:
/// they are what the loss is differentiated by.
///
/// ```
/// use thalweg_graph::{DType, passes::stable_forms::stabilize, placeholder};
/// let x = placeholder("x", DType::F32, ("n", 3));
/// let loss = -x.softmax(1).log().sum();
/// let stable = stabilize(&loss, &[&x]);
/// assert_eq!(stable.inputs()[0].inputs()[0].op().label(), "log_softmax");
/// // By the probabilities themselves, the loss is the logarithm.
/// let p = x.softmax(1);
/// let loss = p.log().sum();
/// assert_eq!(stabilize(&loss, &[&p]), loss);
/// ```
pub fn stabilize(loss: &Tensor, keep: &[&Tensor]) -> Tensor {
    let closed: HashSet<TensorId> = keep.iter().map(|tensor| tensor.id()).collect();
    let order = topological_until([loss], |tensor| closed.contains(&tensor.id()));
    if !order.iter().any(|tensor| starts_a_rule(tensor.op())) {
        return loss.clone();
    }
    // What the kept tensors are made of stays too: their identity includes it.
    let frozen: HashSet<TensorId> = topological(keep.iter().copied()).iter().map(Tensor::id).collect();
    let Changed { value: graph, changed } = rewrite_all(Graph::capture_whole(&[loss], &[]), &closed, &frozen);
    if changed { graph.to_tensors().swap_remove(0) } else { loss.clone() }
}

/// Whether an op is the last of a formula that has a rule.
fn starts_a_rule(op: &Op) -> bool {
    match op {
        Op::Unary(ElementwiseUnary(f)) => matches!(f, Unary::Log | Unary::Log1p | Unary::Reciprocal),
        Op::Binary(ElementwiseBinary(f)) => matches!(f, Binary::Sub | Binary::Div | Binary::Add),
        _ => false,
    }
}

/// The body of a loop with unstable formulas replaced.
pub(crate) fn stable_body(body: Graph) -> Graph {
    let nothing = HashSet::new();
    rewrite_all(body, &nothing, &nothing).value
}

fn rewrite_all(graph: Graph, closed: &HashSet<TensorId>, frozen: &HashSet<TensorId>) -> Changed<Graph> {
    graph.rebuild(|graph, node, inputs| {
        if !starts_a_rule(&node.op) {
            return None;
        }
        if !frozen.is_empty() && node.origin.as_ref().is_some_and(|tensor| frozen.contains(&tensor.id())) {
            return None;
        }
        let mut r = Rewriter { graph, like: node, closed };
        match &node.op {
            Op::Unary(ElementwiseUnary(Unary::Log)) => log(&mut r, inputs[0], 4),
            Op::Unary(ElementwiseUnary(Unary::Log1p)) => {
                // log1p(eˣ)
                let x = r.unary(Unary::Exp, inputs[0])?;
                r.emit_unary(Unary::Softplus, x)
            }
            Op::Unary(ElementwiseUnary(Unary::Reciprocal)) => {
                // 1/(1 + eˣ)
                let x = one_plus(&r, inputs[0]).and_then(|e| r.unary(Unary::Exp, e))?;
                sigmoid_of_negative(&mut r, x)
            }
            Op::Binary(ElementwiseBinary(Binary::Div)) => quotient(&mut r, inputs[0], inputs[1]),
            Op::Binary(ElementwiseBinary(Binary::Sub)) => {
                if r.is(inputs[0], 1.0) {
                    let x = r.unary(Unary::Sigmoid, inputs[1])?;
                    sigmoid_of_negative(&mut r, x)
                } else {
                    let x = r.unary(Unary::Exp, inputs[0]).filter(|_| r.is(inputs[1], 1.0))?;
                    r.emit_unary(Unary::Expm1, x)
                }
            }
            Op::Binary(ElementwiseBinary(Binary::Add)) => {
                let (x, number) =
                    if r.splat(inputs[0]).is_some() { (inputs[1], inputs[0]) } else { (inputs[0], inputs[1]) };
                if r.is(number, 1.0) {
                    let x = r.unary(Unary::Neg, x).and_then(|x| r.unary(Unary::Sigmoid, x))?;
                    sigmoid_of_negative(&mut r, x)
                } else {
                    let x = r.unary(Unary::Exp, x).filter(|_| r.is(number, -1.0))?;
                    r.emit_unary(Unary::Expm1, x)
                }
            }
            _ => None,
        }
    })
}

/// The stable form of the logarithm of a node. Looks through at most `depth` ops that only move numbers.
fn log(r: &mut Rewriter<'_>, x: NodeId, depth: usize) -> Option<NodeId> {
    if let Some(e) = one_plus(r, x) {
        return match r.unary(Unary::Exp, e) {
            Some(y) => r.emit_unary(Unary::Softplus, y),
            None => r.emit_unary(Unary::Log1p, e),
        };
    }
    match r.op(x)?.clone() {
        Op::Softmax(Softmax { axis }) => {
            let y = r.input(x);
            r.emit(LogSoftmax { axis }, &[y])
        }
        Op::Unary(ElementwiseUnary(Unary::Sigmoid)) => {
            let y = r.input(x);
            let negative = negated(r, y)?;
            let softplus = r.emit_unary(Unary::Softplus, negative)?;
            r.emit_unary(Unary::Neg, softplus)
        }
        Op::Unary(ElementwiseUnary(Unary::Exp)) => Some(r.input(x)),
        Op::Binary(ElementwiseBinary(Binary::Sub)) => {
            let (_, y) = r.binary(Binary::Sub, x).filter(|(one, _)| r.is(*one, 1.0))?;
            let negative = negated(r, y)?;
            r.emit_unary(Unary::Log1p, negative)
        }
        Op::Reduce(Reduce { fold: Fold::Sum, axes }) => {
            let y = r.input(x);
            let z = r.unary(Unary::Exp, y)?;
            log_sum_exp(r, z, &axes)
        }
        // What moves numbers without changing them.
        op @ (Op::Reshape(_) | Op::Permute(_) | Op::Expand(_) | Op::Slice(_) | Op::Flip(_))
        | op @ (Op::Gather(_) | Op::TakeAlong(_))
            if depth > 0 =>
        {
            moved(r, op, x, depth)
        }
        _ => None,
    }
}

/// log(move x) ⇒ move(log x), where log x has a stable form.
fn moved(r: &mut Rewriter<'_>, op: Op, x: NodeId, depth: usize) -> Option<NodeId> {
    let mut inputs = r.graph[x].inputs.clone();
    inputs[0] = log(r, inputs[0], depth - 1)?;
    r.emit(op, &inputs)
}

/// e, where the node is 1 + e or e + 1.
fn one_plus(r: &Rewriter<'_>, x: NodeId) -> Option<NodeId> {
    let (a, b) = r.binary(Binary::Add, x)?;
    if r.is(a, 1.0) {
        Some(b)
    } else if r.is(b, 1.0) {
        Some(a)
    } else {
        None
    }
}

/// sigmoid(−x), which is 1 − sigmoid x.
fn sigmoid_of_negative(r: &mut Rewriter<'_>, x: NodeId) -> Option<NodeId> {
    let negative = negated(r, x)?;
    r.emit_unary(Unary::Sigmoid, negative)
}

/// −x, without a second sign.
fn negated(r: &mut Rewriter<'_>, x: NodeId) -> Option<NodeId> {
    match r.unary(Unary::Neg, x) {
        Some(y) => Some(y),
        None => r.emit_unary(Unary::Neg, x),
    }
}

/// log Σ eᶻ over axes that lie side by side, which become one.
fn log_sum_exp(r: &mut Rewriter<'_>, z: NodeId, axes: &[usize]) -> Option<NodeId> {
    let (&first, &last) = (axes.first()?, axes.last()?);
    if last - first + 1 != axes.len() || is_shifted_by_max(r, z, axes) {
        return None;
    }
    let mut merged = z;
    if axes.len() > 1 {
        let shape = r.meta(z).shape.clone();
        let one = shape[first..=last].iter().fold(Size::from(1), |product, size| &product * size);
        let shape: Shape = shape[..first].iter().chain([&one]).chain(&shape[last + 1..]).cloned().collect();
        merged = r.emit(Reshape { shape }, &[z])?;
    }
    r.emit(LogSumExp { axis: first }, &[merged])
}

/// Whether a node is x − max x over `axes`, which is stable as it stands: log_sum_exp would look for the largest again.
fn is_shifted_by_max(r: &Rewriter<'_>, z: NodeId, axes: &[usize]) -> bool {
    let Some((x, mut max)) = r.binary(Binary::Sub, z) else { return false };
    loop {
        match r.op(max) {
            Some(Op::Expand(_) | Op::Reshape(_) | Op::StopGradient(_)) => max = r.input(max),
            Some(Op::Reduce(Reduce { fold: Fold::Max, axes: found })) => {
                return found[..] == *axes && r.input(max) == x;
            }
            _ => return false,
        }
    }
}

fn quotient(r: &mut Rewriter<'_>, x: NodeId, y: NodeId) -> Option<NodeId> {
    if let Some(power) = one_plus(r, y).and_then(|e| r.unary(Unary::Exp, e)) {
        if r.is(x, 1.0) {
            // 1/(1 + eᶻ)
            return sigmoid_of_negative(r, power);
        }
        if r.unary(Unary::Exp, x) == Some(power) {
            return r.emit_unary(Unary::Sigmoid, power);
        }
    }
    // eᶻ / Σ eᶻ, the sum repeated along its axis
    let z = r.unary(Unary::Exp, x)?;
    let Op::Expand(_) = r.op(y)? else { return None };
    let mut sum = r.input(y);
    let mut keeps_axis = false;
    if let Op::Reshape(Reshape { shape }) = r.op(sum)? {
        let kept = shape.clone();
        sum = r.input(sum);
        keeps_axis = true;
        let Op::Reduce(reduce) = r.op(sum)? else { return None };
        let axis = *reduce.axes.first()?;
        let mut expected = r.meta(z).shape.clone();
        *expected.sizes_mut().get_mut(axis)? = Size::from(1);
        if kept != expected {
            return None;
        }
    }
    let Op::Reduce(Reduce { fold: Fold::Sum, axes }) = r.op(sum)? else { return None };
    let axis = match axes[..] {
        [axis] if keeps_axis || axis == 0 => axis,
        _ => return None,
    };
    let summed = r.input(sum);
    if r.unary(Unary::Exp, summed) != Some(z) {
        return None;
    }
    r.emit(Softmax { axis }, &[z])
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use thalweg_array::{Array, DType};

    use super::PASS;
    use crate::autodiff::grad;
    use crate::graph::Graph;
    use crate::ops::source::{constant, placeholder};
    use crate::passes::testing::check;
    use crate::reference::{Feeds, interpret};
    use crate::tensor::Tensor;

    #[test]
    fn the_logarithm_of_softmax_through_shapes() {
        check(
            PASS,
            "%x: f64[n,3] = placeholder
             %0: f64[n,3] = softmax %x axis=1
             %1: f64[3,n] = permute %0 axes=[1,0]
             %2: f64[3*n] = reshape %1
             %3: f64[3*n] = log %2
             return %3",
            expect![[r#"
                %x: f64[n,3] = placeholder
                %0: f64[n,3] = log_softmax %x axis=1
                %1: f64[3,n] = permute %0 axes=[1,0]
                %2: f64[3*n] = reshape %1
                return %2
            "#]],
        );
    }

    #[test]
    fn softmax_written_out() {
        check(
            PASS,
            "%x: f64[n,3] = placeholder
             %0: f64[n,3] = exp %x
             %1: f64[n] = sum %0 axes=[1]
             %2: f64[n,1] = reshape %1
             %3: f64[n,3] = expand %2
             %4: f64[n,3] = div %0 %3
             %5: f64[n,3] = log %4
             %6: f64[3] = sum %0 axes=[0]
             %7: f64[n,3] = expand %6
             %8: f64[n,3] = div %0 %7
             return %5, %8",
            expect![[r#"
                %x: f64[n,3] = placeholder
                %0: f64[n,3] = log_softmax %x axis=1
                %1: f64[n,3] = softmax %x axis=0
                return %0, %1
            "#]],
        );
    }

    #[test]
    fn the_logarithm_of_a_sum_of_exponentials() {
        check(
            PASS,
            "%x: f64[n,2,3] = placeholder
             %0: f64[n,2,3] = exp %x
             %1: f64[n,2] = sum %0 axes=[2]
             %2: f64[n,2,1] = reshape %1
             %3: f64[n,2,1] = log %2
             %4: f64[n] = sum %0 axes=[1,2]
             %5: f64[n] = log %4
             %6: f64[2] = sum %0 axes=[0,2]
             %7: f64[2] = log %6
             return %3, %5, %7",
            expect![[r#"
                %x: f64[n,2,3] = placeholder
                %0: f64[n,2,3] = exp %x
                %1: f64[n,2] = log_sum_exp %x axis=2
                %2: f64[n,2,1] = reshape %1
                %3: f64[n,6] = reshape %x
                %4: f64[n] = log_sum_exp %3 axis=1
                %5: f64[2] = sum %0 axes=[0,2]
                %6: f64[2] = log %5
                return %2, %4, %6
            "#]],
        );
    }

    #[test]
    fn what_is_shifted_already_stays() {
        check(
            PASS,
            "%x: f64[n,3] = placeholder
             %0: f64[n] = max %x axes=[1]
             %1: f64[n,1] = reshape %0
             %2: f64[n,3] = expand %1
             %3: f64[n,3] = sub %x %2
             %4: f64[n,3] = exp %3
             %5: f64[n] = sum %4 axes=[1]
             %6: f64[n] = log %5
             return %6",
            expect![[r#"
                %x: f64[n,3] = placeholder
                %0: f64[n] = max %x axes=[1]
                %1: f64[n,1] = reshape %0
                %2: f64[n,3] = expand %1
                %3: f64[n,3] = sub %x %2
                %4: f64[n,3] = exp %3
                %5: f64[n] = sum %4 axes=[1]
                %6: f64[n] = log %5
                return %6
            "#]],
        );
    }

    #[test]
    fn the_cross_entropy_of_a_sigmoid() {
        check(
            PASS,
            "%x: f64[n] = placeholder
             %t: f64[n] = placeholder
             %0: f64[] = constant 1.0
             %1: f64[n] = expand %0
             %s: f64[n] = sigmoid %x
             %2: f64[n] = log %s
             %3: f64[n] = mul %t %2
             %4: f64[n] = sub %1 %t
             %5: f64[n] = sub %1 %s
             %6: f64[n] = log %5
             %7: f64[n] = mul %4 %6
             %8: f64[n] = add %3 %7
             %9: f64[n] = neg %8
             return %9",
            expect![[r#"
                %x: f64[n] = placeholder
                %t: f64[n] = placeholder
                %0: f64[] = constant 1.0
                %1: f64[n] = expand %0
                %2: f64[n] = neg %x
                %3: f64[n] = softplus %2
                %4: f64[n] = neg %3
                %5: f64[n] = mul %t %4
                %6: f64[n] = sub %1 %t
                %7: f64[n] = softplus %x
                %8: f64[n] = neg %7
                %9: f64[n] = mul %6 %8
                %10: f64[n] = add %5 %9
                %11: f64[n] = neg %10
                return %11
            "#]],
        );
    }

    #[test]
    fn small_numbers_beside_one() {
        check(
            PASS,
            "%x: f64[] = placeholder
             %1: f64[] = constant 1.0
             %e: f64[] = exp %x
             %0: f64[] = add %1 %e
             %2: f64[] = log %0
             %3: f64[] = sub %e %1
             %4: f64[] = square %x
             %5: f64[] = add %4 %1
             %6: f64[] = log %5
             %7: f64[] = neg %x
             %8: f64[] = exp %7
             %9: f64[] = add %8 %1
             %10: f64[] = div %1 %9
             %11: f64[] = div %e %0
             %12: f64[] = log %e
             return %2, %3, %6, %10, %11, %12",
            expect![[r#"
                %x: f64[] = placeholder
                %0: f64[] = softplus %x
                %1: f64[] = expm1 %x
                %2: f64[] = square %x
                %3: f64[] = log1p %2
                %4: f64[] = sigmoid %x
                %5: f64[] = sigmoid %x
                return %0, %1, %3, %4, %5, %x
            "#]],
        );
    }

    #[test]
    fn the_logarithm_of_the_picked_probabilities() {
        check(
            PASS,
            "%x: f64[n,2] = placeholder
             %label: i64[n,1] = placeholder
             %0: f64[n,2] = softmax %x axis=1
             %1: f64[n,1] = take_along %0 %label axis=1
             %2: f64[n,1] = log %1
             return %2",
            expect![[r#"
                %x: f64[n,2] = placeholder
                %label: i64[n,1] = placeholder
                %0: f64[n,2] = log_softmax %x axis=1
                %1: f64[n,1] = take_along %0 %label axis=1
                return %1
            "#]],
        );
    }

    fn gradient_at(loss: impl Fn(&Tensor) -> Tensor, x: Array) -> Vec<f64> {
        let input = placeholder("x", x.dtype(), x.shape());
        let gradients = grad(&loss(&input), &[&input]);
        let results = interpret(&Graph::capture(&gradients, &[]), &Feeds::new([("x", x)])).unwrap();
        results.fetches[0].to_vec::<f64>()
    }

    #[test]
    fn gradients_at_large_numbers_are_finite_and_right() {
        let far = Array::from([1e4f32, -1e4, 0.0]);
        // ∂/∂x of −log softmax(x)₁ is softmax(x) − (0, 1, 0).
        let picked = |x: &Tensor| -(x.softmax(0).log() * constant([0.0f32, 1.0, 0.0])).sum();
        assert_eq!(gradient_at(picked, far.clone()), [1.0, -1.0, 0.0]);
        // ∂/∂x of log sigmoid(x) is sigmoid(−x).
        assert_eq!(gradient_at(|x| x.sigmoid().log().sum(), far.clone()), [0.0, 1.0, 0.5]);
        // ∂/∂x of log(1 − sigmoid(x)) is −sigmoid(x).
        assert_eq!(gradient_at(|x| (-x.sigmoid() + 1.0).log().sum(), far.clone()), [-1.0, 0.0, -0.5]);
        assert_eq!(gradient_at(|x| (1.0 - x.sigmoid()).log().sum(), far.clone()), [-1.0, 0.0, -0.5]);
        assert_eq!(gradient_at(|x| (x.exp() + 1.0).log().sum(), far.clone()), [1.0, 0.0, 0.5]);
        assert_eq!(gradient_at(|x| x.exp().sum().log(), far), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_differentiated_by_and_randomness_keep_their_identity() {
        let x = placeholder("x", DType::F32, ("n", 3));
        let p = x.dropout(0.5).softmax(1);
        let q = p.log().exp();
        let loss = (&q * x.sigmoid().log()).sum();
        let stable = super::stabilize(&loss, &[&q]);
        assert_ne!(stable, loss);
        let order = crate::tensor::topological([&stable]);
        assert!(order.contains(&q) && order.contains(&x), "kept tensors stay");
        let originals = crate::tensor::topological([&loss]);
        let random = |order: &[Tensor]| order.iter().filter(|t| t.op().needs_stream()).cloned().collect::<Vec<_>>();
        assert_eq!(random(&order), random(&originals));
        assert_eq!(super::stabilize(&x.sum(), &[&x]).op().label(), "sum");
    }
}
