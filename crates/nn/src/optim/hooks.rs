//! [`Hooks`]: what changes a training step while it is built.

use thalweg_graph::{Tensor, Variable};

use crate::optim::step::Step;

/// What changes a training step while it is built: the loss, the gradients, the rates, the finished step. All of it
/// becomes part of the graph, so that what is changed costs no more than if it had been written there.
///
/// `()` changes nothing.
///
/// ```
/// use thalweg_graph::{Tensor, Variable};
/// use thalweg_nn::{Sgd, optim::Hooks};
///
/// /// The sign of each gradient in its place.
/// struct Signs;
///
/// impl Hooks for Signs {
///     fn gradients(&mut self, gradients: Vec<(Variable, Tensor)>) -> Vec<(Variable, Tensor)> {
///         gradients.into_iter().map(|(variable, gradient)| (variable, gradient.sign())).collect()
///     }
/// }
///
/// let w = Variable::new("w", 3.0);
/// let step = Sgd::new(0.1).graphs(&w.square(), None, &mut Signs).apply;
/// assert_eq!(step.gradients.len(), 1);
/// ```
pub trait Hooks {
    /// What is made smaller in place of `loss`: one float again.
    fn loss(&mut self, loss: Tensor) -> Tensor {
        loss
    }

    /// What moves the parameters in place of the gradients of the loss: as many, of the same dtypes and shapes. Clipping
    /// and decay of the optimizer come after it. [`Step::gradients`] and [`Step::gradient_norm`] are those of before.
    fn gradients(&mut self, gradients: Vec<(Variable, Tensor)>) -> Vec<(Variable, Tensor)> {
        gradients
    }

    /// The learning rate in place of `rate`, a number without axes: of the parameters of the group with this prefix, the
    /// factor of the group included, or of those that are in no group. `made` is the number of steps made before, of the
    /// same dtype. Asked as often as the rate is needed; the answer to the same question must be the same.
    fn rate(&mut self, group: Option<&str>, rate: Tensor, made: &Tensor) -> Tensor {
        let _ = (group, made);
        rate
    }

    /// Changes the finished step: more updates, other values.
    fn step(&mut self, step: &mut Step) {
        let _ = step;
    }
}

impl Hooks for () {}
