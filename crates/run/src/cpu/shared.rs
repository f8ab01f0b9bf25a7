//! Variables that several threads read.

use smallvec::SmallVec;
use thalweg_plan::{Operand, Place, Plan};

/// Bytes of a variable from which on it goes past the caches; what is smaller takes no time, and is wanted again at once.
const LEAST_BYTES: usize = 64 << 10;

/// The variables that calls read besides the one that writes them, as weights are: each thread then has copies of lines that
/// another one will write. What optimizers keep is read where it is written, by the same thread mostly.
#[derive(Debug, Default)]
pub(super) struct Shared(Vec<bool>);

impl Shared {
    pub(super) fn of(plan: &Plan) -> Shared {
        let mut readers = vec![0; plan.variables.len()];
        for call in &plan.calls {
            let mut read: SmallVec<[usize; 8]> = SmallVec::new();
            for buffer in call.kernel.reads() {
                if let Place::Variable(number) = plan[buffer].place
                    && !read.contains(&number)
                {
                    read.push(number);
                    readers[number] += 1;
                }
            }
        }
        Shared(readers.into_iter().map(|readers| readers > 1).collect())
    }

    /// For each operand that a call writes whether it is one, and large.
    pub(super) fn among(&self, plan: &Plan, operands: &[Operand]) -> SmallVec<[bool; 8]> {
        let is_shared = |operand: &Operand| match plan[operand.buffer].place {
            Place::Variable(number) => {
                self.0.get(number).is_some_and(|&is_shared| is_shared) && plan[operand.buffer].bytes() >= LEAST_BYTES
            }
            Place::Arena { .. } | Place::Feed(_) | Place::Constant(_) | Place::Fetch(_) => false,
        };
        operands.iter().map(is_shared).collect()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_plan::graph::autodiff::grad;
    use thalweg_plan::graph::{Bindings, DType, Graph, Update, Variable, passes, placeholder, zeros};
    use thalweg_plan::{Cpu, Kernel, lower};

    use super::*;

    #[test]
    fn weights_are_shared_and_what_the_optimizer_keeps_is_not() {
        let x = placeholder("x", DType::F32, [32, 300]);
        let variable = |name: &str, shape: [usize; 2]| Variable::new(name, zeros(shape, DType::F32));
        let weights = [variable("large", [300, 200]), variable("small", [200, 10])];
        let loss = x.matmul(&weights[0]).tanh().matmul(&weights[1]).square().mean();
        let gradients = grad(&loss, &weights.each_ref().map(Variable::tensor));
        let mut updates: Vec<Update> = Vec::new();
        for ((weight, gradient), shape) in weights.iter().zip(&gradients).zip([[300, 200], [200, 10]]) {
            let velocity = variable(&format!("{}_velocity", weight.name()), shape);
            let faster = &velocity * 0.9 + gradient;
            updates.push(weight.assign(&(weight - &faster * 0.1)));
            updates.push(velocity.assign(&faster));
        }
        let graph = passes::optimize(Graph::capture([&loss], &updates), &passes::Options::default());
        let plan = lower(&graph, &Bindings::new(), &Cpu { memory_limit: 1 << 40 }).unwrap();
        let shared = Shared::of(&plan);
        let mut found = Vec::new();
        for call in &plan.calls {
            let Kernel::MatMul(matmul) = &call.kernel else { continue };
            let Some(epilogue) = &matmul.epilogue else { continue };
            for (operand, is_shared) in epilogue.outputs.iter().zip(shared.among(&plan, &epilogue.outputs)) {
                if let Place::Variable(number) = plan[operand.buffer].place {
                    found.push((plan.variables[number].0.name().to_string(), is_shared));
                }
            }
        }
        found.sort();
        let expected = [("large", true), ("large_velocity", false), ("small", false), ("small_velocity", false)];
        assert_eq!(found, expected.map(|(name, is_shared)| (name.to_string(), is_shared)));
    }
}
