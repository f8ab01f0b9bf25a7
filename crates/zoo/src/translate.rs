//! `translate`: sentences of one language in another, by networks that read one and say the other.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use thalweg::data::DataError;
use thalweg::data::text::{Multi30k, TextEncoding, Tokens, Vocabulary, multi30k, read_pairs};
use thalweg::prelude::*;
use thalweg::train::{FitError, Length, Responder};

use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};
use crate::seq2seq::{Attending, Config, Exchanges, Seq2Seq, WithAttention, bleu, learner, said, sizes, training_data};

/// The recipe `translate`.
pub(crate) struct Translate;

/// The norm beyond which gradients are scaled down: what loops multiply over and over may explode.
const CLIP: f64 = 10.0;

/// Of the transformer.
const HEADS: usize = 4;

impl Recipe for Translate {
    fn name(&self) -> &'static str {
        "translate"
    }

    fn about(&self) -> &'static str {
        "sentences of one language in another; LSTMs with attention, or a transformer"
    }

    fn source(&self) -> Source {
        Source::Folder(
            "Multi30k (`train.en`, `train.fr` …, or the same with `.gz`), or `fra.txt` or `fra-eng.zip` of manythings.org/anki",
        )
    }

    fn defaults(&self, model: Option<&str>) -> Defaults {
        match model {
            Some("transformer") => Defaults { length: Length::Epochs(10), batch: 64, lr: 1e-3, optimizer: "adam" },
            _ => Defaults { length: Length::Epochs(10), batch: 64, lr: 3e-3, optimizer: "adam" },
        }
    }

    fn models(&self) -> &'static [Model] {
        &[
            Model { name: "lstm", about: "LSTMs that look back at what they have read" },
            Model { name: "transformer", about: "attention alone" },
        ]
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting { name: "layers", about: "of encoder and decoder each", default: 2.0, range: (1.0, 16.0) },
                Setting { name: "hidden", about: "units of each layer", default: 256.0, range: (1.0, 8192.0) },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.2, range: (0.0, 0.95) },
                Setting {
                    name: "sampling",
                    about: "the part of words that, at the end, an LSTM is fed of its own in training",
                    default: 0.0,
                    range: (0.0, 1.0),
                },
                Setting { name: "german", about: "1: German in place of French", default: 0.0, range: (0.0, 1.0) },
                Setting {
                    name: "both",
                    about: "1: one model for both directions, told which by a tag before the sentence",
                    default: 0.0,
                    range: (0.0, 1.0),
                },
                Setting { name: "pairs", about: "train on so many sentences; 0: all", default: 0.0, range: (0.0, 1e9) },
                Setting {
                    name: "longest",
                    about: "train on sentences of at most so many words",
                    default: 40.0,
                    range: (1.0, 1000.0),
                },
                Setting {
                    name: "min_count",
                    about: "how often a word occurs at least, not to be unknown",
                    default: 2.0,
                    range: (1.0, 1e6),
                },
            ]
        }
    }

    /// The parts of Multi30k; of other pairs every twentieth English sentence for validation and another for the test, with
    /// all that is said of them. The vocabularies are those of what is trained on.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let Multi30k { train, valid, test } = pairs(folder, settings)?;
        let train = chosen(train, settings);
        let languages = Languages::of(&train, settings)?;
        let data = |pairs: &[(String, String)], longest| languages.dataset(pairs, longest);
        let (train, valid) = (data(&train, settings.get("longest") as usize)?, data(&valid, usize::MAX)?);
        let data = training_data(train, valid, languages.encodings())?;
        Ok(Splits { data, test: Some(languages.dataset(&test, usize::MAX)?) })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let rows = settings.batch.max(settings.get("min_count") as usize);
        let pairs = vec![("yes".to_string(), "oui".to_string()); rows];
        let languages = Languages::of(&pairs, settings)?;
        let data = languages.dataset(&pairs[..settings.batch.clamp(1, rows)], usize::MAX)?;
        training_data(data.clone(), data, languages.encodings())
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let (hidden, layers) = (settings.get("hidden") as usize, settings.get("layers") as usize);
        let (tokens, dropout) = (sizes(&data)?, settings.get("dropout"));
        let optimizer = settings.optimizer(settings.lr)?.clip_norm(CLIP);
        match settings.model {
            Some("transformer") => {
                if !hidden.is_multiple_of(2 * HEADS) {
                    let reason = format!("of a transformer it is a multiple of {}, for {HEADS} heads", 2 * HEADS);
                    return Err(ZooError::setting(format!("hidden = {hidden}"), reason));
                }
                if settings.get("sampling") != 0.0 {
                    let reason =
                        "a transformer sees all words of a sentence at once; `--model lstm` can be fed its own";
                    return Err(ZooError::setting(format!("sampling = {}", settings.get("sampling")), reason));
                }
                let new = |init: &mut Init| Attending::new(init, tokens, (hidden, HEADS, layers), dropout);
                translator(data, Init::build(settings.seed, new), optimizer)
            }
            _ => {
                let given = given(settings, data.train().len());
                let config = Config { tokens, hidden, layers, dropout, given };
                translator(data, Init::build(settings.seed, |init| WithAttention::new(init, &config)), optimizer)
            }
        }
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop)
    }

    /// BLEU of what is said token by token, the likeliest each.
    fn measure(
        &self,
        trained: &Trained,
        _: &TrainingData,
        test: &Dataset,
    ) -> Result<Vec<(&'static str, f64)>, ZooError> {
        Ok(vec![("bleu", bleu(&Responder::of(trained)?, test)?)])
    }
}

/// A model that is trained on translations alone.
fn translator(data: TrainingData, model: impl Seq2Seq + 'static, optimizer: Optimizer) -> Result<Learner, ZooError> {
    let model = Rc::new(model);
    let of_replies = Rc::clone(&model);
    learner(data, &model, move |encoded, columns, cx| said(&*of_replies, encoded, columns, cx), optimizer)
}

/// All words are given at first, and fewer and fewer until the end.
fn given(settings: &Settings, rows: usize) -> Schedule {
    let sampling = settings.get("sampling");
    if sampling == 0.0 {
        return Schedule::Constant(1.0);
    }
    let steps = match settings.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs * (rows.div_ceil(settings.batch * settings.accumulate) as u64),
    };
    Schedule::linear(1.0, 1.0 - sampling, steps.max(1))
}

/// English sentences and their translations, in three parts.
fn pairs(folder: &Path, settings: &Settings) -> Result<Multi30k, DataError> {
    let german = settings.get("german") != 0.0;
    let file = ["fra.txt", "fra-eng.zip"].map(|file| folder.join(file)).into_iter().find(|file| file.exists());
    match file {
        Some(file) if german => {
            let reason = format!("{} has French sentences; Multi30k has German ones", file.display());
            Err(DataError::Setting { setting: "german = 1".into(), reason })
        }
        Some(file) => Ok(split(read_pairs(file)?)),
        None => multi30k(folder, "en", if german { "de" } else { "fr" }),
    }
}

/// Of twenty sentences one for validation, with its first translation, and one for the test; neither they nor their
/// translations are trained on in another pair.
fn split(pairs: Vec<(String, String)>) -> Multi30k {
    let mut parts = Multi30k { train: Vec::new(), valid: Vec::new(), test: Vec::new() };
    let (mut sentences, mut held_out) = (BTreeSet::new(), BTreeSet::new());
    for (sentence, translation) in &pairs {
        if !sentences.insert(sentence) {
            continue;
        }
        let part = match sentences.len() % 20 {
            10 => &mut parts.valid,
            0 => &mut parts.test,
            _ => continue,
        };
        held_out.extend([sentence.clone(), translation.clone()]);
        part.push((sentence.clone(), translation.clone()));
    }
    let known = |pair: &(String, String)| held_out.contains(&pair.0) || held_out.contains(&pair.1);
    parts.train = pairs.into_iter().filter(|pair| !known(pair)).collect();
    parts
}

/// As many pairs as are asked for, spread evenly over all.
fn chosen(pairs: Vec<(String, String)>, settings: &Settings) -> Vec<(String, String)> {
    let wanted = settings.get("pairs") as usize;
    if wanted == 0 || wanted >= pairs.len() {
        return pairs;
    }
    (0..wanted).map(|n| pairs[n * pairs.len() / wanted].clone()).collect()
}

/// How sentences become tokens: of one direction each language has a vocabulary of its own, of both directions they share one,
/// and a tag says which language is wanted.
struct Languages {
    english: TextEncoding,
    other: TextEncoding,
    /// To English and to the other language.
    tags: Option<[i64; 2]>,
}

impl Languages {
    fn of(train: &[(String, String)], settings: &Settings) -> Result<Languages, DataError> {
        let options = Vocabulary::options().min_count(settings.get("min_count") as usize);
        let english = || train.iter().map(|pair| &pair.0);
        let other = || train.iter().map(|pair| &pair.1);
        if settings.get("both") == 0.0 {
            let english = TextEncoding::of_texts(Tokens::Words, true, &options, english())?;
            let other = TextEncoding::of_texts(Tokens::Words, true, &options, other())?;
            return Ok(Languages { english, other, tags: None });
        }
        let tags = ["<en>", if settings.get("german") != 0.0 { "<de>" } else { "<fr>" }];
        let both = TextEncoding::of_texts(Tokens::Words, true, &options.further(tags), english().chain(other()))?;
        let tags = tags.map(|tag| both.vocabulary.id(tag).expect("a further token of the vocabulary"));
        Ok(Languages { english: both.clone(), other: both, tags: Some(tags) })
    }

    /// Of sources and of replies.
    fn encodings(&self) -> [&TextEncoding; 2] {
        [&self.english, &self.other]
    }

    /// Pairs of at most so many words each, in every direction that is asked for.
    fn dataset(&self, pairs: &[(String, String)], longest: usize) -> Result<Dataset, DataError> {
        let mut exchanges = Exchanges::default();
        for (english, other) in pairs {
            let (english, other) = (self.english.tokens(english)?, self.other.tokens(other)?);
            if english.len() > longest || other.len() > longest {
                continue;
            }
            match self.tags {
                None => exchanges.push(english, other),
                Some([to_english, to_other]) => {
                    exchanges.push([&[to_other], &english[..]].concat(), other.clone());
                    exchanges.push([&[to_english], &other[..]].concat(), english);
                }
            }
        }
        exchanges.dataset(self.encodings())
    }
}
