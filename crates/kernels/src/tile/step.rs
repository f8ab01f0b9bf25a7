//! One instruction, or one chain of them, on one tile.

use std::mem::MaybeUninit;

use thalweg_array::DType;
use thalweg_array::program::{Extent, Instruction, Register};
use thalweg_array::random::Philox;
use thalweg_array::scalar::Unary;

use super::fuse::{ChainPlace, Fused};
use super::run::{Tile, Worker};
use super::schedule::Step;
use super::{fold, memory};
use crate::cpu::Isa;
use crate::vector::chain::{MOST_PLACES, Rows};
use crate::vector::{self, Arg, Lane, with_lane};

/// Rows that are folded in one call.
const ROWS: usize = 64;

impl Worker<'_> {
    /// Executes `step` on `tile`; the numbers go to `out`.
    ///
    /// # Safety
    /// The registers that the instruction reads hold the tile; `out` has room for its result; operands are as
    /// [`Prepared::run_chunk`](super::Prepared::run_chunk) asks.
    pub(super) unsafe fn execute(&mut self, step: &Step, tile: &Tile, out: *mut u8) {
        let prepared = self.prepared;
        let geometry = &prepared.geometry;
        let register = step.register as usize;
        let extent = prepared.extents[register];
        let isa = prepared.isa;
        let n = tile.count(extent);
        // SAFETY (all blocks below): registers hold `n` numbers of the lane of their dtype, as this function demands.
        match prepared.program.instructions[register] {
            Instruction::Load { input } => {
                let access = &geometry.inputs[input as usize];
                let tile = tile.of(extent);
                unsafe { access.load(&geometry.axes, self.operands.inputs[input as usize], &tile, out) };
            }
            Instruction::Constant { value, dtype } => with_lane!(dtype, T => unsafe {
                *out.cast::<T>() = value.rounded_to(dtype).to::<T>();
            }),
            Instruction::Random { distribution, dtype, stream } => {
                let generator = Philox::new(self.operands.draw.seed, stream);
                for row in 0..tile.rows {
                    let first = ((tile.row + row) * geometry.columns + tile.column) as u64;
                    let first = first.wrapping_add(self.operands.draw.first);
                    let step = self.operands.draw.step;
                    if dtype == DType::F64 {
                        let out = unsafe { slice_mut::<f64>(out, n) };
                        let out = &mut out[row * tile.columns..][..tile.columns];
                        vector::draw_f64(generator, distribution, first, step, out);
                    } else {
                        let out = unsafe { slice_mut::<f32>(out, n) };
                        let out = &mut out[row * tile.columns..][..tile.columns];
                        vector::draw(isa, generator, distribution, first, step, out);
                    }
                }
                unsafe { round(isa, dtype, out, n) };
            }
            Instruction::Column { dtype } => with_lane!(dtype, T => {
                let out = unsafe { slice_mut::<T>(out, n) };
                for row in out.chunks_exact_mut(tile.columns.max(1)) {
                    for (column, out) in row.iter_mut().enumerate() {
                        *out = fold::rounded::<T>(dtype, column_as::<T>(tile.column + column));
                    }
                }
            }),
            Instruction::IsColumn { dtype, x } => with_lane!(dtype, T => unsafe {
                let out = slice_mut::<u8>(out, n);
                let is_column = |x: T, column: usize| x.widen() == column_as::<T>(tile.column + column);
                match prepared.extents[x as usize] {
                    Extent::Full => {
                        let rows = self.slice::<T>(x, n).chunks_exact(tile.columns.max(1));
                        for (out, x) in out.chunks_exact_mut(tile.columns.max(1)).zip(rows) {
                            let truths = x.iter().enumerate().map(|(column, &x)| u8::from(is_column(x, column)));
                            out.iter_mut().zip(truths).for_each(|(out, truth)| *out = truth);
                        }
                    }
                    // One of a row at most.
                    extent => {
                        out.fill(0);
                        let numbers = self.slice::<T>(x, tile.count(extent));
                        for (row, out) in out.chunks_exact_mut(tile.columns.max(1)).enumerate() {
                            let x = numbers[if extent == Extent::Row { row } else { 0 }];
                            let column = column_of(x).wrapping_sub(tile.column);
                            if let Some(out) = out.get_mut(column) {
                                *out = 1;
                            }
                        }
                    }
                }
            }),
            Instruction::Unary { f: f @ (Unary::IsNan | Unary::IsFinite), dtype, x } => {
                with_lane!(dtype, T => unsafe { T::predicate(isa, f, self.slice::<T>(x, n), slice_mut(out, n)) });
            }
            Instruction::Unary { f, dtype, x } => {
                with_lane!(dtype, T => unsafe { T::unary(isa, f, self.slice::<T>(x, n), slice_mut(out, n)) });
                unsafe { round(isa, dtype, out, n) };
            }
            Instruction::Binary { f, dtype, x, y } if f.is_comparison() => with_lane!(dtype, T => unsafe {
                T::compare(isa, f, self.arg(x, extent, tile), self.arg(y, extent, tile), slice_mut(out, n));
            }),
            Instruction::Binary { f, dtype, x, y } => {
                with_lane!(dtype, T => unsafe {
                    T::binary(isa, f, self.arg(x, extent, tile), self.arg(y, extent, tile), slice_mut(out, n));
                });
                unsafe { round(isa, dtype, out, n) };
            }
            Instruction::Select { dtype, condition, x, y } => with_lane!(dtype, T => unsafe {
                let condition = self.arg(condition, extent, tile);
                T::select(isa, condition, self.arg(x, extent, tile), self.arg(y, extent, tile), slice_mut(out, n));
            }),
            Instruction::Cast { from, to, x } => with_lane!(from, S => with_lane!(to, T => unsafe {
                vector::cast::<S, T>(to, self.slice(x, n), slice_mut(out, n));
            })),
            Instruction::FoldRow { f, dtype, x } => with_lane!(dtype, T => {
                let x = unsafe { self.slice::<T>(x, tile.count(Extent::Full)) };
                let out = unsafe { slice_mut::<T>(out, tile.rows) };
                // A few rows at a time: their accumulators stand on the stack.
                let mut totals = [T::widen(T::default()); ROWS];
                for (group, out) in out.chunks_mut(ROWS).enumerate() {
                    let totals = &mut totals[..out.len()];
                    T::fold_rows(isa, f, &x[group * ROWS * tile.columns..], tile.columns, totals);
                    for (out, &total) in out.iter_mut().zip(&*totals) {
                        *out = fold::rounded(dtype, total);
                    }
                }
            }),
        }
    }

    /// Runs a chain on `tile`; where its results go is settled, and which of them go past the caches, by their bits. Meanwhile as
    /// much memory as the tile has is fetched from the addresses `fetch` on.
    ///
    /// # Safety
    /// The registers that it reads hold the tile, and those that it writes have a place with room for it.
    pub(super) unsafe fn run_chain(&self, fused: &Fused, tile: &Tile, past_caches: u32, fetch: &[*const u8]) {
        let (mut rows, mut columns) = match fused.space {
            Extent::Full => (tile.rows, tile.columns),
            Extent::Row | Extent::One => (1, tile.rows),
        };
        let n = fused.places.len();
        let mut places = [const { MaybeUninit::uninit() }; MOST_PLACES];
        let mut steps = [const { MaybeUninit::uninit() }; MOST_PLACES];
        let (places, steps) = (&mut places[..n], &mut steps[..n]);
        // Rows that follow each other without a gap are one long row.
        let mut one_row = !fused.by_row && rows > 1;
        for ((at, step), &ChainPlace { register, unit }) in places.iter_mut().zip(&mut *steps).zip(&fused.places) {
            let place = self.place(register);
            one_row &= unit == 0 || place.step == (columns * unit) as isize;
            at.write(place.at);
            step.write(place.step);
        }
        if one_row {
            (rows, columns) = (1, rows * columns);
        }
        // SAFETY: all places are written; the contract; the writer of the chain has named its places so.
        unsafe {
            let (places, steps) = (places.assume_init_mut(), steps.assume_init_ref());
            let (past_caches, far) = (fused.places_of(past_caches), self.prepared.schedule.staged);
            let rows = Rows { places, steps, rows, columns, past_caches, fetch, far };
            fused.chain.run(self.prepared.isa, rows);
        }
    }

    /// The `n` numbers of a register, from where a piece of a tile begins.
    ///
    /// # Safety
    /// The register holds them.
    pub(super) unsafe fn slice<'a, T: 'a>(&self, register: Register, n: usize) -> &'a [T] {
        // SAFETY: the contract; no reference outlives its step.
        unsafe { std::slice::from_raw_parts(self.place(register).at.cast::<T>().add(self.first), n) }
    }

    /// A register as an operand of a result of extent `result`.
    ///
    /// # Safety
    /// The register holds the tile.
    unsafe fn arg<'a, T: Copy + 'a>(&self, register: Register, result: Extent, tile: &Tile) -> Arg<'a, T> {
        // SAFETY: the contract.
        unsafe {
            match self.prepared.extents[register as usize] {
                Extent::One => Arg::One(*self.place(register).at.cast()),
                Extent::Row if result == Extent::Full && tile.rows == 1 => Arg::One(*self.place(register).at.cast()),
                Extent::Row if result == Extent::Full => {
                    let n = tile.count(Extent::Full);
                    Arg::Slice(std::slice::from_raw_parts(self.repeated(register).cast(), n))
                }
                extent => Arg::Slice(self.slice(register, tile.count(extent))),
            }
        }
    }

    /// Repeats numbers per row for use beside full registers.
    ///
    /// # Safety
    /// The registers hold the rows of the tile.
    pub(super) unsafe fn repeat_all(&self, steps: &[Step], tile: &Tile) {
        for step in steps.iter().filter(|step| step.repeated.is_some() && tile.rows > 1) {
            let lane = step.lane;
            // SAFETY: the contract, and the schedule gave room for a tile.
            unsafe {
                memory::repeat(
                    lane,
                    self.place(step.register).at,
                    tile.rows,
                    tile.columns,
                    self.repeated(step.register),
                );
            }
        }
    }
}

/// # Safety
/// `out` has room for `n` numbers, and nothing else refers to them.
unsafe fn slice_mut<'a, T: 'a>(out: *mut u8, n: usize) -> &'a mut [T] {
    // SAFETY: the contract.
    unsafe { std::slice::from_raw_parts_mut(out.cast(), n) }
}

/// # Safety
/// `out` holds `n` numbers of the lane of `dtype`.
unsafe fn round(isa: Isa, dtype: DType, out: *mut u8, n: usize) {
    if matches!(dtype, DType::F16 | DType::BF16) {
        // SAFETY: the lane of the 16-bit floats is f32.
        vector::round_to(isa, dtype, unsafe { slice_mut(out, n) });
    }
}

/// The column with this number; one that no tile has for a number that is no column.
fn column_of<T: Lane>(x: T) -> usize {
    use thalweg_array::Element;
    usize::try_from(x.widen().to_i64()).unwrap_or(usize::MAX)
}

/// The number of a column in the type of the lane's accumulator, exact.
fn column_as<T: Lane>(column: usize) -> T::Total {
    use thalweg_array::Element;
    T::Total::from_i64(column as i64)
}
