//! Algebra that changes no number: x + 0 ⇒ x, x · 1 ⇒ x, reshape of reshape ⇒ one reshape.
//!
//! ```text
//! %0: f32[] = constant 1.0
//! %1: f32[n] = expand %0
//! %2: f32[n] = mul %x %1
//! %3: f32[n] = neg %2
//! %4: f32[n] = sub %y %3     ⇒  %4: f32[n] = add %y %x
//! ```
//!
//! "No number" is meant up to the sign of a zero (0 − x ⇒ −x, x + 0 ⇒ x), and for pow(x, ½) ⇒ √x up to x = −∞.
//! Not x · 0 ⇒ 0 or x − x ⇒ 0: wrong for NaN and ∞. Not (x · a) · b ⇒ x · (a · b): rounds otherwise, unless a or b
//! is a power of two. Gradients have been taken when a graph is optimized, so marks for them go.
//!
//! A rule builds something smaller than it found, or moves work from more numbers to fewer, so rules end.

use std::collections::HashSet;

use smallvec::SmallVec;
use thalweg_array::scalar::{Binary, Fold, Unary};
use thalweg_array::{DType, Scalar, Shape};

use super::parts::side_by_side;
use super::pattern::Rewriter;
use super::{Options, Pass};
use crate::graph::{Changed, Graph, NodeId};
use crate::op::{Op, OpRules};
use crate::ops::elementwise::{Cast, ElementwiseBinary, ElementwiseUnary, Select};
use crate::ops::reduce::Reduce;
use crate::ops::shape::{Expand, Permute, Reshape};
use crate::tensor::Meta;

/// The pass.
pub const PASS: Pass = Pass { name: "simplify", run };

fn run(graph: Graph, _: &Options) -> Changed<Graph> {
    let nothing = HashSet::new();
    graph.rebuild(|graph, node, inputs| {
        let mut r = Rewriter { graph, like: node, closed: &nothing };
        rewrite(&mut r, &node.op, inputs, &node.meta)
    })
}

/// A node for `op`, itself simplified.
fn make(r: &mut Rewriter<'_>, op: impl Into<Op>, inputs: &[NodeId]) -> Option<NodeId> {
    let op = op.into();
    let meta = op.infer(&inputs.iter().map(|&id| r.meta(id)).collect::<SmallVec<[&Meta; 3]>>()).ok()?;
    rewrite(r, &op, inputs, &meta).or_else(|| r.emit(op, inputs))
}

fn make_unary(r: &mut Rewriter<'_>, f: Unary, x: NodeId) -> Option<NodeId> {
    make(r, ElementwiseUnary(f), &[x])
}

fn make_binary(r: &mut Rewriter<'_>, f: Binary, x: NodeId, y: NodeId) -> Option<NodeId> {
    make(r, ElementwiseBinary(f), &[x, y])
}

/// What stands for `op` of `inputs`, if a rule knows better.
fn rewrite(r: &mut Rewriter<'_>, op: &Op, inputs: &[NodeId], meta: &Meta) -> Option<NodeId> {
    let found = match op {
        Op::Unary(ElementwiseUnary(f)) => unary(r, *f, inputs[0]),
        Op::Binary(ElementwiseBinary(f)) => binary(r, *f, inputs[0], inputs[1], meta),
        Op::Select(_) => select(r, inputs[0], inputs[1], inputs[2]),
        Op::Cast(cast) => self::cast(r, *cast, inputs[0]),
        Op::Reduce(reduce) => self::reduce(r, reduce, inputs[0], meta),
        Op::Reshape(_) => reshape(r, inputs[0], meta),
        Op::Permute(permute) => self::permute(r, permute, inputs[0], meta),
        Op::Expand(_) => expand(r, inputs[0], meta),
        Op::StopGradient(_) | Op::WithUpdate(_) | Op::EvaluatedAs(_) => Some(inputs[0]),
        Op::Dropout(dropout) if dropout.rate.0 == 0.0 => Some(inputs[0]),
        _ => None,
    };
    found.or_else(|| match op {
        Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_) => repeat_afterwards(r, op, inputs, meta),
        _ => None,
    })
}

fn unary(r: &mut Rewriter<'_>, f: Unary, x: NodeId) -> Option<NodeId> {
    let inner = match r.op(x)? {
        Op::Unary(ElementwiseUnary(inner)) => *inner,
        // −(a − b) ⇒ b − a
        Op::Binary(ElementwiseBinary(Binary::Sub)) if f == Unary::Neg => {
            let (a, b) = r.binary(Binary::Sub, x)?;
            return make_binary(r, Binary::Sub, b, a);
        }
        _ => return None,
    };
    let y = r.input(x);
    match (f, inner) {
        // −−y ⇒ y, ¬¬y ⇒ y
        (Unary::Neg, Unary::Neg) | (Unary::Not, Unary::Not) => Some(y),
        // |−y| ⇒ |y|, (−y)² ⇒ y²
        (Unary::Abs | Unary::Square, Unary::Neg) | (Unary::Square, Unary::Abs) => make_unary(r, f, y),
        // f(f(y)) ⇒ f(y)
        (Unary::Abs, Unary::Abs | Unary::Relu | Unary::Square | Unary::Sqrt | Unary::Exp) => Some(x),
        (Unary::Relu, Unary::Relu | Unary::Abs | Unary::Square | Unary::Sqrt | Unary::Exp | Unary::Sigmoid) => Some(x),
        (Unary::Floor | Unary::Ceil | Unary::Round, Unary::Floor | Unary::Ceil | Unary::Round) => Some(x),
        _ => None,
    }
}

fn binary(r: &mut Rewriter<'_>, f: Binary, x: NodeId, y: NodeId, meta: &Meta) -> Option<NodeId> {
    let negated = |r: &Rewriter<'_>, id| r.unary(Unary::Neg, id);
    match f {
        Binary::Add => match (negated(r, x), negated(r, y)) {
            _ if r.is(y, 0.0) => Some(x),
            _ if r.is(x, 0.0) => Some(y),
            // x + −b ⇒ x − b, −a + y ⇒ y − a
            (_, Some(b)) => make_binary(r, Binary::Sub, x, b),
            (Some(a), None) => make_binary(r, Binary::Sub, y, a),
            (None, None) => side_by_side(r, x, y),
        },
        Binary::Sub => {
            if r.is(y, 0.0) {
                Some(x)
            } else if r.is(x, 0.0) {
                make_unary(r, Unary::Neg, y)
            } else {
                // x − −b ⇒ x + b
                let b = negated(r, y)?;
                make_binary(r, Binary::Add, x, b)
            }
        }
        Binary::Mul => multiply(r, x, y, meta),
        Binary::Div => {
            let divisor = r.splat(y)?.to_f64();
            if divisor == 1.0 {
                Some(x)
            } else if divisor == -1.0 && meta.dtype.is_float() {
                make_unary(r, Unary::Neg, x)
            } else if is_power_of_two(divisor, meta.dtype) {
                let reciprocal = r.number(Scalar::from(1.0 / divisor), meta)?;
                make_binary(r, Binary::Mul, x, reciprocal)
            } else {
                None
            }
        }
        Binary::Pow => power(r, x, r.splat(y)?.to_f64(), meta),
        Binary::Max | Binary::Min if x == y => Some(x),
        Binary::And | Binary::Or if x == y => Some(x),
        Binary::And | Binary::Or | Binary::Xor => {
            let (other, known) = match (r.splat(x), r.splat(y)) {
                (_, Some(known)) => (x, known.to_f64() != 0.0),
                (Some(known), None) => (y, known.to_f64() != 0.0),
                (None, None) => return None,
            };
            match (f, known) {
                (Binary::And, true) | (Binary::Or | Binary::Xor, false) => Some(other),
                (Binary::Xor, true) => make_unary(r, Unary::Not, other),
                (_, known) => r.number(Scalar::Bool(known), meta),
            }
        }
        Binary::Rem | Binary::Max | Binary::Min => None,
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => None,
    }
}

fn multiply(r: &mut Rewriter<'_>, x: NodeId, y: NodeId, meta: &Meta) -> Option<NodeId> {
    let (x, y) = if r.splat(x).is_some() { (y, x) } else { (x, y) };
    let Some(factor) = r.splat(y) else {
        // (−a) · (−b) ⇒ a · b
        let (a, b) = (r.unary(Unary::Neg, x)?, r.unary(Unary::Neg, y)?);
        return make_binary(r, Binary::Mul, a, b);
    };
    if factor.to_f64() == 1.0 {
        return Some(x);
    }
    if factor.to_f64() == -1.0 {
        return make_unary(r, Unary::Neg, x);
    }
    if !meta.dtype.is_float() {
        return None;
    }
    // (−a) · c ⇒ a · −c
    if let Some(a) = r.unary(Unary::Neg, x) {
        let negative = r.number(Scalar::from(-factor.to_f64()), meta)?;
        return make_binary(r, Binary::Mul, a, negative);
    }
    // (a · c) · d ⇒ a · (c · d), exact where one of them is a power of two
    let (a, inner) = r.binary(Binary::Mul, x)?;
    let (a, c) = match (r.splat(a), r.splat(inner)) {
        (_, Some(c)) => (a, c.to_f64()),
        (Some(c), None) => (inner, c.to_f64()),
        (None, None) => return None,
    };
    let (d, product) = (factor.to_f64(), c * factor.to_f64());
    let exact = (is_power_of_two(c, meta.dtype) || is_power_of_two(d, meta.dtype)) && is_ordinary(product, meta.dtype);
    if !exact {
        return None;
    }
    let product = r.number(Scalar::from(product), meta)?;
    make_binary(r, Binary::Mul, a, product)
}

/// xᶜ for the exponents that have a function of their own.
fn power(r: &mut Rewriter<'_>, x: NodeId, exponent: f64, meta: &Meta) -> Option<NodeId> {
    let is_float = meta.dtype.is_float();
    if exponent == 0.0 {
        r.number(Scalar::Int(1), meta)
    } else if exponent == 1.0 {
        Some(x)
    } else if exponent == 2.0 {
        make_unary(r, Unary::Square, x)
    } else if exponent == -1.0 && is_float {
        make_unary(r, Unary::Reciprocal, x)
    } else if exponent == 0.5 {
        make_unary(r, Unary::Sqrt, x)
    } else if exponent == -0.5 {
        make_unary(r, Unary::Rsqrt, x)
    } else {
        None
    }
}

/// Whether multiplying by the number and by its reciprocal is exact in `dtype`, away from the smallest numbers.
fn is_power_of_two(x: f64, dtype: DType) -> bool {
    x.is_normal() && x.to_bits().trailing_zeros() >= 52 && is_ordinary(x, dtype) && is_ordinary(1.0 / x, dtype)
}

/// Whether the number is far from the ends of the dtype's range.
fn is_ordinary(x: f64, dtype: DType) -> bool {
    let most = match dtype {
        DType::F16 => 2f64.powi(10),
        DType::F32 | DType::F64 | DType::BF16 => 2f64.powi(60),
        DType::I32 | DType::I64 | DType::U8 | DType::Bool => return false,
    };
    (1.0 / most..=most).contains(&x.abs())
}

fn select(r: &mut Rewriter<'_>, condition: NodeId, x: NodeId, y: NodeId) -> Option<NodeId> {
    if x == y {
        return Some(x);
    }
    if let Some(known) = r.splat(condition) {
        return Some(if known.to_f64() != 0.0 { x } else { y });
    }
    let opposite = r.unary(Unary::Not, condition)?;
    make(r, Select {}, &[opposite, y, x])
}

fn cast(r: &mut Rewriter<'_>, cast: Cast, x: NodeId) -> Option<NodeId> {
    let between = r.meta(x).dtype;
    if between == cast.to {
        return Some(x);
    }
    let Op::Cast(_) = r.op(x)? else { return None };
    let y = r.input(x);
    let from = r.meta(y).dtype;
    // Integers wrap among themselves but saturate when they come from floats.
    let same_overflow = from.is_float() || !between.is_float() || !cast.to.is_int() || holds(cast.to, from);
    if holds(between, from) && same_overflow { make(r, cast, &[y]) } else { None }
}

/// Whether every number of dtype `narrow` is one of dtype `wide`.
fn holds(wide: DType, narrow: DType) -> bool {
    /// Bits of the integers around 0 that a dtype holds, without sign.
    fn integer_bits(dtype: DType) -> u32 {
        match dtype {
            DType::Bool => 1,
            DType::U8 | DType::BF16 => 8,
            DType::F16 => 11,
            DType::F32 => 24,
            DType::I32 => 31,
            DType::F64 => 53,
            DType::I64 => 63,
        }
    }
    if wide == narrow {
        return true;
    }
    match narrow {
        DType::F64 => false,
        DType::F32 => wide == DType::F64,
        DType::F16 | DType::BF16 => matches!(wide, DType::F32 | DType::F64),
        DType::Bool => true,
        DType::U8 => wide != DType::Bool && integer_bits(wide) >= integer_bits(narrow),
        DType::I32 | DType::I64 => {
            !matches!(wide, DType::Bool | DType::U8) && integer_bits(wide) >= integer_bits(narrow)
        }
    }
}

fn reduce(r: &mut Rewriter<'_>, reduce: &Reduce, x: NodeId, meta: &Meta) -> Option<NodeId> {
    if reduce.axes.is_empty() {
        return Some(x);
    }
    // One number along each axis: every fold of it is itself.
    if reduce.axes.iter().all(|&axis| r.meta(x).shape[axis].is(1)) {
        return make(r, Reshape { shape: meta.shape.clone() }, &[x]);
    }
    // Extremes of extremes; sums of sums would add in another order.
    let Op::Reduce(inner) = r.op(x)? else { return None };
    if inner.fold != reduce.fold || !matches!(reduce.fold, Fold::Max | Fold::Min) {
        return None;
    }
    let y = r.input(x);
    let kept: SmallVec<[usize; 4]> = (0..r.meta(y).shape.rank()).filter(|axis| !inner.axes.contains(axis)).collect();
    let mut axes: SmallVec<[usize; 4]> = reduce.axes.iter().map(|&axis| kept[axis]).collect();
    axes.extend_from_slice(&inner.axes);
    axes.sort();
    make(r, Reduce { fold: reduce.fold, axes }, &[y])
}

fn reshape(r: &mut Rewriter<'_>, x: NodeId, meta: &Meta) -> Option<NodeId> {
    if r.meta(x).shape == meta.shape {
        return Some(x);
    }
    match r.op(x)? {
        Op::Reshape(_) => {
            let y = r.input(x);
            make(r, Reshape { shape: meta.shape.clone() }, &[y])
        }
        Op::Expand(_) => r.splat(x).and_then(|value| r.number(value, meta)),
        _ => None,
    }
}

fn permute(r: &mut Rewriter<'_>, permute: &Permute, x: NodeId, meta: &Meta) -> Option<NodeId> {
    if permute.axes.iter().copied().eq(0..permute.axes.len()) {
        return Some(x);
    }
    match r.op(x)? {
        Op::Permute(inner) => {
            let axes = permute.axes.iter().map(|&axis| inner.axes[axis]).collect();
            let y = r.input(x);
            make(r, Permute { axes }, &[y])
        }
        Op::Expand(_) => r.splat(x).and_then(|value| r.number(value, meta)),
        _ => {
            // Moving axes of size 1 alone leaves the elements where they are.
            let shape = &r.meta(x).shape;
            let in_place = permute.axes.iter().filter(|&&axis| !shape[axis].is(1)).is_sorted();
            if in_place { make(r, Reshape { shape: meta.shape.clone() }, &[x]) } else { None }
        }
    }
}

fn expand(r: &mut Rewriter<'_>, x: NodeId, meta: &Meta) -> Option<NodeId> {
    if r.meta(x).shape == meta.shape {
        return Some(x);
    }
    let repeats = || Expand { shape: meta.shape.clone() };
    match r.op(x)? {
        Op::Expand(_) => {
            let y = r.input(x);
            make(r, repeats(), &[y])
        }
        // New leading axes of size 1 are what repetition adds anyway.
        Op::Reshape(_) => {
            let y = r.input(x);
            let (outer, inner) = (&r.meta(x).shape, &r.meta(y).shape);
            let added = outer.rank().checked_sub(inner.rank())?;
            let only_leading = outer[..added].iter().all(|size| size.is(1)) && outer[added..] == inner[..];
            if only_leading { make(r, repeats(), &[y]) } else { None }
        }
        _ => None,
    }
}

/// f(expand a, expand b, 2) ⇒ expand f(a, b, 2): computes before it repeats.
fn repeat_afterwards(r: &mut Rewriter<'_>, op: &Op, inputs: &[NodeId], meta: &Meta) -> Option<NodeId> {
    let mut source: Option<&Shape> = None;
    for &input in inputs {
        let Op::Expand(_) = r.op(input)? else { return None };
        if r.splat(input).is_some() {
            continue;
        }
        let shape = &r.meta(r.input(input)).shape;
        if source.is_some_and(|first| first != shape) {
            return None;
        }
        source = Some(shape);
    }
    let source = source?.clone();
    let mut before: SmallVec<[NodeId; 3]> = SmallVec::new();
    for &input in inputs {
        before.push(match r.splat(input) {
            Some(value) => r.number(value, &Meta::new(r.meta(input).dtype, source.clone()))?,
            None => r.input(input),
        });
    }
    let small = make(r, op.clone(), &before)?;
    make(r, Expand { shape: meta.shape.clone() }, &[small])
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::PASS;
    use crate::passes::testing::check;

    #[test]
    fn neutral_elements_vanish() {
        check(
            PASS,
            "%x: f32[n] = placeholder
             %y: f32[n] = placeholder
             %0: f32[] = constant 1.0
             %1: f32[n] = expand %0
             %2: f32[n] = mul %x %1
             %3: f32[n] = neg %2
             %4: f32[n] = sub %y %3
             %5: f32[] = constant 0.0
             %6: f32[n] = expand %5
             %7: f32[n] = add %6 %4
             %8: f32[n] = div %7 %1
             return %8",
            expect![[r#"
                %x: f32[n] = placeholder
                %y: f32[n] = placeholder
                %0: f32[n] = add %y %x
                return %0
            "#]],
        );
    }

    #[test]
    fn zero_times_x_stays() {
        check(
            PASS,
            "%x: f32[] = placeholder
             %0: f32[] = constant 0.0
             %1: f32[] = mul %x %0
             %2: f32[] = sub %x %x
             return %1, %2",
            expect![[r#"
                %x: f32[] = placeholder
                %0: f32[] = constant 0.0
                %1: f32[] = mul %x %0
                %2: f32[] = sub %x %x
                return %1, %2
            "#]],
        );
    }

    #[test]
    fn signs_and_powers_of_two_are_gathered() {
        check(
            PASS,
            "%x: f32[] = placeholder
             %y: f32[] = placeholder
             %2: f32[] = constant 2.0
             %3: f32[] = constant 3.0
             %0: f32[] = neg %x
             %1: f32[] = mul %0 %3
             %4: f32[] = div %1 %2
             %5: f32[] = mul %4 %3
             %6: f32[] = sub %x %y
             %7: f32[] = neg %6
             %8: f32[] = add %0 %y
             return %5, %7, %8",
            expect![[r#"
                %x: f32[] = placeholder
                %y: f32[] = placeholder
                %0: f32[] = constant 3.0
                %1: f32[] = constant -1.5
                %2: f32[] = mul %x %1
                %3: f32[] = mul %2 %0
                %4: f32[] = sub %y %x
                %5: f32[] = sub %y %x
                return %3, %4, %5
            "#]],
        );
    }

    #[test]
    fn integers_keep_their_division_and_their_powers() {
        check(
            PASS,
            "%i: i64[] = placeholder
             %0: i64[] = constant 2
             %1: i64[] = constant -1
             %2: i64[] = div %i %0
             %3: i64[] = pow %i %1
             %4: i64[] = pow %i %0
             %5: i64[] = div %i %1
             return %2, %3, %4, %5",
            expect![[r#"
                %i: i64[] = placeholder
                %0: i64[] = constant 2
                %1: i64[] = constant -1
                %2: i64[] = div %i %0
                %3: i64[] = pow %i %1
                %4: i64[] = square %i
                %5: i64[] = div %i %1
                return %2, %3, %4, %5
            "#]],
        );
    }

    #[test]
    fn powers_have_functions_of_their_own() {
        check(
            PASS,
            "%x: f64[n] = placeholder
             %0: f64[] = constant 0.5
             %1: f64[n] = expand %0
             %2: f64[n] = pow %x %1
             %3: f64[] = constant -1.0
             %4: f64[n] = expand %3
             %5: f64[n] = pow %2 %4
             %6: f64[n] = mul %5 %4
             return %6",
            expect![[r#"
                %x: f64[n] = placeholder
                %0: f64[n] = sqrt %x
                %1: f64[n] = reciprocal %0
                %2: f64[n] = neg %1
                return %2
            "#]],
        );
    }

    #[test]
    fn shapes_of_shapes_are_one() {
        check(
            PASS,
            "%x: f32[n,1,4] = placeholder
             %0: f32[4*n] = reshape %x
             %1: f32[n,4] = reshape %0
             %2: f32[4,n] = permute %1 axes=[1,0]
             %3: f32[n,4] = permute %2 axes=[1,0]
             %4: f32[1,n,4] = reshape %3
             %5: f32[2,n,4] = expand %4
             %6: f32[3,2,n,4] = expand %5
             %7: f32[1,n,4] = permute %x axes=[1,0,2]
             return %6, %7",
            expect![[r#"
                %x: f32[n,1,4] = placeholder
                %0: f32[1,n,4] = reshape %x
                %1: f32[3,2,n,4] = expand %0
                %2: f32[1,n,4] = reshape %x
                return %1, %2
            "#]],
        );
    }

    #[test]
    fn folds_of_nothing_and_of_one_vanish() {
        check(
            PASS,
            "%x: f32[n,1,3] = placeholder
             %0: f32[n,3] = sum %x axes=[1]
             %1: f32[n] = max %0 axes=[1]
             %2: f32[] = max %1 axes=[0]
             %3: f32[] = sum %2 axes=[]
             return %3",
            expect![[r#"
                %x: f32[n,1,3] = placeholder
                %0: f32[n,3] = reshape %x
                %1: f32[] = max %0 axes=[0,1]
                return %1
            "#]],
        );
    }

    #[test]
    fn casts_through_a_wider_dtype_are_one() {
        check(
            PASS,
            "%x: f16[n] = placeholder
             %i: i64[n] = placeholder
             %0: f32[n] = cast %x
             %1: bf16[n] = cast %0
             %2: f16[n] = cast %0
             %3: f32[n] = cast %i
             %4: u8[n] = cast %3
             return %1, %2, %4",
            expect![[r#"
                %x: f16[n] = placeholder
                %i: i64[n] = placeholder
                %0: bf16[n] = cast %x
                %1: f32[n] = cast %i
                %2: u8[n] = cast %1
                return %0, %x, %2
            "#]],
        );
    }

    #[test]
    fn known_conditions_choose() {
        check(
            PASS,
            "%c: bool[n] = placeholder
             %x: f32[n] = placeholder
             %y: f32[n] = placeholder
             %t: bool[] = constant true
             %0: bool[n] = expand %t
             %1: f32[n] = select %0 %x %y
             %2: bool[n] = not %c
             %3: bool[n] = and %0 %2
             %4: f32[n] = select %3 %1 %y
             return %4",
            expect![[r#"
                %c: bool[n] = placeholder
                %x: f32[n] = placeholder
                %y: f32[n] = placeholder
                %0: f32[n] = select %c %y %x
                return %0
            "#]],
        );
    }

    #[test]
    fn numbers_are_repeated_after_they_are_computed() {
        check(
            PASS,
            "%a: f32[n,1] = placeholder
             %0: f32[n,5] = expand %a
             %1: f32[] = constant 3.0
             %2: f32[n,5] = expand %1
             %3: f32[n,5] = mul %0 %2
             %4: f32[n,5] = exp %3
             return %4",
            expect![[r#"
                %a: f32[n,1] = placeholder
                %0: f32[] = constant 3.0
                %1: f32[n,1] = expand %0
                %2: f32[n,1] = mul %a %1
                %3: f32[n,1] = exp %2
                %4: f32[n,5] = expand %3
                return %4
            "#]],
        );
    }

    #[test]
    fn marks_for_gradients_go() {
        check(
            PASS,
            "%x: f32[n] = placeholder
             %w: f32[] = variable
             %0: f32[n] = stop_gradient %x
             %1: f32[n] = with_update %0 %w variable={\"name\":\"w\",\"dtype\":\"f32\",\"shape\":[]}
             return %1",
            expect![[r#"
                %x: f32[n] = placeholder
                return %x
            "#]],
        );
    }
}
