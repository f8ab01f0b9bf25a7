//! PNG files to numbers and back.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};
use thalweg::prelude::*;

use crate::error::ZooError;

/// No side may be longer.
const MAX_SIDE: u32 = 16_384;
/// No picture may need more memory.
const MAX_BYTES: usize = 1 << 30;

/// A gray picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// From 0 (black) to 1 (white), row by row.
    pub pixels: Vec<f32>,
    /// Height and width.
    pub size: (usize, usize),
}

/// The PNG file at `path` in gray; what is transparent is white.
///
/// # Errors
/// If it cannot be read, is no PNG, or is too large.
pub fn read(path: &Path) -> Result<Picture, ZooError> {
    let refuse = |reason: String| ZooError::Picture { path: path.to_path_buf(), reason };
    let kind = std::fs::metadata(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if !kind.is_file() {
        return Err(refuse("is not a file".into()));
    }
    let file = File::open(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let no_png = |error: png::DecodingError| refuse(format!("is no PNG picture that can be read: {error}"));
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), Limits { bytes: MAX_BYTES });
    decoder.set_transformations(Transformations::normalize_to_color8());
    let (width, height) = decoder.read_header_info().map_err(no_png)?.size();
    if width.max(height) > MAX_SIDE {
        return Err(refuse(format!("is {height} x {width} pixels; no side may be longer than {MAX_SIDE}")));
    }
    let mut reader = decoder.read_info().map_err(no_png)?;
    let bytes = reader.output_buffer_size().filter(|&bytes| bytes <= MAX_BYTES);
    let mut samples = vec![0; bytes.ok_or_else(|| refuse(format!("needs more than {MAX_BYTES} bytes")))?];
    let frame = reader.next_frame(&mut samples).map_err(no_png)?;
    samples.truncate(frame.buffer_size());
    let pixels = match frame.color_type {
        ColorType::Grayscale => {
            samples.chunks_exact(1).map(|pixel| on_white(gray(pixel[0], pixel[0], pixel[0]), 255)).collect()
        }
        ColorType::GrayscaleAlpha => {
            samples.chunks_exact(2).map(|pixel| on_white(gray(pixel[0], pixel[0], pixel[0]), pixel[1])).collect()
        }
        ColorType::Rgb => {
            samples.chunks_exact(3).map(|pixel| on_white(gray(pixel[0], pixel[1], pixel[2]), 255)).collect()
        }
        ColorType::Rgba => {
            samples.chunks_exact(4).map(|pixel| on_white(gray(pixel[0], pixel[1], pixel[2]), pixel[3])).collect()
        }
        ColorType::Indexed => return Err(refuse("has a palette that could not be resolved".into())),
    };
    Ok(Picture { pixels, size: (height as usize, width as usize) })
}

/// The brightness of a color, from 0 to 1 (ITU-R BT.709).
fn gray(red: u8, green: u8, blue: u8) -> f32 {
    (0.2126 * red as f32 + 0.7152 * green as f32 + 0.0722 * blue as f32) / 255.0
}

/// A gray with this opacity on white paper.
fn on_white(gray: f32, opacity: u8) -> f32 {
    1.0 - (1.0 - gray) * opacity as f32 / 255.0
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
    let side = |pixels: usize| u32::try_from(pixels * zoom).ok().filter(|side| (1..=MAX_SIDE).contains(side));
    let (Some(rows), Some(columns)) = (side(height), side(width)) else {
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
    fn colors_become_gray_on_white() {
        assert!((gray(255, 255, 255) - 1.0).abs() < 1e-6 && gray(0, 255, 0) > gray(255, 0, 0));
        assert_eq!((on_white(0.0, 0), on_white(0.0, 255), on_white(0.25, 255)), (1.0, 0.0, 0.25));
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.png");
        std::fs::write(&path, "not a picture").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("text.png: is no PNG picture"), "{message}");
        let message = read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("is not a file"), "{message}");
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
        assert!(message.contains("bomb.png: is 1 x 2147483647 pixels"), "{message}");
    }

    /// The checksum of a PNG chunk (ISO 3309).
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
