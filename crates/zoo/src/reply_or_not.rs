//! `reply-or-not`: short texts of two classes, by a bag of words, by a network that reads them, or by vectors of
//! sentences that were learned elsewhere.

use std::path::Path;

use thalweg::data::text::{
    LabeledTexts, TextEncoding, Tokenizer, Tokens, Vocabulary, Words, rt_polarity, self_dialogue, sms_spam,
};
use thalweg::data::{DataError, Sequences};
use thalweg::prelude::*;
use thalweg::train::{FitError, Length};

use crate::classifier;
use crate::error::ZooError;
use crate::options::Settings;
use crate::passages::is_learned;
use crate::recipe::{Defaults, Model, Recipe, Setting, Source, Splits};
use crate::sentence::{Pretrained, SentenceEncoder, Sentences};

/// The recipe `reply-or-not`.
pub(crate) struct ReplyOrNot;

/// The column of the texts.
const TEXT: &str = "text";

/// Batches are as long as a multiple of this, so that there are few lengths to compile.
const MULTIPLE: usize = 16;

/// What is made of the words `[rows, time]` of texts: logits `[rows, classes]`. Where the mask is false there is no word.
trait Reader {
    fn read(&self, words: &Tensor, mask: &Tensor, cx: &mut Forward) -> Tensor;
}

impl Reader for Box<dyn Reader> {
    fn read(&self, words: &Tensor, mask: &Tensor, cx: &mut Forward) -> Tensor {
        (**self).read(words, mask, cx)
    }
}

/// Logistic regression on how often each word occurs: what the words say for each class, added up.
#[derive(Module)]
struct Bag {
    words: Embedding,
    bias: Variable,
}

impl Bag {
    fn new(settings: &Settings, words: usize, classes: usize) -> Bag {
        Init::build(settings.seed, |init| Bag {
            words: Embedding::with(init, words, classes, Initializer::Zeros),
            bias: init.variable(&[classes], Initializer::Zeros),
        })
    }
}

impl Reader for Bag {
    fn read(&self, words: &Tensor, mask: &Tensor, cx: &mut Forward) -> Tensor {
        mask.unsqueeze(-1).select(&self.words.forward(words, cx), 0.0).sum_over(1) + self.bias.tensor()
    }
}

/// A network that makes a vector of a sentence, and logistic regression on it.
#[derive(Module)]
struct Walk {
    encoder: SentenceEncoder,
    dropout: Dropout,
    output: Linear,
}

impl Walk {
    fn new(settings: &Settings, [features, hidden]: [usize; 2], words: usize, classes: usize) -> Walk {
        Init::build(settings.seed, |init| Walk {
            encoder: SentenceEncoder::new(init, words, features, hidden),
            dropout: Dropout::new(settings.get("dropout")),
            output: Linear::new(init, hidden, classes),
        })
    }
}

impl Reader for Walk {
    fn read(&self, words: &Tensor, mask: &Tensor, cx: &mut Forward) -> Tensor {
        let vector = self.encoder.vector(words, mask, &self.dropout, cx);
        self.output.forward(&self.dropout.forward(&vector, cx), cx)
    }
}

impl Recipe for ReplyOrNot {
    fn name(&self) -> &'static str {
        "reply-or-not"
    }

    fn about(&self) -> &'static str {
        "short texts of two classes: spam or not, good or bad reviews, questions that yes or no answers; a bag of words or a \
         recurrent network"
    }

    fn source(&self) -> Source {
        Source::Folder("`SMSSpamCollection`, or `rt-polarity.neg` and `rt-polarity.pos`, or `self_dialogue_subset.txt`")
    }

    fn defaults(&self, model: Option<&str>) -> Defaults {
        match model {
            Some("gru") => Defaults { length: Length::Epochs(8), batch: 32, lr: 2e-3, optimizer: "adam" },
            Some("vectors") => Defaults { length: Length::Epochs(10), batch: 32, lr: 1e-2, optimizer: "adam" },
            _ => Defaults { length: Length::Epochs(20), batch: 32, lr: 1e-2, optimizer: "adam" },
        }
    }

    fn models(&self) -> &'static [Model] {
        &[
            Model { name: "bag", about: "logistic regression on a bag of words" },
            Model { name: "gru", about: "a recurrent network with gates, and the mean of its states" },
            Model {
                name: "vectors",
                about: "logistic regression on what a run of `sentence-vectors` (`--weights`) makes of sentences",
            },
        ]
    }

    fn weights(&self) -> Option<&'static str> {
        Some("for `vectors`: the folder of a run of `sentence-vectors`, whose `features` and `hidden` count")
    }

    fn ready(&self, settings: &Settings) -> Result<(), ZooError> {
        match (&settings.weights, settings.model) {
            (Some(run), Some("vectors")) => Pretrained::open(run).map(drop),
            (None, Some("vectors")) => {
                let reason = "needs `--weights` with the folder of a run of `sentence-vectors`; `gru` begins without";
                Err(ZooError::setting("model `vectors`", reason))
            }
            (Some(run), model) => {
                let reason =
                    format!("the model `{}` begins without weights; `vectors` takes some", model.unwrap_or("bag"));
                Err(ZooError::setting(format!("weights {}", run.display()), reason))
            }
            (None, _) => Ok(()),
        }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting {
                    name: "min_count",
                    about: "how often a word occurs at least",
                    default: 1.0,
                    range: (1.0, 1e6),
                },
                Setting {
                    name: "features",
                    about: "numbers that stand for a word",
                    default: 64.0,
                    range: (1.0, 4096.0),
                },
                Setting { name: "hidden", about: "units of the network", default: 64.0, range: (1.0, 4096.0) },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.5, range: (0.0, 0.95) },
                Setting {
                    name: "tuned",
                    about: "of `vectors`: the share of the training, at its end, in which what makes them is trained too",
                    default: 0.0,
                    range: (0.0, 1.0),
                },
                classifier::weight_decay(0.05),
            ]
        }
    }

    /// Of ten rows the fifth and the tenth are the test set, the fourth is held out. The vocabulary is that of the others.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let LabeledTexts { texts, labels, classes } = corpus(folder)?;
        let part = |of: fn(usize) -> bool| (0..texts.len()).filter(|row| of(row % 10)).collect::<Vec<usize>>();
        let [train, valid, test] = [part(is_learned), part(|at| at == 3), part(|at| matches!(at, 4 | 9))];
        let known = encoding(train.iter().map(|&row| &*texts[row]), settings)?;
        let data = |rows: &[usize]| {
            // Some of the texts that are held out have no known word.
            let tokens = |&row: &usize| known.vocabulary.encode(&Words::new().lower_case().tokens(&texts[row]));
            let tokens: Result<Vec<_>, _> = rows.iter().map(tokens).collect();
            let labels: Vec<i64> = rows.iter().map(|&row| labels[row]).collect();
            dataset(tokens?, labels, &classes)
        };
        let in_training = TrainingData::new(data(&train)?, data(&valid)?)?.texts(TEXT, &known)?;
        Ok(Splits { data: in_training, test: Some(data(&test)?) })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let known = encoding(["yes", "no"].into_iter().cycle().take(2 * settings.get("min_count") as usize), settings)?;
        let rows = settings.batch.max(1);
        let data = dataset(vec![vec![0; MULTIPLE]; rows], vec![0; rows], &["no".into(), "yes".into()])?;
        TrainingData::new(data.clone(), data)?.texts(TEXT, &known)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let (words, classes) = (data.prepare().text(TEXT)?.vocabulary.len(), data.classes().len());
        let sizes = ["features", "hidden"].map(|name| settings.get(name) as usize);
        let reader: Box<dyn Reader> = match settings.model {
            Some("gru") => Box::new(Walk::new(settings, sizes, words, classes)),
            Some("vectors") => return vectors(data, sizes, settings),
            _ => Box::new(Bag::new(settings, words, classes)),
        };
        Ok(reading(data, reader)?.optimizer(classifier::optimizer(settings)?))
    }

    /// One cycle; of `vectors` one in which they stay as they are, and one, slower, in which all is trained.
    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        const SLOWER: f64 = 0.1;
        if settings.model != Some("vectors") {
            return learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop);
        }
        let (alone, all) = classifier::parts(settings.length, 1.0 - settings.get("tuned"));
        for (length, lr) in [(alone, settings.lr), (all, SLOWER * settings.lr)] {
            if !matches!(length, Length::Epochs(0) | Length::Steps(0)) {
                learner.fit_schedule(length, lr, Schedule::one_cycle)?;
            }
            learner.unfreeze()?;
        }
        Ok(())
    }
}

/// The learner of what reads.
fn reading(data: TrainingData, reader: impl Reader + 'static) -> Result<Learner, FitError> {
    Learner::from_columns(data, move |columns, cx| {
        let logits = reader.read(&columns[TEXT], &columns["text.mask"], cx);
        Inference::new(cross_entropy(&logits, &columns["label"]), logits).labeled("label")
    })
}

/// The learner of the model `vectors`, whose encoder is frozen at first.
fn vectors(data: TrainingData, sizes: [usize; 2], settings: &Settings) -> Result<Learner, ZooError> {
    let pretrained = settings.weights.as_deref().map(Pretrained::open).transpose()?;
    let sizes = pretrained.as_ref().map_or(sizes, |pretrained| [pretrained.features, pretrained.hidden]);
    let words = data.prepare().text(TEXT)?.vocabulary.tokens().to_vec();
    let walk = Walk::new(settings, sizes, words.len(), data.classes().len());
    let session = Session::cpu();
    if let Some(pretrained) = pretrained {
        pretrained.load(&session, &walk.encoder, &words)?;
    }
    let (vector, sentences) = (walk.encoder.function(TEXT), Sentences::of(&data, TEXT)?);
    let learner = reading(data, walk)?.in_session(session)?.optimizer(classifier::optimizer(settings)?);
    let mut learner = learner.function(Trained::SENTENCE_VECTOR, vector).callback(sentences);
    learner.freeze()?;
    Ok(learner)
}

/// The texts in a folder, whichever they are.
fn corpus(folder: &Path) -> Result<LabeledTexts, DataError> {
    let has = |file: &str| folder.join(file).exists();
    if has("rt-polarity.neg") || has("rt-polarity.pos") {
        rt_polarity(folder)
    } else if has("self_dialogue_subset.txt") {
        yes_or_no(folder)
    } else if has("SMSSpamCollection") {
        sms_spam(folder)
    } else {
        let reason = "holds none of the texts that are known here: messages in `SMSSpamCollection` \
                      (https://archive.ics.uci.edu/dataset/228/sms+spam+collection), reviews in `rt-polarity.neg` and \
                      `rt-polarity.pos` (https://www.cs.cornell.edu/people/pabo/movie-review-data/), dialogues in \
                      `self_dialogue_subset.txt` (the turns of https://github.com/jfainberg/self_dialogue_corpus)";
        Err(DataError::File { path: folder.into(), reason: reason.into() })
    }
}

/// The turns of dialogues that end with a question mark, and whether the reply to each begins with yes or no: with the word yes,
/// yeah, yep, yup, yea, no, nope or nah. It is the question that is read, the reply is what is to be guessed. (Which of the two
/// the reply is cannot be told: of the questions that are answered so, 74.4 % of the test rows are answered with yes, and
/// scikit-learn's logistic regression is right in 74.0 %.)
fn yes_or_no(folder: &Path) -> Result<LabeledTexts, DataError> {
    let (mut texts, mut labels) = (Vec::new(), Vec::new());
    for dialogue in self_dialogue(folder)? {
        for (turn, reply) in dialogue.exchanges().filter(|(turn, _)| turn.ends_with('?')) {
            let words = Words::new().lower_case();
            let first = words.tokens(reply).first().map(|word| word.to_string());
            let yes_or_no = first.is_some_and(|word| YES_OR_NO.contains(&&*word));
            texts.push(turn.to_string());
            labels.push(i64::from(yes_or_no));
        }
    }
    Ok(LabeledTexts { texts, labels, classes: vec!["other".into(), "yes or no".into()] })
}

const YES_OR_NO: [&str; 8] = ["yes", "yeah", "yep", "yup", "yea", "no", "nope", "nah"];

/// Words in lower case.
fn encoding<'t>(texts: impl IntoIterator<Item = &'t str>, settings: &Settings) -> Result<TextEncoding, DataError> {
    let options = Vocabulary::options().min_count(settings.get("min_count") as usize);
    TextEncoding::of_texts(Tokens::Words, true, &options, texts)
}

fn dataset(texts: Vec<Vec<i64>>, labels: Vec<i64>, classes: &[String]) -> Result<Dataset, DataError> {
    let texts = Sequences::of_tokens(texts)?.padded_to_multiple(MULTIPLE)?;
    Ok(Dataset::of_sequences(TEXT, texts).with_column("label", labels.into())?.with_classes(classes))
}
