//! Sums over the steps of a loop, outside of it: of products one product over all steps, of sums one sum.
//!
//! ```text
//! Σₜ xₜᵀ gₜ  =  Xᵀ G,   X and G all steps one below the other
//! ```
//!
//! One large product is faster than many small ones whose results are added up in memory, once per step.

use smallvec::SmallVec;
use thalweg_array::Shape;
use thalweg_array::scalar::{Fold, Unary};

use crate::op::Op;
use crate::ops::elementwise::{ElementwiseBinary, ElementwiseUnary};
use crate::ops::reduce::Reduce;
use crate::ops::shape::Permute;
use crate::tensor::Tensor;

/// The sum over all steps of what is a tensor in each.
#[derive(Debug)]
pub(super) struct Totals {
    /// What is added up outside.
    terms: Vec<Term>,
    /// What is added up from step to step.
    rest: Option<Tensor>,
}

/// A term of which the factors are stacked.
#[derive(Debug)]
struct Term {
    core: Core,
    /// What is done to the sum, innermost first: nothing that the order of summing matters to.
    then: Vec<Op>,
}

#[derive(Debug)]
enum Core {
    /// aᵀ b
    Product { a: Tensor, b: Tensor },
    /// Σ over axes.
    Sum { of: Tensor, axes: SmallVec<[usize; 4]> },
}

impl Totals {
    /// Of this tensor of a step.
    pub(super) fn of(tensor: &Tensor) -> Totals {
        let mut totals = Totals { terms: Vec::new(), rest: None };
        let mut stack = vec![tensor.clone()];
        while let Some(tensor) = stack.pop() {
            match (tensor.op(), Term::of(&tensor)) {
                (Op::Binary(ElementwiseBinary(thalweg_array::scalar::Binary::Add)), _) => {
                    stack.extend(tensor.inputs().iter().rev().cloned());
                }
                (_, Some(term)) => totals.terms.push(term),
                (_, None) => {
                    totals.rest = Some(totals.rest.take().map_or_else(|| tensor.clone(), |rest| rest + &tensor));
                }
            }
        }
        totals
    }

    /// What is stacked.
    pub(super) fn factors(&self) -> impl Iterator<Item = &Tensor> {
        self.terms.iter().flat_map(|term| match &term.core {
            Core::Product { a, b } => vec![a, b],
            Core::Sum { of, .. } => vec![of],
        })
    }

    /// What is added up from step to step.
    pub(super) fn rest(&self) -> Option<&Tensor> {
        self.rest.as_ref()
    }

    /// The sum, with the stack of each factor and what was added up from step to step.
    pub(super) fn sum(&self, stack: &dyn Fn(&Tensor) -> Tensor, rest: Option<&Tensor>) -> Tensor {
        let terms = self.terms.iter().map(|term| term.sum(stack));
        let sum = terms.chain(rest.cloned()).reduce(|sum, term| sum + term);
        sum.expect("a sum has terms")
    }
}

impl Term {
    fn of(tensor: &Tensor) -> Option<Term> {
        let (mut at, mut then) = (tensor.clone(), Vec::new());
        loop {
            let core = match at.op() {
                Op::Permute(_) | Op::Reshape(_) | Op::Unary(ElementwiseUnary(Unary::Neg)) => {
                    then.push(at.op().clone());
                    at = at.inputs()[0].clone();
                    continue;
                }
                Op::MatMul(_) if at.rank() == 2 => {
                    Core::Product { a: transposed(&at.inputs()[0]), b: at.inputs()[1].clone() }
                }
                Op::Reduce(Reduce { fold: Fold::Sum, axes }) if !matches!(at.inputs()[0].op(), Op::MatMul(_)) => {
                    Core::Sum { of: at.inputs()[0].clone(), axes: axes.clone() }
                }
                _ => return None,
            };
            then.reverse();
            return Some(Term { core, then });
        }
    }

    fn sum(&self, stack: &dyn Fn(&Tensor) -> Tensor) -> Tensor {
        let sum = match &self.core {
            Core::Product { a, b } => {
                // The steps are rows like those of a step.
                let rows = |stack: Tensor| {
                    let shape: Shape = [&stack.size(0) * &stack.size(1), stack.size(2)].into_iter().collect();
                    stack.reshape(shape)
                };
                rows(stack(a)).t().matmul(&rows(stack(b)))
            }
            Core::Sum { of, axes } => {
                let axes = [0].into_iter().chain(axes.iter().map(|axis| axis + 1)).collect();
                Tensor::apply(Reduce { fold: Fold::Sum, axes }, [stack(of)])
            }
        };
        self.then.iter().fold(sum, |sum, op| Tensor::apply(op.clone(), [sum]))
    }
}

/// A matrix, transposed: what it is the transpose of, where it is one.
fn transposed(matrix: &Tensor) -> Tensor {
    match matrix.op() {
        Op::Permute(Permute { axes }) if axes[..] == [1, 0] => matrix.inputs()[0].clone(),
        _ => matrix.t(),
    }
}
