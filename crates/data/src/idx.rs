//! IDX, the format of MNIST: a magic number that says dtype and rank, the sizes, the elements, all big-endian.
//!
//! Y. LeCun, "The MNIST database of handwritten digits", section *File formats*.

use std::path::Path;

use thalweg_array::array::byte_count;
use thalweg_array::{Array, DType, MAX_RANK};

use crate::error::DataError;
use crate::read::read_file;

/// The array in the IDX file at `path`, plain or gzip (told apart by content, not by name).
///
/// Unsigned bytes become u8, signed bytes and 16-bit integers i32, the others their own dtype.
///
/// # Errors
/// If the file cannot be read, its header is no IDX header, its sizes overflow, or it holds fewer or more bytes than
/// its sizes say.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Array, DataError> {
    let path = path.as_ref();
    parse(path, &read_file(path)?)
}

/// The array in the IDX file `bytes`; `path` names it in errors.
fn parse(path: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let malformed = |place: &str, expected: String, found: String| DataError::malformed(path, place, expected, found);
    let Some(&[zero, one, code, rank]) = bytes.get(..4) else {
        return Err(malformed("IDX magic number", "4 bytes".into(), format!("{} bytes", bytes.len())));
    };
    let kind = Kind::ALL.into_iter().find(|kind| [0, 0, kind.code()] == [zero, one, code]);
    let Some(kind) = kind else {
        let found = format!("0x{zero:02x}{one:02x}{code:02x}{rank:02x}");
        let expected = "0x0000, then 08, 09, 0b, 0c, 0d or 0e for the dtype, then the rank".into();
        return Err(malformed("IDX magic number", expected, found));
    };
    let rank = rank as usize;
    if rank == 0 || rank > MAX_RANK {
        return Err(malformed("IDX magic number", format!("1 to {MAX_RANK} axes"), format!("{rank}")));
    }
    let header = 4 + 4 * rank;
    let Some(sizes) = bytes.get(4..header) else {
        return Err(malformed("IDX sizes", format!("{header} bytes of header"), format!("{} bytes", bytes.len())));
    };
    let sizes = sizes.chunks_exact(4).map(|size| u32::from_be_bytes(size.try_into().expect("four bytes")) as usize);
    let shape: Vec<usize> = sizes.collect();
    let elements = &bytes[header..];
    // Sizes are checked in the dtype of the array, which is at least as wide as that of the file.
    let expected = byte_count(&shape, kind.dtype()).map_err(|error| {
        malformed("IDX sizes", "an array that fits into memory".into(), format!("{shape:?}: {error}"))
    })?;
    let expected = expected / kind.dtype().size() * kind.width();
    if elements.len() != expected {
        let found = match elements.len().checked_sub(expected) {
            Some(more) => format!("{} ({more} more)", elements.len()),
            None => format!("{} (truncated)", elements.len()),
        };
        return Err(malformed("IDX elements", format!("{expected} bytes for the sizes {shape:?}"), found));
    }
    Ok(kind.array(&shape, elements)?)
}

/// The types of element that IDX has.
#[derive(Clone, Copy)]
enum Kind {
    Unsigned8,
    Signed8,
    Signed16,
    Signed32,
    Float32,
    Float64,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Unsigned8, Kind::Signed8, Kind::Signed16, Kind::Signed32, Kind::Float32, Kind::Float64];

    /// The third byte of the file.
    fn code(self) -> u8 {
        match self {
            Kind::Unsigned8 => 0x08,
            Kind::Signed8 => 0x09,
            Kind::Signed16 => 0x0b,
            Kind::Signed32 => 0x0c,
            Kind::Float32 => 0x0d,
            Kind::Float64 => 0x0e,
        }
    }

    /// Bytes per element in the file.
    fn width(self) -> usize {
        match self {
            Kind::Unsigned8 | Kind::Signed8 => 1,
            Kind::Signed16 => 2,
            Kind::Signed32 | Kind::Float32 => 4,
            Kind::Float64 => 8,
        }
    }

    /// The dtype that holds every such number.
    fn dtype(self) -> DType {
        match self {
            Kind::Unsigned8 => DType::U8,
            Kind::Signed8 | Kind::Signed16 | Kind::Signed32 => DType::I32,
            Kind::Float32 => DType::F32,
            Kind::Float64 => DType::F64,
        }
    }

    fn array(self, shape: &[usize], bytes: &[u8]) -> Result<Array, thalweg_array::ArrayError> {
        match self {
            Kind::Unsigned8 => Array::new(shape, bytes.to_vec()),
            Kind::Signed8 => Array::new(shape, numbers(bytes, |[x]| x as i8 as i32)),
            Kind::Signed16 => Array::new(shape, numbers(bytes, |x| i16::from_be_bytes(x) as i32)),
            Kind::Signed32 => Array::new(shape, numbers(bytes, i32::from_be_bytes)),
            Kind::Float32 => Array::new(shape, numbers(bytes, f32::from_be_bytes)),
            Kind::Float64 => Array::new(shape, numbers(bytes, f64::from_be_bytes)),
        }
    }
}

fn numbers<const WIDTH: usize, T>(bytes: &[u8], number: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    bytes.chunks_exact(WIDTH).map(|bytes| number(bytes.try_into().expect("of that width"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::tests::gzip;

    /// An IDX file of the given header and elements.
    pub(crate) fn idx(code: u8, sizes: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, code, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(elements);
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        let message = parse(Path::new("folder/images"), bytes).unwrap_err().to_string();
        assert!(message.starts_with("folder/images: IDX"), "{message}");
        message
    }

    #[test]
    fn every_type_of_element_is_read() {
        let read = |bytes: Vec<u8>| parse(Path::new("x"), &bytes).unwrap();
        assert_eq!(read(idx(0x08, &[2, 1], &[3, 255])), Array::from([[3u8], [255]]));
        assert_eq!(read(idx(0x09, &[2], &[3, 255])), Array::from([3i32, -1]));
        assert_eq!(read(idx(0x0b, &[2], &[1, 0, 0xff, 0xfe])), Array::from([256i32, -2]));
        assert_eq!(read(idx(0x0c, &[1], &(-70_000i32).to_be_bytes())), Array::from([-70_000i32]));
        assert_eq!(read(idx(0x0d, &[1], &1.5f32.to_be_bytes())), Array::from([1.5f32]));
        assert_eq!(read(idx(0x0e, &[1], &(-0.1f64).to_be_bytes())), Array::from([-0.1f64]));
        assert_eq!(read(idx(0x08, &[0, 28, 28], &[])).shape(), [0, 28, 28]);
    }

    #[test]
    fn compressed_files_are_told_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.idx");
        std::fs::write(&path, gzip(&idx(0x08, &[3], &[1, 2, 3]))).unwrap();
        assert_eq!(read_idx(&path).unwrap(), Array::from([1u8, 2, 3]));
    }

    #[test]
    fn a_wrong_header_is_refused() {
        assert!(refusal(b"").contains("expected 4 bytes, found 0 bytes"));
        assert!(refusal(b"\x89PNG\r\n").contains("0x89504e47"));
        assert!(refusal(&idx(0x0a, &[1], &[0])).contains("found 0x00000a01"));
        assert!(refusal(&[0, 0, 8, 0]).contains("expected 1 to 8 axes, found 0"));
        assert!(refusal(&[0, 0, 8, 200]).contains("found 200"));
        assert!(refusal(&[0, 0, 8, 3, 0, 0]).contains("expected 16 bytes of header, found 6 bytes"));
    }

    #[test]
    fn sizes_that_overflow_are_refused_without_allocating() {
        let message = refusal(&idx(0x08, &[u32::MAX; 3], &[0; 16]));
        assert!(message.contains("[4294967295, 4294967295, 4294967295]"), "{message}");
        let message = refusal(&idx(0x0e, &[u32::MAX, 1000], &[0; 16]));
        assert!(message.contains("expected 34359738360000 bytes") && message.contains("found 16"), "{message}");
    }

    #[test]
    fn too_few_and_too_many_elements_are_refused() {
        let whole = idx(0x0c, &[2, 3], &[0; 24]);
        for cut in 0..whole.len() {
            refusal(&whole[..cut]);
        }
        assert!(refusal(&whole[..whole.len() - 1]).contains("expected 24 bytes for the sizes [2, 3], found 23 (trunc"));
        assert!(refusal(&[whole, vec![0; 2]].concat()).contains("found 26 (2 more)"));
    }
}
