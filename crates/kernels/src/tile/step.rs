//! One instruction on one tile.

use thalweg_array::DType;
use thalweg_array::program::{Extent, Instruction, Register};
use thalweg_array::random::Philox;
use thalweg_array::scalar::Unary;

use super::fuse::Fused;
use super::run::{Tile, Worker};
use super::schedule::Step;
use super::{fold, memory};
use crate::cpu::Isa;
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
        if let Some(fused) = prepared.fusions.of(step.register) {
            return unsafe { self.execute_fused(fused, tile, slice_mut(out, n)) };
        }
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

    /// Executes several instructions at once.
    ///
    /// # Safety
    /// As [`execute`](Worker::execute).
    unsafe fn execute_fused(&self, fused: Fused, tile: &Tile, out: &mut [f32]) {
        let (isa, n) = (self.prepared.isa, out.len());
        // SAFETY: the contract; what is fused is full and f32.
        unsafe {
            let full = |register: Register| self.slice::<f32>(register, n);
            let any = |register: Register| self.arg::<f32>(register, Extent::Full, tile);
            let one = |register: Register| *self.address(register).cast::<f32>();
            match fused {
                Fused::MulAdd { x, y, z } => vector::mul_add(isa, full(x), any(y), any(z), out),
                Fused::MulSub { x, y, z } => vector::mul_sub(isa, full(x), any(y), any(z), out),
                Fused::Weighted { x, s, y, t } => vector::weighted(isa, full(x), one(s), full(y), one(t), out),
                Fused::SqrtAdd { x, y } => vector::sqrt_add(isa, full(x), any(y), out),
                Fused::ExpSub { x, y } => vector::exp_sub(isa, full(x), any(y), out),
                Fused::Ratio { x, y, z } => vector::ratio(isa, full(x), full(y), one(z), out),
                Fused::RatioStep { w, s, x, y, z } => {
                    vector::ratio_step(isa, full(w), one(s), full(x), full(y), one(z), out);
                }
            }
        }
    }

    /// The `n` numbers of a register, from where a piece of a tile begins.
    ///
    /// # Safety
    /// The register holds them.
    pub(super) unsafe fn slice<'a, T: 'a>(&self, register: Register, n: usize) -> &'a [T] {
        // SAFETY: the contract; no reference outlives its step.
        unsafe { std::slice::from_raw_parts(self.address(register).cast::<T>().add(self.first), n) }
    }

    /// A register as an operand of a result of extent `result`.
    ///
    /// # Safety
    /// The register holds the tile.
    unsafe fn arg<'a, T: Copy + 'a>(&self, register: Register, result: Extent, tile: &Tile) -> Arg<'a, T> {
        // SAFETY: the contract.
        unsafe {
            match self.prepared.extents[register as usize] {
                Extent::One => Arg::One(*self.address(register).cast()),
                Extent::Row if result == Extent::Full && tile.rows == 1 => Arg::One(*self.address(register).cast()),
                Extent::Row if result == Extent::Full => {
                    let n = tile.count(Extent::Full);
                    Arg::Slice(std::slice::from_raw_parts(self.repeated(register).cast(), n))
                }
                extent => Arg::Slice(self.slice(register, tile.count(extent))),
            }
        }
    }

    /// Repeats a number per row for use beside full registers.
    ///
    /// # Safety
    /// The register holds the rows of the tile.
    pub(super) unsafe fn repeat(&self, step: &Step, tile: &Tile) {
        if let (Some(_), true) = (step.repeated, tile.rows > 1) {
            let lane = vector::lane_size(self.prepared.dtypes[step.register as usize]);
            // SAFETY: the contract, and the schedule gave room for a tile.
            unsafe {
                memory::repeat(
                    lane,
                    self.address(step.register),
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

/// The number of a column in the type of the lane's accumulator, exact.
fn column_as<T: Lane>(column: usize) -> T::Total {
    use thalweg_array::Element;
    T::Total::from_i64(column as i64)
}
