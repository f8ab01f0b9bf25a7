//! The text form of a plan: one line a call, with what it costs, then the buffers.
//!
//! ```text
//! b7 = matmul [100x784]·[784x128] then add, relu            0.020 GFLOP   0.8 MB   at 0      matmul+add+relu
//! ```

use std::fmt;

use thalweg_graph::array::program::{Instruction, OutputKind, Program};

use crate::plan::{Attention, Buffer, BufferId, Kernel, Place, Plan};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.bindings.iter().map(|(name, number)| format!("{name}={number}")).collect();
        let total = self.total_cost();
        write!(
            f,
            "plan{}{}: {} calls, {}, {}, arena {}",
            if sizes.is_empty() { "" } else { " " },
            sizes.join(" "),
            self.calls.len(),
            Flops(total.flops),
            Bytes(total.bytes as usize),
            Bytes(self.arena_bytes)
        )?;
        if self.packed_bytes > 0 {
            write!(f, ", packed weights {}", Bytes(self.packed_bytes))?;
        }
        writeln!(f)?;
        let lines: Vec<String> = self.calls.iter().map(|call| self.line(&call.kernel)).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(100);
        for (position, (call, line)) in self.calls.iter().zip(&lines).enumerate() {
            if position == self.commit {
                writeln!(f, "  commit")?;
            }
            let cost = self.cost(call);
            writeln!(
                f,
                "  {line:width$}  {:>12}  {:>9}  # {}",
                Flops(cost.flops),
                Bytes(cost.bytes as usize),
                call.label
            )?;
            if let Kernel::Loop(repeat) = &call.kernel {
                let body = repeat.body.to_string();
                for line in body.lines().take_while(|line| *line != "buffers") {
                    writeln!(f, "    | {line}")?;
                }
            }
        }
        writeln!(f, "buffers")?;
        for (position, buffer) in self.buffers.iter().enumerate() {
            let place = match &buffer.place {
                Place::Arena { offset } => format!("arena+{offset}"),
                Place::Feed(number) => format!("feed {number} '{}'", self.feeds[*number].name),
                Place::Variable(number) => format!("variable {number} '{}'", self.variables[*number].0.name()),
                Place::Constant(_) => "constant".to_string(),
                Place::Fetch(number) => format!("fetch {number}"),
            };
            writeln!(f, "  b{position:<4} {buffer}  {place}")?;
        }
        Ok(())
    }
}

/// `f32[100,784]`.
impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{}[{}]", self.dtype, sizes.join(","))
    }
}

impl Plan {
    fn line(&self, kernel: &Kernel) -> String {
        let list = |buffers: &[BufferId]| buffers.iter().map(BufferId::to_string).collect::<Vec<_>>().join(" ");
        let to = list(&kernel.writes());
        let from = list(&kernel.reads());
        let what = match kernel {
            Kernel::Map(map) => {
                let dims: Vec<String> = map.dims.iter().map(usize::to_string).collect();
                format!("map [{}] {}", dims.join("x"), program(&map.program))
            }
            Kernel::MatMul(matmul) => {
                let batch: String = matmul.batch.iter().map(|size| format!("{size}x")).collect();
                let product = format!("matmul {batch}[{}x{}]·[{}x{}]", matmul.m, matmul.k, matmul.k, matmul.n);
                match &matmul.epilogue {
                    Some(epilogue) => format!("{product} then {}", program(&epilogue.program)),
                    None => product,
                }
            }
            Kernel::Convolution(convolution) => {
                let side = format!("{:?}", convolution.op.side).to_lowercase();
                let kernel: Vec<String> = convolution.op.axes.iter().map(|grid| grid.kernel.to_string()).collect();
                let [rows, columns] = convolution.result();
                let (c, o) = (convolution.channels, convolution.outputs);
                let what = format!("convolution {side} [{rows}x{columns}] {} {c}→{o}", kernel.join("x"));
                match &convolution.epilogue {
                    Some(epilogue) => format!("{what} then {}", program(&epilogue.program)),
                    None => what,
                }
            }
            Kernel::Attention(attention) => {
                let Attention { batch, heads, queries, keys, width, .. } = **attention;
                let what = if attention.gradient.is_some() { "attention gradient" } else { "attention" };
                let causal = if attention.causal { " causal" } else { "" };
                let dropping = attention.dropout.map_or(String::new(), |dropout| format!(" dropping {}", dropout.rate));
                format!("{what}{causal}{dropping} {batch}x{heads}x[{queries}x{keys}] of {width}")
            }
            Kernel::Loop(repeat) => {
                let direction = if repeat.reverse { "back" } else { "forth" };
                let calls = repeat.body.calls.len();
                match repeat.gated {
                    true => format!("loop while the first carry holds, {calls} calls each"),
                    false => format!("loop of {} steps {direction}, {calls} calls each", repeat.length),
                }
            }
            Kernel::OverlapAdd { kernel, stride, .. } => format!("overlap_add {kernel} by {stride}"),
            Kernel::Copy { .. } => "copy".into(),
            Kernel::Assemble { parts, .. } => format!("assemble {} parts", parts.len()),
            Kernel::Fill { value, .. } => format!("fill {value}"),
            Kernel::Gather { .. } => "gather".into(),
            Kernel::ScatterAdd { .. } => "scatter_add".into(),
            Kernel::TakeAlong { .. } => "take_along".into(),
            Kernel::ScatterAddAlong { .. } => "scatter_add_along".into(),
            Kernel::CheckIndices { bound, .. } => format!("check_indices 0..{bound}"),
            Kernel::ArgReduce { max, .. } => if *max { "argmax" } else { "argmin" }.into(),
            Kernel::CumSum { .. } => "cum_sum".into(),
            Kernel::ArgSort { .. } => "arg_sort".into(),
            Kernel::Custom { op, .. } => format!("custom {op:?}").chars().take(40).collect(),
            Kernel::Fold { fold, .. } => format!("fold {fold:?}").to_lowercase(),
        };
        let arrow = if to.is_empty() { String::new() } else { format!("{to} = ") };
        format!("{arrow}{what} ({from})")
    }
}

/// The functions of a program in order, with how its outputs leave it.
fn program(program: &Program) -> String {
    let mut names: Vec<String> = Vec::new();
    for instruction in &program.instructions {
        match instruction {
            Instruction::Load { .. } | Instruction::Constant { .. } => {}
            Instruction::Random { distribution, .. } => names.push(format!("{distribution:?}").to_lowercase()),
            Instruction::Column { .. } => names.push("column".into()),
            Instruction::IsColumn { .. } => names.push("is column".into()),
            Instruction::Unary { f, .. } => names.push(short(&format!("{f:?}"))),
            Instruction::Binary { f, .. } => names.push(short(&format!("{f:?}"))),
            Instruction::Select { .. } => names.push("select".into()),
            Instruction::Cast { to, .. } => names.push(format!("cast {to}")),
            Instruction::FoldRow { f, .. } => names.push(format!("row {f:?}").to_lowercase()),
        }
    }
    for output in &program.outputs {
        match output.kind {
            OutputKind::Store => {}
            OutputKind::FoldRows(fold) => names.push(format!("rows {fold:?}").to_lowercase()),
            OutputKind::FoldAll(fold) => names.push(format!("all {fold:?}").to_lowercase()),
        }
    }
    if names.is_empty() { "copy".into() } else { names.join(", ") }
}

fn short(debug: &str) -> String {
    debug.split([' ', '{']).next().unwrap_or(debug).to_lowercase()
}

struct Flops(u64);

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let x = self.0 as f64;
        let text = match self.0 {
            0..1_000 => format!("{} FLOP", self.0),
            1_000..1_000_000 => format!("{:.1} kFLOP", x / 1e3),
            1_000_000..1_000_000_000 => format!("{:.1} MFLOP", x / 1e6),
            _ => format!("{:.2} GFLOP", x / 1e9),
        };
        f.pad(&text)
    }
}

struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let x = self.0 as f64;
        let text = match self.0 {
            0..1_000 => format!("{} B", self.0),
            1_000..1_000_000 => format!("{:.1} kB", x / 1e3),
            1_000_000..1_000_000_000 => format!("{:.1} MB", x / 1e6),
            _ => format!("{:.2} GB", x / 1e9),
        };
        f.pad(&text)
    }
}
