//! Numbers in memory: row-major, shared until written, with conversions to and from slices, `Vec` and `ndarray`.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use half::{bf16, f16};
use smallvec::SmallVec;
use thiserror::Error;

use crate::dtype::{DType, Element, Scalar};
use crate::elements::{Elements, Memory};
use crate::recycle::{Kept, Shared};
use crate::shape::MAX_RANK;

/// What can be wrong when an array is made or read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArrayError {
    /// The elements do not fill the shape.
    #[error("the shape {shape:?} has {expected} elements, but {found} were given")]
    Count {
        /// The shape.
        shape: Vec<usize>,
        /// Its number of elements.
        expected: usize,
        /// How many elements came.
        found: usize,
    },
    /// The shape has more elements than memory has addresses.
    #[error("the shape {shape:?} of {dtype} has more than {limit} bytes, which no memory can hold")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
        /// The dtype.
        dtype: DType,
        /// The largest number of bytes.
        limit: usize,
    },
    /// More axes than a tensor may have.
    #[error("{rank} axes; a tensor has at most {MAX_RANK}")]
    Rank {
        /// The number of axes.
        rank: usize,
    },
    /// The elements are of another dtype.
    #[error("the array is {found}, read as {expected}; `cast` converts")]
    DType {
        /// The dtype asked for.
        expected: DType,
        /// The dtype of the array.
        found: DType,
    },
}

/// The elements of an array, one kind per dtype.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Storage {
    F32(Elements<f32>),
    F64(Elements<f64>),
    F16(Elements<f16>),
    BF16(Elements<bf16>),
    I32(Elements<i32>),
    I64(Elements<i64>),
    U8(Elements<u8>),
    Bool(Vec<bool>),
}

/// Calls `$body` with `$elements` bound to the typed elements inside a [`Storage`].
#[macro_export]
macro_rules! with_elements {
    ($storage:expr, $elements:ident => $body:expr) => {
        match $storage {
            $crate::Storage::F32($elements) => $body,
            $crate::Storage::F64($elements) => $body,
            $crate::Storage::F16($elements) => $body,
            $crate::Storage::BF16($elements) => $body,
            $crate::Storage::I32($elements) => $body,
            $crate::Storage::I64($elements) => $body,
            $crate::Storage::U8($elements) => $body,
            $crate::Storage::Bool($elements) => $body,
        }
    };
}

/// Calls `$body` with the type alias `$T` standing for the Rust type of a [`DType`].
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::DType::F16 => {
                type $T = $crate::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = $crate::bf16;
                $body
            }
            $crate::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::DType::Bool => {
                type $T = bool;
                $body
            }
        }
    };
}

impl Storage {
    /// The numbers that fill `memory`; `None` for `bool`, whose bytes must be 0 or 1.
    ///
    /// # Panics
    /// As [`Elements::over`].
    pub fn over(memory: Box<dyn Memory>, dtype: DType) -> Option<Storage> {
        Some(match dtype {
            DType::F32 => Storage::F32(Elements::over(memory)),
            DType::F64 => Storage::F64(Elements::over(memory)),
            DType::F16 => Storage::F16(Elements::over(memory)),
            DType::BF16 => Storage::BF16(Elements::over(memory)),
            DType::I32 => Storage::I32(Elements::over(memory)),
            DType::I64 => Storage::I64(Elements::over(memory)),
            DType::U8 => Storage::U8(Elements::over(memory)),
            DType::Bool => return None,
        })
    }

    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Storage::F32(_) => DType::F32,
            Storage::F64(_) => DType::F64,
            Storage::F16(_) => DType::F16,
            Storage::BF16(_) => DType::BF16,
            Storage::I32(_) => DType::I32,
            Storage::I64(_) => DType::I64,
            Storage::U8(_) => DType::U8,
            Storage::Bool(_) => DType::Bool,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        with_elements!(self, elements => elements.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as bytes in the machine's order; `bool` as 0 and 1.
    pub fn bytes(&self) -> &[u8] {
        with_elements!(self, elements => bytemuck::cast_slice(elements))
    }

    /// The elements as bytes for writing; `None` for `bool`, whose bytes must stay 0 or 1.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        Some(match self {
            Storage::F32(elements) => bytemuck::cast_slice_mut(elements),
            Storage::F64(elements) => bytemuck::cast_slice_mut(elements),
            Storage::F16(elements) => bytemuck::cast_slice_mut(elements),
            Storage::BF16(elements) => bytemuck::cast_slice_mut(elements),
            Storage::I32(elements) => bytemuck::cast_slice_mut(elements),
            Storage::I64(elements) => bytemuck::cast_slice_mut(elements),
            Storage::U8(elements) => elements,
            Storage::Bool(_) => return None,
        })
    }
}

/// The bytes that `shape` takes in `dtype`.
///
/// # Errors
/// If there are more than [`MAX_RANK`] axes, or more bytes than `isize::MAX`.
pub fn byte_count(shape: &[usize], dtype: DType) -> Result<usize, ArrayError> {
    if shape.len() > MAX_RANK {
        return Err(ArrayError::Rank { rank: shape.len() });
    }
    // A zero anywhere makes the count 0, but the other sizes must still be addressable.
    shape
        .iter()
        .try_fold(dtype.size(), |bytes, &size| {
            bytes.checked_mul(size.max(1)).filter(|&bytes| bytes <= isize::MAX as usize)
        })
        .map(|bytes| if shape.contains(&0) { 0 } else { bytes })
        .ok_or_else(|| ArrayError::TooLarge { shape: shape.to_vec(), dtype, limit: isize::MAX as usize })
}

/// Numbers in memory: a shape and its elements, row-major and contiguous. Cloning shares the elements; writing to a
/// shared array copies it first.
///
/// ```
/// use thalweg_array::Array;
/// let x = Array::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(x.shape(), [2, 2]);
/// assert_eq!(x.as_slice::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), thalweg_array::ArrayError>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Array {
    shape: SmallVec<[usize; 4]>,
    shared: Arc<Shared>,
}

impl Array {
    /// An array of `shape` with the given elements, row-major. The vector is taken over, not copied.
    ///
    /// # Errors
    /// If the elements do not fill the shape, or the shape has more than [`MAX_RANK`] axes.
    pub fn new<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Array, ArrayError> {
        Array::from_storage(shape, T::into_storage(elements))
    }

    /// An array of `shape` over `storage`.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn from_storage(shape: &[usize], storage: Storage) -> Result<Array, ArrayError> {
        let expected = byte_count(shape, storage.dtype())? / storage.dtype().size();
        if expected != storage.len() {
            return Err(ArrayError::Count { shape: shape.to_vec(), expected, found: storage.len() });
        }
        Ok(Array { shape: shape.into(), shared: Arc::new(storage.into()) })
    }

    /// An array of `shape` from elements in the machine's byte order, which need no alignment; any non-zero byte is
    /// `true` where `dtype` is `bool`.
    ///
    /// # Errors
    /// If the bytes do not fill the shape.
    pub fn from_bytes(shape: &[usize], dtype: DType, bytes: &[u8]) -> Result<Array, ArrayError> {
        let expected = byte_count(shape, dtype)?;
        if expected != bytes.len() {
            let size = dtype.size();
            return Err(ArrayError::Count {
                shape: shape.to_vec(),
                expected: expected / size,
                found: bytes.len() / size,
            });
        }
        if dtype == DType::Bool {
            return Array::new(shape, bytes.iter().map(|&byte| byte != 0).collect());
        }
        let mut array = Array::zeros(shape, dtype);
        array.storage_mut().bytes_mut().expect("not bool").copy_from_slice(bytes);
        Ok(array)
    }

    /// A single number of dtype `T`, without axes.
    pub fn scalar<T: Element>(x: T) -> Array {
        Array { shape: SmallVec::new(), shared: Arc::new(T::into_storage(vec![x]).into()) }
    }

    /// Zeros of `shape`.
    ///
    /// # Panics
    /// If the shape has more than [`MAX_RANK`] axes or is larger than memory can be.
    #[track_caller]
    pub fn zeros(shape: &[usize], dtype: DType) -> Array {
        Array::full(shape, dtype, Scalar::Int(0))
    }

    /// `value` everywhere.
    ///
    /// # Panics
    /// As [`Array::zeros`].
    #[track_caller]
    pub fn full(shape: &[usize], dtype: DType, value: impl Into<Scalar>) -> Array {
        let count = match byte_count(shape, dtype) {
            Ok(bytes) => bytes / dtype.size(),
            Err(error) => panic!("{error}"),
        };
        let value = value.into();
        let storage = with_dtype!(dtype, T => T::into_storage(vec![value.to::<T>(); count]));
        Array { shape: shape.into(), shared: Arc::new(storage.into()) }
    }

    /// The same array, whose memory goes to `home` when its last clone is dropped.
    pub(crate) fn returning_to(mut self, home: Weak<Mutex<Kept>>) -> Array {
        Arc::make_mut(&mut self.shared).home = home;
        self
    }

    /// The sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.storage().len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.storage().is_empty()
    }

    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        self.storage().dtype()
    }

    /// The elements, row-major.
    pub fn storage(&self) -> &Storage {
        &self.shared.storage
    }

    /// The elements for writing; copied first if another array shares them.
    pub fn storage_mut(&mut self) -> &mut Storage {
        &mut Arc::make_mut(&mut self.shared).storage
    }

    /// The elements, row-major.
    ///
    /// # Errors
    /// If they are not of type `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], ArrayError> {
        T::slice(self.storage()).ok_or(ArrayError::DType { expected: T::DTYPE, found: self.dtype() })
    }

    /// The elements for writing, row-major; copied first if another array shares them.
    ///
    /// # Errors
    /// If they are not of type `T`.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], ArrayError> {
        let found = self.dtype();
        T::slice_mut(self.storage_mut()).ok_or(ArrayError::DType { expected: T::DTYPE, found })
    }

    /// The elements converted to `T` ([`Element::from_f64`] for floats, [`Element::from_i64`] for the others).
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        fn convert<S: Element, T: Element>(elements: &[S]) -> Vec<T> {
            if S::DTYPE.is_float() {
                elements.iter().map(|x| T::from_f64(x.to_f64())).collect()
            } else {
                elements.iter().map(|x| T::from_i64(x.to_i64())).collect()
            }
        }
        match T::slice(self.storage()) {
            Some(elements) => elements.to_vec(),
            None => with_elements!(self.storage(), elements => convert(elements)),
        }
    }

    /// The array converted to `dtype`.
    pub fn cast(&self, dtype: DType) -> Array {
        if dtype == self.dtype() {
            return self.clone();
        }
        let storage = with_dtype!(dtype, T => T::into_storage(self.to_vec::<T>()));
        Array { shape: self.shape.clone(), shared: Arc::new(storage.into()) }
    }

    /// The same elements under another shape, shared.
    ///
    /// # Errors
    /// If the counts differ.
    pub fn reshape(&self, shape: &[usize]) -> Result<Array, ArrayError> {
        let expected = byte_count(shape, self.dtype())? / self.dtype().size();
        if expected != self.len() {
            return Err(ArrayError::Count { shape: shape.to_vec(), expected, found: self.len() });
        }
        Ok(Array { shape: shape.into(), shared: self.shared.clone() })
    }

    /// The only element, as f64.
    ///
    /// # Errors
    /// If there is not exactly one.
    pub fn item(&self) -> Result<f64, ArrayError> {
        if self.len() != 1 {
            return Err(ArrayError::Count { shape: self.shape.to_vec(), expected: 1, found: self.len() });
        }
        Ok(with_elements!(self.storage(), elements => elements[0].to_f64()))
    }

    /// The rows `range` along the first axis, copied.
    ///
    /// # Panics
    /// If the range is out of bounds or the array has no axes.
    #[track_caller]
    pub fn rows(&self, range: std::ops::Range<usize>) -> Array {
        let (&first, rest) = self.shape.split_first().expect("rows of an array without axes");
        assert!(range.start <= range.end && range.end <= first, "rows {range:?} of {first}");
        let width: usize = rest.iter().product();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        fn copy<T: Element>(elements: &[T], range: std::ops::Range<usize>, width: usize) -> Storage {
            T::into_storage(elements[range.start * width..range.end * width].to_vec())
        }
        let storage = with_elements!(self.storage(), elements => copy(elements, range, width));
        Array { shape, shared: Arc::new(storage.into()) }
    }
}

impl<T: Element> From<T> for Array {
    fn from(x: T) -> Array {
        Array::scalar(x)
    }
}

impl<T: Element> From<Vec<T>> for Array {
    fn from(elements: Vec<T>) -> Array {
        Array { shape: SmallVec::from_slice(&[elements.len()]), shared: Arc::new(T::into_storage(elements).into()) }
    }
}

impl<T: Element> From<&[T]> for Array {
    fn from(elements: &[T]) -> Array {
        elements.to_vec().into()
    }
}

impl<T: Element, const N: usize> From<[T; N]> for Array {
    fn from(elements: [T; N]) -> Array {
        elements.to_vec().into()
    }
}

impl<T: Element, const M: usize, const N: usize> From<[[T; N]; M]> for Array {
    fn from(rows: [[T; N]; M]) -> Array {
        let storage = T::into_storage(rows.into_iter().flatten().collect());
        Array { shape: SmallVec::from_slice(&[M, N]), shared: Arc::new(storage.into()) }
    }
}

/// From an `ndarray` of any layout; the elements are copied into row-major order.
impl<T: Element, S: ndarray::Data<Elem = T>, D: ndarray::Dimension> TryFrom<&ndarray::ArrayBase<S, D>> for Array {
    type Error = ArrayError;

    fn try_from(array: &ndarray::ArrayBase<S, D>) -> Result<Array, ArrayError> {
        Array::new(array.shape(), array.iter().copied().collect())
    }
}

impl Array {
    /// A copy as an `ndarray` of type `T`.
    ///
    /// # Errors
    /// If the elements are not of type `T`.
    pub fn to_ndarray<T: Element>(&self) -> Result<ndarray::ArrayD<T>, ArrayError> {
        let elements = self.as_slice::<T>()?.to_vec();
        Ok(ndarray::ArrayD::from_shape_vec(&*self.shape, elements).expect("the elements fill the shape"))
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dtype())?;
        with_elements!(self, elements => elements.fmt(f))
    }
}

/// Shape, dtype and elements; long arrays are cut in the middle.
impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        fn list<T: fmt::Debug>(elements: &[T], f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if elements.len() <= SHOWN {
                return write!(f, "{elements:?}");
            }
            write!(f, "[")?;
            for x in &elements[..SHOWN / 2] {
                write!(f, "{x:?}, ")?;
            }
            write!(f, "…")?;
            for x in &elements[elements.len() - SHOWN / 2..] {
                write!(f, ", {x:?}")?;
            }
            write!(f, "]")
        }
        write!(f, "{}{:?} ", self.dtype(), &self.shape[..])?;
        with_elements!(self.storage(), elements => list(elements, f))
    }
}

/// A number alone, or the elements in nested brackets.
impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn nested<T: fmt::Debug>(elements: &[T], shape: &[usize], f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Some((&size, rest)) = shape.split_first() else { return write!(f, "{:?}", elements[0]) };
            let width: usize = rest.iter().product();
            write!(f, "[")?;
            for index in 0..size {
                if index > 0 {
                    write!(f, ", ")?;
                }
                nested(&elements[index * width..(index + 1) * width], rest, f)?;
            }
            write!(f, "]")
        }
        with_elements!(self.storage(), elements => nested(elements, &self.shape, f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_count_is_refused() {
        let message = Array::new(&[2, 3], vec![1.0f32; 5]).unwrap_err().to_string();
        assert_eq!(message, "the shape [2, 3] has 6 elements, but 5 were given");
    }

    #[test]
    fn a_shape_larger_than_memory_is_refused_without_allocating() {
        let message = Array::new(&[1 << 40, 1 << 40], Vec::<f32>::new()).unwrap_err().to_string();
        assert!(message.contains("[1099511627776, 1099511627776]") && message.contains("more than"), "{message}");
        assert!(byte_count(&[0, 1 << 40, 1 << 40], DType::F32).is_err());
        assert!(byte_count(&[1; 9], DType::F32).unwrap_err().to_string().contains("at most 8"));
    }

    #[test]
    fn reading_as_another_dtype_is_refused() {
        let message = Array::from([1i64, 2]).as_slice::<f32>().unwrap_err().to_string();
        assert_eq!(message, "the array is i64, read as f32; `cast` converts");
    }

    #[test]
    fn conversions_go_there_and_back() {
        let x = Array::from([[1.5f32, -2.0, 3.25], [0.0, 5.0, -6.5]]);
        assert_eq!(Array::try_from(&x.to_ndarray::<f32>().unwrap()).unwrap(), x);
        assert_eq!(Array::from_bytes(&[2, 3], DType::F32, x.storage().bytes()).unwrap(), x);
        assert_eq!(x.cast(DType::F64).cast(DType::F32), x);
        assert_eq!(x.cast(DType::I32).as_slice::<i32>().unwrap(), [1, -2, 3, 0, 5, -6]);
        let transposed = x.to_ndarray::<f32>().unwrap().reversed_axes();
        let transposed = Array::try_from(&transposed).unwrap();
        assert_eq!(transposed.as_slice::<f32>().unwrap(), [1.5, 0.0, -2.0, 5.0, 3.25, -6.5]);
    }

    #[test]
    fn writing_to_a_shared_array_copies_it() {
        let x = Array::from([1i32, 2]);
        let mut y = x.clone();
        y.as_mut_slice::<i32>().unwrap()[0] = 9;
        assert_eq!(x.as_slice::<i32>().unwrap(), [1, 2]);
    }

    #[test]
    fn arrays_print() {
        assert_eq!(Array::from([[1.0f32, 2.0], [3.0, 4.5]]).to_string(), "[[1.0, 2.0], [3.0, 4.5]]");
        assert_eq!(Array::scalar(2i64).to_string(), "2");
        assert!(format!("{:?}", Array::zeros(&[100], DType::U8)).contains('…'));
    }
}
