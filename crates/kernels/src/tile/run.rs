//! Walking a part of the space in tiles.

use std::ops::Range;

use thalweg_array::program::{Extent, OutputKind, Register};

use super::ahead::Ahead;
use super::fold;
use super::fuse::Fused;
use super::prepare::Prepared;
use super::schedule::{Schedule, Stage, Step, Work};
use super::stream::{self, LINE, PIECE};
use super::{Operands, TILE};
use crate::vector::chain::{Chain, LongRow, MOST_PLACES, Place};
use crate::vector::{Lane, Total, lane_size, with_lane};

/// Outputs of a program that may be written over inputs while a tile is computed.
const FEW_OUTPUTS: usize = 8;
/// Columns from which on a row is worth the instructions' overhead.
const LONG_ROW: usize = 384;
/// Tiles that run as one where nothing stands in scratch memory: what begins with a chain is done once for all their rows, and
/// the end of a row does not wait for its fold.
const TALL: usize = 4;

/// Some rows × columns of the space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// The first row.
    pub(super) row: usize,
    pub(super) rows: usize,
    /// The first column.
    pub(super) column: usize,
    pub(super) columns: usize,
}

impl Tile {
    /// How many numbers a register of `extent` holds.
    pub(super) fn count(&self, extent: Extent) -> usize {
        match extent {
            Extent::One => 1,
            Extent::Row => self.rows,
            Extent::Full => self.rows * self.columns,
        }
    }

    /// The elements that an operand of `extent` is read or written at.
    pub(super) fn of(&self, extent: Extent) -> Tile {
        match extent {
            Extent::One => Tile { row: 0, rows: 1, column: 0, columns: 1 },
            Extent::Row => Tile { column: 0, columns: 1, ..*self },
            Extent::Full => *self,
        }
    }
}

impl Step {
    /// The place of the register at this address, its rows one after the other.
    fn dense(&self, at: *mut u8, tile: &Tile) -> Place {
        let step = match self.extent {
            Extent::One => 0,
            Extent::Row => self.lane as isize,
            Extent::Full => (self.lane * tile.columns) as isize,
        };
        Place { at, step }
    }
}

/// One thread at work on a part of the space.
pub(super) struct Worker<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) operands: &'a Operands<'a>,
    scratch: *mut u8,
    /// An output may be the same memory as an input.
    in_place: bool,
    /// The inputs that each of the first outputs shares memory with, a bit for each.
    replaced: [u64; FEW_OUTPUTS],
    /// The number of full registers that a piece of a tile begins at.
    pub(super) first: usize,
    /// Which of the two copies of what rows leave in scratch memory is this row's: the bytes to it from the first.
    turn: usize,
    /// The last stage of the row before, which runs beside this one.
    late: Option<Late<'a>>,
}

/// The last stage of a row, ready to be run.
struct Late<'a> {
    fused: &'a Fused,
    places: [*mut u8; MOST_PLACES],
    /// A bit for each place that is written past the caches.
    past_caches: u32,
    columns: usize,
}

impl Late<'_> {
    fn chain(&self) -> (&Chain, &[*mut u8], u32) {
        (&self.fused.chain, &self.places[..self.fused.places.len()], self.past_caches)
    }
}

impl<'a> Worker<'a> {
    /// A worker for these rows and columns.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`], with `scratch` of [`Prepared::scratch_bytes`], aligned to 64.
    pub(super) unsafe fn new(
        prepared: &'a Prepared,
        operands: &'a Operands<'a>,
        scratch: *mut u8,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Self {
        let (mut in_place, mut replaced) = (false, [0; FEW_OUTPUTS]);
        for output in 0..prepared.program.outputs.len() {
            let inputs = prepared.replaced(output, operands, rows, columns);
            in_place |= inputs != 0;
            if let Some(replaced) = replaced.get_mut(output) {
                *replaced = inputs;
            }
        }
        let mut worker = Worker { prepared, operands, scratch, in_place, replaced, first: 0, turn: 0, late: None };
        let tile = Tile { row: 0, rows: 1, column: 0, columns: 1 };
        for step in &prepared.schedule.once {
            let out = worker.at(step.offset);
            // SAFETY: the contract; operands of single numbers are single numbers, computed before.
            unsafe { worker.execute(step, &tile, out) };
            worker.set_place(step.register, Place { at: out, step: 0 });
        }
        worker
    }

    fn at(&self, offset: usize) -> *mut u8 {
        let turn = if offset >= self.prepared.schedule.turns { self.turn } else { 0 };
        self.scratch.wrapping_add(offset + turn)
    }

    /// Where a register stands.
    pub(super) fn place(&self, register: Register) -> Place {
        // SAFETY: scratch begins with a place per register.
        unsafe { *self.scratch.cast::<Place>().add(register as usize) }
    }

    fn set_place(&mut self, register: Register, place: Place) {
        // SAFETY: as above.
        unsafe { *self.scratch.cast::<Place>().add(register as usize) = place }
    }

    pub(super) fn repeated(&self, register: Register) -> *mut u8 {
        self.at(self.prepared.repeated[register as usize])
    }

    /// Runs the program on these rows and columns. Accumulators of [`OutputKind::FoldAll`] go on from where they are;
    /// those of [`OutputKind::FoldRows`] are begun, and handed to `rows_folded` with the output, the first row that was
    /// folded, the first column and the number of columns.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`].
    pub(super) unsafe fn run(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        mut rows_folded: impl FnMut(usize, usize, usize, usize, *const u8),
    ) {
        let prepared = self.prepared;
        let (geometry, schedule) = (&prepared.geometry, &prepared.schedule);
        let mut row = rows.start;
        while row < rows.end {
            // The rows of one outer index at a time.
            let end = match prepared.folds_rows {
                true => rows.end.min((row / geometry.rows_per_outer + 1) * geometry.rows_per_outer),
                false => rows.end,
            };
            if schedule.staged {
                // SAFETY: the contract.
                unsafe {
                    self.begin_row_folds(columns.len());
                    for row in row..end {
                        self.run_row(row, row + 1 < rows.end);
                    }
                    self.catch_up();
                }
                self.end_row_folds(row, columns.start, columns.len(), &mut rows_folded);
            } else {
                let (width, height) = self.extent_of_tiles(&rows, &columns);
                let mut column = columns.start;
                loop {
                    let width = width.min(columns.end - column);
                    // SAFETY: the contract.
                    unsafe {
                        self.begin_row_folds(width);
                        for first in (row..end).step_by(height) {
                            let rows = height.min(end - first);
                            let tile = Tile { row: first, rows, column, columns: width };
                            let below = first + height;
                            let next = match below < end {
                                true => Tile { row: below, rows: height.min(end - below), ..tile },
                                false => Tile { row, rows: height.min(end - row), column: column + width, ..tile },
                            };
                            let next = (prepared.ahead && next.column + width <= columns.end).then_some(&next);
                            self.run_stage(&schedule.stages[0], &tile, next);
                        }
                    }
                    self.end_row_folds(row, column, width, &mut rows_folded);
                    column += width;
                    if column >= columns.end {
                        break;
                    }
                }
            }
            row = end;
        }
    }

    /// Columns and rows of a tile of these rows and columns.
    fn extent_of_tiles(&self, rows: &Range<usize>, columns: &Range<usize>) -> (usize, usize) {
        let Prepared { geometry, schedule, folds_rows, .. } = self.prepared;
        let most = columns.len().min(TILE);
        // A column that is folded has its accumulator.
        let width = if schedule.long && !folds_rows { columns.len() } else { most };
        let is_copied = |&(input, _): &(usize, bool)| geometry.inputs[input].is_copied(width, false);
        if schedule.long && !schedule.loads.iter().any(is_copied) {
            // To go on to the next tile takes as long as to read one.
            return (width, rows.len());
        }
        (most, self.height(most))
    }

    /// How many rows of `width` columns make a tile: as many as fill it, or several if nothing stands in one, unless then rows
    /// that stand apart in memory would have to be copied together.
    fn height(&self, width: usize) -> usize {
        let Prepared { geometry, schedule, .. } = self.prepared;
        let copied = || {
            schedule.loads.iter().any(|&(input, loose)| geometry.inputs[input].is_copied(width, loose))
                || schedule.stores.iter().any(|&(output, loose)| geometry.outputs[output].is_copied(width, loose))
        };
        let tall = schedule.tall && !self.in_place;
        let tiles = if tall { TALL } else { 1 };
        if width >= LONG_ROW && copied() { 1 } else { (tiles * TILE / width.max(1)).clamp(1, TILE) }
    }

    /// One row that is longer than a tile, stage by stage; another one may come after it.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`].
    unsafe fn run_row(&mut self, row: usize, another: bool) {
        let prepared = self.prepared;
        let whole = Tile { row, rows: 1, column: 0, columns: prepared.geometry.columns };
        let Schedule { stages, late, .. } = &prepared.schedule;
        for (number, stage) in stages.iter().enumerate() {
            // SAFETY (all blocks below): the contract; the schedule puts every register before its readers.
            for work in &stage.rows {
                for step in work.steps() {
                    self.set_place(step.register, step.dense(self.at(step.offset), &whole));
                }
                unsafe { self.run_work(work, &whole) };
            }
            for fold in &stage.folds {
                let (f, dtype, _) = prepared.fold_row(fold.register);
                unsafe { fold::begin(f, dtype, self.at(fold.total), 1) };
            }
            for &output in &stage.outputs {
                if prepared.extents[prepared.program.outputs[output].register as usize] == Extent::Row {
                    unsafe { self.put(output, &whole) };
                }
            }
            if stage.tiles.is_empty() && stage.kept.is_empty() {
                continue;
            }
            if *late && number + 1 == stages.len() && !self.in_place {
                self.put_off(stage, &whole);
                continue;
            }
            let width = if stage.wide && !self.in_place { whole.columns } else { TILE };
            for column in (0..whole.columns).step_by(width) {
                let tile = Tile { column, columns: width.min(whole.columns - column), ..whole };
                let next = Tile { row: row + 1, ..tile };
                unsafe { self.run_stage(stage, &tile, (another && prepared.ahead && stage.fetches).then_some(&next)) };
            }
            for fold in &stage.folds {
                let (_, dtype, _) = prepared.fold_row(fold.register);
                let out = self.at(fold.total);
                let total = unsafe { *out.cast::<u64>() };
                unsafe { fold::round_to_lanes(dtype, (&raw const total).cast(), 1, out) };
                self.set_place(fold.register, Place { at: out, step: 0 });
            }
        }
    }

    /// Makes the last stage of a row ready, to run beside the last but one of the next row.
    fn put_off(&mut self, stage: &'a Stage, whole: &Tile) {
        self.place_kept(stage, whole);
        for work in &stage.tiles {
            match work {
                Work::Single(step) => {
                    let placed = self.place_load(step, whole);
                    debug_assert!(placed, "what is put off reads memory as it is");
                }
                Work::Chain(fused, _) => {
                    let past = self.place_results(work, whole, &mut 0);
                    self.late = Some(self.whole_row(fused, whole, past));
                }
            }
        }
        self.turn = self.prepared.schedule.turn - self.turn;
    }

    /// A chain on a whole row, ready to be run.
    fn whole_row(&self, fused: &'a Fused, whole: &Tile, past: u32) -> Late<'a> {
        let mut places = [std::ptr::null_mut(); _];
        for (at, place) in places.iter_mut().zip(&fused.places) {
            *at = self.place(place.register).at;
        }
        Late { fused, places, past_caches: fused.places_of(past), columns: whole.columns }
    }

    /// Runs what has been put off.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`].
    unsafe fn catch_up(&mut self) {
        if let Some(late) = self.late.take() {
            let ((chain, places, past_caches), columns) = (late.chain(), late.columns);
            let row = LongRow { places, columns, past_caches, fetch: &[], beside: None };
            // SAFETY: the contract; its places were taken from where they are.
            unsafe { chain.run_long(self.prepared.isa, row) };
        }
    }

    /// Says where what the stage reads from earlier ones is.
    fn place_kept(&mut self, stage: &Stage, tile: &Tile) {
        for kept in &stage.kept {
            let lane = lane_size(self.prepared.dtypes[kept.register as usize]);
            self.set_place(kept.register, Place { at: self.at(kept.offset + tile.column * lane), step: 0 });
        }
    }

    /// Whether `step` is the load of a tile that stands in memory as it would in a register; then its place is there.
    fn place_load(&mut self, step: &Step, tile: &Tile) -> bool {
        let Prepared { geometry, .. } = self.prepared;
        let Some(input) = self.prepared.full_load(step.register as usize) else { return false };
        let place = geometry.inputs[input].place(&geometry.axes, self.operands.inputs[input], tile, step.loose);
        if let Some(place) = place {
            self.set_place(step.register, place);
        }
        place.is_some()
    }

    /// Finds a place for each result of `work`. Takes note of the outputs that are `written` straight away, and gives a bit for
    /// each result that goes past the caches.
    fn place_results(&mut self, work: &Work, tile: &Tile, written: &mut u64) -> u32 {
        let Prepared { geometry, streams, streams_in_place, .. } = self.prepared;
        let mut past = 0;
        for (number, step) in work.steps().iter().enumerate() {
            let mut out = self.at(step.offset);
            if step.kept {
                out = out.wrapping_add(tile.column * step.lane);
            }
            let mut place = step.dense(out, tile);
            if let Some(output) = step.direct
                && self.may_write_now(step, output)
            {
                let (access, base) = (&geometry.outputs[output], self.operands.outputs[output].cast_const());
                if let Some(direct) = access.place(&geometry.axes, base, tile, step.loose) {
                    place = direct;
                    *written |= 1 << output;
                    let in_rows = work.is_chain() || tile.rows == 1;
                    let wanted = match self.in_place {
                        true => streams_in_place[output] && self.replaces(output),
                        false => streams[output],
                    };
                    let is_past = wanted && in_rows && stream::whole_lines(direct, tile, step.lane);
                    past |= u32::from(is_past) << number;
                }
            }
            self.set_place(step.register, place);
        }
        past
    }

    /// Whether an output takes the place of an input.
    fn replaces(&self, output: usize) -> bool {
        self.replaced.get(output).is_some_and(|&inputs| inputs != 0)
    }

    /// Whether a result may be written to its output while the tile is computed: nobody reads afterwards what it replaces.
    fn may_write_now(&self, step: &Step, output: usize) -> bool {
        let replaced = self.replaced.get(output).copied().unwrap_or(u64::MAX);
        !self.in_place || step.read_later & replaced == 0
    }

    /// Executes what has its places.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`]; the registers that are read hold the tile.
    unsafe fn run_work(&mut self, work: &Work, tile: &Tile) {
        // SAFETY (all): the contract.
        match work {
            Work::Single(step) => unsafe { self.execute(step, tile, self.place(step.register).at) },
            Work::Chain(fused, _) => unsafe { self.run_chain(fused, tile, 0, &[]) },
        }
        unsafe { self.repeat_all(work.steps(), tile) };
    }

    /// The tile part of a stage. `next` is the tile whose inputs will be needed next.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`]; what the stage reads from earlier ones is there.
    unsafe fn run_stage(&mut self, stage: &'a Stage, tile: &Tile, next: Option<&Tile>) {
        let prepared = self.prepared;
        let geometry = &prepared.geometry;
        self.place_kept(stage, tile);
        let mut written = 0u64;
        let mut ahead = Ahead::new();
        if let Some(next) = next {
            // An output that is an input as well is fetched as that.
            let stalls = |&output: &usize| prepared.stalls[output] && !prepared.streams[output] && !self.in_place;
            for output in (0..geometry.outputs.len()).filter(stalls) {
                let (access, base) = (&geometry.outputs[output], self.operands.outputs[output].cast_const());
                // What a later stage writes is needed for this row already.
                let tile = if stage.outputs.contains(&output) { next } else { tile };
                if let Some(address) = access.direct(&geometry.axes, base, tile) {
                    ahead.add(address, tile.rows * tile.columns * access.dtype.size());
                }
            }
            for &(input, _) in &prepared.schedule.loads {
                let (access, base) = (&geometry.inputs[input], self.operands.inputs[input]);
                // A row for all rows is there already.
                if let Some(later) = access.direct(&geometry.axes, base, next)
                    && access.direct(&geometry.axes, base, tile) != Some(later)
                {
                    ahead.add(later, next.rows * next.columns * access.dtype.size());
                }
            }
        }
        for (position, work) in stage.tiles.iter().enumerate() {
            if let Work::Single(step) = work
                && self.place_load(step, tile)
            {
                if position + 1 == stage.tiles.len() {
                    ahead.fetch(1);
                }
                continue;
            }
            let past = self.place_results(work, tile, &mut written);
            // SAFETY (all blocks below): the contract; the schedule puts every register before its readers.
            match work {
                Work::Single(step) if past != 0 => unsafe { self.stream(step, tile, &mut ahead) },
                Work::Chain(fused, _) if prepared.schedule.staged && stage.wide && !self.in_place => unsafe {
                    let row = self.whole_row(fused, tile, past);
                    let (chain, places, past_caches) = row.chain();
                    let late = if stage.beside { self.late.take() } else { None };
                    let beside = late.as_ref().map(Late::chain);
                    let row = LongRow { places, columns: tile.columns, past_caches, fetch: ahead.take(), beside };
                    chain.run_long(prepared.isa, row);
                },
                // Block by block: all at once would make the processor wait.
                Work::Chain(fused, steps) if prepared.schedule.staged || fused.space == Extent::Full => unsafe {
                    self.run_chain(fused, tile, past, ahead.take());
                    self.repeat_all(steps, tile);
                },
                // What is written past the caches fetches line by line.
                _ => unsafe {
                    if !stage.streams || self.in_place {
                        ahead.fetch(stage.tiles.len() - position);
                    }
                    self.run_work(work, tile);
                },
            }
        }
        for fold in &stage.folds {
            let (f, dtype, x) = prepared.fold_row(fold.register);
            with_lane!(dtype, T => unsafe {
                let part = match fold.part {
                    Some(part) => (*self.at(part).cast::<T>()).widen(),
                    None => T::fold(prepared.isa, f, self.slice::<T>(x, tile.columns)),
                };
                let total = self.at(fold.total).cast::<<T as Lane>::Total>();
                *total = Total::join(f, *total, part);
            });
        }
        for &output in &stage.outputs {
            // A number per row is put once, not once per tile of the row.
            let per_row = prepared.extents[prepared.program.outputs[output].register as usize] == Extent::Row;
            let done = per_row && (prepared.schedule.staged || tile.column != 0);
            if written & (1 << output) == 0 && !done {
                unsafe { self.put(output, tile) };
            }
        }
    }

    /// Executes `step`, piece by piece, and writes the result past the caches.
    ///
    /// # Safety
    /// As [`Worker::run_stage`]; the place of the step is a row of whole lines.
    unsafe fn stream(&mut self, step: &Step, tile: &Tile, ahead: &mut Ahead) {
        let isa = self.prepared.isa;
        let (to, out) = (self.place(step.register).at, self.at(step.offset));
        for first in (0..tile.columns).step_by(PIECE) {
            let piece = Tile { columns: PIECE.min(tile.columns - first), ..*tile };
            let lines = piece.columns * step.lane / LINE;
            self.first = first;
            // Each piece takes the place of the last one, which is written by then.
            // SAFETY: the contract.
            unsafe {
                self.execute(step, &piece, out);
                stream::write(isa, out, to.wrapping_add(first * step.lane), lines, ahead);
            }
        }
        self.first = 0;
        ahead.fetch(1);
    }

    /// Stores or accumulates an output of the tile.
    ///
    /// # Safety
    /// As [`Prepared::run_chunk`]; the register holds the tile.
    unsafe fn put(&mut self, output: usize, tile: &Tile) {
        let prepared = self.prepared;
        let geometry = &prepared.geometry;
        let register = prepared.program.outputs[output].register;
        let extent = prepared.extents[register as usize];
        let dtype = prepared.dtypes[register as usize];
        let totals = self.at(prepared.schedule.totals[output]);
        // SAFETY (all blocks below): the contract; the schedule gave the accumulators their room.
        match prepared.program.outputs[output].kind {
            OutputKind::Store => {
                let (tile, base) = (tile.of(extent), self.operands.outputs[output]);
                unsafe { geometry.outputs[output].store(&geometry.axes, base, &tile, self.place(register).at) };
            }
            OutputKind::FoldAll(f) => with_lane!(dtype, T => unsafe {
                let part = T::fold(prepared.isa, f, self.slice::<T>(register, tile.count(extent)));
                let total = totals.cast::<<T as Lane>::Total>();
                *total = Total::join(f, *total, part);
            }),
            OutputKind::FoldRows(f) => with_lane!(dtype, T => unsafe {
                // With stages the accumulators are as long as the row, otherwise as long as the tile is wide.
                let first = if prepared.schedule.staged { tile.column } else { 0 };
                let totals = totals.cast::<<T as Lane>::Total>().add(first);
                let totals = std::slice::from_raw_parts_mut(totals, tile.columns);
                T::fold_columns(prepared.isa, f, self.slice::<T>(register, tile.count(Extent::Full)), totals);
            }),
        }
    }

    /// Begins the accumulators of [`OutputKind::FoldAll`].
    pub(super) fn begin_totals(&mut self) {
        for (output, &offset) in self.prepared.program.outputs.iter().zip(&self.prepared.schedule.totals) {
            if let OutputKind::FoldAll(f) = output.kind {
                let dtype = self.prepared.dtypes[output.register as usize];
                // SAFETY: the schedule gave one accumulator its room.
                unsafe { fold::begin(f, dtype, self.at(offset), 1) };
            }
        }
    }

    /// The accumulator of an output.
    pub(super) fn totals(&self, output: usize) -> *const u8 {
        self.at(self.prepared.schedule.totals[output])
    }

    /// # Safety
    /// The schedule gave room for `columns` accumulators.
    unsafe fn begin_row_folds(&mut self, columns: usize) {
        for (output, &offset) in self.prepared.program.outputs.iter().zip(&self.prepared.schedule.totals) {
            if let OutputKind::FoldRows(f) = output.kind {
                let dtype = self.prepared.dtypes[output.register as usize];
                // SAFETY: the contract.
                unsafe { fold::begin(f, dtype, self.at(offset), columns) };
            }
        }
    }

    fn end_row_folds(
        &mut self,
        row: usize,
        column: usize,
        columns: usize,
        rows_folded: &mut impl FnMut(usize, usize, usize, usize, *const u8),
    ) {
        for (output, what) in self.prepared.program.outputs.iter().enumerate() {
            if let OutputKind::FoldRows(_) = what.kind {
                rows_folded(output, row, column, columns, self.totals(output));
            }
        }
    }
}
