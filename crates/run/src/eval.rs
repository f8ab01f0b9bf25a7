//! [`Eval`]: a tensor's numbers at once, for exploring and for tests.

use thalweg_plan::graph::{Array, Tensor};

use crate::error::RunError;
use crate::feed::Feeds;
use crate::session::Session;

/// A tensor's numbers at once.
pub trait Eval {
    /// Runs the graph of this tensor in a session of its own, in which variables have their initial values.
    ///
    /// ```
    /// use thalweg_run::Eval;
    /// use thalweg_run::graph::constant;
    /// let y = constant([1.0f32, 2.0]) * 3.0;
    /// assert_eq!(y.eval()?.as_slice::<f32>()?, [3.0, 6.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the graph has placeholders, or an index is out of bounds.
    fn eval(&self) -> Result<Array, RunError>;
}

impl Eval for Tensor {
    fn eval(&self) -> Result<Array, RunError> {
        Session::builder().threads(1).build()?.run(self, Feeds::new())
    }
}
