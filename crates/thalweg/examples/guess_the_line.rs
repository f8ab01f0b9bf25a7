//! Guess the line: two numbers learned from points on y = 0.1 x + 0.3 by gradient descent.
//!
//! `cargo run --release --example guess_the_line [PICTURES]`

mod support;

use std::path::PathBuf;

use support::{Axis, Panel, Result, Series, draw};
use thalweg::prelude::*;

const STEPS: usize = 201;

fn main() -> Result<()> {
    let course = guess(0)?;
    println!("step       w        b        loss");
    for (step, Guess { w, b, loss }) in course.guesses.iter().enumerate().step_by(20) {
        println!("{step:4}  {w:7.4}  {b:7.4}  {loss:10.3e}");
    }
    println!("truth  0.1000   0.3000");

    let last = course.guesses.len() - 1;
    let loss = course.guesses.iter().enumerate().map(|(step, guess)| (step as f64, guess.loss.log10())).collect();
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or("pictures".into()));
    let panels = [
        course.panel(0, "Before".into()),
        course.panel(last, format!("After {last} steps")),
        Panel {
            title: "Mean squared error".into(),
            x: Axis("step", 0.0, last as f64),
            y: Axis("log₁₀ of the loss", -16.0, 0.0),
            lines: vec![Series(1, String::new(), loss)],
            ..Panel::default()
        },
    ];
    draw(&folder, "guess_the_line", &panels)?;
    Ok(())
}

/// The points, and what was guessed at each step.
struct Course {
    points: Vec<(f64, f64)>,
    guesses: Vec<Guess>,
}

struct Guess {
    w: f64,
    b: f64,
    loss: f64,
}

fn guess(seed: u64) -> Result<Course> {
    let session = Session::builder().seed(seed).build()?;

    // The data: 100 points on the line.
    let xs = session.run(random_uniform([100], f32), feeds! {})?.to_vec::<f32>();
    let ys: Vec<f32> = xs.iter().map(|x| 0.1 * x + 0.3).collect();

    // The inference graph: y = w x + b, where w begins anywhere between −1 and 1.
    let x = placeholder("x", f32, ["n"]);
    let w = Variable::new("w", random_uniform((), f32) * 2.0 - 1.0);
    let b = Variable::new("b", 0.0);
    let guessed = &w * &x + &b;

    // The loss: the mean squared difference.
    let y = placeholder("y", f32, ["n"]);
    let loss = (guessed - &y).square().mean();

    // The training graph: the gradients of w and b, and one step of gradient descent.
    let step = Sgd::new(0.5).minimize(&loss);

    // Running it.
    let mut guesses = Vec::new();
    for _ in 0..STEPS {
        let (w, b, loss, _) = session.run((&w, &b, &loss, &step), feeds! { x => &xs, y => &ys })?;
        guesses.push(Guess { w: w.item()?, b: b.item()?, loss: loss.item()? });
    }
    Ok(Course { points: xs.iter().zip(&ys).map(|(&x, &y)| (x as f64, y as f64)).collect(), guesses })
}

impl Course {
    fn panel(&self, step: usize, title: String) -> Panel {
        let Guess { w, b, .. } = self.guesses[step];
        Panel {
            title,
            x: Axis("x", 0.0, 1.0),
            y: Axis("y", -1.0, 1.0),
            dots: vec![Series(1, "points on y = 0.1 x + 0.3".into(), self.points.clone())],
            lines: vec![Series(2, format!("guess: y = {w:.3} x + {b:.3}"), vec![(0.0, b), (1.0, w + b)])],
            ..Panel::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_seed_finds_the_line() {
        for seed in 0..20 {
            let course = guess(seed).unwrap();
            let (first, last) = (&course.guesses[0], &course.guesses[STEPS - 1]);
            assert!((last.w - 0.1).abs() < 0.01 && (last.b - 0.3).abs() < 0.01, "seed {seed}: {} {}", last.w, last.b);
            assert!((first.b - 0.3).abs() > 0.1, "the first guess is no guess");
        }
    }
}
