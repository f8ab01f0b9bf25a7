//! Recomputation: what a part of a model computes is not kept for its gradient but computed again when that is due. It
//! costs at most a second forward pass of the part, and takes the memory of one part where all took theirs. (Chen et al.,
//! *Training Deep Nets with Sublinear Memory Cost*, 2016.)

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::op::Op;
use crate::scope::{inside, on_behalf_of};
use crate::tensor::{Tensor, TensorId};

thread_local! {
    static PART: Cell<Option<Part>> = const { Cell::new(None) };
}

/// A part of a model whose values are computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part(u64);

/// Runs `body`, a part of a model. Gradients through it compute its values again from its inputs, instead of keeping them
/// from the forward pass; what random ops draw is the same, and updates happen once. Inside another such part it changes
/// nothing.
///
/// ```
/// use thalweg_graph::autodiff::{grad, recompute};
/// use thalweg_graph::{DType, Graph, Variable, placeholder};
///
/// let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 0.5));
/// let layers = |x: &thalweg_graph::Tensor| (x * &w).tanh().square();
/// let tanhs = |loss| Graph::capture(&grad(&loss, &[&w]), &[]).nodes().filter(|node| node.op.label() == "tanh").count();
/// assert_eq!(tanhs(layers(&x).exp().sum()), 1);
/// assert_eq!(tanhs(recompute(|| layers(&x)).exp().sum()), 2);
/// ```
pub fn recompute<T>(body: impl FnOnce() -> T) -> T {
    /// Puts the outer part back, also when the body panics.
    struct Restore(Option<Part>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PART.set(self.0);
        }
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let outer = PART.get();
    let _restore = Restore(outer);
    PART.set(outer.or_else(|| Some(Part(NEXT.fetch_add(1, Ordering::Relaxed)))));
    body()
}

/// The part that new nodes belong to.
pub(crate) fn current_part() -> Option<Part> {
    PART.get()
}

/// The parts of a graph, and what of them has been computed again.
pub(super) struct Recomputation {
    /// The nodes of each part, inputs before users.
    members: HashMap<Part, Vec<Tensor>>,
    again: HashMap<Part, HashMap<TensorId, Tensor>>,
}

impl Recomputation {
    /// Of the graph whose nodes are these, inputs before users.
    pub(super) fn new(order: &[Tensor]) -> Recomputation {
        let mut members: HashMap<Part, Vec<Tensor>> = HashMap::new();
        for tensor in order {
            if let Some(part) = tensor.part() {
                members.entry(part).or_default().push(tensor.clone());
            }
        }
        Recomputation { members, again: HashMap::new() }
    }

    /// For the nodes of the part of `tensor` the tensors that compute them again: not before `cotangent`, the first that
    /// comes back to the part, is there. `None` where `tensor` is in no part.
    pub(super) fn of(&mut self, tensor: &Tensor, cotangent: &Tensor) -> Option<&HashMap<TensorId, Tensor>> {
        let part = tensor.part()?;
        if let Some(members) = self.members.remove(&part) {
            self.again.insert(part, compute_again(&members, cotangent));
        }
        self.again.get(&part)
    }
}

/// Copies of `members`, a part, that are computed when `cotangent` is there.
fn compute_again(members: &[Tensor], cotangent: &Tensor) -> HashMap<TensorId, Tensor> {
    let mut again: HashMap<TensorId, Tensor> = HashMap::new();
    // What comes into the part from outside, as it is seen by the copies.
    let mut outside: HashMap<TensorId, Tensor> = HashMap::new();
    for member in members {
        let copy = match member.op() {
            // Random numbers are the same whoever draws them, and nobody keeps them.
            _ if member.inputs().is_empty() => member.clone(),
            // The update is that of the forward pass.
            Op::WithUpdate(_) => again.get(&member.inputs()[0].id()).unwrap_or(&member.inputs()[0]).clone(),
            op => {
                let seen = |input: &Tensor| match (again.get(&input.id()), input.op()) {
                    (Some(copy), _) => copy.clone(),
                    (None, Op::Variable(_) | Op::Constant(_)) => input.clone(),
                    (None, _) => outside.entry(input.id()).or_insert_with(|| input.after(cotangent)).clone(),
                };
                let inputs: Vec<Tensor> = member.inputs().iter().map(seen).collect();
                let copy = || inside(member.scope(), || Tensor::apply(op.clone(), inputs));
                on_behalf_of(member.location(), copy)
            }
        };
        again.insert(member.id(), copy);
    }
    again
}

#[cfg(test)]
mod tests {
    use thalweg_array::{Array, DType};

    use super::*;
    use crate::autodiff::grad;
    use crate::graph::Graph;
    use crate::ops::source::placeholder;
    use crate::ops::state::updates_of;
    use crate::reference::{Feeds, interpret};
    use crate::variable::Variable;

    /// A part with dropout, an update and two outputs, one of which is an input of a second part.
    fn loss(wrap: impl Fn(&dyn Fn() -> (Tensor, Tensor)) -> (Tensor, Tensor)) -> (Tensor, Variable, Variable) {
        let x = placeholder("x", DType::F64, ["n"]);
        let (w, seen) = (Variable::new("w", Array::scalar(0.7f64)), Variable::new("seen", Array::scalar(0.0f64)));
        let layer = |x: &Tensor| {
            let hidden = (x * &w).tanh().with_update(&seen, &(&seen + 1.0));
            (hidden.dropout(0.4).sin(), hidden.exp())
        };
        let (a, b) = wrap(&|| layer(&x));
        let (c, d) = wrap(&|| layer(&a));
        ((a * c + b * d).sum(), w, seen)
    }

    fn run(loss: &Tensor, w: &Variable) -> Vec<f64> {
        let mut fetches = grad(loss, &[w]);
        fetches.push(grad(&fetches[0], &[w]).remove(0));
        let feeds = Feeds::new([("x", Array::from([0.3, -1.2, 2.0, 0.01]))]);
        let results = interpret(&Graph::capture(&fetches, &[]), &feeds).unwrap();
        results.fetches.iter().map(|result| result.item().unwrap()).collect()
    }

    #[test]
    fn gradients_are_the_same_and_updates_happen_once() {
        let (kept, w, _) = loss(|part| part());
        let expected = run(&kept, &w);
        let (recomputed, w, seen) = loss(|part| recompute(part));
        let found = run(&recomputed, &w);
        assert_eq!(found[0], expected[0], "to the bit");
        // Its terms are added in another order.
        assert!((found[1] / expected[1] - 1.0).abs() < 1e-14, "{found:?} {expected:?}");
        let gradient = grad(&recomputed, &[&w]);
        assert_eq!(updates_of(&[recomputed, gradient[0].clone()]).len(), 2);
        assert_eq!(updates_of(&gradient).iter().filter(|update| update.variable.id() == seen.id()).count(), 2);
    }

    #[test]
    fn a_part_in_a_part_belongs_to_the_outer() {
        let x = placeholder("x", DType::F32, ());
        let (outer, inner) = recompute(|| (x.sin(), recompute(|| x.cos())));
        assert!(outer.part().is_some() && outer.part() == inner.part());
        assert_eq!(x.sin().part(), None);
    }

    #[test]
    fn a_chain_of_parts_grows_linearly() {
        let x = placeholder("x", DType::F32, ["n"]);
        let nodes = |parts: usize| {
            let deep = (0..parts).fold(x.clone(), |x, _| recompute(|| x.sin().exp().tanh()));
            Graph::capture(&grad(&deep.sum(), &[&x]), &[]).len()
        };
        let [a, b, c] = [100, 200, 300].map(nodes);
        assert_eq!(b - a, c - b);
    }
}
