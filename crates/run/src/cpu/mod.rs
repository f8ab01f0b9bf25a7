//! The CPU: plans made ready for its kernels, and the memory in which they run.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`memory`] | aligned memory |
//! | [`pages`] | what the system is told about memory that is about to be written |
//! | [`packed`] | weights in the order in which kernels read them |
//! | `shared` | variables that several threads read |
//! | [`prepare`] | [`Prepared`]: a plan with everything worked out that does not change from run to run |
//! | `describe` | what runs, in words |
//! | `products` | the products and convolutions of a call, in parts |
//! | `gather` | rows picked by index, by all threads |
//! | `repeat` | loops, step by step |
//! | [`execute`] | [`Workspace`]: one run at a time |

mod attention;
mod describe;
pub(crate) mod execute;
mod gather;
mod loops;
pub(crate) mod memory;
pub(crate) mod packed;
pub(crate) mod pages;
pub(crate) mod prepare;
mod products;
mod repeat;
mod shared;

use thalweg_kernels::pool::Pool;

pub(crate) use execute::{Access, Inputs, Results, Workspace, largest};
pub(crate) use memory::{OutOfMemory, Storage, result};
pub(crate) use packed::Copies;
pub(crate) use prepare::{Choices, Prepared};

/// Runs the chunks of a kernel, a single one without waking a thread.
fn share_out(pool: &Pool, chunks: usize, chunk: &(impl Fn(usize, usize) + Sync)) {
    match chunks {
        0 => {}
        1 => chunk(0, 0),
        _ => pool.run(chunks, chunk),
    }
}
