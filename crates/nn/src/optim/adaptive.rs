//! [`Adagrad`], [`Adadelta`], [`RmsProp`]: steps divided by the size of past gradients.

use thalweg_graph::Tensor;

use crate::optim::optimizer::Optimizer;
use crate::optim::rule::{ParameterStep, Range, Rule, Setting};

/// Adagrad (Duchi, Hazan, Singer 2011): s ← s + g², w ← w − lr·g/(√s + ε). ε 1e-10.
pub type Adagrad = Optimizer<AdagradRule>;

/// The rule of [`Adagrad`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdagradRule {
    eps: f64,
}

impl Default for AdagradRule {
    fn default() -> Self {
        AdagradRule { eps: 1e-10 }
    }
}

impl Rule for AdagradRule {
    fn name(&self) -> &'static str {
        "adagrad"
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![Setting::new("eps", &mut self.eps, Range::Positive)]
    }

    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let slot = cx.slot("sum_of_squares", 0.0);
        let sum = cx.set(&slot, slot.tensor() + cx.gradient.square());
        cx.descend(&cx.gradient / (sum.sqrt() + self.eps))
    }
}

/// Adadelta (Zeiler 2012): s ← ρs + (1−ρ)g², d = g·√(u + ε)/√(s + ε), u ← ρu + (1−ρ)d², w ← w − lr·d. ρ 0.9, ε 1e-6;
/// its learning rate is usually 1.
pub type Adadelta = Optimizer<AdadeltaRule>;

/// The rule of [`Adadelta`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdadeltaRule {
    rho: f64,
    eps: f64,
}

impl Default for AdadeltaRule {
    fn default() -> Self {
        AdadeltaRule { rho: 0.9, eps: 1e-6 }
    }
}

impl Adadelta {
    /// The rate at which the averages forget.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn rho(self, rho: f64) -> Self {
        self.with("rho", rho)
    }
}

impl Rule for AdadeltaRule {
    fn name(&self) -> &'static str {
        "adadelta"
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![Setting::new("rho", &mut self.rho, Range::Fraction), Setting::new("eps", &mut self.eps, Range::Positive)]
    }

    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let (squares, steps) = (cx.slot("mean_square", 0.0), cx.slot("mean_square_step", 0.0));
        let gradient = cx.gradient.clone();
        let size = cx.decayed_average(&squares, self.rho, &gradient.square());
        let direction = gradient * ((steps.tensor() + self.eps) / (size + self.eps)).sqrt();
        cx.decayed_average(&steps, self.rho, &direction.square());
        cx.descend(direction)
    }
}

/// RMSprop (Hinton 2012, in PyTorch's form): s ← αs + (1−α)g², step g/(√s + ε), gathered by momentum if there is any;
/// centered: √(s − m²) instead of √s with m ← αm + (1−α)g (Graves 2013). α 0.99, ε 1e-8.
pub type RmsProp = Optimizer<RmsPropRule>;

/// The rule of [`RmsProp`].
#[derive(Clone, Debug, PartialEq)]
pub struct RmsPropRule {
    alpha: f64,
    eps: f64,
    momentum: f64,
    centered: f64,
}

impl Default for RmsPropRule {
    fn default() -> Self {
        RmsPropRule { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: 0.0 }
    }
}

impl RmsProp {
    /// The rate at which the average of squares forgets.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn alpha(self, alpha: f64) -> Self {
        self.with("alpha", alpha)
    }

    /// With momentum.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn momentum(self, momentum: f64) -> Self {
        self.with("momentum", momentum)
    }

    /// Divides by the standard deviation of the gradients instead of their root mean square.
    #[track_caller]
    pub fn centered(self) -> Self {
        self.with("centered", 1.0)
    }
}

impl Rule for RmsPropRule {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            Setting::new("alpha", &mut self.alpha, Range::Fraction),
            Setting::new("eps", &mut self.eps, Range::Positive),
            Setting::new("momentum", &mut self.momentum, Range::Fraction),
            Setting::new("centered", &mut self.centered, Range::Switch),
        ]
    }

    fn momentum(&self) -> Option<f64> {
        (self.momentum > 0.0).then_some(self.momentum)
    }

    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let (squares, gradient) = (cx.slot("mean_square", 0.0), cx.gradient.clone());
        let mut size = cx.decayed_average(&squares, self.alpha, &gradient.square());
        if self.centered == 1.0 {
            let means = cx.slot("mean", 0.0);
            let mean = cx.decayed_average(&means, self.alpha, &gradient);
            // Rounding may take the difference below 0.
            size = (size - mean.square()).maximum(0.0);
        }
        let step = gradient / (size.sqrt() + self.eps);
        if self.momentum == 0.0 {
            return cx.descend(step);
        }
        let (slot, momentum) = (cx.slot("velocity", 0.0), cx.momentum());
        let velocity = cx.set(&slot, slot.tensor() * momentum + step);
        cx.descend(velocity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_rule;

    const LR: f64 = 0.1;

    #[test]
    fn adagrad() {
        let mut s = [0.0; 4];
        check_rule(Adagrad::new(LR), move |_, w, g| {
            for i in 0..4 {
                s[i] += g[i] * g[i];
                w[i] -= LR * g[i] / (s[i].sqrt() + 1e-10);
            }
        });
    }

    #[test]
    fn adadelta() {
        let (mut s, mut u) = ([0.0; 4], [0.0; 4]);
        check_rule(Adadelta::new(1.0).rho(0.8), move |_, w, g| {
            for i in 0..4 {
                s[i] = 0.8 * s[i] + 0.2 * g[i] * g[i];
                let d = f64::sqrt((u[i] + 1e-6) / (s[i] + 1e-6)) * g[i];
                u[i] = 0.8 * u[i] + 0.2 * d * d;
                w[i] -= d;
            }
        });
    }

    #[test]
    fn rmsprop() {
        let mut s = [0.0; 4];
        check_rule(RmsProp::new(LR).alpha(0.9), move |_, w, g| {
            for i in 0..4 {
                s[i] = 0.9 * s[i] + 0.1 * g[i] * g[i];
                w[i] -= LR * g[i] / (s[i].sqrt() + 1e-8);
            }
        });
    }

    #[test]
    fn rmsprop_centered_with_momentum() {
        let (mut s, mut m, mut v) = ([0.0; 4], [0.0; 4], [0.0; 4]);
        check_rule(RmsProp::new(0.01).centered().momentum(0.5), move |_, w, g| {
            for i in 0..4 {
                s[i] = 0.99 * s[i] + 0.01 * g[i] * g[i];
                m[i] = 0.99 * m[i] + 0.01 * g[i];
                v[i] = 0.5 * v[i] + g[i] / (f64::sqrt(s[i] - m[i] * m[i]) + 1e-8);
                w[i] -= 0.01 * v[i];
            }
        });
    }
}
