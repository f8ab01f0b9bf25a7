//! PNG files to numbers and back.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter};
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Encoder, Info, Limits, Transformations};
use thalweg::prelude::*;

use crate::error::ZooError;

/// No picture may have more pixels: those of a good camera.
const MAX_PIXELS: u64 = 1 << 24;
/// Nothing else in a file may need more bytes when it is unpacked.
const MAX_BYTES: usize = 1 << 26;

/// A gray picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// From 0 (black) to 1 (white), row by row.
    pub pixels: Vec<f32>,
    /// Height and width.
    pub size: (usize, usize),
}

/// What a file is that does not begin as PNG files do.
fn other_than_png(beginning: &[u8]) -> Option<&'static str> {
    let begins = |with: &[u8]| beginning.starts_with(with);
    match beginning {
        [] => Some("an empty file"),
        _ if begins(b"\x89PNG\r\n\x1a\n") => None,
        _ if begins(b"\xff\xd8\xff") => Some("a JPEG picture"),
        _ if begins(b"GIF8") => Some("a GIF picture"),
        _ if begins(b"BM") => Some("a BMP picture"),
        _ if begins(b"RIFF") && beginning.get(8..12) == Some(b"WEBP") => Some("a WebP picture"),
        _ if begins(b"%PDF") => Some("a PDF document"),
        _ if begins(b"<svg") || begins(b"<?xml") => Some("a drawing in SVG or another text"),
        _ => Some("something else"),
    }
}

/// The PNG file at `path` in gray. What is transparent is white, or black where more can be seen so (white on nothing).
///
/// # Errors
/// If it cannot be read, is no PNG, is damaged, uses a color that its palette lacks, or has more than 2²⁴ pixels, which is found out before they are decoded.
pub fn read(path: &Path) -> Result<Picture, ZooError> {
    let refuse = |reason: String| ZooError::Picture { path: path.to_path_buf(), reason };
    let kind = std::fs::metadata(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if !kind.is_file() {
        return Err(refuse("is not a file".into()));
    }
    let file = File::open(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let no_png = |error: png::DecodingError| {
        let reason = error.to_string();
        refuse(format!("is no PNG picture that can be read: {}", reason.trim_end_matches('.')))
    };
    let mut file = BufReader::new(file);
    let beginning = file.fill_buf().map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if let Some(what) = other_than_png(beginning) {
        return Err(refuse(format!("is no PNG picture but {what}; save the picture as PNG")));
    }
    let mut decoder = Decoder::new_with_limits(file, Limits { bytes: MAX_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(no_png)?;
    let ((width, height), indexed) = (header.size(), header.color_type == ColorType::Indexed);
    let too_large = || refuse(format!("is too large: it has {width} x {height} pixels, of at most {MAX_PIXELS}"));
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(too_large());
    }
    // Unpacked, a color that the palette lacks would be black.
    decoder.set_transformations(match indexed {
        true => Transformations::IDENTITY,
        false => Transformations::normalize_to_color8() | Transformations::ALPHA,
    });
    let mut reader = decoder.read_info().map_err(no_png)?;
    let mut samples = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    let frame = reader.next_frame(&mut samples).map_err(no_png)?;
    samples.truncate(frame.buffer_size());
    if indexed {
        samples = unpacked(&samples, reader.info(), frame.line_size).map_err(refuse)?;
    }
    let color_type = if indexed { ColorType::Rgba } else { frame.color_type };
    let over: fn(&[u8], f32) -> f32 = match color_type {
        ColorType::GrayscaleAlpha => |pixel, ground| over(f32::from(pixel[0]) / 255.0, pixel[1], ground),
        ColorType::Rgba => |pixel, ground| over(luminance(pixel[0], pixel[1], pixel[2]), pixel[3], ground),
        kind @ (ColorType::Grayscale | ColorType::Rgb | ColorType::Indexed) => {
            return Err(refuse(format!("has pixels of an unexpected kind, {kind:?}")));
        }
    };
    let pixels = |ground| samples.chunks_exact(color_type.samples()).map(move |pixel| over(pixel, ground));
    let contrast = |ground| pixels(ground).fold(0.0, f32::max) - pixels(ground).fold(1.0, f32::min);
    let ground = if contrast(0.0) > contrast(1.0) { 0.0 } else { 1.0 };
    Ok(Picture { pixels: pixels(ground).collect(), size: (height as usize, width as usize) })
}

/// The colors of a picture with a palette, of each pixel red, green, blue and opacity. `lines` holds numbers of colors,
/// several in a byte if they are short, `line_size` bytes a row.
fn unpacked(lines: &[u8], info: &Info<'_>, line_size: usize) -> Result<Vec<u8>, String> {
    let (width, bits) = (info.width as usize, info.bit_depth as usize);
    let palette: Vec<&[u8]> = info.palette.as_deref().unwrap_or_default().chunks_exact(3).collect();
    let opacity = info.trns.as_deref().unwrap_or_default();
    let mut pixels = Vec::with_capacity(4 * width * info.height as usize);
    for (y, line) in lines.chunks_exact(line_size).enumerate() {
        for x in 0..width {
            let byte = line[x * bits / 8];
            let number = usize::from(byte >> (8 - bits - x * bits % 8)) & ((1 << bits) - 1);
            let Some(color) = palette.get(number) else {
                let colors = palette.len();
                return Err(format!("is damaged: the pixel at ({x}, {y}) has color {number} of a palette of {colors}"));
            };
            pixels.extend(*color);
            pixels.push(opacity.get(number).copied().unwrap_or(255));
        }
    }
    Ok(pixels)
}

/// The brightness of a color, from 0 to 1 (ITU-R BT.709).
fn luminance(red: u8, green: u8, blue: u8) -> f32 {
    (0.2126 * f32::from(red) + 0.7152 * f32::from(green) + 0.0722 * f32::from(blue)) / 255.0
}

/// A gray with this opacity on this ground.
fn over(gray: f32, opacity: u8, ground: f32) -> f32 {
    ground + (gray - ground) * f32::from(opacity) / 255.0
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
    fn colors_become_gray_on_their_ground() {
        assert!((luminance(255, 255, 255) - 1.0).abs() < 1e-6 && luminance(0, 255, 0) > luminance(255, 0, 0));
        assert_eq!(
            [over(0.0, 0, 1.0), over(0.0, 255, 1.0), over(0.25, 255, 0.0), over(1.0, 0, 0.0)],
            [1.0, 0.0, 0.25, 0.0]
        );
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
        assert!(message.contains("text.png: is no PNG picture but something else"), "{message}");
        for (bytes, what) in [(&b""[..], "an empty file"), (b"\xff\xd8\xff\xe0 and so on", "a JPEG picture")] {
            std::fs::write(&path, bytes).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains(what) && message.contains("save the picture as PNG"), "{message}");
        }
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
        assert!(message.contains("bomb.png: is too large: it has 2147483647 x 1 pixels"), "{message}");
    }

    /// The checksum of a PNG chunk (ISO 3309).
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
