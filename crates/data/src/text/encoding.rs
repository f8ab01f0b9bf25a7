//! [`TextEncoding`]: how texts become the tokens of a column, in a form that travels with a model.

use serde::{Deserialize, Serialize};

use super::{Characters, Tokenizer, Vocabulary, Words};
use crate::error::DataError;

/// Into what a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// [`Characters`].
    Characters,
    /// [`Words`].
    Words,
}

/// How texts become the tokens of a column, and tokens a text: what a model must know that is asked about texts.
///
/// ```
/// use thalweg_data::text::{TextEncoding, Tokens, Vocabulary};
/// let words = TextEncoding::of_texts(Tokens::Words, true, &Vocabulary::options(), ["A cat.", "A dog!"])?;
/// let ids = words.encode("a DOG.")?;
/// assert_eq!(words.text(&ids)?, "a dog.");
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextEncoding {
    /// Into what a text is cut.
    pub tokens: Tokens,
    /// Whether it is put into lower case before.
    #[serde(default)]
    pub lower_case: bool,
    /// The number of each token.
    pub vocabulary: Vocabulary,
}

impl TextEncoding {
    /// With the vocabulary of these texts.
    ///
    /// # Errors
    /// If there is no token in them.
    pub fn of_texts<T: AsRef<str>>(
        tokens: Tokens,
        lower_case: bool,
        options: &super::VocabularyOptions,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<TextEncoding, DataError> {
        let texts = texts.into_iter().map(|text| cased(text.as_ref(), lower_case).into_owned());
        let vocabulary = options.clone().of_texts(tokens.tokenizer(), texts)?;
        Ok(TextEncoding { tokens, lower_case, vocabulary })
    }

    /// The tokens of a text, as numbers.
    ///
    /// # Errors
    /// If a token is not known, and the vocabulary has no number for those.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>, DataError> {
        self.vocabulary.encode_text(self.tokens.tokenizer(), &cased(text, self.lower_case))
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// If a number is that of no token.
    pub fn text(&self, ids: &[i64]) -> Result<String, DataError> {
        self.vocabulary.text(self.tokens.tokenizer(), ids)
    }
}

impl Tokens {
    fn tokenizer(self) -> &'static dyn Tokenizer {
        match self {
            Tokens::Characters => &Characters,
            Tokens::Words => const { &Words::new() },
        }
    }
}

fn cased(text: &str, lower_case: bool) -> std::borrow::Cow<'_, str> {
    if lower_case { text.to_lowercase().into() } else { text.into() }
}
