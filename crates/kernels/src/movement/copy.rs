//! Copies between memory of any strides.

use std::ops::Range;

use smallvec::SmallVec;

/// The side of a block of a transpose: its lines stay in the first-level cache.
const BLOCK: usize = 16;
/// What a chunk copies at least.
const CHUNK_BYTES: usize = 1 << 17;
/// The most chunks of one copy.
const MOST_CHUNKS: usize = 128;

/// A copy of elements of 1, 2, 4 or 8 bytes between two layouts of one shape: permuting, slicing, flipping,
/// broadcasting (a stride of 0 on the reading side fills), one part of a padding or a concatenation.
///
/// Made once for given sizes; it is plain data, and its chunks may run on any threads in any order.
#[derive(Clone, Debug)]
pub struct StridedCopy {
    size: usize,
    /// Axes, the outermost first; the last two are the rows and columns of the inner loop.
    axes: SmallVec<[Axis; 4]>,
    /// Rows over all outer axes, or columns where there is one axis only, that a chunk copies.
    chunk: usize,
    units: usize,
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    n: usize,
    from: isize,
    to: isize,
}

impl StridedCopy {
    /// A copy of the shape `dims` with strides in elements.
    ///
    /// # Panics
    /// If the lengths differ, or `size` is not 1, 2, 4 or 8.
    #[track_caller]
    pub fn new(size: usize, dims: &[usize], from: &[isize], to: &[isize]) -> StridedCopy {
        assert!(matches!(size, 1 | 2 | 4 | 8), "no element has {size} bytes");
        assert!(dims.len() == from.len() && dims.len() == to.len(), "a stride for each of the axes {dims:?}");
        let mut axes: SmallVec<[Axis; 4]> =
            (0..dims.len()).map(|i| Axis { n: dims[i], from: from[i], to: to[i] }).filter(|axis| axis.n != 1).collect();
        // Memory is written from front to back.
        axes.sort_by_key(|axis| std::cmp::Reverse(axis.to.unsigned_abs()));
        let mut merged: SmallVec<[Axis; 4]> = SmallVec::new();
        for axis in axes {
            match merged.last_mut() {
                Some(last) if last.from == axis.from * axis.n as isize && last.to == axis.to * axis.n as isize => {
                    *last = Axis { n: last.n * axis.n, ..axis };
                }
                _ => merged.push(axis),
            }
        }
        let mut axes = merged;
        if axes.is_empty() {
            axes.push(Axis { n: 1, from: 1, to: 1 });
        }
        // A transpose reads along one axis and writes along another: these two make the blocks.
        let last = axes.len() - 1;
        if axes[last].from.unsigned_abs() > 1
            && let Some(i) = axes.iter().position(|axis| axis.from == 1)
        {
            let read = axes.remove(i);
            axes.insert(last - 1, read);
        }
        let elements: usize = axes.iter().map(|axis| axis.n).product();
        let units = if last == 0 { elements } else { elements / axes[last].n.max(1) };
        let chunks = (elements * size / CHUNK_BYTES).clamp(1, MOST_CHUNKS);
        // Whole blocks of rows.
        let chunk = units.div_ceil(chunks).max(1).next_multiple_of(BLOCK);
        StridedCopy { size, axes, chunk, units }
    }

    /// The number of chunks: a function of the sizes alone.
    pub fn chunks(&self) -> usize {
        self.units.div_ceil(self.chunk).max(1)
    }

    /// Copies one chunk.
    ///
    /// # Safety
    /// The pointers stand at the element with all indices zero, aligned to the element; what the strides reach from
    /// them over the shape can be read and written; the two do not overlap, and no two elements are written to the
    /// same place.
    pub unsafe fn run_chunk(&self, chunk: usize, from: *const u8, to: *mut u8) {
        let units = chunk * self.chunk..((chunk + 1) * self.chunk).min(self.units);
        // SAFETY: the contract of this function.
        unsafe {
            match self.size {
                1 => self.run::<u8>(units, from.cast(), to.cast()),
                2 => self.run::<u16>(units, from.cast(), to.cast()),
                4 => self.run::<u32>(units, from.cast(), to.cast()),
                _ => self.run::<u64>(units, from.cast(), to.cast()),
            }
        }
    }

    /// # Safety
    /// As [`StridedCopy::run_chunk`].
    unsafe fn run<T: Copy + Default>(&self, units: Range<usize>, from: *const T, to: *mut T) {
        let Some((&columns, others)) = self.axes.split_last() else { return };
        let Some((&rows, outer)) = others.split_last() else {
            let (start, n) = (units.start as isize, units.len());
            let columns = Axis { n, ..columns };
            let one = Axis { n: 1, from: 0, to: 0 };
            let (from, to) = (from.wrapping_offset(start * columns.from), to.wrapping_offset(start * columns.to));
            // SAFETY: the contract.
            return unsafe { copy_2d(one, columns, from, to) };
        };
        let mut unit = units.start;
        while unit < units.end {
            let (mut block, first) = (unit / rows.n, unit % rows.n);
            let n = (rows.n - first).min(units.end - unit);
            let (mut source, mut target) = (first as isize * rows.from, first as isize * rows.to);
            for axis in outer.iter().rev() {
                source += (block % axis.n) as isize * axis.from;
                target += (block % axis.n) as isize * axis.to;
                block /= axis.n;
            }
            // SAFETY: the contract.
            unsafe { copy_2d(Axis { n, ..rows }, columns, from.wrapping_offset(source), to.wrapping_offset(target)) };
            unit += n;
        }
    }
}

/// # Safety
/// As [`StridedCopy::run_chunk`], for two axes.
unsafe fn copy_2d<T: Copy + Default>(rows: Axis, columns: Axis, from: *const T, to: *mut T) {
    // SAFETY (all blocks below): the contract; offsets stay within the two axes.
    match (columns.from, columns.to) {
        (1, 1) => {
            for row in 0..rows.n as isize {
                let (from, to) = (from.wrapping_offset(row * rows.from), to.wrapping_offset(row * rows.to));
                unsafe { std::ptr::copy_nonoverlapping(from, to, columns.n) };
            }
        }
        (0, 1) if columns.n > 0 => {
            for row in 0..rows.n as isize {
                let to = to.wrapping_offset(row * rows.to);
                unsafe { std::slice::from_raw_parts_mut(to, columns.n).fill(*from.wrapping_offset(row * rows.from)) };
            }
        }
        (_, 1) if rows.from == 1 => unsafe { transpose(rows, columns, from, to) },
        _ => {
            for row in 0..rows.n as isize {
                let (from, to) = (from.wrapping_offset(row * rows.from), to.wrapping_offset(row * rows.to));
                for column in 0..columns.n as isize {
                    unsafe {
                        *to.wrapping_offset(column * columns.to) = *from.wrapping_offset(column * columns.from);
                    }
                }
            }
        }
    }
}

/// Block by block through a buffer, so that every line of memory that is touched is used whole.
///
/// # Safety
/// As [`copy_2d`]; `rows.from` and `columns.to` are 1.
unsafe fn transpose<T: Copy + Default>(rows: Axis, columns: Axis, from: *const T, to: *mut T) {
    for row in (0..rows.n).step_by(BLOCK) {
        let high = BLOCK.min(rows.n - row);
        for column in (0..columns.n).step_by(BLOCK) {
            let wide = BLOCK.min(columns.n - column);
            let mut block = [[T::default(); BLOCK]; BLOCK];
            for c in 0..wide {
                let from = from.wrapping_offset(row as isize + (column + c) as isize * columns.from);
                // SAFETY: `high` elements from here lie in one line of the block.
                let line = unsafe { std::slice::from_raw_parts(from, high) };
                for (block, &x) in block.iter_mut().zip(line) {
                    block[c] = x;
                }
            }
            for (r, block) in block.iter().enumerate().take(high) {
                let to = to.wrapping_offset((row + r) as isize * rows.to + column as isize);
                // SAFETY: `wide` elements from here lie in one line of the block.
                unsafe { std::ptr::copy_nonoverlapping(block.as_ptr(), to, wide) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::dense_strides;

    /// Copies a permutation of `dims`, flipped along some axes, and compares it with the definition.
    fn check<T: Copy + Default + PartialEq + std::fmt::Debug>(
        dims: &[usize],
        order: &[usize],
        flip: usize,
        number: impl Fn(usize) -> T,
    ) {
        let n: usize = dims.iter().product();
        let source: Vec<T> = (0..n).map(number).collect();
        let dense = dense_strides(dims);
        let turned: Vec<usize> = order.iter().map(|&axis| dims[axis]).collect();
        let mut start = 0;
        let strides: Vec<isize> = order
            .iter()
            .map(|&axis| {
                if flip >> axis & 1 == 0 || dims[axis] == 0 {
                    return dense[axis];
                }
                start += dense[axis] * (dims[axis] as isize - 1);
                -dense[axis]
            })
            .collect();
        let mut found = vec![T::default(); n];
        let copy = StridedCopy::new(size_of::<T>(), &turned, &strides, &dense_strides(&turned));
        for chunk in (0..copy.chunks()).rev() {
            // SAFETY: the strides stay inside the two vectors.
            unsafe {
                copy.run_chunk(chunk, source.as_ptr().wrapping_offset(start).cast(), found.as_mut_ptr().cast());
            }
        }
        for (i, &found) in found.iter().enumerate() {
            let (mut rest, mut at) = (i, start);
            for (&size, &stride) in turned.iter().zip(&strides).rev() {
                at += (rest % size) as isize * stride;
                rest /= size;
            }
            assert_eq!(found, source[at as usize], "{dims:?} {order:?} {flip:b} at {i}");
        }
    }

    #[test]
    fn permutations_and_flips_equal_the_definition() {
        for dims in [[5, 7, 3], [1, 40, 33], [17, 1, 50], [16, 32, 64], [0, 4, 3], [200, 3, 130]] {
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                for flip in 0..8 {
                    check(&dims, &order, flip, |i| i as u8);
                    check(&dims, &order, flip, |i| i as u16);
                    check(&dims, &order, flip, |i| i as u32);
                    check(&dims, &order, flip, |i| i as u64);
                }
            }
        }
        check(&[100_003], &[0], 0, |i| i as u32);
        check(&[100_003], &[0], 1, |i| i as u32);
    }

    #[test]
    fn a_stride_of_0_fills_and_a_part_stays_in_its_place() {
        let (value, mut to) = (7u32, [0u32; 20]);
        // The inner 2 x 3 of a 4 x 5 matrix.
        let copy = StridedCopy::new(4, &[2, 3], &[0, 0], &[5, 1]);
        // SAFETY: rows 1 and 2, columns 1 to 3 of the matrix.
        unsafe { copy.run_chunk(0, (&raw const value).cast(), to.as_mut_ptr().add(6).cast()) };
        assert_eq!(to, [0, 0, 0, 0, 0, 0, 7, 7, 7, 0, 0, 7, 7, 7, 0, 0, 0, 0, 0, 0]);
    }
}
