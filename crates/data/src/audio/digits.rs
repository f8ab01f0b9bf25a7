//! The Free Spoken Digit Dataset.

use std::path::Path;

use super::{Sound, read_wav};
use crate::error::DataError;

/// A recording of one digit.
#[derive(Clone, Debug, PartialEq)]
pub struct SpokenDigit {
    /// Which digit, 0 to 9.
    pub digit: i64,
    /// Who speaks.
    pub speaker: String,
    /// Which recording of this digit by this speaker.
    pub take: usize,
    /// What is heard.
    pub sound: Sound,
}

/// The recordings in `folder`: files `digit_speaker_take.wav`, in the order of digit, speaker and take. The authors
/// test on takes 0 to 4; a stricter test holds out speakers.
///
/// # Errors
/// If the folder cannot be read or holds no such file, or one of the files `*.wav` has another name or is damaged.
pub fn spoken_digits(folder: impl AsRef<Path>) -> Result<Vec<SpokenDigit>, DataError> {
    let folder = folder.as_ref();
    let hint =
        "the recordings of https://github.com/Jakobovski/free-spoken-digit-dataset are files like 7_jackson_3.wav";
    let read = |source| DataError::Read { path: folder.into(), source };
    if !folder.is_dir() {
        return Err(DataError::NoFolder { folder: folder.into(), hint: hint.into() });
    }
    let mut digits = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_none_or(|extension| extension != "wav") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = name.split('_');
        let parts = (parts.next().map(str::parse), parts.next(), parts.next().map(str::parse), parts.next());
        let (Some(Ok(digit @ 0..=9)), Some(speaker), Some(Ok(take)), None) = parts else {
            return Err(DataError::malformed(&path, "the name", "digit_speaker_take.wav", format!("`{name}`")));
        };
        digits.push(SpokenDigit { digit, speaker: speaker.into(), take, sound: read_wav(&path)? });
    }
    if digits.is_empty() {
        return Err(DataError::MissingFile {
            folder: folder.into(),
            file: "0_speaker_0.wav".into(),
            hint: hint.into(),
        });
    }
    digits.sort_by(|a, b| (a.digit, &a.speaker, a.take).cmp(&(b.digit, &b.speaker, b.take)));
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav::tests::wav;

    #[test]
    fn files_are_read_in_order_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let message = spoken_digits(folder.path()).unwrap_err().to_string();
        assert!(message.contains("0_speaker_0.wav") && message.contains("free-spoken-digit-dataset"), "{message}");
        for name in ["3_b_10.wav", "3_b_9.wav", "0_c_0.wav", "notes.txt"] {
            std::fs::write(folder.path().join(name), wav(8000, &[1, 2])).unwrap();
        }
        let digits = spoken_digits(folder.path()).unwrap();
        let places: Vec<_> = digits.iter().map(|digit| (digit.digit, &*digit.speaker, digit.take)).collect();
        assert_eq!(places, [(0, "c", 0), (3, "b", 9), (3, "b", 10)]);
        std::fs::write(folder.path().join("11_b_0.wav"), wav(8000, &[1])).unwrap();
        let message = spoken_digits(folder.path()).unwrap_err().to_string();
        assert!(message.contains("the name: expected digit_speaker_take.wav, found `11_b_0`"), "{message}");
        let message = spoken_digits(folder.path().join("absent")).unwrap_err().to_string();
        assert!(message.contains("absent is no folder"), "{message}");
    }

    #[test]
    fn real_recordings_are_read() {
        let Some(data) = std::env::var_os("THALWEG_DATA").map(std::path::PathBuf::from) else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let digits = spoken_digits(data.join("free-spoken-digit-dataset/recordings")).unwrap();
        assert_eq!(digits.len(), 3000);
        let seconds: f64 = digits.iter().map(|digit| digit.sound.seconds()).sum();
        assert!((seconds / 3000.0 - 0.44).abs() < 0.005, "{seconds}");
    }
}
