//! From the bytes of a picture to the numbers of a model.

use crate::normalize::Normalize;
use crate::picture::Picture;

/// What the 256 levels of each channel become.
#[derive(Debug)]
pub(super) struct Levels(Box<[[f32; 256]; 3]>);

impl Levels {
    /// From 0 to 1, then normalized.
    pub(super) fn new(normalize: Option<&Normalize>) -> Levels {
        Levels(Box::new([0, 1, 2].map(|channel| {
            let of = |numbers: &[f64]| numbers.get(channel).or(numbers.first()).copied();
            let mean = normalize.and_then(|normalize| of(normalize.mean())).unwrap_or(0.0);
            let std = normalize.and_then(|normalize| of(normalize.std())).unwrap_or(1.0);
            std::array::from_fn(|level| ((level as f64 / 255.0 - mean) / std) as f32)
        })))
    }

    /// The numbers of a picture, channel by channel; `to` has a place for each.
    pub(super) fn write(&self, picture: &Picture, to: &mut [f32]) {
        let area = picture.height() * picture.width();
        for (channel, (to, levels)) in to.chunks_exact_mut(area.max(1)).zip(self.0.iter()).enumerate() {
            let pixels = picture.pixels()[channel..].iter().step_by(3);
            to.iter_mut().zip(pixels).for_each(|(to, &level)| *to = levels[usize::from(level)]);
        }
    }
}
