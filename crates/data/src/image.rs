//! Grey images as slices of f32, row by row: what recipes do to them while training, and predictions before.

use crate::error::DataError;
use crate::random::Random;
pub use crate::resample::Filter;
use crate::resample::resample;

/// Moves `image`, of `size` (height, width), down by `dy` and right by `dx` pixels (up and left if negative). What is
/// moved in is 0.
///
/// ```
/// let mut image = [1.0, 2.0, 3.0, 4.0];
/// thalweg_data::image::shift(&mut image, (2, 2), 1, -1);
/// assert_eq!(image, [0.0, 0.0, 2.0, 0.0]);
/// ```
///
/// # Panics
/// If `image` does not have `size`.
#[track_caller]
pub fn shift(image: &mut [f32], size: (usize, usize), dy: i32, dx: i32) {
    check(image, size);
    let (height, width) = size;
    let (down, right) = (dy.unsigned_abs() as usize, dx.unsigned_abs() as usize);
    if down >= height || right >= width {
        return image.fill(0.0);
    }
    if dy >= 0 {
        image.copy_within(..(height - down) * width, down * width);
        image[..down * width].fill(0.0);
    } else {
        image.copy_within(down * width.., 0);
        image[(height - down) * width..].fill(0.0);
    }
    for row in image.chunks_exact_mut(width) {
        if dx >= 0 {
            row.copy_within(..width - right, right);
            row[..right].fill(0.0);
        } else {
            row.copy_within(right.., 0);
            row[width - right..].fill(0.0);
        }
    }
}

/// [`shift`] by -`most` to `most` pixels each way, every distance as likely as the others.
///
/// # Panics
/// If `image` does not have `size`.
#[track_caller]
pub fn random_shift(image: &mut [f32], size: (usize, usize), most: u16, random: &mut Random) {
    let most = most as i32;
    let (dy, dx) = (random.within(-most..=most), random.within(-most..=most));
    shift(image, size, dy, dx);
}

/// `image`, of size `from` (height, width), at size `to`.
///
/// ```
/// use thalweg_data::image::{Filter, resize};
/// assert_eq!(resize(&[1.0, 3.0, 5.0, 7.0], (2, 2), (1, 2), Filter::Area), [3.0, 5.0]);
/// ```
///
/// # Panics
/// If `image` does not have size `from`, or a size is 0.
#[track_caller]
pub fn resize(image: &[f32], from: (usize, usize), to: (usize, usize), filter: Filter) -> Vec<f32> {
    check(image, from);
    resample(image, 1, from, to, filter)
}

/// Whether the drawing is lighter than its ground: the pixels along the border are taken for ground.
///
/// # Panics
/// If `image` does not have `size`.
#[track_caller]
pub fn is_light_on_dark(image: &[f32], size: (usize, usize)) -> bool {
    check(image, size);
    let (height, width) = size;
    let on_border = |index: &usize| {
        let (y, x) = (index / width, index % width);
        y == 0 || x == 0 || y + 1 == height || x + 1 == width
    };
    let border: Vec<f32> = (0..image.len()).filter(on_border).map(|index| image[index]).collect();
    let mean = border.iter().sum::<f32>() / border.len() as f32;
    let (darkest, lightest) = extremes(image);
    mean <= (darkest + lightest) / 2.0
}

/// The drawing alone: ground 0, ink up to 1, whichever of the two was lighter.
///
/// # Errors
/// If there are no pixels, one is NaN or infinite, or all are alike.
///
/// # Panics
/// If `image` does not have `size`.
#[track_caller]
pub fn ink(image: &[f32], size: (usize, usize)) -> Result<Vec<f32>, DataError> {
    check(image, size);
    let refuse = |reason: String| Err(DataError::Image { height: size.0, width: size.1, reason });
    if image.is_empty() {
        return refuse("has no pixels".into());
    }
    if let Some(index) = image.iter().position(|pixel| !pixel.is_finite()) {
        let (y, x) = (index / size.1, index % size.1);
        return refuse(format!("the pixel in row {y}, column {x} is {}", image[index]));
    }
    let (darkest, lightest) = extremes(image);
    let range = lightest - darkest;
    if range == 0.0 {
        return refuse(format!("is blank: every pixel is {darkest}"));
    }
    let light = is_light_on_dark(image, size);
    Ok(image.iter().map(|pixel| if light { (pixel - darkest) / range } else { (lightest - pixel) / range }).collect())
}

/// A drawn digit as MNIST would show it: 28 x 28, ground 0, ink up to 255. The drawing, dark on light or light on dark,
/// is scaled to fit 20 x 20 with its proportions kept, and moved so that its center of mass lies in the middle.
///
/// # Errors
/// As [`ink`].
///
/// # Panics
/// If `image` does not have `size`.
#[track_caller]
pub fn like_mnist(image: &[f32], size: (usize, usize)) -> Result<Vec<f32>, DataError> {
    let (drawing, (height, width)) = cropped(&ink(image, size)?, size);
    let factor = 20.0 / height.max(width) as f64;
    let scaled = |length: usize| ((length as f64 * factor).round() as usize).max(1);
    let to = (scaled(height), scaled(width));
    let drawing = resize(&drawing, (height, width), to, Filter::Area);
    let (y, x) = center_of_mass(&drawing, to);
    // In MNIST the center of mass always lies within pixel (14, 14).
    let place = |center: f64, length: usize| (14.0 - center).ceil().clamp(0.0, (28 - length) as f64) as usize;
    let mut canvas = vec![0.0; 28 * 28];
    paste(&drawing, to, &mut canvas, 28, (place(y, to.0), place(x, to.1)));
    canvas.iter_mut().for_each(|pixel| *pixel *= 255.0);
    Ok(canvas)
}

/// A drawn digit as the UCI optical digits would show it ([`digits`](crate::digits())): 8 x 8, each pixel the count of
/// inked ones in a block of 4 x 4. The drawing, dark on light or light on dark, is scaled to the full height of 32, to
/// at most 24 of the 32 columns, and put in the middle.
///
/// # Errors
/// As [`ink`].
///
/// # Panics
/// If `image` does not have `size`.
#[track_caller]
pub fn like_digits(image: &[f32], size: (usize, usize)) -> Result<Vec<f32>, DataError> {
    let (drawing, (height, width)) = cropped(&ink(image, size)?, size);
    let to = (32, (32.0 * width as f64 / height as f64).round().clamp(1.0, 24.0) as usize);
    let drawing = resize(&drawing, (height, width), to, Filter::Area);
    let mut canvas = vec![0.0; 32 * 32];
    paste(&drawing, to, &mut canvas, 32, (0, (32 - to.1) / 2));
    let mut counts = resize(&canvas, (32, 32), (8, 8), Filter::Area);
    counts.iter_mut().for_each(|mean| *mean *= 16.0);
    Ok(counts)
}

/// Where the ink of `image` balances, in pixels from the upper left corner (y, x); the middle if there is none.
///
/// # Panics
/// If `image` does not have `size`.
#[track_caller]
pub fn center_of_mass(image: &[f32], size: (usize, usize)) -> (f64, f64) {
    check(image, size);
    let (mut mass, mut y, mut x) = (0.0, 0.0, 0.0);
    for (index, &pixel) in image.iter().enumerate() {
        mass += pixel as f64;
        y += pixel as f64 * ((index / size.1) as f64 + 0.5);
        x += pixel as f64 * ((index % size.1) as f64 + 0.5);
    }
    if mass == 0.0 { (size.0 as f64 / 2.0, size.1 as f64 / 2.0) } else { (y / mass, x / mass) }
}

/// The smallest part of `ink` that holds all pixels that are not faint; there is one, as the darkest is 1.
fn cropped(ink: &[f32], (height, width): (usize, usize)) -> (Vec<f32>, (usize, usize)) {
    const FAINT: f32 = 0.1;
    let inked_row = |&y: &usize| ink[y * width..][..width].iter().any(|&pixel| pixel > FAINT);
    let inked_column = |&x: &usize| (0..height).any(|y| ink[y * width + x] > FAINT);
    let span = |length: usize, inked: &dyn Fn(&usize) -> bool| {
        let first = (0..length).find(inked).unwrap_or(0);
        first..(0..length).rfind(inked).map_or(length, |last| last + 1)
    };
    let (rows, columns) = (span(height, &inked_row), span(width, &inked_column));
    let size = (rows.len(), columns.len());
    (rows.flat_map(|y| &ink[y * width..][columns.clone()]).copied().collect(), size)
}

/// Copies `image` into `canvas`, whose rows are `stride` wide, with its upper left corner at (y, x).
fn paste(image: &[f32], (_, width): (usize, usize), canvas: &mut [f32], stride: usize, (y, x): (usize, usize)) {
    for (row, to) in image.chunks_exact(width).zip(canvas.chunks_exact_mut(stride).skip(y)) {
        to[x..x + width].copy_from_slice(row);
    }
}

fn extremes(image: &[f32]) -> (f32, f32) {
    image.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &pixel| (least.min(pixel), most.max(pixel)))
}

#[track_caller]
fn check(image: &[f32], (height, width): (usize, usize)) {
    assert!(
        height.checked_mul(width) == Some(image.len()),
        "an image of {height} x {width} pixels has not {} of them",
        image.len()
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shift_moves_every_pixel(height in 1usize..6, width in 1usize..6, dy in -7i32..8, dx in -7i32..8) {
            let image: Vec<f32> = (1..=height * width).map(|pixel| pixel as f32).collect();
            let mut shifted = image.clone();
            shift(&mut shifted, (height, width), dy, dx);
            for y in 0..height as i32 {
                for x in 0..width as i32 {
                    let (from_y, from_x) = (y - dy, x - dx);
                    let inside = (0..height as i32).contains(&from_y) && (0..width as i32).contains(&from_x);
                    let expected = if inside { image[from_y as usize * width + from_x as usize] } else { 0.0 };
                    prop_assert_eq!(shifted[y as usize * width + x as usize], expected);
                }
            }
        }
    }

    #[test]
    fn random_shifts_reach_every_place() {
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..200 {
            let mut image = [0.0; 9];
            image[4] = 1.0;
            random_shift(&mut image, (3, 3), 1, &mut Random::new(1, 0, "sample", index));
            seen.insert(image.iter().position(|&pixel| pixel == 1.0).unwrap());
        }
        assert_eq!(seen.len(), 9);
    }

    #[test]
    #[should_panic(expected = "an image of 2 x 2 pixels has not 3 of them")]
    fn a_wrong_size_panics() {
        shift(&mut [0.0; 3], (2, 2), 0, 0);
    }

    #[test]
    fn resizing_keeps_the_mean_and_what_is_flat() {
        let image: Vec<f32> = (0..30).map(|pixel| (pixel * pixel % 17) as f32).collect();
        let mean = |image: &[f32]| image.iter().sum::<f32>() / image.len() as f32;
        for to in [(1, 1), (2, 3), (5, 6), (7, 11), (10, 12)] {
            let smaller = resize(&image, (5, 6), to, Filter::Area);
            assert_eq!(smaller.len(), to.0 * to.1);
            assert!((mean(&smaller) - mean(&image)).abs() < 1e-4, "{to:?}");
            for filter in [Filter::Area, Filter::Bilinear] {
                assert!(resize(&[3.0; 30], (5, 6), to, filter).iter().all(|pixel| (pixel - 3.0).abs() < 1e-6));
            }
        }
        assert_eq!(resize(&image, (5, 6), (5, 6), Filter::Area), image);
        assert_eq!(resize(&image, (5, 6), (5, 6), Filter::Bilinear), image);
        assert_eq!(resize(&[0.0, 4.0], (1, 2), (1, 4), Filter::Bilinear), [0.0, 1.0, 3.0, 4.0]);
    }

    /// A light cross of 3 x 5 on a dark ground of 9 x 12, off the middle.
    fn cross() -> (Vec<f32>, (usize, usize)) {
        let mut image = vec![20.0; 9 * 12];
        (1..6).for_each(|y| image[y * 12 + 8] = 220.0);
        (7..10).for_each(|x| image[3 * 12 + x] = 220.0);
        (image, (9, 12))
    }

    #[test]
    fn ink_is_told_from_ground_either_way() {
        let (image, size) = cross();
        let negative: Vec<f32> = image.iter().map(|pixel| 255.0 - pixel).collect();
        assert!(is_light_on_dark(&image, size) && !is_light_on_dark(&negative, size));
        let drawing = ink(&image, size).unwrap();
        assert_eq!(drawing, ink(&negative, size).unwrap());
        assert_eq!((drawing[0], drawing[12 + 8]), (0.0, 1.0));
        assert_eq!(like_mnist(&image, size).unwrap(), like_mnist(&negative, size).unwrap());
        assert_eq!(like_digits(&image, size).unwrap(), like_digits(&negative, size).unwrap());
    }

    #[test]
    fn a_drawing_is_scaled_and_centered_as_mnist_does() {
        let (image, size) = cross();
        let digit = like_mnist(&image, size).unwrap();
        let (y, x) = center_of_mass(&digit, (28, 28));
        assert!((14.0..15.0).contains(&y) && (14.0..15.0).contains(&x), "{y} {x}");
        let (_, inked) = cropped(&ink(&digit, (28, 28)).unwrap(), (28, 28));
        assert_eq!(inked, (20, 12));
        assert_eq!(like_mnist(&digit, (28, 28)).unwrap(), digit);
    }

    #[test]
    fn a_drawing_fills_the_height_of_the_small_digits() {
        let (image, size) = cross();
        let digit = like_digits(&image, size).unwrap();
        // 5 x 3 becomes 32 x 19; the upright is a third of that wide and runs from top to bottom.
        for row in [&digit[..8], &digit[56..]] {
            assert!((row.iter().sum::<f32>() - 4.0 * 19.0 / 3.0).abs() < 1e-4, "{row:?}");
        }
        assert!(digit.iter().all(|pixel| (0.0..=16.0).contains(pixel)));
    }

    #[test]
    fn pictures_without_a_drawing_are_refused() {
        let message = like_mnist(&[7.0; 6], (2, 3)).unwrap_err().to_string();
        assert_eq!(message, "image of 2 x 3: is blank: every pixel is 7");
        let message = like_digits(&[0.0, f32::NAN], (1, 2)).unwrap_err().to_string();
        assert!(message.contains("the pixel in row 0, column 1 is NaN"), "{message}");
        assert!(ink(&[], (0, 4)).unwrap_err().to_string().contains("has no pixels"));
    }

    /// How many of `images` are as they were after `again`, but for faint pixels at the edge, which are cut off.
    fn n_unchanged<'a>(
        images: impl Iterator<Item = &'a [f32]>,
        most: f32,
        again: impl Fn(&[f32]) -> Vec<f32>,
    ) -> usize {
        let unchanged = |image: &&[f32]| image.iter().zip(again(image)).all(|(a, b)| (a - b).abs() <= 0.1 * most);
        images.filter(unchanged).count()
    }

    /// The recipe is that of the set: images of the set come out as they went in.
    #[test]
    fn the_small_digits_stay_as_they_are() {
        let digits = crate::digits();
        let images = digits["image"].as_slice::<f32>().unwrap().chunks_exact(64);
        // Those with full ink that span columns 1 to 6; the others lie a fraction of a block aside, which is lost here.
        let inked = |image: &[f32], column| image.iter().skip(column).step_by(8).any(|&pixel| pixel > 1.6);
        let spans = |image: &&[f32]| (0..8).all(|column| inked(image, column) == (1..=6).contains(&column));
        let full = |image: &&[f32]| image.contains(&16.0);
        let n_typical = images.clone().filter(spans).filter(full).count();
        assert!(n_typical > 1000, "{n_typical}");
        let n = n_unchanged(images.filter(spans).filter(full), 16.0, |image| like_digits(image, (8, 8)).unwrap());
        assert!(n > n_typical * 9 / 10, "{n} of {n_typical}");
    }

    #[test]
    fn mnist_stays_as_it_is() {
        let Some(data) = std::env::var_os("THALWEG_DATA") else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let set = crate::mnist(std::path::Path::new(&data).join("mnist")).unwrap();
        let images = set.test["image"].as_slice::<f32>().unwrap().chunks_exact(784).take(1000);
        let n = n_unchanged(images, 255.0, |image| like_mnist(image, (28, 28)).unwrap());
        assert!(n > 980, "{n} of 1000");
    }
}
