//! What lowering must know of the machine that will run the plan. `plan` knows no kernel by itself.

/// The questions that lowering asks.
pub trait Target: std::fmt::Debug {
    /// The longest row, in elements, that a program may hold on to while it is folded and read again.
    fn longest_row(&self) -> usize;

    /// The most bytes that a tensor may take.
    fn memory_limit(&self) -> usize;
}

/// A CPU with the usual caches.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// The most bytes that a tensor may take.
    pub memory_limit: usize,
}

impl Target for Cpu {
    /// Four rows of f32 in half a megabyte: they stay in the second-level cache.
    fn longest_row(&self) -> usize {
        32 * 1024
    }

    fn memory_limit(&self) -> usize {
        self.memory_limit
    }
}
