//! What can go wrong between a question to a session and its answer. All messages are put together here.

use std::fmt;

use thalweg_kernels::pool::PoolError;
use thalweg_plan::graph::array::ArrayError;
use thalweg_plan::graph::passes::bind::BindError;
use thalweg_plan::graph::passes::for_evaluation::EvaluationError;
use thalweg_plan::graph::{DType, EvalError, Meta};

/// Why a session does not do what it was asked. Whatever the reason, no variable has changed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A placeholder without numbers.
    #[error("the placeholder `{name}` ({meta}) is not fed; fed are {}", names(fed))]
    FeedMissing {
        /// The placeholder.
        name: String,
        /// What it expects.
        meta: String,
        /// What was fed.
        fed: Vec<String>,
    },
    /// Numbers that nothing of what was fetched reads.
    #[error(
        "`{name}` is fed, but nothing that was fetched reads a placeholder of this name; it reads {}",
        names(expected)
    )]
    FeedExtra {
        /// Under what it was fed.
        name: String,
        /// The placeholders that are read.
        expected: Vec<String>,
    },
    /// One placeholder fed twice.
    #[error("the placeholder `{name}` is fed twice")]
    FeedTwice {
        /// The placeholder.
        name: String,
    },
    /// A feed for a tensor that is computed.
    #[error("`{name}` ({meta}, made at {location}) cannot be fed: it is no placeholder")]
    FeedNotPlaceholder {
        /// The tensor.
        name: String,
        /// Its dtype and shape.
        meta: String,
        /// The line that made it.
        location: String,
    },
    /// Numbers of another dtype.
    #[error("the placeholder `{name}` expects {meta}, was fed {found}; `cast` converts arrays")]
    FeedDType {
        /// The placeholder.
        name: String,
        /// What it expects.
        meta: String,
        /// What came.
        found: DType,
    },
    /// Numbers of another shape.
    #[error("the placeholder `{name}` expects {meta}, was fed {found}: {reason}")]
    FeedShape {
        /// The placeholder.
        name: String,
        /// What it expects.
        meta: String,
        /// What came.
        found: String,
        /// What does not fit.
        reason: String,
    },
    /// Numbers met the graph and did not fit: an index outside its axis, a size below zero.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// More memory than there is.
    #[error("{tensor} takes {} ({bytes} bytes), the run {}; a session may use {}", Bytes(*bytes), Bytes(*total), Bytes(*limit))]
    TooLarge {
        /// The largest tensor.
        tensor: String,
        /// Its bytes.
        bytes: usize,
        /// The bytes of the whole run.
        total: usize,
        /// What the session may use.
        limit: usize,
    },
    /// The system has no more memory to give.
    #[error("the system refuses {} of memory; the largest tensor is {tensor} with {}", Bytes(*bytes), Bytes(*largest))]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
        /// The largest tensor, or the variable that needs memory.
        tensor: String,
        /// Its bytes.
        largest: usize,
    },
    /// Two variables of one name.
    #[error(
        "two different variables are called `{name}`: one is {first}, the other {second}; names are unique in a session"
    )]
    SameName {
        /// The name.
        name: String,
        /// dtype and shape of the one met first, and where it was made.
        first: String,
        /// Those of the other.
        second: String,
    },
    /// Two updates of one variable in one run.
    #[error("the variable `{name}` is assigned twice in one run")]
    AssignedTwice {
        /// The variable.
        name: String,
    },
    /// A value that a variable cannot hold.
    #[error("the variable `{name}` is {expected}, the value is {found}")]
    Value {
        /// The variable.
        name: String,
        /// Its dtype and shape.
        expected: String,
        /// Those of the value.
        found: String,
    },
    /// A state that is not that of the session's variables.
    #[error("the state does not fit the variables; nothing was loaded{0}")]
    State(StateDifferences),
    /// A graph that cannot serve evaluation.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// The sizes of what was fed do not fit the graph.
    #[error(transparent)]
    Sizes(Box<BindError>),
    /// Arrays for the results that are not as many as the tensors.
    #[error("{tensors} tensors are fetched into {arrays} arrays")]
    Outputs {
        /// How many tensors are fetched.
        tensors: usize,
        /// How many arrays came.
        arrays: usize,
    },
    /// A kernel panicked: a bug in Thalweg or in a custom op. The session stays usable.
    #[error("{label} panicked: {message}")]
    Panic {
        /// What was running.
        label: String,
        /// What it said.
        message: String,
    },
    /// Numbers that fill no shape.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// No thread pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl From<BindError> for RunError {
    fn from(error: BindError) -> RunError {
        RunError::Sizes(Box::new(error))
    }
}

/// How a state differs from the variables of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDifferences {
    /// Variables that the state has no value for.
    pub missing: Vec<String>,
    /// Values that no variable takes.
    pub unexpected: Vec<String>,
    /// Names with what the variable is and what the state has.
    pub different: Vec<(String, String, String)>,
}

impl StateDifferences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.different.is_empty()
    }
}

impl fmt::Display for StateDifferences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.missing.is_empty() {
            write!(f, "\n  missing: {}", names(&self.missing))?;
        }
        if !self.unexpected.is_empty() {
            write!(f, "\n  unexpected: {}", names(&self.unexpected))?;
        }
        for (name, variable, state) in &self.different {
            write!(f, "\n  `{name}` is {variable}, the state has {state}")?;
        }
        Ok(())
    }
}

/// dtype and sizes as they are written: `f32[2,3]`.
pub(crate) fn sized(dtype: DType, shape: &[usize]) -> String {
    Meta::new(dtype, shape.iter().copied().collect()).to_string()
}

/// Names in backquotes, or `none`.
fn names(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A number of bytes in the largest unit of which there is one: `400.0 GiB`.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_fitting_units() {
        assert_eq!(Bytes(1023).to_string(), "1023 bytes");
        assert_eq!(Bytes(400 << 30).to_string(), "400.0 GiB");
        assert_eq!(Bytes(usize::MAX).to_string(), "16.0 EiB");
    }
}
