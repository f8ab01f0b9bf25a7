//! How strong which frequency is at which time.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;
use thalweg_array::Array;

use crate::error::DataError;

/// A curve by which the samples of a frame are weighed, periodic as frames of a longer sound need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// All alike.
    Rectangular,
    /// ½ − ½ cos.
    Hann,
    /// 0.54 − 0.46 cos.
    Hamming,
    /// 0.42 − 0.5 cos + 0.08 cos of twice the angle.
    Blackman,
}

impl Window {
    /// The weights of `length` samples.
    pub fn weights(self, length: usize) -> Vec<f64> {
        let weight = |at: usize| {
            let angle = TAU * at as f64 / length as f64;
            match self {
                Window::Rectangular => 1.0,
                Window::Hann => 0.5 - 0.5 * angle.cos(),
                Window::Hamming => 0.54 - 0.46 * angle.cos(),
                Window::Blackman => 0.42 - 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos(),
            }
        };
        (0..length).map(weight).collect()
    }
}

/// Cuts a sound into overlapping frames and finds the power of each frequency in each, as librosa's `stft` does.
///
/// ```
/// use thalweg_data::audio::Spectrogram;
///
/// // A tone of 1000 Hz at 8000 Hz stands in bin 1000/8000·64 = 8.
/// let tone: Vec<f32> = (0..800).map(|at| (at as f32 * std::f32::consts::TAU / 8.0).sin()).collect();
/// let power = Spectrogram::new(64)?.hop(16)?.power(&tone)?;
/// assert_eq!(power.shape(), [51, 33]);
/// let frame = &power.as_slice::<f32>()?[20 * 33..][..33];
/// assert!(frame.iter().all(|x| *x <= frame[8]));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrogram {
    fft: usize,
    hop: usize,
    window: Window,
    length: usize,
    centered: bool,
}

impl Spectrogram {
    /// Of frames of `fft` samples, a quarter of it apart, weighed by Hann's window, the first centered on the first
    /// sample.
    ///
    /// # Errors
    /// If `fft` is below 2.
    pub fn new(fft: usize) -> Result<Spectrogram, DataError> {
        if fft < 2 {
            return Err(DataError::setting(format!("frames of {fft} samples"), "a frame has at least 2"));
        }
        Ok(Spectrogram { fft, hop: (fft / 4).max(1), window: Window::Hann, length: fft, centered: true })
    }

    /// With frames so many samples apart.
    ///
    /// # Errors
    /// If it is 0.
    pub fn hop(self, hop: usize) -> Result<Spectrogram, DataError> {
        if hop == 0 {
            return Err(DataError::setting("frames 0 samples apart", "the next frame begins at least 1 later"));
        }
        Ok(Spectrogram { hop, ..self })
    }

    /// Weighed by this window over the middle `length` samples of a frame; the others count nothing.
    ///
    /// # Errors
    /// If the length is 0 or more than the frame's.
    pub fn window(self, window: Window, length: usize) -> Result<Spectrogram, DataError> {
        if length == 0 || length > self.fft {
            let reason = format!("a frame has {} samples", self.fft);
            return Err(DataError::setting(format!("a window of {length} samples"), reason));
        }
        Ok(Spectrogram { window, length, ..self })
    }

    /// With the first frame beginning at the first sample, and the last ending before the end of the sound; otherwise
    /// frames are centered on their place, and silence surrounds the sound.
    pub fn uncentered(self) -> Spectrogram {
        Spectrogram { centered: false, ..self }
    }

    /// The samples of a frame.
    pub fn fft(&self) -> usize {
        self.fft
    }

    /// The number of frequencies: from 0 to half the rate.
    pub fn bins(&self) -> usize {
        self.fft / 2 + 1
    }

    /// The frames of a sound of `samples` samples.
    pub fn frames(&self, samples: usize) -> usize {
        let padded = samples + if self.centered { self.fft / 2 * 2 } else { 0 };
        if padded < self.fft { 0 } else { (padded - self.fft) / self.hop + 1 }
    }

    /// The power |X|² of each frequency in each frame, f32 `[frames, bins]`; computed in f64.
    ///
    /// # Errors
    /// If the sound is shorter than one frame.
    pub fn power(&self, samples: &[f32]) -> Result<Array, DataError> {
        let rows = self.power_f64(samples)?;
        Ok(Array::new(&[rows.len(), self.bins()], rows.into_iter().flatten().map(|x| x as f32).collect())?)
    }

    pub(super) fn power_f64(&self, samples: &[f32]) -> Result<Vec<Vec<f64>>, DataError> {
        let n_frames = self.frames(samples.len());
        if samples.is_empty() || n_frames == 0 {
            let reason = format!("shorter than a frame of {}", self.fft);
            return Err(DataError::setting(format!("a sound of {} samples", samples.len()), reason));
        }
        let margin = if self.centered { self.fft / 2 } else { 0 };
        let padded: Vec<f64> = std::iter::repeat_n(0.0, margin)
            .chain(samples.iter().map(|&sample| sample as f64))
            .chain(std::iter::repeat_n(0.0, margin))
            .collect();
        let mut weights = vec![0.0; self.fft];
        weights[(self.fft - self.length) / 2..][..self.length].copy_from_slice(&self.window.weights(self.length));
        let transform = RealFftPlanner::<f64>::new().plan_fft_forward(self.fft);
        let (mut frame, mut spectrum) = (transform.make_input_vec(), transform.make_output_vec());
        let power = |at: usize| {
            let samples = &padded[at * self.hop..][..self.fft];
            frame.iter_mut().zip(samples.iter().zip(&weights)).for_each(|(to, (sample, weight))| *to = sample * weight);
            transform.process(&mut frame, &mut spectrum).expect("of the sizes that the transform made");
            spectrum.iter().map(|x| x.norm_sqr()).collect()
        };
        Ok((0..n_frames).map(power).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_frame_are_refused() {
        let message = Spectrogram::new(1).unwrap_err().to_string();
        assert!(message.contains("frames of 1 samples"), "{message}");
        let frames = Spectrogram::new(8).unwrap();
        assert!(frames.clone().hop(0).unwrap_err().to_string().contains("frames 0 samples apart"));
        let message = frames.clone().window(Window::Hann, 9).unwrap_err().to_string();
        assert_eq!(message, "a window of 9 samples: a frame has 8 samples");
        let message = frames.clone().power(&[]).unwrap_err().to_string();
        assert_eq!(message, "a sound of 0 samples: shorter than a frame of 8");
        let message = frames.uncentered().power(&[0.0; 7]).unwrap_err().to_string();
        assert_eq!(message, "a sound of 7 samples: shorter than a frame of 8");
    }

    #[test]
    fn power_is_that_of_the_sum_of_the_definition() {
        let samples: Vec<f32> = (0..40).map(|at| ((at * at) as f32 * 0.37).sin()).collect();
        for fft in [7, 8] {
            let frames =
                Spectrogram::new(fft).unwrap().hop(3).unwrap().window(Window::Hamming, 6).unwrap().uncentered();
            let power = frames.power(&samples).unwrap();
            assert_eq!(power.shape(), [(40 - fft) / 3 + 1, fft / 2 + 1]);
            let first = (fft - 6) / 2;
            for (frame, row) in power.as_slice::<f32>().unwrap().chunks(frames.bins()).enumerate() {
                for (bin, power) in row.iter().enumerate() {
                    let (mut re, mut im) = (0.0, 0.0);
                    for (at, weight) in (first..).zip(Window::Hamming.weights(6)) {
                        let (x, angle) =
                            (samples[3 * frame + at] as f64 * weight, TAU * (bin * at) as f64 / fft as f64);
                        re += x * angle.cos();
                        im -= x * angle.sin();
                    }
                    assert!((*power as f64 - (re * re + im * im)).abs() < 1e-5, "{fft} {frame} {bin}");
                }
            }
        }
    }

    /// `scipy.signal.get_window(name, 200)[[1, 50, 100]]`.
    #[test]
    fn windows_are_those_of_scipy() {
        for (window, weights) in [
            (Window::Hann, [0.0002467198171342, 0.5, 1.0]),
            (Window::Hamming, [0.08022698223176356, 0.54, 1.0]),
            (Window::Blackman, [8.885809139591583e-05, 0.34, 1.0]),
            (Window::Rectangular, [1.0; 3]),
        ] {
            for (at, expected) in [1, 50, 100].into_iter().zip(weights) {
                assert!((window.weights(200)[at] - expected).abs() < 1e-12, "{window:?} {at}");
            }
        }
    }
}
