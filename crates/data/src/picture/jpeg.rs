//! JPEG files.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decode::{Limits, Pixels, Samples};
use super::exif::upright;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Pixels, String> {
    // Strict: what is damaged is refused. Otherwise the rest of a truncated picture would be gray.
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(1 << 16).set_max_height(1 << 16);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let info = decoder.info().ok_or("is damaged: it has no header")?;
    let (height, width) = limits.check(info.height.into(), info.width.into(), bytes.len())?;
    if !has_end(bytes) {
        return Err("is damaged: it has no end (truncated)".into());
    }
    // The decoder does not make three channels of one.
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (space, kind) = if gray { (ColorSpace::Luma, Samples::Gray) } else { (ColorSpace::RGB, Samples::Rgb) };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let samples = decoder.decode().map_err(damaged)?;
    let position = decoder.exif().map(|exif| upright(exif)).unwrap_or_default();
    Ok(Pixels { height, width, kind, samples, position })
}

/// Whether the segments of a file and its scans lead to a marker of the end (ITU-T T.81, annex B). The decoder fills up
/// what is missing of a last block.
fn has_end(bytes: &[u8]) -> bool {
    const ESCAPED: u8 = 0;
    const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;
    const START: u8 = 0xd8;
    const END: u8 = 0xd9;
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == 0xff) {
        let Some(&marker) = rest.get(at + 1) else { return false };
        // Within a scan come escaped bytes and restarts; a marker may be preceded by any number of 0xff.
        let length = match marker {
            END => return true,
            ESCAPED | START => 2,
            marker if RESTARTS.contains(&marker) => 2,
            0xff => 1,
            _ => match rest.get(at + 2..at + 4) {
                Some(length) => 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
        };
        rest = rest.get(at + length..).unwrap_or_default();
    }
    false
}

fn damaged(error: DecodeErrors) -> String {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => "is damaged: it ends too early (truncated)".into(),
        DecodeErrors::ZeroError => "is damaged: it has no pixels".into(),
        DecodeErrors::Unsupported(what) => format!("is a JPEG picture of a kind that is not supported: {what:?}"),
        other => format!("is damaged: {other:?}"),
    }
}
