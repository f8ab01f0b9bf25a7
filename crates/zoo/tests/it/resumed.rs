//! A training that is stopped and gone on with beside one that is not.

use std::path::Path;

use thalweg::train::interrupt::Interrupt;
use thalweg_zoo::{Options, Recipe, train};

/// Trains in `whole`, and in `stopped` one step and then the rest on two threads; both have to end in the same bytes.
#[track_caller]
pub(crate) fn assert_ends_alike(recipe: &dyn Recipe, [whole, stopped]: [&Path; 2], options: &dyn Fn(&Path) -> Options) {
    let steps = train(recipe, &options(whole)).unwrap().steps;
    // Asked to stop before it began: it makes one step.
    let interrupt = Interrupt::default();
    interrupt.request();
    let outcome = train(recipe, &Options { interrupt, ..options(stopped) }).unwrap();
    assert!(outcome.interrupted && outcome.steps < steps, "{outcome:?}");
    train(recipe, &Options { resume: true, threads: Some(2), ..options(stopped) }).unwrap();
    let last = |run: &Path| std::fs::read(run.join(format!("checkpoints/step-{steps:09}.safetensors"))).unwrap();
    assert!(last(whole) == last(stopped), "{}: another last checkpoint", stopped.display());
}
