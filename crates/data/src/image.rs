//! Grey images as slices of f32, row by row: what recipes do to them while training, and predictions before.

use crate::random::Random;

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
}
