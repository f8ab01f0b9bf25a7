//! Classifiers of texts and of sounds.

use std::collections::BTreeMap;

use thalweg_data::audio::Sound;
use thalweg_data::{Dataset, Sequences};

use super::{Prediction, Trained, TrainedError};

impl Trained {
    /// Which class a text is of. It becomes tokens as those did that the model was trained on.
    ///
    /// # Errors
    /// If the model was not trained on texts of one column, or is no classifier; if there is no token in the text, or none that
    /// the model knows.
    pub fn predict_text(&self, text: &str) -> Result<Prediction, TrainedError> {
        let (column, encoding) = self.only("text", &self.card.prepare.texts)?;
        self.predict_sequence(column, Sequences::of_tokens([encoding.encode(text)?])?)
    }

    /// Which class a sound is of. It becomes frames as those did that the model was trained on.
    ///
    /// # Errors
    /// If the model was not trained on sounds of one column, or is no classifier; if the sound is shorter than a frame.
    pub fn predict_sound(&self, sound: &Sound) -> Result<Prediction, TrainedError> {
        let (column, encoding) = self.only("sound", &self.card.prepare.sounds)?;
        self.predict_sequence(column, Sequences::of_arrays(&[encoding.encode(sound)?])?)
    }

    /// The only encoding of those that a model has.
    pub(super) fn only<'e, E>(
        &self,
        what: &str,
        encodings: &'e BTreeMap<String, E>,
    ) -> Result<(&'e str, &'e E), TrainedError> {
        match encodings.first_key_value() {
            Some((column, encoding)) if encodings.len() == 1 => Ok((column, encoding)),
            _ => Err(self.refusal(format!("a {what} for one of {} columns of {what}s", encodings.len()))),
        }
    }

    /// Which class the only row of a column is of.
    fn predict_sequence(&self, column: &str, row: Sequences) -> Result<Prediction, TrainedError> {
        Ok(self.predict_data(&Dataset::of_sequences(column, row))?.swap_remove(0))
    }
}
