//! Heat maps: how much each place of a picture counts, laid over it; how much each number of a table.

use thalweg_array::Array;

use crate::augment::Part;
use crate::error::DataError;
use crate::image::Filter;
use crate::picture::Picture;
use crate::resample::resample;
use crate::sheet::{INK, PAPER, enlarged};

/// From little to much: blue, green, yellow, red.
const COLORS: [[f32; 3]; 4] = [[40.0, 70.0, 230.0], [30.0, 200.0, 120.0], [250.0, 225.0, 40.0], [225.0, 25.0, 25.0]];
/// How much of the color of the greatest number is seen.
const OPACITY: f32 = 0.65;
/// How much of its color the picture keeps, so that the heat is told from it.
const SATURATION: f32 = 0.15;
/// A line of the legend, and the edge around it, in pixels.
const LINE: usize = 12;
const EDGE: usize = 4;
/// The ramp of colors in the legend.
const RAMP: (usize, usize) = (8, 96);

/// `picture` at its size with a heat map over it: `heat`, `[height, width]`, lies over the `part` of it, from transparent at
/// 0 and below to red at its greatest number; the picture pales below. A part that is not the whole has a frame. Below stand
/// the lines of `caption` and the colors.
///
/// ```
/// use thalweg_data::{Part, Picture, heat_sheet};
/// let gray = Picture::plain(120, 160, [128; 3]);
/// let middle = Part { top: 0.0, left: 20.0, height: 120.0, width: 120.0 };
/// let sheet = heat_sheet(&gray, &[[0.0f32, 1.0], [0.0, 0.0]].into(), middle, "upper right")?;
/// let [red, _, blue] = sheet.at(20, 120);
/// assert!(red > 150 && blue < 100 && sheet.at(100, 40) == [128; 3]);
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
///
/// # Errors
/// If the heat is no table of finite numbers.
pub fn heat_sheet(picture: &Picture, heat: &Array, part: Part, caption: &str) -> Result<Picture, DataError> {
    let mut over = picture.clone();
    over.pixels_mut().chunks_exact_mut(3).for_each(pale);
    lay(&mut over, &Heat::new(heat)?, part);
    frame(&mut over, part);
    let legend = legend(caption, picture.width());
    let width = picture.width().max(legend.width());
    let mut sheet = Picture::plain(picture.height() + legend.height(), width, PAPER);
    sheet.paste(&over, (0, 0));
    sheet.paste(&legend, (picture.height(), 0));
    Ok(sheet)
}

/// A table of numbers as squares of color, pale at 0 and below, red at its greatest number, with a name before each row and
/// one, written upwards, above each column: where a model looked, word by word.
///
/// ```
/// use thalweg_data::heat_table;
/// let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
/// let sheet = heat_table(&[[0.9f32, 0.1], [0.0, 1.0]].into(), &words("un chien"), &words("a dog"))?;
/// assert!(sheet.width() > sheet.height());
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
///
/// # Errors
/// If the numbers are no table, one is not finite, or there are not as many names as rows and columns.
pub fn heat_table(numbers: &Array, rows: &[String], columns: &[String]) -> Result<Picture, DataError> {
    /// The side of a square, with the line of paper between it and the next.
    const SQUARE: usize = 16;
    let heat = Heat::new(numbers)?;
    if heat.size != (rows.len(), columns.len()) {
        let reason = format!("{} names of rows and {} of columns for {:?}", rows.len(), columns.len(), numbers.shape());
        return Err(DataError::setting("a heat map", reason));
    }
    let widest = |names: &[String]| names.iter().map(|name| Picture::text_size(name).1).max().unwrap_or(0);
    let (top, left) = (widest(columns) + 2 * EDGE, widest(rows) + 2 * EDGE);
    let size = (top + rows.len() * SQUARE + EDGE, left + columns.len() * SQUARE + EDGE);
    let mut sheet = Picture::plain(size.0, size.1, PAPER);
    let letters = Picture::text_size("").0;
    for (column, name) in columns.iter().enumerate() {
        let mut line = Picture::plain(letters, Picture::text_size(name).1.max(1), PAPER);
        line.write_text(name, (0, 0), INK);
        let line = upwards(&line);
        sheet.paste(&line, (top - EDGE - line.height(), left + column * SQUARE + (SQUARE - letters) / 2));
    }
    for (row, name) in rows.iter().enumerate() {
        let y = top + row * SQUARE;
        sheet.write_text(name, (y + (SQUARE - letters) / 2, left - EDGE - Picture::text_size(name).1), INK);
        for column in 0..columns.len() {
            let mut pixel = PAPER;
            tint(&mut pixel, heat.numbers[row * columns.len() + column]);
            sheet.paste(&Picture::plain(SQUARE - 1, SQUARE - 1, pixel), (y, left + column * SQUARE));
        }
    }
    Ok(sheet)
}

/// A quarter turn to the left: a line of text goes upwards.
fn upwards(picture: &Picture) -> Picture {
    let (height, width) = picture.size();
    let mut turned = Picture::plain(width, height, PAPER);
    for y in 0..width {
        for x in 0..height {
            turned.pixels_mut()[3 * (y * height + x)..][..3].copy_from_slice(&picture.at(x, width - 1 - y));
        }
    }
    turned
}

/// Numbers from 0 to 1 in rows and columns.
struct Heat {
    numbers: Vec<f32>,
    size: (usize, usize),
}

impl Heat {
    fn new(heat: &Array) -> Result<Heat, DataError> {
        let refuse = |reason: String| Err(DataError::setting("a heat map", reason));
        let &[height, width] = heat.shape() else {
            return refuse(format!("an array of shape {:?} is no table of numbers", heat.shape()));
        };
        let numbers = heat.to_vec::<f32>();
        if numbers.is_empty() {
            return refuse(format!("there are no numbers (shape {:?})", heat.shape()));
        }
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            return refuse(format!("a number is {number}"));
        }
        let most = numbers.iter().copied().fold(0.0, f32::max);
        let scaled = |x: f32| if most > 0.0 { (x / most).max(0.0) } else { 0.0 };
        Ok(Heat { numbers: numbers.into_iter().map(scaled).collect(), size: (height, width) })
    }

    /// With numbers between its own, at another size.
    fn resized(&self, size: (usize, usize)) -> Vec<f32> {
        resample(&self.numbers, 1, self.size, size, Filter::Bilinear)
    }
}

/// Nearer to gray.
fn pale(pixel: &mut [u8]) {
    let gray = pixel.iter().map(|&x| f32::from(x)).sum::<f32>() / 3.0;
    pixel.iter_mut().for_each(|x| *x = (gray + SATURATION * (f32::from(*x) - gray)).round() as u8);
}

/// Colors the part of the picture.
fn lay(picture: &mut Picture, heat: &Heat, part: Part) {
    let (height, width) = picture.size();
    let size = ((part.height.round() as usize).max(1), (part.width.round() as usize).max(1));
    let numbers = heat.resized(size);
    let (top, left) = (part.top.round() as isize, part.left.round() as isize);
    for (row, line) in numbers.chunks_exact(size.1).enumerate() {
        for (column, &heat) in line.iter().enumerate() {
            let (y, x) = (top + row as isize, left + column as isize);
            if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
                let at = 3 * (y as usize * width + x as usize);
                tint(&mut picture.pixels_mut()[at..at + 3], heat);
            }
        }
    }
}

fn tint(pixel: &mut [u8], heat: f32) {
    let opacity = OPACITY * heat.clamp(0.0, 1.0);
    for (x, color) in pixel.iter_mut().zip(color(heat)) {
        *x = (f32::from(*x) * (1.0 - opacity) + color * opacity).round() as u8;
    }
}

/// The color of a number from 0 to 1.
fn color(heat: f32) -> [f32; 3] {
    let at = heat.clamp(0.0, 1.0) * (COLORS.len() - 1) as f32;
    let below = (at as usize).min(COLORS.len() - 2);
    let share = at - below as f32;
    [0, 1, 2].map(|channel| COLORS[below][channel] * (1.0 - share) + COLORS[below + 1][channel] * share)
}

/// A white line around the part, where it is not the whole.
fn frame(picture: &mut Picture, part: Part) {
    let (height, width) = picture.size();
    let last = |begin: f64, length: f64| (begin + length).round() as isize - 1;
    let (top, left) = (part.top.round() as isize, part.left.round() as isize);
    let (bottom, right) = (last(part.top, part.height), last(part.left, part.width));
    let inside = |y: isize, x: isize| (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
    if top <= 0 && left <= 0 && bottom >= height as isize - 1 && right >= width as isize - 1 {
        return;
    }
    let across = (left..=right).flat_map(|x| [(top, x), (bottom, x)]);
    let down = (top..=bottom).flat_map(|y| [(y, left), (y, right)]);
    for (y, x) in across.chain(down).filter(|&(y, x)| inside(y, x)) {
        let at = 3 * (y as usize * width + x as usize);
        picture.pixels_mut()[at..at + 3].copy_from_slice(&[255; 3]);
    }
}

/// The caption and the colors, as large as suits a picture of this width.
fn legend(caption: &str, width: usize) -> Picture {
    /// A picture so wide can be looked at without being enlarged.
    const PLAIN: usize = 640;
    let zoom = (width / PLAIN).max(1);
    let lines: Vec<&str> = caption.lines().collect();
    let text = lines.iter().map(|line| Picture::text_size(line).1).max().unwrap_or(0);
    let [little, much] = ["little", "much"].map(|word| Picture::text_size(word).1 + EDGE);
    let columns = (width / zoom).max(text + 2 * EDGE).max(RAMP.1 + little + much + 2 * EDGE);
    let mut legend = Picture::plain((lines.len() + 1) * LINE + 2 * EDGE, columns, PAPER);
    for (row, line) in lines.iter().enumerate() {
        legend.write_text(line, (EDGE + row * LINE, EDGE), INK);
    }
    let top = EDGE + lines.len() * LINE;
    legend.write_text("little", (top, EDGE), INK);
    legend.write_text("much", (top, EDGE + little + RAMP.1 + EDGE), INK);
    for column in 0..RAMP.1 {
        let mut pixel = [128; 3];
        tint(&mut pixel, column as f32 / (RAMP.1 - 1) as f32);
        let left = EDGE + little + column;
        (top..top + RAMP.0).for_each(|y| {
            let at = 3 * (y * columns + left);
            legend.pixels_mut()[at..at + 3].copy_from_slice(&pixel);
        });
    }
    enlarged(&legend, zoom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Part = Part { top: 0.0, left: 0.0, height: 60.0, width: 200.0 };

    #[test]
    fn heat_lies_where_it_belongs_and_nothing_where_there_is_none() {
        let picture = Picture::plain(60, 200, [100; 3]);
        let sheet = heat_sheet(&picture, &[[-3.0f32, 0.0, 2.0, 4.0]].into(), WHOLE, "a\nb").unwrap();
        assert_eq!(sheet.size(), (60 + 3 * LINE + 2 * EDGE, 200));
        assert_eq!(sheet.at(30, 10), [100; 3]);
        let [red, green, blue] = sheet.at(30, 195);
        assert!(red > 170 && green < 60 && blue < 60, "{red} {green} {blue}");
        // No number above 0: the picture alone.
        let cold = heat_sheet(&picture, &[[-1.0f32, 0.0]].into(), WHOLE, "").unwrap();
        assert!(cold.pixels()[..3 * 60 * 200].iter().all(|&x| x == 100));
    }

    #[test]
    fn a_part_has_a_frame_and_colors_lose_their_own() {
        let picture = Picture::plain(100, 300, [250, 10, 10]);
        let part = Part { top: 10.0, left: 100.0, height: 80.0, width: 80.0 };
        let sheet = heat_sheet(&picture, &[[1.0f32]].into(), part, "").unwrap();
        let [outside, frame, inside] = [sheet.at(50, 50), sheet.at(10, 140), sheet.at(50, 140)];
        assert!(outside[0] > outside[1] && outside[0] < 200, "{outside:?}");
        assert!(frame == [255; 3] && inside[0] > 150 && inside[1] < 80, "{frame:?} {inside:?}");
        // What hangs over the edges is cut off.
        heat_sheet(&picture, &[[1.0f32]].into(), Part { top: -20.0, height: 140.0, ..part }, "").unwrap();
    }

    #[test]
    fn a_table_has_its_names_beside_it() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let sheet = heat_table(&[[1.0f32, 0.0, 0.5]].into(), &words("un"), &words("a bb dogs")).unwrap();
        let (letter, line) = (6, 9);
        assert_eq!(sheet.size(), (4 * letter + 2 * EDGE + 16 + EDGE, 2 * letter + 2 * EDGE + 3 * 16 + EDGE));
        let (top, left) = (4 * letter + 2 * EDGE, 2 * letter + 2 * EDGE);
        let [red, green, _] = sheet.at(top + 3, left + 3);
        assert!(red > 200 && green < 120 && sheet.at(top + 3, left + 19) == PAPER);
        // `a` is one letter high, `dogs` four; both end above their squares.
        let inked = |column: usize, rows: std::ops::Range<usize>| {
            let x = left + column * 16 + (16 - line) / 2;
            rows.flat_map(|y| (x..x + line).map(move |x| (y, x))).any(|(y, x)| sheet.at(y, x) == INK)
        };
        assert!(inked(0, top - EDGE - letter..top) && !inked(0, 0..top - EDGE - letter) && inked(2, 0..EDGE + letter));
        let message = heat_table(&[[1.0f32, 0.0]].into(), &words("un"), &words("a")).unwrap_err().to_string();
        assert_eq!(message, "a heat map: 1 names of rows and 1 of columns for [1, 2]");
    }

    #[test]
    fn what_is_no_heat_is_refused() {
        let picture = Picture::plain(10, 10, [0; 3]);
        let message = |heat: Array| heat_sheet(&picture, &heat, WHOLE, "").unwrap_err().to_string();
        assert_eq!(message([1.0f32].into()), "a heat map: an array of shape [1] is no table of numbers");
        assert!(message([[1.0f32, f32::NAN]].into()).contains("a number is NaN"));
        assert!(message(Array::zeros(&[0, 3], thalweg_array::DType::F32)).contains("there are no numbers"));
    }
}
