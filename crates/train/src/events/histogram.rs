//! Histograms of weights and gradients.

use thalweg_formats::array::Array;

/// How the finite elements of an array are distributed. NaN and infinities are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The smallest element, 0 if there are none.
    pub min: f64,
    /// The largest element, 0 if there are none.
    pub max: f64,
    /// The number of elements.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub sum_squares: f64,
    /// The upper ends of the buckets, rising; the first bucket begins at `min`.
    pub limits: Vec<f64>,
    /// The number of elements in each bucket.
    pub counts: Vec<f64>,
}

impl Histogram {
    /// The histogram of an array, in 64 buckets of equal width from the smallest to the largest element.
    ///
    /// ```
    /// use thalweg_train::events::Histogram;
    /// let histogram = Histogram::of(&[0.0f32, 1.0, 1.0, 4.0, f32::NAN].into());
    /// assert_eq!((histogram.min, histogram.max, histogram.count, histogram.sum), (0.0, 4.0, 4.0, 6.0));
    /// assert_eq!(histogram.counts.iter().sum::<f64>(), 4.0);
    /// ```
    pub fn of(array: &Array) -> Histogram {
        const BUCKETS: usize = 64;
        let mut elements = array.to_vec::<f64>();
        elements.retain(|x| x.is_finite());
        let Some(&first) = elements.first() else {
            // TensorBoard cannot read a histogram without a bucket.
            return Histogram { limits: vec![0.0], counts: vec![0.0], ..Histogram::default() };
        };
        let (min, max) = elements.iter().fold((first, first), |(min, max), &x| (min.min(x), max.max(x)));
        let buckets = if min == max { 1 } else { BUCKETS };
        // Divided first, because the difference of two large numbers may not be finite.
        let width = max / buckets as f64 - min / buckets as f64;
        let mut counts = vec![0.0; buckets];
        for x in &elements {
            let position = (x / width - min / width) as usize;
            counts[position.min(buckets - 1)] += 1.0;
        }
        let limit = |share: f64| min * (1.0 - share) + max * share;
        let limits = (1..=buckets).map(|bucket| limit(bucket as f64 / buckets as f64)).collect();
        Histogram {
            min,
            max,
            count: elements.len() as f64,
            sum: elements.iter().sum(),
            sum_squares: elements.iter().map(|x| x * x).sum(),
            limits,
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_fall_into_buckets_of_equal_width() {
        let elements: Vec<f32> = (0..=640).map(|n| n as f32 / 10.0).collect();
        let histogram = Histogram::of(&elements.into());
        assert_eq!(histogram.limits[0], 1.0);
        assert_eq!(histogram.limits[63], 64.0);
        assert_eq!(histogram.counts.iter().sum::<f64>(), 641.0);
        assert!(histogram.counts.iter().all(|&count| (9.0..=12.0).contains(&count)), "{:?}", histogram.counts);
    }

    #[test]
    fn one_number_many_times_and_none_at_all() {
        let same = Histogram::of(&[2.5f32; 7].into());
        assert_eq!((same.limits, same.counts, same.sum_squares), (vec![2.5], vec![7.0], 43.75));
        let none = Histogram::of(&[f32::NAN, f32::INFINITY].into());
        assert_eq!((none.count, none.counts), (0.0, vec![0.0]));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow_the_buckets() {
        let histogram = Histogram::of(&[f64::MIN, 0.0, f64::MAX].into());
        assert_eq!(histogram.counts.iter().sum::<f64>(), 3.0);
        assert!(histogram.limits.iter().all(|limit| limit.is_finite()));
    }
}
