//! Writing results past the caches.
//!
//! An ordinary store reads the line from memory first and drives something else out of the cache. Where a call touches
//! more than the last cache holds, nobody will find its results there: they are written straight to memory. The
//! processor has few buffers for such lines, the same that fetched lines wait in; so a result is computed in small pieces, and
//! each line that is written is followed by a line that is fetched.

use thalweg_array::program::Instruction;

use super::ahead::Ahead;
use super::run::Tile;
use crate::cpu::Isa;
use crate::vector::chain::Place;

/// Numbers of a piece.
pub(super) const PIECE: usize = 256;
/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Whether the result of `instruction` can be computed piece by piece: where it depends on its operands alone.
pub(super) fn comes_in_pieces(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Unary { .. }
        | Instruction::Binary { .. }
        | Instruction::Select { .. }
        | Instruction::Cast { .. } => true,
        Instruction::Load { .. }
        | Instruction::Constant { .. }
        | Instruction::Random { .. }
        | Instruction::Column { .. }
        | Instruction::IsColumn { .. }
        | Instruction::FoldRow { .. } => false,
    }
}

/// Whether the processor can write past its caches.
pub(super) fn is_available(isa: Isa) -> bool {
    match isa {
        Isa::Amx | Isa::Avx512 | Isa::Avx2 => cfg!(not(miri)),
        Isa::Portable | Isa::Neon => false,
    }
}

/// Whether each row of a tile of numbers of `size` bytes is whole lines.
pub(super) fn whole_lines(place: Place, tile: &Tile, size: usize) -> bool {
    let apart = tile.rows == 1 || place.step.unsigned_abs().is_multiple_of(LINE);
    apart && place.at.addr().is_multiple_of(LINE) && (tile.columns * size).is_multiple_of(LINE)
}

/// Copies `lines` lines, and fetches as many of what is needed next.
///
/// # Safety
/// Both ranges are valid for so many lines, and `to` begins at a line; `isa` is available to this processor.
pub(super) unsafe fn write(isa: Isa, from: *const u8, to: *mut u8, lines: usize, ahead: &mut Ahead) {
    #[cfg(target_arch = "x86_64")]
    match isa {
        // SAFETY: the contract of this function.
        Isa::Avx512 | Isa::Amx => unsafe { write_avx512(from, to, lines, ahead) },
        // SAFETY: as above.
        Isa::Avx2 => unsafe { write_avx2(from, to, lines, ahead) },
        Isa::Portable | Isa::Neon => unreachable!("only where writing past the caches is available"),
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("{isa} cannot write {lines} lines from {from:?} to {to:?} beside {ahead:?}");
}

/// # Safety
/// As [`write`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn write_avx512(from: *const u8, to: *mut u8, lines: usize, ahead: &mut Ahead) {
    use std::arch::x86_64::{_mm512_loadu_ps, _mm512_stream_ps};
    for line in 0..lines {
        ahead.fetch_line();
        // SAFETY: the contract of this function.
        unsafe {
            let x = _mm512_loadu_ps(from.add(line * LINE).cast());
            _mm512_stream_ps(to.add(line * LINE).cast(), x);
        }
    }
}

/// # Safety
/// As [`write`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn write_avx2(from: *const u8, to: *mut u8, lines: usize, ahead: &mut Ahead) {
    use std::arch::x86_64::{_mm256_loadu_ps, _mm256_stream_ps};
    for line in 0..lines {
        ahead.fetch_line();
        for half in [0, LINE / 2] {
            // SAFETY: the contract of this function.
            unsafe {
                let x = _mm256_loadu_ps(from.add(line * LINE + half).cast());
                _mm256_stream_ps(to.add(line * LINE + half).cast(), x);
            }
        }
    }
}
