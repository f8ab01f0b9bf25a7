//! The learner from outside: in phases, with frozen layers, stopped and resumed, asked, exported; and what it refuses.

use std::fs;
use std::path::Path;

use thalweg_data::{Augment, DataError, Dataset, Normalize, Picture, digits, image};
use thalweg_nn::optim::{Average, by_name};
use thalweg_nn::schedule::Plateau;
use thalweg_nn::{Init, Layer, Linear, Mlp, MlpConfig, Module, Schedule};
use thalweg_run::Session;
use thalweg_run::graph::{Array, Tensor};
use thalweg_train::callbacks::{Averaging, CsvLog, Mixup, ReduceOnPlateau};
use thalweg_train::checkpoint::{self, Which};
use thalweg_train::fit::{Callback, Event, Flow, Moment};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{EarlyStopping, End, FitError, Fitted, Learner, Length, Rates, Trained, TrainingData, Watch};

use crate::support::{last_file, points};

fn net(dropout: f64) -> Mlp {
    let config = MlpConfig::new(&[2, 8, 8, 2]).dropout(dropout);
    Init::build(3, |init| config.build(init))
}

fn data() -> TrainingData {
    TrainingData::new(points(50, 0), points(20, 50)).unwrap().standardized().unwrap().batch(10).seed(5)
}

fn learner(dropout: f64) -> Learner {
    let session = Session::builder().threads(1).seed(9).build().unwrap();
    Learner::new(data(), net(dropout)).unwrap().in_session(session).unwrap()
}

/// The learning rates of the steps.
#[derive(Clone, Default)]
struct Log(std::rc::Rc<std::cell::RefCell<Vec<f64>>>);

impl Callback for Log {
    fn on(&mut self, event: &Event<'_>, _: &Moment<'_>) -> Result<Flow, FitError> {
        if let Event::Step(numbers) = event {
            self.0.borrow_mut().push(numbers.learning_rate);
        }
        Ok(Flow::Continue)
    }
}

fn rates(train: impl FnOnce(&mut Learner)) -> Vec<f64> {
    let log = Log::default();
    let mut learner = learner(0.0).callback(log.clone());
    train(&mut learner);
    log.0.take()
}

#[test]
fn three_lines_train_a_model() {
    let data = TrainingData::split(&digits(), 0.2, 42).unwrap().standardized().unwrap();
    let net = Init::build(1, |init| Mlp::new(init, &[64, 64, 10]));
    let mut learner = Learner::from_fn(data, move |image: &Tensor, cx| net.forward(&image.flatten(1), cx)).unwrap();
    let fitted = learner.fit_one_cycle(5, 1e-2).unwrap();
    let validation = learner.validate().unwrap();
    assert_eq!((Some(validation.loss), validation.accuracy()), (fitted.valid_loss, fitted.valid_accuracy));
    assert!(validation.accuracy().unwrap() > 0.95, "{validation:?}");
    assert_eq!(learner.groups(), ["layers.0", "layers.1"]);
    let valid = learner.data().valid().clone();
    let answer = learner.predict(&valid["image"].rows(0..1)).unwrap();
    assert_eq!(answer.probabilities.len(), 10);
    assert_eq!(answer.name, answer.class.to_string());
}

#[test]
fn the_learning_rate_goes_as_is_said_in_each_phase() {
    let rates = rates(|learner| {
        learner.fit(1, 0.1).unwrap();
        learner.fit_one_cycle(2, 0.5).unwrap();
        learner.fit_cycles(2, 1, 2, 0.3).unwrap();
        learner.fit_schedule(Length::Steps(2), 0.1, |lr, _| Schedule::linear(lr, 0.0, 2)).unwrap();
    });
    let mut expected = vec![0.1; 5];
    expected.extend((0..10).map(|t| Schedule::one_cycle(0.5, 10).at(t)));
    expected.extend((0..15).map(|t| Schedule::warm_restarts(0.3, 5, 2).at(t)));
    expected.extend([0.1, 0.05]);
    assert_eq!(rates.len(), expected.len());
    for (step, (rate, expected)) in rates.iter().zip(&expected).enumerate() {
        assert!((rate - expected).abs() < 1e-6, "step {step}: {rate} {expected}");
    }
}

/// What became of each variable of the learner's model: whether it moved.
fn moved(learner: &Learner, before: &[Array]) -> Vec<bool> {
    let now = values(learner);
    now.iter().zip(before).map(|(now, before)| now != before).collect()
}

fn values(learner: &Learner) -> Vec<Array> {
    learner.variables().iter().map(|(_, variable)| learner.session().read(variable).unwrap()).collect()
}

#[test]
fn frozen_groups_stay_as_they_are() {
    let mut learner = learner(0.0);
    let initial = values(&learner);
    learner.freeze_to(-1).unwrap();
    learner.fit(1, 0.01).unwrap();
    assert_eq!(moved(&learner, &initial), [false, false, false, false, true, true]);
    learner.freeze_to(1).unwrap();
    learner.fit(1, 0.01).unwrap();
    assert_eq!(moved(&learner, &initial), [false, false, true, true, true, true]);
    learner.unfreeze().unwrap();
    learner.fit(1, 0.01).unwrap();
    assert_eq!(moved(&learner, &initial), [true; 6]);
    assert_eq!(learner.steps(), 15);
    let message = learner.freeze_to(3).unwrap_err().to_string();
    assert!(message.contains("freezing to group 3: there are 3 layer groups: layers.0 layers.1 layers.2"), "{message}");
    assert!(learner.freeze_to(-4).unwrap_err().to_string().contains("freezing to group -4"));
}

#[test]
fn each_group_has_its_rate() {
    // A step of SGD with the sign of the gradient: weights move by the rate.
    let steps = |rates: Rates, groups: Option<[&str; 2]>| {
        let mut learner = learner(0.0).optimizer(by_name("lion", 0.1).unwrap().with("weight_decay", 0.0));
        if let Some(groups) = groups {
            learner = learner.grouped(groups).unwrap();
        }
        let before = values(&learner);
        learner.fit(Length::Steps(1), rates).unwrap();
        let widest = |(now, before): (&Array, &Array)| {
            let pairs = now.to_vec::<f64>().into_iter().zip(before.to_vec::<f64>());
            pairs.map(|(now, before)| (now - before).abs()).fold(0.0, f64::max)
        };
        let moved: Vec<f64> = values(&learner).iter().zip(&before).map(widest).collect();
        [moved[0], moved[2], moved[4]]
    };
    let close = |found: [f64; 3], expected: [f64; 3]| {
        assert!(found.iter().zip(expected).all(|(x, y)| (x / y - 1.0).abs() < 1e-3), "{found:?} {expected:?}");
    };
    close(steps((1e-3, 1e-1).into(), None), [1e-3, 1e-2, 1e-1]);
    close(steps([0.2, 0.1, 0.05].into(), None), [0.2, 0.1, 0.05]);
    close(steps((1e-3, 1e-1).into(), Some(["layers.0", "layers"])), [1e-3, 1e-1, 1e-1]);
}

#[test]
fn groups_that_do_not_fit_are_refused() {
    let message = learner(0.0).grouped(["layers.0", "head"]).unwrap_err().to_string();
    assert!(message.contains("layer group `head`: no variable is under this path; there are: layers.0.weight"));
    let message = learner(0.0).grouped(["layers.0"]).unwrap_err().to_string();
    assert!(message.contains("the variable `layers.1.weight` is in none of them"), "{message}");
}

/// A transfer in three phases, with callbacks of every kind.
fn transfer(path: &Path, resume: bool, stop_after: Option<u64>) -> Result<Vec<(End, u64)>, FitError> {
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    let stop = move |event: &Event<'_>, moment: &Moment<'_>| {
        if matches!(event, Event::Step(_)) && stop_after == Some(moment.step) {
            asked.request();
        }
        Flow::Continue
    };
    let mut learner = learner(0.2)
        .interrupt(interrupt)
        .callback(EarlyStopping::new(Watch::valid_loss(), 2))
        .callback(ReduceOnPlateau::new(Watch::train_loss(), Plateau::new(0.5, 1)))
        .callback(Averaging::new(Average::ema(0.7)))
        .callback(Mixup::new(0.3))
        .callback(stop);
    learner = if resume { learner.resumed_in(path) } else { learner.saved_in(path) };
    let mut ends = Vec::new();
    learner.freeze()?;
    ends.push(learner.fit_one_cycle(2, 0.05)?);
    learner.freeze_to(1)?;
    ends.push(learner.fit(Length::Steps(13), 0.1)?);
    learner.unfreeze()?;
    ends.push(learner.fit_cycles(2, 1, 2, (0.01, 0.1))?);
    Ok(ends.into_iter().map(|Fitted { end, steps, .. }| (end, steps)).collect())
}

#[test]
fn a_training_in_phases_is_stopped_anywhere_and_resumed_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let ends = transfer(&whole, false, None).unwrap();
    let last = ends[2].1;
    assert!(ends[0].1 <= 10 && ends[1].1 > ends[0].1 && last > ends[1].1, "{ends:?}");
    // Within each phase, in its last step, in its first.
    let (first, second) = (ends[0].1, ends[1].1);
    for stop_after in [3, first - 1, first, first + 1, second - 2, second, second + 1, last - 1] {
        let path = folder.path().join(format!("stopped-{stop_after}"));
        let stopped = transfer(&path, false, Some(stop_after));
        // What ends a phase in the same step counts first.
        if let Err(error) = &stopped {
            assert!(matches!(error, FitError::Interrupted { .. }), "{error}");
            assert!(error.to_string().contains("interrupted after step"), "{error}");
        }
        let resumed = transfer(&path, true, None).unwrap();
        assert_eq!(resumed[2].1, last, "stopped after {stop_after}");
        assert!(last_file(&path).1 == last_file(&whole).1, "stopped after {stop_after}");
        // All of it once more: nothing is left to do.
        let again = transfer(&path, true, None).unwrap();
        assert_eq!((again[0].0, again[1].0), (End::Behind, End::Behind));
    }
}

#[test]
fn a_run_that_is_resumed_otherwise_is_refused_by_phase() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut first = learner(0.0).saved_in(&path);
    first.fit(1, 0.1).unwrap();
    first.fit(1, 0.05).unwrap();
    let mut other = learner(0.0).resumed_in(&path);
    assert_eq!(other.fit(1, 0.1).unwrap().end, End::Behind);
    let message = other.fit(2, 0.05).unwrap_err().to_string();
    assert!(message.contains("phase 2 was `Epochs(1)") && message.contains("now `Epochs(2)"), "{message}");
    let message = learner(0.0).saved_in(&path).fit(1, 0.1).unwrap_err().to_string();
    assert!(message.contains("the folder is not empty"), "{message}");
}

#[test]
fn a_rate_is_found_and_nothing_is_changed() {
    let mut learner = learner(0.1);
    learner.fit(1, 0.01).unwrap();
    let before = learner.session().state().unwrap();
    let curve = learner.find_rate().unwrap();
    assert_eq!(learner.session().state().unwrap(), before);
    assert!(curve.points.len() > 30 && curve.points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{curve:?}");
    assert!(curve.suggestion > 1e-4 && curve.suggestion < 1.0, "{}", curve.suggestion);
    let svg = curve.plot().svg();
    assert!(svg.contains("learning rate") && svg.contains("suggestion"), "{svg}");
    // What follows is what would have followed without it.
    let undisturbed = {
        let mut learner = self::learner(0.1);
        learner.fit(1, 0.01).unwrap();
        learner.fit(1, 0.01).unwrap();
        values(&learner)
    };
    learner.fit(1, 0.01).unwrap();
    assert_eq!(values(&learner), undisturbed);
}

#[test]
fn a_model_is_exported_and_used_without_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let mut learner = learner(0.1);
    learner.fit_one_cycle(8, 0.05).unwrap();
    let file = learner.export(folder.path().join("model")).unwrap();
    assert!(file.ends_with("checkpoints/step-000000040.safetensors"), "{}", file.display());
    let opened = Trained::open(folder.path().join("model")).unwrap();
    let row = Array::from([20.0f32, 1.0]);
    assert_eq!(opened.predict(&row).unwrap(), learner.predict(&row).unwrap());
    assert_eq!(opened.predict(&row).unwrap().name, "right");
    assert_eq!(opened.evaluate(learner.data().valid()).unwrap().loss, learner.validate().unwrap().loss);
    let message = learner.export(folder.path().join("model")).unwrap_err().to_string();
    assert!(message.contains("not empty"), "{message}");
}

#[test]
fn rows_are_seen_several_times_as_in_training() {
    let shifted = |pixels: u16| {
        let data = TrainingData::split(&digits(), 0.2, 42).unwrap().standardized().unwrap();
        let data = data.augmented(move |loader| {
            loader.map("image", move |image: &mut [f32], random| {
                image::random_shift(image, (8, 8), pixels, random);
                Ok(())
            })
        });
        let net = Init::build(1, |init| Mlp::new(init, &[64, 32, 10]));
        let mut learner = Learner::from_fn(data, move |image, cx| net.forward(&image.flatten(1), cx)).unwrap();
        learner.fit_one_cycle(4, 1e-2).unwrap();
        learner
    };
    let learner = shifted(1);
    let (plain, seen) = (learner.validate().unwrap(), learner.test_time_augmentation(6).unwrap());
    assert_eq!(seen.answers.shape(), [plain.rows, 10]);
    let sums = seen.answers.to_vec::<f64>();
    assert!(sums.chunks(10).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-5));
    assert!(seen.accuracy().unwrap() > plain.accuracy().unwrap() - 0.01, "{plain:?}");
    assert_eq!(learner.test_time_augmentation(6).unwrap(), seen, "always the same");
    let message = learner.test_time_augmentation(0).unwrap_err().to_string();
    assert!(message.contains("test-time augmentation in 0 passes: there must be"), "{message}");
    // Moved by nothing, each pass says what the model says of the row as it is.
    let still = shifted(0);
    assert_eq!(still.test_time_augmentation(2).unwrap().accuracy(), still.validate().unwrap().accuracy());
    let message = self::learner(0.0).test_time_augmentation(3).unwrap_err().to_string();
    assert!(message.contains("are not changed by chance"), "{message}");
}

#[test]
fn pictures_are_changed_in_training_and_photos_prepared_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let shades: Vec<u8> = (0..24u8).flat_map(|row| [row % 2 * 200 + row; 3 * 4 * 4]).collect();
    let image = Array::new(&[24, 3, 4, 4], shades).unwrap();
    let label: Vec<i64> = (0..24).map(|row| row % 2).collect();
    let all = Dataset::new([("image", image), ("label", label.into())]).unwrap().with_classes(["dark", "bright"]);
    let augment = Augment::new().random_crop(4, 4, 1).flip().normalize(Normalize::imagenet()).unwrap();
    let data = || TrainingData::split(&all, 0.25, 1).unwrap().batch(6);
    let learner = |data: TrainingData| {
        let net = Init::build(1, |init| Mlp::new(init, &[48, 8, 2]));
        Learner::from_fn(data, move |image, cx| net.forward(&image.flatten(1), cx)).unwrap()
    };
    let mut pictures = learner(data().pictures(augment.clone()).unwrap());
    pictures.fit(10, 0.03).unwrap();
    // Rows that are made one by one bring along how.
    let made = all.clone().augment("image", &augment).unwrap();
    let made = learner(TrainingData::split(&made, 0.25, 1).unwrap().batch(6));
    assert_eq!(made.data().prepare(), pictures.data().prepare());
    assert_eq!(
        made.data().loader().unwrap().epoch(0).unwrap().next().unwrap().unwrap()["image"],
        pictures.data().loader().unwrap().epoch(0).unwrap().next().unwrap().unwrap()["image"]
    );
    // What is exported takes photos, and data as they are.
    pictures.export(folder.path().join("model")).unwrap();
    let opened = Trained::open(folder.path().join("model")).unwrap();
    let bright = opened.card().prepare.photos((4, 4)).unwrap().numbers(Picture::plain(4, 4, [230; 3])).unwrap();
    let raw = Array::new(&[3, 4, 4], vec![230u8; 48]).unwrap();
    assert_eq!(opened.predict(&raw).unwrap().name, "bright");
    assert_eq!(bright.shape(), [3, 4, 4]);
    for data in [&all, made.data().train()] {
        assert_eq!(opened.evaluate(data).unwrap().rows, data.len());
        let seen = pictures.evaluate_augmented(data, 2).unwrap();
        assert_eq!(opened.evaluate_augmented(data, 2).unwrap(), seen);
    }
    assert_eq!(pictures.test_time_augmentation(3).unwrap(), pictures.evaluate_augmented(data().valid(), 3).unwrap());
    let still = learner(data().pictures(Augment::new()).unwrap());
    let message = still.test_time_augmentation(3).unwrap_err().to_string();
    assert!(message.contains("in 3 passes: training batches are not changed by chance"), "{message}");
    let message = self::data().pictures(augment).unwrap_err().to_string();
    assert!(message.contains("column `x`") && message.contains("pictures are [n, 3, height, width]"), "{message}");
}

#[test]
fn weights_are_taken_along_into_another_session() {
    let learner = learner(0.0);
    let (_, variable) = learner.variables()[0].clone();
    let value = learner.session().read(&variable).unwrap();
    let doubled = Array::new(value.shape(), value.to_vec::<f32>().iter().map(|x| 2.0 * x).collect()).unwrap();
    learner.session().write(&variable, doubled.clone()).unwrap();
    let moved = learner.in_session(Session::builder().threads(1).seed(9).build().unwrap()).unwrap();
    assert_eq!(moved.session().read(&variable).unwrap(), doubled);
    assert_eq!(moved.session().seed(), 9);
}

#[test]
fn what_came_of_all_phases_is_told_together() {
    let mut learner = learner(0.0);
    assert!(learner.fitted().is_none());
    let first = learner.fit(1, 0.01).unwrap();
    let second = learner.fit_one_cycle(Length::Steps(3), 0.01).unwrap();
    let all = learner.fitted().unwrap();
    assert_eq!((all.steps, all.seconds), (8, first.seconds + second.seconds));
    assert_eq!(all.valid_loss, second.valid_loss);
}

/// Points with a target that is a number: the sum.
#[derive(Module)]
struct Sum {
    line: Linear,
}

impl Layer for Sum {
    fn forward(&self, x: &Tensor, cx: &mut thalweg_nn::Forward) -> Tensor {
        self.line.forward(x, cx)
    }
}

#[test]
fn numbers_and_truth_values_have_losses_of_their_own() {
    let x = points(60, 0)["x"].clone();
    let sums: Vec<f32> = x.to_vec::<f32>().chunks(2).map(|p| p[0] + p[1]).collect();
    let above: Vec<bool> = sums.iter().map(|sum| *sum > 20.0).collect();
    let fit = |target: Array, lr: f64| {
        let all = Dataset::new([("x", x.clone()), ("y", target)]).unwrap();
        let data = TrainingData::split(&all, 0.25, 1).unwrap().standardized().unwrap().batch(15);
        assert_eq!((data.input(), data.target()), ("x", "y"));
        let model = Sum { line: Init::build(1, |init| Linear::new(init, 2, 1)) };
        let mut learner = Learner::new(data, model).unwrap();
        let before = learner.validate().unwrap().loss;
        learner.fit_one_cycle(60, lr).unwrap();
        (before, learner.validate().unwrap())
    };
    let (before, after) = fit(sums.into(), 1.0);
    assert!(after.loss < 0.01 * before && after.accuracy().is_none(), "{before} {after:?}");
    let (before, after) = fit(above.into(), 0.1);
    assert!(after.loss < 0.5 * before, "{before} {after:?}");
}

fn refusal(train: Dataset, valid: Dataset) -> String {
    let learner = TrainingData::new(train, valid).map_err(FitError::from).and_then(|data| Learner::new(data, net(0.0)));
    learner.unwrap_err().to_string()
}

fn labeled(labels: impl Into<Array>) -> Dataset {
    let labels = labels.into();
    let x = points(labels.len(), 0)["x"].clone();
    Dataset::new([("x", x), ("label", labels)]).unwrap()
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let empty = points(4, 0).select(&[]);
    // B6, B7
    assert!(refusal(empty.clone(), points(4, 0)).contains("an empty training set: it has no rows"));
    assert!(refusal(points(4, 0), empty).contains("an empty validation set"));
    let message = learner_of(data().batch(0)).fit(1, 0.1).unwrap_err().to_string();
    assert!(message.contains("batch size 0: a batch holds at least one row"), "{message}");
    assert_eq!(learner_of(data().batch(1000)).fit(2, 0.1).unwrap().steps, 2);
    // B8
    let message = refusal(labeled(vec![0i64, 1, 2]), labeled(vec![0i64]));
    assert_eq!(message, "column `label`, row 2: label 2 is not a class: there are 2, numbered from 0 to 1");
    let message = refusal(labeled(vec![0i64, 1]), labeled(vec![1i64, 0, -1]));
    assert!(message.contains("column `label`, row 2: label -1 is negative"), "{message}");
    let only = Dataset::new([("x", points(2, 0)["x"].clone())]).unwrap();
    assert!(refusal(only.clone(), only).contains("the target `x`: there is no other column"));
    let message = refusal(points(4, 0), Dataset::new([("x", points(2, 0)["x"].clone())]).unwrap());
    assert!(message.contains("no column `label`; there are: x"), "{message}");
}

fn learner_of(data: TrainingData) -> Learner {
    Learner::new(data, net(0.0)).unwrap()
}

#[test]
fn one_class_and_a_constant_column_are_learned_from() {
    // B9
    let rows = |n: usize| {
        let x: Vec<f32> = (0..n).flat_map(|row| [row as f32, 7.0]).collect();
        let x = Array::new(&[n, 2], x).unwrap();
        Dataset::new([("x", x), ("label", vec![1i64; n].into())]).unwrap()
    };
    let mut learner = learner_of(TrainingData::new(rows(20), rows(5)).unwrap().standardized().unwrap());
    let fitted = learner.fit(5, 0.05).unwrap();
    assert_eq!(fitted.valid_accuracy, Some(1.0));
    assert!(fitted.train_loss.is_finite());
}

#[test]
fn rates_out_of_range_are_refused_before_the_first_step() {
    // B5
    let mut learner = learner(0.0);
    for (rates, shown) in [
        (Rates::from(f64::NAN), "learning rate NaN: must be finite and above 0"),
        (Rates::from(-0.1), "learning rate -0.1"),
        (Rates::from((1e-3, 0.0)), "learning rate 0"),
        (Rates::from([0.1, 0.1]), "2 learning rates: there are 3 layer groups"),
    ] {
        let message = learner.fit(1, rates).unwrap_err().to_string();
        assert!(message.contains(shown), "{message}");
    }
    let message = learner.fit(0, 0.1).unwrap_err().to_string();
    assert!(message.contains("epochs 0"), "{message}");
    let message = learner.fit_cycles(0, 1, 1, 0.1).unwrap_err().to_string();
    assert!(message.contains("0 cycles that grow by 1"), "{message}");
    let wild = |lr: f64, _| Schedule::linear(lr, -1.0, 5);
    let message = learner.fit_schedule(Length::Steps(5), 0.1, wild).unwrap_err().to_string();
    assert!(message.contains("lr at the end is -1"), "{message}");
    assert_eq!(learner.steps(), 0);
}

#[test]
fn numbers_out_of_range_stop_with_step_and_tensor_and_keep_the_last_good_state() {
    // B3
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut learner = learner(0.0).optimizer(by_name("sgd", 0.1).unwrap()).saved_in(&path);
    learner.fit(1, 0.1).unwrap();
    let good = last_file(&path);
    let message = learner.fit(9, 1e30).unwrap_err().to_string();
    assert!(message.contains("step ") && message.contains("the first tensor with"), "{message}");
    assert!(message.contains(&format!("the last good checkpoint is {}", good.0.display())), "{message}");
    assert_eq!(last_file(&path), good);
    // B4: the norm explodes, but is clipped, counted and told.
    let clipped = self::learner(0.0).optimizer(by_name("sgd", 0.1).unwrap().clip_norm(1e-3)).fit(1, 0.1).unwrap();
    assert_eq!(clipped.clipped_steps, 5);
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_before_the_first_step() {
    // B21
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let try_in = |path: &Path| {
        let log = Log::default();
        let error = learner(0.0).callback(log.clone()).saved_in(path).fit(1, 0.1).unwrap_err().to_string();
        assert!(log.0.borrow().is_empty(), "before the first step");
        error
    };
    let file = try_in(&folder.path().join("file"));
    assert!(file.contains("file: cannot create the folder"), "{file}");
    let below = try_in(&folder.path().join("file/run ä"));
    assert!(below.contains("file/run ä: cannot create the folder"), "{below}");
    let long = folder.path().join("x".repeat(300));
    assert!(try_in(&long).contains(&"x".repeat(300)));
    let spaced = folder.path().join("with spaces and ümlauts/new");
    learner(0.0).saved_in(&spaced).fit(1, 0.1).unwrap();
    assert_eq!(checkpoint::load(&spaced, Which::Last).unwrap().step, 5);
}

#[test]
fn a_transform_that_fails_ends_the_training_with_the_row() {
    // B10
    let data = data().augmented(|loader| {
        loader.map("x", |_: &mut [f32], random| if random.chance(0.2) { Err("bad luck".into()) } else { Ok(()) })
    });
    let error = learner_of(data).fit(3, 0.1).unwrap_err();
    assert!(matches!(error, FitError::Data(DataError::Sample { .. })), "{error}");
    assert!(error.to_string().contains("bad luck"), "{error}");
}

#[test]
fn a_table_in_the_folder_of_a_run_that_saved_nothing_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let learner = |path: &Path| learner(0.0).callback(CsvLog::in_run(path)).saved_in(path);
    learner(&path).optimizer(by_name("sgd", 0.1).unwrap()).fit(1, 1e30).unwrap_err();
    let log = path.join("log.csv");
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1, "the header");
    learner(&path).fit(1, 0.1).unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
    // In a folder that is none of a run, it belongs to somebody.
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("log.csv"), "mine").unwrap();
    let message = learner(&foreign).fit(1, 0.1).unwrap_err().to_string();
    assert!(message.contains("the folder is not empty") && message.contains("log.csv"), "{message}");
}

#[test]
fn a_table_of_what_was_measured_goes_through_all_phases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let mut learner = learner(0.0).callback(CsvLog::new(&path));
    learner.fit(2, 0.1).unwrap();
    learner.fit(1, 0.05).unwrap();
    let log = fs::read_to_string(&path).unwrap();
    let steps: Vec<&str> = log.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(steps, ["step", "5", "10", "15"], "{log}");
}
