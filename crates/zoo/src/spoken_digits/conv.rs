//! The model `conv`: which digit a recording is of.

use thalweg::data::audio::{SoundEncoding, SpokenDigit};
use thalweg::data::{DataError, Sequences};
use thalweg::prelude::*;
use thalweg::train::Transcriber;

use super::bucketed;
use super::corpus::{self, BANDS, MULTIPLE, Speakers};
use super::ears::{Ears, Heard};
use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::Splits;

const SOUND: &str = Transcriber::SOUND;

/// Convolutions, what each moment says, and the mean of it.
#[derive(Debug, Module)]
struct Net {
    ears: Ears,
    moment: Linear,
    dropout: Dropout,
    output: Linear,
}

const CHANNELS: [usize; 3] = [16, 32, 64];
const CLASSES: usize = 10;

impl Net {
    fn new(settings: &Settings, silence: f64) -> Net {
        let hidden = settings.get("hidden") as usize;
        Init::build(settings.seed, |init| {
            let ears = Ears::new(init, BANDS, &CHANNELS, silence);
            Net {
                moment: Linear::new(init, ears.features(), hidden),
                dropout: Dropout::new(settings.get("dropout")),
                output: Linear::new(init, hidden, CLASSES),
                ears,
            }
        })
    }

    fn logits(&self, sound: &Tensor, lengths: &Tensor, cx: &mut Forward) -> Tensor {
        let heard = self.ears.hear(sound, lengths, cx);
        let said = self.moment.forward(&self.dropout.forward(&heard.frames, cx), cx).relu();
        let mean = mean_over_time(&Heard { frames: said, ..heard });
        self.output.forward(&self.dropout.forward(&mean, cx), cx)
    }
}

/// The mean of the frames that are no padding: `[rows, features]`.
fn mean_over_time(heard: &Heard) -> Tensor {
    let sum = heard.mask().unsqueeze(-1).select(&heard.frames, 0.0).sum_over(1);
    sum / heard.lengths.cast(f32).unsqueeze(-1)
}

/// Recordings of one digit each. Those that are learned from come in three voices, if that is set.
pub(super) fn data(speakers: Speakers, settings: &Settings) -> Result<Splits, DataError> {
    let Speakers { train, valid, test } = speakers;
    let train = if settings.get("voices") != 0.0 { corpus::in_other_voices(train)? } else { train };
    let encoding = corpus::frames()?.standardized(train.iter().map(|recording| &recording.sound))?;
    let data = |recordings: &[SpokenDigit]| {
        let sounds = corpus::column(recordings.iter().map(|recording| &recording.sound), &encoding)?;
        let digits: Vec<i64> = recordings.iter().map(|recording| recording.digit).collect();
        dataset(sounds, digits)
    };
    let in_training = bucketed(TrainingData::new(data(&train)?, data(&valid)?)?).sounds(SOUND, &encoding)?;
    Ok(Splits { data: in_training, test: Some(data(&test)?) })
}

/// Silence, [`Settings::batch`] rows.
pub(super) fn blank(settings: &Settings) -> Result<TrainingData, DataError> {
    let encoding: SoundEncoding = corpus::frames()?;
    let rows = settings.batch.max(1);
    let silence = Array::zeros(&[MULTIPLE, BANDS], f32);
    let data = dataset(Sequences::of_arrays(&vec![silence; rows])?, vec![0; rows])?;
    TrainingData::new(data.clone(), data)?.sounds(SOUND, &encoding)
}

fn dataset(sounds: Sequences, digits: Vec<i64>) -> Result<Dataset, DataError> {
    let data = Dataset::of_sequences(SOUND, sounds).with_column("label", digits.into())?;
    Ok(data.with_classes((0..CLASSES).map(|digit| digit.to_string())))
}

pub(super) fn learner(data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
    let net = Net::new(settings, data.prepare().sound(SOUND)?.silence());
    let learner = Learner::from_columns(data, move |columns, cx| {
        let logits = net.logits(&columns[SOUND], &columns["sound.length"], cx);
        Inference::new(cross_entropy(&logits, &columns["label"]), logits).labeled("label")
    })?;
    Ok(learner.optimizer(classifier::optimizer(settings)?))
}
