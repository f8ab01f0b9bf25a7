//! [`Average`]: weights averaged over the steps, often better than the last ones.

use thalweg_graph::{DType, Tensor, Update, Variable, scope};

use crate::optim::rule::{Range, slot};
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
        let counter = step.counter.clone();
        let parameters: Vec<Update> =
            step.updates.iter().filter(|update| update.variable.is_trainable()).cloned().collect();
        let mut pairs = Vec::with_capacity(parameters.len());
        scope("average", || {
            for Update { variable, value } in parameters {
                // f16 and bf16 would lose the small share of each step.
                let dtype = if variable.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
                let average = slot(&variable, "average", variable.core().shape(), dtype, 0.0);
                let next = self.next(average.tensor(), &value.cast(dtype), &counter);
                step.updates.push(average.assign(&next));
                pairs.push((variable, average));
            }
        });
        Averages { pairs }
    }

    /// The next average, given the parameter's next value.
    fn next(self, average: &Tensor, parameter: &Tensor, counter: &Tensor) -> Tensor {
        match self {
            Average::Exponential { decay } => {
                let moved = average * decay + parameter * (1.0 - decay);
                counter.equal(0).select(parameter, moved)
            }
            Average::Stochastic { start, every } => {
                let (start, every) = (start as i64, every as i64);
                let since = counter - start;
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
    pub fn into_parameters(&self) -> Vec<Update> {
        self.pairs.iter().map(|(parameter, average)| parameter.assign(&average.cast(parameter.dtype()))).collect()
    }
}
