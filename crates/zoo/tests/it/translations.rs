//! The recipe `translate`, from pairs of sentences to what it says of another.

use std::path::Path;

use thalweg::prelude::*;
use thalweg::train::checkpoint::Which;
use thalweg::train::decoding::Beam;
use thalweg::train::{FitError, Reply, Responder, Search};
use thalweg_zoo::{Options, blank_learner, evaluate, recipe, train};

use crate::resumed::assert_ends_alike;

const ENGLISH: [&str; 6] = ["one", "two", "three", "four", "five", "six"];
const FRENCH: [&str; 6] = ["un", "deux", "trois", "quatre", "cinq", "six"];

/// Numbers in words: 400 of two to four digits.
fn write_pairs(folder: &Path) {
    let line = |row: usize| {
        let (number, digits) = match row {
            0..36 => (row, 2),
            36..252 => (row - 36, 3),
            _ => ((row - 252) * 8 + row % 5, 4),
        };
        let say = |words: [&str; 6]| {
            let digit = |at: u32| words[number / 6usize.pow(at) % 6];
            (0..digits).map(digit).collect::<Vec<_>>().join(" ")
        };
        format!("{}\t{}\n", say(ENGLISH), say(FRENCH))
    };
    std::fs::write(folder.join("fra.txt"), (0..400).map(line).collect::<String>()).unwrap();
}

fn options(folder: &Path, run: &str, model: &str, set: &[(&str, f64)], epochs: u64) -> Options {
    let small = [("hidden", 32.0), ("layers", 1.0), ("dropout", 0.0), ("min_count", 5.0)];
    let set = small.iter().filter(|(name, _)| !set.iter().any(|(other, _)| other == name)).chain(set);
    Options {
        data: Some(folder.into()),
        run: Some(folder.join(run)),
        model: Some(model.into()),
        length: Some(Length::Epochs(epochs)),
        batch: Some(16),
        lr: Some(1e-2),
        threads: Some(1),
        set: set.map(|&(name, value)| (name.into(), value)).collect(),
        ..Options::default()
    }
}

fn search(width: usize, best: usize) -> Search {
    let beam = Beam::new(width).unwrap().n_best(best).unwrap().length_normalization(1.0).unwrap();
    Search { beam, length: None, begin: String::new() }
}

fn refusal(result: Result<Vec<Reply>, FitError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn every_model_learns_to_translate() {
    let folder = tempfile::tempdir().unwrap();
    write_pairs(folder.path());
    for (model, set, epochs) in
        [("lstm", &[][..], 12), ("lstm", &[("sampling", 0.5), ("layers", 2.0)][..], 12), ("transformer", &[][..], 12)]
    {
        let run = format!("{model}-{}", set.len());
        let options = options(folder.path(), &run, model, set, epochs);
        let outcome = train(recipe("translate").unwrap(), &options).unwrap();
        assert!(outcome.test_figures["bleu"] > 70.0, "{model}: {outcome:?}");
        let report = evaluate(&folder.path().join(&run), Some(folder.path()), Which::Last).unwrap();
        assert_eq!((report.is_test, report.figures), (true, outcome.test_figures), "{model}");

        let trained = Trained::open(folder.path().join(&run)).unwrap();
        let responder = Responder::of(&trained).unwrap();
        let replies = responder.replies(None, "Two three", &search(3, 3)).unwrap();
        assert_eq!(
            (replies.len(), &*replies[0].text, replies[0].ended),
            (3, "deux trois", true),
            "{model} {replies:?}"
        );
        assert!(replies[0].score > replies[1].score && replies[0].log_probability < 0.0, "{model} {replies:?}");
        // One size of sources, one plan.
        let plans = trained.session().cached_plans();
        responder.replies(None, "one four five", &search(3, 1)).unwrap();
        assert_eq!(trained.session().cached_plans(), plans, "{model}");

        let begun = Search { begin: "cinq".into(), ..search(3, 1) };
        assert!(responder.replies(None, "five two", &begun).unwrap()[0].text.starts_with("cinq"));
        let short = Search { length: Some(1), ..search(3, 1) };
        let cut = responder.replies(None, "one two", &short).unwrap().swap_remove(0);
        assert!(cut.tokens.len() == 1 && !cut.ended, "{model}: {cut:?}");

        let looked = responder.attention(None, "two three", &replies[0]);
        if model == "transformer" {
            assert!(looked.unwrap_err().to_string().contains("no weights of attention"));
        } else {
            let looked = looked.unwrap();
            assert_eq!((looked.weights.shape(), &*looked.reply.join(" ")), (&[3, 2][..], "deux trois </s>"));
            let rows = looked.weights.to_vec::<f32>();
            assert!(rows.chunks(2).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5), "{rows:?}");
        }

        assert!(refusal(responder.replies(None, " ", &search(1, 1))).contains("it is empty"));
        let message = refusal(responder.replies(None, "zzz qqq", &search(1, 1)));
        assert!(message.contains("unknown tokens only (`zzz`, `qqq`)"), "{message}");
        let message = refusal(responder.replies(None, "one", &search(100, 1)));
        assert!(message.contains("a beam of width 100") && message.contains("the vocabulary has"), "{message}");
        let begun = Search { begin: "sept".into(), ..search(1, 1) };
        let message = refusal(responder.replies(None, "one", &begun));
        assert!(message.contains("the beginning `sept`") && message.contains("does not know `sept`"), "{message}");
        assert!(refusal(responder.replies(Some("fr"), "one", &search(1, 1))).contains("the model knows no tags"));
        // Far longer than all that it was trained on.
        assert_eq!(responder.replies(None, &"one two ".repeat(300), &search(2, 1)).unwrap().len(), 1);

        let samples = std::fs::read_to_string(folder.path().join(&run).join("samples.txt")).unwrap();
        assert!(samples.contains("\ntext      ") && samples.contains(&format!("after step {},", outcome.steps)));
    }
}

#[test]
fn one_model_translates_both_ways_where_a_tag_says_which() {
    let folder = tempfile::tempdir().unwrap();
    write_pairs(folder.path());
    let options = options(folder.path(), "both", "lstm", &[("both", 1.0)], 10);
    let outcome = train(recipe("translate").unwrap(), &options).unwrap();
    assert!(outcome.test_figures["bleu"] > 60.0, "{outcome:?}");
    let trained = Trained::open(folder.path().join("both")).unwrap();
    let responder = Responder::of(&trained).unwrap();
    let say = |tag, text| responder.replies(tag, text, &search(3, 1));
    assert_eq!(say(Some("fr"), "four two").unwrap()[0].text, "quatre deux");
    assert_eq!(say(Some("en"), "quatre deux").unwrap()[0].text, "four two");
    assert!(refusal(say(None, "four")).contains("a text without a tag: one is needed: en, fr"));
    assert!(refusal(say(Some("de"), "four")).contains("the tag `de`: there are: en, fr"));
}

/// An LSTM that is fed what it says itself, and a transformer, which drops weights of its attention too.
#[test]
fn a_training_with_dropout_is_resumed_to_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    write_pairs(folder.path());
    let translate = recipe("translate").unwrap();
    for (model, sampling) in [("lstm", 1.0), ("transformer", 0.0)] {
        let options = |run: &Path| Options {
            run: Some(run.into()),
            ..options(folder.path(), "", model, &[("sampling", sampling), ("dropout", 0.5)], 1)
        };
        let [whole, stopped] = ["whole", "stopped"].map(|run| folder.path().join(format!("{model}-{run}")));
        assert_ends_alike(translate, [&whole, &stopped], &options);
    }
}

#[test]
fn what_is_no_translation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = |set: &[(&str, f64)]| options(folder.path(), "run", "lstm", set, 1);
    let message = |set: &[(&str, f64)]| train(recipe("translate").unwrap(), &options(set)).unwrap_err().to_string();
    assert!(message(&[]).contains("train.en") && message(&[]).contains("multi30k/dataset"), "{}", message(&[]));
    std::fs::write(folder.path().join("fra.txt"), "Go.\tVa !\nHi.\n").unwrap();
    assert!(message(&[]).contains("fra.txt: line 2: expected a text, a tab and a text, found no tab"));
    std::fs::write(folder.path().join("fra.txt"), b"Go.\tVa\xff\n").unwrap();
    assert!(message(&[]).contains("byte 6"), "{}", message(&[]));
    write_pairs(folder.path());
    let german = message(&[("german", 1.0)]);
    assert!(german.contains("german = 1") && german.contains("Multi30k has German ones"), "{german}");
    let short = message(&[("longest", 1.0)]);
    assert!(short.contains("an empty training set"), "{short}");
    let rare = message(&[("min_count", 1e6)]);
    assert!(rare.contains("at least 1000000 times"), "{rare}");
    let blank = |set: (&str, f64)| {
        let options =
            Options { model: Some("transformer".into()), set: vec![(set.0.into(), set.1)], ..Options::default() };
        blank_learner(recipe("translate").unwrap(), &options).unwrap_err().to_string()
    };
    assert!(blank(("hidden", 20.0)).contains("hidden = 20: of a transformer it is a multiple of 8"));
    assert!(blank(("sampling", 0.5)).contains("sampling = 0.5: a transformer sees all words"));
}
