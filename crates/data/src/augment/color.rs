//! Brightness, contrast, saturation.

use crate::picture::Picture;
use crate::resample::level;

/// The share of red, green and blue in a gray (ITU-R BT.601).
const GRAY: [f32; 3] = [0.299, 0.587, 0.114];

impl Picture {
    pub(super) fn brightened(self, factor: f32) -> Picture {
        self.mapped(|x| x * factor)
    }

    pub(super) fn contrasted(self, factor: f32) -> Picture {
        let mut sums = [0u64; 3];
        self.pixels()
            .chunks_exact(3)
            .for_each(|pixel| (0..3).for_each(|channel| sums[channel] += u64::from(pixel[channel])));
        let count = (self.height() * self.width()) as f32;
        let mean: f32 = sums.iter().zip(GRAY).map(|(&sum, share)| share * (sum as f32 / count)).sum();
        self.mapped(|x| mean + factor * (x - mean))
    }

    pub(super) fn saturated(mut self, factor: f32) -> Picture {
        for pixel in self.pixels_mut().chunks_exact_mut(3) {
            let gray: f32 = pixel.iter().zip(GRAY).map(|(&x, share)| share * f32::from(x)).sum();
            pixel.iter_mut().for_each(|x| *x = level(gray + factor * (f32::from(*x) - gray)));
        }
        self
    }

    /// Each number as `f` has it; there are only 256.
    fn mapped(mut self, f: impl Fn(f32) -> f32) -> Picture {
        let table: [u8; 256] = std::array::from_fn(|x| level(f(x as f32)));
        self.pixels_mut().iter_mut().for_each(|x| *x = table[usize::from(*x)]);
        self
    }
}
