//! From the bytes of a file to pixels, within limits.

use std::io::{Cursor, ErrorKind};
use std::num::NonZeroU64;
use std::panic::catch_unwind;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};
use image_webp::WebPDecoder;

use super::exif::upright;
use super::{Picture, Position, bmp, jpeg, png};
use crate::transform::panicked;

/// What a picture may ask for. What goes beyond is refused before it is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of a file; 256 MiB unless said.
    pub file_bytes: u64,
    /// The pixels of a picture; 2²⁷, 134 megapixels, unless said. Beyond 2²² a file must have a byte for every 200 of
    /// them, as photos and scans have: what has fewer is made to fill memory.
    pub pixels: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { file_bytes: 256 << 20, pixels: 1 << 27 }
    }
}

impl Limits {
    /// The height and width that a file of `bytes` declares, if they are allowed.
    pub(super) fn check(&self, height: usize, width: usize, bytes: usize) -> Result<(usize, usize), String> {
        let pixels = height as u128 * width as u128;
        let plausible = (1 << 22).max(200 * bytes as u128);
        if pixels == 0 {
            return Err(format!("is damaged: it has no pixels ({width} x {height})"));
        }
        if pixels > u128::from(self.pixels) {
            return Err(format!("is too large: it has {width} x {height} pixels, of at most {}", self.pixels));
        }
        if pixels > plausible {
            let reason = "is made to fill memory";
            return Err(format!("{reason}: it declares {width} x {height} pixels in a file of {bytes} bytes"));
        }
        Ok((height, width))
    }
}

/// How much memory a decoder may take beside the pixels, for a file of `bytes`.
pub(super) fn memory(bytes: usize) -> usize {
    (64 << 20) + 2 * bytes
}

/// What a file holds.
pub(super) struct Pixels {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) kind: Samples,
    /// So many for each pixel as `kind` has.
    pub(super) samples: Vec<u8>,
    /// How it stands upright.
    pub(super) position: Position,
}

/// What the samples of a pixel are.
#[derive(Clone, Copy)]
pub(super) enum Samples {
    Gray,
    GrayAlpha,
    Rgb,
    Rgba,
}

pub(super) const WHITE: [u8; 3] = [255; 3];

/// The picture in `bytes`, on `ground` where it is transparent; the error continues a sentence whose subject is the
/// file.
pub(super) fn decode(bytes: &[u8], limits: &Limits, ground: [u8; 3]) -> Result<Picture, String> {
    let decoder = match kind(bytes)? {
        Kind::Png => png::decode,
        Kind::Jpeg => jpeg::decode,
        Kind::Gif => gif,
        Kind::Bmp => bmp::decode,
        Kind::WebP => webp,
    };
    // What a damaged file makes a decoder do is not for the program to die of.
    let decoded = catch_unwind(|| decoder(bytes, limits));
    let decoded = decoded.unwrap_or_else(|panic| Err(format!("is damaged: the decoder {}", panicked(&*panic))))?;
    let (position, picture) = (decoded.position, opaque(decoded, ground)?);
    Ok(if position == Position::default() { picture } else { picture.turned(position) })
}

enum Kind {
    Png,
    Jpeg,
    Gif,
    Bmp,
    WebP,
}

/// What a file is, by how it begins.
fn kind(bytes: &[u8]) -> Result<Kind, String> {
    let begins = |with: &[u8]| bytes.starts_with(with);
    let other = match bytes {
        _ if begins(b"\x89PNG\r\n\x1a\n") => return Ok(Kind::Png),
        _ if begins(b"\xff\xd8\xff") => return Ok(Kind::Jpeg),
        _ if begins(b"GIF87a") || begins(b"GIF89a") => return Ok(Kind::Gif),
        _ if begins(b"BM") => return Ok(Kind::Bmp),
        _ if begins(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => return Ok(Kind::WebP),
        [] => "an empty file",
        _ if begins(b"\x89PNG") => "a PNG picture that was changed in transfer (as text)",
        _ if begins(b"II*\0") || begins(b"MM\0*") => "a TIFF picture or a camera's raw file",
        _ if bytes.get(4..8) == Some(b"ftyp") => "a HEIC or AVIF picture, or a film",
        _ if begins(b"%PDF") => "a PDF document",
        _ if begins(b"<svg") || begins(b"<?xml") => "a drawing in SVG or another text",
        _ if std::str::from_utf8(&bytes[..bytes.len().min(256)]).is_ok() => "a text",
        _ => "something else",
    };
    Err(format!("is no picture in PNG, JPEG, GIF, BMP or WebP but {other}"))
}

/// On `ground`, without opacity, in color.
fn opaque(Pixels { height, width, kind, samples, .. }: Pixels, ground: [u8; 3]) -> Result<Picture, String> {
    let over = |color: [u8; 3], opacity: u8| {
        let opacity = u32::from(opacity);
        let mix = |x: u8, ground: u8| (u32::from(x) * opacity + u32::from(ground) * (255 - opacity) + 127) / 255;
        [0, 1, 2].map(|channel| mix(color[channel], ground[channel]) as u8)
    };
    let pixels: Vec<u8> = match kind {
        Samples::Rgb => samples,
        Samples::Gray => samples.iter().flat_map(|&x| [x; 3]).collect(),
        Samples::GrayAlpha => samples.chunks_exact(2).flat_map(|x| over([x[0]; 3], x[1])).collect(),
        Samples::Rgba => samples.chunks_exact(4).flat_map(|x| over([x[0], x[1], x[2]], x[3])).collect(),
    };
    Picture::new(height, width, pixels).map_err(|error| format!("is damaged: {error}"))
}

/// The first frame of a GIF file.
fn gif(bytes: &[u8], limits: &Limits) -> Result<Pixels, String> {
    let damaged = |error: gif::DecodingError| match error {
        gif::DecodingError::Io(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            "is damaged: it ends too early (truncated)".to_string()
        }
        other => format!("is damaged: {other}"),
    };
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.check_frame_consistency(true);
    options.set_memory_limit(
        NonZeroU64::new(limits.pixels.saturating_mul(4)).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes),
    );
    let mut decoder = options.read_info(Cursor::new(bytes)).map_err(damaged)?;
    let (height, width) = limits.check(decoder.height().into(), decoder.width().into(), bytes.len())?;
    let frame = decoder.read_next_frame().map_err(damaged)?.ok_or("is damaged: it has no frame")?;
    // The frame may fill a part of the screen; the rest is transparent.
    let mut samples = vec![0; 4 * height * width];
    let (left, frame_width) = (usize::from(frame.left), usize::from(frame.width).max(1));
    let rows = samples.chunks_exact_mut(4 * width).skip(frame.top.into());
    for (to, row) in rows.zip(frame.buffer.chunks_exact(4 * frame_width)) {
        to[4 * left..][..4 * frame_width].copy_from_slice(row);
    }
    Ok(Pixels { height, width, kind: Samples::Rgba, samples, position: Position::default() })
}

/// The first frame of a WebP file.
fn webp(bytes: &[u8], limits: &Limits) -> Result<Pixels, String> {
    let damaged = |error: image_webp::DecodingError| match error {
        image_webp::DecodingError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            "is damaged: it ends too early (truncated)".to_string()
        }
        other => format!("is damaged: {other}"),
    };
    // The decoder fills up what is missing of the last data.
    let declared = bytes.get(4..8).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
    if bytes.len() as u64 - 8 < u64::from(declared) {
        return Err("is damaged: it ends too early (truncated)".into());
    }
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    decoder.set_memory_limit(memory(bytes.len()));
    let (width, height) = decoder.dimensions();
    let (height, width) = limits.check(height as usize, width as usize, bytes.len())?;
    let kind = if decoder.has_alpha() { Samples::Rgba } else { Samples::Rgb };
    let mut samples = vec![0; decoder.output_buffer_size().ok_or("is too large")?];
    decoder.read_image(&mut samples).map_err(damaged)?;
    let position = decoder.exif_metadata().map_err(damaged)?.map(|exif| upright(&exif)).unwrap_or_default();
    Ok(Pixels { height, width, kind, samples, position })
}
