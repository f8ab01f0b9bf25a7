//! One token after the other: the likeliest, or by chance.

use thalweg_formats::array::Array;
use thalweg_formats::array::random::{Philox, stream};

use super::{Beginnings, DecodeError, Hypothesis, Limits, State, StepError, advance, refusal};

/// Says the likeliest token at every step; of equally likely ones the first.
///
/// ```
/// use thalweg_formats::array::Array;
/// use thalweg_train::decoding::{Limits, StepError, greedy};
///
/// // Counts: token n is followed by n + 1.
/// let count = |_: &(), last: &[i64]| {
///     let logits = last.iter().flat_map(|&last| (0..5).map(move |token| if token == last + 1 { 4.0f32 } else { 0.0 }));
///     Ok::<_, StepError>((Array::new(&[last.len(), 5], logits.collect())?, ()))
/// };
/// let said = greedy(count, (), &[vec![0], vec![2]], &Limits::new(10)?.stop_at([4]))?;
/// assert_eq!((&said[0].tokens[..], &said[1].tokens[..]), (&[1, 2, 3][..], &[3][..]));
/// # Ok::<(), thalweg_train::decoding::DecodeError>(())
/// ```
///
/// # Errors
/// If the step function fails or gives what are no logits, or a token that is given or ends a text is not in the
/// vocabulary.
pub fn greedy<S: State, E: Into<StepError>>(
    step: impl FnMut(&S, &[i64]) -> Result<(Array, S), E>,
    state: S,
    beginnings: &[Vec<i64>],
    limits: &Limits,
) -> Result<Vec<Hypothesis>, DecodeError> {
    let choose = |_: usize, _: usize, scores: &[f64]| {
        (0..scores.len()).fold(0, |best, token| if scores[token] > scores[best] { token } else { best })
    };
    run(step, state, beginnings, limits, choose, |_| {})
}

/// Says tokens by chance, each as often as it is likely. What is drawn is a function of the seed, the row and the step.
///
/// ```
/// use thalweg_formats::array::{Array, DType};
/// use thalweg_train::decoding::{Limits, Sampling, StepError};
///
/// let coin = |_: &(), last: &[i64]| Ok::<_, StepError>((Array::zeros(&[last.len(), 2], DType::F32), ()));
/// let said = Sampling::new(7).run(coin, (), &[vec![0]], &Limits::new(100)?)?;
/// let heads = said[0].tokens.iter().filter(|&&token| token == 1).count();
/// assert!((30..70).contains(&heads));
/// # Ok::<(), thalweg_train::decoding::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    seed: u64,
    temperature: f64,
    top_k: Option<usize>,
    top_p: f64,
}

impl Sampling {
    /// With this seed, from all tokens, as the model says.
    pub fn new(seed: u64) -> Sampling {
        Sampling { seed, temperature: 1.0, top_k: None, top_p: 1.0 }
    }

    /// With logits divided by `temperature`: below 1 likely tokens become likelier, above 1 all become alike.
    ///
    /// # Errors
    /// If it is not above 0.
    pub fn temperature(self, temperature: f64) -> Result<Sampling, DecodeError> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(refusal(format!("temperature {temperature}"), "it is above 0; `greedy` is what 0 would be"));
        }
        Ok(Sampling { temperature, ..self })
    }

    /// From the `k` likeliest tokens only (Fan et al. 2018).
    ///
    /// # Errors
    /// If it is 0.
    pub fn top_k(self, k: usize) -> Result<Sampling, DecodeError> {
        if k == 0 {
            return Err(refusal("the 0 likeliest tokens", "at least one is drawn from"));
        }
        Ok(Sampling { top_k: Some(k), ..self })
    }

    /// From the fewest tokens that together have probability `p`, the likeliest (Holtzman et al. 2020).
    ///
    /// # Errors
    /// If it is not above 0 and at most 1.
    pub fn top_p(self, p: f64) -> Result<Sampling, DecodeError> {
        if !(p > 0.0 && p <= 1.0) {
            return Err(refusal(format!("tokens that have probability {p}"), "it is above 0 and at most 1"));
        }
        Ok(Sampling { top_p: p, ..self })
    }

    /// What is said behind each beginning. The state has a row for each.
    ///
    /// # Errors
    /// As [`greedy`]; or if more of the likeliest tokens are asked for than there are.
    pub fn run<S: State, E: Into<StepError>>(
        &self,
        step: impl FnMut(&S, &[i64]) -> Result<(Array, S), E>,
        state: S,
        beginnings: &[Vec<i64>],
        limits: &Limits,
    ) -> Result<Vec<Hypothesis>, DecodeError> {
        self.run_watched(step, state, beginnings, limits, |_| {})
    }

    /// As [`run`](Sampling::run); after every step `see` is shown the token that each row says, if it says one: to show
    /// a text while it is written.
    ///
    /// # Errors
    /// As [`run`](Sampling::run).
    pub fn run_watched<S: State, E: Into<StepError>>(
        &self,
        mut step: impl FnMut(&S, &[i64]) -> Result<(Array, S), E>,
        state: S,
        beginnings: &[Vec<i64>],
        limits: &Limits,
        see: impl FnMut(&[Option<i64>]),
    ) -> Result<Vec<Hypothesis>, DecodeError> {
        let generator = Philox::new(self.seed, stream("decoding", 0));
        let choose =
            |row: usize, at: usize, scores: &[f64]| self.draw(scores, generator.uniform(row as u64, at as u64));
        let checked = |state: &S, last: &[i64]| -> Result<(Array, S), StepError> {
            let (output, state) = step(state, last).map_err(Into::into)?;
            let vocabulary = output.shape().last().copied().unwrap_or(0);
            match self.top_k {
                Some(k) if k > vocabulary => {
                    Err(format!("the {k} likeliest of a vocabulary of {vocabulary} tokens").into())
                }
                _ => Ok((output, state)),
            }
        };
        run(checked, state, beginnings, limits, choose, see)
    }

    /// The token at which the sum of the probabilities passes `u`, from 0 to 1, the likeliest first.
    fn draw(&self, scores: &[f64], u: f32) -> usize {
        let mut tokens: Vec<usize> = (0..scores.len()).filter(|&token| scores[token] > f64::NEG_INFINITY).collect();
        tokens.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        tokens.truncate(self.top_k.unwrap_or(usize::MAX));
        let largest = scores[tokens[0]];
        let weights: Vec<f64> =
            tokens.iter().map(|&token| ((scores[token] - largest) / self.temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let (mut n, mut kept) = (0, 0.0);
        while n < weights.len() && kept < self.top_p * total {
            kept += weights[n];
            n += 1;
        }
        let mut left = u as f64 * kept;
        for (&token, weight) in tokens.iter().zip(&weights).take(n) {
            if left < *weight {
                return token;
            }
            left -= weight;
        }
        tokens[n - 1]
    }
}

/// Steps until all rows have ended; `choose` picks the next token of a row at a step.
fn run<S: State, E: Into<StepError>>(
    mut step: impl FnMut(&S, &[i64]) -> Result<(Array, S), E>,
    mut state: S,
    beginnings: &[Vec<i64>],
    limits: &Limits,
    mut choose: impl FnMut(usize, usize, &[f64]) -> usize,
    mut see: impl FnMut(&[Option<i64>]),
) -> Result<Vec<Hypothesis>, DecodeError> {
    let given = Beginnings::new(beginnings)?;
    let mut said =
        vec![Hypothesis { tokens: Vec::new(), log_probability: 0.0, score: 0.0, ended: false }; beginnings.len()];
    let mut last: Vec<i64> = beginnings.iter().map(|tokens| tokens[0]).collect();
    for at in 0..given.steps(limits) {
        let done = |row: usize, said: &Hypothesis| {
            said.ended || (given.given(row, at).is_none() && said.tokens.len() == limits.max_tokens)
        };
        if said.iter().enumerate().all(|(row, said)| done(row, said)) {
            break;
        }
        let (scores, next) = advance(&mut step, at, &state, &last)?;
        if at == 0 {
            scores.check(limits, &given)?;
        }
        state = next;
        let mut new = vec![None; said.len()];
        for (row, said) in said.iter_mut().enumerate() {
            if let Some(token) = given.given(row, at) {
                last[row] = token;
            } else if !done(row, said) {
                let scores = scores.row(row, limits, row)?;
                let token = choose(row, at, &scores);
                said.log_probability += scores[token];
                said.score = said.log_probability;
                last[row] = token as i64;
                if limits.stop.contains(&last[row]) {
                    said.ended = true;
                } else {
                    said.tokens.push(last[row]);
                    new[row] = Some(last[row]);
                }
            }
        }
        see(&new);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::tests::{fresh, log_probability, remembering};

    #[test]
    fn greedy_takes_the_likeliest_and_scores_it() {
        let limits = Limits::new(6).unwrap().stop_at([0]);
        let beginnings = [vec![1], vec![2, 3, 1], vec![3]];
        let said = greedy(remembering(5, 5), fresh(3), &beginnings, &limits).unwrap();
        for (beginning, said) in beginnings.iter().zip(&said) {
            let mut behind = beginning.clone();
            for &token in said.tokens.iter().chain(said.ended.then_some(&0)) {
                let score = |token: i64| log_probability(5, 5, &behind, &[token]);
                assert!((0..5).all(|other| score(other) <= score(token)), "{behind:?} {token}");
                behind.push(token);
            }
            let ended: Vec<i64> = behind[beginning.len()..].to_vec();
            assert!((said.log_probability - log_probability(5, 5, beginning, &ended)).abs() < 1e-9);
            assert!(said.ended || said.tokens.len() == 6);
            // A row says the same whatever stands beside it.
            assert_eq!(
                greedy(remembering(5, 5), fresh(1), std::slice::from_ref(beginning), &limits).unwrap()[0],
                *said
            );
        }
    }

    #[test]
    fn samples_come_as_often_as_they_are_likely() {
        let logits = [0.1f64, 0.4, 0.2, 0.3].map(f64::ln);
        let shares = |sampling: Sampling| {
            let coin = |(): &(), last: &[i64]| {
                Ok::<_, StepError>((Array::new(&[last.len(), 4], [logits; 10_000].concat())?, ()))
            };
            let said = sampling.run(coin, (), &vec![vec![0]; 10_000], &Limits::new(1).unwrap()).unwrap();
            [0, 1, 2, 3].map(|token| said.iter().filter(|said| said.tokens == [token]).count() as f64 / 10_000.0)
        };
        let close = |found: [f64; 4], expected: [f64; 4]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02), "{found:?} {expected:?}");
        };
        let plain = Sampling::new(3);
        close(shares(plain), [0.1, 0.4, 0.2, 0.3]);
        assert_eq!(shares(plain), shares(Sampling::new(3)));
        assert_ne!(shares(plain), shares(Sampling::new(4)));
        close(shares(plain.top_k(2).unwrap()), [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        // 0.4 and 0.3 are 0.7, too few; the third makes it 0.9.
        close(shares(plain.top_p(0.75).unwrap()), [0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
        close(shares(plain.top_p(0.2).unwrap()), [0.0, 1.0, 0.0, 0.0]);
        let squares = 0.01 + 0.16 + 0.04 + 0.09;
        close(shares(plain.temperature(0.5).unwrap()), [0.01, 0.16, 0.04, 0.09].map(|x| x / squares));
        close(shares(plain.temperature(1e-3).unwrap()), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_said_can_be_watched() {
        let limits = Limits::new(4).unwrap().stop_at([0]);
        let mut seen = [Vec::new(), Vec::new()];
        let said = Sampling::new(1)
            .run_watched(remembering(4, 4), fresh(2), &[vec![1, 2], vec![3]], &limits, |tokens| {
                seen.iter_mut().zip(tokens).for_each(|(seen, token)| seen.extend(*token));
            })
            .unwrap();
        assert_eq!(seen.each_ref().map(|tokens| &tokens[..]), [&said[0].tokens[..], &said[1].tokens[..]]);
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let plain = Sampling::new(0);
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let message = plain.temperature(temperature).unwrap_err().to_string();
            assert!(message.contains(&format!("temperature {temperature}: it is above 0")), "{message}");
        }
        assert!(plain.top_k(0).unwrap_err().to_string().contains("the 0 likeliest"));
        assert!(plain.top_p(1.5).unwrap_err().to_string().contains("probability 1.5"));
        let limits = Limits::new(1).unwrap();
        let wide = plain.top_k(6).unwrap().run(remembering(5, 5), fresh(1), &[vec![0]], &limits);
        assert_eq!(wide.unwrap_err().to_string(), "step 0: the 6 likeliest of a vocabulary of 5 tokens");
    }
}
