//! `gpt`: what comes after each character of a text, by a transformer that looks back at a part of the text.

use std::path::Path;
use std::rc::Rc;

use thalweg::data::DataError;
use thalweg::prelude::*;
use thalweg::train::{FitError, Generator, Length};

use crate::characters::{Characters, INPUT, SOURCE, samples};
use crate::error::ZooError;
use crate::language::{Gpt, GptConfig};
use crate::options::Settings;
use crate::recipe::{Defaults, Recipe, Setting, Source, Splits};

/// The recipe `gpt`: sizes, rates and their course are those of the small model of nanoGPT (Karpathy 2022) that is trained
/// without an accelerator.
pub(crate) struct GptRecipe;

/// The part of the text, at its end, that is held out.
const HELD_OUT: f64 = 0.1;

/// What AdamW is set to where the user says nothing.
const ADAMW: [(&str, f64); 3] = [("beta2", 0.99), ("weight_decay", 0.1), ("clip_norm", 1.0)];

/// The part of the steps over which the learning rate rises, and to which part of its height it falls.
const WARM_UP: u64 = 20;
const FALL: f64 = 0.1;

/// Steps after which the model is measured, and may write a sample.
const MEASURED_EVERY: u64 = 500;

impl Recipe for GptRecipe {
    fn name(&self) -> &'static str {
        "gpt"
    }

    fn about(&self) -> &'static str {
        "the next character of a text; a transformer, which then writes texts of its own"
    }

    fn source(&self) -> Source {
        Source::Folder(SOURCE)
    }

    fn defaults(&self, _: Option<&str>) -> Defaults {
        Defaults { length: Length::Steps(2000), batch: 12, lr: 1e-3, optimizer: "adamw" }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting {
                    name: "context",
                    about: "characters that the model sees at most",
                    default: 64.0,
                    range: (1.0, 65536.0),
                },
                Setting {
                    name: "features",
                    about: "numbers that stand for a character",
                    default: 128.0,
                    range: (1.0, 8192.0),
                },
                Setting {
                    name: "heads",
                    about: "heads of each attention; they divide the features",
                    default: 4.0,
                    range: (1.0, 1024.0),
                },
                Setting { name: "blocks", about: "blocks, one on top of the other", default: 4.0, range: (1.0, 256.0) },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.0, range: (0.0, 0.95) },
            ]
        }
    }

    /// The last tenth of the text is held out. A row is a window of the text, seen by itself.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let text = Characters::read(folder, HELD_OUT, false)?;
        Ok(Splits { data: text.rows(context(settings), Dataset::in_any_order)?, test: None })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let known: String = ('A'..='Z').chain('a'..='z').chain("\n !$&',-.3:;?".chars()).collect();
        let count = settings.batch * context(settings) + 1;
        Characters::blank(&known, count, false)?.rows(context(settings), Dataset::in_any_order)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let encoding = data.prepare().text(INPUT)?.clone();
        let config = config(settings, encoding.vocabulary.len())?;
        let gpt = Rc::new(Init::build(settings.seed, |init| Gpt::new(init, config)));
        let [next, read] = gpt.functions();
        let samples = samples(next.clone(), Some(read.clone()), encoding);
        let learner = Learner::from_columns(data, move |columns, cx| {
            let logits = gpt.logits(&columns[INPUT], cx);
            Inference::new(cross_entropy(&logits, &columns["target"]), logits)
        })?;
        let learner = learner.function(Generator::NEXT, next).function(Generator::READ, read);
        let learner = learner.options(|options| options.validate_every = Some(MEASURED_EVERY));
        Ok(learner.optimizer(optimizer(settings)?).callback(samples))
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, course).map(drop)
    }
}

fn context(settings: &Settings) -> usize {
    settings.get("context") as usize
}

/// The model that is asked for.
fn config(settings: &Settings, tokens: usize) -> Result<GptConfig, ZooError> {
    let [context, features, heads, blocks] =
        ["context", "features", "heads", "blocks"].map(|name| settings.get(name) as usize);
    if !features.is_multiple_of(heads) {
        let reason = format!("do not divide {features} features: each head has a part of its own, all of one width");
        return Err(ZooError::setting(format!("{heads} heads"), reason));
    }
    let dropout = settings.get("dropout");
    Ok(GptConfig { tokens, context, features, heads, blocks, dropout, bias: false, tied: true })
}

fn optimizer(settings: &Settings) -> Result<Optimizer, ZooError> {
    let mut optimizer = settings.optimizer(settings.lr)?;
    if settings.optimizer == "adamw" {
        let usual = ADAMW.iter().filter(|(name, _)| !settings.of_optimizer.contains_key(*name));
        usual.copied().try_for_each(|(name, value)| optimizer.set(name, value))?;
    }
    Ok(optimizer)
}

/// A rise in a straight line, then half a cosine down.
fn course(lr: f64, steps: u64) -> Schedule {
    let rise = steps / WARM_UP;
    let fall = Schedule::Cosine { initial: lr, end: FALL * lr, steps: (steps - rise).max(1) };
    if rise == 0 { fall } else { fall.warmup(rise) }
}
