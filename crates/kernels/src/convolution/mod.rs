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
//! | `taps.rs` | which pixels of the source those of the result read |
//! | `lines.rs` | lines of few channels, with zeros around them |
//! | `gather.rs` | what the pixels read, as rows of a matrix |
//! | `direct.rs` | output and input side: gathered rows times the weight |
//! | `gradient.rs`, `pieces.rs` | weight side: gathered rows, transposed, times y |
//! | `depthwise.rs` | as many groups as channels |
//! | `winograd/` | 3 x 3 kernels with fewer multiplications |
//! | `routines.rs` | the table of instances |

mod depthwise;
mod direct;
mod gather;
mod gradient;
mod lines;
mod pieces;
#[cfg(test)]
mod plain;
mod problem;
mod routines;
mod taps;
#[cfg(test)]
mod tests;
mod winograd;

use std::ops::Range;

use thalweg_array::{DType, bf16, f16};

use crate::cpu::Isa;
use crate::matmul::source::Source;
use crate::matmul::tile::Accumulator;
use crate::matmul::{
    ALIGNMENT, Epilogue, Finished, Matmul, Memory, Operands, Problem as Product, Scratch, output_dtype,
};
use crate::pool::Pool;
use depthwise::{Depthwise, DepthwiseGradient};
use direct::Direct;
use gradient::Gradient;
pub use problem::{Axis, Problem, Side, Winograd};
use routines::Routine;
use winograd::{Algorithm, WinogradGradient, WinogradProduct};

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
    method: Method,
    phases: Vec<usize>,
    packed_weight: bool,
    c_in_scratch: bool,
}

/// How the result is computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Method {
    /// A kernel of one tap over all pixels: pixels by channels times channels by channels, in place.
    Product(Box<Matmul>),
    /// [`Side::Output`] and [`Side::Input`] in general.
    Direct(Box<Direct>),
    /// [`Side::Weight`] in general.
    Gradient(Box<Gradient>),
    /// [`Side::Output`] and [`Side::Input`] by Winograd's algorithm.
    WinogradProduct(Box<WinogradProduct>),
    /// [`Side::Weight`] by Winograd's algorithm.
    WinogradGradient(Box<WinogradGradient>),
    /// [`Side::Output`] and [`Side::Input`], channel by channel.
    Depthwise(Box<Depthwise>),
    /// [`Side::Weight`], channel by channel.
    DepthwiseGradient(Box<DepthwiseGradient>),
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
        let algorithm = winograd::best(&problem);
        Convolution::by(problem, isa, algorithm)
    }

    /// A plan with Winograd's algorithm where one is given and the problem is not for a method of its own.
    fn by(problem: Problem, isa: Isa, algorithm: Option<Algorithm>) -> Convolution {
        let sum = output_dtype(problem.dtype);
        // All but plain products work on vectors.
        let (isa, isa_of_products) = (isa.of_vectors(), isa);
        let tile = if sum == DType::F64 { f64::kernels(isa).sizes() } else { f32::kernels(isa).sizes() };
        let method = match (problem.side, algorithm) {
            _ if problem.is_product() => Method::Product(Box::new(Matmul::new(product(&problem), isa_of_products))),
            (Side::Output | Side::Input, _) if depthwise::fits(&problem) => {
                Method::Depthwise(Box::new(Depthwise::new(&problem)))
            }
            (Side::Weight, _) if depthwise::fits(&problem) => {
                Method::DepthwiseGradient(Box::new(DepthwiseGradient::new(&problem)))
            }
            (Side::Output | Side::Input, Some(algorithm)) => {
                Method::WinogradProduct(Box::new(WinogradProduct::new(&problem, algorithm, tile)))
            }
            (Side::Weight, Some(_)) => Method::WinogradGradient(Box::new(WinogradGradient::new(&problem, tile))),
            (Side::Output | Side::Input, None) => Method::Direct(Box::new(Direct::new(&problem, tile))),
            (Side::Weight, None) => Method::Gradient(Box::new(Gradient::new(&problem, tile, problem.dtype != sum))),
        };
        let plan = Convolution { problem, isa, method, phases: Vec::new(), packed_weight: false, c_in_scratch: false };
        plan.with_phases()
    }

    /// The same plan for a weight that [`pack_weight`](Convolution::pack_weight) has packed, which pays where the weight
    /// stays the same over many runs.
    ///
    /// # Panics
    /// For [`Side::Weight`], whose weight is the result.
    #[track_caller]
    pub fn with_packed_weight(&self) -> Convolution {
        assert!(self.problem.side != Side::Weight, "a packed weight for the gradient to the weight");
        let method = match &self.method {
            Method::Product(product) => Method::Product(Box::new(product.with_packed_b())),
            method => method.clone(),
        };
        Convolution { packed_weight: true, method, ..self.clone() }.with_phases()
    }

    /// The same plan without a result in memory: only an epilogue gets to see it, block by block in scratch memory.
    pub fn with_c_in_scratch(&self) -> Convolution {
        let mut method = self.method.clone();
        match &mut method {
            Method::Product(product) => **product = product.with_c_in_scratch(),
            Method::Direct(direct) => direct.put_c_in_scratch(),
            Method::Gradient(gradient) => gradient.pieces.c_in_scratch = true,
            Method::WinogradProduct(product) => product.put_c_in_scratch(),
            Method::WinogradGradient(gradient) => gradient.pieces.c_in_scratch = true,
            Method::Depthwise(depthwise) => depthwise.c_in_scratch = true,
            Method::DepthwiseGradient(gradient) => gradient.pieces.c_in_scratch = true,
        }
        Convolution { c_in_scratch: true, method, ..self.clone() }.with_phases()
    }

    fn with_phases(mut self) -> Convolution {
        self.phases = match &self.method {
            Method::Product(product) => vec![product.packing_chunks(), product.chunks()],
            Method::Direct(direct) if self.packed_weight => vec![direct.chunks()],
            Method::Direct(direct) => vec![direct.packing_chunks(), direct.chunks()],
            Method::Gradient(gradient) => vec![gradient.chunks(), gradient.pieces.chunks()],
            Method::WinogradProduct(product) if self.packed_weight => vec![product.chunks()],
            Method::WinogradProduct(product) => vec![product.packing_chunks(), product.chunks()],
            Method::WinogradGradient(gradient) => vec![gradient.chunks(), gradient.pieces.chunks()],
            Method::Depthwise(depthwise) if self.packed_weight => vec![depthwise.chunks()],
            Method::Depthwise(depthwise) => vec![1, depthwise.chunks()],
            Method::DepthwiseGradient(gradient) => vec![gradient.chunks(), gradient.pieces.chunks()],
        };
        self
    }

    /// What the plan computes.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Elements from a row to the next of the result that an epilogue sees.
    pub fn c_row_stride(&self) -> usize {
        match &self.method {
            Method::Product(product) => product.c_row_stride(),
            Method::Direct(direct) => direct.c_row_stride(),
            Method::WinogradProduct(product) => product.c_row_stride(),
            Method::Depthwise(depthwise) => depthwise.c_row_stride(),
            Method::Gradient(_) | Method::WinogradGradient(_) | Method::DepthwiseGradient(_) => {
                self.problem.result()[1]
            }
        }
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
        self.bytes(match &self.method {
            Method::Product(product) => return product.shared_scratch_bytes(),
            Method::Direct(_) if self.packed_weight => 0,
            Method::Direct(direct) => direct.packed_elements(),
            Method::Gradient(gradient) => gradient.pieces.scratch_elements(),
            Method::WinogradProduct(_) if self.packed_weight => 0,
            Method::WinogradProduct(product) => product.packed_elements(),
            Method::WinogradGradient(gradient) => gradient.pieces.scratch_elements(),
            Method::Depthwise(_) if self.packed_weight => 0,
            Method::Depthwise(depthwise) => depthwise.packed_elements(),
            Method::DepthwiseGradient(gradient) => gradient.pieces.scratch_elements(),
        })
    }

    /// Bytes of scratch memory of one worker, a multiple of 64.
    pub fn worker_scratch_bytes(&self) -> usize {
        self.bytes(match &self.method {
            Method::Product(product) => return product.worker_scratch_bytes(),
            Method::Direct(direct) => direct.scratch_elements(),
            Method::Gradient(gradient) => gradient.scratch_elements(),
            Method::WinogradProduct(product) => product.scratch_elements(),
            Method::WinogradGradient(gradient) => gradient.scratch_elements(),
            Method::Depthwise(depthwise) => depthwise.scratch_elements(),
            Method::DepthwiseGradient(gradient) => gradient.scratch_elements(),
        })
    }

    /// Whole cache lines for so many elements that sums are made of.
    fn bytes(&self, elements: usize) -> usize {
        (elements * output_dtype(self.problem.dtype).size()).next_multiple_of(ALIGNMENT)
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
                let epilogue = finish.map(|finish| Epilogue { finish, fetched: &[] });
                self.run_chunk(phase, chunk, operands, memory.of(worker), epilogue, worker);
            });
        }
    }

    /// One of the chunks of a phase, for callers that share out the work themselves. `epilogue` is called in the last
    /// phase, with `worker`; its blocks are neighboring rows of some columns.
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
        let is_last = phase + 1 == self.phases.len();
        // SAFETY (both blocks): what our caller promised; the dtype is that of the plan.
        if let Method::Product(product) = &self.method {
            let Operands { a, b, c } = operands;
            let operands = if self.problem.side == Side::Weight { Operands { a: b, b: a, c } } else { operands };
            return unsafe {
                if is_last {
                    product.run_chunk(chunk, operands, scratch, epilogue, worker);
                } else {
                    product.pack_chunk(chunk, operands, scratch);
                }
            };
        }
        let finish = epilogue
            .filter(|_| is_last)
            .map(|epilogue| move |rows, columns, c| (epilogue.finish)(Finished { rows, columns, c, worker }));
        let finish = finish.as_ref().map(|finish| finish as Finish<'_>);
        unsafe {
            match self.problem.dtype {
                DType::F32 => self.compute::<f32>(is_last, chunk, operands, scratch, finish),
                DType::F64 => self.compute::<f64>(is_last, chunk, operands, scratch, finish),
                DType::F16 => self.compute::<f16>(is_last, chunk, operands, scratch, finish),
                DType::BF16 => self.compute::<bf16>(is_last, chunk, operands, scratch, finish),
                DType::I32 | DType::I64 | DType::U8 | DType::Bool => {
                    unreachable!("`Convolution::new` has refused them")
                }
            }
        }
    }

    /// # Safety
    /// As for [`run_chunk`](Convolution::run_chunk), for operands of elements `S`.
    unsafe fn compute<S: Source<Sum: Routine>>(
        &self,
        is_last: bool,
        chunk: usize,
        operands: Operands,
        scratch: Scratch,
        finish: Option<Finish<'_>>,
    ) {
        let isa = self.isa;
        // SAFETY: our caller's promise.
        unsafe {
            match &self.method {
                Method::Product(_) => unreachable!("a product runs by itself"),
                Method::Direct(direct) if is_last => {
                    let b = if self.packed_weight { operands.b } else { scratch.shared };
                    direct.multiply::<S>(isa, chunk, Operands { b, ..operands }, scratch, finish);
                }
                Method::Direct(direct) => {
                    direct.pack_chunk::<S>(isa, chunk, operands.b.cast(), scratch.shared.cast());
                }
                Method::Gradient(gradient) if is_last => {
                    gradient.pieces.add_up::<S::Sum>(isa, chunk, operands, scratch, finish);
                }
                Method::Gradient(gradient) => gradient.multiply::<S>(isa, chunk, operands, scratch),
                // What follows is for elements that are sums.
                Method::WinogradProduct(product) if is_last => {
                    let b = if self.packed_weight { operands.b } else { scratch.shared };
                    product.multiply::<S::Sum>(isa, chunk, Operands { b, ..operands }, scratch, finish);
                }
                Method::WinogradProduct(product) => {
                    product.pack_chunk::<S::Sum>(isa, chunk, operands.b.cast(), scratch.shared.cast());
                }
                Method::WinogradGradient(gradient) if is_last => {
                    gradient.pieces.add_up::<S::Sum>(isa, chunk, operands, scratch, finish);
                }
                Method::WinogradGradient(gradient) => gradient.multiply::<S::Sum>(isa, chunk, operands, scratch),
                Method::Depthwise(depthwise) if is_last => {
                    let b = if self.packed_weight { operands.b } else { scratch.shared };
                    depthwise.multiply::<S::Sum>(isa, chunk, Operands { b, ..operands }, scratch, finish);
                }
                Method::Depthwise(depthwise) => {
                    depthwise.pack::<S::Sum>(isa, operands.b.cast(), scratch.shared.cast());
                }
                Method::DepthwiseGradient(gradient) if is_last => {
                    gradient.pieces.add_up::<S::Sum>(isa, chunk, operands, scratch, finish);
                }
                Method::DepthwiseGradient(gradient) => gradient.multiply::<S::Sum>(isa, chunk, operands, scratch),
            }
        }
    }

    /// Whether each run packs the weight, which [`with_packed_weight`](Convolution::with_packed_weight) saves.
    pub fn packs_weight(&self) -> bool {
        match &self.method {
            Method::Product(product) => self.problem.side != Side::Weight && product.packs_b(),
            Method::Direct(_) | Method::WinogradProduct(_) | Method::Depthwise(_) => !self.packed_weight,
            Method::Gradient(_) | Method::WinogradGradient(_) | Method::DepthwiseGradient(_) => false,
        }
    }

    /// The plan by which the weight is packed, which knows nothing of the batch: two plans with equal ones take the same
    /// packed weight.
    pub fn weight_packer(&self) -> Convolution {
        let algorithm = match &self.method {
            Method::WinogradProduct(product) => Some(product.algorithm()),
            Method::Product(_)
            | Method::Direct(_)
            | Method::Gradient(_)
            | Method::WinogradGradient(_)
            | Method::Depthwise(_)
            | Method::DepthwiseGradient(_) => None,
        };
        Convolution::by(Problem { batch: 1, winograd: Winograd::Never, ..self.problem.clone() }, self.isa, algorithm)
    }

    /// Bytes of a packed weight.
    pub fn packed_weight_bytes(&self) -> usize {
        match &self.method {
            Method::Product(product) => product.packed_b_bytes(),
            Method::Direct(direct) => self.bytes(direct.packed_elements()),
            Method::WinogradProduct(product) => self.bytes(product.packed_elements()),
            Method::Depthwise(depthwise) => self.bytes(depthwise.packed_elements()),
            Method::Gradient(_) | Method::WinogradGradient(_) | Method::DepthwiseGradient(_) => 0,
        }
    }

    /// Packs a weight for [`with_packed_weight`](Convolution::with_packed_weight). The layout depends on the problem, but
    /// for its batch, and on the instruction set.
    ///
    /// # Panics
    /// If `packed` is smaller than [`packed_weight_bytes`](Convolution::packed_weight_bytes) or not aligned to 8 bytes, and
    /// for [`Side::Weight`].
    ///
    /// # Safety
    /// `w` points to a weight as [`run`](Convolution::run) wants it.
    #[track_caller]
    pub unsafe fn pack_weight(&self, pool: &Pool, w: *const u8, packed: &mut [u8]) {
        let needed = self.packed_weight_bytes();
        assert!(packed.len() >= needed, "{} bytes for a packed weight, {needed} are needed", packed.len());
        assert!(packed.as_ptr().addr().is_multiple_of(8), "a packed weight that is not aligned to 8 bytes");
        // SAFETY: the size was checked; the rest is what our caller promised.
        if let Method::Product(product) = &self.method {
            return unsafe { product.pack_b(pool, w, packed) };
        }
        let plan = Convolution { packed_weight: false, ..self.clone() }.with_phases();
        let [chunks, _] = plan.phases[..] else { panic!("a packed weight for the gradient to the weight") };
        let operands = Operands { a: std::ptr::null(), b: w, c: packed.as_mut_ptr() };
        pool.run(chunks, &|chunk, worker| unsafe {
            let scratch = Scratch { shared: operands.c, own: std::ptr::null_mut() };
            plan.run_chunk(0, chunk, operands, scratch, None, worker);
        });
    }

    /// What runs, in a line for profiles: `direct avx512, 16 chunks`.
    pub fn describe(&self) -> String {
        let chunks = self.phases.iter().copied().max().unwrap_or(0);
        let name = match &self.method {
            Method::Product(product) => return format!("product {}", product.describe()),
            Method::Direct(_) => "direct",
            Method::Gradient(_) => "gathered",
            Method::WinogradProduct(product) => product.algorithm().name(),
            Method::WinogradGradient(_) => Algorithm::F2.name(),
            Method::Depthwise(_) | Method::DepthwiseGradient(_) => "depthwise",
        };
        let packed = if self.packed_weight { ", weight packed before" } else { "" };
        format!("{name} {}{packed}, {chunks} chunk{}", self.isa, if chunks == 1 { "" } else { "s" })
    }
}

/// What is called with finished rows and columns, and where the result would begin if all of it lay as they do.
type Finish<'a> = &'a dyn Fn(Range<usize>, Range<usize>, *mut u8);

/// A convolution with a single tap over all pixels as a matrix product.
fn product(problem: &Problem) -> Product {
    let Problem { dtype, in_channels, out_channels, .. } = *problem;
    let pixels = problem.elements()[0] / in_channels.max(1);
    match problem.side {
        Side::Output => Product::new(dtype, pixels, in_channels, out_channels).transpose_b(),
        Side::Input => Product::new(dtype, pixels, out_channels, in_channels),
        // yᵀ·x
        Side::Weight => Product::new(dtype, out_channels, pixels, in_channels).transpose_a(),
    }
}
