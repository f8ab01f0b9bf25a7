//! Sessions on whole graphs.

mod faults;
mod oracle;
mod session;
mod state;
