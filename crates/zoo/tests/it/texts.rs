//! Recipes on texts, in few steps.

use std::path::Path;

use thalweg::data::text::{TextEncoding, Tokens, Vocabulary};
use thalweg::prelude::*;
use thalweg::train::Generator;
use thalweg::train::checkpoint::Which;
use thalweg::train::decoding::Sampling;
use thalweg_zoo::language::{Gpt, GptConfig};
use thalweg_zoo::{Options, evaluate, recipe, test_row, train};

use crate::resumed::assert_ends_alike;

/// A recipe, one of its models, settings that make it small.
type Small<'a> = (&'a str, Option<&'a str>, &'a [(&'a str, f64)]);

const TEXT: &str = "the cat sat on the mat. The dog sat on the log.\n";

fn options(data: &Path, run: &Path, epochs: u64, set: &[(&str, f64)]) -> Options {
    std::fs::write(data.join("text.txt"), TEXT.repeat(60)).unwrap();
    Options {
        data: Some(data.into()),
        run: Some(run.into()),
        length: Some(Length::Epochs(epochs)),
        batch: Some(8),
        lr: Some(1e-2),
        threads: Some(1),
        set: set.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
        ..Options::default()
    }
}

/// The context does not divide the text's period: windows begin anywhere in it.
const SMALL_GPT: [(&str, f64); 4] = [("context", 13.0), ("features", 32.0), ("heads", 2.0), ("blocks", 2.0)];

#[test]
fn every_model_of_characters_learns_and_writes() {
    let small: [Small<'_>; 4] = [
        ("char-lm", Some("rnn"), &[("hidden", 32.0)]),
        ("char-lm", Some("gru"), &[("hidden", 32.0)]),
        ("char-lm", Some("lstm"), &[("hidden", 32.0)]),
        ("gpt", None, &SMALL_GPT),
    ];
    for (name, model, set) in small {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let options = Options { model: model.map(str::to_string), ..options(folder.path(), &run, 7, set) };
        let outcome = train(recipe(name).unwrap(), &options).unwrap();
        // Each character alone has 2.6.
        assert!(outcome.valid_loss < Some(0.4), "{name} {model:?}: {outcome:?}");
        let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
        assert!(!report.is_test && Some(report.evaluation.loss) == outcome.valid_loss, "{name} {model:?}: {report:?}");

        let trained = Trained::open(&run).unwrap();
        let message = test_row(&trained, Some(folder.path()), 0).unwrap_err().to_string();
        assert!(message.contains(&format!("the recipe `{name}` has no test set")), "{message}");
        let generator = Generator::of(&trained).unwrap();
        let coldest = Sampling::new(0).top_k(1).unwrap();
        let mut shown = String::new();
        let written = generator.write("The cat sat on the ma", 3, &coldest, |piece| shown.push_str(piece)).unwrap();
        assert_eq!((&*written, &*shown), ("t. ", "t. "), "{name} {model:?}");
        let plans = trained.session().cached_plans();
        generator.write("", 1000, &Sampling::new(1), |_| {}).unwrap();
        assert_eq!(trained.session().cached_plans(), plans, "{name} {model:?}");
        let message = generator.write("é", 3, &coldest, |_| {}).unwrap_err().to_string();
        assert!(message.contains("`é`"), "{message}");

        let samples = std::fs::read_to_string(run.join("samples.txt")).unwrap();
        assert!(samples.starts_with("--- after step ") && samples.contains(&format!("after step {},", outcome.steps)));
        assert!(samples.contains("\nthe "), "{samples}");
    }
}

#[test]
fn a_text_is_gone_on_with_where_it_was_left() {
    let small: [Small<'_>; 2] =
        [("char-lm", Some("lstm"), &[("hidden", 16.0), ("dropout", 0.5)]), ("gpt", None, &SMALL_GPT)];
    for (name, model, set) in small {
        let folder = tempfile::tempdir().unwrap();
        let options = |run: &Path| Options { model: model.map(str::to_string), ..options(folder.path(), run, 1, set) };
        let [whole, stopped] = ["whole", "stopped"].map(|run| folder.path().join(run));
        assert_ends_alike(recipe(name).unwrap(), [&whole, &stopped], &options);
    }
}

/// A text longer than the context is seen from where the window stands that is moved on by half a context when it is full.
#[test]
fn keys_and_values_are_kept_as_if_the_window_were_read_anew_for_each_character() {
    const CONTEXT: usize = 16;
    const LETTERS: &str = "abcdefghijk";
    let options = Vocabulary::options().specials(&[]);
    let encoding = TextEncoding::of_texts(Tokens::Characters, false, &options, [LETTERS]).unwrap();
    let config = GptConfig {
        tokens: LETTERS.len(),
        context: CONTEXT,
        features: 24,
        heads: 3,
        blocks: 2,
        dropout: 0.0,
        bias: true,
        tied: false,
    };
    let gpt = Init::build(3, |init| Gpt::new(init, config));
    let session = Session::builder().threads(1).build().unwrap();
    // First weights say of all characters much the same.
    for (_, variable) in gpt.variables() {
        let larger = session.run(variable.tensor() * 15.0, feeds! {}).unwrap();
        session.write(&variable, larger).unwrap();
    }
    let text = placeholder("text", i64, ("rows", "time"));
    let logits = gpt.logits(&text, &mut Forward::infer());
    let [next, read] = gpt.functions();
    let generator = Generator::new(&session, &next, &encoding).reading(&read);
    let coldest = Sampling::new(0).top_k(1).unwrap();
    let mut different = std::collections::BTreeSet::new();
    for beginning in ["b", "abcdefghijkabcd", "abcdefghijkabcde", "abcdefghijkabcdef", &LETTERS.repeat(4)] {
        let written = generator.write(beginning, 60, &coldest, |_| {}).unwrap();
        let mut said = encoding.encode(beginning).unwrap();
        for character in encoding.encode(&written).unwrap() {
            let start = said.len().saturating_sub(CONTEXT).div_ceil(CONTEXT / 2) * (CONTEXT / 2);
            let window = Array::new(&[1, said.len() - start], said[start..].to_vec()).unwrap();
            let all = session.run(&logits, feeds! { text => &window }).unwrap().to_vec::<f32>();
            let last = &all[all.len() - LETTERS.len()..];
            let likeliest = (0..last.len()).fold(0, |best, token| if last[token] > last[best] { token } else { best });
            assert_eq!(character, likeliest as i64, "behind {} of {beginning:?}: {last:?}", said.len());
            said.push(character);
        }
        different.extend(written.chars());
    }
    assert!(different.len() > 2, "the model says {different:?} and no more");
}

#[test]
fn samples_are_written_in_any_alphabet() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let options = options(folder.path(), &run, 1, &SMALL_GPT);
    std::fs::write(folder.path().join("text.txt"), "кот сидит на ковре. ".repeat(60)).unwrap();
    train(recipe("gpt").unwrap(), &Options { measure_every: Some(5), ..options }).unwrap();
    let samples = std::fs::read_to_string(run.join("samples.txt")).unwrap();
    assert!(samples.starts_with("--- after step 5, held-out loss"), "{samples}");
}

#[test]
fn a_model_that_cannot_be_is_refused_by_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |set: &[(&str, f64)]| {
        let options = options(folder.path(), &folder.path().join("run"), 1, set);
        train(recipe("gpt").unwrap(), &options).unwrap_err().to_string()
    };
    assert!(refusal(&[("heads", 3.0)]).contains("3 heads: do not divide 128 features"));
    let message = refusal(&[("context", 5000.0)]);
    assert!(message.contains("windows of 5000 tokens: the text has"), "{message}");
    assert!(refusal(&[("context", 0.0)]).contains("context = 0: must be from 1"));
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
