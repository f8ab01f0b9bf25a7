//! [`Gru`]: the gated recurrent unit.

use thalweg_graph::{Tensor, Variable};

use super::cell::{Cell, CellInput, CellNorms, gate, hidden, of_inputs, of_state, weights};
use super::walk::Recurrent;
use crate::Module;
use crate::init::{Init, Initializer};

/// The gated recurrent unit (Cho et al. 2014), with the reset gate after the product, as in cuDNN and PyTorch:
///
/// ```text
/// r = sigmoid(x Wr + br + h Ur + cr)
/// z = sigmoid(x Wz + bz + h Uz + cz)
/// n = tanh(x Wn + bn + r (h Un + cn))
/// h ← (1 − z) n + z h
/// ```
///
/// Gates stand side by side in the order r, z, n; those of PyTorch are the rows of `weight_ih`, `weight_hh`.
#[derive(Clone, Debug, Module)]
pub struct Gru {
    /// W, `[inputs, 3 hidden]`.
    pub weight: Variable,
    /// U, `[hidden, 3 hidden]`.
    pub recurrent: Variable,
    /// b, `[3 hidden]`.
    pub bias: Variable,
    /// c, `[3 hidden]`.
    pub recurrent_bias: Variable,
    /// Of x W and h U.
    pub norms: Option<CellNorms>,
}

impl Gru {
    /// W Xavier uniform and U orthogonal gate by gate, biases 0.
    #[track_caller]
    pub fn new(init: &mut Init, inputs: usize, hidden: usize) -> Gru {
        let (weight, recurrent) = weights(init, inputs, hidden, 3);
        let bias = init.variable(&[3 * hidden], Initializer::Zeros);
        Gru { weight, recurrent, bias, recurrent_bias: init.variable(&[3 * hidden], Initializer::Zeros), norms: None }
    }

    /// With layer norm of both products.
    #[track_caller]
    pub fn normalized(self, init: &mut Init) -> Gru {
        Gru { norms: Some(CellNorms::new(init, 3 * hidden(&self.recurrent))), ..self }
    }
}

impl Cell for Gru {
    fn states(&self) -> Vec<usize> {
        vec![hidden(&self.recurrent)]
    }

    #[track_caller]
    fn project(&self, x: &Tensor) -> Tensor {
        of_inputs("gru", x, &self.weight, self.norms.as_ref()) + &self.bias
    }

    #[track_caller]
    fn step(&self, now: &CellInput<'_>) -> Vec<Tensor> {
        let h = &now.states[0];
        let of_h = of_state(now, &self.recurrent, self.norms.as_ref()) + &self.recurrent_bias;
        let [xr, xz, xn] = [0, 1, 2].map(|number| gate(now.projected, number, hidden(&self.recurrent)));
        let [hr, hz, hn] = [0, 1, 2].map(|number| gate(&of_h, number, hidden(&self.recurrent)));
        let (r, z) = ((xr + hr).sigmoid(), (xz + hz).sigmoid());
        let n = now.update((xn + r * hn).tanh());
        vec![&n + z * (h - &n)]
    }
}

impl Recurrent<Gru> {
    /// A [`Gru`] along time.
    #[track_caller]
    pub fn gru(init: &mut Init, inputs: usize, hidden: usize) -> Recurrent<Gru> {
        Recurrent::new(Gru::new(init, inputs, hidden))
    }
}
