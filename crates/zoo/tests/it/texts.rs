//! Recipes on texts, in few steps.

use std::path::Path;

use thalweg::prelude::*;
use thalweg::train::Generator;
use thalweg::train::checkpoint::Which;
use thalweg::train::decoding::Sampling;
use thalweg::train::interrupt::Interrupt;
use thalweg_zoo::{Options, evaluate, recipe, test_row, train};

const TEXT: &str = "the cat sat on the mat. The dog sat on the log.\n";

fn options(data: &Path, run: &Path, model: &str, epochs: u64) -> Options {
    std::fs::write(data.join("text.txt"), TEXT.repeat(60)).unwrap();
    Options {
        data: Some(data.into()),
        run: Some(run.into()),
        model: Some(model.into()),
        length: Some(Length::Epochs(epochs)),
        batch: Some(8),
        lr: Some(1e-2),
        threads: Some(1),
        set: vec![("hidden".into(), 32.0)],
        ..Options::default()
    }
}

#[test]
fn every_model_of_characters_learns_and_writes() {
    for model in ["rnn", "gru", "lstm"] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let options = options(folder.path(), &run, model, 7);
        let outcome = train(recipe("char-lm").unwrap(), &options).unwrap();
        // Each character alone has 2.6.
        assert!(outcome.valid_loss < Some(0.4), "{model}: {outcome:?}");
        let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
        assert!(!report.is_test && Some(report.evaluation.loss) == outcome.valid_loss, "{model}: {report:?}");

        let trained = Trained::open(&run).unwrap();
        let message = test_row(&trained, Some(folder.path()), 0).unwrap_err().to_string();
        assert!(message.contains("the recipe `char-lm` has no test set"), "{message}");
        let generator = Generator::of(&trained).unwrap();
        let coldest = Sampling::new(0).top_k(1).unwrap();
        let mut shown = String::new();
        let written = generator.write("The cat sat on the ma", 3, &coldest, |piece| shown.push_str(piece)).unwrap();
        assert_eq!((&*written, &*shown), ("t. ", "t. "), "{model}");
        let plans = trained.session().cached_plans();
        generator.write("", 300, &Sampling::new(1), |_| {}).unwrap();
        assert_eq!(trained.session().cached_plans(), plans, "{model}");
        let message = generator.write("é", 3, &coldest, |_| {}).unwrap_err().to_string();
        assert!(message.contains("`é`"), "{message}");

        let samples = std::fs::read_to_string(run.join("samples.txt")).unwrap();
        assert!(samples.starts_with("--- after step ") && samples.contains(&format!("after step {},", outcome.steps)));
    }
}

#[test]
fn a_text_is_gone_on_with_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let char_lm = recipe("char-lm").unwrap();
    let set = vec![("hidden".into(), 16.0), ("dropout".into(), 0.5)];
    let options = |run: &Path| Options { set: set.clone(), ..options(folder.path(), run, "lstm", 1) };
    let steps = train(char_lm, &options(&whole)).unwrap().steps;
    let interrupt = Interrupt::default();
    interrupt.request();
    let outcome = train(char_lm, &Options { interrupt, ..options(&stopped) }).unwrap();
    assert!(outcome.interrupted && outcome.steps < steps, "{outcome:?}");
    train(char_lm, &Options { resume: true, ..options(&stopped) }).unwrap();
    let last = |run: &Path| std::fs::read(run.join(format!("checkpoints/step-{steps:09}.safetensors"))).unwrap();
    assert_eq!(last(&whole), last(&stopped));
}

#[test]
fn folders_without_one_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data: Some(folder.path().into()), ..Options::default() };
    let refusal = || train(recipe("char-lm").unwrap(), &options).unwrap_err().to_string();
    assert!(refusal().contains("there are 0 files *.txt; there must be one"), "{}", refusal());
    std::fs::write(folder.path().join("a.txt"), "a").unwrap();
    assert!(refusal().contains("windows of 8 tokens: the text has 0"), "{}", refusal());
    std::fs::write(folder.path().join("a.txt"), b"abc\xff").unwrap();
    assert!(refusal().contains("a.txt") && refusal().contains("byte 3"), "{}", refusal());
    std::fs::write(folder.path().join("b.txt"), "b").unwrap();
    assert!(refusal().contains("there are 2 files *.txt"), "{}", refusal());
}
