//! Ways around and beside: [`Residual`] and [`Branches`].

use thalweg_graph::Tensor;

use crate::Module;
use crate::layer::{Forward, Layer};

/// y = body(x) + shortcut(x), without a shortcut body(x) + x (He et al. 2016).
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{Activation, BatchNorm, Conv, Conv2d, Forward, Init, Layer, Residual};
///
/// let block = Init::build(1, |init| {
///     let body: (Conv2d, BatchNorm, Activation) = (Conv::new(init, 8, 8, 3), BatchNorm::new(init, 8), Activation::Relu);
///     Residual::new(body)
/// });
/// let x = placeholder("x", DType::F32, ("batch", 8, 16, 16));
/// assert_eq!(block.forward(&x, &mut Forward::train()).meta(), x.meta());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Residual<B, S = B> {
    /// What is learned.
    pub body: B,
    /// What brings x to the shape of the body's result; `None` where it has it.
    pub shortcut: Option<S>,
}

impl<B> Residual<B> {
    /// Around `body`, x as it is.
    pub fn new(body: B) -> Residual<B> {
        Residual { body, shortcut: None }
    }
}

impl<B: Layer, S: Layer> Layer for Residual<B, S> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let y = self.body.forward(x, cx);
        y + self.shortcut.forward(x, cx)
    }
}

/// Layers side by side, their results one after the other along axis 1 (Szegedy et al. 2015).
#[derive(Clone, Debug, Module)]
pub struct Branches<L> {
    /// The layers.
    pub layers: Vec<L>,
}

impl<L: Layer> Layer for Branches<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let mut results = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            results.push(layer.forward(x, cx));
        }
        Tensor::concat(&results.iter().collect::<Vec<_>>(), 1)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Pool, constant};

    use super::*;
    use crate::layer::{GlobalPool, MaxPool};
    use crate::testing::numbers;

    #[test]
    fn around_and_beside() {
        let x = constant([[1.0f32, 4.0]]).reshape([1, 1, 2]);
        let around = Residual::new(MaxPool(Pool::new([1])));
        assert_eq!(numbers(&around.forward(&x, &mut Forward::infer())), [2.0, 8.0]);
        let beside = Branches { layers: vec![GlobalPool::Average, GlobalPool::Max] };
        assert_eq!(numbers(&beside.forward(&x, &mut Forward::infer())), [2.5, 4.0]);
    }
}
