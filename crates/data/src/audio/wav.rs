//! WAV files.
//!
//! RIFF chunks (IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991): four letters,
//! a size, so many bytes and one more if the size is odd. `fmt ` says what the numbers of `data` mean.

use std::path::Path;

use super::Sound;
use crate::error::DataError;
use crate::read::read_file;

/// More channels than any recording has.
const MAX_CHANNELS: u16 = 64;

/// The sound in the WAV file at `path`: PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64. Whole numbers are divided
/// by the largest there is, so that samples lie in [-1, 1).
///
/// # Errors
/// If the file cannot be read, is no WAV file, is shorter or longer than its header says, has no samples, no channel or
/// no rate, or another coding (ADPCM, A-law, …), which the message names.
pub fn read_wav(path: impl AsRef<Path>) -> Result<Sound, DataError> {
    let path = path.as_ref();
    parse(path, &read_file(path)?)
}

/// What the chunk `fmt ` says.
struct Format {
    coding: Coding,
    channels: usize,
    rate: u32,
}

/// How a sample is written, least significant byte first.
#[derive(Clone, Copy)]
enum Coding {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Coding {
    fn bytes(self) -> usize {
        match self {
            Coding::U8 => 1,
            Coding::I16 => 2,
            Coding::I24 => 3,
            Coding::I32 | Coding::F32 => 4,
            Coding::F64 => 8,
        }
    }

    /// The sample in these bytes, of which there are as many as it has.
    fn sample(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Coding::U8, &[a]) => (a as f32 - 128.0) / 128.0,
            (Coding::I16, &[a, b]) => i16::from_le_bytes([a, b]) as f32 / 32_768.0,
            (Coding::I24, &[a, b, c]) => (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0,
            (Coding::I32, &[a, b, c, d]) => (i32::from_le_bytes([a, b, c, d]) as f64 / 2_147_483_648.0) as f32,
            (Coding::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Coding::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
            (_, bytes) => unreachable!("a sample of {} bytes", bytes.len()),
        }
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Sound, DataError> {
    let malformed = |place: &str, expected: String, found: String| {
        Err(DataError::malformed(path, format!("WAV {place}"), expected, found))
    };
    let [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'A', b'V', b'E', chunks @ ..] = bytes else {
        let found = format!("{} bytes that begin with {:02x?}", bytes.len(), &bytes[..bytes.len().min(12)]);
        return malformed("header", "`RIFF`, a size, `WAVE`".into(), found);
    };
    let (size, follow) = (u32::from_le_bytes([*a, *b, *c, *d]) as usize, bytes.len() - 8);
    // The byte that fills up the last chunk is counted by some programs and not by others.
    if size != follow && size + size % 2 != follow {
        return malformed("RIFF size", format!("{follow}, the bytes that follow"), size.to_string());
    }
    let (mut format, mut data) = (None, None);
    let mut rest = chunks;
    while let [n0, n1, n2, n3, a, b, c, d, after @ ..] = rest {
        let (name, size) =
            (String::from_utf8_lossy(&[*n0, *n1, *n2, *n3]).into_owned(), u32::from_le_bytes([*a, *b, *c, *d]));
        let Some((content, after)) = after.split_at_checked(size as usize) else {
            return malformed(
                &format!("chunk `{name}`"),
                format!("{size} bytes"),
                format!("{} (truncated)", after.len()),
            );
        };
        match &*name {
            "fmt " => format = Some(content),
            "data" if data.is_none() => data = Some(content),
            _ => {}
        }
        rest = if size % 2 == 1 { after.get(1..).unwrap_or_default() } else { after };
    }
    let Some(format) = format else {
        return malformed("file", "a chunk `fmt `".into(), "none".into());
    };
    let Format { coding, channels, rate } = read_format(path, format)?;
    let Some(data) = data else {
        return malformed("file", "a chunk `data`".into(), "none".into());
    };
    let frame = coding.bytes() * channels;
    if data.is_empty() || !data.len().is_multiple_of(frame) {
        return malformed("chunk `data`", format!("whole frames of {frame} bytes"), format!("{} bytes", data.len()));
    }
    let samples: Vec<f32> = data.chunks_exact(coding.bytes()).map(|bytes| coding.sample(bytes)).collect();
    if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
        return malformed(&format!("sample {at}"), "a finite number".into(), samples[at].to_string());
    }
    let channels = (0..channels).map(|first| samples.iter().skip(first).step_by(channels).copied().collect()).collect();
    Ok(Sound { rate, channels })
}

fn read_format(path: &Path, bytes: &[u8]) -> Result<Format, DataError> {
    const EXTENSIBLE: u16 = 0xfffe;
    let malformed =
        |expected: &str, found: String| Err(DataError::malformed(path, "WAV chunk `fmt `", expected, found));
    let word = |at: usize| bytes.get(at..at + 2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let (Some(tag), Some(channels), Some(low), Some(high), Some(align), Some(bits)) =
        (word(0), word(2), word(4), word(6), word(12), word(14))
    else {
        return malformed("at least 16 bytes", bytes.len().to_string());
    };
    let tag = match tag {
        // The first two bytes of a GUID say what it extends.
        EXTENSIBLE => match word(24) {
            Some(tag) => tag,
            None => return malformed("40 bytes of an extended format", bytes.len().to_string()),
        },
        tag => tag,
    };
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return malformed("1 to 64 channels", channels.to_string());
    }
    let rate = (high as u32) << 16 | low as u32;
    if rate == 0 {
        return malformed("a rate of at least 1 Hz", "0 Hz".into());
    }
    let coding = match (tag, bits) {
        (1, 8) => Coding::U8,
        (1, 16) => Coding::I16,
        (1, 24) => Coding::I24,
        (1, 32) => Coding::I32,
        (3, 32) => Coding::F32,
        (3, 64) => Coding::F64,
        _ => {
            let name = match tag {
                1 => "PCM",
                2 => "Microsoft ADPCM",
                3 => "floats",
                6 => "A-law",
                7 => "µ-law",
                0x11 => "IMA ADPCM",
                0x31 => "GSM 6.10",
                0x55 => "MP3",
                _ => "an unknown coding",
            };
            return malformed(
                "PCM of 8, 16, 24 or 32 bits or floats of 32 or 64",
                format!("{name} (tag {tag}) of {bits}"),
            );
        }
    };
    if usize::from(align) != coding.bytes() * usize::from(channels) {
        let expected = format!("frames of {} bytes", coding.bytes() * usize::from(channels));
        return malformed(&expected, align.to_string());
    }
    Ok(Format { coding, channels: channels.into(), rate })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn chunk(name: &str, content: &[u8]) -> Vec<u8> {
        let mut chunk = [name.as_bytes(), &(content.len() as u32).to_le_bytes(), content].concat();
        if content.len() % 2 == 1 {
            chunk.push(0);
        }
        chunk
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let content = [b"WAVE", &*chunks.concat()].concat();
        [b"RIFF", &(content.len() as u32).to_le_bytes()[..], &content].concat()
    }

    fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let align = bits / 8 * channels;
        let words = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
        let rates = [rate.to_le_bytes(), (rate * align as u32).to_le_bytes()].concat();
        chunk("fmt ", &[words, rates, align.to_le_bytes().to_vec(), bits.to_le_bytes().to_vec()].concat())
    }

    /// A WAV file of one channel of 16 bits.
    pub(crate) fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
        let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        riff(&[format(1, 1, rate, 16), chunk("data", &data)])
    }

    fn read(bytes: &[u8]) -> Result<Sound, DataError> {
        parse(Path::new("s.wav"), bytes)
    }

    fn refusal(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_coding_reads_the_same_sound() {
        let half = |tag, bits, data: &[u8]| {
            let sound = read(&riff(&[chunk("LIST", b"odd"), format(tag, 2, 8000, bits), chunk("data", data)])).unwrap();
            assert_eq!((sound.rate, sound.len()), (8000, 1));
            assert_eq!(sound.channels, [[0.5], [-1.0]], "{tag} {bits}");
            assert_eq!(sound.mono(), [-0.25]);
        };
        half(1, 8, &[192, 0]);
        half(1, 16, &[0, 0x40, 0, 0x80]);
        half(1, 24, &[0, 0, 0x40, 0, 0, 0x80]);
        half(1, 32, &[0, 0, 0, 0x40, 0, 0, 0, 0x80]);
        half(3, 32, &[0.5f32.to_le_bytes(), (-1.0f32).to_le_bytes()].concat());
        half(3, 64, &[0.5f64.to_le_bytes(), (-1.0f64).to_le_bytes()].concat());
        let mut extended = format(0xfffe, 1, 8000, 16)[8..].to_vec();
        extended.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113]);
        assert_eq!(read(&riff(&[chunk("fmt ", &extended), chunk("data", &[0, 0x40])])).unwrap().channels, [[0.5]]);
    }

    #[test]
    fn damaged_files_are_refused_with_the_place() {
        let data = || chunk("data", &[1, 2, 3, 4]);
        let whole = wav(8000, &[1, 2, 3]);
        let mut lies = whole.clone();
        lies[4] += 2;
        for (bytes, part) in [
            (b"RIFX".to_vec(), "s.wav: WAV header: expected `RIFF`, a size, `WAVE`, found 4 bytes"),
            (Vec::new(), "WAV header"),
            (lies, "WAV RIFF size: expected 42, the bytes that follow, found 44"),
            (riff(&[format(1, 1, 8000, 16)]), "WAV file: expected a chunk `data`, found none"),
            (riff(&[data()]), "WAV file: expected a chunk `fmt `, found none"),
            (riff(&[chunk("fmt ", &[1, 0]), data()]), "chunk `fmt `: expected at least 16 bytes, found 2"),
            (riff(&[format(1, 0, 8000, 16), data()]), "expected 1 to 64 channels, found 0"),
            (riff(&[format(1, 1, 0, 16), data()]), "expected a rate of at least 1 Hz, found 0 Hz"),
            (riff(&[format(0x11, 1, 8000, 4), data()]), "found IMA ADPCM (tag 17) of 4"),
            (riff(&[format(1, 1, 8000, 12), data()]), "found PCM (tag 1) of 12"),
            (riff(&[format(0xfffe, 1, 8000, 16), data()]), "expected 40 bytes of an extended format"),
            (riff(&[format(1, 3, 8000, 16), data()]), "chunk `data`: expected whole frames of 6 bytes, found 4 bytes"),
            (riff(&[format(1, 1, 8000, 16), chunk("data", &[])]), "expected whole frames of 2 bytes, found 0 bytes"),
            (riff(&[format(3, 1, 8000, 32), chunk("data", &f32::NAN.to_le_bytes())]), "sample 0: expected a finite"),
        ] {
            let message = refusal(&bytes);
            assert!(message.contains(part), "{message}");
        }
        let mut truncated = riff(&[format(1, 1, 8000, 16), chunk("data", &[0; 100])]);
        truncated.truncate(80);
        truncated[4..8].copy_from_slice(&72u32.to_le_bytes());
        let message = refusal(&truncated);
        assert!(message.contains("chunk `data`: expected 100 bytes, found 36 (truncated)"), "{message}");
        let mut unaligned = wav(8000, &[1, 2]);
        unaligned[32] = 3;
        assert!(refusal(&unaligned).contains("expected frames of 2 bytes, found 3"));
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err());
        }
    }

    #[test]
    fn whatever_a_byte_says_a_file_is_read_or_refused() {
        let whole = riff(&[chunk("LIST", b"odd"), format(1, 2, 8000, 16), chunk("data", &[1, 2, 3, 4, 5, 6, 7, 8])]);
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = value;
                if let Ok(sound) = read(&changed) {
                    assert!(sound.rate > 0 && !sound.is_empty() && sound.mono().len() == sound.len(), "{at} {value}");
                }
            }
        }
    }
}
