//! [`SentenceEncoder`]: a sentence as a vector, and what is nearest to it.

use std::path::Path;

use thalweg::data::DataError;
use thalweg::nn::layer::recurrent::Gru;
use thalweg::prelude::*;
use thalweg::train::fit::{Callback, Event, Flow, Moment};
use thalweg::train::weights::{Match, load_weights};
use thalweg::train::{FitError, Function};

use crate::error::ZooError;

/// A network that reads one word after the other; the mean of its states is the vector of a sentence.
#[derive(Clone, Debug, Module)]
pub(crate) struct SentenceEncoder {
    pub(crate) words: Embedding,
    walk: Recurrent<Gru>,
}

impl SentenceEncoder {
    pub(crate) fn new(init: &mut Init, words: usize, features: usize, hidden: usize) -> SentenceEncoder {
        let small = Initializer::Normal { mean: 0.0, std: 0.1 };
        SentenceEncoder {
            words: Embedding::with(init, words, features, small),
            walk: Recurrent::new(Gru::new(init, features, hidden)),
        }
    }

    /// The vectors `[rows, hidden]` of texts `[rows, time]`; where the mask is false there is no word. What is dropped of words is
    /// dropped while they are learned.
    pub(crate) fn vector(&self, text: &Tensor, mask: &Tensor, dropout: &Dropout, cx: &mut Forward) -> Tensor {
        let mut words = self.words.forward(text, cx);
        if self.words.weight.is_trainable() {
            words = dropout.forward(&words, cx);
        }
        // 0 where there is no word.
        let (states, _) = self.walk.run(&words, None, Some(mask), cx);
        states.sum_over(1) / mask.cast(f32).sum_over(1).unsqueeze(-1)
    }

    /// A function that gives the vectors of the texts that it is fed as this column.
    pub(crate) fn function(&self, column: &str) -> Function {
        let text = placeholder(column, i64, ("rows", "time"));
        let mask = placeholder(format!("{column}.mask"), bool, ("rows", "time"));
        Function::new(|cx| vec![self.vector(&text, &mask, &Dropout::new(0.0), cx)])
    }
}

/// An encoder that was trained before.
pub(crate) struct Pretrained {
    trained: Trained,
    pub(crate) features: usize,
    pub(crate) hidden: usize,
}

/// The part of a model that an encoder is.
#[derive(Module)]
struct Part<'n> {
    encoder: &'n SentenceEncoder,
}

impl Pretrained {
    /// That of the run in this folder.
    ///
    /// # Errors
    /// If it is no run of `sentence-vectors`.
    pub(crate) fn open(run: &Path) -> Result<Pretrained, ZooError> {
        let trained = Trained::open(run)?;
        let size = |tensor: &Tensor| tensor.size(-1).number().unwrap_or(0);
        let hidden = size(&trained.function(Trained::SENTENCE_VECTOR)?.outputs()[0]);
        let features = trained.session().variables().get(WORDS).map_or(0, |words| size(words));
        Ok(Pretrained { trained, features, hidden })
    }

    /// Gives `encoder` these weights: a word that was not known gets the vector of unknown words.
    ///
    /// # Errors
    /// If they are those of another net: then nothing has changed.
    pub(crate) fn load(&self, session: &Session, encoder: &SentenceEncoder, words: &[String]) -> Result<(), ZooError> {
        let (before, variables) = (self.trained.session(), self.trained.session().variables());
        let of_encoder = variables.iter().filter(|(name, _)| name.starts_with("encoder."));
        let values = of_encoder.map(|(name, variable)| Ok((name.clone(), before.read(variable)?)));
        let mut values = values.collect::<Result<std::collections::BTreeMap<_, _>, ZooError>>()?;
        if let Some(table) = values.get(WORDS) {
            let known = &self.trained.card().prepare.text(SENTENCE)?.vocabulary;
            let rows = known
                .encode(words)?
                .into_iter()
                .flat_map(|id| table.rows(id as usize..id as usize + 1).to_vec::<f32>());
            let table = Array::new(&[words.len(), self.features], rows.collect::<Vec<f32>>())?;
            values.insert(WORDS.into(), table);
        }
        let loaded = load_weights(session, &Part { encoder }, values, Match::Exact);
        let named = |error| ZooError::setting(format!("weights {}", self.trained.checkpoint().path.display()), error);
        loaded.map(drop).map_err(|error| named(error.to_string()))
    }
}

/// The table of the words in a model whose encoder is called so.
const WORDS: &str = "encoder.words.weight";

/// The column of the sentences that a run of `sentence-vectors` reads.
pub(crate) const SENTENCE: &str = crate::seq2seq::SOURCE;

/// Writes sentences that were learned from beside the run, so that the nearest to others can be found.
pub(crate) struct Sentences(Vec<String>);

impl Sentences {
    /// Of the texts in this column; of very many some, evenly spread.
    pub(crate) fn of(data: &TrainingData, column: &str) -> Result<Sentences, DataError> {
        const MOST: usize = 5_000;
        let (texts, encoding) = (data.train().sequences(column)?, data.prepare().text(column)?);
        let (rows, written) = (data.train().len(), data.train().len().min(MOST));
        let text = |n: usize| encoding.text(&texts.row(n * rows / written).to_vec::<i64>());
        Ok(Sentences((0..written).map(text).collect::<Result<_, _>>()?))
    }
}

impl Callback for Sentences {
    /// # Errors
    /// If the file cannot be written.
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        if let (Event::Begin, Some(run)) = (event, moment.run) {
            let path = run.join(Trained::SENTENCES);
            std::fs::write(&path, self.0.join("\n") + "\n").map_err(|error| FitError::Setting {
                setting: path.display().to_string(),
                reason: error.to_string(),
            })?;
        }
        Ok(Flow::Continue)
    }
}
