//! Random bits as a function of a key and a counter: no state, so any part of a tensor can be drawn by any thread, on
//! any device, again, with the same bits.
//!
//! Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

/// Four 32-bit words per counter, keyed by 64 bits.
///
/// ```
/// use thalweg_array::random::Philox;
/// assert_eq!(Philox::with_key(0).words([0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The generator with this key.
    pub const fn with_key(key: u64) -> Self {
        Philox { key: [key as u32, (key >> 32) as u32] }
    }

    /// The generator of one random tensor: `seed` of the session, `stream` of the op.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Philox::with_key(mix(seed ^ mix(stream)))
    }

    /// The key.
    pub const fn key(self) -> [u32; 2] {
        self.key
    }

    /// The words at `counter`.
    pub const fn words(self, counter: [u32; 4]) -> [u32; 4] {
        const M0: u64 = 0xD251_1F53;
        const M1: u64 = 0xCD9E_8D57;
        let [mut x0, mut x1, mut x2, mut x3] = counter;
        let [mut k0, mut k1] = self.key;
        let mut round = 0;
        while round < 10 {
            let p0 = M0 * x0 as u64;
            let p1 = M1 * x2 as u64;
            (x0, x1, x2, x3) = ((p1 >> 32) as u32 ^ x1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ x3 ^ k1, p0 as u32);
            k0 = k0.wrapping_add(0x9E37_79B9);
            k1 = k1.wrapping_add(0xBB67_AE85);
            round += 1;
        }
        [x0, x1, x2, x3]
    }

    /// The four words that serve elements `4·block .. 4·block + 4` of a tensor in `step`.
    pub const fn block(self, block: u64, step: u64) -> [u32; 4] {
        self.words([block as u32, (block >> 32) as u32, step as u32, (step >> 32) as u32])
    }

    /// Element `index` of a tensor of numbers uniform in [0, 1): 24 random bits, exact in f32.
    pub fn uniform(self, index: u64, step: u64) -> f32 {
        unit(self.block(index / 4, step)[(index % 4) as usize])
    }

    /// Element `index` of a tensor of standard normal numbers (Box and Muller 1958): elements 2i and 2i+1 share a pair
    /// of words.
    pub fn normal(self, index: u64, step: u64) -> f64 {
        let words = self.block(index / 4, step);
        let pair = (index % 4 / 2 * 2) as usize;
        // 1 - u is in (0, 1]: its logarithm is finite.
        let radius = (-2.0 * f64::ln(1.0 - unit(words[pair]) as f64)).sqrt();
        let angle = std::f64::consts::TAU * unit(words[pair + 1]) as f64;
        radius * if index.is_multiple_of(2) { angle.cos() } else { angle.sin() }
    }
}

/// The upper 24 bits of `word` as a number in [0, 1).
pub const fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Spreads the bits of `x` (the finalizer of SplitMix64; Steele, Lea, Flood 2014). A bijection.
pub const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The stream of the `ordinal`-th random op in the scope `path` (FNV-1a over the path, then mixed).
pub fn stream(path: &str, ordinal: u64) -> u64 {
    let hash =
        path.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01B3));
    mix(hash ^ mix(ordinal))
}

/// A permutation of `0..n` (Fisher and Yates), drawn from `generator` at `step`.
pub fn permutation(generator: Philox, step: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let words = generator.block(last as u64, step);
        let bits = (words[0] as u64) << 32 | words[1] as u64;
        // Multiply-shift: the bias is below 2^-32 for any n that fits in memory.
        order.swap(last, ((bits as u128 * (last as u128 + 1)) >> 64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the authors' Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(Philox::with_key(u64::MAX).words([u32::MAX; 4]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        let key = 0x299f31d0_a4093822;
        assert_eq!(
            Philox::with_key(key).words([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn moments_are_right() {
        let generator = Philox::new(7, 3);
        let n = 100_000;
        let mean: f64 = (0..n).map(|i| generator.uniform(i, 0) as f64).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        let normal: Vec<f64> = (0..n).map(|i| generator.normal(i, 1)).collect();
        let mean = normal.iter().sum::<f64>() / n as f64;
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn a_permutation_holds_each_once() {
        let mut order = permutation(Philox::new(1, 2), 3, 1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort();
        assert!(order.into_iter().eq(0..1000));
    }
}
