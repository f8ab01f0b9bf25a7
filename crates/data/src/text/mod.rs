//! Text: from files to what a model is fed, and back.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`read_text`], [`read_windows_1252`], [`read_lines`], [`read_pairs`], [`read_parallel`], [`read_labeled`], [`read_dialogues`] | texts in files, checked |
//! | [`paragraphs`] | a text as sentences that follow one another |
//! | [`sms_spam`], [`rt_polarity`], [`self_dialogue`], [`multi30k`] | collections |
//! | [`Characters`], [`Words`], [`ByFunction`] | [tokenizers](Tokenizer) |
//! | [`Vocabulary`] | which token has which number |
//! | [`TextEncoding`] | both, in a form that travels with a model |
//! | [`windows`] | a text as one stream, for language models: lanes that go on from batch to batch |
//! | [`BagOfWords`] | texts as counts or tf-idf |
//! | [`WordVectors`] | vectors of words from GloVe's, word2vec's and NumPy's files; neighbors |
//! | `Subwords` | with the feature `tokenizers`: pieces of words, by the library of Hugging Face |
//! | [`exchanges`] | texts and what is to be said to them, for encoder and decoder |
//!
//! Rows of tokens are [`Sequences`](crate::Sequences), which batches hold padded with a mask;
//! [`Loader::bucketed`](crate::Loader::bucketed) puts rows of like length together.

mod bag;
mod corpora;
mod encoding;
mod files;
mod pairs;
mod stream;
#[cfg(feature = "tokenizers")]
mod subwords;
mod tokenizer;
mod vectors;
mod vocabulary;

pub use bag::{BagOfWords, BagRows};
pub use corpora::{
    Dialogue, LabeledTexts, Multi30k, multi30k, read_dialogues, read_labeled, rt_polarity, self_dialogue, sms_spam,
};
pub use encoding::{TextEncoding, Tokens};
pub use files::{paragraphs, read_lines, read_pairs, read_parallel, read_text, read_windows_1252};
pub use pairs::exchanges;
pub use stream::windows;
#[cfg(feature = "tokenizers")]
pub use subwords::Subwords;
pub use tokenizer::{ByFunction, Characters, Tokenizer, Words};
pub use vectors::WordVectors;
pub use vocabulary::{Special, Vocabulary, VocabularyOptions};
