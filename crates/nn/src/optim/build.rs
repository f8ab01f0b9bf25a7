//! From a loss to a [`Step`]: gradients, rates, the updates of each parameter.

use std::collections::BTreeMap;
use std::panic::Location;

use thalweg_graph::{DType, Size, Tensor, TensorId, Update, Variable, on_behalf_of, scope, updates_of};

use crate::error::NnError;
use crate::init::Fans;
use crate::module::{is_below, is_weight};
use crate::optim::accumulate::{Accumulation, accumulate};
use crate::optim::gradients::{clipped_by_norm, differentiate, global_norm, parameters_of, working_dtype};
use crate::optim::hooks::Hooks;
use crate::optim::optimizer::Optimizer;
use crate::optim::rule::{Decay, ParameterStep, Rule, Scalars};
use crate::optim::step::Step;

impl<R: Rule> Optimizer<R> {
    /// The step that makes `loss` smaller: gradients of the trainable variables that it depends on, in the order of
    /// their names, their updates, and the updates that layers carry, but for those of frozen variables.
    ///
    /// # Panics
    /// If the loss is no single float, depends on no trainable variable or on one without a name, two of them have one
    /// name, or a group's prefix fits none.
    #[track_caller]
    pub fn minimize(&self, loss: &Tensor) -> Step {
        self.graphs(loss, None, &mut ()).apply
    }

    /// As [`Optimizer::minimize`], changed by `hooks`, and in micro-batches where `rows` says how many rows each has: the
    /// size of the axis of rows.
    ///
    /// # Panics
    /// As [`Optimizer::minimize`], of the loss and the gradients that the hooks give.
    #[track_caller]
    pub fn graphs(&self, loss: &Tensor, rows: Option<&Size>, hooks: &mut dyn Hooks) -> Accumulation {
        let location = Location::caller();
        let loss = hooks.loss(loss.clone());
        let gradients = differentiate(&loss, &parameters_of(&loss));
        let mut carried = updates_of([&loss]);
        carried.retain(|update| !update.variable.is_frozen());
        let (gradients, mut add, empty) = match rows {
            Some(rows) => accumulate(&self.slots, gradients, rows),
            None => (gradients, Vec::new(), Vec::new()),
        };
        let mut apply = self.step(gradients, hooks, location);
        apply.updates.extend(empty);
        if rows.is_some() {
            add.extend(carried.iter().cloned());
        }
        apply.updates.extend(carried);
        hooks.step(&mut apply);
        Accumulation { loss, add, apply }
    }

    /// The step for gradients computed in another way.
    ///
    /// # Panics
    /// As [`Optimizer::minimize`] does of the variables, or if a gradient has another dtype or shape than its variable.
    #[track_caller]
    pub fn apply(&self, gradients: Vec<(Variable, Tensor)>) -> Step {
        self.step(gradients, &mut (), Location::caller())
    }

    #[track_caller]
    fn step(
        &self,
        gradients: Vec<(Variable, Tensor)>,
        hooks: &mut dyn Hooks,
        location: &'static Location<'static>,
    ) -> Step {
        let moving = hooks.gradients(gradients.clone());
        for (variable, gradient) in &moving {
            assert!(
                gradient.meta() == variable.meta(),
                "the gradient of {} is {}, the variable {}",
                variable.name(),
                gradient.meta(),
                variable.meta()
            );
        }
        let fits = |prefix: &str| gradients.iter().any(|(variable, _)| is_below(&variable.name(), prefix));
        if let Some(group) = self.groups.iter().find(|group| !fits(&group.prefix)) {
            let known = gradients.iter().map(|(variable, _)| variable.name().to_string()).collect::<Vec<_>>().join(" ");
            panic!("{}", NnError::NoSuchPath { prefix: group.prefix.clone(), known });
        }
        scope("optimizer", || on_behalf_of(location, || self.build(gradients, moving, hooks)))
    }

    /// The step that moves by `moving` and reports `gradients`.
    fn build(
        &self,
        gradients: Vec<(Variable, Tensor)>,
        moving: Vec<(Variable, Tensor)>,
        hooks: &mut dyn Hooks,
    ) -> Step {
        let counter = self.slots.number(&self.counter, DType::I64);
        let clocks = self.slots.clocks(moving.iter().map(|(variable, _)| variable), &self.counter);
        let mut numbers = Numbers { counter: &counter, optimizer: self, hooks, known: BTreeMap::new() };
        let mut updates = Vec::new();
        for (((variable, _), gradient), clock) in moving.iter().zip(self.clipped(&moving)).zip(&clocks) {
            self.update(variable, gradient, clock, &mut numbers, &mut updates);
        }
        let made = counter.cast(DType::F32);
        let learning_rate = numbers.hooks.rate(None, self.lr.tensor(&made), &made);
        updates.extend(ticks([&counter].into_iter().chain(&clocks)));
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
        match self.clip_norm {
            Some(limit) => clipped_by_norm(&clipped, limit),
            None => clipped,
        }
    }

    /// Adds the updates of one parameter and of its slots.
    fn update(
        &self,
        variable: &Variable,
        gradient: Tensor,
        clock: &Variable,
        numbers: &mut Numbers<'_, R>,
        updates: &mut Vec<Update>,
    ) {
        let name = variable.name();
        let group = self.groups.iter().position(|group| is_below(&name, &group.prefix));
        let usual = if is_weight(variable) || self.decay_all { self.weight_decay } else { 0.0 };
        let weight_decay = group.and_then(|group| self.groups[group].weight_decay).unwrap_or(usual);

        let dtype = gradient.dtype();
        let (scalars, shared) = numbers.at(group, clock, dtype);
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

/// Each of these counters one further.
pub(super) fn ticks<'a>(counters: impl IntoIterator<Item = &'a Variable>) -> Vec<Update> {
    let mut ticks: Vec<Update> = Vec::new();
    for counter in counters {
        if !ticks.iter().any(|tick| &tick.variable == counter) {
            ticks.push(counter.assign(&(counter.tensor() + 1)));
        }
    }
    ticks
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

/// The numbers that follow from the counters, once per group, clock and dtype.
struct Numbers<'a, R> {
    counter: &'a Variable,
    optimizer: &'a Optimizer<R>,
    hooks: &'a mut dyn Hooks,
    known: BTreeMap<Which, (Scalars, Vec<Tensor>)>,
}

/// The group, the clock and the dtype.
type Which = (Option<usize>, TensorId, DType);

impl<R: Rule> Numbers<'_, R> {
    fn at(&mut self, group: Option<usize>, clock: &Variable, dtype: DType) -> &(Scalars, Vec<Tensor>) {
        let Numbers { counter, optimizer, hooks, known } = self;
        known.entry((group, clock.id(), dtype)).or_insert_with(|| {
            let made = counter.cast(dtype);
            let group = group.map(|group| &optimizer.groups[group]);
            let mut lr = optimizer.lr.tensor(&made);
            if let Some(group) = group.filter(|group| group.lr_factor != 1.0) {
                lr = lr * group.lr_factor;
            }
            let lr = hooks.rate(group.map(|group| &*group.prefix), lr, &made);
            let momentum = optimizer.rule.momentum().map(|constant| match &optimizer.momentum {
                Some(schedule) => schedule.tensor(&made),
                None => made.scalar_like(constant),
            });
            let scalars = Scalars { lr, t: clock.cast(dtype) + 1.0, momentum };
            let shared = optimizer.rule.shared(&scalars);
            (scalars, shared)
        })
    }
}
