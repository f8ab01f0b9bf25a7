//! The model `listener`: hears a recording in ever longer frames, then spells what was said.

use std::rc::Rc;

use thalweg::nn::layer::ScheduledSampling;
use thalweg::nn::layer::attention::{Additive, Attention, Mask};
use thalweg::nn::layer::recurrent::{Bidirectional, Lstm};
use thalweg::nn::loss::SequenceCrossEntropy;
use thalweg::prelude::*;
use thalweg::train::{Function, Transcriber};

use super::corpus::BANDS;
use super::ears::Heard;
use super::sound_of_rows;
use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;

/// Listen, attend and spell (Chan et al. 2016). LSTMs that walk both ways, before each of which two frames become one; a decoder
/// that is fed the last letter and what it looked at, and looks again before it says the next.
#[derive(Module)]
struct Net {
    layers: Vec<Bidirectional<Recurrent<Lstm>>>,
    letters: Embedding,
    decoder: Recurrent<Lstm>,
    attention: Attention,
    output: Linear,
    dropout: Dropout,
    feeding: ScheduledSampling,
    #[module(skip)]
    silence: f64,
}

/// Layers that halve the time: a frame that is left is 80 ms.
const LAYERS: usize = 3;

/// Numbers that stand for a letter.
const LETTERS: usize = 32;

impl Net {
    fn new(settings: &Settings, silence: f64, letters: usize) -> Net {
        let hidden = settings.get("hidden") as usize;
        let heard = 2 * hidden;
        Init::build(settings.seed, |init| {
            let layer = |number| {
                let inputs = if number == 0 { 2 * BANDS } else { 2 * heard };
                Bidirectional::new(|| Recurrent::lstm(init, inputs, hidden))
            };
            Net {
                layers: (0..LAYERS).map(layer).collect(),
                letters: Embedding::new(init, letters, LETTERS),
                decoder: Recurrent::lstm(init, LETTERS + heard, hidden),
                attention: Attention::Additive(Additive::new(init, hidden, heard, hidden)),
                output: Linear::new(init, hidden + heard, letters),
                dropout: Dropout::new(settings.get("dropout")),
                feeding: ScheduledSampling::teacher_forcing(),
                silence,
            }
        })
    }

    /// What is left of a sound: `[rows, frames, 2 hidden]`, and which frames are no padding.
    fn listen(&self, sound: &Tensor, lengths: &Tensor, cx: &mut Forward) -> (Tensor, Tensor) {
        let mut heard = Heard { frames: sound.clone(), lengths: lengths.clone() };
        for (number, layer) in self.layers.iter().enumerate() {
            heard = in_pairs(&heard, if number == 0 { self.silence } else { 0.0 });
            let (walked, _) = layer.run(&self.dropout.forward(&heard.frames, cx), None, Some(&heard.mask()), cx);
            heard.frames = walked;
        }
        let mask = heard.mask();
        (self.dropout.forward(&heard.frames, cx), mask)
    }

    /// One step: from the states (those of the decoder, and what it looked at) and the last letter of each row, to the states
    /// after it and logits of the next letter.
    fn spell(
        &self,
        (memory, mask): (&Tensor, &Tensor),
        states: &[Tensor],
        last: &Tensor,
        cx: &mut Forward,
    ) -> (Vec<Tensor>, Tensor) {
        let [before @ .., looked] = states else { unreachable!("the decoder has states") };
        let fed = Tensor::concat(&[&self.letters.forward(last, cx), looked], -1);
        let mut after = self.decoder.step(&fed, before);
        let query = after[0].unsqueeze(1);
        let looked = self.attention.attend(&query, memory, memory, &Mask::keys(mask), cx).values.squeeze(1);
        let both = Tensor::concat(&[&after[0], &looked], -1);
        let logits = self.output.forward(&self.dropout.forward(&both, cx), cx);
        after.push(looked);
        (after, logits)
    }

    /// The sizes of the states of [`spell`](Net::spell).
    fn states(&self) -> Vec<usize> {
        [self.decoder.states(), vec![2 * self.decoder.features()]].concat()
    }
}

/// Two frames side by side become one; where one is left over, `silence` stands beside it.
fn in_pairs(heard: &Heard, silence: f64) -> Heard {
    let Heard { frames, lengths } = heard;
    let [rows, features] = [0, 2].map(|axis| frames.size(axis));
    let pairs = frames.size(1).ceil_div(2);
    let even = frames.pad(1, 0, 1, silence).narrow(1, 0, &pairs * 2);
    Heard { frames: even.reshape([rows, pairs, features * 2]), lengths: (lengths + 1) / 2 }
}

pub(super) fn learner(data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
    let prepare = data.prepare();
    let silence = prepare.sound(Transcriber::SOUND)?.silence();
    let net = Rc::new(Net::new(settings, silence, prepare.text(Transcriber::SAID)?.vocabulary.len()));
    let listen = Function::new(|cx| {
        let (sound, lengths) = sound_of_rows();
        let (memory, mask) = net.listen(&sound, &lengths, cx);
        vec![memory, mask]
    });
    let spell = Function::new(|cx| {
        let token = placeholder("token", i64, ("rows", 1));
        let memory = cx.carried(f32, ("rows", "frames", 2 * net.decoder.features()));
        let mask = cx.carried(bool, ("rows", "frames"));
        let states: Vec<Tensor> = net.states().iter().map(|&size| cx.carried(f32, ("rows", size))).collect();
        let (after, logits) = net.spell((&memory, &mask), &states, &token.squeeze(1), cx);
        states.iter().zip(&after).for_each(|(before, after)| cx.carry_on(before, after));
        vec![logits]
    });
    let learner = Learner::from_columns(data, move |columns, cx| {
        let (said, present) = (&columns["said"], &columns["said.mask"]);
        let steps = said.size(1) - 1;
        let (memory, mask) = net.listen(&columns["sound"], &columns["sound.length"], cx);
        let rows = said.size(0);
        let states: Vec<Tensor> = net.states().iter().map(|&size| zeros([rows.clone(), size.into()], f32)).collect();
        let states: Vec<&Tensor> = states.iter().collect();
        let training = cx.training();
        let (_, logits) = net.feeding.decode(&states, &said.narrow(1, 0, steps.clone()), cx, |states, last| {
            let cx = &mut if training { Forward::train() } else { Forward::infer() };
            net.spell((&memory, &mask), states, last, cx)
        });
        let (next, present) = (said.narrow(1, 1, steps.clone()), present.narrow(1, 1, steps));
        let loss = SequenceCrossEntropy::new().of(&logits, &next, &present);
        Inference::new(loss.mean, logits).over(loss.positions)
    })?;
    let optimizer = classifier::optimizer(settings)?.clip_norm(super::CLIP);
    let learner = learner.function(Transcriber::LISTEN, listen).function(Transcriber::SPELL, spell);
    Ok(learner.optimizer(optimizer))
}
