//! Texts in files.

use std::io::Read;
use std::path::Path;

use unicode_segmentation::UnicodeSegmentation;

use crate::error::DataError;
use crate::read::{expanded_at_most, read_file};

/// The text of the file at `path`, which is UTF-8, plain or gzip; a byte order mark is left out.
///
/// # Errors
/// If the file cannot be read, is empty, or is no UTF-8: the message names the byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, DataError> {
    let path = path.as_ref();
    utf8(path, read_file(path)?)
}

/// The text of the file at `path`, which is Windows-1252 (of which Latin-1 is a part), plain or gzip.
///
/// # Errors
/// If the file cannot be read, is empty, or has a byte that stands for no character.
pub fn read_windows_1252(path: impl AsRef<Path>) -> Result<String, DataError> {
    /// The characters 0x80 to 0x9f; what stands for none is a NUL.
    const HIGH: &str = "€\0‚ƒ„…†‡ˆ‰Š‹Œ\0Ž\0\0‘’“”•–—˜™š›œ\0žŸ";
    let path = path.as_ref();
    let bytes = read_file(path)?;
    let high: Vec<char> = HIGH.chars().collect();
    let character = |(at, byte): (usize, &u8)| match byte {
        0x80..=0x9f => match high[*byte as usize - 0x80] {
            '\0' => Err(not_text(path, &bytes, at, "Windows-1252")),
            character => Ok(character),
        },
        other => Ok(*other as char),
    };
    let text: String = bytes.iter().enumerate().map(character).collect::<Result<_, _>>()?;
    filled(path, text)
}

/// The lines of the UTF-8 file at `path`, plain or gzip, without their ends; empty ones too, so that lines of several
/// files keep their numbers.
///
/// # Errors
/// As [`read_text`].
pub fn read_lines(path: impl AsRef<Path>) -> Result<Vec<String>, DataError> {
    Ok(read_text(path)?.lines().map(str::to_string).collect())
}

/// The pairs of the UTF-8 file at `path`: on each line a text, a tab, what belongs to it; what stands behind a second
/// tab is left out. Plain, gzip, or a zip with one `.txt` whose name does not begin with `_`.
///
/// # Errors
/// As [`read_text`]; if a line has no tab or one side is empty; if the zip is damaged or has no such file.
pub fn read_pairs(path: impl AsRef<Path>) -> Result<Vec<(String, String)>, DataError> {
    let path = path.as_ref();
    let bytes = read_file(path)?;
    let bytes = if bytes.starts_with(b"PK\x03\x04") { unzip(path, &bytes)? } else { bytes };
    let text = utf8(path, bytes)?;
    let pair = |(line, text): (usize, &str)| {
        let mut fields = text.split('\t').map(str::trim);
        match (fields.next().unwrap_or_default(), fields.next()) {
            (left, Some(right)) if !left.is_empty() && !right.is_empty() => Ok((left.to_string(), right.to_string())),
            (_, right) => {
                let found = if right.is_none() { "no tab" } else { "an empty side" };
                Err(DataError::malformed(path, format!("line {line}"), "a text, a tab and a text", found))
            }
        }
    };
    (1..).zip(text.lines()).map(pair).collect()
}

/// The pairs of two UTF-8 files, plain or gzip, whose lines belong together by number.
///
/// # Errors
/// As [`read_text`]; if the files differ in the number of lines, or one side of a line is empty.
pub fn read_parallel(left: impl AsRef<Path>, right: impl AsRef<Path>) -> Result<Vec<(String, String)>, DataError> {
    let (left, right) = (left.as_ref(), right.as_ref());
    let (of_left, of_right) = (read_lines(left)?, read_lines(right)?);
    if of_left.len() != of_right.len() {
        let expected = format!("{} lines, one for each of {}", of_left.len(), left.display());
        return Err(DataError::malformed(right, "the file", expected, of_right.len().to_string()));
    }
    let pair = |(line, (a, b)): (usize, (String, String))| {
        for (path, text) in [(left, &a), (right, &b)] {
            if text.trim().is_empty() {
                return Err(DataError::malformed(path, format!("line {line}"), "a text", "an empty line"));
            }
        }
        Ok((a.trim().to_string(), b.trim().to_string()))
    };
    (1..).zip(of_left.into_iter().zip(of_right)).map(pair).collect()
}

/// The paragraphs of a text, between which empty lines stand, each as its sentences (UAX #29); where a line ends is no matter.
///
/// ```
/// use thalweg_data::text::paragraphs;
/// assert_eq!(paragraphs("It is late. We\nsleep.\n\nGood morning!"), [vec!["It is late.", "We sleep."], vec!["Good morning!"]]);
/// ```
pub fn paragraphs(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let paragraphs = lines.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    let sentences = |text: String| text.unicode_sentences().map(|sentence| sentence.trim().to_string()).collect();
    paragraphs.map(sentences).filter(|sentences: &Vec<String>| !sentences.is_empty()).collect()
}

/// Writes a text to a file at `path`, in place of what was there.
pub(super) fn write_file(path: &Path, text: &str) -> Result<(), DataError> {
    std::fs::write(path, text)
        .map_err(|error| DataError::File { path: path.to_path_buf(), reason: format!("cannot be written: {error}") })
}

fn utf8(path: &Path, mut bytes: Vec<u8>) -> Result<String, DataError> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    match String::from_utf8(bytes) {
        Ok(text) => filled(path, text),
        Err(error) => Err(not_text(path, error.as_bytes(), error.utf8_error().valid_up_to(), "UTF-8")),
    }
}

fn filled(path: &Path, text: String) -> Result<String, DataError> {
    if text.trim().is_empty() {
        let found = if text.is_empty() { "an empty file" } else { "white space only" };
        return Err(DataError::malformed(path, "the file", "a text", found));
    }
    Ok(text)
}

/// The byte at `at` belongs to no character.
fn not_text(path: &Path, bytes: &[u8], at: usize, encoding: &str) -> DataError {
    let line = bytes[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
    let found = format!("the byte 0x{:02x}, which belongs to no character", bytes[at]);
    DataError::malformed(path, format!("byte {at} (line {line})"), encoding, found)
}

/// The text file in a zip.
fn unzip(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    let damaged = |error: String| DataError::malformed(path, "zip", "an intact archive", format!("`{error}`"));
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).map_err(|error| damaged(error.to_string()))?;
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let names: Vec<String> =
        names.into_iter().filter(|name| name.ends_with(".txt") && !name.starts_with('_')).collect();
    let [name] = &names[..] else {
        return Err(DataError::malformed(
            path,
            "zip",
            "one file *.txt",
            format!("{}: {}", names.len(), names.join(", ")),
        ));
    };
    let mut text = Vec::new();
    let limit = expanded_at_most(bytes.len());
    let file = archive.by_name(name).map_err(|error| damaged(error.to_string()))?;
    file.take(limit + 1).read_to_end(&mut text).map_err(|error| damaged(error.to_string()))?;
    if text.len() as u64 > limit {
        let expected = format!("at most {limit} bytes from {} compressed ones", bytes.len());
        return Err(DataError::malformed(path, "zip", expected, "more: the file is made to fill memory"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use super::*;
    use crate::read::tests::gzip;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let (_folder, path) = file("t.txt", b"first\ncaf\xe9\n");
        let message = refusal(read_text(&path));
        assert!(message.contains("t.txt: byte 9 (line 2): expected UTF-8, found the byte 0xe9"), "{message}");
        assert_eq!(read_windows_1252(&path).unwrap(), "first\ncafé\n");
        let (_folder, path) = file("t.txt", b"a\x96b\x9d");
        let message = refusal(read_windows_1252(&path));
        assert!(message.contains("byte 3 (line 1): expected Windows-1252, found the byte 0x9d"), "{message}");
        let (_folder, path) = file("t.txt", b"a \x96 b\x80");
        assert_eq!(read_windows_1252(&path).unwrap(), "a – b€");
    }

    #[test]
    fn texts_are_read_plain_or_compressed_and_never_empty() {
        let (_folder, path) = file("t.txt", b"\xef\xbb\xbfone\r\n\r\ntwo");
        assert_eq!(read_lines(&path).unwrap(), ["one", "", "two"]);
        let (_folder, path) = file("t.gz", &gzip("zwölf".as_bytes()));
        assert_eq!(read_text(&path).unwrap(), "zwölf");
        for (content, found) in [(&b""[..], "an empty file"), (b" \n", "white space only")] {
            let (_folder, path) = file("t.txt", content);
            assert!(refusal(read_text(&path)).contains(found));
        }
    }

    #[test]
    fn ragged_pairs_are_refused_with_their_line() {
        let (_folder, path) = file("p.txt", "Go.\tVa !\nHi.\tSalut.\tattribution\n".as_bytes());
        assert_eq!(read_pairs(&path).unwrap()[1], ("Hi.".to_string(), "Salut.".to_string()));
        for (content, part) in [
            ("a\tb\nc\n", "line 2: expected a text, a tab and a text, found no tab"),
            ("a\tb\n\t\n", "line 2: expected a text, a tab and a text, found an empty side"),
            ("a\t\n", "line 1: expected a text, a tab and a text, found an empty side"),
        ] {
            let (_folder, path) = file("p.txt", content.as_bytes());
            let message = refusal(read_pairs(&path));
            assert!(message.contains(part), "{message}");
        }
        let ((_a, left), (_b, right)) = (file("l", b"a\nb\n"), file("r", b"x\n"));
        let message = refusal(read_parallel(&left, &right));
        assert!(message.contains("r: the file: expected 2 lines") && message.contains("found 1"), "{message}");
        let (_c, right) = file("r", b"x\n \n");
        let message = refusal(read_parallel(&left, &right));
        assert!(message.contains("r: line 2: expected a text, found an empty line"), "{message}");
    }

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_zip_has_one_text() {
        let whole = zipped(&[("_about.txt", b"about"), ("pairs.txt", b"a\tb\n")]);
        let (_folder, path) = file("p.zip", &whole);
        assert_eq!(read_pairs(&path).unwrap(), [("a".to_string(), "b".to_string())]);
        let (_folder, path) = file("p.zip", &zipped(&[("a.txt", b"a\tb"), ("b.txt", b"")]));
        let message = refusal(read_pairs(&path));
        assert!(message.contains("zip: expected one file *.txt, found 2: a.txt, b.txt"), "{message}");
        let (_folder, path) = file("p.zip", &whole[..whole.len() / 2]);
        assert!(refusal(read_pairs(&path)).contains("p.zip: zip: expected an intact archive"));
    }

    #[test]
    fn real_pairs_are_read() {
        let Some(data) = std::env::var_os("THALWEG_DATA").map(PathBuf::from) else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let pairs = read_pairs(data.join("fra-eng/fra-eng.zip")).unwrap();
        assert_eq!(pairs.len(), 142_787);
        assert_eq!(pairs[0], ("Go.".to_string(), "Va !".to_string()));
        let captions = data.join("multi30k");
        let pairs = read_parallel(captions.join("val.en.gz"), captions.join("val.de.gz")).unwrap();
        assert_eq!(pairs.len(), 1014);
        assert_eq!(pairs[1].1, "Ein Mann schläft in einem grünen Raum auf einem Sofa.");
        let text = read_text(data.join("nietzsche/nietzsche.txt")).unwrap();
        assert_eq!(text.chars().count(), 600_893);
        let vocabulary = crate::text::Vocabulary::options().specials(&[]);
        assert_eq!(vocabulary.of_texts(&crate::text::Characters, [&text]).unwrap().len(), 84);
        assert_eq!(read_text(data.join("tinyshakespeare/input.txt")).unwrap().len(), 1_115_394);
    }
}
