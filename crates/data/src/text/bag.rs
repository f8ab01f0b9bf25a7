//! Bags of words: texts as counts of their tokens, whatever the order.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use thalweg_array::{Array, DType};

use super::Vocabulary;
use crate::error::DataError;
use crate::fingerprint::hexadecimal;
use crate::random::Random;
use crate::rows::Rows;
use crate::transform::TransformError;

/// Turns texts into rows of one number for each token of a vocabulary: how often it occurs, or its tf-idf. Special
/// tokens, unknown ones among them, count nothing.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::{Dataset, text::{BagOfWords, Vocabulary}};
///
/// let vocabulary = Vocabulary::options().specials(&[]).of(["a", "b", "c"])?;
/// let texts = vec![vocabulary.encode(&["b", "a", "b"])?, vec![]];
/// let data = Dataset::of_rows("bag", BagOfWords::counts(&vocabulary).rows(texts))?;
/// assert_eq!(data.in_memory()?["bag"], Array::from([[1.0f32, 2.0, 0.0], [0.0, 0.0, 0.0]]));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BagOfWords {
    /// What an occurrence of each token counts; 0 of special ones.
    weights: Vec<f64>,
    /// Whether rows have length 1.
    normalized: bool,
}

impl BagOfWords {
    /// Counts.
    pub fn counts(vocabulary: &Vocabulary) -> BagOfWords {
        let weight = |id: usize| if vocabulary.is_special(id as i64) { 0.0 } else { 1.0 };
        BagOfWords { weights: (0..vocabulary.len()).map(weight).collect(), normalized: false }
    }

    /// Counts times ln((1 + n)/(1 + d)) + 1, of n training texts of which d have the token; then rows are divided by
    /// their Euclidean length. So tokens count more, the rarer they are (Spärck Jones 1972; as scikit-learn's
    /// `TfidfVectorizer`).
    ///
    /// # Errors
    /// If there are no training texts, or one has a number that is not of the vocabulary.
    pub fn tf_idf(vocabulary: &Vocabulary, training: &[Vec<i64>]) -> Result<BagOfWords, DataError> {
        if training.is_empty() {
            return Err(DataError::setting("tf-idf of no texts", "how rare tokens are is counted in training texts"));
        }
        let plain = BagOfWords::counts(vocabulary);
        let mut texts_with = vec![0usize; vocabulary.len()];
        for text in training {
            vocabulary.decode(text)?;
            plain.occurrences(text).into_keys().for_each(|id| texts_with[id] += 1);
        }
        let rarity = |having: usize| ((1 + training.len()) as f64 / (1 + having) as f64).ln() + 1.0;
        let weights = plain.weights.iter().zip(texts_with).map(|(weight, having)| weight * rarity(having)).collect();
        Ok(BagOfWords { weights, normalized: true })
    }

    /// Numbers a row has: the tokens of the vocabulary.
    #[allow(clippy::len_without_is_empty, reason = "no vocabulary is empty")]
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// The row of one text. A text of unknown tokens alone has zeros.
    ///
    /// # Panics
    /// If it has a number that is not of the vocabulary.
    #[track_caller]
    pub fn row(&self, text: &[i64]) -> Array {
        let mut row = Array::zeros(&[self.len()], DType::F32);
        self.write(text, row.as_mut_slice().expect("made as f32"));
        row
    }

    /// The rows of `texts`, for [`Dataset::of_rows`](crate::Dataset::of_rows): made when a batch needs them, as they
    /// are mostly zeros.
    pub fn rows(&self, texts: Vec<Vec<i64>>) -> BagRows {
        BagRows { bag: self.clone(), texts, shape: [self.len()] }
    }

    /// How often each token occurs that counts.
    #[track_caller]
    fn occurrences(&self, text: &[i64]) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for &id in text {
            let known = usize::try_from(id).ok().filter(|id| *id < self.len());
            let Some(id) = known else { panic!("token number {id} in a bag of {} tokens", self.len()) };
            if self.weights[id] > 0.0 {
                *counts.entry(id).or_insert(0) += 1;
            }
        }
        counts
    }

    #[track_caller]
    fn write(&self, text: &[i64], to: &mut [f32]) {
        to.fill(0.0);
        let counts = self.occurrences(text);
        let values = || counts.iter().map(|(&id, &count)| (id, count as f64 * self.weights[id]));
        let length = values().map(|(_, x)| x * x).sum::<f64>().sqrt();
        let divisor = if self.normalized && length > 0.0 { length } else { 1.0 };
        values().for_each(|(id, x)| to[id] = (x / divisor) as f32);
    }
}

/// Texts as bags of words, made when a batch needs them.
#[derive(Clone, Debug)]
pub struct BagRows {
    bag: BagOfWords,
    texts: Vec<Vec<i64>>,
    shape: [usize; 1],
}

impl Rows for BagRows {
    type Element = f32;

    fn len(&self) -> usize {
        self.texts.len()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn read(&self, row: usize, _: Option<&mut Random>, to: &mut [f32]) -> Result<(), TransformError> {
        self.bag.write(&self.texts[row], to);
        Ok(())
    }

    fn fingerprint(&self, rows: &[usize]) -> String {
        let mut hash = Sha256::new();
        self.bag.weights.iter().for_each(|weight| hash.update(weight.to_le_bytes()));
        for &row in rows {
            hash.update((self.texts[row].len() as u64).to_le_bytes());
            self.texts[row].iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
        format!("bag {} {}", self.bag.normalized, hexadecimal(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;
    use crate::text::{ByFunction, Tokenizer};

    fn words() -> impl Tokenizer {
        ByFunction::new("blanks", |text| text.split(' ').map(str::to_string).collect())
    }

    /// `TfidfVectorizer(token_pattern=r"\S+")` of scikit-learn 1.9.
    #[test]
    fn tf_idf_is_that_of_scikit_learn() {
        let texts = ["the cat sat on the mat", "the dog ate my mat", "a bird sang"];
        let vocabulary = Vocabulary::options().of_texts(&words(), texts).unwrap();
        let encoded: Vec<Vec<i64>> =
            texts.iter().map(|text| vocabulary.encode(&words().tokens(text)).unwrap()).collect();
        let bag = BagOfWords::tf_idf(&vocabulary, &encoded).unwrap();
        let check = |text: &str, expected: &[(&str, f64)]| {
            let row = bag.row(&vocabulary.encode(&words().tokens(text)).unwrap());
            let row = row.as_slice::<f32>().unwrap();
            for (word, expected) in expected {
                let found = row[vocabulary.id(word).unwrap() as usize] as f64;
                assert!((found - expected).abs() < 1e-6, "{text} {word}: {found}");
            }
            assert_eq!(row.iter().filter(|x| **x != 0.0).count(), expected.len(), "{text}");
        };
        let (cat, dog) = (0.4119729784338903, 0.49047908420610337);
        check(
            texts[0],
            &[("cat", cat), ("mat", 0.31331606888920593), ("on", cat), ("sat", cat), ("the", 0.6266321377784119)],
        );
        check(
            texts[1],
            &[("ate", dog), ("dog", dog), ("mat", 0.3730219858594306), ("my", dog), ("the", 0.3730219858594306)],
        );
        check("the the bird flew", &[("bird", 0.5493512310263033), ("the", 0.8355915419449176)]);
        let zeros = bag.row(&vocabulary.encode(&["flew", "away"]).unwrap());
        assert_eq!(zeros, Array::zeros(&[vocabulary.len()], DType::F32));
    }

    #[test]
    fn rows_know_what_they_are_made_of() {
        let vocabulary = Vocabulary::options().of(["a", "b"]).unwrap();
        let data = |texts: Vec<Vec<i64>>| Dataset::of_rows("bag", BagOfWords::counts(&vocabulary).rows(texts)).unwrap();
        let first = data(vec![vec![4, 1], vec![5, 5]]);
        assert_eq!(first.in_memory().unwrap()["bag"].rows(1..2), Array::from([[0.0f32, 0.0, 0.0, 0.0, 0.0, 2.0]]));
        assert_eq!(first.select(&[1]).fingerprint(), data(vec![vec![5, 5]]).fingerprint());
        assert_ne!(first.fingerprint(), data(vec![vec![4], vec![1, 5, 5]]).fingerprint());
        let message = data(vec![vec![4], vec![6]]).in_memory().unwrap_err().to_string();
        assert!(message.contains("column `bag`, row 1: panicked: token number 6 in a bag of 6 tokens"), "{message}");
        let message = BagOfWords::tf_idf(&vocabulary, &[]).unwrap_err().to_string();
        assert!(message.contains("tf-idf of no texts"), "{message}");
        let message = BagOfWords::tf_idf(&vocabulary, &[vec![9]]).unwrap_err().to_string();
        assert!(message.contains("token number 9 at position 0"), "{message}");
    }
}
