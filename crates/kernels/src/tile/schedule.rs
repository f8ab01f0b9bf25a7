//! The order of the instructions, and where in scratch memory each register stands.

use thalweg_array::program::{Extent, Instruction, OutputKind, Program, Register};
use thalweg_array::scalar::{Binary, Unary};

use super::TILE;
use super::fuse::{Fusions, used};
use super::space::Geometry;
use crate::vector::lane_size;

/// An instruction and where its result goes.
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
    pub(super) rows: Vec<Step>,
    /// Executed for every tile.
    pub(super) tiles: Vec<Step>,
    /// Row folds that end with this stage.
    pub(super) folds: Vec<Step>,
    /// Read from earlier stages.
    pub(super) kept: Vec<Kept>,
    /// The outputs that are ready after a tile of this stage.
    pub(super) outputs: Vec<usize>,
    /// The operands of the next tile are fetched during this stage: nobody reads memory after it in this row.
    pub(super) fetches: bool,
    /// An output of it is written past the caches.
    pub(super) streams: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// What has one number for the whole space.
    pub(super) once: Vec<Step>,
    pub(super) stages: Vec<Stage>,
    /// The inputs that have a number for each element.
    pub(super) loads: Vec<usize>,
    /// More than one stage, row by row.
    pub(super) staged: bool,
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
    pub(super) fn new(program: &Program, geometry: &Geometry, fusions: &Fusions) -> Schedule {
        let extents = program.extents();
        let lanes: Vec<usize> = program.dtypes().into_iter().map(lane_size).collect();
        let n = program.instructions.len();
        let used = used(program, fusions);
        let has_row_folds = program.instructions.iter().any(|i| matches!(i, Instruction::FoldRow { .. }));
        let staged = has_row_folds && geometry.columns > TILE;

        let mut scratch = Scratch::default();
        // The current address of every register.
        scratch.take(n * size_of::<usize>());
        let once = (0..n)
            .filter(|&i| used[i] && extents[i] == Extent::One)
            .map(|i| Step {
                register: i as Register,
                offset: scratch.take(8),
                kept: false,
                repeated: None,
                direct: None,
            })
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

        let order = if staged {
            Order::staged(program, fusions, &extents, &used)
        } else {
            Order::flat(program, &extents, &used)
        };
        let row_offsets: Vec<Option<usize>> =
            (0..n).map(|i| (used[i] && staged && extents[i] == Extent::Row).then(|| scratch.take(8))).collect();
        let kept_offsets: Vec<Option<usize>> =
            (0..n).map(|i| order.kept[i].then(|| scratch.take(lanes[i] * geometry.columns))).collect();

        let mut stages = Vec::new();
        for (s, stage) in order.stages.iter().enumerate() {
            let outputs = order.outputs_of(s);
            let at_row = |&register: &Register| Step {
                register,
                offset: row_offsets[register as usize].unwrap_or_default(),
                kept: false,
                repeated: None,
                direct: None,
            };
            // The position after which nobody in this stage reads a register; outputs are stored at the end.
            let mut last_use = vec![0; n];
            for (position, &register) in stage.tiles.iter().enumerate() {
                for operand in fusions.operands(program, register as usize) {
                    last_use[operand as usize] = position;
                }
            }
            for &fold in &stage.folds {
                for operand in fusions.operands(program, fold as usize) {
                    last_use[operand as usize] = usize::MAX;
                }
            }
            for &output in &outputs {
                last_use[program.outputs[output].register as usize] = usize::MAX;
            }

            let mut held: Vec<(usize, usize)> = Vec::new();
            let mut tiles = Vec::new();
            for (position, &register) in stage.tiles.iter().enumerate() {
                let i = register as usize;
                let (offset, kept) = match kept_offsets[i] {
                    Some(offset) => (offset, true),
                    None => (scratch.take_tile(lanes[i]), false),
                };
                let repeated = (extents[i] == Extent::Row).then(|| scratch.take(lanes[i] * TILE));
                let direct = (!kept && extents[i] == Extent::Full)
                    .then(|| outputs.iter().copied().find(|&o| may_write_directly(program, geometry, i, o)))
                    .flatten();
                tiles.push(Step { register, offset, kept, repeated, direct });
                if !kept {
                    held.push((i, offset));
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
                .filter(|&i| order.kept[i] && !stage.tiles.contains(&(i as Register)))
                .filter_map(|i| kept_offsets[i].map(|offset| Kept { register: i as Register, offset }))
                .collect();
            stages.push(Stage {
                rows: stage.rows.iter().map(at_row).collect(),
                tiles,
                folds: stage.folds.iter().map(at_row).collect(),
                kept,
                outputs,
                fetches: false,
                streams: false,
            });
        }
        let loads = (0..n).filter_map(|i| match program.instructions[i] {
            Instruction::Load { input } if used[i] && extents[i] == Extent::Full => Some(input as usize),
            _ => None,
        });
        let loads = loads.collect();
        let mut schedule = Schedule { once, stages, loads, staged, totals, bytes: scratch.bytes };
        schedule.mark_streams(program, &vec![false; program.outputs.len()]);
        schedule
    }
}

impl Schedule {
    /// Takes note of the outputs that are written past the caches, and decides during which stage the next tile is
    /// fetched: beside such writes, which wait for memory in the same way, or else when nobody reads memory any more.
    pub(super) fn mark_streams(&mut self, program: &Program, streams: &[bool]) {
        for stage in &mut self.stages {
            stage.streams = stage.tiles.iter().any(|step| step.direct.is_some_and(|output| streams[output]));
            stage.fetches = false;
        }
        let reads = |stage: &Stage| stage.tiles.iter().any(|step| is_load(program, step.register));
        let writes = self.stages.iter().rposition(|stage| stage.streams);
        if let Some(stage) = writes.max(self.stages.iter().rposition(reads)) {
            self.stages[stage].fetches = true;
        }
    }
}

fn is_load(program: &Program, register: Register) -> bool {
    matches!(program.instructions[register as usize], Instruction::Load { .. })
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
    /// Everything in one pass, in the order of the program.
    fn flat(program: &Program, extents: &[Extent], used: &[bool]) -> Order {
        let n = program.instructions.len();
        let tiles = (0..n).filter(|&i| used[i] && extents[i] != Extent::One).map(|i| i as Register).collect();
        Order {
            stages: vec![StageOrder { tiles, ..StageOrder::default() }],
            kept: vec![false; n],
            outputs: vec![0; program.outputs.len()],
        }
    }

    /// A pass per depth of row folds.
    fn staged(program: &Program, fusions: &Fusions, extents: &[Extent], used: &[bool]) -> Order {
        let n = program.instructions.len();
        let is_fold = |i: usize| matches!(program.instructions[i], Instruction::FoldRow { .. });
        // The stage in which a register can be read: a fold's after the pass that makes it.
        let mut ready = vec![0; n];
        for i in 0..n {
            let operands = fusions.operands(program, i);
            let latest = operands.iter().map(|&x| ready[x as usize]).max().unwrap_or(0);
            ready[i] = latest + usize::from(is_fold(i));
        }
        let again = |i: usize| fusions.of(i as Register).is_none() && is_cheap_again(program, extents, i);

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
                    for operand in fusions.operands(program, i) {
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
                        for operand in fusions.operands(program, i) {
                            needed[stage][operand as usize] = true;
                        }
                    } else {
                        kept[i] = true;
                        needed[ready[i]][i] = true;
                    }
                }
                stages[stage].tiles.reverse();
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
