//! [`Group`]: what is different for some parameters.

use crate::error::or_panic;
use crate::optim::rule::Range;

/// The parameters at and below a path, with a learning rate, a decay or a largest norm of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub(super) prefix: String,
    pub(super) lr_factor: f64,
    pub(super) weight_decay: Option<f64>,
    pub(super) max_norm: Option<f64>,
}

impl Group {
    /// The parameters at and below `prefix`: `encoder`, `encoder.0.weight`.
    pub fn new(prefix: impl Into<String>) -> Group {
        Group { prefix: prefix.into(), lr_factor: 1.0, weight_decay: None, max_norm: None }
    }

    /// Their learning rate is multiplied by `factor`.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn lr_factor(self, factor: f64) -> Group {
        let lr_factor = or_panic(Range::NotNegative.check(&self.label(), "lr_factor", factor));
        Group { lr_factor, ..self }
    }

    /// Their weight decay, whatever their number of axes.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(self, decay: f64) -> Group {
        let weight_decay = Some(or_panic(Range::NotNegative.check(&self.label(), "weight_decay", decay)));
        Group { weight_decay, ..self }
    }

    /// Their largest norm, as [`Optimizer::max_norm`](crate::Optimizer::max_norm).
    ///
    /// # Panics
    /// If the limit is not above 0.
    #[track_caller]
    pub fn max_norm(self, limit: f64) -> Group {
        let max_norm = Some(or_panic(Range::Positive.check(&self.label(), "max_norm", limit)));
        Group { max_norm, ..self }
    }

    fn label(&self) -> String {
        format!("group `{}`", self.prefix)
    }
}
