//! What the micro-kernel, and the measurement of the machine's limits, ask of a vector type; the portable one.

/// A vector of floats.
///
/// Methods are `#[inline(always)]`: the functions that use them are compiled with the instruction set switched on.
///
/// # Safety
/// Of all methods: the processor has the instruction set of the type. Of those with pointers: the elements that are
/// named may be read or written.
pub(crate) trait Vector: Copy {
    /// The type of an element.
    type Scalar: Copy;
    /// Which of the first lanes take part.
    type Mask: Copy;
    /// The number of elements.
    const LANES: usize;
    /// The number of columns that [`transpose`](Vector::transpose) does in one go.
    const TRANSPOSED: usize;

    /// Zeros.
    unsafe fn zero() -> Self;
    /// `x` in all lanes.
    unsafe fn splat(x: Self::Scalar) -> Self;
    /// `self · b + c`.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self + b`.
    unsafe fn add(self, b: Self) -> Self;
    /// The mask of the first `count` lanes.
    unsafe fn first(count: usize) -> Self::Mask;
    /// The elements from `from`.
    unsafe fn load(from: *const Self::Scalar) -> Self;
    /// The elements from `from` under the mask, zeros elsewhere.
    unsafe fn load_masked(from: *const Self::Scalar, mask: Self::Mask) -> Self;
    /// Writes the elements.
    unsafe fn store(self, to: *mut Self::Scalar);
    /// Writes the elements past the caches, if the processor can; `to` is aligned to the size of the vector.
    #[inline(always)]
    unsafe fn store_past_caches(self, to: *mut Self::Scalar) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }
    /// Writes the elements under the mask.
    unsafe fn store_masked(self, to: *mut Self::Scalar, mask: Self::Mask);
    /// Asks for the cache line that holds `at`, which need not be valid.
    #[inline(always)]
    unsafe fn prefetch(at: *const Self::Scalar) {
        let _ = at;
    }

    /// `to[p * to_step + i] = from[i * from_step + p]` for i below `rows` (at most [`LANES`](Vector::LANES)) and p below
    /// [`TRANSPOSED`](Vector::TRANSPOSED).
    unsafe fn transpose(
        from: *const Self::Scalar,
        from_step: usize,
        rows: usize,
        to: *mut Self::Scalar,
        to_step: usize,
    );
}

/// `N` floats for the target's baseline; `N` is chosen so that the compiler finds its vector registers.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T, const N: usize>(pub(crate) [T; N]);

macro_rules! plain {
    ($scalar:ty, $lanes:literal) => {
        impl Vector for Plain<$scalar, $lanes> {
            type Scalar = $scalar;
            type Mask = usize;
            const LANES: usize = $lanes;
            const TRANSPOSED: usize = 1;

            #[inline(always)]
            unsafe fn zero() -> Self {
                Plain([0.0; $lanes])
            }

            #[inline(always)]
            unsafe fn splat(x: $scalar) -> Self {
                Plain([x; $lanes])
            }

            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                Plain(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
            }

            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                Plain(std::array::from_fn(|i| self.0[i] + b.0[i]))
            }

            #[inline(always)]
            unsafe fn first(count: usize) -> usize {
                count
            }

            #[inline(always)]
            unsafe fn load(from: *const $scalar) -> Self {
                // SAFETY: the caller's promise.
                Plain(unsafe { from.cast::<[$scalar; $lanes]>().read_unaligned() })
            }

            #[inline(always)]
            unsafe fn load_masked(from: *const $scalar, mask: usize) -> Self {
                // SAFETY: the caller's promise.
                Plain(std::array::from_fn(|i| if i < mask { unsafe { *from.add(i) } } else { 0.0 }))
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $scalar) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<[$scalar; $lanes]>().write_unaligned(self.0) }
            }

            #[inline(always)]
            unsafe fn store_masked(self, to: *mut $scalar, mask: usize) {
                for (i, &x) in self.0.iter().take(mask).enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe { *to.add(i) = x }
                }
            }

            #[inline(always)]
            unsafe fn transpose(from: *const $scalar, from_step: usize, rows: usize, to: *mut $scalar, _: usize) {
                for i in 0..rows {
                    // SAFETY: the caller's promise.
                    unsafe { *to.add(i) = *from.add(i * from_step) }
                }
            }
        }
    };
}
plain!(f32, 4);
plain!(f64, 2);
