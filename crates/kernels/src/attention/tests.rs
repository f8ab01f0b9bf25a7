//! Attention and its gradients held against the formulas in f64.

use super::*;
use crate::pool::Pool;

/// Numbers between −1 and 1 without order.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (state >> 9) as f32 / (1 << 22) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A problem whose numbers lie as a layer has them: `[batch, time, heads, width]`.
fn problem(batch: usize, [heads, key_heads]: [usize; 2], [queries, keys]: [usize; 2], causal: bool) -> Problem {
    let (width, value_width) = (5, 7);
    let steps = |times: usize, heads: usize, width: usize| Steps {
        batch: times * heads * width,
        time: heads * width,
        head: width,
    };
    Problem {
        batch,
        heads,
        key_heads,
        queries,
        keys,
        width,
        value_width,
        scale: 0.7,
        causal,
        q: steps(queries, heads, width),
        k: steps(keys, key_heads, width),
        v: steps(keys, key_heads, value_width),
        o: steps(queries, heads, value_width),
        mask: None,
        dropout: None,
    }
}

struct Numbers {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mask: Vec<u8>,
    cotangent: Vec<f32>,
}

impl Numbers {
    fn of(p: &Problem) -> Numbers {
        let mask = numbers(p.batch * p.keys, 4).iter().map(|&x| u8::from(x > -0.6)).collect();
        Numbers {
            q: numbers(p.batch * p.q.batch, 1),
            k: numbers(p.batch * p.k.batch, 2),
            v: numbers(p.batch * p.v.batch, 3),
            mask,
            cotangent: numbers(p.batch * p.o.batch, 5),
        }
    }

    fn operands(&self) -> Operands {
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|x| x.as_ptr());
        Operands { q, k, v, mask: self.mask.as_ptr(), draw: Draw { seed: 3, step: 5, first: 2 } }
    }
}

/// o, and the gradients of q, k and v, in f64 by the formulas.
fn expected(p: &Problem, n: &Numbers) -> [Vec<f64>; 4] {
    let mut o = vec![0.0; p.batch * p.o.batch];
    let [mut dq, mut dk, mut dv] = [&n.q, &n.k, &n.v].map(|x| vec![0.0; x.len()]);
    for (batch, head, i) in
        (0..p.batch).flat_map(|b| (0..p.heads).flat_map(move |h| (0..p.queries).map(move |i| (b, h, i))))
    {
        let key_head = head / (p.heads / p.key_heads);
        let (q, at) = (p.q.of(batch, i, head), p.o.of(batch, i, head));
        let (k, v) = (|j| p.k.of(batch, j, key_head), |j| p.v.of(batch, j, key_head));
        let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
        let score = |j: usize| {
            let seen = (!p.causal || j <= i) && (p.mask.is_none() || n.mask[batch * p.keys + j] != 0);
            if seen { (f64::from(p.scale) * dot(&n.q[q..][..p.width], &n.k[k(j)..][..p.width])).exp() } else { 0.0 }
        };
        let weights: Vec<f64> = (0..p.keys).map(score).collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|w| if sum == 0.0 { 0.0 } else { w / sum }).collect();
        let cotangent = &n.cotangent[at..][..p.value_width];
        let factor = |j: usize| {
            let Some(Dropout { rate, stream }) = p.dropout else { return 1.0 };
            let element = 2 + ((batch * p.heads + head) * p.queries + i) * p.keys + j;
            let uniform = Philox::new(3, stream).uniform(element as u64, 5);
            if f64::from(uniform) < rate { 0.0 } else { 1.0 / (1.0 - rate) }
        };
        let of_weight = |j: usize| factor(j) * dot(cotangent, &n.v[v(j)..][..p.value_width]);
        let of_weights: Vec<f64> = (0..p.keys).map(of_weight).collect();
        let mean: f64 = weights.iter().zip(&of_weights).map(|(w, d)| w * d).sum();
        for j in 0..p.keys {
            for c in 0..p.value_width {
                o[at + c] += factor(j) * weights[j] * f64::from(n.v[v(j) + c]);
                dv[v(j) + c] += factor(j) * weights[j] * f64::from(cotangent[c]);
            }
            let slope = weights[j] * (of_weights[j] - mean) * f64::from(p.scale);
            for c in 0..p.width {
                dq[q + c] += slope * f64::from(n.k[k(j) + c]);
                dk[k(j) + c] += slope * f64::from(n.q[q + c]);
            }
        }
    }
    [o, dq, dk, dv]
}

/// An address that threads may share.
struct Shared(*mut u8);
// SAFETY: each worker takes its own part.
unsafe impl Sync for Shared {}

impl Shared {
    fn of(&self, worker: usize, bytes: usize) -> *mut u8 {
        self.0.wrapping_add(self.0.align_offset(ALIGNMENT) + worker * bytes)
    }
}

/// o, and the gradients of q, k and v, by the kernels.
fn found(p: &Problem, n: &Numbers, isa: Isa, threads: usize) -> [Vec<f32>; 4] {
    let pool = Pool::new(threads).unwrap();
    let mut o = vec![f32::NAN; p.batch * p.o.batch];
    let forward = Attention::new(*p, isa);
    let backward = AttentionGradient::new(*p, p.o, [p.q, p.k, p.v], isa);
    let bytes = forward.scratch_bytes().max(backward.scratch_bytes()).next_multiple_of(ALIGNMENT);
    let mut scratch = vec![0u8; bytes * threads + ALIGNMENT];
    let scratch = &Shared(scratch.as_mut_ptr());
    let (operands, to) = (n.operands(), &Shared(o.as_mut_ptr().cast()));
    pool.run(forward.chunks(), &|chunk, worker| {
        // SAFETY: everything is as long as the problem says; each worker has its own scratch memory.
        unsafe { forward.run_chunk(chunk, operands, to.0.cast(), scratch.of(worker, bytes)) }
    });
    let [mut dq, mut dk, mut dv] = [&n.q, &n.k, &n.v].map(|x| vec![f32::NAN; x.len()]);
    let to = [&mut dq, &mut dk, &mut dv].map(|x| x.as_mut_ptr());
    let gradients = Gradients { o: o.as_ptr(), cotangent: n.cotangent.as_ptr(), to };
    pool.run(backward.chunks(), &|chunk, worker| {
        // SAFETY: as above.
        unsafe { backward.run_chunk(chunk, operands, gradients, scratch.of(worker, bytes)) }
    });
    [o, dq, dk, dv]
}

#[track_caller]
fn check(p: &Problem) {
    let n = Numbers::of(p);
    let expected = expected(p, &n);
    for isa in Isa::available() {
        let found = found(p, &n, isa, 1);
        for (what, (found, expected)) in ["o", "dq", "dk", "dv"].iter().zip(found.iter().zip(&expected)) {
            for (at, (x, y)) in found.iter().zip(expected).enumerate() {
                assert!((f64::from(*x) - y).abs() < 1e-4 * y.abs().max(1.0), "{isa} {what} {at}: {x} for {y}, {p:?}");
            }
        }
        assert_eq!(found, self::found(p, &n, isa, 2), "{isa}: on two threads, {p:?}");
    }
}

#[test]
fn every_length_every_mask_with_and_without_dropout() {
    for lengths in [[1, 1], [3, 2], [2, 3], [64, 64], [65, 63], [130, 130], [5, 300], [300, 5], [70, 600]] {
        for causal in [false, true] {
            check(&problem(2, [2, 2], lengths, causal));
            let masked = Problem { mask: Some([lengths[1], 0, 0, 1]), ..problem(2, [2, 1], lengths, causal) };
            check(&masked);
            check(&Problem { dropout: Some(Dropout { rate: 0.3, stream: 11 }), ..masked });
        }
    }
}

#[test]
fn nothing_gives_nothing() {
    check(&problem(2, [2, 1], [3, 0], false));
    check(&problem(2, [2, 1], [0, 3], false));
    let p = Problem { mask: Some([0; 4]), ..problem(1, [1, 1], [2, 3], false) };
    let n = Numbers { mask: vec![0], ..Numbers::of(&p) };
    for parts in found(&p, &n, Isa::best(), 1) {
        assert!(parts.iter().all(|x| *x == 0.0), "{parts:?}");
    }
}
