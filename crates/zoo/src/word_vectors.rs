//! `word-vectors`: words that stand near the same words get vectors that point the same way.

use std::path::Path;
use std::rc::Rc;

use thalweg::array::random::{Philox, stream};
use thalweg::data::DataError;
use thalweg::data::text::{TextEncoding, Tokenizer, Tokens, Vocabulary, WordVectors, Words};
use thalweg::nn::loss::SampledSoftmax;
use thalweg::prelude::*;
use thalweg::train::fit::{Callback, Event, Flow, Moment};
use thalweg::train::plot::{Axis, Plot, Scale};
use thalweg::train::{FitError, Function, Length};

use crate::error::ZooError;
use crate::options::Settings;
use crate::passages::{self, Passage, passages, split};
use crate::plane::plane;
use crate::recipe::{Defaults, Recipe, Setting, Source, Splits};
use crate::samples::Samples;

/// The recipe `word-vectors`.
pub(crate) struct WordVectorsRecipe;

/// The columns of words and of words near them.
const WORD: &str = "word";
const NEAR: &str = "near";

/// Words, and what each says of the words near it: skip-gram (Mikolov et al. 2013).
#[derive(Module)]
struct SkipGram {
    words: Embedding,
    near: Variable,
    bias: Variable,
}

impl SkipGram {
    fn new(settings: &Settings, words: usize) -> SkipGram {
        let size = settings.get("size") as usize;
        let small = Initializer::Normal { mean: 0.0, std: 1.0 / (size as f64).sqrt() };
        Init::build(settings.seed, |init| SkipGram {
            words: Embedding::with(init, words, size, small),
            near: init.variable(&[words, size], Initializer::Zeros),
            bias: init.variable(&[words], Initializer::Zeros),
        })
    }
}

impl Recipe for WordVectorsRecipe {
    fn name(&self) -> &'static str {
        "word-vectors"
    }

    fn about(&self) -> &'static str {
        "a vector for each word, by which its nearest neighbors are found; skip-gram with a sampled softmax"
    }

    fn source(&self) -> Source {
        Source::Folder(passages::SOURCE)
    }

    fn defaults(&self, _: Option<&str>) -> Defaults {
        Defaults { length: Length::Epochs(10), batch: 512, lr: 2e-3, optimizer: "adam" }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting { name: "size", about: "numbers of a vector", default: 100.0, range: (1.0, 4096.0) },
                Setting {
                    name: "window",
                    about: "how far a word that is near may stand; up to here each distance is as often the farthest",
                    default: 5.0,
                    range: (1.0, 1000.0),
                },
                Setting {
                    name: "negatives",
                    about: "words drawn for each batch, against which those that are near are set",
                    default: 256.0,
                    range: (1.0, 1e6),
                },
                Setting {
                    name: "min_count",
                    about: "how often a word occurs at least",
                    default: 5.0,
                    range: (1.0, 1e6),
                },
                Setting {
                    name: "frequent",
                    about: "of words that are more than this part of the text, some are left out; 1: none",
                    default: 1e-3,
                    range: (1e-9, 1.0),
                },
            ]
        }
    }

    /// Pairs of words within a sentence, drawn once. Of twenty passages one is held out.
    fn load(&self, folder: &Path, settings: &Settings) -> Result<Splits, DataError> {
        let (train, valid) = split(passages(folder)?);
        let [train, valid] = [train, valid].map(|passages| passages.iter().flat_map(sentences).collect::<Vec<_>>());
        let known = encoding(train.iter().flatten(), settings)?;
        let mut counts = vec![0; known.vocabulary.len()];
        let ids = |sentences: Vec<Vec<String>>| -> Vec<Vec<i64>> {
            let ids = |sentence: Vec<String>| sentence.iter().filter_map(|word| known.vocabulary.id(word)).collect();
            sentences.into_iter().map(ids).collect()
        };
        let (train, valid) = (ids(train), ids(valid));
        train.iter().flatten().for_each(|&word| counts[word as usize] += 1);
        let pairs = |part: &str, sentences: &[Vec<i64>]| {
            let draw = Draw { random: Philox::new(settings.seed, stream(part, 0)), next: 0 };
            draw.pairs(sentences, &kept(&counts, settings.get("frequent")), settings.get("window") as usize)
        };
        let data = TrainingData::new(pairs("train", &train)?, pairs("valid", &valid)?)?;
        Ok(Splits { data: data.texts(WORD, &known)?, test: None })
    }

    fn blank(&self, settings: &Settings) -> Result<TrainingData, DataError> {
        let words: Vec<String> = (0..settings.get("negatives") as usize + 1).map(|word| word.to_string()).collect();
        let often = std::iter::repeat_n(&words, settings.get("min_count") as usize);
        let rows = || vec![0i64; settings.batch.max(1)].into();
        let data = Dataset::new([(WORD, rows()), (NEAR, rows())])?;
        TrainingData::new(data.clone(), data)?.texts(WORD, &encoding(often.flatten(), settings)?)
    }

    fn learner(&self, data: TrainingData, settings: &Settings) -> Result<Learner, ZooError> {
        let words = data.prepare().text(WORD)?.vocabulary.tokens().to_vec();
        let negatives = negatives(settings, words.len())?;
        let net = Rc::new(SkipGram::new(settings, words.len()));
        let table = net.words.weight.clone();
        let all = Function::new(|_| vec![table.tensor().clone()]);
        let learner = Learner::from_columns(data, move |columns, cx| {
            let vectors = net.words.forward(&columns[WORD], cx);
            let loss = SampledSoftmax::new(negatives, &net.near, Some(&net.bias)).mean(&vectors, &columns[NEAR]);
            Inference::new(loss, vectors)
        })?;
        let learner = learner.function(Trained::WORD_VECTORS, all).optimizer(settings.optimizer(settings.lr)?);
        let found = Found { words, table };
        Ok(learner.callback(samples(found.clone())).callback(found))
    }

    fn fit(&self, learner: &mut Learner, settings: &Settings) -> Result<(), FitError> {
        learner.fit_schedule(settings.length, settings.lr, |lr, steps| Schedule::linear(lr, 0.0, steps)).map(drop)
    }
}

/// How many of so many words are drawn.
pub(crate) fn negatives(settings: &Settings, words: usize) -> Result<usize, ZooError> {
    let negatives = settings.get("negatives") as usize;
    if negatives > words {
        let reason = format!("there are {words} words, and no more can be drawn to be set against");
        return Err(ZooError::setting(format!("negatives = {negatives}"), reason));
    }
    Ok(negatives)
}

/// The words of each sentence of a passage, in lower case, without signs.
fn sentences(passage: &Passage) -> impl Iterator<Item = Vec<String>> {
    passage.iter().map(|sentence| {
        let tokens = Words::new().lower_case().tokens(sentence).into_iter();
        tokens.filter(|token| token.contains(char::is_alphanumeric)).map(String::from).collect()
    })
}

/// Words by frequency and nothing else, as those are drawn that others are set against.
fn encoding<'w>(words: impl Iterator<Item = &'w String>, settings: &Settings) -> Result<TextEncoding, DataError> {
    let options = Vocabulary::options().specials(&[]).min_count(settings.get("min_count") as usize);
    Ok(TextEncoding { tokens: Tokens::Words, lower_case: true, vocabulary: options.of(words)? })
}

/// With what probability an occurrence of each word is kept: √(t/f) of words that make the part f of the text, but at most 1.
fn kept(counts: &[u64], frequent: f64) -> Vec<f64> {
    let all = counts.iter().sum::<u64>() as f64;
    counts.iter().map(|&count| (frequent * all / count as f64).sqrt().min(1.0)).collect()
}

/// Numbers drawn one after the other.
struct Draw {
    random: Philox,
    next: u64,
}

impl Draw {
    fn uniform(&mut self) -> f64 {
        self.next += 1;
        f64::from(self.random.uniform(self.next - 1, 0))
    }

    /// Each word with each that stands at most so far from it, both of them kept, where the distance is drawn for the word from 1
    /// to `window`: what is nearer counts more.
    fn pairs(mut self, sentences: &[Vec<i64>], kept: &[f64], window: usize) -> Result<Dataset, DataError> {
        let (mut words, mut near) = (Vec::new(), Vec::new());
        for sentence in sentences {
            let sentence: Vec<i64> =
                sentence.iter().copied().filter(|&word| self.uniform() < kept[word as usize]).collect();
            for (at, &word) in sentence.iter().enumerate() {
                let far = 1 + (self.uniform() * window as f64) as usize;
                let range = at.saturating_sub(far)..(at + far + 1).min(sentence.len());
                for other in range.filter(|&other| other != at) {
                    words.push(word);
                    near.push(sentence[other]);
                }
            }
        }
        if words.is_empty() {
            let reason = "no two words stand in one sentence: more text, a smaller `min_count` or a larger `frequent` gives some";
            return Err(DataError::Setting { setting: "pairs of words".into(), reason: reason.into() });
        }
        Dataset::new([(WORD, words.into()), (NEAR, near.into())])
    }
}

/// What is found while words get their vectors. At the end the files are written.
#[derive(Clone)]
struct Found {
    words: Vec<String>,
    table: Variable,
}

/// What is written into the folder of a run: all vectors, and a picture of frequent words.
const VECTORS: &str = "vectors.txt";
const PICTURE: &str = "words.svg";

impl Found {
    fn vectors(&self, moment: &Moment<'_>) -> Result<WordVectors, FitError> {
        Ok(WordVectors::new(self.words.clone(), moment.session.read(&self.table)?)?)
    }
}

impl Callback for Found {
    /// # Errors
    /// If a file cannot be written.
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        if let (Event::Measured { .. }, Some(run)) = (event, moment.run)
            && moment.step == moment.last_step
        {
            let vectors = self.vectors(moment)?;
            vectors.write_text(run.join(VECTORS))?;
            let path = run.join(PICTURE);
            std::fs::write(&path, picture(&vectors)).map_err(|error| FitError::Setting {
                setting: path.display().to_string(),
                reason: error.to_string(),
            })?;
        }
        Ok(Flow::Continue)
    }
}

/// The neighbors of some words, neither the most frequent nor rare.
fn samples(found: Found) -> Samples {
    const WORDS: usize = 8;
    const NEIGHBORS: usize = 6;
    Samples::new(move |moment| {
        let vectors = found.vectors(moment)?;
        let shown = found.words[vectors.len() / 50..].iter().step_by((vectors.len() / 50).max(1)).take(WORDS);
        let line = |word: &String| {
            let near: Vec<&str> = vectors.neighbors(word, NEIGHBORS)?.into_iter().map(|(word, _)| word).collect();
            Ok(format!("{word}: {}", near.join(", ")))
        };
        Ok(shown.map(line).collect::<Result<Vec<_>, DataError>>()?.join("\n"))
    })
}

/// Frequent words, but for those that stand everywhere, in the plane in which their vectors differ most.
fn picture(vectors: &WordVectors) -> String {
    const EVERYWHERE: usize = 100;
    const SHOWN: usize = 80;
    let words = vectors.words();
    let first = EVERYWHERE.min(words.len().saturating_sub(SHOWN));
    let shown = &words[first..words.len().min(first + SHOWN)];
    let rows: Vec<&[f32]> = shown.iter().filter_map(|word| vectors.get(word)).collect();
    let axis = |name: &str| Axis { name: name.into(), scale: Scale::Linear };
    let plot = Plot::new(axis("first principal component"), axis("second"));
    shown.iter().zip(plane(&rows)).fold(plot, |plot, (word, point)| plot.label(word, point)).svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(window: usize, kept: &[f64]) -> Vec<(i64, i64)> {
        let draw = Draw { random: Philox::new(1, 2), next: 0 };
        let data = draw.pairs(&vec![vec![0, 1, 2, 3]; 500], kept, window).unwrap();
        let column = |name| data.column(name).unwrap().to_vec::<i64>();
        column(WORD).into_iter().zip(column(NEAR)).collect()
    }

    #[test]
    fn nearer_words_are_paired_more_often_and_frequent_words_less() {
        let count = |pairs: &[(i64, i64)], wanted| pairs.iter().filter(|&&pair| pair == wanted).count();
        let pairs = draw(3, &[2.0; 4]);
        assert_eq!((count(&pairs, (1, 2)), count(&pairs, (1, 1))), (500, 0));
        let part = |wanted| count(&pairs, wanted) as f64 / 500.0;
        assert!((part((0, 2)) - 2.0 / 3.0).abs() < 0.1 && (part((3, 0)) - 1.0 / 3.0).abs() < 0.1);
        // Where one word is left out its neighbors stand side by side.
        let pairs = draw(1, &[2.0, 2.0, 0.2, 2.0]);
        assert!((count(&pairs, (1, 3)) as f64 / 500.0 - 0.8).abs() < 0.1, "{}", count(&pairs, (1, 3)));
        assert_eq!(kept(&[900, 100], 0.1), [(1.0f64 / 9.0).sqrt(), 1.0]);
    }
}
