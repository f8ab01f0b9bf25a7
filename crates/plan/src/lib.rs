//! The physical program: what runs, for given sizes.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`plan`](mod@plan) | [`Plan`]: a list of [`Call`]s over numbered buffers, as plain data |
//! | [`lower`](mod@lower) | [`fn@lower`]: from a graph to a plan, the only place that sees both |
//! | [`target`] | [`Target`]: what lowering asks of the machine |
//! | `schedule` | the order of the calls |
//! | `memory` | which buffers share memory |
//! | [`cost`] | operations and bytes of each call |
//! | `text` | the text form |
//! | [`mod@verify`] | the invariants |

pub mod cost;
pub mod lower;
mod memory;
pub mod plan;
mod schedule;
pub mod target;
mod text;
pub mod verify;

pub use cost::Cost;
pub use lower::{LowerError, lower};
pub use plan::{
    ALIGNMENT, AroundAxis, Attention, AttentionGradient, Buffer, BufferId, Call, Carried, Carry, Convolution, Dropout,
    Epilogue, Feed, Given, Kernel, Loop, Map, MatMul, Operand, Part, Place, Plan, Taken,
};
pub use target::{Cpu, Target};
pub use thalweg_graph as graph;
pub use verify::{VerifyError, verify};
