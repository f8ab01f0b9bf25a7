//! The physical program: what runs, for given sizes.
//!
//! [`plan`](mod@plan) holds the data: [`Plan`], a list of [`Call`]s over numbered buffers.

pub mod plan;

pub use plan::{
    ALIGNMENT, AroundAxis, Buffer, BufferId, Call, Epilogue, Feed, Kernel, Map, MatMul, Operand, Place, Plan,
};
pub use thalweg_graph as graph;
