//! Loops over floats, through the f64 reference.

use thalweg_array::scalar::{Binary, Fold, Unary};

use super::{Arg, Lane, Total, zip};

macro_rules! float_lane {
    ($type:ty) => {
        impl Lane for $type {
            type Total = f64;

            fn unary(f: Unary, x: &[Self], out: &mut [Self]) {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f.apply(x as f64) as $type;
                }
            }

            fn predicate(f: Unary, x: &[Self], out: &mut [u8]) {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f.apply(x as f64) as u8;
                }
            }

            fn binary(f: Binary, x: Arg<Self>, y: Arg<Self>, out: &mut [Self]) {
                zip!(x, y, out, |a, b| f.apply(a as f64, b as f64) as $type)
            }

            fn compare(f: Binary, x: Arg<Self>, y: Arg<Self>, out: &mut [u8]) {
                zip!(x, y, out, |a, b| f.apply(a as f64, b as f64) as u8)
            }

            fn select(condition: Arg<u8>, x: Arg<Self>, y: Arg<Self>, out: &mut [Self]) {
                super::select(condition, x, y, out);
            }

            fn fold(f: Fold, x: &[Self]) -> f64 {
                x.iter().fold(f64::identity(f, Self::DTYPE), |total, &x| f64::join(f, total, x as f64))
            }

            fn fold_columns(f: Fold, x: &[Self], totals: &mut [f64]) {
                for row in x.chunks_exact(totals.len().max(1)) {
                    for (total, &x) in totals.iter_mut().zip(row) {
                        *total = f64::join(f, *total, x as f64);
                    }
                }
            }

            fn widen(self) -> f64 {
                self as f64
            }

            fn narrow(total: f64) -> Self {
                total as $type
            }
        }
    };
}
use thalweg_array::Element;
float_lane!(f32);
float_lane!(f64);
