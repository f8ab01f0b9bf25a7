//! Adding up windows that overlap.

use thalweg_array::Element;
use thalweg_array::scalar::Binary;

use super::Axis;

/// How windows go along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    /// The elements of a window.
    pub size: usize,
    /// From a window to the next; at least 1.
    pub stride: usize,
    /// From an element of a window to the next; at least 1.
    pub dilation: usize,
}

impl Windows {
    /// How many fit on an axis of `n` positions.
    pub fn count(self, n: usize) -> usize {
        let extent = (self.size.max(1) - 1) * self.dilation + 1;
        if n < extent { 0 } else { (n - extent) / self.stride + 1 }
    }
}

/// `out[o, t·stride + k·dilation, i] += x[o, t, k, i]` from 0, one window after the other.
///
/// # Panics
/// If the lengths of the slices do not fit.
pub fn overlap_add<T: Element>(axis: Axis, windows: Windows, x: &[T], out: &mut [T]) {
    let count = windows.count(axis.n);
    assert_eq!(x.len(), axis.outer * count * windows.size * axis.inner, "the elements of all windows");
    assert_eq!(out.len(), axis.len(), "an element for each position");
    let zero = T::from_i64(0);
    out.fill(zero);
    let add = |sum: T, x: T| match T::DTYPE.is_float() {
        true => T::from_f64(sum.to_f64() + x.to_f64()),
        false => T::from_i64(Binary::Add.apply_int(sum.to_i64(), x.to_i64())),
    };
    for (number, line) in x.chunks_exact(axis.inner.max(1)).enumerate() {
        let (window, k) = (number / windows.size, number % windows.size);
        let (outer, t) = (window / count, window % count);
        let position = outer * axis.n + t * windows.stride + k * windows.dilation;
        let sums = &mut out[position * axis.inner..(position + 1) * axis.inner];
        sums.iter_mut().zip(line).for_each(|(sum, &x)| *sum = add(*sum, x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_add_up_where_they_overlap() {
        let x: Vec<f32> = (1..=12).map(|x| x as f32).collect();
        let mut out = [f32::NAN; 10];
        let windows = Windows { size: 3, stride: 1, dilation: 1 };
        overlap_add(Axis { outer: 1, n: 4, inner: 2 }, windows, &x, &mut out[..8]);
        assert_eq!(out[..8], [1.0, 2.0, 10.0, 12.0, 14.0, 16.0, 11.0, 12.0]);
        let gaps = Windows { size: 2, stride: 3, dilation: 2 };
        overlap_add(Axis { outer: 2, n: 5, inner: 1 }, gaps, &x[..4], &mut out);
        assert_eq!(out, [1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 4.0, 0.0, 0.0]);
    }
}
