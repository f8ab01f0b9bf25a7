//! Contact sheets: many pictures with captions on one.

mod font;

use thalweg_array::Array;

use crate::error::DataError;
use crate::picture::Picture;

/// Pixels between pictures.
const GAP: usize = 6;
/// Lines of a caption.
const LINES: usize = 3;
pub(crate) const PAPER: [u8; 3] = [250; 3];
pub(crate) const INK: [u8; 3] = [20; 3];

/// The images of a batch beside and below each other, each with its caption, to be looked at: what a model is fed, or
/// what it takes for what. `images` is `[n, height, width]` or `[n, channels, height, width]` with one channel or
/// three; the least of all its numbers becomes black, the greatest white. To see colors as they are, invert a
/// normalization ([`Normalize::invert`](crate::Normalize::invert)) before. Small images are enlarged by a whole factor.
/// A caption is broken into lines where it is too wide, and cut after three; letters lose their accents, others beyond
/// ASCII become question marks.
///
/// ```
/// use thalweg_data::{contact_sheet, digits};
///
/// let digits = digits().select(&[0, 1, 2, 3, 4, 5]);
/// let captions: Vec<String> = digits["label"].to_vec::<i64>().iter().map(|label| format!("a {label}")).collect();
/// let sheet = contact_sheet(&digits["image"], &captions)?;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("digits.png");
/// sheet.write_png(&path)?;
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
///
/// # Errors
/// If the array is no batch of images, a number is not finite, or there is another number of captions.
pub fn contact_sheet(images: &Array, captions: &[String]) -> Result<Picture, DataError> {
    let pictures = pictures(images)?;
    if pictures.len() != captions.len() {
        let reason = format!("{} images have {} captions", pictures.len(), captions.len());
        return Err(DataError::setting("a contact sheet", reason));
    }
    Ok(sheet_of(&pictures, captions))
}

/// As [`contact_sheet`], of pictures, which may differ in size.
///
/// # Errors
/// If there are no pictures, or another number of captions.
pub fn picture_sheet(pictures: &[Picture], captions: &[String]) -> Result<Picture, DataError> {
    if pictures.is_empty() || pictures.len() != captions.len() {
        let reason = format!("{} pictures have {} captions", pictures.len(), captions.len());
        return Err(DataError::setting("a contact sheet", reason));
    }
    Ok(sheet_of(pictures, captions))
}

fn sheet_of(pictures: &[Picture], captions: &[String]) -> Picture {
    /// A picture is at least so wide, so that words fit below.
    const TILE: usize = 84;
    let largest = |side: fn(&Picture) -> usize| pictures.iter().map(side).max().unwrap_or(1);
    let (height, width) = (largest(Picture::height), largest(Picture::width));
    let zoom = TILE.div_ceil(width).clamp(1, TILE);
    let (height, width) = (height * zoom, width * zoom);
    let captions: Vec<Vec<String>> = captions.iter().map(|caption| lines(caption, width / font::CELL.0)).collect();
    let n_lines = captions.iter().map(Vec::len).max().unwrap_or(0);
    let tile = (height + n_lines * font::CELL.1 + GAP, width + GAP);
    let columns = (1..).find(|columns| columns * columns >= pictures.len()).unwrap_or(1);
    let rows = pictures.len().div_ceil(columns);
    let mut sheet = Picture::plain(rows * tile.0 + GAP, columns * tile.1 + GAP, PAPER);
    for (index, (picture, caption)) in pictures.iter().zip(&captions).enumerate() {
        let (y, x) = (GAP + index / columns * tile.0, GAP + index % columns * tile.1);
        sheet.paste(&enlarged(picture, zoom), (y, x));
        for (line, text) in caption.iter().enumerate() {
            font::draw(text, &mut sheet, (y + height + 2 + line * font::CELL.1, x), INK);
        }
    }
    sheet
}

impl Picture {
    /// Writes a line of text with its upper left corner at (row, column). Letters lose their accents, others beyond ASCII
    /// become question marks; what does not fit is cut.
    pub fn write_text(&mut self, text: &str, at: (usize, usize), color: [u8; 3]) {
        font::draw(text, self, at, color);
    }

    /// Height and width of a line of text.
    pub fn text_size(text: &str) -> (usize, usize) {
        (font::CELL.1, font::CELL.0 * text.chars().count())
    }
}

/// Each pixel as a square of `zoom` x `zoom`.
pub(crate) fn enlarged(picture: &Picture, zoom: usize) -> Picture {
    let (height, width) = picture.size();
    let wide = |row: &[u8]| row.chunks_exact(3).flat_map(|pixel| pixel.repeat(zoom)).collect::<Vec<u8>>();
    let pixels = picture.rows().flat_map(|row| wide(row).repeat(zoom)).collect();
    Picture::new(height * zoom, width * zoom, pixels).expect("each pixel became a square")
}

/// `caption` in lines of at most `width` letters, broken between words where that is possible.
fn lines(caption: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = Vec::new();
    for line in caption.lines() {
        lines.push(Vec::new());
        for word in line.split_whitespace() {
            let word: Vec<char> = word.chars().collect();
            for (part, piece) in word.chunks(width).enumerate() {
                let last = lines.last_mut().expect("one was begun");
                let fits = part == 0 && last.len() + 1 + piece.len() <= width;
                if last.is_empty() {
                    last.extend(piece);
                } else if fits {
                    last.push(' ');
                    last.extend(piece);
                } else {
                    lines.push(piece.to_vec());
                }
            }
        }
    }
    if lines.len() > LINES {
        lines.truncate(LINES);
        let last = &mut lines[LINES - 1];
        last.truncate(width.saturating_sub(2));
        last.extend("..".chars());
    }
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}

/// The images of a batch, from black, the least of all its numbers, to white.
fn pictures(images: &Array) -> Result<Vec<Picture>, DataError> {
    let (channels, height, width) = match *images.shape() {
        [_, height, width] => (1, height, width),
        [_, channels @ (1 | 3), height, width] => (channels, height, width),
        ref shape => {
            let reason = format!("an array of shape {shape:?} holds no images in gray or in color");
            return Err(DataError::setting("a contact sheet", reason));
        }
    };
    if images.is_empty() {
        return Err(DataError::setting("a contact sheet", format!("there are no images (shape {:?})", images.shape())));
    }
    let numbers = images.to_vec::<f32>();
    if let Some(index) = numbers.iter().position(|x| !x.is_finite()) {
        let reason = format!("image {} has a pixel that is {}", index / (channels * height * width), numbers[index]);
        return Err(DataError::setting("a contact sheet", reason));
    }
    let least = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let range = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
    let level = |x: f32| if range > 0.0 { ((x - least) / range * 255.0 + 0.5) as u8 } else { 128 };
    let picture = |image: &[f32]| {
        let plane = |channel: usize| &image[channel % channels * height * width..][..height * width];
        let pixels = plane(0).iter().zip(plane(1)).zip(plane(2));
        Picture::new(height, width, pixels.flat_map(|((&r, &g), &b)| [r, g, b].map(level)).collect())
    };
    numbers.chunks_exact(channels * height * width).map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_in_a_square_with_captions_below() {
        let images = Array::new::<f32>(&[3, 1, 2], vec![-1.0, 1.0, 0.0, 1.0, -1.0, -1.0]).unwrap();
        let sheet = contact_sheet(&images, &["left".into(), "right".into(), "a longer caption".into()]).unwrap();
        // Two columns of tiles of 42 x 84 pixels with two lines below.
        assert_eq!(sheet.size(), (2 * (42 + 18 + 6) + 6, 2 * 90 + 6));
        let at = |y, x| sheet.at(y, x)[0];
        assert_eq!([at(6, 6), at(6, 47), at(6, 48), at(47, 89), at(6, 96), at(6, 179)], [0, 0, 255, 255, 128, 255]);
        assert_eq!([at(72, 6), at(113, 89), at(72, 96), at(0, 0)], [0, 0, 250, 250]);
        let inked = |y: std::ops::Range<usize>, x: std::ops::Range<usize>| {
            y.flat_map(|y| x.clone().map(move |x| (y, x))).filter(|&(y, x)| sheet.at(y, x) == INK).count()
        };
        // The dots of `left`.
        assert_eq!(inked(48..60, 6..90), [10, 14, 11, 11].iter().sum::<usize>());
        assert!(inked(48..60, 96..180) > 0 && inked(116..132, 6..90) > inked(48..60, 6..90));
    }

    #[test]
    fn captions_are_broken_and_cut() {
        assert_eq!(lines("one two three", 7), ["one two", "three"]);
        assert_eq!(lines("incomprehensible x", 6), ["incomp", "rehens", "ible x"]);
        assert_eq!(lines("a b c d e", 1), ["a", "b", ".."]);
        assert_eq!(lines("tulips\nroses 0.93", 14), ["tulips", "roses 0.93"]);
        assert!(lines("", 5).is_empty());
    }

    #[test]
    fn pictures_of_different_sizes_stand_beside_each_other() {
        let pictures = [Picture::plain(100, 50, [9, 9, 200]), Picture::plain(40, 100, [200, 9, 9])];
        let sheet = picture_sheet(&pictures, &["é".into(), String::new()]).unwrap();
        assert_eq!((sheet.at(105, 55), sheet.at(6, 112), sheet.at(46, 112)), ([9, 9, 200], [200, 9, 9], PAPER));
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        let message = |images: Array, captions: usize| {
            contact_sheet(&images, &vec![String::new(); captions]).unwrap_err().to_string()
        };
        let f32s = |shape: &[usize]| Array::zeros(shape, thalweg_array::DType::F32);
        assert_eq!(message(f32s(&[2, 3, 3]), 1), "a contact sheet: 2 images have 1 captions");
        assert!(message(f32s(&[2, 2, 3, 3]), 2).contains("shape [2, 2, 3, 3] holds no images"));
        assert!(message(f32s(&[0, 3, 3]), 0).contains("there are no images"));
        let bad = Array::new(&[2, 1, 1], vec![0.0, f32::NAN]).unwrap();
        assert_eq!(message(bad, 2), "a contact sheet: image 1 has a pixel that is NaN");
        assert!(picture_sheet(&[], &[]).unwrap_err().to_string().contains("0 pictures"));
        let blank = contact_sheet(&f32s(&[1, 1, 1]), &[String::new()]).unwrap();
        assert_eq!(blank.at(10, 10), [128; 3]);
    }
}
