//! What classifiers share: drawings as data, rows that stand for them, the learner; how a training is cut in two.

use thalweg::data::{DataError, image};
use thalweg::nn::NnError;
use thalweg::prelude::*;
use thalweg::train::{Drawing, Length};

use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::Setting;

/// Drawings, moved by up to `shift` pixels each way in training, then standardized over the training part.
pub(crate) fn drawings(
    train: Dataset,
    valid: Dataset,
    drawing: Drawing,
    shift: u16,
) -> Result<TrainingData, DataError> {
    let moved = move |loader: Loader| {
        loader.map("image", move |pixels: &mut [f32], random| {
            image::random_shift(pixels, drawing.size(), shift, random);
            Ok(())
        })
    };
    Ok(TrainingData::new(train, valid)?.standardized()?.drawings(drawing).augmented(moved))
}

/// Images of zeros, each `shape`, of class 0.
pub(crate) fn blank(rows: usize, shape: &[usize], dtype: DType) -> Result<Dataset, DataError> {
    let rows = rows.max(1);
    let images = Array::zeros(&[&[rows], shape].concat(), dtype);
    Dataset::new([("image", images), ("label", vec![0i64; rows].into())])
}

/// Dense layers on drawings.
pub(crate) fn mlp(data: TrainingData, config: MlpConfig, settings: &Settings) -> Result<Learner, ZooError> {
    let net = Init::build(settings.seed, |init| config.build(init));
    let learner = Learner::from_fn(data, move |image, cx| net.forward(&image.flatten(1), cx))?;
    Ok(learner.optimizer(optimizer(settings)?))
}

/// The setting that [`optimizer`] reads.
pub(crate) const fn weight_decay(default: f64) -> Setting {
    Setting { name: "weight_decay", about: "weight decay, decoupled from the gradient", default, range: (0.0, 10.0) }
}

/// The optimizer of the settings, with decoupled weight decay whatever its rule.
pub(crate) fn optimizer(settings: &Settings) -> Result<Optimizer, NnError> {
    Ok(settings.optimizer(settings.lr)?.decoupled_weight_decay(settings.get("weight_decay")))
}

/// The parts of a training in which the head is trained alone, and all.
pub(crate) fn parts(length: Length, frozen: f64) -> (Length, Length) {
    let alone = |whole: u64| (whole as f64 * frozen).round() as u64;
    match length {
        Length::Epochs(epochs) => (Length::Epochs(alone(epochs)), Length::Epochs(epochs - alone(epochs))),
        Length::Steps(steps) => (Length::Steps(alone(steps)), Length::Steps(steps - alone(steps))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_is_cut_in_two() {
        let epochs = Length::Epochs;
        assert_eq!(parts(epochs(10), 0.4), (epochs(4), epochs(6)));
        assert_eq!(parts(epochs(1), 0.4), (epochs(0), epochs(1)));
        assert_eq!(parts(epochs(3), 1.0), (epochs(3), epochs(0)));
        assert_eq!(parts(Length::Steps(5), 0.5), (Length::Steps(3), Length::Steps(2)));
    }
}
