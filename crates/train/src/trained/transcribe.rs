//! [`Transcriber`]: a model that writes down what it hears.

use thalweg_data::audio::{Sound, SoundEncoding};
use thalweg_data::text::{Special, TextEncoding};
use thalweg_data::{Batch, DataError, Dataset, Loader, Sequences};
use thalweg_run::graph::Array;
use thalweg_run::{Session, feeds};

use super::{Function, Trained, TrainedError};
use crate::decoding::{Beam, CtcBeam, Limits};
use crate::evaluate::{ROWS, rows_at_a_time};
use crate::fit::FitError;
use crate::metrics::ErrorRate;

/// A model that writes down what it hears, in one of two ways.
///
/// By frames, as trained by [`Ctc`](thalweg_nn::loss::Ctc): the [`Function`] [`FRAMES`](Transcriber::FRAMES) takes the columns
/// `sound`, f32 `[rows, sound_time, bands]`, and `sound.length`, i64 `[rows]`, to logits `[rows, frames, tokens]`, whose first
/// token is the blank, and how many frames of each row count.
///
/// By spelling: [`LISTEN`](Transcriber::LISTEN) takes the same columns to what the first states of
/// [`SPELL`](Transcriber::SPELL) become, whose other states begin with zeros. That takes the column `token`, i64 `[rows, 1]`, to
/// the logits `[rows, tokens]` of what comes next. The first state is `[rows, frames, …]`.
#[derive(Clone, Copy, Debug)]
pub struct Transcriber<'a> {
    session: &'a Session,
    way: Way<'a>,
    sounds: &'a SoundEncoding,
    texts: &'a TextEncoding,
}

#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    Frames(&'a Function),
    Spelling { listen: &'a Function, spell: &'a Function },
}

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The text.
    pub text: String,
    /// The logarithm of the probability that was found for it.
    pub log_probability: f64,
}

/// How many beginnings of a text are kept.
const BEAM: usize = 8;

impl<'a> Transcriber<'a> {
    /// The column of the frames of sounds.
    pub const SOUND: &'static str = "sound";

    /// The column of what is said.
    pub const SAID: &'static str = "said";

    /// The name of the function that says of each frame which token is heard.
    pub const FRAMES: &'static str = "frames";

    /// The name of the function that hears a sound whole.
    pub const LISTEN: &'static str = "listen";

    /// The name of the function that makes a step of a text.
    pub const SPELL: &'static str = "spell";

    /// Of a trained model.
    ///
    /// # Errors
    /// If it does not write down what it hears.
    pub fn of(trained: &'a Trained) -> Result<Transcriber<'a>, TrainedError> {
        let way = match trained.function(Transcriber::FRAMES) {
            Ok(frames) => Way::Frames(frames),
            Err(_) => Way::Spelling {
                listen: trained.function(Transcriber::LISTEN)?,
                spell: trained.function(Transcriber::SPELL)?,
            },
        };
        let prepare = &trained.card().prepare;
        let (sounds, texts) = (prepare.sound(Transcriber::SOUND)?, prepare.text(Transcriber::SAID)?);
        Ok(Transcriber { session: trained.session(), way, sounds, texts })
    }

    /// What is said in a sound.
    ///
    /// # Errors
    /// If it is shorter than a frame.
    pub fn transcribe(&self, sound: &Sound) -> Result<Transcript, FitError> {
        let frames = Sequences::of_arrays(&[self.sounds.encode(sound)?])?.padded_with(self.sounds.silence());
        let data = Dataset::of_sequences(Transcriber::SOUND, frames);
        let batch = Loader::new(&data, 1)?.epoch(0)?.next().expect("one row makes one batch")?;
        Ok(self.hear(&batch)?.swap_remove(0))
    }

    /// How many words are wrong of those that are said in `data`.
    ///
    /// # Errors
    /// If a column is missing.
    pub fn error_rate(&self, data: &Dataset) -> Result<ErrorRate, FitError> {
        let (mut rate, mut row) = (ErrorRate::default(), 0);
        let said = data.sequences(Transcriber::SAID)?;
        for batch in Loader::new(data, rows_at_a_time(data, ROWS))?.epoch(0)? {
            for transcript in self.hear(&batch?)? {
                rate.update_words(&transcript.text, &self.texts.text(&said.row(row).to_vec())?);
                row += 1;
            }
        }
        Ok(rate)
    }

    /// What is said in each row of a batch.
    fn hear(&self, batch: &Batch) -> Result<Vec<Transcript>, FitError> {
        let feeds = || -> Result<_, DataError> {
            let (sound, length) = (batch.column(Transcriber::SOUND)?, batch.column("sound.length")?);
            Ok(feeds! { "sound" => sound, "sound.length" => length })
        };
        match self.way {
            Way::Frames(frames) => {
                let (outputs, _) = frames.call(self.session, feeds()?, &[])?;
                let [logits, lengths] = &outputs[..] else {
                    return Err(FitError::Graph(format!("the function `{}` has other outputs", Transcriber::FRAMES)));
                };
                let read = CtcBeam::new(BEAM)?.run(logits, &lengths.to_vec::<i64>())?;
                let best = read.into_iter().map(|mut readings| {
                    let best = readings.swap_remove(0);
                    Ok(Transcript { text: self.texts.text(&best.label)?, log_probability: best.log_probability })
                });
                best.collect()
            }
            Way::Spelling { listen, spell } => {
                let heard = listen.call(self.session, feeds()?, &[])?.0;
                let frames = heard.first().map_or(0, |memory| memory.shape().get(1).copied().unwrap_or(0));
                let rows = heard.first().map_or(0, |memory| memory.shape()[0]);
                let start = self.texts.vocabulary.need(Special::Start)?;
                let step = |states: &Vec<Array>, last: &[i64]| -> Result<(Array, Vec<Array>), FitError> {
                    let last = Array::new(&[last.len(), 1], last.to_vec()).map_err(DataError::from)?;
                    let (outputs, after) = spell.call(self.session, feeds! { "token" => &last }, states)?;
                    match outputs.into_iter().next() {
                        Some(logits) => Ok((logits, after)),
                        None => Err(FitError::Graph(format!("the function `{}` has no output", Transcriber::SPELL))),
                    }
                };
                let beam = Beam::new(BEAM)?.length_normalization(1.0)?;
                let found = beam.run(step, spell.begin(heard)?, &vec![vec![start]; rows], &self.limits(frames)?)?;
                let best = found.into_iter().map(|mut hypotheses| {
                    let best = hypotheses.swap_remove(0);
                    Ok(Transcript { text: self.texts.text(&best.tokens)?, log_probability: best.log_probability })
                });
                best.collect()
            }
        }
    }

    /// At most two tokens for each frame that was heard and some more, none of them special.
    fn limits(&self, frames: usize) -> Result<Limits, FitError> {
        let vocabulary = &self.texts.vocabulary;
        let never = [Special::Pad, Special::Unknown, Special::Start].map(|special| vocabulary.special(special));
        let limits = Limits::new(2 * frames + 8)?.stop_at([vocabulary.need(Special::End)?]);
        Ok(limits.without(never.into_iter().flatten()))
    }
}
