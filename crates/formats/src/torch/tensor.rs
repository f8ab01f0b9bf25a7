//! A tensor in a storage: where its elements stand, and an array of them.

use thalweg_graph::array::array::byte_count;
use thalweg_graph::array::{Array, DType, Element};

/// What the elements of a storage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Bytes of an element in the file.
    width: usize,
    /// The dtype that holds every such number.
    dtype: DType,
}

/// Names of dtypes and of classes of storages, with what they hold.
const KINDS: [(&str, &str, Kind); 10] = [
    ("float32", "FloatStorage", Kind { width: 4, dtype: DType::F32 }),
    ("float64", "DoubleStorage", Kind { width: 8, dtype: DType::F64 }),
    ("float16", "HalfStorage", Kind { width: 2, dtype: DType::F16 }),
    ("bfloat16", "BFloat16Storage", Kind { width: 2, dtype: DType::BF16 }),
    ("int64", "LongStorage", Kind { width: 8, dtype: DType::I64 }),
    ("int32", "IntStorage", Kind { width: 4, dtype: DType::I32 }),
    ("int16", "ShortStorage", Kind { width: 2, dtype: DType::I32 }),
    ("int8", "CharStorage", Kind { width: 1, dtype: DType::I32 }),
    ("uint8", "ByteStorage", Kind { width: 1, dtype: DType::U8 }),
    ("bool", "BoolStorage", Kind { width: 1, dtype: DType::Bool }),
];

impl Kind {
    /// Of `torch.float32`.
    pub(super) fn of_dtype(name: &str) -> Result<Kind, String> {
        let short = name.trim_start_matches("torch.");
        let known = KINDS.iter().find(|(dtype, _, _)| *dtype == short);
        known.map(|&(_, _, kind)| kind).ok_or_else(|| unknown(name))
    }

    /// Of `torch.FloatStorage`.
    pub(super) fn of_storage(class: &str) -> Result<Kind, String> {
        let short = class.trim_start_matches("torch.cuda.").trim_start_matches("torch.");
        let known = KINDS.iter().find(|(_, storage, _)| *storage == short);
        known.map(|&(_, _, kind)| kind).ok_or_else(|| unknown(class))
    }

    /// Bytes of an element in the file.
    pub(super) fn width(self) -> usize {
        self.width
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = KINDS.iter().map(|&(dtype, _, _)| dtype).collect();
    format!("elements of `{name}`; those that are read are {}", known.join(" "))
}

/// Where the elements of a tensor stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorPlace {
    pub(super) kind: Kind,
    /// What the storage is called.
    pub(super) storage: String,
    /// Its elements.
    pub(super) storage_length: usize,
    /// The first element.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// In elements.
    pub(super) strides: Vec<usize>,
}

impl TensorPlace {
    /// The tensor, of a storage of these bytes. The error says what does not fit.
    pub(super) fn array(&self, storage: &[u8]) -> Result<Array, String> {
        let TensorPlace { kind: Kind { width, dtype }, offset, ref shape, ref strides, .. } = *self;
        let count = byte_count(shape, dtype).map_err(|error| error.to_string())? / dtype.size();
        if count == 0 {
            return Ok(Array::zeros(shape, dtype));
        }
        let there = storage.len() / width;
        let last = shape.iter().zip(strides).try_fold(offset, |last, (&size, &stride)| {
            (size - 1).checked_mul(stride).and_then(|step| last.checked_add(step))
        });
        if last.is_none_or(|last| last >= there) {
            return Err(format!(
                "{shape:?} with strides {strides:?} from {offset} on leaves its storage of {there} elements"
            ));
        }
        if count > there {
            return Err(format!(
                "{shape:?} repeats the {there} elements of its storage; `.contiguous()` before saving"
            ));
        }
        let mut bytes = vec![0; count * width];
        if is_row_major(shape, strides) {
            bytes.copy_from_slice(&storage[offset * width..][..count * width]);
        } else {
            gather(&storage[offset * width..], width, shape, strides, &mut bytes);
        }
        self.converted(&bytes)
    }

    fn converted(&self, bytes: &[u8]) -> Result<Array, String> {
        let Kind { width, dtype } = self.kind;
        let storage = match (dtype, width) {
            (DType::I32, 1) => i32::into_storage(bytes.iter().map(|&byte| (byte as i8).into()).collect()),
            (DType::I32, 2) => {
                i32::into_storage(bytes.chunks_exact(2).map(|x| i16::from_le_bytes([x[0], x[1]]).into()).collect())
            }
            (DType::Bool, _) => bool::into_storage(bytes.iter().map(|&byte| byte != 0).collect()),
            _ => return Array::from_bytes(&self.shape, dtype, bytes).map_err(|error| error.to_string()),
        };
        Array::from_storage(&self.shape, storage).map_err(|error| error.to_string())
    }
}

/// Whether the elements stand one after the other, row by row.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == expected;
        expected *= size;
        fits
    })
}

/// Puts elements of `width` bytes in row-major order.
fn gather(storage: &[u8], width: usize, shape: &[usize], strides: &[usize], out: &mut [u8]) {
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for element in out.chunks_exact_mut(width) {
        element.copy_from_slice(&storage[at * width..][..width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: usize, shape: &[usize], strides: &[usize]) -> TensorPlace {
        let kind = Kind { width: 2, dtype: DType::I32 };
        let (shape, strides) = (shape.to_vec(), strides.to_vec());
        TensorPlace { kind, storage: "0".into(), storage_length: 6, offset, shape, strides }
    }

    #[test]
    fn strides_are_laid_out_row_by_row() {
        let storage: Vec<u8> = (0..6i16).flat_map(|x| (-x).to_le_bytes()).collect();
        let read = |place: TensorPlace| place.array(&storage).unwrap().to_vec::<i32>();
        assert_eq!(read(place(0, &[2, 3], &[3, 1])), [0, -1, -2, -3, -4, -5]);
        assert_eq!(read(place(0, &[3, 2], &[1, 3])), [0, -3, -1, -4, -2, -5]);
        assert_eq!(read(place(1, &[2], &[4])), [-1, -5]);
        assert_eq!(read(place(5, &[1, 1], &[9, 9])), [-5]);
        assert!(read(place(9, &[0, 3], &[3, 1])).is_empty());
        assert_eq!(read(place(4, &[], &[])), [-4]);
    }

    #[test]
    fn what_leaves_its_storage_is_refused() {
        let storage = [0; 12];
        for bad in [place(4, &[3], &[1]), place(0, &[2, 2], &[5, 1]), place(1, &[2], &[usize::MAX])] {
            let error = bad.array(&storage).unwrap_err();
            assert!(error.contains("leaves its storage of 6 elements"), "{error}");
        }
        let error = place(0, &[1 << 20], &[0]).array(&storage).unwrap_err();
        assert!(error.contains("repeats the 6 elements"), "{error}");
        assert!(Kind::of_storage("torch.ComplexFloatStorage").unwrap_err().contains("ComplexFloatStorage"));
    }
}
