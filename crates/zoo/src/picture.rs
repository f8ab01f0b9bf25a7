//! Drawings in picture files to numbers, and numbers drawn as PNG files.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use png::{BitDepth, ColorType, Encoder};
use thalweg::data::{self, DataError, Limits};
use thalweg::prelude::*;

use crate::error::ZooError;

/// No picture may have more pixels: those of a good camera.
const MAX_PIXELS: u64 = 1 << 24;

/// A gray picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// From 0 (black) to 1 (white), row by row.
    pub pixels: Vec<f32>,
    /// Height and width.
    pub size: (usize, usize),
}

/// The picture at `path` (PNG, JPEG, GIF, BMP or WebP) in gray. What is transparent is white, or black where more can be seen so
/// (white on nothing).
///
/// # Errors
/// If it cannot be read, is no picture, is damaged, or has more than 2²⁴ pixels, which is found out before they are decoded.
pub fn read(path: &Path) -> Result<Picture, ZooError> {
    let (light, dark) = (on(path, 255)?, on(path, 0)?);
    let contrast = |picture: &Picture| {
        picture.pixels.iter().copied().fold(0.0, f32::max) - picture.pixels.iter().copied().fold(1.0, f32::min)
    };
    Ok(if contrast(&dark) > contrast(&light) { dark } else { light })
}

/// The same on a ground of this level.
fn on(path: &Path, ground: u8) -> Result<Picture, ZooError> {
    let limits = Limits { pixels: MAX_PIXELS, ..Limits::default() };
    let picture = data::Picture::read_on(path, &limits, [ground; 3]).map_err(|error| match error {
        DataError::File { path, reason } => ZooError::Picture { path, reason },
        other => ZooError::Thalweg(other.into()),
    })?;
    let pixels = picture.pixels().chunks_exact(3).map(|pixel| luminance(pixel[0], pixel[1], pixel[2])).collect();
    Ok(Picture { pixels, size: picture.size() })
}

/// The brightness of a color, from 0 to 1 (ITU-R BT.709).
fn luminance(red: u8, green: u8, blue: u8) -> f32 {
    (0.2126 * f32::from(red) + 0.7152 * f32::from(green) + 0.0722 * f32::from(blue)) / 255.0
}

/// Draws `image`, an array of `[height, width]` from 0 (black) to `most` (white), each number as a square of `zoom` x
/// `zoom` pixels.
///
/// # Errors
/// If the array has other axes, or the file cannot be written.
pub fn write(path: &Path, image: &Array, most: f32, zoom: usize) -> Result<(), ZooError> {
    let refuse = |reason: String| ZooError::Picture { path: path.to_path_buf(), reason };
    let &[height, width] = image.shape() else {
        return Err(refuse(format!("an array of shape {:?} is no gray picture", image.shape())));
    };
    let side = |pixels: usize| u32::try_from(pixels.checked_mul(zoom)?).ok();
    let sides = side(height).zip(side(width));
    let Some((rows, columns)) = sides.filter(|&(h, w)| (1..=MAX_PIXELS).contains(&(u64::from(h) * u64::from(w))))
    else {
        return Err(refuse(format!("a picture of {height} x {width}, {zoom} times as large, cannot be drawn")));
    };
    let pixels = image.to_vec::<f32>();
    let level = |x: f32| (x / most * 255.0).round().clamp(0.0, 255.0) as u8;
    let drawn: Vec<u8> = (0..height * zoom)
        .flat_map(|y| (0..width * zoom).map(move |x| (y / zoom, x / zoom)))
        .map(|(y, x)| level(pixels[y * width + x]))
        .collect();
    let failed = |error: png::EncodingError| refuse(format!("cannot be written: {error}"));
    let file = File::create(path).map_err(|error| failed(error.into()))?;
    let mut encoder = Encoder::new(BufWriter::new(file), columns, rows);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&drawn).and_then(|()| writer.finish()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_drawn_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.png");
        write(&path, &Array::from([[0.0f32, 16.0, 8.0]]), 16.0, 2).unwrap();
        let picture = read(&path).unwrap();
        assert_eq!(picture.size, (2, 6));
        let expected = [0.0, 0.0, 1.0, 1.0, 0.5, 0.5].repeat(2);
        assert!(picture.pixels.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 0.01), "{picture:?}");
    }

    #[test]
    fn colors_become_gray_on_the_ground_on_which_more_is_seen() {
        assert!((luminance(255, 255, 255) - 1.0).abs() < 1e-6 && luminance(0, 255, 0) > luminance(255, 0, 0));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transparent.png");
        let read_of = |ink: u8, opacity: u8| {
            let mut encoder = Encoder::new(File::create(&path).unwrap(), 2, 1);
            encoder.set_color(ColorType::GrayscaleAlpha);
            encoder.write_header().unwrap().write_image_data(&[ink, opacity, 77, 0]).unwrap();
            read(&path).unwrap().pixels.iter().map(|x| (x * 255.0).round() as u8).collect::<Vec<u8>>()
        };
        assert_eq!([read_of(0, 255), read_of(255, 255), read_of(255, 51)], [[0, 255], [255, 0], [51, 0]]);
    }

    #[test]
    fn palettes_are_read_and_colors_that_they_lack_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("palette.png");
        // Black, white, red, and a white that is transparent.
        let palette = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [255, 255, 255]];
        let write = |depth, colors: usize, lines: &[u8]| {
            let mut encoder = Encoder::new(File::create(&path).unwrap(), 5, 2);
            encoder.set_color(ColorType::Indexed);
            encoder.set_depth(depth);
            encoder.set_palette(palette[..colors].concat());
            encoder.set_trns([255, 255, 255, 0][..colors].to_vec());
            encoder.write_header().unwrap().write_image_data(lines).unwrap();
        };
        let red = luminance(255, 0, 0);
        let expected = [0.0, 1.0, red, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, red];
        write(BitDepth::Two, 4, &[0b0001_1011, 0b0000_0000, 0b0101_0000, 0b1000_0000]);
        assert_eq!(read(&path).unwrap(), Picture { pixels: expected.to_vec(), size: (2, 5) });
        write(BitDepth::Eight, 4, &[0, 1, 2, 3, 0, 1, 1, 0, 0, 2]);
        assert_eq!(read(&path).unwrap().pixels, expected);
        write(BitDepth::Two, 3, &[0b0001_1011, 0b0000_0000, 0b0101_0000, 0b1000_0000]);
        let message = read(&path).unwrap_err().to_string();
        assert!(
            message.contains("palette.png: is damaged: the pixel at (3, 0) has color 3 of a palette of 3"),
            "{message}"
        );
        write(BitDepth::Eight, 4, &[0, 1, 2, 3, 0, 1, 1, 0, 200, 2]);
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("the pixel at (3, 1) has color 200 of a palette of 4"), "{message}");
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.png");
        std::fs::write(&path, "not a picture").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("text.png: is no picture in PNG, JPEG, GIF, BMP or WebP but a text"), "{message}");
        for (bytes, what) in [(&b""[..], "but an empty file"), (b"\xff\xd8\xff\xe0 and so on", "is damaged: ")] {
            std::fs::write(&path, bytes).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("text.png: is ") && message.contains(what), "{message}");
        }
        let message = read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("is a folder, not a file"), "{message}");
        let message = read(&folder.path().join("none.png")).unwrap_err().to_string();
        assert!(message.contains("none.png: cannot be read"), "{message}");
    }

    #[test]
    fn a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.png");
        write(&path, &Array::from([[0.0f32]]), 1.0, 1).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("bomb.png: is too large: it has 2147483647 x 1 pixels"), "{message}");
    }

    /// The checksum of a PNG chunk (ISO 3309).
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
