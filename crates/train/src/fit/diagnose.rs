//! Which tensor went wrong first.
//!
//! When the loss is seen to be NaN, the step that made it so has been taken. Training is a function of its state: so the
//! last good state is loaded, the steps behind it are made again, and of the bad one every tensor is looked at.

use thalweg_data::Batch;
use thalweg_run::graph::array::{Element, with_elements};
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Array, Op, Tensor};

use super::{Fit, FitError};
use crate::diagnosis::Statistics;
use crate::evaluate::scalar;

impl Fit<'_, '_> {
    /// The error for the step just made. The session is as the last good state then.
    pub(super) fn diagnose(&mut self, what: String) -> Result<FitError, FitError> {
        let bad = self.place.step;
        self.restore()?;
        let mut batches = self.batches()?;
        while self.place.step + 1 < bad {
            let round = self.next_round(&mut batches)?;
            self.make_step(&round)?;
        }
        let mut round = self.next_round(&mut batches)?;
        while round.batches.is_empty() {
            self.place.take(&round, self.training.data.n_batches());
            round = self.next_round(&mut batches)?;
        }
        let origin =
            self.origin(&round.batches)?.unwrap_or_else(|| "no tensor of the step shows where it begins".into());
        self.restore()?;
        let kept = match &self.checkpoint {
            Some(path) => format!("the last good checkpoint is {}", path.display()),
            None if self.options.run.is_some() => "no checkpoint had been saved yet".into(),
            None => format!("the session is as after step {}", self.place.step),
        };
        Ok(FitError::Diverged { step: bad, what, origin, kept })
    }

    fn restore(&mut self) -> Result<(), FitError> {
        self.training.session.load_state(&self.good.state)?;
        (self.place, self.carried) = (self.good.place.clone(), self.good.carried.clone());
        self.callbacks.recall(&self.good.memories).map(drop)
    }

    /// The first tensor of the step on `round` that is not finite, in words. Where the loss or the gradients are out of
    /// range, it is looked for among what they depend on: clipping makes a NaN of an infinite gradient.
    fn origin(&self, round: &[Batch]) -> Result<Option<String>, FitError> {
        let session = self.training.session;
        let seen = [&self.graphs.loss, &self.graphs.apply.gradient_norm];
        let updates = self.graphs.apply.updates.iter().map(|update| &update.value);
        // A constant may be infinite on purpose.
        let of_floats = |tensor: &Tensor| tensor.dtype().is_float() && !matches!(tensor.op(), Op::Constant(_));
        let causes: Vec<Tensor> = topological(seen).into_iter().filter(of_floats).collect();
        let all: Vec<Tensor> = topological(seen.into_iter().chain(updates)).into_iter().filter(of_floats).collect();
        for (position, batch) in round.iter().enumerate() {
            let numbers = session.run(&seen[..], self.inputs.feeds_after(batch, &self.carried)?)?;
            let tensors = if numbers.iter().all(|number| scalar(number).is_finite()) { &all } else { &causes };
            let values = session.run(tensors, self.inputs.feeds_after(batch, &self.carried)?)?;
            for (what, holds) in [("NaN", (|x| x.is_nan()) as fn(f64) -> bool), ("an infinity", f64::is_infinite)] {
                let found =
                    tensors.iter().zip(&values).find_map(|(tensor, value)| Some((tensor, first(value, holds)?)));
                if let Some((tensor, index)) = found {
                    let inputs = self.inputs_of(tensor, batch)?;
                    return Ok(Some(format!(
                        "the first tensor with {what} is `{}`, {} (made at {}), at index {index:?}{inputs}",
                        tensor.display_name(),
                        tensor.meta(),
                        tensor.location()
                    )));
                }
            }
            if position + 1 < round.len() {
                session.run(&self.graphs.add, self.inputs.feeds_after(batch, &self.carried)?)?;
            }
        }
        Ok(None)
    }

    /// What a tensor was computed from, in words.
    fn inputs_of(&self, tensor: &Tensor, batch: &Batch) -> Result<String, FitError> {
        // With the loss, so that the sizes of the batch are known.
        let fetches = (&tensor.inputs().to_vec(), &self.graphs.loss);
        let (values, _) = self.training.session.run(fetches, self.inputs.feeds_after(batch, &self.carried)?)?;
        let describe = |(input, value): (&Tensor, &Array)| {
            format!("`{}` {}: {}", input.display_name(), input.meta(), Statistics::of(value))
        };
        let inputs: Vec<String> = tensor.inputs().iter().zip(&values).map(describe).collect();
        Ok(if inputs.is_empty() { String::new() } else { format!(", from {}", inputs.join(" and ")) })
    }
}

/// The index of the first element for which `holds`.
fn first(array: &Array, holds: fn(f64) -> bool) -> Option<Vec<usize>> {
    let flat = with_elements!(array.storage(), elements => elements.iter().position(|x| holds(x.to_f64())))?;
    let mut rest = flat;
    let mut index: Vec<usize> = array
        .shape()
        .iter()
        .rev()
        .map(|&size| {
            let at = rest % size;
            rest /= size;
            at
        })
        .collect();
    index.reverse();
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_with_its_index() {
        let array = Array::from([[1.0f32, 2.0, 3.0], [4.0, f32::NAN, f32::INFINITY]]);
        assert_eq!(first(&array, f64::is_nan), Some(vec![1, 1]));
        assert_eq!(first(&array, f64::is_infinite), Some(vec![1, 2]));
        assert_eq!(first(&Array::from(1.0f32), f64::is_nan), None);
    }
}
