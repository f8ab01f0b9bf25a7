//! Two or three arithmetic operations on f32 in one loop. Each rounds on its own.

use super::Arg;
use super::isa::per_isa;

/// `out[i] = f(x[i], y[i], z[i])`, with the loop written out for each kind of y and z.
macro_rules! zip3 {
    ($x:expr, $y:expr, $z:expr, $out:expr, |$a:ident, $b:ident, $c:ident| $value:expr) => {{
        let (x, out) = ($x, $out);
        let n = x.len();
        let out = &mut out[..n];
        match ($y, $z) {
            (Arg::Slice(y), Arg::Slice(z)) => {
                for (((out, &$a), &$b), &$c) in out.iter_mut().zip(x).zip(&y[..n]).zip(&z[..n]) {
                    *out = $value;
                }
            }
            (Arg::Slice(y), Arg::One($c)) => {
                for ((out, &$a), &$b) in out.iter_mut().zip(x).zip(&y[..n]) {
                    *out = $value;
                }
            }
            (Arg::One($b), Arg::Slice(z)) => {
                for ((out, &$a), &$c) in out.iter_mut().zip(x).zip(&z[..n]) {
                    *out = $value;
                }
            }
            (Arg::One($b), Arg::One($c)) => {
                for (out, &$a) in out.iter_mut().zip(x) {
                    *out = $value;
                }
            }
        }
    }};
}

per_isa! {
    /// `out = z + x·y`.
    pub fn mul_add(x: &[f32], y: Arg<f32>, z: Arg<f32>, out: &mut [f32]) = mul_add_body
}

#[inline(always)]
fn mul_add_body<const F: bool>(x: &[f32], y: Arg<f32>, z: Arg<f32>, out: &mut [f32]) {
    zip3!(x, y, z, out, |a, b, c| a * b + c);
}

per_isa! {
    /// `out = z − x·y`.
    pub fn mul_sub(x: &[f32], y: Arg<f32>, z: Arg<f32>, out: &mut [f32]) = mul_sub_body
}

#[inline(always)]
fn mul_sub_body<const F: bool>(x: &[f32], y: Arg<f32>, z: Arg<f32>, out: &mut [f32]) {
    zip3!(x, y, z, out, |a, b, c| c - a * b);
}

per_isa! {
    /// `out = x·s + y·t`.
    pub fn weighted(x: &[f32], s: f32, y: &[f32], t: f32, out: &mut [f32]) = weighted_body
}

#[inline(always)]
fn weighted_body<const F: bool>(x: &[f32], s: f32, y: &[f32], t: f32, out: &mut [f32]) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = x * s + y * t;
    }
}

per_isa! {
    /// `out = √x + y`.
    pub fn sqrt_add(x: &[f32], y: Arg<f32>, out: &mut [f32]) = sqrt_add_body
}

#[inline(always)]
fn sqrt_add_body<const F: bool>(x: &[f32], y: Arg<f32>, out: &mut [f32]) {
    match y {
        Arg::Slice(y) => {
            for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                *out = x.sqrt() + y;
            }
        }
        Arg::One(y) => {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = x.sqrt() + y;
            }
        }
    }
}
