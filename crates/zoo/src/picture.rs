//! PNG files to numbers and back.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use image::{GrayImage, ImageFormat, ImageReader, Limits, Luma};
use thalweg::prelude::*;

use crate::error::ZooError;

/// No side may be longer.
const MAX_SIDE: u32 = 16_384;
/// No file may need more memory.
const MAX_BYTES: u64 = 1 << 30;

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
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let mut reader = ImageReader::with_format(BufReader::new(std::io::Cursor::new(bytes)), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| refuse(format!("is no PNG picture that can be read: {error}")))?;
    let image = image.to_luma_alpha32f();
    let pixels = image.pixels().map(|pixel| pixel.0[0] * pixel.0[1] + 1.0 - pixel.0[1]).collect();
    Ok(Picture { pixels, size: (image.height() as usize, image.width() as usize) })
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
    let drawn = GrayImage::from_fn(columns, rows, |x, y| {
        let pixel = pixels[y as usize / zoom * width + x as usize / zoom];
        Luma([(pixel / most * 255.0).round().clamp(0.0, 255.0) as u8])
    });
    drawn.save_with_format(path, ImageFormat::Png).map_err(|error| refuse(format!("cannot be written: {error}")))
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
        assert!(message.contains("bomb.png: is no PNG picture that can be read"), "{message}");
    }

    /// The checksum of a PNG chunk (ISO 3309).
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
