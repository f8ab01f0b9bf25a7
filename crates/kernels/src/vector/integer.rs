//! Loops over integers and truth values. Integers wrap; division by zero gives 0 (see `array::scalar`).

use thalweg_array::Element;
use thalweg_array::scalar::{Binary, Fold, Unary};

use super::{Arg, Lane, Total, zip};
use crate::cpu::Isa;

macro_rules! integer_lane {
    ($type:ty) => {
        impl Lane for $type {
            type Total = i64;

            fn unary(_: Isa, f: Unary, x: &[Self], out: &mut [Self]) {
                macro_rules! map {
                    (|$v:ident| $value:expr) => {
                        for (out, &$v) in out.iter_mut().zip(x) {
                            *out = $value;
                        }
                    };
                }
                match f {
                    Unary::Neg => map!(|v| v.wrapping_neg()),
                    Unary::Square => map!(|v| v.wrapping_mul(v)),
                    Unary::Relu => map!(|v| v.max(0)),
                    Unary::Not => map!(|v| (v == 0) as $type),
                    other => map!(|v| other.apply_int(v as i64) as $type),
                }
            }

            fn predicate(_: Isa, f: Unary, x: &[Self], out: &mut [u8]) {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f.apply(x as f64) as u8;
                }
            }

            fn binary(_: Isa, f: Binary, x: Arg<Self>, y: Arg<Self>, out: &mut [Self]) {
                match f {
                    Binary::Add => zip!(x, y, out, |a, b| a.wrapping_add(b)),
                    Binary::Sub => zip!(x, y, out, |a, b| a.wrapping_sub(b)),
                    Binary::Mul => zip!(x, y, out, |a, b| a.wrapping_mul(b)),
                    Binary::Max => zip!(x, y, out, |a, b| a.max(b)),
                    Binary::Min => zip!(x, y, out, |a, b| a.min(b)),
                    Binary::And => zip!(x, y, out, |a, b| (a != 0 && b != 0) as $type),
                    Binary::Or => zip!(x, y, out, |a, b| (a != 0 || b != 0) as $type),
                    Binary::Xor => zip!(x, y, out, |a, b| ((a != 0) != (b != 0)) as $type),
                    other => zip!(x, y, out, |a, b| other.apply_int(a as i64, b as i64) as $type),
                }
            }

            fn compare(_: Isa, f: Binary, x: Arg<Self>, y: Arg<Self>, out: &mut [u8]) {
                match f {
                    Binary::Eq => zip!(x, y, out, |a, b| (a == b) as u8),
                    Binary::Ne => zip!(x, y, out, |a, b| (a != b) as u8),
                    Binary::Lt => zip!(x, y, out, |a, b| (a < b) as u8),
                    Binary::Le => zip!(x, y, out, |a, b| (a <= b) as u8),
                    Binary::Gt => zip!(x, y, out, |a, b| (a > b) as u8),
                    Binary::Ge => zip!(x, y, out, |a, b| (a >= b) as u8),
                    other => zip!(x, y, out, |a, b| other.apply_int(a as i64, b as i64) as u8),
                }
            }

            fn select(_: Isa, condition: Arg<u8>, x: Arg<Self>, y: Arg<Self>, out: &mut [Self]) {
                super::select(condition, x, y, out);
            }

            fn fold(_: Isa, f: Fold, x: &[Self]) -> i64 {
                match f {
                    Fold::Sum => x.iter().fold(0, |total, &x| total.wrapping_add(x as i64)),
                    Fold::Prod => x.iter().fold(1, |total, &x| total.wrapping_mul(x as i64)),
                    Fold::Max => x.iter().map(|&x| x as i64).max().unwrap_or(i64::identity(f, Self::DTYPE)),
                    Fold::Min => x.iter().map(|&x| x as i64).min().unwrap_or(i64::identity(f, Self::DTYPE)),
                }
            }

            fn fold_columns(_: Isa, f: Fold, x: &[Self], totals: &mut [i64]) {
                for row in x.chunks_exact(totals.len().max(1)) {
                    for (total, &x) in totals.iter_mut().zip(row) {
                        *total = i64::join(f, *total, x as i64);
                    }
                }
            }

            fn widen(self) -> i64 {
                self as i64
            }

            fn narrow(total: i64) -> Self {
                total as $type
            }
        }
    };
}
integer_lane!(i32);
integer_lane!(i64);
integer_lane!(u8);
