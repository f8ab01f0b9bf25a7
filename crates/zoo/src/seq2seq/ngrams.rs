//! [`NGrams`]: how often each token stands behind others, the measure of all that claims to know more.

use std::collections::HashMap;

/// A language model of counts: of each token behind the `order` − 1 before it, of which a part is taken off and given to shorter
/// contexts (interpolated absolute discounting; Ney, Essen, Kneser 1994).
#[derive(Clone, Debug)]
pub(crate) struct NGrams {
    /// By length of the context, from none.
    contexts: Vec<HashMap<Vec<i64>, Continuations>>,
    vocabulary: usize,
}

/// What stands behind a context.
#[derive(Clone, Debug, Default)]
struct Continuations {
    total: u64,
    counts: HashMap<i64, u64>,
}

/// What is taken off each count.
const DISCOUNT: f64 = 0.75;

/// Stands before the first token.
const BEGINNING: i64 = -1;

impl NGrams {
    /// Of texts of tokens below `vocabulary`, their ends included.
    pub(crate) fn of(order: usize, vocabulary: usize, texts: &[Vec<i64>]) -> NGrams {
        let mut contexts: Vec<HashMap<Vec<i64>, Continuations>> = vec![HashMap::new(); order];
        for text in texts {
            for_each(order, text, |context, token| {
                for (length, contexts) in contexts.iter_mut().enumerate() {
                    let found = contexts.entry(context[order - 1 - length..].to_vec()).or_default();
                    found.total += 1;
                    *found.counts.entry(token).or_default() += 1;
                }
            });
        }
        NGrams { contexts, vocabulary }
    }

    /// Of the token behind these.
    fn probability(&self, context: &[i64], token: i64) -> f64 {
        let mut probability = 1.0 / self.vocabulary as f64;
        for (length, contexts) in self.contexts.iter().enumerate() {
            if let Some(Continuations { total, counts }) = contexts.get(&context[context.len() - length..]) {
                let count = counts.get(&token).map_or(0.0, |&count| count as f64 - DISCOUNT);
                probability = (count + DISCOUNT * counts.len() as f64 * probability) / *total as f64;
            }
        }
        probability
    }

    /// Of all tokens of these texts together.
    pub(crate) fn perplexity(&self, texts: &[Vec<i64>]) -> f64 {
        let (mut nats, mut tokens) = (0.0, 0.0);
        for text in texts {
            for_each(self.contexts.len(), text, |context, token| {
                nats -= self.probability(context, token).ln();
                tokens += 1.0;
            });
        }
        f64::exp(nats / tokens)
    }
}

/// Each token of a text with the `order` − 1 before it.
fn for_each(order: usize, text: &[i64], mut see: impl FnMut(&[i64], i64)) {
    let padded = [&vec![BEGINNING; order - 1][..], text].concat();
    padded.windows(order).for_each(|window| see(&window[..order - 1], window[order - 1]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_and_contexts_help() {
        let texts = [vec![1, 2, 3, 0], vec![1, 2, 0], vec![3, 2, 3, 0]];
        for order in 1..4 {
            let model = NGrams::of(order, 5, &texts);
            for context in [[1, 2, 3], [4, 4, 4], [BEGINNING, 1, 2]] {
                let sum: f64 = (0..5).map(|token| model.probability(&context[..order - 1], token)).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{order} {context:?} {sum}");
            }
        }
        let perplexity = |order| NGrams::of(order, 5, &texts).perplexity(&texts);
        assert!(perplexity(3) < perplexity(2) && perplexity(2) < perplexity(1), "{}", perplexity(3));
        // Without contexts: 11 tokens, of which 3 are 0, 2 are 1, 3 are 2 and 3 are 3.
        let model = NGrams::of(1, 5, &texts);
        assert!((model.probability(&[], 1) - (2.0 - 0.75 + 0.75 * 4.0 / 5.0) / 11.0).abs() < 1e-12);
    }
}
