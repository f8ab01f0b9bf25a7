//! [`Learner::find_rate`]: how fast can it learn? (Smith 2017.)

use thalweg_nn::Schedule;

use super::Learner;
use crate::fit::FitError;
use crate::plot::{Axis, Plot, Scale};

/// From the smallest learning rate to the largest, in so many steps.
const FROM: f64 = 1e-7;
const TO: f64 = 10.0;
const STEPS: u64 = 100;
/// How much of the past stays in the smoothed loss.
const SMOOTH: f64 = 0.9;
/// It ends where the smoothed loss is so many times the smallest.
const LOST: f64 = 4.0;

/// The loss over a learning rate that rises from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct RateCurve {
    /// The learning rate of each step with the loss after it, smoothed.
    pub points: Vec<(f64, f64)>,
    /// The learning rate at which the loss falls fastest, before it is least.
    pub suggestion: f64,
}

impl RateCurve {
    /// Of these points.
    fn of(points: Vec<(f64, f64)>) -> RateCurve {
        // The first are those of one batch or a few, and tell little.
        const FIRST: usize = 10;
        // The slope over a few points, since the loss of one batch is not that of the next.
        const SPAN: usize = 4;
        let begin = if points.len() > FIRST + SPAN { FIRST } else { 0 };
        let least = (begin..points.len()).min_by(|&a, &b| points[a].1.total_cmp(&points[b].1)).unwrap_or(0);
        let slope = |at: &usize| (points[at + SPAN].1 - points[*at].1) / (points[at + SPAN].0 / points[*at].0).ln();
        let starts = begin..least.saturating_sub(SPAN - 1);
        let steepest = starts.min_by(|a, b| slope(a).total_cmp(&slope(b))).map(|at| points[at + SPAN / 2].0);
        // Where it never falls, well below where it is lost.
        let lost = points.last().map_or(FROM, |point| point.0 / 10.0);
        RateCurve { suggestion: steepest.unwrap_or(lost), points }
    }

    /// A picture of it: the loss over the logarithm of the rate, with the suggestion.
    pub fn plot(&self) -> Plot {
        let suggestion = format!("suggestion {:.1e}", self.suggestion);
        let x = Axis { name: "learning rate".into(), scale: Scale::Logarithmic };
        let y = Axis { name: "loss".into(), scale: Scale::Linear };
        Plot::new(x, y).line("", &self.points).mark(&suggestion, self.suggestion)
    }
}

impl Learner {
    /// Makes up to 100 steps at a learning rate that rises from 1e-7 to 10, until the loss is lost, in a session of its own:
    /// weights, state of the optimizer and counters stay as they are. Layers that are frozen are so there too; groups have
    /// the same rate.
    ///
    /// ```
    /// # use thalweg_data::digits;
    /// # use thalweg_nn::{Init, Layer, Mlp};
    /// # use thalweg_train::{Learner, TrainingData};
    /// # let data = TrainingData::split(&digits(), 0.2, 42)?.standardized()?;
    /// # let net = Init::build(1, |init| Mlp::new(init, &[64, 64, 10]));
    /// # let mut learner = Learner::from_fn(data, move |image, cx| net.forward(&image.flatten(1), cx))?;
    /// let curve = learner.find_rate()?;
    /// assert!(curve.suggestion > 1e-4 && curve.suggestion < 1.0);
    /// # Ok::<(), thalweg_train::FitError>(())
    /// ```
    ///
    /// # Errors
    /// If the data do not fit the graphs.
    pub fn find_rate(&mut self) -> Result<RateCurve, FitError> {
        let rising = Schedule::exponential(FROM, (TO / FROM).powf(1.0 / (STEPS - 1) as f64));
        let trial = self.trial(rising)?;
        let (mut points, mut smooth) = (Vec::new(), 0.0);
        let (mut least, mut weight) = (f64::INFINITY, 0.0);
        for batch in self.data.loader()?.stream_from(self.place.next_epoch(), 0)?.take(STEPS as usize) {
            let numbers = trial.step(&batch?)?;
            (smooth, weight) = (SMOOTH * smooth + (1.0 - SMOOTH) * numbers.loss, SMOOTH * weight + (1.0 - SMOOTH));
            let loss = smooth / weight;
            if !loss.is_finite() || loss > LOST * least {
                break;
            }
            least = least.min(loss);
            points.push((numbers.learning_rate, loss));
        }
        Ok(RateCurve::of(points))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suggestion_is_where_the_loss_falls_fastest() {
        // A fall around 1e-2, the least loss at 1e-1, then up.
        let loss = |rate: f64| {
            let x = rate.log10();
            2.0 - 1.5 / (1.0 + (-3.0 * (x + 2.0)).exp()) + 5.0 * (x + 0.9).max(0.0)
        };
        let rates = (0..80).map(|n| 1e-6 * 10f64.powf(f64::from(n) / 13.0));
        let curve = RateCurve::of(rates.map(|rate| (rate, loss(rate))).collect());
        assert!((5e-3..2e-2).contains(&curve.suggestion), "{}", curve.suggestion);
        // Nothing that falls, and nothing at all.
        assert_eq!(RateCurve::of(vec![(1e-6, 1.0), (1e-5, 2.0)]).suggestion, 1e-5 / 10.0);
        assert_eq!(RateCurve::of(vec![]).suggestion, FROM);
    }
}
