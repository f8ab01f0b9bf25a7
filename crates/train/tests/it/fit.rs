//! The training loop from outside: it learns, and it can be stopped anywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_data::{Dataset, Loader};
use thalweg_nn::optim::by_name;
use thalweg_run::graph::{Array, DType, Variable, placeholder};
use thalweg_run::{Session, State};
use thalweg_train::checkpoint::{self, Which};
use thalweg_train::events::{self, Value, What};
use thalweg_train::fit::{Event, Flow, Moment};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{End, FitError, FitOptions, Inference, Length, RunFolder, Task, Training, evaluate, fit};

use crate::support::{Setup, last_file, session, setup};

/// Stops after a step, as Ctrl-C does.
pub(crate) fn interrupt_after(step: u64, interrupt: &Interrupt) -> impl FnMut(&Event<'_>, &Moment<'_>) -> Flow + use<> {
    let interrupt = interrupt.clone();
    move |event, moment| {
        if matches!(event, Event::Step(_)) && moment.step == step {
            interrupt.request();
        }
        Flow::Continue
    }
}

#[test]
fn it_learns_and_says_so() {
    let setup = setup(10, 0.0);
    let session = session();
    let mut losses = Vec::new();
    let mut listen = |event: &Event<'_>, _: &Moment<'_>| {
        if let Event::Measured { train_loss, .. } = event {
            losses.push(*train_loss);
        }
        Flow::Continue
    };
    let fitted = setup.fit(&session, &FitOptions::new(Length::Epochs(8)), &mut [&mut listen]).unwrap();
    assert_eq!((fitted.end, fitted.steps, fitted.epochs), (End::Finished, 40, 8));
    assert_eq!(losses.len(), 8);
    assert!(losses[7] < 0.5 * losses[0], "{losses:?}");
    assert_eq!(fitted.train_loss, losses[7]);
    assert!(fitted.valid_accuracy.unwrap() >= 0.85, "{fitted:?}");
    assert_eq!(fitted.checkpoint, None);
    let again = evaluate(&session, &setup.task.inference, &setup.valid, 7).unwrap();
    assert!((again.loss - fitted.valid_loss.unwrap()).abs() < 1e-6);
}

#[test]
fn a_run_that_is_stopped_and_resumed_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let train = |path: &Path, resume, interrupt: &Interrupt, stop_after| {
        // Five batches an epoch; 13 steps end within the third.
        let setup = setup(10, 0.2);
        let run = RunFolder { save_every: Some(3), ..setup.run(path, resume) };
        let run = Some(run);
        let options = FitOptions { run, interrupt: interrupt.clone(), ..FitOptions::new(Length::Steps(13)) };
        let mut stop = interrupt_after(stop_after, interrupt);
        setup.fit(&session(), &options, &mut [&mut stop]).unwrap()
    };
    let whole = folder.path().join("whole");
    let undisturbed = train(&whole, false, &Interrupt::default(), 0);
    // Within an epoch, at its end, at a regular save, and in the last step.
    for stop_after in [1, 5, 6, 7, 13] {
        let path = folder.path().join(format!("stopped-{stop_after}"));
        let interrupt = Interrupt::default();
        let stopped = train(&path, false, &interrupt, stop_after);
        let end = if stop_after == 13 { End::Finished } else { End::Interrupted };
        assert_eq!((stopped.end, stopped.steps), (end, stop_after));
        interrupt.clear();
        let resumed = train(&path, true, &interrupt, 0);
        assert_eq!(resumed.end, if stop_after == 13 { End::AlreadyFinished } else { End::Finished });
        assert_eq!(last_file(&path).1, last_file(&whole).1, "stopped after step {stop_after}");
        assert_eq!(resumed.train_loss.to_bits(), undisturbed.train_loss.to_bits());
        assert_eq!((resumed.valid_loss, resumed.valid_accuracy), (undisturbed.valid_loss, undisturbed.valid_accuracy));
        assert_eq!((resumed.steps, resumed.epochs), (13, 3));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let state = |threads| -> State {
        let session = Session::builder().threads(threads).seed(9).build().unwrap();
        setup(10, 0.3).fit(&session, &FitOptions::new(Length::Steps(7)), &mut []).unwrap();
        session.state().unwrap()
    };
    let one = state(1);
    assert_eq!(one, state(2));
    assert_eq!(one, state(3));
}

#[test]
fn accumulated_batches_equal_a_large_one() {
    let state = |batch, accumulate| {
        let session = session();
        let setup = setup(batch, 0.0);
        let options = FitOptions { accumulate, ..FitOptions::new(Length::Epochs(2)) };
        let fitted = setup.fit(&session, &options, &mut []).unwrap();
        (fitted, session.state().unwrap())
    };
    // 50 rows: two steps of 24 and one of 2; in parts of 8, and of 8 and 2.
    let (whole, expected) = state(24, 1);
    let (parts, found) = state(8, 3);
    assert_eq!((whole.steps, parts.steps), (6, 6));
    assert!((whole.train_loss - parts.train_loss).abs() < 1e-5, "{} {}", whole.train_loss, parts.train_loss);
    for (name, value) in expected.variables.iter().filter(|(name, _)| name.starts_with("layers.")) {
        for (whole, parts) in value.to_vec::<f64>().into_iter().zip(found.variables[name].to_vec::<f64>()) {
            assert!((whole - parts).abs() < 1e-3, "{name}: {whole} {parts}");
        }
    }
}

#[test]
fn a_finished_run_stays_finished_and_another_is_not_written_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let train = |batch, resume| {
        let setup = setup(batch, 0.0);
        let options = FitOptions { run: Some(setup.run(&path, resume)), ..FitOptions::new(Length::Epochs(1)) };
        setup.fit(&session(), &options, &mut [])
    };
    let first = train(10, true).unwrap();
    assert_eq!((first.end, first.steps), (End::Finished, 5));
    let bytes = last_file(&path);
    let again = train(10, true).unwrap();
    assert_eq!((again.end, again.steps, again.checkpoint), (End::AlreadyFinished, 5, first.checkpoint));
    let message = train(25, true).unwrap_err().to_string();
    assert!(message.contains("batch was `10`, now `25`"), "{message}");
    let message = train(10, false).unwrap_err().to_string();
    assert!(message.contains("the folder is not empty") && message.contains("checkpoints"), "{message}");
    assert_eq!(last_file(&path), bytes);
}

#[test]
fn a_run_goes_on_with_other_data_if_they_may_differ() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut setup = setup(10, 0.0);
    let run = |setup: &Setup, data: &str, resume, may_differ: &[&str]| {
        let mut run = setup.run(&path, resume);
        run.config.insert("data".into(), data.into());
        RunFolder { may_differ: may_differ.iter().map(ToString::to_string).collect(), ..run }
    };
    let interrupt = Interrupt::default();
    let mut stop = interrupt_after(3, &interrupt);
    let begin = Some(run(&setup, "many", false, &[]));
    let options = FitOptions { run: begin, interrupt: interrupt.clone(), ..FitOptions::new(Length::Steps(9)) };
    assert_eq!(setup.fit(&session(), &options, &mut [&mut stop]).unwrap().steps, 3);
    // Two batches an epoch, of which the third is not one.
    setup.loader = Loader::new(&setup.valid, 10).unwrap();
    let options = |run| FitOptions { run: Some(run), ..FitOptions::new(Length::Steps(9)) };
    let refused = setup.fit(&session(), &options(run(&setup, "few", true, &[])), &mut []).unwrap_err().to_string();
    assert!(refused.ends_with("configured otherwise: data was `many`, now `few`"), "{refused}");
    let fitted = setup.fit(&session(), &options(run(&setup, "few", true, &["data"])), &mut []).unwrap();
    assert_eq!((fitted.end, fitted.steps, fitted.epochs), (End::Finished, 9, 4));
    let last = checkpoint::load(&path, Which::Last).unwrap().checkpoint;
    assert_eq!(last.config().unwrap()["data"], "few");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let setup = setup(10, 0.0);
    let run = Some(setup.run(&folder.path().join("file/run ä"), false));
    let mut steps = 0;
    let mut count = |event: &Event<'_>, _: &Moment<'_>| {
        steps += u64::from(matches!(event, Event::Step(_)));
        Flow::Continue
    };
    let options = FitOptions { run, ..FitOptions::new(Length::Epochs(1)) };
    let message = setup.fit(&session(), &options, &mut [&mut count]).unwrap_err().to_string();
    assert!(message.contains("file/run ä: cannot create the folder"), "{message}");
    assert_eq!(steps, 0);
}

#[test]
fn settings_out_of_range_are_refused() {
    let setup = setup(10, 0.0);
    let message = |options: FitOptions| setup.fit(&session(), &options, &mut []).unwrap_err().to_string();
    let options = || FitOptions::new(Length::Epochs(1));
    assert!(message(FitOptions { accumulate: 0, ..options() }).contains("accumulate 0"));
    assert!(message(FitOptions { validate_every: Some(0), ..options() }).contains("validate every 0"));
    assert!(
        message(FitOptions { validate_each: Some(Duration::ZERO), ..options() }).contains("validate each 0 s: must be")
    );
    assert!(message(FitOptions::new(Length::Epochs(0))).contains("epochs 0"));
    assert!(message(FitOptions::new(Length::Steps(0))).contains("steps 0"));
    assert!(message(FitOptions { validation_batch: 0, ..options() }).contains("batch size 0"));
}

/// A loss that is the logarithm of something that shrinks by a half in each step until it is negative.
#[test]
fn numbers_out_of_range_stop_with_step_and_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let x = placeholder("x", DType::F32, ["n"]);
    let w = Variable::new("w", 3.25);
    let loss = (&w * &x).named("shrinking").log().mean();
    let task = Task::new(loss.clone(), Inference::new(loss.clone(), loss));
    let data = Dataset::new([("x", Array::from([1.0f32; 4]))]).unwrap();
    // The gradient of ln w is 1/w.
    let optimizer = by_name("sgd", 2.0).unwrap();
    let loader = Loader::new(&data, 2).unwrap();
    let session = session();
    let training = Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: None };
    let run = Some(RunFolder { save_every: Some(3), ..RunFolder::new(&path) });
    let options = FitOptions { run, ..FitOptions::new(Length::Epochs(10)) };
    let error = fit(&training, &options, &mut []).unwrap_err();
    let FitError::Diverged { step, .. } = &error else { panic!("{error}") };
    // The same by hand: 3.25, 2.63, 1.88, 0.81, -1.66.
    let mut by_hand = vec![3.25f32];
    while by_hand[by_hand.len() - 1] > 0.0 {
        let w = by_hand[by_hand.len() - 1];
        by_hand.push(w - 2.0 / w);
    }
    assert_eq!((by_hand.len(), *step), (5, 5), "{error}");
    let message = error.to_string();
    assert!(message.contains("the loss is NaN") && message.contains("the first tensor with NaN is `log`"), "{message}");
    assert!(message.contains("fit.rs:"), "{message}");
    let inputs = "at index [0], from `shrinking` f32[n]: 2 numbers from -1.66 to -1.66, mean -1.66, deviation 0";
    assert!(message.contains(inputs), "{message}");
    let last = checkpoint::load(&path, Which::Last).unwrap();
    assert!(message.contains(&format!("the last good checkpoint is {}", last.path.display())), "{message}");
    assert_eq!((last.step, last.checkpoint.tensors["w"].item().unwrap() as f32), (3, by_hand[3]));
    assert_eq!(session.read(&w).unwrap(), last.checkpoint.tensors["w"]);
}

#[test]
fn a_state_that_is_not_finite_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let x = placeholder("x", DType::F32, ["n"]);
    let w = Variable::new("w", 1.0);
    let loss = (&w * &x).mean();
    let task = Task::new(loss.clone(), Inference::new(loss.clone(), loss));
    let data = Dataset::new([("x", Array::from([1e10f32; 2]))]).unwrap();
    // Loss and gradient are finite, their product with the learning rate is not.
    let optimizer = by_name("sgd", 1e30).unwrap();
    let (loader, session) = (Loader::new(&data, 2).unwrap(), session());
    let training = Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: None };
    let run = Some(RunFolder::new(folder.path().join("run")));
    let options = FitOptions { run, ..FitOptions::new(Length::Epochs(10)) };
    let message = fit(&training, &options, &mut []).unwrap_err().to_string();
    assert!(message.contains("step 1: the variable `w` is no longer finite"), "{message}");
    assert!(message.contains("with an infinity is `mul`"), "{message}");
    assert!(message.contains("no checkpoint had been saved yet"), "{message}");
    assert_eq!(session.read(&w).unwrap().item().unwrap(), 1.0);
    // What is left is no obstacle for the next try, and its records do not count any more.
    let optimizer = by_name("sgd", 1e-12).unwrap();
    let session = self::session();
    let training = Training { session: &session, optimizer: &optimizer, ..training };
    fit(&training, &options, &mut []).unwrap();
    assert_eq!(checkpoint::load(&folder.path().join("run"), Which::Last).unwrap().step, 10);
    let message = fit(&training, &options, &mut []).unwrap_err().to_string();
    assert!(message.contains("not empty"), "{message}");
}

#[test]
fn a_nan_in_the_data_is_found_there() {
    let mut setup = setup(10, 0.0);
    let mut x = setup.loader.dataset()["x"].clone();
    x.as_mut_slice::<f32>().unwrap()[33] = f32::NAN;
    let data = setup.loader.dataset().clone().map("x", |_| Ok(x)).unwrap();
    setup.loader = Loader::new(&data, 10).unwrap();
    let session = session();
    let message = setup.fit(&session, &FitOptions::new(Length::Epochs(1)), &mut []).unwrap_err().to_string();
    // Row 16 is row 6 of the second batch.
    assert!(message.contains("step 2: the loss is NaN"), "{message}");
    assert!(message.contains("the first tensor with NaN is `x`") && message.contains("at index [6, 1]"), "{message}");
    assert_eq!(session.step(), 0, "put back to the last good state");
}

#[test]
fn a_missing_column_is_named() {
    let mut setup = setup(10, 0.0);
    let data = Dataset::new([("x", setup.loader.dataset()["x"].clone())]).unwrap();
    setup.loader = Loader::new(&data, 10).unwrap();
    let message = setup.fit(&session(), &FitOptions::new(Length::Epochs(1)), &mut []).unwrap_err().to_string();
    assert_eq!(message, "no column `label`; there are: x");
}

#[test]
fn a_callback_ends_the_training_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let setup = setup(10, 0.0);
    let run = Some(setup.run(&path, false));
    let mut stop = |event: &Event<'_>, moment: &Moment<'_>| match event {
        Event::Measured { .. } if moment.step == 4 => Flow::Stop,
        _ => Flow::Continue,
    };
    let options = FitOptions { run, validate_every: Some(4), ..FitOptions::new(Length::Epochs(3)) };
    let fitted = setup.fit(&session(), &options, &mut [&mut stop]).unwrap();
    assert_eq!((fitted.end, fitted.steps), (End::Stopped, 4));
    assert_eq!(checkpoint::load(&path, Which::Last).unwrap().step, 4);
}

/// The steps after which a training of two epochs of five steps was measured.
fn measured_after(options: FitOptions) -> Vec<u64> {
    let mut steps = Vec::new();
    let mut listen = |event: &Event<'_>, moment: &Moment<'_>| {
        if let Event::Measured { validation: Some(_), .. } = event {
            steps.push(moment.step);
        }
        Flow::Continue
    };
    setup(10, 0.0).fit(&session(), &options, &mut [&mut listen]).unwrap();
    steps
}

#[test]
fn it_is_measured_every_so_many_steps_and_each_time_that_so_long_has_passed() {
    let options = FitOptions::new(Length::Epochs(2));
    assert_eq!(measured_after(options.clone()), [5, 10]);
    assert_eq!(measured_after(FitOptions { validate_every: Some(3), ..options.clone() }), [3, 5, 6, 9, 10]);
    let each = |duration| measured_after(FitOptions { validate_each: Some(duration), ..options.clone() });
    assert_eq!(each(Duration::from_secs(3600)), [5, 10]);
    assert_eq!(each(Duration::from_nanos(1)), (1..=10).collect::<Vec<_>>());
}

#[test]
fn clipped_steps_are_counted_and_told() {
    // The norm of the gradient is 1, 2, 3, 4 over the rows.
    let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 0.0));
    let loss = (&w * &x).mean();
    let task = Task::new(loss.clone(), Inference::new(loss.clone(), loss));
    let data = Dataset::new([("x", Array::from([1.0f32, 2.0, 3.0, 4.0]))]).unwrap();
    let loader = Loader::new(&data, 1).unwrap();
    let train = |setting: &str, limit: f64| {
        let session = session();
        let optimizer = by_name("sgd", 0.1).unwrap().with(setting, limit);
        let (mut notes, mut clipped) = (Vec::new(), Vec::new());
        let mut listen = |event: &Event<'_>, _: &Moment<'_>| {
            match event {
                Event::Note(note) => notes.push(note.to_string()),
                Event::Step(numbers) => clipped.push(numbers.clipped),
                Event::Begin
                | Event::EpochBegins
                | Event::Measures
                | Event::Measured { .. }
                | Event::EpochEnds(_)
                | Event::Saved(_)
                | Event::End => {}
            }
            Flow::Continue
        };
        let training =
            Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: None };
        let fitted = fit(&training, &FitOptions::new(Length::Epochs(2)), &mut [&mut listen]).unwrap();
        clipped.truncate(4);
        (clipped, fitted.clipped_steps, notes)
    };
    let told = vec!["the gradients were clipped in 4 of 8 steps".to_string()];
    assert_eq!(train("clip_norm", 2.0), (vec![false, false, true, true], 4, told));
    assert_eq!(train("clip_norm", 4.0), (vec![false; 4], 0, vec![]));
    assert_eq!(train("clip_value", 1.0), (vec![false; 4], 0, vec![]));
}

#[test]
fn an_infinite_gradient_stops_with_step_and_tensor_clipped_or_not() {
    // √w has the slope ∞ at 0, where the first step leads.
    let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 1.0));
    let loss = (w.sqrt() * &x).mean();
    let task = Task::new(loss.clone(), Inference::new(loss.clone(), loss));
    let data = Dataset::new([("x", Array::from([1.0f32; 2]))]).unwrap();
    let loader = Loader::new(&data, 2).unwrap();
    for clip in [None, Some(0.5)] {
        let session = session();
        let mut optimizer = by_name("sgd", 2.0).unwrap();
        if let Some(limit) = clip {
            optimizer.set("clip_norm", limit).unwrap();
        }
        let training =
            Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: None };
        let error = fit(&training, &FitOptions::new(Length::Epochs(5)), &mut []).unwrap_err();
        assert!(matches!(error, FitError::Diverged { step: 2, .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("step 2: the norm of the gradients is inf"), "{message}");
        assert!(message.contains("the first tensor with an infinity is") && message.contains("fit.rs:"), "{message}");
        assert!(message.contains("the session is as after step 1"), "{message}");
        assert_eq!(session.read(&w).unwrap().item().unwrap(), 0.0);
    }
}

#[test]
fn what_happens_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let setup = setup(10, 0.0);
    let options = FitOptions { run: Some(setup.run(&path, false)), ..FitOptions::new(Length::Epochs(2)) };
    setup.fit(&session(), &options, &mut []).unwrap();
    let files: Vec<PathBuf> = fs::read_dir(path.join("events")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let read = events::read(file).unwrap();
    assert_eq!(read.torn, None);
    let (mut tags, mut ops) = (Vec::new(), Vec::new());
    for event in read.events {
        match event.what {
            What::Values(values) => tags.extend(values.into_iter().map(|(tag, value)| (event.step, tag, value))),
            What::Graph(nodes) => ops = nodes,
            What::Version(_) | What::Resumed | What::Other => {}
        }
    }
    let at =
        |step: i64, tag: &str| tags.iter().find(|(s, t, _)| *s == step && t == tag).map(|(_, _, value)| value.clone());
    for (step, tag) in [(1, "loss/batch"), (10, "learning_rate"), (10, "gradient_norm"), (5, "loss/train")] {
        assert!(matches!(at(step, tag), Some(Value::Scalar(x)) if x > 0.0), "{tag} at {step}");
    }
    assert!(matches!(at(10, "accuracy/valid"), Some(Value::Scalar(_))));
    assert!(matches!(at(10, "dead_units/layers.0"), Some(Value::Scalar(share)) if (0.0..=1.0).contains(&share)));
    assert!(matches!(at(10, "step_to_weight/layers.0.weight"), Some(Value::Scalar(ratio)) if ratio > 0.0));
    for tag in ["weights/layers.0.weight", "gradients/layers.1.bias", "activations/layers.0"] {
        let Some(Value::Histogram(histogram)) = at(5, tag) else { panic!("{tag}") };
        assert!(histogram.count > 0.0 && histogram.min < histogram.max, "{tag}: {histogram:?}");
    }
    assert!(ops.iter().any(|(name, op)| name == "x" && op == "placeholder"), "{ops:?}");
    assert!(ops.iter().any(|(_, op)| op == "matmul"));
}
