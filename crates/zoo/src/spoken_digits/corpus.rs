//! Recordings in parts that share no speaker, and what is made of them.

use std::collections::BTreeSet;
use std::path::Path;

use thalweg::data::audio::{Sound, SoundEncoding, SpokenDigit, spoken_digits};
use thalweg::data::{DataError, Random, Sequences};

/// Samples a second; other recordings are resampled.
pub(super) const RATE: u32 = 8000;
/// Samples of a frame: 32 ms.
const FRAME: usize = 256;
/// Samples from one frame to the next: 10 ms.
const HOP: usize = 80;
/// Mel bands.
pub(super) const BANDS: usize = 40;
/// Batches are as long as a multiple of this, so that there are few lengths to compile.
pub(super) const MULTIPLE: usize = 16;

/// Recordings in three parts, none of which has a speaker of another.
pub(super) struct Speakers {
    pub(super) train: Vec<SpokenDigit>,
    pub(super) valid: Vec<SpokenDigit>,
    pub(super) test: Vec<SpokenDigit>,
}

/// The recordings in `folder`, or in its folder `recordings`, all at [`RATE`].
pub(super) fn read(folder: &Path) -> Result<Vec<SpokenDigit>, DataError> {
    let inner = folder.join("recordings");
    let mut recordings = spoken_digits(if inner.is_dir() { &inner } else { folder })?;
    for SpokenDigit { sound, .. } in &mut recordings {
        *sound = sound.resampled(RATE)?;
    }
    Ok(recordings)
}

/// The speakers in the order of their names.
pub(super) fn names(recordings: &[SpokenDigit]) -> Vec<String> {
    recordings.iter().map(|recording| recording.speaker.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

impl Speakers {
    /// The last speaker in the order of their names is for the test, the one before to choose by.
    pub(super) fn split(recordings: Vec<SpokenDigit>) -> Result<Speakers, DataError> {
        let n = names(&recordings).len();
        Speakers::fold(recordings, n, n.saturating_sub(1))
    }

    /// Of `k` groups of speakers this one for the test, the one before to choose by.
    pub(super) fn fold(recordings: Vec<SpokenDigit>, k: usize, group: usize) -> Result<Speakers, DataError> {
        let speakers = names(&recordings);
        if k < 3 || k > speakers.len() {
            let reason = "one is for the test, one to choose by and at least one to learn from; there are at most as many \
                          groups as speakers";
            let setting = format!("{k} groups of {} speakers ({})", speakers.len(), speakers.join(", "));
            return Err(DataError::Setting { setting, reason: reason.into() });
        }
        let (mut train, mut valid, mut test) = (Vec::new(), Vec::new(), Vec::new());
        for recording in recordings {
            let speaker = speakers.iter().position(|name| *name == recording.speaker).unwrap_or(0);
            match speaker % k {
                of if of == group => test.push(recording),
                of if of == (group + k - 1) % k => valid.push(recording),
                _ => train.push(recording),
            }
        }
        Ok(Speakers { train, valid, test })
    }
}

/// Also a tenth lower and slower, a tenth higher and faster: so to speak three voices of each speaker.
pub(super) fn in_other_voices(recordings: Vec<SpokenDigit>) -> Result<Vec<SpokenDigit>, DataError> {
    let mut voices = Vec::with_capacity(3 * recordings.len());
    for recording in recordings {
        for rate in [RATE / 10 * 11, RATE / 10 * 9] {
            let sound = Sound { rate: RATE, ..recording.sound.resampled(rate)? };
            let speaker = format!("{} at {rate}", recording.speaker);
            voices.push(SpokenDigit { sound, speaker, ..recording.clone() });
        }
        voices.push(recording);
    }
    Ok(voices)
}

/// How sounds become frames, not yet normalized.
pub(super) fn frames() -> Result<SoundEncoding, DataError> {
    SoundEncoding::new(RATE, FRAME, HOP, BANDS)
}

/// The frames of sounds, padded with silence.
pub(super) fn column<'s>(
    sounds: impl IntoIterator<Item = &'s Sound>,
    encoding: &SoundEncoding,
) -> Result<Sequences, DataError> {
    let frames: Result<Vec<_>, _> = sounds.into_iter().map(|sound| encoding.encode(sound)).collect();
    Sequences::of_arrays(&frames?)?.padded_with(encoding.silence()).padded_to_multiple(MULTIPLE)
}

/// Digits that one speaker says one after the other.
pub(super) struct Said {
    pub(super) sound: Sound,
    pub(super) digits: Vec<i64>,
}

/// The longest pause between two digits, in samples: 150 ms.
const PAUSE: i32 = RATE as i32 * 3 / 20;

/// The noise of a pause, beside the loudest of a recording: 60 dB less.
const NOISE: f32 = 1e-3;

/// `count` strings of 1 to `longest` digits, each joined from recordings of one speaker that are drawn at random. Before every
/// second digit or so stands a pause of up to 150 ms with faint noise; the others follow at once.
pub(super) fn strings(recordings: &[SpokenDigit], count: usize, longest: usize, seed: u64) -> Vec<Said> {
    let speakers = names(recordings);
    let of = |name: &String| recordings.iter().filter(|recording| recording.speaker == *name).collect::<Vec<_>>();
    let by_speaker: Vec<Vec<&SpokenDigit>> = speakers.iter().map(of).collect();
    let string = |row: usize| {
        let mut random = Random::new(seed, 0, "strings of digits", row as u64);
        let mut draw = |n: usize| random.within(0..=n as i32 - 1) as usize;
        let by_speaker = &by_speaker[draw(by_speaker.len())];
        let recordings: Vec<&SpokenDigit> = (0..=draw(longest)).map(|_| by_speaker[draw(by_speaker.len())]).collect();
        let mut samples: Vec<f32> = Vec::new();
        for recording in &recordings {
            let sound = recording.sound.mono();
            if !samples.is_empty() && random.chance(0.5) {
                let loudest = sound.iter().fold(0.0f32, |loudest, x| loudest.max(x.abs()));
                let pause = random.within(0..=PAUSE);
                samples.extend((0..pause).map(|_| NOISE * loudest * random.normal()));
            }
            samples.extend(sound);
        }
        let digits = recordings.iter().map(|recording| recording.digit).collect();
        Said { sound: Sound::mono_at(RATE, samples), digits }
    };
    (0..count).map(string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(speaker: &str, digit: i64) -> SpokenDigit {
        let sound = Sound::mono_at(RATE, vec![digit as f32 / 10.0; 800]);
        SpokenDigit { digit, speaker: speaker.into(), take: 0, sound }
    }

    fn recordings(speakers: &[&str]) -> Vec<SpokenDigit> {
        speakers.iter().flat_map(|speaker| [3, 7].map(|digit| recording(speaker, digit))).collect()
    }

    #[test]
    fn no_speaker_is_in_two_parts() {
        let Speakers { train, valid, test } = Speakers::split(recordings(&["b", "d", "a", "c"])).unwrap();
        assert_eq!(
            (names(&train), names(&valid), names(&test)),
            (vec!["a".into(), "b".into()], vec!["c".into()], vec!["d".into()])
        );
        let tested: Vec<String> = (0..4)
            .flat_map(|group| names(&Speakers::fold(recordings(&["a", "b", "c", "d"]), 4, group).unwrap().test))
            .collect();
        assert_eq!(tested, ["a", "b", "c", "d"]);
        let message = Speakers::split(recordings(&["a", "b"])).err().unwrap().to_string();
        assert!(message.contains("2 groups of 2 speakers (a, b)"), "{message}");
        assert!(Speakers::fold(recordings(&["a", "b", "c"]), 4, 0).is_err());
    }

    #[test]
    fn other_voices_are_slower_and_faster() {
        let voices = in_other_voices(vec![recording("a", 3)]).unwrap();
        let lengths: Vec<usize> = voices.iter().map(|voice| voice.sound.len()).collect();
        assert_eq!(lengths, [880, 720, 800]);
        assert!(voices.iter().all(|voice| voice.digit == 3 && voice.sound.rate == RATE));
        assert_eq!(names(&voices).len(), 3);
    }

    #[test]
    fn strings_are_of_one_speaker_and_any_length() {
        let of_one = |speaker: &str, digit| vec![recording(speaker, digit)];
        let said = strings(&[of_one("a", 3), of_one("b", 7)].concat(), 200, 4, 1);
        let mut lengths = BTreeSet::new();
        for Said { sound, digits } in &said {
            assert!(digits.iter().all(|digit| *digit == digits[0]), "{digits:?}");
            let pauses = sound.len() - 800 * digits.len();
            assert!(pauses <= PAUSE as usize * (digits.len() - 1));
            lengths.insert(digits.len());
        }
        assert_eq!(lengths, BTreeSet::from([1, 2, 3, 4]));
        let digits =
            |seed| strings(&recordings(&["a"]), 20, 4, seed).into_iter().map(|said| said.digits).collect::<Vec<_>>();
        assert!(digits(1) == digits(1) && digits(1) != digits(2));
    }
}
