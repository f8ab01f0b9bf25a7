//! A program made ready for given sizes, and the parts in which it runs.

use std::ops::Range;

use thalweg_array::DType;
use thalweg_array::program::{Extent, Instruction, Output, OutputKind, Program, Register};
use thalweg_array::scalar::Fold;

use super::fold::{self, TOTAL};
use super::run::Worker;
use super::schedule::{Schedule, Work, input_bit};
use super::space::{Geometry, Space};
use super::{Operands, Partials, TILE, cost, stream};
use crate::cpu::{Isa, last_cache, show_what_went_past_caches};

/// A [`Program`] made ready for a [`Space`]: plain data that any number of threads may run.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) program: Program,
    pub(super) isa: Isa,
    pub(super) dtypes: Vec<DType>,
    pub(super) extents: Vec<Extent>,
    pub(super) geometry: Geometry,
    pub(super) schedule: Schedule,
    /// Where each number per row is repeated.
    pub(super) repeated: Vec<usize>,
    /// Whether an output is [`OutputKind::FoldRows`].
    pub(super) folds_rows: bool,
    /// Whether the space is so large that its operands are fetched ahead.
    pub(super) ahead: bool,
    /// Outputs that are stored so fast that the processor would wait for their memory.
    pub(super) stalls: Vec<bool>,
    /// Outputs that are written past the caches.
    pub(super) streams: Vec<bool>,
    /// Outputs that are written past the caches where they take the place of an input.
    pub(super) streams_in_place: Vec<bool>,
    chunks: Chunks,
    /// Where the partial results of each fold output begin.
    partials: Vec<usize>,
    partial_bytes: usize,
}

/// How the space is cut.
#[derive(Clone, Copy, Debug)]
struct Chunks {
    /// Rows of a chunk. Where rows are folded: within one outer index, or whole outer indices.
    rows: usize,
    /// Chunks that share an outer index; 1 where chunks hold whole ones.
    per_outer: usize,
    columns: usize,
    across: usize,
    count: usize,
}

/// What a chunk should cost at least, in nanoseconds: handing one to another thread must be worth it.
const CHUNK_NANOSECONDS: f64 = 10_000.0;
/// The most chunks of one run.
const MOST_CHUNKS: usize = 128;
/// Elements of a space whose operands may be far away from the processor; those of smaller ones stay in its cache.
const FAR: usize = 1 << 18;
/// Behind a function that costs as much per element, memory keeps up.
const SLOW_NANOSECONDS: f64 = 0.3;
/// So many bytes are in every cache: no need to ask how large it is.
const SURELY_CACHED: usize = 4 << 20;
/// Bytes of the last cache where the system does not tell.
const COMMON_CACHE: usize = 32 << 20;
/// The last cache divided by this is a good part of it: other threads and programs take theirs.
const GOOD_PART: usize = 4;
/// The most chunks whose folded rows are put together afterwards.
const MOST_PARTIALS: usize = 32;

impl Prepared {
    /// Makes `program` ready for `space`.
    ///
    /// # Panics
    /// If the operands of the space are not those of the program.
    #[track_caller]
    pub fn new(program: &Program, space: &Space) -> Prepared {
        Prepared::with(program, Geometry::new(program, space, false), true)
    }

    /// Makes `program` ready to be run on rectangles of `space` ([`Prepared::run_rectangle`]).
    ///
    /// # Panics
    /// As [`Prepared::new`]; and if an output is a fold.
    #[track_caller]
    pub fn for_rectangles(program: &Program, space: &Space) -> Prepared {
        assert!(
            program.outputs.iter().all(|output| output.kind == OutputKind::Store),
            "a program on rectangles can store, not fold"
        );
        // What a rectangle reads is fetched while its product is computed; what it writes is read again soon.
        Prepared::with(program, Geometry::new(program, space, true), false)
    }

    fn with(program: &Program, geometry: Geometry, alone: bool) -> Prepared {
        let extents = program.extents();
        assert!(program.outputs.len() <= 64, "{} outputs; a program has at most 64", program.outputs.len());
        for output in &program.outputs {
            let extent = extents[output.register as usize];
            match output.kind {
                OutputKind::Store => {}
                OutputKind::FoldRows(_) => assert_eq!(extent, Extent::Full, "only full registers fold over rows"),
                OutputKind::FoldAll(_) => assert_ne!(extent, Extent::One, "a single number needs no fold"),
            }
        }
        for instruction in &program.instructions {
            if let Instruction::FoldRow { x, .. } = instruction {
                assert_eq!(extents[*x as usize], Extent::Full, "only full registers fold to rows");
            }
        }
        let schedule = Schedule::new(program, &geometry);
        let mut repeated = vec![0; extents.len()];
        for step in schedule.stages.iter().flat_map(|stage| &stage.tiles).flat_map(Work::steps) {
            repeated[step.register as usize] = step.repeated.unwrap_or_default();
        }
        let folds_rows = program.outputs.iter().any(|output| matches!(output.kind, OutputKind::FoldRows(_)));
        let ahead = alone && geometry.rows * geometry.columns >= FAR;
        let stalls = program.outputs.iter().map(|output| {
            let last = &program.instructions[output.register as usize];
            output.kind == OutputKind::Store && cost::instruction(last) < SLOW_NANOSECONDS
        });
        let stalls = stalls.collect();
        let chunks = Chunks::new(program, &geometry, folds_rows);
        let mut partial_bytes = 0;
        let mut partials = Vec::new();
        for output in &program.outputs {
            partials.push(partial_bytes);
            partial_bytes += match output.kind {
                OutputKind::Store => 0,
                OutputKind::FoldAll(_) => chunks.count * TOTAL,
                OutputKind::FoldRows(_) if chunks.per_outer == 1 => 0,
                OutputKind::FoldRows(_) => geometry.outer * chunks.per_outer * geometry.columns * TOTAL,
            };
        }
        let past_caches = alone && exceeds(&geometry, cached());
        let prepared = Prepared {
            dtypes: program.dtypes(),
            extents,
            program: program.clone(),
            isa: Isa::best().of_vectors(),
            geometry,
            schedule,
            repeated,
            folds_rows,
            ahead,
            stalls,
            streams: vec![false; program.outputs.len()],
            streams_in_place: vec![false; program.outputs.len()],
            chunks,
            partials,
            partial_bytes,
        };
        if past_caches { prepared.past_caches() } else { prepared }
    }

    /// The same, with results written past the caches where the processor can, whatever the sizes; as
    /// [`Prepared::new`] chooses for operands that no cache holds.
    pub fn past_caches(mut self) -> Prepared {
        if stream::is_available(self.isa) {
            self.streams = self.program.outputs.iter().map(|output| can_stream(&self.program, output)).collect();
            self.schedule.mark_streams(&self.program, &self.streams);
        }
        self
    }

    /// The same for results that nothing in the program reads again: they leave the caches to others as soon as the operands are
    /// a good part of what the last one holds. Only then is it asked whether they are such results.
    pub fn past_caches_if(self, read_by_nobody: impl FnOnce() -> bool) -> Prepared {
        if exceeds(&self.geometry, cached() / GOOD_PART) && read_by_nobody() { self.past_caches() } else { self }
    }

    /// The same, with those of the results that `outputs` says written past the caches where they take the place of an input and the
    /// processor can: other threads have read what they replace, and their copies would have to be called back.
    ///
    /// # Panics
    /// If there is not a word for each output.
    #[track_caller]
    pub fn past_caches_in_place(mut self, outputs: &[bool]) -> Prepared {
        assert_eq!(outputs.len(), self.program.outputs.len(), "a word for each output");
        if stream::is_available(self.isa) {
            let can = self.program.outputs.iter().map(|output| can_stream(&self.program, output));
            self.streams_in_place = can.zip(outputs).map(|(can, &wanted)| can && wanted).collect();
        }
        self
    }

    /// Whether this result goes past the caches where it takes the place of an input.
    pub fn goes_past_in_place(&self, output: usize) -> bool {
        self.streams_in_place[output]
    }

    /// The same, run with `isa`, which must be available, instead of the best one.
    pub fn with_isa(self, isa: Isa) -> Prepared {
        assert!(isa.is_available(), "this processor has no {isa}");
        let none = vec![false; self.streams.len()];
        let mut prepared = Prepared { isa, streams: none.clone(), streams_in_place: none, ..self };
        prepared.schedule.mark_streams(&prepared.program, &prepared.streams);
        let prepared = prepared.past_caches_in_place(&self.streams_in_place);
        if self.streams.contains(&true) { prepared.past_caches() } else { prepared }
    }

    /// Bytes of scratch memory for each thread, to be aligned to 64.
    pub fn scratch_bytes(&self) -> usize {
        self.schedule.bytes
    }

    /// Bytes of the shared [`Partials`].
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// The number of chunks; a function of the program and the sizes alone. 1 where more are not worth it.
    pub fn chunks(&self) -> usize {
        self.chunks.count
    }

    /// Runs one chunk: writes what is stored of it, leaves what is folded of it in `partials`.
    ///
    /// # Safety
    /// * `operands` has the inputs and outputs of the program, aligned to their dtypes; every element that the space
    ///   reaches through their strides is readable, or writable, and initialized where it is read; a byte of an output
    ///   overlaps an input only where both are the same element, in place, of the same size.
    /// * `scratch` is writable for [`Prepared::scratch_bytes`], aligned to 64 and used by nobody else meanwhile.
    /// * `partials` is writable for [`Prepared::partial_bytes`], aligned to 8, and shared by the chunks of one run only.
    /// * No other thread touches the elements of this chunk meanwhile.
    pub unsafe fn run_chunk(&self, chunk: usize, operands: &Operands, scratch: *mut u8, partials: Partials) {
        let (rows, columns) = self.part(chunk);
        // SAFETY: the contract of this function.
        let mut worker = unsafe { Worker::new(self, operands, scratch, &rows, &columns) };
        if chunk == 0 {
            self.store_single_numbers(operands, &worker);
        }
        worker.begin_totals();
        // SAFETY: the contract; partials and outputs of a chunk are its own.
        unsafe {
            worker.run(rows, columns, |output, row, column, n, totals| {
                let outer = row / self.geometry.rows_per_outer;
                if self.chunks.per_outer == 1 {
                    let dtype = self.geometry.outputs[output].dtype;
                    let first = outer * self.geometry.columns + column;
                    let out = operands.outputs[output].add(first * dtype.size());
                    fold::round_to_memory(dtype, totals, n, out);
                } else {
                    let first = (chunk / self.chunks.across) * self.geometry.columns + column;
                    let to = partials.0.add(self.partials[output] + first * TOTAL);
                    std::ptr::copy_nonoverlapping(totals, to, n * TOTAL);
                }
            });
        }
        self.show_to_others();
        for (output, what) in self.program.outputs.iter().enumerate() {
            if let OutputKind::FoldAll(_) = what.kind {
                // SAFETY: as above.
                unsafe {
                    let to = partials.0.add(self.partials[output] + chunk * TOTAL);
                    std::ptr::copy_nonoverlapping(worker.totals(output), to, TOTAL);
                }
            }
        }
    }

    /// Puts the partial results of the chunks together, in their order, and writes the folds. To be called when all
    /// chunks have run, also where there is only one.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`], with the same `operands` and `partials`; every chunk has run.
    pub unsafe fn finish(&self, operands: &Operands, partials: Partials) {
        for (output, what) in self.program.outputs.iter().enumerate() {
            let dtype = self.geometry.outputs[output].dtype;
            let first = partials.0.wrapping_add(self.partials[output]);
            let out = operands.outputs[output];
            // SAFETY (all blocks below): the contract; partials lie as `with` has laid them out.
            match what.kind {
                OutputKind::Store => {}
                OutputKind::FoldAll(f) => unsafe {
                    for chunk in 1..self.chunks.count {
                        fold::join(f, dtype, first, first.add(chunk * TOTAL), 1);
                    }
                    fold::round_to_memory(dtype, first, 1, out);
                },
                OutputKind::FoldRows(f) if self.geometry.rows_per_outer == 0 => unsafe {
                    for i in 0..self.geometry.outer * self.geometry.columns {
                        let mut total = 0u64;
                        let total = (&raw mut total).cast::<u8>();
                        fold::begin(f, dtype, total, 1);
                        fold::round_to_memory(dtype, total, 1, out.add(i * dtype.size()));
                    }
                },
                OutputKind::FoldRows(_) if self.chunks.per_outer == 1 => {}
                OutputKind::FoldRows(f) => unsafe {
                    let columns = self.geometry.columns;
                    for outer in 0..self.geometry.outer {
                        let first = first.add(outer * self.chunks.per_outer * columns * TOTAL);
                        for part in 1..self.chunks.per_outer {
                            fold::join(f, dtype, first, first.add(part * columns * TOTAL), columns);
                        }
                        fold::round_to_memory(dtype, first, columns, out.add(outer * columns * dtype.size()));
                    }
                },
            }
        }
    }

    /// Runs the program on some rows and columns of the space: what follows a matrix multiply on the block just
    /// computed. Programs with row folds need all columns.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`], for the elements of the rectangle.
    pub unsafe fn run_rectangle(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        operands: &Operands,
        scratch: *mut u8,
    ) {
        debug_assert!(!self.schedule.staged || columns == (0..self.geometry.columns));
        // SAFETY: the contract of this function.
        unsafe {
            let mut worker = Worker::new(self, operands, scratch, &rows, &columns);
            if rows.start == 0 && columns.start == 0 {
                self.store_single_numbers(operands, &worker);
            }
            worker.run(rows, columns, |_, _, _, _, _| {});
        }
    }

    /// Makes what this thread has written past the caches visible to threads that hear of it afterwards: to be called when it has run
    /// its rectangles.
    pub fn show_to_others(&self) {
        if self.streams.contains(&true) || self.streams_in_place.contains(&true) {
            show_what_went_past_caches();
        }
    }

    /// The rows and columns of a chunk.
    fn part(&self, chunk: usize) -> (Range<usize>, Range<usize>) {
        let Chunks { rows, per_outer, columns, across, .. } = self.chunks;
        let (down, right) = (chunk / across, chunk % across);
        let rows = if per_outer > 1 {
            let begin = down / per_outer * self.geometry.rows_per_outer;
            let first = begin + down % per_outer * rows;
            first..(first + rows).min(begin + self.geometry.rows_per_outer).min(self.geometry.rows)
        } else {
            down * rows..((down + 1) * rows).min(self.geometry.rows)
        };
        (rows, right * columns..((right + 1) * columns).min(self.geometry.columns))
    }

    /// Writes the outputs that are one number for the whole space.
    fn store_single_numbers(&self, operands: &Operands, worker: &Worker) {
        for (output, what) in self.program.outputs.iter().enumerate() {
            if what.kind == OutputKind::Store && self.extents[what.register as usize] == Extent::One {
                let tile = super::run::Tile { row: 0, rows: 1, column: 0, columns: 1 };
                // SAFETY: `Worker::new` has computed the register; the output has room for a number.
                unsafe {
                    self.geometry.outputs[output].store(
                        &[],
                        operands.outputs[output],
                        &tile,
                        worker.place(what.register).at,
                    );
                }
            }
        }
    }

    /// The input that register `register` is a full load of.
    pub(super) fn full_load(&self, register: usize) -> Option<usize> {
        match self.program.instructions[register] {
            Instruction::Load { input } if self.extents[register] == Extent::Full => Some(input as usize),
            _ => None,
        }
    }

    /// The fold, dtype and operand of a row fold.
    pub(super) fn fold_row(&self, register: Register) -> (Fold, DType, Register) {
        match self.program.instructions[register as usize] {
            Instruction::FoldRow { f, dtype, x } => (f, dtype, x),
            ref other => unreachable!("scheduled as a row fold: {other:?}"),
        }
    }

    /// The inputs that share memory with a stored output in this part of the space, see [`input_bit`].
    pub(super) fn replaced(
        &self,
        output: usize,
        operands: &Operands,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> u64 {
        let Geometry { axes, inputs, outputs, .. } = &self.geometry;
        if self.program.outputs[output].kind != OutputKind::Store {
            return 0;
        }
        let range = |span: Option<(isize, isize)>, base: *const u8| {
            span.map(|(low, high)| (base.wrapping_offset(low).addr(), base.wrapping_offset(high).addr()))
        };
        let written = range(outputs[output].span(axes, rows, columns), operands.outputs[output]);
        let mut replaced = 0;
        for (number, (input, &from)) in inputs.iter().zip(operands.inputs).enumerate() {
            if let (Some((low, high)), Some((from_low, from_high))) =
                (written, range(input.span(axes, rows, columns), from))
                && low <= from_high
                && from_low <= high
            {
                replaced |= input_bit(number);
            }
        }
        replaced
    }

    /// What runs, in a line for profiles: `tile avx512, 12 instructions, 8 chunks`.
    pub fn describe(&self) -> String {
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let instructions = plural(self.program.instructions.len(), "instruction");
        format!("tile {}, {instructions}, {}", self.isa, plural(self.chunks.count, "chunk"))
    }
}

/// Bytes that the last cache holds.
fn cached() -> usize {
    last_cache().unwrap_or(COMMON_CACHE)
}

/// Whether the operands are more than so many bytes, and more than any cache is sure to hold.
fn exceeds(geometry: &Geometry, much: usize) -> bool {
    let accesses = geometry.inputs.iter().chain(&geometry.outputs);
    let varying = accesses.filter(|access| access.column != 0 && access.rows.iter().all(|&stride| stride != 0));
    let bytes: usize = varying.map(|access| geometry.rows * geometry.columns * access.dtype.size()).sum();
    bytes > SURELY_CACHED && bytes > much
}

/// Whether an output may be written past the caches: nothing else needs its register, which is nowhere else then.
fn can_stream(program: &Program, output: &Output) -> bool {
    let register = output.register;
    output.kind == OutputKind::Store
        && stream::comes_in_pieces(&program.instructions[register as usize])
        && !program.instructions.iter().any(|instruction| instruction.operands().contains(&register))
        && program.outputs.iter().filter(|other| other.register == register).count() == 1
}

impl Chunks {
    fn new(program: &Program, geometry: &Geometry, folds_rows: bool) -> Chunks {
        let Geometry { rows, columns, outer, rows_per_outer, .. } = *geometry;
        let whole_rows = program.instructions.iter().any(|i| matches!(i, Instruction::FoldRow { .. }));
        let cost = cost::nanoseconds_per_element(program) * rows as f64 * columns.max(1) as f64;
        let wanted = ((cost / CHUNK_NANOSECONDS) as usize).clamp(1, MOST_CHUNKS);

        // Cut across the columns where there are few rows, into whole tiles.
        let (mut wide, mut across) = (columns.max(1), 1);
        if !whole_rows && rows_per_outer < wanted {
            let tiles = columns.div_ceil(TILE).max(1);
            let parts = wanted.div_ceil(rows.max(1)).min(tiles);
            wide = tiles.div_ceil(parts) * TILE;
            across = columns.div_ceil(wide).max(1);
        }
        let wanted = wanted.div_ceil(across);
        if folds_rows && rows_per_outer > 0 {
            if outer >= wanted || rows_per_outer == 1 {
                let outers = outer.div_ceil(wanted).max(1);
                let count = outer.div_ceil(outers).max(1) * across;
                return Chunks { rows: outers * rows_per_outer, per_outer: 1, columns: wide, across, count };
            }
            let per_outer = wanted.div_ceil(outer).min(MOST_PARTIALS).min(rows_per_outer);
            let high = rows_per_outer.div_ceil(per_outer);
            let per_outer = rows_per_outer.div_ceil(high);
            return Chunks { rows: high, per_outer, columns: wide, across, count: (outer * per_outer * across).max(1) };
        }
        let high = rows.div_ceil(wanted).max(1);
        Chunks { rows: high, per_outer: 1, columns: wide, across, count: rows.div_ceil(high).max(1) * across }
    }
}
