//! The elementwise functions and what they mean on numbers: the plain reference that every kernel is held against.
//!
//! Floats are computed in f64 and rounded once by the caller. NaN: [`Binary::Max`] and [`Binary::Min`] give NaN when
//! either side is NaN; comparisons with NaN are false, [`Binary::Ne`] true. Integers wrap on overflow; integer
//! division by zero and its remainder give 0.

use serde::{Deserialize, Serialize};

use crate::dtype::{DType, Real};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    /// −x
    Neg,
    /// |x|
    Abs,
    /// −1, 0 or 1; NaN stays
    Sign,
    /// ⌊x⌋
    Floor,
    /// ⌈x⌉
    Ceil,
    /// to the nearest integer, halves to even
    Round,
    /// x²
    Square,
    /// 1/x
    Reciprocal,
    /// √x
    Sqrt,
    /// 1/√x
    Rsqrt,
    /// eˣ
    Exp,
    /// eˣ − 1, exact near 0
    Expm1,
    /// ln x
    Log,
    /// ln(1 + x), exact near 0
    Log1p,
    /// sin x
    Sin,
    /// cos x
    Cos,
    /// tan x
    Tan,
    /// arcsin x
    Asin,
    /// arccos x
    Acos,
    /// arctan x
    Atan,
    /// sinh x
    Sinh,
    /// cosh x
    Cosh,
    /// tanh x
    Tanh,
    /// the error function 2/√π ∫₀ˣ e^(−t²) dt
    Erf,
    /// ¬x, on bool
    Not,
    /// 1/(1 + e⁻ˣ)
    Sigmoid,
    /// ln(1 + eˣ)
    Softplus,
    /// max(x, 0); NaN stays
    Relu,
    /// x where x ≥ 0, slope·x below
    LeakyRelu {
        /// The slope below 0.
        slope: Real,
    },
    /// x where x ≥ 0, α(eˣ − 1) below (Clevert 2015)
    Elu {
        /// What large negative inputs tend to, negated.
        alpha: Real,
    },
    /// λ·elu(x) with the self-normalizing constants (Klambauer 2017)
    Selu,
    /// x·Φ(x) with the normal distribution function (Hendrycks, Gimpel 2016)
    Gelu,
    /// the tanh form of [`Unary::Gelu`]
    GeluTanh,
    /// x·sigmoid(x)
    Silu,
    /// clamp(x, −1, 1)
    HardTanh,
    /// whether x is NaN
    IsNan,
    /// whether x is neither NaN nor infinite
    IsFinite,
}

/// λ of [`Unary::Selu`].
pub const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
/// α of [`Unary::Selu`].
pub const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

impl Unary {
    /// The value in f64.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Sign => {
                if x.is_nan() || x == 0.0 {
                    x
                } else {
                    x.signum()
                }
            }
            Unary::Floor => x.floor(),
            Unary::Ceil => x.ceil(),
            Unary::Round => x.round_ties_even(),
            Unary::Square => x * x,
            Unary::Reciprocal => 1.0 / x,
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Exp => x.exp(),
            Unary::Expm1 => x.exp_m1(),
            Unary::Log => x.ln(),
            Unary::Log1p => x.ln_1p(),
            Unary::Sin => x.sin(),
            Unary::Cos => x.cos(),
            Unary::Tan => x.tan(),
            Unary::Asin => x.asin(),
            Unary::Acos => x.acos(),
            Unary::Atan => x.atan(),
            Unary::Sinh => x.sinh(),
            Unary::Cosh => x.cosh(),
            Unary::Tanh => x.tanh(),
            Unary::Erf => libm::erf(x),
            Unary::Not => (x == 0.0) as u8 as f64,
            Unary::Sigmoid => sigmoid(x),
            Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 },
            Unary::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Unary::LeakyRelu { slope } => {
                if x < 0.0 {
                    slope.0 * x
                } else {
                    x
                }
            }
            Unary::Elu { alpha } => elu(x, alpha.0),
            Unary::Selu => SELU_SCALE * elu(x, SELU_ALPHA),
            // Φ through erfc: 1 + erf loses everything for large negative x.
            Unary::Gelu => x * 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            Unary::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                // 0.5(1 + tanh z) = sigmoid(2z), which does not cancel.
                x * sigmoid(2.0 * inner)
            }
            Unary::Silu => x * sigmoid(x),
            Unary::HardTanh => {
                if x.is_nan() {
                    x
                } else {
                    x.clamp(-1.0, 1.0)
                }
            }
            Unary::IsNan => x.is_nan() as u8 as f64,
            Unary::IsFinite => x.is_finite() as u8 as f64,
        }
    }

    /// The value on integers, for the functions that are defined there ([`Unary::accepts`]).
    pub fn apply_int(self, x: i64) -> i64 {
        match self {
            Unary::Neg => x.wrapping_neg(),
            Unary::Abs => x.wrapping_abs(),
            Unary::Sign => x.signum(),
            Unary::Square => x.wrapping_mul(x),
            Unary::Relu => x.max(0),
            Unary::Not => (x == 0) as i64,
            other => other.apply(x as f64) as i64,
        }
    }

    /// Whether the function is defined on `dtype`.
    pub fn accepts(self, dtype: DType) -> bool {
        match self {
            Unary::Not => dtype == DType::Bool,
            Unary::Neg | Unary::Abs | Unary::Sign | Unary::Square | Unary::Relu => dtype != DType::Bool,
            _ => dtype.is_float(),
        }
    }

    /// The dtype of the result.
    pub fn result(self, dtype: DType) -> DType {
        match self {
            Unary::IsNan | Unary::IsFinite => DType::Bool,
            _ => dtype,
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

fn elu(x: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * x.exp_m1() } else { x }
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// x + y
    Add,
    /// x − y
    Sub,
    /// x · y
    Mul,
    /// x / y; integers truncate, and x / 0 is 0
    Div,
    /// the remainder of the truncated division, with the sign of x
    Rem,
    /// xʸ
    Pow,
    /// the larger; NaN if either is
    Max,
    /// the smaller; NaN if either is
    Min,
    /// x = y
    Eq,
    /// x ≠ y
    Ne,
    /// x < y
    Lt,
    /// x ≤ y
    Le,
    /// x > y
    Gt,
    /// x ≥ y
    Ge,
    /// x ∧ y, on bool
    And,
    /// x ∨ y, on bool
    Or,
    /// x ⊻ y, on bool
    Xor,
}

impl Binary {
    /// The value in f64; truth values are 0 and 1.
    pub fn apply(self, x: f64, y: f64) -> f64 {
        let truth = |b: bool| b as u8 as f64;
        match self {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            Binary::Div => x / y,
            Binary::Rem => x % y,
            Binary::Pow => x.powf(y),
            Binary::Max => {
                if x.is_nan() || x > y {
                    x
                } else {
                    y
                }
            }
            Binary::Min => {
                if x.is_nan() || x < y {
                    x
                } else {
                    y
                }
            }
            Binary::Eq => truth(x == y),
            Binary::Ne => truth(x != y),
            Binary::Lt => truth(x < y),
            Binary::Le => truth(x <= y),
            Binary::Gt => truth(x > y),
            Binary::Ge => truth(x >= y),
            Binary::And => truth(x != 0.0 && y != 0.0),
            Binary::Or => truth(x != 0.0 || y != 0.0),
            Binary::Xor => truth((x != 0.0) != (y != 0.0)),
        }
    }

    /// The value on integers; the caller wraps it to the dtype.
    pub fn apply_int(self, x: i64, y: i64) -> i64 {
        match self {
            Binary::Add => x.wrapping_add(y),
            Binary::Sub => x.wrapping_sub(y),
            Binary::Mul => x.wrapping_mul(y),
            Binary::Div => x.checked_div(y).unwrap_or(0),
            Binary::Rem => x.checked_rem(y).unwrap_or(0),
            Binary::Pow => match u32::try_from(y) {
                Ok(y) => x.wrapping_pow(y),
                // 1/x^|y| truncates to 0 but for ±1.
                Err(_) if x == 1 => 1,
                Err(_) if x == -1 => 1 - 2 * (y & 1),
                Err(_) => 0,
            },
            Binary::Max => x.max(y),
            Binary::Min => x.min(y),
            Binary::Eq => (x == y) as i64,
            Binary::Ne => (x != y) as i64,
            Binary::Lt => (x < y) as i64,
            Binary::Le => (x <= y) as i64,
            Binary::Gt => (x > y) as i64,
            Binary::Ge => (x >= y) as i64,
            Binary::And => (x != 0 && y != 0) as i64,
            Binary::Or => (x != 0 || y != 0) as i64,
            Binary::Xor => ((x != 0) != (y != 0)) as i64,
        }
    }

    /// Whether the result is a truth value whatever the operands are.
    pub fn is_comparison(self) -> bool {
        matches!(self, Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge)
    }

    /// Whether the function is defined on `dtype`.
    pub fn accepts(self, dtype: DType) -> bool {
        match self {
            Binary::And | Binary::Or | Binary::Xor => dtype == DType::Bool,
            Binary::Max | Binary::Min => true,
            _ if self.is_comparison() => true,
            _ => dtype != DType::Bool,
        }
    }

    /// The dtype of the result.
    pub fn result(self, dtype: DType) -> DType {
        if self.is_comparison() { DType::Bool } else { dtype }
    }

    /// Whether f(x, y) = f(y, x).
    pub fn is_commutative(self) -> bool {
        use Binary::*;
        match self {
            Add | Mul | Max | Min | Eq | Ne | And | Or | Xor => true,
            Sub | Div | Rem | Pow | Lt | Le | Gt | Ge => false,
        }
    }
}

/// A way of putting many numbers together into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// Σ; of nothing 0. f16 and bf16 add up in f32
    Sum,
    /// Π; of nothing 1
    Prod,
    /// the largest; NaN if any is. On bool: any
    Max,
    /// the smallest; NaN if any is. On bool: all
    Min,
}

impl Fold {
    /// The function of two numbers that is applied again and again.
    pub fn binary(self) -> Binary {
        match self {
            Fold::Sum => Binary::Add,
            Fold::Prod => Binary::Mul,
            Fold::Max => Binary::Max,
            Fold::Min => Binary::Min,
        }
    }

    /// What to begin with: 0, 1, −∞, ∞ (the extremes of the dtype for integers; `false` and `true` for bool).
    pub fn identity(self, dtype: DType) -> crate::Scalar {
        use crate::Scalar;
        let extreme = |low: bool| match dtype {
            DType::I32 => Scalar::Int(if low { i32::MIN as i64 } else { i32::MAX as i64 }),
            DType::I64 => Scalar::Int(if low { i64::MIN } else { i64::MAX }),
            DType::U8 => Scalar::Int(if low { 0 } else { 255 }),
            DType::Bool => Scalar::Bool(!low),
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
                Scalar::from(if low { f64::NEG_INFINITY } else { f64::INFINITY })
            }
        };
        match self {
            Fold::Sum => Scalar::Int(0).rounded_to(dtype),
            Fold::Prod => Scalar::Int(1).rounded_to(dtype),
            Fold::Max => extreme(true),
            Fold::Min => extreme(false),
        }
    }
}

/// A distribution to draw from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Uniform in [0, 1); see [`crate::random::Philox::uniform`].
    Uniform,
    /// Normal with mean 0 and variance 1; see [`crate::random::Philox::normal`].
    Normal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_stay_finite_where_the_limit_is() {
        assert_eq!(Unary::Softplus.apply(1e4), 1e4);
        assert_eq!(Unary::Softplus.apply(-1e4), 0.0);
        assert_eq!(Unary::Sigmoid.apply(-1e4), 0.0);
        assert_eq!(Unary::Gelu.apply(-1e4), 0.0);
        assert_eq!(Unary::GeluTanh.apply(1e4), 1e4);
        assert!(Unary::Softplus.apply(f64::NAN).is_nan() && Unary::Relu.apply(f64::NAN).is_nan());
    }

    #[test]
    fn nan_wins_in_max_and_min() {
        for f in [Binary::Max, Binary::Min] {
            assert!(f.apply(f64::NAN, 1.0).is_nan() && f.apply(1.0, f64::NAN).is_nan());
        }
        assert_eq!(Binary::Max.apply(1.0, 2.0), 2.0);
    }

    #[test]
    fn integers_do_not_trap() {
        assert_eq!(Binary::Div.apply_int(7, 0), 0);
        assert_eq!(Binary::Div.apply_int(i64::MIN, -1), 0);
        assert_eq!(Binary::Pow.apply_int(-1, -3), -1);
        assert_eq!(Binary::Pow.apply_int(2, 10), 1024);
    }
}
