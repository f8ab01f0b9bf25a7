//! A small training, for the tests of the loop and of what comes of it.

use std::fs;
use std::path::{Path, PathBuf};

use thalweg_data::{Dataset, Loader, Normalize, Per};
use thalweg_nn::optim::by_name;
use thalweg_nn::{Forward, Init, Layer, MlpConfig, Optimizer, Schedule, cross_entropy};
use thalweg_run::Session;
use thalweg_run::graph::{Array, DType, placeholder};
use thalweg_train::checkpoint::{self, Which};
use thalweg_train::fit::Callback;
use thalweg_train::{FitError, FitOptions, Fitted, Inference, ModelCard, Prepare, RunFolder, Task, Training, fit};

/// Two interleaved classes of points: right of the line or left of it.
pub(crate) fn points(rows: usize, first: usize) -> Dataset {
    let x: Vec<f32> = (first..first + rows).flat_map(|i| [((i * 37) % 23) as f32, ((i * 53) % 19) as f32]).collect();
    let labels: Vec<i64> = x.chunks(2).map(|p| i64::from(p[0] > p[1] + 2.0)).collect();
    let x = Array::new(&[rows, 2], x).unwrap();
    Dataset::new([("x", x), ("label", labels.into())]).unwrap().with_classes(["left", "right"])
}

/// A small network with dropout, its data and what trains it.
pub(crate) struct Setup {
    pub(crate) task: Task,
    pub(crate) optimizer: Optimizer,
    pub(crate) loader: Loader,
    pub(crate) valid: Dataset,
    pub(crate) prepare: Prepare,
    pub(crate) raw_valid: Dataset,
}

pub(crate) fn setup(batch: usize, dropout: f64) -> Setup {
    let (train, raw_valid) = (points(50, 0), points(20, 50));
    let normalize = Normalize::standard("x", &train["x"], Per::Feature).unwrap();
    let prepare = Prepare { normalize: Some(normalize), ..Prepare::default() };
    let prepared = |data: &Dataset| data.clone().map("x", |x| prepare.apply("x", x)).unwrap();
    let config = MlpConfig::new(&[2, 8, 2]).dropout(dropout);
    let net = Init::build(3, |init| config.build(init));
    let (x, label) = (placeholder("x", DType::F32, ("batch", 2)), placeholder("label", DType::I64, ["batch"]));
    let train_output = net.forward(&x, &mut Forward::train());
    let train_loss = cross_entropy(&train_output, &label);
    let output = net.forward(&x, &mut Forward::infer());
    let loss = cross_entropy(&output, &label);
    let task = Task::new(train_loss, Inference::new(loss, output).labeled("label")).output(train_output);
    let loader = Loader::new(&prepared(&train), batch).unwrap().seed(5).shuffled();
    let valid = prepared(&raw_valid);
    Setup {
        task,
        optimizer: by_name("adam", Schedule::one_cycle(0.05, 40)).unwrap(),
        loader,
        valid,
        prepare,
        raw_valid,
    }
}

impl Setup {
    pub(crate) fn fit(
        &self,
        session: &Session,
        options: &FitOptions,
        callbacks: &mut [&mut dyn Callback],
    ) -> Result<Fitted, FitError> {
        let training = Training {
            session,
            task: &self.task,
            optimizer: &self.optimizer,
            data: &self.loader,
            validation: Some(&self.valid),
        };
        fit(&training, options, callbacks)
    }

    pub(crate) fn run(&self, path: &Path, resume: bool) -> RunFolder {
        let card = ModelCard::new(&self.task.inference, self.valid.classes(), self.prepare.clone());
        let config = [("batch".to_string(), self.loader.batch_size().to_string())].into();
        RunFolder { resume, config, model: Some(card), ..RunFolder::new(path) }
    }
}

pub(crate) fn session() -> Session {
    Session::builder().threads(1).seed(9).build().unwrap()
}

pub(crate) fn last_file(run: &Path) -> (PathBuf, Vec<u8>) {
    let path = checkpoint::load(run, Which::Last).unwrap().path;
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}
