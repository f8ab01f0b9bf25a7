//! `&a + &b`, `2.0 * &x`, `-x`: operators on tensors, variables and numbers, by reference and by value.
//!
//! Numbers are f64 and i64 only: with one float type the compiler knows what `(&x * 0.5).exp()` is. An f32 in a
//! variable is written `f64::from(lr)`.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use thalweg_array::Scalar;
use thalweg_array::scalar::{Binary, Unary};

use crate::tensor::Tensor;
use crate::variable::Variable;

macro_rules! operator {
    ($trait:ident, $method:ident, $f:ident) => {
        operator!(@pair $trait, $method, $f, &Tensor, &Tensor);
        operator!(@pair $trait, $method, $f, &Tensor, Tensor);
        operator!(@pair $trait, $method, $f, Tensor, &Tensor);
        operator!(@pair $trait, $method, $f, Tensor, Tensor);
        operator!(@pair $trait, $method, $f, &Variable, &Tensor);
        operator!(@pair $trait, $method, $f, &Variable, Tensor);
        operator!(@pair $trait, $method, $f, &Tensor, &Variable);
        operator!(@pair $trait, $method, $f, Tensor, &Variable);
        operator!(@pair $trait, $method, $f, &Variable, &Variable);
        operator!(@number $trait, $method, $f, f64);
        operator!(@number $trait, $method, $f, i64);
    };
    (@pair $trait:ident, $method:ident, $f:ident, $left:ty, $right:ty) => {
        impl $trait<$right> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor {
                let left: &Tensor = AsTensor::as_tensor(&self);
                left.binary(Binary::$f, AsTensor::as_tensor(&other))
            }
        }
    };
    (@number $trait:ident, $method:ident, $f:ident, $number:ty) => {
        operator!(@right $trait, $method, $f, &Tensor, $number);
        operator!(@right $trait, $method, $f, Tensor, $number);
        operator!(@right $trait, $method, $f, &Variable, $number);
        operator!(@left $trait, $method, $f, $number, &Tensor);
        operator!(@left $trait, $method, $f, $number, Tensor);
        operator!(@left $trait, $method, $f, $number, &Variable);
    };
    (@right $trait:ident, $method:ident, $f:ident, $left:ty, $number:ty) => {
        impl $trait<$number> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, number: $number) -> Tensor {
                AsTensor::as_tensor(&self).binary(Binary::$f, number)
            }
        }
    };
    (@left $trait:ident, $method:ident, $f:ident, $number:ty, $right:ty) => {
        impl $trait<$right> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor {
                use crate::ops::elementwise::Operand;
                let other = AsTensor::as_tensor(&other);
                self.operand(other).binary(Binary::$f, other)
            }
        }
    };
}

/// What derefs to a tensor, by value or by reference.
trait AsTensor {
    fn as_tensor(&self) -> &Tensor;
}

impl AsTensor for Tensor {
    fn as_tensor(&self) -> &Tensor {
        self
    }
}

impl AsTensor for Variable {
    fn as_tensor(&self) -> &Tensor {
        self.tensor()
    }
}

impl<T: AsTensor> AsTensor for &T {
    fn as_tensor(&self) -> &Tensor {
        (**self).as_tensor()
    }
}

operator!(Add, add, Add);
operator!(Sub, sub, Sub);
operator!(Mul, mul, Mul);
operator!(Div, div, Div);
operator!(Rem, rem, Rem);

macro_rules! negation {
    ($($type:ty),*) => {
        $(impl Neg for $type {
            type Output = Tensor;
            #[track_caller]
            fn neg(self) -> Tensor {
                AsTensor::as_tensor(&self).unary(Unary::Neg)
            }
        })*
    };
}
negation!(Tensor, &Tensor, &Variable);

impl Tensor {
    /// self + number, for a number whose type is known only at run time.
    #[track_caller]
    pub fn add_scalar(&self, number: impl Into<Scalar>) -> Tensor {
        self + self.scalar_like(number)
    }

    /// self · number, for a number whose type is known only at run time.
    #[track_caller]
    pub fn mul_scalar(&self, number: impl Into<Scalar>) -> Tensor {
        self * self.scalar_like(number)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_array::DType;

    use super::*;
    use crate::ops::source::placeholder;

    #[test]
    fn numbers_take_the_dtype_beside_them() {
        let x = placeholder("x", DType::F64, ["n"]);
        let i = placeholder("i", DType::I64, ["n"]);
        let w = Variable::new("w", 1.0);
        assert_eq!((2.0 * &x - 1.0).meta().to_string(), "f64[n]");
        assert_eq!((&i + 1).meta().to_string(), "i64[n]");
        assert_eq!((&w * 2.0 + &w).meta().to_string(), "f32[]");
        assert_eq!((-&x / 3).meta().to_string(), "f64[n]");
    }

    #[test]
    #[should_panic(expected = "dtypes differ: i64 and f32")]
    fn a_fraction_beside_integers_is_refused() {
        let i = placeholder("i", DType::I64, ["n"]);
        let _ = &i * 0.5;
    }

    #[test]
    #[should_panic(expected = "operators.rs")]
    fn a_wrong_shape_stops_at_the_users_line() {
        let x = placeholder("x", DType::F32, [3]);
        let y = placeholder("y", DType::F32, [4]);
        let _ = &x + &y;
    }

    #[test]
    fn a_named_size_never_repeats() {
        let x = placeholder("x", DType::F32, ["n"]);
        let y = placeholder("y", DType::F32, [37]);
        let message = x.try_binary(Binary::Add, &y).unwrap_err().to_string();
        assert!(message.contains("n meets 37") && message.contains("a named size never repeats"), "{message}");
        assert!(message.contains("left   x  f32[n]"), "{message}");
    }
}
