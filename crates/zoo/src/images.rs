//! `images`: photos of one's own, a folder for each class. Convolutions that were trained on other pictures, a new head; first
//! the head is trained alone, then all of it, early layers least. For the comparison, the same net from the beginning.

use std::path::Path;

use thalweg::data::{DataError, cache_folder};
use thalweg::prelude::*;
use thalweg::train::{FitError, Length};

use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};
use crate::vision::transfer::{self, Pretrained, Transfer};

/// The recipe `images`.
pub(crate) struct Images;

const MODELS: &[Model] = &[
    Model { name: "squeezenet", about: "SqueezeNet 1.1 with weights from ImageNet (`--weights`) and a new head" },
    Model {
        name: "linear",
        about: "the same with one dense layer as its head, so that `maps --method cam` is defined",
    },
    Model { name: "scratch", about: "the net of `squeezenet` without weights: for comparison" },
];

/// The share of the photos that is held out for the test, and of the rest for validation.
const HELD_OUT: f64 = 0.2;
/// Rows at a time in evaluation.
const EVALUATION_BATCH: usize = 32;

impl Recipe for Images {
    fn name(&self) -> &'static str {
        "images"
    }

    fn about(&self) -> &'static str {
        "photos of your own, a folder for each class; a net that has seen a million others, and a new head"
    }

    fn source(&self) -> Source {
        Source::Folder("a folder of photos for each class (jpg, png, gif, bmp, webp)")
    }

    fn models(&self) -> &'static [Model] {
        MODELS
    }

    fn weights(&self) -> Option<&'static str> {
        Some("SqueezeNet 1.1 as torchvision has it (`thalweg download squeezenet`), or as the Caffe net")
    }

    fn defaults(&self, model: Option<&str>) -> Defaults {
        let lr = if model == Some("scratch") { 1e-3 } else { 2e-3 };
        Defaults { length: Length::Epochs(10), batch: 16, lr, optimizer: "adam" }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting {
                    name: "side",
                    about: "height and width of what the net sees",
                    default: 224.0,
                    range: (32.0, 1024.0),
                },
                Setting {
                    name: "frozen",
                    about: "the share of the training in which the head is trained alone",
                    default: 0.4,
                    range: (0.0, 1.0),
                },
                classifier::weight_decay(0.01),
            ]
        }
    }

    fn ready(&self, settings: &Settings) -> Result<(), ZooError> {
        if model(settings) == "scratch" {
            return match &settings.weights {
                None => Ok(()),
                Some(file) => {
                    let reason = "the model `scratch` begins without weights".to_string();
                    Err(ZooError::setting(format!("weights {}", file.display()), reason))
                }
            };
        }
        pretrained(settings)?.map(drop).ok_or_else(|| {
            let reason = "needs the weights of SqueezeNet 1.1: say where they are with `--weights`, or get them with \
                          `thalweg download squeezenet`; `--model scratch` begins without";
            ZooError::setting(format!("model `{}`", model(settings)), reason)
        })
    }

    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let photos = whole(folder, settings)?;
        let held_out = |data: &Dataset| Split::stratified("label", data.column("label")?, HELD_OUT, settings.seed);
        let (rest, test) = photos.split(&held_out(&photos)?);
        let (train, valid) = rest.split(&held_out(&rest)?);
        Ok(Splits { data: TrainingData::new(train, valid)?, test: Some(test) })
    }

    fn folds(&self, folder: &Path, settings: &Settings, k: usize) -> Result<Vec<Splits>, ZooError> {
        let photos = whole(folder, settings)?;
        let folds = Split::stratified_k_folds("label", photos.column("label")?, k, settings.seed)?;
        let splits = folds.iter().map(|fold| {
            // Nothing is chosen by the part that is held out: it is only measured while the net is trained.
            let (train, test) = photos.split(fold);
            Ok(Splits { data: TrainingData::new(train, test.clone())?, test: Some(test) })
        });
        splits.collect()
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let side = side(settings);
        let rows = classifier::blank(settings.batch, &[3, side, side], u8)?;
        let rows = rows.with_classes((0..10).map(|class| class.to_string()));
        TrainingData::new(rows.clone(), rows)?.pictures(transfer::photos(side, &Normalize::imagenet())?)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let pretrained = pretrained(settings)?;
        let data = match &pretrained {
            Some(pretrained) => data.pictures(pretrained.photos(side(settings))?)?,
            None => data,
        };
        let classes = data.classes().len();
        let net = Init::build(settings.seed, |init| match model(settings) {
            "linear" => Transfer::squeezenet_linear(init, classes),
            _ => Transfer::squeezenet(init, classes),
        });
        let session = Session::cpu();
        if let Some(pretrained) = &pretrained {
            pretrained.load(&session, &net)?;
        }
        let learner = Learner::new(data, net)?.in_session(session)?.optimizer(classifier::optimizer(settings)?);
        Ok(learner.options(|options| options.validation_batch = EVALUATION_BATCH))
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        if model(settings) == "scratch" {
            return learner.fit_one_cycle(settings.length, settings.lr).map(drop);
        }
        let (alone, all) = classifier::parts(settings.length, settings.get("frozen"));
        learner.fine_tune(alone, all, settings.lr).map(drop)
    }
}

/// All photos of a folder, which has a folder for each class.
fn whole(folder: &Path, settings: &Settings) -> Result<Dataset, DataError> {
    let photos = ImageFolder::open(folder)?;
    if photos.classes().len() < 2 {
        let reason = match photos.classes() {
            [] => "holds pictures, but no folders; there must be a folder for each class".to_string(),
            classes => {
                format!("holds one class, `{}`; there must be a folder for each of at least two", classes.join(""))
            }
        };
        return Err(DataError::File { path: folder.to_path_buf(), reason });
    }
    photos.dataset(&transfer::photos(side(settings), &Normalize::imagenet())?)
}

/// The model that is asked for.
fn model(settings: &Settings) -> &'static str {
    settings.model.unwrap_or(MODELS[0].name)
}

fn side(settings: &Settings) -> usize {
    settings.get("side") as usize
}

/// The weights that are asked for, else those that were downloaded, if the model begins with some and they are there.
fn pretrained(settings: &Settings) -> Result<Option<Pretrained>, ZooError> {
    if model(settings) == "scratch" {
        return Ok(None);
    }
    let downloaded = || {
        let folder = cache_folder("squeezenet")?;
        Some(folder.join("squeezenet1_1-b8a52dc0.pth")).filter(|file| file.is_file())
    };
    settings.weights.clone().or_else(downloaded).map(Pretrained::squeezenet).transpose()
}
