//! The invariants of a plan:
//!
//! 1. Every operand stays inside its buffer, and has a stride for each axis of its space.
//! 2. What a call reads from the arena or from a fetch has been written by a call before it.
//! 3. Buffers of the arena that are needed at the same time do not overlap, but for an elementwise result in the place
//!    of an input that nobody needs any more.
//! 4. No call before `commit` writes a variable; none from `commit` on can fail; no variable is written twice, or read
//!    after it was written.
//! 5. Feeds and constants are never written.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::memory::lifetimes;
use crate::plan::{ALIGNMENT, BufferId, Given, Kernel, Operand, Part, Place, Plan};

/// A broken invariant: a bug in Thalweg.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("call {call} ({label}): {reason}; a bug in Thalweg")]
pub struct VerifyError {
    /// The position of the call.
    pub call: usize,
    /// Its label.
    pub label: String,
    /// What does not hold.
    pub reason: String,
}

/// Checks the invariants of the module.
///
/// # Errors
/// If one does not hold; the message names the call and the buffers.
pub fn verify(plan: &Plan) -> Result<(), VerifyError> {
    let mut written: BTreeSet<BufferId> = BTreeSet::new();
    let mut variables_written: BTreeSet<usize> = BTreeSet::new();
    for (position, call) in plan.calls.iter().enumerate() {
        let fail = |reason: String| VerifyError { call: position, label: call.label.to_string(), reason };
        for (dims, operand) in looks(&call.kernel) {
            inside(plan, &dims, operand).map_err(fail)?;
        }
        for buffer in call.kernel.reads() {
            match plan[buffer].place {
                Place::Arena { .. } | Place::Fetch(_) if plan[buffer].count() > 0 && !written.contains(&buffer) => {
                    return Err(fail(format!("reads {buffer} before it is written")));
                }
                Place::Variable(variable) if variables_written.contains(&variable) => {
                    return Err(fail(format!("reads variable {variable} after it was written")));
                }
                Place::Arena { .. } | Place::Fetch(_) | Place::Variable(_) | Place::Feed(_) | Place::Constant(_) => {}
            }
        }
        for buffer in call.kernel.writes() {
            match plan[buffer].place {
                Place::Feed(_) | Place::Constant(_) => return Err(fail(format!("writes {buffer}, which is given"))),
                Place::Variable(_) if position < plan.commit => {
                    return Err(fail(format!("writes {buffer}, a variable, before the commit")));
                }
                Place::Variable(variable) if !variables_written.insert(variable) => {
                    return Err(fail(format!("writes variable {variable} a second time")));
                }
                Place::Arena { .. } | Place::Fetch(_) | Place::Variable(_) => {}
            }
            written.insert(buffer);
        }
        if position >= plan.commit && call.kernel.can_fail() {
            return Err(fail("can fail after the commit".into()));
        }
    }
    overlaps(plan)
}

/// The operands of a call with the sizes of the space over which they step.
fn looks<'a>(kernel: &'a Kernel) -> Vec<(Vec<usize>, &'a Operand)> {
    match kernel {
        Kernel::Map(map) => map.inputs.iter().chain(&map.outputs).map(|operand| (map.dims.to_vec(), operand)).collect(),
        Kernel::MatMul(matmul) => {
            let space = |rows: usize, columns: usize| {
                matmul.batch.iter().copied().chain([rows, columns]).collect::<Vec<usize>>()
            };
            let mut looks = vec![(space(matmul.m, matmul.k), &matmul.a), (space(matmul.k, matmul.n), &matmul.b)];
            let epilogue = matmul.epilogue.iter().flat_map(|e| e.inputs.iter().chain(&e.outputs));
            looks.extend(epilogue.map(|operand| (space(matmul.m, matmul.n), operand)));
            looks
        }
        Kernel::Convolution(convolution) => {
            let epilogue = convolution.epilogue.iter().flat_map(|e| e.inputs.iter().chain(&e.outputs));
            epilogue.map(|operand| (convolution.result().to_vec(), operand)).collect()
        }
        Kernel::Attention(attention) => {
            attention.reads().into_iter().map(|(space, operand)| (space.to_vec(), operand)).collect()
        }
        Kernel::Copy { dims, from, to } => vec![(dims.to_vec(), from), (dims.to_vec(), to)],
        Kernel::Assemble { parts, .. } => {
            parts.iter().flat_map(|part| [(part.dims.to_vec(), &part.from), (part.dims.to_vec(), &part.to)]).collect()
        }
        Kernel::ScatterAdd { base: Part { dims, from, to }, .. } => vec![(dims.to_vec(), from), (dims.to_vec(), to)],
        Kernel::Fill { .. }
        | Kernel::Gather { .. }
        | Kernel::TakeAlong { .. }
        | Kernel::ScatterAddAlong { .. }
        | Kernel::CheckIndices { .. }
        | Kernel::ArgReduce { .. }
        | Kernel::CumSum { .. }
        | Kernel::ArgSort { .. }
        | Kernel::Fold { .. }
        | Kernel::OverlapAdd { .. }
        | Kernel::Custom { .. } => Vec::new(),
        Kernel::Loop(repeat) => {
            let slices = |given: &'a Given| match given {
                Given::Slices(operand) => Some((vec![repeat.length], operand)),
                Given::Carry(_) | Given::Whole(_) => None,
            };
            repeat.feeds.iter().filter_map(slices).collect()
        }
    }
}

fn inside(plan: &Plan, dims: &[usize], operand: &Operand) -> Result<(), String> {
    if operand.strides.len() != dims.len() {
        return Err(format!("{} has {} strides for {dims:?}", operand.buffer, operand.strides.len()));
    }
    if dims.contains(&0) {
        return Ok(());
    }
    let reach = |sign: isize| -> isize {
        let steps = dims.iter().zip(&operand.strides).filter(|&(_, stride)| stride * sign > 0);
        steps.map(|(&size, &stride)| (size as isize - 1) * stride).sum()
    };
    let (low, high) = (operand.offset as isize + reach(-1), operand.offset as isize + reach(1));
    let count = plan[operand.buffer].count() as isize;
    if low < 0 || high >= count {
        return Err(format!("looks at elements {low} to {high} of {}, which has {count}", operand.buffer));
    }
    Ok(())
}

fn overlaps(plan: &Plan) -> Result<(), VerifyError> {
    let lifetimes = lifetimes(plan);
    // (offset, end, first, last, buffer), by offset
    let mut stretches: Vec<(usize, usize, usize, usize, usize)> = Vec::new();
    for (position, buffer) in plan.buffers.iter().enumerate() {
        if let (Place::Arena { offset }, Some((first, last))) = (&buffer.place, lifetimes[position])
            && buffer.bytes() > 0
        {
            stretches.push((*offset, offset + buffer.bytes(), first, last, position));
        }
    }
    stretches.sort();
    for (index, &(offset, end, first, last, buffer)) in stretches.iter().enumerate() {
        let fail =
            |call: usize, reason: String| VerifyError { call, label: plan.calls[call].label.to_string(), reason };
        if offset % ALIGNMENT != 0 || end > plan.arena_bytes {
            return Err(fail(first, format!("b{buffer} lies at {offset}, not aligned or beyond the arena")));
        }
        for &(other_offset, _, other_first, other_last, other) in &stretches[index + 1..] {
            if other_offset >= end {
                break;
            }
            // One ends in the call in which the other begins: in place.
            let handed_over = offset == other_offset && (last == other_first || other_last == first);
            if first <= other_last && other_first <= last && !handed_over {
                return Err(fail(first.max(other_first), format!("b{buffer} and b{other} overlap")));
            }
        }
    }
    Ok(())
}
