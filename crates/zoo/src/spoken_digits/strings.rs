//! Strings of digits as data sets.

use thalweg::data::text::{Special, TextEncoding, Tokens, Vocabulary};
use thalweg::data::{DataError, Sequences};
use thalweg::prelude::*;
use thalweg::train::Transcriber;

use super::bucketed;
use super::corpus::{self, BANDS, MULTIPLE, Said, Speakers};
use crate::options::Settings;
use crate::recipe::Splits;

/// How digits are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// `3 7`, each digit a token; the first token is the blank. Each needs a frame of so many, and so does what separates two
    /// that are alike.
    Digits { frames: usize },
    /// `three seven`, each letter a token, between the tokens of beginning and end.
    Letters,
}

const WORDS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

impl Writing {
    fn text(self, digits: &[i64]) -> String {
        let word = |&digit: &i64| match self {
            Writing::Digits { .. } => digit.to_string(),
            Writing::Letters => WORDS[digit as usize].to_string(),
        };
        digits.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    fn encoding(self) -> Result<TextEncoding, DataError> {
        let all = [self.text(&(0..10).collect::<Vec<_>>())];
        let options = Vocabulary::options();
        match self {
            Writing::Digits { .. } => {
                TextEncoding::of_texts(Tokens::Words, false, &options.specials(&[Special::Pad]), all)
            }
            Writing::Letters => {
                let specials = [Special::Pad, Special::Start, Special::End];
                TextEncoding::of_texts(Tokens::Characters, false, &options.specials(&specials), all)
            }
        }
    }

    /// The tokens of digits, as a model learns to say them.
    fn tokens(self, digits: &[i64], encoding: &TextEncoding) -> Result<Vec<i64>, DataError> {
        let tokens = encoding.encode(&self.text(digits))?;
        match self {
            Writing::Digits { .. } => Ok(tokens),
            Writing::Letters => {
                let [start, end] = [Special::Start, Special::End].map(|special| encoding.vocabulary.need(special));
                Ok([vec![start?], tokens, vec![end?]].concat())
            }
        }
    }
}

/// What seeds the strings that are held out, whatever the seed of the training, so that all are measured by the same.
const HELD_OUT: [u64; 2] = [101, 102];

/// A string that is held out for each five that are learned from.
const SHARE: usize = 5;

/// Strings of digits by the speakers of each part.
pub(super) fn data(speakers: Speakers, settings: &Settings, writing: Writing) -> Result<Splits, DataError> {
    let Speakers { train, valid, test } = speakers;
    let train = if settings.get("voices") != 0.0 { corpus::in_other_voices(train)? } else { train };
    let (count, longest) = (settings.get("strings") as usize, settings.get("longest") as usize);
    let train = corpus::strings(&train, count, longest, settings.seed);
    let sounds = corpus::frames()?.standardized(train.iter().map(|said| &said.sound))?;
    let texts = writing.encoding()?;
    let data = |strings: &[Said]| {
        let said: Result<Vec<_>, _> = strings.iter().map(|said| writing.tokens(&said.digits, &texts)).collect();
        let said = Sequences::of_tokens(said?)?;
        let heard = corpus::column(strings.iter().map(|said| &said.sound), &sounds)?;
        if let Writing::Digits { frames } = writing {
            said.check_alignable(heard.lengths().map(|length| length.div_ceil(frames)))?;
        }
        Dataset::of_sequences(Transcriber::SOUND, heard).with_sequences(Transcriber::SAID, said)
    };
    let held_out = |recordings: &[_], seed| corpus::strings(recordings, count.div_ceil(SHARE), longest, seed);
    let valid = data(&held_out(&valid, HELD_OUT[0]))?;
    let in_training = bucketed(TrainingData::new(data(&train)?, valid)?);
    let in_training = in_training.sounds(Transcriber::SOUND, &sounds)?.texts(Transcriber::SAID, &texts)?;
    Ok(Splits { data: in_training, test: Some(data(&held_out(&test, HELD_OUT[1]))?) })
}

/// Silence, [`Settings::batch`] rows, in which a digit is said.
pub(super) fn blank(settings: &Settings, writing: Writing) -> Result<TrainingData, DataError> {
    let (sounds, texts) = (corpus::frames()?, writing.encoding()?);
    let rows = settings.batch.max(1);
    let silence = Sequences::of_arrays(&vec![Array::zeros(&[MULTIPLE, BANDS], f32); rows])?;
    let said = Sequences::of_tokens(vec![writing.tokens(&[0], &texts)?; rows])?;
    let data = Dataset::of_sequences(Transcriber::SOUND, silence).with_sequences(Transcriber::SAID, said)?;
    TrainingData::new(data.clone(), data)?.sounds(Transcriber::SOUND, &sounds)?.texts(Transcriber::SAID, &texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_written_and_read() {
        let said = [3, 3, 0];
        for (writing, text, count) in
            [(Writing::Digits { frames: 4 }, "3 3 0", 3), (Writing::Letters, "three three zero", 18)]
        {
            let encoding = writing.encoding().unwrap();
            let tokens = writing.tokens(&said, &encoding).unwrap();
            assert_eq!((&*encoding.text(&tokens).unwrap(), tokens.len()), (text, count));
            assert!(!tokens.contains(&0), "0 is the blank, and pads");
        }
        assert_eq!(
            Writing::Digits { frames: 4 }.tokens(&[0, 9], &Writing::Digits { frames: 4 }.encoding().unwrap()).unwrap(),
            [1, 10]
        );
    }
}
