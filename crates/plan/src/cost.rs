//! What a call costs, from its sizes alone: arithmetic and memory traffic.

use thalweg_graph::array::program::{Instruction, OutputKind};

use crate::plan::{Call, Epilogue, Kernel, Plan};

/// What a call does and moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations (integer ones count the same); a multiply-add is two, a function one.
    pub flops: u64,
    /// Bytes read and written, each buffer once.
    pub bytes: u64,
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl Plan {
    /// The cost of a call of this plan.
    pub fn cost(&self, call: &Call) -> Cost {
        let bytes = |buffer: &crate::BufferId| self[*buffer].bytes() as u64;
        if let Kernel::Loop(repeat) = &call.kernel {
            return repeat.cost();
        }
        let moved = call.kernel.reads().iter().chain(&call.kernel.writes()).map(bytes).sum();
        let flops = match &call.kernel {
            Kernel::Map(map) => program_flops(&map.program.instructions, &map.dims) + fold_flops(map),
            Kernel::MatMul(matmul) => {
                let batch: usize = matmul.batch.iter().product();
                let product = 2 * (batch * matmul.m * matmul.n * matmul.k) as u64;
                let space = [batch, matmul.m, matmul.n];
                product + matmul.epilogue.as_ref().map_or(0, |e| program_flops(&e.program.instructions, &space))
            }
            Kernel::Convolution(convolution) => {
                let epilogue = convolution.epilogue.as_ref();
                let program = |e: &Epilogue| program_flops(&e.program.instructions, &convolution.result());
                convolution.flops() + epilogue.map_or(0, program)
            }
            Kernel::Attention(attention) => attention.flops(),
            Kernel::ScatterAdd { updates, .. } | Kernel::ScatterAddAlong { updates, .. } => {
                self[*updates].count() as u64
            }
            Kernel::CumSum { x, .. }
            | Kernel::ArgReduce { x, .. }
            | Kernel::Fold { x, .. }
            | Kernel::OverlapAdd { x, .. } => self[*x].count() as u64,
            Kernel::ArgSort { x, around, .. } => self[*x].count() as u64 * u64::from(around.size.max(1).ilog2() + 1),
            Kernel::Copy { .. }
            | Kernel::Assemble { .. }
            | Kernel::Fill { .. }
            | Kernel::Gather { .. }
            | Kernel::TakeAlong { .. }
            | Kernel::CheckIndices { .. }
            | Kernel::Loop(_)
            | Kernel::Custom { .. } => 0,
        };
        Cost { flops, bytes: moved }
    }

    /// The cost of the whole plan.
    pub fn total_cost(&self) -> Cost {
        self.calls.iter().map(|call| self.cost(call)).fold(Cost::default(), |sum, cost| sum + cost)
    }
}

fn program_flops(instructions: &[Instruction], dims: &[usize]) -> u64 {
    let elements: u64 = dims.iter().map(|&size| size as u64).product();
    let counts = |instruction: &&Instruction| match instruction {
        Instruction::Load { .. } | Instruction::Constant { .. } | Instruction::Column { .. } => false,
        Instruction::Random { .. }
        | Instruction::IsColumn { .. }
        | Instruction::Unary { .. }
        | Instruction::Binary { .. }
        | Instruction::Select { .. }
        | Instruction::Cast { .. }
        | Instruction::FoldRow { .. } => true,
    };
    instructions.iter().filter(counts).count() as u64 * elements
}

fn fold_flops(map: &crate::Map) -> u64 {
    let elements: u64 = map.dims.iter().map(|&size| size as u64).product();
    map.program.outputs.iter().filter(|output| output.kind != OutputKind::Store).count() as u64 * elements
}
