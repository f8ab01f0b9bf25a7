//! Dtypes, the Rust types behind them, and single numbers of any dtype.

use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::array::Storage;

/// The type of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 binary32; the default.
    F32,
    /// IEEE 754 binary64; for checking gradients.
    F64,
    /// IEEE 754 binary16; a storage format, arithmetic happens in f32.
    F16,
    /// bfloat16; a storage format, arithmetic happens in f32.
    BF16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer; the dtype of indices.
    I64,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value, one byte each.
    Bool,
}

impl DType {
    /// Every dtype, in the order of declaration.
    pub const ALL: [DType; 8] =
        [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8, DType::Bool];

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F64 | DType::I64 => 8,
            DType::F16 | DType::BF16 => 2,
            DType::U8 | DType::Bool => 1,
        }
    }

    /// Whether the elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// Whether the elements are integers (`bool` is none).
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I32 | DType::I64 | DType::U8)
    }

    /// The name as it is written in text forms: `f32`, `bool`, …
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        DType::ALL
            .into_iter()
            .find(|dtype| dtype.name() == text)
            .ok_or_else(|| format!("unknown dtype `{text}`; known: f32 f64 f16 bf16 i32 i64 u8 bool"))
    }
}

/// A Rust type that can be an element of an [`Array`](crate::Array).
pub trait Element: Copy + Default + PartialEq + fmt::Debug + Send + Sync + bytemuck::NoUninit + 'static {
    /// The dtype of this type.
    const DTYPE: DType;
    /// The number as f64; integers beyond 2^53 lose their low bits, `true` is 1.
    fn to_f64(self) -> f64;
    /// The nearest number of this type; integers truncate and saturate, NaN becomes 0, `bool` is `x != 0`.
    fn from_f64(x: f64) -> Self;
    /// The number as i64; floats truncate and saturate.
    fn to_i64(self) -> i64;
    /// The number of this type; integers wrap as `as` does, `bool` is `x != 0`.
    fn from_i64(x: i64) -> Self;
    /// Storage that owns these elements.
    fn into_storage(elements: Vec<Self>) -> Storage;
    /// The elements of `storage`, if it is of this type.
    fn slice(storage: &Storage) -> Option<&[Self]>;
    /// The elements of `storage` for writing, if it is of this type.
    fn slice_mut(storage: &mut Storage) -> Option<&mut [Self]>;
}

macro_rules! element {
    ($type:ty, $variant:ident, $to_f64:expr, $from_f64:expr, $to_i64:expr, $from_i64:expr) => {
        impl Element for $type {
            const DTYPE: DType = DType::$variant;
            fn to_f64(self) -> f64 {
                $to_f64(self)
            }
            fn from_f64(x: f64) -> Self {
                $from_f64(x)
            }
            fn to_i64(self) -> i64 {
                $to_i64(self)
            }
            fn from_i64(x: i64) -> Self {
                $from_i64(x)
            }
            fn into_storage(elements: Vec<Self>) -> Storage {
                Storage::$variant(elements.into())
            }
            fn slice(storage: &Storage) -> Option<&[Self]> {
                match storage {
                    Storage::$variant(elements) => Some(elements),
                    _ => None,
                }
            }
            fn slice_mut(storage: &mut Storage) -> Option<&mut [Self]> {
                match storage {
                    Storage::$variant(elements) => Some(elements),
                    _ => None,
                }
            }
        }
    };
}

element!(f32, F32, |x| x as f64, |x| x as f32, |x| x as i64, |x| x as f32);
element!(f64, F64, |x| x, |x| x, |x| x as i64, |x| x as f64);
element!(f16, F16, f16::to_f64, f16::from_f64, |x: f16| x.to_f64() as i64, |x| f16::from_f64(x as f64));
element!(bf16, BF16, bf16::to_f64, bf16::from_f64, |x: bf16| x.to_f64() as i64, |x| bf16::from_f64(x as f64));
element!(i32, I32, |x| x as f64, |x| x as i32, |x| x as i64, |x| x as i32);
element!(i64, I64, |x| x as f64, |x| x as i64, |x| x, |x| x);
element!(u8, U8, |x| x as f64, |x| x as u8, |x| x as i64, |x| x as u8);
element!(bool, Bool, |x| x as u8 as f64, |x| x != 0.0, |x| x as i64, |x| x != 0);

/// A floating-point parameter of an op: compared and hashed by its bits, so that ops with parameters can be compared.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Real(
    /// The number. NaN and infinities are written as text: JSON has no numbers for them.
    #[serde(with = "lossless_float")]
    pub f64,
);

impl PartialEq for Real {
    fn eq(&self, other: &Real) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One number, before it is known which dtype it will take: a Rust number beside a tensor takes the tensor's dtype.
/// Floats compare by their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(Real),
}

impl Scalar {
    /// The dtype of this number when nothing beside it says otherwise: f32, i64 or bool.
    pub fn default_dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) => DType::I64,
            Scalar::Float(_) => DType::F32,
        }
    }

    /// The number as f64.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Bool(x) => x.to_f64(),
            Scalar::Int(x) => x as f64,
            Scalar::Float(x) => x.0,
        }
    }

    /// The number as i64; floats truncate and saturate.
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::Bool(x) => x as i64,
            Scalar::Int(x) => x,
            Scalar::Float(x) => x.0 as i64,
        }
    }

    /// The number as an element of type `T`, exact where `T` can hold it.
    pub fn to<T: Element>(self) -> T {
        match self {
            Scalar::Float(x) => T::from_f64(x.0),
            Scalar::Int(_) | Scalar::Bool(_) => T::from_i64(self.to_i64()),
        }
    }

    /// The number rounded to `dtype` and kept as the matching variant; equal numbers of one dtype compare equal.
    pub fn rounded_to(self, dtype: DType) -> Scalar {
        match dtype {
            DType::F32 => Scalar::Float(Real(self.to::<f32>().to_f64())),
            DType::F64 => Scalar::Float(Real(self.to_f64())),
            DType::F16 => Scalar::Float(Real(self.to::<f16>().to_f64())),
            DType::BF16 => Scalar::Float(Real(self.to::<bf16>().to_f64())),
            DType::I32 => Scalar::Int(self.to::<i32>() as i64),
            DType::I64 => Scalar::Int(self.to::<i64>()),
            DType::U8 => Scalar::Int(self.to::<u8>() as i64),
            DType::Bool => Scalar::Bool(self.to::<bool>()),
        }
    }
}

macro_rules! scalar_from {
    ($($type:ty => |$x:ident| $scalar:expr),* $(,)?) => {
        $(impl From<$type> for Scalar {
            fn from($x: $type) -> Scalar {
                $scalar
            }
        })*
    };
}
scalar_from!(
    f32 => |x| Scalar::Float(Real(x.into())),
    f64 => |x| Scalar::Float(Real(x)),
    f16 => |x| Scalar::Float(Real(x.into())),
    bf16 => |x| Scalar::Float(Real(x.into())),
    i32 => |x| Scalar::Int(x.into()),
    i64 => |x| Scalar::Int(x),
    u8 => |x| Scalar::Int(x.into()),
    bool => |x| Scalar::Bool(x),
);

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Bool(x) => write!(f, "{x}"),
            Scalar::Int(x) => write!(f, "{x}"),
            Scalar::Float(x) => write!(f, "{x:?}"),
        }
    }
}

mod lossless_float {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(x: &f64, to: S) -> Result<S::Ok, S::Error> {
        if x.is_finite() { to.serialize_f64(*x) } else { to.serialize_str(&x.to_string()) }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(f64),
        Text(String),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        match NumberOrText::deserialize(from)? {
            NumberOrText::Number(x) => Ok(x),
            NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert!("f8".parse::<DType>().unwrap_err().contains("f8"));
    }

    #[test]
    fn a_scalar_rounds_to_its_dtype() {
        assert_eq!(Scalar::from(0.1).rounded_to(DType::F32), Scalar::from(0.1f32));
        assert_eq!(Scalar::from(2.9).rounded_to(DType::I32), Scalar::Int(2));
        assert_eq!(Scalar::Int(3).rounded_to(DType::Bool), Scalar::Bool(true));
        assert_eq!(Scalar::Int(i64::MAX).rounded_to(DType::I64), Scalar::Int(i64::MAX));
    }
}
