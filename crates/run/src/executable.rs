//! From a graph to what runs: sizes bound, passes, plan, kernels.

use std::sync::Arc;

use thalweg_kernels::tile::Draw;
use thalweg_plan::graph::passes::{self, Options};
use thalweg_plan::graph::{Bindings, Graph};
use thalweg_plan::{Cpu, LowerError, lower};

use crate::compile_times::{CompileTimes, Laps};
use crate::cpu::{Choices, Inputs, Prepared, largest};
use crate::error::RunError;
use crate::feed::Feeds;
use crate::variables::Variables;

/// A graph made ready for one combination of sizes.
#[derive(Debug)]
pub(crate) struct Executable {
    pub(crate) prepared: Prepared,
    /// Whether a run changes variables.
    pub(crate) has_updates: bool,
    /// For each feed of the plan its position among the feeds.
    pub(crate) feed_positions: Vec<usize>,
    /// For each variable of the plan its position among the session's.
    pub(crate) variable_positions: Vec<usize>,
    /// How long it took to get here.
    pub(crate) times: CompileTimes,
}

/// What the machine offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) threads: usize,
    /// The most bytes that a run may take.
    pub(crate) memory_limit: usize,
    /// Whether sums are formed as they are defined, however else they could be.
    pub(crate) exact: bool,
}

impl Executable {
    /// Compiles `graph` for these sizes. `feeds` are those of the graph's placeholders.
    pub(crate) fn new(
        graph: Graph,
        bindings: &Bindings,
        feeds: &Feeds<'_>,
        machine: Machine,
    ) -> Result<Executable, RunError> {
        let mut laps = Laps::begin();
        let mut times = CompileTimes::default();
        let has_updates = !graph.updates().is_empty();
        let graph = passes::bind::bind(graph, bindings)?;
        times.bind = laps.lap();
        let graph = passes::optimize(graph, &Options { exact: machine.exact, ..Options::default() });
        times.passes = laps.lap();
        let limit = machine.memory_limit;
        let plan = lower(&graph, bindings, &Cpu { memory_limit: limit }).map_err(|error| match error {
            LowerError::TooLarge { tensor, bytes, limit } => RunError::TooLarge { tensor, bytes, total: bytes, limit },
            error @ LowerError::Unbound { .. } => panic!("{error}: a bug in Thalweg"),
        })?;
        times.lower = laps.lap();
        let results: usize = plan.fetches.iter().map(|&fetch| plan[fetch].bytes()).sum();
        let needed =
            |prepared: &Prepared| prepared.workspace_bytes(machine.threads) + prepared.plan.packed_bytes + results;
        // What only answers gives a row the same bits in whatever batch it comes.
        let rows_may_vary = !has_updates && bindings.iter().next().is_some();
        let choices = Choices {
            exact: machine.exact,
            matrix_units: !rows_may_vary,
            keeps_packed: true,
            several_threads: machine.threads > 1,
        };
        let mut prepared = Prepared::new(plan, choices);
        if needed(&prepared) > limit {
            let plan = Arc::unwrap_or_clone(prepared.plan);
            prepared = Prepared::new(plan, Choices { keeps_packed: false, ..choices });
        }
        let total = needed(&prepared);
        if total > limit {
            let (tensor, bytes) = largest(&prepared.plan);
            return Err(RunError::TooLarge { tensor, bytes, total, limit });
        }
        let position = |name: &str| feeds.0.iter().position(|feed| feed.name.name() == name);
        let fed = prepared.plan.feeds.iter().map(|feed| position(&feed.name).expect("every placeholder is fed"));
        let feed_positions = fed.collect();
        times.prepare = laps.lap();
        Ok(Executable { prepared, has_updates, feed_positions, variable_positions: Vec::new(), times })
    }

    /// What goes into a run with these feeds.
    pub(crate) fn inputs<'a, 'f>(&'a self, feeds: &'a Feeds<'f>, draw: Draw) -> Inputs<'a, 'f> {
        let Executable { feed_positions, variable_positions, .. } = self;
        Inputs { feeds, feed_positions, variable_positions, draw }
    }

    /// Finds the variables of the plan among the session's; all of them have values.
    pub(crate) fn connect(&mut self, variables: &Variables) {
        let position = |variable| variables.ready(variable).expect("initialized before: a bug in Thalweg");
        self.variable_positions = self.prepared.plan.variables.iter().map(|(variable, _)| position(variable)).collect();
    }
}
