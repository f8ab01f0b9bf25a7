//! [`Responder`]: a model that answers a text with a text, such as a translation or a reply.

use std::collections::BTreeSet;

use thalweg_data::text::{Special, TextEncoding};
use thalweg_data::{Batch, DataError, Dataset, Loader};
use thalweg_run::graph::Array;
use thalweg_run::{Feeds, Session, feeds};

use super::{Function, Trained, TrainedError};
use crate::decoding::{Beam, DecodeError, Limits, greedy};
use crate::fit::FitError;

/// A model that reads a text and then says another. It is asked through two [`Function`]s: [`ENCODE`](Responder::ENCODE)
/// takes the columns `source`, i64 `[rows, source_time]`, and `source.mask` to what the other begins with: its outputs
/// become the first states of [`NEXT`](Responder::NEXT), whose other states begin with zeros. That takes the column
/// `token`, i64 `[rows, 1]`, to the logits `[rows, tokens]` of what comes next and, of a model with attention, to the weights
/// `[rows, source_time]` with which it looked at the source. A third, [`TRIGGER`](Responder::TRIGGER), is asked whether a reply
/// is to be suggested at all.
#[derive(Clone, Copy, Debug)]
pub struct Responder<'a> {
    session: &'a Session,
    encode: &'a Function,
    next: &'a Function,
    trigger: Option<&'a Function>,
    source: &'a TextEncoding,
    reply: &'a TextEncoding,
}

/// How replies are searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// How many beginnings are kept, how many replies are wanted, how unlike each other.
    pub beam: Beam,
    /// How many tokens a reply has at most; twice as many as the source and ten, if not said, within
    /// [`LONGEST`](Responder::LONGEST).
    pub length: Option<usize>,
    /// How replies begin.
    pub begin: String,
}

/// What a model says to a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The whole reply, its given beginning included.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<i64>,
    /// The logarithm of its probability, given the text and the beginning.
    pub log_probability: f64,
    /// By which replies are ranked: the logarithm, normalized by length where the search does so.
    pub score: f64,
    /// Whether the model ended it, and not the limit.
    pub ended: bool,
}

/// Where a model looked while it said a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// `[reply, source]`: for each token of the reply how much each token of the source counted; each row adds up to 1.
    pub weights: Array,
    /// The tokens of the source.
    pub source: Vec<String>,
    /// The tokens of the reply and its end.
    pub reply: Vec<String>,
}

/// Sources are padded to multiples of this, so that there are few sizes to compile.
const MULTIPLE: usize = 8;

impl<'a> Responder<'a> {
    /// The name of the function that reads.
    pub const ENCODE: &'static str = "encode";

    /// The name of the function that makes a step of a reply.
    pub const NEXT: &'static str = "reply";

    /// The name of the function that says how likely it is that a reply is to be suggested, of a model that knows: it takes the
    /// columns that [`ENCODE`](Responder::ENCODE) takes to probabilities `[rows]`.
    pub const TRIGGER: &'static str = "trigger";

    /// How many tokens a reply has at most, where no other length is asked for.
    pub const LONGEST: usize = 200;

    /// Of functions whose variables have their values in `session`.
    pub fn new(
        session: &'a Session,
        [encode, next]: [&'a Function; 2],
        [source, reply]: [&'a TextEncoding; 2],
    ) -> Responder<'a> {
        Responder { session, encode, next, trigger: None, source, reply }
    }

    /// Of a trained model. Its texts are those of the column `source`, its replies those of the column `input`.
    ///
    /// # Errors
    /// If it does not answer texts.
    pub fn of(trained: &'a Trained) -> Result<Responder<'a>, TrainedError> {
        let functions = [trained.function(Responder::ENCODE)?, trained.function(Responder::NEXT)?];
        let prepare = &trained.card().prepare;
        let responder = Responder::new(trained.session(), functions, [prepare.text("source")?, prepare.text("input")?]);
        Ok(Responder { trigger: trained.function(Responder::TRIGGER).ok(), ..responder })
    }

    /// Whether the model knows when to be silent.
    pub fn has_trigger(&self) -> bool {
        self.trigger.is_some()
    }

    /// How likely it is that a reply to the text is to be suggested; of a model that has a [trigger](Responder::TRIGGER).
    ///
    /// # Errors
    /// If the text or the tag is none that [`replies`](Responder::replies) takes.
    pub fn wanted(&self, tag: Option<&str>, text: &str) -> Result<Option<f64>, FitError> {
        let source = self.source.encode_tagged(tag, text)?;
        let Some(trigger) = self.trigger else { return Ok(None) };
        let (outputs, _) = trigger.call(self.session, feeds_of(&self.batch(&[source])?), &[])?;
        let probability = outputs.first().and_then(|output| output.to_vec::<f64>().first().copied());
        match probability {
            Some(probability) => Ok(Some(probability)),
            None => Err(FitError::Graph(format!("the function `{}` has no output", Responder::TRIGGER))),
        }
    }

    /// The best replies to a text, the best first. A model that knows several kinds of them has [tags](TextEncoding::tags),
    /// one of which is then needed.
    ///
    /// # Errors
    /// If the text is empty or no word of it is known, the beginning has an unknown word, there is no such tag, or the beam is
    /// wider than the vocabulary.
    pub fn replies(&self, tag: Option<&str>, text: &str, search: &Search) -> Result<Vec<Reply>, FitError> {
        let source = self.source.encode_tagged(tag, text)?;
        let mut beginning = vec![self.start()?];
        if !search.begin.is_empty() {
            if let Some(unknown) = self.reply.unknown(&search.begin).first() {
                let reason = format!("the model does not know `{unknown}`, and cannot go on from it");
                return Err(FitError::Setting { setting: format!("the beginning `{}`", search.begin), reason });
            }
            beginning.extend(self.reply.encode(&search.begin)?);
        }
        let given = beginning[1..].to_vec();
        let limits = self.limits(search.length.unwrap_or_else(|| usual_length(source.len())))?;
        let states = self.read(&[source])?;
        let found = search.beam.run(|states, last| self.logits(states, last), states, &[beginning], &limits)?;
        let reply = |hypothesis: crate::decoding::Hypothesis| {
            let tokens = [&given[..], &hypothesis.tokens].concat();
            let (log_probability, score, ended) = (hypothesis.log_probability, hypothesis.score, hypothesis.ended);
            Ok(Reply { text: self.reply.text(&tokens)?, tokens, log_probability, score, ended })
        };
        found.into_iter().flatten().map(reply).collect()
    }

    /// As [`replies`](Responder::replies), for somebody to choose among: each begins with another word, behind the given beginning,
    /// as far as the search finds such.
    ///
    /// # Errors
    /// As `replies`.
    pub fn suggestions(&self, tag: Option<&str>, text: &str, search: &Search) -> Result<Vec<Reply>, FitError> {
        let (given, wanted) = (self.reply.tokens(&search.begin)?.len(), search.beam.wanted());
        let all = Search { beam: search.beam.all(), ..search.clone() };
        let mut firsts = BTreeSet::new();
        let (mut replies, alike): (Vec<Reply>, Vec<Reply>) = self
            .replies(tag, text, &all)?
            .into_iter()
            .partition(|reply| firsts.insert(reply.tokens.get(given).copied()));
        replies.extend(alike.into_iter().take(wanted.saturating_sub(replies.len())));
        replies.truncate(wanted);
        replies.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(replies)
    }

    /// For each source the tokens that are the likeliest, one after the other: not the likeliest reply, but found in one pass.
    ///
    /// # Errors
    /// If a source is empty, or a token of it has no number.
    pub fn greedy(&self, sources: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, FitError> {
        let longest = sources.iter().map(Vec::len).max().unwrap_or(0);
        let limits = self.limits(usual_length(longest))?;
        let beginnings = vec![vec![self.start()?]; sources.len()];
        let said = greedy(|states, last| self.logits(states, last), self.read(sources)?, &beginnings, &limits)?;
        Ok(said.into_iter().map(|hypothesis| hypothesis.tokens).collect())
    }

    /// Where the model looks in a text while it says `reply`.
    ///
    /// # Errors
    /// As [`replies`](Responder::replies); if the model has no attention that could be shown.
    pub fn attention(&self, tag: Option<&str>, text: &str, reply: &Reply) -> Result<Attention, FitError> {
        let source = self.source.encode_tagged(tag, text)?;
        let mut states = self.read(std::slice::from_ref(&source))?;
        let mut weights: Vec<f32> = Vec::new();
        for &token in [self.start()?].iter().chain(&reply.tokens) {
            let (outputs, after) = self.step(&states, &[token])?;
            let Some(looked) = outputs.get(1) else {
                let reason = "the model has no weights of attention that it could show".into();
                return Err(FitError::Graph(reason));
            };
            weights.extend(&looked.to_vec::<f32>()[..source.len()]);
            states = after;
        }
        let words = |encoding: &TextEncoding, tokens: &[i64]| -> Result<Vec<String>, DataError> {
            Ok(encoding.vocabulary.decode(tokens)?.into_iter().map(String::from).collect())
        };
        let said = [&reply.tokens[..], &[self.reply.vocabulary.need(Special::End)?]].concat();
        let weights = Array::new(&[said.len(), source.len()], weights).map_err(DataError::from)?;
        Ok(Attention { weights, source: words(self.source, &source)?, reply: words(self.reply, &said)? })
    }

    fn start(&self) -> Result<i64, DataError> {
        self.reply.vocabulary.need(Special::Start)
    }

    /// At most so many tokens, and none but words.
    fn limits(&self, length: usize) -> Result<Limits, FitError> {
        let vocabulary = &self.reply.vocabulary;
        let specials = [Special::Pad, Special::Unknown, Special::Start].map(|special| vocabulary.special(special));
        let tags = self.reply.tags().map(|tag| vocabulary.id(&format!("<{tag}>")));
        let never = specials.into_iter().chain(tags).flatten();
        Ok(Limits::new(length)?.stop_at([vocabulary.need(Special::End)?]).without(never))
    }

    /// The states before the first step of the replies to these sources.
    fn read(&self, sources: &[Vec<i64>]) -> Result<Vec<Array>, FitError> {
        let batch = self.batch(sources)?;
        self.next.begin(self.encode.call(self.session, feeds_of(&batch), &[])?.0)
    }

    /// These sources, padded.
    fn batch(&self, sources: &[Vec<i64>]) -> Result<Batch, FitError> {
        let rows = self.source.vocabulary.sequences(sources.iter().cloned())?.padded_to_multiple(MULTIPLE)?;
        let data = Dataset::of_sequences("source", rows);
        let nothing = || DecodeError::Setting { setting: "no texts".into(), reason: "at least one is read".into() };
        Loader::new(&data, sources.len().max(1))?.epoch(0)?.next().transpose()?.ok_or_else(|| nothing().into())
    }

    fn step(&self, states: &[Array], last: &[i64]) -> Result<(Vec<Array>, Vec<Array>), FitError> {
        let last = Array::new(&[last.len(), 1], last.to_vec()).map_err(DataError::from)?;
        self.next.call(self.session, feeds! { "token" => &last }, states)
    }

    fn logits(&self, states: &[Array], last: &[i64]) -> Result<(Array, Vec<Array>), FitError> {
        let (outputs, after) = self.step(states, last)?;
        match outputs.into_iter().next() {
            Some(logits) => Ok((logits, after)),
            None => Err(FitError::Graph(format!("the function `{}` has no output", Responder::NEXT))),
        }
    }
}

/// What the functions that read are fed of a batch.
fn feeds_of(batch: &Batch) -> Feeds<'_> {
    feeds! { "source" => &batch["source"], "source.mask" => &batch["source.mask"] }
}

/// How many tokens a reply to so many has at most, if nothing else is said.
fn usual_length(source: usize) -> usize {
    (2 * source + 10).min(Responder::LONGEST)
}
