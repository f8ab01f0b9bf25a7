//! [`Lion`]: steps of one size.

use thalweg_graph::Tensor;

use crate::optim::optimizer::Optimizer;
use crate::optim::rule::{Decay, ParameterStep, Range, Rule, Setting};

/// Lion (Chen et al. 2023): w ← w − lr·sign(β₁m + (1−β₁)g), then m ← β₂m + (1−β₂)g; weight decay is decoupled. β₁ 0.9,
/// β₂ 0.99; the learning rate is a third to a tenth of Adam's.
pub type Lion = Optimizer<LionRule>;

/// The rule of [`Lion`].
#[derive(Clone, Debug, PartialEq)]
pub struct LionRule {
    beta1: f64,
    beta2: f64,
}

impl Default for LionRule {
    fn default() -> Self {
        LionRule { beta1: 0.9, beta2: 0.99 }
    }
}

impl Lion {
    /// The share of the past in the step, and the rate at which the average forgets.
    ///
    /// # Panics
    /// If one is outside [0, 1).
    #[track_caller]
    pub fn betas(self, beta1: f64, beta2: f64) -> Self {
        self.with("beta1", beta1).with("beta2", beta2)
    }
}

impl Rule for LionRule {
    fn name(&self) -> &'static str {
        "lion"
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            Setting::new("beta1", &mut self.beta1, Range::Fraction),
            Setting::new("beta2", &mut self.beta2, Range::Fraction),
        ]
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.beta1)
    }

    fn decay(&self) -> (Decay, f64) {
        (Decay::Decoupled, 0.0)
    }

    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let (slot, gradient, beta1) = (cx.slot("first_moment", 0.0), cx.gradient.clone(), cx.momentum());
        let direction = (slot.tensor() * &beta1 + &gradient * (1.0 - beta1)).sign();
        cx.decayed_average(&slot, self.beta2, &gradient);
        cx.descend(direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_rule;

    #[test]
    fn lion() {
        let mut m = [0.0f64; 4];
        check_rule(Lion::new(0.3).betas(0.9, 0.95).weight_decay(0.1), move |_, w, g| {
            for i in 0..4 {
                let direction = (0.9 * m[i] + 0.1 * g[i]).signum();
                w[i] = w[i] * (1.0 - 0.3 * 0.1) - 0.3 * direction;
                m[i] = 0.95 * m[i] + 0.05 * g[i];
            }
        });
    }
}
