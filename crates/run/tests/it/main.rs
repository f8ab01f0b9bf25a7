//! Sessions on whole graphs.

mod faults;
mod oracle;
mod random_graphs;
mod session;
mod state;
