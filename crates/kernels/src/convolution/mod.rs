//! Convolution over one to three spatial axes, channels last, and its two gradients.
//!
//! With an input x `[N, S…, C]`, a weight w `[O, C / groups, K…]` and an output y `[N, T…, O]`, the form
//!
//! ```text
//! ⟨y, x ∗ w⟩ = Σ y[n, t, o] · x[n, t · stride + k · dilation − padding, c] · w[o, c, k]
//! ```
//!
//! is linear in each of the three. A [`Convolution`] solves for one of them, its [`Side`], given the other two:
//! the output (forward), the input (its gradient, which is also the transposed convolution) or the weight (its gradient).
//! What lies outside of the input counts as zero.
//!
//! The plan is made once from sizes and instruction set, and run many times. Its work is a sequence of
//! [`phases`](Convolution::phases), each cut into chunks by size alone, so that the bits are the same on any number of
//! threads.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | the interface |
//! | `problem.rs` | sizes, and where a tap of the kernel falls |
//! | `plain.rs` | loops over the definition |

mod plain;
mod problem;
#[cfg(test)]
mod tests;

use std::ops::Range;

use thalweg_array::{DType, bf16, f16};

use crate::cpu::Isa;
use crate::matmul::{ALIGNMENT, Epilogue, Finished, Memory, Operands, Scratch, output_dtype};
use crate::pool::Pool;
pub use problem::{Axis, Problem, Side, Winograd};

/// The least multiplications that are worth a chunk of their own: some microseconds.
const CHUNK_PRODUCTS: usize = 200_000;

/// A plan for a convolution or one of its gradients.
///
/// The result is looked at as a matrix: of pixels by channels, or for [`Side::Weight`] of output channels by
/// channels times taps. [`Operands`] name the tensors by their place in the product: a and b are what is given, c the result.
///
/// | side | a | b | c |
/// | --- | --- | --- | --- |
/// | [`Side::Output`] | x | w | y |
/// | [`Side::Input`] | y | w | x |
/// | [`Side::Weight`] | x | y | w |
///
/// ```
/// use thalweg_array::DType;
/// use thalweg_kernels::convolution::{Axis, Convolution, Problem, Side};
/// use thalweg_kernels::cpu::Isa;
/// use thalweg_kernels::matmul::Operands;
/// use thalweg_kernels::pool::Pool;
///
/// // A moving sum over three neighbors of one channel.
/// let axis = Axis::new(4, 3, 1, 1, (1, 1));
/// let plan = Convolution::new(Problem::new(DType::F32, Side::Output, 1, 1, 1, &[axis]), Isa::best());
/// let (x, w, mut y) = ([1.0f32, 2.0, 3.0, 4.0], [1.0f32; 3], [0.0f32; 4]);
/// let pool = Pool::new(1)?;
/// let mut scratch = vec![0; plan.scratch_bytes(pool.threads())];
/// let operands = Operands { a: x.as_ptr().cast(), b: w.as_ptr().cast(), c: y.as_mut_ptr().cast() };
/// // SAFETY: the arrays have the sizes of the problem.
/// unsafe { plan.run(&pool, operands, &mut scratch, None) };
/// assert_eq!(y, [3.0, 6.0, 9.0, 7.0]);
/// # Ok::<(), thalweg_kernels::pool::PoolError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    problem: Problem,
    isa: Isa,
    phases: Vec<usize>,
    packed_weight: bool,
    c_in_scratch: bool,
}

impl Convolution {
    /// A plan for `problem` on `isa`.
    ///
    /// # Panics
    /// If `isa` is not available here, for integers and bool, without spatial axes or with more than three, and if the
    /// groups do not divide the channels.
    #[track_caller]
    pub fn new(problem: Problem, isa: Isa) -> Convolution {
        assert!(isa.is_available(), "this processor has no {isa}");
        problem.check();
        let [rows, columns] = problem.result();
        let products = rows * columns * problem.terms();
        let phases = vec![(products / CHUNK_PRODUCTS).clamp(1, 16).min(rows)];
        Convolution { problem, isa, phases, packed_weight: false, c_in_scratch: false }
    }

    /// The same plan for a weight that [`pack_weight`](Convolution::pack_weight) has packed, which pays where the weight
    /// stays the same over many runs.
    ///
    /// # Panics
    /// For [`Side::Weight`], whose weight is the result.
    #[track_caller]
    pub fn with_packed_weight(&self) -> Convolution {
        assert!(self.problem.side != Side::Weight, "a packed weight for the gradient to the weight");
        Convolution { packed_weight: true, ..self.clone() }
    }

    /// The same plan without a result in memory: only an epilogue gets to see it, block by block in scratch memory.
    pub fn with_c_in_scratch(&self) -> Convolution {
        Convolution { c_in_scratch: true, ..self.clone() }
    }

    /// What the plan computes.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Elements from a row to the next of the result that an epilogue sees.
    pub fn c_row_stride(&self) -> usize {
        self.problem.result()[1]
    }

    /// The number of independent chunks of each phase. All chunks of a phase are done before the next begins.
    pub fn phases(&self) -> &[usize] {
        &self.phases
    }

    /// Bytes of scratch memory that a run on a pool of `threads` needs, of any alignment.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        let workers = self.phases.iter().copied().max().unwrap_or(0).min(threads);
        match self.shared_scratch_bytes() + self.worker_scratch_bytes() * workers {
            0 => 0,
            bytes => bytes + ALIGNMENT,
        }
    }

    /// Bytes of scratch memory that all workers share, a multiple of 64.
    pub fn shared_scratch_bytes(&self) -> usize {
        0
    }

    /// Bytes of scratch memory of one worker, a multiple of 64.
    pub fn worker_scratch_bytes(&self) -> usize {
        if !self.c_in_scratch {
            return 0;
        }
        let [rows, columns] = self.problem.result();
        let most = (0..self.phases[0]).map(|chunk| self.rows_of(chunk, rows).len()).max().unwrap_or(0);
        (most * columns * output_dtype(self.problem.dtype).size()).next_multiple_of(ALIGNMENT)
    }

    fn rows_of(&self, chunk: usize, rows: usize) -> Range<usize> {
        let chunks = self.phases[0];
        rows * chunk / chunks..rows * (chunk + 1) / chunks
    }

    /// Runs all phases on all threads of the pool; `finish` is called for each finished block of the result.
    ///
    /// # Panics
    /// If the scratch memory is too small. A panic of `finish` goes on in the caller, as [`Pool::run`] says.
    ///
    /// # Safety
    /// The operands point to dense tensors of the problem's sizes and dtype ([`output_dtype`] of it for the result),
    /// initialized in those that are given; nobody writes to those and nobody but `finish`, in its block, reads or writes
    /// the result meanwhile.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        operands: Operands,
        scratch: &mut [u8],
        finish: Option<&(dyn Fn(Finished) + Sync)>,
    ) {
        let needed = self.scratch_bytes(pool.threads());
        assert!(scratch.len() >= needed, "{} bytes of scratch memory, {needed} are needed", scratch.len());
        let memory = Memory::new(scratch, self.shared_scratch_bytes(), self.worker_scratch_bytes());
        for (phase, &chunks) in self.phases.iter().enumerate() {
            // SAFETY: a worker is in one call at a time and has its own part of the scratch memory, whose size was checked;
            // `Pool::run` returns when all chunks of the phase are done; the rest is what our caller promised.
            pool.run(chunks, &|chunk, worker| unsafe {
                let epilogue = finish.map(|finish| Epilogue { finish, reads: &[] });
                self.run_chunk(phase, chunk, operands, memory.of(worker), epilogue, worker);
            });
        }
    }

    /// One of the chunks of a phase, for callers that share out the work themselves. `epilogue` is called in the last
    /// phase, with `worker`; its blocks are whole rows of pixels one after the other, of some channels.
    ///
    /// # Safety
    /// As for [`run`](Convolution::run); all chunks of the phases before are done; and `scratch` points to memory of the
    /// sizes that it names, of which nobody else uses the worker's own part meanwhile.
    pub unsafe fn run_chunk(
        &self,
        phase: usize,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        epilogue: Option<Epilogue<'_>>,
        worker: usize,
    ) {
        debug_assert_eq!(phase, 0);
        let [rows, columns] = self.problem.result();
        let rows = self.rows_of(chunk, rows);
        let c = match self.c_in_scratch {
            true => {
                let bytes = output_dtype(self.problem.dtype).size();
                scratch.own.wrapping_sub(rows.start * columns * bytes)
            }
            false => operands.c,
        };
        // SAFETY: what our caller promised; the dtype is that of the plan.
        unsafe {
            let operands = Operands { c, ..operands };
            match self.problem.dtype {
                DType::F32 => plain::solve::<f32>(&self.problem, rows.clone(), operands),
                DType::F64 => plain::solve::<f64>(&self.problem, rows.clone(), operands),
                DType::F16 => plain::solve::<f16>(&self.problem, rows.clone(), operands),
                DType::BF16 => plain::solve::<bf16>(&self.problem, rows.clone(), operands),
                DType::I32 | DType::I64 | DType::U8 | DType::Bool => {
                    unreachable!("`Convolution::new` has refused them")
                }
            }
        }
        if let Some(epilogue) = epilogue {
            (epilogue.finish)(Finished { rows, columns: 0..columns, c, worker });
        }
    }

    /// Bytes of a packed weight.
    pub fn packed_weight_bytes(&self) -> usize {
        let Problem { in_channels, out_channels, groups, dtype, .. } = self.problem;
        self.problem.taps() * (in_channels / groups) * out_channels * dtype.size()
    }

    /// Packs a weight for [`with_packed_weight`](Convolution::with_packed_weight). The layout depends on the problem, but
    /// for its batch, and on the instruction set.
    ///
    /// # Panics
    /// If `packed` is smaller than [`packed_weight_bytes`](Convolution::packed_weight_bytes) or not aligned to 8 bytes.
    ///
    /// # Safety
    /// `w` points to a weight as [`run`](Convolution::run) wants it.
    pub unsafe fn pack_weight(&self, _pool: &Pool, w: *const u8, packed: &mut [u8]) {
        let needed = self.packed_weight_bytes();
        assert!(packed.len() >= needed, "{} bytes for a packed weight, {needed} are needed", packed.len());
        assert!(packed.as_ptr().addr().is_multiple_of(8), "a packed weight that is not aligned to 8 bytes");
        // SAFETY: the size was checked; the rest is what our caller promised.
        unsafe { packed.as_mut_ptr().copy_from_nonoverlapping(w, needed) };
    }

    /// What runs, in a line for profiles: `plain, 16 chunks`.
    pub fn describe(&self) -> String {
        let chunks = self.phases.last().copied().unwrap_or(0);
        format!("plain, {chunks} chunk{}", if chunks == 1 { "" } else { "s" })
    }
}
