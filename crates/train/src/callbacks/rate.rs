//! [`ScaleRate`]: the learning rate over the steps.

use thalweg_nn::Schedule;
use thalweg_run::graph::Tensor;

use crate::fit::Callback;

/// Multiplies the learning rate of every group, or of one, by a schedule.
///
/// ```
/// use thalweg_nn::Schedule;
/// use thalweg_train::callbacks::ScaleRate;
/// let warmup = ScaleRate::by(Schedule::linear(0.01, 1.0, 500));
/// let head_alone_at_first = ScaleRate::by(Schedule::linear(0.0, 1.0, 1000)).of_group("backbone");
/// ```
#[derive(Clone, Debug)]
pub struct ScaleRate {
    schedule: Schedule,
    group: Option<String>,
}

impl ScaleRate {
    /// By this factor over the steps.
    pub fn by(schedule: impl Into<Schedule>) -> ScaleRate {
        ScaleRate { schedule: schedule.into(), group: None }
    }

    /// Only of the group of this prefix.
    pub fn of_group(self, prefix: impl Into<String>) -> ScaleRate {
        ScaleRate { group: Some(prefix.into()), ..self }
    }
}

impl Callback for ScaleRate {
    fn rate(&mut self, group: Option<&str>, rate: Tensor, made: &Tensor) -> Tensor {
        if self.group.is_some() && self.group.as_deref() != group {
            return rate;
        }
        rate * self.schedule.tensor(made)
    }
}
