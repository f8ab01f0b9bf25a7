//! [`Rouge`]: how much of reference texts stands in outputs, and how much of outputs in the references.

use super::Mean;
use super::language::n_grams;

/// The overlap of texts with their references, by runs of n tokens (ROUGE-N) or by the longest common subsequence
/// (ROUGE-L), as a mean over the texts (Lin 2004).
///
/// ```
/// use thalweg_train::metrics::Rouge;
/// let mut rouge = Rouge::longest();
/// let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
/// rouge.update(&words("the gunman kill police"), &[words("police killed the gunman")]);
/// assert_eq!(rouge.value().f1, 0.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rouge {
    /// The length of the runs; none for the longest common subsequence.
    n: Option<usize>,
    precision: Mean,
    recall: Mean,
    f1: Mean,
}

/// How much two texts have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// The share of the output that the reference has.
    pub precision: f64,
    /// The share of the reference that the output has.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl Rouge {
    /// Of runs of `n` tokens: ROUGE-1, ROUGE-2, …
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn n(n: usize) -> Rouge {
        assert!(n > 0, "ROUGE needs n-grams of at least 1 token");
        Rouge::of(Some(n))
    }

    /// Of the longest common subsequence: ROUGE-L.
    pub fn longest() -> Rouge {
        Rouge::of(None)
    }

    fn of(n: Option<usize>) -> Rouge {
        Rouge { n, precision: Mean::default(), recall: Mean::default(), f1: Mean::default() }
    }

    /// Adds an output and its references, of which the one with the greatest F1 counts.
    ///
    /// # Panics
    /// If there is no reference.
    #[track_caller]
    pub fn update<T: Ord>(&mut self, output: &[T], references: &[Vec<T>]) {
        let overlaps = references.iter().map(|reference| self.overlap(output, reference));
        let Some(best) = overlaps.max_by(|a, b| a.f1.total_cmp(&b.f1)) else {
            panic!("ROUGE: an output without a reference");
        };
        self.precision.add(best.precision, 1.0);
        self.recall.add(best.recall, 1.0);
        self.f1.add(best.f1, 1.0);
    }

    /// The means so far; NaN if nothing was added.
    pub fn value(&self) -> Overlap {
        Overlap { precision: self.precision.value(), recall: self.recall.value(), f1: self.f1.value() }
    }

    fn overlap<T: Ord>(&self, output: &[T], reference: &[T]) -> Overlap {
        let (common, of_output, of_reference) = match self.n {
            Some(n) => {
                let (ours, theirs) = (n_grams(output, n), n_grams(reference, n));
                let common = ours.iter().map(|(run, count)| *count.min(theirs.get(run).unwrap_or(&0))).sum();
                (common, ours.values().sum(), theirs.values().sum())
            }
            None => (longest_common(output, reference), output.len() as u64, reference.len() as u64),
        };
        let share = |of: u64| if of == 0 { 0.0 } else { common as f64 / of as f64 };
        let (precision, recall) = (share(of_output), share(of_reference));
        let sum = precision + recall;
        Overlap { precision, recall, f1: if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum } }
    }
}

/// The length of the longest sequence that both contain, gaps allowed.
fn longest_common<T: PartialEq>(a: &[T], b: &[T]) -> u64 {
    // The lengths for what was read of `a` and each beginning of `b`.
    let mut lengths = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (position, y) in b.iter().enumerate() {
            let longer = if x == y { diagonal + 1 } else { lengths[position + 1].max(lengths[position]) };
            diagonal = std::mem::replace(&mut lengths[position + 1], longer);
        }
    }
    lengths[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    fn overlap(rouge: Rouge, output: &str, references: &[&str]) -> [f64; 3] {
        let mut rouge = rouge;
        rouge.update(&words(output), &references.iter().map(|reference| words(reference)).collect::<Vec<_>>());
        let Overlap { precision, recall, f1 } = rouge.value();
        [precision, recall, f1]
    }

    /// The first two are Lin's examples; all figures by Google's `rouge_score`.
    #[test]
    fn figures_are_the_published_ones() {
        for (reference, output, one, two, longest) in [
            ("police killed the gunman", "police kill the gunman", [0.75; 3], [1.0 / 3.0; 3], [0.75; 3]),
            ("police killed the gunman", "the gunman kill police", [0.75; 3], [1.0 / 3.0; 3], [0.5; 3]),
            (
                "the quick brown fox jumps over the lazy dog",
                "the quick brown dog jumps on the log",
                [0.75, 0.6666666666666666, 0.7058823529411765],
                [0.2857142857142857, 0.25, 0.26666666666666666],
                [0.625, 0.5555555555555556, 0.5882352941176471],
            ),
            ("a b c", "x y", [0.0; 3], [0.0; 3], [0.0; 3]),
            ("a b c", "", [0.0; 3], [0.0; 3], [0.0; 3]),
        ] {
            for (rouge, expected) in [(Rouge::n(1), one), (Rouge::n(2), two), (Rouge::longest(), longest)] {
                let found = overlap(rouge, output, &[reference]);
                assert!(
                    found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
                    "{rouge:?} {output}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn the_best_reference_counts_and_texts_are_averaged() {
        assert_eq!(overlap(Rouge::n(1), "a b", &["c d", "a b", "a"]), [1.0; 3]);
        let mut rouge = Rouge::longest();
        assert!(rouge.value().f1.is_nan());
        rouge.update(&words("a b"), &[words("a b")]);
        rouge.update(&words("a"), &[words("c")]);
        assert_eq!(rouge.value().f1, 0.5);
    }
}
