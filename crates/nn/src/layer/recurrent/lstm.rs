//! [`Lstm`]: long short-term memory.

use thalweg_graph::{Tensor, Variable};

use super::cell::{Cell, CellInput, CellNorms, gate, hidden, norm, of_inputs, of_state, weights};
use super::walk::Recurrent;
use crate::Module;
use crate::init::{Init, Initializer};
use crate::layer::LayerNorm;

/// Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000):
///
/// ```text
/// i, f, o = sigmoid of x W + h U + b,   g = tanh of it
/// c ← f c + i g
/// h ← o tanh(c)
/// ```
///
/// States are h and c. Gates stand side by side in the order i, f, g, o; those of PyTorch are the rows of `weight_ih`,
/// `weight_hh`, its two biases add up to b.
#[derive(Clone, Debug, Module)]
pub struct Lstm {
    /// W, `[inputs, 4 hidden]`.
    pub weight: Variable,
    /// U, `[hidden, 4 hidden]`.
    pub recurrent: Variable,
    /// b, `[4 hidden]`.
    pub bias: Variable,
    /// Of x W and h U.
    pub norms: Option<CellNorms>,
    /// Of c, where h sees it.
    pub memory_norm: Option<LayerNorm>,
}

impl Lstm {
    /// W Xavier uniform and U orthogonal gate by gate, b 1 for the forget gate, so that the memory lasts at first
    /// (Jozefowicz et al. 2015), else 0.
    #[track_caller]
    pub fn new(init: &mut Init, inputs: usize, hidden: usize) -> Lstm {
        let (weight, recurrent) = weights(init, inputs, hidden, 4);
        let zeros = Initializer::Zeros;
        let bias = init.joined(&[4 * hidden], &[zeros, Initializer::Ones, zeros, zeros]);
        Lstm { weight, recurrent, bias, norms: None, memory_norm: None }
    }

    /// With layer norm of both products and of the memory.
    #[track_caller]
    pub fn normalized(self, init: &mut Init) -> Lstm {
        let hidden = hidden(&self.recurrent);
        let norms = Some(CellNorms::new(init, 4 * hidden));
        Lstm { norms, memory_norm: Some(LayerNorm::new(init, hidden)), ..self }
    }
}

impl Cell for Lstm {
    fn states(&self) -> Vec<usize> {
        vec![hidden(&self.recurrent); 2]
    }

    #[track_caller]
    fn project(&self, x: &Tensor) -> Tensor {
        of_inputs("lstm", x, &self.weight, self.norms.as_ref()) + &self.bias
    }

    #[track_caller]
    fn step(&self, now: &CellInput<'_>) -> Vec<Tensor> {
        let gates = now.projected + of_state(now, &self.recurrent, self.norms.as_ref());
        let [i, f, g, o] = [0, 1, 2, 3].map(|number| gate(&gates, number, hidden(&self.recurrent)));
        let c = f.sigmoid() * &now.states[1] + i.sigmoid() * now.update(g.tanh());
        let h = o.sigmoid() * norm(c.clone(), self.memory_norm.as_ref()).tanh();
        vec![h, c]
    }
}

impl Recurrent<Lstm> {
    /// An [`Lstm`] along time.
    #[track_caller]
    pub fn lstm(init: &mut Init, inputs: usize, hidden: usize) -> Recurrent<Lstm> {
        Recurrent::new(Lstm::new(init, inputs, hidden))
    }
}
