//! Weights in the order in which kernels read them: packed when a run first reads them so, and again after they were
//! written.
//!
//! A copy belongs to the variable or constant that it is packed from, so that all plans share it. What all steps of a loop read
//! is packed when the loop begins, into memory of the run. What else a plan itself writes is packed by its kernels, part by
//! part, in every run.
#![allow(unsafe_code)]

use std::slice;
use std::sync::{Mutex, PoisonError};

use thalweg_kernels::convolution::Convolution;
use thalweg_kernels::matmul::Matmul;
use thalweg_kernels::pool::Pool;
use thalweg_plan::BufferId;

use super::memory::{Block, OutOfMemory};

/// How weights are packed. Copies made by equal ones are equal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Packer {
    /// As B of a product, which begins so many bytes after the start of the variable.
    Product(Matmul, isize),
    /// As the weight of a convolution.
    Convolution(Convolution),
}

impl Packer {
    /// Bytes of a copy.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Packer::Product(matmul, _) => matmul.packed_b_bytes(),
            Packer::Convolution(convolution) => convolution.packed_weight_bytes(),
        }
    }

    /// Packs what begins at `from` into `to`.
    ///
    /// # Safety
    /// There are the numbers of which the plan was made, which nobody writes meanwhile.
    pub(super) unsafe fn pack(&self, pool: &Pool, from: *const u8, to: &mut [u8]) {
        // SAFETY: our caller's promise.
        unsafe {
            match self {
                Packer::Product(matmul, offset) => matmul.pack_b(pool, from.wrapping_offset(*offset), to),
                Packer::Convolution(convolution) => convolution.pack_weight(pool, from, to),
            }
        }
    }
}

/// What a plan reads packed.
#[derive(Debug)]
pub(crate) struct PackedOperand {
    /// The variable or constant.
    pub(crate) buffer: BufferId,
    pub(crate) packer: Packer,
    /// The copy, if it is one of a constant.
    pub(crate) of_constant: Copies,
}

/// The packed copies of a variable or constant. They are there as long as it is, and never move.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<Vec<Copy>>);

#[derive(Debug)]
struct Copy {
    packer: Packer,
    block: Block,
    /// Whether nothing was written since.
    is_fresh: bool,
}

impl Copies {
    /// Where the copy by `packer` is of the numbers at `from`: made now, if there is none or it is no longer fresh.
    ///
    /// # Safety
    /// At `from` there are the numbers of which the plan was made. Nobody writes them, and nobody outdates the copies, as
    /// long as the address is used.
    pub(super) unsafe fn find(&self, packer: &Packer, from: *const u8, pool: &Pool) -> Result<*const u8, OutOfMemory> {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let position = match copies.iter().position(|copy| copy.packer == *packer) {
            Some(position) => position,
            None => {
                let block = Block::new(packer.bytes())?;
                // SAFETY: the block owns these bytes.
                unsafe { block.start().write_bytes(0, block.len()) };
                copies.push(Copy { packer: packer.clone(), block, is_fresh: false });
                copies.len() - 1
            }
        };
        let copy = &mut copies[position];
        if !copy.is_fresh {
            // SAFETY: our caller's promise; all bytes were written when the block was made, and a copy that is not fresh is not
            // in use.
            unsafe {
                let to = slice::from_raw_parts_mut(copy.block.start(), copy.block.len());
                packer.pack(pool, from, to);
            }
            copy.is_fresh = true;
        }
        Ok(copy.block.start())
    }

    /// To be called when the numbers change: the memory stays, for the next copies.
    pub(crate) fn outdate(&mut self) {
        for copy in self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            copy.is_fresh = false;
        }
    }
}
