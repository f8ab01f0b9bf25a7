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

/// What a member of the family does in its own way; if it says nothing it is [`Adam`].
pub trait Flavor: fmt::Debug + Clone + Send + Sync + Sized + 'static {
    /// The name of the optimizer.
    const NAME: &'static str;
    /// ε if not said.
    const EPS: f64 = 1e-8;
    /// What weight decay means, and how much there is if not said.
    const DECAY: (Decay, f64) = (Decay::Coupled, 0.0);

    /// See [`Rule::shared`]: \[lr·s, ε·r\] with s and r of the corrections, one multiplication less per number.
    fn shared(rule: &AdamRule<Self>, scalars: &Scalars) -> Vec<Tensor> {
        let [scale, eps] = rule.corrections(scalars);
        vec![scale * &scalars.lr, eps]
    }

    /// See [`Rule::next`].
    fn next(rule: &AdamRule<Self>, cx: &mut ParameterStep<'_>) -> Tensor {
        let ratio = rule.ratio(cx);
        &cx.parameter - ratio * &cx.shared[0]
    }
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
    /// If it is not above 0 or not finite.
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
            Setting::new("eps", &mut self.eps, Range::Positive),
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
    fn corrections(&self, scalars: &Scalars) -> [Tensor; 2] {
        let root = scalars.bias_correction(self.beta2).sqrt();
        let scale = &root / scalars.momentum_correction(self.beta1);
        [scale, root * self.eps]
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
}

/// What makes [`AdamW`].
#[derive(Clone, Debug, PartialEq)]
pub struct DecoupledDecay;

impl Flavor for DecoupledDecay {
    const NAME: &'static str = "adamw";
    const DECAY: (Decay, f64) = (Decay::Decoupled, 0.01);
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

    /// \[s, ε·r\]
    fn shared(rule: &AdamRule<Self>, scalars: &Scalars) -> Vec<Tensor> {
        rule.corrections(scalars).to_vec()
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_rule;

    const LR: f64 = 0.1;
    const EPS: f64 = 1e-8;

    /// m and v of four numbers, and what they are without bias.
    #[derive(Default)]
    struct HostMoments {
        m: [f64; 4],
        v: [f64; 4],
    }

    impl HostMoments {
        fn advance(&mut self, t: i32, g: &[f64], beta1: f64, beta2: f64) -> ([f64; 4], [f64; 4]) {
            for (i, g) in g.iter().enumerate() {
                self.m[i] = beta1 * self.m[i] + (1.0 - beta1) * g;
                self.v[i] = beta2 * self.v[i] + (1.0 - beta2) * g * g;
            }
            (self.m.map(|m| m / (1.0 - beta1.powi(t))), self.v.map(|v| v / (1.0 - beta2.powi(t))))
        }
    }

    #[test]
    fn adam() {
        let mut moments = HostMoments::default();
        check_rule(Adam::new(LR).betas(0.8, 0.99).eps(1e-3), move |t, w, g| {
            let (m, v) = moments.advance(t, g, 0.8, 0.99);
            (0..4).for_each(|i| w[i] -= LR * m[i] / (v[i].sqrt() + 1e-3));
        });
    }

    #[test]
    fn adam_with_coupled_decay() {
        let mut moments = HostMoments::default();
        check_rule(Adam::new(LR).weight_decay(0.3), move |t, w, g| {
            let g: Vec<f64> = (0..4).map(|i| g[i] + 0.3 * w[i]).collect();
            let (m, v) = moments.advance(t, &g, 0.9, 0.999);
            (0..4).for_each(|i| w[i] -= LR * m[i] / (v[i].sqrt() + EPS));
        });
    }

    #[test]
    fn adamw_decays_beside_the_step() {
        let mut moments = HostMoments::default();
        check_rule(AdamW::new(LR), move |t, w, g| {
            let (m, v) = moments.advance(t, g, 0.9, 0.999);
            (0..4).for_each(|i| w[i] = w[i] * (1.0 - LR * 0.01) - LR * m[i] / (v[i].sqrt() + EPS));
        });
    }

    #[test]
    fn adamax() {
        let (mut m, mut u) = ([0.0; 4], [0.0f64; 4]);
        check_rule(Adamax::new(LR), move |t, w, g| {
            for i in 0..4 {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                u[i] = (0.999 * u[i]).max(g[i].abs() + EPS);
                w[i] -= LR / (1.0 - 0.9f64.powi(t)) * m[i] / u[i];
            }
        });
    }

    #[test]
    fn nadam() {
        let (mut moments, mut product) = (HostMoments::default(), 1.0);
        check_rule(NAdam::new(LR), move |t, w, g| {
            let momentum = |t: i32| 0.9 * (1.0 - 0.5 * 0.96f64.powf(0.004 * f64::from(t)));
            let (now, next) = (momentum(t), momentum(t + 1));
            product *= now;
            let (_, v) = moments.advance(t, g, 0.9, 0.999);
            let direction = |i: usize| {
                let of_gradient = (1.0 - now) / (1.0 - product) * g[i];
                of_gradient + next / (1.0 - product * next) * moments.m[i]
            };
            (0..4).for_each(|i| w[i] -= LR * direction(i) / (v[i].sqrt() + EPS));
        });
    }

    #[test]
    fn lamb() {
        let mut moments = HostMoments::default();
        check_rule(Lamb::new(LR).weight_decay(0.02), move |t, w, g| {
            let (m, v) = moments.advance(t, g, 0.9, 0.999);
            let u: Vec<f64> = (0..4).map(|i| m[i] / (v[i].sqrt() + 1e-6) + 0.02 * w[i]).collect();
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let trust = norm(w) / norm(&u);
            (0..4).for_each(|i| w[i] -= LR * trust * u[i]);
        });
    }

    #[test]
    fn lamb_moves_a_parameter_of_zeros() {
        use crate::testing::State;
        use thalweg_graph::{Array, Variable};
        let w = Variable::new("w", Array::from([[0.0, 0.0]]));
        let step = Lamb::new(LR).minimize(&(&w - 1.0).square().sum());
        let mut state = State::default();
        state.run(&step.updates, &[]);
        assert!(state.read(&w).iter().all(|w| (w - LR).abs() < 1e-5), "{:?}", state.read(&w));
    }

    #[test]
    fn few_nodes_for_each_parameter() {
        use thalweg_graph::{Array, DType, Graph, Variable};
        let w = Variable::new("w", Array::zeros(&[8, 8], DType::F32));
        let step = Adam::new(1e-3).apply(vec![(w.clone(), w.ones_like())]);
        let graph = Graph::capture([], &step.updates);
        let arithmetic =
            |op: &thalweg_graph::Op| matches!(op, thalweg_graph::Op::Unary(_) | thalweg_graph::Op::Binary(_));
        let count = graph.nodes().filter(|node| node.meta.shape.rank() == 2 && arithmetic(&node.op)).count();
        // m: 3, v: 4, √v + ε: 2, m/…: 1, ·lr: 1, w − …: 1.
        assert_eq!(count, 12);
    }

    #[test]
    #[should_panic(expected = "adam: beta2 is 1; it must be at least 0 and below 1")]
    fn a_beta_of_one_is_refused() {
        let _ = Adam::new(1e-3).betas(0.9, 1.0);
    }
}
