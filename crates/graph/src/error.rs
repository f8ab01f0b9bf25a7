//! Errors of building and evaluating graphs: each names the op, the things involved with where they were made, the
//! reason and, where there is one, the way out. All messages are put together here.

use std::fmt;
use std::panic::Location;

use thiserror::Error;

use crate::tensor::{Meta, Tensor};

/// Why an op refuses its inputs. The op knows the reason; [`BuildError`] adds who and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// What is wrong, in a few words: `inner sizes differ`.
    pub reason: String,
    /// The numbers behind it: `axis 1 of left is 512, axis 0 of right is 784`.
    pub detail: Option<String>,
    /// The way out.
    pub hint: Option<String>,
}

impl ShapeError {
    /// An error with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        ShapeError { reason: reason.into(), detail: None, hint: None }
    }

    /// Adds the numbers behind it.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        for line in self.detail.iter().flat_map(|detail| detail.lines()) {
            write!(f, "\n  {line}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ShapeError {}

/// An op that cannot be applied to its inputs: which op, where, to what, and why.
///
/// ```text
/// matmul: inner sizes differ   --> src/main.rs:17:22
///   left   hidden   f32[batch,512]   made at src/main.rs:12:13
///   right  w2       f32[784,10]      made at src/main.rs:14:13
///   axis 1 of left is 512, axis 0 of right is 784
///   hint: w2 has the width of the input; did you mean [512, 10]?
/// ```
#[derive(Clone, Debug)]
pub struct BuildError(Box<Refusal>);

#[derive(Clone, Debug)]
struct Refusal {
    op: String,
    location: &'static Location<'static>,
    inputs: Vec<InputNote>,
    error: ShapeError,
}

#[derive(Clone, Debug)]
struct InputNote {
    name: String,
    meta: Meta,
    location: &'static Location<'static>,
}

impl BuildError {
    pub(crate) fn new(op: String, location: &'static Location<'static>, inputs: &[Tensor], error: ShapeError) -> Self {
        let note = |input: &Tensor| InputNote {
            name: input.display_name(),
            meta: input.meta().clone(),
            location: input.location(),
        };
        BuildError(Box::new(Refusal { op, location, inputs: inputs.iter().map(note).collect(), error }))
    }

    /// Why the op refused.
    pub fn reason(&self) -> &ShapeError {
        &self.0.error
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}   --> {}", self.0.op, self.0.error.reason, self.0.location)?;
        let names = self.0.inputs.iter().map(|input| input.name.chars().count()).max().unwrap_or(0);
        let metas: Vec<String> = self.0.inputs.iter().map(|input| input.meta.to_string()).collect();
        let widest = metas.iter().map(|meta| meta.chars().count()).max().unwrap_or(0);
        for (position, (input, meta)) in self.0.inputs.iter().zip(&metas).enumerate() {
            let role = match (self.0.inputs.len(), position) {
                (1, _) => "input".to_string(),
                (2, 0) => "left ".to_string(),
                (2, _) => "right".to_string(),
                _ => format!("input {position}"),
            };
            write!(f, "\n  {role}  {:names$}  {meta:widest$}  made at {}", input.name, input.location)?;
        }
        for line in self.0.error.detail.iter().flat_map(|detail| detail.lines()) {
            write!(f, "\n  {line}")?;
        }
        if let Some(hint) = &self.0.error.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildError {}

/// What can go wrong when numbers meet a graph.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum EvalError {
    /// An index that no element has.
    #[error("{op}: index {index} at position {position} is outside 0..{bound}{place}")]
    Index {
        /// The op.
        op: String,
        /// Where among the indices, row-major.
        position: usize,
        /// The index.
        index: i64,
        /// The number of elements along the axis.
        bound: usize,
        /// ` (made at file:line:column)`, where that is known.
        place: String,
    },
    /// A size without a number, or a shape that no memory holds.
    #[error("{op}: {reason}")]
    Size {
        /// The op.
        op: String,
        /// What is wrong.
        reason: String,
    },
    /// A placeholder without numbers.
    #[error("the placeholder `{name}` ({meta}) is not fed")]
    NotFed {
        /// Its name.
        name: String,
        /// What it expects.
        meta: String,
    },
    /// What a custom op said.
    #[error("{op}: {reason}")]
    Custom {
        /// The op.
        op: String,
        /// What it said.
        reason: String,
    },
}
