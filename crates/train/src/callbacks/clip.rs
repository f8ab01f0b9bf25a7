//! [`Clip`]: gradients are kept small.

use thalweg_nn::Step;
use thalweg_nn::optim::clipped_by_norm;
use thalweg_run::graph::{Tensor, Variable};

use crate::fit::Callback;

/// Clips the gradients of whatever optimizer, before its own clipping. How often the norm was above the limit is counted
/// and told as with [`Optimizer::clip_norm`](thalweg_nn::Optimizer::clip_norm).
///
/// ```
/// use thalweg_train::callbacks::Clip;
/// let clip = Clip::norm(1.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    by: By,
}

#[derive(Clone, Copy, Debug)]
enum By {
    Norm(f64),
    Value(f64),
}

impl Clip {
    /// Scales all gradients together so that √Σ g² is at most `limit`.
    ///
    /// # Panics
    /// If the limit is not finite and above 0.
    #[track_caller]
    pub fn norm(limit: f64) -> Clip {
        Clip { by: By::Norm(checked(limit)) }
    }

    /// Clamps each number of each gradient to [−limit, limit].
    ///
    /// # Panics
    /// If the limit is not finite and above 0.
    #[track_caller]
    pub fn value(limit: f64) -> Clip {
        Clip { by: By::Value(checked(limit)) }
    }
}

#[track_caller]
fn checked(limit: f64) -> f64 {
    assert!(limit.is_finite() && limit > 0.0, "clipping at {limit}: the limit must be finite and above 0");
    limit
}

impl Callback for Clip {
    fn gradients(&mut self, gradients: Vec<(Variable, Tensor)>) -> Vec<(Variable, Tensor)> {
        let (variables, tensors): (Vec<Variable>, Vec<Tensor>) = gradients.into_iter().unzip();
        let clipped = match self.by {
            By::Norm(limit) => clipped_by_norm(&tensors, limit),
            By::Value(limit) => tensors.iter().map(|gradient| gradient.clamp(-limit, limit)).collect(),
        };
        variables.into_iter().zip(clipped).collect()
    }

    fn step(&mut self, step: &mut Step) {
        if let By::Norm(limit) = self.by {
            step.clip_norm = Some(step.clip_norm.map_or(limit, |own| own.min(limit)));
        }
    }
}
