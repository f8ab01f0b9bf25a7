//! [`TextEncoding`]: how texts become the tokens of a column, in a form that travels with a model.

use serde::{Deserialize, Serialize};

use super::{Characters, Special, Tokenizer, Vocabulary, Words};
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
    /// The [tag](TextEncoding::encode_tagged) of a model that also does without one.
    pub const ANY: &'static str = "any";

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

    /// As [`encode`](TextEncoding::encode), of a text that may be empty or of unknown tokens only: data are such.
    ///
    /// # Errors
    /// If a token is not known, and the vocabulary has no number for those.
    pub fn tokens(&self, text: &str) -> Result<Vec<i64>, DataError> {
        self.vocabulary.encode(&self.tokens.tokenizer().tokens(&cased(text, self.lower_case)))
    }

    /// As [`encode`](TextEncoding::encode), behind a tag: a token that says what is wanted of a model that knows several
    /// things, such as the language of a translation (Johnson et al. 2017). Those there are are the
    /// [`further`](super::VocabularyOptions::further) tokens of the vocabulary that are written `<…>`; where
    /// [`ANY`](TextEncoding::ANY) is among them, it stands for none that is given.
    ///
    /// ```
    /// use thalweg_data::text::{TextEncoding, Tokens, Vocabulary};
    /// let options = Vocabulary::options().further(["<de>", "<fr>"]);
    /// let words = TextEncoding::of_texts(Tokens::Words, true, &options, ["A cat."])?;
    /// assert_eq!(words.text(&words.encode_tagged(Some("fr"), "a cat")?)?, "<fr> a cat");
    /// assert!(words.encode_tagged(None, "a cat").unwrap_err().to_string().contains("de, fr"));
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// As `encode`; if there is no such tag, or there are tags, none of them for any text, and none is given.
    pub fn encode_tagged(&self, tag: Option<&str>, text: &str) -> Result<Vec<i64>, DataError> {
        let mut tokens = self.encode(text)?;
        if let Some(tag) = self.tag(tag)? {
            tokens.insert(0, tag);
        }
        Ok(tokens)
    }

    /// The number of a tag, if there are tags.
    fn tag(&self, tag: Option<&str>) -> Result<Option<i64>, DataError> {
        let refused = |setting: String, reason: String| Err(DataError::setting(setting, reason));
        let known: Vec<&str> = self.tags().collect();
        match (tag.or(known.contains(&TextEncoding::ANY).then_some(TextEncoding::ANY)), &known[..]) {
            (None, []) => Ok(None),
            (Some(tag), []) => refused(format!("the tag `{tag}`"), "the model knows no tags".into()),
            (None, _) => refused("a text without a tag".into(), format!("one is needed: {}", known.join(", "))),
            (Some(tag), _) if known.contains(&tag) => Ok(self.vocabulary.id(&format!("<{tag}>"))),
            (Some(tag), _) => refused(format!("the tag `{tag}`"), format!("there are: {}", known.join(", "))),
        }
    }

    /// The tags, without their brackets.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.vocabulary.tokens().iter().filter_map(|token| token.strip_prefix('<')?.strip_suffix('>'));
        tags.filter(|tag| !Special::ALL.iter().any(|special| special.token() == format!("<{tag}>")))
    }

    /// The tokens of a text that the vocabulary does not have, each once, in their order.
    pub fn unknown(&self, text: &str) -> Vec<String> {
        let mut unknown: Vec<String> = Vec::new();
        for token in self.tokens.tokenizer().tokens(&cased(text, self.lower_case)) {
            if self.vocabulary.id(&token).is_none() && !unknown.iter().any(|known| **known == *token) {
                unknown.push(token.into_owned());
            }
        }
        unknown
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_unknown_words_are_named() {
        let options = Vocabulary::options().further(["<fr>"]);
        let words = TextEncoding::of_texts(Tokens::Words, true, &options, ["A cat < b"]).unwrap();
        assert_eq!(words.tags().collect::<Vec<_>>(), ["fr"]);
        assert_eq!(words.unknown("Dog cat DOG, a bird"), ["dog", ",", "bird"]);
        assert_eq!((words.tokens("dog").unwrap(), words.tokens("").unwrap()), (vec![1], vec![]));
        let message = words.encode_tagged(Some("de"), "a cat").unwrap_err().to_string();
        assert_eq!(message, "the tag `de`: there are: fr");
        let options = Vocabulary::options().further(["<fr>", "<any>"]);
        let either = TextEncoding::of_texts(Tokens::Words, true, &options, ["A cat"]).unwrap();
        assert_eq!(either.encode_tagged(None, "cat").unwrap(), either.encode_tagged(Some("any"), "cat").unwrap());
        assert_eq!(either.text(&either.encode_tagged(None, "cat").unwrap()).unwrap(), "<any> cat");
        let plain = TextEncoding::of_texts(Tokens::Words, true, &Vocabulary::options(), ["A cat"]).unwrap();
        assert_eq!(plain.encode_tagged(None, "a cat").unwrap(), plain.encode("a cat").unwrap());
        let message = plain.encode_tagged(Some("fr"), "a cat").unwrap_err().to_string();
        assert_eq!(message, "the tag `fr`: the model knows no tags");
    }
}
