//! Loops by the reference interpreter: step by step.

use std::collections::BTreeMap;

use thalweg_array::Array;

use super::Loop;
use crate::error::EvalError;
use crate::op::Op;
use crate::reference::{Feeds, interpret};
use crate::tensor::Meta;

/// The results of a loop whose sizes are numbers.
pub(crate) fn interpret_loop(op: &Loop, inputs: &[Array], seed: u64, step: u64) -> Result<Vec<Array>, EvalError> {
    let known = "sizes are bound before anything is computed: a bug in Thalweg";
    let length = op.length.number().expect(known);
    let graph = op.body.graph();
    let mut carries: Vec<Array> = inputs[..op.carries].to_vec();
    let mut stacks: Vec<Vec<u8>> = vec![Vec::new(); graph.fetches().len() - op.carries];
    for number in 0..length {
        let position = if op.reverse { length - 1 - number } else { number };
        if op.gated && carries[0].storage().bytes() == [0] {
            break;
        }
        let mut placeholders = BTreeMap::new();
        for node in graph.nodes() {
            let Op::Placeholder(placeholder) = &node.op else { continue };
            let number = op.position(&placeholder.name).expect("`infer` has looked at the parameters");
            let value = match number {
                carry if carry < op.carries => carries[carry].clone(),
                input if input < op.carries + op.inputs => slice(&inputs[input], position),
                outer => inputs[outer].clone(),
            };
            placeholders.insert(placeholder.name.to_string(), value);
        }
        let mut results = interpret(graph, &Feeds { placeholders, seed, step, ..Feeds::default() })?.fetches;
        for (stack, output) in stacks.iter_mut().zip(results.split_off(op.carries)) {
            stack.extend_from_slice(output.storage().bytes());
        }
        carries = results;
    }
    let metas = op.results();
    let stacked = stacks.iter().zip(&metas[op.carries..]).map(|(bytes, Meta { dtype, shape })| {
        let shape = shape.numbers().expect(known);
        let bytes = if op.reverse { reversed(bytes, length) } else { bytes.clone() };
        Array::from_bytes(&shape, *dtype, &bytes).expect("a step gives what its shape says: a bug in Thalweg")
    });
    let stacked: Vec<Array> = stacked.collect();
    Ok(carries.into_iter().chain(stacked).collect())
}

/// The part of an array at a position along axis 0.
fn slice(array: &Array, position: usize) -> Array {
    let shape = &array.shape()[1..];
    let bytes = shape.iter().product::<usize>() * array.dtype().size();
    let part = &array.storage().bytes()[position * bytes..][..bytes];
    Array::from_bytes(shape, array.dtype(), part).expect("a part of an array: a bug in Thalweg")
}

/// As many parts in the reverse order.
fn reversed(bytes: &[u8], parts: usize) -> Vec<u8> {
    if bytes.is_empty() { Vec::new() } else { bytes.chunks(bytes.len() / parts).rev().flatten().copied().collect() }
}
