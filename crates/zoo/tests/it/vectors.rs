//! Vectors of words and of sentences, from texts to neighbors and classes.

use std::path::Path;

use thalweg::data::text::WordVectors;
use thalweg::prelude::*;
use thalweg::train::checkpoint::Which;
use thalweg::train::interrupt::Interrupt;
use thalweg_zoo::{Options, Outcome, ZooError, evaluate, recipe, test_row, train};

const ANIMALS: [&str; 6] = ["cat", "dog", "cow", "hen", "pig", "fox"];
const NUMBERS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// Paragraphs of sentences on animals or on numbers.
fn write_text(folder: &Path) {
    let paragraph = |row: usize| {
        let (words, verb) = if row.is_multiple_of(2) { (ANIMALS, "see") } else { (NUMBERS, "add") };
        let word = |at: usize| words[(row / 2 * (2 * at + 1) + at) % 6];
        format!("They {verb} the {} and the {}. Then they {verb} the {}!\n\n", word(0), word(1), word(2))
    };
    std::fs::write(folder.join("text.txt"), (0..400).map(paragraph).collect::<String>()).unwrap();
}

fn options(folder: &Path, run: &str, set: &[(&str, f64)]) -> Options {
    let small = [("size", 8.0), ("negatives", 8.0), ("min_count", 5.0), ("frequent", 1.0)];
    let set = small.iter().filter(|(name, _)| !set.iter().any(|(other, _)| other == name)).chain(set);
    Options {
        data: Some(folder.into()),
        run: Some(folder.join(run)),
        length: Some(Length::Epochs(6)),
        batch: Some(32),
        lr: Some(1e-2),
        threads: Some(1),
        set: set.map(|&(name, value)| (name.into(), value)).collect(),
        ..Options::default()
    }
}

#[test]
fn words_that_stand_near_the_same_words_are_neighbors() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    let outcome = train(recipe("word-vectors").unwrap(), &options(folder.path(), "run", &[])).unwrap();
    let run = folder.path().join("run");
    let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
    assert!(!report.is_test && Some(report.evaluation.loss) == outcome.valid_loss, "{report:?} {outcome:?}");

    let vectors = Trained::open(&run).unwrap().word_vectors().unwrap();
    assert_eq!((vectors.len(), vectors.size()), (12 + 6, 8));
    for (word, others) in [("Cat", ANIMALS), ("three", NUMBERS)] {
        let neighbors = vectors.neighbors(word, 5).unwrap();
        let of_its_kind = neighbors.iter().filter(|(neighbor, _)| others.contains(neighbor)).count();
        assert!(of_its_kind >= 4, "{word}: {neighbors:?}");
    }
    let neighbors = vectors.neighbors("cat + five - dog", 3).unwrap();
    assert!(neighbors.iter().all(|(neighbor, _)| NUMBERS.contains(neighbor)), "{neighbors:?}");

    assert_eq!(WordVectors::read_text(run.join("vectors.txt")).unwrap(), vectors);
    let picture = std::fs::read_to_string(run.join("words.svg")).unwrap();
    assert!(picture.contains(">cat<") && picture.contains(">six<"), "{picture}");
    let samples = std::fs::read_to_string(run.join("samples.txt")).unwrap();
    assert!(samples.contains(&format!("after step {},", outcome.steps)) && samples.contains("\nthe: "), "{samples}");
}

#[test]
fn vectors_are_the_same_where_a_training_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    let recipe = recipe("word-vectors").unwrap();
    let whole = train(recipe, &options(folder.path(), "whole", &[])).unwrap();
    let stopped = options(folder.path(), "stopped", &[]);
    let interrupt = Interrupt::default();
    interrupt.request();
    assert!(train(recipe, &Options { interrupt, ..stopped.clone() }).unwrap().interrupted);
    assert!(!folder.path().join("stopped/vectors.txt").exists());
    let resumed = train(recipe, &Options { resume: true, threads: Some(2), ..stopped }).unwrap();
    assert_eq!(resumed.steps, whole.steps);
    let vectors = |run: &str| std::fs::read(folder.path().join(run).join("vectors.txt")).unwrap();
    assert_eq!(vectors("whole"), vectors("stopped"));
}

#[test]
fn texts_and_settings_that_make_no_vectors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |text: &str, set: &[(&str, f64)]| {
        std::fs::write(folder.path().join("text.txt"), text).unwrap();
        train(recipe("word-vectors").unwrap(), &options(folder.path(), "run", set)).unwrap_err().to_string()
    };
    let text = "the cat saw a dog.\n\n".repeat(100);
    let message = refusal(&text, &[("negatives", 6.0)]);
    assert!(message.starts_with("negatives = 6: there are 5 words"), "{message}");
    assert!(refusal(&text, &[("window", 0.0)]).starts_with("window = 0: must be from 1"));
    let message = refusal(&text, &[("min_count", 1000.0)]);
    assert!(message.contains("tokens that occur at least 1000 times: none of the 5"), "{message}");
    let message = refusal(&"cat\n\n".repeat(100), &[("negatives", 1.0)]);
    assert!(message.contains("pairs of words: no two words stand in one sentence"), "{message}");
    assert!(refusal(" \n", &[]).contains("text.txt: the file: expected a text, found white space only"));
    let message = refusal("!\n\n?\n", &[]);
    assert!(message.contains("holds no texts"), "{message}");
    std::fs::write(folder.path().join("text.txt"), b"abc\xff").unwrap();
    let options = options(folder.path(), "run", &[]);
    let refusal = || train(recipe("word-vectors").unwrap(), &options).unwrap_err().to_string();
    assert!(refusal().contains("text.txt") && refusal().contains("byte 3"), "{}", refusal());
    std::fs::remove_file(folder.path().join("text.txt")).unwrap();
    assert!(refusal().contains("holds no texts; there could be `self_dialogue_subset.txt`"), "{}", refusal());
    std::fs::write(folder.path().join("rt-polarity.neg"), "bad\n").unwrap();
    assert!(refusal().contains("rt-polarity.pos"), "{}", refusal());
}

/// Reviews whose first word tells whether they are good, 60 of each kind, and the dialogues of a word and its opposite.
fn write_reviews(folder: &Path) {
    let review = |first: &str, row: usize| format!("{first} is the {} of {row} .\n", ["film", "plot", "cast"][row % 3]);
    let reviews = |first: &str| (0..60).map(|row| review(first, row)).collect::<String>();
    std::fs::write(folder.join("rt-polarity.neg"), reviews("bad")).unwrap();
    std::fs::write(folder.join("rt-polarity.pos"), reviews("good")).unwrap();
    let dialogue = |row: usize| {
        let first = ["good", "bad"][row % 2];
        let turn = |at: usize| review(first, row + at);
        format!("# film\n{}{}{}{}\n", turn(0), turn(1), turn(2), turn(3))
    };
    std::fs::write(folder.join("self_dialogue_subset.txt"), (0..60).map(dialogue).collect::<String>()).unwrap();
}

fn sentences(folder: &Path, model: &str, set: &[(&str, f64)]) -> Options {
    let small = [("features", 16.0), ("hidden", 24.0), ("negatives", 10.0), ("min_count", 2.0)];
    let set = small.iter().filter(|(name, _)| !set.iter().any(|(other, _)| other == name)).chain(set);
    Options {
        data: Some(folder.into()),
        run: Some(folder.join(model)),
        model: Some(model.into()),
        length: Some(Length::Epochs(12)),
        batch: Some(16),
        lr: Some(1e-2),
        threads: Some(1),
        set: set.map(|&(name, value)| (name.into(), value)).collect(),
        ..Options::default()
    }
}

fn classify(folder: &Path, encoder: &str, run: &str, tuned: f64) -> Result<Outcome, ZooError> {
    let options = Options {
        data: Some(folder.into()),
        run: Some(folder.join(run)),
        model: Some("vectors".into()),
        weights: Some(folder.join(encoder)),
        length: Some(Length::Epochs(10)),
        batch: Some(8),
        threads: Some(1),
        set: vec![("tuned".into(), tuned), ("dropout".into(), 0.0)],
        ..Options::default()
    };
    train(recipe("reply-or-not")?, &options)
}

#[test]
fn classes_are_told_by_vectors_of_sentences() {
    let folder = tempfile::tempdir().unwrap();
    write_reviews(folder.path());
    for model in ["autoencoder", "skip-thought"] {
        let options = sentences(folder.path(), model, &[]);
        let outcome = train(recipe("sentence-vectors").unwrap(), &options).unwrap();
        // Each word alone has about 2.6.
        assert!(outcome.train_loss < 1.0, "{model}: {outcome:?}");
        let report = evaluate(&folder.path().join(model), Some(folder.path()), Which::Last).unwrap();
        assert_eq!(Some(report.evaluation.loss), outcome.valid_loss, "{model}");
        let said = std::fs::read_to_string(folder.path().join(model).join("samples.txt")).unwrap();
        assert!(said.contains("\nsaid      ") && said.contains("expected  "), "{said}");

        let trained = Trained::open(folder.path().join(model)).unwrap();
        let known = ["Good is the cast of 2.", "bad is the cast of 5 ."].map(String::from);
        let vectors = trained.sentence_vectors(&known).unwrap();
        let other = trained.sentence_vectors(&["good is the cast of 2 .".into()]).unwrap();
        let near = vectors.nearest(other.get("good is the cast of 2 .").unwrap(), 2);
        assert!(
            near[0].0 == known[0] && (near[0].1 - 1.0).abs() < 1e-5 && near[1].1 < near[0].1 - 1e-3,
            "{model}: {near:?}"
        );
        assert!(trained.sentence_vectors(&["zzz".into()]).unwrap_err().to_string().contains("unknown tokens only"));

        for tuned in [0.0, 0.5] {
            let run = format!("{model}-{tuned}");
            let outcome = classify(folder.path(), model, &run, tuned).unwrap();
            assert!(outcome.test_accuracy > Some(0.9) && outcome.epochs == 10, "{run}: {outcome:?}");
            let run = folder.path().join(run);
            let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
            assert_eq!(report.evaluation.accuracy(), outcome.test_accuracy);
            let after = Trained::open(&run).unwrap();
            let row = test_row(&after, Some(folder.path()), 3).unwrap();
            assert_eq!(after.predict_data(&row.data).unwrap()[0].name, row.label);
            let now = after.sentence_vectors(&known).unwrap();
            let moved = now.get(&known[0]).unwrap().iter().zip(vectors.get(&known[0]).unwrap());
            let moved = moved.map(|(now, before)| (now - before).abs()).fold(0.0, f32::max);
            assert_eq!(moved < 1e-6, tuned == 0.0, "{model}: {moved}, but frozen vectors stay as they are");
        }
    }
}

#[test]
fn sentences_that_make_no_vectors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_reviews(folder.path());
    let refusal = |options: &Options| train(recipe("sentence-vectors").unwrap(), options).unwrap_err().to_string();
    let autoencoder = |set| sentences(folder.path(), "autoencoder", set);
    assert!(refusal(&autoencoder(&[("negatives", 5000.0)])).starts_with("negatives = 5000: there are"));
    let message = refusal(&autoencoder(&[("longest", 1.0)]));
    assert!(message.contains("sentences of at most 1 words: there are none"), "{message}");
    assert!(refusal(&autoencoder(&[("min_count", 1e5)])).contains("occur at least 100000 times"));
    std::fs::remove_file(folder.path().join("self_dialogue_subset.txt")).unwrap();
    let message = refusal(&sentences(folder.path(), "skip-thought", &[]));
    assert!(message.contains("`skip-thought` needs dialogues"), "{message}");

    let message = classify(folder.path(), "none", "run", 0.0).unwrap_err().to_string();
    assert!(message.contains("no checkpoint has been saved here"), "{message}");
    let bag = Options { data: Some(folder.path().into()), length: Some(Length::Steps(1)), ..Options::default() };
    train(recipe("reply-or-not").unwrap(), &Options { run: Some(folder.path().join("bag")), ..bag.clone() }).unwrap();
    let message = classify(folder.path(), "bag", "run", 0.0).unwrap_err().to_string();
    assert!(message.contains("has no function `sentence vector`"), "{message}");
    let refusal = |options: Options| train(recipe("reply-or-not").unwrap(), &options).unwrap_err().to_string();
    let message = refusal(Options { weights: Some("x".into()), ..bag.clone() });
    assert!(message.contains("weights x: the model `bag` begins without weights; `vectors` takes some"), "{message}");
    let message = refusal(Options { model: Some("vectors".into()), ..bag });
    assert!(message.contains("model `vectors`: needs `--weights` with the folder of a run"), "{message}");
}
