//! `sentence-vectors`: a vector for each sentence, from which it, or what stands around it, can be said.

use std::path::Path;
use std::rc::Rc;

use thalweg::data::DataError;
use thalweg::data::text::{TextEncoding, Tokens, Vocabulary};
use thalweg::prelude::*;
use thalweg::train::{FitError, Length};

use crate::error::ZooError;
use crate::options::Settings;
use crate::passages::{self, Passage, split};
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};
use crate::sentence::{SENTENCE, Sentences};
use crate::seq2seq::{BEFORE, Exchanges, REPLY, Size, Thought, learner, sizes, training_data};
use crate::word_vectors::negatives;

/// The recipe `sentence-vectors`.
pub(crate) struct SentenceVectors;

/// The norm beyond which gradients are scaled down: what loops multiply over and over may explode.
const CLIP: f64 = 5.0;

impl Recipe for SentenceVectors {
    fn name(&self) -> &'static str {
        "sentence-vectors"
    }

    fn about(&self) -> &'static str {
        "a vector for each sentence, from which it, or what stands around it, can be said; `reply-or-not --model vectors` tells \
         classes by it"
    }

    fn source(&self) -> Source {
        Source::Folder(passages::SOURCE)
    }

    fn defaults(&self, _: Option<&str>) -> Defaults {
        Defaults { length: Length::Epochs(5), batch: 64, lr: 2e-3, optimizer: "adam" }
    }

    fn models(&self) -> &'static [Model] {
        &[
            Model { name: "autoencoder", about: "the sentence itself is said from its vector" },
            Model {
                name: "skip-thought",
                about: "the sentences before and after it are; for dialogues, and texts of paragraphs",
            },
        ]
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting {
                    name: "features",
                    about: "numbers that stand for a word",
                    default: 128.0,
                    range: (1.0, 4096.0),
                },
                Setting { name: "hidden", about: "numbers of a vector", default: 256.0, range: (1.0, 8192.0) },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.1, range: (0.0, 0.95) },
                Setting {
                    name: "negatives",
                    about: "words drawn for each batch, against which those that are said are set",
                    default: 512.0,
                    range: (1.0, 1e6),
                },
                Setting {
                    name: "min_count",
                    about: "how often a word occurs at least, not to be unknown",
                    default: 3.0,
                    range: (1.0, 1e6),
                },
                Setting {
                    name: "longest",
                    about: "sentences of at most so many words and signs",
                    default: 40.0,
                    range: (1.0, 1000.0),
                },
            ]
        }
    }

    /// Of twenty passages one is held out.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let (train, valid) = split(passages::passages(folder)?);
        let known = encoding(train.iter().flatten(), settings)?;
        let data = |passages: &[Passage]| rows(passages, &known, settings);
        Ok(Splits { data: training_data(data(&train)?, data(&valid)?, [&known, &known])?, test: None })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let words: Vec<String> = (0..settings.get("negatives") as usize).map(|word| word.to_string()).collect();
        let often = std::iter::repeat_n(&words, settings.get("min_count") as usize);
        let known = encoding(often.flatten(), settings)?;
        let data = rows(&[vec!["1".to_string(); settings.batch.max(1) + 2]], &known, settings)?;
        training_data(data.clone(), data, [&known, &known])
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let [words, _] = sizes(&data)?;
        let negatives = negatives(settings, words)?;
        let [features, hidden] = ["features", "hidden"].map(|name| settings.get(name) as usize);
        let size = Size { words, features, hidden, speakers: if is_skip_thought(settings) { 2 } else { 1 } };
        let net = Rc::new(Init::build(settings.seed, |init| Thought::new(init, size, settings.get("dropout"))));
        let (vector, sentences) = (net.encoder.function(SENTENCE), Sentences::of(&data, SENTENCE)?);
        let speaking = Rc::clone(&net);
        let whole =
            move |encoded: &[Tensor], columns: &_, cx: &mut Forward| speaking.said(&encoded[0], columns, negatives, cx);
        let optimizer = settings.optimizer(settings.lr)?.clip_norm(CLIP);
        let learner = learner(data, &net, whole, optimizer)?.callback(sentences);
        Ok(learner.function(Trained::SENTENCE_VECTOR, vector))
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop)
    }
}

fn is_skip_thought(settings: &Settings) -> bool {
    settings.model == Some("skip-thought")
}

/// Words and signs in lower case.
fn encoding<'s>(sentences: impl Iterator<Item = &'s String>, settings: &Settings) -> Result<TextEncoding, DataError> {
    let options = Vocabulary::options().min_count(settings.get("min_count") as usize);
    TextEncoding::of_texts(Tokens::Words, true, &options, sentences)
}

/// Sentences with what is to be said of them.
fn rows(passages: &[Passage], known: &TextEncoding, settings: &Settings) -> Result<Dataset, DataError> {
    let longest = settings.get("longest") as usize;
    let (mut after, mut before) = (Exchanges::default(), Exchanges::default());
    for passage in passages {
        let tokens = passage.iter().map(|sentence| known.tokens(sentence)).collect::<Result<Vec<_>, _>>()?;
        let fits = |sentence: &Vec<i64>| (1..=longest).contains(&sentence.len());
        if is_skip_thought(settings) {
            for three in tokens.windows(3).filter(|three| three.iter().all(fits)) {
                after.push(three[1].clone(), three[2].clone());
                before.push(three[1].clone(), three[0].clone());
            }
        } else {
            tokens.into_iter().filter(fits).for_each(|sentence| after.push(sentence.clone(), sentence));
        }
    }
    if after.is_empty() {
        let reason = match is_skip_thought(settings) {
            true => "nowhere follow three on one another: `skip-thought` needs dialogues, or texts of paragraphs",
            false => "there are none",
        };
        let setting = format!("sentences of at most {longest} words");
        return Err(DataError::Setting { setting, reason: reason.into() });
    }
    let data = after.dataset([known, known])?;
    if !is_skip_thought(settings) {
        return Ok(data);
    }
    let before = before.dataset([known, known])?;
    let column = |name| before.sequences(name).cloned();
    data.with_sequences(BEFORE[0], column(REPLY)?)?.with_sequences(BEFORE[1], column("target")?)
}
