//! Few rows, picked often, go through a product, and have added what is added to all, before they are picked: of a model of
//! characters, each character's row and not that of each place in the text.
//!
//! ```text
//! %0: f32[1000,16] = gather %table %x axis=0          %table: f32[50,16]
//! %1: f32[1000,64] = matmul %0 %w              ⇒  %0: f32[50,64] = matmul %table %w
//!                                                 %1: f32[1000,64] = gather %0 %x axis=0
//! ```
//!
//! To pick rows is to multiply by a matrix of zeros and ones, and products may be taken in any order. What holds forwards holds for the
//! gradients: those of a table and of what it is multiplied by need the sum of what came back for each of its rows, once.
//! Numbers change by rounding; rows that nobody picks are multiplied too, by zero in gradients, so they must be finite.

use thalweg_array::Scalar;
use thalweg_array::scalar::Binary;

use super::moves::{Moves, transposed, transposition};
use super::pattern::Rewriter;
use super::{Options, Pass};
use crate::graph::{Changed, Graph, NodeId};
use crate::op::Op;
use crate::ops::elementwise::ElementwiseBinary;
use crate::ops::index::{Gather, ScatterAdd};
use crate::ops::matmul::MatMul;
use crate::ops::shape::Expand;

/// The pass.
pub const PASS: Pass = Pass { name: "tables", run };

/// How often a row is picked, at least, in the mean.
const TIMES: usize = 2;

/// The width of rows from which on a product costs more than to pick its rows.
const WIDTH: usize = 16;

fn run(graph: Graph, options: &Options) -> Changed<Graph> {
    if options.exact {
        return Changed { value: graph, changed: false };
    }
    let nothing = std::collections::HashSet::new();
    graph.rebuild(|graph, node, inputs| {
        let mut r = Rewriter { graph, like: node, closed: &nothing };
        match &node.op {
            Op::MatMul(_) => forwards(&mut r, inputs[0], inputs[1]).or_else(|| weights(&mut r, inputs[0], inputs[1])),
            Op::Binary(ElementwiseBinary(Binary::Add)) => {
                shifted(&mut r, inputs[0], inputs[1]).or_else(|| shifted(&mut r, inputs[1], inputs[0]))
            }
            Op::ScatterAdd(ScatterAdd { axis: 0 }) => table(&mut r, inputs[0], inputs[1], inputs[2]),
            _ => None,
        }
    })
}

/// Rows of a table, picked by a list of indices.
struct Picked {
    table: NodeId,
    indices: NodeId,
}

/// pick(E, i)·W ⇒ pick(E·W, i)
fn forwards(r: &mut Rewriter<'_>, rows: NodeId, w: NodeId) -> Option<NodeId> {
    let Picked { table, indices } = picked(r, rows, WIDTH)?;
    let products = r.emit(MatMul {}, &[table, w])?;
    r.emit(Gather { axis: 0 }, &[products, indices])
}

/// pick(E, i) + b ⇒ pick(E + b, i), for the same b in all rows
fn shifted(r: &mut Rewriter<'_>, rows: NodeId, shift: NodeId) -> Option<NodeId> {
    let Op::Expand(_) = r.op(shift)? else { return None };
    let row = r.input(shift);
    if r.meta(row).shape[..] != r.meta(rows).shape[r.meta(rows).shape.rank().checked_sub(1)?..] {
        return None;
    }
    let Picked { table, indices } = picked(r, rows, 0)?;
    let repeated = r.emit(Expand { shape: r.meta(table).shape.clone() }, &[row])?;
    let sums = r.emit(ElementwiseBinary(Binary::Add), &[table, repeated])?;
    r.emit(Gather { axis: 0 }, &[sums, indices])
}

/// pick(E, i)ᵀ·G ⇒ Eᵀ·sum(G, i)
fn weights(r: &mut Rewriter<'_>, columns: NodeId, g: NodeId) -> Option<NodeId> {
    let rows = transposed(r, columns)?;
    let Picked { table, indices } = picked(r, rows, WIDTH)?;
    let length = r.meta(table).shape[0].number()?;
    let sums = sums(r, length, indices, g)?;
    let transposed = r.emit(transposition(), &[table])?;
    r.emit(MatMul {}, &[transposed, sums])
}

/// sum(G·Wᵀ, i) ⇒ sum(G, i)·Wᵀ
fn table(r: &mut Rewriter<'_>, ground: NodeId, indices: NodeId, updates: NodeId) -> Option<NodeId> {
    if !r.is(ground, 0.0) || r.meta(ground).shape.rank() != 2 {
        return None;
    }
    let moves = Moves::behind(r, updates)?;
    let product = moves.source;
    let Op::MatMul(_) = r.op(product)? else { return None };
    let (g, w) = (r.graph[product].inputs[0], r.graph[product].inputs[1]);
    let [length, width] = r.meta(ground).shape.numbers()?.try_into().ok()?;
    if r.meta(product).shape.rank() != 2 || width < WIDTH || !is_often(r, product, length)? {
        return None;
    }
    let indices = moves.undo(r, indices, None)?;
    let sums = sums(r, length, indices, g)?;
    r.emit(MatMul {}, &[sums, w])
}

/// For each of `length` rows the sum of the rows of `g` that belong to it.
fn sums(r: &mut Rewriter<'_>, length: usize, indices: NodeId, g: NodeId) -> Option<NodeId> {
    let mut meta = r.meta(g).clone();
    meta.shape = [length.into(), meta.shape[1].clone()].into_iter().collect();
    let zeros = r.number(Scalar::from(0.0), &meta)?;
    r.emit(ScatterAdd { axis: 0 }, &[zeros, indices, g])
}

/// Rows that were picked from a table, of such a width at least, so often that what is done to the table comes cheaper.
fn picked(r: &mut Rewriter<'_>, rows: NodeId, least_width: usize) -> Option<Picked> {
    let moves = Moves::behind(r, rows)?;
    let Op::Gather(Gather { axis: 0 }) = r.op(moves.source)? else { return None };
    let (table, indices) = (r.graph[moves.source].inputs[0], r.graph[moves.source].inputs[1]);
    let [length, width] = r.meta(table).shape.numbers()?.try_into().ok()?;
    if width < least_width || !is_often(r, rows, length)? {
        return None;
    }
    let indices = moves.redo(r, indices, None)?;
    Some(Picked { table, indices })
}

/// Whether there are so many rows that each of a table is picked often.
fn is_often(r: &Rewriter<'_>, rows: NodeId, length: usize) -> Option<bool> {
    let sizes = r.meta(rows).shape.numbers()?;
    Some(sizes.split_last()?.1.iter().product::<usize>() >= TIMES * length)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::PASS;
    use crate::passes::testing::check;

    /// A table of 3 rows, 8 places in another order than their indices, and the gradients of both factors; a shift behind it.
    const CHARACTERS: &str = "%table: f32[3,16] = variable
         %w: f32[16,4] = variable
         %x: i64[2,4] = placeholder
         %g: f32[8,4] = placeholder
         %0: f32[2,4,16] = gather %table %x axis=0
         %1: f32[4,2,16] = permute %0 axes=[1,0,2]
         %2: f32[8,16] = reshape %1
         %3: f32[8,4] = matmul %2 %w
         %b: f32[4] = variable
         %13: f32[4,2,4] = reshape %3
         %14: f32[4,2,4] = expand %b
         %15: f32[4,2,4] = add %14 %13
         %4: f32[16,8] = permute %2 axes=[1,0]
         %5: f32[16,4] = matmul %4 %g
         %6: f32[4,16] = permute %w axes=[1,0]
         %7: f32[8,16] = matmul %g %6
         %8: f32[4,2,16] = reshape %7
         %9: f32[2,4,16] = permute %8 axes=[1,0,2]
         %10: f32[] = constant 0.0
         %11: f32[3,16] = expand %10
         %12: f32[3,16] = scatter_add %11 %x %9 axis=0
         return %15, %5, %12";

    #[test]
    fn rows_that_are_picked_often_are_multiplied_before() {
        check(
            PASS,
            CHARACTERS,
            expect![[r#"
                %table: f32[3,16] = variable
                %w: f32[16,4] = variable
                %x: i64[2,4] = placeholder
                %g: f32[8,4] = placeholder
                %0: i64[4,2] = permute %x axes=[1,0]
                %1: i64[8] = reshape %0
                %2: f32[3,4] = matmul %table %w
                %b: f32[4] = variable
                %3: i64[4,2] = reshape %1
                %4: f32[3,4] = expand %b
                %5: f32[3,4] = add %2 %4
                %6: f32[4,2,4] = gather %5 %3 axis=0
                %7: i64[4,2] = permute %x axes=[1,0]
                %8: i64[8] = reshape %7
                %9: f32[] = constant 0.0
                %10: f32[3,4] = expand %9
                %11: f32[3,4] = scatter_add %10 %8 %g axis=0
                %12: f32[16,3] = permute %table axes=[1,0]
                %13: f32[16,4] = matmul %12 %11
                %14: f32[4,16] = permute %w axes=[1,0]
                %15: i64[4,2] = permute %x axes=[1,0]
                %16: i64[8] = reshape %15
                %17: f32[] = constant 0.0
                %18: f32[3,4] = expand %17
                %19: f32[3,4] = scatter_add %18 %16 %g axis=0
                %20: f32[3,16] = matmul %19 %14
                return %6, %13, %20
            "#]],
        );
    }

    #[test]
    fn rows_that_are_picked_rarely_are_multiplied_after() {
        let rare = CHARACTERS.replace("f32[3,16]", "f32[5,16]");
        let graph = crate::text::parse(&rare).unwrap();
        assert!(!PASS.run(graph, &super::Options::default()).changed);
    }
}
