//! Fork and join over a fixed set of threads.
