//! What a program costs, to decide how many threads are worth it.

use thalweg_array::DType;
use thalweg_array::program::{Instruction, Program};
use thalweg_array::scalar::{Binary, Unary};

/// Nanoseconds per element on one thread of a processor with vectors of 512 bits and 2 GHz, roughly: measured with the
/// `tile_bench` example.
pub(super) fn nanoseconds_per_element(program: &Program) -> f64 {
    let instructions: f64 = program.instructions.iter().map(instruction).sum();
    // Writing, or putting together.
    instructions + 0.1 * program.outputs.len() as f64
}

/// The same of one instruction.
pub(super) fn instruction(instruction: &Instruction) -> f64 {
    match *instruction {
        Instruction::Load { .. } => 0.1,
        Instruction::Constant { .. } => 0.0,
        Instruction::IsColumn { .. } => 0.02,
        Instruction::Random { dtype, .. } => of(dtype, 1.0, 40.0),
        Instruction::Unary { f, dtype, .. } => match f {
            Unary::Asin | Unary::Acos => of(dtype, 5.0, 10.0),
            Unary::Exp | Unary::Expm1 | Unary::Log | Unary::Tanh | Unary::Sigmoid | Unary::Silu | Unary::Atan => {
                of(dtype, 0.4, 10.0)
            }
            Unary::Sin | Unary::Cos | Unary::Tan | Unary::Erf | Unary::Elu { .. } | Unary::Selu => of(dtype, 0.6, 10.0),
            Unary::Gelu | Unary::GeluTanh | Unary::Softplus | Unary::Log1p | Unary::Sinh | Unary::Cosh => {
                of(dtype, 1.0, 20.0)
            }
            Unary::Neg
            | Unary::Abs
            | Unary::Sign
            | Unary::Floor
            | Unary::Ceil
            | Unary::Round
            | Unary::Square
            | Unary::Reciprocal
            | Unary::Sqrt
            | Unary::Rsqrt
            | Unary::Not
            | Unary::Relu
            | Unary::LeakyRelu { .. }
            | Unary::HardTanh
            | Unary::IsNan
            | Unary::IsFinite => of(dtype, 0.1, 0.5),
        },
        Instruction::Binary { f, dtype, .. } => match f {
            Binary::Pow => of(dtype, 2.0, 20.0),
            Binary::Rem => of(dtype, 5.0, 10.0),
            _ => of(dtype, 0.1, 0.5),
        },
        Instruction::Column { .. }
        | Instruction::Select { .. }
        | Instruction::Cast { .. }
        | Instruction::FoldRow { .. } => 0.1,
    }
}

/// The cost of a function on f32, or of its plain loop on another dtype; the 16-bit floats are rounded after each.
fn of(dtype: DType, vector: f64, plain: f64) -> f64 {
    match dtype {
        DType::F32 => vector,
        DType::F16 | DType::BF16 => vector + 2.0,
        DType::F64 | DType::I32 | DType::I64 | DType::U8 | DType::Bool => plain,
    }
}
