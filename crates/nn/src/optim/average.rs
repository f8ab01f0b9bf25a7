//! [`Average`]: weights averaged over the steps, often better than the last ones.

use thalweg_graph::{Tensor, Update, Variable, scope};

use crate::optim::build::ticks;
use crate::optim::gradients::working_dtype;
use crate::optim::rule::Range;
use crate::optim::step::Step;

/// How weights are averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Average {
    /// a ← decay·a + (1 − decay)·w after each step (Polyak and Juditsky 1992); the first step begins with a = w.
    Exponential {
        /// How much of the past stays, usually 0.999.
        decay: f64,
    },
    /// The plain mean of the weights after steps start, start + every, start + 2·every, … counted from 0; before, the
    /// weights themselves (stochastic weight averaging, Izmailov et al. 2018).
    Stochastic {
        /// The first step that counts.
        start: u64,
        /// How many steps lie between two that count.
        every: u64,
    },
}

impl Average {
    /// An exponential moving average.
    ///
    /// # Panics
    /// If the decay is outside [0, 1).
    #[track_caller]
    pub fn ema(decay: f64) -> Average {
        Average::Exponential { decay: crate::error::or_panic(Range::Fraction.check("ema", "decay", decay)) }
    }

    /// Stochastic weight averaging.
    ///
    /// # Panics
    /// If `every` is 0.
    #[track_caller]
    pub fn swa(start: u64, every: u64) -> Average {
        assert!(every > 0, "swa: every is 0; it must be at least 1 step");
        Average::Stochastic { start, every }
    }

    /// Makes `step` keep an average `path/average` of each parameter that it changes.
    ///
    /// ```
    /// use thalweg_graph::Variable;
    /// use thalweg_nn::{Sgd, optim::Average};
    /// let w = Variable::new("w", 3.0);
    /// let mut step = Sgd::new(0.1).minimize(&w.square());
    /// let averages = Average::ema(0.999).follow(&mut step);
    /// assert_eq!(&*averages.pairs[0].1.name(), "w/average");
    /// ```
    pub fn follow(self, step: &mut Step) -> Averages {
        let parameters: Vec<Update> =
            step.updates.iter().filter(|update| update.variable.is_trainable()).cloned().collect();
        let clocks = step.slots.clocks(parameters.iter().map(|update| &update.variable), "averaged_steps");
        let mut pairs = Vec::with_capacity(parameters.len());
        scope("average", || {
            for (Update { variable, value }, clock) in parameters.into_iter().zip(&clocks) {
                // f16 and bf16 would lose the small share of each step.
                let dtype = working_dtype(variable.dtype());
                let average = step.slots.of(&variable, "average", variable.core().shape(), dtype, 0.0);
                let next = self.next(average.tensor(), &value.cast(dtype), clock);
                step.updates.push(average.assign(&next));
                pairs.push((variable, average));
            }
            step.updates.extend(ticks(&clocks));
        });
        Averages { pairs }
    }

    /// The next average, given the parameter's next value and how many were averaged before.
    fn next(self, average: &Tensor, parameter: &Tensor, clock: &Tensor) -> Tensor {
        match self {
            Average::Exponential { decay } => {
                let moved = average * decay + parameter * (1.0 - decay);
                clock.equal(0).select(parameter, moved)
            }
            Average::Stochastic { start, every } => {
                let (start, every) = (start as i64, every as i64);
                let since = clock - start;
                let (number, rest) = (&since / every, &since % every);
                let share = (number + 1).maximum(1).cast(parameter.dtype()).reciprocal();
                let moved = average + (parameter - average) * share;
                let counted = since.greater_equal(0).logical_and(rest.equal(0));
                let held = since.less(0).select(parameter, average);
                counted.select(&moved, held)
            }
        }
    }
}

/// The averages of parameters.
#[derive(Clone, Debug)]
pub struct Averages {
    /// Each parameter with its average.
    pub pairs: Vec<(Variable, Variable)>,
}

impl Averages {
    /// The updates after which the parameters are their averages, for evaluating and for saving.
    pub fn copy_to_parameters(&self) -> Vec<Update> {
        self.pairs.iter().map(|(parameter, average)| parameter.assign(&average.cast(parameter.dtype()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::Array;

    use super::*;
    use crate::optim::Sgd;
    use crate::testing::{State, assert_close};

    /// The parameter 10, 9, 8, … and its average after each step.
    fn averages(average: Average, steps: usize) -> (Vec<f64>, State, Variable, Averages) {
        let w = Variable::new("w", Array::from(10.0));
        let mut step = Sgd::new(1.0).minimize(&(&w * 1.0));
        let averages = average.follow(&mut step);
        let mut state = State::default();
        let mut found = Vec::new();
        for _ in 0..steps {
            state.run(&step.updates, &[]);
            found.push(state.read(&averages.pairs[0].1)[0]);
        }
        (found, state, w, averages)
    }

    #[test]
    fn exponential() {
        let (found, mut state, w, averages) = averages(Average::ema(0.75), 3);
        let second = 0.75 * 9.0 + 0.25 * 8.0;
        assert_close(&found, &[9.0, second, 0.75 * second + 0.25 * 7.0], 1e-12);
        assert_eq!(state.read(&w), [7.0]);
        state.run(&averages.copy_to_parameters(), &[]);
        assert_close(&state.read(&w), &found[2..], 1e-12);
    }

    #[test]
    fn stochastic_from_a_step_on_and_every_other() {
        let (found, ..) = averages(Average::swa(2, 2), 8);
        // The weights are 9, 8, 7, 6, …; 7, 5 and 3 count.
        assert_close(&found, &[9.0, 8.0, 7.0, 7.0, 6.0, 6.0, 5.0, 5.0], 1e-12);
    }

    #[test]
    #[should_panic(expected = "ema: decay is 1;")]
    fn an_average_that_never_moves_is_refused() {
        Average::ema(1.0);
    }
}
