//! Beam search: the likeliest texts among those that begin well.

use thalweg_formats::array::Array;

use super::{Beginnings, DecodeError, Hypothesis, Limits, Scores, State, StepError, advance, refusal};

/// Keeps the `width` likeliest beginnings of a text at every step, and finds the likeliest texts that go on from them.
///
/// Texts are ranked by score: the logarithm of the probability, or with [length
/// normalization](Beam::length_normalization) that divided by a power of the length. A search ends when no beginning
/// that is left can still become one of the best: as tokens only make a text less likely, the score it would have if
/// all that is left were certain is a bound.
///
/// ```
/// use thalweg_formats::array::Array;
/// use thalweg_train::decoding::{Beam, Limits, StepError};
///
/// // Behind 0 comes 1 or 2; behind 2 surely 3, behind 1 anything.
/// let rows = [[0.0f64, 0.6, 0.4, 0.0], [0.2, 0.2, 0.2, 0.4], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]];
/// let model = |_: &(), last: &[i64]| {
///     let logits = last.iter().flat_map(|&last| rows[last as usize].map(f64::ln)).collect();
///     Ok::<_, StepError>((Array::new(&[last.len(), 4], logits)?, ()))
/// };
/// let limits = Limits::new(3)?.stop_at([3]);
/// let best = Beam::new(3)?.n_best(2)?.run(model, (), &[vec![0]], &limits)?;
/// assert_eq!((&best[0][0].tokens[..], &best[0][1].tokens[..]), (&[2][..], &[1][..]));
/// assert!((best[0][0].log_probability - 0.4f64.ln()).abs() < 1e-12);
/// # Ok::<(), thalweg_train::decoding::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    width: usize,
    n_best: usize,
    exponent: f64,
    diversity: f64,
}

/// A text that goes on.
#[derive(Clone, Debug)]
struct Open {
    tokens: Vec<i64>,
    log_probability: f64,
    /// The row of the state it goes on from.
    row: usize,
}

/// The search behind one beginning.
struct Search {
    open: Vec<Open>,
    /// The best that have ended, the best first.
    ended: Vec<Hypothesis>,
}

impl Beam {
    /// Of `width` beginnings; the best text alone is returned.
    ///
    /// # Errors
    /// If it is 0.
    pub fn new(width: usize) -> Result<Beam, DecodeError> {
        if width == 0 {
            return Err(refusal("a beam of width 0", "at least one beginning is kept"));
        }
        Ok(Beam { width, n_best: 1, exponent: 0.0, diversity: 0.0 })
    }

    /// Returns the `n` best texts.
    ///
    /// # Errors
    /// If it is 0 or more than the width.
    pub fn n_best(self, n: usize) -> Result<Beam, DecodeError> {
        if n == 0 || n > self.width {
            return Err(refusal(
                format!("the {n} best texts"),
                format!("a beam of width {} finds as many", self.width),
            ));
        }
        Ok(Beam { n_best: n, ..self })
    }

    /// Returns as many of the best texts as there are beginnings.
    #[must_use]
    pub fn all(self) -> Beam {
        Beam { n_best: self.width, ..self }
    }

    /// How many of the best texts it returns.
    pub fn wanted(&self) -> usize {
        self.n_best
    }

    /// Divides the logarithm of the probability by the length to this power, the token that ends a text counted: 0
    /// leaves it, so that short texts are preferred, 1 takes the mean of the tokens.
    ///
    /// # Errors
    /// If it is negative or no number.
    pub fn length_normalization(self, exponent: f64) -> Result<Beam, DecodeError> {
        if !(exponent >= 0.0 && exponent.is_finite()) {
            return Err(refusal(format!("length normalization by {exponent}"), "the power is at least 0"));
        }
        Ok(Beam { exponent, ..self })
    }

    /// Takes `penalty` off a continuation for each likelier one of the same beginning while beginnings are chosen, so
    /// that they do not all come of one (Li, Monroe, Jurafsky 2016). Scores are without it.
    ///
    /// # Errors
    /// If it is negative or no number.
    pub fn diversity(self, penalty: f64) -> Result<Beam, DecodeError> {
        if !(penalty >= 0.0 && penalty.is_finite()) {
            return Err(refusal(format!("a diversity penalty of {penalty}"), "it is at least 0"));
        }
        Ok(Beam { diversity: penalty, ..self })
    }

    /// The best texts behind each beginning, the best first; fewer than asked for if there are no more. The state has a
    /// row for each beginning. Texts that the limit cut stand among the others by their score.
    ///
    /// # Errors
    /// If the step function fails or gives what are no logits; the beam is wider than the vocabulary; or a token that
    /// is given or ends a text is not in the vocabulary.
    pub fn run<S: State, E: Into<StepError>>(
        &self,
        mut step: impl FnMut(&S, &[i64]) -> Result<(Array, S), E>,
        state: S,
        beginnings: &[Vec<i64>],
        limits: &Limits,
    ) -> Result<Vec<Vec<Hypothesis>>, DecodeError> {
        let given = Beginnings::new(beginnings)?;
        // Each beginning has `width` rows throughout, so that all steps have the same sizes.
        let rows: Vec<usize> = (0..beginnings.len()).flat_map(|row| vec![row; self.width]).collect();
        let mut state = state.gather(&rows);
        let mut last: Vec<i64> = rows.iter().map(|&row| beginnings[row][0]).collect();
        let begin = |row| Search {
            open: vec![Open { tokens: Vec::new(), log_probability: 0.0, row: row * self.width }],
            ended: Vec::new(),
        };
        let mut searches: Vec<Search> = (0..beginnings.len()).map(begin).collect();
        for at in 0..given.steps(limits) {
            if searches.iter().all(|search| search.open.is_empty()) {
                break;
            }
            let (scores, next) = advance(&mut step, at, &state, &last)?;
            if at == 0 {
                self.check(&scores)?;
                scores.check(limits, &given)?;
            }
            let mut rows: Vec<usize> = (0..last.len()).collect();
            for (row, search) in searches.iter_mut().enumerate() {
                if let Some(token) = given.given(row, at) {
                    last[row * self.width..][..self.width].fill(token);
                    continue;
                }
                self.extend(search, &scores, limits, row)?;
                for (to, open) in (row * self.width..).zip(&mut search.open) {
                    last[to] = *open.tokens.last().expect("extended");
                    rows[to] = std::mem::replace(&mut open.row, to);
                }
            }
            state = next.gather(&rows);
        }
        Ok(searches.into_iter().map(|search| search.ended).collect())
    }

    fn check(&self, scores: &Scores) -> Result<(), DecodeError> {
        if self.width > scores.vocabulary {
            let reason = format!("the vocabulary has {} tokens, and no more can follow a beginning", scores.vocabulary);
            return Err(refusal(format!("a beam of width {}", self.width), reason));
        }
        Ok(())
    }

    /// Goes on by one token from every open text, and keeps the best.
    fn extend(&self, search: &mut Search, scores: &Scores, limits: &Limits, row: usize) -> Result<(), DecodeError> {
        struct Next {
            from: usize,
            token: usize,
            log_probability: f64,
            rank: f64,
        }
        let mut all: Vec<Next> = Vec::new();
        for (from, open) in search.open.iter().enumerate() {
            let scores = scores.row(open.row, limits, row)?;
            let mut tokens: Vec<usize> = (0..scores.len()).filter(|&token| scores[token] > f64::NEG_INFINITY).collect();
            tokens.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            // Behind these, `width` others of the same text are better and go on.
            tokens.truncate(self.width + limits.stop.len());
            all.extend(tokens.into_iter().enumerate().map(|(siblings, token)| {
                let log_probability = open.log_probability + scores[token];
                Next { from, token, log_probability, rank: log_probability - self.diversity * siblings as f64 }
            }));
        }
        all.sort_by(|a, b| b.rank.total_cmp(&a.rank).then((a.from, a.token).cmp(&(b.from, b.token))));
        let mut open = Vec::new();
        for (position, Next { from, token, log_probability, .. }) in all.into_iter().enumerate() {
            let from = &search.open[from];
            let (token, length) = (token as i64, from.tokens.len() + 1);
            let stops = limits.stop.contains(&token);
            let mut tokens = from.tokens.clone();
            if !stops {
                tokens.push(token);
            }
            if stops || length == limits.max_tokens {
                // An end that others crowd out is none: the unlikely ends of short texts would outdo all long ones.
                if position < self.width {
                    let score = self.score(log_probability, length);
                    let at = search.ended.partition_point(|other| other.score >= score);
                    search.ended.insert(at, Hypothesis { tokens, log_probability, score, ended: stops });
                    search.ended.truncate(self.n_best);
                }
            } else if open.len() < self.width {
                open.push(Open { tokens, log_probability, row: from.row });
            }
        }
        if search.ended.len() == self.n_best {
            let worst = search.ended[self.n_best - 1].score;
            open.retain(|open| self.score(open.log_probability, limits.max_tokens) > worst);
        }
        search.open = open;
        Ok(())
    }

    fn score(&self, log_probability: f64, length: usize) -> f64 {
        log_probability / (length as f64).powf(self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::greedy;
    use crate::decoding::tests::{fresh, log_probability, remembering};

    /// All texts of tokens 0, 1 and 2, of which 0 ends them, of at most `longest` tokens, with their scores, the best
    /// first.
    fn exhaustive(vocabulary: usize, beginning: &[i64], longest: usize, exponent: f64) -> Vec<Hypothesis> {
        let mut texts = Vec::new();
        let mut open: Vec<Vec<i64>> = vec![vec![]];
        for length in 1..=longest {
            let longer: Vec<Vec<i64>> =
                open.iter().flat_map(|text| [0, 1, 2].map(|token| [&text[..], &[token]].concat())).collect();
            open.clear();
            for text in longer {
                let ended = text.last() == Some(&0);
                if ended || length == longest {
                    let log_probability = log_probability(3, vocabulary, beginning, &text);
                    let score = log_probability / (length as f64).powf(exponent);
                    let tokens = text[..text.len() - usize::from(ended)].to_vec();
                    texts.push(Hypothesis { tokens, log_probability, score, ended });
                } else {
                    open.push(text);
                }
            }
        }
        texts.sort_by(|a, b| b.score.total_cmp(&a.score));
        texts
    }

    /// With two tokens that go on and 64 rows, none of the at most 48 continuations of a step is lost.
    #[test]
    fn a_wide_beam_finds_what_exhaustive_search_finds() {
        let limits = Limits::new(5).unwrap().stop_at([0]);
        let beginnings: Vec<Vec<i64>> = (0..12).map(|row| vec![row, 1 + row % 2, 2]).collect();
        for exponent in [0.0, 0.6, 1.0] {
            let beam = Beam::new(64).unwrap().n_best(7).unwrap().length_normalization(exponent).unwrap();
            let found = beam.run(remembering(3, 64), fresh(12), &beginnings, &limits).unwrap();
            for (beginning, found) in beginnings.iter().zip(&found) {
                let all = exhaustive(64, beginning, 5, exponent);
                assert_eq!(found.len(), 7);
                for (found, expected) in found.iter().zip(&all) {
                    assert_eq!((&found.tokens, found.ended), (&expected.tokens, expected.ended));
                    assert!((found.score - expected.score).abs() < 1e-9, "{found:?} {expected:?}");
                    assert!((found.log_probability - expected.log_probability).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn a_narrow_beam_says_true_scores_and_rows_do_not_meet() {
        let limits = Limits::new(6).unwrap().stop_at([0]);
        let beginnings = [vec![1], vec![2, 2], vec![1, 1, 2]];
        let beam = Beam::new(3).unwrap().n_best(3).unwrap();
        let together = beam.run(remembering(8, 8), fresh(3), &beginnings, &limits).unwrap();
        for (beginning, texts) in beginnings.iter().zip(&together) {
            let alone = beam.run(remembering(8, 8), fresh(1), std::slice::from_ref(beginning), &limits).unwrap();
            assert_eq!(alone[0], *texts);
            for text in texts {
                let ended = [&text.tokens[..], if text.ended { &[0] } else { &[] }].concat();
                assert!((text.log_probability - log_probability(8, 8, beginning, &ended)).abs() < 1e-9);
            }
            assert!(texts.windows(2).all(|pair| pair[0].score >= pair[1].score));
        }
    }

    #[test]
    fn a_beam_of_one_is_greedy() {
        let limits = Limits::new(6).unwrap().stop_at([0]).without([3]);
        let beginnings: Vec<Vec<i64>> = (1..8).map(|token| vec![token]).collect();
        let beam = Beam::new(1).unwrap().run(remembering(8, 8), fresh(7), &beginnings, &limits).unwrap();
        let greedy = greedy(remembering(8, 8), fresh(7), &beginnings, &limits).unwrap();
        for (beam, greedy) in beam.into_iter().zip(greedy) {
            assert!(!greedy.tokens.contains(&3));
            assert_eq!(beam, [greedy]);
        }
    }

    /// Behind 0 comes 1 (0.9) or 2 (0.1); behind each of them 3 to 6, evenly but a little.
    fn forked(_: &(), last: &[i64]) -> Result<(Array, ()), StepError> {
        let row = |last: i64| match last {
            0 => [0.0, 0.9, 0.1, 0.0, 0.0, 0.0, 0.0],
            _ => [0.0, 0.0, 0.0, 0.28, 0.26, 0.24, 0.22f64],
        };
        let logits = last.iter().flat_map(|&last| row(last).map(f64::ln)).collect();
        Ok((Array::new(&[last.len(), 7], logits)?, ()))
    }

    #[test]
    fn diversity_lets_other_beginnings_live() {
        let limits = Limits::new(3).unwrap();
        let firsts = |penalty: f64| -> Vec<i64> {
            let beam = Beam::new(3).unwrap().n_best(3).unwrap().diversity(penalty).unwrap();
            beam.run(forked, (), &[vec![0]], &limits).unwrap()[0].iter().map(|text| text.tokens[0]).collect()
        };
        assert_eq!(firsts(0.0), [1, 1, 1]);
        let diverse = firsts(3.0);
        assert!(diverse.contains(&2), "{diverse:?}");
    }

    #[test]
    fn beams_that_cannot_be_are_refused() {
        assert!(Beam::new(0).unwrap_err().to_string().contains("a beam of width 0"));
        let beam = Beam::new(4).unwrap();
        assert_eq!(beam.n_best(5).unwrap_err().to_string(), "the 5 best texts: a beam of width 4 finds as many");
        assert!(beam.length_normalization(-1.0).unwrap_err().to_string().contains("normalization by -1"));
        assert!(beam.diversity(f64::NAN).unwrap_err().to_string().contains("penalty of NaN"));
        let limits = Limits::new(3).unwrap();
        let message = beam.run(remembering(3, 3), fresh(1), &[vec![0]], &limits).unwrap_err().to_string();
        assert_eq!(message, "a beam of width 4: the vocabulary has 3 tokens, and no more can follow a beginning");
        let message = beam.run(remembering(5, 5), fresh(1), &[vec![]], &limits).unwrap_err().to_string();
        assert!(message.contains("the empty beginning of row 0"), "{message}");
    }
}
