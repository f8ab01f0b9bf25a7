//! A text as one stream of tokens, for language models.

use thalweg_array::Array;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::sequences::Sequences;

/// A stream of `tokens` (or of anything else along the first axis) in windows of `time`, for models that say what comes
/// next: the columns are `input`, `[time]` a row, and `target`, the same one token later. What is left at the end and
/// fills no window is left out.
///
/// The rows are [contiguous](Dataset::is_contiguous). A [`Loader`](crate::Loader) of b rows a batch cuts them into b
/// lanes of equal length and gives the lanes side by side: each row of a batch goes on where the same row of the batch
/// before it ended, so that a model carries its state over and forgets it only at position 0 of an epoch; a model that
/// looks at each window by itself takes them [in any order](Dataset::in_any_order). Parts for training and validation are cut by
/// [`Split::last`](crate::Split::last), or before the text is cut into windows.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::{Loader, text::windows};
///
/// let tokens = Array::from((0..13).collect::<Vec<i64>>());
/// let loader = Loader::new(&windows(&tokens, 3)?, 2)?;
/// let batches = loader.epoch(0)?.collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(batches[0]["input"], Array::from([[0i64, 1, 2], [6, 7, 8]]));
/// assert_eq!(batches[1]["input"], Array::from([[3i64, 4, 5], [9, 10, 11]]));
/// assert_eq!(batches[1]["target"], Array::from([[4i64, 5, 6], [10, 11, 12]]));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
///
/// # Errors
/// If `time` is 0, or there are not enough tokens for one window and the target of its last token.
pub fn windows(tokens: &Array, time: usize) -> Result<Dataset, DataError> {
    let setting = || format!("windows of {time} tokens");
    if time == 0 {
        return Err(DataError::setting(setting(), "a window holds at least one token"));
    }
    let n = tokens.shape().first().copied().unwrap_or(0);
    if n <= time {
        let reason = format!("the text has {n}; one window and the token after it need {}", time + 1);
        return Err(DataError::setting(setting(), reason));
    }
    let column = |first| Sequences::windows(tokens.clone(), first, time, (n - 1) / time);
    let data = Dataset::of_sequences("input", column(0)).with_sequences("target", column(1))?;
    Ok(data.made_contiguous())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;

    #[test]
    fn a_text_that_fills_no_window_is_refused() {
        let message = windows(&Array::from([1i64, 2, 3]), 3).unwrap_err().to_string();
        assert_eq!(message, "windows of 3 tokens: the text has 3; one window and the token after it need 4");
        let message = windows(&Array::from(Vec::<i64>::new()), 3).unwrap_err().to_string();
        assert!(message.contains("the text has 0"), "{message}");
        let message = windows(&Array::from([1i64]), 0).unwrap_err().to_string();
        assert!(message.contains("windows of 0 tokens"), "{message}");
    }

    #[test]
    fn parts_that_lie_together_stay_contiguous() {
        let data = windows(&Array::from((0..101).collect::<Vec<i64>>()), 10).unwrap();
        let (train, valid) = data.split(&Split::last(10, 2).unwrap());
        assert!(train.is_contiguous() && valid.is_contiguous());
        assert_eq!(valid.sequences("input").unwrap().row(0).as_slice::<i64>().unwrap()[0], 80);
        assert!(!data.select(&[0, 2]).is_contiguous());
        let mixed = train.in_any_order();
        assert!(!mixed.is_contiguous() && !mixed.select(&[0, 1]).is_contiguous());
    }
}
