//! The cells of a CSV file, before they mean anything.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::read::read_file;

/// No row may be longer than this many bytes.
const MAX_RECORD: usize = 1 << 20;

/// How a text is cut into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    /// How many lines before the table are left out.
    #[serde(default)]
    pub(crate) skipped: usize,
    pub(crate) header: bool,
    pub(crate) separator: u8,
    pub(crate) comment: Option<u8>,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Record {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    pub(crate) cells: Vec<String>,
}

/// The rows of a file, at least one, all as long as there are names.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Record>,
}

impl Records {
    /// The rows of the file at `path`.
    pub(crate) fn read(path: &Path, format: &Format) -> Result<Records, DataError> {
        Records::parse(path, &read_file(path)?, format)
    }

    fn parse(path: &Path, bytes: &[u8], format: &Format) -> Result<Records, DataError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let bytes = after_lines(bytes, format.skipped);
        let starts = scan(path, bytes, format)?;
        let mut reader = reader(bytes, format);
        let mut rows = Vec::with_capacity(starts.len());
        for (result, &line) in reader.records().zip(&starts) {
            let record = result
                .map_err(|error| DataError::malformed(path, format!("line {line}"), "a row", format!("`{error}`")))?;
            rows.push(Record { line, cells: record.iter().map(str::to_string).collect() });
        }
        let n_headers = format.header as usize;
        if rows.len() <= n_headers {
            let found = if bytes.is_empty() && format.skipped == 0 {
                "an empty file"
            } else if rows.is_empty() {
                "no rows"
            } else {
                "only a header"
            };
            return Err(DataError::malformed(path, "the table", "at least one row of data", found));
        }
        let names = if format.header {
            names(path, rows.remove(0))?
        } else {
            (0..rows[0].cells.len()).map(|index| format!("c{index}")).collect()
        };
        for (row, record) in rows.iter().enumerate() {
            if record.cells.len() != names.len() {
                let place = format!("row {row} (line {})", record.line);
                let last = names[record.cells.len().min(names.len()) - 1].clone();
                let found = format!("{} (the last of them `{last}`)", record.cells.len());
                return Err(DataError::malformed(path, place, format!("{} columns", names.len()), found));
            }
        }
        Ok(Records { names, rows })
    }
}

/// What follows the first `count` lines.
fn after_lines(bytes: &[u8], count: usize) -> &[u8] {
    bytes.splitn(count + 1, |&byte| byte == b'\n').nth(count).unwrap_or_default()
}

fn reader<'a>(bytes: &'a [u8], format: &Format) -> csv::Reader<&'a [u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(format.separator)
        .comment(format.comment)
        .trim(csv::Trim::All)
        .from_reader(bytes)
}

/// The names in a header; a column without one is called by its position.
fn names(path: &Path, header: Record) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> = Vec::new();
    for (index, name) in header.cells.into_iter().enumerate() {
        let name = if name.is_empty() { format!("c{index}") } else { name };
        if let Some(first) = names.iter().position(|known| *known == name) {
            let place = format!("header (line {})", header.line);
            let found = format!("`{name}` for the columns {first} and {index}");
            return Err(DataError::malformed(path, place, "a name of its own for each column", found));
        }
        names.push(name);
    }
    Ok(names)
}

/// The lines on which rows begin. Refuses what a reader of CSV lets through: bytes that are no text, a quote that is not
/// closed, a row without end, line ends that editors do not count.
fn scan(path: &Path, bytes: &[u8], format: &Format) -> Result<Vec<u64>, DataError> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Between,
        Comment,
        CellStart,
        Plain,
        Quoted,
        /// After a quote inside a quoted cell: the end of the cell, or the first of two that stand for one.
        Quote,
    }
    let refuse = |line: u64, expected: &str, found: String| {
        let row = format!("line {line}");
        Err(DataError::malformed(path, row, expected, found))
    };
    let first = 1 + format.skipped as u64;
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        let line = first + bytes[..at].iter().filter(|&&byte| byte == b'\n').count() as u64;
        return refuse(line, "text in UTF-8", format!("the byte 0x{:02x} (another encoding?)", bytes[at]));
    }
    let (mut state, mut line, mut quote_line, mut row_start) = (State::Between, first, 0, 0);
    let mut starts = Vec::new();
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == 0 {
            return refuse(line, "text", "a NUL byte (a binary file, or UTF-16?)".into());
        }
        if state == State::Between && byte != b'\n' && byte != b'\r' {
            row_start = at;
            state = if Some(byte) == format.comment { State::Comment } else { State::CellStart };
            if state == State::CellStart {
                starts.push(line);
            }
        }
        if byte == b'\r' && state != State::Quoted && state != State::Comment && bytes.get(at + 1) != Some(&b'\n') {
            return refuse(line, "line ends of \\n or \\r\\n", "a \\r alone".into());
        }
        let in_row = state != State::Between && state != State::Comment;
        if in_row && at - row_start >= MAX_RECORD {
            let row = (starts.len() as u64).saturating_sub(1 + format.header as u64);
            let found = format!("more in row {row} (a wrong separator or line end?)");
            return refuse(line, &format!("at most {MAX_RECORD} bytes a row"), found);
        }
        state = match (state, byte) {
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote, b'"') => State::Quoted,
            (State::Comment, byte) if byte != b'\n' => State::Comment,
            (_, b'\n' | b'\r') => State::Between,
            (State::CellStart, b'"') => {
                quote_line = line;
                State::Quoted
            }
            (_, byte) if byte == format.separator => State::CellStart,
            (State::Between | State::Comment | State::CellStart | State::Plain | State::Quote, _) => State::Plain,
        };
        line += (byte == b'\n') as u64;
    }
    if state == State::Quoted {
        return refuse(quote_line, "a quote that is closed", "the end of the file after an opening quote".into());
    }
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMAS: Format = Format { skipped: 0, header: true, separator: b',', comment: None };

    fn parse(bytes: impl AsRef<[u8]>) -> Result<Records, DataError> {
        Records::parse(Path::new("folder/table.csv"), bytes.as_ref(), &COMMAS)
    }

    fn refusal(bytes: impl AsRef<[u8]>) -> String {
        let message = parse(bytes).unwrap_err().to_string();
        assert!(message.starts_with("folder/table.csv: "), "{message}");
        message
    }

    /// The lines and cells of the rows.
    fn rows(records: &Records) -> Vec<(u64, Vec<&str>)> {
        records.rows.iter().map(|row| (row.line, row.cells.iter().map(|cell| &**cell).collect())).collect()
    }

    proptest! {
        /// The scan and the reader cut a text into the same rows.
        #[test]
        fn the_scan_agrees_with_the_reader(text in "([ab \",;#\n\r]|\r\n){0,40}", comment: bool, semicolon: bool) {
            // The reader takes a comment that ends with the file for a row; `Records` goes by the scan.
            let text = text + "\n";
            let comment = comment.then_some(b'#');
            let format = Format { skipped: 0, header: false, separator: if semicolon { b';' } else { b',' }, comment };
            if let Ok(starts) = scan(Path::new("f"), text.as_bytes(), &format) {
                prop_assert_eq!(starts.len(), reader(text.as_bytes(), &format).records().count());
            }
        }
    }

    #[test]
    fn byte_order_marks_and_either_line_end_are_accepted() {
        for text in ["a,b\n1,2\n3,4\n", "\u{feff}a,b\r\n1,2\r\n3,4\r\n", "a,b\n1,2\n3,4"] {
            let records = parse(text).unwrap();
            assert_eq!(records.names, ["a", "b"]);
            assert_eq!(rows(&records), [(2, vec!["1", "2"]), (3, vec!["3", "4"])]);
        }
    }

    #[test]
    fn quoted_cells_hold_anything_and_lines_are_still_counted() {
        let records = parse("a,b\r\n\r\n\"x,\"\"y\"\"\r\n\",2\r\n\r\n 3\"4 ,\"\"\n").unwrap();
        assert_eq!(rows(&records), [(3, vec!["x,\"y\"", "2"]), (6, vec!["3\"4", ""])]);
        let format = Format { comment: Some(b'#'), header: false, ..COMMAS };
        let records = Records::parse(Path::new("f"), b"#\"\n1\n# x\n\n2\n", &format).unwrap();
        assert_eq!(rows(&records), [(2, vec!["1"]), (5, vec!["2"])]);
    }

    #[test]
    fn lines_before_the_table_are_left_out_and_still_counted() {
        let skips =
            |skipped, text: &str| Records::parse(Path::new("f"), text.as_bytes(), &Format { skipped, ..COMMAS });
        assert_eq!(rows(&skips(2, "3 rows of\n\"this\na,b\n1,2\n").unwrap()), [(4, vec!["1", "2"])]);
        let message = skips(1, "made by hand\r\na,b\n1,2\n3\n").unwrap_err().to_string();
        assert!(message.contains("row 1 (line 4): expected 2 columns, found 1"), "{message}");
        assert!(skips(9, "a,b\n1,2\n").unwrap_err().to_string().contains("found no rows"));
    }

    #[test]
    fn ragged_rows_are_refused_with_row_and_line() {
        let message = refusal("a,b,c\n1,2,3\n4,5\n");
        assert!(message.contains("row 1 (line 3): expected 3 columns, found 2 (the last of them `b`)"), "{message}");
        let message = refusal("a,b\n1,2\n\n3,4\n1,5,6\n");
        assert!(message.contains("row 2 (line 5): expected 2 columns, found 3"), "{message}");
    }

    #[test]
    fn tables_without_rows_are_refused() {
        assert!(refusal("").contains("at least one row of data, found an empty file"));
        assert!(refusal("\n\r\n\n").contains("found no rows"));
        assert!(refusal("a,b\r\n").contains("found only a header"));
        let no_header = Format { header: false, ..COMMAS };
        assert!(Records::parse(Path::new("f"), b"", &no_header).is_err());
    }

    #[test]
    fn headers_name_each_column_once() {
        let message = refusal("a,b,a\n1,2,3\n");
        assert!(message.contains("header (line 1)") && message.contains("`a` for the columns 0 and 2"), "{message}");
        assert_eq!(parse(",b\n1,2\n").unwrap().names, ["c0", "b"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_the_line() {
        assert!(refusal(b"a\n1\nna\xefve\n").contains("line 3: expected text in UTF-8, found the byte 0xef"));
        assert!(refusal(b"a\n1\n\0\n").contains("line 3: expected text, found a NUL byte"));
        assert!(refusal(b"a\0,\0b\0").contains("line 1: expected text, found a NUL byte (a binary file, or UTF-16?)"));
    }

    #[test]
    fn a_carriage_return_alone_is_no_line_end() {
        assert!(refusal("a\n1\n2\r3\r").contains("line 3: expected line ends of \\n or \\r\\n, found a \\r alone"));
        assert_eq!(rows(&parse("a\n\"1\r2\"\n").unwrap()), [(2, vec!["1\r2"])]);
    }

    #[test]
    fn quotes_that_are_not_closed_are_refused_where_they_open() {
        let message = refusal("a,b\n1,2\n3,\"4\n5,6\n7,8\n");
        assert!(message.contains("line 3: expected a quote that is closed"), "{message}");
        assert!(refusal("a\n1\n\"\"\"").contains("line 3"));
    }

    #[test]
    fn rows_without_end_are_refused() {
        let mut text = b"a,b\n1,2\n".to_vec();
        text.extend(b"3,4,".repeat(MAX_RECORD));
        let message = refusal(text);
        assert!(message.contains("line 3: expected at most 1048576 bytes a row, found more in row 1"), "{message}");
    }
}
