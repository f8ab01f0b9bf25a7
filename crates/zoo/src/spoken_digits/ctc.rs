//! The model `lstm-ctc`: which digits follow one another in a recording, and nobody says where.

use std::rc::Rc;

use thalweg::nn::layer::recurrent::{Bidirectional, Lstm};
use thalweg::nn::loss::Ctc;
use thalweg::prelude::*;
use thalweg::train::{Function, Transcriber};

use super::corpus::BANDS;
use super::ears::{Ears, Heard};
use super::sound_of_rows;
use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;

/// Convolutions, an LSTM that walks both ways over what they leave, and which digit each frame says, or the blank.
#[derive(Debug, Module)]
struct Net {
    ears: Ears,
    walk: Bidirectional<Recurrent<Lstm>>,
    dropout: Dropout,
    output: Linear,
}

const CHANNELS: [usize; 2] = [16, 32];

/// A frame of the output is so many of the sound: 40 ms.
pub(super) const FRAMES: usize = 1 << CHANNELS.len();

impl Net {
    fn new(settings: &Settings, silence: f64, tokens: usize) -> Net {
        let hidden = settings.get("hidden") as usize;
        Init::build(settings.seed, |init| {
            let ears = Ears::new(init, BANDS, &CHANNELS, silence);
            Net {
                walk: Bidirectional::new(|| Recurrent::lstm(init, ears.features(), hidden)),
                dropout: Dropout::new(settings.get("dropout")),
                output: Linear::new(init, 2 * hidden, tokens),
                ears,
            }
        })
    }

    /// Logits `[rows, frames, tokens]`, and how many frames of each row count.
    fn read(&self, sound: &Tensor, lengths: &Tensor, cx: &mut Forward) -> (Tensor, Tensor) {
        let heard: Heard = self.ears.hear(sound, lengths, cx);
        let frames = self.dropout.forward(&heard.frames, cx);
        let (walked, _) = self.walk.run(&frames, None, Some(&heard.mask()), cx);
        (self.output.forward(&self.dropout.forward(&walked, cx), cx), heard.lengths)
    }
}

pub(super) fn learner(data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
    let prepare = data.prepare();
    let silence = prepare.sound(Transcriber::SOUND)?.silence();
    let net = Rc::new(Net::new(settings, silence, prepare.text(Transcriber::SAID)?.vocabulary.len()));
    let frames = Function::new(|cx| {
        let (sound, lengths) = sound_of_rows();
        let (logits, lengths) = net.read(&sound, &lengths, cx);
        vec![logits, lengths]
    });
    let learner = Learner::from_columns(data, move |columns, cx| {
        let (logits, lengths) = net.read(&columns["sound"], &columns["sound.length"], cx);
        let loss = Ctc::new().mean((&logits, &lengths), (&columns["said"], &columns["said.length"]));
        Inference::new(loss, logits)
    })?;
    let optimizer = classifier::optimizer(settings)?.clip_norm(super::CLIP);
    Ok(learner.function(Transcriber::FRAMES, frames).optimizer(optimizer))
}
