//! The recipe `reply-or-not`, from data to what it says of a text.

use std::path::Path;

use thalweg::prelude::*;
use thalweg::train::checkpoint::Which;
use thalweg_zoo::{Options, ZooError, evaluate, recipe, test_row, train};

fn steps(steps: u64) -> Options {
    Options { length: Some(Length::Steps(steps)), threads: Some(1), ..Options::default() }
}

/// Messages of two kinds that differ in one word, 120 of them.
fn write_messages(folder: &Path) {
    let line = |row: usize| match row % 3 {
        0 => format!("spam\tYou won prize number {row}!\n"),
        _ => format!("ham\tSee you at {row} o'clock.\n"),
    };
    std::fs::write(folder.join("SMSSpamCollection"), (0..120).map(line).collect::<String>()).unwrap();
}

#[test]
fn texts_are_learned_and_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    write_messages(folder.path());
    for model in ["bag", "gru"] {
        let run = folder.path().join(model);
        let data = Some(folder.path().to_path_buf());
        let options = Options { data, model: Some(model.into()), lr: Some(0.02), run: Some(run.clone()), ..steps(40) };
        let outcome = train(recipe("reply-or-not").unwrap(), &options).unwrap();
        assert_eq!(outcome.test_accuracy, Some(1.0), "{model}: {outcome:?}");
        let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
        assert_eq!((report.evaluation.rows, report.evaluation.accuracy()), (24, Some(1.0)));
        let trained = Trained::open(&run).unwrap();
        let row = test_row(&trained, Some(folder.path()), 3).unwrap();
        assert_eq!(trained.predict_data(&row.data).unwrap()[0].name, row.label);
        let class = |text: &str| trained.predict_text(text).map(|prediction| prediction.name);
        assert_eq!((&*class("You won!").unwrap(), &*class("see you o'clock").unwrap()), ("spam", "ham"), "{model}");
        assert!(class("  ").unwrap_err().to_string().contains("the text `  `: it is empty"));
        let message = class("zzz qqq").unwrap_err().to_string();
        assert!(message.contains("a text of unknown tokens only (`zzz`, `qqq`)"), "{message}");
    }
}

#[test]
fn folders_without_texts_are_told_which_there_could_be() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |data: &Path| {
        let options = Options { data: Some(data.into()), ..steps(1) };
        train(recipe("reply-or-not").unwrap(), &options).unwrap_err().to_string()
    };
    assert!(
        refusal(Path::new("/none")).starts_with("/none holds none of the texts"),
        "{}",
        refusal(Path::new("/none"))
    );
    for file in ["`SMSSpamCollection`", "`rt-polarity.neg`", "`rt-polarity.pos`", "`self_dialogue_subset.txt`"] {
        assert!(refusal(folder.path()).contains(file), "{}", refusal(folder.path()));
    }
    // One of two is not enough.
    std::fs::write(folder.path().join("rt-polarity.pos"), "good\n").unwrap();
    assert!(refusal(folder.path()).contains("has no file `rt-polarity.neg`"), "{}", refusal(folder.path()));
}

#[test]
fn questions_that_yes_or_no_answers_are_known_by_how_they_begin() {
    let folder = tempfile::tempdir().unwrap();
    let turns = |n: usize| match n % 3 {
        0 => format!("# film\nDid you see number {n}?\nYep, I did.\nGood.\n\n"),
        1 => format!("# film\nDo you like number {n}?\nNo.\nYes or no?\n\n"),
        _ => format!("# film\nWho was in number {n}?\nNobody that I know.\n\n"),
    };
    std::fs::write(folder.path().join("self_dialogue_subset.txt"), (0..90).map(turns).collect::<String>()).unwrap();
    let run = folder.path().join("run");
    let data = Some(folder.path().to_path_buf());
    let options = Options { data, lr: Some(0.02), run: Some(run.clone()), ..steps(60) };
    let outcome = train(recipe("reply-or-not").unwrap(), &options).unwrap();
    assert_eq!(outcome.test_accuracy, Some(1.0), "{outcome:?}");
    // Turns that are no questions, and questions that nobody answers, are left out.
    assert_eq!(evaluate(&run, Some(folder.path()), Which::Last).unwrap().evaluation.rows, 18);
    let trained = Trained::open(&run).unwrap();
    let class = |text: &str| trained.predict_text(text).unwrap().name;
    assert_eq!((&*class("Did you like that?"), &*class("Who was that?")), ("yes or no", "other"));
}

#[test]
fn reviews_are_told_apart_as_well_as_by_logistic_regression_elsewhere() -> Result<(), ZooError> {
    let Some(data) = std::env::var_os("THALWEG_DATA") else {
        eprintln!("skipped: THALWEG_DATA is not set");
        return Ok(());
    };
    // scikit-learn's, on counts of words and the same rows: 76.0 %, 97.5 % and 78.5 %, where 75.5 % are of the larger class.
    for (set, least) in [("rt-polarity", 0.75), ("sms-spam", 0.965), ("self-dialogue", 0.775)] {
        let data = Some(Path::new(&data).join(set));
        let length = Some(Length::Epochs(5));
        let outcome = train(recipe("reply-or-not")?, &Options { data, length, ..Options::default() })?;
        assert!(outcome.test_accuracy >= Some(least), "{set}: {outcome:?}");
    }
    Ok(())
}
