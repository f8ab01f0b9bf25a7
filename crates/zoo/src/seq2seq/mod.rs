//! Texts that answer texts: what translation, replies and vectors of sentences have in common.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `lstm` | [`WithAttention`]: two stacks of LSTMs, the second of which looks back at what the first has read |
//! | `transformer` | [`Attending`]: a transformer of encoder and decoder |
//! | `ngrams` | [`NGrams`]: counts, the measure of what claims to know more |
//! | `thought` | [`Thought`]: a sentence becomes one vector, from which it, or its neighbors, are said |
//! | `samples` | what a model says while it is trained |

mod lstm;
mod ngrams;
mod samples;
mod thought;
mod transformer;

use std::rc::Rc;

use thalweg::data::DataError;
use thalweg::data::text::{TextEncoding, exchanges};
use thalweg::nn::loss::SequenceCrossEntropy;
use thalweg::prelude::*;
use thalweg::train::metrics::Bleu;
use thalweg::train::{Columns, FitError, Function, Responder};

pub(crate) use lstm::{Config, WithAttention};
pub(crate) use ngrams::NGrams;
use samples::samples;
pub(crate) use thought::{BEFORE, Size, Thought};
pub(crate) use transformer::Attending;

use crate::error::ZooError;

/// The columns of what is read and of what is said to it; what a model says next is `target`.
pub(crate) const SOURCE: &str = "source";
pub(crate) const REPLY: &str = "input";

/// Batches are as long as a multiple of this, so that there are few lengths to compile.
const MULTIPLE: usize = 8;

/// So many batches at a time are sorted by length and cut again.
const POOL: usize = 50;

/// Rows that are translated at a time.
const ROWS: usize = 64;

/// A model that reads a text and says another.
pub(crate) trait Seq2Seq {
    /// What is kept of texts `[batch, source time]`, present where the mask is true: a row each. These are the first states of
    /// [`next`](Seq2Seq::next).
    fn encode(&self, source: &Tensor, mask: &Tensor, cx: &mut Forward) -> Vec<Tensor>;

    /// Of texts that were encoded, and replies `[batch, time]` that begin with a start token: logits `[batch, time, tokens]` of
    /// what comes next.
    fn logits(&self, encoded: &[Tensor], reply: &Tensor, cx: &mut Forward) -> Tensor;

    /// Of the last token of replies, `[rows, 1]`: logits `[rows, tokens]` of the next one, and with what weights `[rows, source
    /// time]` it looked at the source, if it has such.
    fn next(&self, token: &Tensor, cx: &mut Forward) -> Vec<Tensor>;
}

/// How many tokens a model of these data knows: of sources and of replies.
pub(crate) fn sizes(data: &TrainingData) -> Result<[usize; 2], DataError> {
    Ok([data.prepare().text(SOURCE)?.vocabulary.len(), data.prepare().text(REPLY)?.vocabulary.len()])
}

/// Texts and what is to be said to them, in tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchanges {
    sources: Vec<Vec<i64>>,
    replies: Vec<Vec<i64>>,
}

impl Exchanges {
    pub(crate) fn push(&mut self, source: Vec<i64>, reply: Vec<i64>) {
        self.sources.push(source);
        self.replies.push(reply);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// As columns.
    pub(crate) fn dataset(self, [source, reply]: [&TextEncoding; 2]) -> Result<Dataset, DataError> {
        exchanges(&source.vocabulary, self.sources, &reply.vocabulary, self.replies)?.padded_to_multiple(MULTIPLE)
    }
}

/// Training data of two data sets; texts of like length make a batch.
pub(crate) fn training_data(
    train: Dataset,
    valid: Dataset,
    [source, reply]: [&TextEncoding; 2],
) -> Result<TrainingData, DataError> {
    let data = TrainingData::new(train, valid)?.columns(SOURCE, "target")?;
    let data = data.texts(SOURCE, source)?.texts(REPLY, reply)?;
    Ok(data.augmented(|loader| loader.bucketed(&[REPLY, SOURCE], POOL)))
}

/// The functions of a [`Responder`]: to read, and to say the next token.
fn functions(model: &dyn Seq2Seq) -> [Function; 2] {
    let (source, mask) = source_of_rows();
    let encode = Function::new(|cx| model.encode(&source, &mask, cx));
    [encode, Function::new(|cx| model.next(&placeholder("token", i64, ("rows", 1)), cx))]
}

/// The texts that a function is fed, and where they are no padding.
pub(crate) fn source_of_rows() -> (Tensor, Tensor) {
    let placeholder = |name, dtype| placeholder(name, dtype, ("rows", "source_time"));
    (placeholder(SOURCE, i64), placeholder("source.mask", bool))
}

/// What a model says of the replies of a batch whose sources were encoded: cross-entropy of each token, given those before it.
pub(crate) fn said(model: &dyn Seq2Seq, encoded: &[Tensor], columns: &Columns, cx: &mut Forward) -> Inference {
    let logits = model.logits(encoded, &columns[REPLY], cx);
    let loss = SequenceCrossEntropy::new().of(&logits, &columns["target"], &columns["target.mask"]);
    Inference::new(loss.mean, logits).over(loss.positions)
}

/// A model on its data, and how it is trained: `whole` gets the columns and what is encoded of the sources. It is saved with
/// the functions of a [`Responder`], and shows what it says while it is trained.
pub(crate) fn learner<M: Seq2Seq + 'static>(
    data: TrainingData,
    model: &Rc<M>,
    whole: impl Fn(&[Tensor], &Columns, &mut Forward) -> Inference + 'static,
    optimizer: Optimizer,
) -> Result<Learner, ZooError> {
    let functions = functions(&**model);
    let samples = samples(&data, functions.clone())?;
    let model = Rc::clone(model);
    let learner = Learner::from_columns(data, move |columns, cx| {
        let encoded = model.encode(&columns[SOURCE], &columns["source.mask"], cx);
        whole(&encoded, columns, cx)
    })?;
    let [encode, next] = functions;
    let learner = learner.function(Responder::ENCODE, encode).function(Responder::NEXT, next);
    Ok(learner.optimizer(optimizer).callback(samples))
}

/// Row `row` of a data set of exchanges: the tokens of the source, and those of the reply without the end.
pub(crate) fn exchange(data: &Dataset, row: usize) -> Result<(Vec<i64>, Vec<i64>), DataError> {
    let mut reply = data.sequences("target")?.row(row).to_vec::<i64>();
    reply.pop();
    Ok((data.sequences(SOURCE)?.row(row).to_vec(), reply))
}

/// How much of what the model says token by token is found in the replies of `data`, in per cent.
pub(crate) fn bleu(responder: &Responder<'_>, data: &Dataset) -> Result<f64, FitError> {
    let mut rows = (0..data.len()).map(|row| exchange(data, row)).collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|(source, _)| source.len());
    let mut bleu = Bleu::default();
    for rows in rows.chunks(ROWS) {
        let sources: Vec<Vec<i64>> = rows.iter().map(|(source, _)| source.clone()).collect();
        for (said, (_, reply)) in responder.greedy(&sources)?.iter().zip(rows) {
            bleu.update(said, std::slice::from_ref(reply));
        }
    }
    Ok(100.0 * bleu.value())
}
