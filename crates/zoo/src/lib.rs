//! Models and recipes, written as a user would write them.
//!
//! A [`Recipe`] says which data, which model, which settings; [`train()`] follows it:
//!
//! ```no_run
//! use thalweg_zoo::{Options, recipe, train};
//! let options = Options { run: Some("runs/digits".into()), ..Options::default() };
//! let outcome = train(recipe("digits")?, &options)?;
//! println!("{:?}", outcome.test_accuracy);
//! # Ok::<(), thalweg_zoo::ZooError>(())
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | `recipe` | [`Recipe`], [`Splits`]: data, model and phases on the learner |
//! | `digits`, `mnist`, `cifar10`, `images`, `char_lm`, `gpt`, `reply_or_not`, `sentence_vectors`, `smart_reply`, `spoken_digits`, `translate`, `word_vectors` | the recipes |
//! | `classifier` | data and learners of drawings |
//! | `characters` | texts as characters, samples written while a model is trained |
//! | `passages` | texts as sentences that follow one another |
//! | `plane` | vectors in a picture |
//! | `sentence` | the encoder of a sentence, and one that was trained before |
//! | `seq2seq` | models that answer texts with texts |
//! | `options` | [`Options`] of a user, [`Settings`] that follow |
//! | `train` | [`train()`]: a recipe from data to [`Outcome`]; its [`learner`] before the first step |
//! | `folds` | [`cross_validate`]: a recipe on each of several folds of its data |
//! | `examine` | [`evaluate`]: a run against its test set; rows of it |
//! | [`picture`] | drawings in picture files to numbers, and numbers drawn |
//! | [`vision`] | published image networks |
//! | [`language`] | language models |
//! | `error` | [`ZooError`] |

mod char_lm;
mod characters;
mod cifar10;
mod classifier;
mod digits;
mod error;
mod examine;
mod folds;
mod gpt;
mod images;
pub mod language;
mod mnist;
mod options;
mod passages;
pub mod picture;
mod plane;
mod recipe;
mod reply_or_not;
mod samples;
mod sentence;
mod sentence_vectors;
mod seq2seq;
mod smart_reply;
mod spoken_digits;
mod train;
mod translate;
pub mod vision;
mod word_vectors;

pub use error::ZooError;
pub use examine::{Report, TestRow, evaluate, test_row};
pub use folds::{Fold, Folds, cross_validate};
pub use options::{Options, Settings};
pub use recipe::{Defaults, Model, Recipe, Setting, Source, Splits, recipe, recipes};
pub use train::{Outcome, blank_learner, build, learner, train};
