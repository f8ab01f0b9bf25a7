//! The order of the instructions, and where in scratch memory each register stands.

use thalweg_array::program::{Extent, Instruction, OutputKind, Program, Register};
use thalweg_array::scalar::{Binary, Unary};

use super::TILE;
use super::fuse::{self, Fused, Group};
use super::space::Geometry;
use crate::vector::chain::{Op, Place};
use crate::vector::lane_size;

/// Bytes of a page.
const PAGE: usize = 4096;

/// A register that is written, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) register: Register,
    /// Byte offset in scratch.
    pub(super) offset: usize,
    /// The result stands at its column of a whole row, because later stages need it.
    pub(super) kept: bool,
    /// Where a number per row is repeated for use beside full registers.
    pub(super) repeated: Option<usize>,
    /// The output that the result may be written to straight away.
    pub(super) direct: Option<usize>,
    /// A bit for each input that the tile still reads when the result has been written to that output.
    pub(super) read_later: u64,
    /// Only chains read it: its rows may stand apart.
    pub(super) loose: bool,
    /// Bytes of a number.
    pub(super) lane: usize,
    pub(super) extent: Extent,
}

impl Step {
    fn new(program: &Program, register: Register) -> Step {
        let lane = lane_size(program.dtypes()[register as usize]);
        let extent = program.extents()[register as usize];
        let (kept, repeated, direct, read_later, loose) = (false, None, None, u64::MAX, false);
        Step { register, offset: 0, kept, repeated, direct, read_later, loose, lane, extent }
    }
}

/// What is executed in one go.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// One instruction.
    Single(Step),
    /// Several f32 instructions, and what they leave in memory.
    Chain(Fused, Vec<Step>),
}

impl Work {
    /// What it writes.
    pub(super) fn steps(&self) -> &[Step] {
        match self {
            Work::Single(step) => std::slice::from_ref(step),
            Work::Chain(_, steps) => steps,
        }
    }

    /// Whether nothing that it writes stands in a tile of scratch memory.
    fn is_wide(&self, program: &Program, geometry: &Geometry) -> bool {
        match self {
            Work::Single(step) => match program.instructions[step.register as usize] {
                Instruction::Load { input } => {
                    let access = &geometry.inputs[input as usize];
                    step.extent == Extent::Row
                        || step.loose && step.extent == Extent::Full && access.has_form_of_registers
                }
                _ => step.extent == Extent::Row,
            },
            Work::Chain(_, steps) => {
                steps.iter().all(|step| step.kept || step.direct.is_some() || step.extent == Extent::Row)
            }
        }
    }

    pub(super) fn is_chain(&self) -> bool {
        matches!(self, Work::Chain(..))
    }

    fn steps_mut(&mut self) -> &mut [Step] {
        match self {
            Work::Single(step) => std::slice::from_mut(step),
            Work::Chain(_, steps) => steps,
        }
    }

    /// The registers that it reads.
    fn reads(&self, program: &Program) -> Vec<Register> {
        match self {
            Work::Single(step) => program.instructions[step.register as usize].operands().to_vec(),
            Work::Chain(fused, _) => fused.places.iter().map(|place| place.register).collect(),
        }
    }
}

/// A register of an earlier stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) register: Register,
    pub(super) offset: usize,
}

/// One pass over a row (or, where there is only one stage, over the space).
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    /// Executed once per row, before its tiles. Empty where a program has one stage.
    pub(super) rows: Vec<Work>,
    /// Executed for every tile.
    pub(super) tiles: Vec<Work>,
    /// Row folds that end with this stage.
    pub(super) folds: Vec<RowFold>,
    /// Nothing of it stands in a tile of scratch memory: it may run on whole rows at once, if results go where they are
    /// stored.
    pub(super) wide: bool,
    /// The last stage of the row before runs beside its last chain.
    pub(super) beside: bool,
    /// Read from earlier stages.
    pub(super) kept: Vec<Kept>,
    /// The outputs that are ready after a tile of this stage.
    pub(super) outputs: Vec<usize>,
    /// The operands of the next tile are fetched during this stage: nobody reads memory after it in this row.
    pub(super) fetches: bool,
    /// An output of it is written past the caches.
    pub(super) streams: bool,
}

/// A row fold of a program with stages, and where its accumulator is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowFold {
    pub(super) register: Register,
    /// Byte offset in scratch.
    pub(super) total: usize,
    /// Where a chain leaves what it has put together of a tile; none where the fold has a kernel of its own.
    pub(super) part: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// What has one number for the whole space.
    pub(super) once: Vec<Step>,
    pub(super) stages: Vec<Stage>,
    /// The inputs that have a number for each element, and whether their rows may be loose.
    pub(super) loads: Vec<(usize, bool)>,
    /// The outputs, and whether they are written straight away with loose rows.
    pub(super) stores: Vec<(usize, bool)>,
    /// More than one stage, row by row.
    pub(super) staged: bool,
    /// Rows are folded, and nothing but numbers per row stands in scratch memory, if results go where they are stored: a tile
    /// may have more rows than scratch memory has room for.
    pub(super) tall: bool,
    /// What stands in memory as it would in a register is put together there, and nothing stands in scratch memory but what
    /// that makes: where rows lie one after the other, all of a chunk may run as one tile.
    pub(super) long: bool,
    /// The last stage of a row runs beside the last but one of the next row: what one of them writes is on its way to memory
    /// while the other computes.
    pub(super) late: bool,
    /// Where that begins which then is there twice, for a row and for the next.
    pub(super) turns: usize,
    /// The bytes from the first copy to the second.
    pub(super) turn: usize,
    /// Where the accumulator of each fold output stands.
    pub(super) totals: Vec<usize>,
    /// Scratch for one worker.
    pub(super) bytes: usize,
}

/// Hands out scratch memory; tile slots come back and are used again, the last first.
#[derive(Default)]
struct Scratch {
    bytes: usize,
    free: [Vec<usize>; 9],
}

impl Scratch {
    fn take(&mut self, bytes: usize) -> usize {
        let offset = self.bytes;
        self.bytes += bytes.next_multiple_of(64);
        offset
    }

    fn take_tile(&mut self, lane: usize) -> usize {
        self.free[lane].pop().unwrap_or_else(|| self.take(lane * TILE))
    }

    fn give_back_tile(&mut self, lane: usize, offset: usize) {
        self.free[lane].push(offset);
    }
}

impl Schedule {
    pub(super) fn new(program: &Program, geometry: &Geometry) -> Schedule {
        let extents = program.extents();
        let lanes: Vec<usize> = program.dtypes().into_iter().map(lane_size).collect();
        let n = program.instructions.len();
        let used = used(program);
        let has_row_folds = program.instructions.iter().any(|i| matches!(i, Instruction::FoldRow { .. }));
        let staged = has_row_folds && geometry.columns > TILE;

        let mut scratch = Scratch::default();
        scratch.take(n * size_of::<Place>());
        let once = (0..n)
            .filter(|&i| used[i] && extents[i] == Extent::One)
            .map(|i| Step { offset: scratch.take(8), ..Step::new(program, i as Register) })
            .collect();

        let full_tile_or_row = if staged { geometry.columns } else { geometry.columns.min(TILE) };
        let totals = program
            .outputs
            .iter()
            .map(|output| match output.kind {
                OutputKind::Store => 0,
                OutputKind::FoldAll(_) => scratch.take(8),
                OutputKind::FoldRows(_) => scratch.take(8 * full_tile_or_row),
            })
            .collect();

        let turns = scratch.bytes;
        let order = Order::new(program, &extents, &used);
        let order = if staged { order } else { order.flat(program, &extents) };
        let kept_offsets: Vec<Option<usize>> =
            (0..n).map(|i| (staged && order.kept[i]).then(|| scratch.take(lanes[i] * geometry.columns))).collect();
        let row_offsets: Vec<Option<usize>> =
            (0..n).map(|i| (used[i] && staged && extents[i] == Extent::Row).then(|| scratch.take(16))).collect();

        let readers = Readers::new(program, &extents, &order);
        let mut stages = Vec::new();
        for (s, stage) in order.stages.iter().enumerate() {
            let mut outputs = order.outputs_of(s);
            // What is stored as it was loaded comes first: another output may replace it.
            outputs.sort_by_key(|&output| !is_load(program, program.outputs[output].register));
            let needed = |register: Register| {
                order.kept[register as usize]
                    || readers.singles[register as usize]
                    || program.outputs.iter().any(|output| output.register == register)
            };
            let row_groups = fuse::groups(program, &extents, &stage.rows);
            let tile_groups = fuse::groups(program, &extents, &stage.tiles);
            let in_chain = |register: Register| {
                tile_groups.iter().any(|group| matches!(group, Group::Chain(members) if members.contains(&register)))
            };
            let mut rows = works(program, &extents, &row_groups, |_| true);
            for step in rows.iter_mut().flat_map(Work::steps_mut) {
                step.offset = row_offsets[step.register as usize].unwrap_or_default();
            }
            let mut tiles = works(program, &extents, &tile_groups, needed);

            // The position after which nobody in this stage reads a register; outputs are stored at the end.
            let mut last_use = vec![0; n];
            for (position, work) in tiles.iter().enumerate() {
                for operand in work.reads(program) {
                    last_use[operand as usize] = position;
                }
            }
            let folds: Vec<RowFold> = stage
                .folds
                .iter()
                .map(|&register| {
                    let total = row_offsets[register as usize].unwrap_or_default();
                    RowFold { register, total, part: in_chain(register).then_some(total + 8) }
                })
                .collect();
            for fold in folds.iter().filter(|fold| fold.part.is_none()) {
                for operand in program.instructions[fold.register as usize].operands() {
                    last_use[operand as usize] = usize::MAX;
                }
            }
            for &output in &outputs {
                last_use[program.outputs[output].register as usize] = usize::MAX;
            }

            let mut held: Vec<(usize, usize)> = Vec::new();
            for (position, work) in tiles.iter_mut().enumerate() {
                // An instruction of its own writes row after row.
                let may_be_loose = work.is_chain() || work.steps().iter().all(|step| is_load(program, step.register));
                for step in work.steps_mut() {
                    let i = step.register as usize;
                    if let Some(fold) = folds.iter().find(|fold| fold.register == step.register) {
                        step.offset = fold.part.expect("a fold among the tiles is part of a chain");
                        continue;
                    }
                    (step.offset, step.kept) = match kept_offsets[i] {
                        Some(offset) => (offset, true),
                        None => (scratch.take_tile(lanes[i]), false),
                    };
                    step.repeated = readers.repeats[i].then(|| scratch.take(lanes[i] * TILE));
                    step.loose = may_be_loose && !readers.singles[i];
                    step.direct = (!step.kept && extents[i] == Extent::Full)
                        .then(|| outputs.iter().copied().find(|&o| may_write_directly(program, geometry, i, o)))
                        .flatten();
                    if !step.kept {
                        held.push((i, step.offset));
                    }
                }
                held.retain(|&(i, offset)| {
                    let needed = last_use[i] > position;
                    if !needed {
                        scratch.give_back_tile(lanes[i], offset);
                    }
                    needed
                });
            }
            for (i, offset) in held {
                scratch.give_back_tile(lanes[i], offset);
            }
            let kept = (0..n)
                .filter(|&i| kept_offsets[i].is_some() && !stage.tiles.contains(&(i as Register)))
                .filter_map(|i| kept_offsets[i].map(|offset| Kept { register: i as Register, offset }))
                .collect();
            if !staged {
                note_later_reads(program, &mut tiles);
            }
            let wide = tiles.iter().all(|work| work.is_wide(program, geometry));
            stages.push(Stage {
                rows,
                tiles,
                folds,
                wide,
                beside: false,
                kept,
                outputs,
                fetches: false,
                streams: false,
            });
        }
        let loads = (0..n).filter_map(|i| match program.instructions[i] {
            Instruction::Load { input } if used[i] && extents[i] == Extent::Full => {
                Some((input as usize, !readers.singles[i]))
            }
            _ => None,
        });
        let loads = loads.collect();
        let stores = stages.iter().flat_map(|stage| &stage.tiles).flat_map(Work::steps).collect::<Vec<_>>();
        let loose = |output: usize| stores.iter().any(|step| step.direct == Some(output) && step.loose);
        let stores = (0..program.outputs.len()).map(|output| (output, loose(output))).collect();
        let tall = has_row_folds && !staged && may_be_tall(program, geometry, &stages);
        let long = !has_row_folds && may_be_long(program, geometry, &stages);
        let late = may_be_late(program, &extents, &stages);
        let mut turn = 0;
        if late {
            let beside = stages.len() - 2;
            stages[beside].beside = true;
            // Half a page apart: a processor takes a read for one of what was just written where the last twelve bits agree.
            turn = (scratch.bytes - turns).next_multiple_of(PAGE) + PAGE / 2;
        }
        let bytes = scratch.bytes + turn;
        let mut schedule =
            Schedule { once, stages, loads, stores, staged, tall, long, late, turns, turn, totals, bytes };
        schedule.mark_streams(program, &vec![false; program.outputs.len()]);
        schedule
    }
}

/// The bit of an input; all bits for those beyond the 64th.
pub(super) fn input_bit(input: usize) -> u64 {
    if input < u64::BITS as usize { 1 << input } else { u64::MAX }
}

/// Finds out for each result of a chain what is read of the inputs after it has been written. Inputs are read where they lie.
fn note_later_reads(program: &Program, tiles: &mut [Work]) {
    let input = |register: Register| match program.instructions[register as usize] {
        Instruction::Load { input } => input_bit(input as usize),
        _ => 0,
    };
    // Outputs are put together, and those stored that no chain has written, at the end.
    let mut later = program.outputs.iter().fold(0, |later, output| later | input(output.register));
    for work in tiles.iter_mut().rev() {
        let reads = work.reads(program).into_iter().fold(0, |reads, register| reads | input(register));
        if let Work::Chain(fused, steps) = work {
            let mut later = later;
            for link in fused.chain.links.iter().rev() {
                let written = fused.places.get(link.to as usize).map(|place| place.register);
                for step in steps.iter_mut().filter(|step| link.op == Op::Keep && written == Some(step.register)) {
                    step.read_later = later;
                }
                later = link.reads().fold(later, |later, place| later | input(fused.places[place as usize].register));
            }
        }
        later |= reads | work.steps().iter().fold(0, |loads, step| loads | input(step.register));
    }
}

/// Whether any number of rows may run as one tile: all that has a number for each element is read and written where it lies.
fn may_be_tall(program: &Program, geometry: &Geometry, stages: &[Stage]) -> bool {
    let lies_in_steps = |step: &Step| match (step.direct, &program.instructions[step.register as usize]) {
        (Some(output), _) => step.loose && geometry.outputs[output].step.is_some(),
        (None, Instruction::Load { input }) => step.loose && geometry.inputs[*input as usize].step.is_some(),
        _ => false,
    };
    let steps = stages.iter().flat_map(|stage| &stage.tiles).flat_map(Work::steps);
    program.outputs.iter().all(|output| output.kind == OutputKind::Store)
        && stages.iter().all(|stage| stage.wide)
        && steps.filter(|step| step.extent != Extent::Row).all(lies_in_steps)
}

/// Whether all outputs put together what stands in memory as it would in a register.
fn may_be_long(program: &Program, geometry: &Geometry, stages: &[Stage]) -> bool {
    let lies_there = |step: &Step| match program.instructions[step.register as usize] {
        Instruction::Load { input } => {
            step.extent == Extent::Full && geometry.inputs[input as usize].has_form_of_registers
        }
        _ => false,
    };
    program.outputs.iter().all(|output| output.kind != OutputKind::Store)
        && stages.iter().flat_map(|stage| &stage.tiles).flat_map(Work::steps).all(lies_there)
}

/// Whether the last stage of a row may run beside the last but one of the next: it writes its results straight away, and both
/// end with a chain on the whole row.
fn may_be_late(program: &Program, extents: &[Extent], stages: &[Stage]) -> bool {
    let [.., before, last] = stages else { return false };
    let ends_with_chain = |stage: &Stage| stage.tiles.last().is_some_and(Work::is_chain);
    let chains = last.tiles.iter().filter(|work| work.is_chain()).count();
    let stores = |&output: &usize| {
        let register = program.outputs[output].register;
        extents[register as usize] == Extent::Row
            || last.tiles.iter().flat_map(Work::steps).any(|step| step.direct == Some(output))
    };
    let whole = before.wide && last.wide && ends_with_chain(before) && ends_with_chain(last) && chains == 1;
    whole && last.folds.is_empty() && last.outputs.iter().all(stores)
}

/// What groups become; where results go is still open.
fn works(program: &Program, extents: &[Extent], groups: &[Group], needed: impl Fn(Register) -> bool) -> Vec<Work> {
    let work = |(number, group): (usize, &Group)| match group {
        Group::Single(register) => Work::Single(Step::new(program, *register)),
        Group::Chain(_) => {
            let fused = fuse::fuse(program, extents, groups, number, &needed);
            let registers = fused.written.iter().map(|&place| fused.places[place as usize].register);
            let steps = registers.map(|register| Step::new(program, register)).collect();
            Work::Chain(fused, steps)
        }
    };
    groups.iter().enumerate().map(work).collect()
}

/// Who reads registers otherwise than by a chain.
struct Readers {
    /// An instruction on its own, a fold or a second output reads it: it must be in memory, row after row.
    singles: Vec<bool>,
    /// A number per row that an instruction on its own reads beside full registers.
    repeats: Vec<bool>,
}

impl Readers {
    fn new(program: &Program, extents: &[Extent], order: &Order) -> Readers {
        let n = program.instructions.len();
        let mut readers = Readers { singles: vec![false; n], repeats: vec![false; n] };
        let mut single = |register: Register| {
            let instruction = &program.instructions[register as usize];
            let repeats =
                extents[register as usize] == Extent::Full && !matches!(instruction, Instruction::IsColumn { .. });
            for operand in instruction.operands() {
                readers.singles[operand as usize] = true;
                readers.repeats[operand as usize] |= extents[operand as usize] == Extent::Row && repeats;
            }
        };
        for stage in &order.stages {
            let lists = [&stage.rows, &stage.tiles];
            let mut chained: Vec<Register> = Vec::new();
            for group in lists.into_iter().flat_map(|list| fuse::groups(program, extents, list)) {
                match group {
                    Group::Single(register) => single(register),
                    Group::Chain(members) => chained.extend(members),
                }
            }
            stage.folds.iter().filter(|fold| !chained.contains(fold)).for_each(|&fold| single(fold));
        }
        for (number, output) in program.outputs.iter().enumerate() {
            let again = program.outputs[..number].iter().any(|other| other.register == output.register);
            readers.singles[output.register as usize] |=
                again || output.kind != OutputKind::Store || is_load(program, output.register);
        }
        readers
    }
}

impl Schedule {
    /// Takes note of the outputs that are written past the caches, and decides during which stage the next tile is
    /// fetched: the last that reads memory.
    pub(super) fn mark_streams(&mut self, program: &Program, streams: &[bool]) {
        for stage in &mut self.stages {
            let mut steps = stage.tiles.iter().flat_map(Work::steps);
            stage.streams = steps.any(|step| step.direct.is_some_and(|output| streams[output]));
            stage.fetches = false;
        }
        let reads =
            |stage: &Stage| stage.tiles.iter().flat_map(Work::steps).any(|step| is_load(program, step.register));
        if let Some(stage) = self.stages.iter().rposition(reads) {
            self.stages[stage].fetches = true;
        }
    }
}

fn is_load(program: &Program, register: Register) -> bool {
    matches!(program.instructions[register as usize], Instruction::Load { .. })
}

/// What the outputs depend on.
fn used(program: &Program) -> Vec<bool> {
    let mut used = vec![false; program.instructions.len()];
    for output in &program.outputs {
        used[output.register as usize] = true;
    }
    for i in (0..used.len()).rev() {
        if used[i] {
            for operand in program.instructions[i].operands() {
                used[operand as usize] = true;
            }
        }
    }
    used
}

/// Whether register `i` has in scratch the form that output `output` has in memory, column after column.
fn may_write_directly(program: &Program, geometry: &Geometry, i: usize, output: usize) -> bool {
    let access = &geometry.outputs[output];
    program.outputs[output].register as usize == i
        && program.outputs[output].kind == OutputKind::Store
        && !matches!(program.instructions[i], Instruction::Load { .. })
        && access.dtype.size() == lane_size(access.dtype)
        && access.column == 1
}

/// The registers of a stage, in order.
#[derive(Clone, Default)]
struct StageOrder {
    rows: Vec<Register>,
    tiles: Vec<Register>,
    folds: Vec<Register>,
}

struct Order {
    stages: Vec<StageOrder>,
    /// Needed by a later stage than the one that computes it.
    kept: Vec<bool>,
    /// The stage of each output.
    outputs: Vec<usize>,
}

impl Order {
    /// The same in one pass, where whole rows fit into a tile.
    fn flat(self, program: &Program, extents: &[Extent]) -> Order {
        let mut tiles: Vec<Register> = Vec::new();
        for mut stage in self.stages {
            let alone = stage.folds.into_iter().filter(|&fold| !fuse::links(program, extents, fold));
            stage.tiles.extend(alone);
            for register in stage.rows.into_iter().chain(stage.tiles) {
                // A chain may compute again what another one has computed; what is in memory stays there.
                if fuse::links(program, extents, register) || !tiles.contains(&register) {
                    tiles.push(register);
                }
            }
        }
        let stages = vec![StageOrder { tiles, ..StageOrder::default() }];
        Order { stages, kept: self.kept, outputs: vec![0; program.outputs.len()] }
    }

    /// A pass per depth of row folds.
    fn new(program: &Program, extents: &[Extent], used: &[bool]) -> Order {
        let n = program.instructions.len();
        let is_fold = |i: usize| matches!(program.instructions[i], Instruction::FoldRow { .. });
        // The stage in which a register can be read: a fold's after the pass that makes it.
        let mut ready = vec![0; n];
        for i in 0..n {
            let operands = program.instructions[i].operands();
            let latest = operands.iter().map(|&x| ready[x as usize]).max().unwrap_or(0);
            ready[i] = latest + usize::from(is_fold(i));
        }
        let again = |i: usize| is_cheap_again(program, extents, i);

        let mut outputs: Vec<usize> = program.outputs.iter().map(|output| ready[output.register as usize]).collect();
        let mut n_stages = outputs.iter().max().map_or(1, |&last| last + 1);
        loop {
            let mut stages = vec![StageOrder::default(); n_stages];
            let mut kept = vec![false; n];
            let mut needed = vec![vec![false; n]; n_stages];
            for (output, &stage) in program.outputs.iter().zip(&outputs) {
                needed[stage][output.register as usize] = true;
            }
            for i in (0..n).filter(|&i| used[i] && extents[i] == Extent::Row) {
                if is_fold(i) {
                    let stage = ready[i] - 1;
                    stages[stage].folds.push(i as Register);
                    for operand in program.instructions[i].operands() {
                        needed[stage][operand as usize] = true;
                    }
                } else {
                    stages[ready[i]].rows.push(i as Register);
                }
            }
            for stage in (0..n_stages).rev() {
                for i in (0..n).rev() {
                    if !needed[stage][i] || extents[i] != Extent::Full {
                        continue;
                    }
                    if ready[i] == stage || again(i) {
                        stages[stage].tiles.push(i as Register);
                        for operand in program.instructions[i].operands() {
                            needed[stage][operand as usize] = true;
                        }
                    } else {
                        kept[i] = true;
                        needed[ready[i]][i] = true;
                    }
                }
                stages[stage].tiles.reverse();
                let StageOrder { tiles, folds, .. } = &mut stages[stage];
                tiles.extend(folds.iter().filter(|&&fold| fuse::links(program, extents, fold)));
            }
            // A store must not come before a stage that reads memory again: it may be the same memory.
            let reads = |stage: &StageOrder| stage.tiles.iter().any(|&i| is_load(program, i));
            let last_read = stages.iter().rposition(reads).unwrap_or(0);
            let mut moved = false;
            for (output, stage) in program.outputs.iter().zip(&mut outputs) {
                if output.kind == OutputKind::Store && *stage < last_read {
                    *stage = last_read;
                    moved = true;
                }
            }
            if !moved {
                return Order { stages, kept, outputs };
            }
            n_stages = n_stages.max(last_read + 1);
        }
    }

    fn outputs_of(&self, stage: usize) -> Vec<usize> {
        (0..self.outputs.len()).filter(|&output| self.outputs[output] == stage).collect()
    }
}

/// Whether computing register `i` again costs less than keeping it for a whole row: loads, and simple functions of
/// them.
fn is_cheap_again(program: &Program, extents: &[Extent], i: usize) -> bool {
    let reads_memory_or_rows = |instruction: &Instruction| {
        instruction.operands().iter().all(|&x| {
            extents[x as usize] != Extent::Full
                || matches!(program.instructions[x as usize], Instruction::Load { .. } | Instruction::Column { .. })
        })
    };
    match &program.instructions[i] {
        Instruction::Load { .. } | Instruction::Column { .. } | Instruction::Constant { .. } => true,
        Instruction::IsColumn { x, .. } => extents[*x as usize] != Extent::Full || is_load(program, *x),
        instruction @ Instruction::Unary { f, .. } => {
            matches!(f, Unary::Neg | Unary::Abs | Unary::Square | Unary::Relu) && reads_memory_or_rows(instruction)
        }
        instruction @ Instruction::Binary { f, .. } => {
            matches!(f, Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min)
                && reads_memory_or_rows(instruction)
        }
        Instruction::Select { .. }
        | Instruction::Cast { .. }
        | Instruction::Random { .. }
        | Instruction::FoldRow { .. } => false,
    }
}
