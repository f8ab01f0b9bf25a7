//! The tile interpreter against a naive evaluation, over random programs, sizes, strides and dtypes.

use thalweg_array::program::{Extent, Input, Instruction, Output, OutputKind, Program};
use thalweg_array::random::Philox;
use thalweg_array::scalar::{Binary, Distribution, Fold, Unary};
use thalweg_array::{DType, Scalar, bf16, f16};
use thalweg_kernels::cpu::Isa;
use thalweg_kernels::tile::{Draw, Operands, Partials, Prepared, Space, dense_strides};

const DRAW: Draw = Draw { seed: 11, step: 5, first: 3 };

/// Numbers from a generator, one after the other.
struct Numbers(Philox, u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        self.0.block(self.1, 0)[0] as usize % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Memory aligned to 64 bytes.
#[derive(Clone)]
pub(crate) struct Memory(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    _words: [u64; 8],
}

/// How a program is run.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// The chunks in the order that so many threads would take them.
    Threads(usize),
    /// With results written past the caches, in place as elsewhere.
    PastCaches,
    /// On rectangles of so many rows and columns.
    Rectangles(usize, usize),
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Memory {
        // Not zeros, so that reading what was never written shows.
        Memory(vec![Line { _words: [0x7fc1_2345_7fc1_2345; 8] }; bytes.div_ceil(64)])
    }

    pub(crate) fn at(&self, byte: usize) -> *mut u8 {
        self.0.as_ptr().cast::<u8>().cast_mut().wrapping_add(byte)
    }

    pub(crate) fn read(&self, dtype: DType, i: usize) -> f64 {
        let at = self.at(i * dtype.size());
        // SAFETY: tests read inside the memory.
        unsafe {
            match dtype {
                DType::F32 => *at.cast::<f32>() as f64,
                DType::F64 => *at.cast::<f64>(),
                DType::F16 => (*at.cast::<f16>()).to_f64(),
                DType::BF16 => (*at.cast::<bf16>()).to_f64(),
                DType::I32 => *at.cast::<i32>() as f64,
                DType::I64 => *at.cast::<i64>() as f64,
                DType::U8 | DType::Bool => *at as f64,
            }
        }
    }

    pub(crate) fn write(&mut self, dtype: DType, i: usize, x: f64) {
        let at = self.at(i * dtype.size());
        // SAFETY: tests write inside the memory.
        unsafe {
            match dtype {
                DType::F32 => *at.cast() = x as f32,
                DType::F64 => *at.cast() = x,
                DType::F16 => *at.cast() = f16::from_f64(x),
                DType::BF16 => *at.cast() = bf16::from_f64(x),
                DType::I32 => *at.cast() = x as i32,
                DType::I64 => *at.cast() = x as i64,
                DType::U8 => *at = x as u8,
                DType::Bool => *at = (x != 0.0) as u8,
            }
        }
    }
}

/// A program, its space and the memory of its inputs.
pub(crate) struct Case {
    pub(crate) program: Program,
    pub(crate) space: Space,
    pub(crate) inputs: Vec<(Memory, usize)>,
    pub(crate) isa: Isa,
}

/// `x` as a number of `dtype`.
fn rounded(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F32 => x as f32 as f64,
        DType::F64 => x,
        DType::F16 => f16::from_f64(x as f32 as f64).to_f64(),
        DType::BF16 => bf16::from_f64(x as f32 as f64).to_f64(),
        DType::I32 | DType::I64 | DType::U8 => Scalar::from(x).rounded_to(dtype).to_f64(),
        DType::Bool => (x != 0.0) as u8 as f64,
    }
}

fn fold(f: Fold, dtype: DType, numbers: impl Iterator<Item = f64>) -> f64 {
    let total = numbers.fold(f.identity(dtype).to_f64(), |total, x| f.binary().apply(total, x));
    rounded(dtype, if dtype == DType::U8 { total.rem_euclid(256.0) } else { total })
}

impl Case {
    fn rows_columns(&self) -> (usize, usize) {
        let (columns, rows) = self.space.dims.split_last().unwrap();
        (rows.iter().product(), *columns)
    }

    /// Every register over the whole space, then the outputs: the rows of stored ones in row-major order.
    fn naive(&self) -> Vec<Vec<f64>> {
        let (rows, columns) = self.rows_columns();
        let n = rows * columns;
        let offset = |strides: &[isize], mut index: usize| {
            let mut offset = 0;
            for (&size, &stride) in self.space.dims.iter().zip(strides).rev() {
                offset += (index % size) as isize * stride;
                index /= size;
            }
            offset
        };
        let mut registers: Vec<Vec<f64>> = Vec::new();
        for instruction in &self.program.instructions {
            let of = |x: u16| &registers[x as usize];
            registers.push(match *instruction {
                Instruction::Load { input } => {
                    let (memory, base) = &self.inputs[input as usize];
                    let strides = &self.space.inputs[input as usize];
                    let dtype = self.program.inputs[input as usize].dtype;
                    (0..n).map(|i| memory.read(dtype, (*base as isize + offset(strides, i)) as usize)).collect()
                }
                Instruction::Constant { value, dtype } => vec![value.rounded_to(dtype).to_f64(); n],
                Instruction::Random { distribution, stream, dtype } => {
                    let generator = Philox::new(DRAW.seed, stream);
                    (0..n as u64)
                        .map(|i| match distribution {
                            Distribution::Uniform => generator.uniform(i + DRAW.first, DRAW.step) as f64,
                            Distribution::Normal => rounded(dtype, generator.normal(i + DRAW.first, DRAW.step)),
                        })
                        .collect()
                }
                Instruction::Column { dtype } => (0..n).map(|i| rounded(dtype, (i % columns) as f64)).collect(),
                Instruction::IsColumn { x, .. } => {
                    of(x).iter().enumerate().map(|(i, &x)| f64::from(u8::from(x == (i % columns) as f64))).collect()
                }
                Instruction::Unary { f, dtype, x } if dtype.is_float() => {
                    of(x).iter().map(|&x| rounded(f.result(dtype), f.apply(x))).collect()
                }
                Instruction::Unary { f, dtype, x } => {
                    let wrap = |x: i64| Scalar::Int(x).rounded_to(f.result(dtype)).to_f64();
                    of(x).iter().map(|&x| wrap(f.apply_int(x as i64))).collect()
                }
                Instruction::Binary { f, dtype, x, y } if dtype.is_float() => {
                    of(x).iter().zip(of(y)).map(|(&x, &y)| rounded(f.result(dtype), f.apply(x, y))).collect()
                }
                Instruction::Binary { f, dtype, x, y } => {
                    let wrap = |x: i64| Scalar::Int(x).rounded_to(f.result(dtype)).to_f64();
                    of(x).iter().zip(of(y)).map(|(&x, &y)| wrap(f.apply_int(x as i64, y as i64))).collect()
                }
                Instruction::Select { condition, x, y, .. } => of(condition)
                    .iter()
                    .zip(of(x).iter().zip(of(y)))
                    .map(|(&c, (&x, &y))| if c != 0.0 { x } else { y })
                    .collect(),
                Instruction::Cast { to, from, x } => of(x)
                    .iter()
                    .map(|&x| match from.is_float() {
                        true => rounded(to, x),
                        false => Scalar::Int(x as i64).rounded_to(to).to_f64(),
                    })
                    .collect(),
                Instruction::FoldRow { f, dtype, x } => (0..rows)
                    .flat_map(|row| {
                        let row = of(x)[row * columns..][..columns].iter().copied();
                        vec![fold(f, dtype, row); columns.max(1)]
                    })
                    .collect(),
            });
        }
        let dtypes = self.program.dtypes();
        let extents = self.program.extents();
        let outer: usize = self.space.dims[..self.space.outer].iter().product();
        self.program
            .outputs
            .iter()
            .map(|output| {
                let (x, dtype) = (&registers[output.register as usize], dtypes[output.register as usize]);
                match (output.kind, extents[output.register as usize]) {
                    (OutputKind::Store, Extent::Full) => x.clone(),
                    (OutputKind::Store, Extent::Row) => x.iter().copied().step_by(columns.max(1)).collect(),
                    (OutputKind::Store, Extent::One) => x[..1].to_vec(),
                    (OutputKind::FoldAll(f), Extent::Row) => {
                        vec![fold(f, dtype, x.iter().copied().step_by(columns.max(1)))]
                    }
                    (OutputKind::FoldAll(f), _) => vec![fold(f, dtype, x.iter().copied())],
                    (OutputKind::FoldRows(f), _) => (0..outer * columns)
                        .map(|i| {
                            let (outer, column) = (i / columns, i % columns);
                            let rows_each: usize =
                                self.space.dims[self.space.outer..self.space.dims.len() - 1].iter().product();
                            let rows = (0..rows_each).map(|row| x[(outer * rows_each + row) * columns + column]);
                            fold(f, dtype, rows)
                        })
                        .collect(),
                }
            })
            .collect()
    }

    pub(crate) fn run(&self, way: Way) -> Vec<Memory> {
        let mut outputs: Vec<Memory> = Vec::new();
        let (rows, columns) = self.rows_columns();
        let outer = self.space.dims[..self.space.outer].iter().product();
        for (output, strides) in self.program.outputs.iter().zip(&self.space.outputs) {
            let dtype = self.program.dtypes()[output.register as usize];
            let reach: isize = self.space.dims.iter().zip(strides).map(|(&d, &s)| (d.max(1) as isize - 1) * s).sum();
            outputs.push(Memory::new((reach as usize + 1).max(rows.max(outer) * columns) * dtype.size()));
        }
        let to: Vec<*mut u8> = outputs.iter().map(|memory| memory.at(0)).collect();
        self.run_into(way, &self.addresses(), &to);
        outputs
    }

    pub(crate) fn addresses(&self) -> Vec<*const u8> {
        let dtypes = self.program.inputs.iter().map(|input| input.dtype);
        self.inputs.iter().zip(dtypes).map(|((memory, base), d)| memory.at(base * d.size()).cast_const()).collect()
    }

    pub(crate) fn run_into(&self, way: Way, from: &[*const u8], to: &[*mut u8]) {
        let operands = Operands { inputs: from, outputs: to, draw: DRAW };
        let (rows, columns) = self.rows_columns();
        // SAFETY: inputs and outputs were made for the space; chunks run one after the other.
        unsafe {
            if let Way::Rectangles(high, wide) = way {
                let prepared = Prepared::for_rectangles(&self.program, &self.space).with_isa(self.isa);
                let prepared = prepared.past_caches_in_place(&vec![true; to.len()]);
                let scratch = Memory::new(prepared.scratch_bytes());
                for row in (0..rows).step_by(high) {
                    for column in (0..columns).step_by(wide) {
                        let (rows, columns) = (row..rows.min(row + high), column..columns.min(column + wide));
                        prepared.run_rectangle(rows, columns, &operands, scratch.at(0));
                    }
                }
                prepared.show_to_others();
                return;
            }
            let prepared = Prepared::new(&self.program, &self.space).with_isa(self.isa);
            let (prepared, threads) = match way {
                Way::Threads(threads) => (prepared, threads),
                Way::PastCaches | Way::Rectangles(..) => {
                    (prepared.past_caches().past_caches_in_place(&vec![true; to.len()]), 2)
                }
            };
            let partials_memory = Memory::new(prepared.partial_bytes());
            let partials = Partials(partials_memory.at(0));
            for thread in 0..threads {
                let scratch = Memory::new(prepared.scratch_bytes());
                for chunk in (thread..prepared.chunks()).step_by(threads).collect::<Vec<_>>().into_iter().rev() {
                    prepared.run_chunk(chunk, &operands, scratch.at(0), partials);
                }
            }
            prepared.finish(&operands, partials);
        }
    }

    /// The numbers of an output, in row-major order.
    pub(crate) fn numbers(&self, output: usize, memory: &Memory) -> Vec<f64> {
        let register = self.program.outputs[output].register as usize;
        let (dtype, extent) = (self.program.dtypes()[register], self.program.extents()[register]);
        let (rows, columns) = self.rows_columns();
        let outer: usize = self.space.dims[..self.space.outer].iter().product();
        let read = |n: usize| (0..n).map(|i| memory.read(dtype, i)).collect();
        match (self.program.outputs[output].kind, extent) {
            (OutputKind::FoldAll(_), _) | (OutputKind::Store, Extent::One) => read(1),
            (OutputKind::FoldRows(_), _) => read(outer * columns),
            (OutputKind::Store, extent) => {
                let mut dims = self.space.dims.clone();
                if extent == Extent::Row {
                    *dims.last_mut().unwrap() = 1;
                }
                let n = if extent == Extent::Row { rows } else { rows * columns };
                (0..n)
                    .map(|mut index| {
                        let mut offset = 0;
                        for (&size, &stride) in dims.iter().zip(&self.space.outputs[output]).rev() {
                            offset += (index % size) * stride as usize;
                            index /= size;
                        }
                        memory.read(dtype, offset)
                    })
                    .collect()
            }
        }
    }

    pub(crate) fn check(&self, what: &str) {
        let expected = self.naive();
        let found = self.run(Way::Threads(1));
        let dtypes = self.program.dtypes();
        for (output, expected) in expected.iter().enumerate() {
            let numbers = self.numbers(output, &found[output]);
            let dtype = dtypes[self.program.outputs[output].register as usize];
            let eps = match dtype {
                DType::F64 => 1e-12,
                DType::F16 => 4e-3,
                DType::BF16 => 3e-2,
                _ => 1e-5,
            };
            assert_eq!(numbers.len(), expected.len());
            for (i, (&found, &expected)) in numbers.iter().zip(expected).enumerate() {
                let close = (found - expected).abs() <= eps * expected.abs().max(1.0);
                assert!(
                    close || found == expected || found.is_nan() && expected.is_nan(),
                    "{what}: output {output} at {i}: {found}, expected {expected}\n{:#?}\n{:?}",
                    self.program,
                    self.space,
                );
            }
            for threads in [2, 3, 7] {
                let again = self.run(Way::Threads(threads));
                assert!(same(&numbers, &self.numbers(output, &again[output])), "{what}: {threads} threads");
            }
            let again = self.run(Way::PastCaches);
            assert!(same(&numbers, &self.numbers(output, &again[output])), "{what}: past the caches");
        }
    }
}

fn same(x: &[f64], y: &[f64]) -> bool {
    x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// Memory for an input of this extent with random strides.
fn input(numbers: &mut Numbers, dims: &[usize], dtype: DType, extent: Extent) -> (Memory, usize, Vec<isize>) {
    let varies = |axis: usize| match extent {
        Extent::Full => true,
        Extent::Row => axis + 1 < dims.len(),
        Extent::One => false,
    };
    let mut strides = vec![0; dims.len()];
    let mut order: Vec<usize> = (0..dims.len()).collect();
    if numbers.below(3) == 0 {
        let i = numbers.below(dims.len());
        order.swap(i, dims.len() - 1);
    }
    let (mut next, mut base) = (if numbers.below(4) == 0 { 2 } else { 1 }, 0);
    for &axis in order.iter().rev() {
        if !varies(axis) || numbers.below(5) == 0 {
            continue;
        }
        strides[axis] = next;
        next *= dims[axis].max(1) as isize;
        if numbers.below(6) == 0 {
            base += strides[axis] * (dims[axis].max(1) as isize - 1);
            strides[axis] = -strides[axis];
        }
    }
    let n = next as usize + 1;
    let mut memory = Memory::new(n * dtype.size());
    for i in 0..n {
        let x = match dtype {
            DType::Bool => numbers.below(2) as f64,
            DType::U8 => numbers.below(7) as f64,
            DType::I32 | DType::I64 => numbers.below(9) as f64 - 4.0,
            _ => rounded(dtype, numbers.below(4001) as f64 / 1000.0 - 2.0),
        };
        memory.write(dtype, i, x);
    }
    (memory, base as usize, strides)
}

/// A program of random instructions over `dims`.
fn random_case(seed: u64, dims: &[usize], outer: usize) -> Case {
    let mut numbers = Numbers(Philox::new(seed, 9), 0);
    let dtype = numbers.pick(&[DType::F32, DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::U8]);
    let mut program = Program::default();
    let mut inputs = Vec::new();
    let mut space = Space { dims: dims.to_vec(), outer, ..Space::default() };
    let mut of_dtype = Vec::new();
    for i in 0..1 + numbers.below(3) {
        let extent = if i == 0 { Extent::Full } else { numbers.pick(&[Extent::Full, Extent::Row, Extent::One]) };
        program.inputs.push(Input { dtype, extent });
        let (memory, base, strides) = input(&mut numbers, dims, dtype, extent);
        inputs.push((memory, base));
        space.inputs.push(strides);
        of_dtype.push(program.push(Instruction::Load { input: i as u16 }));
    }
    for _ in 0..3 + numbers.below(8) {
        let (x, y) = (numbers.pick(&of_dtype), numbers.pick(&of_dtype));
        let full = |x: u16| program.extents()[x as usize] == Extent::Full;
        of_dtype.push(match numbers.below(9) {
            0 if dtype.is_float() => {
                let f = numbers.pick(&[Unary::Tanh, Unary::Sigmoid, Unary::Relu, Unary::Sin, Unary::Gelu]);
                program.push(Instruction::Unary { f, dtype, x })
            }
            1 => program.push(Instruction::Constant { value: Scalar::from(0.75), dtype }),
            2 => {
                let condition = program.push(Instruction::Binary { f: Binary::Lt, dtype, x, y });
                program.push(Instruction::Select { dtype, condition, x, y })
            }
            3 | 4 if full(x) => {
                let f = numbers.pick(&[Fold::Max, Fold::Min]);
                program.push(Instruction::FoldRow { f, dtype, x })
            }
            5 if matches!(dtype, DType::F32 | DType::F64) => {
                let distribution = numbers.pick(&[Distribution::Uniform, Distribution::Normal]);
                program.push(Instruction::Random { distribution, dtype, stream: 4 })
            }
            6 => {
                let column = program.push(Instruction::Column { dtype: DType::I64 });
                let seven = program.push(Instruction::Constant { value: Scalar::Int(7), dtype: DType::I64 });
                let x = program.push(Instruction::Binary { f: Binary::Rem, dtype: DType::I64, x: column, y: seven });
                program.push(Instruction::Cast { from: DType::I64, to: dtype, x })
            }
            7 => {
                let whole = program.push(Instruction::Cast { from: dtype, to: DType::I64, x });
                let condition = program.push(Instruction::IsColumn { dtype: DType::I64, x: whole });
                program.push(Instruction::Select { dtype, condition, x, y })
            }
            _ => {
                let f = numbers.pick(&[Binary::Sub, Binary::Max, Binary::Min, Binary::Add]);
                let x = program.push(Instruction::Binary { f, dtype, x, y });
                if dtype.is_float() { program.push(Instruction::Unary { f: Unary::Tanh, dtype, x }) } else { x }
            }
        });
    }
    for _ in 0..1 + numbers.below(3) {
        let mut register = numbers.pick(&of_dtype[of_dtype.len() / 2..]);
        if program.extents()[register as usize] == Extent::One {
            register = of_dtype[0];
        }
        let extent = program.extents()[register as usize];
        let kind = match (extent, numbers.below(4)) {
            (Extent::Full, 0) => OutputKind::FoldRows(numbers.pick(&[Fold::Max, Fold::Sum])),
            (Extent::Full | Extent::Row, 1) => OutputKind::FoldAll(numbers.pick(&[Fold::Max, Fold::Sum])),
            _ => OutputKind::Store,
        };
        program.outputs.push(Output { register, kind });
        let mut strides = match extent {
            Extent::Full => dense_strides(dims),
            Extent::Row => {
                let mut strides = dense_strides(&dims[..dims.len() - 1]);
                strides.push(0);
                strides
            }
            Extent::One => vec![0; dims.len()],
        };
        if extent == Extent::Full && numbers.below(4) == 0 {
            // Transposed: the first axis is the innermost.
            let mut turned = dims.to_vec();
            turned.rotate_left(1);
            strides = dense_strides(&turned);
            strides.rotate_right(1);
        }
        space.outputs.push(strides);
    }
    Case { program, space, inputs, isa: Isa::best() }
}

const SPACES: [(&[usize], usize); 17] = [
    (&[1], 0),
    (&[7], 0),
    (&[5000], 0),
    (&[3, 10], 0),
    (&[300, 10], 1),
    (&[13, 1000], 0),
    (&[4, 1024], 1),
    (&[3, 4096], 0),
    (&[2, 3, 5000], 1),
    (&[2, 3, 5], 2),
    (&[2, 70, 3, 9], 1),
    (&[40, 1], 0),
    (&[1, 40], 1),
    (&[0, 5], 0),
    (&[3, 0, 4], 1),
    (&[700, 1100], 0),
    (&[2, 1, 600], 2),
];

#[test]
fn random_programs_equal_a_naive_evaluation() {
    for (i, (dims, outer)) in SPACES.into_iter().enumerate() {
        let cases = if dims.iter().product::<usize>() > 100_000 { 6 } else { 40 };
        for seed in 0..cases {
            let mut case = random_case(seed * 100 + i as u64, dims, outer);
            case.isa = Isa::available().nth(seed as usize % Isa::available().count()).unwrap();
            case.check(&format!("{dims:?} seed {seed} {}", case.isa));
        }
    }
}

#[test]
fn in_place_equals_out_of_place() {
    for (dims, outer) in SPACES {
        for seed in 0..30 {
            let mut case = random_case(seed, dims, outer);
            let dtypes = case.program.dtypes();
            let same_form = |output: &Output| {
                output.kind == OutputKind::Store
                    && dtypes[output.register as usize] == case.program.inputs[0].dtype
                    && case.program.extents()[output.register as usize] == Extent::Full
            };
            let Some(output) = case.program.outputs.iter().position(same_form) else { continue };
            // The input gets the dense layout of the output.
            let dtype = case.program.inputs[0].dtype;
            let fill = || {
                let mut dense = Memory::new((dims.iter().product::<usize>() + 1) * dtype.size());
                (0..dims.iter().product()).for_each(|i| dense.write(dtype, i, (i % 17) as f64 / 4.0));
                (dense, 0)
            };
            case.inputs[0] = fill();
            case.space.inputs[0] = dense_strides(dims);
            case.space.outputs[output] = dense_strides(dims);
            let expected = case.run(Way::Threads(1));
            for way in [Way::Threads(3), Way::PastCaches] {
                case.inputs[0] = fill();
                let from = case.addresses();
                let others = expected.clone();
                let mut to: Vec<*mut u8> = others.iter().map(|memory| memory.at(0)).collect();
                to[output] = from[0].cast_mut();
                case.run_into(way, &from, &to);
                // The other outputs may read what is replaced after it has been computed.
                for (number, expected) in expected.iter().enumerate() {
                    let found = if number == output { &case.inputs[0].0 } else { &others[number] };
                    let [found, expected] = [found, expected].map(|memory| case.numbers(number, memory));
                    assert!(same(&found, &expected), "{dims:?} seed {seed} output {number}\n{:#?}", case.program);
                }
            }
        }
    }
}

#[test]
fn several_inputs_are_replaced_as_if_none_was() {
    let f32s = |f, x, y| Instruction::Binary { f, dtype: DType::F32, x, y };
    for (n, isa) in [1, 7, 1024, 5000].into_iter().flat_map(|n| Isa::available().map(move |isa| (n, isa))) {
        // Adam's moments and weights; then the same input twice more, behind what replaces it.
        let input = Input { dtype: DType::F32, extent: Extent::Full };
        let mut program = Program { inputs: vec![input; 4], ..Program::default() };
        let [g, m, v, x] = [0, 1, 2, 3].map(|input| program.push(Instruction::Load { input }));
        let half = program.push(Instruction::Constant { value: Scalar::from(0.5), dtype: DType::F32 });
        let old = program.push(f32s(Binary::Mul, m, half));
        let m = program.push(f32s(Binary::Add, old, g));
        let (old, square) = (program.push(f32s(Binary::Mul, v, half)), program.push(f32s(Binary::Mul, g, g)));
        let v = program.push(f32s(Binary::Add, old, square));
        let root = program.push(Instruction::Unary { f: Unary::Sqrt, dtype: DType::F32, x: v });
        let root = program.push(f32s(Binary::Add, root, half));
        let step = program.push(f32s(Binary::Div, m, root));
        let new = program.push(f32s(Binary::Sub, x, step));
        let change = program.push(f32s(Binary::Sub, new, x));
        for register in [m, v, new, change] {
            program.outputs.push(Output { register, kind: OutputKind::Store });
        }
        program.outputs.push(Output { register: x, kind: OutputKind::FoldAll(Fold::Sum) });
        let memory = |seed: usize| {
            let mut memory = Memory::new(4 * n);
            (0..n).for_each(|i| memory.write(DType::F32, i, ((i + seed) * 37 % 101) as f64 / 64.0));
            (memory, 0)
        };
        let space = Space::dense(&[n], 4, 5);
        let mut case = Case { program, space, inputs: (0..4).map(memory).collect(), isa };
        let expected = case.run(Way::Threads(1));
        for way in [Way::Threads(2), Way::PastCaches] {
            case.inputs = (0..4).map(memory).collect();
            let from = case.addresses();
            let others = expected.clone();
            let to = [from[1].cast_mut(), from[2].cast_mut(), from[3].cast_mut(), others[3].at(0), others[4].at(0)];
            case.run_into(way, &from, &to);
            for (number, expected) in expected.iter().enumerate() {
                let found = if number < 3 { &case.inputs[1 + number].0 } else { &others[number] };
                let [found, expected] = [found, expected].map(|memory| case.numbers(number, memory));
                assert_eq!(found, expected, "{n} {isa} output {number}");
            }
        }
    }
}

#[test]
fn weights_behind_a_product_are_replaced_past_the_caches() {
    // Rows of whole lines, and rows that begin within one; rectangles that end within a block of vectors.
    for (dims, isa) in
        [[40, 208], [40, 100], [7, 16]].into_iter().flat_map(|d| Isa::available().map(move |isa| (d, isa)))
    {
        let f32s = |f, x, y| Instruction::Binary { f, dtype: DType::F32, x, y };
        let input = Input { dtype: DType::F32, extent: Extent::Full };
        let mut program = Program { inputs: vec![input; 3], ..Program::default() };
        let [g, v, w] = [0, 1, 2].map(|input| program.push(Instruction::Load { input }));
        let half = program.push(Instruction::Constant { value: Scalar::from(0.5), dtype: DType::F32 });
        let slower = program.push(f32s(Binary::Mul, v, half));
        let velocity = program.push(f32s(Binary::Add, slower, g));
        let weight = program.push(f32s(Binary::Sub, w, velocity));
        for register in [velocity, weight] {
            program.outputs.push(Output { register, kind: OutputKind::Store });
        }
        let space = Space::dense(&dims, 3, 2);
        let prepared = Prepared::for_rectangles(&program, &space).with_isa(isa).past_caches_in_place(&[false, true]);
        let has_a_way = matches!(isa, Isa::Amx | Isa::Avx512 | Isa::Avx2);
        assert_eq!([0, 1].map(|output| prepared.goes_past_in_place(output)), [false, has_a_way], "{isa}");
        let n = dims[0] * dims[1];
        let memory = |seed: usize| {
            let mut memory = Memory::new(4 * n);
            (0..n).for_each(|i| memory.write(DType::F32, i, ((i + seed) * 37 % 101) as f64 / 64.0));
            (memory, 0)
        };
        let case = Case { program, space, inputs: (0..3).map(memory).collect(), isa };
        let expected = case.run(Way::Threads(1));
        let from = case.addresses();
        case.run_into(Way::Rectangles(14, 192), &from, &[from[1].cast_mut(), from[2].cast_mut()]);
        for (number, expected) in expected.iter().enumerate() {
            let found = case.numbers(number, &case.inputs[1 + number].0);
            assert_eq!(found, case.numbers(number, expected), "{dims:?} {isa} output {number}");
        }
    }
}

#[test]
fn rows_are_normalized_alike_wherever_they_are_written() {
    // In place nothing is put off to the next row, and tiles are small; rows that are long, fill a tile, and are short.
    for columns in [3000, 1024, 300, 7] {
        for isa in Isa::available() {
            let input = Input { dtype: DType::F32, extent: Extent::Full };
            let mut program = Program { inputs: vec![input], ..Program::default() };
            let fold = |f, x| Instruction::FoldRow { f, dtype: DType::F32, x };
            let binary = |f, x, y| Instruction::Binary { f, dtype: DType::F32, x, y };
            let x = program.push(Instruction::Load { input: 0 });
            let most = program.push(fold(Fold::Max, x));
            let below = program.push(binary(Binary::Sub, x, most));
            let y = if columns == 3000 {
                let e = program.push(Instruction::Unary { f: Unary::Exp, dtype: DType::F32, x: below });
                let sum = program.push(fold(Fold::Sum, e));
                program.push(binary(Binary::Div, e, sum))
            } else {
                let square = program.push(Instruction::Unary { f: Unary::Square, dtype: DType::F32, x: below });
                let sum = program.push(fold(Fold::Sum, square));
                let scale = program.push(Instruction::Unary { f: Unary::Rsqrt, dtype: DType::F32, x: sum });
                program.push(binary(Binary::Mul, below, scale))
            };
            program.outputs.push(Output { register: y, kind: OutputKind::Store });
            let dims = [37, columns];
            let mut memory = Memory::new(37 * columns * 4);
            (0..37 * columns).for_each(|i| memory.write(DType::F32, i, (i * i % 1009) as f64 / 100.0));
            let space = Space::dense(&dims, 1, 1);
            let case = Case { program, space, inputs: vec![(memory, 0)], isa };
            case.check(&format!("{columns} columns {isa}"));
            let expected = case.run(Way::Threads(1));
            let from = case.addresses();
            case.run_into(Way::Threads(2), &from, &[from[0].cast_mut()]);
            let found = case.numbers(0, &case.inputs[0].0);
            assert!(same(&found, &case.numbers(0, &expected[0])), "{columns} columns {isa}");
        }
    }
}

#[test]
fn rectangles_cover_the_space() {
    for dims in [&[37, 90][..], &[5, 1200], &[2, 9, 64]] {
        for seed in 0..60 {
            let mut case = random_case(seed, dims, 0);
            let stored = case.program.outputs.iter().all(|output| output.kind == OutputKind::Store);
            if !stored || case.program.instructions.iter().any(|i| matches!(i, Instruction::FoldRow { .. })) {
                continue;
            }
            for isa in Isa::available() {
                case.isa = isa;
                let (whole, parts) = (case.run(Way::Threads(1)), case.run(Way::Rectangles(4, 32)));
                for output in 0..whole.len() {
                    assert!(
                        same(&case.numbers(output, &whole[output]), &case.numbers(output, &parts[output])),
                        "{isa}"
                    );
                }
            }
        }
    }
}

#[test]
fn folds_of_nothing_give_what_they_begin_with() {
    let mut program = Program { inputs: vec![Input { dtype: DType::F32, extent: Extent::Full }], ..Program::default() };
    let x = program.push(Instruction::Load { input: 0 });
    let max = program.push(Instruction::FoldRow { f: Fold::Max, dtype: DType::F32, x });
    for (register, kind) in
        [(max, OutputKind::Store), (x, OutputKind::FoldAll(Fold::Prod)), (x, OutputKind::FoldRows(Fold::Min))]
    {
        program.outputs.push(Output { register, kind });
    }
    let strides = [vec![1, 0], vec![], vec![]];
    for (dims, expected) in [([3, 0], [f64::NEG_INFINITY, 1.0]), ([0, 3], [f64::INFINITY, 1.0])] {
        let strides = strides.iter().map(|s| if s.is_empty() { vec![0, 0] } else { s.clone() }).collect();
        let space = Space { dims: dims.to_vec(), outer: 0, inputs: vec![dense_strides(&dims)], outputs: strides };
        let case = Case { program: program.clone(), space, inputs: vec![(Memory::new(64), 0)], isa: Isa::best() };
        let found = case.run(Way::Threads(1));
        let which = if dims[1] == 0 { 0 } else { 2 };
        assert_eq!((0..3).map(|i| found[which].read(DType::F32, i)).collect::<Vec<_>>(), [expected[0]; 3]);
        assert_eq!(found[1].read(DType::F32, 0), expected[1]);
    }
}

#[test]
fn a_sum_of_ones_is_exact() {
    let mut program = Program { inputs: vec![Input { dtype: DType::F32, extent: Extent::Full }], ..Program::default() };
    let register = program.push(Instruction::Load { input: 0 });
    program.outputs.push(Output { register, kind: OutputKind::FoldAll(Fold::Sum) });
    program.outputs.push(Output { register, kind: OutputKind::FoldRows(Fold::Sum) });
    let mut memory = Memory::new(4);
    memory.write(DType::F32, 0, 1.0);
    // One number in memory, repeated over the whole space.
    let space = Space { dims: vec![1 << 23, 2], outer: 0, inputs: vec![vec![0, 0]], outputs: vec![vec![0, 0]; 2] };
    let case = Case { program, space, inputs: vec![(memory, 0)], isa: Isa::best() };
    let found = case.run(Way::Threads(3));
    assert_eq!(found[0].read(DType::F32, 0), 16_777_216.0);
    assert_eq!([found[1].read(DType::F32, 0), found[1].read(DType::F32, 1)], [8_388_608.0; 2]);
}

#[test]
fn folds_of_memory_go_on_over_many_tiles() {
    let spaces: [(&[usize], usize, &[isize]); 8] = [
        (&[1, 300_003], 0, &[300_003, 1]),
        (&[700, 37], 0, &[37, 1]),
        (&[900, 1024], 0, &[1024, 1]),
        (&[3, 400, 30], 1, &[12_000, 30, 1]),
        // Longer rows than a tile, rows that stand apart, columns that do, a row again and again.
        (&[70, 3000], 0, &[3000, 1]),
        (&[300, 64], 0, &[67, 1]),
        (&[300, 64], 0, &[1, 300]),
        (&[5000, 8], 0, &[0, 1]),
    ];
    let numbers = |dtype: DType, dims: &[usize], strides: &[isize]| {
        let last: usize = dims.iter().zip(strides).map(|(&size, &stride)| (size - 1) * stride as usize).sum();
        let mut memory = Memory::new((last + 1) * dtype.size());
        (0..=last).for_each(|i| memory.write(dtype, i, ((i * 7919) % 101) as f64 / 4.0 - 12.0));
        (memory, 0)
    };
    for dtype in [DType::F32, DType::F64, DType::F16, DType::I32] {
        for (dims, outer, strides) in spaces {
            for kind in
                [OutputKind::FoldAll(Fold::Sum), OutputKind::FoldAll(Fold::Max), OutputKind::FoldRows(Fold::Sum)]
            {
                let inputs = vec![Input { dtype, extent: Extent::Full }, Input { dtype, extent: Extent::Row }];
                let mut program = Program { inputs, ..Program::default() };
                let x = program.push(Instruction::Load { input: 0 });
                let row = program.push(Instruction::Load { input: 1 });
                program.outputs.push(Output { register: x, kind });
                program.outputs.push(Output { register: row, kind: OutputKind::FoldAll(Fold::Max) });
                let mut of_rows = dense_strides(&dims[..dims.len() - 1]);
                of_rows.push(0);
                for isa in Isa::available() {
                    // A fold on its own, and beside another one of a number per row.
                    for inputs in [1, 2] {
                        let mut program = program.clone();
                        program.inputs.truncate(inputs);
                        program.instructions.truncate(inputs);
                        program.outputs.truncate(inputs);
                        let read = [strides.to_vec(), of_rows.clone()][..inputs].to_vec();
                        let given = read.iter().map(|strides| numbers(dtype, dims, strides)).collect();
                        let outputs = vec![vec![0; dims.len()]; inputs];
                        let space = Space { dims: dims.to_vec(), outer, inputs: read, outputs };
                        let case = Case { program, space, inputs: given, isa };
                        case.check(&format!("{kind:?} {dtype} {dims:?} {strides:?} {isa}"));
                    }
                }
            }
        }
    }
}

#[test]
fn a_program_says_what_runs() {
    let mut program = Program { inputs: vec![Input { dtype: DType::F32, extent: Extent::Full }], ..Program::default() };
    let x = program.push(Instruction::Load { input: 0 });
    let y = program.push(Instruction::Unary { f: Unary::Exp, dtype: DType::F32, x });
    program.outputs.push(Output { register: y, kind: OutputKind::Store });
    let dense = vec![vec![8, 1]];
    let space = Space { dims: vec![4, 8], outer: 0, inputs: dense.clone(), outputs: dense };
    let prepared = Prepared::new(&program, &space).with_isa(Isa::Portable);
    assert_eq!(prepared.describe(), "tile portable, 2 instructions, 1 chunk");
}
