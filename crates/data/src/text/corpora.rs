//! Collections of texts that come in a form of their own.

use std::path::Path;

use thalweg_array::Array;

use super::files::{read_parallel, read_text, read_windows_1252};
use crate::error::DataError;

/// Texts, each of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabeledTexts {
    /// The texts.
    pub texts: Vec<String>,
    /// The class of each, a number below that of `classes`.
    pub labels: Vec<i64>,
    /// The names of the classes.
    pub classes: Vec<String>,
}

impl LabeledTexts {
    /// The labels as a column, i64.
    pub fn label_column(&self) -> Array {
        self.labels.as_slice().into()
    }
}

/// The lines `class<TAB>text` of the UTF-8 file at `path`, with `classes` in this order.
///
/// # Errors
/// As [`read_text`]; if a line has no tab, another class, or no text.
pub fn read_labeled(path: impl AsRef<Path>, classes: &[&str]) -> Result<LabeledTexts, DataError> {
    let path = path.as_ref();
    let (mut texts, mut labels) = (Vec::new(), Vec::new());
    for (line, content) in (1..).zip(read_text(path)?.lines()) {
        let malformed =
            |expected: String, found: String| Err(DataError::malformed(path, format!("line {line}"), expected, found));
        let Some((class, text)) = content.split_once('\t') else {
            return malformed("a class, a tab and a text".into(), "no tab".into());
        };
        let Some(label) = classes.iter().position(|known| *known == class) else {
            return malformed(format!("one of the classes {}", classes.join(", ")), format!("`{class}`"));
        };
        if text.trim().is_empty() {
            return malformed("a text behind the tab".into(), "none".into());
        }
        labels.push(label as i64);
        texts.push(text.trim().to_string());
    }
    Ok(LabeledTexts { texts, labels, classes: classes.iter().map(|class| class.to_string()).collect() })
}

/// The SMS Spam Collection in `folder` (file `SMSSpamCollection`), with the classes ham and spam.
///
/// # Errors
/// If the file is missing or damaged.
pub fn sms_spam(folder: impl AsRef<Path>) -> Result<LabeledTexts, DataError> {
    let hint = "get it from https://archive.ics.uci.edu/dataset/228/sms+spam+collection";
    read_labeled(present(folder.as_ref(), "SMSSpamCollection", hint)?, &["ham", "spam"])
}

/// The sentences of film reviews by Pang and Lee in `folder` (`rt-polarity.neg`, `rt-polarity.pos`, Windows-1252), with
/// the classes negative and positive.
///
/// # Errors
/// If a file is missing or damaged, or has an empty line.
pub fn rt_polarity(folder: impl AsRef<Path>) -> Result<LabeledTexts, DataError> {
    let hint = "get it from https://www.cs.cornell.edu/people/pabo/movie-review-data/ (sentence polarity dataset)";
    let (mut texts, mut labels) = (Vec::new(), Vec::new());
    for (label, file) in [(0, "rt-polarity.neg"), (1, "rt-polarity.pos")] {
        let path = present(folder.as_ref(), file, hint)?;
        for (line, text) in (1..).zip(read_windows_1252(&path)?.split_terminator('\n')) {
            if text.trim().is_empty() {
                return Err(DataError::malformed(&path, format!("line {line}"), "a sentence", "an empty line"));
            }
            texts.push(text.trim().to_string());
            labels.push(label);
        }
    }
    Ok(LabeledTexts { texts, labels, classes: vec!["negative".into(), "positive".into()] })
}

/// Turns of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogue {
    /// What it is about.
    pub topic: String,
    /// What is said, in turn.
    pub turns: Vec<String>,
}

impl Dialogue {
    /// Each turn but the last, with its reply.
    pub fn exchanges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.turns.windows(2).map(|pair| (&*pair[0], &*pair[1]))
    }
}

/// The dialogues of the UTF-8 file at `path`: a line `# topic`, a line for each turn, an empty line at the end.
///
/// # Errors
/// As [`read_text`]; if a turn stands before the first topic, or a dialogue has none.
pub fn read_dialogues(path: impl AsRef<Path>) -> Result<Vec<Dialogue>, DataError> {
    let path = path.as_ref();
    let malformed = |line: usize, expected: &str, found: String| {
        Err(DataError::malformed(path, format!("line {line}"), expected, found))
    };
    let mut dialogues: Vec<Dialogue> = Vec::new();
    let mut inside = false;
    for (line, text) in (1..).zip(read_text(path)?.lines()) {
        match (text.strip_prefix("# "), dialogues.last_mut()) {
            (Some(_), Some(open)) if open.turns.is_empty() => {
                return malformed(line, "a turn", format!("the next topic, and none on `{}`", open.topic));
            }
            (Some(topic), _) => {
                dialogues.push(Dialogue { topic: topic.trim().to_string(), turns: Vec::new() });
                inside = true;
            }
            (None, _) if text.trim().is_empty() => inside = false,
            (None, Some(open)) if inside => open.turns.push(text.trim().to_string()),
            (None, _) => return malformed(line, "a line `# topic` before the first turn", format!("`{text}`")),
        }
    }
    if let Some(open) = dialogues.last().filter(|open| open.turns.is_empty()) {
        let found = format!("the end of the file, and none on `{}`", open.topic);
        return Err(DataError::malformed(path, "the end", "a turn", found));
    }
    Ok(dialogues)
}

/// The self-dialogues in `folder` (file `self_dialogue_subset.txt`).
///
/// # Errors
/// If the file is missing or damaged.
pub fn self_dialogue(folder: impl AsRef<Path>) -> Result<Vec<Dialogue>, DataError> {
    let hint = "it is made of the turns in https://github.com/jfainberg/self_dialogue_corpus: `# topic`, a turn a line, an \
                empty line";
    read_dialogues(present(folder.as_ref(), "self_dialogue_subset.txt", hint)?)
}

/// Image captions in two languages, each with its translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multi30k {
    /// The training part.
    pub train: Vec<(String, String)>,
    /// The validation part.
    pub valid: Vec<(String, String)>,
    /// The test part of 2016.
    pub test: Vec<(String, String)>,
}

/// Multi30k in `folder`, from one language to another (`en`, `de`, `fr`); the files are called `train.en`,
/// `val.en`, `test_2016_flickr.en`, or the same with `.gz`.
///
/// # Errors
/// If a file is missing or damaged, or two differ in their number of lines.
pub fn multi30k(folder: impl AsRef<Path>, from: &str, to: &str) -> Result<Multi30k, DataError> {
    let hint = "get it from https://github.com/multi30k/dataset (data/task1/raw)";
    let part = |part: &str| {
        let file = |language: &str| present(folder.as_ref(), &format!("{part}.{language}"), hint);
        read_parallel(file(from)?, file(to)?)
    };
    Ok(Multi30k { train: part("train")?, valid: part("val")?, test: part("test_2016_flickr")? })
}

/// The path of `file` in `folder`, or of `file.gz`.
fn present(folder: &Path, file: &str, hint: &str) -> Result<std::path::PathBuf, DataError> {
    if !folder.is_dir() {
        return Err(DataError::NoFolder { folder: folder.into(), hint: hint.into() });
    }
    let paths = [folder.join(file), folder.join(format!("{file}.gz"))];
    paths.into_iter().find(|path| path.exists()).ok_or_else(|| DataError::MissingFile {
        folder: folder.into(),
        file: file.into(),
        hint: hint.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(content: &str, read: impl FnOnce(&Path) -> Result<T, DataError>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.txt");
        std::fs::write(&path, content).unwrap();
        read(&path).unwrap_err().to_string()
    }

    #[test]
    fn lines_that_are_no_labeled_texts_are_refused() {
        for (content, part) in [
            ("ham\ta\nham b\n", "t.txt: line 2: expected a class, a tab and a text, found no tab"),
            ("ham\ta\neggs\tb\n", "line 2: expected one of the classes ham, spam, found `eggs`"),
            ("spam\t \n", "line 1: expected a text behind the tab"),
        ] {
            let message = refusal(content, |path| read_labeled(path, &["ham", "spam"]));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn dialogues_without_topic_or_turns_are_refused() {
        for (content, part) in [
            ("hello\n# a\n", "line 1: expected a line `# topic` before the first turn, found `hello`"),
            ("# a\nhi\n\nho\n", "line 4: expected a line `# topic`"),
            ("# a\n# b\nhi\n", "line 2: expected a turn, found the next topic, and none on `a`"),
            ("# a\nhi\n\n# b\n", "the end: expected a turn, found the end of the file, and none on `b`"),
        ] {
            let message = refusal(content, |path| read_dialogues(path));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_where_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let message = sms_spam(folder.path()).unwrap_err().to_string();
        assert!(message.contains("SMSSpamCollection") && message.contains("archive.ics.uci.edu"), "{message}");
        let message = multi30k(folder.path().join("absent"), "en", "de").unwrap_err().to_string();
        assert!(message.contains("absent is no folder") && message.contains("multi30k/dataset"), "{message}");
    }

    #[test]
    fn real_corpora_are_read() {
        let Some(data) = std::env::var_os("THALWEG_DATA").map(std::path::PathBuf::from) else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let spam = sms_spam(data.join("sms-spam")).unwrap();
        assert_eq!((spam.texts.len(), spam.labels.iter().sum::<i64>()), (5574, 747));
        let films = rt_polarity(data.join("rt-polarity")).unwrap();
        assert_eq!((films.texts.len(), films.label_column().len()), (10_662, 10_662));
        assert!(films.texts.iter().any(|text| text.contains('é')));
        let dialogues = self_dialogue(data.join("self-dialogue")).unwrap();
        assert_eq!(dialogues.len(), 2830);
        assert_eq!(dialogues.iter().map(|dialogue| dialogue.turns.len()).sum::<usize>(), 41_146);
        assert_eq!(dialogues.iter().map(|dialogue| dialogue.exchanges().count()).sum::<usize>(), 38_316);
        let captions = multi30k(data.join("multi30k"), "en", "fr").unwrap();
        assert_eq!((captions.train.len(), captions.valid.len(), captions.test.len()), (29_000, 1014, 1000));
    }
}
