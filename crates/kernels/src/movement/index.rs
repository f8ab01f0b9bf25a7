//! Reading and adding by index.
//!
//! Every function checks all indices before it writes anything; for a [`Gather`] or a [`ScatterAdd`] its caller does.

use std::ops::Range;

use thalweg_array::Element;
use thiserror::Error;

use super::Axis;
use crate::cpu::prefetch;

/// An index that names no element.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("index {index} at position {position} is not in 0..{bound}")]
pub struct IndexError {
    /// The index.
    pub index: i64,
    /// Where it stands among the indices.
    pub position: usize,
    /// What it must be below.
    pub bound: usize,
}

/// Whether all indices are in `0..bound`.
///
/// # Errors
/// The first that is not.
pub fn check_indices<I: Element>(indices: &[I], bound: usize) -> Result<(), IndexError> {
    let inside = |index: i64| (index as u64) < bound as u64;
    // Without a way out the loop becomes vector code; the search is for the rare case.
    if indices.iter().fold(true, |all, index| all & inside(index.to_i64())) {
        return Ok(());
    }
    let position = indices.iter().position(|index| !inside(index.to_i64())).unwrap_or(0);
    Err(IndexError { index: indices[position].to_i64(), position, bound })
}

/// `out[o, k, :] = x[o, indices[k], :]`: `x` is an [`Axis`], `out` is `[outer, indices, inner]`.
///
/// Its chunks are rows that follow each other in `out`, and may run on any threads in any order once
/// [`check_indices`] has gone through.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    axis: Axis,
    indices: usize,
    /// Rows of a chunk.
    chunk: usize,
}

/// What a chunk writes at least.
const CHUNK_BYTES: usize = 1 << 17;
/// The most chunks of one gather.
const MOST_CHUNKS: usize = 64;
/// How many rows before it is needed one is fetched: where they lie cannot be guessed.
const AHEAD: usize = 2;
/// The most bytes of a row that are fetched ahead.
const AHEAD_BYTES: usize = 2048;
const LINE: usize = 64;

impl Gather {
    /// So many rows of an axis, of elements of `size` bytes.
    pub fn new(axis: Axis, indices: usize, size: usize) -> Gather {
        let rows = axis.outer * indices;
        let chunks = (rows * axis.inner * size / CHUNK_BYTES).clamp(1, MOST_CHUNKS);
        Gather { axis, indices, chunk: rows.div_ceil(chunks).max(1) }
    }

    /// The number of chunks: a function of the sizes alone.
    pub fn chunks(&self) -> usize {
        (self.axis.outer * self.indices).div_ceil(self.chunk)
    }

    /// The elements of `out` that a chunk writes.
    pub fn written(&self, chunk: usize) -> Range<usize> {
        let rows = self.rows(chunk);
        rows.start * self.axis.inner..rows.end * self.axis.inner
    }

    fn rows(&self, chunk: usize) -> Range<usize> {
        chunk * self.chunk..((chunk + 1) * self.chunk).min(self.axis.outer * self.indices)
    }

    /// Writes what a chunk [writes](Gather::written); `out` is that alone.
    ///
    /// # Panics
    /// If the lengths of the slices do not fit, or an index is outside.
    pub fn run_chunk<T: Copy, I: Element>(&self, chunk: usize, x: &[T], indices: &[I], out: &mut [T]) {
        let Gather { axis: Axis { n, inner, .. }, .. } = *self;
        assert_eq!(x.len(), self.axis.len(), "elements of {:?}", self.axis);
        assert_eq!(indices.len(), self.indices, "indices");
        assert_eq!(out.len(), self.written(chunk).len(), "elements of the chunk");
        let start = |row: usize| (row / self.indices * n + indices[row % self.indices].to_i64() as usize) * inner;
        let rows = self.rows(chunk);
        if inner == 1 {
            out.iter_mut().zip(rows).for_each(|(out, row)| *out = x[start(row)]);
            return;
        }
        let last = rows.end.saturating_sub(1);
        for (out, row) in out.chunks_exact_mut(inner.max(1)).zip(rows) {
            let far = &x[start((row + AHEAD).min(last))..][..inner];
            for line in (0..size_of_val(far).min(AHEAD_BYTES)).step_by(LINE) {
                prefetch(far.as_ptr().cast::<u8>().wrapping_add(line));
            }
            out.copy_from_slice(&x[start(row)..][..inner]);
        }
    }
}

/// `out[o, indices[k], :] += x[o, k, :]` in the order of k: `out` is an [`Axis`], `x` is `[outer, indices, inner]`.
///
/// Its chunks are columns that follow each other, of all rows, and may run on any threads in any order once
/// [`check_indices`] has gone through.
#[derive(Clone, Copy, Debug)]
pub struct ScatterAdd {
    axis: Axis,
    indices: usize,
    /// Columns of a chunk.
    width: usize,
}

/// Bytes of a row that a chunk takes at least: fewer are not worth finding the row.
const CHUNK_WIDTH: usize = 8 * LINE;

impl ScatterAdd {
    /// So many rows to be added to those of an axis, of elements of `size` bytes.
    pub fn new(axis: Axis, indices: usize, size: usize) -> ScatterAdd {
        let chunks = (axis.outer * indices * axis.inner * size / CHUNK_BYTES).clamp(1, MOST_CHUNKS);
        let width = axis.inner.div_ceil(chunks).next_multiple_of(CHUNK_WIDTH / size).max(1);
        ScatterAdd { axis, indices, width }
    }

    /// The number of chunks: a function of the sizes alone.
    pub fn chunks(&self) -> usize {
        self.axis.inner.div_ceil(self.width)
    }

    /// Adds the columns of a chunk.
    ///
    /// # Panics
    /// If the lengths of the slices do not fit, or an index is outside.
    ///
    /// # Safety
    /// From `out` on lie the elements of the axis, and nobody else uses the columns of this chunk meanwhile.
    pub unsafe fn run_chunk<T: Add, I: Element>(&self, chunk: usize, x: &[T], indices: &[I], out: *mut T) {
        let Axis { outer, n, inner } = self.axis;
        assert_eq!(indices.len(), self.indices, "indices");
        assert_eq!(x.len(), outer * self.indices * inner, "elements to add");
        let columns = chunk * self.width..((chunk + 1) * self.width).min(inner);
        let row_of = |k: usize| {
            let index = indices[k].to_i64() as usize;
            assert!(index < n, "index {index} of {n}");
            index * inner + columns.start
        };
        for (group, x) in x.chunks_exact((self.indices * inner).max(1)).enumerate() {
            let out = out.wrapping_add(group * n * inner);
            for (k, x) in x.chunks_exact(inner.max(1)).enumerate() {
                let far = out.wrapping_add(row_of((k + AHEAD).min(self.indices - 1))).cast_const();
                for row in [far, x.as_ptr().wrapping_add(AHEAD * inner + columns.start)] {
                    for line in (0..(columns.len() * size_of::<T>()).min(AHEAD_BYTES)).step_by(LINE) {
                        prefetch(row.cast::<u8>().wrapping_add(line));
                    }
                }
                // SAFETY: the row is one of the axis, and its columns are this chunk's.
                let out = unsafe { std::slice::from_raw_parts_mut(out.wrapping_add(row_of(k)), columns.len()) };
                for (out, &x) in out.iter_mut().zip(&x[columns.clone()]) {
                    *out = out.add(x);
                }
            }
        }
    }
}

/// `out[o, k, i] = x[o, indices[o, k, i], i]`: `x` is `axis`; `indices` and `out` are `[outer, n, inner]` with the `n`
/// that their length gives.
///
/// # Errors
/// If an index is outside; nothing is written then.
///
/// # Panics
/// If the lengths of the slices do not fit.
pub fn take_along<T: Copy, I: Element>(axis: Axis, x: &[T], indices: &[I], out: &mut [T]) -> Result<(), IndexError> {
    assert_eq!(x.len(), axis.len(), "elements of {axis:?}");
    assert_eq!(out.len(), indices.len(), "an index for each element of the result");
    check_indices(indices, axis.n)?;
    for_each_along(axis, indices, |position, at| out[position] = x[at]);
    Ok(())
}

/// `out[o, indices[o, k, i], i] += x[o, k, i]` in the order of k: `out` is `axis`; `indices` and `x` are
/// `[outer, n, inner]` with the `n` that their length gives.
///
/// # Errors
/// If an index is outside; nothing is written then.
///
/// # Panics
/// If the lengths of the slices do not fit.
pub fn scatter_add_along<T: Add, I: Element>(
    axis: Axis,
    x: &[T],
    indices: &[I],
    out: &mut [T],
) -> Result<(), IndexError> {
    assert_eq!(out.len(), axis.len(), "elements of {axis:?}");
    assert_eq!(x.len(), indices.len(), "an index for each element to add");
    check_indices(indices, axis.n)?;
    for_each_along(axis, indices, |position, at| out[at] = out[at].add(x[position]));
    Ok(())
}

/// Calls `visit` with each position among the indices and the position in `axis` that its index names.
fn for_each_along<I: Element>(axis: Axis, indices: &[I], mut visit: impl FnMut(usize, usize)) {
    if indices.is_empty() {
        return;
    }
    let each = indices.len() / axis.outer;
    assert!(each * axis.outer == indices.len() && each.is_multiple_of(axis.inner), "indices fit {axis:?}");
    for (position, index) in indices.iter().enumerate() {
        let (outer, inner) = (position / each, position % axis.inner);
        visit(position, (outer * axis.n + index.to_i64() as usize) * axis.inner + inner);
    }
}

/// Elements that can be added; integers wrap, 16-bit floats add in f32 and round, truth values are joined by or.
pub trait Add: Element {
    /// The sum.
    fn add(self, other: Self) -> Self;
}

macro_rules! add {
    ($($type:ty => |$x:ident, $y:ident| $sum:expr),* $(,)?) => {
        $(impl Add for $type {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                let ($x, $y) = (self, other);
                $sum
            }
        })*
    };
}
add!(
    f32 => |x, y| x + y,
    f64 => |x, y| x + y,
    thalweg_array::f16 => |x, y| Self::from_f32(x.to_f32() + y.to_f32()),
    thalweg_array::bf16 => |x, y| Self::from_f32(x.to_f32() + y.to_f32()),
    i32 => |x, y| x.wrapping_add(y),
    i64 => |x, y| x.wrapping_add(y),
    u8 => |x, y| x.wrapping_add(y),
    bool => |x, y| x | y,
);

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: Axis = Axis { outer: 2, n: 3, inner: 2 };

    /// All chunks of a gather.
    fn gather<T: Copy + Default, I: Element>(axis: Axis, x: &[T], indices: &[I]) -> Vec<T> {
        check_indices(indices, axis.n).unwrap();
        let gather = Gather::new(axis, indices.len(), size_of::<T>());
        let mut out = vec![T::default(); axis.outer * indices.len() * axis.inner];
        for chunk in 0..gather.chunks() {
            gather.run_chunk(chunk, x, indices, &mut out[gather.written(chunk)]);
        }
        out
    }

    /// All chunks of a scatter.
    fn scatter_add<T: Add, I: Element>(axis: Axis, x: &[T], indices: &[I], out: &mut [T]) {
        check_indices(indices, axis.n).unwrap();
        assert_eq!(out.len(), axis.len());
        let scatter = ScatterAdd::new(axis, indices.len(), size_of::<T>());
        for chunk in 0..scatter.chunks() {
            // SAFETY: `out` is the axis, and one chunk runs after the other.
            unsafe { scatter.run_chunk(chunk, x, indices, out.as_mut_ptr()) };
        }
    }

    #[test]
    fn many_chunks_add_what_one_would() {
        let axis = Axis { outer: 2, n: 30, inner: 333 };
        let x: Vec<i32> = (0..2 * 400 * 333).map(|i| i * 7 % 1009).collect();
        let indices: Vec<i64> = (0..400).map(|i| i * i % 30).collect();
        assert!(ScatterAdd::new(axis, indices.len(), 4).chunks() > 2);
        let mut found: Vec<i32> = (0..axis.len() as i32).collect();
        let mut expected = found.clone();
        scatter_add(axis, &x, &indices, &mut found);
        for (outer, k, i) in (0..2).flat_map(|o| (0..400).flat_map(move |k| (0..333).map(move |i| (o, k, i)))) {
            expected[(outer * 30 + indices[k] as usize) * 333 + i] += x[(outer * 400 + k) * 333 + i];
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn many_chunks_gather_what_one_would() {
        let axis = Axis { outer: 3, n: 50, inner: 77 };
        let x: Vec<i32> = (0..axis.len() as i32).collect();
        let indices: Vec<i32> = (0..900).map(|i| i * i % 50).collect();
        assert!(Gather::new(axis, indices.len(), 4).chunks() > 3);
        let expected = (0..axis.outer).flat_map(|outer| indices.iter().map(move |&index| (outer, index as usize)));
        let expected = expected.flat_map(|(outer, index)| &x[(outer * axis.n + index) * axis.inner..][..axis.inner]);
        assert!(gather(axis, &x, &indices).iter().eq(expected));
    }

    #[test]
    fn gathering_and_scattering_follow_their_definition() {
        let x: Vec<i32> = (0..12).collect();
        assert_eq!(gather(AXIS, &x, &[2i64, 0]), [4, 5, 0, 1, 10, 11, 6, 7]);
        let mut sums = [0.5f32; 12];
        scatter_add(AXIS, &[1.0; 12], &[1i32, 1, 2], &mut sums);
        assert_eq!(sums, [0.5, 0.5, 2.5, 2.5, 1.5, 1.5, 0.5, 0.5, 2.5, 2.5, 1.5, 1.5]);

        let indices = [2i64, 0, 1, 1];
        let mut out = [0; 4];
        take_along(AXIS, &x, &indices, &mut out).unwrap();
        assert_eq!(out, [4, 1, 8, 9]);
        let mut sums = [0i64; 12];
        scatter_add_along(AXIS, &[1, 2, 3, 4], &indices, &mut sums).unwrap();
        assert_eq!(sums, [0, 2, 0, 0, 1, 0, 0, 0, 3, 4, 0, 0]);
    }

    #[test]
    fn an_index_outside_is_named_and_nothing_is_written() {
        let wrong = check_indices(&[1i64, -1], 3).unwrap_err();
        assert_eq!(wrong.to_string(), "index -1 at position 1 is not in 0..3");
        let mut sums = [7f32; 3];
        let axis = Axis { outer: 1, n: 3, inner: 1 };
        assert_eq!(take_along(axis, &[1.0; 3], &[5i64], &mut [0.0]).unwrap_err().bound, 3);
        assert_eq!(scatter_add_along(axis, &[1.0], &[3i64], &mut sums).unwrap_err().position, 0);
        assert_eq!(sums, [7.0; 3]);
        assert!(check_indices(&[0i64], 0).unwrap_err().to_string().contains("0..0"));
    }

    #[test]
    fn empty_results_are_no_fault() {
        assert!(gather(Axis { outer: 0, n: 3, inner: 2 }, &[] as &[f32], &[1i64]).is_empty());
        assert!(gather(Axis { outer: 2, n: 0, inner: 2 }, &[] as &[f32], &[] as &[i64]).is_empty());
        assert!(gather(Axis { outer: 1, n: 3, inner: 0 }, &[] as &[f32], &[1i64]).is_empty());
        scatter_add(Axis { outer: 1, n: 3, inner: 0 }, &[] as &[f32], &[1i64], &mut []);
        scatter_add(Axis { outer: 2, n: 3, inner: 1 }, &[] as &[f32], &[] as &[i64], &mut [0.0; 6]);
        take_along(Axis { outer: 0, n: 3, inner: 0 }, &[] as &[f32], &[] as &[i64], &mut []).unwrap();
    }
}
