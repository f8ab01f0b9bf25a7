//! Pictures in memory: from files and back, cut and turned.

mod bmp;
#[cfg(test)]
mod damage;
mod decode;
mod exif;
mod jpeg;
mod png;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use decode::Limits;

use crate::error::DataError;

/// A picture in color: red, green and blue of each pixel, 0 to 255, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pixels: Vec<u8>,
    height: usize,
    width: usize,
}

impl Picture {
    /// A picture of these pixels, three bytes each.
    ///
    /// # Errors
    /// If there are none, or not as many as the size says.
    pub fn new(height: usize, width: usize, pixels: Vec<u8>) -> Result<Picture, DataError> {
        let expected = height.checked_mul(width).and_then(|n| n.checked_mul(3));
        if expected != Some(pixels.len()) || pixels.is_empty() {
            let reason = format!("{} bytes are not three for each pixel", pixels.len());
            return Err(DataError::Image { height, width, reason });
        }
        Ok(Picture { pixels, height, width })
    }

    /// A picture of one color.
    ///
    /// # Panics
    /// If a side is 0.
    #[track_caller]
    pub fn plain(height: usize, width: usize, color: [u8; 3]) -> Picture {
        assert!(height > 0 && width > 0, "a picture of {height} x {width} pixels");
        Picture { pixels: color.repeat(height * width), height, width }
    }

    /// The picture in `bytes`, a file in PNG, JPEG, GIF, BMP or WebP; its name does not matter.
    ///
    /// The picture stands upright as its EXIF orientation says. Gray becomes color; of 16 bits the upper 8 are kept;
    /// palettes and CMYK (as Adobe's programs write it, inverted) become RGB; what is transparent lies on white; of
    /// several frames the first is taken. Color profiles are not applied.
    ///
    /// # Errors
    /// If it is damaged, truncated, of another kind or beyond `limits`; the pixels that it declares are counted before
    /// they are decoded. The message does not name the file.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, DataError> {
        decode::decode(bytes, limits, decode::WHITE).map_err(|reason| DataError::Undecodable { reason })
    }

    /// The picture in the file at `path`, as [`Picture::decode`].
    ///
    /// # Errors
    /// As [`Picture::decode`], with the path; or if it is no file or cannot be read.
    pub fn read(path: &Path, limits: &Limits) -> Result<Picture, DataError> {
        Picture::read_on(path, limits, decode::WHITE)
    }

    /// As [`Picture::read`]; what is transparent lies on this color.
    ///
    /// # Errors
    /// As [`Picture::read`].
    pub fn read_on(path: &Path, limits: &Limits, ground: [u8; 3]) -> Result<Picture, DataError> {
        let refuse = |reason| DataError::File { path: path.to_path_buf(), reason };
        decode::decode(&read_bytes(path, limits).map_err(refuse)?, limits, ground).map_err(refuse)
    }

    /// Writes it as a PNG file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<(), DataError> {
        let refuse = |reason| DataError::File { path: path.to_path_buf(), reason };
        let bytes = self.to_png().map_err(|error| refuse(format!("cannot be encoded: {error}")))?;
        std::fs::write(path, bytes).map_err(|error| refuse(format!("cannot be written: {error}")))
    }

    /// Red, green, blue of each pixel, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The same, to be changed.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// The color at row `y`, column `x`.
    ///
    /// # Panics
    /// If there is no such pixel.
    #[track_caller]
    pub fn at(&self, y: usize, x: usize) -> [u8; 3] {
        assert!(y < self.height && x < self.width, "pixel ({y}, {x}) of a picture of {:?}", self.size());
        let at = 3 * (y * self.width + x);
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// The rows of pixels, three bytes each.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.pixels.chunks_exact(3 * self.width)
    }

    /// The part of `size` (height, width) whose upper left corner is at (`y`, `x`).
    ///
    /// # Panics
    /// If it is empty or not inside.
    #[track_caller]
    pub fn crop(&self, (y, x): (usize, usize), (height, width): (usize, usize)) -> Picture {
        assert!(
            height > 0 && width > 0 && y + height <= self.height && x + width <= self.width,
            "a part of {height} x {width} at ({y}, {x}) of a picture of {:?}",
            self.size()
        );
        let mut pixels = Vec::with_capacity(3 * height * width);
        self.rows().skip(y).take(height).for_each(|row| pixels.extend_from_slice(&row[3 * x..3 * (x + width)]));
        Picture { pixels, height, width }
    }

    /// The picture laid over with `other`, its upper left corner at (`y`, `x`); what would hang over the edges is cut
    /// off.
    pub fn paste(&mut self, other: &Picture, (y, x): (usize, usize)) {
        let (canvas_width, width) = (self.width, other.width.min(self.width.saturating_sub(x)));
        for (to, row) in self.pixels.chunks_exact_mut(3 * canvas_width).skip(y).zip(other.rows()) {
            to[3 * (canvas_width.min(x))..][..3 * width].copy_from_slice(&row[..3 * width]);
        }
    }

    /// In another of the eight positions of a square.
    pub fn turned(&self, position: Position) -> Picture {
        let Position { transposed, mirrored, upside_down } = position;
        let (height, width) = if transposed { (self.width, self.height) } else { self.size() };
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..height {
            let y = if upside_down { height - 1 - y } else { y };
            let start = pixels.len();
            if transposed {
                pixels.extend(self.rows().flat_map(|row| &row[3 * y..3 * y + 3]));
            } else {
                pixels.extend_from_slice(&self.pixels[3 * y * width..][..3 * width]);
            }
            if mirrored {
                mirror(&mut pixels[start..]);
            }
        }
        Picture { pixels, height, width }
    }
}

/// Reverses the order of the pixels of `row`.
fn mirror(row: &mut [u8]) {
    row.reverse();
    row.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
}

/// One of the eight positions in which a square covers itself: its rows become columns, then left and right change
/// places, then top and bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Rows become columns.
    pub transposed: bool,
    /// Left and right change places.
    pub mirrored: bool,
    /// Top and bottom change places.
    pub upside_down: bool,
}

impl Position {
    /// All eight; the first is as it was.
    pub const ALL: [Position; 8] = {
        let mut all = [Position { transposed: false, mirrored: false, upside_down: false }; 8];
        let mut index = 0;
        while index < 8 {
            all[index] = Position { mirrored: index & 1 != 0, upside_down: index & 2 != 0, transposed: index & 4 != 0 };
            index += 1;
        }
        all
    };
}

/// The bytes of the file at `path`, or why it cannot be read.
pub(crate) fn read_bytes(path: &Path, limits: &Limits) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // A pipe would block when it is opened.
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if !kind.is_file() {
        return Err(format!("is {}, not a file", if kind.is_dir() { "a folder" } else { "a pipe or a device" }));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(limits.file_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits.file_bytes {
        return Err(format!("is too large: {} bytes of at most {}", kind.len(), limits.file_bytes));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Pixels numbered in red.
    pub(crate) fn numbered(height: usize, width: usize) -> Picture {
        let pixels = (0..height * width).flat_map(|index| [index as u8, 100, 200]).collect();
        Picture::new(height, width, pixels).unwrap()
    }

    fn reds(picture: &Picture) -> Vec<u8> {
        picture.pixels().chunks(3).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn eight_positions() {
        let picture = numbered(2, 3);
        let turned = |transposed, mirrored, upside_down| {
            let turned = picture.turned(Position { transposed, mirrored, upside_down });
            assert!(turned.pixels().chunks(3).all(|pixel| pixel[1..] == [100, 200]));
            (turned.size(), reds(&turned))
        };
        assert_eq!(turned(false, false, false), ((2, 3), vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(turned(false, true, false), ((2, 3), vec![2, 1, 0, 5, 4, 3]));
        assert_eq!(turned(false, false, true), ((2, 3), vec![3, 4, 5, 0, 1, 2]));
        assert_eq!(turned(true, false, false), ((3, 2), vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(turned(true, true, false), ((3, 2), vec![3, 0, 4, 1, 5, 2]), "a quarter clockwise");
        assert_eq!(turned(true, false, true), ((3, 2), vec![2, 5, 1, 4, 0, 3]), "a quarter the other way");
        let all: std::collections::BTreeSet<_> = Position::ALL.map(|at| reds(&numbered(3, 3).turned(at))).into();
        assert_eq!((all.len(), Position::ALL[0]), (8, Position::default()));
    }

    #[test]
    fn a_part_is_cut_out_and_laid_over() {
        let part = numbered(4, 5).crop((1, 2), (2, 3));
        assert_eq!((part.size(), reds(&part)), ((2, 3), vec![7, 8, 9, 12, 13, 14]));
        let mut canvas = Picture::plain(3, 3, [99, 0, 0]);
        canvas.paste(&part, (2, 1));
        assert_eq!(reds(&canvas), [99, 99, 99, 99, 99, 99, 99, 7, 8]);
        canvas.paste(&part, (0, 3));
        canvas.paste(&part, (5, 0));
        assert_eq!(reds(&canvas), [99, 99, 99, 99, 99, 99, 99, 7, 8]);
        assert_eq!(part.at(1, 0), [12, 100, 200]);
    }

    #[test]
    fn pixels_that_do_not_fill_the_size_are_refused() {
        let message = Picture::new(2, 2, vec![0; 11]).unwrap_err().to_string();
        assert_eq!(message, "image of 2 x 2: 11 bytes are not three for each pixel");
        assert!(Picture::new(0, 0, vec![]).is_err() && Picture::new(usize::MAX, 3, vec![]).is_err());
    }
}
