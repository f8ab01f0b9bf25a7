//! [`NGrams`]: how often each token stands behind others, the measure of all that claims to know more.

use std::collections::HashMap;

/// A language model of counts: of each token behind the `order` − 1 before it, of which a part is taken off and given to shorter
/// contexts. Those count behind how many different tokens they stand, not how often (interpolated Kneser-Ney smoothing; Kneser,
/// Ney 1995; Chen, Goodman 1999).
#[derive(Clone, Debug)]
pub(crate) struct NGrams {
    /// By length of the context, from none.
    contexts: Vec<HashMap<Vec<i64>, Continuations>>,
    /// What is taken off each count, by length of the context.
    discounts: Vec<f64>,
    vocabulary: usize,
}

/// What stands behind a context.
#[derive(Clone, Debug, Default)]
struct Continuations {
    total: u64,
    counts: HashMap<i64, u64>,
}

impl Continuations {
    fn add(&mut self, token: i64) {
        self.total += 1;
        *self.counts.entry(token).or_default() += 1;
    }
}

/// Stands before the first token.
const BEGINNING: i64 = -1;

impl NGrams {
    /// Of texts of tokens below `vocabulary`, their ends included.
    pub(crate) fn of(order: usize, vocabulary: usize, texts: &[Vec<i64>]) -> NGrams {
        let mut longest: HashMap<Vec<i64>, Continuations> = HashMap::new();
        for text in texts {
            for_each(order, text, |context, token| longest.entry(context.to_vec()).or_default().add(token));
        }
        let mut contexts = vec![longest];
        for _ in 1..order {
            let mut shorter: HashMap<Vec<i64>, Continuations> = HashMap::new();
            for (context, continuations) in contexts.last().expect("the longest") {
                let shorter = shorter.entry(context[1..].to_vec()).or_default();
                continuations.counts.keys().for_each(|&token| shorter.add(token));
            }
            contexts.push(shorter);
        }
        contexts.reverse();
        NGrams { discounts: contexts.iter().map(discount).collect(), contexts, vocabulary }
    }

    /// Of the token behind these.
    fn probability(&self, context: &[i64], token: i64) -> f64 {
        let mut probability = 1.0 / self.vocabulary as f64;
        for (length, (contexts, discount)) in self.contexts.iter().zip(&self.discounts).enumerate() {
            if let Some(Continuations { total, counts }) = contexts.get(&context[context.len() - length..]) {
                let count = counts.get(&token).map_or(0.0, |&count| count as f64 - discount);
                probability = (count + discount * counts.len() as f64 * probability) / *total as f64;
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

/// What is best taken off counts (Ney, Essen, Kneser 1994): n₁ / (n₁ + 2 n₂), where n₁ counts are 1 and n₂ are 2. Both are
/// counted once more, so that something is left for what was never seen.
fn discount(contexts: &HashMap<Vec<i64>, Continuations>) -> f64 {
    let of = |wanted| {
        let counts = contexts.values().flat_map(|continuations| continuations.counts.values());
        counts.filter(|&&count| count == wanted).count() as f64 + 1.0
    };
    of(1) / (of(1) + 2.0 * of(2))
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
    }

    #[test]
    fn short_contexts_count_what_stands_before() {
        let texts = [vec![1, 2, 0], vec![1, 2, 0], vec![3, 2, 0], vec![1, 1, 0]];
        // Alone: of 12 tokens 4 are 1, once more than 2; one count is 1, none is 2: with one more of each, 2 / (2 + 2 · 1).
        let alone = NGrams::of(1, 5, &texts);
        assert!((alone.probability(&[], 1) - (4.0 - 0.5 + 0.5 * 4.0 / 5.0) / 12.0).abs() < 1e-12);
        // Behind others: 1 stands behind the beginning and 1; 2 behind 1 and 3; 3 behind the beginning; 0 behind 1 and 2.
        let pairs = NGrams::of(2, 5, &texts);
        assert_eq!(pairs.contexts[0][&vec![]].total, 7);
        assert_eq!(pairs.contexts[0][&vec![]].counts[&0], 2);
        let shorter = |token, count: f64| {
            let (discount, known) = (pairs.discounts[0], 4.0);
            assert!((pairs.probability(&[4], token) - (count - discount + discount * known / 5.0) / 7.0).abs() < 1e-12);
        };
        shorter(1, 2.0);
        shorter(3, 1.0);
        // One of the four counts of the shorter contexts is 1, three are 2.
        assert_eq!(pairs.discounts[0], 2.0 / (2.0 + 2.0 * 4.0));
    }
}
