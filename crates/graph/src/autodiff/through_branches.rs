//! The gradient of a branch: a branch.
//!
//! ```text
//! forwards    y = if p { f(x) } else { y₀ }
//! backwards   x̄ = if p { fᵀ(ȳ; x) } else { 0 },   ȳ₀ = if p { 0 } else { ȳ }
//! ```

use super::reverse::pull_back;
use super::through_loops::Through;
use crate::ops::control::cond::once_if;
use crate::ops::source::{placeholder_like, zeros};
use crate::tensor::{Tensor, TensorId};

impl Through<'_> {
    /// The cotangents of what a gated loop of one step is given.
    ///
    /// # Panics
    /// If it may take more: what its steps were is not known any more.
    pub(super) fn pull_back_branch(&self) -> Vec<Option<Tensor>> {
        let op = self.op;
        if !op.length.is(1) {
            panic!(
                "grad: a loop without a bound has no gradient, as nobody knows how many steps it took (made at {})\n  hint: \
                 WhileLoop::new().at_most(n)",
                self.location
            );
        }
        let first = TensorId::next();
        let parameters: Vec<Tensor> = self.given.iter().map(|given| placeholder_like(given.meta())).collect();
        let bug = "a loop knows its parameters: a bug in Thalweg";
        let nodes = op.body.inline(|name| parameters[op.position(name).expect(bug)].clone());
        let results: Vec<&Tensor> = op.body.graph().fetches().iter().map(|id| &nodes[id.index()]).collect();

        let seeds: Vec<(usize, Tensor)> =
            self.cotangents.iter().map(|(&result, cotangent)| (result, placeholder_like(cotangent.meta()))).collect();
        let seeded: Vec<(&Tensor, &Tensor)> = seeds.iter().map(|(result, seed)| (results[*result], seed)).collect();
        let asked: Vec<usize> = (0..self.given.len())
            .filter(|&position| self.wanted[position] && self.given[position].dtype().is_float())
            .collect();
        let wrt: Vec<&Tensor> = asked.iter().map(|&position| &parameters[position]).collect();
        let found = pull_back(&seeded, &wrt);

        let cotangent = |position: usize| self.cotangents.get(&position).filter(|_| position < op.carries);
        let reached = |(position, gradient): (&usize, Option<Tensor>)| {
            (gradient.is_some() || cotangent(*position).is_some()).then_some((*position, gradient))
        };
        let reached: Vec<(usize, Option<Tensor>)> = asked.iter().zip(found).filter_map(reached).collect();
        let pairs = reached.iter().map(|(position, gradient)| {
            let nothing = || zeros(self.given[*position].shape(), self.given[*position].dtype());
            (gradient.clone().unwrap_or_else(nothing), cotangent(*position).cloned().unwrap_or_else(nothing))
        });
        let pairs = pairs.collect();
        let seen = parameters.iter().cloned().zip(self.seen.iter().cloned());
        let outers = seeds.iter().map(|(result, seed)| (seed.clone(), self.cotangents[result].clone())).chain(seen);
        let gradients = once_if(&self.seen[0], pairs, outers.collect(), first, self.location)
            .expect("a branch back fits its branch: a bug in Thalweg");
        let mut pulled = vec![None; self.given.len()];
        for ((position, _), gradient) in reached.into_iter().zip(gradients) {
            pulled[position] = Some(gradient);
        }
        pulled
    }
}
