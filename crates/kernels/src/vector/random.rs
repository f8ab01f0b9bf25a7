//! Random numbers: [`Philox`] for many blocks at once.

use thalweg_array::random::{Philox, unit};
use thalweg_array::scalar::Distribution;

use super::isa::per_isa;
use super::math;
use crate::cpu::Isa;

/// Elements `first ..` of a random tensor in `step`: the same uniform numbers as [`Philox::uniform`]; normal ones
/// within 4 units in the last place of f32 of [`Philox::normal`] (within 1e-7 where they are nearer to 0 than that).
pub fn draw(isa: Isa, generator: Philox, distribution: Distribution, first: u64, step: u64, out: &mut [f32]) {
    let mut out = out;
    let mut first = first;
    // Up to the beginning of a block, then whole groups, then what is left: each from a padded group.
    while !out.is_empty() {
        let skip = (first % 4) as usize;
        let mut padded = [0.0; GROUP];
        if skip == 0 && out.len() >= GROUP {
            let whole = out.len() / GROUP * GROUP;
            let (groups, rest) = out.split_at_mut(whole);
            groups_of(isa, generator, distribution, first / 4, step, groups);
            first = first.wrapping_add(whole as u64);
            out = rest;
        } else {
            groups_of(isa, generator, distribution, first / 4, step, &mut padded);
            let n = out.len().min(GROUP - skip);
            let (part, rest) = out.split_at_mut(n);
            part.copy_from_slice(&padded[skip..skip + n]);
            first = first.wrapping_add(n as u64);
            out = rest;
        }
    }
}

/// The same in f64, exactly as [`Philox::uniform`] and [`Philox::normal`].
pub fn draw_f64(generator: Philox, distribution: Distribution, first: u64, step: u64, out: &mut [f64]) {
    for (i, out) in out.iter_mut().enumerate() {
        let index = first.wrapping_add(i as u64);
        *out = match distribution {
            Distribution::Uniform => generator.uniform(index, step) as f64,
            Distribution::Normal => generator.normal(index, step),
        };
    }
}

/// Blocks that are drawn at once.
const BLOCKS: usize = 16;
const GROUP: usize = 4 * BLOCKS;

per_isa! {
    /// Fills `out`, whole groups, from block `block` on.
    fn groups_of(generator: Philox, distribution: Distribution, block: u64, step: u64, out: &mut [f32]) = groups_body
}

#[inline(always)]
fn groups_body<const F: bool>(generator: Philox, distribution: Distribution, block: u64, step: u64, out: &mut [f32]) {
    for (group, out) in out.chunks_exact_mut(GROUP).enumerate() {
        let [a, b, c, d] = words(generator, block.wrapping_add((group * BLOCKS) as u64), step);
        let (a, b, c, d) = (units(&a), units(&b), units(&c), units(&d));
        let numbers = match distribution {
            Distribution::Uniform => [a, b, c, d],
            Distribution::Normal => {
                let ((a, b), (c, d)) = (normals::<F>(&a, &b), normals::<F>(&c, &d));
                [a, b, c, d]
            }
        };
        interleave(&numbers, out);
    }
}

#[inline(always)]
fn units(words: &[u32; BLOCKS]) -> [f32; BLOCKS] {
    let mut units = [0.0; BLOCKS];
    for (number, &word) in units.iter_mut().zip(words) {
        *number = unit(word);
    }
    units
}

#[inline(always)]
fn normals<const F: bool>(u: &[f32; BLOCKS], v: &[f32; BLOCKS]) -> ([f32; BLOCKS], [f32; BLOCKS]) {
    let (mut first, mut second) = ([0.0; BLOCKS], [0.0; BLOCKS]);
    for (((first, second), &u), &v) in first.iter_mut().zip(&mut second).zip(u).zip(v) {
        (*first, *second) = math::box_muller::<F>(u, v);
    }
    (first, second)
}

/// The first of each, the second of each, and so on. Not inlined: for the larger instruction sets the compiler takes
/// scatters, which are slower than the shuffles of the smallest.
#[inline(never)]
fn interleave(numbers: &[[f32; BLOCKS]; 4], out: &mut [f32]) {
    let [a, b, c, d] = numbers;
    for ((((out, a), b), c), d) in out.chunks_exact_mut(4).zip(a).zip(b).zip(c).zip(d) {
        out.copy_from_slice(&[*a, *b, *c, *d]);
    }
}

/// [`Philox::block`] for blocks `block ..`: word by word, block after block. Each word lies in the lower half of 64 bits,
/// where the products of 32 bits are taken; what the upper half holds does not matter until the end.
#[inline(always)]
fn words(generator: Philox, block: u64, step: u64) -> [[u32; BLOCKS]; 4] {
    const M0: u64 = 0xD251_1F53;
    const M1: u64 = 0xCD9E_8D57;
    const LOWER: u64 = u32::MAX as u64;
    let mut x0: [u64; BLOCKS] = std::array::from_fn(|lane| block.wrapping_add(lane as u64));
    let mut x1 = x0.map(|counter| counter >> 32);
    let (mut x2, mut x3) = ([step; BLOCKS], [step >> 32; BLOCKS]);
    let [mut k0, mut k1] = generator.key();
    for _ in 0..10 {
        for (((x0, x1), x2), x3) in x0.iter_mut().zip(&mut x1).zip(&mut x2).zip(&mut x3) {
            let p0 = M0 * (*x0 & LOWER);
            let p1 = M1 * (*x2 & LOWER);
            (*x0, *x1, *x2, *x3) = ((p1 >> 32) ^ *x1 ^ k0 as u64, p1, (p0 >> 32) ^ *x3 ^ k1 as u64, p0);
        }
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [x0, x1, x2, x3].map(|words| words.map(|word| word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_blocks_equal_one_by_one() {
        let generator = Philox::new(5, 8);
        for isa in Isa::available() {
            for (first, n) in [(0, 1), (0, 64), (3, 200), (4, 63), (u32::MAX as u64 * 4 - 9, 150)] {
                let mut out = vec![0.0; n];
                draw(isa, generator, Distribution::Uniform, first, 9, &mut out);
                for (i, &x) in out.iter().enumerate() {
                    assert_eq!(x, generator.uniform(first.wrapping_add(i as u64), 9), "{isa} {first} + {i}");
                }
                draw(isa, generator, Distribution::Normal, first, 9, &mut out);
                for (i, &x) in out.iter().enumerate() {
                    let exact = generator.normal(first.wrapping_add(i as u64), 9);
                    let error = (x as f64 - exact).abs();
                    assert!(error <= 1e-7 || error <= exact.abs() * 4.8e-7, "{isa} {first} + {i}: {x}, {exact}");
                }
            }
        }
    }
}
