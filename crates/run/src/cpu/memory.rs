//! Memory in the raw: aligned stretches that kernels reach by address.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::fmt;
use std::ptr::NonNull;

use thalweg_kernels::pool::Pool;
use thalweg_plan::ALIGNMENT;
use thalweg_plan::graph::array::array::byte_count;
use thalweg_plan::graph::array::{self, Array, DType, Memory};

use super::pages::{self, HUGE};

/// There is not so much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    /// What was asked for.
    pub(crate) bytes: usize,
}

/// A stretch of memory, aligned to cache lines. What it holds at first is undefined: it is written before it is read.
pub(crate) struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block owns its memory; sharing it shares the address, and who reads or writes there is the business of the
// unsafe code that does.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A block of nothing.
    pub(crate) fn empty() -> Block {
        Block { start: NonNull::<Line>::dangling().cast(), bytes: 0 }
    }

    /// A block of `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Result<Block, OutOfMemory> {
        if bytes == 0 {
            return Ok(Block::empty());
        }
        let layout = layout(bytes).ok_or(OutOfMemory { bytes })?;
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) }).ok_or(OutOfMemory { bytes })?;
        // SAFETY: just allocated.
        unsafe { pages::ask_for_huge(start.as_ptr(), bytes) };
        let mut block = Block { start, bytes };
        if cfg!(debug_assertions) {
            block.poison();
        }
        Ok(block)
    }

    /// A block that holds these bytes.
    pub(crate) fn holding(bytes: &[u8]) -> Result<Block, OutOfMemory> {
        let mut block = Block::new(bytes.len())?;
        block.write(bytes);
        Ok(block)
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Makes room for `bytes` bytes; what was in the block is lost if it grows.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        if bytes > self.bytes {
            // The old one goes first: both together may be more than there is.
            *self = Block::empty();
            *self = Block::new(bytes)?;
        }
        Ok(())
    }

    /// Maps the memory of the block, all of which is about to be written, on all threads.
    pub(crate) fn map(&mut self, pool: &Pool) {
        // SAFETY: the block owns its memory.
        unsafe { pages::map(self.start(), self.bytes, pool) };
    }

    /// Fills the block with bits that are NaN in every floating-point dtype, so that reading what nobody wrote shows.
    pub(crate) fn poison(&mut self) {
        // SAFETY: the block owns these bytes.
        unsafe { self.start().write_bytes(0xff, self.bytes) };
    }

    /// Overwrites the beginning of the block.
    ///
    /// # Panics
    /// If there are more bytes than the block has.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.bytes, "{} bytes into a block of {}", bytes.len(), self.bytes);
        // SAFETY: the block owns that many bytes, and nobody else can hold a reference to them.
        unsafe { self.start().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let layout = layout(self.bytes).expect("the layout was valid when the block was made");
            // SAFETY: allocated by `new` with this very layout.
            unsafe { dealloc(self.start(), layout) };
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.bytes)
    }
}

/// How a block of `bytes` bytes is allocated: aligned to cache lines, or to huge pages if it fills one.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, if bytes >= HUGE { HUGE } else { ALIGNMENT }).ok()
}

/// A cache line: what blocks are aligned to.
#[repr(align(64))]
struct Line;

const _: () = assert!(align_of::<Line>() == ALIGNMENT);

/// The memory of a large result: a block that is zero until a run writes it.
#[derive(Debug)]
struct ResultMemory(Block);

impl Memory for ResultMemory {
    fn bytes(&self) -> &[u8] {
        // SAFETY: written by `result`, and the block is owned.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else can hold a reference to them.
        unsafe { std::slice::from_raw_parts_mut(self.0.start(), self.0.len()) }
    }
}

/// An array of any numbers for a result that is about to be written: a large one aligned, in huge pages.
#[track_caller]
pub(crate) fn result(shape: &[usize], dtype: DType, pool: &Pool) -> Array {
    let bytes = byte_count(shape, dtype).unwrap_or_else(|error| panic!("{error}"));
    if bytes >= HUGE
        && let Ok(block) = Block::new(bytes)
    {
        // SAFETY: the block owns these bytes.
        unsafe { block.start().write_bytes(0, bytes) };
        if let Some(storage) = array::Storage::over(Box::new(ResultMemory(block)), dtype) {
            return Array::from_storage(shape, storage).expect("the block has the bytes of the shape");
        }
    }
    let mut array = Array::zeros(shape, dtype);
    pages::prepare(array.storage_mut(), pool);
    array
}

/// The numbers of a variable: a block that is wholly written at all times.
#[derive(Debug)]
pub(crate) struct Storage(Block);

impl Storage {
    /// A copy of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Result<Storage, OutOfMemory> {
        Block::holding(bytes).map(Storage)
    }

    /// The numbers that somebody has written into a block.
    ///
    /// # Safety
    /// All bytes of the block are written.
    pub(crate) unsafe fn written(block: Block) -> Storage {
        Storage(block)
    }

    /// The first byte. Who writes there must be the only one to use the storage, and may write anything that its
    /// dtype can hold.
    pub(crate) fn start(&self) -> *mut u8 {
        self.0.start()
    }

    /// The numbers.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: written when it was made, and since then only by runs that had the variables to themselves.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }

    /// Other numbers, as many.
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.0.len(), "a variable keeps its size");
        self.0.write(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_grow() {
        let mut block = Block::empty();
        for bytes in [0, 1, 100, 50, 10_000] {
            block.reserve(bytes).unwrap();
            assert!(block.len() >= bytes && block.start().addr().is_multiple_of(ALIGNMENT));
        }
        let storage = Storage::new(&[1, 2, 3]).unwrap();
        assert_eq!(storage.bytes(), [1, 2, 3]);
    }

    #[test]
    fn too_much_is_refused() {
        assert_eq!(Block::new(usize::MAX).unwrap_err(), OutOfMemory { bytes: usize::MAX });
        assert!(Block::new(isize::MAX as usize - 100).is_err());
    }
}
