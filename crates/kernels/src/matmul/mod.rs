//! Matrix multiply: C = A·B or C += A·B, for A `[m, k]` and B `[k, n]` with any strides and C `[m, n]` row-major.
//!
//! [`Matmul`] is a plan: how the work is cut up and how much scratch memory it takes, from sizes, strides and
//! instruction set alone. It is made once and run many times.
//!
//! **Order of accumulation.** The k products of an element are added in panels of [`panel_length`]`(k)`. Within a panel
//! they are added one after another, starting from zero, with fused multiply-adds ([`Isa::Portable`]: multiply, then
//! add). The panels' sums are then added to the element one after another. Nothing else enters: not m, n, the strides,
//! the cut into chunks, the number of threads. So a row of C has the same bits whatever rows lie around it, and
//! all instruction sets with fused multiply-add give the same bits.
//!
//! **Matrix units** ([`Isa::Amx`]) multiply f32 in pieces of bf16 and add up the steps of a panel in an order of their own, which
//! `amx.rs` gives: sums mostly come out nearer to the exact ones than with fused multiply-adds, not with their bits. They are used
//! where they are faster, by m, k, n and whether B is packed before, so that products of one matrix with many rows and with
//! few may differ in the last bits there. Who needs the same bits asks for the [instruction set of vectors](Isa::of_vectors).
//!
//! **Method.** After Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008): a micro-kernel keeps
//! a tile of C in registers while it walks along a few rows of A, which stay in the first-level cache, and a panel of B;
//! panels are packed in groups that stay in the second. Where a copy would not pay, A or B is read in place. All chunks
//! share one packed copy of A; each packs its own part of B, the next one while it multiplies by the one before. In pieces for
//! matrix units, which take more room, each part of B is packed when it is needed, and a tile of A where it is used once.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | the interface |
//! | `partition.rs` | how the work is cut up |
//! | `block.rs` | one chunk: panels, packing, tiles |
//! | `packer.rs` | packing of B, piece by piece between tiles |
//! | `tile.rs` | the micro-kernel and packing, over any vector type; the table of instances |
//! | `amx.rs` | the same for the matrix units of x86-64 |
//! | `simd.rs`, `x86.rs`, `neon.rs` | the vector types |
//! | `source.rs` | element types and how they widen |
//! | `integer.rs` | the plain loop for integers |

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod block;
mod integer;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packer;
mod partition;
pub(crate) mod simd;
pub(crate) mod source;
#[cfg(test)]
mod tests;
pub(crate) mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use thalweg_array::{DType, Element, bf16, f16};

use crate::cpu::Isa;
use crate::pool::Pool;
use partition::{Packing, Partition};
use tile::Accumulator;

/// Steps between neighbors, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strides {
    /// From a row to the next.
    pub row: usize,
    /// From a column to the next.
    pub column: usize,
}

/// What is to be multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The dtype of A and B; that of C is [`output_dtype`]`(dtype)`.
    pub dtype: DType,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Strides of A.
    pub a: Strides,
    /// Strides of B.
    pub b: Strides,
    /// Elements from a row of C to the next; its columns are neighbors.
    pub c_row_stride: usize,
    /// C += A·B instead of C = A·B.
    pub accumulate: bool,
}

impl Problem {
    /// C = A·B with all three row-major and without gaps.
    pub fn new(dtype: DType, m: usize, k: usize, n: usize) -> Problem {
        let a = Strides { row: k, column: 1 };
        let b = Strides { row: n, column: 1 };
        Problem { dtype, m, k, n, a, b, c_row_stride: n, accumulate: false }
    }

    /// A lies in memory as its transpose, `[k, m]` row-major without gaps.
    pub fn transpose_a(self) -> Problem {
        Problem { a: Strides { row: 1, column: self.m }, ..self }
    }

    /// B lies in memory as its transpose, `[n, k]` row-major without gaps.
    pub fn transpose_b(self) -> Problem {
        Problem { b: Strides { row: 1, column: self.k }, ..self }
    }

    /// C += A·B.
    pub fn accumulate(self) -> Problem {
        Problem { accumulate: true, ..self }
    }

    /// Multiplications and additions, counted apart.
    pub fn flops(&self) -> u64 {
        2 * self.m as u64 * self.k as u64 * self.n as u64
    }

    /// Elements of A, B and C from the first to the last that is touched.
    fn extents(&self) -> [usize; 3] {
        let extent = |rows: usize, columns: usize, strides: Strides| match (rows, columns) {
            (0, _) | (_, 0) => 0,
            _ => {
                let down = (rows - 1).saturating_mul(strides.row);
                let across = (columns - 1).saturating_mul(strides.column);
                down.saturating_add(across).saturating_add(1)
            }
        };
        let c = Strides { row: self.c_row_stride, column: 1 };
        [extent(self.m, self.k, self.a), extent(self.k, self.n, self.b), extent(self.m, self.n, c)]
    }
}

/// The dtype of C for operands of `dtype`: f32 for f16 and bf16, which are accumulated in f32 and left to the caller to
/// round; `dtype` itself for the others.
pub const fn output_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U8 | DType::Bool => dtype,
    }
}

/// Of scratch memory, in bytes: a cache line.
pub(crate) const ALIGNMENT: usize = 64;

/// The longest panel.
const MAX_PANEL: usize = 512;

/// The number of products of an element that are added up in one go: k in as few equal parts as have at most 512; the
/// last part may be shorter.
pub const fn panel_length(k: usize) -> usize {
    match k.div_ceil(MAX_PANEL) {
        0 => 1,
        panels => k.div_ceil(panels),
    }
}

/// The instruction set that computes a product: `isa`, or that of its vectors where its matrix units would take longer. The costs
/// are those beside another program; a core alone is faster on both, on units most.
fn chosen(problem: &Problem, isa: Isa, b_is_packed: bool) -> Isa {
    /// Nanoseconds to pack a number in pieces, to begin and to write a tile, and for a thousand operations on units and on
    /// vectors: what fits 25 products of 32 to 1000 rows best, on a core that another program shares.
    const PACKING: f64 = 0.64;
    const TILE: f64 = 200.0;
    const ON_UNITS: f64 = 8.4;
    const ON_VECTORS: f64 = 14.5;

    let Problem { dtype, m, k, n, .. } = *problem;
    if isa != Isa::Amx || dtype != DType::F32 {
        return isa.of_vectors();
    }
    let tile = f32::kernels(isa).sizes();
    let panels = k.div_ceil(panel_length(k));
    let (row_tiles, column_tiles) = (m.div_ceil(tile.rows), n.div_ceil(2 * tile.lanes));
    let (rows, columns) = ((row_tiles * tile.rows) as f64, (column_tiles * 2 * tile.lanes) as f64);
    let steps = (panels * panel_length(k).next_multiple_of(tile.form.block)) as f64;
    let tiles = (row_tiles * column_tiles * panels) as f64;
    let packed_columns = if b_is_packed { 0.0 } else { columns };
    let packing = PACKING * steps * (rows + packed_columns);
    let on_units = packing + TILE * tiles + ON_UNITS * 2e-3 * rows * steps * columns;
    let on_vectors = ON_VECTORS * 2e-3 * m as f64 * k as f64 * n.next_multiple_of(tile.lanes) as f64;
    if on_units <= on_vectors { isa } else { isa.of_vectors() }
}

/// A finished block of C.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub columns: Range<usize>,
    /// Where C would begin if all of it lay as this block does: element (i, j) of the block is `i * c_row_stride + j`
    /// elements further on, with the [`c_row_stride`](Matmul::c_row_stride) of the plan.
    pub c: *mut u8,
    /// Who has computed it.
    pub worker: usize,
}

/// What comes after a multiply.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    /// Called with each finished block of C while it is still in cache. The blocks cover C without overlap. It may read
    /// and write the block.
    pub finish: &'a dyn Fn(Finished),
    /// What it reads and writes besides, to be fetched while the block is computed.
    pub fetched: &'a [Rows],
}

impl std::fmt::Debug for Epilogue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epilogue").field("fetched", &self.fetched).finish_non_exhaustive()
    }
}

/// A matrix of the form of C whose columns are neighbors in memory.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Element (0, 0).
    pub first: *const u8,
    /// Bytes from a row to the next.
    pub row_bytes: usize,
    /// Bytes of an element.
    pub element_bytes: usize,
    /// Whether it is written.
    pub is_written: bool,
}

/// The first elements of the matrices, of the plan's dtypes.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// A.
    pub a: *const u8,
    /// B, or B packed if the plan has [`with_packed_b`](Matmul::with_packed_b).
    pub b: *const u8,
    /// C; not looked at if the plan has [`with_c_in_scratch`](Matmul::with_c_in_scratch).
    pub c: *mut u8,
}

// SAFETY: plain addresses; what may be done with them is the contract of the functions that take them.
unsafe impl Send for Operands {}
// SAFETY: as above.
unsafe impl Sync for Operands {}

/// Scratch memory, aligned to 64 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// The packed copy of A that all workers read: [`shared_scratch_bytes`](Matmul::shared_scratch_bytes).
    pub shared: *mut u8,
    /// What one worker has to itself: [`worker_scratch_bytes`](Matmul::worker_scratch_bytes).
    pub own: *mut u8,
}

/// A plan for a matrix multiply.
///
/// ```
/// use thalweg_array::DType;
/// use thalweg_kernels::cpu::Isa;
/// use thalweg_kernels::matmul::{Matmul, Problem};
/// use thalweg_kernels::pool::Pool;
///
/// let pool = Pool::new(1)?;
/// let plan = Matmul::new(Problem::new(DType::F32, 2, 3, 2), Isa::best());
/// let mut scratch = vec![0; plan.scratch_bytes(pool.threads())];
/// let mut c = [0.0f32; 4];
/// let (a, b) = ([1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0]);
/// plan.multiply(&pool, &a, &b, &mut c, &mut scratch);
/// assert_eq!(c, [4.0, 5.0, 10.0, 11.0]);
/// # Ok::<(), thalweg_kernels::pool::PoolError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matmul {
    problem: Problem,
    /// What the caller has asked for,
    asked: Isa,
    /// and what is used of it.
    isa: Isa,
    packed_b: bool,
    c_in_scratch: bool,
    partition: Partition,
}

impl Matmul {
    /// A plan for `problem` on `isa`.
    ///
    /// # Panics
    /// If `isa` is not available here, if the rows of C overlap, or for bool, which has no product.
    #[track_caller]
    pub fn new(problem: Problem, isa: Isa) -> Matmul {
        assert!(isa.is_available(), "this processor has no {isa}");
        assert!(problem.dtype != DType::Bool, "a matrix multiply of bool; cast to an integer first");
        let Problem { m, n, c_row_stride, .. } = problem;
        assert!(
            m <= 1 || c_row_stride >= n,
            "rows of C of {n} elements overlap, with {c_row_stride} from one to the next"
        );
        Matmul::on(problem, isa, chosen(&problem, isa, false), false)
    }

    /// A plan by the kernels of `isa`.
    fn on(problem: Problem, asked: Isa, isa: Isa, packed_b: bool) -> Matmul {
        let partition = Partition::new(&problem, isa, packed_b);
        Matmul { problem, asked, isa, packed_b, c_in_scratch: false, partition }
    }

    /// The same plan for a B that [`pack_b`](Matmul::pack_b) has packed, which pays where B stays the same over many runs. It may
    /// use matrix units where the plan itself does not, as their packing costs more.
    ///
    /// # Panics
    /// For integers, which are never packed.
    #[track_caller]
    pub fn with_packed_b(&self) -> Matmul {
        assert!(self.problem.dtype.is_float(), "a packed B of {}; only floats are packed", self.problem.dtype);
        if self.packed_b {
            return self.clone();
        }
        let isa = chosen(&self.problem, self.asked, true);
        Matmul::on(self.problem, self.asked, isa, true).placing_c(self.c_in_scratch)
    }

    /// The same plan in one chunk, for callers whose threads have products of their own: what is packed is packed once.
    #[must_use]
    pub fn in_one_chunk(&self) -> Matmul {
        let mut whole = self.clone();
        whole.partition.leave_whole();
        whole.placing_c(self.c_in_scratch)
    }

    /// The same plan without a C in memory: only an epilogue gets to see it, block by block in scratch memory.
    ///
    /// # Panics
    /// If the plan accumulates, which needs a C that is there.
    #[track_caller]
    pub fn with_c_in_scratch(&self) -> Matmul {
        assert!(!self.problem.accumulate, "a product that is added to C, without a C");
        self.clone().placing_c(true)
    }

    /// The same plan for a B that no cache holds, as it was written past them: where it is read in place, it is fetched while
    /// tiles go down its panels, one after the other.
    pub fn with_distant_b(&self) -> Matmul {
        let mut distant = self.clone();
        distant.partition.put_b_far_away();
        distant
    }

    /// The same plan for a C that threads would have to call back from each other's caches: where it is aligned to 64 bytes and
    /// ready after one panel of k, it is written past them if the processor can.
    pub fn with_c_past_caches(&self) -> Matmul {
        let mut past = self.clone();
        if matches!(self.isa, Isa::Avx2 | Isa::Avx512) {
            past.partition.put_c_past_caches();
        }
        past
    }

    fn placing_c(mut self, in_scratch: bool) -> Matmul {
        self.c_in_scratch = in_scratch;
        if in_scratch {
            self.partition.put_c_in_scratch();
        }
        self
    }

    /// Elements from a row to the next of the C that an epilogue sees.
    pub fn c_row_stride(&self) -> usize {
        match (self.partition.swapped, self.partition.c_in_scratch) {
            // A single column: its elements are neighbors.
            (true, _) => 1,
            (false, Some(c)) => c.row_stride,
            (false, None) => self.problem.c_row_stride,
        }
    }

    /// What the plan computes.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The number of independent parts; 1 where the work is too little to share.
    pub fn chunks(&self) -> usize {
        self.partition.chunks()
    }

    /// Bytes of scratch memory that a run on a pool of `threads` needs, of any alignment.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        match self.shared_scratch_bytes() + self.worker_scratch_bytes() * threads.min(self.chunks()) {
            0 => 0,
            bytes => bytes + ALIGNMENT,
        }
    }

    /// Bytes of scratch memory that all workers share, a multiple of 64, for callers of [`run_chunk`](Matmul::run_chunk).
    pub fn shared_scratch_bytes(&self) -> usize {
        let bytes = self.partition.packed_a_elements() * output_dtype(self.problem.dtype).size();
        bytes.next_multiple_of(ALIGNMENT)
    }

    /// Bytes of scratch memory of one worker, a multiple of 64, for callers of [`run_chunk`](Matmul::run_chunk).
    pub fn worker_scratch_bytes(&self) -> usize {
        let bytes = self.partition.scratch_elements() * output_dtype(self.problem.dtype).size();
        bytes.next_multiple_of(ALIGNMENT)
    }

    /// Multiplies slices.
    ///
    /// # Panics
    /// If a dtype is not the plan's or a slice is too short.
    #[track_caller]
    pub fn multiply<S: Element, T: Element>(&self, pool: &Pool, a: &[S], b: &[S], c: &mut [T], scratch: &mut [u8]) {
        assert_eq!((S::DTYPE, T::DTYPE), (self.problem.dtype, output_dtype(self.problem.dtype)), "dtypes");
        assert!(!self.packed_b, "this plan takes a packed B: call `run`");
        let needed = self.problem.extents();
        for (name, needed, length) in [("A", needed[0], a.len()), ("B", needed[1], b.len()), ("C", needed[2], c.len())]
        {
            assert!(length >= needed, "{name} has {length} elements, the multiply reaches {needed}");
        }
        let operands = Operands { a: a.as_ptr().cast(), b: b.as_ptr().cast(), c: c.as_mut_ptr().cast() };
        // SAFETY: the dtypes and lengths were checked, and `c` is borrowed for writing.
        unsafe { self.run(pool, operands, scratch, None) }
    }

    /// Multiplies on all threads of the pool; `finish` is called for each finished block of C.
    ///
    /// # Panics
    /// If the scratch memory is too small. A panic of `finish` goes on in the caller, as [`Pool::run`] says.
    ///
    /// # Safety
    /// The operands point to elements of the plan's dtypes, initialized in A and B (and in C if the plan accumulates), at
    /// all positions that sizes and strides give; nobody writes to A or B and nobody but `finish`, in its block,
    /// reads or writes C meanwhile.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        operands: Operands,
        scratch: &mut [u8],
        finish: Option<&(dyn Fn(Finished) + Sync)>,
    ) {
        let threads = pool.threads().min(self.chunks()).max(1);
        let needed = self.scratch_bytes(threads);
        assert!(scratch.len() >= needed, "{} bytes of scratch memory, {needed} are needed", scratch.len());
        let memory = Memory::new(scratch, self.shared_scratch_bytes(), self.worker_scratch_bytes());
        // SAFETY (both blocks): a worker is in one call at a time and has its own part of the scratch memory, whose size was
        // checked; packing is over when multiplying begins; the rest is what our caller promised.
        match self.packing_chunks() {
            0 => {}
            chunks => pool.run(chunks, &|chunk, _| unsafe { self.pack_chunk(chunk, operands, memory.of(0)) }),
        }
        pool.run(self.chunks(), &|chunk, worker| unsafe {
            let epilogue = finish.map(|finish| Epilogue { finish, fetched: &[] });
            self.run_chunk(chunk, operands, memory.of(worker), epilogue, worker);
        });
    }

    /// The number of independent parts of the work that comes before the first [`run_chunk`](Matmul::run_chunk): packing
    /// A. 0 if A is read in place.
    pub fn packing_chunks(&self) -> usize {
        self.partition.packing_chunks()
    }

    /// One of the [`packing_chunks`](Matmul::packing_chunks).
    ///
    /// # Safety
    /// As for [`run_chunk`](Matmul::run_chunk), of which none runs meanwhile on this scratch memory.
    pub unsafe fn pack_chunk(&self, chunk: usize, operands: Operands, scratch: Scratch) {
        let (plan, isa) = (&self.partition, self.isa);
        let operands = self.in_order(operands);
        // SAFETY: what our caller promised; the dtype is that of the plan.
        unsafe {
            match self.problem.dtype {
                DType::F32 => block::pack_a::<f32>(plan, isa, chunk, operands, scratch),
                DType::F64 => block::pack_a::<f64>(plan, isa, chunk, operands, scratch),
                DType::F16 => block::pack_a::<f16>(plan, isa, chunk, operands, scratch),
                DType::BF16 => block::pack_a::<bf16>(plan, isa, chunk, operands, scratch),
                DType::I32 | DType::I64 | DType::U8 | DType::Bool => {
                    unreachable!("integers are never packed")
                }
            }
        }
    }

    /// One of the [`chunks`](Matmul::chunks), for callers that share out several multiplies in one run of a pool, as those
    /// of a batch. `worker` is handed to the epilogue.
    ///
    /// # Safety
    /// As for [`run`](Matmul::run); all [`packing_chunks`](Matmul::packing_chunks) are done; and `scratch` points to memory
    /// of the sizes that it names, of which nobody else uses the worker's own part meanwhile.
    pub unsafe fn run_chunk(
        &self,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        epilogue: Option<Epilogue<'_>>,
        worker: usize,
    ) {
        let Some((rows, columns)) = self.partition.block(chunk) else { return };
        let (plan, isa) = (&self.partition, self.isa);
        let operands = self.in_order(operands);
        let finish = epilogue.map(|epilogue| {
            move |rows, columns, c| {
                let (rows, columns) = if plan.swapped { (columns, rows) } else { (rows, columns) };
                (epilogue.finish)(Finished { rows, columns, c, worker });
            }
        });
        let fetched = epilogue.map_or(&[][..], |epilogue| if plan.swapped { &[] } else { epilogue.fetched });
        let after = finish.as_ref().map(|finish| block::After { finish, fetched });
        // SAFETY: what our caller promised; the dtype is that of the plan.
        unsafe {
            match self.problem.dtype {
                DType::F32 => block::multiply::<f32>(plan, isa, rows, columns, operands, scratch, after),
                DType::F64 => block::multiply::<f64>(plan, isa, rows, columns, operands, scratch, after),
                DType::F16 => block::multiply::<f16>(plan, isa, rows, columns, operands, scratch, after),
                DType::BF16 => block::multiply::<bf16>(plan, isa, rows, columns, operands, scratch, after),
                DType::I32 => integer::multiply::<i32>(plan, rows, columns, operands, scratch, after),
                DType::I64 => integer::multiply::<i64>(plan, rows, columns, operands, scratch, after),
                DType::U8 => integer::multiply::<u8>(plan, rows, columns, operands, scratch, after),
                DType::Bool => unreachable!("`Matmul::new` has refused bool"),
            }
        }
    }

    /// The operands as the partition sees them.
    fn in_order(&self, operands: Operands) -> Operands {
        if self.partition.swapped { Operands { a: operands.b, b: operands.a, c: operands.c } } else { operands }
    }

    /// Whether each run packs B, which [`with_packed_b`](Matmul::with_packed_b) saves.
    pub fn packs_b(&self) -> bool {
        self.partition.packing_of_b == Packing::PartByPart && !self.partition.swapped
    }

    /// The plan by which B is packed, which knows nothing of A and C: two plans with equal ones take the same packed B.
    pub fn b_packer(&self) -> Matmul {
        let Problem { n, .. } = self.problem;
        let one_row =
            Problem { m: 1, a: Strides { row: 0, column: 1 }, c_row_stride: n, accumulate: false, ..self.problem };
        let isa = self.with_packed_b().isa;
        Matmul::on(one_row, isa, isa, true)
    }

    /// Bytes of a packed B.
    pub fn packed_b_bytes(&self) -> usize {
        self.with_packed_b().partition.packed_b_elements() * output_dtype(self.problem.dtype).size()
    }

    /// Packs B for [`with_packed_b`](Matmul::with_packed_b). The layout depends on k, n, dtype and on whether matrix units are used.
    ///
    /// # Panics
    /// If `packed` is smaller than [`packed_b_bytes`](Matmul::packed_b_bytes) or not aligned to 8 bytes.
    ///
    /// # Safety
    /// `b` points to a B as [`run`](Matmul::run) wants it.
    pub unsafe fn pack_b(&self, pool: &Pool, b: *const u8, packed: &mut [u8]) {
        let plan = self.with_packed_b();
        let needed = plan.packed_b_bytes();
        assert!(packed.len() >= needed, "{} bytes for a packed B, {needed} are needed", packed.len());
        assert!(packed.as_ptr().addr().is_multiple_of(8), "a packed B that is not aligned to 8 bytes");
        let operands = Operands { a: std::ptr::null(), b, c: packed.as_mut_ptr() };
        pool.run(plan.partition.packed_b_panels(), &|panel, _| {
            let (plan, isa) = (&plan.partition, plan.isa);
            // SAFETY: each panel has its own place in `packed`; the rest is what our caller promised.
            unsafe {
                match self.problem.dtype {
                    DType::F32 => block::pack_b_panel::<f32>(plan, isa, panel, operands),
                    DType::F64 => block::pack_b_panel::<f64>(plan, isa, panel, operands),
                    DType::F16 => block::pack_b_panel::<f16>(plan, isa, panel, operands),
                    DType::BF16 => block::pack_b_panel::<bf16>(plan, isa, panel, operands),
                    DType::I32 | DType::I64 | DType::U8 | DType::Bool => {
                        unreachable!("`with_packed_b` has refused integers")
                    }
                }
            }
        });
    }

    /// What runs, in a line for profiles: `14x32 avx512, A B packed, 16 chunks`, with rows and columns of a tile.
    pub fn describe(&self) -> String {
        let Partition { packing_of_a, packing_of_b, swapped, panel_columns, .. } = self.partition;
        let (pack_a, packs_b) = (packing_of_a != Packing::InPlace, packing_of_b == Packing::PartByPart);
        let packing = match if swapped { (packs_b, pack_a) } else { (pack_a, packs_b) } {
            (true, true) => ", A B packed",
            (true, false) => ", A packed",
            (false, true) => ", B packed",
            (false, false) => "",
        };
        let before = if self.packed_b { ", B packed before" } else { "" };
        let from = if self.partition.b_is_distant { ", B from memory" } else { "" };
        let to = if self.partition.c_goes_past_caches() { ", C past the caches" } else { "" };
        let kernel = if self.problem.dtype.is_float() {
            format!("{}x{panel_columns} {}", self.partition.tile_rows(), self.isa)
        } else {
            format!("{} portable", self.problem.dtype)
        };
        let chunks = self.chunks();
        format!("{kernel}{packing}{before}{from}{to}, {chunks} chunk{}", if chunks == 1 { "" } else { "s" })
    }
}

/// The scratch memory of a run: the shared part, then one of each worker.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    start: *mut u8,
    shared: usize,
    own: usize,
}

// SAFETY: each worker touches its own part only, and of the shared one what the plan gives it.
unsafe impl Sync for Memory {}

impl Memory {
    /// The largest aligned part of `scratch`, which has room for the shared part and all workers.
    pub(crate) fn new(scratch: &mut [u8], shared: usize, own: usize) -> Memory {
        Memory { start: block::align(scratch.as_mut_ptr()), shared, own }
    }

    pub(crate) fn of(&self, worker: usize) -> Scratch {
        Scratch { shared: self.start, own: self.start.wrapping_add(self.shared + worker * self.own) }
    }
}
