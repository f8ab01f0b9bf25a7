//! How a text becomes tokens, and tokens a text.

use std::borrow::Cow;
use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

/// A way to cut texts into tokens and to put tokens together again.
///
/// ```
/// use thalweg_data::text::{Characters, Tokenizer, Words};
/// assert_eq!(Words::new().tokens("I can't, 👍🏽!"), ["I", "can't", ",", "👍🏽", "!"]);
/// assert_eq!(Words::new().text(&["I", "can't", ",", "👍🏽", "!"]), "I can't, 👍🏽!");
/// assert_eq!(Characters.tokens("größer").len(), 6);
/// ```
pub trait Tokenizer: fmt::Debug + Send + Sync {
    /// The tokens of `text`, in order; none of them empty.
    fn tokens<'t>(&self, text: &'t str) -> Vec<Cow<'t, str>>;

    /// The text of these tokens: the one that they came from, as nearly as they tell.
    fn text(&self, tokens: &[&str]) -> String;
}

/// Each character (Unicode scalar value) is a token, white space too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Characters;

impl Tokenizer for Characters {
    fn tokens<'t>(&self, text: &'t str) -> Vec<Cow<'t, str>> {
        text.char_indices().map(|(at, character)| Cow::Borrowed(&text[at..at + character.len_utf8()])).collect()
    }

    fn text(&self, tokens: &[&str]) -> String {
        tokens.concat()
    }
}

/// Words as Unicode divides them (UAX #29), each sign of punctuation and each emoji, however many characters make it,
/// as a token of its own; white space is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    lower_case: bool,
}

impl Words {
    /// Words as they are written.
    pub const fn new() -> Words {
        Words { lower_case: false }
    }

    /// Words in lower case.
    pub fn lower_case(self) -> Words {
        Words { lower_case: true }
    }
}

impl Tokenizer for Words {
    fn tokens<'t>(&self, text: &'t str) -> Vec<Cow<'t, str>> {
        let words = text.split_word_bounds().filter(|word| !word.trim().is_empty());
        if self.lower_case {
            words.map(|word| Cow::Owned(word.to_lowercase())).collect()
        } else {
            words.map(Cow::Borrowed).collect()
        }
    }

    /// The words with blanks between them, but none before what closes and none behind what opens.
    fn text(&self, tokens: &[&str]) -> String {
        let mut text = String::new();
        for (index, token) in tokens.iter().enumerate() {
            let closes = matches!(*token, "." | "," | "!" | "?" | ":" | ";" | ")" | "]" | "}" | "”" | "…" | "%" | "»");
            let opened = index > 0 && matches!(tokens[index - 1], "(" | "[" | "{" | "“" | "«" | "¿" | "¡");
            if index > 0 && !closes && !opened {
                text.push(' ');
            }
            text.push_str(token);
        }
        text
    }
}

/// Tokens by any function; put together with blanks between them.
///
/// ```
/// use thalweg_data::text::{ByFunction, Tokenizer};
/// let stems = ByFunction::new("stems", |text| text.split(' ').map(|word| word.trim_end_matches('s').into()).collect());
/// assert_eq!(stems.tokens("two cats"), ["two", "cat"]);
/// ```
pub struct ByFunction<F> {
    name: String,
    function: F,
}

impl<F: Fn(&str) -> Vec<String> + Send + Sync> ByFunction<F> {
    /// The tokens that `function` finds; `name` is how it is shown.
    pub fn new(name: impl Into<String>, function: F) -> ByFunction<F> {
        ByFunction { name: name.into(), function }
    }
}

impl<F: Fn(&str) -> Vec<String> + Send + Sync> Tokenizer for ByFunction<F> {
    fn tokens<'t>(&self, text: &'t str) -> Vec<Cow<'t, str>> {
        (self.function)(text).into_iter().filter(|token| !token.is_empty()).map(Cow::Owned).collect()
    }

    fn text(&self, tokens: &[&str]) -> String {
        tokens.join(" ")
    }
}

impl<F> fmt::Debug for ByFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Cow<'_, str>> {
        Words::new().tokens(text)
    }

    #[test]
    fn words_punctuation_and_emoji_are_tokens() {
        assert_eq!(words("Où est-il ?  3.14\n"), ["Où", "est", "-", "il", "?", "3.14"]);
        assert_eq!(words("He said: \"No.\""), ["He", "said", ":", "\"", "No", ".", "\""]);
        // A family joined by ZWJ, two flags, a heart with variation selector, a thumb with skin tone, a keycap.
        assert_eq!(words("👨‍👩‍👧🇩🇪🇫🇷 ❤️👍🏽 1️⃣"), ["👨‍👩‍👧", "🇩🇪", "🇫🇷", "❤️", "👍🏽", "1️⃣"]);
        assert_eq!(Words::new().lower_case().tokens("ÉTÉ Straße"), ["été", "straße"]);
        assert!(words("").is_empty() && words(" \n\t").is_empty());
    }

    #[test]
    fn words_become_sentences_again() {
        for text in ["Hello, world!", "(a) is [b].", "100% true: yes; no?", "¿qué? «oui»", ""] {
            let tokens = words(text);
            assert_eq!(Words::new().text(&tokens.iter().map(|token| &**token).collect::<Vec<_>>()), text);
        }
    }

    #[test]
    fn characters_lose_nothing() {
        let text = "a\n\u{1f44d} é\t";
        let tokens = Characters.tokens(text);
        assert_eq!(tokens.len(), text.chars().count());
        assert_eq!(Characters.text(&tokens.iter().map(|token| &**token).collect::<Vec<_>>()), text);
    }
}
