//! Which part of a picture, and how much of a change: the draws of random steps.

use crate::random::Random;

/// Uniform from -`most` to `most`.
pub(super) fn either_way(most: f32, random: &mut Random) -> f32 {
    most * (2.0 * random.uniform() - 1.0)
}

/// A part (upper left corner and size) of a picture of `size` whose share of the area and whose width by height lie in
/// these ranges; the second on a logarithmic scale, so that lying and standing parts are as likely. If ten attempts do
/// not fit, the largest part in the middle whose proportions are allowed.
pub(super) fn part(
    (height, width): (usize, usize),
    area: (f32, f32),
    ratio: (f32, f32),
    random: &mut Random,
) -> ((usize, usize), (usize, usize)) {
    let whole = (height * width) as f32;
    for _ in 0..10 {
        let area = whole * (area.0 + (area.1 - area.0) * random.uniform());
        let (least, most) = (ratio.0.ln(), ratio.1.ln());
        let ratio = (least + (most - least) * random.uniform()).exp();
        let part = ((area / ratio).sqrt().round() as usize, (area * ratio).sqrt().round() as usize);
        if (1..=height).contains(&part.0) && (1..=width).contains(&part.1) {
            let mut at = |free: usize| random.within(0..=free as i32) as usize;
            return ((at(height - part.0), at(width - part.1)), part);
        }
    }
    largest((height, width), (width as f32 / height as f32).clamp(ratio.0, ratio.1))
}

/// The part in the middle of a picture of `size` with the proportions of `wanted`, of whose longest possible sides an
/// eighth is left out.
pub(super) fn middle_part(size: (usize, usize), wanted: (usize, usize)) -> ((usize, usize), (usize, usize)) {
    let (_, part) = largest(size, wanted.1 as f32 / wanted.0 as f32);
    let part = ((part.0 * 7).div_ceil(8), (part.1 * 7).div_ceil(8));
    (middle(size, part), part)
}

/// The largest part in the middle of a picture of this size whose width is `ratio` times its height.
fn largest((height, width): (usize, usize), ratio: f32) -> ((usize, usize), (usize, usize)) {
    let part = (
        ((width as f32 / ratio).round() as usize).clamp(1, height),
        ((height as f32 * ratio).round() as usize).clamp(1, width),
    );
    (middle((height, width), part), part)
}

fn middle(size: (usize, usize), part: (usize, usize)) -> (usize, usize) {
    ((size.0 - part.0) / 2, (size.1 - part.1) / 2)
}
