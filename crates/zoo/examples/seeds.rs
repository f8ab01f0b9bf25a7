//! What a recipe reaches with several seeds:
//!
//! ```text
//! cargo run --release -p thalweg-zoo --example seeds -- digits 0..20
//! cargo run --release -p thalweg-zoo --example seeds -- mnist 0..10 data=data/mnist epochs=10 dropout=0.1
//! ```
//!
//! Settings are chosen by the validation columns. `test=1` shows what the test set says, once they are chosen.

use std::ops::Range;

use thalweg::train::Length;
use thalweg_zoo::{Options, Outcome, recipe, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(seeds)) = (arguments.next(), arguments.next()) else {
        return Err("usage: seeds RECIPE FIRST..END [key=value]…".into());
    };
    let (first, end) = seeds.split_once("..").ok_or("seeds are written as 0..20")?;
    let seeds: Range<u64> = first.parse()?..end.parse()?;
    let (mut options, mut show_test) = (Options::default(), false);
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("settings are written as key=value")?;
        match key {
            "test" => show_test = value == "1",
            "data" => options.data = Some(value.into()),
            "epochs" => options.length = Some(Length::Epochs(value.parse()?)),
            "batch" => options.batch = Some(value.parse()?),
            "lr" => options.lr = Some(value.parse()?),
            "optimizer" => options.optimizer = Some(value.into()),
            "threads" => options.threads = Some(value.parse()?),
            _ => options.set.push((key.into(), value.parse()?)),
        }
    }
    let percent = |accuracy: Option<f64>| 100.0 * accuracy.unwrap_or(f64::NAN);
    let test = |outcome: &Outcome| if show_test { percent(outcome.test_accuracy) } else { f64::NAN };
    println!(
        "{:>4}  {:>7}  {:>10}  {:>10}  {:>6}  {:>6}",
        "seed", "seconds", "train loss", "valid loss", "valid", "test"
    );
    let mut outcomes = Vec::new();
    for seed in seeds {
        let outcome = train(recipe(&name)?, &Options { seed, ..options.clone() })?;
        let (loss, valid) = (outcome.valid_loss.unwrap_or(f64::NAN), percent(outcome.valid_accuracy));
        let Outcome { seconds, train_loss, .. } = outcome;
        println!("{seed:>4}  {seconds:>7.2}  {train_loss:>10.4}  {loss:>10.4}  {valid:>6.2}  {:>6.2}", test(&outcome));
        outcomes.push(outcome);
    }
    let least = |of: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(of).fold(f64::INFINITY, f64::min);
    let mean = |of: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / outcomes.len() as f64;
    let valid = |outcome: &Outcome| percent(outcome.valid_accuracy);
    let loss = |outcome: &Outcome| outcome.valid_loss.unwrap_or(f64::NAN);
    println!("least: valid {:.2}  test {:.2}", least(&valid), least(&test));
    println!("mean:  valid {:.3}  test {:.3}  valid loss {:.4}", mean(&valid), mean(&test), mean(&loss));
    Ok(())
}
