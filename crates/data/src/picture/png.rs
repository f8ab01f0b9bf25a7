//! PNG files.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Encoder, EncodingError, Info, Transformations};

use super::Picture;
use super::decode::{Limits, Pixels, Samples, memory};
use super::exif::upright;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Pixels, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: memory(bytes.len()) });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(damaged)?;
    let (height, width) = limits.check(header.height as usize, header.width as usize, bytes.len())?;
    let indexed = header.color_type == ColorType::Indexed;
    // Unpacked by the decoder, a color that the palette lacks would be black.
    decoder.set_transformations(match indexed {
        true => Transformations::IDENTITY,
        false => Transformations::normalize_to_color8(),
    });
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader.output_buffer_size().ok_or("is too large")?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    samples.truncate(frame.buffer_size());
    let position = reader.info().exif_metadata.as_deref().map(upright).unwrap_or_default();
    let kind = match frame.color_type {
        ColorType::Grayscale => Samples::Gray,
        ColorType::GrayscaleAlpha => Samples::GrayAlpha,
        ColorType::Rgb => Samples::Rgb,
        ColorType::Rgba => Samples::Rgba,
        ColorType::Indexed => {
            samples = unpacked(&samples, reader.info(), frame.line_size)?;
            Samples::Rgba
        }
    };
    Ok(Pixels { height, width, kind, samples, position })
}

fn damaged(error: DecodingError) -> String {
    match &error {
        DecodingError::IoError(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            "is damaged: it ends too early (truncated)".into()
        }
        DecodingError::LimitsExceeded => "is made to fill memory: it needs more than its size allows".into(),
        DecodingError::IoError(_) | DecodingError::Format(_) | DecodingError::Parameter(_) => {
            let reason = error.to_string();
            format!("is damaged: {}", reason.trim_end_matches('.'))
        }
    }
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

impl Picture {
    /// The bytes of a PNG file of it.
    pub(super) fn to_png(&self) -> Result<Vec<u8>, EncodingError> {
        let side = |pixels: usize| u32::try_from(pixels).map_err(|_| EncodingError::LimitsExceeded);
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, side(self.width)?, side(self.height)?);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(bytes)
    }
}
