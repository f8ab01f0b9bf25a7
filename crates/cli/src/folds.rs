//! `thalweg train --folds`: a recipe on each of several folds of its data.

use serde_json::{Value, json};
use thalweg::train::progress::{Progress, Style};
use thalweg_zoo::{Fold, Folds, Options, Recipe, cross_validate};

use crate::output::{self, percent};

/// Trains on all folds but one, for each of them, and prints a table. Gives whether it was stopped before its end.
pub(crate) fn run(recipe: &dyn Recipe, options: &Options, folds: usize, json: bool) -> anyhow::Result<bool> {
    let mut progress = Progress::new(options.progress, 0, None);
    let told = |number: usize, fold: &Fold| {
        let right = fold.outcome.test_accuracy.map_or(String::new(), |share| format!(", {} right", percent(share)));
        progress.message(&format!("fold {} of {folds}: {:.1} s{right}", number + 1, fold.outcome.seconds));
    };
    // Of each fold one line is enough.
    let quiet = Options { progress: Style::Silent, ..options.clone() };
    let done = cross_validate(recipe, &quiet, folds, told)?;
    output::line(if json { as_json(&done).to_string() } else { as_text(&done) })?;
    Ok(done.interrupted)
}

fn as_json(done: &Folds) -> Value {
    let fold = |Fold { train_rows, test_rows, outcome }: &Fold| {
        json!({
            "train_rows": train_rows,
            "test_rows": test_rows,
            "seconds": outcome.seconds,
            "train_loss": outcome.train_loss,
            "test_accuracy": outcome.test_accuracy,
            "test_accuracy_augmented": outcome.test_accuracy_augmented,
        })
    };
    let summary =
        |augmented| done.accuracy(augmented).map(|(mean, deviation)| json!({ "mean": mean, "deviation": deviation }));
    json!({
        "recipe": done.recipe,
        "model": done.model,
        "folds": done.folds.iter().map(fold).collect::<Vec<_>>(),
        "test_accuracy": summary(false),
        "test_accuracy_augmented": summary(true),
        "interrupted": done.interrupted,
    })
}

fn as_text(done: &Folds) -> String {
    let model = done.model.as_ref().map_or(String::new(), |model| format!(" ({model})"));
    let augmented = done.accuracy(true).is_some();
    let header = if augmented { "right   augmented" } else { "right" };
    let mut text =
        format!("{}{model}, {} folds\n  fold  trained on  held out  {header}", done.recipe, done.folds.len());
    let share = |share: Option<f64>| share.map_or(String::new(), percent);
    for (number, Fold { train_rows, test_rows, outcome }) in done.folds.iter().enumerate() {
        text +=
            &format!("\n  {:>4}  {train_rows:>10}  {test_rows:>8}  {:>7}", number + 1, share(outcome.test_accuracy));
        if augmented {
            text += &format!(" {:>8}", share(outcome.test_accuracy_augmented));
        }
    }
    for (what, of) in [("mean", false), ("mean, augmented", true)] {
        if let Some((mean, deviation)) = done.accuracy(of) {
            text += &format!("\n  {what}: {} right, {:.1} points from fold to fold", percent(mean), 100.0 * deviation);
        }
    }
    text
}
