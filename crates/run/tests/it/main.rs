//! Sessions on whole graphs.

mod session;
mod state;
