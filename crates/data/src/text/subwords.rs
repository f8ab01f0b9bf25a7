//! Pieces of words, so that no word is unknown.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};

use super::Tokenizer;
use crate::error::DataError;

/// A tokenizer of the library `tokenizers` of Hugging Face: one that came with a model, or pairs of bytes merged by how
/// often they stand together (Sennrich, Haddow, Birch 2016).
///
/// ```
/// use thalweg_data::text::{Subwords, Tokenizer};
///
/// let subwords = Subwords::train(["low lower lowest", "new newer newest"], 280)?;
/// let tokens = subwords.tokens("lowest newcomer");
/// assert!(tokens.len() < "lowest newcomer".len());
/// assert_eq!(subwords.text(&tokens.iter().map(|token| &**token).collect::<Vec<_>>()), "lowest newcomer");
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
pub struct Subwords {
    tokenizer: tokenizers::Tokenizer,
}

impl Subwords {
    /// The tokenizer in the file `tokenizer.json` at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, or the library cannot make a tokenizer of it.
    pub fn load(path: impl AsRef<Path>) -> Result<Subwords, DataError> {
        let path = path.as_ref();
        let json = super::read_text(path)?;
        let tokenizer = json.parse::<tokenizers::Tokenizer>().map_err(|error| {
            DataError::malformed(path, "the tokenizer", "what the library `tokenizers` writes", error.to_string())
        })?;
        Ok(Subwords { tokenizer })
    }

    /// Merges pairs of bytes of `texts` until there are `size` different tokens, 256 bytes and the pairs that stand
    /// together most often, or no pair is left.
    ///
    /// # Errors
    /// If the size is below 256.
    pub fn train<T: AsRef<str> + Send>(
        texts: impl IntoIterator<Item = T, IntoIter: Send>,
        size: usize,
    ) -> Result<Subwords, DataError> {
        let setting = || format!("{size} subwords");
        if size < 256 {
            return Err(DataError::setting(setting(), "each of the 256 bytes is one"));
        }
        let bytes = ByteLevel::default().add_prefix_space(false);
        let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(bytes));
        tokenizer.with_decoder(Some(bytes));
        let alphabet = ByteLevel::alphabet().into_iter().collect();
        let trainer = BpeTrainer::builder().show_progress(false).vocab_size(size).initial_alphabet(alphabet).build();
        let trained = tokenizer.train(&mut TrainerWrapper::from(trainer), texts.into_iter());
        trained.map_err(|error| DataError::setting(setting(), error.to_string()))?;
        Ok(Subwords { tokenizer })
    }

    /// Writes it to a file at `path` as JSON, in place of what was there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let path = path.as_ref();
        self.tokenizer.save(path, true).map_err(|error| DataError::File {
            path: path.to_path_buf(),
            reason: format!("cannot be written: {error}"),
        })
    }
}

impl Tokenizer for Subwords {
    /// # Panics
    /// If the library refuses the text, which a tokenizer of a model with a rule that fails can do.
    fn tokens<'t>(&self, text: &'t str) -> Vec<Cow<'t, str>> {
        let encoding = self.tokenizer.encode(text, false).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        encoding.get_tokens().iter().filter(|token| !token.is_empty()).cloned().map(Cow::Owned).collect()
    }

    fn text(&self, tokens: &[&str]) -> String {
        let ids: Vec<u32> = tokens.iter().filter_map(|token| self.tokenizer.token_to_id(token)).collect();
        self.tokenizer.decode(&ids, false).unwrap_or_else(|_| tokens.concat())
    }
}

impl fmt::Debug for Subwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subwords").field("size", &self.tokenizer.get_vocab_size(true)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Vocabulary;

    #[test]
    fn no_text_is_unknown_and_files_read_back() {
        let subwords = Subwords::train(["the cat sat", "the cat ran", "the dog"], 268).unwrap();
        assert_eq!(format!("{subwords:?}"), "Subwords { size: 268, .. }");
        // Of the five words, 13 pairs come.
        let whole = Subwords::train(["the cat sat", "the cat ran", "the dog"], 1000).unwrap();
        assert_eq!(format!("{whole:?}"), "Subwords { size: 269, .. }");
        let tokens = subwords.tokens("the cat");
        assert!(tokens.len() <= 3, "{tokens:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        subwords.save(&path).unwrap();
        let again = Subwords::load(&path).unwrap();
        for text in ["the cat", "größe 👍🏽\n", ""] {
            let tokens = subwords.tokens(text);
            assert_eq!(again.tokens(text), tokens);
            assert_eq!(again.text(&tokens.iter().map(|token| &**token).collect::<Vec<_>>()), text);
        }
        let vocabulary = Vocabulary::options().of_texts(&subwords, ["the cat sat"]).unwrap();
        assert_eq!(vocabulary.text(&subwords, &vocabulary.encode(&tokens).unwrap()).unwrap(), "the cat");
    }

    #[test]
    fn what_makes_no_tokenizer_is_refused() {
        let message = Subwords::train(["a"], 255).unwrap_err().to_string();
        assert_eq!(message, "255 subwords: each of the 256 bytes is one");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, "{}").unwrap();
        let message = Subwords::load(&path).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json: the tokenizer: expected what the library"), "{message}");
        assert!(subwords_in(folder.path()).contains("cannot be written"));
    }

    fn subwords_in(folder: &Path) -> String {
        Subwords::train(["a"], 256).unwrap().save(folder).unwrap_err().to_string()
    }
}
