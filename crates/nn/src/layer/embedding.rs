//! [`Embedding`]: a vector of one's own for each token.

use thalweg_graph::{Tensor, Variable};

use crate::Module;
use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, Layer};

/// The rows of a table that tokens name: i32 or i64 `[…] → […, features]`. A token that has no row fails the run and is named.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{Embedding, Forward, Init, Layer};
///
/// let words = Init::build(1, |init| Embedding::new(init, 10_000, 64).padding(0));
/// let text = placeholder("text", DType::I32, ("batch", "time"));
/// assert_eq!(words.forward(&text, &mut Forward::infer()).meta().to_string(), "f32[batch,time,64]");
/// ```
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[tokens, features]`.
    pub weight: Variable,
    /// The token whose vector is 0 and stays 0.
    pub padding: Option<usize>,
}

impl Embedding {
    /// Vectors of `features` numbers for so many tokens, normal with deviation 1.
    #[track_caller]
    pub fn new(init: &mut Init, tokens: usize, features: usize) -> Embedding {
        Embedding::with(init, tokens, features, Initializer::Normal { mean: 0.0, std: 1.0 })
    }

    /// Vectors that begin so.
    #[track_caller]
    pub fn with(init: &mut Init, tokens: usize, features: usize, weight: Initializer) -> Embedding {
        Embedding { weight: init.variable(&[tokens, features], weight), padding: None }
    }

    /// With this table, such as that of word vectors trained elsewhere; `freeze` it to keep it.
    ///
    /// # Panics
    /// If it is not a table of floats.
    #[track_caller]
    pub fn of(weight: Variable) -> Embedding {
        if weight.rank() != 2 || !weight.dtype().is_float() {
            refuse("embedding", &[("weight", &weight)], "a table has the axes tokens and features, and holds floats");
        }
        Embedding { weight, padding: None }
    }

    /// The vector of this token is 0, whatever its row holds, and training leaves the row alone.
    ///
    /// # Panics
    /// If there is no such token.
    #[track_caller]
    pub fn padding(self, token: usize) -> Embedding {
        if self.weight.size(0).number().is_some_and(|tokens| token >= tokens) {
            refuse("embedding", &[("weight", &self.weight)], format!("there is no token {token} that could pad"));
        }
        Embedding { padding: Some(token), ..self }
    }

    /// The score of each token: the product of `[…, features]` with its vector (Press and Wolf 2017, tied weights).
    ///
    /// # Panics
    /// If the last axis of `x` is not `features`.
    #[track_caller]
    pub fn scores(&self, x: &Tensor) -> Tensor {
        let features = self.weight.size(1);
        if x.rank() == 0 || x.size(-1) != features {
            let reason = format!("the last axis of x must have {features} features");
            refuse("embedding", &[("x", x), ("weight", &self.weight)], reason);
        }
        x.matmul(&self.weight.t())
    }
}

impl Layer for Embedding {
    /// # Panics
    /// If the tokens are not i32 or i64.
    #[track_caller]
    fn forward(&self, tokens: &Tensor, _: &mut Forward) -> Tensor {
        let vectors = self.weight.gather(tokens, 0);
        match self.padding {
            Some(padding) => {
                let is_padding = tokens.equal(padding as i64).unsqueeze(-1);
                is_padding.select(&vectors.zeros_like(), vectors)
            }
            None => vectors,
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, DType, constant, grad, placeholder};

    use super::*;
    use crate::testing::State;

    fn table() -> Embedding {
        Embedding::of(Variable::new("table", Array::from([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])))
    }

    #[test]
    fn tokens_get_their_rows_and_padding_none() {
        let tokens = constant([[2i64, 0], [1, 2]]);
        let rows = table().forward(&tokens, &mut Forward::train());
        let rows = State::default().fetch(&[&rows], &[], &[]).remove(0);
        assert_eq!(rows, [5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);

        let padded = table().padding(2);
        let rows = padded.forward(&tokens, &mut Forward::train());
        let gradient = grad(&rows.sum(), &[&padded.weight]).remove(0);
        let found = State::default().fetch(&[&rows, &gradient], &[], &[]);
        assert_eq!(found[0], [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(found[1], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn rows_that_are_met_twice_add_up_and_scores_share_the_table() {
        let embedding = table();
        let rows = embedding.forward(&constant([1i32, 0, 1]), &mut Forward::train());
        let weighted = rows * constant([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]);
        let gradient = grad(&weighted.sum(), &[&embedding.weight]).remove(0);
        let scores = embedding.scores(&constant([[1.0, 0.5]]));
        let found = State::default().fetch(&[&gradient, &scores], &[], &[]);
        assert_eq!(found, [vec![2.0, 20.0, 4.0, 40.0, 0.0, 0.0], vec![2.0, 5.0, 8.0]]);
    }

    #[test]
    #[should_panic(expected = "embedding: there is no token 3 that could pad")]
    fn padding_beyond_the_table_is_refused() {
        table().padding(3);
    }

    #[test]
    #[should_panic(expected = "the indices are f32; they must be i32 or i64")]
    fn tokens_that_are_no_integers_are_refused() {
        table().forward(&placeholder("x", DType::F32, ["n"]), &mut Forward::infer());
    }

    #[test]
    #[should_panic(expected = "embedding: the last axis of x must have 2 features")]
    fn scores_of_another_width_are_refused() {
        table().scores(&placeholder("x", DType::F64, ("n", 3)));
    }
}
