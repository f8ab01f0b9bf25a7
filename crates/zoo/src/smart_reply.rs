//! `smart-reply`: short replies to what somebody says in a conversation, and whether to suggest any.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use thalweg::data::DataError;
use thalweg::data::text::{Dialogue, TextEncoding, Tokens, Vocabulary, self_dialogue};
use thalweg::nn::binary_cross_entropy_with_logits;
use thalweg::prelude::*;
use thalweg::train::metrics::RocAuc;
use thalweg::train::{Columns, FitError, Function, Length, Responder};

use crate::error::ZooError;
use crate::options::Settings;
use crate::recipe::{Defaults, Recipe, Setting, Source, Splits};
use crate::seq2seq::{
    Config, Exchanges, NGrams, REPLY, SOURCE, Seq2Seq, WithAttention, exchange, learner, said, sizes, source_of_rows,
    training_data,
};

/// The recipe `smart-reply`.
pub(crate) struct SmartReply;

/// The column that says whether the reply is a short one.
const SHORT: &str = "short";

/// Of so many exchanges that are trained on the topic of one is hidden, so that the model also does without it.
const HIDDEN_TOPICS: usize = 4;

/// The norm beyond which gradients are scaled down.
const CLIP: f64 = 10.0;

/// A model of replies, and what tells whether a short one will do: the mean of what the encoder gives, weighed.
#[derive(Module)]
struct Suggesting {
    replies: WithAttention,
    trigger: Linear,
}

impl Suggesting {
    /// The log-odds, `[batch]`, that the reply is a short one.
    fn trigger(&self, encoded: &[Tensor], cx: &mut Forward) -> Tensor {
        // Where there is no word the encoder gives 0.
        let (memory, mask) = (&encoded[0], &encoded[1]);
        let mean = memory.sum_over(1) / mask.cast(f32).sum_over(1).unsqueeze(-1);
        self.trigger.forward(&mean, cx).squeeze(1)
    }

    /// The loss is that of the replies, in training with that of the trigger; the output is what the trigger says.
    fn whole(&self, encoded: &[Tensor], columns: &Columns, cx: &mut Forward) -> Inference {
        let replies = said(self, encoded, columns, cx);
        let output = self.trigger(encoded, cx);
        let loss = match cx.training() {
            true => replies.loss + binary_cross_entropy_with_logits(&output, &columns[SHORT].cast(f32)),
            false => replies.loss,
        };
        Inference { loss, output, ..replies }
    }
}

impl Seq2Seq for Suggesting {
    fn encode(&self, source: &Tensor, mask: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        self.replies.encode(source, mask, cx)
    }

    fn logits(&self, encoded: &[Tensor], reply: &Tensor, cx: &mut Forward) -> Tensor {
        self.replies.logits(encoded, reply, cx)
    }

    fn next(&self, token: &Tensor, cx: &mut Forward) -> Vec<Tensor> {
        self.replies.next(token, cx)
    }
}

impl Recipe for SmartReply {
    fn name(&self) -> &'static str {
        "smart-reply"
    }

    fn about(&self) -> &'static str {
        "replies to what is said on a topic, and whether a short one will do; LSTMs with attention"
    }

    fn source(&self) -> Source {
        Source::Folder("`self_dialogue_subset.txt`: a line `# topic`, a line for each turn, an empty line")
    }

    fn defaults(&self, _: Option<&str>) -> Defaults {
        Defaults { length: Length::Epochs(4), batch: 64, lr: 1e-2, optimizer: "adam" }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting { name: "layers", about: "of encoder and decoder each", default: 1.0, range: (1.0, 16.0) },
                Setting { name: "hidden", about: "units of each layer", default: 128.0, range: (1.0, 8192.0) },
                Setting { name: "dropout", about: "the part that is dropped", default: 0.3, range: (0.0, 0.95) },
                Setting {
                    name: "longest",
                    about: "words of a turn that are read, its last; longer replies are not trained on",
                    default: 30.0,
                    range: (1.0, 1000.0),
                },
                Setting {
                    name: "short",
                    about: "a reply of at most so many words is one to suggest",
                    default: 10.0,
                    range: (1.0, 1000.0),
                },
                Setting {
                    name: "min_count",
                    about: "how often a word occurs at least, not to be unknown",
                    default: 3.0,
                    range: (1.0, 1e6),
                },
            ]
        }
    }

    /// Of ten dialogues the fifth is for validation, the tenth for the test. The vocabulary is that of the others.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let dialogues = self_dialogue(folder)?;
        let part = |of: fn(usize) -> bool| -> Vec<&Dialogue> {
            dialogues.iter().enumerate().filter(|(row, _)| of(row % 10)).map(|(_, dialogue)| dialogue).collect()
        };
        let (train, valid, test) = (part(|at| !matches!(at, 4 | 9)), part(|at| at == 4), part(|at| at == 9));
        let topics: BTreeSet<String> = dialogues.iter().map(|dialogue| tag(&dialogue.topic)).collect();
        let words = words(train.iter().flat_map(|dialogue| &dialogue.turns), topics, settings)?;
        let data = |dialogues: &[&Dialogue], part| dataset(dialogues, &words, settings, part);
        let (train, valid) = (data(&train, Part::Train)?, data(&valid, Part::Valid)?);
        Ok(Splits { data: training_data(train, valid, [&words, &words])?, test: Some(data(&test, Part::Test)?) })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let turns = vec!["yes".to_string(); settings.batch.max(settings.get("min_count") as usize) + 1];
        let words = words(&turns, [tag("pop")].into(), settings)?;
        let dialogue = Dialogue { topic: "pop".into(), turns };
        let data = dataset(&[&dialogue], &words, settings, Part::Train)?;
        training_data(data.clone(), data, [&words, &words])
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let (hidden, layers) = (settings.get("hidden") as usize, settings.get("layers") as usize);
        let (tokens, dropout, given) = (sizes(&data)?, settings.get("dropout"), Schedule::Constant(1.0));
        let config = Config { tokens, hidden, layers, dropout, given };
        let model = Rc::new(Init::build(settings.seed, |init| Suggesting {
            replies: WithAttention::new(init, &config),
            trigger: Linear::new(init, hidden, 1),
        }));
        let trigger = Function::new(|cx| {
            let (source, mask) = source_of_rows();
            let encoded = model.encode(&source, &mask, cx);
            vec![model.trigger(&encoded, cx).sigmoid()]
        });
        let whole = Rc::clone(&model);
        let optimizer = settings.optimizer(settings.lr)?.clip_norm(CLIP);
        let learner = learner(data, &model, move |encoded, columns, cx| whole.whole(encoded, columns, cx), optimizer)?;
        Ok(learner.function(Responder::TRIGGER, trigger))
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, Schedule::one_cycle).map(drop)
    }

    /// Of how many words, all equally likely, each word of the replies is as hard to guess: for the model, with the topic and
    /// without; and for counts of words and of words behind others. And what the trigger knows: how often it is right, beside
    /// one that always says the same, and how often it puts a short reply before a longer one.
    fn measure(
        &self,
        trained: &Trained,
        data: &TrainingData,
        test: &Dataset,
    ) -> Result<Vec<(&'static str, f64)>, ZooError> {
        let words = data.prepare().text(REPLY)?;
        let tokens = |data: &Dataset| -> Result<Vec<Vec<i64>>, DataError> {
            let targets = data.sequences("target")?;
            Ok((0..targets.len()).map(|row| targets.row(row).to_vec()).collect())
        };
        let (known, asked) = (tokens(data.train())?, tokens(test)?);
        let of_counts = |order| NGrams::of(order, words.vocabulary.len(), &known).perplexity(&asked);
        let trigger = TriggerFigures::of(trained, test)?;
        Ok(vec![
            ("perplexity", trained.evaluate(test)?.perplexity()),
            ("perplexity_without_topic", trained.evaluate(&without_topics(test, words)?)?.perplexity()),
            ("perplexity_unigram", of_counts(1)),
            ("perplexity_trigram", of_counts(3)),
            ("trigger_accuracy", trigger.accuracy),
            ("trigger_accuracy_of_one_answer", trigger.accuracy_of_one_answer),
            ("trigger_auc", trigger.auc),
        ])
    }
}

/// What a trigger knows.
struct TriggerFigures {
    /// The share of texts of which it says what is so.
    accuracy: f64,
    /// That of the more frequent answer.
    accuracy_of_one_answer: f64,
    /// The probability that it finds one with a short reply worthier than one with a longer reply.
    auc: f64,
}

impl TriggerFigures {
    fn of(trained: &Trained, data: &Dataset) -> Result<TriggerFigures, ZooError> {
        const ROWS: usize = 64;
        let trigger = trained.function(Responder::TRIGGER)?;
        let (mut right, mut short, mut auc) = (0, 0, RocAuc::default());
        for batch in Loader::new(data, ROWS)?.epoch(0)? {
            let batch = batch?;
            let feeds = feeds! { "source" => &batch[SOURCE], "source.mask" => &batch["source.mask"] };
            let (outputs, _) = trigger.call(trained.session(), feeds, &[])?;
            auc.update(&outputs[0], &batch[SHORT]).map_err(FitError::from)?;
            for (said, is_short) in outputs[0].to_vec::<f64>().into_iter().zip(batch[SHORT].to_vec::<i64>()) {
                right += usize::from((said >= 0.5) == (is_short == 1));
                short += usize::from(is_short == 1);
            }
        }
        let share = |count: usize| count as f64 / data.len() as f64;
        let accuracy_of_one_answer = share(short.max(data.len() - short));
        Ok(TriggerFigures { accuracy: share(right), accuracy_of_one_answer, auc: auc.value() })
    }
}

/// The token of a topic.
fn tag(topic: &str) -> String {
    format!("<{}>", topic.to_lowercase())
}

/// Of these turns, with a tag for each topic and one for any.
fn words<'t>(
    turns: impl IntoIterator<Item = &'t String>,
    topics: BTreeSet<String>,
    settings: &Settings,
) -> Result<TextEncoding, DataError> {
    let tags = [tag(TextEncoding::ANY)].into_iter().chain(topics).collect::<BTreeSet<String>>();
    let options = Vocabulary::options().min_count(settings.get("min_count") as usize).further(tags);
    TextEncoding::of_texts(Tokens::Words, true, &options, turns)
}

/// For what dialogues are.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// To be trained on: long replies are left out, and of some the topic is hidden.
    Train,
    /// To choose by, as they are.
    Valid,
    /// To be measured on, as they are.
    Test,
}

/// Each turn with its topic before it, what is said to it, and whether that is short.
fn dataset(
    dialogues: &[&Dialogue],
    words: &TextEncoding,
    settings: &Settings,
    part: Part,
) -> Result<Dataset, DataError> {
    let [longest, short] = ["longest", "short"].map(|name| settings.get(name) as usize);
    let (mut exchanges, mut is_short) = (Exchanges::default(), Vec::new());
    for dialogue in dialogues {
        for (said, reply) in dialogue.exchanges() {
            let (said, reply) = (words.tokens(said)?, words.tokens(reply)?);
            if part == Part::Train && reply.len() > longest {
                continue;
            }
            let hidden = part == Part::Train && is_short.len() % HIDDEN_TOPICS == 0;
            let tag = tag(if hidden { TextEncoding::ANY } else { &dialogue.topic });
            let tag = words.vocabulary.id(&tag).expect("each topic has a tag");
            is_short.push(i64::from(reply.len() <= short));
            exchanges.push([&[tag], &said[said.len().saturating_sub(longest)..]].concat(), reply);
        }
    }
    if is_short.is_empty() {
        let setting = match part {
            Part::Train => "the training dialogues",
            Part::Valid => "the validation dialogues, of ten the fifth",
            Part::Test => "the test dialogues, of ten the last",
        };
        let reason = format!("{} of them, and no turn has a reply that could be used", dialogues.len());
        return Err(DataError::Setting { setting: setting.into(), reason });
    }
    exchanges.dataset([words, words])?.with_column(SHORT, is_short.into())
}

/// The same exchanges without their topics.
fn without_topics(data: &Dataset, words: &TextEncoding) -> Result<Dataset, DataError> {
    let any = words.vocabulary.id(&tag(TextEncoding::ANY)).expect("a tag for any topic");
    let mut exchanges = Exchanges::default();
    for row in 0..data.len() {
        let (source, reply) = exchange(data, row)?;
        exchanges.push([&[any], &source[1..]].concat(), reply);
    }
    exchanges.dataset([words, words])?.with_column(SHORT, data.column(SHORT)?.clone())
}
