//! [`Dropout`].

use thalweg_graph::Tensor;

use crate::layer::{Forward, Layer};
use crate::module::without_variables;

/// In training, each number 0 with probability `rate`, else multiplied by 1/(1 − rate); otherwise nothing (Srivastava
/// et al. 2014).
///
/// Numbers that stand [`along`](Dropout::along) some axes go or stay together:
///
/// | what goes | of | along |
/// | --- | --- | --- |
/// | units | anything | none |
/// | channels (Tompson et al. 2015) | `[batch, channel, y, x]` | 2, 3 |
/// | whole words | `[batch, time, feature]` | 2 |
/// | the same units at each time (Gal and Ghahramani 2016) | `[batch, time, feature]` | 1 |
/// | rows of an embedding matrix | `[word, feature]` | 1 |
/// | weights (DropConnect, Wan et al. 2013): `forward` on the weight | `[in, out]` | none |
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::{Dropout, Forward, Layer};
/// let pictures = placeholder("pictures", DType::F32, ("batch", 16, 28, 28));
/// let channels = Dropout::new(0.2).along(&[2, 3]).forward(&pictures, &mut Forward::train());
/// assert_eq!(channels.meta(), pictures.meta());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    rate: f64,
    along: Vec<isize>,
}

impl Dropout {
    /// Drops with this probability.
    ///
    /// # Panics
    /// If the rate is outside [0, 1).
    #[track_caller]
    pub fn new(rate: f64) -> Dropout {
        assert!((0.0..1.0).contains(&rate), "dropout: the rate is {rate}; it must be at least 0 and below 1");
        Dropout { rate, along: Vec::new() }
    }

    /// One decision for all numbers along `axes`; negative ones count from the end.
    pub fn along(self, axes: &[isize]) -> Dropout {
        Dropout { along: axes.to_vec(), ..self }
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
        if cx.training() && self.rate > 0.0 { x.dropout_along(self.rate, self.along.as_slice()) } else { x.clone() }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, DType, constant, ones};

    use super::*;
    use crate::testing::{assert_gradients, numbers};

    #[test]
    fn drops_in_training_and_keeps_the_mean() {
        let x = ones([10_000], DType::F32);
        let layer = Dropout::new(0.25);
        assert_eq!(layer.forward(&x, &mut Forward::infer()), x);
        let y = numbers(&layer.forward(&x, &mut Forward::train()));
        let dropped = y.iter().filter(|&&y| y == 0.0).count();
        assert!((2300..2700).contains(&dropped), "{dropped}");
        assert!(y.iter().all(|&y| y == 0.0 || (y - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    fn what_stands_along_the_axes_goes_together() {
        let x = constant(Array::new(&[40, 5, 3], (1..=600).map(f64::from).collect::<Vec<_>>()).unwrap());
        let shares = |along: &[isize], group: fn(usize, usize, usize) -> usize| {
            let y = numbers(&Dropout::new(0.5).along(along).forward(&x, &mut Forward::train()));
            let mut kept = std::collections::BTreeMap::new();
            for (position, y) in y.iter().enumerate() {
                let stays = *y != 0.0;
                assert!(!stays || *y == 2.0 * (position + 1) as f64, "{position}: {y}");
                let key = group(position / 15, position / 3 % 5, position % 3);
                assert_eq!(*kept.entry(key).or_insert(stays), stays, "along {along:?}, group {key}");
            }
            kept.values().filter(|&&stays| stays).count() as f64 / kept.len() as f64
        };
        for share in [
            shares(&[], |row, time, feature| (row * 5 + time) * 3 + feature),
            shares(&[-1], |row, time, _| row * 5 + time),
            shares(&[1], |row, _, feature| row * 3 + feature),
            shares(&[1, 2], |row, _, _| row),
        ] {
            assert!((0.25..0.75).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_same_numbers_of_the_gradient_go() {
        let x = Array::from([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]);
        let layer = Dropout::new(0.5).along(&[1]);
        assert_gradients(|x| layer.forward(&x[0], &mut Forward::train()).square().sum(), &[x]);
    }

    #[test]
    #[should_panic(expected = "the rate is 1;")]
    fn a_rate_of_one_is_refused() {
        Dropout::new(1.0);
    }
}
