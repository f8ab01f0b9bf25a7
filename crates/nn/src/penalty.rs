//! [`Penalty`]: what large weights cost.

use thalweg_graph::{Tensor, Variable};

use crate::error::{NnError, or_panic};
use crate::module::{Module, is_below, is_weight};
use crate::optim::gradients::{sum_of_numbers, working_dtype};
use crate::optim::rule::Range;

/// What is added to the loss so that weights stay small (L2; ridge, Hoerl and Kennard 1970) or become 0 (L1; lasso,
/// Tibshirani 1996). Both together are the elastic net.
///
/// As for [weight decay](crate::Optimizer::weight_decay), parameters with fewer than two axes (biases, scales) are exempt
/// unless [`all`](Penalty::all) are meant, and frozen ones always. Under plain SGD, L2 with coefficient c makes the same
/// step as weight decay of c; clipping sees the gradient of a penalty and not that of decay.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{Forward, Init, Layer, Mlp, Penalty, Sgd, squared_error};
/// let net = Init::build(7, |init| Mlp::new(init, &[4, 8, 1]));
/// let (x, y) = (placeholder("x", DType::F32, ("batch", 4)), placeholder("y", DType::F32, ("batch", 1)));
/// let error = squared_error(&net.forward(&x, &mut Forward::train()), &y);
/// let loss = error + Penalty::l2(1e-4).of(&net) + Penalty::l1(1e-5).below("layers.0").of(&net);
/// let step = Sgd::new(0.1).minimize(&loss);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Penalty {
    norm: Norm,
    coefficient: f64,
    below: String,
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Norm {
    L1,
    L2,
}

impl Penalty {
    /// c·Σ|w|.
    ///
    /// # Panics
    /// If c is negative or not finite.
    #[track_caller]
    pub fn l1(coefficient: f64) -> Penalty {
        Penalty::new(Norm::L1, "l1", coefficient)
    }

    /// c/2·Σw², whose gradient is c·w.
    ///
    /// # Panics
    /// If c is negative or not finite.
    #[track_caller]
    pub fn l2(coefficient: f64) -> Penalty {
        Penalty::new(Norm::L2, "l2", coefficient)
    }

    #[track_caller]
    fn new(norm: Norm, name: &str, coefficient: f64) -> Penalty {
        let coefficient = or_panic(Range::NotNegative.check(name, "coefficient", coefficient));
        Penalty { norm, coefficient, below: String::new(), all: false }
    }

    /// Of the parameters at and below this path alone, as a [`Group`](crate::optim::Group) has them.
    pub fn below(self, prefix: impl Into<String>) -> Penalty {
        Penalty { below: prefix.into(), ..self }
    }

    /// Of biases and scales too.
    pub fn all(self) -> Penalty {
        Penalty { all: true, ..self }
    }

    /// The penalty of a module's parameters: a number of the widest of their dtypes, at least f32.
    ///
    /// # Panics
    /// If there is no such parameter.
    #[track_caller]
    pub fn of(&self, module: &(impl Module + ?Sized)) -> Tensor {
        let (mut chosen, mut meant, mut known) = (Vec::new(), 0, Vec::new());
        for (path, variable) in module.variables() {
            if is_below(&path, &self.below) {
                meant += 1;
                if variable.is_trainable() && (self.all || is_weight(&variable)) {
                    chosen.push(variable);
                }
            }
            known.push(path);
        }
        if meant == 0 {
            or_panic(Err(NnError::NoSuchPath { prefix: self.below.clone(), known: known.join(" ") }))
        }
        assert!(
            !chosen.is_empty(),
            "penalty: below `{}` there is nothing to penalize: what is frozen is exempt, and without `all` biases and scales",
            self.below
        );
        sum_of_numbers(chosen.iter().map(|variable| self.cost(variable)).collect())
    }

    fn cost(&self, variable: &Variable) -> Tensor {
        let w = variable.cast(working_dtype(variable.dtype()));
        match self.norm {
            Norm::L1 => w.abs().sum() * self.coefficient,
            Norm::L2 => w.square().sum() * (0.5 * self.coefficient),
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, DType, grad};

    use super::*;
    use crate::optim::{Adam, Optimizer, Rule, Sgd};
    use crate::testing::{State, assert_close};
    use crate::{Init, Linear};

    /// The numbers of a list of variables begin at 0.
    fn cost(penalty: &Penalty, parameters: &Vec<Variable>) -> f64 {
        let mut state = State::default();
        state.fetch(&[&penalty.of(parameters)], &[], &[])[0][0]
    }

    fn parameters() -> Vec<Variable> {
        let list = vec![
            Variable::unnamed(Array::from([[1.0, -2.0], [0.5, 0.0]])),
            Variable::unnamed(Array::from([4.0, -1.0])),
            Variable::unnamed(Array::from([[-3.0]])),
            Variable::unnamed(Array::from([[100.0]])).not_trainable(),
        ];
        list.name_variables();
        list
    }

    #[test]
    fn values_by_hand() {
        let list = parameters();
        assert_close(&[cost(&Penalty::l1(0.1), &list)], &[0.1 * (1.0 + 2.0 + 0.5 + 3.0)], 1e-12);
        assert_close(&[cost(&Penalty::l1(0.1).all(), &list)], &[0.1 * (6.5 + 5.0)], 1e-12);
        assert_close(&[cost(&Penalty::l2(0.1), &list)], &[0.05 * (1.0 + 4.0 + 0.25 + 9.0)], 1e-12);
        assert_close(&[cost(&Penalty::l2(0.1).below("2"), &list)], &[0.45], 1e-12);
        assert_close(&[cost(&Penalty::l2(0.1).below("1").all(), &list)], &[0.05 * 17.0], 1e-12);
    }

    #[test]
    fn storage_formats_add_up_in_f32() {
        let w = Variable::new("w", Array::full(&[100, 100], DType::BF16, 0.5));
        let penalty = Penalty::l2(2.0).of(&w);
        assert_eq!(penalty.dtype(), DType::F32);
        assert_eq!(State::default().fetch(&[&penalty], &[], &[]), [[2500.0]]);
    }

    /// The parameters after three steps on a loss with the gradient 3 everywhere.
    fn after_three_steps<R: Rule>(optimizer: Optimizer<R>, penalty: Option<&Penalty>) -> Vec<f64> {
        let list = parameters();
        let mut loss = list.iter().map(|variable| (variable * 3.0).sum()).reduce(|sum, x| sum + x).unwrap();
        if let Some(penalty) = penalty {
            loss = loss + penalty.of(&list);
        }
        let step = optimizer.minimize(&loss);
        let mut state = State::default();
        (0..3).for_each(|_| state.run(&step.updates, &[]));
        list.iter().flat_map(|variable| state.read(variable)).collect()
    }

    #[test]
    fn l2_is_coupled_weight_decay() {
        let l2 = Penalty::l2(0.3);
        for sgd in [Sgd::new(0.1), Sgd::new(0.1).momentum(0.9).nesterov()] {
            let decayed = after_three_steps(sgd.clone().weight_decay(0.3), None);
            assert_close(&after_three_steps(sgd.clone(), Some(&l2)), &decayed, 1e-12);
            let decayed = after_three_steps(sgd.clone().weight_decay(0.3).decay_all(), None);
            assert_close(&after_three_steps(sgd, Some(&l2.clone().all())), &decayed, 1e-12);
        }
        let decayed = after_three_steps(Adam::new(0.1).weight_decay(0.3), None);
        assert_close(&after_three_steps(Adam::new(0.1), Some(&l2)), &decayed, 1e-12);
    }

    #[test]
    fn gradients_by_hand() {
        let w = Variable::new("w", Array::from([[1.0, -2.0], [0.5, 0.0]]));
        let gradient = |penalty: Penalty| {
            let gradient = grad(&penalty.of(&w), &[w.tensor()]).remove(0);
            State::default().fetch(&[&gradient], &[], &[]).remove(0)
        };
        assert_close(&gradient(Penalty::l1(0.7)), &[0.7, -0.7, 0.7, 0.0], 1e-12);
        assert_close(&gradient(Penalty::l2(0.7)), &[0.7, -1.4, 0.35, 0.0], 1e-12);
    }

    #[test]
    #[should_panic(expected = "no variable's path begins with `hidden`; there are: weight bias")]
    fn a_path_that_leads_nowhere_is_refused() {
        Penalty::l2(0.1).below("hidden").of(&Init::build(0, |init| Linear::new(init, 2, 3)));
    }

    #[test]
    #[should_panic(expected = "below `bias` there is nothing to penalize")]
    fn a_bias_alone_is_refused_unless_it_is_meant() {
        Penalty::l2(0.1).below("bias").of(&Init::build(0, |init| Linear::new(init, 2, 3)));
    }

    #[test]
    #[should_panic(expected = "l1: coefficient is NaN; it must be finite and at least 0")]
    fn a_coefficient_that_is_no_number_is_refused() {
        Penalty::l1(f64::NAN);
    }
}
