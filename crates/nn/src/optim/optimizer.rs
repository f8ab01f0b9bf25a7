//! [`Optimizer`]: learning rate, parameter groups, weight decay and clipping, around a [`Rule`].

use std::collections::BTreeMap;

use thalweg_graph::{DType, Tensor, Update, Variable, on_behalf_of, scope, updates_of};

use crate::error::{NnError, or_panic};
use crate::init::Fans;
use crate::module::{is_below, is_weight};
use crate::optim::gradients::{differentiate, global_norm, parameters_of, working_dtype};
use crate::optim::group::Group;
use crate::optim::rule::{Decay, ParameterStep, Range, Rule, Scalars};
use crate::optim::slots::Slots;
use crate::optim::step::Step;
use crate::schedule::Schedule;

/// Makes the updates that minimize a loss. `Sgd`, `Adam` and the others are names for this type with their rule.
///
/// An optimizer owns its state: whatever steps it and its clones build share counter and slots (`path/slot`). Two
/// optimizers on the same parameters in one session would have slots of one name, which the session refuses.
///
/// | setting | meaning |
/// | --- | --- |
/// | [`lr`](Optimizer::new) | a number or a [`Schedule`] |
/// | [`weight_decay`](Optimizer::weight_decay) | coupled or not as is usual for the rule; exempt are parameters with fewer than two axes (biases, scales), unless [`decay_all`](Optimizer::decay_all) |
/// | [`clip_value`](Optimizer::clip_value), [`clip_norm`](Optimizer::clip_norm) | before decay, first by value |
/// | [`max_norm`](Optimizer::max_norm) | after the step, for parameters with at least two axes |
/// | [`group`](Optimizer::group) | another learning rate, decay or largest norm for what lies below a path |
#[derive(Clone, Debug)]
pub struct Optimizer<R = Box<dyn Rule>> {
    rule: R,
    lr: Schedule,
    momentum: Option<Schedule>,
    weight_decay: f64,
    decay: Decay,
    decay_all: bool,
    clip_value: Option<f64>,
    clip_norm: Option<f64>,
    max_norm: Option<f64>,
    groups: Vec<Group>,
    counter: String,
    slots: Slots,
}

impl<R: Rule + Default> Optimizer<R> {
    /// With this learning rate and the rule's usual settings.
    ///
    /// # Panics
    /// If the learning rate is NaN, infinite, negative or 0.
    #[track_caller]
    pub fn new(lr: impl Into<Schedule>) -> Self {
        or_panic(Optimizer::try_new(lr))
    }

    /// As [`Optimizer::new`], for a number that comes from outside.
    ///
    /// # Errors
    /// If the learning rate is NaN, infinite, negative or 0.
    pub fn try_new(lr: impl Into<Schedule>) -> Result<Self, NnError> {
        Optimizer::with_rule(R::default(), lr)
    }
}

impl<R: Rule> Optimizer<R> {
    /// With a rule of one's own.
    ///
    /// # Errors
    /// If the learning rate or a setting of the rule is out of its range.
    pub fn with_rule(mut rule: R, lr: impl Into<Schedule>) -> Result<Self, NnError> {
        let (name, lr) = (rule.name(), lr.into());
        lr.check(name)?;
        for setting in rule.settings() {
            setting.range.check(name, setting.name, *setting.value)?;
        }
        let (decay, weight_decay) = rule.decay();
        Ok(Optimizer {
            rule,
            lr,
            momentum: None,
            weight_decay,
            decay,
            decay_all: false,
            clip_value: None,
            clip_norm: None,
            max_norm: None,
            groups: Vec::new(),
            counter: "global_step".into(),
            slots: Slots::default(),
        })
    }

    /// The same behind one type for all rules.
    pub fn boxed(self) -> Optimizer
    where
        R: 'static,
    {
        Optimizer {
            rule: Box::new(self.rule),
            lr: self.lr,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            decay: self.decay,
            decay_all: self.decay_all,
            clip_value: self.clip_value,
            clip_norm: self.clip_norm,
            max_norm: self.max_norm,
            groups: self.groups,
            counter: self.counter,
            slots: self.slots,
        }
    }

    /// The rule.
    pub fn rule(&self) -> &R {
        &self.rule
    }

    /// The learning rate over the steps.
    pub fn schedule(&self) -> &Schedule {
        &self.lr
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The same optimizer, its state included, with another learning rate: the next phase of a training.
    ///
    /// # Panics
    /// If the learning rate is NaN, infinite, negative or 0.
    #[track_caller]
    pub fn lr(self, lr: impl Into<Schedule>) -> Self {
        let lr = lr.into();
        or_panic(lr.check(self.rule.name()));
        Optimizer { lr, ..self }
    }

    /// Sets `weight_decay`, `clip_value`, `clip_norm`, `max_norm` or a setting of the rule by name.
    ///
    /// # Errors
    /// If there is no such setting, or the value is out of its range.
    pub fn set(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        let owner = self.rule.name();
        match name {
            "weight_decay" => self.weight_decay = Range::NotNegative.check(owner, name, value)?,
            "clip_value" => self.clip_value = Some(Range::Positive.check(owner, name, value)?),
            "clip_norm" => self.clip_norm = Some(Range::Positive.check(owner, name, value)?),
            "max_norm" => self.max_norm = Some(Range::Positive.check(owner, name, value)?),
            _ => {
                let mut settings = self.rule.settings();
                let Some(setting) = settings.iter_mut().find(|setting| setting.name == name) else {
                    let own = settings.iter().map(|setting| setting.name);
                    let known = ["weight_decay", "clip_value", "clip_norm", "max_norm"].into_iter().chain(own);
                    return Err(NnError::unknown(&format!("setting of {owner}"), name, known));
                };
                *setting.value = setting.range.check(owner, name, value)?;
            }
        }
        Ok(())
    }

    /// As [`Optimizer::set`], on the way.
    ///
    /// # Panics
    /// As it has errors.
    #[track_caller]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        or_panic(self.set(name, value));
        self
    }

    /// Weight decay, as is usual for the rule: added to the gradient, or decoupled from it (AdamW, Lion), or part of
    /// the rule (LAMB).
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(self, decay: f64) -> Self {
        self.with("weight_decay", decay)
    }

    /// Decoupled weight decay, w ← (1 − lr·d)·w, whatever the rule.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn decoupled_weight_decay(self, decay: f64) -> Self {
        Optimizer { decay: Decay::Decoupled, ..self.with("weight_decay", decay) }
    }

    /// Decays biases and scales (fewer than two axes) too.
    pub fn decay_all(self) -> Self {
        Optimizer { decay_all: true, ..self }
    }

    /// Clamps each number of each gradient to [−limit, limit].
    ///
    /// # Panics
    /// If the limit is not above 0.
    #[track_caller]
    pub fn clip_value(self, limit: f64) -> Self {
        self.with("clip_value", limit)
    }

    /// Scales all gradients together so that √Σ g² is at most `limit` (Pascanu, Mikolov, Bengio 2013).
    ///
    /// # Panics
    /// If the limit is not above 0.
    #[track_caller]
    pub fn clip_norm(self, limit: f64) -> Self {
        self.with("clip_norm", limit)
    }

    /// After each step, scales the weights of each unit so that √Σ w² over what comes into it is at most `limit`,
    /// usually 3 or 4 (Srivastava et al. 2014). Units are columns of `[in, out]` and leading positions of
    /// `[out, in, kernel…]`; parameters with fewer than two axes stay as they are.
    ///
    /// # Panics
    /// If the limit is not above 0.
    #[track_caller]
    pub fn max_norm(self, limit: f64) -> Self {
        self.with("max_norm", limit)
    }

    /// Another learning rate, decay or largest norm for some parameters; the first group whose prefix fits counts.
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// The momentum, or β₁, over the steps ([`crate::schedule::OneCycle::momentum`]).
    ///
    /// # Panics
    /// If the rule has none, or it leaves [0, 1).
    #[track_caller]
    pub fn momentum_schedule(self, momentum: impl Into<Schedule>) -> Self {
        assert!(self.rule.momentum().is_some(), "{} has no momentum", self.rule.name());
        let momentum = momentum.into();
        let (low, high) = momentum.bounds();
        assert!(
            low >= 0.0 && high < 1.0,
            "{}: the momentum goes from {low} to {high}; it must be at least 0 and below 1",
            self.rule.name()
        );
        Optimizer { momentum: Some(momentum), ..self }
    }

    /// The name of the step counter, for programs with several optimizers; `global_step` if not said.
    pub fn counter(self, name: impl Into<String>) -> Self {
        Optimizer { counter: name.into(), ..self }
    }

    /// The step that makes `loss` smaller: gradients of the trainable variables that it depends on, in the order of
    /// their names, their updates, and the updates that layers carry.
    ///
    /// # Panics
    /// If the loss is no single float, depends on no trainable variable or on one without a name, two of them have one
    /// name, or a group's prefix fits none.
    #[track_caller]
    pub fn minimize(&self, loss: &Tensor) -> Step {
        let parameters = parameters_of(loss);
        let mut step = self.apply(differentiate(loss, &parameters));
        step.updates.extend(updates_of([loss]));
        step
    }

    /// The step for gradients computed in another way.
    ///
    /// # Panics
    /// As [`Optimizer::minimize`] does of the variables, or if a gradient has another dtype or shape than its variable.
    #[track_caller]
    pub fn apply(&self, gradients: Vec<(Variable, Tensor)>) -> Step {
        for (variable, gradient) in &gradients {
            assert!(
                gradient.meta() == variable.meta(),
                "the gradient of {} is {}, the variable {}",
                variable.name(),
                gradient.meta(),
                variable.meta()
            );
        }
        if let Some(group) = self
            .groups
            .iter()
            .find(|group| !gradients.iter().any(|(variable, _)| is_below(&variable.name(), &group.prefix)))
        {
            let known = gradients.iter().map(|(variable, _)| variable.name().to_string()).collect::<Vec<_>>().join(" ");
            panic!("{}", NnError::NoSuchPath { prefix: group.prefix.clone(), known });
        }
        let location = std::panic::Location::caller();
        scope("optimizer", || on_behalf_of(location, || self.build(gradients)))
    }

    fn build(&self, gradients: Vec<(Variable, Tensor)>) -> Step {
        let counter = self.slots.number(&self.counter, DType::I64);
        let mut clock = Clock { counter: &counter, optimizer: self, known: BTreeMap::new() };
        let mut updates = Vec::new();
        for ((variable, _), gradient) in gradients.iter().zip(self.clipped(&gradients)) {
            self.update(variable, gradient, &mut clock, &mut updates);
        }
        updates.push(counter.assign(&(counter.tensor() + 1)));
        let learning_rate = self.lr.tensor(&counter.cast(DType::F32));
        let gradient_norm = global_norm(gradients.iter().map(|(_, gradient)| gradient));
        let gradients = gradients.into_iter().map(|(variable, gradient)| (variable.name(), gradient)).collect();
        let (clip_norm, slots) = (self.clip_norm, self.slots.clone());
        Step { updates, gradients, gradient_norm, clip_norm, learning_rate, counter, slots }
    }

    /// The gradients in their working dtype, clipped by value, then all together by norm.
    fn clipped(&self, gradients: &[(Variable, Tensor)]) -> Vec<Tensor> {
        let mut clipped: Vec<Tensor> =
            gradients.iter().map(|(_, gradient)| gradient.cast(working_dtype(gradient.dtype()))).collect();
        if let Some(limit) = self.clip_value {
            clipped.iter_mut().for_each(|gradient| *gradient = gradient.clamp(-limit, limit));
        }
        if let Some(limit) = self.clip_norm {
            // 1 while the norm is below the limit, and no division by 0.
            let scale = global_norm(&clipped).maximum(limit).reciprocal() * limit;
            clipped.iter_mut().for_each(|gradient| *gradient = &*gradient * scale.cast(gradient.dtype()));
        }
        clipped
    }

    /// Adds the updates of one parameter and of its slots.
    fn update(&self, variable: &Variable, gradient: Tensor, clock: &mut Clock<'_, R>, updates: &mut Vec<Update>) {
        let name = variable.name();
        let group = self.groups.iter().position(|group| is_below(&name, &group.prefix));
        let usual = if is_weight(variable) || self.decay_all { self.weight_decay } else { 0.0 };
        let weight_decay = group.and_then(|group| self.groups[group].weight_decay).unwrap_or(usual);

        let dtype = gradient.dtype();
        let (scalars, shared) = clock.at(group, dtype);
        let mut cx = ParameterStep {
            parameter: variable.cast(dtype),
            gradient,
            weight_decay: 0.0,
            scalars,
            shared,
            variable,
            slots: &self.slots,
            updates: &mut Vec::new(),
        };
        if weight_decay > 0.0 {
            match self.decay {
                Decay::Coupled => cx.gradient = &cx.gradient + &cx.parameter * weight_decay,
                Decay::Decoupled => cx.parameter = &cx.parameter * (1.0 - &scalars.lr * weight_decay),
                Decay::InRule => cx.weight_decay = weight_decay,
            }
        }
        let mut next = self.rule.next(&mut cx);
        let max_norm = group.and_then(|group| self.groups[group].max_norm).or(self.max_norm);
        if let Some(limit) = max_norm.filter(|_| is_weight(variable)) {
            next = with_units_within(&next, limit);
        }
        updates.push(variable.assign(&next.cast(variable.dtype())));
        updates.append(cx.updates);
    }
}

/// The weights, those of each unit scaled so that their norm is at most `limit`.
fn with_units_within(weight: &Tensor, limit: f64) -> Tensor {
    let units = Fans::unit_axis(weight.rank());
    let inputs: Vec<isize> = (0..weight.rank()).filter(|&axis| axis != units).map(|axis| axis as isize).collect();
    let norm = weight.square().sum_over(inputs.as_slice()).sqrt();
    // 1 while the norm is below the limit, and no division by 0.
    let scale = norm.maximum(limit).reciprocal() * limit;
    weight * scale.keep_axes(inputs.as_slice(), weight)
}

/// The numbers that follow from the step counter, once per group and dtype.
struct Clock<'a, R> {
    counter: &'a Variable,
    optimizer: &'a Optimizer<R>,
    known: BTreeMap<(Option<usize>, DType), (Scalars, Vec<Tensor>)>,
}

impl<R: Rule> Clock<'_, R> {
    fn at(&mut self, group: Option<usize>, dtype: DType) -> &(Scalars, Vec<Tensor>) {
        let Clock { counter, optimizer, known } = self;
        known.entry((group, dtype)).or_insert_with(|| {
            let before = counter.cast(dtype);
            let mut lr = optimizer.lr.tensor(&before);
            if let Some(group) = group.map(|group| &optimizer.groups[group]).filter(|group| group.lr_factor != 1.0) {
                lr = lr * group.lr_factor;
            }
            let momentum = optimizer.rule.momentum().map(|constant| match &optimizer.momentum {
                Some(schedule) => schedule.tensor(&before),
                None => before.scalar_like(constant),
            });
            let scalars = Scalars { lr, t: before + 1.0, momentum };
            let shared = optimizer.rule.shared(&scalars);
            (scalars, shared)
        })
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant, placeholder};

    use super::*;
    use crate::optim::{Adam, AdamW, Sgd};
    use crate::schedule::OneCycle;
    use crate::testing::{State, assert_close};

    /// Two matrices and a bias with the constant gradients 3, 4 and 12: their norm is 13.
    fn parameters() -> ([Variable; 3], Tensor) {
        let one = |x: f64| Array::from([[x]]);
        let w1 = Variable::new("a.weight", one(1.0));
        let w2 = Variable::new("b.weight", one(2.0));
        let bias = Variable::new("b.bias", Array::from([3.0]));
        let loss = (&w1 * 3.0).sum() + (&w2 * 4.0).sum() + (&bias * 12.0).sum();
        ([w1, w2, bias], loss)
    }

    fn after_one_step<R: Rule>(optimizer: Optimizer<R>) -> Vec<f64> {
        let (variables, loss) = parameters();
        let mut state = State::default();
        state.run(&optimizer.minimize(&loss).updates, &[]);
        variables.iter().flat_map(|variable| state.read(variable)).collect()
    }

    #[test]
    fn the_step_names_gradients_in_order_and_logs_norm_and_rate() {
        let (_, loss) = parameters();
        let step = Sgd::new(Schedule::step(0.5, 1, 0.1)).clip_norm(1.0).minimize(&loss);
        let names: Vec<&str> = step.gradients.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["a.weight", "b.bias", "b.weight"]);
        let mut state = State::default();
        for rate in [0.5, 0.05] {
            let logged = state.fetch(&[&step.gradient_norm, &step.learning_rate], &step.updates, &[]);
            assert_close(&logged.concat(), &[13.0, rate], 1e-6);
        }
    }

    #[test]
    fn clipping_by_norm_and_by_value() {
        let clipped = |limit: f64| after_one_step(Sgd::new(1.0).clip_norm(limit));
        assert_close(&clipped(1.3), &[1.0 - 0.3, 2.0 - 0.4, 3.0 - 1.2], 1e-12);
        assert_close(&clipped(100.0), &[-2.0, -2.0, -9.0], 1e-12);
        assert_close(&after_one_step(Sgd::new(1.0).clip_value(3.5)), &[-2.0, -1.5, -0.5], 1e-12);
        // First by value: 3, 4, 4 have the norm √41.
        let both = after_one_step(Sgd::new(1.0).clip_value(4.0).clip_norm(41f64.sqrt() / 2.0));
        assert_close(&both, &[-0.5, 0.0, 1.0], 1e-12);
    }

    #[test]
    fn the_weights_of_each_unit_keep_within_the_largest_norm() {
        // After the step the columns are (3, 4) and (0.3, 0.4); the bias is 10.
        let weight = Variable::new("dense.weight", Array::from([[4.0, 1.3], [5.0, 1.4]]));
        let bias = Variable::new("dense.bias", Array::from([11.0, 11.0]));
        // Leading positions (2, 2, 2, 2) and (0, 0, 0, 1).
        let kernel = [3.0, 3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 2.0];
        let kernel = Variable::new("convolution.weight", Array::new(&[2, 1, 2, 2], kernel.to_vec()).unwrap());
        let loss = weight.sum() + bias.sum() + kernel.sum();
        let after = |optimizer: Optimizer<_>| {
            let mut state = State::default();
            state.run(&optimizer.minimize(&loss).updates, &[]);
            [&weight, &bias, &kernel].map(|variable| state.read(variable))
        };
        let [dense, spared, convolution] = after(Sgd::new(1.0).max_norm(1.0));
        assert_close(&dense, &[0.6, 0.3, 0.8, 0.4], 1e-12);
        assert_eq!(spared, [10.0, 10.0]);
        assert_close(&convolution, &[0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 1.0], 1e-12);
        let [dense, _, convolution] = after(Sgd::new(1.0).max_norm(1.0).group(Group::new("convolution").max_norm(2.0)));
        assert_close(&dense, &[0.6, 0.3, 0.8, 0.4], 1e-12);
        assert_close(&convolution, &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0], 1e-12);
    }

    #[test]
    fn units_of_nothing_stay_nothing() {
        let w = Variable::new("w", Array::from([[1.0, 2.0]]));
        let step = Sgd::new(1.0).max_norm(0.5).minimize(&(w.square().sum() * 0.5));
        let mut state = State::default();
        state.run(&step.updates, &[]);
        assert_eq!(state.read(&w), [0.0, 0.0]);
    }

    #[test]
    fn zero_gradients_clip_to_zero() {
        let w = Variable::new("w", 2.0);
        let step = Sgd::new(1.0).clip_norm(1.0).minimize(&(&w * 0.0));
        let mut state = State::default();
        state.run(&step.updates, &[]);
        assert_eq!(state.read(&w), [2.0]);
    }

    #[test]
    fn decay_spares_biases_unless_told_otherwise() {
        let coupled = Sgd::new(0.1).weight_decay(0.5);
        assert_close(&after_one_step(coupled.clone()), &[1.0 - 0.35, 2.0 - 0.5, 3.0 - 1.2], 1e-12);
        assert_close(&after_one_step(coupled.decay_all()), &[1.0 - 0.35, 2.0 - 0.5, 3.0 - 1.35], 1e-12);
        // Beside a step that adapts to the size of the gradient the two differ.
        let decoupled = after_one_step(Adam::new(0.1).decoupled_weight_decay(0.5));
        assert_close(&decoupled, &[0.95 - 0.1, 1.9 - 0.1, 3.0 - 0.1], 1e-8);
        assert_close(&after_one_step(AdamW::new(0.1).weight_decay(0.5)), &decoupled, 1e-12);
    }

    #[test]
    fn groups_have_rates_and_decays_of_their_own() {
        let sgd = Sgd::new(0.1).weight_decay(0.5);
        let sgd =
            sgd.group(Group::new("b.bias").weight_decay(1.0)).group(Group::new("b").lr_factor(0.1).weight_decay(0.0));
        assert_close(&after_one_step(sgd), &[1.0 - 0.35, 2.0 - 0.04, 3.0 - 1.5], 1e-12);
    }

    #[test]
    fn the_momentum_may_have_a_schedule() {
        let cycle = OneCycle::new(0.1, 10);
        let momentum = cycle.momentum(0.95, 0.85);
        let w = Variable::new("w", Array::scalar(1.0));
        let step = Sgd::new(cycle).momentum(0.9).momentum_schedule(momentum).minimize(&(&w * 2.0));
        let (mut state, mut expected, mut velocity) = (State::default(), 1.0, 0.0);
        for t in 0..10 {
            state.run(&step.updates, &[]);
            velocity = momentum.at(t) * velocity + 2.0;
            expected -= cycle.at(t) * velocity;
            assert_close(&state.read(&w), &[expected], 1e-12);
        }
    }

    #[test]
    fn phases_share_counter_and_slots() {
        let (variables, loss) = parameters();
        let adam = Adam::new(0.1);
        variables[0].set_trainable(false);
        let first = adam.minimize(&loss);
        variables[0].set_trainable(true);
        let second = adam.clone().lr(0.01).minimize(&loss);
        assert_eq!(first.updates.len() + 3, second.updates.len());
        for update in &first.updates {
            assert!(second.next(&update.variable).is_some(), "{:?}", update.variable);
        }
        assert_eq!(first.counter, second.counter);
    }

    #[test]
    fn storage_formats_are_updated_in_f32() {
        let w = Variable::new("w", Array::from(1.0).cast(DType::BF16));
        let step = Adam::new(0.5).minimize(&(&w * 2.0));
        let mut state = State::default();
        state.run(&step.updates, &[]);
        assert_eq!(state.read(&w), [0.5]);
        assert!(step.updates.iter().any(|update| update.variable.dtype() == DType::F32));
    }

    #[test]
    fn what_layers_carry_is_part_of_the_step_and_stopped_variables_are_not() {
        let (w, still) = (Variable::new("w", 1.0), Variable::new("still", 5.0));
        let mean = Variable::new("mean", 0.0).not_trainable();
        let x = placeholder("x", DType::F32, ());
        let y = (&w * &x).with_update(&mean, &x);
        let step = Sgd::new(0.1).minimize(&(y + still.stop_gradient()));
        let mut state = State::default();
        state.run(&step.updates, &[("x", Array::from(2.0f32))]);
        let values = [&w, &still, &mean].map(|variable| state.read(variable)[0]);
        assert_close(&values, &[0.8, 5.0, 2.0], 1e-6);
        assert_eq!(step.gradients.len(), 1);
    }

    #[test]
    #[should_panic(expected = "depends on no trainable variable")]
    fn a_loss_without_parameters_is_refused() {
        let w = Variable::new("w", 1.0);
        w.set_trainable(false);
        Sgd::new(0.1).minimize(&w.square());
    }

    #[test]
    #[should_panic(expected = "hint: build the module with Init::build")]
    fn a_parameter_without_a_name_is_refused() {
        Sgd::new(0.1).minimize(&Variable::unnamed(1.0).square());
    }

    #[test]
    #[should_panic(expected = "two variables are called `w`")]
    fn two_parameters_of_one_name_are_refused() {
        Sgd::new(0.1).minimize(&(&Variable::new("w", 1.0) * &Variable::new("w", 2.0)));
    }

    #[test]
    #[should_panic(expected = "no variable's path begins with `c`; there are: a.weight b.bias b.weight")]
    fn a_group_of_nothing_is_refused() {
        after_one_step(Sgd::new(0.1).group(Group::new("c")));
    }

    #[test]
    #[should_panic(expected = "the gradient of w is f32[2], the variable f32[]")]
    fn a_gradient_of_another_shape_is_refused() {
        Sgd::new(0.1).apply(vec![(Variable::new("w", 1.0), constant([1.0f32, 2.0]))]);
    }

    #[test]
    #[should_panic(expected = "adagrad has no momentum")]
    fn a_momentum_schedule_without_momentum_is_refused() {
        let _ = crate::optim::Adagrad::new(0.1).momentum_schedule(0.9);
    }
}
