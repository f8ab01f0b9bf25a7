//! [`Sgd`]: gradient descent with momentum.

use thalweg_graph::Tensor;

use crate::optim::optimizer::Optimizer;
use crate::optim::rule::{ParameterStep, Range, Rule, Setting};

/// Gradient descent: w ← w − lr·g; with momentum μ: v ← μv + g, w ← w − lr·v; after Nesterov: w ← w − lr·(g + μv)
/// (Sutskever et al. 2013, in PyTorch's form).
///
/// ```
/// use thalweg_nn::Sgd;
/// let plain = Sgd::new(0.1);
/// let classic = Sgd::new(0.1).momentum(0.9).nesterov().weight_decay(1e-4);
/// ```
pub type Sgd = Optimizer<SgdRule>;

/// The rule of [`Sgd`].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SgdRule {
    momentum: f64,
    nesterov: f64,
}

impl Sgd {
    /// With momentum μ, usually 0.9.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn momentum(self, momentum: f64) -> Sgd {
        self.with("momentum", momentum)
    }

    /// Looks ahead along the momentum; without momentum nothing changes.
    #[track_caller]
    pub fn nesterov(self) -> Sgd {
        self.with("nesterov", 1.0)
    }
}

impl Rule for SgdRule {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            Setting::new("momentum", &mut self.momentum, Range::Fraction),
            Setting::new("nesterov", &mut self.nesterov, Range::Switch),
        ]
    }

    fn momentum(&self) -> Option<f64> {
        (self.momentum > 0.0).then_some(self.momentum)
    }

    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let gradient = cx.gradient.clone();
        if self.momentum == 0.0 {
            return cx.descend(gradient);
        }
        let (slot, momentum) = (cx.slot("velocity", 0.0), cx.momentum());
        let velocity = cx.set(&slot, slot.tensor() * &momentum + &gradient);
        cx.descend(if self.nesterov == 1.0 { gradient + velocity * momentum } else { velocity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_rule;

    #[test]
    fn plain() {
        check_rule(Sgd::new(0.05), |_, w, g| (0..4).for_each(|i| w[i] -= 0.05 * g[i]));
    }

    #[test]
    fn with_momentum_and_coupled_decay() {
        let mut v = [0.0; 4];
        check_rule(Sgd::new(0.05).momentum(0.9).weight_decay(0.1), move |_, w, g| {
            for i in 0..4 {
                v[i] = 0.9 * v[i] + g[i] + 0.1 * w[i];
                w[i] -= 0.05 * v[i];
            }
        });
    }

    #[test]
    fn after_nesterov() {
        let mut v = [0.0; 4];
        check_rule(Sgd::new(0.05).momentum(0.8).nesterov(), move |_, w, g| {
            for i in 0..4 {
                v[i] = 0.8 * v[i] + g[i];
                w[i] -= 0.05 * (g[i] + 0.8 * v[i]);
            }
        });
    }

    #[test]
    #[should_panic(expected = "sgd: momentum is 1; it must be at least 0 and below 1")]
    fn a_momentum_of_one_is_refused() {
        let _ = Sgd::new(0.1).momentum(1.0);
    }
}
