//! Universal approximation by bumps: one hidden layer comes as near as one likes to any continuous function.
//!
//! Two sigmoid units make a bump, σ(k (x − left)) − σ(k (x − right)): about 1 between its edges, about 0 elsewhere.
//! Bumps side by side, each as high as the function in its middle, follow the function; twice as many are twice as
//! near. That is the proof, and it sets all weights by hand. Training then moves edges, heights and steepness, and
//! does better with as many units.
//!
//! `cargo run --release --example bumps [PICTURES]`

mod support;

use std::path::PathBuf;

use support::{Axis, Panel, Result, Series, draw};
use thalweg::prelude::*;

/// What is approximated, on 0..1.
fn target(x: f32) -> f32 {
    0.5 + 0.3 * (7.0 * x).sin() + 0.1 * (25.0 * x).cos()
}

const POINTS: usize = 256;
const STEPS: u64 = 1500;

fn main() -> Result<()> {
    let counts = [2, 4, 8, 16, 32, 64];
    let fits: Vec<Fit> = counts.iter().map(|&count| fit(count)).collect::<Result<_>>()?;
    println!("bumps  hidden units  largest error by hand  after training");
    for (count, fit) in counts.iter().zip(&fits) {
        println!("{count:5}  {:12}  {:21.4}  {:14.4}", 2 * count, error(&fit.by_hand), error(&fit.trained));
    }

    let course = |values: fn(&Fit) -> &Vec<f32>| {
        counts.iter().zip(&fits).map(|(&count, fit)| ((count as f64).log2(), error(values(fit)).log10())).collect()
    };
    let errors = Panel {
        title: "The error shrinks with the number of bumps".into(),
        x: Axis("log₂ of the number of bumps", 1.0, 6.0),
        y: Axis("log₁₀ of the largest error", -2.0, 0.0),
        lines: vec![
            Series(2, "by hand".into(), course(|fit| &fit.by_hand)),
            Series(3, "trained".into(), course(|fit| &fit.trained)),
        ],
        ..Panel::default()
    };
    let panels = [panel(counts[2], &fits[2]), panel(counts[4], &fits[4]), errors];
    draw(&PathBuf::from(std::env::args().nth(1).unwrap_or("pictures".into())), "bumps", &panels)?;
    Ok(())
}

/// What the network says at [`xs`].
struct Fit {
    by_hand: Vec<f32>,
    trained: Vec<f32>,
}

/// So many bumps, before and after training.
fn fit(count: usize) -> Result<Fit> {
    // The first and the last bump reach beyond the ends.
    let edge = |index: usize| match index {
        0 => -1.0,
        index if index == count => 2.0,
        index => index as f32 / count as f32,
    };
    let middle = |index: usize| (index as f32 + 0.5) / count as f32;
    let variable = |name: &str, value: &dyn Fn(usize) -> f32| {
        Variable::new(name, Array::from((0..count).map(value).collect::<Vec<f32>>()))
    };
    let left = variable("left", &edge);
    let right = variable("right", &|index| edge(index + 1));
    let height = variable("height", &|index| target(middle(index)));
    let log_steepness = Variable::new("log_steepness", (20.0 * count as f32).ln());

    let x = placeholder("x", f32, ["points"]);
    let steepness = log_steepness.exp();
    let unit = |edge: &Variable| (&steepness * (x.unsqueeze(1) - edge)).sigmoid();
    let output = ((unit(&left) - unit(&right)) * &height).sum_over(1);

    let y = placeholder("y", f32, ["points"]);
    let step = Adam::new(Schedule::cosine(0.03 / count as f64, STEPS)).minimize(&squared_error(&output, &y));
    let xs = xs();
    let ys: Vec<f32> = xs.iter().copied().map(target).collect();
    let session = Session::cpu();
    let now = || session.run(&output, feeds! { x => &xs }).map(|values| values.to_vec());
    let by_hand = now()?;
    for _ in 0..STEPS {
        session.run(&step, feeds! { x => &xs, y => &ys })?;
    }
    Ok(Fit { by_hand, trained: now()? })
}

fn xs() -> Vec<f32> {
    (0..POINTS).map(|point| (point as f32 + 0.5) / POINTS as f32).collect()
}

/// The largest difference from the target; NaN if one is.
fn error(values: &[f32]) -> f64 {
    let differences = xs().into_iter().zip(values).map(|(x, value)| f64::from((value - target(x)).abs()));
    differences.max_by(f64::total_cmp).expect("there are points")
}

fn panel(count: usize, fit: &Fit) -> Panel {
    let course = |values: &[f32]| xs().iter().zip(values).map(|(&x, &y)| (f64::from(x), f64::from(y))).collect();
    let target: Vec<f32> = xs().into_iter().map(target).collect();
    Panel {
        title: format!("{count} bumps, {} hidden units", 2 * count),
        x: Axis("x", 0.0, 1.0),
        y: Axis("y", 0.0, 1.0),
        lines: vec![
            Series(0, "the function".into(), course(&target)),
            Series(2, "by hand".into(), course(&fit.by_hand)),
            Series(3, "trained".into(), course(&fit.trained)),
        ],
        ..Panel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bumps_come_nearer() {
        let errors: Vec<f64> = [8, 16, 32, 64].map(|count| error(&fit(count).unwrap().by_hand)).to_vec();
        for pair in errors.windows(2) {
            assert!(pair[1] < 0.7 * pair[0], "{errors:?}");
        }
        assert!(errors[3] < 0.05, "{errors:?}");
    }

    #[test]
    fn training_does_better_with_as_many_bumps() {
        for (count, share) in [(8, 0.5), (64, 0.95)] {
            let fit = fit(count).unwrap();
            let (trained, by_hand) = (error(&fit.trained), error(&fit.by_hand));
            assert!(trained < share * by_hand, "{count}: {trained} {by_hand}");
        }
    }
}
