//! Computes what depends on constants alone.
//!
//! ```text
//! %0: f32[] = constant 2.0
//! %1: f32[] = constant 3.0
//! %2: f32[] = mul %0 %1
//! %3: f32[n] = expand %2
//! %4: f32[n] = neg %3        ⇒  %4: f32[n] = expand -6.0
//! ```
//!
//! A number repeated to any shape, also one with names, is computed with as one number and repeated afterwards. Other
//! arrays are computed with up to [`Options::fold_limit`] elements. Random ops, checks of indices, composites and ops
//! of the user's own are left alone; so is repetition itself, which would only make constants larger.

use std::collections::HashSet;

use smallvec::SmallVec;
use thalweg_array::scalar::Fold;
use thalweg_array::{Array, Bindings, Scalar};

use super::pattern::Rewriter;
use super::{Options, Pass};
use crate::graph::{Changed, Graph, NodeId};
use crate::op::{Op, OpRules, Reference};
use crate::ops::reduce::Reduce;
use crate::ops::source::Constant;
use crate::tensor::Meta;

/// The pass.
pub const PASS: Pass = Pass { name: "fold_constants", run };

fn run(graph: Graph, options: &Options) -> Changed<Graph> {
    let nothing = HashSet::new();
    graph.rebuild(|graph, node, inputs| {
        let mut r = Rewriter { graph, like: node, closed: &nothing };
        match kind(&node.op) {
            Kind::Kept => None,
            Kind::Elementwise => same_everywhere(&mut r, &node.op, inputs, &node.meta)
                .or_else(|| whole(&mut r, &node.op, inputs, &node.meta, options)),
            Kind::Other => match &node.op {
                Op::Size(size) => r.number(Scalar::Int(size.size.number()? as i64), &node.meta),
                Op::Reduce(reduce) => folded_splat(&mut r, reduce, inputs[0], &node.meta)
                    .or_else(|| whole(&mut r, &node.op, inputs, &node.meta, options)),
                op => whole(&mut r, op, inputs, &node.meta, options),
            },
        }
    })
}

enum Kind {
    Kept,
    Elementwise,
    Other,
}

fn kind(op: &Op) -> Kind {
    match op {
        Op::Placeholder(_) | Op::Constant(_) | Op::Variable(_) | Op::Random(_) => Kind::Kept,
        Op::Loop(_) | Op::Output(_) => Kind::Kept,
        Op::Expand(_) | Op::Iota(_) | Op::CheckIndices(_) | Op::After(_) | Op::WithUpdate(_) | Op::Custom(_) => {
            Kind::Kept
        }
        Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_) | Op::StopGradient(_) => Kind::Elementwise,
        op if op.is_composite() || !op.is_pure() => Kind::Kept,
        _ => Kind::Other,
    }
}

/// f(c, d, …) of numbers that stand everywhere: computed once.
fn same_everywhere(r: &mut Rewriter<'_>, op: &Op, inputs: &[NodeId], meta: &Meta) -> Option<NodeId> {
    let number = |&id: &NodeId| Some(Array::full(&[], r.meta(id).dtype, r.splat(id)?));
    let numbers: SmallVec<[Array; 3]> = inputs.iter().map(number).collect::<Option<_>>()?;
    let value = evaluate(op, &numbers, meta, &[])?;
    r.number(Constant::new(value).splat()?, meta)
}

/// f(a, b, …) of constant arrays.
fn whole(r: &mut Rewriter<'_>, op: &Op, inputs: &[NodeId], meta: &Meta, options: &Options) -> Option<NodeId> {
    let constant = |&id: &NodeId| match r.op(id)? {
        Op::Constant(constant) => Some(constant.array().clone()),
        _ => None,
    };
    if inputs.is_empty() {
        return None;
    }
    let arrays: SmallVec<[Array; 3]> = inputs.iter().map(constant).collect::<Option<_>>()?;
    let shape = meta.shape.numbers()?;
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
    if count.max(arrays.iter().map(Array::len).sum()) > options.fold_limit {
        return None;
    }
    let value = evaluate(op, &arrays, meta, &shape)?;
    r.emit(Constant::new(value), &[])
}

/// Σ and Π of one number repeated, where the result is exact in its dtype; its extremes always.
fn folded_splat(r: &mut Rewriter<'_>, reduce: &Reduce, x: NodeId, meta: &Meta) -> Option<NodeId> {
    let value = r.splat(x)?;
    let counts = reduce.axes.iter().map(|&axis| r.meta(x).shape[axis].number());
    let count = counts.into_iter().try_fold(1usize, |count, size| count.checked_mul(size?))?;
    let result = match reduce.fold {
        Fold::Sum if meta.dtype.is_float() => {
            let sum = value.to_f64() * count as f64;
            (count < 1 << 24 && Scalar::from(sum).rounded_to(meta.dtype).to_f64() == sum).then(|| Scalar::from(sum))?
        }
        Fold::Sum => Scalar::Int(value.to_i64().checked_mul(count as i64)?),
        Fold::Prod if value.to_f64() == 1.0 => value,
        Fold::Max | Fold::Min if count > 0 => value,
        Fold::Prod | Fold::Max | Fold::Min => return None,
    };
    r.number(result, meta)
}

fn evaluate(op: &Op, inputs: &[Array], meta: &Meta, shape: &[usize]) -> Option<Array> {
    let bindings = Bindings::new();
    let cx = Reference { label: "", bindings: &bindings, dtype: meta.dtype, shape, seed: 0, step: 0 };
    // What cannot be computed fails in the run, where the message can name the line.
    op.reference(&inputs.iter().collect::<SmallVec<[&Array; 3]>>(), &cx).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::PASS;
    use crate::passes::testing::check;

    #[test]
    fn repeated_numbers_are_computed_once() {
        check(
            PASS,
            "%x: f32[n] = placeholder
             %0: f32[] = constant 2.0
             %1: f32[] = constant 3.0
             %2: f32[] = mul %0 %1
             %3: f32[n] = expand %2
             %4: f32[n] = neg %3
             %5: f32[n] = add %x %4
             return %5",
            expect![[r#"
                %x: f32[n] = placeholder
                %0: f32[] = constant -6.0
                %1: f32[n] = expand %0
                %2: f32[n] = add %x %1
                return %2
            "#]],
        );
    }

    #[test]
    fn small_arrays_and_sizes_are_computed() {
        check(
            PASS,
            "%0: f64[2,2] = constant [[1.0, 2.0], [3.0, 4.0]]
             %1: f64[2,2] = permute %0 axes=[1,0]
             %2: f64[2,2] = matmul %0 %1
             %3: f64[] = size size=12
             %4: f64[2] = sum %2 axes=[1]
             return %4, %3",
            expect![[r#"
                %0: f64[] = constant 12.0
                %1: f64[2] = constant [16.0, 36.0]
                return %1, %0
            "#]],
        );
    }

    #[test]
    fn sums_of_one_number_are_folded_where_they_are_exact() {
        check(
            PASS,
            "%x: f32[n] = placeholder
             %0: f32[] = constant 0.5
             %1: f32[4,n] = expand %0
             %2: f32[n] = sum %1 axes=[0]
             %3: f32[] = constant 0.1
             %4: f32[3] = expand %3
             %5: f32[] = sum %4 axes=[0]
             return %x, %2, %5",
            expect![[r#"
                %x: f32[n] = placeholder
                %0: f32[] = constant 2.0
                %1: f32[n] = expand %0
                %2: f32[] = constant 0.1
                %3: f32[3] = expand %2
                %4: f32[] = sum %3 axes=[0]
                return %x, %1, %4
            "#]],
        );
    }

    #[test]
    fn randomness_checks_and_faults_are_left_to_the_run() {
        check(
            PASS,
            "%0: f32[2] = random distribution=\"normal\" stream=1
             %1: i64[2] = constant [0, 1]
             %2: i64[2] = check_indices %1 bound=2
             return %0, %2",
            expect![[r#"
                %0: f32[2] = random distribution="normal" stream=1
                %1: i64[2] = constant [0, 1]
                %2: i64[2] = check_indices %1 bound=2
                return %0, %2
            "#]],
        );
        let graph = crate::text::parse(
            "%0: f32[2] = constant [1.0, 2.0]
             %1: i64[] = constant 5
             %2: f32[] = gather %0 %1 axis=0
             return %2",
        );
        assert!(!(PASS.run)(graph.unwrap(), &Default::default()).changed);
    }
}
