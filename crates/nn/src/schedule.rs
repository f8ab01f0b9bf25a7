//! [`Schedule`]: the learning rate, or a momentum, over the steps.
//!
//! A schedule is a function of the number of steps made before, t = 0, 1, 2, …: as nodes on the step counter
//! ([`Schedule::tensor`]), so that a training step is one plan and a resumed run goes on exactly, and as numbers
//! ([`Schedule::at`]) for drawing it.

use std::f64::consts::PI;

use thalweg_graph::{Tensor, Variable};

use crate::error::NnError;
use crate::optim::rule::Range;

/// A number that depends on the step t. Beyond its last step a schedule stays where it is.
///
/// ```
/// use thalweg_nn::Schedule;
/// let lr = Schedule::cosine(0.1, 1000).warmup(100);
/// assert_eq!(lr.at(50), 0.05);
/// assert_eq!(lr.at(100), 0.1);
/// assert!(lr.at(1100) < 1e-9);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// initial·factor^⌊t/every⌋.
    Step {
        /// The value at the beginning.
        initial: f64,
        /// The number of steps on one level.
        every: u64,
        /// From one level to the next.
        factor: f64,
    },
    /// initial·factorᵗ.
    Exponential {
        /// The value at the beginning.
        initial: f64,
        /// From one step to the next.
        factor: f64,
    },
    /// end + (initial − end)(1 − t/steps)^power; linear with power 1.
    Polynomial {
        /// The value at the beginning.
        initial: f64,
        /// The value at the end.
        end: f64,
        /// How many steps it takes.
        steps: u64,
        /// The form of the curve.
        power: f64,
    },
    /// end + ½(initial − end)(1 + cos(π t/steps)).
    Cosine {
        /// The value at the beginning.
        initial: f64,
        /// The value at the end.
        end: f64,
        /// How many steps it takes.
        steps: u64,
    },
    /// Cosines one after the other, each `growth` times as long as the one before (SGDR, Loshchilov and Hutter 2017).
    WarmRestarts {
        /// The value at the beginning of each.
        initial: f64,
        /// The value at the end of each.
        end: f64,
        /// The length of the first.
        first: u64,
        /// From one length to the next.
        growth: u64,
    },
    /// Up and down once, see [`OneCycle`].
    OneCycle(OneCycle),
    /// From 0 in a straight line to the beginning of another schedule, which then runs: its t is counted from the end of
    /// the warm-up.
    Warmup {
        /// How many steps the line takes.
        steps: u64,
        /// What follows.
        then: Box<Schedule>,
    },
    /// Another schedule that begins at step `start`: its t is counted from there, and before it is as at its beginning.
    /// For the phases of a training, which have one counter.
    From {
        /// The step at which the schedule begins.
        start: u64,
        /// What begins there.
        then: Box<Schedule>,
    },
    /// Another schedule multiplied by the value of a variable, which the program sets ([`Plateau`]).
    Scaled {
        /// The factor, a number of f32.
        factor: Variable,
        /// What is multiplied.
        of: Box<Schedule>,
    },
}

impl From<f64> for Schedule {
    fn from(value: f64) -> Schedule {
        Schedule::Constant(value)
    }
}

impl From<OneCycle> for Schedule {
    fn from(cycle: OneCycle) -> Schedule {
        Schedule::OneCycle(cycle)
    }
}

impl Schedule {
    /// `initial`, multiplied by `factor` after each `every` steps.
    pub fn step(initial: f64, every: u64, factor: f64) -> Schedule {
        Schedule::Step { initial, every, factor }
    }

    /// `initial`, multiplied by `factor` after each step.
    pub fn exponential(initial: f64, factor: f64) -> Schedule {
        Schedule::Exponential { initial, factor }
    }

    /// From `initial` to `end` in a straight line.
    pub fn linear(initial: f64, end: f64, steps: u64) -> Schedule {
        Schedule::polynomial(initial, end, steps, 1.0)
    }

    /// From `initial` to `end`, the rest shrinking as (1 − t/steps)^power.
    pub fn polynomial(initial: f64, end: f64, steps: u64, power: f64) -> Schedule {
        Schedule::Polynomial { initial, end, steps, power }
    }

    /// From `initial` to 0 as half a cosine.
    pub fn cosine(initial: f64, steps: u64) -> Schedule {
        Schedule::Cosine { initial, end: 0.0, steps }
    }

    /// Cosines from `initial` to 0, the first `first` steps long, each `growth` times as long as the one before.
    pub fn warm_restarts(initial: f64, first: u64, growth: u64) -> Schedule {
        Schedule::WarmRestarts { initial, end: 0.0, first, growth }
    }

    /// Up to `max` and down over `steps`, see [`OneCycle`].
    pub fn one_cycle(max: f64, steps: u64) -> Schedule {
        OneCycle::new(max, steps).into()
    }

    /// This schedule after a straight line from 0 over `steps`.
    pub fn warmup(self, steps: u64) -> Schedule {
        Schedule::Warmup { steps, then: Box::new(self) }
    }

    /// This schedule, begun at step `start`.
    ///
    /// ```
    /// use thalweg_nn::Schedule;
    /// let lr = Schedule::linear(0.1, 0.0, 10).starting_at(100);
    /// assert_eq!([0, 100, 105, 110].map(|t| lr.at(t)), [0.1, 0.1, 0.05, 0.0]);
    /// ```
    pub fn starting_at(self, start: u64) -> Schedule {
        Schedule::From { start, then: Box::new(self) }
    }

    /// This schedule multiplied by the value of `factor`.
    pub fn scaled_by(self, factor: &Variable) -> Schedule {
        Schedule::Scaled { factor: factor.clone(), of: Box::new(self) }
    }

    /// The value in step `t`, counted from 0. Of [`Schedule::Scaled`] it is that before scaling: the factor is known to
    /// the session alone.
    pub fn at(&self, t: u64) -> f64 {
        match self {
            Schedule::Constant(value) => *value,
            Schedule::Step { initial, every, factor } => initial * factor.powf((t / every) as f64),
            Schedule::Exponential { initial, factor } => initial * factor.powf(t as f64),
            Schedule::Polynomial { initial, end, steps, power } => {
                end + (initial - end) * (1.0 - progress(t, *steps)).powf(*power)
            }
            Schedule::Cosine { initial, end, steps } => anneal(*initial, *end, progress(t, *steps)),
            Schedule::WarmRestarts { initial, end, first, growth } => {
                // Equal lengths would make the loop as long as t.
                let (mut start, mut length) = (if *growth == 1 { t - t % first } else { 0 }, *first);
                while t - start >= length {
                    start += length;
                    length = length.saturating_mul(*growth);
                }
                anneal(*initial, *end, (t - start) as f64 / length as f64)
            }
            Schedule::OneCycle(cycle) => cycle.at(t),
            Schedule::Warmup { steps, then } => {
                if t < *steps {
                    then.at(0) * t as f64 / *steps as f64
                } else {
                    then.at(t - steps)
                }
            }
            Schedule::From { start, then } => then.at(t.saturating_sub(*start)),
            Schedule::Scaled { of, .. } => of.at(t),
        }
    }

    /// The value as a tensor without axes, of the dtype of `t`, a float tensor without axes: the number of steps made
    /// before. f32 counts exactly up to 16,777,216 steps.
    pub fn tensor(&self, t: &Tensor) -> Tensor {
        let progress = |steps: u64| (t * (1.0 / steps as f64)).minimum(1.0);
        match self {
            Schedule::Constant(value) => t.scalar_like(*value),
            Schedule::Step { initial, every, factor } => {
                // Half a step keeps the division away from the edges, where rounding would decide.
                let level = ((t + 0.5) * (1.0 / *every as f64)).floor();
                power_of(*factor, level) * *initial
            }
            Schedule::Exponential { initial, factor } => power_of(*factor, t.clone()) * *initial,
            Schedule::Polynomial { initial, end, steps, power } => {
                let rest = 1.0 - progress(*steps);
                let rest = if *power == 1.0 { rest } else { rest.pow(*power) };
                rest * (initial - end) + *end
            }
            Schedule::Cosine { initial, end, steps } => anneal_tensor(*initial, *end, progress(*steps)),
            Schedule::WarmRestarts { initial, end, first, growth } => {
                anneal_tensor(*initial, *end, restart_progress(t, *first, *growth))
            }
            Schedule::OneCycle(cycle) => cycle.tensor(t),
            Schedule::Warmup { steps, then } => {
                let rising = t * (then.at(0) / *steps as f64);
                t.less(*steps as f64).select(&rising, then.tensor(&(t - *steps as f64).maximum(0.0)))
            }
            Schedule::From { start, then } => then.tensor(&(t - *start as f64).maximum(0.0)),
            Schedule::Scaled { factor, of } => of.tensor(t) * factor.cast(t.dtype()),
        }
    }

    /// The smallest and the largest value it can take, before scaling.
    pub fn bounds(&self) -> (f64, f64) {
        let ordered = |a: f64, b: f64| (a.min(b), a.max(b));
        match self {
            Schedule::Constant(value) => (*value, *value),
            Schedule::Step { initial, factor, .. } | Schedule::Exponential { initial, factor } => {
                if *factor <= 1.0 {
                    (0.0, *initial)
                } else {
                    (*initial, f64::INFINITY)
                }
            }
            Schedule::Polynomial { initial, end, .. }
            | Schedule::Cosine { initial, end, .. }
            | Schedule::WarmRestarts { initial, end, .. } => ordered(*initial, *end),
            Schedule::OneCycle(cycle) => {
                let (low, high) = ordered(cycle.initial, cycle.peak);
                (low.min(cycle.end), high.max(cycle.end))
            }
            Schedule::Warmup { then, .. } => (then.bounds().0.min(0.0), then.bounds().1),
            Schedule::From { then: of, .. } | Schedule::Scaled { of, .. } => of.bounds(),
        }
    }

    /// Refuses a learning rate that is NaN, infinite, negative or nothing but 0, and lengths of 0.
    pub(crate) fn check(&self, owner: &str) -> Result<(), NnError> {
        let positive = |value: f64| Range::Positive.check(owner, "lr", value);
        let not_negative = |value: f64| Range::NotNegative.check(owner, "lr at the end", value);
        let length = |steps: u64| Range::Positive.check(owner, "length of the schedule in steps", steps as f64);
        match self {
            Schedule::Constant(value) => positive(*value)?,
            Schedule::Step { initial, every, factor } => {
                length(*every)?;
                Range::Positive.check(owner, "factor of the schedule", *factor)?;
                positive(*initial)?
            }
            Schedule::Exponential { initial, factor } => {
                Range::Positive.check(owner, "factor of the schedule", *factor)?;
                positive(*initial)?
            }
            Schedule::Polynomial { initial, end, steps, power } => {
                length(*steps)?;
                Range::Positive.check(owner, "power of the schedule", *power)?;
                not_negative(*end)?;
                positive(*initial)?
            }
            Schedule::Cosine { initial, end, steps } => {
                length(*steps)?;
                not_negative(*end)?;
                positive(*initial)?
            }
            Schedule::WarmRestarts { initial, end, first, growth } => {
                length(*first)?;
                length(*growth)?;
                not_negative(*end)?;
                positive(*initial)?
            }
            Schedule::OneCycle(cycle) => {
                length(cycle.steps)?;
                Range::Fraction.check(owner, "rising part of the cycle", cycle.rise)?;
                not_negative(cycle.initial)?;
                not_negative(cycle.end)?;
                positive(cycle.peak)?
            }
            Schedule::Warmup { steps, then } => {
                length(*steps)?;
                return then.check(owner);
            }
            Schedule::From { then: of, .. } | Schedule::Scaled { of, .. } => return of.check(owner),
        };
        Ok(())
    }
}

fn progress(t: u64, steps: u64) -> f64 {
    (t as f64 / steps as f64).min(1.0)
}

/// Half a cosine from `start` to `end`.
fn anneal(start: f64, end: f64, progress: f64) -> f64 {
    end + 0.5 * (start - end) * (1.0 + (PI * progress).cos())
}

fn anneal_tensor(start: f64, end: f64, progress: Tensor) -> Tensor {
    ((progress * PI).cos() + 1.0) * (0.5 * (start - end)) + end
}

/// factor^x, through the exponential: exact where it matters, also for a factor near 1.
fn power_of(factor: f64, x: Tensor) -> Tensor {
    (x * factor.ln()).exp()
}

/// How far the cosine is in which `t` lies: cosine k begins at first·(growthᵏ − 1)/(growth − 1).
fn restart_progress(t: &Tensor, first: u64, growth: u64) -> Tensor {
    let first = first as f64;
    if growth == 1 {
        let number = ((t + 0.5) * (1.0 / first)).floor();
        return (t - number * first) * (1.0 / first);
    }
    let growth = growth as f64;
    let number = (((t + 0.5) * ((growth - 1.0) / first)).log1p() * (1.0 / growth.ln())).floor();
    let scale = power_of(growth, number).round();
    let start = (&scale - 1.0) * (first / (growth - 1.0));
    ((t - start) / (scale * first)).maximum(0.0)
}

/// One rise and one longer fall, both half cosines: from `initial` to `peak` in the first part `rise` of the steps, then
/// to `end` (Smith 2018; the two-phase form of PyTorch's `OneCycleLR`).
///
/// ```
/// use thalweg_nn::{Adam, schedule::OneCycle};
/// let cycle = OneCycle::new(3e-3, 1000);
/// let adam = Adam::new(cycle).momentum_schedule(cycle.momentum(0.95, 0.85));
/// assert_eq!(cycle.at(299), 3e-3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    /// The value at the top.
    pub peak: f64,
    /// The number of steps of the cycle.
    pub steps: u64,
    /// The part of the steps that rises.
    pub rise: f64,
    /// The value at the beginning.
    pub initial: f64,
    /// The value at the end.
    pub end: f64,
}

impl OneCycle {
    /// From peak/25 to `peak` in 30 % of the steps, then to peak/250,000.
    pub fn new(peak: f64, steps: u64) -> OneCycle {
        OneCycle { peak, steps, rise: 0.3, initial: peak / 25.0, end: peak / 250_000.0 }
    }

    /// What goes with it for the momentum: from `high` to `low` while the learning rate rises, then back.
    pub fn momentum(self, high: f64, low: f64) -> OneCycle {
        OneCycle { peak: low, initial: high, end: high, ..self }
    }

    /// The step of the top and the last step, as PyTorch counts them: the first phase ends in step rise·steps − 1, the
    /// second in step steps − 1.
    fn turns(&self) -> (f64, f64) {
        (self.rise * self.steps as f64 - 1.0, self.steps as f64 - 1.0)
    }

    /// The value in step `t`, counted from 0.
    pub fn at(&self, t: u64) -> f64 {
        let (top, last) = self.turns();
        let t = t as f64;
        if t <= top {
            anneal(self.initial, self.peak, t / top.max(1.0))
        } else {
            anneal(self.peak, self.end, ((t - top) / (last - top).max(1.0)).min(1.0))
        }
    }

    fn tensor(&self, t: &Tensor) -> Tensor {
        let (top, last) = self.turns();
        let rising = anneal_tensor(self.initial, self.peak, t * (1.0 / top.max(1.0)));
        let falling = anneal_tensor(self.peak, self.end, ((t - top) * (1.0 / (last - top).max(1.0))).minimum(1.0));
        t.less_equal(top).select(&rising, falling)
    }
}

/// Reduces the learning rate when a metric has stopped improving: a state machine beside the training loop. The loop
/// tells it the metric after each evaluation and writes the factor it gives into the variable of a
/// [`Schedule::Scaled`].
///
/// ```
/// use thalweg_nn::schedule::Plateau;
/// let mut plateau = Plateau::new(0.1, 1);               // a tenth after more than 1 evaluation without progress
/// let factors = [2.0, 1.0, 1.0, 1.0, 1.0].map(|loss| plateau.observe(loss));
/// assert_eq!(factors, [1.0, 1.0, 1.0, 0.1, 0.1]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    /// What the factor is multiplied by.
    pub reduction: f64,
    /// How many evaluations without progress are borne.
    pub patience: u32,
    /// By which part of the best a metric must be better to count as progress.
    pub threshold: f64,
    /// The factor does not go below.
    pub min_factor: f64,
    /// Whether larger is better.
    pub larger_is_better: bool,
    /// The best metric so far.
    pub best: Option<f64>,
    /// How many evaluations have passed without progress.
    pub waited: u32,
    /// The factor.
    pub factor: f64,
}

impl Plateau {
    /// For a loss: a relative threshold of 1e-4, no lower bound.
    ///
    /// # Panics
    /// If the reduction is outside (0, 1).
    #[track_caller]
    pub fn new(reduction: f64, patience: u32) -> Plateau {
        assert!(
            reduction > 0.0 && reduction < 1.0,
            "plateau: the reduction is {reduction}; it must be between 0 and 1"
        );
        Plateau {
            reduction,
            patience,
            threshold: 1e-4,
            min_factor: 0.0,
            larger_is_better: false,
            best: None,
            waited: 0,
            factor: 1.0,
        }
    }

    /// For a metric of which more is better.
    pub fn maximizing(self) -> Plateau {
        Plateau { larger_is_better: true, ..self }
    }

    /// Takes the metric of an evaluation, gives the factor from now on. NaN is no progress.
    pub fn observe(&mut self, metric: f64) -> f64 {
        let margin = self.threshold * self.best.unwrap_or(0.0).abs();
        let better = match self.best {
            None => !metric.is_nan(),
            Some(best) if self.larger_is_better => metric > best + margin,
            Some(best) => metric < best - margin,
        };
        if better {
            (self.best, self.waited) = (Some(metric), 0);
        } else {
            self.waited += 1;
        }
        if self.waited > self.patience {
            self.factor = (self.factor * self.reduction).max(self.min_factor);
            self.waited = 0;
        }
        self.factor
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, DType, constant};

    use super::*;
    use crate::optim::Sgd;
    use crate::testing::{State, assert_close, numbers};

    fn values(schedule: &Schedule, steps: &[u64]) -> Vec<f64> {
        steps.iter().map(|&t| schedule.at(t)).collect()
    }

    /// One of each, with its values at some steps by the formulas that PyTorch's documentation gives (`StepLR`,
    /// `ExponentialLR`, `PolynomialLR`, `CosineAnnealingLR`, `CosineAnnealingWarmRestarts`, `OneCycleLR`).
    fn table() -> Vec<(Schedule, Vec<u64>, Vec<f64>)> {
        let cosine = |x: f64| 0.5 * (1.0 + (PI * x).cos());
        let low = 1.0 / 250_000.0;
        vec![
            (Schedule::from(0.3), vec![0, 1000], vec![0.3, 0.3]),
            (Schedule::step(0.05, 30, 0.1), vec![0, 29, 30, 59, 60, 90], vec![0.05, 0.05, 0.005, 0.005, 5e-4, 5e-5]),
            (Schedule::exponential(0.1, 0.9), vec![0, 1, 2, 10], vec![0.1, 0.09, 0.081, 0.1 * 0.9f64.powi(10)]),
            (Schedule::linear(1.0, 0.2, 4), vec![0, 1, 2, 4, 9], vec![1.0, 0.8, 0.6, 0.2, 0.2]),
            (Schedule::polynomial(1.0, 0.0, 4, 2.0), vec![0, 1, 2, 3, 4, 5], vec![1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]),
            (Schedule::cosine(2.0, 8), vec![0, 2, 4, 8, 9], vec![2.0, 2.0 * cosine(0.25), 1.0, 0.0, 0.0]),
            (Schedule::warm_restarts(1.0, 4, 1), vec![0, 3, 4, 6, 11], vec![1.0, cosine(0.75), 1.0, 0.5, cosine(0.75)]),
            (
                Schedule::warm_restarts(1.0, 2, 2),
                vec![0, 1, 2, 4, 5, 6, 10, 13, 14, 22],
                vec![1.0, 0.5, 1.0, 0.5, cosine(0.75), 1.0, 0.5, cosine(0.875), 1.0, 0.5],
            ),
            (
                Schedule::one_cycle(1.0, 10),
                vec![0, 1, 2, 3, 9, 12],
                vec![0.04, 0.52, 1.0, low + (1.0 - low) * cosine(1.0 / 7.0), low, low],
            ),
            (Schedule::linear(1.0, 0.0, 4).warmup(2), vec![0, 1, 2, 3, 6], vec![0.0, 0.5, 1.0, 0.75, 0.0]),
            (Schedule::one_cycle(1.0, 10).starting_at(7), vec![0, 7, 8, 9, 16], vec![0.04, 0.04, 0.52, 1.0, low]),
        ]
    }

    #[test]
    fn values_by_the_formulas() {
        for (schedule, steps, expected) in table() {
            println!("{schedule:?}");
            assert_close(&values(&schedule, &steps), &expected, 1e-12);
        }
    }

    #[test]
    fn the_graph_computes_the_same_numbers() {
        let long = [
            Schedule::step(0.1, 977, 0.9),
            Schedule::cosine(0.1, 9000).warmup(1000),
            Schedule::warm_restarts(0.1, 100, 1),
            Schedule::warm_restarts(0.1, 7, 2),
            Schedule::warm_restarts(0.1, 10, 3),
            Schedule::one_cycle(0.1, 9999),
        ];
        let short = table().into_iter().skip(1).map(|(schedule, ..)| schedule);
        for (schedule, last) in short.map(|schedule| (schedule, 30)).chain(long.map(|schedule| (schedule, 12_000))) {
            println!("{schedule:?}");
            let expected = values(&schedule, &(0..=last).collect::<Vec<_>>());
            let t: Vec<f64> = (0..=last).map(|t| t as f64).collect();
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
                let t = constant(Array::from(t.clone()).cast(dtype));
                assert_close(&numbers(&schedule.tensor(&t)), &expected, tolerance);
            }
            let (low, high) = schedule.bounds();
            assert!(expected.iter().all(|&x| (low - 1e-12..=high + 1e-12).contains(&x)), "outside {low}..{high}");
        }
    }

    #[test]
    fn a_step_follows_its_schedule_and_the_factor_of_a_variable() {
        let factor = Variable::new("lr_factor", 1.0).not_trainable();
        let w = Variable::new("w", Array::from(0.0));
        let schedule = Schedule::linear(1.0, 0.0, 4).scaled_by(&factor);
        let step = Sgd::new(schedule).minimize(&(&w * -1.0));
        let mut state = State::default();
        state.run(&step.updates, &[]);
        state.run(&[factor.assign(&factor.scalar_like(0.5))], &[]);
        state.run(&step.updates, &[]);
        assert_close(&state.read(&w), &[1.0 + 0.5 * 0.75], 1e-12);
    }

    #[test]
    fn the_momentum_of_a_cycle_goes_the_other_way() {
        let momentum: Schedule = OneCycle::new(1.0, 10).momentum(0.95, 0.85).into();
        assert_close(&values(&momentum, &[0, 1, 2, 9]), &[0.95, 0.9, 0.85, 0.95], 1e-12);
    }

    #[test]
    fn a_plateau_reduces_when_patience_is_at_its_end() {
        let mut plateau = Plateau { min_factor: 0.1, ..Plateau::new(0.5, 1).maximizing() };
        let accuracy = [0.5, 0.6, 0.6, 0.60001, 0.7, f64::NAN, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1];
        let factors = accuracy.map(|metric| plateau.observe(metric));
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.1, 0.1, 0.1]);
        assert_eq!(plateau.best, Some(0.7));
    }

    #[test]
    fn what_is_no_learning_rate_is_refused() {
        let cases = [
            (Schedule::Constant(f64::NAN), "lr is NaN"),
            (Schedule::Constant(0.0), "lr is 0"),
            (Schedule::cosine(-0.1, 5), "lr is -0.1"),
            (Schedule::linear(0.1, -0.1, 5), "lr at the end is -0.1"),
            (Schedule::step(0.1, 0, 0.5), "length of the schedule in steps is 0"),
            (Schedule::exponential(0.1, -1.0), "factor of the schedule is -1"),
            (Schedule::warm_restarts(0.1, 10, 0), "length of the schedule in steps is 0"),
            (OneCycle { rise: 1.5, ..OneCycle::new(0.1, 10) }.into(), "rising part of the cycle is 1.5"),
            (Schedule::cosine(f64::INFINITY, 5).warmup(2), "lr is inf"),
        ];
        for (schedule, expected) in cases {
            let message = Sgd::try_new(schedule).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
