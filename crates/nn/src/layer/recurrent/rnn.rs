//! [`Rnn`]: the plain cell.

use thalweg_graph::{Tensor, Variable};

use super::cell::{Cell, CellInput, CellNorms, hidden, of_inputs, of_state, weights};
use super::walk::Recurrent;
use crate::Module;
use crate::init::{Init, Initializer};
use crate::layer::{Activation, Forward, Layer};

/// h = f(x W + h U + b), with tanh for f (Elman 1990), or ReLU with U beginning as the identity (Le, Jaitly, Hinton 2015).
#[derive(Clone, Debug, Module)]
pub struct Rnn {
    /// W, `[inputs, hidden]`.
    pub weight: Variable,
    /// U, `[hidden, hidden]`.
    pub recurrent: Variable,
    /// `[hidden]`.
    pub bias: Variable,
    /// f.
    #[module(skip)]
    pub activation: Activation,
    /// Of both products.
    pub norms: Option<CellNorms>,
}

impl Rnn {
    /// With tanh: W Xavier uniform, U orthogonal, b 0.
    #[track_caller]
    pub fn new(init: &mut Init, inputs: usize, hidden: usize) -> Rnn {
        let (weight, recurrent) = weights(init, inputs, hidden, 1);
        let bias = init.variable(&[hidden], Initializer::Zeros);
        Rnn { weight, recurrent, bias, activation: Activation::Tanh, norms: None }
    }

    /// With this f.
    pub fn activation(self, activation: Activation) -> Rnn {
        Rnn { activation, ..self }
    }

    /// With layer norm of both products.
    #[track_caller]
    pub fn normalized(self, init: &mut Init) -> Rnn {
        Rnn { norms: Some(CellNorms::new(init, hidden(&self.recurrent))), ..self }
    }
}

impl Cell for Rnn {
    fn states(&self) -> Vec<usize> {
        vec![hidden(&self.recurrent)]
    }

    #[track_caller]
    fn project(&self, x: &Tensor) -> Tensor {
        of_inputs("rnn", x, &self.weight, self.norms.as_ref()) + &self.bias
    }

    #[track_caller]
    fn step(&self, now: &CellInput<'_>) -> Vec<Tensor> {
        let sum = now.projected + of_state(now, &self.recurrent, self.norms.as_ref());
        vec![now.update(self.activation.forward(&sum, &mut Forward::infer()))]
    }
}

impl Recurrent<Rnn> {
    /// An [`Rnn`] with tanh along time.
    #[track_caller]
    pub fn rnn(init: &mut Init, inputs: usize, hidden: usize) -> Recurrent<Rnn> {
        Recurrent::new(Rnn::new(init, inputs, hidden))
    }
}
