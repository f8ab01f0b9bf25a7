//! Sentences in the order in which they were said or written: what vectors are learned from.

use std::path::{Path, PathBuf};

use thalweg::data::DataError;
use thalweg::data::text::{paragraphs, read_text, rt_polarity, self_dialogue};

/// What a folder of such a recipe holds.
pub(crate) const SOURCE: &str = "`self_dialogue_subset.txt`, `rt-polarity.neg` and `rt-polarity.pos` (in the folder, or in folders \
                                 `self-dialogue` and `rt-polarity` there), or other texts in UTF-8, in files *.txt";

const DIALOGUES: &str = "self_dialogue_subset.txt";
const REVIEWS: &str = "rt-polarity.neg";

/// Sentences that follow one another: the turns of a dialogue, the sentences of a paragraph.
pub(crate) type Passage = Vec<String>;

/// Whether a row of labeled texts is one to learn from: of ten the fifth and the tenth are for the test, the fourth to choose
/// by.
pub(crate) fn is_learned(row: usize) -> bool {
    !matches!(row % 10, 3 | 4 | 9)
}

/// The passages of all texts in a folder. Each sentence of reviews is a passage of its own, and those that classifiers are
/// measured by are left out.
pub(crate) fn passages(folder: &Path) -> Result<Vec<Passage>, DataError> {
    let mut passages = Vec::new();
    if let Some(folder) = holding(folder, "self-dialogue", DIALOGUES) {
        passages.extend(self_dialogue(folder)?.into_iter().map(|dialogue| dialogue.turns));
    }
    if let Some(folder) = holding(folder, "rt-polarity", REVIEWS) {
        let reviews = rt_polarity(folder)?.texts.into_iter().enumerate();
        passages.extend(reviews.filter(|(row, _)| is_learned(*row)).map(|(_, review)| vec![review]));
    }
    for file in texts(folder)?.iter().filter(|file| !file.ends_with(DIALOGUES)) {
        passages.extend(paragraphs(&read_text(file)?));
    }
    if passages.is_empty() {
        return Err(DataError::File {
            path: folder.into(),
            reason: format!("holds no texts; there could be {SOURCE}"),
        });
    }
    Ok(passages)
}

/// Passages to learn from, and of twenty one that is held out.
pub(crate) fn split(passages: Vec<Passage>) -> (Vec<Passage>, Vec<Passage>) {
    const HELD_OUT: usize = 20;
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for (at, passage) in passages.into_iter().enumerate() {
        if at % HELD_OUT == HELD_OUT - 1 { &mut valid } else { &mut train }.push(passage);
    }
    (train, valid)
}

/// The folder that holds `file`: this one, or the one called `name` in it.
fn holding(folder: &Path, name: &str, file: &str) -> Option<PathBuf> {
    let packed = format!("{file}.gz");
    let holds = |folder: &PathBuf| folder.join(file).exists() || folder.join(&packed).exists();
    [folder.to_path_buf(), folder.join(name)].into_iter().find(holds)
}

/// The files *.txt in a folder, by name.
pub(crate) fn texts(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |error: std::io::Error| DataError::File {
        path: folder.into(),
        reason: format!("is no folder that can be read ({error}); name one with texts in UTF-8, in files *.txt"),
    };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut texts =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    texts.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    texts.sort();
    Ok(texts)
}
