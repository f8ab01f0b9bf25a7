//! What a model of speech is fed: rows of numbers, one row for each frame.

use thalweg_array::Array;

use super::Sound;
use super::mel::{MelFilters, MelScale, cosine_transform};
use super::spectrogram::Spectrogram;
use crate::error::DataError;

/// The loudness of each mel band in each frame, in decibels, or the cepstral coefficients (MFCC) made of it.
///
/// ```
/// use thalweg_data::audio::{LogMel, Sound, Spectrogram};
///
/// let sound = Sound::mono_at(8000, (0..4000).map(|at| (at as f32 * 0.3).sin()).collect());
/// let features = LogMel::new(Spectrogram::new(256)?.hop(80)?, 8000, 40)?;
/// assert_eq!(features.of(&sound)?.shape(), [51, 40]);
/// assert_eq!(features.cepstra(&sound, 13)?.shape(), [51, 13]);
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LogMel {
    spectrogram: Spectrogram,
    filters: MelFilters,
    rate: u32,
    range: f64,
}

impl LogMel {
    /// `bands` bands from 0 Hz to half of `rate`, on Slaney's scale, with what is 80 dB below the loudest of a sound at
    /// that level.
    ///
    /// # Errors
    /// As [`MelFilters::new`].
    pub fn new(spectrogram: Spectrogram, rate: u32, bands: usize) -> Result<LogMel, DataError> {
        let filters = MelFilters::new(&spectrogram, rate, bands, (0.0, rate as f64 / 2.0), MelScale::Slaney)?;
        Ok(LogMel { spectrogram, filters, rate, range: 80.0 })
    }

    /// With other bands.
    pub fn filters(self, filters: MelFilters) -> LogMel {
        LogMel { filters, ..self }
    }

    /// With this many decibels between the loudest of a sound and what counts as silence.
    pub fn range(self, decibels: f64) -> LogMel {
        LogMel { range: decibels, ..self }
    }

    /// The number of bands.
    pub fn bands(&self) -> usize {
        self.filters.len()
    }

    /// The loudness of each band in each frame, f32 `[frames, bands]`: 10 log₁₀ of the power, at least 10⁻¹⁰. Channels
    /// are mixed, and a sound of another rate is resampled.
    ///
    /// # Errors
    /// If the sound is shorter than a frame.
    pub fn of(&self, sound: &Sound) -> Result<Array, DataError> {
        rows(self.decibels(sound)?)
    }

    /// The first `n` cepstral coefficients of each frame, f32 `[frames, n]`: the cosine transform of the loudnesses.
    ///
    /// # Errors
    /// If the sound is shorter than a frame, or there are fewer bands than coefficients.
    pub fn cepstra(&self, sound: &Sound, n: usize) -> Result<Array, DataError> {
        if n == 0 || n > self.bands() {
            let reason = format!("{} mel bands have as many", self.bands());
            return Err(DataError::setting(format!("{n} cepstral coefficients"), reason));
        }
        rows(self.decibels(sound)?.iter().map(|row| cosine_transform(row, n)).collect())
    }

    fn decibels(&self, sound: &Sound) -> Result<Vec<Vec<f64>>, DataError> {
        let sound = sound.resampled(self.rate)?.mono();
        let mut rows = self.spectrogram.power_f64(&sound)?;
        let mut loudest = f64::NEG_INFINITY;
        for row in &mut rows {
            *row = self.filters.apply(row).into_iter().map(|power| 10.0 * power.max(1e-10).log10()).collect();
            loudest = row.iter().copied().fold(loudest, f64::max);
        }
        rows.iter_mut().flatten().for_each(|x| *x = x.max(loudest - self.range));
        Ok(rows)
    }
}

fn rows(rows: Vec<Vec<f64>>) -> Result<Array, DataError> {
    let shape = [rows.len(), rows.first().map_or(0, Vec::len)];
    Ok(Array::new(&shape, rows.into_iter().flatten().map(|x| x as f32).collect())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Window, read_wav};

    #[test]
    fn silence_and_short_sounds() {
        let features = LogMel::new(Spectrogram::new(64).unwrap().uncentered(), 8000, 8).unwrap();
        let silence = features.of(&Sound::mono_at(8000, vec![0.0; 64])).unwrap();
        assert_eq!(silence, Array::full(&[1, 8], thalweg_array::DType::F32, -100.0));
        let message = features.of(&Sound::mono_at(8000, vec![0.0; 63])).unwrap_err().to_string();
        assert_eq!(message, "a sound of 63 samples: shorter than a frame of 64");
        let message = features.cepstra(&Sound::mono_at(8000, vec![0.0; 64]), 9).unwrap_err().to_string();
        assert_eq!(message, "9 cepstral coefficients: 8 mel bands have as many");
    }

    /// The numbers of librosa 0.11 and SciPy 1.17 in f64 for `7_jackson_3.wav`, named by the calls that made them.
    #[test]
    fn figures_are_those_of_librosa_and_scipy() {
        let Some(data) = std::env::var_os("THALWEG_DATA").map(std::path::PathBuf::from) else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let sound = read_wav(data.join("free-spoken-digit-dataset/recordings/7_jackson_3.wav")).unwrap();
        assert_eq!((sound.rate, sound.len(), sound.channels.len()), (8000, 3472, 1));
        let close = |found: &Array, at: [[usize; 2]; 3], expected: [f64; 3], what: &str| {
            for ([row, column], expected) in at.into_iter().zip(expected) {
                let found = found.as_slice::<f32>().unwrap()[row * found.shape()[1] + column] as f64;
                assert!((found - expected).abs() <= 2e-6 * expected.abs(), "{what} {row} {column}: {found} {expected}");
            }
        };
        // np.abs(librosa.stft(x, n_fft=256, hop_length=80, pad_mode="constant"))**2, the same as scipy.signal.stft's
        let spectrogram = Spectrogram::new(256).unwrap().hop(80).unwrap();
        let power = spectrogram.power(&sound.mono()).unwrap();
        assert_eq!(power.shape(), [44, 129]);
        let expected = [0.4006800709791253, 0.37009577347170625, 0.00011825680445627793];
        close(&power, [[5, 3], [20, 10], [30, 40]], expected, "power");
        // np.abs(librosa.stft(x, n_fft=256, hop_length=80, win_length=200, center=False))**2
        let short = spectrogram.clone().window(Window::Hann, 200).unwrap().uncentered().power(&sound.mono()).unwrap();
        assert_eq!(short.shape(), [41, 129]);
        let expected = [0.646691810652022, 0.34963507194702187, 0.0003999547760412904];
        close(&short, [[5, 3], [20, 10], [30, 40]], expected, "short window");
        // librosa.power_to_db(librosa.filters.mel(sr=8000, n_fft=256, n_mels=40, fmin=20, fmax=4000) @ power)
        let filters = MelFilters::new(&spectrogram, 8000, 40, (20.0, 4000.0), MelScale::Slaney).unwrap();
        let features = LogMel::new(spectrogram, 8000, 40).unwrap().filters(filters);
        let decibels = features.of(&sound).unwrap();
        let expected = [-21.05073018513412, -26.31390340159406, -61.13929086320381];
        close(&decibels, [[5, 0], [20, 10], [30, 39]], expected, "decibels");
        // librosa.feature.mfcc(S=decibels, n_mfcc=13)
        let cepstra = features.cepstra(&sound, 13).unwrap();
        let expected = [-153.0470035229673, 78.53365432821016, -2.0537827379782785];
        close(&cepstra, [[5, 0], [20, 1], [30, 12]], expected, "cepstra");
        // scipy.signal.resample_poly(x, 2, 1) and (x, 3, 4)
        for (rate, expected) in [
            (16_000, [0.0032060038578059793, 0.08131036450797449, -0.02633627081712418]),
            (6000, [0.0018377478657007496, 0.0449712249890146, 0.03308060490608397]),
        ] {
            let resampled = sound.resampled(rate).unwrap().channels.remove(0);
            assert_eq!(resampled.len(), 3472 * rate as usize / 8000);
            close(
                &Array::new(&[resampled.len(), 1], resampled).unwrap(),
                [[100, 0], [1000, 0], [2001, 0]],
                expected,
                "rate",
            );
        }
    }
}
