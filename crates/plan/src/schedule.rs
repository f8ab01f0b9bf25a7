//! The order of the calls: what is needed comes first, and what can fail before what writes variables.
//!
//! A variable is read by all who need its old value before it is written. Then it is written as soon as it can be: that
//! needs no memory, and lets go of the activation and the cotangent that make a gradient while they are still in cache.
//! Where two calls each read what the other writes, one of them writes beside and is copied over at the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use thalweg_graph::NodeId;

use crate::lower::DraftCall;
use crate::plan::{Buffer, BufferId, Call, Kernel, Operand, Place, Plan};

/// Puts the calls in order and says where the writing of variables begins. `makers` has the call that computes each base.
pub(crate) fn order(plan: &mut Plan, mut drafts: Vec<DraftCall>, makers: &HashMap<NodeId, usize>) {
    let order = loop {
        match try_order(plan, &drafts, makers) {
            Ok(order) => break order,
            Err(stuck) => stuck.into_iter().for_each(|stuck| write_beside(plan, &mut drafts, stuck)),
        }
    };
    let commits: Vec<bool> = drafts.iter().map(|draft| writes_variable(plan, &draft.call.kernel)).collect();
    plan.commit = order.iter().position(|&draft| commits[draft]).unwrap_or(order.len());
    let mut calls: Vec<Option<Call>> = drafts.into_iter().map(|draft| Some(draft.call)).collect();
    plan.calls = order.into_iter().map(|draft| calls[draft].take().expect("each call stands once")).collect();
}

fn variable_of(plan: &Plan, buffer: BufferId) -> Option<usize> {
    match plan[buffer].place {
        Place::Variable(index) => Some(index),
        Place::Arena { .. } | Place::Feed(_) | Place::Constant(_) | Place::Fetch(_) => None,
    }
}

fn writes_variable(plan: &Plan, kernel: &Kernel) -> bool {
    kernel.writes().iter().any(|&buffer| variable_of(plan, buffer).is_some())
}

/// The order, or calls that wait for each other: without them the others find an order.
fn try_order(plan: &Plan, drafts: &[DraftCall], makers: &HashMap<NodeId, usize>) -> Result<Vec<usize>, Vec<usize>> {
    let mut writer: Vec<Option<usize>> = vec![None; plan.buffers.len()];
    let mut variable_writers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (number, draft) in drafts.iter().enumerate() {
        for buffer in draft.call.kernel.writes() {
            match variable_of(plan, buffer) {
                Some(variable) => variable_writers.entry(variable).or_default().push(number),
                None => writer[buffer.index()] = Some(number),
            }
        }
    }
    let mut waiting = vec![0usize; drafts.len()];
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    let mut edge = |from: usize, to: usize| {
        if from != to {
            followers[from].push(to);
            waiting[to] += 1;
        }
    };
    for (number, draft) in drafts.iter().enumerate() {
        for &maker in draft.awaits.iter().filter_map(|awaited| makers.get(awaited)) {
            edge(maker, number);
        }
        for buffer in draft.call.kernel.reads() {
            match variable_of(plan, buffer) {
                // The old value is read before any writes the new one.
                Some(variable) => {
                    for &writer in variable_writers.get(&variable).into_iter().flatten() {
                        edge(number, writer);
                    }
                }
                None => {
                    if let Some(writer) = writer[buffer.index()] {
                        edge(writer, number);
                    }
                }
            }
        }
    }
    let commits: Vec<bool> = drafts.iter().map(|draft| writes_variable(plan, &draft.call.kernel)).collect();
    let key = |number: usize| Reverse((!commits[number], drafts[number].rank, number));
    let mut ready = BinaryHeap::new();
    // What could write, but for those that might still fail.
    let mut held: Vec<usize> = Vec::new();
    let mut can_fail = drafts.iter().filter(|draft| draft.call.kernel.can_fail()).count();
    for number in (0..drafts.len()).filter(|&number| waiting[number] == 0) {
        if commits[number] && can_fail > 0 { held.push(number) } else { ready.push(key(number)) }
    }
    let mut order = Vec::with_capacity(drafts.len());
    let mut stuck: Vec<usize> = Vec::new();
    let mut candidates = 0..drafts.len();
    loop {
        let Some(Reverse((_, _, number))) = ready.pop() else {
            // The first that still waits for others to read its variables goes ahead; these could go on then.
            let Some(next) = candidates.find(|&number| waiting[number] > 0 && commits[number]) else { break };
            waiting[next] = 0;
            stuck.push(next);
            ready.push(key(next));
            continue;
        };
        order.push(number);
        can_fail -= usize::from(drafts[number].call.kernel.can_fail());
        if can_fail == 0 {
            ready.extend(held.drain(..).map(key));
        }
        for &follower in &followers[number] {
            // What went ahead waits no more.
            if waiting[follower] > 0 {
                waiting[follower] -= 1;
                if waiting[follower] == 0 {
                    if commits[follower] && can_fail > 0 { held.push(follower) } else { ready.push(key(follower)) }
                }
            }
        }
    }
    assert_eq!(order.len(), drafts.len(), "only the writing of variables can wait in a circle: a bug in Thalweg");
    if stuck.is_empty() { Ok(order) } else { Err(stuck) }
}

/// Lets a call write next to its variables; copies at the end bring the values home.
fn write_beside(plan: &mut Plan, drafts: &mut Vec<DraftCall>, stuck: usize) {
    let rank = drafts[stuck].rank;
    let label = drafts[stuck].call.label.clone();
    for buffer in drafts[stuck].call.kernel.writes() {
        if variable_of(plan, buffer).is_none() {
            continue;
        }
        let Buffer { dtype, shape, place } = plan[buffer].clone();
        plan.buffers[buffer.index()].place = Place::Arena { offset: 0 };
        let home = BufferId(plan.buffers.len() as u32);
        plan.buffers.push(Buffer { dtype, shape: shape.clone(), place });
        let strides = crate::lower::contiguous(&shape);
        let from = Operand { buffer, offset: 0, strides: strides.clone() };
        let to = Operand { buffer: home, offset: 0, strides };
        let kernel = Kernel::Copy { dims: shape, from, to };
        drafts.push(DraftCall { rank, call: Call { kernel, label: label.clone() }, awaits: Vec::new() });
    }
}
