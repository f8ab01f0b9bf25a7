//! [`SoundEncoding`]: how sounds become the frames of a column, in a form that travels with a model.

use serde::{Deserialize, Serialize};
use thalweg_array::Array;

use super::{LogMel, Sound, Spectrogram};
use crate::error::DataError;
use crate::normalize::{Normalize, Per};

/// How sounds become the frames of a column: what a model must know that is asked about sounds. A frame holds the loudness
/// of mel bands, in decibels above what counts as silence beside the loudest of the sound; so it does not matter how far the
/// microphone stood. Then it is normalized as training sounds were.
///
/// ```
/// use thalweg_data::audio::{Sound, SoundEncoding};
/// let sound = Sound::mono_at(8000, (0..4000).map(|at| (at as f32 * 0.3).sin()).collect());
/// let heard = SoundEncoding::new(8000, 256, 80, 40)?.standardized([&sound])?;
/// assert_eq!(heard.encode(&sound)?.shape(), [51, 40]);
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct SoundEncoding {
    stored: Stored,
    features: LogMel,
}

/// As it stands in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    /// Samples a second.
    rate: u32,
    /// Samples of a frame.
    frame: usize,
    /// Samples from one frame to the next.
    hop: usize,
    bands: usize,
    /// Decibels between the loudest of a sound and what counts as silence.
    range: f64,
    normalize: Option<Normalize>,
}

/// What is so much less loud than the loudest of a sound is silence, in decibels.
const RANGE: f64 = 80.0;

impl SoundEncoding {
    /// Sounds of `rate` samples a second, in frames of `frame` samples, `hop` apart, each of `bands` numbers; not normalized.
    ///
    /// # Errors
    /// If such frames cannot be made; see [`Spectrogram`] and [`LogMel::new`].
    pub fn new(rate: u32, frame: usize, hop: usize, bands: usize) -> Result<SoundEncoding, DataError> {
        Stored { rate, frame, hop, bands, range: RANGE, normalize: None }.try_into()
    }

    /// With mean 0 and deviation 1 over all numbers of these sounds.
    ///
    /// # Errors
    /// If there are none, or as [`encode`](SoundEncoding::encode).
    pub fn standardized<'s>(mut self, sounds: impl IntoIterator<Item = &'s Sound>) -> Result<SoundEncoding, DataError> {
        let mut numbers = Vec::new();
        for sound in sounds {
            numbers.extend_from_slice(self.above_silence(sound)?.as_slice::<f32>()?);
        }
        self.stored.normalize = Some(Normalize::standard("sound", &numbers.into(), Per::All)?);
        Ok(self)
    }

    /// The frames of a sound, f32 `[frames, bands]`. One of another rate is resampled, channels are mixed.
    ///
    /// # Errors
    /// If the sound is shorter than a frame, or cannot be resampled.
    pub fn encode(&self, sound: &Sound) -> Result<Array, DataError> {
        let frames = self.above_silence(sound)?;
        match &self.stored.normalize {
            Some(normalize) => normalize.apply("sound", &frames),
            None => Ok(frames),
        }
    }

    /// What stands in a frame where nothing is heard: with what sounds of a batch are padded.
    pub fn silence(&self) -> f64 {
        self.stored.normalize.as_ref().map_or(0.0, |normalize| -normalize.mean()[0] / normalize.std()[0])
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.stored.rate
    }

    /// The numbers of a frame.
    pub fn bands(&self) -> usize {
        self.stored.bands
    }

    fn above_silence(&self, sound: &Sound) -> Result<Array, DataError> {
        let decibels = self.features.of(sound)?;
        let loudest = decibels.as_slice::<f32>()?.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let silence = loudest - self.stored.range as f32;
        let above = decibels.as_slice::<f32>()?.iter().map(|x| x - silence).collect();
        Ok(Array::new(decibels.shape(), above)?)
    }
}

impl TryFrom<Stored> for SoundEncoding {
    type Error = DataError;

    fn try_from(stored: Stored) -> Result<SoundEncoding, DataError> {
        let Stored { rate, frame, hop, bands, range, ref normalize } = stored;
        if let Some(normalize) = normalize.as_ref().filter(|normalize| normalize.mean().len() != 1) {
            let reason = "one mean is for all bands";
            return Err(DataError::setting(format!("sounds with {} means", normalize.mean().len()), reason));
        }
        if !(range.is_finite() && range > 0.0) {
            return Err(DataError::setting(format!("sounds of {range} decibels"), "there must be some"));
        }
        let features = LogMel::new(Spectrogram::new(frame)?.hop(hop)?, rate, bands)?.range(range);
        Ok(SoundEncoding { stored, features })
    }
}

impl From<SoundEncoding> for Stored {
    fn from(encoding: SoundEncoding) -> Stored {
        encoding.stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(loud: f32) -> Sound {
        Sound::mono_at(8000, (0..2000).map(|at| loud * (at as f32 * 0.3).sin() * (at as f32 * 0.002).sin()).collect())
    }

    #[test]
    fn loudness_does_not_matter_and_statistics_travel() {
        let heard = SoundEncoding::new(8000, 256, 80, 16).unwrap().standardized([&tone(1.0)]).unwrap();
        let [loud, quiet] = [1.0, 0.125].map(|loud| heard.encode(&tone(loud)).unwrap().to_vec::<f32>());
        assert!(loud.iter().zip(&quiet).all(|(a, b)| (a - b).abs() < 1e-4));
        let mean: f32 = loud.iter().sum::<f32>() / loud.len() as f32;
        let variance: f32 = loud.iter().map(|x| x * x).sum::<f32>() / loud.len() as f32;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        let least = loud.iter().copied().fold(f32::INFINITY, f32::min) as f64;
        assert!(heard.silence() <= least + 1e-6, "nothing is below silence: {} {least}", heard.silence());
        let again: SoundEncoding = serde_json::from_str(&serde_json::to_string(&heard).unwrap()).unwrap();
        assert_eq!((&again, again.encode(&tone(0.5)).unwrap()), (&heard, heard.encode(&tone(0.5)).unwrap()));
    }

    #[test]
    fn what_no_file_should_hold_is_refused() {
        let refusal = |text: &str| serde_json::from_str::<SoundEncoding>(text).unwrap_err().to_string();
        let stored = |frame: usize, range: f64, mean: &str| {
            let normalize = format!(r#"{{"mean":[{mean}],"std":[{mean}]}}"#);
            format!(r#"{{"rate":8000,"frame":{frame},"hop":80,"bands":8,"range":{range},"normalize":{normalize}}}"#)
        };
        assert!(refusal(&stored(1, 80.0, "1")).contains("frames of 1 samples"));
        assert!(refusal(&stored(256, 0.0, "1")).contains("sounds of 0 decibels"));
        assert!(refusal(&stored(256, 80.0, "1,1")).contains("sounds with 2 means"));
        let message = SoundEncoding::new(8000, 256, 80, 16).unwrap().encode(&Sound::mono_at(8000, vec![]));
        assert!(message.unwrap_err().to_string().contains("a sound of 0 samples"));
    }
}
