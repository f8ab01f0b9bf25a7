//! BMP files, without compression: 1, 4 and 8 bits with a palette, 24 and 32 bits, the latter with opacity if the header
//! says so.

use super::Position;
use super::decode::{Limits, Pixels, Samples};

/// The headers are those of Windows: a file header of 14 bytes, then the picture's, whose size comes first.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Pixels, String> {
    let header = Header::read(bytes, limits)?;
    let Header { height, width, bits, .. } = header;
    let line = (width * bits).div_ceil(32) * 4;
    let lines = bytes.get(header.data..).unwrap_or_default();
    if lines.len() < line * height {
        let reason = "is damaged: it ends too early (truncated)";
        return Err(format!("{reason}; {} bytes of pixels where {} are needed", lines.len(), line * height));
    }
    let mut samples = Vec::with_capacity((3 + usize::from(header.opacity)) * height * width);
    for y in 0..height {
        let row = if header.from_the_top { y } else { height - 1 - y };
        header.unpack(&lines[row * line..][..line], row, &mut samples)?;
    }
    let kind = if header.opacity { Samples::Rgba } else { Samples::Rgb };
    Ok(Pixels { height, width, kind, samples, position: Position::default() })
}

struct Header<'a> {
    height: usize,
    width: usize,
    from_the_top: bool,
    bits: usize,
    /// Whether the fourth byte of a pixel is its opacity.
    opacity: bool,
    /// Blue, green, red and nothing for each color.
    palette: &'a [u8],
    /// Where the pixels begin.
    data: usize,
}

impl Header<'_> {
    fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Header<'a>, String> {
        const NONE: u32 = 0;
        const BIT_FIELDS: u32 = 3;
        let truncated = || "is damaged: it ends within its header (truncated)".to_string();
        let u32_at = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or_else(truncated)
        };
        let size = u32_at(14)? as usize;
        if size < 40 {
            return Err(format!(
                "is a BMP picture with a header of {size} bytes, which is not supported (40 and more are)"
            ));
        }
        let (width, height) = (u32_at(18)? as i32, u32_at(22)? as i32);
        let (bits, compression) = ((u32_at(26)? >> 16) as usize, u32_at(30)?);
        if width <= 0 || height == 0 {
            return Err(format!("is damaged: it has no pixels ({width} x {height})"));
        }
        let (height_of, width_of) = (height.unsigned_abs() as usize, width.unsigned_abs() as usize);
        let (height_of, width_of) = limits.check(height_of, width_of, bytes.len())?;
        let plain_fields =
            || -> Result<bool, String> { Ok((u32_at(54)?, u32_at(58)?, u32_at(62)?) == (0xff_0000, 0xff00, 0xff)) };
        match (bits, compression) {
            (1 | 4 | 8 | 24 | 32, NONE) => (),
            (32, BIT_FIELDS) if plain_fields()? => (),
            _ => {
                let kind = format!("{bits} bits a pixel, compression {compression}");
                return Err(format!("is a BMP picture of a kind that is not supported: {kind}"));
            }
        }
        // The mask of opacity stands behind the others, in headers that are long enough.
        let opacity = compression == BIT_FIELDS && size >= 56 && u32_at(66)? == 0xff00_0000;
        let colors = match (bits, u32_at(46)? as usize) {
            (24 | 32, _) => 0,
            (bits, 0) => 1 << bits,
            (bits, colors) => colors.min(1 << bits),
        };
        let palette = bytes.get(14 + size..).and_then(|rest| rest.get(..4 * colors)).ok_or_else(truncated)?;
        Ok(Header {
            height: height_of,
            width: width_of,
            from_the_top: height < 0,
            bits,
            opacity,
            palette,
            data: u32_at(10)? as usize,
        })
    }

    /// Red, green, blue, and opacity if there is one, of the pixels in `line`.
    fn unpack(&self, line: &[u8], y: usize, samples: &mut Vec<u8>) -> Result<(), String> {
        let mut push = |color: &[u8]| {
            samples.extend([color[2], color[1], color[0]]);
            if self.opacity {
                samples.push(color[3]);
            }
        };
        if self.bits >= 24 {
            line.chunks_exact(self.bits / 8).take(self.width).for_each(push);
            return Ok(());
        }
        for x in 0..self.width {
            let number =
                usize::from(line[x * self.bits / 8] >> (8 - self.bits - x * self.bits % 8)) & ((1 << self.bits) - 1);
            let Some(color) = self.palette.get(4 * number..4 * number + 4) else {
                let colors = self.palette.len() / 4;
                return Err(format!("is damaged: the pixel at ({x}, {y}) has color {number} of a palette of {colors}"));
            };
            push(color);
        }
        Ok(())
    }
}
