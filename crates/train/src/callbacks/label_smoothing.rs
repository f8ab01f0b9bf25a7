//! [`LabelSmoothing`]: a part of each label spread over all classes.

use thalweg_run::graph::Tensor;

use crate::fit::{Callback, Task};

/// Takes ε of the loss from the distance to all classes alike: (1−ε)·loss + ε·mean over rows and classes of −ln softmax(x)
/// (Szegedy et al. 2016). With cross-entropy that is the same as
/// [`CrossEntropy::label_smoothing`](thalweg_nn::CrossEntropy::label_smoothing), for a loss that is built already, or one
/// that [`Mixup`](super::Mixup) mixes.
#[derive(Clone, Copy, Debug)]
pub struct LabelSmoothing {
    part: f64,
}

impl LabelSmoothing {
    /// ε, usually 0.1.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn new(part: f64) -> LabelSmoothing {
        assert!((0.0..1.0).contains(&part), "label smoothing: the part is {part}; it must be at least 0 and below 1");
        LabelSmoothing { part }
    }
}

impl Callback for LabelSmoothing {
    /// # Panics
    /// If the task does not say what the output of the training graph is.
    fn loss(&mut self, loss: Tensor, task: &Task) -> Tensor {
        let output = task.train_output.as_ref();
        let output = output.expect("label smoothing: the task names no output of its training graph (`train_output`)");
        let uniform = -output.log_softmax(-1).mean();
        loss * (1.0 - self.part) + uniform * self.part
    }
}
