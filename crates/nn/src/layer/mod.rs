//! [`Layer`]: a module that takes a tensor to a tensor.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`linear`] | [`Linear`]: x W + b |
//! | [`attention`] | [`Attention`](attention::Attention), heads, masks, positions, decoding step by step |
//! | [`transformer`] | [`Transformer`]: encoder, decoder, both |
//! | [`embedding`] | [`Embedding`]: a vector for each token |
//! | [`mlp`] | [`Mlp`]: linear layers with an activation between |
//! | [`conv`] | [`Conv`], [`ConvTranspose`]: convolutions over one to three axes |
//! | [`pool`] | pooling, flattening, other resolutions |
//! | [`batch_norm`] | [`BatchNorm`] |
//! | [`norm`] | [`LayerNorm`], [`GroupNorm`], [`InstanceNorm`], [`RmsNorm`] |
//! | [`recurrent`] | [`Recurrent`] and its cells: walks along time |
//! | [`scheduled_sampling`] | [`ScheduledSampling`]: what a decoder is fed while it is trained |
//! | [`residual`] | [`Residual`], [`Branches`]: ways around and beside |
//! | [`dropout`] | [`Dropout`] |
//! | [`noise`] | [`GaussianNoise`]: noise on inputs, activations and weights |
//! | [`activation`] | [`Activation`]: the activations by name |

pub mod activation;
pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod dropout;
pub mod embedding;
pub mod linear;
pub mod mlp;
pub mod noise;
pub mod norm;
pub mod pool;
pub mod recurrent;
pub mod residual;
pub mod scheduled_sampling;
pub mod transformer;

pub use activation::Activation;
pub use batch_norm::BatchNorm;
pub use conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvConfig, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use linear::{Linear, LinearConfig};
pub use mlp::{Mlp, MlpConfig};
pub use noise::GaussianNoise;
pub use norm::{GroupNorm, InstanceNorm, LayerNorm, RmsNorm};
pub use pool::{AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, Flatten, GlobalPool, MaxPool, Upsample};
pub use recurrent::{Bidirectional, Gru, Lstm, Recurrence, Recurrent, Rnn, Stacked, Stateful};
pub use residual::{Branches, Residual};
pub use scheduled_sampling::ScheduledSampling;
pub use transformer::{Transformer, TransformerConfig};

use std::fmt;

use thalweg_graph::{DType, IntoShape, Op, Tensor, placeholder};

use crate::Module;
use crate::error::refuse;

/// What layers are told while a graph is built, and what they say beside their result: whether it is for training, and what
/// they carry over from one batch to the next.
///
/// ```
/// use thalweg_nn::Forward;
/// assert!(Forward::train().training() && !Forward::infer().training());
/// ```
#[derive(Clone, Debug)]
pub struct Forward {
    training: bool,
    states: Vec<State>,
}

/// What a layer carries over from one batch to the next: what it has before a batch, all zeros before the first, and what
/// it has after. Since it comes from outside the graph, no gradient goes back into the batches before.
#[derive(Clone, Debug)]
pub struct State {
    /// A placeholder that [`is_state`] knows.
    pub before: Tensor,
    /// Of the same dtype and shape.
    pub after: Tensor,
}

/// How the placeholders of states are called, before a number.
const STATE: &str = "state:";

/// Whether a tensor is what a layer [carries over](Forward::carried) from the batch before.
pub fn is_state(tensor: &Tensor) -> bool {
    matches!(tensor.op(), Op::Placeholder(placeholder) if placeholder.name.starts_with(STATE))
}

impl Forward {
    /// For a training graph: dropout drops, statistics are of the batch.
    pub fn train() -> Forward {
        Forward { training: true, states: Vec::new() }
    }

    /// For an inference graph.
    pub fn infer() -> Forward {
        Forward { training: false, states: Vec::new() }
    }

    /// Whether the graph is for training.
    pub fn training(&self) -> bool {
        self.training
    }

    /// A state that goes on from batch to batch, as it is before this one; [`carry_on`](Forward::carry_on) says what it is
    /// afterwards. Who runs the graph hands it on, with zeros at the beginning of a text.
    ///
    /// ```
    /// # use thalweg_graph::{DType, placeholder};
    /// # use thalweg_nn::Forward;
    /// let mut cx = Forward::train();
    /// let x = placeholder("x", DType::F32, ("batch", 3));
    /// let sum = cx.carried(DType::F32, x.shape().clone());
    /// let y = &sum + &x;
    /// cx.carry_on(&sum, &y);
    /// assert_eq!(cx.states().len(), 1);
    /// ```
    pub fn carried(&mut self, dtype: DType, shape: impl IntoShape) -> Tensor {
        let before = placeholder(format!("{STATE}{}", self.states.len()), dtype, shape);
        self.states.push(State { before: before.clone(), after: before.clone() });
        before
    }

    /// Says what becomes of a state.
    ///
    /// # Panics
    /// If `before` is none of [`carried`](Forward::carried), or `after` has another dtype or shape.
    #[track_caller]
    pub fn carry_on(&mut self, before: &Tensor, after: &Tensor) {
        let state = self.states.iter_mut().find(|state| state.before.id() == before.id());
        let Some(state) = state else { refuse("carry_on", &[("before", before)], "it is no state of this `Forward`") };
        if before.meta() != after.meta() {
            refuse("carry_on", &[("before", before), ("after", after)], "a state keeps its dtype and shape");
        }
        state.after = after.clone();
    }

    /// What layers carry over, in the order in which they said so.
    pub fn states(&self) -> &[State] {
        &self.states
    }
}

/// A module that takes a tensor to a tensor. `Vec`s, tuples and `Option`s of layers are applied one after the other.
pub trait Layer: Module {
    /// Adds the nodes of the layer on top of `x`.
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor;
}

/// The variables, by path.
impl fmt::Debug for dyn Layer + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.variables().iter().map(|(path, variable)| (path, variable.meta()))).finish()
    }
}

impl<L: Layer> Layer for Vec<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let mut y = x.clone();
        for layer in self {
            y = layer.forward(&y, cx);
        }
        y
    }
}

impl<L: Layer> Layer for Option<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        match self {
            Some(layer) => layer.forward(x, cx),
            None => x.clone(),
        }
    }
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        (**self).forward(x, cx)
    }
}

macro_rules! chains {
    ($(($($name:ident $position:tt),+)),*) => {
        $(impl<$($name: Layer),+> Layer for ($($name,)+) {
            #[track_caller]
            fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
                let y = x.clone();
                $(let y = self.$position.forward(&y, cx);)+
                y
            }
        })*
    };
}
chains!(
    (A 0),
    (A 0, B 1),
    (A 0, B 1, C 2),
    (A 0, B 1, C 2, D 3),
    (A 0, B 1, C 2, D 3, E 4),
    (A 0, B 1, C 2, D 3, E 4, F 5)
);
