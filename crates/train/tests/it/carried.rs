//! States that go on from batch to batch: learned with, resumed, evaluated, saved with functions.

use std::path::Path;

use thalweg_data::text::{Characters, TextEncoding, Tokens, Vocabulary, windows};
use thalweg_data::{Dataset, Loader};
use thalweg_nn::{CrossEntropy, Forward, Init, Initializer, Layer, Linear, Loss, Module, cross_entropy};
use thalweg_run::graph::{Array, DType, Tensor, Variable, placeholder};
use thalweg_run::{Session, feeds};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{Columns, End, FitError, Function, Inference, Learner, Trained, TrainingData};

use crate::fit::interrupt_after;
use crate::support::last_file;

/// What follows an `a` is known only from what was before it.
const TEXT: &str = "aab";

/// A recurrent network that sees one letter in a batch, and the rest only by what it carries over.
#[derive(Module)]
struct Net {
    letters: Variable,
    inner: Linear,
    output: Linear,
}

impl Net {
    fn new(letters: usize) -> Net {
        Init::build(1, |init| Net {
            letters: init.variable(&[letters, 16], Initializer::Normal { mean: 0.0, std: 0.5 }),
            inner: Linear::new(init, 16, 16),
            output: Linear::new(init, 16, letters),
        })
    }

    /// Logits `[batch, letters]` of what follows the letters `[batch]`.
    fn step(&self, letter: &Tensor, cx: &mut Forward) -> Tensor {
        let before = cx.carried(DType::F32, (letter.size(0), 16));
        let after = (self.letters.gather(letter, 0) + self.inner.forward(&before, cx)).tanh();
        cx.carry_on(&before, &after);
        self.output.forward(&after, cx)
    }
}

fn vocabulary() -> Vocabulary {
    Vocabulary::options().specials(&[]).of_texts(&Characters, [TEXT]).unwrap()
}

fn stream(repeats: usize) -> Dataset {
    let tokens = vocabulary().encode_text(&Characters, &TEXT.repeat(repeats)).unwrap();
    windows(&tokens.into(), 1).unwrap()
}

fn learner(data: TrainingData) -> Result<Learner, FitError> {
    let net = std::rc::Rc::new(Net::new(2));
    let shared = net.clone();
    let model = move |columns: &Columns, cx: &mut Forward| {
        // Of one letter in time.
        let [input, target] = ["input", "target"].map(|name| columns[name].flatten(0));
        let logits = shared.step(&input, cx);
        Inference::new(cross_entropy(&logits, &target), logits)
    };
    let next = Function::new(|cx| vec![net.step(&placeholder("letter", DType::I64, ["rows"]), cx).softmax(-1)]);
    let session = Session::builder().threads(1).seed(4).build().unwrap();
    Learner::from_columns(data, model)?.function("next", next).in_session(session)
}

fn data() -> TrainingData {
    let data = TrainingData::new(stream(41), stream(21)).unwrap().batch(4);
    let letters = TextEncoding { tokens: Tokens::Characters, lower_case: true, vocabulary: vocabulary() };
    data.texts("input", &letters).unwrap()
}

fn train(run: Option<&Path>, stop_after: u64) -> Result<Learner, FitError> {
    let interrupt = Interrupt::default();
    let mut learner = learner(data())?.interrupt(interrupt.clone()).callback(interrupt_after(stop_after, &interrupt));
    if let Some(run) = run {
        learner = learner.resumed_in(run);
    }
    learner.fit(20, 0.01)?;
    Ok(learner)
}

#[test]
fn what_is_carried_over_is_learned_with_and_evaluated_with() {
    let learner = train(None, 0).unwrap();
    // Without what was before, a or b follows an a: 0.46.
    let with = learner.validate().unwrap();
    assert!(with.loss < 0.1 && with.rows == 60, "{with:?}");
    let rows: Vec<usize> = (0..62).rev().collect();
    let without = learner.evaluate(&data().valid().select(&rows)).unwrap();
    assert!(without.loss > 0.4, "{without:?}");
}

#[test]
fn a_text_is_resumed_in_its_middle_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    train(Some(&whole), 0).unwrap();
    // 30 steps an epoch.
    assert!(matches!(train(Some(&stopped), 100), Err(FitError::Interrupted { step: 100, .. })));
    let end = train(Some(&stopped), 0).unwrap().fitted().unwrap().end;
    assert_eq!(end, End::Finished);
    assert_eq!(last_file(&stopped).1, last_file(&whole).1);
}

#[test]
fn functions_and_vocabularies_are_saved_with_the_model() {
    let folder = tempfile::tempdir().unwrap();
    train(Some(folder.path()), 0).unwrap();
    let trained = Trained::open(folder.path()).unwrap();
    let letters = trained.card().prepare.text("input").unwrap();
    assert_eq!(letters.encode("ABBA").unwrap(), [0, 1, 1, 0]);
    let message = trained.card().prepare.text("source").unwrap_err().to_string();
    assert!(message.contains("a text for `source`: the model takes texts for input"), "{message}");
    let next = trained.function("next").unwrap();
    let mut states = next.fresh(&[("rows", 1)]).unwrap();
    let mut said = String::from("a");
    for _ in 0..9 {
        let last = if said.ends_with('a') { 0i64 } else { 1 };
        let (outputs, after) = next.call(trained.session(), feeds! { "letter" => [last] }, &states).unwrap();
        let probabilities = outputs[0].to_vec::<f32>();
        said.push(if probabilities[0] > probabilities[1] { 'a' } else { 'b' });
        states = after;
    }
    assert_eq!(said, "aabaabaaba");
    let message = trained.function("nxt").unwrap_err().to_string();
    assert!(message.contains("the model has no function `nxt`; there are: next"), "{message}");
    let message = next.call(trained.session(), feeds! { "letter" => [0i64] }, &[]).unwrap_err().to_string();
    assert!(message.contains("a function with 1 states was given 0"), "{message}");
    // Evaluated without the program that made it, and trained on.
    assert!(trained.evaluate(data().valid()).unwrap().loss < 0.1);
    let training = trained.training().unwrap();
    let loader = Loader::new(data().train(), 4).unwrap();
    let options = thalweg_train::FitOptions::new(thalweg_train::Length::Epochs(1));
    let fitted = thalweg_train::fit(&training.on(&loader, None), &options, &mut []).unwrap();
    assert!(fitted.train_loss < 0.1, "{}", fitted.train_loss);
}

#[test]
fn rows_that_do_not_go_on_are_refused() {
    let rows: Vec<usize> = (0..40).rev().collect();
    let shuffled = TrainingData::new(stream(41).select(&rows), stream(21)).unwrap().batch(2);
    let message = learner(shuffled).unwrap().fit(1, 0.1).unwrap_err().to_string();
    assert!(message.contains("the model carries f32[batch*time,16] from batch to batch, but the rows"), "{message}");
}

#[test]
fn several_inputs_of_different_lengths_reach_the_model() {
    use thalweg_data::text::exchanges;
    let letters = Vocabulary::options().of(["a", "b"]).unwrap();
    let rows = |n: usize| (0..n).map(|i| vec![4 + (i % 2) as i64; 1 + i % 3]).collect::<Vec<_>>();
    let pairs = |n| exchanges(&letters, rows(n), &letters, rows(n)).unwrap();
    let n = letters.len();
    let table = Variable::new("table", Array::zeros(&[n, n], DType::F32));
    let data = TrainingData::new(pairs(12), pairs(7)).unwrap().batch(4);
    let learner = Learner::from_columns(data, move |columns, _| {
        let sizes = |name: &str| columns[name].meta().to_string();
        assert_eq!(sizes("source"), "i64[batch,source_time]");
        assert_eq!(sizes("source.length"), "i64[batch]");
        assert_eq!(
            (sizes("input"), sizes("target.mask")),
            ("i64[batch,input_time]".into(), "bool[batch,input_time]".into())
        );
        let logits = table.gather(&columns["input"], 0);
        let mask = &columns["target.mask"];
        let terms = mask.cast(DType::F32).sum();
        let loss = CrossEntropy::new().masked_mean(&logits, &columns["target"], mask);
        Inference::new(loss, logits).over(terms)
    });
    let mut learner = learner.unwrap();
    learner.fit(1, 0.1).unwrap();
    // Whatever the batches, each token counts as much.
    let alone = learner.validate().unwrap().loss;
    let losses: Vec<(f64, f64)> = (0..7)
        .map(|row| {
            let row = learner.data().valid().select(&[row]);
            let tokens = row.sequences("target").unwrap().lengths().sum::<usize>() as f64;
            (learner.evaluate(&row).unwrap().loss, tokens)
        })
        .collect();
    let mean = losses.iter().map(|(loss, n)| loss * n).sum::<f64>() / losses.iter().map(|(_, n)| n).sum::<f64>();
    assert!((alone - mean).abs() < 1e-6, "{alone} {mean}");
    let missing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let data = TrainingData::new(pairs(12), pairs(7)).unwrap();
        Learner::from_columns(data, |columns, _| Inference::new(columns["words"].sum(), columns["input"].clone()))
    }));
    let message = *missing.err().unwrap().downcast::<String>().unwrap();
    assert!(
        message.starts_with("there is no column `words`; there are: input, input.length, input.mask, source"),
        "{message}"
    );
}
