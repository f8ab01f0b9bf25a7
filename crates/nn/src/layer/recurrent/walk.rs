//! [`Recurrent`]: a cell along time.

use thalweg_graph::array::Real;
use thalweg_graph::ops::composite;
use thalweg_graph::{DType, Meta, Scan, Shape, Size, Tensor, random_uniform, zeros};

use super::Recurrence;
use super::cell::{Cell, CellInput};
use crate::Module;
use crate::error::refuse;
use crate::layer::{Forward, Layer};

/// A [`Cell`] that walks along time: `[batch, time, features] → [batch, time, hidden]`.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::layer::recurrent::{Recurrence, Recurrent};
/// use thalweg_nn::{Forward, Init};
///
/// let layer = Init::build(1, |init| Recurrent::lstm(init, 42, 64));
/// let x = placeholder("x", DType::F32, ("batch", "time", 42));
/// let is_word = placeholder("is_word", DType::Bool, ("batch", "time"));
/// let (outputs, last) = layer.run(&x, None, Some(&is_word), &mut Forward::train());
/// assert_eq!(outputs.meta().to_string(), "f32[batch,time,64]");
/// assert_eq!(last.len(), 2, "output and memory after the last word of each row");
/// ```
#[derive(Clone, Debug, Module)]
pub struct Recurrent<C> {
    /// What a step does.
    pub cell: C,
    reversed: bool,
    recurrent_dropout: f64,
    update_dropout: f64,
}

impl<C: Cell> Recurrent<C> {
    /// From the first position to the last, without dropout.
    pub fn new(cell: C) -> Recurrent<C> {
        Recurrent { cell, reversed: false, recurrent_dropout: 0.0, update_dropout: 0.0 }
    }

    /// From the last position to the first; outputs stay where their inputs are. Padding that comes last is walked over first,
    /// so that the states begin at the last real step.
    pub fn reversed(self) -> Recurrent<C> {
        Recurrent { reversed: true, ..self }
    }

    /// In training, recurrent weights see the state without some of its units, the same ones in all steps (Gal and
    /// Ghahramani 2016). For the inputs do so with [`Dropout::along`](crate::Dropout::along) axis 1.
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn recurrent_dropout(self, rate: f64) -> Recurrent<C> {
        Recurrent { recurrent_dropout: checked(rate), ..self }
    }

    /// In training, some of what is to be written into the memory is not, other units in each step, so that nothing that is
    /// remembered is lost (Semeniuta et al. 2016).
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn update_dropout(self, rate: f64) -> Recurrent<C> {
        Recurrent { update_dropout: checked(rate), ..self }
    }

    /// One step without a loop and without dropout, for decoders that walk themselves: `x`, `[batch, features]`, and the states
    /// before it give those after it; the first is the output.
    ///
    /// # Panics
    /// If the features or the states are not those of the layer.
    #[track_caller]
    pub fn step(&self, x: &Tensor, states: &[Tensor]) -> Vec<Tensor> {
        let walk = x.unsqueeze(1);
        expect_walk(&walk, None);
        let states = states_or_zeros(&walk, &self.states(), Some(states));
        let projected = self.cell.project(&x.unsqueeze(0)).squeeze(0);
        self.cell.step(&CellInput { projected: &projected, states: &states, seen: &states[0], update_dropout: 0.0 })
    }
}

#[track_caller]
fn checked(rate: f64) -> f64 {
    assert!((0.0..1.0).contains(&rate), "dropout: the rate is {rate}; it must be at least 0 and below 1");
    rate
}

impl<C: Cell> Recurrence for Recurrent<C> {
    fn features(&self) -> usize {
        self.cell.states()[0]
    }

    fn states(&self) -> Vec<usize> {
        self.cell.states()
    }

    #[track_caller]
    fn run(
        &self,
        x: &Tensor,
        states: Option<&[Tensor]>,
        mask: Option<&Tensor>,
        cx: &mut Forward,
    ) -> (Tensor, Vec<Tensor>) {
        expect_walk(x, mask);
        let states = states_or_zeros(x, &self.states(), states);
        let projected = self.cell.project(&x.swap_axes(0, 1));
        let mask = mask.map(|mask| mask.t().unsqueeze(-1));
        let rate_now = |rate: f64| if cx.training() { rate } else { 0.0 };
        let (rate, update_dropout) = (rate_now(self.recurrent_dropout), rate_now(self.update_dropout));
        // Drawn outside, so that all steps see the same units.
        let decisions = (rate > 0.0).then(|| random_uniform(states[0].shape(), states[0].dtype()));
        let given: Vec<&Tensor> = states.iter().collect();
        let walked: Vec<&Tensor> = [&projected].into_iter().chain(&mask).collect();
        let scan = if self.reversed { Scan::new().reverse() } else { Scan::new() };
        let (last, outputs) = scan.run(&given, &walked, |states, walked| {
            let seen = match decisions {
                Some(decisions) => {
                    Tensor::apply(composite::Dropout { rate: Real(rate) }, [states[0].clone(), decisions])
                }
                None => states[0].clone(),
            };
            let next = self.cell.step(&CellInput { projected: &walked[0], states, seen: &seen, update_dropout });
            match walked.get(1) {
                Some(is_real) => {
                    let output = is_real.select(&next[0], next[0].zeros_like());
                    let kept = next.iter().zip(states).map(|(next, before)| is_real.select(next, before));
                    (kept.collect(), vec![output])
                }
                None => (next.clone(), vec![next[0].clone()]),
            }
        });
        (outputs[0].swap_axes(0, 1), last)
    }
}

impl<C: Cell> Layer for Recurrent<C> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        self.run(x, None, None, cx).0
    }
}

/// Stops at the user's line unless x is `[batch, time, features]` and the mask bool `[batch, time]`.
#[track_caller]
fn expect_walk(x: &Tensor, mask: Option<&Tensor>) {
    if x.rank() != 3 || !x.dtype().is_float() {
        refuse("recurrent", &[("x", x)], "x must have the axes batch, time and features, and hold floats");
    }
    if let Some(mask) = mask {
        let steps: Shape = [x.size(0), x.size(1)].into_iter().collect();
        if mask.dtype() != DType::Bool || mask.shape() != &steps {
            refuse("recurrent", &[("x", x), ("mask", mask)], format!("the mask must be bool{steps}"));
        }
    }
}

/// The states with which a walk along `x` begins.
#[track_caller]
fn states_or_zeros(x: &Tensor, sizes: &[usize], given: Option<&[Tensor]>) -> Vec<Tensor> {
    let meta = |&size: &usize| Meta::new(x.dtype(), [x.size(0), Size::from(size)].into_iter().collect());
    let metas: Vec<Meta> = sizes.iter().map(meta).collect();
    let Some(given) = given else {
        return metas.iter().map(|meta| zeros(&meta.shape, meta.dtype)).collect();
    };
    if given.len() != metas.len() {
        let reason = format!("there are {} states, {} are given", metas.len(), given.len());
        refuse("recurrent", &[("x", x)], reason);
    }
    for (number, (state, meta)) in given.iter().zip(&metas).enumerate() {
        if state.meta() != meta {
            refuse("recurrent", &[("x", x), ("state", state)], format!("state {number} must be {meta}"));
        }
    }
    given.to_vec()
}
