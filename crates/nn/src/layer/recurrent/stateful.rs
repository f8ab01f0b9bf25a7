//! [`Stateful`]: states that go on from batch to batch.

use thalweg_graph::{Shape, Size, Tensor};

use super::Recurrence;
use crate::Module;
use crate::layer::{Forward, Layer};

/// A walk that goes on where it was after the batch before: row n of a batch continues row n of the last one. No gradient goes
/// back into it (truncated back-propagation through time, Williams and Peng 1990). Who runs the graph hands the states on,
/// see [`Forward::states`].
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::layer::recurrent::{Recurrent, Stateful};
/// use thalweg_nn::{Forward, Init, Layer};
///
/// let layer = Init::build(1, |init| Stateful { layer: Recurrent::gru(init, 42, 64) });
/// let mut cx = Forward::train();
/// layer.forward(&placeholder("x", DType::F32, ("lanes", 8, 42)), &mut cx);
/// assert_eq!(cx.states()[0].after.meta().to_string(), "f32[lanes,64]");
/// ```
#[derive(Clone, Debug, Module)]
pub struct Stateful<R> {
    /// What walks.
    pub layer: R,
}

impl<R: Recurrence> Layer for Stateful<R> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let of_lanes = |size: usize| -> Shape { [x.size(0), Size::from(size)].into_iter().collect() };
        let before: Vec<Tensor> =
            self.layer.states().into_iter().map(|size| cx.carried(x.dtype(), of_lanes(size))).collect();
        let (outputs, after) = self.layer.run(x, Some(&before), None, cx);
        for (before, after) in before.iter().zip(&after) {
            cx.carry_on(before, after);
        }
        outputs
    }
}
