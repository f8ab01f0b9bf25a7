//! Random numbers that disturb data stand for their mean: noise is gone, and a mask that lets through is how often it
//! does.
//!
//! ```text
//! %0: f32[n] = random distribution=normal …
//! %1: f32[n] = mul %0 %sigma
//! %2: f32[n] = add %x %1     ⇒  %2: f32[n] = add %x (0 · %sigma)
//! ```
//!
//! | random numbers | stand for |
//! | --- | --- |
//! | normal, times whatever is known, added to data | 0 |
//! | uniform, shifted and scaled, added to data or multiplied into it | ½, shifted and scaled |
//! | uniform < t as a number, multiplied into data | t within \[0, 1\], its probability |
//! | select(uniform < t, a, b) of data | the mean of a and b by probability |
//!
//! For what is linear in the random numbers this is the expectation; so dropout and noise are off however they were
//! written. What only chance decides (numbers drawn to be used themselves, or through a function that is not linear)
//! keeps its random ops.

use std::collections::{HashMap, HashSet};

use thalweg_array::Scalar;
use thalweg_array::scalar::{Binary, Distribution, Unary};

use super::pattern::Rewriter;
use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::elementwise::{Cast, ElementwiseBinary, ElementwiseUnary};

/// What is decided by chance and by constants alone, beside what stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chance {
    /// Numbers of mean 0 that are to be added.
    Noise,
    /// Uniform numbers as they were drawn.
    Uniform,
    /// Other numbers.
    Factor,
    /// Truth values; their probability stands for them.
    Event,
}

/// The graph with random numbers that disturb data replaced by their mean.
pub(super) fn take_means(graph: Graph) -> Graph {
    let nothing = HashSet::new();
    let mut means = Means::default();
    let changed = graph.rebuild(|graph, node, inputs| {
        let mut r = Rewriter { graph, like: node, closed: &nothing };
        let stand_in = means.of(&mut r, node, inputs);
        let reads = matches!(node.op, Op::Placeholder(_) | Op::Variable(_));
        let by_chance = |id: &NodeId| means.chances.contains_key(id);
        match stand_in {
            Some((mean, Some(chance))) => {
                means.chances.insert(graph.next_id(), (chance, mean));
                None
            }
            Some((mean, None)) => {
                means.data.insert(mean);
                Some(mean)
            }
            None => {
                if reads || inputs.iter().any(|id| means.data.contains(id) || by_chance(id)) {
                    means.data.insert(graph.next_id());
                }
                None
            }
        }
    });
    changed.value
}

/// What is known of the nodes of the graph that is built.
#[derive(Default)]
struct Means {
    /// What chance decides, and the node that stands for it.
    chances: HashMap<NodeId, (Chance, NodeId)>,
    /// What depends on feeds or variables.
    data: HashSet<NodeId>,
}

impl Means {
    /// What stands for the node, and what kind of chance it is for: `None` there if data are disturbed, so that chance ends
    /// here; `None` altogether if there is no mean.
    fn of(&self, r: &mut Rewriter<'_>, node: &Node, inputs: &[NodeId]) -> Option<(NodeId, Option<Chance>)> {
        let chance = |position: usize| self.chances.get(&inputs[position]).copied();
        match &node.op {
            Op::Random(random) => match random.distribution {
                Distribution::Normal => Some((r.number(Scalar::from(0.0), &node.meta)?, Some(Chance::Noise))),
                Distribution::Uniform => Some((r.number(Scalar::from(0.5), &node.meta)?, Some(Chance::Uniform))),
            },
            Op::Expand(_) | Op::Reshape(_) | Op::Permute(_) | Op::Slice(_) | Op::Flip(_) | Op::StopGradient(_) => {
                let (chance, mean) = chance(0)?;
                Some((r.emit(node.op.clone(), &[mean])?, Some(chance)))
            }
            Op::Cast(Cast { to }) if to.is_float() => {
                let (chance, mean) = chance(0)?;
                let chance = if chance == Chance::Event { Chance::Factor } else { chance };
                Some((r.emit(Cast { to: *to }, &[mean])?, Some(chance)))
            }
            Op::Unary(ElementwiseUnary(Unary::Neg)) => {
                let (chance, mean) = chance(0)?;
                let chance = if chance == Chance::Noise { Chance::Noise } else { Chance::Factor };
                Some((r.emit_unary(Unary::Neg, mean)?, Some(chance)))
            }
            Op::Unary(ElementwiseUnary(Unary::Not)) => {
                let (_, probability) = chance(0)?;
                Some((complement(r, probability)?, Some(Chance::Event)))
            }
            Op::Binary(ElementwiseBinary(f)) => match f {
                Binary::Add | Binary::Sub => self.sum(r, *f, inputs),
                Binary::Mul | Binary::Div => self.product(r, *f, inputs),
                Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => self.comparison(r, *f, inputs),
                Binary::Rem | Binary::Pow | Binary::Max | Binary::Min => None,
                Binary::Eq | Binary::Ne | Binary::And | Binary::Or | Binary::Xor => None,
            },
            Op::Select(_) => self.choice(r, node, inputs),
            _ => None,
        }
    }

    /// x ± y, of which one or both are numbers by chance.
    fn sum(&self, r: &mut Rewriter<'_>, f: Binary, inputs: &[NodeId]) -> Option<(NodeId, Option<Chance>)> {
        let found = [inputs[0], inputs[1]].map(|id| self.chances.get(&id).copied());
        let chance = match found.map(|found| found.map(|(chance, _)| chance)) {
            [None, None] => return None,
            [Some(Chance::Noise), Some(Chance::Noise)] => Some(Chance::Noise),
            [Some(_), Some(_)] => Some(Chance::Factor),
            [Some(_), None] => self.unless_data(inputs[1]),
            [None, Some(_)] => self.unless_data(inputs[0]),
        };
        let mean = |position: usize| found[position].map_or(inputs[position], |(_, mean)| mean);
        Some((r.emit(ElementwiseBinary(f), &[mean(0), mean(1)])?, chance))
    }

    /// x · y or x / y, of which one is by chance; the divisor never is.
    fn product(&self, r: &mut Rewriter<'_>, f: Binary, inputs: &[NodeId]) -> Option<(NodeId, Option<Chance>)> {
        let found = [inputs[0], inputs[1]].map(|id| self.chances.get(&id).copied());
        let (chance, operands, known) = match found {
            [Some((chance, mean)), None] => (chance, [mean, inputs[1]], inputs[1]),
            [None, Some((chance, mean))] if f == Binary::Mul => (chance, [inputs[0], mean], inputs[0]),
            _ => return None,
        };
        // Noise that is scaled is noise still: a product alone is nothing that it could disturb.
        let chance = if chance == Chance::Noise { Some(Chance::Noise) } else { self.unless_data(known) };
        Some((r.emit(ElementwiseBinary(f), &operands)?, chance))
    }

    /// Uniform numbers against what is known.
    fn comparison(&self, r: &mut Rewriter<'_>, f: Binary, inputs: &[NodeId]) -> Option<(NodeId, Option<Chance>)> {
        let (threshold, below) = match [inputs[0], inputs[1]].map(|id| self.chances.get(&id).map(|&(c, _)| c)) {
            [Some(Chance::Uniform), None] => (inputs[1], matches!(f, Binary::Lt | Binary::Le)),
            [None, Some(Chance::Uniform)] => (inputs[0], matches!(f, Binary::Gt | Binary::Ge)),
            _ => return None,
        };
        let meta = r.meta(threshold).clone();
        let (zero, one) = (r.number(Scalar::from(0.0), &meta)?, r.number(Scalar::from(1.0), &meta)?);
        let within = r.emit(ElementwiseBinary(Binary::Max), &[threshold, zero])?;
        let within = r.emit(ElementwiseBinary(Binary::Min), &[within, one])?;
        Some((if below { within } else { complement(r, within)? }, Some(Chance::Event)))
    }

    /// a where an event happens, else b; both known.
    fn choice(&self, r: &mut Rewriter<'_>, node: &Node, inputs: &[NodeId]) -> Option<(NodeId, Option<Chance>)> {
        let &(Chance::Event, probability) = self.chances.get(&inputs[0])? else { return None };
        let (a, b) = (inputs[1], inputs[2]);
        let has_mean = |id: NodeId| r.splat(id).is_none_or(|number| number.to_f64().is_finite());
        if !node.meta.dtype.is_float() || [a, b].iter().any(|&id| self.chances.contains_key(&id) || !has_mean(id)) {
            return None;
        }
        let probability = r.emit(Cast { to: node.meta.dtype }, &[probability])?;
        let other = complement(r, probability)?;
        let times = |r: &mut Rewriter<'_>, x, y| r.emit(ElementwiseBinary(Binary::Mul), &[x, y]);
        let mean = if r.is(b, 0.0) {
            times(r, a, probability)?
        } else if r.is(a, 0.0) {
            times(r, b, other)?
        } else {
            let (a, b) = (times(r, a, probability)?, times(r, b, other)?);
            r.emit(ElementwiseBinary(Binary::Add), &[a, b])?
        };
        let disturbed = self.data.contains(&a) || self.data.contains(&b);
        Some((mean, (!disturbed).then_some(Chance::Factor)))
    }

    /// Where chance meets constants it goes on, where it meets data it ends.
    fn unless_data(&self, known: NodeId) -> Option<Chance> {
        (!self.data.contains(&known)).then_some(Chance::Factor)
    }
}

/// 1 − p.
fn complement(r: &mut Rewriter<'_>, probability: NodeId) -> Option<NodeId> {
    let meta = r.meta(probability).clone();
    let one = r.number(Scalar::from(1.0), &meta)?;
    r.emit(ElementwiseBinary(Binary::Sub), &[one, probability])
}
