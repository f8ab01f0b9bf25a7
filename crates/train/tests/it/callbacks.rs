//! Callbacks that come with the loop: they end a training, return to its best weights, lower its learning rate.

use std::path::Path;

use thalweg_data::{Dataset, Loader};
use thalweg_nn::optim::by_name;
use thalweg_nn::schedule::Plateau;
use thalweg_run::State;
use thalweg_run::graph::{Array, DType, Variable, placeholder};
use thalweg_train::callbacks::ReduceOnPlateau;
use thalweg_train::checkpoint::{Checkpoint, Goal};
use thalweg_train::fit::{Callback, Event, Flow, Moment};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{
    EarlyStopping, End, FitOptions, Fitted, Inference, Length, RunFolder, Target, Task, Training, Watch, fit,
};

use crate::support::{last_file, session, setup};

#[test]
fn a_training_ends_when_it_reaches_its_target() {
    let setup = setup(10, 0.0);
    let options = FitOptions { validate_every: Some(1), ..FitOptions::new(Length::Epochs(8)) };
    let mut target = Target::new(Watch::valid_accuracy(), 0.8);
    let fitted = setup.fit(&session(), &options, &mut [&mut target]).unwrap();
    assert_eq!((fitted.end, target.reached()), (End::Stopped, Some(fitted.steps)));
    assert!(fitted.valid_accuracy.unwrap() >= 0.8 && fitted.steps < 40, "{fitted:?}");
    let mut target = Target::new(Watch::train_loss(), 0.0);
    let fitted = setup.fit(&session(), &options, &mut [&mut target]).unwrap();
    assert_eq!((fitted.end, target.reached()), (End::Finished, None));
}

#[test]
fn early_stopping_looks_ahead_and_returns_to_the_best_weights() {
    // w moves by 1 in each step; the validation loss is (w − 3)²: 4, 1, 0, 1, 4, 9, …
    let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 0.0));
    let train_loss = -(&w * &x).mean();
    let loss = ((&w - 3.0) * &x).square().mean();
    let task = Task::new(train_loss, Inference::new(loss.clone(), loss));
    let data = Dataset::new([("x", Array::from([1.0f32; 2]))]).unwrap();
    let (loader, optimizer) = (Loader::new(&data, 2).unwrap(), by_name("sgd", 1.0).unwrap());
    let train = |watch: Watch, patience, min_delta| {
        let session = session();
        let mut stopping = EarlyStopping::new(watch, patience).min_delta(min_delta);
        let training =
            Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: Some(&data) };
        let fitted = fit(&training, &FitOptions::new(Length::Epochs(20)), &mut [&mut stopping]).unwrap();
        (fitted.end, fitted.steps, stopping.best().unwrap(), session.read(&w).unwrap().item().unwrap())
    };
    assert_eq!(train(Watch::valid_loss(), 1, 0.0), (End::Stopped, 4, (3, 0.0), 3.0));
    assert_eq!(train(Watch::valid_loss(), 4, 0.0), (End::Stopped, 7, (3, 0.0), 3.0));
    // From 1 to 0 is no more than 1: the best is that of step 2.
    assert_eq!(train(Watch::valid_loss(), 2, 1.0), (End::Stopped, 4, (2, 1.0), 2.0));
    // Patience that is not used up: the end comes, and the best weights with it.
    assert_eq!(train(Watch::valid_loss(), 50, 0.0), (End::Finished, 20, (3, 0.0), 3.0));
    let error = Watch::new("distance", Goal::Max, |_, validation| Some(-validation?.loss));
    assert_eq!(train(error, 1, 0.0), (End::Stopped, 4, (3, 0.0), 3.0));
}

#[test]
fn stopping_by_what_is_not_measured_is_refused() {
    let setup = setup(10, 0.0);
    let session = session();
    let mut stopping = EarlyStopping::new(Watch::valid_loss(), 1);
    let training = Training {
        session: &session,
        task: &setup.task,
        optimizer: &setup.optimizer,
        data: &setup.loader,
        validation: None,
    };
    let message = fit(&training, &FitOptions::new(Length::Epochs(1)), &mut [&mut stopping]).unwrap_err().to_string();
    assert!(message.contains("watching the validation loss") && message.contains("validation set"), "{message}");
}

/// Trains on a loss that does not depend on w, seven steps at most; gives the learning rates.
fn plateau(path: &Path, resume: bool, stop_after: u64) -> Vec<f64> {
    let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 0.0));
    let loss = (&w * 0.0 + &x).mean();
    let task = Task::new(loss.clone(), Inference::new(loss.clone(), loss));
    let data = Dataset::new([("x", Array::from([1.0f32; 2]))]).unwrap();
    let loader = Loader::new(&data, 2).unwrap();
    let mut rates = Vec::new();
    let mut listen = |event: &Event<'_>, moment: &Moment<'_>| {
        if let Event::Step(numbers) = event {
            rates.push(numbers.learning_rate);
            return if moment.step == stop_after { Flow::Stop } else { Flow::Continue };
        }
        Flow::Continue
    };
    let mut reduce = ReduceOnPlateau::new(Watch::valid_loss(), Plateau::new(0.1, 1));
    let optimizer = by_name("sgd", 0.5).unwrap();
    let session = session();
    let training =
        Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: Some(&data) };
    let run = Some(RunFolder { resume, ..RunFolder::new(path) });
    fit(&training, &FitOptions { run, ..FitOptions::new(Length::Epochs(7)) }, &mut [&mut listen, &mut reduce]).unwrap();
    rates
}

#[test]
fn the_learning_rate_is_reduced_on_a_plateau() {
    let folder = tempfile::tempdir().unwrap();
    let whole = plateau(&folder.path().join("whole"), false, 7);
    // After 2 measurements without progress a tenth, and so on.
    for (rate, expected) in whole.iter().zip([0.5, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005]) {
        assert!((rate / expected - 1.0).abs() < 1e-6, "{whole:?}");
    }
    assert_eq!(whole.len(), 7);
    for stop_after in [2, 3, 6] {
        let path = folder.path().join(format!("stopped-{stop_after}"));
        let rates = [plateau(&path, false, stop_after), plateau(&path, true, 0)].concat();
        assert_eq!(rates, whole, "stopped after {stop_after}");
    }
}

/// A training of which w goes 1 to the right in each step, and is best at 3; interrupted after `stop_after` steps.
fn walk(path: &Path, resume: bool, stop_after: Option<u64>, callback: &mut dyn Callback) -> (Fitted, State) {
    let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 0.0));
    let loss = ((&w - 3.0) * &x).square().mean();
    let train_loss = -(&w * &x).mean();
    let task = Task::new(train_loss, Inference::new(loss.clone(), loss));
    let data = Dataset::new([("x", Array::from([1.0f32; 2]))]).unwrap();
    let (loader, optimizer) = (Loader::new(&data, 2).unwrap(), by_name("sgd", 1.0).unwrap());
    let session = session();
    let training =
        Training { session: &session, task: &task, optimizer: &optimizer, data: &loader, validation: Some(&data) };
    let run = Some(RunFolder { resume, ..RunFolder::new(path) });
    let interrupt = Interrupt::default();
    let options = FitOptions { run, interrupt: interrupt.clone(), ..FitOptions::new(Length::Epochs(20)) };
    let mut stop = |event: &Event<'_>, moment: &Moment<'_>| {
        if matches!(event, Event::Step(_)) && stop_after == Some(moment.step) {
            interrupt.request();
        }
        Flow::Continue
    };
    let fitted = fit(&training, &options, &mut [callback, &mut stop]).unwrap();
    (fitted, session.state().unwrap())
}

#[test]
fn what_early_stopping_remembers_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let stopping = || EarlyStopping::new(Watch::valid_loss(), 4);
    let whole = folder.path().join("whole");
    let (expected, best) = walk(&whole, false, None, &mut stopping());
    assert_eq!((expected.end, expected.steps), (End::Stopped, 7));
    assert_eq!(best.variables["w"].item().unwrap(), 3.0);
    // Before the best, at it, behind it.
    for stop_after in [1, 3, 5] {
        let path = folder.path().join(format!("stopped-{stop_after}"));
        let (interrupted, _) = walk(&path, false, Some(stop_after), &mut stopping());
        assert_eq!((interrupted.end, interrupted.steps), (End::Interrupted, stop_after));
        let (resumed, state) = walk(&path, true, None, &mut stopping());
        assert_eq!((resumed.end, resumed.steps), (End::Stopped, 7), "interrupted after {stop_after}");
        assert_eq!(state, best);
        assert_eq!(last_file(&path).1, last_file(&whole).1);
        // What has been stopped stays so.
        let mut again = stopping();
        let (ended, state) = walk(&path, true, None, &mut again);
        assert_eq!((ended.end, ended.steps, again.best()), (End::Stopped, 7, Some((3, 0.0))));
        assert_eq!(state, best);
    }
}

#[test]
fn what_another_callback_remembered_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut target = Target::new(Watch::valid_loss(), 1.0);
    let (fitted, _) = walk(&path, false, None, &mut target);
    assert_eq!((fitted.steps, target.reached()), (2, Some(2)));
    let mut memory = Checkpoint::default();
    target.remember(&mut memory);
    let message = EarlyStopping::new(Watch::valid_loss(), 4).recall(&memory).unwrap_err().to_string();
    assert!(message.contains("`early_stopping` is missing"), "{message}");
    let (fitted, _) = walk(&path, true, None, &mut Target::new(Watch::valid_loss(), 1.0));
    assert_eq!((fitted.end, fitted.steps), (End::Stopped, 2), "a target that was reached stays so");
}
