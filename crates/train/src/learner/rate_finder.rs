//! [`Learner::find_rate`]: how fast can it learn? (Smith 2017.)

use std::fmt;

use thalweg_nn::Schedule;

use super::Learner;
use crate::diagnosis::{short, table};
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

/// A table of some of the points, and the suggestion.
impl fmt::Display for RateCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES: usize = 16;
        let row = |(rate, loss): &(f64, f64)| [format!("{rate:.1e}"), short(*loss)];
        let every = self.points.len().div_ceil(LINES).max(1);
        // Counted from the end, where it is lost.
        let skipped = self.points.len().saturating_sub(1) % every;
        let mut rows = vec![["learning rate", "loss"].map(String::from)];
        rows.extend(self.points.iter().skip(skipped).step_by(every).map(row));
        f.write_str(&table(&rows))?;
        write!(f, "suggestion {:.1e}", self.suggestion)
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

    #[test]
    fn a_curve_is_a_table_that_ends_with_its_last_point() {
        let points = (0..40).map(|n| (1e-5 * f64::from(n + 1), 2.0 - 0.01 * f64::from(n)));
        let text = RateCurve { points: points.collect(), suggestion: 1.23e-4 }.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines.len()), ("learning rate  loss", 1 + 14 + 1), "{text}");
        assert_eq!(lines[14..], ["4.0e-4         1.61", "suggestion 1.2e-4"], "{text}");
        assert_eq!(RateCurve::of(vec![]).to_string(), "learning rate  loss\nsuggestion 1.0e-7");
    }
}
