//! The recipe `smart-reply`, from dialogues to what it suggests, and when.

use std::path::Path;

use thalweg::prelude::*;
use thalweg::train::checkpoint::Which;
use thalweg::train::decoding::Beam;
use thalweg::train::{FitError, Reply, Responder, Search};
use thalweg_zoo::{Options, blank_learner, evaluate, recipe, train};

const NUMBERS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// On two topics the same is answered in two ways; who asks gets a short reply, who wants to be told a long one.
fn write_dialogues(folder: &Path) {
    let dialogue = |row: usize| {
        let said = NUMBERS[row % 6];
        let (topic, animal) = [("sea", "fish"), ("Wood", "bird")][row / 6 % 2];
        match row / 12 % 2 {
            0 => format!("# {topic}\nWho is {said}?\n{animal} {said}\n\n"),
            _ => format!("# {topic}\nTell of {said}.\n{animal} {said} went far and far away and home again\n\n"),
        }
    };
    std::fs::write(folder.join("self_dialogue_subset.txt"), (0..240).map(dialogue).collect::<String>()).unwrap();
}

fn options(folder: &Path, epochs: u64) -> Options {
    let small = [("hidden", 32.0), ("layers", 1.0), ("dropout", 0.0), ("short", 5.0)];
    Options {
        data: Some(folder.into()),
        run: Some(folder.join("run")),
        length: Some(Length::Epochs(epochs)),
        batch: Some(16),
        lr: Some(1e-2),
        threads: Some(1),
        set: small.map(|(name, value)| (name.into(), value)).to_vec(),
        ..Options::default()
    }
}

fn search(width: usize, best: usize, diversity: f64) -> Search {
    let beam = Beam::new(width).unwrap().n_best(best).unwrap().length_normalization(1.0).unwrap();
    Search { beam: beam.diversity(diversity).unwrap(), length: None, begin: String::new() }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, FitError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn replies_follow_the_topic_and_the_trigger_knows_when_to_be_silent() {
    let folder = tempfile::tempdir().unwrap();
    write_dialogues(folder.path());
    let recipe = recipe("smart-reply").unwrap();
    let outcome = train(recipe, &options(folder.path(), 30)).unwrap();
    let figures = &outcome.test_figures;
    assert!(figures["perplexity"] < 1.25, "{figures:?}");
    assert!(figures["perplexity"] < figures["perplexity_trigram"], "{figures:?}");
    assert!(figures["perplexity_trigram"] < figures["perplexity_unigram"], "{figures:?}");
    // Without the topic the first word is one of two.
    assert!(figures["perplexity_without_topic"] > figures["perplexity"], "{figures:?}");
    assert!(figures["trigger_accuracy"] > 0.95 && figures["trigger_auc"] > 0.95, "{figures:?}");
    assert!((0.5..0.7).contains(&figures["trigger_accuracy_of_one_answer"]), "{figures:?}");
    let report = evaluate(&folder.path().join("run"), Some(folder.path()), Which::Last).unwrap();
    assert_eq!((report.is_test, &report.figures), (true, figures));

    let trained = Trained::open(folder.path().join("run")).unwrap();
    let responder = Responder::of(&trained).unwrap();
    let best = |tag, text, search: &Search| -> Vec<String> {
        let replies: Vec<Reply> = responder.replies(tag, text, search).unwrap();
        replies.into_iter().map(|reply| reply.text).collect()
    };
    assert_eq!(best(Some("sea"), "Who is five?", &search(3, 1, 0.0)), ["fish five"]);
    assert_eq!(best(Some("wood"), "Who is five?", &search(3, 1, 0.0)), ["bird five"]);
    let mut either = best(None, "Who is five?", &search(3, 2, 2.0));
    either.sort();
    assert_eq!(either, ["bird five", "fish five"]);
    // Of several that begin alike the best; then those that are left.
    let suggested = responder.suggestions(None, "Who is five?", &search(6, 6, 2.0)).unwrap();
    assert_eq!(suggested, responder.replies(None, "Who is five?", &search(6, 6, 2.0)).unwrap());
    let suggested = responder.suggestions(None, "Who is five?", &search(6, 2, 0.5)).unwrap();
    let mut texts: Vec<&str> = suggested.iter().map(|reply| &*reply.text).collect();
    texts.sort();
    assert_eq!(texts, ["bird five", "fish five"]);
    let begun = Search { begin: "bird".into(), ..search(3, 1, 0.0) };
    assert!(best(Some("sea"), "Who is five?", &begun)[0].starts_with("bird"));

    assert!(responder.has_trigger());
    let wanted = |text| responder.wanted(Some("sea"), text).unwrap().unwrap();
    assert!(wanted("Who is five?") > 0.8, "{}", wanted("Who is five?"));
    assert!(wanted("Tell of five.") < 0.2, "{}", wanted("Tell of five."));

    // Both are asked of the same texts, and refuse the same.
    let search = search(3, 1, 0.0);
    let both = |tag, text| {
        let message = refusal(responder.wanted(tag, text));
        assert_eq!(refusal(responder.replies(tag, text, &search)), message);
        message
    };
    assert!(both(None, " ").contains("it is empty"));
    assert!(both(None, "zzz qqq").contains("unknown tokens only (`zzz`, `qqq`)"));
    assert_eq!(both(Some("moon"), "Who is one?"), "the tag `moon`: there are: any, sea, wood");
    // Far longer than all that it was trained on.
    let long = "who is five ".repeat(500);
    assert_eq!(responder.replies(None, &long, &search).unwrap().len(), 1);
    assert!((0.0..=1.0).contains(&responder.wanted(None, &long).unwrap().unwrap()));
}

#[test]
fn what_are_no_dialogues_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe("smart-reply").unwrap();
    let message = || train(recipe, &options(folder.path(), 1)).unwrap_err().to_string();
    let write = |text: &str| std::fs::write(folder.path().join("self_dialogue_subset.txt"), text).unwrap();
    assert!(message().contains("has no file `self_dialogue_subset.txt`"), "{}", message());
    write("Hello.\n# sea\nHi.\n");
    assert!(message().contains("line 1: expected a line `# topic`"), "{}", message());
    // Nobody replies; then there are too few dialogues to hold any out.
    write(&"# sea\nHello, hello, hello.\n\n".repeat(20));
    assert!(message().contains("the training dialogues: 16 of them, and no turn has a reply"), "{}", message());
    write(&"# sea\nHello, hello, hello.\nHi, hi, hi.\n\n".repeat(8));
    assert!(message().contains("the test dialogues, of ten the last: 0 of them, and no turn"), "{}", message());
    // A topic that is called as a special token.
    write(&"# s\nHello, hello, hello.\nHi, hi, hi.\n\n".repeat(20));
    assert!(message().contains("are both `<s>`"), "{}", message());
}

#[test]
fn the_model_is_known_without_data() {
    let learner = blank_learner(recipe("smart-reply").unwrap(), &Options::default()).unwrap();
    assert!(learner.data().prepare().text("source").unwrap().tags().eq(["any", "pop"]));
}
