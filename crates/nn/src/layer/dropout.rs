//! [`Dropout`].

use thalweg_graph::Tensor;

use crate::layer::{Forward, Layer};
use crate::module::without_variables;

/// In training, each number 0 with probability `rate`, else multiplied by 1/(1 − rate); otherwise nothing (Srivastava
/// et al. 2014).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    rate: f64,
}

impl Dropout {
    /// Drops with this probability.
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn new(rate: f64) -> Dropout {
        assert!((0.0..1.0).contains(&rate), "dropout: the rate is {rate}; it must be at least 0 and below 1");
        Dropout { rate }
    }

    /// The probability of 0.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

without_variables!(Dropout);

impl Layer for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        if cx.training() && self.rate > 0.0 { x.dropout(self.rate) } else { x.clone() }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::{DType, Graph, ones};

    use super::*;

    #[test]
    fn drops_in_training_and_keeps_the_mean() {
        let x = ones([10_000], DType::F32);
        let layer = Dropout::new(0.25);
        assert_eq!(layer.forward(&x, &mut Forward::infer()), x);
        let y = layer.forward(&x, &mut Forward::train());
        let y: Vec<f64> = interpret(&Graph::capture([&y], &[]), &Feeds::default()).unwrap().fetches[0].to_vec();
        let dropped = y.iter().filter(|&&y| y == 0.0).count();
        assert!((2300..2700).contains(&dropped), "{dropped}");
        assert!(y.iter().all(|&y| y == 0.0 || (y - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    #[should_panic(expected = "the rate is 1;")]
    fn a_rate_of_one_is_refused() {
        Dropout::new(1.0);
    }
}
