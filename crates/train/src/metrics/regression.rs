//! Metrics of regressions: squared and absolute errors, and the share of the variance that is explained.

use thalweg_formats::array::Array;

use super::{MetricError, kind};

/// Errors over all elements seen, each counting the same.
///
/// ```
/// use thalweg_train::metrics::Regression;
/// let mut errors = Regression::default();
/// errors.update(&[2.5f32, 0.0].into(), &[3.0f32, -0.5].into())?;
/// errors.update(&[2.0f32, 8.0].into(), &[2.0f32, 7.0].into())?;
/// assert_eq!((errors.mse(), errors.mae()), (0.375, 0.5));
/// # Ok::<(), thalweg_train::metrics::MetricError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Regression {
    count: f64,
    squares: f64,
    absolutes: f64,
    target_mean: f64,
    /// Σ (target − mean)², by Welford's updates: a sum of squares would lose all digits where the mean is large.
    target_spread: f64,
}

impl Regression {
    /// Adds a batch: predictions and targets of one shape.
    ///
    /// # Errors
    /// If the shapes differ: a column never meets a row by broadcasting. Nothing is added then.
    pub fn update(&mut self, predictions: &Array, targets: &Array) -> Result<(), MetricError> {
        if predictions.shape() != targets.shape() {
            let expected = format!("{:?} as the targets", targets.shape());
            return Err(MetricError::Input { what: "predictions", expected, found: kind(predictions) });
        }
        for (y, target) in predictions.to_vec::<f64>().into_iter().zip(targets.to_vec::<f64>()) {
            let error = y - target;
            self.count += 1.0;
            self.squares += error * error;
            self.absolutes += error.abs();
            let before = target - self.target_mean;
            self.target_mean += before / self.count;
            self.target_spread += before * (target - self.target_mean);
        }
        Ok(())
    }

    /// The mean squared error; NaN if nothing was seen.
    pub fn mse(&self) -> f64 {
        self.squares / self.count
    }

    /// The root of the mean squared error; NaN if nothing was seen.
    pub fn rmse(&self) -> f64 {
        self.mse().sqrt()
    }

    /// The mean absolute error; NaN if nothing was seen.
    pub fn mae(&self) -> f64 {
        self.absolutes / self.count
    }

    /// R² = 1 − Σ(y − t)² / Σ(t − t̄)². Where all targets are equal, 1 for predictions without error and else 0, as in
    /// scikit-learn; NaN if nothing was seen.
    pub fn r2(&self) -> f64 {
        if self.count == 0.0 {
            f64::NAN
        } else if self.target_spread == 0.0 {
            if self.squares == 0.0 { 1.0 } else { 0.0 }
        } else {
            1.0 - self.squares / self.target_spread
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(predictions: &[f64], targets: &[f64]) -> Regression {
        let mut errors = Regression::default();
        errors.update(&predictions.into(), &targets.into()).unwrap();
        errors
    }

    #[test]
    fn errors_are_those_of_scikit_learn() {
        let errors = seen(&[2.5, 0.0, 2.0, 8.0], &[3.0, -0.5, 2.0, 7.0]);
        assert_eq!((errors.mse(), errors.rmse(), errors.mae()), (0.375, 0.375f64.sqrt(), 0.5));
        assert!((errors.r2() - 0.9486081370449679).abs() < 1e-12, "{}", errors.r2());
        let far = seen(&[1e9 + 1.5, 1e9 + 2.0, 1e9 + 3.5], &[1e9 + 1.0, 1e9 + 2.0, 1e9 + 4.0]);
        assert!((far.r2() - 0.8928571428571429).abs() < 1e-6, "{}", far.r2());
    }

    #[test]
    fn equal_targets_and_nothing_seen_are_defined() {
        assert_eq!(seen(&[2.0, 2.0], &[2.0, 2.0]).r2(), 1.0);
        assert_eq!(seen(&[2.0, 3.0], &[2.0, 2.0]).r2(), 0.0);
        let nothing = Regression::default();
        assert!(nothing.mse().is_nan() && nothing.rmse().is_nan() && nothing.mae().is_nan() && nothing.r2().is_nan());
        assert!(seen(&[f64::NAN], &[1.0]).mse().is_nan());
    }

    #[test]
    fn shapes_must_agree() {
        let column = Array::new(&[3, 1], vec![0.0f32; 3]).unwrap();
        let message = Regression::default().update(&column, &[0.0f32; 3].into()).unwrap_err().to_string();
        assert_eq!(message, "predictions: expected [3] as the targets, found f32[3, 1]");
    }
}
