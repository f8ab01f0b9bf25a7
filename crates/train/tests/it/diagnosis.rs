//! What a learner says of itself: layers, faults, what it is wrong about, and why it does not learn.

use thalweg_data::{Dataset, digits};
use thalweg_nn::optim::by_name;
use thalweg_nn::{Activation, Init, Layer, Mlp, MlpConfig};
use thalweg_run::graph::{Array, DType, Tensor, Variable, placeholder, scope};
use thalweg_train::diagnosis::Probe;
use thalweg_train::{FitError, Learner, TrainingData};

use crate::support::{points, session};

fn net(widths: &[usize], activation: Activation) -> Mlp {
    let config = MlpConfig::new(widths).activation(activation);
    Init::build(3, |init| config.build(init))
}

fn data() -> TrainingData {
    TrainingData::new(points(50, 0), points(20, 50)).unwrap().standardized().unwrap().batch(10).seed(5)
}

fn learner(activation: Activation) -> Learner {
    Learner::new(data(), net(&[2, 8, 8, 2], activation)).unwrap()
}

#[test]
fn the_summary_names_layers_shapes_parameters_operations_and_memory() {
    let mut learner = learner(Activation::Relu);
    learner.freeze_to(1).unwrap();
    let summary = learner.summary().unwrap();
    let shown: Vec<_> =
        summary.layers.iter().map(|row| (&*row.path, &*row.output, row.parameters, row.trained)).collect();
    assert_eq!(
        shown,
        [
            ("layers.0", "f32[batch,8]", 24, 0),
            ("layers.1", "f32[batch,8]", 72, 72),
            ("layers.2", "f32[batch,2]", 18, 18)
        ]
    );
    // A product, a bias and, but for the last, the ReLU.
    assert_eq!(summary.layers[1].flops, 2 * 8 * 8 + 8 + 8);
    assert_eq!(summary.layers[2].flops, 2 * 8 * 2 + 2);
    assert_eq!((summary.weight_bytes, summary.batch), (4 * 114, 10));
    let text = summary.to_string();
    for line in [
        "layer           output  parameters  trained  operations a row\n",
        "layers.0  f32[batch,8]          24       no                48\n",
        "total                          114                        226\n",
        "90 of 114 parameters are trained\n",
        "weights 0.4 KiB; a step on 10 rows works in ",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    // Looking at it does not count as a step, nor as the first of any parameter.
    learner.fit(1, 0.1).unwrap();
    learner.unfreeze().unwrap();
    learner.fit(1, 0.1).unwrap();
    let variables = learner.session().variables();
    let clock = learner.session().read(&variables["global_step/2"]).unwrap();
    assert_eq!(clock.item().unwrap(), 5.0);
}

#[test]
fn tensors_in_the_middle_are_read_with_their_gradients() {
    let x = placeholder("x", DType::F32, ("n", 2));
    let w = Variable::new("w", Array::from([[1.0f32], [-1.0]]));
    let loss = scope("net", || scope("inner", || x.matmul(&w)).named("line").tanh()).sum();
    let data = Dataset::new([("x", [[1.0f32, 1.0], [3.0, 1.0]].into())]).unwrap();
    let batch = thalweg_data::Loader::new(&data, 2).unwrap().epoch(0).unwrap().next().unwrap().unwrap();
    let session = session();
    let readings = Probe::new(&loss, &["net/inner"]).unwrap().read(&session, &batch).unwrap();
    let [line] = &readings[..] else { panic!("{readings:?}") };
    assert_eq!((&*line.path, &line.value), ("net/inner/line", &Array::from([[0.0f32], [2.0]])));
    let slopes = line.gradient.as_ref().unwrap().to_vec::<f64>();
    assert!((slopes[0] - 1.0).abs() < 1e-6 && (slopes[1] - (1.0 - 2f64.tanh().powi(2))).abs() < 1e-6, "{slopes:?}");
    // A scope gives all in it; what has no gradient says so.
    let all = Probe::new(&loss, &["net", "x", "w"]).unwrap().read(&session, &batch).unwrap();
    let paths: Vec<&str> = all.iter().map(|reading| &*reading.path).collect();
    assert_eq!(paths, ["net/inner/line", "net/tanh", "x", "w"]);
    assert!(all.iter().all(|reading| reading.gradient.is_some()));
    let message = Probe::new(&loss, &["net/outer"]).unwrap_err().to_string();
    assert!(message.contains("probe at `net/outer`") && message.contains("net/inner/line"), "{message}");
}

#[test]
fn layers_are_reported_with_what_is_wrong() {
    let mut learner = self::learner(Activation::Tanh);
    learner.fit_one_cycle(5, 0.02).unwrap();
    let healthy = learner.diagnose().unwrap();
    assert_eq!(healthy.layers.len(), 3);
    assert!(healthy.faults().is_empty(), "{healthy}");
    assert!(healthy.layers[0].saturated.is_some() && healthy.layers[2].saturated.is_none());
    let text = healthy.to_string();
    assert!(text.contains("layer") && text.contains("layers.1") && text.contains("0/8"), "{text}");

    // Weights so large that tanh is flat; biases so low that every ReLU is 0.
    let weight = learner.variables()[0].1.clone();
    learner.session().write(&weight, Array::full(&[2, 8], DType::F32, 1e3)).unwrap();
    let flat = learner.diagnose().unwrap();
    assert!(flat.layers[0].saturated.unwrap() > 0.9, "{flat}");
    assert!(flat.to_string().contains("% of what `layers.0` hands on is at the ends of its sigmoid or tanh"), "{flat}");

    let mut dead = self::learner(Activation::Relu);
    let bias = dead.variables()[1].1.clone();
    dead.session().write(&bias, Array::full(&[8], DType::F32, -1e3)).unwrap();
    let report = dead.diagnose().unwrap();
    assert_eq!((report.layers[0].dead, report.layers[0].units), (8, 8));
    let text = report.to_string();
    assert!(text.contains("8 of 8 units of `layers.0` are 0 in every row"), "{text}");
    assert!(text.contains("the gradient of `layers.0.weight` is 0: it does not learn"), "{text}");
    dead.freeze().unwrap();
    assert!(dead.diagnose().unwrap().to_string().contains("frozen"));
}

#[test]
fn one_batch_is_learned_by_heart() {
    let mut learner = learner(Activation::Relu);
    let before = learner.session().state().unwrap();
    let overfit = learner.overfit_one_batch(0.02).unwrap();
    assert!(overfit.passed() && overfit.after < 0.05 * overfit.before, "{overfit}");
    assert!(overfit.to_string().starts_with("one batch is learned by heart: its loss went from "));
    assert_eq!(learner.session().state().unwrap().step, before.step);
}

fn causes(data: Dataset, activation: Activation, lr: f64, change: impl FnOnce(&Learner)) -> String {
    let data = TrainingData::new(data.clone(), data).unwrap().batch(10);
    let mut learner = Learner::new(data, net(&[2, 8, 2], activation)).unwrap();
    change(&learner);
    let overfit = learner.overfit_one_batch(lr).unwrap();
    assert!(!overfit.passed(), "{overfit}");
    overfit.to_string()
}

fn rows(x: Vec<f32>, labels: [i64; 10]) -> Dataset {
    Dataset::new([("x", Array::new(&[10, 2], x).unwrap()), ("label", labels.into())]).unwrap()
}

#[test]
fn why_one_batch_is_not_learned_is_named() {
    let labels = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
    let small: Vec<f32> = (0..20).map(|i| ((i * 7) % 11) as f32 / 5.0 - 1.0).collect();
    let mut twice = small.clone();
    twice.copy_within(0..2, 6);
    let message = causes(rows(twice, labels), Activation::Relu, 0.02, |_| ());
    assert!(message.contains("of the training set have the same input and different targets"), "{message}");
    let message = causes(rows(vec![1.0; 20], labels), Activation::Relu, 0.02, |_| ());
    assert!(message.contains("all rows of `x` are alike"), "{message}");
    let message = causes(rows(small.clone(), labels), Activation::Relu, 1e-6, |_| ());
    assert!(message.contains("a learning rate of 1.00e-6 is too small"), "{message}");
    let message = causes(rows(small, labels), Activation::Relu, 0.02, |learner| {
        let bias = &learner.variables()[1].1;
        learner.session().write(bias, Array::full(&[8], DType::F32, -1e3)).unwrap();
    });
    assert!(message.contains("8 of 8 units of `layers.0` are 0 in every row"), "{message}");
    let large: Vec<f32> = (0..20).map(|i| 1e5 * (((i * 7) % 11) as f32 - 5.0)).collect();
    let message = causes(rows(large, labels), Activation::Tanh, 1e-9, |_| ());
    assert!(message.contains("`x` is out of scale") && message.contains("`standardized` helps"), "{message}");
}

#[test]
fn what_a_model_is_wrong_about() {
    let data = TrainingData::split(&digits(), 0.2, 42).unwrap().standardized().unwrap();
    let network = net(&[64, 16, 10], Activation::Relu);
    let mut learner = Learner::from_fn(data, move |image: &Tensor, cx| network.forward(&image.flatten(1), cx)).unwrap();
    learner.fit(1, 3e-3).unwrap();
    let validation = learner.validate().unwrap();
    let top = learner.top_losses(1000).unwrap();
    assert_eq!(top.len(), validation.rows);
    assert!(top.windows(2).all(|pair| pair[0].loss >= pair[1].loss));
    let mean = top.iter().map(|top| top.loss).sum::<f64>() / top.len() as f64;
    assert!((mean - validation.loss).abs() < 1e-4, "{mean} {}", validation.loss);
    let (actual, predicted, probability) = top[0].classes.clone().unwrap();
    assert!(actual != predicted && probability > 0.1, "{:?}", top[0]);
    let label = learner.data().valid()["label"].to_vec::<i64>()[top[0].row];
    assert_eq!(actual, label.to_string());
    assert_eq!(learner.top_losses(3).unwrap(), top[..3]);

    let confused = learner.most_confused(1).unwrap();
    let wrong: u64 = confused.iter().map(|pair| pair.count).sum();
    assert_eq!(wrong, ((1.0 - validation.accuracy().unwrap()) * validation.rows as f64).round() as u64);
    assert!(confused.windows(2).all(|pair| pair[0].count >= pair[1].count));
    assert!(learner.most_confused(2).unwrap().iter().all(|pair| pair.count >= 2));
}

#[test]
fn numbers_are_not_confused() {
    let x = points(30, 0)["x"].clone();
    let y: Vec<f32> = x.to_vec::<f32>().chunks(2).map(|p| p[0] - p[1]).collect();
    let all = Dataset::new([("x", x), ("y", y.into())]).unwrap();
    let data = TrainingData::split(&all, 0.2, 1).unwrap();
    let mut learner = Learner::new(data, net(&[2, 1], Activation::Relu)).unwrap();
    learner = learner.optimizer(by_name("sgd", 0.1).unwrap());
    let error = learner.most_confused(1).unwrap_err();
    assert!(matches!(error, FitError::Setting { .. }) && error.to_string().contains("the target `y`"), "{error}");
    assert!(learner.top_losses(2).unwrap().iter().all(|top| top.classes.is_none()));
}
