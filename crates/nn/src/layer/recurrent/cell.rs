//! [`Cell`]: what is done in a step.

use thalweg_graph::{Tensor, Variable};

use crate::Module;
use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, Layer, LayerNorm};

/// What a [`Recurrent`](super::Recurrent) layer does in a step.
///
/// ```
/// use thalweg_graph::{DType, Tensor, placeholder};
/// use thalweg_nn::layer::recurrent::{Cell, CellInput, Recurrent};
/// use thalweg_nn::{Forward, Init, Layer, Linear, Module};
///
/// /// A memory that decides how much it keeps: h = a h + (1 − a) x W, a = sigmoid(h U).
/// #[derive(Module)]
/// struct Leaky {
///     input: Linear,
///     gate: Linear,
/// }
///
/// impl Cell for Leaky {
///     fn states(&self) -> Vec<usize> {
///         vec![16]
///     }
///
///     fn project(&self, x: &Tensor) -> Tensor {
///         self.input.forward(x, &mut Forward::infer())
///     }
///
///     fn step(&self, now: &CellInput<'_>) -> Vec<Tensor> {
///         let keep = self.gate.forward(now.seen, &mut Forward::infer()).sigmoid();
///         vec![&keep * &now.states[0] + (1.0 - &keep) * now.projected]
///     }
/// }
///
/// let layer = Init::build(1, |init| {
///     Recurrent::new(Leaky { input: Linear::new(init, 8, 16), gate: Linear::new(init, 16, 16) })
/// });
/// let x = placeholder("x", DType::F32, ("batch", "time", 8));
/// assert_eq!(layer.forward(&x, &mut Forward::train()).meta().to_string(), "f32[batch,time,16]");
/// ```
pub trait Cell: Module {
    /// The size of each state; the first is what the layer gives.
    fn states(&self) -> Vec<usize>;

    /// What is computed of the inputs of all steps before the first step, `[time, batch, features] → [time, batch, …]`.
    #[track_caller]
    fn project(&self, x: &Tensor) -> Tensor;

    /// The states after a step, in the order of [`Cell::states`].
    #[track_caller]
    fn step(&self, now: &CellInput<'_>) -> Vec<Tensor>;
}

/// What a [`Cell`] has in a step. The first axis of each is the batch.
#[derive(Debug)]
pub struct CellInput<'a> {
    /// What [`Cell::project`] made of the input.
    pub projected: &'a Tensor,
    /// The states before the step.
    pub states: &'a [Tensor],
    /// The first state as recurrent weights are to see it: with dropout, where the layer has it.
    pub seen: &'a Tensor,
    pub(super) update_dropout: f64,
}

impl CellInput<'_> {
    /// What is to be written into the memory, with dropout where the layer has
    /// [`update_dropout`](super::Recurrent::update_dropout).
    #[track_caller]
    pub fn update(&self, candidate: Tensor) -> Tensor {
        if self.update_dropout > 0.0 { candidate.dropout(self.update_dropout) } else { candidate }
    }
}

/// Norms of both products of a cell, over all gates together (Ba, Kiros, Hinton 2016).
#[derive(Clone, Debug, Module)]
pub struct CellNorms {
    /// Of x W.
    pub inputs: LayerNorm,
    /// Of h U.
    pub recurrent: LayerNorm,
}

impl CellNorms {
    #[track_caller]
    pub(super) fn new(init: &mut Init, features: usize) -> CellNorms {
        CellNorms { inputs: LayerNorm::new(init, features), recurrent: LayerNorm::new(init, features) }
    }
}

/// The weights of the input and of the state, for gates side by side. Each gate begins as a layer of its own would: Xavier
/// uniform and orthogonal.
#[track_caller]
pub(super) fn weights(init: &mut Init, inputs: usize, hidden: usize, gates: usize) -> (Variable, Variable) {
    let of_inputs = init.joined(&[inputs, gates * hidden], &vec![Initializer::xavier_uniform(); gates]);
    (of_inputs, init.joined(&[hidden, gates * hidden], &vec![Initializer::Orthogonal { gain: 1.0 }; gates]))
}

/// x W, normalized where there are norms.
#[track_caller]
pub(super) fn of_inputs(cell: &str, x: &Tensor, weight: &Variable, norms: Option<&CellNorms>) -> Tensor {
    let features = weight.size(0);
    if x.rank() == 0 || x.size(-1) != features {
        refuse(cell, &[("x", x), ("weight", weight)], format!("the last axis of x must have {features} features"));
    }
    norm(x.matmul(weight), norms.map(|norms| &norms.inputs))
}

/// h U, normalized where there are norms.
#[track_caller]
pub(super) fn of_state(now: &CellInput<'_>, weight: &Variable, norms: Option<&CellNorms>) -> Tensor {
    norm(now.seen.matmul(weight), norms.map(|norms| &norms.recurrent))
}

/// x normalized, where there is a norm.
#[track_caller]
pub(super) fn norm(x: Tensor, norm: Option<&LayerNorm>) -> Tensor {
    match norm {
        Some(norm) => norm.forward(&x, &mut Forward::infer()),
        None => x,
    }
}

/// Gate `number` of those that stand side by side.
#[track_caller]
pub(super) fn gate(gates: &Tensor, number: usize, hidden: usize) -> Tensor {
    gates.slice(-1, number * hidden..(number + 1) * hidden)
}

/// How many numbers the state has that this weight reads.
pub(super) fn hidden(recurrent: &Variable) -> usize {
    recurrent.core().shape()[0]
}
