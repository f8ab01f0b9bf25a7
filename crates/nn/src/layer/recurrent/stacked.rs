//! Walks on top of each other and both ways: [`Stacked`], [`Bidirectional`].

use thalweg_graph::Tensor;

use super::{Cell, Recurrence, Recurrent};
use crate::Module;
use crate::error::refuse;
use crate::layer::{Dropout, Forward, Layer};

/// Layers on top of each other, with dropout between them. The states are those of all layers, from the lowest to the
/// highest.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::layer::recurrent::{Bidirectional, Recurrent, Stacked};
/// use thalweg_nn::{Dropout, Forward, Init, Layer};
///
/// let two = Init::build(1, |init| Stacked::new(42, &[64, 64], |inputs, hidden| Recurrent::lstm(init, inputs, hidden)));
/// let two = two.dropout(Dropout::new(0.5));
/// let x = placeholder("x", DType::F32, ("batch", "time", 42));
/// assert_eq!(two.forward(&x, &mut Forward::train()).meta().to_string(), "f32[batch,time,64]");
///
/// let both_ways = Init::build(1, |init| {
///     Stacked::new(42, &[64, 64], |inputs, hidden| Bidirectional::new(|| Recurrent::gru(init, inputs, hidden)))
/// });
/// assert_eq!(both_ways.forward(&x, &mut Forward::train()).meta().to_string(), "f32[batch,time,128]");
/// ```
#[derive(Clone, Debug, Module)]
pub struct Stacked<R> {
    /// From the lowest to the highest.
    pub layers: Vec<R>,
    /// On the output of each but the highest.
    pub dropout: Option<Dropout>,
}

impl<R: Recurrence> Stacked<R> {
    /// Layers with so many hidden units, made by `layer` from the features of its input and these.
    pub fn new(inputs: usize, hidden: &[usize], mut layer: impl FnMut(usize, usize) -> R) -> Stacked<R> {
        let mut features = inputs;
        let layers = hidden.iter().map(|&hidden| {
            let made = layer(features, hidden);
            features = made.features();
            made
        });
        Stacked { layers: layers.collect(), dropout: None }
    }

    /// With dropout between the layers.
    pub fn dropout(self, dropout: Dropout) -> Stacked<R> {
        Stacked { dropout: Some(dropout), ..self }
    }
}

impl<C: Cell> Stacked<Recurrent<C>> {
    /// One step of all layers without a loop, from `x`, `[batch, features]`, and the states before it: the output and the
    /// states after it. Between the layers is dropout, within them is none.
    ///
    /// # Panics
    /// If the features or the states are not those of the layers.
    #[track_caller]
    pub fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Forward) -> (Tensor, Vec<Tensor>) {
        let mut given = Parts::new(x, Some(states), self.states().len());
        let (mut y, mut last) = (x.clone(), Vec::new());
        for (position, layer) in self.layers.iter().enumerate() {
            if position > 0 {
                y = self.dropout.forward(&y, cx);
            }
            let after = layer.step(&y, given.next(layer).unwrap_or_default());
            y = after[0].clone();
            last.extend(after);
        }
        (y, last)
    }
}

impl<R: Recurrence> Recurrence for Stacked<R> {
    /// # Panics
    /// If there is no layer.
    #[track_caller]
    fn features(&self) -> usize {
        match self.layers.last() {
            Some(layer) => layer.features(),
            None => refuse("stacked", &[], "there is no layer"),
        }
    }

    fn states(&self) -> Vec<usize> {
        self.layers.iter().flat_map(Recurrence::states).collect()
    }

    #[track_caller]
    fn run(
        &self,
        x: &Tensor,
        states: Option<&[Tensor]>,
        mask: Option<&Tensor>,
        cx: &mut Forward,
    ) -> (Tensor, Vec<Tensor>) {
        let mut given = Parts::new(x, states, self.states().len());
        let (mut y, mut last) = (x.clone(), Vec::new());
        for (position, layer) in self.layers.iter().enumerate() {
            if position > 0 {
                y = self.dropout.forward(&y, cx);
            }
            let (outputs, states) = layer.run(&y, given.next(layer), mask, cx);
            y = outputs;
            last.extend(states);
        }
        (y, last)
    }
}

impl<R: Recurrence> Layer for Stacked<R> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        self.run(x, None, None, cx).0
    }
}

/// One walk forwards and one backwards, their outputs side by side (Schuster and Paliwal 1997). The states are those of the
/// walk forwards, after its last step, and those of the walk backwards, after its last, at the first position.
#[derive(Clone, Debug, Module)]
pub struct Bidirectional<R> {
    /// From the first position.
    pub forwards: R,
    /// From the last.
    pub backwards: R,
}

impl<C: Cell> Bidirectional<Recurrent<C>> {
    /// Both ways with what `layer` makes, once for each.
    pub fn new(mut layer: impl FnMut() -> Recurrent<C>) -> Self {
        Bidirectional { forwards: layer(), backwards: layer().reversed() }
    }
}

impl<R: Recurrence> Recurrence for Bidirectional<R> {
    fn features(&self) -> usize {
        self.forwards.features() + self.backwards.features()
    }

    fn states(&self) -> Vec<usize> {
        [self.forwards.states(), self.backwards.states()].concat()
    }

    #[track_caller]
    fn run(
        &self,
        x: &Tensor,
        states: Option<&[Tensor]>,
        mask: Option<&Tensor>,
        cx: &mut Forward,
    ) -> (Tensor, Vec<Tensor>) {
        let mut given = Parts::new(x, states, self.states().len());
        let (forwards, mut last) = self.forwards.run(x, given.next(&self.forwards), mask, cx);
        let (backwards, states) = self.backwards.run(x, given.next(&self.backwards), mask, cx);
        last.extend(states);
        (Tensor::concat(&[&forwards, &backwards], -1), last)
    }
}

impl<R: Recurrence> Layer for Bidirectional<R> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        self.run(x, None, None, cx).0
    }
}

/// States that are given to several layers, one layer's after the other's.
struct Parts<'a>(Option<&'a [Tensor]>);

impl<'a> Parts<'a> {
    #[track_caller]
    fn new(x: &Tensor, states: Option<&'a [Tensor]>, wanted: usize) -> Parts<'a> {
        if let Some(states) = states
            && states.len() != wanted
        {
            let reason = format!("there are {wanted} states, {} are given", states.len());
            refuse("recurrent", &[("x", x)], reason);
        }
        Parts(states)
    }

    /// Those of the next layer.
    fn next(&mut self, layer: &impl Recurrence) -> Option<&'a [Tensor]> {
        let (its, rest) = self.0?.split_at(layer.states().len());
        self.0 = Some(rest);
        Some(its)
    }
}
