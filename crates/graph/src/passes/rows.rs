//! Rows change their order where they are shortest: before a product that makes them longer, behind one that makes them shorter, and
//! rows that are picked by an index, or added, where the index lies.
//!
//! ```text
//! %0: f32[2,8,512] = permute %x axes=[1,0,2]            %0: f32[16,512] = reshape %x
//! %1: f32[16,512] = reshape %0                     ⇒    %1: f32[16,28] = matmul %0 %w
//! %2: f32[16,28] = matmul %1 %w                         %2: f32[8,2,28] = reshape %1
//!                                                       %3: f32[2,8,28] = permute %2 axes=[1,0,2]
//!                                                       %4: f32[16,28] = reshape %3
//! ```
//!
//! Recurrent layers work step by step, the data lie sample by sample: their outputs are in another order than the labels. Sums over
//! rows change by rounding.

use thalweg_array::Size;

use super::moves::{Moves, reshaped, transposed, transposition};
use super::pattern::Rewriter;
use super::{Options, Pass};
use crate::graph::{Changed, Graph, NodeId};
use crate::op::Op;
use crate::ops::index::{Gather, ScatterAdd};
use crate::ops::matmul::MatMul;

/// The pass.
pub const PASS: Pass = Pass { name: "rows", run };

fn run(graph: Graph, options: &Options) -> Changed<Graph> {
    if options.exact {
        return Changed { value: graph, changed: false };
    }
    let nothing = std::collections::HashSet::new();
    let mut are_alone = alone(&graph).into_iter();
    graph.rebuild(|graph, node, inputs| {
        let is_alone = are_alone.next().unwrap_or(false);
        let mut r = Rewriter { graph, like: node, closed: &nothing };
        match &node.op {
            Op::MatMul(_) => behind(&mut r, inputs[0], inputs[1]).or_else(|| weights(&mut r, inputs[0], inputs[1])),
            Op::Permute(permute) if is_alone => {
                let moves = Moves::behind(&r, inputs[0])?.then(permute)?;
                before(&mut r, moves)
            }
            Op::ScatterAdd(ScatterAdd { axis: 0 }) => added(&mut r, inputs[0], inputs[1], inputs[2]),
            _ => None,
        }
    })
}

/// Of each node, whether all that it is a move of is used by nobody else.
fn alone(graph: &Graph) -> Vec<bool> {
    let uses = graph.use_counts();
    let mut alone: Vec<bool> = Vec::with_capacity(uses.len());
    for node in graph.nodes() {
        let is_alone = |input: &NodeId| {
            let moves = matches!(graph[*input].op, Op::Permute(_) | Op::Reshape(_));
            uses[input.index()] == 1 && (!moves || alone[input.index()])
        };
        let is_alone = node.inputs.first().is_some_and(is_alone);
        alone.push(is_alone);
    }
    alone
}

/// The columns of a matrix, or of rows along several axes.
fn width(r: &Rewriter<'_>, rows: NodeId) -> Option<(usize, Size)> {
    let last = r.meta(rows).shape.last()?.clone();
    Some((last.number()?, last))
}

/// moved(X)·W ⇒ moved(X·W), of fewer columns than X
fn behind(r: &mut Rewriter<'_>, rows: NodeId, w: NodeId) -> Option<NodeId> {
    let moves = Moves::behind(r, rows)?;
    let ((k, _), (n, columns)) = (width(r, rows)?, width(r, w)?);
    if !moves.reorder() || r.meta(rows).shape.rank() != 2 || n >= k {
        return None;
    }
    let x = flat(r, moves.source, rows)?;
    let product = r.emit(MatMul {}, &[x, w])?;
    let product = with_columns(r, product, moves.source, columns.clone())?;
    moves.redo(r, product, Some(&columns))
}

/// Xᵀ·G, where X is moved(Y) ⇒ Yᵀ·back(G), of fewer columns than X
fn weights(r: &mut Rewriter<'_>, columns: NodeId, g: NodeId) -> Option<NodeId> {
    let rows = transposed(r, columns)?;
    let moves = Moves::behind(r, rows)?;
    let ((k, _), (n, width)) = (width(r, rows)?, width(r, g)?);
    if !moves.reorder() || r.meta(rows).shape.rank() != 2 || n >= k {
        return None;
    }
    let back = moves.undo(r, g, Some(&width))?;
    let back = flat(r, back, g)?;
    let x = flat(r, moves.source, rows)?;
    let x = r.emit(transposition(), &[x])?;
    r.emit(MatMul {}, &[x, back])
}

/// moved(G·W) ⇒ moved(G)·W, where G has fewer columns; moved(pick(E, i)) ⇒ pick(E, moved(i))
fn before(r: &mut Rewriter<'_>, moves: Moves) -> Option<NodeId> {
    let from = moves.source;
    match r.op(from)? {
        Op::MatMul(_) => {
            let (g, w) = (r.graph[from].inputs[0], r.graph[from].inputs[1]);
            let ((k, columns), (n, _)) = (width(r, g)?, width(r, from)?);
            if r.meta(from).shape.rank() != 2 || k >= n {
                return None;
            }
            let moved = moves.redo(r, g, Some(&columns))?;
            let moved = flat(r, moved, g)?;
            let product = r.emit(MatMul {}, &[moved, w])?;
            reshaped(r, product, r.like.meta.shape.clone())
        }
        Op::Gather(Gather { axis: 0 }) => {
            let (table, indices) = (r.graph[from].inputs[0], r.graph[from].inputs[1]);
            if r.meta(table).shape.rank() != 2 {
                return None;
            }
            let moved = moves.redo(r, indices, None)?;
            r.emit(Gather { axis: 0 }, &[table, moved])
        }
        _ => None,
    }
}

/// sum(moved(G), i) ⇒ sum(G, back(i))
fn added(r: &mut Rewriter<'_>, ground: NodeId, indices: NodeId, updates: NodeId) -> Option<NodeId> {
    let moves = Moves::behind(r, updates)?;
    if !moves.reorder() || r.meta(ground).shape.rank() != 2 {
        return None;
    }
    let back = moves.undo(r, indices, None)?;
    r.emit(ScatterAdd { axis: 0 }, &[ground, back, moves.source])
}

/// A matrix of as many rows as `like` has.
fn flat(r: &mut Rewriter<'_>, x: NodeId, like: NodeId) -> Option<NodeId> {
    let columns = r.meta(x).shape.last()?.clone();
    with_columns(r, x, like, columns)
}

/// Rows along the axes of those of `like`, of so many columns.
fn with_columns(r: &mut Rewriter<'_>, x: NodeId, like: NodeId, columns: Size) -> Option<NodeId> {
    let lead = r.meta(like).shape.split_last()?.1.iter().cloned();
    let shape = lead.chain([columns]).collect();
    reshaped(r, x, shape)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::PASS;
    use crate::passes::testing::check;

    /// Rows in another order than those of the gradients, a product of fewer columns, and the gradients of both factors.
    const HEAD: &str = "%x: f32[2,4,16] = variable
         %w: f32[16,3] = variable
         %g: f32[8,3] = placeholder
         %0: f32[4,2,16] = permute %x axes=[1,0,2]
         %1: f32[8,16] = reshape %0
         %2: f32[8,3] = matmul %1 %w
         %3: f32[16,8] = permute %1 axes=[1,0]
         %4: f32[16,3] = matmul %3 %g
         %5: f32[3,16] = permute %w axes=[1,0]
         %6: f32[8,16] = matmul %g %5
         %7: f32[4,2,16] = reshape %6
         %8: f32[2,4,16] = permute %7 axes=[1,0,2]
         return %2, %4, %8";

    #[test]
    fn rows_change_their_order_where_they_are_short() {
        check(
            PASS,
            HEAD,
            expect![[r#"
            %x: f32[2,4,16] = variable
            %w: f32[16,3] = variable
            %g: f32[8,3] = placeholder
            %0: f32[8,16] = reshape %x
            %1: f32[8,3] = matmul %0 %w
            %2: f32[2,4,3] = reshape %1
            %3: f32[4,2,3] = permute %2 axes=[1,0,2]
            %4: f32[8,3] = reshape %3
            %5: f32[4,2,3] = reshape %g
            %6: f32[2,4,3] = permute %5 axes=[1,0,2]
            %7: f32[8,3] = reshape %6
            %8: f32[8,16] = reshape %x
            %9: f32[16,8] = permute %8 axes=[1,0]
            %10: f32[16,3] = matmul %9 %7
            %11: f32[3,16] = permute %w axes=[1,0]
            %12: f32[4,2,3] = reshape %g
            %13: f32[2,4,3] = permute %12 axes=[1,0,2]
            %14: f32[8,3] = reshape %13
            %15: f32[8,16] = matmul %14 %11
            %16: f32[2,4,16] = reshape %15
            return %4, %10, %16
        "#]],
        );
    }

    #[test]
    fn rows_change_their_order_where_they_have_no_columns() {
        let picked = "%table: f32[5,16] = variable
             %i: i64[2,4] = placeholder
             %0: f32[2,4,16] = gather %table %i axis=0
             %1: f32[4,2,16] = permute %0 axes=[1,0,2]
             %u: f32[4,2,16] = placeholder
             %2: f32[2,4,16] = permute %u axes=[1,0,2]
             %3: f32[5,16] = scatter_add %table %i %2 axis=0
             return %1, %3";
        check(
            PASS,
            picked,
            expect![[r#"
            %table: f32[5,16] = variable
            %i: i64[2,4] = placeholder
            %0: i64[4,2] = permute %i axes=[1,0]
            %1: f32[4,2,16] = gather %table %0 axis=0
            %u: f32[4,2,16] = placeholder
            %2: i64[4,2] = permute %i axes=[1,0]
            %3: f32[5,16] = scatter_add %table %2 %u axis=0
            return %1, %3
        "#]],
        );
    }

    #[test]
    fn a_product_that_others_need_stays() {
        let needed = "%g: f32[8,3] = placeholder
             %w: f32[3,16] = variable
             %0: f32[8,16] = matmul %g %w
             %1: f32[4,2,16] = reshape %0
             %2: f32[2,4,16] = permute %1 axes=[1,0,2]";
        let run = |text: &str| PASS.run(crate::text::parse(text).unwrap(), &super::Options::default()).changed;
        assert!(run(&format!("{needed}\nreturn %2")));
        assert!(!run(&format!("{needed}\nreturn %2, %0")));
    }

    #[test]
    fn rows_that_become_longer_stay() {
        let wide =
            HEAD.replace("f32[16,3]", "f32[16,17]").replace("f32[8,3]", "f32[8,17]").replace("f32[3,16]", "f32[17,16]");
        let graph = crate::text::parse(&wide).unwrap();
        assert!(!PASS.run(graph, &super::Options::default()).changed);
    }
}
