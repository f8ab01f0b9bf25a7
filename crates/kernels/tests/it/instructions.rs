//! Every instruction alone, on every dtype and instruction set, over odd sizes, at odd addresses, forwards, backwards and
//! with gaps.

use thalweg_array::program::{Extent, Input, Instruction, Output, OutputKind, Program, Register};
use thalweg_array::scalar::{Binary, Fold, Unary};
use thalweg_array::{DType, Real, Scalar};
use thalweg_kernels::cpu::Isa;
use thalweg_kernels::tile::{Space, dense_strides};

use crate::tile::{Case, Memory, Way};

/// Columns: less than a vector, one more than vectors of 4, 8 and 16, more than a tile.
const COLUMNS: [usize; 4] = [1, 7, 33, 1030];
const ROWS: usize = 3;

/// Where the numbers of an input lie: the first element, and the step from column to column.
const LAYOUTS: [(usize, isize); 4] = [(0, 1), (1, 1), (3, 2), (5, -1)];

/// A program of `count` inputs and the instructions that `write` appends to them; what it gives back is stored.
fn program(dtypes: &[DType], write: impl FnOnce(&mut Program, &[Register]) -> Register, kind: OutputKind) -> Program {
    let inputs = dtypes.iter().map(|&dtype| Input { dtype, extent: Extent::Full });
    let mut program = Program { inputs: inputs.collect(), ..Program::default() };
    let loaded: Vec<Register> =
        (0..dtypes.len()).map(|input| program.push(Instruction::Load { input: input as u16 })).collect();
    let register = write(&mut program, &loaded);
    program.outputs.push(Output { register, kind });
    program
}

/// An input of `ROWS` rows in a layout: its memory, its first element, its strides.
fn operand(dtype: DType, columns: usize, (first, step): (usize, isize), seed: usize) -> (Memory, usize, Vec<isize>) {
    let wide = columns * step.unsigned_abs();
    let mut memory = Memory::new((first + ROWS * wide + 1) * dtype.size());
    for i in 0..first + ROWS * wide {
        // Steps of a prime through a range that all dtypes hold, zero and halves included.
        let quarters = ((i + 7 * seed) * 37 % 17) as f64 / 4.0 - 2.0;
        memory.write(
            dtype,
            i,
            match dtype {
                DType::Bool => (quarters > 0.0) as u8 as f64,
                DType::U8 => (quarters * 4.0 + 8.0).round(),
                DType::I32 | DType::I64 => (quarters * 2.0).round(),
                DType::F32 | DType::F64 | DType::F16 | DType::BF16 => quarters,
            },
        );
    }
    let begin = if step < 0 { first + columns - 1 } else { first };
    (memory, begin, vec![wide as isize, step])
}

/// Holds `program` against the naive evaluation in all layouts, sizes and instruction sets.
fn check(what: &str, program: &Program) {
    for columns in COLUMNS {
        let dims = vec![ROWS, columns];
        for (number, layout) in LAYOUTS.into_iter().enumerate() {
            // The second operand lies otherwise than the first.
            let layouts =
                (0..).map(|input| if input == 0 { layout } else { LAYOUTS[(number + input) % LAYOUTS.len()] });
            let operands = program.inputs.iter().zip(layouts).enumerate();
            let operands = operands.map(|(seed, (input, layout))| operand(input.dtype, columns, layout, seed));
            let (inputs, strides) = operands.map(|(memory, first, strides)| ((memory, first), strides)).unzip();
            let output = &program.outputs[0];
            let outputs = match program.extents()[output.register as usize] {
                Extent::Full => dense_strides(&dims),
                Extent::Row | Extent::One => vec![1, 0],
            };
            let space = Space { dims: dims.clone(), outer: 0, inputs: strides, outputs: vec![outputs] };
            let mut case = Case { program: program.clone(), space, inputs, isa: Isa::Portable };
            for isa in Isa::available() {
                case.isa = isa;
                case.check(&format!("{what} {isa} {columns} columns, layout {layout:?}"));
            }
        }
    }
}

#[test]
fn functions_of_one_number() {
    use Unary::*;
    let slope = Real(0.25);
    let functions = [
        Neg,
        Abs,
        Sign,
        Floor,
        Ceil,
        Round,
        Square,
        Reciprocal,
        Sqrt,
        Rsqrt,
        Exp,
        Expm1,
        Log,
        Log1p,
        Sin,
        Cos,
        Tan,
        Asin,
        Acos,
        Atan,
        Sinh,
        Cosh,
        Tanh,
        Erf,
        Not,
        Sigmoid,
        Softplus,
        Relu,
        LeakyRelu { slope },
        Elu { alpha: slope },
        Selu,
        Gelu,
        GeluTanh,
        Silu,
        HardTanh,
        IsNan,
        IsFinite,
    ];
    for dtype in DType::ALL {
        for f in functions.into_iter().filter(|f| f.accepts(dtype)) {
            let write = |program: &mut Program, x: &[Register]| program.push(Instruction::Unary { f, dtype, x: x[0] });
            check(&format!("{f:?} {dtype}"), &program(&[dtype], write, OutputKind::Store));
        }
    }
}

#[test]
fn functions_of_two_numbers() {
    use Binary::*;
    for dtype in DType::ALL {
        for f in [Add, Sub, Mul, Div, Rem, Pow, Max, Min, Eq, Ne, Lt, Le, Gt, Ge, And, Or, Xor] {
            if f.accepts(dtype) {
                let write = |program: &mut Program, x: &[Register]| {
                    program.push(Instruction::Binary { f, dtype, x: x[0], y: x[1] })
                };
                check(&format!("{f:?} {dtype}"), &program(&[dtype, dtype], write, OutputKind::Store));
            }
        }
    }
}

#[test]
fn a_number_beside_a_register() {
    for dtype in DType::ALL {
        for f in [Binary::Sub, Binary::Mul, Binary::Max, Binary::Lt].into_iter().filter(|f| f.accepts(dtype)) {
            for first in [true, false] {
                let write = |program: &mut Program, x: &[Register]| {
                    let one = program.push(Instruction::Constant { value: Scalar::Int(1), dtype });
                    let (x, y) = if first { (one, x[0]) } else { (x[0], one) };
                    program.push(Instruction::Binary { f, dtype, x, y })
                };
                check(
                    &format!("{f:?} {dtype}, the number first: {first}"),
                    &program(&[dtype], write, OutputKind::Store),
                );
            }
        }
    }
}

#[test]
fn choices() {
    for dtype in DType::ALL {
        let write = |program: &mut Program, x: &[Register]| {
            program.push(Instruction::Select { dtype, condition: x[0], x: x[1], y: x[2] })
        };
        check(&format!("select {dtype}"), &program(&[DType::Bool, dtype, dtype], write, OutputKind::Store));
    }
}

#[test]
fn conversions() {
    for from in DType::ALL {
        for to in DType::ALL {
            let write = |program: &mut Program, x: &[Register]| program.push(Instruction::Cast { from, to, x: x[0] });
            check(&format!("{from} to {to}"), &program(&[from], write, OutputKind::Store));
        }
    }
}

#[test]
fn numbers_of_columns() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        // There are more columns than u8 has numbers.
        if dtype != DType::U8 {
            let column = |program: &mut Program, _: &[Register]| program.push(Instruction::Column { dtype });
            check(&format!("{dtype} columns"), &program(&[dtype], column, OutputKind::Store));
        }
        if dtype.is_float() {
            continue;
        }
        let each = |program: &mut Program, x: &[Register]| program.push(Instruction::IsColumn { dtype, x: x[0] });
        check(&format!("{dtype} is a column"), &program(&[dtype], each, OutputKind::Store));
        let of_row = |program: &mut Program, x: &[Register]| {
            let x = program.push(Instruction::FoldRow { f: Fold::Max, dtype, x: x[0] });
            program.push(Instruction::IsColumn { dtype, x })
        };
        check(&format!("{dtype} of a row is a column"), &program(&[dtype], of_row, OutputKind::Store));
    }
}

#[test]
fn folds_of_rows_of_columns_and_of_all() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        for f in [Fold::Sum, Fold::Max, Fold::Min, Fold::Prod] {
            // Products of integers overflow.
            if f == Fold::Prod && !dtype.is_float() {
                continue;
            }
            let row = |program: &mut Program, x: &[Register]| program.push(Instruction::FoldRow { f, dtype, x: x[0] });
            check(&format!("{f:?} {dtype} of rows"), &program(&[dtype], row, OutputKind::Store));
            for kind in [OutputKind::FoldRows(f), OutputKind::FoldAll(f)] {
                check(&format!("{kind:?} {dtype}"), &program(&[dtype], |_, x| x[0], kind));
            }
        }
    }
}

#[test]
fn results_at_odd_addresses() {
    for dtype in DType::ALL {
        let f = if dtype == DType::Bool { Binary::Xor } else { Binary::Max };
        let write =
            |program: &mut Program, x: &[Register]| program.push(Instruction::Binary { f, dtype, x: x[0], y: x[1] });
        let program = program(&[dtype, dtype], write, OutputKind::Store);
        for columns in COLUMNS {
            let dims = vec![ROWS, columns];
            let count = ROWS * columns;
            let operands = [(1, LAYOUTS[0]), (2, LAYOUTS[1])];
            let operands = operands.map(|(seed, layout)| operand(dtype, columns, layout, seed));
            let (inputs, strides) = operands.into_iter().map(|(memory, first, s)| ((memory, first), s)).unzip();
            let outputs = vec![dense_strides(&dims)];
            let space = Space { dims, outer: 0, inputs: strides, outputs };
            let mut case = Case { program: program.clone(), space, inputs, isa: Isa::Portable };
            for isa in Isa::available() {
                case.isa = isa;
                let expected = case.numbers(0, &case.run(Way::Threads(1))[0]);
                let mut memory = Memory::new((count + 2) * dtype.size());
                for border in [0, count + 1] {
                    memory.write(dtype, border, 1.0);
                }
                case.run_into(Way::Threads(2), &case.addresses(), &[memory.at(dtype.size())]);
                let found: Vec<f64> = (0..count + 2).map(|i| memory.read(dtype, i)).collect();
                assert_eq!(found[1..=count], expected, "{dtype} {isa} {columns} columns");
                assert_eq!(
                    (found[0], found[count + 1]),
                    (1.0, 1.0),
                    "{dtype} {isa} {columns} columns: beside the result"
                );
            }
        }
    }
}
