//! Sessions on whole graphs.

mod every_op;
mod faults;
mod large_graphs;
mod loops;
mod oracle;
mod random_graphs;
mod recompute;
#[path = "../../../graph/tests/it/registry.rs"]
mod registry;
mod session;
mod state;
