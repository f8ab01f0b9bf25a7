//! Moving numbers: strided copies, gathering and scattering by index, and what runs along one axis.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`copy`](mod@copy) | [`StridedCopy`]: permuting, slicing, flipping, broadcasting, padding, joining |
//! | [`index`] | [`Gather`], [`ScatterAdd`] and their element-by-element forms |
//! | [`windows`] | [`overlap_add`] |
//! | [`axis`] | [`arg_extreme`], [`cumulative_sum`], [`sort`], [`arg_sort`] |
//!
//! An axis in the middle of a tensor is given as three sizes ([`Axis`]): what stands before it, its own, what stands
//! after it. Folds along an axis and random numbers are programs of [`tile`](crate::tile).

pub mod axis;
pub mod copy;
pub mod index;
pub mod windows;

pub use axis::{Extreme, Order, arg_extreme, arg_sort, cumulative_sum, sort};
pub use copy::StridedCopy;
pub use index::{Gather, IndexError, ScatterAdd, check_indices, scatter_add_along, take_along};
pub use windows::{Windows, overlap_add};

/// A row-major tensor seen from one of its axes: `[outer, n, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// The product of the sizes before the axis.
    pub outer: usize,
    /// The size of the axis.
    pub n: usize,
    /// The product of the sizes after the axis.
    pub inner: usize,
}

impl Axis {
    /// The number of elements.
    pub fn len(self) -> usize {
        self.outer * self.n * self.inner
    }

    /// Whether there are no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}
