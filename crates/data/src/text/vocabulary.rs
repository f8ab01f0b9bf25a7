//! Which token has which number.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Tokenizer;
use super::files::{read_text, write_file};
use crate::error::DataError;
use crate::sequences::Sequences;

/// A token that no text has: it says something of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Special {
    /// Fills the ends of short rows of a batch.
    Pad,
    /// Stands for every token that has no number.
    Unknown,
    /// The beginning of a text.
    Start,
    /// The end of a text.
    End,
}

impl Special {
    /// All, in the order in which a vocabulary has them unless said otherwise.
    pub const ALL: [Special; 4] = [Special::Pad, Special::Unknown, Special::Start, Special::End];

    /// What it is called among the tokens.
    pub fn token(self) -> &'static str {
        match self {
            Special::Pad => "<pad>",
            Special::Unknown => "<unk>",
            Special::Start => "<s>",
            Special::End => "</s>",
        }
    }
}

/// The tokens that a model knows, numbered from 0.
///
/// ```
/// use thalweg_data::text::{Vocabulary, Words};
///
/// let words = Words::new().lower_case();
/// let vocabulary = Vocabulary::options().min_count(2).of_texts(&words, ["A cat sat.", "A cat ran."])?;
/// assert_eq!(vocabulary.tokens(), ["<pad>", "<unk>", "<s>", "</s>", ".", "a", "cat"]);
/// assert_eq!(vocabulary.encode(&["a", "dog"])?, [5, 1]);
/// assert_eq!(vocabulary.text(&words, &[2, 5, 6, 4, 3, 0, 0])?, "a cat.");
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Vocabulary {
    tokens: Vec<String>,
    ids: HashMap<String, i64>,
    specials: BTreeMap<Special, i64>,
}

/// A vocabulary as it stands in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    specials: BTreeMap<Special, i64>,
    tokens: Vec<String>,
}

/// Which tokens of texts a vocabulary takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VocabularyOptions {
    specials: Vec<Special>,
    further: Vec<String>,
    min_count: usize,
    max_size: Option<usize>,
}

impl VocabularyOptions {
    /// With these special tokens, in this order; all four unless said otherwise. Without [`Special::Unknown`] an
    /// unknown token is an error.
    pub fn specials(self, specials: &[Special]) -> VocabularyOptions {
        VocabularyOptions { specials: specials.to_vec(), ..self }
    }

    /// With these tokens behind the special ones, however often texts have them: languages, topics, users.
    pub fn further<T: Into<String>>(self, tokens: impl IntoIterator<Item = T>) -> VocabularyOptions {
        VocabularyOptions { further: tokens.into_iter().map(Into::into).collect(), ..self }
    }

    /// Without tokens that occur less often than this.
    pub fn min_count(self, count: usize) -> VocabularyOptions {
        VocabularyOptions { min_count: count, ..self }
    }

    /// Of at most so many tokens, special ones included: the most frequent.
    pub fn max_size(self, size: usize) -> VocabularyOptions {
        VocabularyOptions { max_size: Some(size), ..self }
    }

    /// The vocabulary of these tokens: the more frequent, the smaller the number; of equally frequent ones the first in
    /// the order of Unicode.
    ///
    /// # Errors
    /// If no token is left, or the size has no room for one beside the special ones.
    pub fn of<T: AsRef<str>>(self, tokens: impl IntoIterator<Item = T>) -> Result<Vocabulary, DataError> {
        let VocabularyOptions { specials, further, min_count, max_size } = self;
        let mut counts: HashMap<String, usize> = HashMap::new();
        for token in tokens {
            let token = token.as_ref();
            match counts.get_mut(token) {
                Some(count) => *count += 1,
                None => drop(counts.insert(token.to_string(), 1)),
            }
        }
        let n_different = counts.len();
        let mut known: Vec<String> = specials.iter().map(|special| special.token().to_string()).collect();
        known.extend(further);
        // A token that a text has and that is known already keeps its place.
        for token in &known {
            counts.remove(token);
        }
        let mut frequent: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= min_count).collect();
        frequent.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
        let max_size = max_size.unwrap_or(usize::MAX);
        if max_size <= known.len() {
            let reason = format!("{} special and further tokens leave no room for others", known.len());
            return Err(DataError::setting(format!("a vocabulary of at most {max_size} tokens"), reason));
        }
        if frequent.is_empty() {
            let setting = format!("a vocabulary of tokens that occur at least {min_count} times");
            return Err(DataError::setting(setting, format!("none of the {n_different} different ones does")));
        }
        frequent.truncate(max_size - known.len());
        known.extend(frequent.into_iter().map(|(token, _)| token));
        let specials = specials.into_iter().zip(0..).collect();
        Vocabulary::checked(known, specials).map_err(|reason| DataError::setting("a vocabulary", reason))
    }

    /// The vocabulary of the tokens of `texts`.
    ///
    /// # Errors
    /// As [`of`](VocabularyOptions::of).
    pub fn of_texts<T: AsRef<str>>(
        self,
        tokenizer: &dyn Tokenizer,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Vocabulary, DataError> {
        let tokens = |text: T| tokenizer.tokens(text.as_ref()).into_iter().map(Cow::into_owned).collect::<Vec<_>>();
        self.of(texts.into_iter().flat_map(tokens))
    }
}

impl Vocabulary {
    /// How to choose tokens: all that occur, behind the four special ones, unless said otherwise.
    pub fn options() -> VocabularyOptions {
        VocabularyOptions { specials: Special::ALL.to_vec(), further: Vec::new(), min_count: 1, max_size: None }
    }

    fn checked(tokens: Vec<String>, specials: BTreeMap<Special, i64>) -> Result<Vocabulary, String> {
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if token.is_empty() {
                return Err(format!("token {id} is empty"));
            }
            if let Some(first) = ids.insert(token.clone(), id as i64) {
                return Err(format!("the tokens {first} and {id} are both `{}`", token.escape_debug()));
            }
        }
        for (special, &id) in &specials {
            if ids.get(special.token()) != Some(&id) {
                return Err(format!("token {id} should be `{}`, the special token {special:?}", special.token()));
            }
        }
        Ok(Vocabulary { tokens, ids, specials })
    }

    /// How many tokens there are, special ones included: the rows of an embedding.
    #[allow(clippy::len_without_is_empty, reason = "no vocabulary is empty")]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens by number.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The number of `token`, if it has one of its own.
    pub fn id(&self, token: &str) -> Option<i64> {
        self.ids.get(token).copied()
    }

    /// The number of a special token, if the vocabulary has it.
    pub fn special(&self, special: Special) -> Option<i64> {
        self.specials.get(&special).copied()
    }

    /// The number of a special token.
    ///
    /// # Errors
    /// If the vocabulary has none.
    pub fn need(&self, special: Special) -> Result<i64, DataError> {
        self.special(special).ok_or_else(|| {
            let reason = format!("it has no token `{}`; `VocabularyOptions::specials` adds it", special.token());
            DataError::setting(format!("a vocabulary of {} tokens", self.len()), reason)
        })
    }

    /// Whether the token with this number is special.
    pub fn is_special(&self, id: i64) -> bool {
        self.specials.values().any(|&special| special == id)
    }

    /// The numbers of `tokens`; those that have none get that of [`Special::Unknown`].
    ///
    /// # Errors
    /// If a token has none and there is no unknown token.
    pub fn encode<T: AsRef<str>>(&self, tokens: &[T]) -> Result<Vec<i64>, DataError> {
        let unknown = self.special(Special::Unknown);
        let id = |(position, token): (usize, &T)| {
            self.id(token.as_ref()).or(unknown).ok_or_else(|| {
                let setting = format!("token `{}` at position {position}", token.as_ref().escape_debug());
                let reason = format!("it is not among the {} of the vocabulary, which has no `<unk>`", self.len());
                DataError::setting(setting, reason)
            })
        };
        tokens.iter().enumerate().map(id).collect()
    }

    /// The numbers of the tokens of what somebody asks of a model.
    ///
    /// # Errors
    /// If the text is empty or no token of it is known, as no model can say anything of it; or as
    /// [`encode`](Vocabulary::encode).
    pub fn encode_text(&self, tokenizer: &dyn Tokenizer, text: &str) -> Result<Vec<i64>, DataError> {
        let tokens = tokenizer.tokens(text);
        if tokens.is_empty() {
            return Err(DataError::setting(format!("the text `{text}`"), "it is empty: at least one token is needed"));
        }
        let ids = self.encode(&tokens)?;
        if ids.iter().all(|&id| Some(id) == self.special(Special::Unknown)) {
            const SHOWN: usize = 5;
            let shown: Vec<String> = tokens.iter().take(SHOWN).map(|token| format!("`{token}`")).collect();
            let more = if tokens.len() > SHOWN { ", …" } else { "" };
            let setting = format!("a text of unknown tokens only ({}{more})", shown.join(", "));
            return Err(DataError::setting(setting, format!("the vocabulary of {} has none of them", self.len())));
        }
        Ok(ids)
    }

    /// The tokens with these numbers.
    ///
    /// # Errors
    /// If a number has no token: then these are not of this vocabulary.
    pub fn decode(&self, ids: &[i64]) -> Result<Vec<&str>, DataError> {
        let token = |(position, &id): (usize, &i64)| {
            let token = usize::try_from(id).ok().and_then(|id| self.tokens.get(id));
            token.map(String::as_str).ok_or_else(|| {
                let reason = format!("the vocabulary has {}, numbered from 0", self.len());
                DataError::setting(format!("token number {id} at position {position}"), reason)
            })
        };
        ids.iter().enumerate().map(token).collect()
    }

    /// The text of what a model says: up to the first [`Special::End`], without padding and [`Special::Start`].
    ///
    /// # Errors
    /// As [`decode`](Vocabulary::decode).
    pub fn text(&self, tokenizer: &dyn Tokenizer, ids: &[i64]) -> Result<String, DataError> {
        let end = ids.iter().position(|&id| Some(id) == self.special(Special::End)).unwrap_or(ids.len());
        let silent = [Special::Pad, Special::Start].map(|special| self.special(special));
        let spoken: Vec<i64> = ids[..end].iter().copied().filter(|&id| !silent.contains(&Some(id))).collect();
        Ok(tokenizer.text(&self.decode(&spoken)?))
    }

    /// Rows of numbers as a column, padded with [`Special::Pad`] if there is one and with 0 otherwise.
    ///
    /// # Errors
    /// If a row is empty.
    pub fn sequences(&self, rows: impl IntoIterator<Item = Vec<i64>>) -> Result<Sequences, DataError> {
        Ok(Sequences::of_tokens(rows)?.padded_with(self.special(Special::Pad).unwrap_or(0)))
    }

    /// Checks that `what`, an embedding or an output, has a row for each token.
    ///
    /// # Errors
    /// If it has more or fewer: then model and vocabulary do not belong together.
    pub fn check_rows(&self, what: &str, rows: usize) -> Result<(), DataError> {
        if rows == self.len() {
            return Ok(());
        }
        let reason = format!("the vocabulary has {} tokens: the two do not belong together", self.len());
        Err(DataError::setting(format!("`{what}` with {rows} rows"), reason))
    }

    /// Writes it to a file at `path` as JSON, in place of what was there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let json = serde_json::to_string_pretty(self).expect("names and numbers are JSON");
        write_file(path.as_ref(), &json)
    }

    /// The vocabulary that [`save`](Vocabulary::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no vocabulary: a token is empty or comes twice, a special one is another.
    pub fn load(path: impl AsRef<Path>) -> Result<Vocabulary, DataError> {
        let path = path.as_ref();
        serde_json::from_str(&read_text(path)?).map_err(|error| {
            DataError::malformed(path, "the vocabulary", "tokens and special tokens", error.to_string())
        })
    }

    /// Writes the tokens to a text file at `path`, one a line, by number; `\n`, `\r`, `\t` and `\\` stand for what they
    /// stand for in Rust.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_lines(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let lines: String = self.tokens.iter().map(|token| escaped(token) + "\n").collect();
        write_file(path.as_ref(), &lines)
    }

    /// The vocabulary whose tokens are the lines of the file at `path`. Those that are called like special tokens are.
    ///
    /// # Errors
    /// If the file cannot be read, a line is empty, comes twice, or has a backslash before something else.
    pub fn load_lines(path: impl AsRef<Path>) -> Result<Vocabulary, DataError> {
        let path = path.as_ref();
        let malformed = |place, expected, found| Err(DataError::malformed(path, place, expected, found));
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut tokens = Vec::new();
        for (line, text) in (1..).zip(read_text(path)?.lines()) {
            let Some(token) = unescaped(text) else {
                return malformed(
                    format!("line {line}"),
                    r"a token, in which \ stands before n, r, t or \",
                    format!("`{text}`"),
                );
            };
            if token.is_empty() {
                return malformed(format!("line {line}"), "a token", "an empty line".to_string());
            }
            if let Some(first) = lines.insert(token.clone(), line) {
                return malformed(
                    format!("line {line}"),
                    "a token of its own",
                    format!("`{text}`, as on line {first}"),
                );
            }
            tokens.push(token);
        }
        let id = |special: &Special| Some((*special, lines.get(special.token())? - 1));
        let specials = Special::ALL.iter().filter_map(id).map(|(special, id)| (special, id as i64)).collect();
        Vocabulary::checked(tokens, specials)
            .or_else(|reason| malformed("the vocabulary".to_string(), "different tokens", reason))
    }
}

const ESCAPES: [(char, char); 4] = [('\\', '\\'), ('\n', 'n'), ('\r', 'r'), ('\t', 't')];

fn escaped(token: &str) -> String {
    let mut text = String::new();
    for character in token.chars() {
        match ESCAPES.iter().find(|(meant, _)| *meant == character) {
            Some((_, letter)) => text.extend(['\\', *letter]),
            None => text.push(character),
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut characters = text.chars();
    let mut token = String::new();
    while let Some(character) = characters.next() {
        token.push(match character {
            '\\' => {
                let letter = characters.next()?;
                ESCAPES.iter().find(|(_, known)| *known == letter)?.0
            }
            other => other,
        });
    }
    Some(token)
}

impl TryFrom<Stored> for Vocabulary {
    type Error = String;

    fn try_from(Stored { specials, tokens }: Stored) -> Result<Vocabulary, String> {
        if tokens.is_empty() {
            return Err("it has no tokens".to_string());
        }
        Vocabulary::checked(tokens, specials)
    }
}

impl From<Vocabulary> for Stored {
    fn from(Vocabulary { tokens, specials, .. }: Vocabulary) -> Stored {
        Stored { specials, tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Characters, Words};

    fn refusal<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
        result.unwrap_err().to_string()
    }

    fn letters() -> Vocabulary {
        Vocabulary::options().of_texts(&Characters, ["abbccc\n\\"]).unwrap()
    }

    #[test]
    fn frequent_tokens_come_first_within_the_limits() {
        assert_eq!(letters().tokens()[4..], ["c", "b", "\n", "\\", "a"]);
        let plain = Vocabulary::options().specials(&[]);
        assert_eq!(plain.clone().of(["b", "a", "b"]).unwrap().tokens(), ["b", "a"]);
        assert_eq!(plain.clone().min_count(2).of(["b", "a", "b"]).unwrap().tokens(), ["b"]);
        let options = Vocabulary::options().specials(&[Special::Unknown]).further(["<2fr>", "x"]).max_size(4);
        let small = options.clone().of(["x", "y", "y", "z", "<unk>"]).unwrap();
        assert_eq!(small.tokens(), ["<unk>", "<2fr>", "x", "y"]);
        assert_eq!((small.special(Special::Unknown), small.special(Special::End)), (Some(0), None));
        let message = refusal(options.max_size(3).of(["y"]));
        assert!(message.contains("at most 3 tokens: 3 special and further"), "{message}");
        let message = refusal(plain.clone().min_count(3).of(["b", "a", "b"]));
        assert!(message.contains("at least 3 times: none of the 2 different ones does"), "{message}");
        let message = refusal(plain.of(Vec::<String>::new()));
        assert!(message.contains("none of the 0"), "{message}");
        let message = refusal(Vocabulary::options().further(["x", "x"]).of(["y"]));
        assert!(message.contains("tokens 4 and 5 are both `x`"), "{message}");
    }

    #[test]
    fn tokens_and_numbers_become_each_other() {
        let vocabulary = letters();
        let ids = vocabulary.encode(&["b", "z", "a"]).unwrap();
        assert_eq!(ids, [5, 1, 8]);
        assert_eq!(vocabulary.decode(&ids).unwrap(), ["b", "<unk>", "a"]);
        assert_eq!(vocabulary.text(&Characters, &[2, 5, 8, 3, 5, 0]).unwrap(), "ba");
        let message = refusal(vocabulary.decode(&[0, 9]));
        assert_eq!(message, "token number 9 at position 1: the vocabulary has 9, numbered from 0");
        assert!(refusal(vocabulary.decode(&[-1])).contains("token number -1"));
        let closed = Vocabulary::options().specials(&[]).of(["a"]).unwrap();
        let message = refusal(closed.encode(&["a", "\n"]));
        assert!(message.contains(r"token `\n` at position 1: it is not among the 1"), "{message}");
        let message = refusal(closed.need(Special::End));
        assert!(message.contains("a vocabulary of 1 tokens: it has no token `</s>`"), "{message}");
    }

    #[test]
    fn texts_that_say_nothing_are_refused() {
        let words = Vocabulary::options().of(["hello"]).unwrap();
        assert_eq!(words.encode_text(&Words::new(), "hello you").unwrap(), [4, 1]);
        let message = refusal(words.encode_text(&Words::new(), " \n"));
        assert!(message.contains("it is empty"), "{message}");
        let message = refusal(words.encode_text(&Words::new(), "zzz qqq"));
        assert_eq!(message, "a text of unknown tokens only (`zzz`, `qqq`): the vocabulary of 5 has none of them");
        words.check_rows("embed.weight", 5).unwrap();
        let message = refusal(words.check_rows("embed.weight", 7));
        assert!(message.contains("`embed.weight` with 7 rows: the vocabulary has 5 tokens"), "{message}");
    }

    #[test]
    fn both_files_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (json, lines) = (folder.path().join("v.json"), folder.path().join("v.txt"));
        letters().save(&json).unwrap();
        letters().save_lines(&lines).unwrap();
        assert_eq!(Vocabulary::load(&json).unwrap(), letters());
        assert_eq!(Vocabulary::load_lines(&lines).unwrap(), letters());
        assert!(refusal(letters().save(folder.path())).contains("cannot be written"));
    }

    #[test]
    fn damaged_files_are_refused_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocabulary");
        for (content, part) in [
            (r#"{"specials": {}, "tokens": ["a", "a"]}"#, "tokens 0 and 1 are both `a`"),
            (r#"{"specials": {}, "tokens": ["a", ""]}"#, "token 1 is empty"),
            (r#"{"specials": {"pad": 0}, "tokens": ["a"]}"#, "token 0 should be `<pad>`"),
            (r#"{"specials": {"end": 7}, "tokens": ["a"]}"#, "token 7 should be `</s>`"),
            (r#"{"specials": {}, "tokens": []}"#, "no tokens"),
            (r#"{"specials": {}}"#, "missing field `tokens`"),
            (r#"{"specials": {}, "tok"#, "EOF"),
        ] {
            std::fs::write(&path, content).unwrap();
            let message = refusal(Vocabulary::load(&path));
            assert!(message.contains("vocabulary: the vocabulary: ") && message.contains(part), "{message}");
        }
        for (content, part) in [
            ("a\nb\na\n", "line 3: expected a token of its own, found `a`, as on line 1"),
            ("a\n\nb", "line 2: expected a token, found an empty line"),
            ("a\\x", "line 1: expected a token, in which"),
            ("\\", "line 1: expected a token, in which"),
        ] {
            std::fs::write(&path, content).unwrap();
            let message = refusal(Vocabulary::load_lines(&path));
            assert!(message.contains(part), "{message}");
        }
    }
}
