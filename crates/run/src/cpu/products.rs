//! The products and convolutions of a call: their parts, and what is done to finished blocks.
#![allow(unsafe_code)]

use smallvec::SmallVec;
use thalweg_kernels::matmul;
use thalweg_kernels::tile::{Draw, Operands};

use super::execute::Scratch;
use super::prepare::{Convolution, Far, Product, Tail};

/// The products of a batch, one of which is computed, and what is done to its blocks.
pub(super) struct OneProduct<'a> {
    pub(super) product: &'a Product,
    /// Where the operands of the first product of the batch are.
    pub(super) base: matmul::Operands,
    /// Those of the epilogue, without the product itself.
    pub(super) operands: &'a Operands<'a>,
    pub(super) scratch: Scratch,
    /// What all threads share.
    pub(super) shared: *mut u8,
}

// SAFETY: plain addresses; chunks write different elements, and each thread its own scratch memory.
unsafe impl Sync for OneProduct<'_> {}

impl OneProduct<'_> {
    fn operands_of(&self, index: usize) -> matmul::Operands {
        let ([a, b, c], base) = (self.product.batch[index], &self.base);
        matmul::Operands { a: base.a.wrapping_offset(a), b: base.b.wrapping_offset(b), c: base.c.wrapping_offset(c) }
    }

    fn memory(&self, worker: usize) -> matmul::Scratch {
        let own = self.scratch.of(worker);
        let after = own.wrapping_add(self.product.matmul.worker_scratch_bytes());
        matmul::Scratch { shared: if self.product.is_shared() { self.shared } else { after }, own }
    }

    /// All of a product, by one thread.
    pub(super) fn run_whole(&self, index: usize, worker: usize) {
        for chunk in 0..self.product.matmul.packing_chunks() {
            self.pack(index, chunk, worker);
        }
        self.run_part(index, 0, worker);
    }

    pub(super) fn pack(&self, index: usize, chunk: usize, worker: usize) {
        // SAFETY: as in `execute::map`; packing is over when multiplying begins.
        unsafe { self.product.matmul.pack_chunk(chunk, self.operands_of(index), self.memory(worker)) }
    }

    pub(super) fn run_part(&self, index: usize, chunk: usize, worker: usize) {
        let (product, memory) = (self.product, self.memory(worker));
        let here = self.operands_of(index);
        let Some(tail) = &product.epilogue else {
            // SAFETY: as in `execute::map`.
            return unsafe { product.matmul.run_chunk(chunk, here, memory, None, worker) };
        };
        let problem = product.matmul.problem();
        let mut draw = self.operands.draw;
        draw.first += (index * problem.m * problem.n) as u64;
        let bound = BoundTail::new(tail, index, &Operands { draw, ..*self.operands });
        let tail_scratch = self.scratch.of(worker).wrapping_add(product.tail_offset());
        let finish = |block| bound.finish(block, tail_scratch);
        let epilogue = matmul::Epilogue { finish: &finish, fetched: &bound.fetched };
        // SAFETY: as in `execute::map`.
        unsafe { product.matmul.run_chunk(chunk, here, memory, Some(epilogue), worker) }
        tail.tile.show_to_others();
    }
}

/// A convolution that runs.
pub(super) struct OneConvolution<'a> {
    pub(super) convolution: &'a Convolution,
    pub(super) operands: matmul::Operands,
    /// Those of the epilogue, without the result itself.
    pub(super) tail: &'a Operands<'a>,
    pub(super) scratch: Scratch,
    /// What all threads share.
    pub(super) shared: *mut u8,
}

// SAFETY: plain addresses; chunks write different elements, and each thread its own scratch memory.
unsafe impl Sync for OneConvolution<'_> {}

impl OneConvolution<'_> {
    pub(super) fn run_part(&self, phase: usize, chunk: usize, worker: usize) {
        let kernel = &self.convolution.kernel;
        let own = self.scratch.of(worker);
        let memory = matmul::Scratch { shared: self.shared, own };
        let Some(tail) = &self.convolution.epilogue else {
            // SAFETY: as in `execute::map`; the phases before are over.
            return unsafe { kernel.run_chunk(phase, chunk, self.operands, memory, None, worker) };
        };
        let bound = BoundTail::new(tail, 0, self.tail);
        let tail_scratch = own.wrapping_add(kernel.worker_scratch_bytes());
        let finish = |block| bound.finish(block, tail_scratch);
        let epilogue = matmul::Epilogue { finish: &finish, fetched: &bound.fetched };
        // SAFETY: as above.
        unsafe { kernel.run_chunk(phase, chunk, self.operands, memory, Some(epilogue), worker) }
        tail.tile.show_to_others();
    }
}

/// A program over the blocks of one result, with the addresses of its operands.
struct BoundTail<'a> {
    tail: &'a Tail,
    /// The first is the block's.
    reads: SmallVec<[*const u8; 16]>,
    writes: SmallVec<[*mut u8; 16]>,
    draw: Draw,
    fetched: SmallVec<[matmul::Rows; 8]>,
}

impl BoundTail<'_> {
    /// For the result at `index` of a batch; `operands` are those of the first.
    fn new<'a>(tail: &'a Tail, index: usize, operands: &Operands<'_>) -> BoundTail<'a> {
        let (inputs, outputs) = tail.batch[index].split_at(tail.inputs.len());
        let further = |(from, &offset): (&*const u8, &isize)| from.wrapping_offset(offset);
        let reads = operands.inputs.iter().zip(inputs).map(further);
        let reads: SmallVec<[*const u8; 16]> = std::iter::once(std::ptr::null()).chain(reads).collect();
        let writes = operands.outputs.iter().zip(outputs).map(|(to, &offset)| to.wrapping_offset(offset));
        let writes: SmallVec<[*mut u8; 16]> = writes.collect();
        let rows = |first: *const u8, far: &Far, is_written: bool| {
            let &Far { row_bytes, element_bytes, .. } = far;
            matmul::Rows { first, row_bytes, element_bytes, is_written }
        };
        let [inputs, outputs] = &tail.far;
        let read = inputs.iter().map(|far| {
            let first = reads[1 + far.number];
            let replaced_by = writes.iter().position(|to| to.cast_const() == first);
            rows(first, far, replaced_by.is_some_and(|output| !tail.tile.goes_past_in_place(output)))
        });
        let written = outputs.iter().map(|far| rows(writes[far.number], far, true));
        let fetched = read.chain(written.filter(|to| !reads.contains(&to.first))).collect();
        BoundTail { tail, reads, writes, draw: operands.draw, fetched }
    }

    /// Does the program to a block.
    fn finish(&self, block: matmul::Finished, scratch: *mut u8) {
        let mut reads = self.reads.clone();
        reads[0] = block.c.cast_const();
        let operands = Operands { inputs: &reads, outputs: &self.writes, draw: self.draw };
        // SAFETY: as in `execute::map`; a block is the matter of the thread that has just computed it.
        unsafe { self.tail.tile.run_rectangle(block.rows, block.columns, &operands, scratch) }
    }
}
