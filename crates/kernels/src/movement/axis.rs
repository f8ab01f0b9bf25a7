//! What runs along one axis: positions of extremes, cumulative sums, sorting.

use std::cmp::Ordering;

use thalweg_array::Element;

use super::Axis;

/// Which end of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extreme {
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// The direction of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The smallest first; NaN last.
    Ascending,
    /// The largest first; NaN counts as larger than everything and comes first.
    Descending,
}

/// The order of numbers; NaN counts as the largest, −0 equals 0.
#[inline(always)]
fn compare<T: Element>(x: T, y: T) -> Ordering {
    if T::DTYPE.is_float() {
        let (x, y) = (x.to_f64(), y.to_f64());
        x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
    } else {
        x.to_i64().cmp(&y.to_i64())
    }
}

/// The position along the axis of the extreme of `x` for each `[outer, inner]`: the first where several are equal. NaN
/// wins, for [`Extreme::Max`] and for [`Extreme::Min`].
///
/// # Panics
/// If the axis is empty while the result is not, or the lengths of the slices do not fit.
pub fn arg_extreme<T: Element>(extreme: Extreme, axis: Axis, x: &[T], out: &mut [i64]) {
    assert_eq!(x.len(), axis.len(), "elements of {axis:?}");
    assert_eq!(out.len(), axis.outer * axis.inner, "a position for each line");
    assert!(axis.n > 0 || out.is_empty(), "the extreme of no numbers");
    let is_nan = |x: T| T::DTYPE.is_float() && x.to_f64().is_nan();
    let beats = |new: T, old: T| match extreme {
        _ if is_nan(old) => false,
        _ if is_nan(new) => true,
        Extreme::Max => compare(new, old) == Ordering::Greater,
        Extreme::Min => compare(new, old) == Ordering::Less,
    };
    for (line, out) in out.iter_mut().enumerate() {
        let first = line / axis.inner * axis.n * axis.inner + line % axis.inner;
        let mut best = 0;
        for i in 1..axis.n {
            if beats(x[first + i * axis.inner], x[first + best * axis.inner]) {
                best = i;
            }
        }
        *out = best as i64;
    }
}

/// The sums of all numbers up to each along the axis, or from each on where `reverse`; without the number itself where
/// `exclusive`. Floats add up in f64, integers wrap.
///
/// # Panics
/// If the lengths of the slices do not fit.
pub fn cumulative_sum<T: Element>(axis: Axis, x: &[T], exclusive: bool, reverse: bool, out: &mut [T]) {
    /// Along one line, with the sums in `A`.
    fn line<T: Copy, A: Copy>(
        positions: impl Iterator<Item = usize>,
        x: &[T],
        exclusive: bool,
        out: &mut [T],
        zero: A,
        add: impl Fn(A, T) -> A,
        round: impl Fn(A) -> T,
    ) {
        let mut total = zero;
        for i in positions {
            let before = total;
            total = add(total, x[i]);
            out[i] = round(if exclusive { before } else { total });
        }
    }
    assert_eq!(x.len(), axis.len(), "elements of {axis:?}");
    assert_eq!(out.len(), x.len(), "as many sums as numbers");
    for number in 0..axis.outer * axis.inner {
        let first = number / axis.inner * axis.n * axis.inner + number % axis.inner;
        let positions = (0..axis.n).map(|i| first + if reverse { axis.n - 1 - i } else { i } * axis.inner);
        if T::DTYPE.is_float() {
            line(positions, x, exclusive, out, 0.0, |total, x| total + x.to_f64(), T::from_f64);
        } else {
            line(positions, x, exclusive, out, 0i64, |total, x| total.wrapping_add(x.to_i64()), T::from_i64);
        }
    }
}

/// The positions along the axis in the order of their numbers; equal numbers keep theirs (a stable sort).
///
/// `scratch` has room for one line (`axis.n`).
///
/// # Panics
/// If the lengths of the slices do not fit.
pub fn arg_sort<T: Element>(order: Order, axis: Axis, x: &[T], out: &mut [i64], scratch: &mut [i64]) {
    assert_eq!(out.len(), x.len(), "as many positions as numbers");
    sorted_lines(order, axis, x, scratch, |at, position, _| out[at] = position);
}

/// The numbers along the axis in order; see [`Order`].
///
/// `scratch` has room for one line (`axis.n`).
///
/// # Panics
/// If the lengths of the slices do not fit.
pub fn sort<T: Element>(order: Order, axis: Axis, x: &[T], out: &mut [T], scratch: &mut [i64]) {
    assert_eq!(out.len(), x.len(), "as many sorted numbers as numbers");
    sorted_lines(order, axis, x, scratch, |at, _, number| out[at] = number);
}

/// Calls `put` with each place of the result, the position along the axis that belongs there, and its number.
fn sorted_lines<T: Element>(
    order: Order,
    axis: Axis,
    x: &[T],
    scratch: &mut [i64],
    mut put: impl FnMut(usize, i64, T),
) {
    assert_eq!(x.len(), axis.len(), "elements of {axis:?}");
    let positions = &mut scratch[..axis.n];
    for line in 0..axis.outer * axis.inner {
        let first = line / axis.inner * axis.n * axis.inner + line % axis.inner;
        let number = |position: i64| x[first + position as usize * axis.inner];
        for (i, position) in positions.iter_mut().enumerate() {
            *position = i as i64;
        }
        // With the position as the last word, the order is total: an unstable sort, which needs no memory, is stable.
        positions.sort_unstable_by(|&a, &b| {
            let by_number = compare(number(a), number(b));
            let by_number = if order == Order::Descending { by_number.reverse() } else { by_number };
            by_number.then(a.cmp(&b))
        });
        for (i, &position) in positions.iter().enumerate() {
            put(first + i * axis.inner, position, number(position));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;

    #[test]
    fn the_first_extreme_wins_and_nan_before_all() {
        let axis = Axis { outer: 1, n: 4, inner: 2 };
        let x = [1.0, 5.0, 3.0, NAN, 3.0, 9.0, -2.0, NAN];
        let mut out = [0; 2];
        arg_extreme(Extreme::Max, axis, &x, &mut out);
        assert_eq!(out, [1, 1]);
        arg_extreme(Extreme::Min, axis, &x, &mut out);
        assert_eq!(out, [3, 1]);
        arg_extreme(Extreme::Max, Axis { outer: 2, n: 2, inner: 1 }, &[i64::MAX - 1, i64::MAX, 4, 4], &mut out);
        assert_eq!(out, [1, 0]);
        arg_extreme(Extreme::Max, Axis { outer: 0, n: 0, inner: 1 }, &[] as &[f32], &mut []);
    }

    #[test]
    fn cumulative_sums_run_both_ways() {
        let (axis, x) = (Axis { outer: 1, n: 3, inner: 2 }, [1, 10, 2, 20, 3, 30]);
        let mut out = [0; 6];
        let mut check = |exclusive, reverse, expected: [i32; 6]| {
            cumulative_sum(axis, &x, exclusive, reverse, &mut out);
            assert_eq!(out, expected);
        };
        check(false, false, [1, 10, 3, 30, 6, 60]);
        check(true, false, [0, 0, 1, 10, 3, 30]);
        check(false, true, [6, 60, 5, 50, 3, 30]);
        check(true, true, [5, 50, 3, 30, 0, 0]);
        let mut wrapped = [0u8; 2];
        cumulative_sum(Axis { outer: 1, n: 2, inner: 1 }, &[200u8, 100], false, false, &mut wrapped);
        assert_eq!(wrapped, [200, 44]);
    }

    #[test]
    fn sorting_is_stable_with_nan_at_the_large_end() {
        let axis = Axis { outer: 1, n: 5, inner: 1 };
        let x = [2.0, NAN, 1.0, 2.0, f32::NEG_INFINITY];
        let (mut positions, mut scratch) = ([0; 5], [0; 5]);
        arg_sort(Order::Ascending, axis, &x, &mut positions, &mut scratch);
        assert_eq!(positions, [4, 2, 0, 3, 1]);
        arg_sort(Order::Descending, axis, &x, &mut positions, &mut scratch);
        assert_eq!(positions, [1, 0, 3, 2, 4]);
        let mut sorted = [0; 6];
        sort(Order::Descending, Axis { outer: 1, n: 3, inner: 2 }, &[1, 9, 3, 7, 2, 8], &mut sorted, &mut scratch);
        assert_eq!(sorted, [3, 9, 2, 8, 1, 7]);
    }
}
