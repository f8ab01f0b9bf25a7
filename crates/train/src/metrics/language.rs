//! Metrics of sequences: [`Perplexity`], [`ErrorRate`], [`Bleu`]; [`Rouge`](super::Rouge) stands beside them.

use std::collections::BTreeMap;

use thalweg_formats::array::Array;

use super::classification::Batch;
use super::{Mean, MetricError};

/// e to the mean cross-entropy in nats: among how many equally likely ones a model still chooses (Jelinek et al. 1977).
///
/// ```
/// use thalweg_train::metrics::Perplexity;
/// let mut perplexity = Perplexity::default();
/// perplexity.add(8f64.ln(), 100.0);   // the mean loss of 100 tokens
/// assert!((perplexity.value() - 8.0).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    nats: Mean,
}

impl Perplexity {
    /// Adds the mean cross-entropy of `tokens` tokens.
    pub fn add(&mut self, nats: f64, tokens: f64) {
        self.nats.add(nats, tokens);
    }

    /// Adds a batch: `logits` of shape `[tokens, classes]`, integer `labels` of shape `[tokens]`.
    ///
    /// # Errors
    /// If the shapes or dtypes are others, or a label is no class. Nothing is added then.
    pub fn update(&mut self, logits: &Array, labels: &Array) -> Result<(), MetricError> {
        for (logits, label) in Batch::new(logits, labels)?.rows() {
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
            self.add(sum.ln() - (logits[label] - largest), 1.0);
        }
        Ok(())
    }

    /// The perplexity so far, at least 1; NaN if nothing was added.
    pub fn value(&self) -> f64 {
        self.nats.value().exp()
    }
}

/// How many tokens of the references must be changed, of each of their tokens: (substitutions + deletions +
/// insertions)/length, the smallest number there is (Levenshtein 1966). Of words it is the word error rate, of
/// characters the character error rate.
///
/// ```
/// use thalweg_train::metrics::ErrorRate;
/// let mut words = ErrorRate::default();
/// words.update_words("the cat sat", "the cat sat down");
/// assert_eq!(words.value(), 0.25);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorRate {
    edits: u64,
    length: u64,
}

impl ErrorRate {
    /// Adds a sequence and what it should be.
    pub fn update<T: PartialEq>(&mut self, output: &[T], reference: &[T]) {
        self.edits += edit_distance(output, reference) as u64;
        self.length += reference.len() as u64;
    }

    /// Adds texts, compared word by word; white space divides.
    pub fn update_words(&mut self, output: &str, reference: &str) {
        let [output, reference] = [output, reference].map(|text| text.split_whitespace().collect::<Vec<_>>());
        self.update(&output, &reference);
    }

    /// Adds texts, compared character by character.
    pub fn update_characters(&mut self, output: &str, reference: &str) {
        let [output, reference] = [output, reference].map(|text| text.chars().collect::<Vec<_>>());
        self.update(&output, &reference);
    }

    /// The rate so far, which may exceed 1; NaN if all references were empty.
    pub fn value(&self) -> f64 {
        if self.length == 0 { f64::NAN } else { self.edits as f64 / self.length as f64 }
    }
}

/// The smallest number of substitutions, deletions and insertions that lead from one sequence to the other.
fn edit_distance<T: PartialEq>(from: &[T], to: &[T]) -> usize {
    // The distances of what was read of `from` to each beginning of `to`.
    let mut distances: Vec<usize> = (0..=to.len()).collect();
    for x in from {
        let mut diagonal = distances[0];
        distances[0] += 1;
        for (position, y) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = distances[position + 1];
            distances[position + 1] = substituted.min(diagonal + 1).min(distances[position] + 1);
        }
    }
    distances[to.len()]
}

/// How much of translations is found in their references: the geometric mean of the shares of their 1- to n-grams, n =
/// 4 if not said, each counted at most as often as a reference has it, times e^(1 − r/c) where all together they are
/// shorter than the references (Papineni et al. 2002; of the whole corpus, without smoothing).
///
/// ```
/// use thalweg_train::metrics::Bleu;
/// let mut bleu = Bleu::default();
/// let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
/// bleu.update(&words("the cat sat on the mat"), &[words("the cat sat on the mat"), words("a cat was there")]);
/// assert_eq!(bleu.value(), 1.0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bleu {
    /// Of each length from 1: how many n-grams are found, of how many.
    counts: Vec<(u64, u64)>,
    length: u64,
    reference_length: u64,
}

impl Default for Bleu {
    fn default() -> Self {
        Bleu::up_to(4)
    }
}

impl Bleu {
    /// Of n-grams up to this length.
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn up_to(longest: usize) -> Bleu {
        assert!(longest > 0, "BLEU needs n-grams of at least 1 token");
        Bleu { counts: vec![(0, 0); longest], length: 0, reference_length: 0 }
    }

    /// Adds a translation and its references, of which there is at least one.
    ///
    /// # Panics
    /// If there is no reference.
    #[track_caller]
    pub fn update<T: Ord>(&mut self, output: &[T], references: &[Vec<T>]) {
        // The reference nearest in length counts, the shorter of two.
        let nearest = references.iter().map(Vec::len).min_by_key(|&length| (length.abs_diff(output.len()), length));
        let Some(nearest) = nearest else { panic!("BLEU: a translation without a reference") };
        self.length += output.len() as u64;
        self.reference_length += nearest as u64;
        for (position, (found, all)) in self.counts.iter_mut().enumerate() {
            let references: Vec<_> = references.iter().map(|reference| n_grams(reference, position + 1)).collect();
            for (n_gram, count) in n_grams(output, position + 1) {
                let most = references.iter().filter_map(|counts| counts.get(n_gram)).max();
                *found += count.min(most.copied().unwrap_or(0));
                *all += count;
            }
        }
    }

    /// BLEU so far, from 0 to 1; 0 if no n-gram of some length was found, NaN if nothing was added.
    pub fn value(&self) -> f64 {
        self.smoothed(Smoothing::None)
    }

    /// BLEU so far, with lengths of which no n-gram was found counted by `smoothing`: for few sentences or one. 0 if
    /// nothing at all was found or translations are shorter than the longest n-gram; the figures of sacrebleu.
    pub fn smoothed(&self, smoothing: Smoothing) -> f64 {
        if self.reference_length == 0 {
            return f64::NAN;
        }
        if self.counts.iter().all(|&(found, _)| found == 0) {
            return 0.0;
        }
        let mut missed = 0;
        let precision = |(position, &(found, all)): (usize, &(u64, u64))| {
            let (found, all) = (found as f64, all as f64);
            match smoothing {
                Smoothing::Add(k) if position > 0 => (found + k) / (all + k),
                _ if all == 0.0 => 0.0,
                Smoothing::Floor(floor) if found == 0.0 => floor / all,
                Smoothing::Exponential if found == 0.0 => {
                    missed += 1;
                    0.5f64.powi(missed) / all
                }
                Smoothing::None | Smoothing::Floor(_) | Smoothing::Add(_) | Smoothing::Exponential => found / all,
            }
        };
        let logarithms: f64 = self.counts.iter().enumerate().map(precision).map(f64::ln).sum();
        let precision = (logarithms / self.counts.len() as f64).exp();
        precision * (1.0 - self.reference_length as f64 / self.length as f64).min(0.0).exp()
    }
}

/// What stands for the share of n-grams found where there is none (Chen and Cherry 2014).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Smoothing {
    /// Nothing: BLEU is 0.
    None,
    /// As if so many had been found, 0.1 say.
    Floor(f64),
    /// So many more are found, of so many more, at each length but the first.
    Add(f64),
    /// As if ½ had been found at the first length without any, ¼ at the next, and so on.
    Exponential,
}

/// How often each run of `n` tokens occurs.
pub(super) fn n_grams<T: Ord>(tokens: &[T], n: usize) -> BTreeMap<&[T], u64> {
    let mut counts = BTreeMap::new();
    for n_gram in tokens.windows(n) {
        *counts.entry(n_gram).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn perplexity_of_logits_is_that_of_their_loss() {
        let mut even = Perplexity::default();
        even.update(&[[5.0f32, 5.0, 5.0, 5.0]].into(), &[2i64].into()).unwrap();
        assert!((even.value() - 4.0).abs() < 1e-12);
        // Probabilities ½ and ⅛: nats ln 2 and ln 8, their mean ln 4.
        let mut mixed = Perplexity::default();
        let logits = Array::from([[0.5f64.ln(), 0.5f64.ln()], [0.125f64.ln(), 0.875f64.ln()]]);
        mixed.update(&logits, &[1i64, 0].into()).unwrap();
        assert!((mixed.value() - 4.0).abs() < 1e-12, "{}", mixed.value());
        let mut added = Perplexity::default();
        added.add(2f64.ln(), 3.0);
        added.add(8f64.ln(), 3.0);
        assert!((added.value() - 4.0).abs() < 1e-12);
        let mut far = Perplexity::default();
        far.update(&[[1e4f32, -1e4]].into(), &[0i64].into()).unwrap();
        assert_eq!(far.value(), 1.0);
        assert!(Perplexity::default().value().is_nan());
        let message = far.update(&[[0.0f32, 1.0]].into(), &[2i64].into()).unwrap_err().to_string();
        assert!(message.contains("row 0: the label 2"), "{message}");
    }

    #[test]
    fn edits_by_hand() {
        for (from, to, edits) in [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("flaw", "lawn", 2),
            ("größe", "grösse", 2),
        ] {
            let [a, b] = [from, to].map(|text| text.chars().collect::<Vec<_>>());
            assert_eq!((edit_distance(&a, &b), edit_distance(&b, &a)), (edits, edits), "{from} {to}");
        }
    }

    #[test]
    fn error_rates_are_of_all_tokens_together() {
        let mut rate = ErrorRate::default();
        assert!(rate.value().is_nan());
        rate.update_words("a b c", "a x c");
        rate.update_words("", "one two three four five six seven");
        assert_eq!(rate.value(), 8.0 / 10.0);
        let mut rate = ErrorRate::default();
        rate.update_characters("abcd", "a");
        assert_eq!(rate.value(), 3.0, "insertions may exceed the length");
    }

    #[test]
    fn bleu_by_hand() {
        // The paper's example: 2 of 7.
        let mut bleu = Bleu::up_to(1);
        bleu.update(
            &words("the the the the the the the"),
            &[words("the cat is on the mat"), words("there is a cat on the mat")],
        );
        assert!((bleu.value() - 2.0 / 7.0).abs() < 1e-12);
        // 5 of 6 words, 3 of 5 pairs, 1 of 4 triples, none of 3 quadruples.
        let (output, reference) = (words("the cat sat on the mat"), [words("the cat is on the mat")]);
        for (longest, expected) in [(2, 0.5f64.sqrt()), (3, (5.0 / 6.0 * 3.0 / 5.0 / 4.0f64).cbrt()), (4, 0.0)] {
            let mut bleu = Bleu::up_to(longest);
            bleu.update(&output, &reference);
            assert!((bleu.value() - expected).abs() < 1e-12, "{longest}: {}", bleu.value());
        }
        // Two words of six: e^(1 − 6/2). The nearest length counts.
        let mut short = Bleu::up_to(2);
        short.update(&words("the cat"), &reference);
        assert!((short.value() - (-2f64).exp()).abs() < 1e-12);
        short = Bleu::up_to(2);
        short.update(&words("the cat"), &[reference[0].clone(), words("the cat sat")]);
        assert!((short.value() - (-0.5f64).exp()).abs() < 1e-12);
        assert!(Bleu::default().value().is_nan());
    }

    /// sacrebleu 2.6: `BLEU(tokenize="none", smooth_method=…, smooth_value=…).corpus_score`.
    #[test]
    fn bleu_is_that_of_sacrebleu() {
        let pairs = [
            ("the cat sat on the mat", "the cat is on the mat"),
            ("a dog runs", "a dog is running fast"),
            ("hello there general kenobi", "hello there general kenobi"),
            ("there is no such thing", "nothing of the kind exists"),
        ];
        let bleu = |pairs: &[(&str, &str)]| {
            let mut bleu = Bleu::default();
            pairs.iter().for_each(|(output, reference)| bleu.update(&words(output), &[words(reference)]));
            bleu
        };
        for (smoothing, corpus, sentences) in [
            (Smoothing::None, 0.31460100434445915, [0.0, 0.0, 1.0, 0.0]),
            (Smoothing::Floor(0.1), 0.31460100434445915, [0.2540663740773073, 0.0, 1.0, 0.0]),
            (Smoothing::Add(1.0), 0.38386153886703517, [0.48549177170732355, 0.3525065709675943, 1.0, 0.0]),
            (Smoothing::Exponential, 0.31460100434445915, [0.3799178428257963, 0.0, 1.0, 0.0]),
        ] {
            let value = bleu(&pairs).smoothed(smoothing);
            assert!((value - corpus).abs() < 1e-12, "{smoothing:?}: {value}");
            for (pair, expected) in pairs.iter().zip(sentences) {
                let value = bleu(&[*pair]).smoothed(smoothing);
                assert!((value - expected).abs() < 1e-12, "{smoothing:?} {pair:?}: {value}");
            }
        }
    }
}
