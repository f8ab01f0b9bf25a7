//! Frequencies as they are heard, and cepstra.

use std::f64::consts::PI;

use thalweg_array::Array;

use super::spectrogram::Spectrogram;
use crate::error::DataError;

/// How a pitch grows with its frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MelScale {
    /// Even steps below 1000 Hz, even ratios above (Slaney 1998); what librosa uses unless told otherwise.
    Slaney,
    /// 2595 log₁₀(1 + f/700) (HTK).
    Htk,
}

impl MelScale {
    fn of_hertz(self, frequency: f64) -> f64 {
        match self {
            MelScale::Slaney if frequency < 1000.0 => frequency * 3.0 / 200.0,
            MelScale::Slaney => 15.0 + (frequency / 1000.0).ln() * 27.0 / 6.4f64.ln(),
            MelScale::Htk => 2595.0 * (1.0 + frequency / 700.0).log10(),
        }
    }

    fn to_hertz(self, mel: f64) -> f64 {
        match self {
            MelScale::Slaney if mel < 15.0 => mel * 200.0 / 3.0,
            MelScale::Slaney => 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp(),
            MelScale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
        }
    }
}

/// Triangles over the frequencies of a [`Spectrogram`], evenly spaced in mel; those of [`MelScale::Slaney`] have equal
/// areas, those of [`MelScale::Htk`] equal heights, as librosa's `filters.mel` has them with `norm="slaney"` and
/// `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct MelFilters {
    /// The weight of each frequency in each band.
    weights: Vec<Vec<f64>>,
}

impl MelFilters {
    /// `bands` triangles between the frequencies `low` and `high`, in Hz, for sounds of `rate` Hz.
    ///
    /// # Errors
    /// If there is no band, the frequencies are not 0 ≤ low < high ≤ rate/2, or a band is so narrow that no frequency
    /// of the spectrogram falls into it.
    pub fn new(
        spectrogram: &Spectrogram,
        rate: u32,
        bands: usize,
        (low, high): (f64, f64),
        scale: MelScale,
    ) -> Result<MelFilters, DataError> {
        let setting = || format!("{bands} mel bands from {low} to {high} Hz");
        let nyquist = rate as f64 / 2.0;
        if bands == 0 || !(0.0 <= low && low < high && high <= nyquist) {
            let reason = format!("at least one is needed, between 0 and half the rate, {nyquist} Hz");
            return Err(DataError::setting(setting(), reason));
        }
        let (first, last) = (scale.of_hertz(low), scale.of_hertz(high));
        let edge = |at: usize| scale.to_hertz(first + (last - first) * at as f64 / (bands + 1) as f64);
        let edges: Vec<f64> = (0..bands + 2).map(edge).collect();
        let frequency = |bin: usize| bin as f64 * rate as f64 / spectrogram.fft() as f64;
        let triangle = |edges: &[f64]| -> Vec<f64> {
            let (left, center, right) = (edges[0], edges[1], edges[2]);
            let height = match scale {
                MelScale::Slaney => 2.0 / (right - left),
                MelScale::Htk => 1.0,
            };
            let weight = |x: f64| ((x - left) / (center - left)).min((right - x) / (right - center)).max(0.0);
            (0..spectrogram.bins()).map(|bin| height * weight(frequency(bin))).collect()
        };
        let weights: Vec<Vec<f64>> = edges.windows(3).map(triangle).collect();
        if let Some(band) = weights.iter().position(|weights| weights.iter().all(|&weight| weight == 0.0)) {
            let reason = format!(
                "no frequency falls into band {band}, {:.0} to {:.0} Hz: longer frames (now {}) or fewer bands are needed",
                edges[band],
                edges[band + 2],
                spectrogram.fft()
            );
            return Err(DataError::setting(setting(), reason));
        }
        Ok(MelFilters { weights })
    }

    /// The number of bands.
    #[allow(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// The weights, f32 `[bands, bins]`.
    pub fn matrix(&self) -> Array {
        let weights = self.weights.iter().flatten().map(|&weight| weight as f32).collect();
        Array::new(&[self.len(), self.weights[0].len()], weights).expect("a weight for each band and bin")
    }

    pub(super) fn apply(&self, power: &[f64]) -> Vec<f64> {
        self.weights.iter().map(|weights| weights.iter().zip(power).map(|(w, p)| w * p).sum()).collect()
    }
}

/// The first `n` coefficients of the cosine transform (DCT-II, orthonormal) of `x`.
pub(super) fn cosine_transform(x: &[f64], n: usize) -> Vec<f64> {
    let length = x.len() as f64;
    let coefficient = |k: usize| {
        let sum: f64 =
            (0..).zip(x).map(|(at, x)| x * (PI * k as f64 * (2 * at + 1) as f64 / (2.0 * length)).cos()).sum();
        sum * if k == 0 { (1.0 / length).sqrt() } else { (2.0 / length).sqrt() }
    };
    (0..n).map(coefficient).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitches_come_back() {
        for scale in [MelScale::Slaney, MelScale::Htk] {
            for frequency in [0.0, 440.0, 999.9, 1000.0, 4000.0, 20_000.0] {
                let again = scale.to_hertz(scale.of_hertz(frequency));
                assert!((again - frequency).abs() < 1e-8, "{scale:?} {frequency} {again}");
            }
        }
        assert!((MelScale::Htk.of_hertz(1000.0) - 1000.0).abs() < 0.02);
    }

    /// `librosa.filters.mel(sr=8000, n_fft=256, n_mels=40, fmin=20, fmax=4000)`, also with `htk=True, norm=None`.
    #[test]
    fn filters_are_those_of_librosa() {
        let spectrogram = Spectrogram::new(256).unwrap();
        for (scale, expected, sum) in [
            (MelScale::Slaney, [0.0035006952046085682, 0.0, 0.004047757317754041], 1.2798445540103085),
            (MelScale::Htk, [0.33371950165538394, 0.0, 0.8018809247351897], 123.45552143134175),
        ] {
            let filters = MelFilters::new(&spectrogram, 8000, 40, (20.0, 4000.0), scale).unwrap();
            for ((band, bin), expected) in [(0, 1), (10, 14), (39, 120)].into_iter().zip(expected) {
                assert!((filters.weights[band][bin] - expected).abs() < 1e-12, "{scale:?} {band} {bin}");
            }
            assert!((filters.weights.iter().flatten().sum::<f64>() - sum).abs() < 1e-9);
            assert_eq!(filters.matrix().shape(), [40, 129]);
        }
    }

    #[test]
    fn bands_that_hear_nothing_are_refused() {
        let spectrogram = Spectrogram::new(256).unwrap();
        let refusal =
            |bands, range| MelFilters::new(&spectrogram, 8000, bands, range, MelScale::Slaney).unwrap_err().to_string();
        assert!(refusal(0, (0.0, 4000.0)).contains("0 mel bands from 0 to 4000 Hz"));
        assert!(refusal(40, (0.0, 4001.0)).contains("between 0 and half the rate, 4000 Hz"));
        assert!(refusal(40, (300.0, 300.0)).contains("from 300 to 300 Hz"));
        assert!(refusal(400, (0.0, 4000.0)).contains("no frequency falls into band"));
    }
}
