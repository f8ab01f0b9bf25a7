//! The learner with convolutions, batch normalization, dropout and augmentation.

use std::path::Path;

use thalweg_data::{Dataset, digits, image};
use thalweg_nn::layer::Activation;
use thalweg_nn::{BatchNorm, Conv2d, ConvConfig, Dropout, Flatten, Forward, GlobalPool, Init, Layer, Linear, Module};
use thalweg_run::Session;
use thalweg_run::graph::{Array, DType, Tensor};
use thalweg_train::fit::{Event, Flow, Moment};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{FitError, Learner, TrainingData};

use crate::support::last_file;

#[derive(Module)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm,
    dropout: Dropout,
    head: Linear,
}

impl Layer for Net {
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let hidden = Activation::Relu.apply(&self.norm.forward(&self.conv.forward(x, cx), cx));
        let pooled = Flatten::default().forward(&GlobalPool::Average.forward(&hidden, cx), cx);
        self.head.forward(&self.dropout.forward(&pooled, cx), cx)
    }
}

/// Some digits as images of one channel.
fn images() -> Dataset {
    let some = digits().select(&(0..200).collect::<Vec<_>>());
    some.map("image", |images| Ok(images.reshape(&[200, 1, 8, 8])?)).unwrap()
}

fn learner(threads: usize) -> Learner {
    let data = TrainingData::split(&images(), 0.25, 1).unwrap().standardized().unwrap().batch(30).augmented(|loader| {
        loader.map("image", |pixels: &mut [f32], random| {
            image::random_shift(pixels, (8, 8), 1, random);
            Ok(())
        })
    });
    let net = Init::build(2, |init| Net {
        conv: Conv2d::new(init, 1, 6, 3),
        norm: BatchNorm::new(init, 6),
        dropout: Dropout::new(0.1),
        head: Linear::new(init, 6, 10),
    });
    let session = Session::builder().threads(threads).seed(4).build().unwrap();
    Learner::new(data, net).unwrap().in_session(session).unwrap()
}

fn value(learner: &Learner, path: &str) -> Array {
    let (_, variable) = learner.variables().iter().find(|(known, _)| known == path).unwrap();
    learner.session().read(variable).unwrap()
}

#[test]
fn frozen_layers_keep_their_statistics() {
    let mut learner = learner(1);
    assert_eq!(learner.groups(), ["conv", "norm", "head"]);
    learner.fit(1, 0.01).unwrap();
    let before = value(&learner, "norm.running_mean");
    assert!(before.to_vec::<f64>().iter().any(|x| *x != 0.0));
    learner.freeze().unwrap();
    let weights = value(&learner, "head.weight");
    learner.fit(1, 0.01).unwrap();
    assert_eq!(value(&learner, "norm.running_mean"), before);
    assert_ne!(value(&learner, "head.weight"), weights);
    learner.unfreeze().unwrap();
    learner.fit(1, 0.01).unwrap();
    assert_ne!(value(&learner, "norm.running_mean"), before);
}

#[test]
fn the_layers_are_found() {
    let mut learner = learner(1);
    let summary = learner.summary().unwrap();
    let shown: Vec<_> = summary.layers.iter().map(|row| (&*row.path, row.parameters)).collect();
    assert_eq!(shown, [("conv", 60), ("norm", 12), ("head", 70)]);
    // 3 x 3 kernels over one channel.
    assert!(summary.layers[0].flops >= 2 * 9 * 6 * 36, "{summary}");
    let report = learner.diagnose().unwrap();
    assert_eq!(report.layers[1].units, 6);
    assert!(report.layers.iter().all(|layer| layer.statistics.nan == 0), "{report}");
}

#[test]
fn layers_without_a_bias_are_shown_with_their_channels_first() {
    let image = Array::zeros(&[8, 3, 6, 6], DType::F32);
    let data = Dataset::new([("image", image), ("label", vec![0i64; 8].into())]).unwrap();
    let conv = |inputs, outputs| ConvConfig::new(inputs, outputs, [3, 3]).without_bias();
    let net = Init::build(1, |init| {
        let (first, second) = (conv(3, 5).build(init), conv(5, 7).build(init));
        (first, Activation::Relu, second, Activation::Relu, GlobalPool::Max)
    });
    let mut learner = Learner::new(TrainingData::new(data.clone(), data).unwrap(), net).unwrap();
    let summary = learner.summary().unwrap();
    let outputs: Vec<&str> = summary.layers.iter().map(|row| &*row.output).collect();
    assert_eq!(outputs, ["f32[batch,5,4,4]", "f32[batch,7,2,2]"]);
    let report = learner.diagnose().unwrap();
    assert_eq!((report.layers[0].units, report.layers[0].dead), (5, 5), "{report}");
}

/// Two phases; the second with all layers.
fn train(path: &Path, resume: bool, stop_after: Option<u64>, threads: usize) -> Result<u64, FitError> {
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    let stop = move |event: &Event<'_>, moment: &Moment<'_>| {
        if matches!(event, Event::Step(_)) && stop_after == Some(moment.step) {
            asked.request();
        }
        Flow::Continue
    };
    let mut learner = learner(threads).interrupt(interrupt).callback(stop);
    learner = if resume { learner.resumed_in(path) } else { learner.saved_in(path) };
    learner.freeze()?;
    learner.fit_one_cycle(1, 0.02)?;
    learner.unfreeze()?;
    learner.fit_one_cycle(2, (0.005, 0.05))?;
    Ok(learner.steps())
}

#[test]
fn a_run_with_batch_norm_dropout_and_augmentation_is_resumed_with_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    assert_eq!(train(&whole, false, None, 1).unwrap(), 15);
    // In the last step of the first phase, the second does not begin.
    for (stop_after, threads) in [(2, 1), (5, 2), (8, 3)] {
        let path = folder.path().join(format!("stopped-{stop_after}"));
        let error = train(&path, false, Some(stop_after), threads).unwrap_err();
        assert!(
            error.to_string().contains(&format!("interrupted after step {stop_after}; what was made is in")),
            "{error}"
        );
        train(&path, true, None, threads).unwrap();
        assert!(last_file(&path).1 == last_file(&whole).1, "stopped after {stop_after}, on {threads} threads");
    }
}

#[test]
fn images_are_shown() {
    let mut learner = learner(1);
    let batch = learner.show_batch(9).unwrap();
    // Three by three of 8 x 8 pixels, enlarged.
    assert!(batch.height() > 3 * 80 && batch.width() > 3 * 80, "{:?}", batch.size());
    learner.fit(1, 0.02).unwrap();
    let top = learner.show_top_losses(4).unwrap();
    assert!(top.height() > 2 * 80, "{:?}", top.size());
    let curve = learner.find_rate().unwrap().plot().picture();
    assert!(curve.pixels().chunks(3).filter(|pixel| *pixel == [0, 114, 178]).count() > 100);
}
