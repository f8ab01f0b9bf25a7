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
///
/// A model that looks back at so many tokens and no further, its context, has a second one, [`READ`](Generator::READ): it takes
/// the columns `tokens`, i64 `[rows, context]`, and `length`, i64 `[rows]`, to the states of the first behind `length` tokens.
/// A beginning is then read at once. A text that outgrows the context is read again from half a context later on, so that
/// the model always sees the last half of its context, and all of it before it moves on; what it sees depends on the text
/// alone, and not on how much of it was given.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    session: &'a Session,
    next: &'a Function,
    read: Option<&'a Function>,
    encoding: &'a TextEncoding,
}

impl<'a> Generator<'a> {
    /// The name of the function that says what comes next.
    pub const NEXT: &'static str = "next";

    /// The name of the function that reads what was said.
    pub const READ: &'static str = "read";

    /// Of a function whose variables have their values in `session`; tokens are those of `encoding`.
    pub fn new(session: &'a Session, next: &'a Function, encoding: &'a TextEncoding) -> Generator<'a> {
        Generator { session, next, read: None, encoding }
    }

    /// Which reads by this function.
    pub fn reading(self, read: &'a Function) -> Generator<'a> {
        Generator { read: Some(read), ..self }
    }

    /// Of a trained model. Its tokens are those of the column `input`.
    ///
    /// # Errors
    /// If it does not write texts.
    pub fn of(trained: &'a Trained) -> Result<Generator<'a>, TrainedError> {
        let encoding = trained.card().prepare.text("input")?;
        let generator = Generator::new(trained.session(), trained.function(Generator::NEXT)?, encoding);
        Ok(Generator { read: trained.function(Generator::READ).ok(), ..generator })
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
        // A word is written with what stands between it and the word before, which tells all that it needs.
        let mut before: Vec<i64> = tokens.last().filter(|_| !beginning.is_empty()).copied().into_iter().collect();
        let (given, mut window) = match (self.read, tokens.split_last()) {
            (Some(read), Some((last, said))) => (vec![*last], Some(Window::new(read, said)?)),
            (Some(_) | None, _) => (tokens, None),
        };
        let step = |states: &Vec<Array>, last: &[i64]| -> Result<(Array, Vec<Array>), FitError> {
            let read = match &mut window {
                Some(window) => window.say(self.session, last[0])?,
                None => None,
            };
            let last = array(&[last.len(), 1], last.to_vec())?;
            let states = read.as_ref().unwrap_or(states);
            let (mut outputs, states) = self.next.call(self.session, feeds! { "token" => &last }, states)?;
            match outputs.pop() {
                Some(logits) => Ok((logits, states)),
                None => Err(FitError::Graph(format!("the function `{}` has no output", Generator::NEXT))),
            }
        };
        let mut written = String::new();
        let limits = Limits::new(length)?;
        let states = self.next.fresh(&[("rows", 1)])?;
        sampling.run_watched(step, states, &[given], &limits, |now| {
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

/// What a model sees of a text that may be longer than its context.
struct Window<'a> {
    read: &'a Function,
    context: usize,
    /// All that was said.
    said: Vec<i64>,
    /// Where what the model sees begins, once it has seen anything.
    start: Option<usize>,
}

impl<'a> Window<'a> {
    fn new(read: &'a Function, said: &[i64]) -> Result<Window<'a>, FitError> {
        let context = read.column("tokens").and_then(|tokens| tokens.shape().get(1)?.number());
        match context {
            Some(context) if context > 0 => Ok(Window { read, context, said: said.to_vec(), start: None }),
            _ => Err(FitError::Graph(format!(
                "the function `{}` takes no column `tokens` of known width",
                Generator::READ
            ))),
        }
    }

    /// Says one token more; gives the states before it if the text was read again.
    fn say(&mut self, session: &Session, token: i64) -> Result<Option<Vec<Array>>, FitError> {
        let start = window_start(self.said.len() + 1, self.context);
        let states = match self.start {
            Some(known) if known == start => None,
            _ => Some(self.states(session, &self.said[start..])?),
        };
        self.start = Some(start);
        self.said.push(token);
        Ok(states)
    }

    /// The states behind these tokens, fewer than fit.
    fn states(&self, session: &Session, said: &[i64]) -> Result<Vec<Array>, FitError> {
        let mut padded = said.to_vec();
        padded.resize(self.context, 0);
        let (tokens, length) = (array(&[1, self.context], padded)?, Array::from([said.len() as i64]));
        Ok(self.read.call(session, feeds! { "tokens" => &tokens, "length" => &length }, &[])?.0)
    }
}

/// Where what is seen of a text of `length` tokens begins: it moves on by half a context at a time.
fn window_start(length: usize, context: usize) -> usize {
    let move_by = (context / 2).max(1);
    length.saturating_sub(context).div_ceil(move_by) * move_by
}

fn array(shape: &[usize], tokens: Vec<i64>) -> Result<Array, FitError> {
    Ok(Array::new(shape, tokens).map_err(thalweg_data::DataError::from)?)
}

#[cfg(test)]
mod tests {
    use super::window_start;

    #[test]
    fn windows_move_on_when_they_are_full() {
        let starts = |context: usize, lengths: [usize; 6]| lengths.map(|length| window_start(length, context));
        assert_eq!(starts(64, [1, 64, 65, 96, 97, 1000]), [0, 0, 32, 32, 64, 960]);
        assert_eq!(starts(1, [1, 2, 3, 4, 5, 6]), [0, 1, 2, 3, 4, 5]);
        for (length, context) in (1..200).flat_map(|length| (1..40).map(move |context| (length, context))) {
            let seen = length - window_start(length, context);
            assert!(seen <= context && seen >= (context / 2).min(length), "{length} {context}");
        }
    }
}
