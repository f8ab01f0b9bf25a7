//! Reading.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

use thalweg_graph::array::{Array, DType, Storage};

use super::header::{Layout, MAX_HEADER_BYTES, Placed};
use super::{CHECKSUM_KIND, CHECKSUMS, FORMAT, Header, TensorFile};
use crate::error::{FormatError, shown};
use crate::regular;

/// Reads the file at `path`, all or nothing.
///
/// # Errors
/// If it cannot be read, is no regular file (a symbolic link to one is), breaks the format, or its checksums differ.
///
/// ```
/// use std::collections::BTreeMap;
/// use thalweg_formats::{array::Array, safetensors};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("line.safetensors");
/// let tensors = BTreeMap::from([("w".to_string(), Array::from([[1.0f32, 2.0]]))]);
/// safetensors::write(&path, &tensors, &BTreeMap::new())?;
/// assert_eq!(safetensors::read(&path)?.tensors, tensors);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<TensorFile, FormatError> {
    let path = path.as_ref();
    let (mut file, length) = open(path)?;
    decode(&mut file, length, path)
}

/// Reads what the file at `path` says about itself: dtypes, shapes and metadata, without the elements and without checking
/// them.
///
/// # Errors
/// As [`read`], but for damaged elements.
pub fn read_header(path: impl AsRef<Path>) -> Result<Header, FormatError> {
    let path = path.as_ref();
    let (mut file, length) = open(path)?;
    let (Layout { tensors, metadata }, _) = read_layout(&mut file, length, path)?;
    let tensors = tensors.into_iter().map(|tensor| (tensor.name, (tensor.dtype, tensor.shape))).collect();
    Ok(Header { tensors, metadata })
}

/// Reads `length` bytes from `source`, whose name in messages is `path`.
///
/// # Errors
/// As [`read`].
pub fn decode(source: &mut dyn Read, length: u64, path: &Path) -> Result<TensorFile, FormatError> {
    let (layout, checksums) = read_layout(source, length, path)?;
    let mut file = TensorFile { metadata: layout.metadata, ..TensorFile::default() };
    for (position, tensor) in layout.tensors.into_iter().enumerate() {
        let storage = read_elements(source, &tensor, path)?;
        if let Some(checksums) = &checksums {
            let part = || format!("tensor {}", shown(&tensor.name));
            check(checksum(storage.bytes()), &checksums[position], part, path)?;
        }
        let refused = |error| FormatError::Tensor { path: path.into(), tensor: tensor.name.clone(), reason: error };
        let array = Array::from_storage(&tensor.shape, storage).map_err(|error| refused(error.to_string()))?;
        file.tensors.insert(tensor.name, array);
    }
    Ok(file)
}

fn open(path: &Path) -> Result<(BufReader<File>, u64), FormatError> {
    let (file, length) = regular::open(path)?;
    Ok((BufReader::with_capacity(1 << 16, file), length))
}

/// The checked header, and the checksums of the tensors if the file has any. The checksum of the header itself is checked.
fn read_layout(source: &mut dyn Read, length: u64, path: &Path) -> Result<(Layout, Option<Vec<String>>), FormatError> {
    let malformed = |reason| FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, reason };
    if length < 8 {
        return Err(malformed(format!("{length} bytes; it begins with 8 bytes that hold the length of the header")));
    }
    let mut prefix = [0; 8];
    source.read_exact(&mut prefix).map_err(FormatError::io(path, "read"))?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER_BYTES {
        return Err(malformed(format!("a header of {header_length} bytes; the most is {MAX_HEADER_BYTES}")));
    }
    if header_length > length - 8 {
        let found = length - 8;
        return Err(malformed(format!("a header of {header_length} bytes, but only {found} follow: cut short")));
    }
    let mut header = vec![0; header_length as usize];
    source.read_exact(&mut header).map_err(FormatError::io(path, "read"))?;
    let mut layout = Layout::parse(&header, length - 8 - header_length, path)?;
    let (kind_key, kind_wanted) = CHECKSUM_KIND;
    let checksums = match (layout.metadata.remove(kind_key), layout.metadata.remove(CHECKSUMS)) {
        (None, None) => return Ok((layout, None)),
        (Some(kind), Some(checksums)) if kind == kind_wanted => checksums,
        (kind, checksums) => {
            let found = if checksums.is_some() { "is there" } else { "is missing" };
            let kind = kind.as_deref().map_or("is missing".into(), shown);
            return Err(malformed(format!(
                "`{kind_key}` {kind} (expected `{kind_wanted}`), and `{CHECKSUMS}` {found}"
            )));
        }
    };
    let mut checksums: Vec<String> = checksums.split(' ').map(str::to_string).collect();
    if checksums.len() != layout.tensors.len() + 1 {
        let (found, expected) = (checksums.len(), layout.tensors.len() + 1);
        return Err(malformed(format!("`{CHECKSUMS}` has {found} checksums, expected {expected}")));
    }
    blank_own_checksum(&mut header);
    let part = || "the header".to_string();
    check(checksum(&header), &checksums.remove(0), part, path)?;
    Ok((layout, Some(checksums)))
}

fn read_elements(source: &mut dyn Read, tensor: &Placed, path: &Path) -> Result<Storage, FormatError> {
    let refuse = |reason| FormatError::Tensor { path: path.to_path_buf(), tensor: tensor.name.clone(), reason };
    let read =
        |bytes: &mut [u8], source: &mut dyn Read| source.read_exact(bytes).map_err(FormatError::io(path, "read"));
    let length = (tensor.end - tensor.begin) as usize;
    // A sparse file can be larger than memory.
    if Vec::<u8>::new().try_reserve_exact(length).is_err() {
        return Err(refuse(format!("needs {length} bytes, more memory than there is")));
    }
    if tensor.dtype == DType::Bool {
        let mut bytes = vec![0; length];
        read(&mut bytes, source)?;
        return match bytes.iter().position(|&byte| byte > 1) {
            None => Ok(Storage::Bool(bytes.into_iter().map(|byte| byte == 1).collect())),
            Some(at) => Err(refuse(format!("element {at} is the byte {}; a BOOL is 0 or 1", bytes[at]))),
        };
    }
    let mut array = Array::zeros(&tensor.shape, tensor.dtype);
    read(array.storage_mut().bytes_mut().expect("not bool"), source)?;
    Ok(std::mem::replace(array.storage_mut(), Storage::U8(Vec::new().into())))
}

/// CRC-32 in hexadecimal.
pub(super) fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

fn check(found: String, expected: &str, part: impl FnOnce() -> String, path: &Path) -> Result<(), FormatError> {
    if found == expected {
        return Ok(());
    }
    let expected = expected.chars().take(8).flat_map(char::escape_debug).collect();
    Err(FormatError::Damaged { path: path.to_path_buf(), part: part(), expected, found })
}

/// Replaces the digits of the header's own checksum by zeros: the state in which it was computed. Inside a JSON string a
/// quote is escaped, so that the bytes searched for cannot be part of a name.
///
/// Returns where the digits stand.
pub(super) fn blank_own_checksum(header: &mut [u8]) -> Option<Range<usize>> {
    let key = format!("\"{CHECKSUMS}\":\"");
    let start = key.len() + header.windows(key.len()).position(|window| window == key.as_bytes())?;
    let digits = start..header.len().min(start + 8);
    header[digits.clone()].fill(b'0');
    Some(digits)
}
