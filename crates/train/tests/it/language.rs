//! Language models from outside: streams are trained on and resumed, sentences are padded, texts are said.

use std::path::Path;

use thalweg_data::Loader;
use thalweg_data::text::{Characters, Vocabulary, exchanges, windows};
use thalweg_nn::optim::by_name;
use thalweg_nn::{CrossEntropy, Loss, Schedule, cross_entropy};
use thalweg_run::graph::{Array, DType, Tensor, Variable, placeholder};
use thalweg_run::{Session, feeds};
use thalweg_train::decoding::{Beam, Limits, Sampling, greedy};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{End, FitOptions, Fitted, Inference, Length, RunFolder, Task, Training, fit};

use crate::fit::interrupt_after;
use crate::support::{last_file, session};

const TEXT: &str = "abcd abcd abcd abed abcd abcd abcd abcd abcd abed abcd abcd abcd abcd ";

/// What follows each token: logits by one table.
struct Bigrams {
    vocabulary: Vocabulary,
    table: Variable,
}

impl Bigrams {
    fn new(vocabulary: Vocabulary) -> Bigrams {
        let n = vocabulary.len();
        Bigrams { table: Variable::new("table", Array::zeros(&[n, n], DType::F32)), vocabulary }
    }

    fn of_text() -> Bigrams {
        Bigrams::new(Vocabulary::options().specials(&[]).of_texts(&Characters, [TEXT]).unwrap())
    }

    fn logits(&self, tokens: &Tensor) -> Tensor {
        self.table.gather(tokens, 0)
    }

    fn ids(&self, text: &str) -> Vec<i64> {
        self.vocabulary.encode_text(&Characters, text).unwrap()
    }
}

fn train(session: &Session, model: &Bigrams, path: Option<&Path>, resume: bool, stop_after: u64) -> Fitted {
    let data = windows(&model.ids(TEXT).into(), 5).unwrap();
    let loader = Loader::new(&data, 2).unwrap().training(3).jittered(2).unwrap();
    let [input, target] = ["input", "target"].map(|name| placeholder(name, DType::I64, ("batch", "time")));
    let output = model.logits(&input);
    let loss = cross_entropy(&output, &target);
    let task = Task::new(loss.clone(), Inference::new(loss, output));
    let optimizer = by_name("adam", Schedule::from(0.1)).unwrap();
    let training = Training { session, task: &task, optimizer: &optimizer, data: &loader, validation: None };
    let run = path.map(|path| RunFolder { resume, ..RunFolder::new(path) });
    let interrupt = Interrupt::default();
    let options = FitOptions { run, interrupt: interrupt.clone(), ..FitOptions::new(Length::Epochs(20)) };
    let mut stop = interrupt_after(stop_after, &interrupt);
    fit(&training, &options, &mut [&mut stop]).unwrap()
}

#[test]
fn a_stream_is_trained_on_and_resumed_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let fitted = train(&session(), &Bigrams::of_text(), Some(&whole), false, 0);
    assert!(fitted.train_loss < 0.5 * 6f64.ln(), "{}", fitted.train_loss);
    let interrupted = train(&session(), &Bigrams::of_text(), Some(&stopped), false, 17);
    assert_eq!((interrupted.end, interrupted.steps), (End::Interrupted, 17));
    assert_eq!(train(&session(), &Bigrams::of_text(), Some(&stopped), true, 0).end, End::Finished);
    assert_eq!(last_file(&stopped).1, last_file(&whole).1);
}

#[test]
fn what_was_learned_is_said() {
    let (session, model) = (session(), Bigrams::of_text());
    train(&session, &model, None, false, 0);
    let last = placeholder("last", DType::I64, ["rows"]);
    let next = model.logits(&last).log_softmax(-1);
    let step = |(): &(), tokens: &[i64]| {
        let tokens = Array::from(tokens);
        session.evaluate(&next, feeds! { last => &tokens }).map(|output| (output, ()))
    };
    let ids = |text: &str| model.ids(text);
    let text = |tokens: &[i64]| model.vocabulary.text(&Characters, tokens).unwrap();
    let limits = Limits::new(6).unwrap().stop_at(ids(" "));
    let said = greedy(step, (), &[ids("a"), ids("d abe")], &limits).unwrap();
    assert_eq!((text(&said[0].tokens), text(&said[1].tokens)), ("bcd".into(), "d".into()));
    let best = Beam::new(4).unwrap().n_best(2).unwrap().run(step, (), &[ids("a")], &limits).unwrap();
    assert_eq!((text(&best[0][0].tokens), text(&best[0][1].tokens)), ("bcd".into(), "bed".into()));
    assert!((best[0][0].log_probability - said[0].log_probability).abs() < 1e-6);
    let drawn = Sampling::new(1).top_k(1).unwrap().run(step, (), &[ids("a")], &limits).unwrap();
    assert_eq!(drawn[0].tokens, said[0].tokens);
}

/// The mean over what is no padding is that over the rows one by one.
#[test]
fn padding_costs_nothing() {
    let letters = Vocabulary::options().of(["a", "b", "c"]).unwrap();
    let rows: Vec<Vec<i64>> = vec![vec![4, 5, 6], vec![5], vec![6, 6, 4, 4, 5]];
    let data = exchanges(&letters, rows.clone(), &letters, rows).unwrap();
    let (session, model) = (session(), Bigrams::new(letters));
    let n = model.vocabulary.len();
    let numbers = (0..n * n).map(|i| (i as f32 * 0.7).sin()).collect();
    session.write(&model.table, Array::new::<f32>(&[n, n], numbers).unwrap()).unwrap();
    let [input, target] = ["input", "target"].map(|name| placeholder(name, DType::I64, ("batch", "time")));
    let mask = placeholder("target.mask", DType::Bool, ("batch", "time"));
    let loss = CrossEntropy::new().masked_mean(&model.logits(&input), &target, &mask);
    let measured = |rows: &[usize]| {
        let batch = Loader::new(&data.select(rows), 3).unwrap().epoch(0).unwrap().next().unwrap().unwrap();
        let (i, t, m) = (&batch["input"], &batch["target"], &batch["target.mask"]);
        let loss = session.run(&loss, feeds! { input => i, target => t, mask => m }).unwrap().item().unwrap();
        (loss, batch["target.length"].to_vec::<f64>().iter().sum::<f64>())
    };
    let alone: Vec<(f64, f64)> = (0..3).map(|row| measured(&[row])).collect();
    let (together, tokens) = measured(&[0, 1, 2]);
    assert_eq!(tokens, 12.0);
    let mean = alone.iter().map(|(loss, tokens)| loss * tokens).sum::<f64>() / tokens;
    assert!((together - mean).abs() < 1e-6, "{together} {mean}");
}
