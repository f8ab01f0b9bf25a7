//! What was compiled, and how it runs.

use thalweg_plan::graph::reference::{self, interpret};
use thalweg_plan::graph::{Array, Graph};

use crate::error::RunError;
use crate::feed::{Feeds, Value};
use crate::variables::Variables;

/// A graph made ready for one combination of sizes.
#[derive(Debug)]
pub(crate) struct Executable {
    pub(crate) graph: Graph,
    /// Where the session keeps the variables that change, in the order of the graph's updates.
    pub(crate) updates: Vec<usize>,
    /// The sizes of each feed.
    pub(crate) shapes: Vec<smallvec::SmallVec<[usize; 4]>>,
}

impl Executable {
    /// Whether a run changes variables.
    pub(crate) fn has_updates(&self) -> bool {
        !self.updates.is_empty()
    }

    /// Runs the graph: the fetches, and the next values of what changes.
    pub(crate) fn run(&self, variables: &Variables, feeds: &Feeds<'_>) -> Result<(Vec<Array>, Vec<Array>), RunError> {
        let mut placeholders = std::collections::BTreeMap::new();
        for (feed, shape) in feeds.0.iter().zip(&self.shapes) {
            let array = match &feed.value.0 {
                Value::Lent { dtype, bytes, .. } => Array::from_bytes(shape, *dtype, bytes)?,
                Value::Given { array, .. } => array.reshape(shape)?,
                Value::Number(number) => {
                    let node = self.graph.placeholders().find(|(_, p)| *p.name == *feed.name.name());
                    let dtype = node.map_or(number.default_dtype(), |(_, placeholder)| placeholder.dtype);
                    Array::full(&[], dtype, *number)
                }
            };
            placeholders.insert(feed.name.name().to_string(), array);
        }
        let feeds = reference::Feeds {
            placeholders,
            variables: variables.values(),
            seed: variables.seed,
            step: variables.step,
        };
        let results = interpret(&self.graph, &feeds)?;
        Ok((results.fetches, results.updates))
    }
}
