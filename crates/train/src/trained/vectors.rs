//! Vectors that a model has for words, and makes of sentences.

use thalweg_data::text::WordVectors;
use thalweg_data::{DataError, Dataset, Loader, Sequences};
use thalweg_run::Feeds;
use thalweg_run::graph::Array;

use super::{Trained, TrainedError};

/// So many sentences are read at a time.
const ROWS: usize = 64;

/// Sentences are padded to multiples of this, so that there are few sizes to compile.
const MULTIPLE: usize = 16;

impl Trained {
    /// The name of the [`Function`](super::Function) whose output is the table of the vectors of words, f32 `[words, size]`.
    pub const WORD_VECTORS: &'static str = "word vectors";

    /// The name of the function that takes a column of texts, i64 `[rows, time]`, and its mask to a vector for each, f32
    /// `[rows, size]`.
    pub const SENTENCE_VECTOR: &'static str = "sentence vector";

    /// The file in the folder of a run that holds sentences which such a model has learned from, one a line.
    pub const SENTENCES: &'static str = "sentences.txt";

    /// The vectors that the model has for the words of its only column of texts.
    ///
    /// # Errors
    /// If it has none, or a number among them is not finite.
    pub fn word_vectors(&self) -> Result<WordVectors, TrainedError> {
        let (_, encoding) = self.only("text", &self.card.prepare.texts)?;
        let (mut outputs, _) = self.function(Trained::WORD_VECTORS)?.call(&self.session, Feeds::new(), &[])?;
        let table = outputs.pop().ok_or_else(|| self.refusal("the table of its words has no numbers".into()))?;
        Ok(WordVectors::new(encoding.vocabulary.tokens().to_vec(), table)?)
    }

    /// The vectors that the model makes of sentences, each of which stands for a word there.
    ///
    /// # Errors
    /// If it makes none, a sentence is empty, or no word of it is known.
    pub fn sentence_vectors(&self, sentences: &[String]) -> Result<WordVectors, TrainedError> {
        let function = self.function(Trained::SENTENCE_VECTOR)?;
        let texts = self.card.prepare.texts.iter();
        let mut fed = texts.filter_map(|(name, encoding)| {
            Some((encoding, [function.column(name)?, function.column(&format!("{name}.mask"))?]))
        });
        let Some((encoding, fed)) = fed.next() else {
            return Err(self.refusal("what makes vectors of sentences takes no texts".into()));
        };
        let [text, mask] = [0, 1].map(|at: usize| fed[at].name().unwrap_or_default());
        let tokens = sentences.iter().map(|sentence| encoding.encode(sentence)).collect::<Result<Vec<_>, _>>()?;
        let data = Dataset::of_sequences(text, Sequences::of_tokens(tokens)?.padded_to_multiple(MULTIPLE)?);
        let mut numbers: Vec<f32> = Vec::new();
        for batch in Loader::new(&data, ROWS)?.epoch(0)? {
            let batch = batch?;
            let feeds = Feeds::new().with(&fed[0], batch.column(text)?).with(&fed[1], batch.column(mask)?);
            let (outputs, _) = function.call(&self.session, feeds, &[])?;
            numbers.extend(outputs.iter().flat_map(Array::to_vec::<f32>));
        }
        let shape = [sentences.len(), numbers.len() / sentences.len().max(1)];
        Ok(WordVectors::new(sentences.to_vec(), Array::new(&shape, numbers).map_err(DataError::from)?)?)
    }
}
