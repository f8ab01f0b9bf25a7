//! Where numbers come from: placeholders (fed), constants (known), variables (kept by the session), sizes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thalweg_array::{Array, DType, IntoShape, Scalar, Shape, Size};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::tensor::{Meta, Tensor};
use crate::variable::VariableCore;

/// A tensor whose numbers are fed in each run.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// let image = placeholder("image", DType::F32, ("batch", 784));
/// assert_eq!(image.meta().to_string(), "f32[batch,784]");
/// ```
#[track_caller]
pub fn placeholder(name: impl AsRef<str>, dtype: DType, shape: impl IntoShape) -> Tensor {
    Tensor::apply(Placeholder { name: name.as_ref().into(), dtype, shape: shape.into_shape() }, [])
}

/// A tensor of known numbers.
///
/// ```
/// use thalweg_graph::constant;
/// assert_eq!(constant([[1.0f32, 2.0]]).meta().to_string(), "f32[1,2]");
/// ```
#[track_caller]
pub fn constant(array: impl Into<Array>) -> Tensor {
    Tensor::apply(Constant::new(array.into()), [])
}

/// `value` everywhere.
#[track_caller]
pub fn full(shape: impl IntoShape, dtype: DType, value: impl Into<Scalar>) -> Tensor {
    Tensor::apply(Constant::new(Array::full(&[], dtype, value)), []).expand(shape.into_shape())
}

/// Zeros.
#[track_caller]
pub fn zeros(shape: impl IntoShape, dtype: DType) -> Tensor {
    full(shape, dtype, 0i64)
}

/// Ones.
#[track_caller]
pub fn ones(shape: impl IntoShape, dtype: DType) -> Tensor {
    full(shape, dtype, 1i64)
}

impl Tensor {
    /// Zeros of the dtype and shape of this tensor.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        zeros(self.shape(), self.dtype())
    }

    /// Ones of the dtype and shape of this tensor.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        ones(self.shape(), self.dtype())
    }

    /// `value` as a tensor without axes, of this tensor's dtype.
    #[track_caller]
    pub fn scalar_like(&self, value: impl Into<Scalar>) -> Tensor {
        constant(Array::full(&[], self.dtype(), value))
    }
}

/// A size as a number without axes: what `mean` divides by when the batch has a name.
#[track_caller]
pub fn size_number(size: &Size, dtype: DType) -> Tensor {
    match size.number() {
        Some(number) => constant(Array::full(&[], dtype, number as i64)),
        None => Tensor::apply(SizeNumber { size: size.clone(), dtype }, []),
    }
}

/// Numbers that are fed. No gradient rule is needed: sources have no inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placeholder {
    /// How feeds and messages call it.
    pub name: Arc<str>,
    /// The dtype of the elements.
    pub dtype: DType,
    /// The sizes.
    pub shape: Shape,
}

impl OpRules for Placeholder {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [] = exactly(inputs)?;
        Ok(Meta::new(self.dtype, self.shape.clone()))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let meta = Meta::new(self.dtype, self.shape.clone()).to_string();
        Err(EvalError::NotFed { name: format!("{} in {}", self.name, cx.label), meta })
    }
}

/// Numbers that are known.
#[derive(Clone, Debug)]
pub struct Constant(Array);

impl Constant {
    /// These numbers.
    pub fn new(array: Array) -> Self {
        Constant(array)
    }

    /// The numbers.
    pub fn array(&self) -> &Array {
        &self.0
    }

    /// The number, if it is the same everywhere.
    pub fn splat(&self) -> Option<Scalar> {
        if self.0.len() != 1 {
            return None;
        }
        Some(match self.0.dtype() {
            dtype if dtype.is_float() => Scalar::from(self.0.item().ok()?),
            DType::Bool => Scalar::from(self.0.item().ok()? != 0.0),
            _ => Scalar::from(self.0.to_vec::<i64>()[0]),
        })
    }
}

/// By bits: NaN equals itself, 0 differs from −0.
impl PartialEq for Constant {
    fn eq(&self, other: &Constant) -> bool {
        self.0.dtype() == other.0.dtype()
            && self.0.shape() == other.0.shape()
            && (std::ptr::eq(self.0.storage(), other.0.storage())
                || self.0.storage().bytes() == other.0.storage().bytes())
    }
}

impl Eq for Constant {}

impl Hash for Constant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        /// Enough to tell constants apart; equality looks at everything.
        const HASHED_BYTES: usize = 256;
        let bytes = self.0.storage().bytes();
        self.0.dtype().hash(state);
        self.0.shape().hash(state);
        bytes[..bytes.len().min(HASHED_BYTES)].hash(state);
    }
}

impl OpRules for Constant {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [] = exactly(inputs)?;
        Ok(Meta::new(self.0.dtype(), self.0.shape().iter().copied().collect()))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }

    fn reference(&self, _: &[&Array], _: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(self.0.clone())
    }
}

/// The text form: dtype, shape and the elements' bytes, little-endian, in hexadecimal.
#[derive(Serialize, Deserialize)]
struct ConstantText {
    dtype: DType,
    shape: Vec<usize>,
    hex: String,
}

impl Serialize for Constant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write;
        let mut hex = String::with_capacity(2 * self.0.storage().bytes().len());
        for byte in self.0.storage().bytes() {
            write!(hex, "{byte:02x}").expect("a String takes all");
        }
        ConstantText { dtype: self.0.dtype(), shape: self.0.shape().to_vec(), hex }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Constant, D::Error> {
        use serde::de::Error;
        let text = ConstantText::deserialize(from)?;
        let digits = text.hex.as_bytes();
        let byte = |pair: &[u8]| {
            std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        let bytes = bytes.ok_or_else(|| D::Error::custom("a constant's hex has a character that is no digit"))?;
        Array::from_bytes(&text.shape, text.dtype, &bytes).map(Constant).map_err(D::Error::custom)
    }
}

/// The value of a variable before the run.
#[derive(Clone, Debug)]
pub struct VariableRead(pub(crate) Arc<VariableCore>);

impl VariableRead {
    /// A handle to the variable.
    pub fn handle(&self) -> crate::variable::Variable {
        crate::variable::Variable::from_core(self.0.clone())
    }

    /// The variable.
    pub fn variable(&self) -> &VariableCore {
        &self.0
    }
}

impl PartialEq for VariableRead {
    fn eq(&self, other: &VariableRead) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for VariableRead {}

impl Hash for VariableRead {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl OpRules for VariableRead {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [] = exactly(inputs)?;
        Ok(Meta::new(self.0.dtype(), self.0.shape().iter().copied().collect()))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        Err(EvalError::NotFed { name: self.0.name().to_string(), meta: format!("{} in {}", self.0.dtype(), cx.label) })
    }
}

/// The text form: name, dtype, shape. What is read back is a new variable that starts as zeros.
#[derive(Serialize, Deserialize)]
struct VariableText {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
}

impl Serialize for VariableRead {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        VariableText { name: self.0.name().to_string(), dtype: self.0.dtype(), shape: self.0.shape().to_vec() }
            .serialize(to)
    }
}

impl<'de> Deserialize<'de> for VariableRead {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<VariableRead, D::Error> {
        use serde::de::Error;
        let text = VariableText::deserialize(from)?;
        let zero = Tensor::apply(Constant::new(Array::zeros(&[], text.dtype)), []);
        let initial = zero.try_expand(text.shape).map_err(|error| D::Error::custom(error.reason()))?;
        match crate::variable::Variable::new(text.name, initial).tensor().op() {
            crate::op::Op::Variable(read) => Ok(read.clone()),
            other => unreachable!("a variable reads through {other:?}: a bug in Thalweg"),
        }
    }
}

/// A size as a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SizeNumber {
    /// The size.
    pub size: Size,
    /// The dtype of the number.
    pub dtype: DType,
}

impl OpRules for SizeNumber {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [] = exactly(inputs)?;
        Ok(Meta::new(self.dtype, Shape::scalar()))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let size = self
            .size
            .evaluate(cx.bindings)
            .map_err(|error| EvalError::Size { op: cx.label.into(), reason: error.to_string() })?;
        Ok(Array::full(&[], self.dtype, size as i64))
    }
}

/// A stand-in for a tensor of this dtype and shape, for building expansions.
pub(crate) fn placeholder_like(meta: &Meta) -> Tensor {
    placeholder("stand-in", meta.dtype, &meta.shape)
}
