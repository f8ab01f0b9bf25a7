//! What a model says: tokens one after the other, by any function that gives what may come next.
//!
//! | item | what it does |
//! | --- | --- |
//! | [`greedy`] | the likeliest token at every step |
//! | [`Sampling`] | a token by chance: temperature, the k likeliest, those that make up p |
//! | [`Beam`] | the likeliest texts it finds, several of them with their scores |
//! | [`ctc_greedy`], [`CtcBeam`] | the label that frames say, where all frames are there at once |
//! | [`Limits`] | how long, what ends a text, what is never said |
//! | [`State`] | what is carried from step to step, row by row |
//!
//! The function gets a state and the last token of each row, and returns logits or log-probabilities `[rows,
//! vocabulary]` with the new state. All rows go on together, those that have ended too (with their last token again),
//! so that every step has the same sizes and one plan serves all. Each row begins with tokens that are given: a start
//! token, a prompt, the beginning of a reply; they may differ in length from row to row, and count neither in scores
//! nor in lengths.

mod beam;
mod ctc;
mod sample;

use std::collections::BTreeSet;

use thalweg_data::select_rows;
use thalweg_formats::array::Array;
use thiserror::Error;

pub use beam::Beam;
pub use ctc::{CtcBeam, Reading, ctc_greedy};
pub use sample::{Sampling, greedy};

/// What a step function may fail with: any error, or text.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// Why nothing can be said.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// A setting cannot be followed.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting with its value.
        setting: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// What the step function returned is not what it should be.
    #[error("step {step}: {what}: expected {expected}, found {found}")]
    Output {
        /// The step, from 0.
        step: usize,
        /// What of its output, and which row.
        what: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The step function failed.
    #[error("step {step}: {source}")]
    Step {
        /// The step, from 0.
        step: usize,
        /// What it said.
        source: StepError,
    },
}

fn refusal(setting: impl Into<String>, reason: impl Into<String>) -> DecodeError {
    DecodeError::Setting { setting: setting.into(), reason: reason.into() }
}

/// What is carried from step to step: for each row its own part.
pub trait State: Sized {
    /// The state whose row i is row `rows[i]` of this one; a row may come more than once or not at all.
    fn gather(self, rows: &[usize]) -> Self;
}

/// Rows along the first axis.
impl State for Array {
    fn gather(self, rows: &[usize]) -> Array {
        let unchanged = rows.iter().copied().eq(0..self.shape()[0]);
        if unchanged { self } else { select_rows(&self, rows) }
    }
}

impl<S: State> State for Vec<S> {
    fn gather(self, rows: &[usize]) -> Vec<S> {
        self.into_iter().map(|part| part.gather(rows)).collect()
    }
}

impl<A: State, B: State> State for (A, B) {
    fn gather(self, rows: &[usize]) -> (A, B) {
        (self.0.gather(rows), self.1.gather(rows))
    }
}

/// Nothing: for models that look at the last token alone.
impl State for () {
    fn gather(self, _: &[usize]) {}
}

/// How long a text may become, what ends it, what never stands in it.
///
/// ```
/// use thalweg_train::decoding::Limits;
/// let (pad, unknown, start, end) = (0, 1, 2, 3);
/// let limits = Limits::new(20)?.stop_at([end]).without([pad, unknown, start]);
/// # assert!(format!("{limits:?}").contains("20"));
/// # Ok::<(), thalweg_train::decoding::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    max_tokens: usize,
    stop: BTreeSet<i64>,
    never: BTreeSet<i64>,
}

impl Limits {
    /// At most so many tokens behind the beginning, one that ends the text included.
    ///
    /// # Errors
    /// If it is 0.
    pub fn new(max_tokens: usize) -> Result<Limits, DecodeError> {
        if max_tokens == 0 {
            return Err(refusal("at most 0 tokens", "at least one is said"));
        }
        Ok(Limits { max_tokens, stop: BTreeSet::new(), never: BTreeSet::new() })
    }

    /// These tokens end a text, and do not stand in it.
    pub fn stop_at(self, tokens: impl IntoIterator<Item = i64>) -> Limits {
        Limits { stop: tokens.into_iter().collect(), ..self }
    }

    /// These tokens are never said.
    pub fn without(self, tokens: impl IntoIterator<Item = i64>) -> Limits {
        Limits { never: tokens.into_iter().collect(), ..self }
    }
}

/// A text, as far as it was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The tokens behind the beginning, without the one that ended it.
    pub tokens: Vec<i64>,
    /// The logarithm of its probability: the sum over its tokens and the one that ended it, given the beginning.
    pub log_probability: f64,
    /// The number by which it was ranked among others: the logarithm, normalized by length if that was asked for.
    pub score: f64,
    /// Whether a stop token ended it, and not the limit.
    pub ended: bool,
}

/// The tokens with which rows begin, checked.
struct Beginnings<'a>(&'a [Vec<i64>]);

impl<'a> Beginnings<'a> {
    fn new(beginnings: &'a [Vec<i64>]) -> Result<Beginnings<'a>, DecodeError> {
        if beginnings.is_empty() {
            return Err(refusal("no rows", "at least one beginning is needed"));
        }
        if let Some(row) = beginnings.iter().position(Vec::is_empty) {
            let reason = "a start token or a prompt is needed, from which the first step goes on";
            return Err(refusal(format!("the empty beginning of row {row}"), reason));
        }
        Ok(Beginnings(beginnings))
    }

    /// The token that row `row` has behind `step` steps, if it is given.
    fn given(&self, row: usize, step: usize) -> Option<i64> {
        self.0[row].get(step + 1).copied()
    }

    /// How many steps there are at most.
    fn steps(&self, limits: &Limits) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or(1) - 1 + limits.max_tokens
    }
}

/// One step: its scores, checked, and the state after it.
fn advance<S, E: Into<StepError>>(
    step: &mut impl FnMut(&S, &[i64]) -> Result<(Array, S), E>,
    at: usize,
    state: &S,
    last: &[i64],
) -> Result<(Scores, S), DecodeError> {
    let (output, state) = step(state, last).map_err(|error| DecodeError::Step { step: at, source: error.into() })?;
    let &[rows, vocabulary] = output.shape() else {
        return Err(shape_refusal(at, last.len(), &output));
    };
    if rows != last.len() || vocabulary == 0 || !output.dtype().is_float() {
        return Err(shape_refusal(at, last.len(), &output));
    }
    Ok((Scores { step: at, vocabulary, logits: output.to_vec() }, state))
}

fn shape_refusal(step: usize, rows: usize, output: &Array) -> DecodeError {
    DecodeError::Output {
        step,
        what: "the logits".into(),
        expected: format!("floats of shape [{rows}, vocabulary], a row for each last token"),
        found: format!("{}{:?}", output.dtype(), output.shape()),
    }
}

/// What a step says of the next tokens.
struct Scores {
    step: usize,
    vocabulary: usize,
    logits: Vec<f64>,
}

impl Scores {
    /// The log-probabilities of the tokens that row `row` may say next; -∞ of those it never says. `name` names the row
    /// in errors.
    fn row(&self, row: usize, limits: &Limits, name: usize) -> Result<Vec<f64>, DecodeError> {
        let mut logits = self.logits[row * self.vocabulary..][..self.vocabulary].to_vec();
        let refused = |what: String, expected: &str, found: String| DecodeError::Output {
            step: self.step,
            what,
            expected: expected.into(),
            found,
        };
        if let Some(token) = logits.iter().position(|x| x.is_nan() || *x == f64::INFINITY) {
            let what = format!("the logit of token {token} in row {name}");
            return Err(refused(what, "a number below infinity", logits[token].to_string()));
        }
        // Tokens that are never said take no part of the probability away from the others.
        let beyond = |token: &i64| usize::try_from(*token).ok().filter(|token| *token < self.vocabulary);
        limits.never.iter().filter_map(beyond).for_each(|token| logits[token] = f64::NEG_INFINITY);
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            let found = format!("-inf for all {}", self.vocabulary);
            return Err(refused(format!("the logits of row {name}"), "a token that can be said", found));
        }
        let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
        logits.iter_mut().for_each(|x| *x -= largest + sum.ln());
        Ok(logits)
    }

    /// Checks that a token that is given or ends a text is one at all.
    fn check_token(&self, what: &str, token: i64) -> Result<(), DecodeError> {
        if usize::try_from(token).is_ok_and(|token| token < self.vocabulary) {
            return Ok(());
        }
        Err(refusal(
            format!("{what} {token}"),
            format!("the vocabulary has {} tokens, numbered from 0", self.vocabulary),
        ))
    }

    fn check(&self, limits: &Limits, beginnings: &Beginnings<'_>) -> Result<(), DecodeError> {
        limits.stop.iter().try_for_each(|&token| self.check_token("the stop token", token))?;
        let mut given = beginnings.0.iter().flatten();
        given.try_for_each(|&token| self.check_token("the given token", token))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use thalweg_formats::array::random::Philox;

    use super::*;

    /// A model with memory: the logits depend on all that was said, by a hash; the state is that hash. Tokens from
    /// `usable` on cannot be said.
    pub(crate) fn remembering(
        usable: usize,
        vocabulary: usize,
    ) -> impl FnMut(&Array, &[i64]) -> Result<(Array, Array), StepError> {
        move |state, last| {
            let state: Vec<i64> =
                state.as_slice::<i64>()?.iter().zip(last).map(|(h, last)| h * 31 % 100_003 + last + 1).collect();
            let logit = |hash: i64, token: usize| {
                if token < usable {
                    2.0 * Philox::new(9, hash as u64).normal(token as u64, 0)
                } else {
                    f64::NEG_INFINITY
                }
            };
            let logits = state.iter().flat_map(|&hash| (0..vocabulary).map(move |token| logit(hash, token))).collect();
            Ok((Array::new(&[last.len(), vocabulary], logits)?, state.into()))
        }
    }

    /// The state before anything is said.
    pub(crate) fn fresh(rows: usize) -> Array {
        vec![0i64; rows].into()
    }

    /// The log-probability of `tokens` behind `beginning`.
    pub(crate) fn log_probability(usable: usize, vocabulary: usize, beginning: &[i64], tokens: &[i64]) -> f64 {
        let mut step = remembering(usable, vocabulary);
        let limits = Limits::new(1).unwrap();
        let (mut state, mut sum) = (fresh(1), 0.0);
        let said: Vec<i64> = beginning.iter().chain(tokens).copied().collect();
        for (at, pair) in said.windows(2).enumerate() {
            let (scores, next) = advance(&mut step, at, &state, &pair[..1]).unwrap();
            if at + 1 >= beginning.len() {
                sum += scores.row(0, &limits, 0).unwrap()[pair[1] as usize];
            }
            state = next;
        }
        sum
    }

    #[test]
    fn states_are_gathered_row_by_row() {
        let state = (vec![Array::from([[1.0f32, 2.0], [3.0, 4.0]])], Array::from([7i64, 8]));
        let (parts, numbers) = state.gather(&[1, 1, 0]);
        assert_eq!(parts, [Array::from([[3.0f32, 4.0], [3.0, 4.0], [1.0, 2.0]])]);
        assert_eq!(numbers, Array::from([8i64, 8, 7]));
    }

    #[test]
    fn outputs_that_say_nothing_are_refused() {
        let limits = Limits::new(3).unwrap();
        let message = |output: Array| {
            greedy(|(): &(), _: &[i64]| Ok::<_, StepError>((output.clone(), ())), (), &[vec![0], vec![0]], &limits)
                .unwrap_err()
                .to_string()
        };
        let part = "step 0: the logits: expected floats of shape [2, vocabulary]";
        assert!(message(Array::from([0.0f32, 1.0])).contains(part));
        assert!(message(Array::from([[0.0f32, 1.0]])).contains("found f32[1, 2]"));
        assert!(message(Array::from([[0i64, 1], [0, 1]])).contains("found i64[2, 2]"));
        let nan = message([[0.0f32, 1.0], [0.0, f32::NAN]].into());
        assert_eq!(nan, "step 0: the logit of token 1 in row 1: expected a number below infinity, found NaN");
        let none = message([[f32::NEG_INFINITY; 2]; 2].into());
        assert!(
            none.contains("the logits of row 0: expected a token that can be said, found -inf for all 2"),
            "{none}"
        );
        let failed = greedy(|(): &(), _: &[i64]| Err::<(Array, ()), _>("no memory"), (), &[vec![0]], &limits);
        assert_eq!(failed.unwrap_err().to_string(), "step 0: no memory");
    }

    #[test]
    fn settings_that_cannot_be_followed_are_refused() {
        assert!(Limits::new(0).unwrap_err().to_string().contains("at most 0 tokens"));
        let limits = Limits::new(3).unwrap();
        let run = |beginnings: &[Vec<i64>], limits: &Limits| {
            greedy(remembering(3, 3), fresh(beginnings.len()), beginnings, limits).unwrap_err().to_string()
        };
        assert!(run(&[], &limits).contains("no rows"));
        assert!(run(&[vec![1], vec![]], &limits).contains("the empty beginning of row 1: a start token or a prompt"));
        let message = run(&[vec![1]], &limits.clone().stop_at([3]));
        assert_eq!(message, "the stop token 3: the vocabulary has 3 tokens, numbered from 0");
        assert!(run(&[vec![1, 7]], &limits).contains("the given token 7: the vocabulary has 3"));
        assert!(run(&[vec![1]], &limits.without([0, 1, 2])).contains("a token that can be said"));
    }
}
