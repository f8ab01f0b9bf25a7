//! Arrays in NumPy's `.npy` files, versions 1 to 3.
//!
//! A magic number, a version, the length of a header, the header (a Python dictionary of dtype, order and shape), the
//! elements. R. Kern, NEP 1, "A simple file format for NumPy arrays", 2007.

use std::fs;
use std::io;
use std::path::Path;

use half::f16;
use thiserror::Error;

use crate::array::{Array, Storage, byte_count};
use crate::dtype::{DType, Element};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The elements begin at a multiple of this many bytes.
const ALIGNMENT: usize = 64;

/// What can be wrong with a `.npy` file.
#[derive(Debug, Error)]
pub enum NpyError {
    /// The file could not be read or written.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{file}: {place}: expected {expected}, found {found}")]
    Malformed {
        /// The file.
        file: String,
        /// Which part of it.
        place: &'static str,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The elements are of a type that no array has.
    #[error("{file}: elements of dtype {dtype}: {reason}")]
    DType {
        /// The file.
        file: String,
        /// The dtype, as it stands in the file.
        dtype: String,
        /// Why it is refused.
        reason: String,
    },
}

/// The array in the file at `path`.
///
/// Elements in column-major (Fortran) order or of the other byte order are converted. Integers that no dtype here has
/// become the next wider ones: i8, i16 and u16 become i32; u32 and u64 become i64.
///
/// # Errors
/// If the file cannot be read, is no `.npy` file, is longer or shorter than its header says, or holds objects (which are
/// pickles: programs, not data), text, complex numbers or records.
pub fn load(path: impl AsRef<Path>) -> Result<Array, NpyError> {
    let file = path.as_ref().display().to_string();
    match fs::read(path) {
        Ok(bytes) => from_bytes(&file, &bytes),
        Err(source) => Err(NpyError::File { file, source }),
    }
}

/// Writes `array` to a file at `path`, in place of what was there.
///
/// # Errors
/// If the file cannot be written, or the array is bf16, which NumPy has not.
pub fn save(path: impl AsRef<Path>, array: &Array) -> Result<(), NpyError> {
    let file = path.as_ref().display().to_string();
    let bytes = to_bytes(&file, array)?;
    fs::write(path, bytes).map_err(|source| NpyError::File { file, source })
}

/// The array in the `.npy` file of these bytes; `file` names it in errors.
///
/// ```
/// use thalweg_array::{Array, npy};
/// let x = Array::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(npy::from_bytes("x.npy", &npy::to_bytes("x.npy", &x)?)?, x);
/// # Ok::<(), npy::NpyError>(())
/// ```
///
/// # Errors
/// As [`load`].
pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Array, NpyError> {
    let malformed = |place, expected: String, found: String| {
        Err(NpyError::Malformed { file: file.to_string(), place, expected, found })
    };
    if !bytes.starts_with(MAGIC) {
        let found = format!("{:02x?}", &bytes[..bytes.len().min(MAGIC.len())]);
        return malformed("magic number", "93 4e 55 4d 50 59".into(), found);
    }
    let (length, header) = match bytes[MAGIC.len()..].first_chunk::<6>() {
        Some(&[1, 0, a, b, _, _]) => (u16::from_le_bytes([a, b]) as usize, &bytes[10..]),
        Some(&[2 | 3, 0, a, b, c, d]) => (u32::from_le_bytes([a, b, c, d]) as usize, &bytes[12..]),
        Some([major, minor, ..]) => {
            return malformed("version", "1.0, 2.0 or 3.0".into(), format!("{major}.{minor}"));
        }
        None => return malformed("version", "12 bytes of header".into(), format!("{} bytes", bytes.len())),
    };
    let Some((header, elements)) = header.split_at_checked(length) else {
        return malformed("header", format!("{length} bytes"), format!("{} (truncated)", header.len()));
    };
    let header = match std::str::from_utf8(header).map_err(|_| "bytes that are no text".to_string()) {
        Ok(text) => Parser { rest: text }.header(),
        Err(reason) => Err(reason),
    };
    let header = match header {
        Ok(header) => header,
        Err(found) => {
            return malformed("header", "{'descr': …, 'fortran_order': …, 'shape': (…), }".into(), found);
        }
    };
    let kind = Kind::of(&header.descr).map_err(|reason| NpyError::DType {
        file: file.to_string(),
        dtype: header.descr.clone(),
        reason,
    })?;
    let count = match byte_count(&header.shape, kind.dtype) {
        Ok(bytes) => bytes / kind.dtype.size(),
        Err(error) => return malformed("shape", "an array that fits into memory".into(), error.to_string()),
    };
    if elements.len() != count * kind.width {
        let found = match elements.len().checked_sub(count * kind.width) {
            Some(more) => format!("{} ({more} more)", elements.len()),
            None => format!("{} (truncated)", elements.len()),
        };
        let expected = format!("{} bytes for the shape {:?}", count * kind.width, header.shape);
        return malformed("elements", expected, found);
    }
    let storage = match kind.storage(elements) {
        Ok(storage) if header.fortran_order => {
            crate::with_elements!(&storage, elements => row_major(elements, &header.shape))
        }
        Ok(storage) => storage,
        Err(found) => return malformed("elements", "numbers that i64 can hold".into(), found),
    };
    Ok(Array::from_storage(&header.shape, storage).expect("the elements fill the shape"))
}

/// `array` as a `.npy` file, version 1; `file` names it in errors.
///
/// # Errors
/// If the array is bf16, which NumPy has not.
pub fn to_bytes(file: &str, array: &Array) -> Result<Vec<u8>, NpyError> {
    let code = match array.dtype() {
        DType::F32 => "f4",
        DType::F64 => "f8",
        DType::F16 => "f2",
        DType::I32 => "i4",
        DType::I64 => "i8",
        DType::U8 => "u1",
        DType::Bool => "b1",
        DType::BF16 => {
            let reason = "NumPy has no such dtype; `cast` to f32 loses nothing".to_string();
            return Err(NpyError::DType { file: file.to_string(), dtype: "bf16".to_string(), reason });
        }
    };
    let order = match array.dtype().size() {
        1 => '|',
        _ if cfg!(target_endian = "big") => '>',
        _ => '<',
    };
    let sizes: String = array.shape().iter().map(|size| format!("{size}, ")).collect();
    // A tuple of one keeps its comma: (3,).
    let sizes = if array.rank() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let header = format!("{{'descr': '{order}{code}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let total = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(ALIGNMENT);
    let length = total - MAGIC.len() - 4;
    let mut bytes = Vec::with_capacity(total + array.storage().bytes().len());
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    // At most 8 sizes of at most 20 digits: far below 65,536.
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    bytes.extend(array.storage().bytes());
    Ok(bytes)
}

#[derive(Debug)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// The one dictionary that headers hold.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn header(mut self) -> Result<Header, String> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.eat('}') {
            let key = self.text()?;
            self.expect(':')?;
            match key.as_str() {
                "descr" => descr = Some(self.descr()?),
                "fortran_order" => fortran_order = Some(self.truth()?),
                "shape" => shape = Some(self.sizes()?),
                key => return Err(format!("the key `{key}`")),
            }
            if !self.eat(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(format!("`{}` after the dictionary", self.rest.trim()));
        }
        let missing = |key: &str| format!("no key `{key}`");
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }

    fn eat(&mut self, symbol: char) -> bool {
        self.rest = self.rest.trim_start();
        let stripped = self.rest.strip_prefix(symbol);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn expect(&mut self, symbol: char) -> Result<(), String> {
        if self.eat(symbol) { Ok(()) } else { Err(format!("`{}` where `{symbol}` should stand", self.shown())) }
    }

    /// The beginning of what is left.
    fn shown(&self) -> String {
        self.rest.chars().take(20).collect()
    }

    /// A text in single or double quotes.
    fn text(&mut self) -> Result<String, String> {
        let quote = if self.eat('\'') { '\'' } else { '"' };
        if quote == '"' {
            self.expect('"')?;
        }
        let (text, rest) =
            self.rest.split_once(quote).ok_or_else(|| format!("a quote that is not closed: `{}`", self.shown()))?;
        self.rest = rest;
        Ok(text.to_string())
    }

    /// The dtype; that of records is a list, kept as it stands up to its last bracket.
    fn descr(&mut self) -> Result<String, String> {
        if !self.rest.trim_start().starts_with('[') {
            return self.text();
        }
        let end = self.rest.rfind(']').ok_or_else(|| format!("`{}` without `]`", self.shown()))? + 1;
        let (list, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(list.trim().to_string())
    }

    fn truth(&mut self) -> Result<bool, String> {
        self.rest = self.rest.trim_start();
        for (word, truth) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(truth);
            }
        }
        Err(format!("`{}` where True or False should stand", self.shown()))
    }

    fn sizes(&mut self) -> Result<Vec<usize>, String> {
        let mut sizes = Vec::new();
        self.expect('(')?;
        while !self.eat(')') {
            self.rest = self.rest.trim_start();
            let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            let size = digits.parse().map_err(|_| format!("`{}` where a size should stand", self.shown()))?;
            sizes.push(size);
            // Python 2 wrote long integers as 3L.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.eat(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

/// How elements stand in a file.
#[derive(Clone, Copy)]
struct Kind {
    /// `b`, `u`, `i` or `f`.
    letter: u8,
    /// Bytes per element in the file.
    width: usize,
    big_endian: bool,
    /// The dtype that holds every such number (u64: if it is not too large).
    dtype: DType,
}

impl Kind {
    /// The kind that `descr` says, or why there is none.
    fn of(descr: &str) -> Result<Kind, String> {
        let refused = |reason: &str| Err(reason.to_string());
        let (big_endian, letter, width) = match descr.as_bytes() {
            [b'[', ..] => return refused("records have no place in an array; save each field on its own"),
            [b'|' | b'<' | b'>' | b'=', b'O', ..] => {
                return refused("objects are pickles, programs that would run when read; save numbers");
            }
            [b'>', letter, width] => (true, *letter, *width),
            [b'<' | b'|', letter, width] => (false, *letter, *width),
            [b'=', letter, width] => (cfg!(target_endian = "big"), *letter, *width),
            _ => return refused("only numbers and truth values are read"),
        };
        let dtype = match (letter, width) {
            (b'b', b'1') => DType::Bool,
            (b'u', b'1') => DType::U8,
            (b'i', b'1' | b'2' | b'4') | (b'u', b'2') => DType::I32,
            (b'i', b'8') | (b'u', b'4' | b'8') => DType::I64,
            (b'f', b'2') => DType::F16,
            (b'f', b'4') => DType::F32,
            (b'f', b'8') => DType::F64,
            _ => return refused("only numbers of 1, 2, 4 or 8 bytes and truth values are read"),
        };
        Ok(Kind { letter, width: (width - b'0') as usize, big_endian, dtype })
    }

    /// The elements in these bytes; the error is a number that its dtype cannot hold.
    fn storage(self, bytes: &[u8]) -> Result<Storage, String> {
        let big = self.big_endian;
        Ok(match (self.letter, self.width) {
            (b'f', 2) => f16::into_storage(numbers(bytes, big, f16::from_le_bytes)),
            (b'f', 4) => f32::into_storage(numbers(bytes, big, f32::from_le_bytes)),
            (b'f', _) => f64::into_storage(numbers(bytes, big, f64::from_le_bytes)),
            (b'i', 1) => i32::into_storage(numbers(bytes, big, |x| i8::from_le_bytes(x) as i32)),
            (b'i', 2) => i32::into_storage(numbers(bytes, big, |x| i16::from_le_bytes(x) as i32)),
            (b'i', 4) => i32::into_storage(numbers(bytes, big, i32::from_le_bytes)),
            (b'i', _) => i64::into_storage(numbers(bytes, big, i64::from_le_bytes)),
            (b'u', 1) => u8::into_storage(bytes.to_vec()),
            (b'u', 2) => i32::into_storage(numbers(bytes, big, |x| u16::from_le_bytes(x) as i32)),
            (b'u', 4) => i64::into_storage(numbers(bytes, big, |x| u32::from_le_bytes(x) as i64)),
            (b'u', _) => {
                let numbers = numbers(bytes, big, u64::from_le_bytes);
                let converted: Result<Vec<i64>, _> =
                    numbers.into_iter().map(|x| i64::try_from(x).map_err(|_| x.to_string())).collect();
                i64::into_storage(converted?)
            }
            (_, _) => bool::into_storage(bytes.iter().map(|&byte| byte != 0).collect()),
        })
    }
}

fn numbers<const WIDTH: usize, T>(bytes: &[u8], big_endian: bool, number: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<WIDTH>();
    let ordered = |mut bytes: [u8; WIDTH]| {
        if big_endian {
            bytes.reverse();
        }
        bytes
    };
    elements.iter().map(|&bytes| number(ordered(bytes))).collect()
}

/// Column-major elements in row-major order.
fn row_major<T: Element>(elements: &[T], shape: &[usize]) -> Storage {
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(elements.len());
    for _ in 0..elements.len() {
        // The first axis runs fastest in the file: offset = i0 + n0 · (i1 + n1 · (…)).
        let offset = index.iter().zip(shape).rev().fold(0, |offset, (&index, &size)| offset * size + index);
        ordered.push(elements[offset]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    T::into_storage(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 1 file with this dictionary.
    fn file(header: &str, elements: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[1, 0][..], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        bytes.extend(elements);
        bytes
    }

    fn read(descr: &str, order: &str, shape: &str, elements: &[u8]) -> Result<Array, NpyError> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        from_bytes("folder/x.npy", &file(&header, elements))
    }

    fn refusal(bytes: &[u8]) -> String {
        let message = from_bytes("folder/x.npy", bytes).unwrap_err().to_string();
        assert!(message.starts_with("folder/x.npy: "), "{message}");
        message
    }

    #[test]
    fn what_is_written_is_what_numpy_writes() {
        let written = to_bytes("x", &Array::from([1.0f64, 2.0, 3.0])).unwrap();
        assert_eq!(written.len(), 128 + 24);
        assert_eq!(written[..10], *b"\x93NUMPY\x01\x00v\x00");
        assert!(written[10..].starts_with(b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }   "));
        assert_eq!(written[127], b'\n');
    }

    #[test]
    fn every_dtype_and_rank_comes_back() {
        for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::BF16) {
            for shape in [&[][..], &[3], &[2, 3], &[0, 4], &[2, 1, 3, 1, 1, 2, 1, 1]] {
                let count: usize = shape.iter().product();
                let x = Array::new(shape, (0..count as i64).collect()).unwrap().cast(dtype);
                assert_eq!(from_bytes("x", &to_bytes("x", &x).unwrap()).unwrap(), x);
            }
        }
        let message = to_bytes("x.npy", &Array::zeros(&[1], DType::BF16)).unwrap_err().to_string();
        assert_eq!(message, "x.npy: elements of dtype bf16: NumPy has no such dtype; `cast` to f32 loses nothing");
    }

    #[test]
    fn files_are_saved_and_loaded() {
        let path = std::env::temp_dir().join(format!("thalweg-npy-{}.npy", std::process::id()));
        let x = Array::from([[1i64, 2], [3, 4]]);
        save(&path, &x).unwrap();
        let loaded = load(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(loaded.unwrap(), x);
        assert!(load(&path).unwrap_err().to_string().contains("thalweg-npy-"));
    }

    #[test]
    fn other_orders_and_widths_are_converted() {
        assert_eq!(read(">f4", "False", "(1,)", &1.5f32.to_be_bytes()).unwrap(), Array::from([1.5f32]));
        assert_eq!(read(">i8", "False", "()", &(-2i64).to_be_bytes()).unwrap(), Array::scalar(-2i64));
        assert_eq!(read("|i1", "False", "(2,)", &[1, 255]).unwrap(), Array::from([1i32, -1]));
        assert_eq!(read("<u2", "False", "(1,)", &[0xff, 0xff]).unwrap(), Array::from([65_535i32]));
        assert_eq!(read(">i2", "False", "(1,)", &[0xff, 0xfe]).unwrap(), Array::from([-2i32]));
        assert_eq!(read("<u4", "False", "(1,)", &[0xff; 4]).unwrap(), Array::from([u32::MAX as i64]));
        assert_eq!(read("<u8", "False", "(1,)", &7u64.to_le_bytes()).unwrap(), Array::from([7i64]));
        let message = read("<u8", "False", "(1,)", &u64::MAX.to_le_bytes()).unwrap_err().to_string();
        assert!(message.contains("expected numbers that i64 can hold, found 18446744073709551615"), "{message}");
        assert_eq!(read("|b1", "False", "(2,)", &[0, 1]).unwrap(), Array::from([false, true]));
        let columns = read("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6]).unwrap();
        assert_eq!(columns, Array::from([[1u8, 2, 3], [4, 5, 6]]));
        // x[i, j, k] = 100·i + 10·j + k, column-major: i runs fastest.
        let elements: Vec<u8> =
            (0..2).flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| 100 * i + 10 * j + k))).collect();
        let expected = vec![0u8, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121];
        let cube = read("|u1", "True", "(2L, 3L, 2L)", &elements).unwrap();
        assert_eq!(cube, Array::new(&[2, 3, 2], expected).unwrap());
    }

    #[test]
    fn later_versions_are_read() {
        let header = "{\"descr\": \"<f4\", 'shape': (0,), 'fortran_order': False}";
        for version in [2, 3] {
            let length = (header.len() as u32).to_le_bytes();
            let bytes = [MAGIC, &[version, 0][..], &length, header.as_bytes()].concat();
            assert_eq!(from_bytes("x", &bytes).unwrap(), Array::zeros(&[0], DType::F32));
        }
        assert!(refusal(b"\x93NUMPY\x04\x00aaaa").contains("version: expected 1.0, 2.0 or 3.0, found 4.0"));
    }

    #[test]
    fn dtypes_that_are_no_numbers_are_refused() {
        for (descr, reason) in [
            ("|O", "objects are pickles"),
            ("<O8", "objects are pickles"),
            ("<U10", "only numbers"),
            ("|S3", "only numbers"),
            ("<c8", "only numbers"),
            ("<M8[ns]", "only numbers"),
            ("|V2", "only numbers"),
            ("<f16", "only numbers"),
            ("<f3", "only numbers"),
            ("", "only numbers"),
        ] {
            let message = read(descr, "False", "(1,)", &[0; 16]).unwrap_err().to_string();
            assert!(message.contains(&format!("folder/x.npy: elements of dtype {descr}: {reason}")), "{message}");
        }
        let records = "{'descr': [('a', '<f4'), ('b', '<i4', (2,))], 'fortran_order': False, 'shape': (1,), }";
        let message = refusal(&file(records, &[0; 12]));
        assert!(message.contains("dtype [('a', '<f4'), ('b', '<i4', (2,))]: records"), "{message}");
    }

    #[test]
    fn shapes_that_overflow_are_refused_without_allocating() {
        for (shape, part) in [
            ("(4294967296, 4294967296)", "shape [4294967296, 4294967296]"),
            ("(99999999999999999999,)", "a size should stand"),
            ("(1, 1, 1, 1, 1, 1, 1, 1, 1)", "at most 8"),
            ("(-1,)", "`-1,)"),
            ("(1000000000000,)", "expected 4000000000000 bytes"),
        ] {
            let message = read("<f4", "False", shape, &[0; 4]).unwrap_err().to_string();
            assert!(message.starts_with("folder/x.npy: ") && message.contains(part), "{message}");
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = to_bytes("x", &Array::from([[1i32, 2], [3, 4]])).unwrap();
        for cut in 0..whole.len() {
            refusal(&whole[..cut]);
        }
        assert!(refusal(&whole[..whole.len() - 1]).contains("expected 16 bytes for the shape [2, 2], found 15 (trunc"));
        assert!(refusal(&[whole, vec![0]].concat()).contains("found 17 (1 more)"));
        assert!(refusal(b"PK\x03\x04 a zip file").contains("magic number: expected 93 4e"));
        for (header, found) in [
            ("{'descr': '<f4', 'fortran_order': False, }", "no key `shape`"),
            ("{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", "True or False"),
            ("{'descr': '<f4, 'fortran_order': False, 'shape': ()}", "where `}`"),
            ("{'descr': '<f4", "not closed"),
            ("{'run': 'x'}", "the key `run`"),
            ("{} x", "`x` after the dictionary"),
            ("", "where `{` should stand"),
        ] {
            let message = refusal(&file(header, &[0; 4]));
            assert!(message.contains("header: expected {'descr'") && message.contains(found), "{message}");
        }
        assert!(refusal(&file("\u{0}", &[])).contains("header"));
    }
}
