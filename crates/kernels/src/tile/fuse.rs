//! A few arithmetic instructions in one pass over their operands.
//!
//! Simple arithmetic waits for the first-level cache, not for the processor: what one instruction leaves and the next
//! takes up again need not go there. Every operation still rounds as it would alone, so the bits are the same; only a
//! quotient by a root may differ from the separate ones in the last place, see [`vector::ratio`](crate::vector::ratio).

use smallvec::{SmallVec, smallvec};
use thalweg_array::DType;
use thalweg_array::program::{Extent, Instruction, Program, Register};
use thalweg_array::scalar::{Binary, Unary};

/// An f32 instruction together with those whose results nobody else reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fused {
    /// z + x·y.
    MulAdd { x: Register, y: Register, z: Register },
    /// z − x·y.
    MulSub { x: Register, y: Register, z: Register },
    /// x·s + y·t with one s and t for the whole space.
    Weighted { x: Register, s: Register, y: Register, t: Register },
    /// √x + y.
    SqrtAdd { x: Register, y: Register },
    /// e^(x − y).
    ExpSub { x: Register, y: Register },
    /// x / (√y + z) with one z for the whole space.
    Ratio { x: Register, y: Register, z: Register },
    /// w − s·x / (√y + z) with one s and z for the whole space.
    RatioStep { w: Register, s: Register, x: Register, y: Register, z: Register },
}

impl Fused {
    /// The registers that are read.
    fn operands(self) -> SmallVec<[Register; 5]> {
        match self {
            Fused::MulAdd { x, y, z } | Fused::MulSub { x, y, z } | Fused::Ratio { x, y, z } => smallvec![x, y, z],
            Fused::Weighted { x, s, y, t } => smallvec![x, s, y, t],
            Fused::SqrtAdd { x, y } | Fused::ExpSub { x, y } => smallvec![x, y],
            Fused::RatioStep { w, s, x, y, z } => smallvec![w, s, x, y, z],
        }
    }
}

/// What is executed for each register of a program.
#[derive(Clone, Debug)]
pub(super) struct Fusions {
    /// In place of the instruction.
    fused: Vec<Option<Fused>>,
    /// Registers that nobody reads any more.
    absorbed: Vec<bool>,
}

impl Fusions {
    pub(super) fn new(program: &Program) -> Fusions {
        let n = program.instructions.len();
        let extents = program.extents();
        let mut readers = vec![0; n];
        for instruction in &program.instructions {
            for operand in instruction.operands() {
                readers[operand as usize] += 1;
            }
        }
        for output in &program.outputs {
            // An output is somebody else, and a fold reads what is stored.
            readers[output.register as usize] += 2;
        }
        let mut fusions = Fusions { fused: vec![None; n], absorbed: vec![false; n] };
        for i in (0..n).rev() {
            if extents[i] == Extent::Full && !fusions.absorbed[i] {
                fusions.fuse(program, &extents, &readers, i);
            }
        }
        fusions
    }

    fn fuse(&mut self, program: &Program, extents: &[Extent], readers: &[usize], i: usize) {
        let is_full = |register: Register| extents[register as usize] == Extent::Full;
        let is_one = |register: Register| extents[register as usize] == Extent::One;
        let alone = |register: Register| is_full(register) && readers[register as usize] == 1;
        let binary = |register: Register| match program.instructions[register as usize] {
            Instruction::Binary { f, dtype: DType::F32, x, y } => Some((f, x, y)),
            _ => None,
        };
        if let Instruction::Unary { f: Unary::Exp, dtype: DType::F32, x: difference } = program.instructions[i]
            && let Instruction::Binary { f: Binary::Sub, x, y, .. } = program.instructions[difference as usize]
            && alone(difference)
            && is_full(x)
        {
            self.fused[i] = Some(Fused::ExpSub { x, y });
            self.absorbed[difference as usize] = true;
            return;
        }
        // The factors, a full one first.
        let product = |register: Register| match binary(register) {
            Some((Binary::Mul, x, y)) if alone(register) => Some(if is_full(x) { (x, y) } else { (y, x) }),
            _ => None,
        };
        let root = |register: Register| match program.instructions[register as usize] {
            Instruction::Unary { f: Unary::Sqrt, dtype: DType::F32, x } if alone(register) => Some(x),
            _ => None,
        };
        // Of x / (√y + z): x, y, z, the root and the sum.
        let ratio = |register: Register| {
            let (Binary::Div, x, sum) = binary(register)? else { return None };
            let (Binary::Add, left, right) = binary(sum)? else { return None };
            let (square_root, z) = if is_one(right) { (left, right) } else { (right, left) };
            let y = root(square_root)?;
            (is_full(x) && is_one(z) && alone(sum)).then_some((x, y, z, [square_root, sum]))
        };
        let Some((f, left, right)) = binary(i as Register) else { return };
        let (fused, absorbed): (Fused, SmallVec<[Register; 4]>) = match (f, product(left), product(right)) {
            (Binary::Div, ..) => match ratio(i as Register) {
                Some((x, y, z, absorbed)) => (Fused::Ratio { x, y, z }, SmallVec::from_slice(&absorbed)),
                None => return,
            },
            (Binary::Add, Some((x, s)), Some((y, t))) if is_one(s) && is_one(t) => {
                (Fused::Weighted { x, s, y, t }, smallvec![left, right])
            }
            (Binary::Add, Some((x, y)), _) => (Fused::MulAdd { x, y, z: right }, smallvec![left]),
            (Binary::Add, _, Some((x, y))) => (Fused::MulAdd { x, y, z: left }, smallvec![right]),
            (Binary::Sub, _, Some((quotient, s))) => match ratio(quotient) {
                Some((x, y, z, [square_root, sum])) if alone(quotient) && is_full(left) && is_one(s) => {
                    (Fused::RatioStep { w: left, s, x, y, z }, smallvec![right, quotient, square_root, sum])
                }
                _ => (Fused::MulSub { x: quotient, y: s, z: left }, smallvec![right]),
            },
            _ => match (f, root(left), root(right)) {
                (Binary::Add, Some(x), _) => (Fused::SqrtAdd { x, y: right }, smallvec![left]),
                (Binary::Add, _, Some(x)) => (Fused::SqrtAdd { x, y: left }, smallvec![right]),
                _ => return,
            },
        };
        self.fused[i] = Some(fused);
        absorbed.iter().for_each(|&register| self.absorbed[register as usize] = true);
    }

    /// What is executed in place of the instruction of a register.
    pub(super) fn of(&self, register: Register) -> Option<Fused> {
        self.fused[register as usize]
    }

    /// The registers that are read for register `i`.
    pub(super) fn operands(&self, program: &Program, i: usize) -> SmallVec<[Register; 5]> {
        match self.fused[i] {
            Some(fused) => fused.operands(),
            None => program.instructions[i].operands().into_iter().collect(),
        }
    }
}

/// What the outputs depend on.
pub(super) fn used(program: &Program, fusions: &Fusions) -> Vec<bool> {
    let mut used = vec![false; program.instructions.len()];
    for output in &program.outputs {
        used[output.register as usize] = true;
    }
    for i in (0..used.len()).rev() {
        if used[i] {
            for operand in fusions.operands(program, i) {
                used[operand as usize] = true;
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_array::program::{Input, Output, OutputKind};

    /// `f(a, b, c)` as a program over three tensors.
    fn program(f: impl Fn(&mut Program, [Register; 3]) -> Register) -> Program {
        let input = Input { dtype: DType::F32, extent: Extent::Full };
        let mut program = Program { inputs: vec![input; 3], ..Program::default() };
        let loaded = std::array::from_fn(|input| program.push(Instruction::Load { input: input as u16 }));
        let register = f(&mut program, loaded);
        program.outputs.push(Output { register, kind: OutputKind::Store });
        program
    }

    fn binary(program: &mut Program, f: Binary, x: Register, y: Register) -> Register {
        program.push(Instruction::Binary { f, dtype: DType::F32, x, y })
    }

    #[test]
    fn a_product_goes_into_the_sum_that_alone_reads_it() {
        let p = program(|p, [a, b, c]| {
            let product = binary(p, Binary::Mul, a, b);
            binary(p, Binary::Sub, c, product)
        });
        let fusions = Fusions::new(&p);
        assert_eq!(fusions.of(4), Some(Fused::MulSub { x: 0, y: 1, z: 2 }));
        assert!(!used(&p, &fusions)[3]);
    }

    #[test]
    fn a_step_by_a_quotient_over_a_root_is_one_instruction() {
        let one = |value| Instruction::Constant { value, dtype: DType::F32 };
        let p = program(|p, [w, m, v]| {
            let (eps, rate) = (p.push(one(1e-8.into())), p.push(one(0.5.into())));
            let root = p.push(Instruction::Unary { f: Unary::Sqrt, dtype: DType::F32, x: v });
            let sum = binary(p, Binary::Add, root, eps);
            let quotient = binary(p, Binary::Div, m, sum);
            let product = binary(p, Binary::Mul, rate, quotient);
            binary(p, Binary::Sub, w, product)
        });
        let fusions = Fusions::new(&p);
        assert_eq!(fusions.of(9), Some(Fused::RatioStep { w: 0, s: 4, x: 1, y: 2, z: 3 }));
        assert_eq!(used(&p, &fusions)[5..9], [false; 4]);
    }

    #[test]
    fn what_others_read_stays() {
        let p = program(|p, [a, b, c]| {
            let product = binary(p, Binary::Mul, a, b);
            let sum = binary(p, Binary::Add, product, c);
            binary(p, Binary::Div, sum, product)
        });
        let fusions = Fusions::new(&p);
        assert_eq!(fusions.of(4), None);
        assert!(used(&p, &fusions)[3]);
        // The same register twice is read twice.
        let p = program(|p, [a, b, _]| {
            let product = binary(p, Binary::Mul, a, b);
            binary(p, Binary::Add, product, product)
        });
        assert_eq!(Fusions::new(&p).of(4), None);
    }
}
