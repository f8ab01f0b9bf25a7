//! The interpreter of [`Program`](thalweg_array::program::Program): fused groups of scalar functions over tiles that stay in the first-level cache.
//!
//! [`Prepared::new`] does once what depends on the program and the sizes alone: it merges axes, orders the
//! instructions into stages, gives every register its place in scratch memory, and cuts the space into chunks. Running
//! allocates nothing:
//!
//! ```text
//! for chunk in 0..prepared.chunks()      any order, any threads, one scratch of scratch_bytes() each
//!     run_chunk(chunk)                   writes Store outputs; partial folds go to the shared partials
//! finish()                               puts the partial folds together, in the order of the chunks
//! ```
//!
//! The chunks depend on the sizes only, so the same bits come out whatever the number of threads.
//!
//! **Tiles.** A tile has up to [`TILE`] numbers. Where a row fits, a tile holds as many whole rows as fit, and registers
//! of [`Extent::Row`](thalweg_array::program::Extent::Row) hold one number for each; where a row is longer, a tile is a
//! part of one row. In that case a program with row folds runs in stages, one pass over the row per fold depth;
//! what later stages need is kept for the whole row, or computed again where that is cheap. Where nothing but folds of what
//! lies in memory is to be done, a whole chunk is one tile.
//!
//! **Aliasing.** An output may be the same memory as an input whose elements it matches one to one: what is written is not
//! read afterwards, or is written when all of the tile has been read.

mod ahead;
mod cost;
mod fold;
mod fuse;
mod memory;
mod prepare;
mod run;
mod schedule;
mod space;
mod step;
mod stream;

pub use prepare::Prepared;
pub use space::{Space, dense_strides};

/// Numbers in a tile.
pub const TILE: usize = 1024;

/// The memory that a program works on, and what random numbers depend on.
///
/// Pointers stand where the element with all indices zero is (negative strides reach below it; a rectangle of a larger
/// matrix may be given by the address that its element (0, 0) would have).
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// One per input of the program, aligned to its dtype.
    pub inputs: &'a [*const u8],
    /// One per output, aligned to its dtype.
    pub outputs: &'a [*mut u8],
    /// What random numbers depend on.
    pub draw: Draw,
}

// SAFETY: plain addresses; what is done with them is the contract of the functions that take `Operands`.
unsafe impl Send for Operands<'_> {}
// SAFETY: as above.
unsafe impl Sync for Operands<'_> {}

/// What random numbers depend on besides the op's stream and the element's index in the space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// The seed of the session.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// The index of the space's first element.
    pub first: u64,
}

/// Shared memory for the partial results of folds: [`Prepared::partial_bytes`] bytes, aligned to 8.
#[derive(Clone, Copy, Debug)]
pub struct Partials(pub *mut u8);

// SAFETY: a plain address; each chunk writes its own part.
unsafe impl Send for Partials {}
// SAFETY: as above.
unsafe impl Sync for Partials {}
