//! Attention on f32, block by block: the scores of some queries and some keys are made, used and forgotten, so memory grows
//! with queries and keys, not with their product. After Dao et al., *FlashAttention* (2022).
//!
//! **Order of accumulation.** A query meets the keys in blocks of 256, from the first on; a key meets the queries in
//! blocks of 64, head by head of those that share it. Nothing else enters, so the bits are the same on any number
//! of threads.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | the problem, and what both directions share |
//! | `forward.rs` | [`Attention`] |
//! | `backward.rs` | [`AttentionGradient`] |
//! | `rows.rs` | what is done to the rows of a block of scores |

mod backward;
mod forward;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::Range;

use thalweg_array::DType;
use thalweg_array::random::Philox;
use thalweg_array::scalar::{Distribution, Fold, Unary};

pub use backward::{AttentionGradient, Gradients};
pub use forward::Attention;

use crate::cpu::Isa;
use crate::matmul::{self, ALIGNMENT, Matmul, Strides};
use crate::tile::Draw;
use crate::vector::{self, Lane};

/// Queries of a block.
const QUERIES: usize = 64;
/// Keys of a block; a multiple of [`QUERIES`], so that causal blocks have few sizes.
const KEYS: usize = 256;

/// Elements from one to the next; the numbers of a head are neighbors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Of the batch.
    pub batch: usize,
    /// From a position to the next.
    pub time: usize,
    /// From a head to the next.
    pub head: usize,
}

impl Steps {
    fn of(&self, batch: usize, time: usize, head: usize) -> usize {
        batch * self.batch + time * self.time + head * self.head
    }
}

/// Weights that are 0 by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability.
    pub rate: f64,
    /// Of the uniform numbers, one for each batch, head, query and key in this order; where they are below the rate, weights are
    /// 0, elsewhere multiplied by 1/(1 − rate).
    pub stream: u64,
}

/// What is to be attended to: o = softmax(scale · q kᵀ) v for each head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Texts.
    pub batch: usize,
    /// Of the queries.
    pub heads: usize,
    /// Of keys and values; each is shared by as many neighboring heads as there are per one of these.
    pub key_heads: usize,
    /// Positions of q and o.
    pub queries: usize,
    /// Positions of k and v.
    pub keys: usize,
    /// Numbers of a query and of a key.
    pub width: usize,
    /// Numbers of a value.
    pub value_width: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Query i sees the keys 0 to i only.
    pub causal: bool,
    /// Of q.
    pub q: Steps,
    /// Of k.
    pub k: Steps,
    /// Of v.
    pub v: Steps,
    /// Of o.
    pub o: Steps,
    /// Of what may be seen, where not all may: elements from one batch, head, query and key to the next.
    pub mask: Option<[usize; 4]>,
    /// Which weights are dropped.
    pub dropout: Option<Dropout>,
}

/// The first elements of what is read.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Queries.
    pub q: *const f32,
    /// Keys.
    pub k: *const f32,
    /// Values.
    pub v: *const f32,
    /// Not 0 where a query may see a key; not looked at if the problem has no mask.
    pub mask: *const u8,
    /// Of what is dropped.
    pub draw: Draw,
}

// SAFETY: plain addresses; what may be done with them is the contract of the functions that take them.
unsafe impl Send for Operands {}
// SAFETY: as above.
unsafe impl Sync for Operands {}

impl Problem {
    /// The blocks of queries.
    fn query_blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        blocks(self.queries, QUERIES)
    }

    /// Bytes of scratch memory of a block with so many matrices of the form of its scores.
    fn block_bytes(&self, matrices: usize) -> usize {
        let scores = room(QUERIES * self.keys.min(KEYS));
        matrices * scores + room(QUERIES * self.width) + 4 * room(QUERIES) + room(2 * QUERIES)
    }

    /// The blocks of keys that one of these queries may see.
    fn key_blocks(&self, queries: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        blocks(if self.causal { self.keys.min(queries.end) } else { self.keys }, KEYS)
    }

    /// The heads that share a head of the keys.
    fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    /// q kᵀ, of queries that lie one below the other in scratch memory.
    fn scores(&self, queries: usize, keys: usize) -> matmul::Problem {
        matmul::Problem {
            b: Strides { row: 1, column: self.k.time },
            c_row_stride: keys,
            ..matmul::Problem::new(DType::F32, queries, self.width, keys)
        }
    }
}

fn blocks(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(size).map(move |start| start..count.min(start + size))
}

/// The plans of the small products.
#[derive(Clone, Debug)]
struct Products {
    isa: Isa,
    plans: Vec<Matmul>,
}

impl Products {
    fn new(isa: Isa) -> Products {
        Products { isa, plans: Vec::new() }
    }

    fn prepare(&mut self, problem: matmul::Problem) {
        if self.find(&problem).is_none() {
            self.plans.push(Matmul::new(problem, self.isa).in_one_chunk());
        }
    }

    fn find(&self, problem: &matmul::Problem) -> Option<&Matmul> {
        self.plans.iter().find(|plan| plan.problem() == problem)
    }

    fn scratch_bytes(&self) -> usize {
        self.plans.iter().map(|plan| plan.shared_scratch_bytes() + plan.worker_scratch_bytes()).max().unwrap_or(0)
    }

    /// Multiplies, by the calling thread alone.
    ///
    /// # Safety
    /// As of [`Matmul::run_chunk`], with [`scratch_bytes`](Products::scratch_bytes) aligned bytes of scratch memory.
    unsafe fn multiply(&self, problem: &matmul::Problem, [a, b]: [*const f32; 2], c: *mut f32, scratch: *mut u8) {
        let plan = self.find(problem).expect("every product was prepared: a bug in Thalweg");
        let operands = matmul::Operands { a: a.cast(), b: b.cast(), c: c.cast() };
        let memory = matmul::Scratch { shared: scratch, own: scratch.wrapping_add(plan.shared_scratch_bytes()) };
        // SAFETY: the caller's promise; packing is over when multiplying begins.
        unsafe {
            (0..plan.packing_chunks()).for_each(|chunk| plan.pack_chunk(chunk, operands, memory));
            (0..plan.chunks()).for_each(|chunk| plan.run_chunk(chunk, operands, memory, None, 0));
        }
    }
}

/// Hands out parts of scratch memory.
struct Carver(*mut u8);

impl Carver {
    /// The next `count` numbers, aligned, with what was left there.
    ///
    /// # Safety
    /// They are there, initialized, and nobody else uses them.
    unsafe fn take<'a>(&mut self, count: usize) -> &'a mut [f32] {
        let start = self.0.cast::<f32>();
        self.0 = self.0.wrapping_add(room(count));
        // SAFETY: the caller's promise; any bits are a number.
        unsafe { std::slice::from_raw_parts_mut(start, count) }
    }
}

/// Bytes that `count` numbers take of scratch memory.
const fn room(count: usize) -> usize {
    (count * size_of::<f32>()).next_multiple_of(ALIGNMENT)
}

/// Some queries of a head, ready to be held against keys.
struct Queries<'a> {
    problem: &'a Problem,
    products: &'a Products,
    operands: Operands,
    batch: usize,
    head: usize,
    positions: Range<usize>,
    /// The queries times the scale, one below the other.
    scaled: &'a [f32],
    /// Of the products.
    scratch: *mut u8,
}

impl Queries<'_> {
    /// Copies the queries, times the scale.
    ///
    /// # Safety
    /// The queries are there.
    unsafe fn scale(
        problem: &Problem,
        operands: &Operands,
        batch: usize,
        head: usize,
        positions: &Range<usize>,
        to: &mut [f32],
    ) {
        for (to, at) in to.chunks_exact_mut(problem.width.max(1)).zip(positions.clone()) {
            let from = operands.q.wrapping_add(problem.q.of(batch, at, head));
            // SAFETY: the caller's promise.
            let from = unsafe { std::slice::from_raw_parts(from, problem.width) };
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * problem.scale);
        }
    }

    /// Where the keys from this one on are.
    fn keys(&self, at: usize) -> *const f32 {
        self.operands.k.wrapping_add(self.problem.k.of(self.batch, at, self.head / self.problem.group()))
    }

    /// Where the values from this one on are.
    fn values(&self, at: usize) -> *const f32 {
        self.operands.v.wrapping_add(self.problem.v.of(self.batch, at, self.head / self.problem.group()))
    }

    /// The scores of these keys, −∞ where they may not be seen: rows of as many numbers as there are keys.
    ///
    /// # Safety
    /// The operands are as the problem says, and the scratch memory is ours.
    unsafe fn score(&self, keys: &Range<usize>, scores: &mut [f32]) {
        let Problem { causal, mask, .. } = *self.problem;
        let multiply = self.problem.scores(self.positions.len(), keys.len());
        let factors = [self.scaled.as_ptr(), self.keys(keys.start)];
        // SAFETY: the caller's promise.
        unsafe { self.products.multiply(&multiply, factors, scores.as_mut_ptr(), self.scratch) };
        if causal && keys.end > self.positions.start {
            for (row, at) in scores.chunks_exact_mut(keys.len()).zip(self.positions.clone()) {
                row[(at + 1).saturating_sub(keys.start).min(keys.len())..].fill(f32::NEG_INFINITY);
            }
        }
        if let Some([batch, head, query, key]) = mask {
            for (row, at) in scores.chunks_exact_mut(keys.len()).zip(self.positions.clone()) {
                let first = batch * self.batch + head * self.head + query * at + key * keys.start;
                for (j, score) in row.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    if unsafe { *self.operands.mask.wrapping_add(first + key * j) } == 0 {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// By what weights are dropped.
#[derive(Clone, Copy)]
struct Dropping {
    generator: Philox,
    rate: f32,
    /// By what the others are multiplied.
    by: f32,
}

impl Queries<'_> {
    /// How weights are dropped, if they are.
    fn dropping(&self) -> Option<Dropping> {
        let Dropout { rate, stream } = self.problem.dropout?;
        let generator = Philox::new(self.operands.draw.seed, stream);
        Some(Dropping { generator, rate: rate as f32, by: (1.0 / (1.0 - rate)) as f32 })
    }

    /// The uniform numbers of these keys, in rows as those of [`score`](Queries::score). What may not be seen for being behind a
    /// query gets none.
    fn draw(&self, dropping: Dropping, keys: &Range<usize>, to: &mut [f32]) {
        let Problem { heads, queries, keys: all, causal, .. } = *self.problem;
        let Draw { first, step, .. } = self.operands.draw;
        for (row, at) in to.chunks_exact_mut(keys.len()).zip(self.positions.clone()) {
            let seen = if causal { (at + 1).saturating_sub(keys.start).min(keys.len()) } else { keys.len() };
            let before = ((self.batch * heads + self.head) * queries + at) * all + keys.start;
            let first = first.wrapping_add(before as u64);
            vector::draw(self.products.isa, dropping.generator, Distribution::Uniform, first, step, &mut row[..seen]);
        }
    }
}

/// What is known of rows of scores, of which blocks come one after the other.
struct Rows<'a> {
    isa: Isa,
    /// The largest score of each row.
    largest: &'a mut [f32],
    /// The sum of e^(score − largest).
    sums: &'a mut [f32],
    /// By what the last block has made such numbers of the blocks before smaller.
    shrink: &'a mut [f32],
    folds: &'a mut [f64],
}

impl Rows<'_> {
    /// A block of scores, which become those less the largest of their row, and their exponentials.
    fn meet(&mut self, scores: &mut [f32], width: usize, exponentials: &mut [f32]) {
        f32::fold_rows(self.isa, Fold::Max, scores, width, self.folds);
        for ((largest, shrink), fold) in self.largest.iter_mut().zip(&mut *self.shrink).zip(&*self.folds) {
            let before = *largest;
            *largest = before.max(*fold as f32);
            // Also where both are −∞, or there was nothing before.
            *shrink = if before == *largest { 1.0 } else { (before - *largest).exp() };
        }
        self.exponentials(scores, width, exponentials);
        f32::fold_rows(self.isa, Fold::Sum, exponentials, width, self.folds);
        for ((sum, shrink), fold) in self.sums.iter_mut().zip(&*self.shrink).zip(&*self.folds) {
            *sum = *sum * shrink + *fold as f32;
        }
    }

    /// e^(score − largest) of each row: 0 for −∞, also in a row of nothing else.
    fn exponentials(&self, scores: &mut [f32], width: usize, out: &mut [f32]) {
        rows::subtract(self.isa, scores, width, self.largest);
        f32::unary(self.isa, Unary::Exp, scores, out);
    }

    /// What makes weights of exponentials: 1/sum, 0 for a row that may see nothing.
    fn divide(&mut self) {
        self.sums.iter_mut().for_each(|sum| *sum = if *sum == 0.0 { 0.0 } else { 1.0 / *sum });
    }
}
