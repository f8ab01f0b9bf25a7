//! Texts and what is to be said to them: translations, replies.

use super::{Special, Vocabulary};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::sequences::Sequences;

/// Tokens and the tokens to be said to them, as encoder and decoder need them: the columns are `source`; `input`, which
/// is [`Special::Start`] and the reply; and `target`, the reply and [`Special::End`]. Each is padded by its own
/// vocabulary, with its mask and its length beside it.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::{Loader, text::{Vocabulary, exchanges}};
///
/// let letters = Vocabulary::options().of(["a", "b"])?;
/// let data = exchanges(&letters, vec![vec![4, 5], vec![5]], &letters, vec![vec![5], vec![4, 4]])?;
/// let batch = Loader::new(&data, 2)?.epoch(0)?.next().expect("one batch")?;
/// assert_eq!(batch["input"], Array::from([[2i64, 5, 0], [2, 4, 4]]));
/// assert_eq!(batch["target"], Array::from([[5i64, 3, 0], [4, 4, 3]]));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
///
/// # Errors
/// If the two differ in number, a source is empty, or the vocabulary of the replies lacks start or end.
pub fn exchanges(
    source_vocabulary: &Vocabulary,
    sources: Vec<Vec<i64>>,
    reply_vocabulary: &Vocabulary,
    replies: Vec<Vec<i64>>,
) -> Result<Dataset, DataError> {
    let (start, end) = (reply_vocabulary.need(Special::Start)?, reply_vocabulary.need(Special::End)?);
    let named = |name: &'static str, column: Result<Sequences, DataError>| {
        column.map_err(|error| DataError::column(name, error.to_string()))
    };
    let around = |before: Option<i64>, after: Option<i64>| {
        let row = move |reply: &Vec<i64>| before.into_iter().chain(reply.iter().copied()).chain(after).collect();
        reply_vocabulary.sequences(replies.iter().map(row))
    };
    Dataset::of_sequences("source", named("source", source_vocabulary.sequences(sources))?)
        .with_sequences("input", named("input", around(Some(start), None))?)?
        .with_sequences("target", named("target", around(None, Some(end)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_and_empty_pairs_are_refused() {
        let letters = Vocabulary::options().of(["a"]).unwrap();
        let refusal = |sources, replies| exchanges(&letters, sources, &letters, replies).unwrap_err().to_string();
        let message = refusal(vec![vec![4], vec![4]], vec![vec![4]]);
        assert_eq!(message, "column `input`: has 1 rows, but column `source` has 2");
        let message = refusal(vec![vec![4], vec![]], vec![vec![4], vec![4]]);
        assert!(message.starts_with("column `source`: row 1 of sequences: has length 0"), "{message}");
        let bare = Vocabulary::options().specials(&[]).of(["a"]).unwrap();
        let message = exchanges(&letters, vec![vec![4]], &bare, vec![vec![0]]).unwrap_err().to_string();
        assert!(message.contains("it has no token `<s>`"), "{message}");
    }

    #[test]
    fn an_empty_reply_is_one_that_ends_at_once() {
        let letters = Vocabulary::options().of(["a"]).unwrap();
        let data = exchanges(&letters, vec![vec![4]], &letters, vec![vec![]]).unwrap();
        assert_eq!(data.sequences("input").unwrap().row(0), [2i64].into());
        assert_eq!(data.sequences("target").unwrap().row(0), [3i64].into());
    }
}
