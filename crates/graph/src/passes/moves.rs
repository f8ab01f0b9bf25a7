//! Rows in another order, or along other axes: what was done to some, done to others or undone.

use smallvec::SmallVec;
use thalweg_array::{Shape, Size};

use super::pattern::Rewriter;
use crate::graph::NodeId;
use crate::op::Op;
use crate::ops::shape::{Permute, Reshape};

/// One change of the order of rows, or of the axes that they lie along; columns stay what they are.
enum Move {
    /// The axes of rows, before and after.
    Reshape { from: Shape, to: Shape },
    /// Of all axes but the last.
    Permute(Permute),
}

/// What was done to the rows of a tensor.
pub(super) struct Moves {
    /// The tensor before all moves.
    pub(super) source: NodeId,
    /// The last first.
    steps: SmallVec<[Move; 4]>,
}

impl Moves {
    /// The tensor whose rows these are, and what was done to it.
    pub(super) fn behind(r: &Rewriter<'_>, id: NodeId) -> Option<Moves> {
        let mut moves = Moves { source: id, steps: SmallVec::new() };
        loop {
            let step = match r.op(moves.source)? {
                Op::Permute(permute) => Move::Permute(without_last(permute)?),
                Op::Reshape(_) => {
                    let [from, to] = [r.input(moves.source), moves.source].map(|id| &r.meta(id).shape);
                    let ((columns, from), (same, to)) = (from.split_last()?, to.split_last()?);
                    if columns != same || from.is_empty() || to.is_empty() {
                        return None;
                    }
                    Move::Reshape { from: from.iter().cloned().collect(), to: to.iter().cloned().collect() }
                }
                _ => return Some(moves),
            };
            moves.source = r.input(moves.source);
            moves.steps.push(step);
        }
    }

    /// The same, and then a permutation that leaves the columns where they are.
    pub(super) fn then(mut self, permute: &Permute) -> Option<Moves> {
        self.steps.insert(0, Move::Permute(without_last(permute)?));
        Some(self)
    }

    /// Whether the order of the rows has changed.
    pub(super) fn reorder(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Move::Permute(_)))
    }

    /// The same, done to rows of `width` columns, or to numbers, that lie as the rows of the source do.
    pub(super) fn redo(&self, r: &mut Rewriter<'_>, x: NodeId, width: Option<&Size>) -> Option<NodeId> {
        self.steps.iter().rev().try_fold(x, |x, step| match step {
            Move::Reshape { to, .. } => along(r, x, to, width),
            Move::Permute(permute) => r.emit(with_last(permute, width), &[x]),
        })
    }

    /// Undoes them, for rows of `width` columns, or numbers, that lie as the rows at the end do.
    pub(super) fn undo(&self, r: &mut Rewriter<'_>, x: NodeId, width: Option<&Size>) -> Option<NodeId> {
        self.steps.iter().try_fold(x, |x, step| match step {
            Move::Reshape { from, .. } => along(r, x, from, width),
            Move::Permute(permute) => r.emit(with_last(&permute.inverse(), width), &[x]),
        })
    }
}

/// Rows of `width` columns, or numbers, along these axes.
fn along(r: &mut Rewriter<'_>, x: NodeId, rows: &Shape, width: Option<&Size>) -> Option<NodeId> {
    reshaped(r, x, rows.iter().chain(width).cloned().collect())
}

/// The same along other axes.
pub(super) fn reshaped(r: &mut Rewriter<'_>, x: NodeId, shape: Shape) -> Option<NodeId> {
    if r.meta(x).shape == shape { Some(x) } else { r.emit(Reshape { shape }, &[x]) }
}

/// X, where the matrix is Xᵀ.
pub(super) fn transposed(r: &Rewriter<'_>, id: NodeId) -> Option<NodeId> {
    match r.op(id)? {
        Op::Permute(permute) if permute.axes[..] == [1, 0] => Some(r.input(id)),
        _ => None,
    }
}

/// Columns as rows and rows as columns.
pub(super) fn transposition() -> Permute {
    Permute { axes: SmallVec::from_slice(&[1, 0]) }
}

/// The same of all axes but the last, if that stays the last.
fn without_last(permute: &Permute) -> Option<Permute> {
    let (last, lead) = permute.axes.split_last()?;
    (*last == lead.len()).then(|| Permute { axes: lead.into() })
}

/// The same with the columns behind, where there are any.
fn with_last(permute: &Permute, width: Option<&Size>) -> Permute {
    let last = width.map(|_| permute.axes.len());
    Permute { axes: permute.axes.iter().copied().chain(last).collect() }
}
