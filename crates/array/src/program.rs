//! A short register program over tiles: what a fused group of elementwise functions, row reductions and stores does.
//!
//! `plan` writes programs, `kernels` runs them. A program works on a space of rows × columns (the plan has collapsed
//! the axes of the tensors: the last axis is the columns, all before it the rows, in row-major order). The interpreter
//! walks it in tiles; a register holds one tile. Every instruction defines the register of its own position, so a
//! register is written once.
//!
//! A register has an [`Extent`]: a number for each element, for each row, or one for all. Where extents meet in one
//! instruction the smaller is repeated.

use crate::dtype::{DType, Scalar};
use crate::scalar::{Binary, Distribution, Fold, Unary};

/// The position of an instruction, and the register that it defines.
pub type Register = u16;

/// How many numbers a register holds for a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extent {
    /// One number for the whole space.
    One,
    /// One number per row.
    Row,
    /// One number per element.
    Full,
}

/// One step of a program. `dtype` is that of the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Instruction {
    /// The numbers of input `input` under the tile. Its extent is declared in [`Program::inputs`].
    Load { input: u16 },
    /// One number.
    Constant { value: Scalar, dtype: DType },
    /// Random numbers; the element's index is its row-major position in the space, `stream` that of the op.
    /// `dtype` is f32 or f64.
    Random { distribution: Distribution, dtype: DType, stream: u64 },
    /// The column of each element, as `dtype`.
    Column { dtype: DType },
    /// Whether x, an integer, is the column of the element.
    IsColumn { dtype: DType, x: Register },
    /// f(x)
    Unary { f: Unary, dtype: DType, x: Register },
    /// f(x, y)
    Binary { f: Binary, dtype: DType, x: Register, y: Register },
    /// x where the condition (bool) holds, else y.
    Select { dtype: DType, condition: Register, x: Register, y: Register },
    /// x converted ([`crate::Array::cast`]).
    Cast { from: DType, to: DType, x: Register },
    /// All numbers of a row put together: full → row. Where one stands, a row must be complete before what reads the
    /// result can begin; interpreters keep what is needed later of the whole row.
    FoldRow { f: Fold, dtype: DType, x: Register },
}

/// How an input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// The dtype in memory.
    pub dtype: DType,
    /// [`Extent::Full`] where the input varies along the columns, [`Extent::Row`] where it has one number per row,
    /// [`Extent::One`] for a single number.
    pub extent: Extent,
}

/// What becomes of a register at the end of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// The register.
    pub register: Register,
    /// What becomes of it.
    pub kind: OutputKind,
}

/// What becomes of a register at the end of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// Written: each element where the register is full, one number per row where it is a row.
    Store,
    /// The rows put together, column by column: a result as long as the last axis. For a space of three axes
    /// (outer, rows, columns) the rows of each outer index are put together on their own.
    FoldRows(Fold),
    /// Everything put together into one number.
    FoldAll(Fold),
}

/// The program of one fused group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// The inputs, in the order of the call's operands.
    pub inputs: Vec<Input>,
    /// The instructions; number i defines register i.
    pub instructions: Vec<Instruction>,
    /// The outputs, in the order of the call's results.
    pub outputs: Vec<Output>,
}

impl Program {
    /// Appends an instruction and gives its register.
    pub fn push(&mut self, instruction: Instruction) -> Register {
        self.instructions.push(instruction);
        (self.instructions.len() - 1) as Register
    }

    /// The dtype of each register.
    pub fn dtypes(&self) -> Vec<DType> {
        let mut dtypes = Vec::with_capacity(self.instructions.len());
        for instruction in &self.instructions {
            dtypes.push(match *instruction {
                Instruction::Load { input } => self.inputs[input as usize].dtype,
                Instruction::Constant { dtype, .. }
                | Instruction::Random { dtype, .. }
                | Instruction::Column { dtype }
                | Instruction::Select { dtype, .. }
                | Instruction::FoldRow { dtype, .. } => dtype,
                Instruction::IsColumn { .. } => DType::Bool,
                Instruction::Unary { f, dtype, .. } => f.result(dtype),
                Instruction::Binary { f, dtype, .. } => f.result(dtype),
                Instruction::Cast { to, .. } => to,
            });
        }
        dtypes
    }

    /// The extent of each register.
    pub fn extents(&self) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::with_capacity(self.instructions.len());
        for instruction in &self.instructions {
            extents.push(match *instruction {
                Instruction::Load { input } => self.inputs[input as usize].extent,
                Instruction::Constant { .. } => Extent::One,
                Instruction::Random { .. } | Instruction::Column { .. } | Instruction::IsColumn { .. } => Extent::Full,
                Instruction::FoldRow { .. } => Extent::Row,
                _ => instruction.operands().iter().map(|&x| extents[x as usize]).max().unwrap_or(Extent::One),
            });
        }
        extents
    }
}

impl Instruction {
    /// The registers that the instruction reads.
    pub fn operands(&self) -> smallvec::SmallVec<[Register; 3]> {
        match *self {
            Instruction::Load { .. }
            | Instruction::Constant { .. }
            | Instruction::Random { .. }
            | Instruction::Column { .. } => smallvec::smallvec![],
            Instruction::IsColumn { x, .. }
            | Instruction::Unary { x, .. }
            | Instruction::Cast { x, .. }
            | Instruction::FoldRow { x, .. } => smallvec::smallvec![x],
            Instruction::Binary { x, y, .. } => smallvec::smallvec![x, y],
            Instruction::Select { condition, x, y, .. } => smallvec::smallvec![condition, x, y],
        }
    }

    /// The registers that the instruction reads, for renumbering.
    pub fn operands_mut(&mut self) -> smallvec::SmallVec<[&mut Register; 3]> {
        match self {
            Instruction::Load { .. }
            | Instruction::Constant { .. }
            | Instruction::Random { .. }
            | Instruction::Column { .. } => smallvec::smallvec![],
            Instruction::IsColumn { x, .. }
            | Instruction::Unary { x, .. }
            | Instruction::Cast { x, .. }
            | Instruction::FoldRow { x, .. } => smallvec::smallvec![x],
            Instruction::Binary { x, y, .. } => smallvec::smallvec![x, y],
            Instruction::Select { condition, x, y, .. } => smallvec::smallvec![condition, x, y],
        }
    }
}
