//! [`Adam`] and its family: averages of gradients, divided by averages of their size.

use std::fmt;
use std::marker::PhantomData;

use thalweg_graph::Tensor;

use crate::optim::optimizer::Optimizer;
use crate::optim::rule::{Decay, ParameterStep, Range, Rule, Scalars, Setting};

/// Adam (Kingma and Ba 2015): m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − lr·m̂/(√v̂ + ε) with
/// m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ). β₁ 0.9, β₂ 0.999, ε 1e-8.
///
/// ```
/// use thalweg_nn::Adam;
/// let adam = Adam::new(1e-3).betas(0.9, 0.98).eps(1e-9).clip_norm(1.0);
/// ```
pub type Adam = Optimizer<AdamRule<Plain>>;

/// [`Adam`] with decoupled weight decay, 0.01 if not said (Loshchilov and Hutter 2019).
pub type AdamW = Optimizer<AdamRule<DecoupledDecay>>;

/// Adam under the maximum norm (Kingma and Ba 2015, section 7): u ← max(β₂u, |g| + ε), w ← w − lr/(1−β₁ᵗ)·m/u.
pub type Adamax = Optimizer<AdamRule<MaximumNorm>>;

/// Adam with Nesterov momentum (Dozat 2016) and its momentum schedule μₜ = β₁(1 − ½·0.96^(0.004t)):
/// w ← w − lr·(μₜ₊₁m/(1 − μₜ₊₁Πμ) + (1−μₜ)g/(1 − Πμ))/(√v̂ + ε), Πμ = μ₁⋯μₜ.
pub type NAdam = Optimizer<AdamRule<NesterovMomentum>>;

/// LAMB (You et al. 2020): u = m̂/(√v̂ + ε) + d·w, w ← w − lr·(‖w‖/‖u‖)·u, parameter by parameter; the ratio is 1 where a
/// norm is 0. ε 1e-6.
pub type Lamb = Optimizer<AdamRule<LayerWise>>;

/// The rule of [`Adam`] and its family.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamRule<F> {
    beta1: f64,
    beta2: f64,
    eps: f64,
    flavor: PhantomData<F>,
}

/// What a member of the family does in its own way.
pub trait Flavor: fmt::Debug + Clone + Sized {
    /// The name of the optimizer.
    const NAME: &'static str;
    /// ε if not said.
    const EPS: f64 = 1e-8;
    /// What weight decay means, and how much there is if not said.
    const DECAY: (Decay, f64) = (Decay::Coupled, 0.0);

    /// See [`Rule::shared`].
    fn shared(rule: &AdamRule<Self>, scalars: &Scalars) -> Vec<Tensor> {
        rule.corrections(scalars)
    }

    /// See [`Rule::next`].
    fn next(rule: &AdamRule<Self>, cx: &mut ParameterStep<'_>) -> Tensor;
}

impl<F: Flavor> Default for AdamRule<F> {
    fn default() -> Self {
        AdamRule { beta1: 0.9, beta2: 0.999, eps: F::EPS, flavor: PhantomData }
    }
}

impl<F: Flavor> Optimizer<AdamRule<F>> {
    /// The rates at which the averages of gradients and of their size forget.
    ///
    /// # Panics
    /// If one is outside [0, 1).
    #[track_caller]
    pub fn betas(self, beta1: f64, beta2: f64) -> Self {
        self.with("beta1", beta1).with("beta2", beta2)
    }

    /// What keeps the division finite.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(self, eps: f64) -> Self {
        self.with("eps", eps)
    }
}

impl<F: Flavor> Rule for AdamRule<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        vec![
            Setting::new("beta1", &mut self.beta1, Range::Fraction),
            Setting::new("beta2", &mut self.beta2, Range::Fraction),
            Setting::new("eps", &mut self.eps, Range::NotNegative),
        ]
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.beta1)
    }

    fn decay(&self) -> (Decay, f64) {
        F::DECAY
    }

    fn shared(&self, scalars: &Scalars) -> Vec<Tensor> {
        F::shared(self, scalars)
    }

    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        F::next(self, cx)
    }
}

impl<F> AdamRule<F> {
    /// Both corrections drawn out of the elementwise part, exactly:
    /// m̂/(√v̂ + ε) = s·m/(√v + ε·r) with r = √(1−β₂ᵗ), s = r/(1−β₁ᵗ). Gives \[s, ε·r\].
    fn corrections(&self, scalars: &Scalars) -> Vec<Tensor> {
        let root = scalars.bias_correction(self.beta2).sqrt();
        let scale = &root / scalars.momentum_correction(self.beta1);
        vec![scale, root * self.eps]
    }

    /// The next m.
    fn first_moment(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let (slot, gradient) = (cx.slot("first_moment", 0.0), cx.gradient.clone());
        cx.momentum_average(&slot, &gradient)
    }

    /// The next v.
    fn second_moment(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let (slot, square) = (cx.slot("second_moment", 0.0), cx.gradient.square());
        cx.decayed_average(&slot, self.beta2, &square)
    }

    /// m/(√v + ε·r): the step without the factor s.
    fn ratio(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        let (first, second) = (self.first_moment(cx), self.second_moment(cx));
        first / (second.sqrt() + &cx.shared[1])
    }
}

/// What makes [`Adam`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plain;

impl Flavor for Plain {
    const NAME: &'static str = "adam";

    /// \[lr·s, ε·r\]: one multiplication less per number.
    fn shared(rule: &AdamRule<Self>, scalars: &Scalars) -> Vec<Tensor> {
        scaled_by_lr(rule.corrections(scalars), scalars)
    }

    fn next(rule: &AdamRule<Self>, cx: &mut ParameterStep<'_>) -> Tensor {
        let ratio = rule.ratio(cx);
        &cx.parameter - ratio * &cx.shared[0]
    }
}

fn scaled_by_lr(mut shared: Vec<Tensor>, scalars: &Scalars) -> Vec<Tensor> {
    shared[0] = &shared[0] * &scalars.lr;
    shared
}

/// What makes [`AdamW`].
#[derive(Clone, Debug, PartialEq)]
pub struct DecoupledDecay;

impl Flavor for DecoupledDecay {
    const NAME: &'static str = "adamw";
    const DECAY: (Decay, f64) = (Decay::Decoupled, 0.01);

    fn shared(rule: &AdamRule<Self>, scalars: &Scalars) -> Vec<Tensor> {
        scaled_by_lr(rule.corrections(scalars), scalars)
    }

    fn next(rule: &AdamRule<Self>, cx: &mut ParameterStep<'_>) -> Tensor {
        let ratio = rule.ratio(cx);
        &cx.parameter - ratio * &cx.shared[0]
    }
}

/// What makes [`Adamax`].
#[derive(Clone, Debug, PartialEq)]
pub struct MaximumNorm;

impl Flavor for MaximumNorm {
    const NAME: &'static str = "adamax";

    /// \[lr/(1−β₁ᵗ)\]
    fn shared(rule: &AdamRule<Self>, scalars: &Scalars) -> Vec<Tensor> {
        vec![&scalars.lr / scalars.momentum_correction(rule.beta1)]
    }

    fn next(rule: &AdamRule<Self>, cx: &mut ParameterStep<'_>) -> Tensor {
        let first = rule.first_moment(cx);
        let slot = cx.slot("infinity_norm", 0.0);
        let size = cx.gradient.abs() + rule.eps;
        let norm = cx.set(&slot, (slot.tensor() * rule.beta2).maximum(size));
        &cx.parameter - first / norm * &cx.shared[0]
    }
}

/// What makes [`NAdam`].
#[derive(Clone, Debug, PartialEq)]
pub struct NesterovMomentum;

/// How fast the momentum of [`NAdam`] grows to β₁.
const NADAM_MOMENTUM_DECAY: f64 = 0.004;

impl Flavor for NesterovMomentum {
    const NAME: &'static str = "nadam";

    /// \[μₜ, μₜ₊₁, √(1−β₂ᵗ)\]
    fn shared(rule: &AdamRule<Self>, scalars: &Scalars) -> Vec<Tensor> {
        let beta1 = scalars.momentum.as_ref().expect("Adam's momentum is β₁");
        let momentum = |t: Tensor| beta1 * (1.0 - (t * (NADAM_MOMENTUM_DECAY * 0.96f64.ln())).exp() * 0.5);
        vec![momentum(scalars.t.clone()), momentum(&scalars.t + 1.0), scalars.bias_correction(rule.beta2).sqrt()]
    }

    fn next(rule: &AdamRule<Self>, cx: &mut ParameterStep<'_>) -> Tensor {
        let [now, next, root] = cx.shared else { unreachable!("as many as `shared` gives") };
        let slot = cx.scalar_slot("momentum_product", 1.0);
        let product = cx.set(&slot, slot.tensor() * now);
        let (first, second) = (rule.first_moment(cx), rule.second_moment(cx));
        let of_moment = next / (1.0 - next * &product);
        let of_gradient = (1.0 - now) / (1.0 - product);
        let size = second.sqrt() / root + rule.eps;
        cx.descend((first * of_moment + &cx.gradient * of_gradient) / size)
    }
}

/// What makes [`Lamb`].
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWise;

impl Flavor for LayerWise {
    const NAME: &'static str = "lamb";
    const EPS: f64 = 1e-6;
    const DECAY: (Decay, f64) = (Decay::InRule, 0.0);

    fn next(rule: &AdamRule<Self>, cx: &mut ParameterStep<'_>) -> Tensor {
        let mut direction = rule.ratio(cx) * &cx.shared[0];
        if cx.weight_decay > 0.0 {
            direction = direction + &cx.parameter * cx.weight_decay;
        }
        let norm = |x: &Tensor| x.square().sum().sqrt();
        let (of_parameter, of_direction) = (norm(&cx.parameter), norm(&direction));
        let both = of_parameter.greater(0.0).logical_and(of_direction.greater(0.0));
        let trust = both.select(&(of_parameter / both.select(&of_direction, 1.0)), 1.0);
        cx.descend(direction * trust)
    }
}
