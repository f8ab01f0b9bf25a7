//! `char-lm`: what comes after each character of a text, by recurrent networks that read on from batch to batch.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thalweg::array::Array;
use thalweg::data::DataError;
use thalweg::data::text::{TextEncoding, Tokens, Vocabulary, read_text, windows};
use thalweg::nn::layer::recurrent::{Gru, Lstm, Rnn};
use thalweg::prelude::*;
use thalweg::train::decoding::Sampling;
use thalweg::train::fit::{Callback, Event, Flow, Moment};
use thalweg::train::{FitError, Function, Generator, Length};

use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};

/// The recipe `char-lm`.
pub(crate) struct CharLm;

/// The column of the characters that are read; that of what comes next is `target`.
const INPUT: &str = "input";

/// The part of the text, at its end, that is held out.
const HELD_OUT: f64 = 0.2;

/// Numbers that stand for a character.
const FEATURES: usize = 42;

/// Beside a run: what the model wrote while it was trained.
const SAMPLES: &str = "samples.txt";

/// What walks along the text.
type Walk = Box<dyn Layer>;

/// Characters to numbers, layers that walk along them, and what each says of the next character.
#[derive(Debug, Module)]
struct Net {
    characters: Embedding,
    walk: Walk,
    dropout: Dropout,
    output: Linear,
}

impl Net {
    fn new(settings: &Settings, characters: usize) -> Net {
        let hidden = settings.get("hidden") as usize;
        let dropout = Dropout::new(settings.get("dropout"));
        Init::build(settings.seed, |init| Net {
            characters: Embedding::new(init, characters, FEATURES),
            walk: walk(init, settings.model, hidden, &dropout),
            output: Linear::new(init, hidden, characters),
            dropout,
        })
    }

    /// `[rows, time]` of characters to logits `[rows, time, characters]` of those that come next.
    fn logits(&self, characters: &Tensor, cx: &mut Forward) -> Tensor {
        let read = self.walk.forward(&self.characters.forward(characters, cx), cx);
        self.output.forward(&self.dropout.forward(&read, cx), cx)
    }
}

fn walk(init: &mut Init, model: Option<&str>, hidden: usize, dropout: &Dropout) -> Walk {
    match model {
        Some("gru") => Box::new(Stateful { layer: Recurrent::new(Gru::new(init, FEATURES, hidden)) }),
        Some("lstm") => {
            let two = Stacked::new(FEATURES, &[hidden, hidden], |inputs, hidden| {
                Recurrent::new(Lstm::new(init, inputs, hidden))
            });
            Box::new(Stateful { layer: two.dropout(dropout.clone()) })
        }
        _ => Box::new(Stateful { layer: Recurrent::new(Rnn::new(init, FEATURES, hidden)) }),
    }
}

impl Recipe for CharLm {
    fn name(&self) -> &'static str {
        "char-lm"
    }

    fn about(&self) -> &'static str {
        "the next character of a text; recurrent networks, which then write texts of their own"
    }

    fn source(&self) -> Source {
        Source::Folder("one text in UTF-8, in a file *.txt, such as Nietzsche's or Shakespeare's works")
    }

    fn defaults(&self, model: Option<&str>) -> Defaults {
        match model {
            Some("lstm") => Defaults { length: Length::Epochs(15), batch: 128, lr: 2e-3, optimizer: "adam" },
            _ => Defaults { length: Length::Epochs(12), batch: 64, lr: 2e-3, optimizer: "adam" },
        }
    }

    fn models(&self) -> &'static [Model] {
        &[
            Model { name: "rnn", about: "one layer with tanh" },
            Model { name: "gru", about: "one layer with gates" },
            Model {
                name: "lstm", about: "two layers with memory cells and dropout, in cycles of 1, 2, 4, 8 … epochs"
            },
        ]
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting { name: "hidden", about: "units of each layer", default: 512.0, range: (1.0, 8192.0) },
                Setting {
                    name: "time",
                    about: "characters of a row, through which gradients go back",
                    default: 8.0,
                    range: (1.0, 1000.0),
                },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.0, range: (0.0, 0.95) },
                Setting { name: "lower_case", about: "1: the text in lower case", default: 1.0, range: (0.0, 1.0) },
            ]
        }
    }

    /// The last fifth of the text is held out. The vocabulary is that of the whole text: it tells nothing but which characters
    /// there are.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let text = read_text(only_text(folder)?)?;
        let encoding = encoding(&[&text], settings)?;
        let tokens = encoding.encode(&text)?;
        let (train, valid) = tokens.split_at((tokens.len() as f64 * (1.0 - HELD_OUT)) as usize);
        Ok(Splits { data: data(train, valid, &encoding, settings)?, test: None })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let letters: String = ('a'..='z').chain([' ', '\n']).collect();
        let encoding = encoding(&[&letters], settings)?;
        let tokens = vec![0; settings.batch * settings.get("time") as usize + 1];
        data(&tokens, &tokens, &encoding, settings)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let encoding = data.prepare().text(INPUT)?.clone();
        let net = Rc::new(Net::new(settings, encoding.vocabulary.len()));
        let next = Function::new(|cx| {
            let logits = net.logits(&placeholder("token", i64, ("rows", 1)), cx);
            vec![logits.squeeze(1)]
        });
        let samples = Samples { next: next.clone(), encoding, loss: f64::INFINITY };
        let learner = Learner::from_columns(data, move |columns, cx| {
            let logits = net.logits(&columns[INPUT], cx);
            Inference::new(cross_entropy(&logits, &columns["target"]), logits)
        })?;
        let optimizer = settings.optimizer(settings.lr)?.clip_norm(CLIP);
        Ok(learner.function(Generator::NEXT, next).optimizer(optimizer).callback(samples))
    }

    /// One cycle; of `lstm` warm restarts (SGDR), each twice as long as the one before, as many as the epochs have room for.
    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        match (settings.model, settings.length) {
            (Some("lstm"), Length::Epochs(epochs)) => {
                learner.fit_cycles((epochs + 1).ilog2().max(1), 1, 2, settings.lr).map(drop)
            }
            _ => learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop),
        }
    }
}

/// The norm beyond which gradients are scaled down: what loops multiply over and over may explode.
const CLIP: f64 = 5.0;

fn encoding(texts: &[&str], settings: &Settings) -> Result<TextEncoding, DataError> {
    let options = Vocabulary::options().specials(&[]);
    TextEncoding::of_texts(Tokens::Characters, settings.get("lower_case") != 0.0, &options, texts)
}

/// Two parts of a text as rows that go on from batch to batch.
fn data(train: &[i64], valid: &[i64], encoding: &TextEncoding, settings: &Settings) -> Result<TrainingData, DataError> {
    let stream = |tokens: &[i64]| windows(&Array::from(tokens.to_vec()), settings.get("time") as usize);
    TrainingData::new(stream(train)?, stream(valid)?)?.texts(INPUT, encoding)
}

/// The only text in a folder.
fn only_text(folder: &Path) -> Result<PathBuf, DataError> {
    let refused = |reason: String| DataError::Setting { setting: format!("a text in {}", folder.display()), reason };
    let entries = std::fs::read_dir(folder).map_err(|error| refused(error.to_string()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut texts = paths.map_err(|error| refused(error.to_string()))?;
    texts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    match texts.len() {
        1 => Ok(texts.swap_remove(0)),
        n => Err(refused(format!("there are {n} files *.txt; there must be one"))),
    }
}

/// Writes what the model writes into the folder of its run, each time that the loss of what was held out has become smaller
/// by a tenth, and at the end.
struct Samples {
    next: Function,
    encoding: TextEncoding,
    /// That of the last sample.
    loss: f64,
}

/// With what a sample begins, and how long it is.
const BEGINNING: &str = "the ";
const LENGTH: usize = 300;

impl Samples {
    fn write(&self, path: &Path, loss: f64, moment: &Moment<'_>) -> Result<(), FitError> {
        let generator = Generator::new(moment.session, &self.next, &self.encoding);
        let text = generator.write(BEGINNING, LENGTH, &Sampling::new(moment.step), |_| {})?;
        let heading = format!("--- after step {}, held-out loss {loss:.3}", moment.step);
        let written = OpenOptions::new().create(true).append(true).open(path);
        written
            .and_then(|mut file| writeln!(file, "{heading}\n{BEGINNING}{text}\n"))
            .map_err(|error| FitError::Setting { setting: path.display().to_string(), reason: error.to_string() })
    }
}

impl Callback for Samples {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        let (Event::Measured { validation: Some(evaluation), .. }, Some(run)) = (event, moment.run) else {
            return Ok(Flow::Continue);
        };
        if evaluation.loss < 0.95 * self.loss || moment.step == moment.last_step {
            self.write(&run.join(SAMPLES), evaluation.loss, moment)?;
            self.loss = evaluation.loss;
        }
        Ok(Flow::Continue)
    }
}
