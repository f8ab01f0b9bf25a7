//! Random numbers for transforms: a function of seed, epoch and sample, so that no order of work changes them.

use thalweg_array::random::{Philox, mix, stream};

/// The random numbers of one sample (or one batch) in one epoch, drawn one after the other.
#[derive(Clone, Debug)]
pub struct Random {
    generator: Philox,
    epoch: u64,
    next: u64,
}

impl Random {
    /// The numbers of the `index`-th thing of kind `what` in `epoch`.
    pub fn new(seed: u64, epoch: u64, what: &str, index: u64) -> Random {
        Random { generator: Philox::new(seed, stream(what, 0) ^ mix(index)), epoch, next: 0 }
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        self.generator.uniform(self.advance(), self.epoch)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        self.generator.normal(self.advance(), self.epoch) as f32
    }

    /// Uniform over the whole numbers of `range`.
    ///
    /// # Panics
    /// If the range is empty.
    #[track_caller]
    pub fn within(&mut self, range: std::ops::RangeInclusive<i32>) -> i32 {
        let (low, high) = (*range.start() as i64, *range.end() as i64);
        assert!(low <= high, "a number within the empty range {range:?}");
        let count = (high - low + 1) as u64;
        let index = self.advance();
        let word = self.generator.block(index / 4, self.epoch)[(index % 4) as usize];
        (low + ((word as u64 * count) >> 32) as i64) as i32
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    fn advance(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_seed_epoch_kind_and_index_alone() {
        let draw = |seed, epoch, what, index| {
            let mut random = Random::new(seed, epoch, what, index);
            [random.uniform(), random.uniform()]
        };
        let first = draw(1, 2, "sample", 3);
        assert_eq!(draw(1, 2, "sample", 3), first);
        for other in [draw(2, 2, "sample", 3), draw(1, 3, "sample", 3), draw(1, 2, "batch", 3), draw(1, 2, "sample", 4)]
        {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn every_number_of_a_range_comes_equally_often() {
        let mut counts = [0; 3];
        for index in 0..3000 {
            counts[(Random::new(0, 0, "sample", index).within(-1..=1) + 1) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(Random::new(0, 0, "x", 0).within(i32::MAX..=i32::MAX), i32::MAX);
    }
}
