//! [`Step`]: what an optimizer makes of a loss.

use std::sync::Arc;

use thalweg_graph::{Array, Fetch, Root, Tensor, Update, Variable};

use crate::optim::slots::Slots;

/// The training graph of one step: fetched from a session, it changes parameters, slots and counter together.
#[derive(Clone, Debug)]
pub struct Step {
    /// All changes: parameters and their slots in the order of the parameters' names, the step counter, what layers
    /// carry ([`Tensor::with_update`]).
    pub updates: Vec<Update>,
    /// The gradient of each parameter, before clipping and decay, in the order of the names.
    pub gradients: Vec<(Arc<str>, Tensor)>,
    /// √Σ g² over all gradients before clipping; costs nothing unless it is fetched or clipped by.
    pub gradient_norm: Tensor,
    /// The norm above which the gradients are scaled down, if there is one ([`crate::Optimizer::clip_norm`]).
    pub clip_norm: Option<f64>,
    /// The learning rate of the step, before the factors of groups.
    pub learning_rate: Tensor,
    /// How many steps have been made, an i64.
    pub counter: Variable,
    pub(crate) slots: Slots,
}

impl Step {
    /// The step of these parts: of a graph that was built before, written down and read back.
    pub fn from_parts(
        updates: Vec<Update>,
        gradients: Vec<(Arc<str>, Tensor)>,
        gradient_norm: Tensor,
        clip_norm: Option<f64>,
        learning_rate: Tensor,
        counter: Variable,
    ) -> Step {
        Step { updates, gradients, gradient_norm, clip_norm, learning_rate, counter, slots: Slots::default() }
    }

    /// The next value of `variable`, if the step changes it.
    pub fn next(&self, variable: &Variable) -> Option<&Tensor> {
        self.updates.iter().find(|update| &update.variable == variable).map(|update| &update.value)
    }
}

impl Fetch for Step {
    type Output = ();

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        self.updates.roots(visit);
    }

    fn output(&self, _: &mut dyn Iterator<Item = Array>) {}
}
