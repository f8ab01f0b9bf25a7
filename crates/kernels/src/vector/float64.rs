//! Loops over f64, for checking gradients: the arithmetic as vectors, the other functions one by one through the
//! standard library.

use thalweg_array::Element;
use thalweg_array::scalar::{Binary, Fold, Unary};

use super::isa::per_isa;
use super::{Arg, Lane, Total, zip};
use crate::cpu::Isa;

per_isa! {
    fn unary(f: Unary, x: &[f64], out: &mut [f64]) = unary_body
}

#[inline(always)]
fn unary_body<const F: bool>(f: Unary, x: &[f64], out: &mut [f64]) {
    macro_rules! map {
        (|$v:ident| $value:expr) => {
            for (out, &$v) in out.iter_mut().zip(x) {
                *out = $value;
            }
        };
    }
    match f {
        Unary::Neg => map!(|v| -v),
        Unary::Square => map!(|v| v * v),
        Unary::Sqrt => map!(|v| v.sqrt()),
        Unary::Reciprocal => map!(|v| 1.0 / v),
        Unary::Relu => map!(|v| if v < 0.0 { 0.0 } else { v }),
        _ => map!(|v| f.apply(v)),
    }
}

per_isa! {
    fn binary(f: Binary, x: Arg<f64>, y: Arg<f64>, out: &mut [f64]) = binary_body
}

#[inline(always)]
fn binary_body<const F: bool>(f: Binary, x: Arg<f64>, y: Arg<f64>, out: &mut [f64]) {
    match f {
        Binary::Add => zip!(x, y, out, |a, b| a + b),
        Binary::Sub => zip!(x, y, out, |a, b| a - b),
        Binary::Mul => zip!(x, y, out, |a, b| a * b),
        Binary::Div => zip!(x, y, out, |a, b| a / b),
        _ => zip!(x, y, out, |a, b| f.apply(a, b)),
    }
}

/// All of `x` put together: halves of halves, down to runs of 64 numbers.
fn fold(f: Fold, x: &[f64]) -> f64 {
    if x.len() <= 64 {
        return x.iter().fold(f64::identity(f, f64::DTYPE), |total, &x| f64::join(f, total, x));
    }
    let (low, high) = x.split_at(x.len() / 2);
    f64::join(f, fold(f, low), fold(f, high))
}

fn fold_columns(f: Fold, x: &[f64], totals: &mut [f64]) {
    for row in x.chunks_exact(totals.len().max(1)) {
        for (total, &x) in totals.iter_mut().zip(row) {
            *total = f64::join(f, *total, x);
        }
    }
}

impl Lane for f64 {
    type Total = f64;

    fn unary(isa: Isa, f: Unary, x: &[f64], out: &mut [f64]) {
        unary(isa, f, x, out);
    }

    fn predicate(_: Isa, f: Unary, x: &[f64], out: &mut [u8]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = f.apply(x) as u8;
        }
    }

    fn binary(isa: Isa, f: Binary, x: Arg<f64>, y: Arg<f64>, out: &mut [f64]) {
        binary(isa, f, x, y, out);
    }

    fn compare(_: Isa, f: Binary, x: Arg<f64>, y: Arg<f64>, out: &mut [u8]) {
        zip!(x, y, out, |a, b| f.apply(a, b) as u8)
    }

    fn select(_: Isa, condition: Arg<u8>, x: Arg<f64>, y: Arg<f64>, out: &mut [f64]) {
        super::select(condition, x, y, out);
    }

    fn fold(_: Isa, f: Fold, x: &[f64]) -> f64 {
        fold(f, x)
    }

    fn fold_columns(_: Isa, f: Fold, x: &[f64], totals: &mut [f64]) {
        fold_columns(f, x, totals);
    }

    fn widen(self) -> f64 {
        self
    }

    fn narrow(total: f64) -> f64 {
        total
    }
}
