//! `cifar10`: small pictures in color, and what each idea of the last thirty years adds: a dense net, convolutions, batch norm,
//! depth, residual blocks. The order is that of fast.ai's lesson on CIFAR-10.

use std::path::Path;

use thalweg::data::{self, Augment, DataError};
use thalweg::prelude::*;
use thalweg::train::{FitError, Length};

use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};
use crate::vision::Sequence;

/// The recipe `cifar10`.
pub(crate) struct Cifar10;

const MODELS: &[Model] = &[
    Model { name: "resnet", about: "residual blocks, dropout, moved and mirrored pictures, cosine cycles" },
    Model { name: "dense", about: "3072-40-10, no convolution" },
    Model { name: "conv", about: "three convolutions of stride 2, the maximum over all positions" },
    Model { name: "batchnorm", about: "four convolutions of stride 2, each with batch norm" },
    Model { name: "own-batchnorm", about: "the same with a batch norm written in terms of means" },
    Model { name: "deep", about: "each followed by one or two of stride 1: twelve layers, without residuals" },
];

/// The share of the training part that is held out.
const VALIDATION: f64 = 0.1;
const CLASSES: usize = 10;

impl Recipe for Cifar10 {
    fn name(&self) -> &'static str {
        "cifar10"
    }

    fn about(&self) -> &'static str {
        "pictures of 32 x 32 pixels of ten kinds of things; from a dense net to residual blocks (`--model`)"
    }

    fn source(&self) -> Source {
        Source::Folder(
            "the files of CIFAR-10 in its binary form, plain or in gzip (`thalweg download cifar10` gets them)",
        )
    }

    fn models(&self) -> &'static [Model] {
        MODELS
    }

    fn defaults(&self, model: Option<&str>) -> Defaults {
        let (epochs, lr) = match model {
            Some("dense") => (15, 2e-3),
            Some("conv") => (12, 4e-3),
            Some("batchnorm" | "own-batchnorm" | "deep") => (6, 8e-3),
            _ => (30, 6e-3),
        };
        Defaults { length: Length::Epochs(epochs), batch: 128, lr, optimizer: "adam" }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting {
                    name: "shift",
                    about: "pixels by which pictures of `resnet` are moved at most; they are mirrored too",
                    default: 4.0,
                    range: (0.0, 16.0),
                },
                Setting { name: "dropout", about: "the part that `resnet` drops", default: 0.2, range: (0.0, 0.95) },
                classifier::weight_decay(0.4),
            ]
        }
    }

    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let data::Cifar { train, test } = data::cifar10(folder)?;
        let split = Split::stratified("label", train.column("label")?, VALIDATION, settings.seed)?;
        let (train, valid) = train.split(&split);
        Ok(Splits { data: TrainingData::new(train, valid)?.pictures(augment(settings)?)?, test: Some(test) })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let rows = classifier::blank(settings.batch, &[3, 32, 32], u8)?;
        TrainingData::new(rows.clone(), rows)?.pictures(augment(settings)?)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let net = Init::build(settings.seed, |init| net(init, model(settings), settings.get("dropout")));
        Ok(Learner::new(data, net)?.optimizer(classifier::optimizer(settings)?))
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        let course = match model(settings) {
            // Four cycles, each twice as long as the one before: 1 + 2 + 4 + 8 parts of all steps.
            "resnet" => |lr, steps: u64| Schedule::warm_restarts(lr, (steps / 15).max(1), 2),
            _ => Schedule::one_cycle,
        };
        learner.fit_schedule(settings.length, settings.lr, course).map(drop)
    }
}

/// The model that is asked for.
fn model(settings: &Settings) -> &'static str {
    settings.model.unwrap_or(MODELS[0].name)
}

/// What is done to pictures.
fn augment(settings: &Settings) -> Result<Augment, DataError> {
    let augment = match model(settings) {
        "resnet" => Augment::new().random_crop(32, 32, settings.get("shift") as usize).flip(),
        _ => Augment::new(),
    };
    augment.normalize(Normalize::new(vec![0.4914, 0.4822, 0.4465], vec![0.2470, 0.2435, 0.2616])?)
}

fn net(init: &mut Init, model: &str, dropout: f64) -> Sequence {
    match model {
        "dense" => vec![
            Box::new(Flatten::default()),
            Box::new(Linear::new(init, 3 * 32 * 32, 40)),
            Box::new(Activation::Relu),
            Box::new(Linear::new(init, 40, CLASSES)),
        ],
        "conv" => {
            let mut layers = Sequence::new();
            for (inputs, outputs) in [(3, 20), (20, 40), (40, 80)] {
                layers.push(Box::new(ConvConfig::new(inputs, outputs, [3, 3]).stride(2).build(init)));
                layers.push(Box::new(Activation::Relu));
            }
            with_head(init, layers, 80)
        }
        "batchnorm" => stages(init, &[10, 20, 40, 80, 160], |init, inputs, outputs| {
            vec![Box::new(normed(init, BatchNorm::new, inputs, outputs, 2))]
        }),
        "own-batchnorm" => stages(init, &[10, 20, 40, 80, 160], |init, inputs, outputs| {
            vec![Box::new(normed(init, OwnBatchNorm::new, inputs, outputs, 2))]
        }),
        "deep" => {
            // A convolution of stride 2 and so many of stride 1: with the first one and the dense layer, twelve layers.
            let mut more = [1, 2, 2, 1].into_iter();
            stages(init, &[10, 20, 40, 80, 160], |init, inputs, outputs| {
                let mut layers: Sequence = vec![Box::new(normed(init, BatchNorm::new, inputs, outputs, 2))];
                for _ in 0..more.next().unwrap_or(0) {
                    layers.push(Box::new(normed(init, BatchNorm::new, outputs, outputs, 1)));
                }
                layers
            })
        }
        _ => {
            let mut layers = stages(init, &[16, 32, 64, 128, 256], |init, inputs, outputs| {
                let first = normed(init, BatchNorm::new, inputs, outputs, 2);
                let mut same = || Residual::new(normed(init, BatchNorm::new, outputs, outputs, 1));
                vec![Box::new(first), Box::new(same()), Box::new(same())]
            });
            let head = layers.len() - 1;
            layers.insert(head, Box::new(Dropout::new(dropout)));
            layers
        }
    }
}

/// A first convolution of 5 x 5, then what `stage` makes of each pair of widths.
fn stages(init: &mut Init, widths: &[usize], mut stage: impl FnMut(&mut Init, usize, usize) -> Sequence) -> Sequence {
    let mut layers: Sequence = vec![Box::new(Conv2d::new(init, 3, widths[0], 5))];
    for pair in widths.windows(2) {
        layers.extend(stage(init, pair[0], pair[1]));
    }
    with_head(init, layers, widths[widths.len() - 1])
}

/// The maximum over all positions, and a dense layer.
fn with_head(init: &mut Init, mut layers: Sequence, features: usize) -> Sequence {
    layers.push(Box::new(GlobalPool::Max));
    layers.push(Box::new(Linear::new(init, features, CLASSES)));
    layers
}

/// A convolution without bias, ReLU, a batch norm.
type Normed<N> = (Conv2d, Activation, N);

fn normed<N>(
    init: &mut Init,
    norm: impl Fn(&mut Init, usize) -> N,
    inputs: usize,
    outputs: usize,
    stride: usize,
) -> Normed<N> {
    let config = ConvConfig::new(inputs, outputs, [3, 3]).stride(stride).padding(1).without_bias();
    (config.build(init), Activation::Relu, norm(init, outputs))
}

/// Batch norm from primitives, as a reader would write it: means, differences, a square root.
#[derive(Debug, Module)]
struct OwnBatchNorm {
    weight: Variable,
    bias: Variable,
    running_mean: Variable,
    running_var: Variable,
}

impl OwnBatchNorm {
    fn new(init: &mut Init, channels: usize) -> OwnBatchNorm {
        let mut variable = |initializer| init.variable(&[channels], initializer);
        OwnBatchNorm {
            weight: variable(Initializer::Ones),
            bias: variable(Initializer::Zeros),
            running_mean: variable(Initializer::Zeros).not_trainable(),
            running_var: variable(Initializer::Ones).not_trainable(),
        }
    }
}

impl Layer for OwnBatchNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let per_channel = |numbers: &Tensor| numbers.reshape([numbers.size(0), 1.into(), 1.into()]);
        let (weight, bias) = (per_channel(&self.weight), per_channel(&self.bias));
        if !cx.training() {
            let (mean, variance) = (per_channel(&self.running_mean), per_channel(&self.running_var));
            return (x - mean) / (variance + 1e-5).sqrt() * weight + bias;
        }
        let mean = x.mean_over([0, 2, 3]);
        let difference = x - per_channel(&mean);
        let variance = difference.square().mean_over([0, 2, 3]);
        let y = difference / (per_channel(&variance) + 1e-5).sqrt() * weight + bias;
        let moved = |running: &Variable, now: &Tensor| running.tensor() * 0.9 + now * 0.1;
        y.with_update(&self.running_mean, &moved(&self.running_mean, &mean))
            .with_update(&self.running_var, &moved(&self.running_var, &variance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::train::build;

    /// Rows of a batch.
    const ROWS: usize = 32;
    /// Numbers of a picture.
    const PIXELS: usize = 3 * 32 * 32;

    /// The losses of the first steps; `batch` gives the pictures and labels of a step.
    fn losses(model: &str, steps: usize, batch: impl Fn(usize) -> (Vec<f32>, Vec<i64>)) -> Vec<f64> {
        let length = Some(Length::Steps(2_000));
        let options = Options { model: Some(model.into()), length, ..Options::default() };
        let (task, step) = build(&Cifar10, &options).unwrap();
        let session = Session::builder().seed(1).build().unwrap();
        let loss = |number: usize| {
            let (images, labels) = batch(number);
            let (image, label) = (Array::new(&[ROWS, 3, 32, 32], images).unwrap(), Array::from(labels));
            let feeds = Feeds::new().with("image", &image).with("label", &label);
            session.run((&task.train_loss, &step), feeds).unwrap().0.item().unwrap()
        };
        (0..steps).map(loss).collect()
    }

    /// Noise whose mean brightness tells the class.
    fn noise(seed: usize) -> (Vec<f32>, Vec<i64>) {
        let labels: Vec<i64> = (0..ROWS as i64).map(|row| row % CLASSES as i64).collect();
        let session = Session::builder().seed(seed as u64).build().unwrap();
        let noise = session.run(&random_normal([32, 3, 32, 32], f32), Feeds::new()).unwrap().to_vec::<f32>();
        let brighter = |(i, x): (usize, &f32)| x + labels[i / PIXELS] as f32 * 0.1;
        (noise.iter().enumerate().map(brighter).collect(), labels)
    }

    #[track_caller]
    fn assert_trains_as_the_built_in_one(batch: impl Fn(usize) -> (Vec<f32>, Vec<i64>)) {
        let (own, built_in) = (losses("own-batchnorm", 20, &batch), losses("batchnorm", 20, &batch));
        assert!(built_in[19] < built_in[0], "{built_in:?}");
        for (step, (own, built_in)) in own.iter().zip(&built_in).enumerate() {
            assert!((own / built_in - 1.0).abs() < 1e-4, "step {step}: {own}, built in {built_in}");
        }
    }

    #[test]
    fn batch_norm_from_primitives_trains_as_the_built_in_one() {
        assert_trains_as_the_built_in_one(noise);
    }

    #[test]
    fn batch_norm_from_primitives_trains_as_the_built_in_one_on_photos() {
        let Some(folder) = std::env::var_os("THALWEG_DATA") else {
            return eprintln!("skipped: THALWEG_DATA is not set");
        };
        let train = data::cifar10(Path::new(&folder).join("cifar10")).unwrap().train;
        let images = train.column("image").unwrap().to_vec::<u8>();
        let labels = train.column("label").unwrap().to_vec::<i64>();
        let normalized = |&x: &u8| (f32::from(x) / 255.0 - 0.47) / 0.25;
        assert_trains_as_the_built_in_one(|step| {
            let pixels = &images[step * ROWS * PIXELS..][..ROWS * PIXELS];
            (pixels.iter().map(normalized).collect(), labels[step * ROWS..][..ROWS].to_vec())
        });
    }

    #[test]
    fn every_model_learns() {
        for model in MODELS {
            // One batch again and again; the first steps of a deep net go up and down.
            let losses = losses(model.name, 12, |_| noise(0));
            assert!(losses[11] < 0.9 * losses[0], "{}: {losses:?}", model.name);
        }
    }

    #[test]
    fn models_are_chosen_by_name() {
        let chosen = |model: Option<&str>| {
            Settings::new(&Cifar10, &Options { model: model.map(String::from), ..Options::default() })
        };
        assert_eq!(chosen(None).unwrap().model, Some("resnet"));
        let message = chosen(Some("denss")).unwrap_err().to_string();
        assert!(message.contains("`denss`") && message.contains("dense"), "{message}");
        let digits =
            Settings::new(&crate::digits::Digits, &Options { model: Some("dense".into()), ..Options::default() });
        let message = digits.unwrap_err().to_string();
        assert!(message.contains("`digits` has one model"), "{message}");
    }
}
