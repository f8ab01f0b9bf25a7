//! [`RocAuc`]: how well scores put what is positive before what is not.

use thalweg_formats::array::Array;

use super::{MetricError, kind};

/// The area under the receiver operating characteristic: the probability that a positive row has a higher score than a
/// negative one, ties counting one half (the statistic of Mann and Whitney 1947). It keeps every score.
///
/// ```
/// use thalweg_train::metrics::RocAuc;
/// let mut auc = RocAuc::default();
/// auc.update(&[0.1f32, 0.4, 0.35, 0.8].into(), &[0i64, 0, 1, 1].into())?;
/// assert_eq!(auc.value(), 0.75);   // of four pairs three are in order
/// # Ok::<(), thalweg_train::metrics::MetricError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RocAuc {
    /// Scores, and whether they are those of positive rows.
    seen: Vec<(f64, bool)>,
}

impl RocAuc {
    /// Adds a batch: `scores` of shape `[rows]`, or the logits `[rows, 2]` of two classes; integer `labels` of shape
    /// `[rows]`, 1 for positive and 0 for negative.
    ///
    /// # Errors
    /// If the shapes or dtypes are others, or a label is neither. Nothing is added then.
    pub fn update(&mut self, scores: &Array, labels: &Array) -> Result<(), MetricError> {
        let numbers = scores.to_vec::<f64>();
        let numbers: Vec<f64> = match *scores.shape() {
            [_] => numbers,
            [_, 2] => numbers.chunks(2).map(|logits| logits[1] - logits[0]).collect(),
            _ => {
                let expected = "[rows] or [rows, 2]".into();
                return Err(MetricError::Input { what: "scores", expected, found: kind(scores) });
            }
        };
        if labels.shape() != [numbers.len()] || !labels.dtype().is_int() {
            let expected = format!("integers of shape [{}]", numbers.len());
            return Err(MetricError::Input { what: "labels", expected, found: kind(labels) });
        }
        let positive = |(row, label): (usize, i64)| match label {
            0 | 1 => Ok(label == 1),
            _ => Err(MetricError::Label { row, label, classes: 2 }),
        };
        let labels: Vec<bool> =
            labels.to_vec::<i64>().into_iter().enumerate().map(positive).collect::<Result<_, _>>()?;
        self.seen.extend(numbers.into_iter().zip(labels));
        Ok(())
    }

    /// The area, from 0 to 1, one half for scores that say nothing; NaN where all rows are of one class, or a score is
    /// NaN.
    pub fn value(&self) -> f64 {
        let curve = self.curve();
        // Trapezoids: a tie is a slanted piece, which counts one half.
        let area = curve.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[1].1 + pair[0].1) / 2.0);
        if curve.is_empty() { f64::NAN } else { area.sum() }
    }

    /// The curve: the share of the negative rows and that of the positive ones whose score is at least a threshold, from
    /// (0, 0) to (1, 1) as it falls, a point for each score. Empty where [`value`](RocAuc::value) is NaN.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let positives = self.seen.iter().filter(|(_, positive)| *positive).count();
        let negatives = self.seen.len() - positives;
        if positives == 0 || negatives == 0 || self.seen.iter().any(|(score, _)| score.is_nan()) {
            return Vec::new();
        }
        let mut falling = self.seen.clone();
        falling.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut curve, mut above) = (vec![(0.0, 0.0)], (0u64, 0u64));
        for tied in falling.chunk_by(|a, b| a.0 == b.0) {
            let hits = tied.iter().filter(|(_, positive)| *positive).count() as u64;
            above = (above.0 + tied.len() as u64 - hits, above.1 + hits);
            curve.push((above.0 as f64 / negatives as f64, above.1 as f64 / positives as f64));
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(scores: &[f64], labels: &[i64]) -> f64 {
        let mut auc = RocAuc::default();
        // In two batches, which is the same.
        let half = scores.len() / 2;
        auc.update(&scores[..half].into(), &labels[..half].into()).unwrap();
        auc.update(&scores[half..].into(), &labels[half..].into()).unwrap();
        auc.value()
    }

    #[test]
    fn pairs_in_order_by_hand() {
        assert_eq!(area(&[0.1, 0.2, 0.8, 0.9], &[0, 0, 1, 1]), 1.0);
        assert_eq!(area(&[0.9, 0.8, 0.2, 0.1], &[0, 0, 1, 1]), 0.0);
        // Positive 3, 2, 1 and negative 2, 0: over 2 are won 1 and tied 1 of 3, over 0 all 3: (1 + ½ + 3)/6.
        assert_eq!(area(&[3.0, 2.0, 2.0, 1.0, 0.0], &[1, 0, 1, 1, 0]), 4.5 / 6.0);
        assert_eq!(area(&[7.0; 6], &[1, 0, 1, 0, 0, 0]), 0.5, "ties say nothing, in whatever order they come");
        assert_eq!(area(&[0.0, -0.0, 1.0, f64::INFINITY], &[0, 1, 0, 1]), 2.5 / 4.0);
    }

    #[test]
    fn it_is_what_counting_all_pairs_gives() {
        let scores: Vec<f64> = (0..60).map(|i| ((i * 37) % 11) as f64).collect();
        let labels: Vec<i64> = (0..60).map(|i| i64::from((i * 53) % 7 < 3)).collect();
        let (mut won, mut pairs) = (0.0, 0.0);
        for (a, _) in scores.iter().zip(&labels).filter(|(_, label)| **label == 1) {
            for (b, _) in scores.iter().zip(&labels).filter(|(_, label)| **label == 0) {
                won += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
                pairs += 1.0;
            }
        }
        assert!((area(&scores, &labels) - won / pairs).abs() < 1e-12);
    }

    #[test]
    fn the_curve_has_a_point_for_each_score() {
        let mut auc = RocAuc::default();
        auc.update(&[[0.0f32, 2.0], [0.0, 1.0], [1.0, 2.0], [3.0, 0.0]].into(), &[1i64, 0, 1, 0].into()).unwrap();
        assert_eq!(auc.curve(), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        assert_eq!(auc.value(), 0.875);
    }

    #[test]
    fn what_has_no_area_is_not_a_number() {
        assert!(RocAuc::default().value().is_nan());
        assert!(area(&[0.1, 0.2], &[1, 1]).is_nan() && area(&[0.1, 0.2], &[0, 0]).is_nan());
        assert!(area(&[f64::NAN, 0.2], &[0, 1]).is_nan());
    }

    #[test]
    fn wrong_batches_are_refused_and_nothing_is_added() {
        let mut auc = RocAuc::default();
        let mut message = |scores: Array, labels: Array| auc.update(&scores, &labels).unwrap_err().to_string();
        let three = Array::zeros(&[2, 3], thalweg_formats::array::DType::F32);
        assert_eq!(message(three, [0i64, 1].into()), "scores: expected [rows] or [rows, 2], found f32[2, 3]");
        let found = message([0.1f32, 0.2].into(), [0.0f32, 1.0].into());
        assert_eq!(found, "labels: expected integers of shape [2], found f32[2]");
        let found = message([0.1f32, 0.2].into(), [0i64, 2].into());
        assert_eq!(found, "row 1: the label 2 is not one of the classes 0..2");
        assert_eq!(auc, RocAuc::default());
    }
}
