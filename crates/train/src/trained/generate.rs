//! [`Generator`]: a model that writes texts, token by token.

use thalweg_data::text::TextEncoding;
use thalweg_run::graph::Array;
use thalweg_run::{Session, feeds};

use super::{Function, Trained, TrainedError};
use crate::decoding::{Limits, Sampling};
use crate::fit::FitError;

/// A model that goes on with texts. It is asked through a [`Function`], [`NEXT`](Generator::NEXT), which takes the column
/// `token`, i64 `[rows, 1]`, to the logits `[rows, tokens]` of what comes next; what was said before stands in its states,
/// whose only named size is `rows`.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    session: &'a Session,
    next: &'a Function,
    encoding: &'a TextEncoding,
}

impl<'a> Generator<'a> {
    /// The name of the function.
    pub const NEXT: &'static str = "next";

    /// Of a function whose variables have their values in `session`; tokens are those of `encoding`.
    pub fn new(session: &'a Session, next: &'a Function, encoding: &'a TextEncoding) -> Generator<'a> {
        Generator { session, next, encoding }
    }

    /// Of a trained model. Its tokens are those of the column `input`.
    ///
    /// # Errors
    /// If it does not write texts.
    pub fn of(trained: &'a Trained) -> Result<Generator<'a>, TrainedError> {
        let encoding = trained.card().prepare.text("input")?;
        Ok(Generator::new(trained.session(), trained.function(Generator::NEXT)?, encoding))
    }

    /// Goes on with `beginning` by at most `length` tokens; `see` is shown each piece of the text as soon as it is written.
    /// Gives what was written. An empty beginning is a line break, or where there is none in the vocabulary, its first token.
    ///
    /// # Errors
    /// If the beginning has a token that the model does not know, or there are fewer tokens than are to be drawn from.
    pub fn write(
        &self,
        beginning: &str,
        length: usize,
        sampling: &Sampling,
        mut see: impl FnMut(&str),
    ) -> Result<String, FitError> {
        let tokens = match beginning {
            "" => vec![self.encoding.vocabulary.id("\n").unwrap_or(0)],
            _ => self.encoding.encode(beginning)?,
        };
        let step = |states: &Vec<Array>, last: &[i64]| -> Result<(Array, Vec<Array>), FitError> {
            let last = Array::new(&[last.len(), 1], last.to_vec()).map_err(thalweg_data::DataError::from)?;
            let (mut outputs, states) = self.next.call(self.session, feeds! { "token" => &last }, states)?;
            match outputs.pop() {
                Some(logits) => Ok((logits, states)),
                None => Err(FitError::Graph(format!("the function `{}` has no output", Generator::NEXT))),
            }
        };
        // A word is written with what stands between it and the word before, which tells all that it needs.
        let mut before: Vec<i64> = tokens.last().filter(|_| !beginning.is_empty()).copied().into_iter().collect();
        let mut written = String::new();
        let limits = Limits::new(length)?;
        let states = self.next.fresh(&[("rows", 1)])?;
        sampling.run_watched(step, states, &[tokens], &limits, |now| {
            for &token in now.iter().flatten() {
                let both = [&before[..], &[token]].concat();
                if let (Ok(last), Ok(text)) = (self.encoding.text(&before), self.encoding.text(&both)) {
                    let piece = text.strip_prefix(last.as_str()).unwrap_or_default();
                    see(piece);
                    written.push_str(piece);
                }
                before = vec![token];
            }
        })?;
        Ok(written)
    }
}
