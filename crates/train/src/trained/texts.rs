//! Classifiers of texts.

use thalweg_data::{Dataset, Sequences};

use super::{Prediction, Trained, TrainedError};

impl Trained {
    /// Which class a text is of. It becomes tokens as those did that the model was trained on.
    ///
    /// # Errors
    /// If the model was not trained on texts of one column, or is no classifier; if there is no token in the text, or none that
    /// the model knows.
    pub fn predict_text(&self, text: &str) -> Result<Prediction, TrainedError> {
        let texts = &self.card.prepare.texts;
        let (column, encoding) = match texts.first_key_value() {
            Some(found) if texts.len() == 1 => found,
            _ => return Err(self.refusal(format!("a text for one of {} columns of texts", texts.len()))),
        };
        let data = Dataset::of_sequences(column, Sequences::of_tokens([encoding.encode(text)?])?);
        Ok(self.predict_data(&data)?.swap_remove(0))
    }
}
