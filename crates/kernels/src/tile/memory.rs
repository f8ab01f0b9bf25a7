//! Between memory of any strides and dtype, and the registers of a tile.

use std::ops::Range;

use thalweg_array::{DType, bf16, f16};

use super::run::Tile;
use super::space::Access;
use crate::vector::chain::Place;

impl Access {
    /// The offset of row `row`, in elements.
    fn row_offset(&self, axes: &[usize], mut row: usize) -> isize {
        if let [stride] = self.rows[..] {
            return row as isize * stride;
        }
        let mut offset = 0;
        for (&size, &stride) in axes.iter().zip(&self.rows).rev() {
            if row == 0 {
                break;
            }
            offset += (row % size) as isize * stride;
            row /= size;
        }
        offset
    }

    /// The address of the tile's numbers, where they stand in memory as they would in a register.
    pub(super) fn direct(&self, axes: &[usize], base: *const u8, tile: &Tile) -> Option<*const u8> {
        self.place(axes, base, tile, false).map(|place| place.at.cast_const())
    }

    /// Where the tile's numbers are, if rows stand in memory as they would in a register, one after the other or, where
    /// they may be `loose`, at equal distances.
    #[inline(always)]
    pub(super) fn place(&self, axes: &[usize], base: *const u8, tile: &Tile, loose: bool) -> Option<Place> {
        let size = self.dtype.size() as isize;
        let dense = tile.columns as isize * size;
        if !self.has_form_of_registers {
            return None;
        }
        let (row, step) = match self.step {
            Some(step) if loose || tile.rows == 1 || step == dense => (tile.row as isize * step, step),
            None if tile.rows == 1 => (self.row_offset(axes, tile.row) * size, dense),
            _ => return None,
        };
        Some(Place { at: base.wrapping_offset(row + tile.column as isize * size).cast_mut(), step })
    }

    /// Whether several rows of `columns` numbers have to be copied together, or apart, for a register; where they may be
    /// `loose`, only if they do not stand at equal distances.
    pub(super) fn is_copied(&self, columns: usize, loose: bool) -> bool {
        match self.rows[..] {
            [] => false,
            [stride] => stride != columns as isize && !(loose && self.has_form_of_registers),
            _ => true,
        }
    }

    /// The lowest and the highest byte offset of an element of a part of the space, or lower and higher; `None` if the part
    /// is empty.
    pub(super) fn span(&self, axes: &[usize], rows: &Range<usize>, columns: &Range<usize>) -> Option<(isize, isize)> {
        if rows.is_empty() || columns.is_empty() {
            return None;
        }
        let (mut low, mut high) = (0, 0);
        let mut reach = |range: Range<usize>, stride: isize| {
            let ends = [range.start as isize * stride, (range.end as isize - 1) * stride];
            low += ends[0].min(ends[1]);
            high += ends[0].max(ends[1]);
        };
        reach(columns.clone(), self.column);
        match self.rows[..] {
            [stride] => reach(rows.clone(), stride),
            _ => axes.iter().zip(&self.rows).for_each(|(&size, &stride)| reach(0..size, stride)),
        }
        let size = self.dtype.size() as isize;
        Some((low * size, (high + 1) * size - 1))
    }

    /// Calls `visit` with the row of the tile and the offset of its first element.
    #[inline(always)]
    fn for_rows(&self, axes: &[usize], tile: &Tile, mut visit: impl FnMut(usize, isize)) {
        let across = tile.column as isize * self.column;
        match self.rows[..] {
            [stride] => {
                for row in 0..tile.rows {
                    visit(row, (tile.row + row) as isize * stride + across);
                }
            }
            _ => {
                for row in 0..tile.rows {
                    visit(row, self.row_offset(axes, tile.row + row) + across);
                }
            }
        }
    }

    /// Reads the tile into a register.
    ///
    /// # Safety
    /// All elements of the tile lie in readable memory of the access' dtype; `out` has room for them.
    pub(super) unsafe fn load(&self, axes: &[usize], base: *const u8, tile: &Tile, out: *mut u8) {
        // SAFETY (all arms): the contract of this function; each arm names the types of the dtype and its lane.
        unsafe {
            match self.dtype {
                DType::F32 | DType::I32 => self.load_as::<u32, u32>(axes, base, tile, out, |x| x),
                DType::F64 | DType::I64 => self.load_as::<u64, u64>(axes, base, tile, out, |x| x),
                DType::U8 | DType::Bool => self.load_as::<u8, u8>(axes, base, tile, out, |x| x),
                DType::F16 => self.load_as::<f16, f32>(axes, base, tile, out, f16::to_f32),
                DType::BF16 => self.load_as::<bf16, f32>(axes, base, tile, out, bf16::to_f32),
            }
        }
    }

    /// # Safety
    /// As [`Access::load`], with `S` in memory and `T` in registers.
    #[inline(always)]
    unsafe fn load_as<S: Copy, T: Copy>(
        &self,
        axes: &[usize],
        base: *const u8,
        tile: &Tile,
        out: *mut u8,
        convert: impl Fn(S) -> T,
    ) {
        let base = base.cast::<S>();
        let columns = tile.columns;
        // SAFETY: `out` has room for the tile.
        let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<T>(), tile.rows * columns) };
        self.for_rows(axes, tile, |row, offset| {
            let out = &mut out[row * columns..][..columns];
            let from = base.wrapping_offset(offset);
            match self.column {
                _ if columns == 0 => {}
                // SAFETY: the elements of the tile are readable.
                0 => out.fill(convert(unsafe { *from })),
                1 => {
                    // SAFETY: as above; this row of the tile is contiguous.
                    let from = unsafe { std::slice::from_raw_parts(from, columns) };
                    for (out, &x) in out.iter_mut().zip(from) {
                        *out = convert(x);
                    }
                }
                stride => {
                    for (column, out) in out.iter_mut().enumerate() {
                        // SAFETY: as above.
                        *out = convert(unsafe { *from.wrapping_offset(column as isize * stride) });
                    }
                }
            }
        });
    }

    /// Writes a register to the tile.
    ///
    /// # Safety
    /// All elements of the tile lie in writable memory of the access' dtype; `from` holds the tile.
    pub(super) unsafe fn store(&self, axes: &[usize], base: *mut u8, tile: &Tile, from: *const u8) {
        if let Some(to) = self.direct(axes, base, tile) {
            let bytes = tile.rows * tile.columns * self.dtype.size();
            // SAFETY: the contract of this function; the tile lies there as it does in the register, which may be the input at
            // the same place.
            return unsafe { to.cast_mut().copy_from(from, bytes) };
        }
        // SAFETY (all arms): the contract of this function; each arm names the types of the dtype and its lane.
        unsafe {
            match self.dtype {
                DType::F32 | DType::I32 => self.store_as::<u32, u32>(axes, base, tile, from, |x| x),
                DType::F64 | DType::I64 => self.store_as::<u64, u64>(axes, base, tile, from, |x| x),
                DType::U8 | DType::Bool => self.store_as::<u8, u8>(axes, base, tile, from, |x| x),
                DType::F16 => self.store_as::<f32, f16>(axes, base, tile, from, f16::from_f32),
                DType::BF16 => self.store_as::<f32, bf16>(axes, base, tile, from, bf16::from_f32),
            }
        }
    }

    /// # Safety
    /// As [`Access::store`], with `S` in registers and `T` in memory.
    #[inline(always)]
    unsafe fn store_as<S: Copy, T: Copy>(
        &self,
        axes: &[usize],
        base: *mut u8,
        tile: &Tile,
        from: *const u8,
        convert: impl Fn(S) -> T,
    ) {
        let base = base.cast::<T>();
        let columns = tile.columns;
        // SAFETY: `from` holds the tile.
        let from = unsafe { std::slice::from_raw_parts(from.cast::<S>(), tile.rows * columns) };
        self.for_rows(axes, tile, |row, offset| {
            let from = &from[row * columns..][..columns];
            let to = base.wrapping_offset(offset);
            if self.column == 1 && columns > 0 {
                // SAFETY: the elements of the tile are writable, and nothing else refers to them meanwhile.
                let to = unsafe { std::slice::from_raw_parts_mut(to, columns) };
                for (to, &x) in to.iter_mut().zip(from) {
                    *to = convert(x);
                }
            } else {
                for (column, &x) in from.iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { *to.wrapping_offset(column as isize * self.column) = convert(x) };
                }
            }
        });
    }
}

/// Each of `rows` numbers `columns` times: a number per row as a full register.
///
/// # Safety
/// `from` holds `rows` numbers of `lane` bytes, `out` has room for `rows * columns`; both aligned.
pub(super) unsafe fn repeat(lane: usize, from: *const u8, rows: usize, columns: usize, out: *mut u8) {
    /// # Safety
    /// As the outer function.
    unsafe fn repeat_as<T: Copy>(from: *const u8, rows: usize, columns: usize, out: *mut u8) {
        if columns == 0 {
            return;
        }
        // SAFETY: the contract of this function.
        let (from, out) = unsafe {
            (
                std::slice::from_raw_parts(from.cast::<T>(), rows),
                std::slice::from_raw_parts_mut(out.cast::<T>(), rows * columns),
            )
        };
        for (out, &x) in out.chunks_exact_mut(columns).zip(from) {
            out.fill(x);
        }
    }
    // SAFETY: the contract of this function.
    unsafe {
        match lane {
            1 => repeat_as::<u8>(from, rows, columns, out),
            4 => repeat_as::<u32>(from, rows, columns, out),
            8 => repeat_as::<u64>(from, rows, columns, out),
            lane => unreachable!("no lane has {lane} bytes"),
        }
    }
}
