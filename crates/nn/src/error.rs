//! Errors of building models and optimizers.

use std::fmt;
use std::panic::Location;

use thalweg_graph::Tensor;
use thiserror::Error;

/// What can be wrong with a setting or a name that comes from outside.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NnError {
    /// A setting outside its range.
    #[error("{owner}: {setting} is {value}; it must be {expected}")]
    Setting {
        /// What is set up: `adam`.
        owner: String,
        /// Which setting: `beta1`.
        setting: String,
        /// Its value.
        value: f64,
        /// What it must be: `at least 0 and below 1`.
        expected: &'static str,
    },
    /// A name that is not known.
    #[error("unknown {kind} `{name}`; known: {known}")]
    Unknown {
        /// What is named: `optimizer`.
        kind: String,
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A path prefix below which there is no variable.
    #[error("no variable's path begins with `{prefix}`; there are: {known}")]
    NoSuchPath {
        /// The prefix.
        prefix: String,
        /// The paths there are.
        known: String,
    },
}

impl NnError {
    pub(crate) fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> NnError {
        let known = known.into_iter().collect::<Vec<_>>().join(" ");
        NnError::Unknown { kind: kind.into(), name: name.into(), known }
    }
}

/// Stops at the user's line: `what` cannot be built from `inputs`, for this reason.
#[track_caller]
pub(crate) fn refuse(what: &str, inputs: &[(&str, &Tensor)], reason: impl fmt::Display) -> ! {
    let mut message = format!("{what}: {reason}   --> {}", Location::caller());
    let width = inputs.iter().map(|(role, _)| role.len()).max().unwrap_or(0);
    for (role, tensor) in inputs {
        message +=
            &format!("\n  {role:width$}  {}  {}  made at {}", tensor.display_name(), tensor.meta(), tensor.location());
    }
    panic!("{message}")
}

/// The value, or a stop at the user's line: a setting in a program is the programmer's.
#[track_caller]
pub(crate) fn or_panic<T>(result: Result<T, NnError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}   --> {}", Location::caller()),
    }
}
