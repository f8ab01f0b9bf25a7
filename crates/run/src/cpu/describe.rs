//! Which kernels a plan was made ready for, in words.

use thalweg_plan::Kernel;

use super::prepare::{Prepared, Product, Work};

impl Prepared {
    /// A line for each call of the plan: which kernel, for which instruction set, in how many parts.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut lines = vec![Vec::new(); self.plan.calls.len()];
        for step in &self.steps {
            lines[step.call].push(work(&step.work, &self.plan.calls[step.call].kernel));
        }
        let join = |parts: Vec<String>| match &parts[..] {
            [] => "nothing to compute".to_string(),
            [first, .., last] if parts.len() > 2 => format!("{first}, …, {last}; {} parts", parts.len()),
            _ => parts.join("; "),
        };
        lines.into_iter().map(join).collect()
    }
}

fn work(work: &Work, kernel: &Kernel) -> String {
    match work {
        Work::Map { tile, .. } => tile.describe(),
        Work::Product(product) => describe_product(product),
        Work::Convolution(convolution) => {
            let name = if convolution.epilogue.is_some() { "convolution+tile" } else { "convolution" };
            format!("{name} {}", convolution.kernel.describe())
        }
        Work::Attention(attention) => attention.describe(),
        Work::Gather(gather) => gather.describe(),
        Work::ScatterAdd(scatter) => scatter.describe(),
        Work::Copy { copy, .. } => match copy.chunks() {
            1 => "copy, 1 chunk".into(),
            chunks => format!("copy, {chunks} chunks"),
        },
        Work::Fill { .. } => "fill".into(),
        Work::Loop(repeat) => format!("a step: {}", repeat.body.describe().join(" | ")),
        Work::Whole => whole(kernel).into(),
    }
}

fn describe_product(product: &Product) -> String {
    let times = match product.batch.len() {
        1 => String::new(),
        products => format!("{products} times "),
    };
    let name = if product.epilogue.is_some() { "matmul+tile" } else { "matmul" };
    format!("{times}{name} {}", product.matmul.describe())
}

/// The loop over whole buffers that does a call.
fn whole(kernel: &Kernel) -> &'static str {
    match kernel {
        Kernel::TakeAlong { .. } => "take along an axis",
        Kernel::ScatterAddAlong { .. } => "scatter-add along an axis",
        Kernel::CheckIndices { .. } => "check of indices",
        Kernel::ArgReduce { max: true, .. } => "argmax",
        Kernel::ArgReduce { max: false, .. } => "argmin",
        Kernel::CumSum { .. } => "running sums",
        Kernel::ArgSort { .. } => "argsort",
        Kernel::OverlapAdd { .. } => "windows added up",
        Kernel::Custom { .. } => "a user's op",
        Kernel::Map(_)
        | Kernel::MatMul(_)
        | Kernel::Convolution(_)
        | Kernel::Attention(_)
        | Kernel::Gather { .. }
        | Kernel::ScatterAdd { .. }
        | Kernel::Copy { .. }
        | Kernel::Assemble { .. }
        | Kernel::Fill { .. }
        | Kernel::Loop(_)
        | Kernel::Fold { .. } => unreachable!("these have work of their own"),
    }
}
