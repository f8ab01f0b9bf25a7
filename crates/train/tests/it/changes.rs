//! Callbacks that change a training: its batches, its loss, its gradients, its rates, its weights; and what is logged.

use std::fs;
use std::path::Path;

use thalweg_data::{Batch, Dataset, Loader};
use thalweg_nn::optim::{Average, Group, by_name};
use thalweg_nn::schedule::Plateau;
use thalweg_nn::{CrossEntropy, Loss, Schedule};
use thalweg_run::graph::{Array, DType, Variable, constant, placeholder};
use thalweg_run::{Eval, Session};
use thalweg_train::callbacks::{Averaging, Clip, CsvLog, LabelSmoothing, Mixup, ReduceOnPlateau, Saving, ScaleRate};
use thalweg_train::checkpoint;
use thalweg_train::fit::{Callback, Event, Flow, Moment, Turn};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{
    EarlyStopping, End, FitError, FitOptions, Fitted, Inference, Length, RunFolder, Task, Training, Watch, fit,
};

use crate::support::{last_file, session, setup};

/// w and the mean of x: the loss is w·mean(x), so that a step of SGD takes the mean of the batch from w.
struct Line {
    w: Variable,
    task: Task,
    loader: Loader,
    session: Session,
}

fn line(rows: &[f32], batch: usize) -> Line {
    let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 0.0));
    let loss = (&w * &x).mean();
    let inference = Inference::new(loss.clone(), loss.clone());
    let task = Task::new(loss, inference);
    let data = Dataset::new([("x", Array::from(rows.to_vec()))]).unwrap();
    Line { w, task, loader: Loader::new(&data, batch).unwrap(), session: session() }
}

impl Line {
    fn fit(&self, length: Length, callbacks: &mut [&mut dyn Callback]) -> Result<Fitted, FitError> {
        let optimizer = by_name("sgd", 1.0).unwrap();
        let (session, task, data) = (&self.session, &self.task, &self.loader);
        let validation = Some(data.dataset());
        fit(&Training { session, task, optimizer: &optimizer, data, validation }, &FitOptions::new(length), callbacks)
    }

    fn w(&self) -> f64 {
        self.session.read(&self.w).unwrap().item().unwrap()
    }
}

/// Leaves out the batches at some positions of each epoch, and doubles the others.
struct Choosy(Vec<usize>);

impl Callback for Choosy {
    fn prepare(&mut self, batch: &mut Batch, _: &Moment<'_>) -> Result<Turn, FitError> {
        if self.0.contains(&batch.position()) {
            return Ok(Turn::Skip);
        }
        let doubled = batch["x"].to_vec::<f32>().into_iter().map(|x| 2.0 * x).collect::<Vec<_>>();
        batch.set_column("x", doubled.into());
        Ok(Turn::Take)
    }
}

#[test]
fn batches_are_changed_and_left_out() {
    let rows = [1.0, 10.0, 100.0, 1000.0];
    let mut epochs = Vec::new();
    let mut count = |event: &Event<'_>, moment: &Moment<'_>| {
        if let Event::Measured { .. } = event {
            epochs.push((moment.epoch, moment.step));
        }
        Flow::Continue
    };
    let line1 = line(&rows, 1);
    let fitted = line1.fit(Length::Steps(5), &mut [&mut Choosy(vec![1, 3]), &mut count]).unwrap();
    // Two of four batches count in each epoch; the end of the second is measured though its last batch is left out.
    assert_eq!((fitted.steps, fitted.epochs, line1.w()), (5, 3, -2.0 * (101.0 + 101.0 + 1.0)));
    assert_eq!(epochs, [(1, 2), (2, 4), (3, 5)]);
    let error = line(&rows, 1).fit(Length::Steps(5), &mut [&mut Choosy(vec![0, 1, 2, 3])]).unwrap_err().to_string();
    assert!(error.contains("epoch 1: callbacks left out every batch"), "{error}");
}

#[test]
fn gradients_are_clipped_and_counted() {
    let rows = [1.0, 2.0, 3.0, 4.0];
    let by_norm = line(&rows, 1);
    let fitted = by_norm.fit(Length::Epochs(1), &mut [&mut Clip::norm(2.0)]).unwrap();
    assert_eq!((by_norm.w(), fitted.clipped_steps), (-(1.0 + 2.0 + 2.0 + 2.0), 2));
    let by_value = line(&rows, 1);
    let fitted = by_value.fit(Length::Epochs(1), &mut [&mut Clip::value(3.0)]).unwrap();
    assert_eq!((by_value.w(), fitted.clipped_steps), (-(1.0 + 2.0 + 3.0 + 3.0), 0));
}

#[test]
fn rates_are_scaled_over_the_steps_and_by_group() {
    let all = line(&[1.0], 1);
    let halving = Schedule::exponential(1.0, 0.5);
    all.fit(Length::Steps(3), &mut [&mut ScaleRate::by(halving.clone())]).unwrap();
    assert!((all.w() + 1.75).abs() < 1e-6, "{}", all.w());
    for (prefix, expected) in [("w", -1.75), ("v", -3.0)] {
        let line = line(&[1.0], 1);
        let optimizer = by_name("sgd", 1.0).unwrap().group(Group::new("w"));
        let (session, task, data) = (&line.session, &line.task, &line.loader);
        let training = Training { session, task, optimizer: &optimizer, data, validation: None };
        let mut scale = ScaleRate::by(halving.clone()).of_group(prefix);
        fit(&training, &FitOptions::new(Length::Steps(3)), &mut [&mut scale]).unwrap();
        assert!((line.w() - expected).abs() < 1e-6, "{prefix}: {}", line.w());
    }
}

#[test]
fn averages_are_measured_and_left_when_training_ends() {
    // w is −1, −2, −3, −4; the mean of the last two is −3.5.
    let line = line(&[1.0; 2], 1);
    let mut seen = Vec::new();
    let mut listen = |event: &Event<'_>, moment: &Moment<'_>| {
        if let Event::Measured { validation: Some(validation), .. } = event {
            seen.push(validation.loss);
        }
        if let Event::EpochEnds(_) = event {
            seen.push(moment.session.read(&moment.session.variables()["w"]).unwrap().item().unwrap());
        }
        Flow::Continue
    };
    let mut swa = Averaging::new(Average::swa(2, 1));
    line.fit(Length::Epochs(2), &mut [&mut swa, &mut listen]).unwrap();
    assert_eq!(seen, [-2.0, -2.0, -3.5, -4.0]);
    assert_eq!(line.w(), -3.5);
}

#[test]
fn label_smoothing_is_that_of_the_cross_entropy() {
    let logits = constant([[1.0f32, -0.5, 2.0], [0.0, 3.0, 0.5]]);
    let labels = constant([2i64, 0]);
    let loss = CrossEntropy::new().mean(&logits, &labels);
    let inference = Inference::new(loss.clone(), logits.clone());
    let task = Task::new(loss.clone(), inference).output(logits.clone());
    let smoothed = LabelSmoothing::new(0.1).loss(loss, &task).eval().unwrap().item().unwrap();
    let expected = CrossEntropy::new().label_smoothing(0.1).mean(&logits, &labels).eval().unwrap().item().unwrap();
    assert!((smoothed - expected).abs() < 1e-6, "{smoothed} {expected}");
}

#[test]
fn mixed_rows_have_both_targets() {
    // The loss is linear in row and target: that of mixed rows is the mix of the losses of all four pairs.
    let (x, y) = (placeholder("x", DType::F32, ["n"]), placeholder("y", DType::F32, ["n"]));
    let w = Variable::new("w", 1.0);
    let loss = (&w * &x * &y).sum();
    let inference = Inference::new(loss.clone(), loss.clone()).labeled("y");
    let task = Task::new(loss, inference);
    let (xs, ys) = ([1.0f32, 2.0, 5.0, 7.0], [10.0f32, 100.0, 1000.0, 3.0]);
    let data = Dataset::new([("x", xs.into()), ("y", ys.into())]).unwrap();
    let (data, session) = (Loader::new(&data, 4).unwrap(), session());
    let mut mixup = Mixup::new(0.8).seed(3);
    let mut expected = Vec::new();
    let mut losses = Vec::new();
    struct Spy<'a>(&'a mut Vec<f64>, [f32; 4], [f32; 4]);
    impl Callback for Spy<'_> {
        fn prepare(&mut self, batch: &mut Batch, _: &Moment<'_>) -> Result<Turn, FitError> {
            let share = batch["mixup/share"].item().unwrap();
            let others = batch["mixup/others"].to_vec::<i64>();
            let (x, y) = (self.1.map(f64::from), self.2.map(f64::from));
            let row = |row: usize| {
                let other = others[row] as usize;
                let mixed = share * x[row] + (1.0 - share) * x[other];
                mixed * (share * y[row] + (1.0 - share) * y[other])
            };
            self.0.push((0..4).map(row).sum());
            Ok(Turn::Take)
        }
    }
    let mut listen = |event: &Event<'_>, _: &Moment<'_>| {
        if let Event::Step(numbers) = event {
            losses.push(numbers.loss);
        }
        Flow::Continue
    };
    let optimizer = by_name("sgd", 1e-12).unwrap();
    let training = Training { session: &session, task: &task, optimizer: &optimizer, data: &data, validation: None };
    let mut spy = Spy(&mut expected, xs, ys);
    fit(&training, &FitOptions::new(Length::Steps(6)), &mut [&mut mixup, &mut spy, &mut listen]).unwrap();
    assert_eq!((losses.len(), expected.len()), (6, 6));
    for (loss, expected) in losses.iter().zip(&expected) {
        assert!((loss / expected - 1.0).abs() < 1e-5, "{losses:?} {expected:?}");
    }
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "{expected:?}");
}

/// A training with everything on that has state or draws numbers.
fn everything(path: &Path, resume: bool, stop_after: Option<u64>) -> Fitted {
    let setup = setup(10, 0.2);
    let interrupt = Interrupt::default();
    let run = Some(RunFolder { save_every: Some(4), ..setup.run(path, resume) });
    let options = FitOptions { run, interrupt: interrupt.clone(), ..FitOptions::new(Length::Epochs(6)) };
    let mut stop = |event: &Event<'_>, moment: &Moment<'_>| {
        if matches!(event, Event::Step(_)) && stop_after == Some(moment.step) {
            interrupt.request();
        }
        Flow::Continue
    };
    let mut stopping = EarlyStopping::new(Watch::valid_loss(), 4);
    let mut plateau = ReduceOnPlateau::new(Watch::train_loss(), Plateau::new(0.5, 1));
    let mut averaging = Averaging::new(Average::ema(0.8));
    let (mut smoothing, mut mixup) = (LabelSmoothing::new(0.1), Mixup::new(0.4));
    let mut clip = Clip::norm(0.5);
    let mut warmup = ScaleRate::by(Schedule::linear(0.1, 1.0, 10));
    let mut log = CsvLog::new(path.join("log.csv"));
    let mut snapshots = Saving::after([7]);
    let session = session();
    let mut fitted = setup
        .fit(
            &session,
            &options,
            &mut [
                &mut stopping,
                &mut plateau,
                &mut averaging,
                &mut smoothing,
                &mut mixup,
                &mut clip,
                &mut warmup,
                &mut log,
                &mut snapshots,
                &mut stop,
            ],
        )
        .unwrap();
    fitted.seconds = 0.0;
    fitted.checkpoint = None;
    fitted
}

#[test]
fn a_training_with_many_callbacks_is_stopped_and_resumed_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let undisturbed = everything(&whole, false, None);
    assert!(undisturbed.clipped_steps > 0, "{undisturbed:?}");
    let log = fs::read_to_string(whole.join("log.csv")).unwrap();
    assert!(log.lines().count() > 6 && log.starts_with("step,epoch,learning_rate"), "{log}");
    for stop_after in [1, 5, 7, 13, 16] {
        let path = folder.path().join(format!("stopped-{stop_after}"));
        assert_eq!(everything(&path, false, Some(stop_after)).end, End::Interrupted);
        let resumed = everything(&path, true, None);
        assert_eq!(format!("{resumed:?}"), format!("{undisturbed:?}"), "stopped after {stop_after}");
        assert!(last_file(&path).1 == last_file(&whole).1, "stopped after {stop_after}");
        let resumed = fs::read_to_string(path.join("log.csv")).unwrap();
        // An interruption is not measured, so that it leaves no line.
        assert_eq!(resumed, log, "stopped after {stop_after}");
    }
}

#[test]
fn a_run_that_misses_a_callback_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let setup = setup(10, 0.0);
    let train = |resume, steps, callbacks: &mut [&mut dyn Callback]| {
        let options = FitOptions { run: Some(setup.run(&path, resume)), ..FitOptions::new(Length::Steps(steps)) };
        setup.fit(&session(), &options, callbacks).unwrap()
    };
    train(false, 5, &mut [&mut EarlyStopping::new(Watch::valid_loss(), 9)]);
    let mut notes = Vec::new();
    let mut listen = |event: &Event<'_>, _: &Moment<'_>| {
        if let Event::Note(note) = event {
            notes.push(note.to_string());
        }
        Flow::Continue
    };
    train(true, 10, &mut [&mut listen]);
    let missing = "the run was trained with the callback `early stopping by validation loss`, which is missing now";
    assert!(notes.iter().any(|note| note == missing), "{notes:?}");
    assert_eq!(checkpoint::steps(&path).unwrap(), [5, 10]);
}

/// Finds the numbers wrong when the loss is below a bound.
struct Suspicious(f64);

impl Callback for Suspicious {
    fn on(&mut self, event: &Event<'_>, _: &Moment<'_>) -> Result<Flow, FitError> {
        Ok(match event {
            Event::Step(numbers) if numbers.loss < self.0 => Flow::Diverged("the loss is too good to be true".into()),
            _ => Flow::Continue,
        })
    }
}

#[test]
fn a_callback_that_finds_the_numbers_wrong_ends_the_training_with_the_last_good_state() {
    let line = line(&[1.0], 1);
    let error = line.fit(Length::Steps(9), &mut [&mut Suspicious(-3.5)]).unwrap_err();
    assert!(matches!(error, FitError::Diverged { step: 5, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("step 5: the loss is too good to be true; no tensor of the step shows"), "{message}");
    assert_eq!(line.w(), -4.0, "as after the epoch before");
}
