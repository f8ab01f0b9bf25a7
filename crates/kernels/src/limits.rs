//! [`Limits`]: what this machine can do at most, measured.
//!
//! Two numbers bound every kernel on a given number of threads: how fast it could multiply and add if all its operands
//! stood in registers, and how fast memory could deliver and take them if it computed nothing to speak of. A kernel is near
//! the machine's limit if it is near one of the two (Williams, Waterman and Patterson, *Roofline*, 2009).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::cpu::{Isa, last_cache};
use crate::matmul::simd::{Plain, Vector};
use crate::pool::Pool;

/// What the threads of a pool can do at most.
///
/// ```
/// use std::time::Duration;
/// use thalweg_kernels::limits::Limits;
///
/// let limits = Limits { multiply_add: 200.0, triad: 20.0 };
/// // A sum of ten million f32 in 4 ms: the arithmetic is little, the memory is busy for half of the time.
/// assert_eq!(limits.share(10_000_000, 40_000_000, Duration::from_millis(4)), 0.5);
/// // A product of two 1000 x 1000 matrices in 20 ms: the other way round.
/// assert_eq!(limits.share(2_000_000_000, 12_000_000, Duration::from_millis(20)), 0.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Multiply-adds of f32 in registers, in GFLOP/s; each counts as two operations. f64 has half of it.
    pub multiply_add: f64,
    /// `a = b + 3 c` over arrays of f32 larger than the last cache, in GB/s; 12 bytes for each element, as the benchmark
    /// STREAM counts (McCalpin, 1995): reading `a` before it is written, which some processors do, is not counted.
    pub triad: f64,
}

impl Limits {
    /// Measures the threads of `pool` with the best instruction set, in about 0.3 s: the best of several runs. The triad
    /// takes up to 768 MiB of memory meanwhile.
    ///
    /// ```
    /// use thalweg_kernels::limits::Limits;
    /// use thalweg_kernels::pool::Pool;
    ///
    /// let limits = Limits::measure(&Pool::new(2)?);
    /// assert!(limits.multiply_add > 0.1 && limits.triad > 0.1);
    /// # Ok::<(), thalweg_kernels::pool::PoolError>(())
    /// ```
    pub fn measure(pool: &Pool) -> Limits {
        let loops = Loops::of(Isa::best());
        let bytes = last_cache().map_or(COMMON_ARRAY, |bytes| (2 * bytes).clamp(COMMON_ARRAY, LARGEST_ARRAY));
        Limits { multiply_add: multiply_add(pool, loops), triad: triad(pool, loops, bytes) }
    }

    /// The share of the machine's limit that a kernel reached: the larger of arithmetic and memory, 1 at the limit. It is
    /// more than 1 where the data came from a cache. 0 if no time went by.
    pub fn share(&self, flops: u64, bytes: u64, time: Duration) -> f64 {
        let nanoseconds = time.as_secs_f64() * 1e9;
        if nanoseconds == 0.0 {
            return 0.0;
        }
        let arithmetic = flops as f64 / nanoseconds / self.multiply_add;
        let memory = bytes as f64 / nanoseconds / self.triad;
        arithmetic.max(memory)
    }
}

/// How long multiply-adds are measured: long enough to find moments between the turns of other programs.
const MULTIPLY_ADD_TIME: Duration = Duration::from_millis(60);
/// How long the triad is measured.
const TRIAD_TIME: Duration = Duration::from_millis(120);
/// Multiply-adds of each accumulator in a chunk: some ten microseconds.
const ROUNDS: usize = 2048;
/// Chunks for each thread, so that no thread waits long for another.
const CHUNKS_PER_THREAD: usize = 32;
/// Elements of a chunk of the triad.
const CHUNK: usize = 64 << 10;
/// Bytes of an array where the system does not tell how large the last cache is.
const COMMON_ARRAY: usize = 64 << 20;
/// The most bytes of an array.
const LARGEST_ARRAY: usize = 256 << 20;

/// GFLOP/s of multiply-adds in registers.
fn multiply_add(pool: &Pool, loops: &Loops) -> f64 {
    let chunks = pool.threads() * CHUNKS_PER_THREAD;
    let seconds = best(MULTIPLY_ADD_TIME, || {
        // SAFETY: the processor has the instruction set of these loops.
        pool.run(chunks, &|_, _| unsafe { (loops.multiply_add)() });
    });
    (2 * chunks * ROUNDS * loops.accumulated) as f64 / seconds / 1e9
}

/// GB/s of the triad over arrays of `bytes` bytes, or less if the system refuses so much.
fn triad(pool: &Pool, loops: &Loops, bytes: usize) -> f64 {
    let arrays = Arrays::new(bytes.next_multiple_of(CHUNK * size_of::<f32>()));
    let chunks = arrays.elements / CHUNK;
    // Each thread is the first to touch its part, so that the system gives it memory of its own neighborhood.
    pool.run(chunks, &|chunk, _| {
        for array in 0..3 {
            // SAFETY: there is room for the elements of three arrays, and no two chunks have the same.
            unsafe { arrays.stretch(array, chunk).write_bytes(0, CHUNK) };
        }
    });
    let seconds = best(TRIAD_TIME, || {
        pool.run(chunks, &|chunk, _| {
            let [a, b, c] = [0, 1, 2].map(|array| arrays.stretch(array, chunk));
            // SAFETY: as above; all elements were written, and stretches begin where huge pages or their parts do. The
            // processor has the instruction set of these loops.
            unsafe { (loops.triad)(a, b, c) };
        });
    });
    (3 * size_of::<f32>() * arrays.elements) as f64 / seconds / 1e9
}

/// The least seconds that `work` takes, over as many runs as fit the time, and at least three.
fn best(time: Duration, work: impl Fn()) -> f64 {
    let begin = Instant::now();
    let (mut best, mut runs) = (f64::INFINITY, 0);
    while runs < 3 || begin.elapsed() < time {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

/// A huge page: to its multiples the memory is aligned.
const HUGE: usize = 2 << 20;

/// Three arrays of f32, one behind the other.
struct Arrays {
    start: *mut f32,
    /// Of each.
    elements: usize,
    layout: Layout,
}

// SAFETY: the arrays are reached by address only, by threads that each have their own stretch.
unsafe impl Sync for Arrays {}

impl Arrays {
    /// Arrays of `bytes` bytes each, whole chunks; half of it, again and again, while the system refuses.
    fn new(bytes: usize) -> Arrays {
        let layout = Layout::from_size_align(3 * bytes, HUGE).expect("a size far below the largest");
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            let chunks = bytes / (CHUNK * size_of::<f32>());
            return if chunks > 1 { Arrays::new(bytes / chunks * (chunks / 2)) } else { handle_alloc_error(layout) };
        }
        // Sessions ask for huge pages too; small ones make the memory slower.
        #[cfg(all(target_os = "linux", not(miri)))]
        // SAFETY: the memory was just allocated, and the advice changes nothing in it.
        unsafe {
            libc::madvise(start.cast(), layout.size(), libc::MADV_HUGEPAGE)
        };
        Arrays { start: start.cast(), elements: bytes / size_of::<f32>(), layout }
    }

    /// The first element of a chunk of one of the arrays.
    fn stretch(&self, array: usize, chunk: usize) -> *mut f32 {
        self.start.wrapping_add(array * self.elements + chunk * CHUNK)
    }
}

impl Drop for Arrays {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this very layout.
        unsafe { dealloc(self.start.cast(), self.layout) };
    }
}

/// The loops of an instruction set, which the processor must have.
struct Loops {
    /// [`ROUNDS`] multiply-adds of every accumulator.
    multiply_add: unsafe fn(),
    /// Numbers that are accumulated side by side.
    accumulated: usize,
    /// `a = b + 3 c` over [`CHUNK`] elements; the pointers are aligned to 64 bytes.
    triad: unsafe fn(a: *mut f32, b: *const f32, c: *const f32),
}

/// The [`Loops`] of a vector type. Enough accumulators hide how long a multiply-add takes, and few enough fit the registers.
macro_rules! loops {
    ($vector:ty, $accumulators:literal $(, $features:literal)?) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn multiply_add() {
            // SAFETY: the caller's promise.
            unsafe { multiply_add_in_registers::<$vector, $accumulators>() }
        }
        $(#[target_feature(enable = $features)])?
        unsafe fn triad(a: *mut f32, b: *const f32, c: *const f32) {
            // SAFETY: the caller's promise.
            unsafe { triad_of_chunk::<$vector>(a, b, c) }
        }
        &Loops { multiply_add, accumulated: $accumulators * <$vector as Vector>::LANES, triad }
    }};
}

impl Loops {
    fn of(isa: Isa) -> &'static Loops {
        assert!(isa.is_available(), "this processor has no {isa}");
        match isa {
            Isa::Portable => loops!(Plain<f32, 4>, 12),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => loops!(std::arch::aarch64::float32x4_t, 24, "neon"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => loops!(std::arch::x86_64::__m256, 12, "avx2,fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Amx => loops!(std::arch::x86_64::__m512, 24, "avx512f,avx512dq"),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon => unreachable!("no instruction set of this architecture"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Amx => unreachable!("no instruction set of this architecture"),
        }
    }
}

/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
unsafe fn multiply_add_in_registers<V: Vector<Scalar = f32>, const ACCUMULATORS: usize>() {
    // SAFETY: the caller's promise.
    unsafe {
        // Towards 1: nothing grows without bound or becomes denormal. Each accumulator begins elsewhere, lest the compiler
        // see that they are one.
        let (x, y) = (V::splat(black_box(0.875)), V::splat(black_box(0.125)));
        let mut sums = [x; ACCUMULATORS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = V::splat(black_box(i as f32));
        }
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.mul_add(x, y);
            }
        }
        black_box(sums);
    }
}

/// # Safety
/// The processor has the instruction set of `V`; the pointers are aligned to 64 bytes, with [`CHUNK`] elements behind each,
/// of which nobody else writes any, and those of `a` nobody else reads.
#[inline(always)]
unsafe fn triad_of_chunk<V: Stream>(a: *mut f32, b: *const f32, c: *const f32) {
    // SAFETY: the caller's promise; `CHUNK` is a multiple of the lanes.
    unsafe {
        let three = V::splat(3.0);
        for i in (0..CHUNK).step_by(V::LANES) {
            three.mul_add(V::load(c.add(i)), V::load(b.add(i))).stream(a.add(i));
        }
        V::finish();
    }
}

/// Vectors that can be written past the caches, where the processor has instructions for that.
trait Stream: Vector<Scalar = f32> {
    /// Writes the elements to an address that is aligned to the vector.
    ///
    /// # Safety
    /// As [`Vector::store`].
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }

    /// Other threads see what was streamed before what is written after.
    #[inline(always)]
    fn finish() {}
}

impl Stream for Plain<f32, 4> {}

#[cfg(target_arch = "aarch64")]
impl Stream for std::arch::aarch64::float32x4_t {}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512, _mm_sfence, _mm256_stream_ps, _mm512_stream_ps};

    use super::Stream;

    impl Stream for __m256 {
        #[inline(always)]
        unsafe fn stream(self, to: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { _mm256_stream_ps(to, self) }
        }

        #[inline(always)]
        fn finish() {
            // SAFETY: every x86-64 has this instruction.
            unsafe { _mm_sfence() }
        }
    }

    impl Stream for __m512 {
        #[inline(always)]
        unsafe fn stream(self, to: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_stream_ps(to, self) }
        }

        #[inline(always)]
        fn finish() {
            // SAFETY: every x86-64 has this instruction.
            unsafe { _mm_sfence() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_its_limits() {
        let pool = Pool::new(2).unwrap();
        for isa in Isa::available() {
            let loops = Loops::of(isa);
            let (multiply_add, triad) = (multiply_add(&pool, loops), triad(&pool, loops, 1 << 20));
            assert!(multiply_add.is_finite() && multiply_add > 0.1, "{isa}: {multiply_add} GFLOP/s");
            assert!(triad.is_finite() && triad > 0.1, "{isa}: {triad} GB/s");
        }
    }

    #[test]
    fn the_triad_computes_what_it_says() {
        for isa in Isa::available() {
            let arrays = Arrays::new(2 * CHUNK * size_of::<f32>());
            assert_eq!((arrays.elements, arrays.stretch(0, 0).addr() % HUGE), (2 * CHUNK, 0));
            for array in 0..3 {
                for i in 0..2 * CHUNK {
                    // SAFETY: the array has the element.
                    unsafe { arrays.stretch(array, 0).add(i).write((100 * array) as f32 + (i % 7) as f32) };
                }
            }
            // SAFETY: the arrays have a chunk 1, written above, and the processor the instruction set.
            unsafe { (Loops::of(isa).triad)(arrays.stretch(0, 1), arrays.stretch(1, 1), arrays.stretch(2, 1)) };
            for i in 0..2 * CHUNK {
                // SAFETY: as above.
                let found = unsafe { arrays.stretch(0, 0).add(i).read() };
                let expected = if i < CHUNK { (i % 7) as f32 } else { 700.0 + 4.0 * (i % 7) as f32 };
                assert_eq!(found, expected, "{isa}, element {i}");
            }
        }
    }

    #[test]
    fn a_share_is_that_of_the_nearer_limit() {
        let limits = Limits { multiply_add: 100.0, triad: 10.0 };
        let share = |flops, bytes| limits.share(flops, bytes, Duration::from_secs(1));
        assert_eq!(share(50_000_000_000, 1_000_000_000), 0.5);
        assert_eq!(share(1_000_000_000, 9_000_000_000), 0.9);
        assert_eq!(limits.share(1, 1, Duration::ZERO), 0.0);
    }
}
