//! Passes: functions from graph to graph. Each is tested alone, as text before and after, and by interpreting both.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`fold_constants`] | computes what depends on constants alone |
//! | [`simplify`] | algebra that changes no number |
//! | [`stable_forms`] | log(softmax(x)) ⇒ log_softmax(x) and its like; used before differentiation too |
//! | [`tables`] | rows that are picked often are multiplied before they are picked |
//! | [`rows`] | rows change their order where they are shortest |
//! | [`cse`] | equal computations once |
//! | [`layout`] | permutations travel until they meet their inverse |
//! | [`loops`] | loops carry, read and give what is needed |
//! | [`dead_code`] | drops what no root needs |
//! | [`mod@for_evaluation`] | turns dropout and noise off, refuses what is left to chance |
//! | [`mod@bind`] | numbers for named sizes |
//! | [`mod@expand_composites`] | from what a user wrote to primitives |
//!
//! [`optimize`] runs the list [`LOGICAL`]; [`explain`] tells what each pass did.

use std::fmt;
use std::time::{Duration, Instant};

use crate::graph::{Changed, Graph, Node};
use crate::op::Op;
use crate::ops::control::{Body, Loop};
use crate::tensor::Meta;
use crate::verify::verify;

pub mod bind;
pub mod cse;
pub mod dead_code;
pub mod expand_composites;
mod expectation;
pub mod fold_constants;
pub mod for_evaluation;
pub mod layout;
pub mod loops;
mod moves;
mod parts;
mod pattern;
pub mod rows;
pub mod simplify;
pub mod stable_forms;
pub mod tables;
#[cfg(test)]
mod testing;

pub use bind::{BindError, bind};
pub use expand_composites::{Keep, expand_composites, expand_composites_but};
pub use for_evaluation::{EvaluationError, for_evaluation};

/// A function from graph to graph that keeps what the roots compute.
#[derive(Clone, Copy)]
pub struct Pass {
    /// What reports call it.
    pub name: &'static str,
    /// The function; it leaves the bodies of loops alone.
    pub run: fn(Graph, &Options) -> Changed<Graph>,
}

impl Pass {
    /// Runs the pass on the bodies of all loops, then on the graph.
    pub fn run(&self, graph: Graph, options: &Options) -> Changed<Graph> {
        let inside = in_bodies(graph, &mut |_, body| self.run(body, options));
        let outside = (self.run)(inside.value, options);
        Changed { value: outside.value, changed: inside.changed || outside.changed }
    }
}

/// The graph with what `rewrite` makes of the body of each loop.
pub(crate) fn in_bodies(graph: Graph, rewrite: &mut dyn FnMut(&Node, Graph) -> Changed<Graph>) -> Changed<Graph> {
    if !graph.nodes().any(|node| matches!(node.op, Op::Loop(_))) {
        return Changed { value: graph, changed: false };
    }
    graph.rebuild(|graph, node, inputs| {
        let Op::Loop(op) = &node.op else { return None };
        let Changed { value, changed } = rewrite(node, op.body.graph().clone());
        let op = Loop { body: Body::new(value), ..op.clone() };
        changed.then(|| graph.add(op, inputs, node).expect("a body keeps what it computes: a bug in Thalweg"))
    })
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// How passes run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the graph is verified before the first and after each pass. On in debug builds.
    pub verify: bool,
    /// How many passes run: halving this finds the pass that breaks a graph.
    pub stop_after: usize,
    /// The largest number of elements that constant folding computes or reads.
    pub fold_limit: usize,
    /// Whether sums are formed as they are defined, however else they could be.
    pub exact: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { verify: cfg!(debug_assertions), stop_after: usize::MAX, fold_limit: 4096, exact: false }
    }
}

/// The passes over every graph, in order.
pub const LOGICAL: &[Pass] = &[
    fold_constants::PASS, // first: exposes neutral elements to `simplify`
    rows::PASS,           // before `simplify`, which makes one of the reshapes that follow each other
    simplify::PASS,       // before `stable_forms`, which sees log(softmax(x)) whole
    stable_forms::PASS,
    tables::PASS, // before `cse`, which makes one of the sums that two gradients need
    cse::PASS,
    layout::PASS,    // after `simplify`, which knows permutations that move nothing
    loops::PASS,     // after `cse`, which makes one of what is handed in twice
    dead_code::PASS, // last: the others leave orphans
];

/// The graph after all [`LOGICAL`] passes.
///
/// ```
/// use thalweg_graph::{DType, Graph, passes, placeholder};
/// let x = placeholder("x", DType::F32, ["n"]);
/// let y = (&x * 1.0 + 0.0).named("y");
/// let graph = passes::optimize(Graph::capture([&y], &[]), &passes::Options::default());
/// assert_eq!(graph.to_string(), "%x: f32[n] = placeholder\nreturn %x\n");
/// ```
///
/// # Panics
/// If a pass gives a graph that does not verify, or changes dtype or shape of a root: a bug in Thalweg.
pub fn optimize(graph: Graph, options: &Options) -> Graph {
    run(graph, options, None)
}

/// What a pass did.
#[derive(Debug)]
pub struct Effect<'a> {
    /// The name of the pass.
    pub pass: &'static str,
    /// Whether the graph changed.
    pub changed: bool,
    /// How long the pass took.
    pub elapsed: Duration,
    /// The graph after it.
    pub graph: &'a Graph,
}

/// As [`optimize`], showing the effect of each pass to `observer`.
///
/// # Panics
/// As [`optimize`].
pub fn optimize_observed(graph: Graph, options: &Options, observer: &mut dyn FnMut(&Effect<'_>)) -> Graph {
    run(graph, options, Some(observer))
}

fn run(mut graph: Graph, options: &Options, mut observer: Option<&mut dyn FnMut(&Effect<'_>)>) -> Graph {
    let metas = |graph: &Graph| graph.roots().map(|id| graph[id].meta.clone()).collect::<Vec<Meta>>();
    let check = |graph: &Graph, after: &str| {
        if let Err(error) = verify(graph) {
            panic!("the graph is not sound {after}: {error}\n(a bug in Thalweg)\n{graph}");
        }
    };
    if options.verify {
        check(&graph, "before the passes");
    }
    for pass in LOGICAL.iter().take(options.stop_after) {
        let before = options.verify.then(|| metas(&graph));
        let start = observer.is_some().then(Instant::now);
        let Changed { value, changed } = pass.run(graph, options);
        graph = value;
        if let (Some(observer), Some(start)) = (&mut observer, start) {
            observer(&Effect { pass: pass.name, changed, elapsed: start.elapsed(), graph: &graph });
        }
        if let Some(before) = before {
            check(&graph, &format!("after {}", pass.name));
            assert_eq!(before, metas(&graph), "{} changed dtype or shape of a root: a bug in Thalweg", pass.name);
        }
    }
    graph
}

/// What all passes did: displays as the text form at the beginning, then per pass its time and number of nodes, and
/// the text form after it or `unchanged`.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The text form before the first pass.
    pub before: String,
    /// Per pass.
    pub passes: Vec<Explained>,
}

/// What one pass did.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The name of the pass.
    pub pass: &'static str,
    /// The text form after it, if it changed anything.
    pub after: Option<String>,
    /// The number of nodes after it.
    pub nodes: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// As [`optimize`], with the text form after each pass.
///
/// # Panics
/// As [`optimize`].
pub fn explain(graph: Graph, options: &Options) -> (Graph, Explanation) {
    let mut explanation = Explanation { before: graph.to_string(), passes: Vec::new() };
    let graph = optimize_observed(graph, options, &mut |effect| {
        explanation.passes.push(Explained {
            pass: effect.pass,
            after: effect.changed.then(|| effect.graph.to_string()),
            nodes: effect.graph.len(),
            elapsed: effect.elapsed,
        });
    });
    (graph, explanation)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "captured\n{}", self.before)?;
        for Explained { pass, after, nodes, elapsed } in &self.passes {
            write!(f, "\n{pass}: {nodes} nodes, {:.3} ms", elapsed.as_secs_f64() * 1e3)?;
            match after {
                Some(text) => write!(f, "\n{text}")?,
                None => writeln!(f, ", unchanged")?,
            }
        }
        Ok(())
    }
}
