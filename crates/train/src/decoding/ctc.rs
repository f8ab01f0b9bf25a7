//! What a model trained by [`Ctc`](thalweg_nn::loss::Ctc) has read: labels from frames.

use std::collections::BTreeMap;

use thalweg_formats::array::Array;

use super::{DecodeError, refusal};

/// What was read off the frames of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The classes, without blanks.
    pub label: Vec<i64>,
    /// The logarithm of the probability that was found for it, and of what was multiplied to it.
    pub log_probability: f64,
}

/// Reads the likeliest class of each frame: equal neighbours are one, blanks are left out. The probability is that of this
/// one way; [`CtcBeam`] adds up all ways in which a label can be said.
///
/// Logits are floats `[batch, time, classes]`, the first class is the blank; of row i the first `lengths[i]` frames count.
///
/// ```
/// use thalweg_formats::array::Array;
/// use thalweg_train::decoding::ctc_greedy;
/// let (blank, one, two) = ([3.0f32, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]);
/// let frames = [one, one, blank, one, two, two];
/// let read = ctc_greedy(&Array::new(&[1, 6, 3], frames.concat())?, &[6])?;
/// assert_eq!(read[0].label, [1, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the logits have another shape or dtype, one is NaN or ∞, or a length is none of the frames.
pub fn ctc_greedy(logits: &Array, lengths: &[i64]) -> Result<Vec<Reading>, DecodeError> {
    let read = |frames: &[Vec<f64>]| {
        let mut reading = Reading { label: Vec::new(), log_probability: 0.0 };
        let mut before = BLANK;
        for frame in frames {
            let class = (0..frame.len()).fold(0, |best, class| if frame[class] > frame[best] { class } else { best });
            reading.log_probability += frame[class];
            if class != BLANK && class != before {
                reading.label.push(class as i64);
            }
            before = class;
        }
        reading
    };
    Ok(rows(logits, lengths)?.iter().map(|frames| read(frames)).collect())
}

const BLANK: usize = 0;

/// Keeps the `width` likeliest beginnings of a label at every frame, each with all the ways found in which it was said (prefix
/// beam search; Graves 2006, Hannun et al. 2014).
///
/// ```
/// use thalweg_formats::array::Array;
/// use thalweg_train::decoding::{CtcBeam, ctc_greedy};
/// // In both frames the blank is the likeliest class, but in three of four cases one of them says 1.
/// let p = [[0.5f64, 0.5], [0.5, 0.5]].concat();
/// let logits = Array::new(&[1, 2, 2], p.iter().map(|p| p.ln()).collect())?;
/// let best = CtcBeam::new(8)?.run(&logits, &[2])?.remove(0).remove(0);
/// assert!(best.label == [1] && (best.log_probability.exp() - 0.75).abs() < 1e-12);
/// assert!(ctc_greedy(&logits, &[2])?[0].label.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtcBeam {
    width: usize,
    n_best: usize,
}

/// How likely a beginning was said, in logarithms: by ways whose last frame is the blank, and by others.
#[derive(Clone, Copy, Debug)]
struct Ways {
    blank: f64,
    symbol: f64,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways { blank: f64::NEG_INFINITY, symbol: f64::NEG_INFINITY }
    }
}

impl Ways {
    fn total(&self) -> f64 {
        log_add(self.blank, self.symbol)
    }
}

impl CtcBeam {
    /// Of `width` beginnings; the best label alone is returned.
    ///
    /// # Errors
    /// If it is 0.
    pub fn new(width: usize) -> Result<CtcBeam, DecodeError> {
        if width == 0 {
            return Err(refusal("a beam of width 0", "at least one beginning is kept"));
        }
        Ok(CtcBeam { width, n_best: 1 })
    }

    /// Returns the `n` best labels.
    ///
    /// # Errors
    /// If it is 0 or more than the width.
    pub fn n_best(self, n: usize) -> Result<CtcBeam, DecodeError> {
        if n == 0 || n > self.width {
            let reason = format!("a beam of width {} finds as many", self.width);
            return Err(refusal(format!("the {n} best labels"), reason));
        }
        Ok(CtcBeam { n_best: n, ..self })
    }

    /// The best labels of each row, the best first; fewer than asked for if there are no more.
    ///
    /// # Errors
    /// As [`ctc_greedy`].
    pub fn run(&self, logits: &Array, lengths: &[i64]) -> Result<Vec<Vec<Reading>>, DecodeError> {
        self.run_weighted(logits, lengths, |_, _| 0.0)
    }

    /// As [`run`](CtcBeam::run), with what `log_weight` says of a beginning and the class behind it added to the logarithm of
    /// the probability: a language model, a premium on length.
    ///
    /// # Errors
    /// As [`ctc_greedy`].
    pub fn run_weighted(
        &self,
        logits: &Array,
        lengths: &[i64],
        log_weight: impl Fn(&[i64], i64) -> f64,
    ) -> Result<Vec<Vec<Reading>>, DecodeError> {
        Ok(rows(logits, lengths)?.iter().map(|frames| self.search(frames, &log_weight)).collect())
    }

    fn search(&self, frames: &[Vec<f64>], log_weight: &impl Fn(&[i64], i64) -> f64) -> Vec<Reading> {
        let mut beam = vec![(Vec::new(), Ways { blank: 0.0, ..Ways::default() })];
        for frame in frames {
            let mut next: BTreeMap<Vec<i64>, Ways> = BTreeMap::new();
            for (label, ways) in &beam {
                let last = label.last().map(|&last: &i64| last as usize);
                let stays = next.entry(label.clone()).or_default();
                stays.blank = log_add(stays.blank, ways.total() + frame[BLANK]);
                if let Some(last) = last {
                    stays.symbol = log_add(stays.symbol, ways.symbol + frame[last]);
                }
                for (class, log_p) in frame.iter().enumerate().skip(BLANK + 1) {
                    // Behind itself a class is another one only if a blank stands between.
                    let from = if last == Some(class) { ways.blank } else { ways.total() };
                    if from + log_p > f64::NEG_INFINITY {
                        let weight = log_weight(label, class as i64);
                        let longer: Vec<i64> = label.iter().copied().chain([class as i64]).collect();
                        let longer = next.entry(longer).or_default();
                        longer.symbol = log_add(longer.symbol, from + log_p + weight);
                    }
                }
            }
            beam = next.into_iter().collect();
            beam.sort_by(|(_, a), (_, b)| b.total().total_cmp(&a.total()));
            beam.truncate(self.width);
        }
        let reading = |(label, ways): (_, Ways)| Reading { label, log_probability: ways.total() };
        let mut readings: Vec<Reading> = beam.into_iter().map(reading).collect();
        readings.retain(|reading| reading.log_probability > f64::NEG_INFINITY);
        readings.truncate(self.n_best);
        readings
    }
}

/// ln(eᵃ + eᵇ).
fn log_add(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// ln p of the classes in each frame that counts, row by row.
fn rows(logits: &Array, lengths: &[i64]) -> Result<Vec<Vec<Vec<f64>>>, DecodeError> {
    let refused = |expected: &str| {
        let found = format!("logits {}{:?} with {} lengths", logits.dtype(), logits.shape(), lengths.len());
        Err(refusal(found, expected))
    };
    let &[batch, time, classes] = logits.shape() else {
        return refused("they are floats [batch, time, classes]");
    };
    if !logits.dtype().is_float() || classes == 0 {
        return refused("they are floats [batch, time, classes]");
    }
    if lengths.len() != batch {
        return refused("there is a length for each row");
    }
    let numbers: Vec<f64> = logits.to_vec();
    let row = |(row, &length): (usize, &i64)| {
        let Some(length) = usize::try_from(length).ok().filter(|&length| length <= time) else {
            return Err(refusal(format!("length {length} of row {row}"), format!("there are {time} frames")));
        };
        (0..length).map(|at| log_softmax(&numbers[(row * time + at) * classes..][..classes], row, at)).collect()
    };
    lengths.iter().enumerate().map(row).collect()
}

fn log_softmax(logits: &[f64], row: usize, frame: usize) -> Result<Vec<f64>, DecodeError> {
    if let Some(class) = logits.iter().position(|x| x.is_nan() || *x == f64::INFINITY) {
        let what = format!("the logit {} of class {class} in frame {frame} of row {row}", logits[class]);
        return Err(refusal(what, "it is a number below infinity"));
    }
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return Err(refusal(format!("frame {frame} of row {row}"), "it says no class at all, all logits are -inf"));
    }
    let total = largest + logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
    Ok(logits.iter().map(|x| x - total).collect())
}

#[cfg(test)]
mod tests {
    use thalweg_formats::array::random::Philox;

    use super::*;

    const CLASSES: usize = 3;

    fn logits(seed: u64, rows: usize, time: usize) -> Array {
        let generator = Philox::new(seed, 0);
        let numbers = (0..rows * time * CLASSES).map(|at| 1.5 * generator.normal(at as u64, 0)).collect();
        Array::new(&[rows, time, CLASSES], numbers).unwrap()
    }

    /// Every label that frames can say, with the sum over all ways, the likeliest first; and the likeliest way.
    fn exhaustively(frames: &[Vec<f64>], log_weight: impl Fn(&[i64], i64) -> f64) -> (Vec<Reading>, f64) {
        let mut found: BTreeMap<Vec<i64>, f64> = BTreeMap::new();
        let mut best = f64::NEG_INFINITY;
        for number in 0..CLASSES.pow(frames.len() as u32) {
            let way: Vec<usize> = (0..frames.len()).map(|t| number / CLASSES.pow(t as u32) % CLASSES).collect();
            let log_p: f64 = way.iter().zip(frames).map(|(&class, frame)| frame[class]).sum();
            best = best.max(log_p);
            let mut read = way;
            read.dedup();
            let label: Vec<i64> = read.into_iter().filter(|&class| class != 0).map(|class| class as i64).collect();
            let weight: f64 = (0..label.len()).map(|at| log_weight(&label[..at], label[at])).sum();
            *found.entry(label).or_default() += (log_p + weight).exp();
        }
        let reading = |(label, p): (Vec<i64>, f64)| Reading { label, log_probability: p.ln() };
        let mut readings: Vec<Reading> = found.into_iter().map(reading).collect();
        readings.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
        (readings, best)
    }

    fn assert_same(found: &[Reading], expected: &[Reading]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.label, expected.label);
            assert!((found.log_probability - expected.log_probability).abs() < 1e-12);
        }
    }

    #[test]
    fn a_wide_beam_finds_what_exhaustive_search_finds() {
        // Not indifferent to what came before.
        let weight =
            |before: &[i64], class: i64| -0.4 * class as f64 + 0.9 * (before.last() == Some(&class)) as u8 as f64;
        for time in 1..=5 {
            let x = logits(time as u64, 4, time);
            let lengths = [time as i64, time as i64, 1, time as i64 - 1];
            let frames = rows(&x, &lengths).unwrap();
            let wide = CtcBeam::new(200).unwrap().n_best(6).unwrap();
            let (plain, weighted) = (wide.run(&x, &lengths).unwrap(), wide.run_weighted(&x, &lengths, weight).unwrap());
            let greedy = ctc_greedy(&x, &lengths).unwrap();
            for row in 0..4 {
                let (expected, best_way) = exhaustively(&frames[row], |_, _| 0.0);
                assert_same(&plain[row], &expected[..expected.len().min(6)]);
                assert!((greedy[row].log_probability - best_way).abs() < 1e-12);
                let (expected, _) = exhaustively(&frames[row], weight);
                assert_same(&weighted[row], &expected[..expected.len().min(6)]);
            }
        }
    }

    #[test]
    fn a_narrow_beam_finds_no_more_than_there_is() {
        let x = logits(9, 6, 5);
        let lengths = [5; 6];
        let (frames, narrow) = (rows(&x, &lengths).unwrap(), CtcBeam::new(2).unwrap().run(&x, &lengths).unwrap());
        for (frames, found) in frames.iter().zip(narrow) {
            let (all, _) = exhaustively(frames, |_, _| 0.0);
            let exact = all.iter().find(|reading| reading.label == found[0].label).unwrap();
            assert!(found[0].log_probability <= exact.log_probability + 1e-12);
        }
    }

    #[test]
    fn classes_that_cannot_be_said_are_not() {
        let never = f64::NEG_INFINITY;
        let x = Array::new(&[1, 2, 3], vec![never, 0.0, never, never, 0.0, never]).unwrap();
        let all = CtcBeam::new(10).unwrap().n_best(10).unwrap().run(&x, &[2]).unwrap();
        assert_eq!(all, [[Reading { label: vec![1], log_probability: 0.0 }]]);
        assert!(ctc_greedy(&x, &[0]).unwrap()[0].label.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let message = |x: Array, lengths: &[i64]| ctc_greedy(&x, lengths).unwrap_err().to_string();
        let x = logits(1, 2, 3);
        assert_eq!(
            message([[0.0f32, 1.0]].into(), &[1]),
            "logits f32[1, 2] with 1 lengths: they are floats [batch, time, classes]"
        );
        assert!(message(x.clone(), &[3]).contains("with 1 lengths: there is a length for each row"));
        assert_eq!(message(x.clone(), &[3, 4]), "length 4 of row 1: there are 3 frames");
        assert!(message(x, &[3, -1]).contains("length -1 of row 1"));
        let nan = Array::new(&[1, 2, 2], vec![0.0f32, 1.0, f32::NAN, 0.0]).unwrap();
        assert!(message(nan.clone(), &[2]).contains("the logit NaN of class 0 in frame 1 of row 0"));
        assert!(ctc_greedy(&nan, &[1]).is_ok(), "behind the end of the row");
        let none = Array::new(&[1, 1, 2], vec![f32::NEG_INFINITY; 2]).unwrap();
        assert!(message(none, &[1]).contains("frame 0 of row 0: it says no class"));
        assert!(CtcBeam::new(0).unwrap_err().to_string().contains("a beam of width 0"));
        assert!(CtcBeam::new(2).unwrap().n_best(3).unwrap_err().to_string().contains("the 3 best labels"));
    }
}
