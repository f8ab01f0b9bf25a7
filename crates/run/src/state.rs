//! [`State`]: everything of a session that a checkpoint must hold.

use std::collections::BTreeMap;

use thalweg_plan::graph::Array;

/// The variables by name, the counter of steps and the seed: from these a session goes on with the same bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The values.
    pub variables: BTreeMap<String, Array>,
    /// How many runs with updates there were.
    pub step: u64,
    /// What random numbers are drawn from.
    pub seed: u64,
}
