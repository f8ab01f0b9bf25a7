//! [`Accumulation`]: gradients added up over micro-batches, for batches that do not fit at once.

use thalweg_graph::{DType, IntoSize, Size, Tensor, Update, Variable, scope, size_number};

use crate::optim::gradients::working_dtype;
use crate::optim::optimizer::Optimizer;
use crate::optim::rule::Rule;
use crate::optim::slots::Slots;
use crate::optim::step::Step;

/// The graphs of a training step: of one batch [`apply`](Accumulation::apply) alone; of several micro-batches
/// [`add`](Accumulation::add) for all but the last, then [`apply`](Accumulation::apply), which adds the last and moves the
/// parameters by the mean gradient. With mean losses this equals one step on all of them as one batch: gradients are
/// weighted by rows, so micro-batches may differ in size and rounds in length.
#[derive(Clone, Debug)]
pub struct Accumulation {
    /// What is made smaller.
    pub loss: Tensor,
    /// Adds the gradients of a micro-batch to the slots `path/accumulated`; nothing if a step is of one batch.
    pub add: Vec<Update>,
    /// Adds the last micro-batch's, moves the parameters, empties the slots.
    pub apply: Step,
}

impl<R: Rule> Optimizer<R> {
    /// As [`Optimizer::minimize`], in several micro-batches a step, of `rows` rows each: the name of the batch's size.
    ///
    /// # Panics
    /// As [`Optimizer::minimize`].
    #[track_caller]
    pub fn minimize_accumulated(&self, loss: &Tensor, rows: impl IntoSize) -> Accumulation {
        self.graphs(loss, Some(&rows.into_size()), &mut ())
    }
}

/// The mean gradients, the updates that add a micro-batch's to the slots, and those that empty them.
pub(super) fn accumulate(
    slots: &Slots,
    gradients: Vec<(Variable, Tensor)>,
    rows: &Size,
) -> (Vec<(Variable, Tensor)>, Vec<Update>, Vec<Update>) {
    let count = slots.number("accumulated_rows", DType::F32);
    let (mut means, mut add, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    scope("accumulate", || {
        let next_count = count.tensor() + size_number(rows, DType::F32);
        for (variable, gradient) in gradients {
            let dtype = working_dtype(gradient.dtype());
            let sum = slots.of(&variable, "accumulated", variable.core().shape(), dtype, 0.0);
            let next = sum.tensor() + gradient.cast(dtype) * size_number(rows, dtype);
            means.push((variable, (&next / next_count.cast(dtype)).cast(gradient.dtype())));
            empty.push(sum.assign(&sum.zeros_like()));
            add.push(sum.assign(&next));
        }
        add.push(count.assign(&next_count));
        empty.push(count.assign(&count.zeros_like()));
    });
    (means, add, empty)
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, Variable, placeholder};

    use super::*;
    use crate::loss::squared_error;
    use crate::optim::Adam;
    use crate::testing::{State, assert_close};

    #[test]
    fn micro_batches_equal_one_batch() {
        let build = || {
            let w = Variable::new("w", Array::from([[0.5], [-0.25]]));
            let x = placeholder("x", DType::F64, ("n", 2));
            let y = placeholder("y", DType::F64, ("n", 1));
            (w.clone(), squared_error(&x.matmul(&w), &y))
        };
        let rows = |from: usize, to: usize| {
            let x = Array::from([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0], [-1.0, 1.0], [0.25, 2.0], [1.5, 1.0]]);
            let y = Array::from([[1.0], [0.0], [-2.0], [0.5], [1.0], [3.0]]);
            [("x", x.rows(from..to)), ("y", y.rows(from..to))]
        };
        let adam = Adam::new(0.1).clip_norm(1.0);
        let (w_whole, loss) = build();
        let whole = adam.minimize(&loss);
        let (w_parts, loss) = build();
        let parts = adam.minimize_accumulated(&loss, "n");
        let (mut a, mut b) = (State::default(), State::default());
        // Three micro-batches a step, once of different sizes; the last round has two.
        for round in [&[0, 2, 4, 6][..], &[0, 1, 4, 6], &[0, 2, 4]] {
            a.run(&whole.updates, &rows(round[0], round[round.len() - 1]));
            for (position, pair) in round.windows(2).enumerate() {
                let last = position == round.len() - 2;
                let before = b.read(&w_parts);
                b.run(if last { &parts.apply.updates } else { &parts.add }, &rows(pair[0], pair[1]));
                assert_eq!(b.read(&w_parts) != before, last, "parameters move with the last micro-batch only");
            }
            assert_close(&b.read(&w_parts), &a.read(&w_whole), 1e-12);
        }
        assert_eq!(b.read(&parts.apply.counter), [3.0]);
    }
}
