//! Functions of the numbers at one position: arithmetic, comparison, logic, activations, casts.
//!
//! The functions themselves stand in [`thalweg_array::scalar`]; here are their shapes and gradients. The primitives
//! want equal shapes; the methods bring them there: sizes are aligned at the last axis, size 1 and missing axes are
//! repeated ([`Tensor::expand`]). A named size never repeats. A Rust number beside a tensor takes its dtype.

use serde::{Deserialize, Serialize};
use thalweg_array::scalar::{Binary, SELU_ALPHA, SELU_SCALE, Unary};
use thalweg_array::{Array, DType, Real, Scalar, Shape};

use crate::error::{BuildError, EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::ops::source::constant;
use crate::reference::{map1, map2};
use crate::tensor::{Meta, Tensor};
use crate::variable::Variable;

/// What may stand beside a tensor in an elementwise function: a tensor, a variable, a number, an array.
pub trait Operand {
    /// As a tensor; numbers take the dtype of `beside`.
    fn operand(self, beside: &Tensor) -> Tensor;
}

impl Operand for Tensor {
    fn operand(self, _: &Tensor) -> Tensor {
        self
    }
}

impl Operand for &Tensor {
    fn operand(self, _: &Tensor) -> Tensor {
        self.clone()
    }
}

impl Operand for &Variable {
    fn operand(self, _: &Tensor) -> Tensor {
        self.tensor().clone()
    }
}

impl Operand for Array {
    #[track_caller]
    fn operand(self, _: &Tensor) -> Tensor {
        constant(self)
    }
}

macro_rules! number_operand {
    ($($type:ty),*) => {
        $(impl Operand for $type {
            #[track_caller]
            fn operand(self, beside: &Tensor) -> Tensor {
                let value = Scalar::from(self);
                // 0.5 beside an integer tensor would silently become 0: it keeps its own dtype and is refused.
                let dtype = if value.rounded_to(beside.dtype()).to_f64() == value.to_f64() || beside.dtype().is_float() {
                    beside.dtype()
                } else {
                    value.default_dtype()
                };
                constant(Array::full(&[], dtype, value))
            }
        })*
    };
}
number_operand!(f32, f64, i32, i64, bool);

/// The shape to which `left` and `right` broadcast.
///
/// # Errors
/// If two sizes differ and neither is 1.
pub fn broadcast_shapes(left: &Shape, right: &Shape) -> Result<Shape, ShapeError> {
    let rank = left.rank().max(right.rank());
    let size = |shape: &Shape, axis: usize| (axis + shape.rank()).checked_sub(rank).map(|axis| shape[axis].clone());
    (0..rank)
        .map(|axis| match (size(left, axis), size(right, axis)) {
            (Some(a), Some(b)) if a == b => Ok(a),
            (Some(a), Some(b)) if b.is(1) => Ok(a),
            (Some(a), Some(b)) if a.is(1) => Ok(b),
            (Some(a), None) => Ok(a),
            (None, Some(b)) => Ok(b),
            (Some(a), Some(b)) => {
                let error = ShapeError::new("shapes do not broadcast").detail(format!(
                    "counted from the last axis, {a} meets {b} at axis -{}; equal sizes or a 1 broadcast",
                    rank - axis
                ));
                Err(if a.number().is_none() != b.number().is_none() {
                    error.hint("a named size never repeats; give both the same name, or the same number")
                } else {
                    error
                })
            }
            (None, None) => unreachable!("the rank is that of one of them: a bug in Thalweg"),
        })
        .collect()
}

/// The operands under one shape.
#[track_caller]
fn broadcast(op: &ElementwiseBinary, x: Tensor, y: Tensor) -> Result<(Tensor, Tensor), BuildError> {
    if x.shape() == y.shape() {
        return Ok((x, y));
    }
    match broadcast_shapes(x.shape(), y.shape()) {
        Ok(shape) => Ok((x.expand(&shape), y.expand(&shape))),
        Err(error) => {
            let label = crate::op::Op::from(*op).label();
            Err(BuildError::new(label, std::panic::Location::caller(), &[x, y], error))
        }
    }
}

impl Tensor {
    /// f(self, other) with broadcasting.
    ///
    /// # Errors
    /// If the shapes do not broadcast or the dtypes differ.
    #[track_caller]
    pub fn try_binary(&self, f: Binary, other: impl Operand) -> Result<Tensor, BuildError> {
        let op = ElementwiseBinary(f);
        let (x, y) = broadcast(&op, self.clone(), other.operand(self))?;
        Tensor::try_apply(op, [x, y])
    }

    /// f(self, other) with broadcasting.
    ///
    /// # Panics
    /// If the shapes do not broadcast or the dtypes differ.
    #[track_caller]
    pub fn binary(&self, f: Binary, other: impl Operand) -> Tensor {
        match self.try_binary(f, other) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    /// f(self).
    ///
    /// # Panics
    /// If f is not defined on the dtype.
    #[track_caller]
    pub fn unary(&self, f: Unary) -> Tensor {
        Tensor::apply(ElementwiseUnary(f), [self.clone()])
    }

    /// `x` where this condition holds, else `y`; all three broadcast.
    ///
    /// # Panics
    /// If this is not bool, or `x` and `y` differ in dtype.
    #[track_caller]
    pub fn select(&self, x: &Tensor, y: impl Operand) -> Tensor {
        let y = y.operand(x);
        let shape = broadcast_shapes(self.shape(), x.shape()).and_then(|shape| broadcast_shapes(&shape, y.shape()));
        let inputs = match &shape {
            Ok(shape) => [self.expand(shape), x.expand(shape), y.expand(shape)],
            Err(_) => [self.clone(), x.clone(), y],
        };
        Tensor::apply(Select {}, inputs)
    }

    /// The numbers as another dtype: floats round to nearest, floats to integers truncate and saturate, anything but 0
    /// is `true`.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype { self.clone() } else { Tensor::apply(Cast { to: dtype }, [self.clone()]) }
    }

    /// self clamped to [low, high].
    #[track_caller]
    pub fn clamp(&self, low: impl Into<Scalar>, high: impl Into<Scalar>) -> Tensor {
        let low = self.scalar_like(low);
        let high = self.scalar_like(high);
        self.binary(Binary::Max, low).binary(Binary::Min, high)
    }

    /// Leaky ReLU: x where x ≥ 0, slope·x below.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        self.unary(Unary::LeakyRelu { slope: Real(slope) })
    }

    /// ELU: x where x ≥ 0, α(eˣ − 1) below.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        self.unary(Unary::Elu { alpha: Real(alpha) })
    }
}

/// Methods that apply one function, with its formula.
macro_rules! unary_methods {
    ($($(#[$doc:meta])* $method:ident => $f:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            #[track_caller]
            pub fn $method(&self) -> Tensor {
                self.unary(Unary::$f)
            })*
        }
    };
}

unary_methods! {
    /// |x|; the gradient at 0 is 0.
    abs => Abs,
    /// −1, 0 or 1.
    sign => Sign,
    /// ⌊x⌋; the gradient is 0.
    floor => Floor,
    /// ⌈x⌉; the gradient is 0.
    ceil => Ceil,
    /// The nearest integer, halves to even; the gradient is 0.
    round => Round,
    /// x².
    square => Square,
    /// 1/x.
    reciprocal => Reciprocal,
    /// √x.
    sqrt => Sqrt,
    /// 1/√x.
    rsqrt => Rsqrt,
    /// eˣ.
    exp => Exp,
    /// eˣ − 1, exact near 0.
    expm1 => Expm1,
    /// ln x.
    log => Log,
    /// ln(1 + x), exact near 0.
    log1p => Log1p,
    /// sin x.
    sin => Sin,
    /// cos x.
    cos => Cos,
    /// tan x.
    tan => Tan,
    /// arcsin x.
    asin => Asin,
    /// arccos x.
    acos => Acos,
    /// arctan x.
    atan => Atan,
    /// sinh x.
    sinh => Sinh,
    /// cosh x.
    cosh => Cosh,
    /// tanh x.
    tanh => Tanh,
    /// The error function.
    erf => Erf,
    /// ¬x, on bool.
    logical_not => Not,
    /// 1/(1 + e⁻ˣ).
    sigmoid => Sigmoid,
    /// ln(1 + eˣ).
    softplus => Softplus,
    /// max(x, 0); the gradient at 0 is 0.
    relu => Relu,
    /// SELU (Klambauer et al. 2017).
    selu => Selu,
    /// GELU in its exact form x·Φ(x) (Hendrycks and Gimpel 2016).
    gelu => Gelu,
    /// GELU in its tanh form.
    gelu_tanh => GeluTanh,
    /// x·sigmoid(x).
    silu => Silu,
    /// clamp(x, −1, 1).
    hard_tanh => HardTanh,
    /// Whether x is NaN.
    is_nan => IsNan,
    /// Whether x is neither NaN nor infinite.
    is_finite => IsFinite,
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $method:ident => $f:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])*
            #[track_caller]
            pub fn $method(&self, other: impl Operand) -> Tensor {
                self.binary(Binary::$f, other)
            })*
        }
    };
}

binary_methods! {
    /// xʸ.
    pow => Pow,
    /// The larger of the two; NaN if either is. Where they are equal each gets half the gradient.
    maximum => Max,
    /// The smaller of the two; NaN if either is. Where they are equal each gets half the gradient.
    minimum => Min,
    /// x = y, as bool.
    equal => Eq,
    /// x ≠ y, as bool.
    not_equal => Ne,
    /// x < y, as bool.
    less => Lt,
    /// x ≤ y, as bool.
    less_equal => Le,
    /// x > y, as bool.
    greater => Gt,
    /// x ≥ y, as bool.
    greater_equal => Ge,
    /// x ∧ y, on bool.
    logical_and => And,
    /// x ∨ y, on bool.
    logical_or => Or,
    /// x ⊻ y, on bool.
    logical_xor => Xor,
}

/// f(x).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ElementwiseUnary(pub Unary);

impl OpRules for ElementwiseUnary {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        if !self.0.accepts(x.dtype) {
            let error = ShapeError::new(format!("not defined on {}", x.dtype));
            return Err(if self.0.accepts(DType::F32) { error.hint("`cast` to a float dtype first") } else { error });
        }
        Ok(Meta::new(self.0.result(x.dtype), x.shape.clone()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, y, c) = (&cx.inputs[0], cx.output, cx.cotangent);
        let one = || x.scalar_like(1.0);
        let gradient = match self.0 {
            Unary::Neg => -c,
            Unary::Abs => c * x.sign(),
            Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round => return vec![None],
            Unary::Not | Unary::IsNan | Unary::IsFinite => return vec![None],
            Unary::Square => c * x * 2.0,
            Unary::Reciprocal => -(c * y.square()),
            Unary::Sqrt => c * 0.5 / y,
            Unary::Rsqrt => c * -0.5 * y / x,
            Unary::Exp => c * y,
            Unary::Expm1 => c * (y + 1.0),
            Unary::Log => c / x,
            Unary::Log1p => c / (x + 1.0),
            Unary::Sin => c * x.cos(),
            Unary::Cos => -(c * x.sin()),
            Unary::Tan => c * (y.square() + 1.0),
            Unary::Asin => c * (one() - x.square()).rsqrt(),
            Unary::Acos => -(c * (one() - x.square()).rsqrt()),
            Unary::Atan => c / (x.square() + 1.0),
            Unary::Sinh => c * x.cosh(),
            Unary::Cosh => c * x.sinh(),
            Unary::Tanh => c * (one() - y.square()),
            // 2/√π e^(−x²)
            Unary::Erf => c * (-x.square()).exp() * std::f64::consts::FRAC_2_SQRT_PI,
            Unary::Sigmoid => c * y * (one() - y),
            Unary::Softplus => c * x.sigmoid(),
            // Read off the output, which is kept anyway.
            Unary::Relu => y.greater(0.0).select(c, 0.0),
            Unary::LeakyRelu { slope } => x.greater_equal(0.0).select(c, c * slope.0),
            // α eˣ = y + α below 0
            Unary::Elu { alpha } => x.greater_equal(0.0).select(c, c * (y + alpha.0)),
            Unary::Selu => x.greater_equal(0.0).select(&(c * SELU_SCALE), c * (y + SELU_SCALE * SELU_ALPHA)),
            // Φ(x) + x φ(x)
            Unary::Gelu => {
                let cumulative = (x * std::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
                let density = (x.square() * -0.5).exp()
                    * (0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
                c * (cumulative + x * density)
            }
            // y = x s(2z), z = √(2/π)(x + 0.044715 x³)
            Unary::GeluTanh => {
                let scale = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                let s = ((x + x * x * x * 0.044715) * scale).sigmoid();
                let inner = (x.square() * (3.0 * 0.044715) + 1.0) * scale;
                c * (&s + x * &s * (one() - &s) * inner)
            }
            Unary::Silu => {
                let s = x.sigmoid();
                c * &s * (one() + x * (one() - &s))
            }
            Unary::HardTanh => x.abs().less(1.0).select(c, 0.0),
        };
        vec![Some(gradient)]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(map1(inputs[0], cx, |x| self.0.apply(x), |x| self.0.apply_int(x)))
    }
}

/// f(x, y) of equal shapes and dtypes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ElementwiseBinary(pub Binary);

impl OpRules for ElementwiseBinary {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, y] = exactly(inputs)?;
        if x.dtype != y.dtype {
            return Err(ShapeError::new(format!("dtypes differ: {} and {}", x.dtype, y.dtype))
                .hint("nothing is converted silently; `cast` one of them"));
        }
        if x.shape != y.shape {
            return Err(ShapeError::new("shapes differ").hint("`expand` one of them; the methods of Tensor do"));
        }
        if !self.0.accepts(x.dtype) {
            return Err(ShapeError::new(format!("not defined on {}", x.dtype)));
        }
        Ok(Meta::new(self.0.result(x.dtype), x.shape.clone()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, y, out, c) = (&cx.inputs[0], &cx.inputs[1], cx.output, cx.cotangent);
        if self.0.is_comparison() {
            return vec![None, None];
        }
        match self.0 {
            Binary::Add => vec![Some(c.clone()), Some(c.clone())],
            Binary::Sub => vec![Some(c.clone()), cx.wanted[1].then(|| -c)],
            Binary::Mul => vec![cx.wanted[0].then(|| c * y), cx.wanted[1].then(|| c * x)],
            Binary::Div => {
                let dx = c / y;
                vec![Some(dx.clone()), cx.wanted[1].then(|| -(dx * out))]
            }
            // x − y·trunc(x/y)
            Binary::Rem => vec![Some(c.clone()), cx.wanted[1].then(|| c * ((out - x) / y))],
            Binary::Pow => {
                // x⁰ has slope 0, also at x = 0 where y·x^(y−1) would be 0·∞; 0^y with y > 0 does not depend on y.
                let dx = || {
                    let slope = y * x.pow(y - 1.0);
                    c * y.equal(0.0).select(&x.zeros_like(), slope)
                };
                let dy = || {
                    let safe = x.greater(0.0).select(x, 1.0);
                    c * out * x.greater(0.0).select(&safe.log(), 0.0)
                };
                vec![cx.wanted[0].then(dx), cx.wanted[1].then(dy)]
            }
            Binary::Max | Binary::Min => {
                let half = c * 0.5;
                let wins = |a: &Tensor, b: &Tensor| {
                    let better = if self.0 == Binary::Max { a.greater(b) } else { a.less(b) };
                    better.select(c, a.equal(b).select(&half, 0.0))
                };
                vec![cx.wanted[0].then(|| wins(x, y)), cx.wanted[1].then(|| wins(y, x))]
            }
            Binary::And | Binary::Or | Binary::Xor => vec![None, None],
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => vec![None, None],
        }
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(map2(inputs[0], inputs[1], cx, |x, y| self.0.apply(x, y), |x, y| self.0.apply_int(x, y)))
    }
}

/// One of two numbers: inputs are condition, x, y, all of one shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Select {}

impl OpRules for Select {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [condition, x, y] = exactly(inputs)?;
        if condition.dtype != DType::Bool {
            return Err(ShapeError::new(format!("the condition is {}, not bool", condition.dtype))
                .hint("compare: x.greater(0.0)"));
        }
        if x.dtype != y.dtype {
            return Err(ShapeError::new(format!("dtypes differ: {} and {}", x.dtype, y.dtype))
                .hint("nothing is converted silently; `cast` one of them"));
        }
        if condition.shape != x.shape || x.shape != y.shape {
            return Err(ShapeError::new("shapes do not broadcast"));
        }
        Ok(x.clone())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (condition, c) = (&cx.inputs[0], cx.cotangent);
        vec![
            None,
            cx.wanted[1].then(|| condition.select(c, 0.0)),
            cx.wanted[2].then(|| condition.select(&c.zeros_like(), c)),
        ]
    }

    fn reference(&self, inputs: &[&Array], _: &Reference<'_>) -> Result<Array, EvalError> {
        let condition = inputs[0].to_vec::<bool>();
        Ok(crate::reference::choose(inputs[1], inputs[2], |position| condition[position]))
    }
}

/// Conversion to another dtype. Gradient: the cotangent converted back, between floats; none from or to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cast {
    /// The dtype of the result.
    pub to: DType,
}

impl OpRules for Cast {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x] = exactly(inputs)?;
        Ok(Meta::new(self.to, x.shape.clone()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let from = cx.inputs[0].dtype();
        vec![(from.is_float() && self.to.is_float()).then(|| cx.cotangent.cast(from))]
    }

    fn reference(&self, inputs: &[&Array], _: &Reference<'_>) -> Result<Array, EvalError> {
        Ok(inputs[0].cast(self.to))
    }
}
