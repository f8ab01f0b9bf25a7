//! Sound: from WAV files to what a model of speech is fed.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`read_wav`], [`Sound`] | samples of one or more channels, mixed or resampled |
//! | [`Spectrogram`], [`Window`] | power of each frequency in overlapping frames |
//! | [`MelFilters`], [`MelScale`] | frequencies as they are heard |
//! | [`LogMel`] | loudness of mel bands in decibels, and cepstral coefficients (MFCC) |
//! | [`SoundEncoding`] | all of this as a model needs it, normalized; travels with the model |
//! | [`spoken_digits`] | the Free Spoken Digit Dataset |
//!
//! Numbers are those of librosa and SciPy. Features have the time first, so that [`Sequences`](crate::Sequences) holds
//! those of many sounds.

mod digits;
mod encoding;
mod features;
mod mel;
mod resample;
mod spectrogram;
mod wav;

pub use digits::{SpokenDigit, spoken_digits};
pub use encoding::SoundEncoding;
pub use features::LogMel;
pub use mel::{MelFilters, MelScale};
pub use spectrogram::{Spectrogram, Window};
pub use wav::read_wav;

use crate::error::DataError;

/// No sound is recorded at more samples a second, and none is made.
const MAX_RATE: usize = 192_000;

/// Samples of one or more channels, of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// The samples of each channel, between -1 and 1.
    pub channels: Vec<Vec<f32>>,
}

impl Sound {
    /// A sound of one channel.
    pub fn mono_at(rate: u32, samples: Vec<f32>) -> Sound {
        Sound { rate, channels: vec![samples] }
    }

    /// The samples of a channel.
    pub fn len(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long it lasts.
    pub fn seconds(&self) -> f64 {
        self.len() as f64 / self.rate as f64
    }

    /// The mean of the channels.
    pub fn mono(&self) -> Vec<f32> {
        match &self.channels[..] {
            [only] => only.clone(),
            channels => {
                let mean = |at: usize| channels.iter().map(|channel| channel[at]).sum::<f32>() / channels.len() as f32;
                (0..self.len()).map(mean).collect()
            }
        }
    }

    /// The same sound at another rate; what lies above half of it is left out.
    ///
    /// # Errors
    /// If a rate is 0 or, in lowest terms, above 192,000.
    pub fn resampled(&self, rate: u32) -> Result<Sound, DataError> {
        let refused = |reason: &str| {
            Err(DataError::setting(format!("a sound of {} Hz resampled to {rate} Hz", self.rate), reason))
        };
        if rate == 0 || self.rate == 0 {
            return refused("a rate is at least 1 Hz");
        }
        let (up, down) = resample::ratio(self.rate, rate);
        if up.max(down) > MAX_RATE {
            return refused("the filter for these rates fills memory; at most 192,000 Hz are resampled");
        }
        let channels = self.channels.iter().map(|channel| resample::resample(channel, self.rate, rate)).collect();
        Ok(Sound { rate, channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_no_sound_has_are_refused() {
        let message = Sound::mono_at(8000, vec![0.0]).resampled(0).unwrap_err().to_string();
        assert!(message.contains("a sound of 8000 Hz resampled to 0 Hz"), "{message}");
        let message = Sound::mono_at(4_294_967_291, vec![0.0]).resampled(8000).unwrap_err().to_string();
        assert!(message.contains("a sound of 4294967291 Hz") && message.contains("fills memory"), "{message}");
        assert_eq!(Sound::mono_at(4_000_000_000, vec![0.0; 9]).resampled(2_000_000_000).unwrap().len(), 5);
        assert_eq!(Sound::mono_at(8000, vec![0.0; 4000]).seconds(), 0.5);
    }
}
