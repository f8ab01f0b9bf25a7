//! [`Rule`]: how one parameter moves, given its gradient.

use std::fmt;

use thalweg_graph::{Tensor, Update, Variable};

use crate::error::NnError;
use crate::optim::slots::Slots;

/// How one parameter moves. A rule adds nodes for one parameter at a time; learning rate, weight decay, clipping and
/// groups are the business of [`crate::Optimizer`].
pub trait Rule: fmt::Debug + Send + Sync {
    /// How command lines and messages call it: `adam`.
    fn name(&self) -> &'static str;

    /// What can be set, by name.
    fn settings(&mut self) -> Vec<Setting<'_>>;

    /// The coefficient that [`crate::Optimizer::momentum_schedule`] may replace, if there is one: the momentum, or β₁.
    fn momentum(&self) -> Option<f64> {
        None
    }

    /// What weight decay means here and how much there is, unless the user says otherwise.
    fn decay(&self) -> (Decay, f64) {
        (Decay::Coupled, 0.0)
    }

    /// Numbers that all parameters share, computed once a step.
    fn shared(&self, scalars: &Scalars) -> Vec<Tensor> {
        let _ = scalars;
        Vec::new()
    }

    /// The parameter's next value.
    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor;
}

impl Rule for Box<dyn Rule> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn settings(&mut self) -> Vec<Setting<'_>> {
        (**self).settings()
    }

    fn momentum(&self) -> Option<f64> {
        (**self).momentum()
    }

    fn decay(&self) -> (Decay, f64) {
        (**self).decay()
    }

    fn shared(&self, scalars: &Scalars) -> Vec<Tensor> {
        (**self).shared(scalars)
    }

    fn next(&self, cx: &mut ParameterStep<'_>) -> Tensor {
        (**self).next(cx)
    }
}

/// What weight decay d means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Part of the loss: d·w is added to the gradient.
    Coupled,
    /// Beside the step: w is multiplied by 1 − lr·d first (Loshchilov and Hutter 2019).
    Decoupled,
    /// The rule adds d·w to its step by itself.
    InRule,
}

/// A number of a rule that can be set.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Its name: `beta1`.
    pub name: &'static str,
    /// Its value.
    pub value: &'a mut f64,
    /// What it may be.
    pub range: Range,
}

impl<'a> Setting<'a> {
    /// A setting of this name.
    pub fn new(name: &'static str, value: &'a mut f64, range: Range) -> Setting<'a> {
        Setting { name, value, range }
    }
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Above 0.
    Positive,
    /// 0 or above.
    NotNegative,
    /// At least 0 and below 1.
    Fraction,
    /// 0 for no, 1 for yes.
    Switch,
}

impl Range {
    /// Whether `value` is inside. NaN and infinities never are.
    pub fn contains(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Range::Positive => value > 0.0,
                Range::NotNegative => value >= 0.0,
                Range::Fraction => (0.0..1.0).contains(&value),
                Range::Switch => value == 0.0 || value == 1.0,
            }
    }

    /// The range in words.
    pub fn describe(self) -> &'static str {
        match self {
            Range::Positive => "finite and above 0",
            Range::NotNegative => "finite and at least 0",
            Range::Fraction => "at least 0 and below 1",
            Range::Switch => "0 or 1",
        }
    }

    /// `value`, if it is inside.
    ///
    /// # Errors
    /// If it is not; the message names `owner`, `setting`, the value and the range.
    pub fn check(self, owner: &str, setting: &str, value: f64) -> Result<f64, NnError> {
        if self.contains(value) {
            return Ok(value);
        }
        let (owner, setting) = (owner.into(), setting.into());
        Err(NnError::Setting { owner, setting, value, expected: self.describe() })
    }
}

/// What is the same for all parameters of a group: numbers without axes.
#[derive(Clone, Debug)]
pub struct Scalars {
    /// The learning rate.
    pub lr: Tensor,
    /// The number of this step, counted from 1.
    pub t: Tensor,
    /// The momentum, where the rule has one: a constant, unless it has a schedule.
    pub momentum: Option<Tensor>,
}

impl Scalars {
    /// 1 − βᵗ without cancellation, as −expm1(t ln β).
    pub fn bias_correction(&self, beta: f64) -> Tensor {
        -(&self.t * beta.ln()).expm1()
    }

    /// As [`Scalars::bias_correction`] for the momentum.
    ///
    /// # Panics
    /// If the rule has none.
    pub fn momentum_correction(&self, constant: f64) -> Tensor {
        let momentum = self.momentum.as_ref().expect("asked by rules that have one");
        match momentum.op() {
            thalweg_graph::Op::Constant(_) => self.bias_correction(constant),
            _ => -(&self.t * momentum.log()).expm1(),
        }
    }
}

/// One parameter in one step, as a rule sees it. All tensors have the working dtype: f64 for f64 parameters, else f32.
#[derive(Debug)]
pub struct ParameterStep<'a> {
    /// The value before the step, decayed if decay is decoupled.
    pub parameter: Tensor,
    /// Its gradient, clipped, with decay if that is coupled.
    pub gradient: Tensor,
    /// The coefficient of weight decay, for rules with [`Decay::InRule`]; else 0.
    pub weight_decay: f64,
    /// What the group shares.
    pub scalars: &'a Scalars,
    /// What [`Rule::shared`] computed.
    pub shared: &'a [Tensor],
    pub(crate) variable: &'a Variable,
    pub(crate) slots: &'a Slots,
    pub(crate) updates: &'a mut Vec<Update>,
}

impl ParameterStep<'_> {
    /// State of the shape of the parameter that begins as `initial`: the variable `path/name`.
    pub fn slot(&self, name: &str, initial: f64) -> Variable {
        self.slot_of_shape(name, self.variable.core().shape(), initial)
    }

    /// One number of state: the variable `path/name`.
    pub fn scalar_slot(&self, name: &str, initial: f64) -> Variable {
        self.slot_of_shape(name, &[], initial)
    }

    fn slot_of_shape(&self, name: &str, shape: &[usize], initial: f64) -> Variable {
        self.slots.of(self.variable, name, shape, self.parameter.dtype(), initial)
    }

    /// Says that `slot` becomes `value`; gives the value back.
    pub fn set(&mut self, slot: &Variable, value: Tensor) -> Tensor {
        self.updates.push(slot.assign(&value));
        value
    }

    /// `slot` becomes rate·slot + (1 − rate)·x, an exponential moving average.
    pub fn decayed_average(&mut self, slot: &Variable, rate: f64, x: &Tensor) -> Tensor {
        self.set(slot, slot.tensor() * rate + x * (1.0 - rate))
    }

    /// As [`ParameterStep::decayed_average`] with the momentum as rate.
    ///
    /// # Panics
    /// If the rule has none.
    pub fn momentum_average(&mut self, slot: &Variable, x: &Tensor) -> Tensor {
        let rate = self.momentum();
        self.set(slot, slot.tensor() * &rate + x * (1.0 - rate))
    }

    /// The momentum.
    ///
    /// # Panics
    /// If the rule has none.
    pub fn momentum(&self) -> Tensor {
        self.scalars.momentum.clone().expect("asked by rules that have one")
    }

    /// parameter − lr·direction.
    pub fn descend(&self, direction: Tensor) -> Tensor {
        &self.parameter - direction * &self.scalars.lr
    }
}
