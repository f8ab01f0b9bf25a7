//! Fetching the memory of the next tile into the cache while this one is computed.
//!
//! A tile is a few pages at most, so that the prefetcher of a processor, which stops at the end of a page, hardly gets
//! going; left to it, computing and waiting for memory would take turns.

use crate::cpu::prefetch;

/// The most operands that are fetched.
const MOST: usize = 8;
/// Bytes of a cache line.
const LINE: usize = 64;

/// What is still to be fetched.
#[derive(Debug)]
pub(super) struct Ahead {
    addresses: [*const u8; MOST],
    lines: [usize; MOST],
    count: usize,
}

impl Ahead {
    pub(super) fn new() -> Ahead {
        Ahead { addresses: [std::ptr::null(); MOST], lines: [0; MOST], count: 0 }
    }

    /// `bytes` bytes from `address` on will be needed soon.
    pub(super) fn add(&mut self, address: *const u8, bytes: usize) {
        if self.count < MOST && bytes > 0 {
            self.addresses[self.count] = address;
            self.lines[self.count] = bytes.div_ceil(LINE);
            self.count += 1;
        }
    }

    /// Gives it all away: where each operand begins.
    pub(super) fn take(&mut self) -> &[*const u8] {
        let count = std::mem::take(&mut self.count);
        &self.addresses[..count]
    }

    /// Fetches the part for one of `steps` steps that are left: all at once would make the processor wait.
    pub(super) fn fetch(&mut self, steps: usize) {
        for (address, lines) in self.addresses.iter_mut().zip(&mut self.lines).take(self.count) {
            let part = lines.div_ceil(steps.max(1));
            for line in 0..part {
                prefetch(address.wrapping_add(line * LINE));
            }
            *address = address.wrapping_add(part * LINE);
            *lines -= part;
        }
    }

    /// Fetches a line of each operand.
    #[inline(always)]
    pub(super) fn fetch_line(&mut self) {
        for (address, lines) in self.addresses.iter_mut().zip(&mut self.lines).take(self.count) {
            if *lines > 0 {
                prefetch(*address);
                *address = address.wrapping_add(LINE);
                *lines -= 1;
            }
        }
    }
}
