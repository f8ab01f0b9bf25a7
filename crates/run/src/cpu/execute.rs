//! [`Workspace`]: the memory of one run at a time, and the run.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use thalweg_kernels::cpu::FlushDenormals;
use thalweg_kernels::matmul;
use thalweg_kernels::movement::{IndexError, StridedCopy};
use thalweg_kernels::pool::Pool;
use thalweg_kernels::tile::{self, Draw, Operands, Partials};
use thalweg_plan::graph::array::{Element, with_dtype, with_elements};
use thalweg_plan::graph::{Array, DType, EvalError};
use thalweg_plan::{ALIGNMENT, Buffer, BufferId, Kernel, Place, Plan};

use super::loops::{self, Views};
use super::memory::{Block, OutOfMemory, Storage};
use super::packed::PackedOperand;
use super::prepare::{Convolution, Look, Prepared, Product, Step, Work};
use super::products::{OneConvolution, OneProduct};
use crate::error::RunError;
use crate::feed::{Feeds, Value};
use crate::variables::Variables;

/// The memory of one run at a time; it grows to what the largest plan needs and is used by all.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The arena, what the chunks of a call share, what each thread has to itself.
    memory: Block,
    /// Where each buffer of the plan is in this run.
    pub(super) bases: Vec<*mut u8>,
    /// And each packed operand.
    pub(super) packed: Vec<*const u8>,
    /// The same of plans that run inside others.
    pub(super) frames: Vec<Frame>,
    /// Operands of the call that runs.
    reads: Vec<*const u8>,
    writes: Vec<*mut u8>,
    /// Numbers that were fed alone, in the dtype of their placeholder.
    numbers: Vec<u64>,
    /// Feeds that came at an address their dtype does not allow.
    copies: Vec<Block>,
    /// The call that runs.
    call: usize,
    /// How long each call took, where that is asked for.
    pub(crate) times: Option<Vec<Duration>>,
}

// SAFETY: the addresses are only used by the run that writes them, which has the workspace to itself.
unsafe impl Send for Workspace {}

/// Where buffers and packed operands of a plan are.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) bases: Vec<*mut u8>,
    pub(super) packed: Vec<*const u8>,
}

/// What goes into a run and comes out of it.
#[derive(Debug)]
pub(crate) struct Inputs<'a, 'f> {
    pub(crate) feeds: &'a Feeds<'f>,
    /// For each feed of the plan its position among `feeds`.
    pub(crate) feed_positions: &'a [usize],
    /// For each variable of the plan its position among the session's.
    pub(crate) variable_positions: &'a [usize],
    pub(crate) draw: Draw,
}

/// Whether a run may write variables.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    /// Others may read as well.
    Shared(&'a Variables),
    /// Nobody else is there.
    Exclusive(&'a mut Variables),
}

impl Access<'_> {
    pub(crate) fn variables(&self) -> &Variables {
        match self {
            Access::Shared(variables) => variables,
            Access::Exclusive(variables) => variables,
        }
    }
}

/// Where the results of a run go; they have the dtypes and shapes of the plan's fetches.
#[derive(Debug)]
pub(crate) enum Results<'a> {
    /// An array for each fetch.
    Arrays(&'a mut [Array]),
    /// Memory for the only one.
    Block(&'a mut Block),
}

impl Results<'_> {
    /// Where fetch `number` goes, which is kept in `buffer`.
    fn address(&mut self, number: usize, buffer: &Buffer) -> *mut u8 {
        match self {
            Results::Arrays(arrays) => {
                let array = &mut arrays[number];
                assert_eq!(
                    (array.dtype(), array.shape()),
                    (buffer.dtype, &*buffer.shape),
                    "the caller has made room for fetch {number}: a bug in Thalweg"
                );
                with_elements!(array.storage_mut(), elements => elements.as_mut_ptr().cast())
            }
            Results::Block(block) => {
                assert_eq!((number, block.len()), (0, buffer.bytes()), "room for one fetch: a bug in Thalweg");
                block.start()
            }
        }
    }
}

/// The scratch memory of the threads of one call.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: each thread touches its own part only.
unsafe impl Sync for Scratch {}

impl Scratch {
    pub(super) fn of(&self, worker: usize) -> *mut u8 {
        self.start.wrapping_add(worker * self.bytes)
    }
}

/// The memory beside the arena.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// What the chunks of a call share.
    pub(super) shared: *mut u8,
    pub(super) scratch: Scratch,
    /// Where loops keep what they have packed.
    pub(super) held: *mut u8,
}

/// The ends of a copy.
#[derive(Clone, Copy)]
struct Ends {
    from: *const u8,
    to: *mut u8,
}

// SAFETY: plain addresses; chunks copy different elements.
unsafe impl Sync for Ends {}

impl Workspace {
    pub(crate) fn new() -> Workspace {
        Workspace {
            memory: Block::empty(),
            bases: Vec::new(),
            packed: Vec::new(),
            frames: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            numbers: Vec::new(),
            copies: Vec::new(),
            call: 0,
            times: None,
        }
    }

    /// Runs a plan. What `results` hold is overwritten.
    ///
    /// # Errors
    /// If the memory does not suffice, an index is out of bounds, or a kernel panics.
    pub(crate) fn run(
        &mut self,
        prepared: &Prepared,
        pool: &Pool,
        inputs: &Inputs<'_, '_>,
        access: &mut Access<'_>,
        results: Results<'_>,
    ) -> Result<(), RunError> {
        let plan = &*prepared.plan;
        assert!(
            plan.commit == plan.calls.len() || matches!(access, Access::Exclusive(_)),
            "a run that writes variables has them to itself: a bug in Thalweg"
        );
        let bytes = prepared.workspace_bytes(pool.threads());
        if bytes > self.memory.len() {
            self.memory.reserve(bytes).map_err(|refusal| out_of_memory(plan, refusal))?;
            self.memory.map(pool);
        }
        if cfg!(debug_assertions) {
            self.memory.poison();
        }
        self.resolve(plan, inputs, access.variables(), results)?;
        self.pack(prepared, inputs, access.variables(), pool)?;
        if let Access::Exclusive(variables) = access {
            for &number in &prepared.written {
                variables.outdate(inputs.variable_positions[number]);
            }
        }
        let _flush = FlushDenormals::new();
        // What a panic leaves behind is written before it is read by the next run.
        match catch_unwind(AssertUnwindSafe(|| self.calls(prepared, pool, inputs.draw))) {
            Ok(done) => done,
            Err(payload) => {
                let message = payload.downcast_ref::<String>().cloned();
                let message = message.or_else(|| payload.downcast_ref::<&str>().map(|text| text.to_string()));
                Err(RunError::Panic {
                    label: plan.calls[self.call].label.to_string(),
                    message: message.unwrap_or_else(|| "no message".into()),
                })
            }
        }
    }

    /// Runs a plan with one fetch, which becomes the numbers of a variable.
    ///
    /// # Errors
    /// As [`run`](Workspace::run).
    pub(crate) fn run_into_storage(
        &mut self,
        prepared: &Prepared,
        pool: &Pool,
        inputs: &Inputs<'_, '_>,
        access: &mut Access<'_>,
    ) -> Result<Storage, RunError> {
        let plan = &*prepared.plan;
        let mut block = Block::new(plan[plan.fetches[0]].bytes()).map_err(|refusal| out_of_memory(plan, refusal))?;
        block.map(pool);
        self.run(prepared, pool, inputs, access, Results::Block(&mut block))?;
        // SAFETY: a run computes its fetches whole.
        Ok(unsafe { Storage::written(block) })
    }

    /// Finds out where each buffer is.
    fn resolve(
        &mut self,
        plan: &Plan,
        inputs: &Inputs<'_, '_>,
        variables: &Variables,
        mut results: Results<'_>,
    ) -> Result<(), RunError> {
        self.lay_out_feeds(plan, inputs)?;
        self.bases.clear();
        let arena = self.memory.start();
        for buffer in &plan.buffers {
            let base = match &buffer.place {
                Place::Arena { offset } => arena.wrapping_add(*offset),
                Place::Feed(number) => self.feed(*number, inputs).cast_mut(),
                Place::Variable(number) => variables.storage(inputs.variable_positions[*number]).start(),
                Place::Constant(array) => array.storage().bytes().as_ptr().cast_mut(),
                Place::Fetch(number) => results.address(*number, buffer),
            };
            self.bases.push(base);
        }
        Ok(())
    }

    /// Finds out where each packed operand is, and packs what is not there yet.
    fn pack(
        &mut self,
        prepared: &Prepared,
        inputs: &Inputs<'_, '_>,
        variables: &Variables,
        pool: &Pool,
    ) -> Result<(), RunError> {
        self.packed.clear();
        for PackedOperand { buffer, packer, of_constant } in &prepared.packed {
            let (copies, name) = match prepared.plan[*buffer].place {
                Place::Variable(number) => {
                    let position = inputs.variable_positions[number];
                    (variables.copies(position), Some(number))
                }
                Place::Arena { .. } | Place::Feed(_) | Place::Constant(_) | Place::Fetch(_) => (of_constant, None),
            };
            // SAFETY: who runs has the variables, shared or alone, and does not write those that are packed.
            let found = unsafe { copies.find(packer, self.base(*buffer), pool) };
            self.packed.push(found.map_err(|OutOfMemory { bytes }| RunError::OutOfMemory {
                bytes,
                tensor: match name {
                    Some(number) => format!("the variable `{}`, packed", prepared.plan.variables[number].0.name()),
                    None => "a constant, packed".into(),
                },
                largest: bytes,
            })?);
        }
        Ok(())
    }

    /// Converts numbers and copies what lies at odd addresses.
    fn lay_out_feeds(&mut self, plan: &Plan, inputs: &Inputs<'_, '_>) -> Result<(), RunError> {
        let feeds = &inputs.feeds.0;
        self.numbers.clear();
        self.numbers.resize(feeds.len(), 0);
        if self.copies.len() < feeds.len() {
            self.copies.resize_with(feeds.len(), Block::empty);
        }
        for (feed, &position) in plan.feeds.iter().zip(inputs.feed_positions) {
            let dtype = plan[feed.buffer].dtype;
            match &feeds[position].value.0 {
                Value::Number(number) => {
                    with_dtype!(dtype, T => {
                        let number: T = number.to();
                        let bytes = bytemuck::bytes_of(&number);
                        bytemuck::bytes_of_mut(&mut self.numbers[position])[..bytes.len()].copy_from_slice(bytes);
                    });
                }
                Value::Lent { bytes, .. } if !is_aligned(bytes, dtype) => {
                    let copy = &mut self.copies[position];
                    copy.reserve(bytes.len()).map_err(|OutOfMemory { bytes }| RunError::OutOfMemory {
                        bytes,
                        tensor: feed.name.to_string(),
                        largest: bytes,
                    })?;
                    copy.write(bytes);
                }
                Value::Lent { .. } | Value::Given { .. } => {}
            }
        }
        Ok(())
    }

    /// Where a feed of the plan is.
    fn feed(&self, number: usize, inputs: &Inputs<'_, '_>) -> *const u8 {
        let position = inputs.feed_positions[number];
        match &inputs.feeds.0[position].value.0 {
            Value::Number(_) => (&raw const self.numbers[position]).cast(),
            Value::Given { array, .. } => array.storage().bytes().as_ptr(),
            Value::Lent { bytes, dtype, .. } if is_aligned(bytes, *dtype) => bytes.as_ptr(),
            Value::Lent { .. } => self.copies[position].start(),
        }
    }

    fn calls(&mut self, prepared: &Prepared, pool: &Pool, draw: Draw) -> Result<(), RunError> {
        let plan = &*prepared.plan;
        let shared = self.memory.start().wrapping_add(plan.arena_bytes.next_multiple_of(ALIGNMENT));
        let scratch = Scratch { start: shared.wrapping_add(prepared.shared_bytes), bytes: prepared.scratch_bytes };
        let room = Room { shared, scratch, held: scratch.of(pool.threads()) };
        for step in &prepared.steps {
            self.call = step.call;
            let begin = self.times.is_some().then(Instant::now);
            self.step(prepared, step, pool, draw, room)?;
            if let (Some(times), Some(begin)) = (&mut self.times, begin) {
                times[step.call] += begin.elapsed();
            }
        }
        Ok(())
    }

    pub(super) fn step(
        &mut self,
        prepared: &Prepared,
        step: &Step,
        pool: &Pool,
        draw: Draw,
        room: Room,
    ) -> Result<(), RunError> {
        let plan = &*prepared.plan;
        let Room { shared, scratch, .. } = room;
        match &step.work {
            Work::Map { tile, inputs, outputs } => {
                self.gather_operands(inputs, outputs);
                let operands = Operands { inputs: &self.reads, outputs: &self.writes, draw };
                map(tile, pool, &operands, scratch, Partials(shared));
            }
            Work::Product(product) => self.product(product, pool, draw, scratch, shared),
            Work::Convolution(convolution) => self.convolution(convolution, pool, draw, scratch, shared),
            Work::Attention(attention) => {
                attention.run(pool, draw, &|look| self.address(look), self.base(attention.y()), scratch);
            }
            Work::Gather(gather) => {
                let addresses = gather.buffers.map(|buffer| self.base(buffer));
                // SAFETY: `resolve` found the buffers; they were written before they are read, and the call writes other
                // memory (invariants 2 and 3).
                let done = unsafe { gather.run(pool, addresses) };
                done.map_err(|error| loops::Refusal::from(error).into_error(&plan.calls[step.call].label))?;
            }
            Work::ScatterAdd(scatter) => {
                let addresses = scatter.buffers.map(|buffer| self.base(buffer));
                // SAFETY: as for a gather.
                let done = unsafe { scatter.run(pool, addresses) };
                done.map_err(|error| loops::Refusal::from(error).into_error(&plan.calls[step.call].label))?;
            }
            Work::Copy { copy, from, to } => {
                self::copy(copy, pool, Ends { from: self.address(from), to: self.address(to) });
            }
            Work::Fill { value, fill, to } => {
                self::copy(fill, pool, Ends { from: (&raw const *value).cast(), to: self.address(to) });
            }
            Work::Loop(repeat) => {
                let Kernel::Loop(call) = &plan.calls[step.call].kernel else { unreachable!("prepared from a loop") };
                self.repeat(repeat, call, pool, draw, room)?;
            }
            Work::Whole => {
                let call = &plan.calls[step.call];
                let views = BufferViews { plan, bases: &self.bases };
                let length = prepared.scratch_bytes / size_of::<i64>();
                // SAFETY: the scratch memory of worker 0, written before it is read.
                let scratch = unsafe { slice_mut::<i64>(scratch.of(0), length) };
                loops::run(&call.kernel, &views, scratch).map_err(|refusal| refusal.into_error(&call.label))?;
            }
        }
        Ok(())
    }

    fn base(&self, buffer: BufferId) -> *mut u8 {
        self.bases[buffer.index()]
    }

    fn address(&self, look: &Look) -> *mut u8 {
        self.base(look.buffer).wrapping_offset(look.offset)
    }

    fn gather_operands(&mut self, inputs: &[Look], outputs: &[Look]) {
        self.reads.clear();
        self.writes.clear();
        for look in inputs {
            self.reads.push(self.address(look));
        }
        for look in outputs {
            self.writes.push(self.address(look));
        }
    }

    fn convolution(&mut self, convolution: &Convolution, pool: &Pool, draw: Draw, scratch: Scratch, shared: *mut u8) {
        let kernel = &convolution.kernel;
        let operands = matmul::Operands {
            a: self.base(convolution.a),
            b: convolution.packed_weight.map_or(self.base(convolution.b), |number| self.packed[number]),
            c: convolution.c.map_or(std::ptr::null_mut(), |c| self.base(c)),
        };
        if let Some(tail) = &convolution.epilogue {
            self.gather_operands(&tail.inputs, &tail.outputs);
        }
        let tail = Operands { inputs: &self.reads, outputs: &self.writes, draw };
        let one = OneConvolution { convolution, operands, tail: &tail, scratch, shared };
        for (phase, &chunks) in kernel.phases().iter().enumerate() {
            match chunks {
                1 => one.run_part(phase, 0, 0),
                _ => pool.run(chunks, &|chunk, worker| one.run_part(phase, chunk, worker)),
            }
        }
    }

    fn product(&mut self, product: &Product, pool: &Pool, draw: Draw, scratch: Scratch, shared: *mut u8) {
        let base = matmul::Operands {
            a: self.address(&product.a),
            b: product.packed_b.map_or(self.address(&product.b), |number| self.packed[number]),
            c: product.c.as_ref().map_or(std::ptr::null_mut(), |c| self.address(c)),
        };
        if let Some(tail) = &product.epilogue {
            self.gather_operands(&tail.inputs, &tail.outputs);
        }
        let operands = Operands { inputs: &self.reads, outputs: &self.writes, draw };
        let batch = product.batch.len();
        let one = OneProduct { product, base, operands: &operands, scratch, shared };
        if !product.is_shared() {
            let each = product.products_per_chunk;
            let do_chunk = |chunk: usize, worker: usize| {
                (chunk * each..((chunk + 1) * each).min(batch)).for_each(|index| one.run_whole(index, worker));
            };
            return match batch.div_ceil(each) {
                1 => do_chunk(0, 0),
                chunks => pool.run(chunks, &do_chunk),
            };
        }
        let parts = product.matmul.chunks();
        match product.matmul.packing_chunks() {
            0 => pool.run(parts * batch, &|chunk, worker| one.run_part(chunk / parts, chunk % parts, worker)),
            packing => {
                for index in 0..batch {
                    pool.run(packing, &|chunk, worker| one.pack(index, chunk, worker));
                    pool.run(parts, &|chunk, worker| one.run_part(index, chunk, worker));
                }
            }
        }
    }
}

fn is_aligned(bytes: &[u8], dtype: DType) -> bool {
    bytes.as_ptr().addr().is_multiple_of(dtype.size())
}

fn copy(copy: &StridedCopy, pool: &Pool, ends: Ends) {
    let chunk = |chunk, _| {
        let Ends { from, to } = &ends;
        // SAFETY: as in `map`; a copy has different buffers at its ends.
        unsafe { copy.run_chunk(chunk, *from, *to) }
    };
    match copy.chunks() {
        1 => chunk(0, 0),
        chunks => pool.run(chunks, &chunk),
    }
}

fn map(tile: &tile::Prepared, pool: &Pool, operands: &Operands<'_>, scratch: Scratch, partials: Partials) {
    // SAFETY (both blocks): the plan's operands stay inside their buffers and overlap only in place (its verifier's
    // invariants 1 and 3); buffers are aligned to their dtypes; `workspace_bytes` counted scratch for each worker and
    // partials for the call; chunks write different elements.
    unsafe {
        match tile.chunks() {
            1 => tile.run_chunk(0, operands, scratch.of(0), partials),
            chunks => {
                pool.run(chunks, &|chunk, worker| tile.run_chunk(chunk, operands, scratch.of(worker), partials));
            }
        }
        tile.finish(operands, partials);
    }
}

/// # Safety
/// `start` is aligned and has `count` initialized elements that nobody writes during the life of the slice.
pub(super) unsafe fn slice<'a, T>(start: *const u8, count: usize) -> &'a [T] {
    match count {
        // The address of an empty buffer means nothing.
        0 => &[],
        // SAFETY: the contract of this function.
        _ => unsafe { std::slice::from_raw_parts(start.cast(), count) },
    }
}

/// # Safety
/// `start` is aligned and has room for `count` elements of a type without forbidden bits or initialized ones, which
/// nobody else uses during the life of the slice.
pub(super) unsafe fn slice_mut<'a, T>(start: *mut u8, count: usize) -> &'a mut [T] {
    match count {
        0 => &mut [],
        // SAFETY: the contract of this function.
        _ => unsafe { std::slice::from_raw_parts_mut(start.cast(), count) },
    }
}

/// The buffers of the call that runs, as slices.
struct BufferViews<'a> {
    plan: &'a Plan,
    bases: &'a [*mut u8],
}

impl Views for BufferViews<'_> {
    fn dtype(&self, buffer: BufferId) -> DType {
        self.plan[buffer].dtype
    }

    fn shape(&self, buffer: BufferId) -> &[usize] {
        &self.plan[buffer].shape
    }

    fn read<T: Element>(&self, buffer: BufferId) -> &[T] {
        assert_eq!(self.dtype(buffer), T::DTYPE, "the dtype of {buffer}: a bug in Thalweg");
        // SAFETY: `resolve` found the buffer, aligned; it was written before it is read (invariant 2), and the call
        // writes other memory (invariant 3).
        unsafe { slice(self.bases[buffer.index()], self.plan[buffer].count()) }
    }

    #[allow(clippy::mut_from_ref)]
    fn write<T: Element>(&self, buffer: BufferId) -> &mut [T] {
        assert_eq!(self.dtype(buffer), T::DTYPE, "the dtype of {buffer}: a bug in Thalweg");
        // SAFETY: as above; a call has one output, and asks for it once.
        unsafe { slice_mut(self.bases[buffer.index()], self.plan[buffer].count()) }
    }
}

/// The buffer that takes most memory: what computes it, and its bytes.
pub(crate) fn largest(plan: &Plan) -> (String, usize) {
    let written = plan.calls.iter().flat_map(|call| call.kernel.writes().into_iter().map(move |buffer| (call, buffer)));
    let largest = written.max_by_key(|(_, buffer)| plan[*buffer].bytes());
    largest.map_or_else(|| ("nothing".into(), 0), |(call, buffer)| (call.label.to_string(), plan[buffer].bytes()))
}

fn out_of_memory(plan: &Plan, OutOfMemory { bytes }: OutOfMemory) -> RunError {
    let (tensor, largest) = largest(plan);
    RunError::OutOfMemory { bytes, tensor, largest }
}

/// Why a loop stopped.
impl loops::Refusal {
    fn into_error(self, label: &str) -> RunError {
        RunError::Eval(match self {
            loops::Refusal::Index(IndexError { position, index, bound }) => {
                EvalError::Index { op: label.into(), position, index, bound, place: String::new() }
            }
            loops::Refusal::Custom(reason) => EvalError::Custom { op: label.into(), reason },
        })
    }
}
