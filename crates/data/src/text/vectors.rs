//! Vectors of words: read, written, compared.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use thalweg_array::random::{Philox, stream};
use thalweg_array::{Array, DType, npy};

use super::files::{read_lines, read_text, write_file};
use super::{Special, Vocabulary};
use crate::error::DataError;

/// Words with a vector each.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::text::WordVectors;
///
/// let words = ["king", "queen", "fish"].map(str::to_string).into();
/// let vectors = WordVectors::new(words, Array::from([[1.0f32, 0.9], [0.9, 1.0], [-1.0, 0.0]]))?;
/// assert_eq!(vectors.nearest(vectors.get("king").expect("known"), 2)[1].0, "queen");
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct WordVectors {
    words: Vec<String>,
    index: HashMap<String, usize>,
    /// f32 `[words, size]`.
    vectors: Array,
}

impl WordVectors {
    /// These words with the rows of `vectors`, f32 `[words, size]`. Of a word that comes twice the first counts.
    ///
    /// # Errors
    /// If the vectors have another shape or dtype, or a number is not finite.
    pub fn new(words: Vec<String>, vectors: Array) -> Result<WordVectors, DataError> {
        let setting = || format!("vectors of {} words", words.len());
        if vectors.dtype() != DType::F32
            || vectors.rank() != 2
            || vectors.shape()[0] != words.len()
            || vectors.is_empty()
        {
            let reason = format!("{}{:?} is not f32[{}, size]", vectors.dtype(), vectors.shape(), words.len());
            return Err(DataError::setting(setting(), reason));
        }
        if let Some(at) = vectors.as_slice::<f32>()?.iter().position(|x| !x.is_finite()) {
            let word = &words[at / vectors.shape()[1]];
            return Err(DataError::setting(
                setting(),
                format!("the vector of `{word}` has a number that is not finite"),
            ));
        }
        let mut index = HashMap::with_capacity(words.len());
        for (row, word) in words.iter().enumerate() {
            index.entry(word.clone()).or_insert(row);
        }
        Ok(WordVectors { words, index, vectors })
    }

    /// The vectors in the text file at `path`, plain or gzip, UTF-8: on each line a word and its numbers, between them
    /// blanks; a first line with the numbers of words and of components, as word2vec writes it, may be there or, as in
    /// GloVe's files, not.
    ///
    /// # Errors
    /// If the file cannot be read, a line has fewer numbers than the first or something else in their place, or there
    /// are not as many words as the first line says.
    pub fn read_text(path: impl AsRef<Path>) -> Result<WordVectors, DataError> {
        let path = path.as_ref();
        let text = read_text(path)?;
        let mut lines = (1usize..).zip(text.lines()).peekable();
        let header = lines.next_if(|(_, line)| header(line).is_some()).and_then(|(_, line)| header(line));
        let first = lines.peek().map_or(0, |(_, line)| line.trim_end().split(' ').count().saturating_sub(1));
        let size = header.map_or(first, |(_, size)| size);
        let malformed = |line: usize, expected: String, found: String| {
            DataError::malformed(path, format!("line {line}"), expected, found)
        };
        if size == 0 {
            return Err(malformed(1, "a word and its numbers".into(), "none".into()));
        }
        let (mut words, mut numbers) = (Vec::new(), Vec::new());
        for (line, content) in lines {
            // From the right, as there are words with blanks in them.
            let fields: Vec<&str> = content.trim_end().rsplitn(size + 1, ' ').collect();
            let [values @ .., word] = &fields[..] else { continue };
            if values.len() != size || word.is_empty() {
                return Err(malformed(line, format!("a word and {size} numbers"), format!("{} fields", fields.len())));
            }
            for value in values.iter().rev() {
                let number: f32 = value.parse().ok().filter(|x: &f32| x.is_finite()).ok_or_else(|| {
                    malformed(line, format!("{size} numbers behind `{word}`"), format!("`{value}` among them"))
                })?;
                numbers.push(number);
            }
            words.push(word.to_string());
        }
        if let Some((count, _)) = header.filter(|(count, _)| *count != words.len()) {
            return Err(malformed(1, format!("{} words, as many as there are lines", words.len()), count.to_string()));
        }
        let shape = [words.len(), size];
        WordVectors::new(words, Array::new(&shape, numbers)?)
    }

    /// The vectors in the `.npy` file at `vectors`, whose rows belong to the lines of the text file at `words`.
    ///
    /// # Errors
    /// If a file cannot be read, or they differ in number.
    pub fn read_npy(vectors: impl AsRef<Path>, words: impl AsRef<Path>) -> Result<WordVectors, DataError> {
        let path = vectors.as_ref();
        let array =
            npy::load(path).map_err(|error| DataError::malformed(path, "npy", "an array", error.to_string()))?;
        WordVectors::new(read_lines(words)?, array.cast(DType::F32))
    }

    /// Writes them to a text file at `path` as word2vec does, which [`read_text`](WordVectors::read_text) reads with the same
    /// bits.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_text(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let mut text = format!("{} {}\n", self.len(), self.size());
        for (row, word) in self.words.iter().enumerate() {
            text += word;
            for number in self.row(row) {
                let _ = write!(text, " {number}");
            }
            text.push('\n');
        }
        write_file(path.as_ref(), &text)
    }

    /// The words, in the order of their vectors.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The number of words.
    #[allow(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// The components of a vector.
    pub fn size(&self) -> usize {
        self.vectors.shape()[1]
    }

    /// The vector of `word`.
    pub fn get(&self, word: &str) -> Option<&[f32]> {
        self.index.get(word).map(|&row| self.row(row))
    }

    /// The `n` words whose vectors point most nearly into the direction of `vector`, with the cosine of the angle, the
    /// nearest first.
    ///
    /// # Panics
    /// If the vector has another size.
    #[track_caller]
    pub fn nearest(&self, vector: &[f32], n: usize) -> Vec<(&str, f64)> {
        assert_eq!(vector.len(), self.size(), "the size of the vector is not that of the words");
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>();
        let cosine = |row: usize| {
            let other = self.row(row);
            let length = (dot(vector, vector) * dot(other, other)).sqrt();
            if length == 0.0 { 0.0 } else { dot(vector, other) / length }
        };
        let mut all: Vec<(&str, f64)> = (0..self.len()).map(|row| (&*self.words[row], cosine(row))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(n);
        all
    }

    /// The `n` words that are nearest to what words make together, with the cosines, the nearest first; those words are left
    /// out. `expression` is a word, or words with `+` and `-` between blanks (`king - man + woman`), each of which counts by
    /// its direction alone. A word that is not there is looked for in lower case.
    ///
    /// # Errors
    /// If the expression is empty, is a phrase, or has a word that is not there.
    pub fn neighbors(&self, expression: &str, n: usize) -> Result<Vec<(&str, f64)>, DataError> {
        let refused = |reason: &str| Err(DataError::setting(format!("the words `{expression}`"), reason));
        let (mut sum, mut given, mut sign) = (vec![0.0; self.size()], Vec::new(), Some(1.0));
        for part in expression.split_whitespace() {
            match (part, sign) {
                ("+" | "-", None) => sign = Some(if part == "+" { 1.0 } else { -1.0 }),
                ("+" | "-", Some(_)) => return refused("a word must stand before `+` and `-`"),
                (_, None) => {
                    return refused("vectors are those of single words: ask for one, or put `+` or `-` between");
                }
                (_, Some(direction)) => {
                    let lower = part.to_lowercase();
                    let word = if self.index.contains_key(part) { part } else { &lower };
                    let Some(vector) = self.get(word) else {
                        return refused(&format!("`{part}` is not among the {} words that have a vector", self.len()));
                    };
                    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
                    sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += direction * x / length);
                    given.push(word.to_string());
                    sign = None;
                }
            }
        }
        if sign.is_some() {
            return refused(if given.is_empty() { "there is no word" } else { "a word must stand at the end" });
        }
        let mut found = self.nearest(&sum, n + given.len());
        found.retain(|(word, _)| !given.iter().any(|given| given == word));
        found.truncate(n);
        Ok(found)
    }

    /// The embedding of a vocabulary, f32 `[tokens, size]`, and how many of its tokens have a vector here. The others
    /// are drawn, normal with the spread of the numbers here, as functions of the seed; padding is zeros.
    pub fn embedding(&self, vocabulary: &Vocabulary, seed: u64) -> (Array, usize) {
        let numbers = self.vectors.as_slice::<f32>().expect("checked when made");
        let spread = (numbers.iter().map(|x| (*x as f64).powi(2)).sum::<f64>() / numbers.len() as f64).sqrt();
        let generator = Philox::new(seed, stream("word vectors", 0));
        let size = self.size();
        let mut known = 0;
        let mut rows = Vec::with_capacity(vocabulary.len() * size);
        for (id, token) in vocabulary.tokens().iter().enumerate() {
            match self.get(token) {
                Some(vector) => {
                    known += 1;
                    rows.extend_from_slice(vector);
                }
                None if vocabulary.special(Special::Pad) == Some(id as i64) => rows.extend(vec![0.0; size]),
                None => rows.extend((0..size).map(|at| (spread * generator.normal((id * size + at) as u64, 0)) as f32)),
            }
        }
        (Array::new(&[vocabulary.len(), size], rows).expect("a row for each token"), known)
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.vectors.as_slice::<f32>().expect("checked when made")[row * self.size()..][..self.size()]
    }
}

/// The two numbers of a first line as word2vec writes it.
fn header(line: &str) -> Option<(usize, usize)> {
    let (words, size) = line.trim_end().split_once(' ')?;
    Some((words.parse().ok()?, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<WordVectors, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        std::fs::write(&path, content).unwrap();
        WordVectors::read_text(&path)
    }

    #[test]
    fn both_forms_are_read() {
        let glove = read("the 0.5 -1\n. . 2 3e-1\nthe 7 7\n").unwrap();
        assert_eq!((glove.len(), glove.size()), (3, 2));
        assert_eq!(
            (glove.get("the"), glove.get(". ."), glove.get("no")),
            (Some(&[0.5, -1.0][..]), Some(&[2.0, 0.3][..]), None)
        );
        let word2vec = read("2 3\nthe 1 2 3 \nof 4 5 6 \n").unwrap();
        assert_eq!(word2vec.get("of"), Some(&[4.0, 5.0, 6.0][..]));
    }

    #[test]
    fn what_is_written_is_read_with_the_same_bits() {
        let numbers = Array::from([[0.1f32, -3.0e-9], [f32::MAX, 1.0 / 3.0]]);
        let vectors = WordVectors::new(vec!["new york".into(), "a".into()], numbers).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        vectors.write_text(&path).unwrap();
        assert_eq!(WordVectors::read_text(&path).unwrap(), vectors);
        let message = vectors.write_text(folder.path()).unwrap_err().to_string();
        assert!(message.contains("cannot be written"), "{message}");
    }

    #[test]
    fn words_are_added_by_their_directions() {
        let vectors = read("king 9 9 0\nman 0 2 0\nwoman 0 0 5\nqueen 1 0 1\nfish -1 0 0\n").unwrap();
        let nearest = |expression: &str| vectors.neighbors(expression, 2).unwrap()[0];
        assert_eq!(nearest("King - man + woman").0, "queen");
        assert_eq!(nearest("queen").0, "woman");
        assert!((nearest("queen").1 - 0.5f64.sqrt()).abs() < 1e-6);
        assert_eq!(vectors.neighbors("king", 99).unwrap().len(), 4);
        for (expression, part) in [
            ("", "the words ``: there is no word"),
            ("king queen", "put `+` or `-` between"),
            ("king + prince", "`prince` is not among the 5 words"),
            ("king -", "a word must stand at the end"),
            ("- king", "a word must stand before"),
        ] {
            let message = vectors.neighbors(expression, 2).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn damaged_files_are_refused_with_the_line() {
        for (content, part) in [
            ("the 1 2\nof 1\n", "line 2: expected a word and 2 numbers, found 2 fields"),
            ("the 1 2\nof 1 x\n", "line 2: expected 2 numbers behind `of`, found `x` among them"),
            ("the 1 2\nof 1 nan\n", "found `nan` among them"),
            ("3 2\nthe 1 2\nof 1 2\n", "line 1: expected 2 words, as many as there are lines, found 3"),
            ("the\n", "line 1: expected a word and its numbers, found none"),
        ] {
            let message = read(content).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn an_array_has_a_row_for_each_word() {
        let folder = tempfile::tempdir().unwrap();
        let (vectors, words) = (folder.path().join("v.npy"), folder.path().join("v.txt"));
        npy::save(&vectors, &Array::from([[1.0f64, 2.0], [3.0, 4.0]])).unwrap();
        std::fs::write(&words, "a\nb\n").unwrap();
        assert_eq!(WordVectors::read_npy(&vectors, &words).unwrap().get("b"), Some(&[3.0, 4.0][..]));
        std::fs::write(&words, "a\nb\nc\n").unwrap();
        let message = WordVectors::read_npy(&vectors, &words).unwrap_err().to_string();
        assert_eq!(message, "vectors of 3 words: f32[2, 2] is not f32[3, size]");
        let message = WordVectors::read_npy(&words, &words).unwrap_err().to_string();
        assert!(message.contains("v.txt: npy: expected an array"), "{message}");
        let message = WordVectors::new(vec!["a".into()], [[f32::NAN]].into()).unwrap_err().to_string();
        assert!(message.contains("the vector of `a` has a number that is not finite"), "{message}");
    }

    #[test]
    fn an_embedding_has_what_is_known_and_draws_the_rest() {
        let vectors = read("a 1 1\nb 2 -2\n").unwrap();
        let vocabulary = Vocabulary::options().of(["a", "zz"]).unwrap();
        let (embedding, known) = vectors.embedding(&vocabulary, 5);
        assert_eq!((embedding.shape(), known), (&[6, 2][..], 1));
        let numbers = embedding.as_slice::<f32>().unwrap();
        assert_eq!((&numbers[..2], &numbers[8..10]), (&[0.0, 0.0][..], &[1.0, 1.0][..]));
        assert!(numbers[10..].iter().all(|x| *x != 0.0 && x.abs() < 10.0));
        assert_eq!(vectors.embedding(&vocabulary, 5).0, embedding);
        assert_ne!(vectors.embedding(&vocabulary, 6).0, embedding);
    }
}
