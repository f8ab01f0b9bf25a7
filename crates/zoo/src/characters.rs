//! What language models of characters share: the only text of a folder, its characters as tokens, samples that are
//! written while a model is trained.

use std::path::{Path, PathBuf};

use thalweg::array::Array;
use thalweg::data::DataError;
use thalweg::data::text::{TextEncoding, Tokens, Vocabulary, read_text, windows};
use thalweg::prelude::*;
use thalweg::train::decoding::Sampling;
use thalweg::train::{Function, Generator};

use crate::passages::texts;
use crate::samples::Samples;

/// The column of the characters that are read; that of what comes next is `target`.
pub(crate) const INPUT: &str = "input";

/// What a folder of such a recipe holds.
pub(crate) const SOURCE: &str = "one text in UTF-8, in a file *.txt, such as Nietzsche's or Shakespeare's works";

/// The characters of a text as tokens, in a part to learn from and one that is held out.
pub(crate) struct Characters {
    train: Vec<i64>,
    valid: Vec<i64>,
    /// Its vocabulary is that of the whole text: it tells nothing but which characters there are.
    encoding: TextEncoding,
}

impl Characters {
    /// Those of the only text in a folder, of which this part at the end is held out.
    pub(crate) fn read(folder: &Path, held_out: f64, lower_case: bool) -> Result<Characters, DataError> {
        let text = read_text(only_text(folder)?)?;
        let encoding = encoding(&text, lower_case)?;
        let mut train = encoding.encode(&text)?;
        let valid = train.split_off((train.len() as f64 * (1.0 - held_out)) as usize);
        Ok(Characters { train, valid, encoding })
    }

    /// So many that say nothing, of the characters of `text`.
    pub(crate) fn blank(text: &str, count: usize, lower_case: bool) -> Result<Characters, DataError> {
        let tokens = vec![0; count];
        Ok(Characters { train: tokens.clone(), valid: tokens, encoding: encoding(text, lower_case)? })
    }

    /// Rows of `time` characters, each with those that come next. `order` says whether rows go on where others end.
    pub(crate) fn rows(self, time: usize, order: impl Fn(Dataset) -> Dataset) -> Result<TrainingData, DataError> {
        let rows = |tokens: Vec<i64>| Ok::<_, DataError>(order(windows(&Array::from(tokens), time)?));
        TrainingData::new(rows(self.train)?, rows(self.valid)?)?.texts(INPUT, &self.encoding)
    }
}

fn encoding(text: &str, lower_case: bool) -> Result<TextEncoding, DataError> {
    TextEncoding::of_texts(Tokens::Characters, lower_case, &Vocabulary::options().specials(&[]), [text])
}

/// The only text in a folder.
fn only_text(folder: &Path) -> Result<PathBuf, DataError> {
    let mut texts = texts(folder)?;
    match texts.len() {
        1 => Ok(texts.swap_remove(0)),
        n => {
            let reason = format!("there are {n} files *.txt; there must be one");
            Err(DataError::Setting { setting: format!("a text in {}", folder.display()), reason })
        }
    }
}

/// With what a sample begins, if the model knows these characters, and how long it is.
const BEGINNING: &str = "the ";
const LENGTH: usize = 300;

/// What a model writes while it is trained that is asked by these functions, as a [`Generator`] takes them.
pub(crate) fn samples(next: Function, read: Option<Function>, encoding: TextEncoding) -> Samples {
    Samples::new(move |moment| {
        let mut generator = Generator::new(moment.session, &next, &encoding);
        if let Some(read) = &read {
            generator = generator.reading(read);
        }
        let beginning = if encoding.encode(BEGINNING).is_ok() { BEGINNING } else { "" };
        let text = generator.write(beginning, LENGTH, &Sampling::new(moment.step), |_| {})?;
        Ok(format!("{beginning}{text}"))
    })
}
