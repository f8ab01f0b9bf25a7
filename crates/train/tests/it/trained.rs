//! Models from the folders of their runs, without the code that made them: used, and trained on.

use std::fs;
use std::path::Path;

use thalweg_data::Loader;
use thalweg_run::graph::Array;
use thalweg_run::{Feeds, Session};
use thalweg_train::checkpoint::{self, Saver, SaverOptions, Which};
use thalweg_train::fit::{Event, Flow, Moment};
use thalweg_train::{End, FitOptions, Length, RunFolder, Trained, Training, fit};

use crate::support::{Setup, last_file, points, session, setup};

#[test]
fn a_trained_model_is_used_without_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let setup = setup(10, 0.1);
    let session = session();
    let options = FitOptions { run: Some(setup.run(&path, false)), ..FitOptions::new(Length::Epochs(8)) };
    let fitted = setup.fit(&session, &options, &mut []).unwrap();

    let trained = Trained::open(&path).unwrap();
    assert_eq!((trained.checkpoint().step, trained.classes()), (40, &["left".to_string(), "right".into()][..]));
    let evaluation = trained.evaluate(&setup.raw_valid).unwrap();
    assert_eq!((Some(evaluation.loss), evaluation.accuracy()), (fitted.valid_loss, fitted.valid_accuracy));

    let answer = trained.predict(&Array::from([20.0f32, 1.0])).unwrap();
    assert_eq!((answer.class, &*answer.name), (1, "right"));
    assert!(answer.probability() > 0.5);
    assert!((answer.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let rows = trained.predict_rows(&setup.raw_valid["x"]).unwrap();
    assert_eq!(rows.len(), 20);
    assert_eq!(trained.predict(&setup.raw_valid["x"].rows(3..4)).unwrap(), rows[3]);

    let message = trained.predict(&setup.raw_valid["x"]).unwrap_err().to_string();
    assert!(message.contains("f32[batch,2]") && message.contains("f32[20, 2]"), "{message}");
    let message = trained.predict(&Array::from([1.0f32, 2.0, 3.0])).unwrap_err().to_string();
    assert!(message.contains("column `x`: has 3 numbers a row"), "{message}");
    let message = trained.predict_picture(&[0.0; 4], (2, 2)).unwrap_err().to_string();
    assert!(message.contains("not trained on drawings"), "{message}");
    let message = Trained::open(folder.path().join("none")).unwrap_err().to_string();
    assert!(message.contains("no checkpoint has been saved here"), "{message}");
    for step in checkpoint::steps(&path).unwrap() {
        Trained::open_checkpoint(&path, Which::Step(step)).unwrap();
    }
    assert!(Trained::open_checkpoint(&path, Which::Best).unwrap().checkpoint().step.is_multiple_of(5));
}

#[test]
fn a_checkpoint_without_a_model_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let setup = setup(10, 0.0);
    let run = Some(RunFolder { model: None, ..setup.run(&path, false) });
    setup.fit(&session(), &FitOptions { run, ..FitOptions::new(Length::Steps(1)) }, &mut []).unwrap();
    let message = Trained::open(&path).unwrap_err().to_string();
    assert!(message.contains("step-000000001.safetensors: the checkpoint entry `model` is missing"), "{message}");
}

/// Begins a training of five epochs in `path` and stops it after 7 steps; of dropout, a schedule, and the slots of Adam.
fn begin(path: &Path, accumulate: usize) -> (Setup, Session) {
    let (setup, session) = (setup(10, 0.3), session());
    let options = FitOptions { accumulate, run: Some(setup.run(path, false)), ..FitOptions::new(Length::Epochs(5)) };
    let mut stop = |event: &Event<'_>, moment: &Moment<'_>| match event {
        Event::Step(_) if moment.step == 7 => Flow::Stop,
        _ => Flow::Continue,
    };
    let fitted = setup.fit(&session, &options, &mut [&mut stop]).unwrap();
    assert_eq!((fitted.end, fitted.steps), (End::Stopped, 7));
    (setup, session)
}

#[test]
fn a_training_goes_on_step_by_step_without_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let (setup, with_code) = begin(&path, 1);
    let trained = Trained::open(&path).unwrap();
    let without_code = trained.training().unwrap();
    assert_eq!(without_code.session().state().unwrap(), with_code.state().unwrap());

    let new = trained.prepared(&points(64, 200)).unwrap();
    let loss = &setup.task.train_loss;
    let step = setup.optimizer.minimize(loss);
    for batch in Loader::new(&new, 16).unwrap().epoch(0).unwrap() {
        let batch = batch.unwrap();
        let columns = ["x", "label"].map(|name| (name, batch.column(name).unwrap()));
        let feeds = || columns.iter().fold(Feeds::new(), |feeds, (name, column)| feeds.with(*name, *column));
        let numbers = without_code.step(feeds()).unwrap();
        let fetches = (loss, &step.learning_rate, &step.gradient_norm, &step);
        let (loss, learning_rate, norm, ()) = with_code.run(fetches, feeds()).unwrap();
        let expected = [loss, learning_rate, norm].map(|number| number.item().unwrap());
        assert_eq!([numbers.loss, numbers.learning_rate, numbers.gradient_norm], expected);
    }
    let state = without_code.session().state().unwrap();
    assert_eq!(state, with_code.state().unwrap());
    assert_eq!(state.variables["global_step"].item().unwrap(), 11.0);
    let trainable = without_code.session().variables().into_iter().filter(|(_, variable)| variable.is_trainable());
    let parameters = ["layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"];
    assert!(trainable.map(|(name, _)| name).eq(parameters));

    let message = without_code.step(Feeds::new().with("x", &new["x"])).unwrap_err().to_string();
    assert!(message.contains("label"), "{message}");
    assert_eq!(without_code.session().state().unwrap(), state);
}

#[test]
fn the_training_loop_goes_on_without_the_code_and_ends_with_the_same_bytes() {
    for accumulate in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let (with_code, without) = (folder.path().join("with code"), folder.path().join("without"));
        let (setup, _) = begin(&with_code, accumulate);
        begin(&without, accumulate);
        let options = |run| FitOptions { accumulate, run: Some(run), ..FitOptions::new(Length::Epochs(5)) };
        setup.fit(&session(), &options(setup.run(&with_code, true)), &mut []).unwrap();

        let trained = Trained::open(&without).unwrap();
        let training = trained.training().unwrap();
        let run = trained.resumed_in(&without).unwrap();
        let fitted = fit(&training.on(&setup.loader, Some(&setup.valid)), &options(run), &mut []).unwrap();
        assert_eq!((fitted.end, fitted.epochs), (End::Finished, 5));
        assert!(last_file(&without).1 == last_file(&with_code).1, "{accumulate} batches a step");
    }
}

#[test]
fn a_stored_training_is_refused_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let (setup, session) = begin(&path, 1);
    let training = Trained::open(&path).unwrap().training().unwrap();
    let options = FitOptions { accumulate: 2, ..FitOptions::new(Length::Steps(1)) };
    let message = fit(&training.on(&setup.loader, None), &options, &mut []).unwrap_err().to_string();
    assert_eq!(message, "accumulate 2: the stored training step takes one batch");
    let other = Training { session: &session, task: &setup.task, ..training.on(&setup.loader, None) };
    let message = fit(&other, &FitOptions::new(Length::Steps(1)), &mut []).unwrap_err().to_string();
    assert!(message.contains("another loss"), "{message}");

    // What stands in the checkpoint is read as any input is.
    let with_step = |from: &str, to: &str| {
        let mut saved = checkpoint::load(&path, Which::Last).unwrap().checkpoint;
        saved.metadata.insert("training".into(), saved.metadata["training"].replace(from, to));
        let changed = folder.path().join("changed");
        let _ = fs::remove_dir_all(&changed);
        Saver::create(&changed, SaverOptions::default()).unwrap().save(7, &saved, None).unwrap();
        Trained::open(&changed).unwrap().training().unwrap_err().to_string()
    };
    for (from, to, part) in [
        ("\"counter\"", "\"clock\"", "entry `training` cannot be read"),
        ("= exp ", "= expo ", "there is no op `expo`; did you mean `exp`?"),
        ("\"layers.0.bias\",", "", "4 gradients of 3 parameters"),
        ("\"updates\":13", "\"updates\":14", "has 13 updates, expected 14"),
        ("\"counter\":\"global_step", "\"counter\":\"clock", "does not count `clock`"),
        ("layers.0.weight", "layers.9.weight", "missing: `layers.9.weight`"),
    ] {
        let message = with_step(from, to);
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_checkpoint_without_a_training_step_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    begin(&path, 1);
    let mut saved = checkpoint::load(&path, Which::Last).unwrap().checkpoint;
    saved.metadata.remove("training");
    let older = folder.path().join("older");
    Saver::create(&older, SaverOptions::default()).unwrap().save(7, &saved, None).unwrap();
    let message = Trained::open(&older).unwrap().training().unwrap_err().to_string();
    assert!(message.contains("step-000000007.safetensors: the checkpoint entry `training` is missing"), "{message}");
}
