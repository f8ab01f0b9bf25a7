//! [`Optimizer`]: learning rate, parameter groups, weight decay and clipping, around a [`Rule`]. How they become a step
//! stands in `build`.

use crate::error::{NnError, or_panic};
use crate::optim::group::Group;
use crate::optim::rule::{Decay, Range, Rule};
use crate::optim::slots::Slots;
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
    pub(super) rule: R,
    pub(super) lr: Schedule,
    pub(super) momentum: Option<Schedule>,
    pub(super) weight_decay: f64,
    pub(super) decay: Decay,
    pub(super) decay_all: bool,
    pub(super) clip_value: Option<f64>,
    pub(super) clip_norm: Option<f64>,
    pub(super) max_norm: Option<f64>,
    pub(super) groups: Vec<Group>,
    pub(super) counter: String,
    pub(super) slots: Slots,
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

    /// Makes these the schedules and the groups from now on: the next phase of a training. Counter and slots stay. A rule
    /// without momentum leaves its schedule aside.
    ///
    /// # Errors
    /// If the learning rate is NaN, infinite, negative or 0, or the momentum leaves [0, 1).
    pub fn begin_phase(
        &mut self,
        lr: impl Into<Schedule>,
        momentum: Option<Schedule>,
        groups: Vec<Group>,
    ) -> Result<(), NnError> {
        let (owner, lr) = (self.rule.name(), lr.into());
        lr.check(owner)?;
        let momentum = momentum.filter(|_| self.rule.momentum().is_some());
        if let Some(momentum) = &momentum {
            for end in <[f64; 2]>::from(momentum.bounds()) {
                Range::Fraction.check(owner, "momentum of the schedule", end)?;
            }
        }
        (self.lr, self.momentum, self.groups) = (lr, momentum, groups);
        Ok(())
    }

    /// Does `work` with this optimizer as it was before its first step, to try something: steps that are built there have
    /// counter and slots of their own, for a session of their own. Schedules and groups are as before afterwards.
    pub fn apart<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let slots = std::mem::take(&mut self.slots);
        let (lr, momentum, groups) = (self.lr.clone(), self.momentum.clone(), self.groups.clone());
        let done = work(self);
        (self.slots, self.lr, self.momentum, self.groups) = (slots, lr, momentum, groups);
        done
    }

    /// The name of the variable that counts the steps.
    pub fn counter_name(&self) -> &str {
        &self.counter
    }

    /// The name of the step counter, for programs with several optimizers; `global_step` if not said.
    pub fn counter(self, name: impl Into<String>) -> Self {
        Optimizer { counter: name.into(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, DType, Tensor, Variable, constant, placeholder};

    use super::*;
    use crate::optim::{Adam, AdamW, Hooks, Sgd, Step};
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
        // A parameter, its two moments, and how many steps it has made.
        assert_eq!(first.updates.len() + 4, second.updates.len());
        for update in &first.updates {
            assert!(second.next(&update.variable).is_some(), "{:?}", update.variable);
        }
        assert_eq!(first.counter, second.counter);
    }

    #[test]
    fn parameters_that_join_later_count_their_own_steps() {
        // Of a constant gradient each step of Adam is lr, whenever a parameter joins.
        let (w, late) = (Variable::new("a", Array::from(0.0)), Variable::new("b", Array::from(0.0)));
        let loss = &w * -1.0 + &late * -5.0;
        let adam = Adam::new(0.1);
        late.set_trainable(false);
        let first = adam.minimize(&loss);
        late.set_trainable(true);
        let second = adam.minimize(&loss);
        let mut state = State::default();
        for step in [&first, &first, &first, &second, &second] {
            state.run(&step.updates, &[]);
        }
        assert_close(&[state.read(&w), state.read(&late)].concat(), &[0.5, 0.2], 1e-6);
        assert_eq!(state.read(&second.counter), [5.0]);
        let clock = second.updates.iter().find(|update| &*update.variable.name() == "global_step/2").unwrap();
        assert_eq!(state.read(&clock.variable), [2.0]);
    }

    #[test]
    fn what_is_built_apart_has_state_of_its_own() {
        let (_, loss) = parameters();
        let mut adam = Adam::new(0.1);
        let own = adam.minimize(&loss);
        let apart = adam.apart(|adam| adam.minimize(&loss));
        assert!(apart.counter != own.counter && apart.counter.name() == own.counter.name());
        assert_eq!(adam.minimize(&loss).counter, own.counter);
    }

    #[test]
    fn a_phase_has_schedules_and_groups_of_its_own() {
        let (variables, loss) = parameters();
        let mut sgd = Sgd::new(0.5).group(Group::new("a").lr_factor(0.0));
        sgd.begin_phase(0.1, Some(0.9.into()), vec![Group::new("b").lr_factor(0.5)]).unwrap();
        let mut state = State::default();
        state.run(&sgd.minimize(&loss).updates, &[]);
        let after: Vec<f64> = variables.iter().flat_map(|variable| state.read(variable)).collect();
        assert_close(&after, &[1.0 - 0.3, 2.0 - 0.2, 3.0 - 0.6], 1e-12);
        let message = sgd.begin_phase(f64::NAN, None, vec![]).unwrap_err().to_string();
        assert!(message.contains("sgd: lr is NaN"), "{message}");
        let message = Adam::new(0.1).begin_phase(0.1, Some(1.5.into()), vec![]).unwrap_err().to_string();
        assert!(message.contains("adam: momentum of the schedule is 1.5"), "{message}");
    }

    #[test]
    fn what_frozen_layers_carry_is_left_alone() {
        let (w, mean) = (Variable::new("w", 1.0), Variable::new("mean", 0.0).not_trainable());
        let loss = w.square().with_update(&mean, w.tensor());
        assert_eq!(Sgd::new(0.1).minimize(&loss).updates.len(), 3);
        mean.set_trainable(false);
        assert_eq!(Sgd::new(0.1).minimize(&loss).updates.len(), 2);
    }

    /// Ascends instead of descending, at a tenth of the rate in the group `b`, and counts in a variable of its own.
    struct Meddler(Variable);

    impl Hooks for Meddler {
        fn loss(&mut self, loss: Tensor) -> Tensor {
            loss * 2.0
        }

        fn gradients(&mut self, gradients: Vec<(Variable, Tensor)>) -> Vec<(Variable, Tensor)> {
            gradients.into_iter().map(|(variable, gradient)| (variable, -gradient)).collect()
        }

        fn rate(&mut self, group: Option<&str>, rate: Tensor, made: &Tensor) -> Tensor {
            assert_eq!(rate.dtype(), made.dtype());
            if group == Some("b") { rate * 0.1 } else { rate }
        }

        fn step(&mut self, step: &mut Step) {
            step.updates.push(self.0.assign(&(&self.0 + 1.0)));
        }
    }

    #[test]
    fn hooks_change_loss_gradients_rates_and_step() {
        let (variables, loss) = parameters();
        let own = Variable::new("own", 0.0).not_trainable();
        let sgd = Sgd::new(0.1).group(Group::new("b"));
        let step = sgd.graphs(&loss, None, &mut Meddler(own.clone())).apply;
        let mut state = State::default();
        let logged = state.fetch(&[&step.gradient_norm, &step.learning_rate], &step.updates, &[]);
        assert_close(&logged.concat(), &[26.0, 0.1], 1e-6);
        let after: Vec<f64> = variables.iter().flat_map(|variable| state.read(variable)).collect();
        assert_close(&after, &[1.0 + 0.6, 2.0 + 0.08, 3.0 + 0.24], 1e-12);
        assert_eq!(state.read(&own), [1.0]);
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
