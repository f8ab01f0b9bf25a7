//! Which f32 instructions run as one chain, and its links.
//!
//! Simple arithmetic waits for the first-level cache, not for the processor: what one instruction leaves and the next
//! takes up again need not go there. So instructions that come one after the other become a [`Chain`], whose accumulator stays in vector
//! registers. An instruction whose result is needed once is computed where it is needed; what is needed more often is kept
//! in memory, or computed again where that is one operation.
//!
//! Every operation still rounds as it would alone, so the bits are the same; only a quotient by a root may
//! differ from the separate ones in the last place, see [`Op::Ratio`].

use thalweg_array::DType;
use thalweg_array::program::{Extent, Instruction, Program, Register};
use thalweg_array::scalar::{Binary, Fold, Unary};

use crate::vector::chain::{COMPARISONS, Chain, Link, MOST_FOLDS, MOST_PLACES, Op};

/// Instructions that are executed together.
#[derive(Clone, Debug)]
pub(super) enum Group {
    /// One, by a kernel of its own.
    Single(Register),
    /// Several, by a chain, in an order in which they may be computed.
    Chain(Vec<Register>),
}

impl Group {
    pub(super) fn has(&self, register: Register) -> bool {
        match self {
            Group::Single(single) => *single == register,
            Group::Chain(members) => members.contains(&register),
        }
    }

    fn members(&self) -> &[Register] {
        match self {
            Group::Single(single) => std::slice::from_ref(single),
            Group::Chain(members) => members,
        }
    }
}

/// Puts instructions, given in an order in which they may be executed, into groups.
pub(super) fn groups(program: &Program, extents: &[Extent], order: &[Register]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut open: Vec<Register> = Vec::new();
    let close = |open: &mut Vec<Register>, groups: &mut Vec<Group>| {
        match open[..] {
            [] => {}
            [single] if !gains_alone(program, single) => groups.push(Group::Single(single)),
            _ => groups.push(Group::Chain(std::mem::take(open))),
        }
        open.clear();
    };
    for &register in order {
        let operands = program.instructions[register as usize].operands();
        if links(program, extents, register) {
            let goes_on =
                open.first().is_none_or(|&first| space(program, extents, first) == space(program, extents, register));
            // What a fold gives is there when the row is at its end.
            let waits = operands.iter().any(|operand| is_fold(program, *operand) && open.contains(operand));
            if !goes_on || waits || is_full_up(program, &open, register) {
                close(&mut open, &mut groups);
            }
            open.push(register);
        } else {
            // What does not depend on the open chain may come before it.
            if operands.iter().any(|operand| open.contains(operand)) {
                close(&mut open, &mut groups);
            }
            groups.push(Group::Single(register));
        }
    }
    close(&mut open, &mut groups);
    groups
}

/// The numbers that a chain with this instruction runs over: all, or one per row.
fn space(program: &Program, extents: &[Extent], register: Register) -> Extent {
    if is_fold(program, register) { Extent::Full } else { extents[register as usize] }
}

fn is_fold(program: &Program, register: Register) -> bool {
    matches!(program.instructions[register as usize], Instruction::FoldRow { .. })
}

/// Whether there is no room in a chain for one more.
fn is_full_up(program: &Program, open: &[Register], next: Register) -> bool {
    let mut places: Vec<Register> = Vec::new();
    for &member in open.iter().chain([&next]) {
        places.push(member);
        places.extend(program.instructions[member as usize].operands());
    }
    places.sort_unstable();
    places.dedup();
    places.len() > MOST_PLACES
        || open.iter().chain([&next]).filter(|&&member| is_fold(program, member)).count() > MOST_FOLDS
}

/// Whether a chain of one instruction is as good as its kernel: of functions without a vector form it is not.
fn gains_alone(program: &Program, register: Register) -> bool {
    match program.instructions[register as usize] {
        Instruction::Unary { f, .. } => operation(f).is_some() || has_vector_form(f),
        _ => true,
    }
}

fn has_vector_form(f: Unary) -> bool {
    matches!(f, Unary::Exp | Unary::Erf | Unary::Tanh | Unary::Gelu | Unary::Softplus)
}

/// Whether an instruction can be a link.
pub(super) fn links(program: &Program, extents: &[Extent], register: Register) -> bool {
    let extent = extents[register as usize];
    let same = |x: Register| extents[x as usize] == extent;
    match program.instructions[register as usize] {
        Instruction::FoldRow { f, dtype: DType::F32, .. } => f != Fold::Prod,
        _ if extent == Extent::One => false,
        Instruction::Unary { f: Unary::IsNan | Unary::Not, .. } => false,
        Instruction::Unary { dtype: DType::F32, .. } => true,
        Instruction::Binary { f, dtype: DType::F32, .. } => {
            COMPARISONS.contains(&f)
                || matches!(f, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Max | Binary::Min)
        }
        Instruction::Select { dtype: DType::F32, condition, .. } => same(condition),
        _ => false,
    }
}

/// The link of a function that is one operation.
fn operation(f: Unary) -> Option<Op> {
    match f {
        Unary::Neg => Some(Op::Neg),
        Unary::Abs => Some(Op::Abs),
        Unary::Square => Some(Op::Square),
        Unary::Sqrt => Some(Op::Sqrt),
        Unary::Rsqrt => Some(Op::Rsqrt),
        Unary::Reciprocal => Some(Op::Reciprocal),
        Unary::Relu => Some(Op::Relu),
        _ => None,
    }
}

/// A place of a chain: a register, and the bytes of a number of it; 0 where all numbers of a row share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainPlace {
    pub(super) register: Register,
    pub(super) unit: usize,
}

/// A chain and what its places are.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    pub(super) chain: Chain,
    pub(super) places: Vec<ChainPlace>,
    /// The places that are written.
    pub(super) written: Vec<u8>,
    /// What it runs over: all numbers, or one per row.
    pub(super) space: Extent,
    /// Whether each row must be run on its own.
    pub(super) by_row: bool,
}

impl Fused {
    /// The places of those that are written which `results` names by their bits.
    pub(super) fn places_of(&self, results: u32) -> u32 {
        let named = self.written.iter().enumerate().filter(|(number, _)| results & (1 << number) != 0);
        named.fold(0, |places, (_, place)| places | 1 << place)
    }
}

/// Writes the chain of `group`, one of `groups`; `needed` says which registers must be in memory afterwards besides those that other
/// groups read.
pub(super) fn fuse(
    program: &Program,
    extents: &[Extent],
    groups: &[Group],
    group: usize,
    needed: impl Fn(Register) -> bool,
) -> Fused {
    let members = groups[group].members();
    let n = program.instructions.len();
    let mut writer = Writer {
        program,
        extents,
        space: space(program, extents, members[0]),
        member: vec![false; n],
        uses: vec![0; n],
        needed: vec![false; n],
        stored: vec![false; n],
        accumulator: None,
        fused: Fused {
            chain: Chain::default(),
            places: Vec::new(),
            written: Vec::new(),
            space: space(program, extents, members[0]),
            by_row: false,
        },
    };
    for &member in members {
        writer.member[member as usize] = true;
        // What an earlier group has left in memory is there.
        let earlier = groups[..group].iter().any(|other| other.has(member));
        if earlier && is_read_elsewhere(program, groups, member, &needed) {
            writer.member[member as usize] = false;
        }
    }
    for &member in members.iter().filter(|&&member| writer.member[member as usize]) {
        for operand in program.instructions[member as usize].operands() {
            writer.uses[operand as usize] += 1;
        }
        writer.needed[member as usize] = is_read_elsewhere(program, groups, member, &needed);
    }
    for &member in members {
        let i = member as usize;
        if writer.member[i] && (writer.needed[i] || is_fold(program, member)) && !writer.stored[i] {
            writer.value(member);
        }
    }
    writer.fused
}

/// Whether a register must be in memory: it is needed after all groups, or read by a group that does not compute it
/// itself.
fn is_read_elsewhere(
    program: &Program,
    groups: &[Group],
    register: Register,
    needed: impl Fn(Register) -> bool,
) -> bool {
    needed(register)
        || groups.iter().filter(|group| !group.has(register)).any(|group| {
            let reads = |&member: &Register| program.instructions[member as usize].operands().contains(&register);
            group.members().iter().any(reads)
        })
}

/// Writes the links of one chain, from what is needed back to what it is computed from.
struct Writer<'a> {
    program: &'a Program,
    extents: &'a [Extent],
    space: Extent,
    /// Computed by this chain.
    member: Vec<bool>,
    /// How often the members read each register.
    uses: Vec<usize>,
    /// Must be in memory at the end.
    needed: Vec<bool>,
    /// Is in memory already.
    stored: Vec<bool>,
    /// What the accumulator holds.
    accumulator: Option<Register>,
    fused: Fused,
}

impl Writer<'_> {
    /// Whether the register has a number for each that the chain runs over.
    fn is_full(&self, register: Register) -> bool {
        self.extents[register as usize] == self.space
    }

    fn is_in_memory(&self, register: Register) -> bool {
        !self.member[register as usize] || self.stored[register as usize]
    }

    /// Whether nobody but one link needs the register.
    fn is_passing(&self, register: Register) -> bool {
        let i = register as usize;
        !self.is_in_memory(register) && self.uses[i] == 1 && !self.needed[i] && self.accumulator != Some(register)
    }

    fn place(&mut self, register: Register) -> u8 {
        let unit = match self.program.instructions[register as usize] {
            _ if !self.is_full(register) => 0,
            Instruction::Binary { f, .. } if COMPARISONS.contains(&f) => 1,
            Instruction::Unary { f: Unary::IsFinite | Unary::IsNan, .. } | Instruction::IsColumn { .. } => 1,
            _ => 4,
        };
        self.place_of(register, unit)
    }

    fn place_of(&mut self, register: Register, unit: usize) -> u8 {
        self.fused.by_row |= unit == 0 && self.extents[register as usize] == Extent::Row && self.space == Extent::Full;
        let place = ChainPlace { register, unit };
        let known = self.fused.places.iter().position(|&other| other == place);
        known.unwrap_or_else(|| {
            self.fused.places.push(place);
            self.fused.places.len() - 1
        }) as u8
    }

    fn link(&mut self, op: Op, y: u8, z: u8, to: u8) {
        self.fused.chain.links.push(Link { op, y, z, to });
    }

    /// A link with an operand that is in memory: the first operation where it is full, the second where it is one number.
    fn link_with(&mut self, [full, one]: [Op; 2], operand: Register, z: u8, to: u8) {
        let op = if self.is_full(operand) { full } else { one };
        let place = self.place(operand);
        self.link(op, place, z, to);
    }

    /// Takes note that a link has written `register`, and gives its place.
    fn written(&mut self, register: Register) -> u8 {
        self.stored[register as usize] = true;
        let place = self.place(register);
        self.fused.written.push(place);
        place
    }

    /// Keeps what the accumulator holds.
    fn keep(&mut self, register: Register) {
        let to = self.written(register);
        self.link(Op::Keep, 0, 0, to);
    }

    /// Brings a register into the accumulator.
    fn value(&mut self, register: Register) {
        if self.accumulator == Some(register) {
            return;
        }
        if self.is_in_memory(register) {
            self.link_with([Op::Load, Op::LoadOne], register, 0, 0);
            self.accumulator = Some(register);
            return;
        }
        if !self.compute(register) {
            return;
        }
        self.accumulator = Some(register);
        let (i, uses) = (register as usize, self.uses[register as usize]);
        if self.needed[i] || uses > 2 || uses == 2 && !self.is_cheap(register) {
            self.keep(register);
        }
    }

    /// Has a register in memory.
    fn in_memory(&mut self, register: Register) {
        if !self.is_in_memory(register) {
            self.value(register);
            if !self.is_in_memory(register) {
                self.keep(register);
            }
        }
    }

    /// Whether computing a register again is one operation on what is in memory.
    fn is_cheap(&self, register: Register) -> bool {
        let instruction = &self.program.instructions[register as usize];
        let simple = match instruction {
            Instruction::Unary { f, .. } => matches!(f, Unary::Neg | Unary::Abs | Unary::Square | Unary::Relu),
            Instruction::Binary { f, .. } => {
                matches!(f, Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min)
            }
            _ => false,
        };
        simple && instruction.operands().iter().all(|&operand| self.is_in_memory(operand))
    }

    /// Writes the links of an instruction; whether its result is in the accumulator then, and not in memory alone.
    fn compute(&mut self, register: Register) -> bool {
        match self.program.instructions[register as usize] {
            Instruction::Unary { f: Unary::IsFinite, x, .. } => {
                self.value(x);
                let to = self.written(register);
                self.link(Op::IsFinite, 0, 0, to);
                false
            }
            Instruction::Unary { f, x, .. } => {
                self.value(x);
                match operation(f) {
                    Some(op) => self.link(op, 0, 0, 0),
                    None => {
                        let functions = &mut self.fused.chain.functions;
                        functions.push(f);
                        let number = functions.len() - 1;
                        self.link(Op::Function, 0, number as u8, 0);
                    }
                }
                true
            }
            Instruction::Binary { f, x, y, .. } if f.is_comparison() => {
                let (f, x, y) = if self.is_full(x) { (f, x, y) } else { (turned(f), y, x) };
                self.one_in_memory(x, y);
                self.value(x);
                let number = COMPARISONS.iter().position(|&other| other == f).expect("a comparison that links");
                let to = self.written(register);
                self.link_with([Op::Compare, Op::CompareOne], y, number as u8, to);
                false
            }
            Instruction::Binary { f, x, y, .. } => {
                self.binary(f, x, y);
                true
            }
            Instruction::Select { condition, x, y, .. } => {
                self.select(condition, x, y);
                true
            }
            Instruction::FoldRow { f, x, .. } => {
                self.value(x);
                let op = match f {
                    Fold::Max => Op::Maximum,
                    Fold::Min => Op::Minimum,
                    Fold::Sum | Fold::Prod => Op::Sum,
                };
                let number = self.fused.chain.folds.len();
                let to = self.written(register);
                self.fused.by_row = true;
                self.fused.chain.folds.push((op, to));
                self.link(op, 0, number as u8, to);
                false
            }
            ref other => unreachable!("{other:?} is no link"),
        }
    }

    /// Of two operands, has the second in memory, and the first too where computing the second would lose it.
    fn one_in_memory(&mut self, x: Register, y: Register) {
        if !self.is_in_memory(y) {
            if self.accumulator == Some(x) && x != y {
                self.in_memory(x);
            }
            self.in_memory(y);
        }
    }

    fn binary(&mut self, f: Binary, x: Register, y: Register) {
        if let Some((y, z)) = self.product(f, y)
            && self.is_full(x)
        {
            self.value(x);
            return self.link_product(f, y, z);
        }
        if let Some((x, z)) = self.product(f, x)
            && self.is_full(y)
            && f == Binary::Add
        {
            self.value(y);
            return self.link_product(f, x, z);
        }
        if let Some((x, y, z)) = self.ratio(f, x, y) {
            self.in_memory(x);
            self.value(y);
            let (x, z) = (self.place(x), self.place(z));
            return self.link(Op::Ratio, x, z, 0);
        }
        // The first operand is the accumulator, unless only the second can be.
        let second = !self.is_full(x)
            || self.is_full(y)
                && if self.is_in_memory(x) { self.accumulator == Some(y) || !self.is_in_memory(y) } else { false };
        if second && x != y {
            self.value(y);
            return self.link_with(turned_links(f), x, 0, 0);
        }
        if x == y && f == Binary::Mul {
            self.value(x);
            return self.link(Op::Square, 0, 0, 0);
        }
        if self.is_full(y) {
            self.one_in_memory(x, y);
        }
        self.value(x);
        self.link_with(straight_links(f), y, 0, 0);
    }

    /// The factors of a product that only a sum or difference reads, the first of them full, both in memory.
    fn product(&self, f: Binary, register: Register) -> Option<(Register, Register)> {
        let Instruction::Binary { f: Binary::Mul, x, y, .. } = self.program.instructions[register as usize] else {
            return None;
        };
        let (x, y) = if self.is_full(x) { (x, y) } else { (y, x) };
        let there = self.is_in_memory(x) && self.is_in_memory(y) && ![x, y].map(Some).contains(&self.accumulator);
        (matches!(f, Binary::Add | Binary::Sub) && self.is_passing(register) && there).then_some((x, y))
    }

    fn link_product(&mut self, f: Binary, y: Register, z: Register) {
        let op = match (f, self.is_full(z)) {
            (Binary::Add, true) => Op::AddProduct,
            (Binary::Add, false) => Op::AddProductOne,
            (_, true) => Op::SubProduct,
            (_, false) => Op::SubProductOne,
        };
        let (y, z) = (self.place(y), self.place(z));
        self.link(op, y, z, 0);
    }

    /// Of x / (√y + z), with one z for the whole space: x, y and z.
    fn ratio(&self, f: Binary, x: Register, sum: Register) -> Option<(Register, Register, Register)> {
        let Instruction::Binary { f: Binary::Add, x: left, y: right, .. } = self.program.instructions[sum as usize]
        else {
            return None;
        };
        let is_one = |register: Register| self.extents[register as usize] == Extent::One;
        let (root, z) = if is_one(right) { (left, right) } else { (right, left) };
        let Instruction::Unary { f: Unary::Sqrt, x: y, .. } = self.program.instructions[root as usize] else {
            return None;
        };
        let passing = self.is_passing(sum) && self.is_passing(root);
        // The numerator in memory: its computation must not take what is in the accumulator away.
        (f == Binary::Div && is_one(z) && self.is_full(x) && passing && self.is_in_memory(x)).then_some((x, y, z))
    }

    fn select(&mut self, condition: Register, x: Register, y: Register) {
        self.in_memory(condition);
        let truths = self.place_of(condition, 1);
        if self.is_full(y) && (!self.is_full(x) || self.is_in_memory(x)) && !self.is_in_memory(y) {
            self.value(y);
            return self.link_with([Op::WhereNot, Op::WhereNotOne], x, truths, 0);
        }
        if self.is_full(y) {
            self.one_in_memory(x, y);
        }
        self.value(x);
        self.link_with([Op::Where, Op::WhereOne], y, truths, 0);
    }
}

/// The links of f(a, y).
fn straight_links(f: Binary) -> [Op; 2] {
    match f {
        Binary::Add => [Op::Add, Op::AddOne],
        Binary::Sub => [Op::Sub, Op::SubOne],
        Binary::Mul => [Op::Mul, Op::MulOne],
        Binary::Div => [Op::Div, Op::DivOne],
        Binary::Max => [Op::Max, Op::MaxOne],
        Binary::Min => [Op::Min, Op::MinOne],
        other => unreachable!("{other:?} is no link"),
    }
}

/// The links of f(y, a).
fn turned_links(f: Binary) -> [Op; 2] {
    match f {
        Binary::Sub => [Op::SubFrom, Op::SubFromOne],
        Binary::Div => [Op::DivInto, Op::DivIntoOne],
        symmetric => straight_links(symmetric),
    }
}

/// The comparison that holds of (y, x) where `f` holds of (x, y).
fn turned(f: Binary) -> Binary {
    match f {
        Binary::Lt => Binary::Gt,
        Binary::Gt => Binary::Lt,
        Binary::Le => Binary::Ge,
        Binary::Ge => Binary::Le,
        symmetric => symmetric,
    }
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

    fn unary(program: &mut Program, f: Unary, x: Register) -> Register {
        program.push(Instruction::Unary { f, dtype: DType::F32, x })
    }

    /// The groups of all instructions that are not single numbers, and the operations of each chain.
    fn chains(program: &Program) -> Vec<Vec<Op>> {
        let extents = program.extents();
        let order: Vec<Register> =
            (0..program.instructions.len()).filter(|&i| extents[i] != Extent::One).map(|i| i as Register).collect();
        let groups = groups(program, &extents, &order);
        let needed = |register: Register| program.outputs.iter().any(|output| output.register == register);
        let chains = groups.iter().enumerate().filter(|(_, group)| matches!(group, Group::Chain(_)));
        let links = |(number, _)| fuse(program, &extents, &groups, number, needed).chain.links;
        chains.map(links).map(|links| links.into_iter().map(|link| link.op).collect()).collect()
    }

    #[test]
    fn a_product_goes_into_the_sum_that_alone_reads_it() {
        let p = program(|p, [a, b, c]| {
            let product = binary(p, Binary::Mul, a, b);
            binary(p, Binary::Sub, c, product)
        });
        assert_eq!(chains(&p), [vec![Op::Load, Op::SubProduct, Op::Keep]]);
    }

    #[test]
    fn what_several_read_is_kept_or_computed_again() {
        // e^a is read three times, and the second sum needs it when the accumulator holds something else.
        let p = program(|p, [a, b, c]| {
            let e = unary(p, Unary::Exp, a);
            let first = binary(p, Binary::Add, e, b);
            let second = binary(p, Binary::Add, e, c);
            binary(p, Binary::Div, first, second)
        });
        let [chain] = &chains(&p)[..] else { panic!("one chain") };
        assert_eq!(chain.iter().filter(|&&op| op == Op::Function).count(), 1, "{chain:?}");
        // a + b is one operation on what is in memory.
        let p = program(|p, [a, b, c]| {
            let sum = binary(p, Binary::Add, a, b);
            let e = unary(p, Unary::Exp, sum);
            let first = binary(p, Binary::Mul, e, c);
            let square = unary(p, Unary::Square, sum);
            binary(p, Binary::Div, first, square)
        });
        let [chain] = &chains(&p)[..] else { panic!("one chain") };
        assert_eq!(chain.iter().filter(|&&op| op == Op::Add).count(), 2, "{chain:?}");
    }

    #[test]
    fn a_step_by_a_quotient_over_a_root_takes_estimates() {
        let one = |value| Instruction::Constant { value, dtype: DType::F32 };
        let p = program(|p, [w, m, v]| {
            let (eps, rate) = (p.push(one(1e-8.into())), p.push(one(0.5.into())));
            let root = unary(p, Unary::Sqrt, v);
            let sum = binary(p, Binary::Add, root, eps);
            let quotient = binary(p, Binary::Div, m, sum);
            let product = binary(p, Binary::Mul, rate, quotient);
            binary(p, Binary::Sub, w, product)
        });
        assert_eq!(chains(&p), [vec![Op::Load, Op::Ratio, Op::MulOne, Op::SubFrom, Op::Keep]]);
    }

    #[test]
    fn what_reads_a_fold_waits_for_the_end_of_the_row() {
        let p = program(|p, [a, b, _]| {
            let sum = p.push(Instruction::FoldRow { f: Fold::Sum, dtype: DType::F32, x: a });
            binary(p, Binary::Mul, b, sum)
        });
        assert_eq!(chains(&p), [vec![Op::Load, Op::Sum], vec![Op::Load, Op::MulOne, Op::Keep]]);
    }

    #[test]
    fn other_dtypes_are_no_links() {
        let mut p = Program { inputs: vec![Input { dtype: DType::F64, extent: Extent::Full }], ..Program::default() };
        let x = p.push(Instruction::Load { input: 0 });
        let square = p.push(Instruction::Unary { f: Unary::Square, dtype: DType::F64, x });
        p.outputs.push(Output { register: square, kind: OutputKind::Store });
        assert!(chains(&p).is_empty());
    }
}
