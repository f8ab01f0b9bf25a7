//! What queries find.

use std::ops::Range;

use thalweg_array::DType;

use super::{Carver, KEYS, Operands, Problem, Products, QUERIES, Queries, Rows, rows};
use crate::cpu::Isa;
use crate::matmul;

/// A plan for attention.
#[derive(Clone, Debug)]
pub struct Attention {
    problem: Problem,
    products: Products,
}

impl Attention {
    /// A plan for `problem` on `isa`.
    ///
    /// # Panics
    /// If `isa` is not available here.
    #[track_caller]
    pub fn new(problem: Problem, isa: Isa) -> Attention {
        let mut products = Products::new(isa);
        for queries in problem.query_blocks() {
            for keys in problem.key_blocks(&queries) {
                products.prepare(problem.scores(queries.len(), keys.len()));
                products.prepare(found(&problem, queries.len(), &keys));
            }
        }
        Attention { problem, products }
    }

    /// The number of independent parts.
    pub fn chunks(&self) -> usize {
        self.problem.batch * self.problem.heads * self.problem.queries.div_ceil(QUERIES)
    }

    /// Bytes of scratch memory of a worker, aligned to 64.
    pub fn scratch_bytes(&self) -> usize {
        self.problem.block_bytes(2) + self.products.scratch_bytes()
    }

    /// One of the [`chunks`](Attention::chunks): writes its part of o, `[batch, queries, heads, value width]`.
    ///
    /// # Safety
    /// The operands point to numbers at all positions that the problem gives; o has room for its own, which nobody else uses
    /// meanwhile; and `scratch` points to [`scratch_bytes`](Attention::scratch_bytes) aligned bytes of this worker.
    pub unsafe fn run_chunk(&self, chunk: usize, operands: Operands, o: *mut f32, scratch: *mut u8) {
        let Self { problem, products } = self;
        let of_head = problem.queries.div_ceil(QUERIES);
        let (batch, head) = (chunk / of_head / problem.heads, chunk / of_head % problem.heads);
        let Some(positions) = problem.query_blocks().nth(chunk % of_head) else { return };
        let (isa, count) = (products.isa, positions.len());
        let (mut carver, block) = (Carver(scratch), count * problem.keys.min(KEYS));
        // SAFETY (all blocks): the caller's promise.
        let [scores, weights, scaled, largest, sums, shrink] =
            unsafe { [block, block, count * problem.width, count, count, count].map(|count| carver.take(count)) };
        let folds = &mut [0.0; QUERIES][..count];
        unsafe { Queries::scale(problem, &operands, batch, head, &positions, scaled) };
        let scratch = carver.0;
        let queries =
            Queries { problem, products, operands, batch, head, positions: positions.clone(), scaled, scratch };
        let o = o.wrapping_add(problem.o.of(batch, positions.start, head));
        // SAFETY (its calls): a row of o, while no other is held.
        let row = |i: usize| unsafe {
            std::slice::from_raw_parts_mut(o.wrapping_add(i * problem.o.time), problem.value_width)
        };
        largest.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        let mut met = Rows { isa, largest, sums, shrink, folds };
        for keys in problem.key_blocks(&positions) {
            let size = count * keys.len();
            unsafe { queries.score(&keys, &mut scores[..size]) };
            met.meet(&mut scores[..size], keys.len(), &mut weights[..size]);
            if let Some(dropping) = queries.dropping() {
                queries.draw(dropping, &keys, &mut scores[..size]);
                rows::drop(isa, &scores[..size], dropping.rate, dropping.by, &mut weights[..size]);
            }
            if keys.start > 0 {
                (0..count).for_each(|i| rows::scale(isa, row(i), met.shrink[i]));
            }
            let factors = [weights.as_ptr(), queries.values(keys.start)];
            unsafe { products.multiply(&found(problem, count, &keys), factors, o, scratch) };
        }
        met.divide();
        for (i, &share) in met.sums.iter().enumerate() {
            match problem.keys {
                0 => row(i).fill(0.0),
                _ => rows::scale(isa, row(i), share),
            }
        }
    }
}

/// The weights times the values.
fn found(problem: &Problem, queries: usize, keys: &Range<usize>) -> matmul::Problem {
    matmul::Problem {
        b: matmul::Strides { row: problem.v.time, column: 1 },
        c_row_stride: problem.o.time,
        accumulate: keys.start > 0,
        ..matmul::Problem::new(DType::F32, queries, keys.len(), problem.value_width)
    }
}
