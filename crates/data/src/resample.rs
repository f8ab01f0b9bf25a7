//! Resizing: each new pixel is a weighted mean of the old ones that fall on it, so that nothing is skipped
//! (antialiased).

use serde::{Deserialize, Serialize};

/// How resizing weighs the pixels that fall on a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// By the area they share with it: the mean of a block where the factor is whole.
    Area,
    /// By a triangle as wide as two new pixels, or two old ones if those are wider: linear interpolation when
    /// enlarging, smooth when reducing. What Pillow calls `BILINEAR`.
    Bilinear,
}

/// `image`, of size `from` (height, width) with `channels` numbers for each pixel, at size `to`.
///
/// # Panics
/// If a size is 0.
#[track_caller]
pub(crate) fn resample<T: Copy + Into<f32>>(
    image: &[T],
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
    filter: Filter,
) -> Vec<f32> {
    assert!(from.0 * from.1 * to.0 * to.1 > 0, "an image of {from:?} pixels cannot have {to:?}");
    // Rows first, then columns: the filters are products of one along each axis.
    let line = from.1 * channels;
    let columns: Vec<Taps> = weights(from.1, to.1, filter).collect();
    let mut row = vec![0.0; line];
    let mut resized = vec![0.0; to.0 * to.1 * channels];
    for (taps, resized) in weights(from.0, to.0, filter).zip(resized.chunks_exact_mut(to.1 * channels)) {
        row.fill(0.0);
        for (from, weight) in image[taps.first * line..].chunks_exact(line).zip(taps.weights) {
            row.iter_mut().zip(from).for_each(|(to, &from)| *to += weight * from.into());
        }
        match channels {
            3 => means::<3>(&row, &columns, resized),
            _ => means::<1>(&row, &columns, resized),
        }
    }
    resized
}

/// The nearest level of a picture.
pub(crate) fn level(x: f32) -> u8 {
    (x + 0.5) as u8
}

/// Neighboring pixels along one axis, with weights that add up to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// The weighted means of pixels of `row`, each of `N` numbers.
fn means<const N: usize>(row: &[f32], columns: &[Taps], resized: &mut [f32]) {
    let (pixels, _) = row.as_chunks::<N>();
    let (resized, _) = resized.as_chunks_mut::<N>();
    for (to, taps) in resized.iter_mut().zip(columns) {
        for (pixel, weight) in pixels[taps.first..].iter().zip(&taps.weights) {
            to.iter_mut().zip(pixel).for_each(|(to, x)| *to += weight * x);
        }
    }
}

/// For each of `to` pixels along one axis: which of `from` pixels make it up.
fn weights(from: usize, to: usize, filter: Filter) -> impl Iterator<Item = Taps> {
    let scale = from as f64 / to as f64;
    (0..to).map(move |index| {
        let (low, high) = (index as f64 * scale, (index + 1) as f64 * scale);
        let center = (low + high) / 2.0;
        let radius = scale.max(1.0);
        let weight = |pixel: usize| {
            let (left, right) = (pixel as f64, pixel as f64 + 1.0);
            match filter {
                Filter::Area => (high.min(right) - low.max(left)).max(0.0),
                Filter::Bilinear => (1.0 - (left + 0.5 - center).abs() / radius).max(0.0),
            }
        };
        let least = (center - radius).floor().max(0.0) as usize;
        let most = ((center + radius).ceil() as usize).min(from);
        // Both filters are one hump: what has no weight lies at its ends.
        let first = (least..most).find(|&pixel| weight(pixel) > 0.0).unwrap_or(least);
        let taps: Vec<f64> = (first..most).map(weight).take_while(|&weight| weight > 0.0).collect();
        let sum: f64 = taps.iter().sum();
        Taps { first, weights: taps.into_iter().map(|weight| (weight / sum) as f32).collect() }
    })
}
