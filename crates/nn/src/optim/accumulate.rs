//! [`Accumulation`]: gradients added up over micro-batches, for batches that do not fit at once.

use thalweg_graph::{Array, DType, Tensor, Update, Variable, scope, updates_of};

use crate::optim::optimizer::{Optimizer, differentiate, parameters_of};
use crate::optim::rule::{Rule, slot};
use crate::optim::step::Step;

/// Two steps over the same loss: [`add`](Accumulation::add) for all micro-batches but the last, then
/// [`apply`](Accumulation::apply), which adds the last and moves the parameters by the mean gradient. With mean losses
/// and micro-batches of one size this equals one step on all of them as one batch. How many there are is counted, so a
/// shorter last round is right too.
#[derive(Clone, Debug)]
pub struct Accumulation {
    /// Adds the gradients of a micro-batch to the slots `path/accumulated`.
    pub add: Vec<Update>,
    /// Adds the last micro-batch's, moves the parameters, empties the slots.
    pub apply: Step,
}

impl<R: Rule> Optimizer<R> {
    /// As [`Optimizer::minimize`], in several micro-batches a step.
    ///
    /// # Panics
    /// As [`Optimizer::minimize`].
    #[track_caller]
    pub fn minimize_accumulated(&self, loss: &Tensor) -> Accumulation {
        let parameters = parameters_of(loss);
        let gradients = differentiate(loss, &parameters);
        let carried = updates_of([loss]);
        let count = Variable::new("accumulated_batches", Array::scalar(0.0f32)).not_trainable();
        let (mut add, mut empty, mut means) = (Vec::new(), Vec::new(), Vec::new());
        scope("accumulate", || {
            let next_count = count.tensor() + 1.0;
            for (variable, gradient) in gradients {
                let dtype = if gradient.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
                let sum = slot(&variable, "accumulated", variable.core().shape(), dtype, 0.0);
                let next = sum.tensor() + gradient.cast(dtype);
                means.push((variable, (&next / next_count.cast(dtype)).cast(gradient.dtype())));
                empty.push(sum.assign(&sum.zeros_like()));
                add.push(sum.assign(&next));
            }
            add.push(count.assign(&next_count));
            empty.push(count.assign(&count.zeros_like()));
        });
        add.extend(carried.iter().cloned());
        let mut apply = self.apply(means);
        apply.updates.extend(empty);
        apply.updates.extend(carried);
        Accumulation { add, apply }
    }
}
