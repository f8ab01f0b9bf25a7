//! `char-lm`: what comes after each character of a text, by recurrent networks that read on from batch to batch.

use std::path::Path;
use std::rc::Rc;

use thalweg::data::DataError;
use thalweg::nn::layer::recurrent::{Gru, Lstm, Rnn};
use thalweg::prelude::*;
use thalweg::train::{FitError, Function, Generator, Length};

use crate::characters::{Characters, INPUT, SOURCE, samples};
use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};

/// The recipe `char-lm`.
pub(crate) struct CharLm;

/// The part of the text, at its end, that is held out.
const HELD_OUT: f64 = 0.2;

/// Numbers that stand for a character.
const FEATURES: usize = 42;

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
        Source::Folder(SOURCE)
    }

    fn defaults(&self, model: Option<&str>) -> Defaults {
        match model {
            Some("lstm") => Defaults { length: Length::Epochs(15), batch: 128, lr: 2e-3, optimizer: "adam" },
            _ => Defaults { length: Length::Epochs(3), batch: 64, lr: 2e-3, optimizer: "adam" },
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

    /// The last fifth of the text is held out. Rows go on where those of the batch before end.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let text = Characters::read(folder, HELD_OUT, lower_case(settings))?;
        Ok(Splits { data: text.rows(time(settings), |rows| rows)?, test: None })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let letters: String = ('a'..='z').chain([' ', '\n']).collect();
        let count = settings.batch * time(settings) + 1;
        Characters::blank(&letters, count, lower_case(settings))?.rows(time(settings), |rows| rows)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let encoding = data.prepare().text(INPUT)?.clone();
        let net = Rc::new(Net::new(settings, encoding.vocabulary.len()));
        let next = Function::new(|cx| {
            let logits = net.logits(&placeholder("token", i64, ("rows", 1)), cx);
            vec![logits.squeeze(1)]
        });
        let samples = samples(next.clone(), None, encoding);
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

fn lower_case(settings: &Settings) -> bool {
    settings.get("lower_case") != 0.0
}

/// The characters of a row.
fn time(settings: &Settings) -> usize {
    settings.get("time") as usize
}
