//! The gradients of what queries find.

use std::ops::Range;

use thalweg_array::DType;

use super::{Carver, KEYS, Operands, Problem, Products, QUERIES, Queries, Rows, Steps, rows};
use crate::cpu::Isa;
use crate::matmul::{self, Strides};

/// What else the gradients are made of, and where they go.
#[derive(Clone, Copy, Debug)]
pub struct Gradients {
    /// What the queries found, with the steps of o.
    pub o: *const f32,
    /// The cotangent of it.
    pub cotangent: *const f32,
    /// Those of q, of k and of v.
    pub to: [*mut f32; 3],
}

// SAFETY: plain addresses; what may be done with them is the contract of `run_chunk`.
unsafe impl Send for Gradients {}
// SAFETY: as above.
unsafe impl Sync for Gradients {}

/// A plan for the gradients of queries, keys and values. The weights are made anew, block by block.
#[derive(Clone, Debug)]
pub struct AttentionGradient {
    problem: Problem,
    /// Of the cotangent.
    cotangent: Steps,
    /// Of the gradients of q, k and v.
    to: [Steps; 3],
    products: Products,
}

impl AttentionGradient {
    /// A plan for the gradients of `problem` on `isa`.
    ///
    /// # Panics
    /// If `isa` is not available here.
    #[track_caller]
    pub fn new(problem: Problem, cotangent: Steps, to: [Steps; 3], isa: Isa) -> AttentionGradient {
        let mut plan = AttentionGradient { problem, cotangent, to, products: Products::new(isa) };
        for queries in problem.query_blocks() {
            for keys in problem.key_blocks(&queries) {
                plan.products.prepare(problem.scores(queries.len(), keys.len()));
                for product in plan.of_block(queries.len(), keys.len()) {
                    plan.products.prepare(product);
                }
            }
        }
        plan
    }

    /// The products of a block: the cotangents of the weights; those of values, keys and queries.
    fn of_block(&self, queries: usize, keys: usize) -> [matmul::Problem; 4] {
        let Problem { width, value_width, k, v, .. } = self.problem;
        let by_rows = |step: usize| Strides { row: step, column: 1 };
        let transposed = Strides { row: 1, column: keys };
        let product = |m, k, n| matmul::Problem::new(DType::F32, m, k, n);
        [
            matmul::Problem {
                a: by_rows(self.cotangent.time),
                b: Strides { row: 1, column: v.time },
                ..product(queries, value_width, keys)
            },
            matmul::Problem {
                a: transposed,
                b: by_rows(self.cotangent.time),
                c_row_stride: self.to[2].time,
                accumulate: true,
                ..product(keys, queries, value_width)
            },
            matmul::Problem {
                a: transposed,
                c_row_stride: self.to[1].time,
                accumulate: true,
                ..product(keys, queries, width)
            },
            matmul::Problem {
                b: by_rows(k.time),
                c_row_stride: self.to[0].time,
                accumulate: true,
                ..product(queries, keys, width)
            },
        ]
    }

    /// The number of independent parts.
    pub fn chunks(&self) -> usize {
        self.problem.batch * self.problem.key_heads
    }

    /// Bytes of scratch memory of a worker, aligned to 64.
    pub fn scratch_bytes(&self) -> usize {
        self.problem.block_bytes(3) + self.products.scratch_bytes()
    }

    /// One of the [`chunks`](AttentionGradient::chunks): writes the gradients of a head of the keys and of all that share it.
    ///
    /// # Safety
    /// Operands and gradients point to numbers at all positions that problem and steps give; nobody else uses what is written
    /// meanwhile; and `scratch` points to [`scratch_bytes`](AttentionGradient::scratch_bytes) aligned bytes of this worker.
    pub unsafe fn run_chunk(&self, chunk: usize, operands: Operands, gradients: Gradients, scratch: *mut u8) {
        let problem = &self.problem;
        let (batch, key_head) = (chunk / problem.key_heads, chunk % problem.key_heads);
        // SAFETY (all blocks): the caller's promise.
        unsafe {
            self.clear(gradients.to[1], self.to[1], batch, key_head, problem.keys, problem.width);
            self.clear(gradients.to[2], self.to[2], batch, key_head, problem.keys, problem.value_width);
        }
        for head in key_head * problem.group()..(key_head + 1) * problem.group() {
            unsafe { self.clear(gradients.to[0], self.to[0], batch, head, problem.queries, problem.width) };
            for positions in problem.query_blocks() {
                unsafe { self.of_queries(batch, head, positions, operands, gradients, scratch) };
            }
        }
    }

    /// Writes zeros to the rows of a head.
    unsafe fn clear(&self, to: *mut f32, steps: Steps, batch: usize, head: usize, times: usize, width: usize) {
        for at in 0..times {
            // SAFETY: the caller's promise.
            unsafe { to.wrapping_add(steps.of(batch, at, head)).write_bytes(0, width) };
        }
    }

    /// What some queries of a head add.
    unsafe fn of_queries(
        &self,
        batch: usize,
        head: usize,
        positions: Range<usize>,
        operands: Operands,
        gradients: Gradients,
        scratch: *mut u8,
    ) {
        let Self { problem, products, .. } = self;
        let (isa, count) = (products.isa, positions.len());
        let key_head = head / problem.group();
        let (mut carver, block) = (Carver(scratch), count * problem.keys.min(KEYS));
        // SAFETY (all blocks): the caller's promise.
        let [scores, weights, cotangents, scaled, largest, sums, shrink, dots] = unsafe {
            [block, block, block, count * problem.width, count, count, count, count].map(|count| carver.take(count))
        };
        let folds = &mut [0.0; QUERIES][..count];
        unsafe { Queries::scale(problem, &operands, batch, head, &positions, scaled) };
        let scratch = carver.0;
        let queries =
            Queries { problem, products, operands, batch, head, positions: positions.clone(), scaled, scratch };
        let cotangent = gradients.cotangent.wrapping_add(self.cotangent.of(batch, positions.start, head));
        unsafe { self.dots(&queries, gradients.o, cotangent, dots) };

        largest.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        let mut met = Rows { isa, largest, sums, shrink, folds };
        for keys in problem.key_blocks(&positions) {
            let size = count * keys.len();
            unsafe { queries.score(&keys, &mut scores[..size]) };
            met.meet(&mut scores[..size], keys.len(), &mut weights[..size]);
        }
        met.divide();

        let into =
            |which: usize, at: usize, head: usize| gradients.to[which].wrapping_add(self.to[which].of(batch, at, head));
        let of_queries = into(0, positions.start, head);
        // Those of a single block are still there.
        let again = problem.key_blocks(&positions).count() > 1;
        for keys in problem.key_blocks(&positions) {
            let size = count * keys.len();
            let (weights, cotangents) = (&mut weights[..size], &mut cotangents[..size]);
            if again {
                unsafe { queries.score(&keys, &mut scores[..size]) };
                met.exponentials(&mut scores[..size], keys.len(), weights);
            }
            rows::multiply(isa, weights, keys.len(), met.sums);
            let [of_weights, of_values, of_keys, of_query] = self.of_block(count, keys.len());
            unsafe {
                let multiply = |problem, factors, to| products.multiply(problem, factors, to, scratch);
                multiply(&of_weights, [cotangent, queries.values(keys.start)], cotangents.as_mut_ptr());
                // The scores are done with.
                let left = match queries.dropping() {
                    Some(dropping) => {
                        let left = &mut scores[..size];
                        queries.draw(dropping, &keys, left);
                        rows::drop_both(isa, weights, dropping.rate, dropping.by, left, cotangents);
                        left.as_ptr()
                    }
                    None => weights.as_ptr(),
                };
                multiply(&of_values, [left, cotangent], into(2, keys.start, key_head));
                rows::softmax_gradient(isa, weights, cotangents, keys.len(), dots);
                multiply(&of_keys, [cotangents.as_ptr(), scaled.as_ptr()], into(1, keys.start, key_head));
                multiply(&of_query, [cotangents.as_ptr(), queries.keys(keys.start)], of_queries);
            }
        }
        for i in 0..count {
            let row = of_queries.wrapping_add(i * self.to[0].time);
            // SAFETY: a row of the gradient of q.
            rows::scale(isa, unsafe { std::slice::from_raw_parts_mut(row, problem.width) }, problem.scale);
        }
    }

    /// The products of what each query found with the cotangent of it: the sum of weights times their cotangents.
    unsafe fn dots(&self, queries: &Queries<'_>, o: *const f32, cotangent: *const f32, dots: &mut [f32]) {
        let Problem { o: steps, value_width, .. } = self.problem;
        let first = o.wrapping_add(steps.of(queries.batch, queries.positions.start, queries.head));
        for (i, dot) in dots.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let [o, cotangent] = unsafe {
                [first.wrapping_add(i * steps.time), cotangent.wrapping_add(i * self.cotangent.time)]
                    .map(|row| std::slice::from_raw_parts(row, value_width))
            };
            let mut lanes = [0.0f32; 8];
            for (o, cotangent) in o.chunks(8).zip(cotangent.chunks(8)) {
                lanes.iter_mut().zip(o).zip(cotangent).for_each(|((lane, o), c)| *lane += o * c);
            }
            *dot = lanes.iter().sum();
        }
    }
}
