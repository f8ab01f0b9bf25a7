//! Loops over f32, compiled for each instruction set.

use thalweg_array::scalar::{Binary, Fold, SELU_ALPHA, SELU_SCALE, Unary};

use super::isa::per_isa;
use super::{Arg, Lane, fold32, math};
#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::{exponential, piecewise};
use crate::cpu::Isa;

/// Numbers that a loop is padded to: results in a remainder come from the same lanes as the others.
pub(super) const LANES: usize = 16;

/// `out = f(x)` element by element. The remainder is padded to whole vectors.
macro_rules! map {
    ($x:expr, $out:expr, |$v:ident| $value:expr) => {{
        let (x, out) = ($x, &mut *$out);
        let whole = x.len() / LANES * LANES;
        let (body, rest) = x.split_at(whole);
        let (out_body, out_rest) = out.split_at_mut(whole);
        for (out, &$v) in out_body.iter_mut().zip(body) {
            *out = $value;
        }
        if !rest.is_empty() {
            let mut padded = [0.0; LANES];
            padded[..rest.len()].copy_from_slice(rest);
            for $v in &mut padded {
                *$v = {
                    let $v = *$v;
                    $value
                };
            }
            out_rest.copy_from_slice(&padded[..rest.len()]);
        }
    }};
}

/// `out = f(x)`.
pub(super) fn unary(isa: Isa, f: Unary, x: &[f32], out: &mut [f32]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if isa.of_vectors() == Isa::Avx512 {
        assert!(isa <= Isa::best(), "this processor has no {isa}");
        // SAFETY (all): the processor has AVX-512.
        match f {
            Unary::Exp => return unsafe { exponential::exp(x, out) },
            Unary::Erf => return unsafe { piecewise::erf(x, out) },
            Unary::Tanh => return unsafe { piecewise::tanh(x, out) },
            Unary::Gelu => return unsafe { piecewise::gelu(x, out) },
            Unary::Softplus => return unsafe { piecewise::softplus(x, out) },
            _ => {}
        }
    }
    formula(isa, f, x, out);
}

per_isa! {
    /// `out = f(x)` by one formula for every x.
    fn formula(f: Unary, x: &[f32], out: &mut [f32]) = formula_body
}

#[inline(always)]
fn formula_body<const F: bool>(f: Unary, x: &[f32], out: &mut [f32]) {
    let out = &mut out[..x.len()];
    match f {
        Unary::Neg => map!(x, out, |v| -v),
        Unary::Abs => map!(x, out, |v| v.abs()),
        Unary::Sign => map!(x, out, |v| if v > 0.0 {
            1.0
        } else if v < 0.0 {
            -1.0
        } else {
            v
        }),
        Unary::Floor => map!(x, out, |v| v.floor()),
        Unary::Ceil => map!(x, out, |v| v.ceil()),
        Unary::Round => map!(x, out, |v| v.round_ties_even()),
        Unary::Square => map!(x, out, |v| v * v),
        Unary::Reciprocal => map!(x, out, |v| 1.0 / v),
        Unary::Sqrt => map!(x, out, |v| v.sqrt()),
        Unary::Rsqrt => map!(x, out, |v| 1.0 / v.sqrt()),
        Unary::Exp => map!(x, out, |v| math::exp::<F>(v)),
        Unary::Expm1 => map!(x, out, |v| math::expm1::<F>(v)),
        Unary::Log => map!(x, out, |v| math::log::<F>(v)),
        Unary::Log1p => map!(x, out, |v| math::log1p::<F>(v)),
        Unary::Sin => {
            map!(x, out, |v| math::sin::<F>(v));
            far_angles(x, out, f64::sin);
        }
        Unary::Cos => {
            map!(x, out, |v| math::cos::<F>(v));
            far_angles(x, out, f64::cos);
        }
        Unary::Tan => {
            map!(x, out, |v| math::tan::<F>(v));
            far_angles(x, out, f64::tan);
        }
        Unary::Atan => map!(x, out, |v| math::atan::<F>(v)),
        Unary::Sinh => map!(x, out, |v| math::sinh::<F>(v)),
        Unary::Cosh => map!(x, out, |v| math::cosh::<F>(v)),
        Unary::Tanh => map!(x, out, |v| math::tanh::<F>(v)),
        Unary::Erf => map!(x, out, |v| math::erf::<F>(v)),
        Unary::Sigmoid => map!(x, out, |v| math::sigmoid::<F>(v)),
        Unary::Softplus => map!(x, out, |v| math::softplus::<F>(v)),
        Unary::Relu => map!(x, out, |v| if v < 0.0 { 0.0 } else { v }),
        Unary::LeakyRelu { slope } => {
            let slope = slope.0 as f32;
            map!(x, out, |v| if v < 0.0 { slope * v } else { v });
        }
        Unary::Elu { alpha } => {
            let alpha = alpha.0 as f32;
            map!(x, out, |v| math::elu::<F>(v, alpha));
        }
        Unary::Selu => {
            let (scale, alpha) = (SELU_SCALE as f32, (SELU_SCALE * SELU_ALPHA) as f32);
            map!(x, out, |v| {
                let below = math::elu::<F>(v, alpha);
                if v < 0.0 { below } else { scale * v }
            });
        }
        Unary::Gelu => map!(x, out, |v| math::gelu::<F>(v)),
        Unary::GeluTanh => map!(x, out, |v| math::gelu_tanh::<F>(v)),
        Unary::Silu => map!(x, out, |v| math::silu::<F>(v)),
        Unary::HardTanh => map!(x, out, |v| {
            let v = if v < -1.0 { -1.0 } else { v };
            if v > 1.0 { 1.0 } else { v }
        }),
        Unary::Asin | Unary::Acos | Unary::Not | Unary::IsNan | Unary::IsFinite => {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = f.apply(x as f64) as f32;
            }
        }
    }
}

/// Computes the angles that are too large for the vector formula one by one.
#[inline(always)]
fn far_angles(x: &[f32], out: &mut [f32], f: fn(f64) -> f64) {
    let near = x.iter().fold(true, |near, x| near & (x.abs() <= math::LARGEST_ANGLE));
    if !near {
        for (out, &x) in out.iter_mut().zip(x) {
            if x.abs() > math::LARGEST_ANGLE {
                *out = f(x as f64) as f32;
            }
        }
    }
}

per_isa! {
    /// `out = f(x)` for [`Unary::IsNan`] and [`Unary::IsFinite`].
    fn predicate(f: Unary, x: &[f32], out: &mut [u8]) = predicate_body
}

#[inline(always)]
fn predicate_body<const F: bool>(f: Unary, x: &[f32], out: &mut [u8]) {
    match f {
        Unary::IsNan => out.iter_mut().zip(x).for_each(|(out, x)| *out = x.is_nan() as u8),
        _ => out.iter_mut().zip(x).for_each(|(out, x)| *out = (x.abs() < f32::INFINITY) as u8),
    }
}

/// `out[i] = f(x[i], y[i])` over both kinds of operand, the remainder padded where `$pad` says so.
macro_rules! zip_padded {
    ($x:expr, $y:expr, $out:expr, |$a:ident, $b:ident| $value:expr) => {
        match ($x, $y) {
            (Arg::Slice(x), Arg::One($b)) => map!(x, &mut $out[..x.len()], |$a| $value),
            (Arg::One($a), Arg::Slice(y)) => map!(y, &mut $out[..y.len()], |$b| $value),
            (Arg::One($a), Arg::One($b)) => $out.fill($value),
            (Arg::Slice(x), Arg::Slice(y)) => {
                let whole = x.len() / LANES * LANES;
                for ((out, &$a), &$b) in $out[..whole].iter_mut().zip(&x[..whole]).zip(&y[..whole]) {
                    *out = $value;
                }
                let rest = x.len() - whole;
                if rest > 0 {
                    let (mut a, mut b, mut padded) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
                    a[..rest].copy_from_slice(&x[whole..]);
                    b[..rest].copy_from_slice(&y[whole..]);
                    for ((out, &$a), &$b) in padded.iter_mut().zip(&a).zip(&b) {
                        *out = $value;
                    }
                    $out[whole..].copy_from_slice(&padded[..rest]);
                }
            }
        }
    };
}

per_isa! {
    /// `out = f(x, y)`, for functions that are no comparisons.
    fn binary(f: Binary, x: Arg<f32>, y: Arg<f32>, out: &mut [f32]) = binary_body
}

#[inline(always)]
fn binary_body<const F: bool>(f: Binary, x: Arg<f32>, y: Arg<f32>, out: &mut [f32]) {
    match f {
        Binary::Add => zip_padded!(x, y, out, |a, b| a + b),
        Binary::Sub => zip_padded!(x, y, out, |a, b| a - b),
        Binary::Mul => zip_padded!(x, y, out, |a, b| a * b),
        Binary::Div => zip_padded!(x, y, out, |a, b| a / b),
        Binary::Max => zip_padded!(x, y, out, |a, b| math::max(a, b)),
        Binary::Min => zip_padded!(x, y, out, |a, b| math::min(a, b)),
        Binary::Pow => {
            zip_padded!(x, y, out, |a, b| math::pow::<F>(a, b));
            let at = |arg: Arg<f32>, i: usize| match arg {
                Arg::Slice(x) => x[i],
                Arg::One(x) => x,
            };
            for (i, out) in out.iter_mut().enumerate() {
                let (x, y) = (at(x, i), at(y, i));
                if !(x > 0.0 && x < f32::INFINITY && y.abs() < f32::INFINITY) {
                    *out = (x as f64).powf(y as f64) as f32;
                }
            }
        }
        Binary::Rem => super::zip!(x, y, out, |a, b| a % b),
        Binary::Eq
        | Binary::Ne
        | Binary::Lt
        | Binary::Le
        | Binary::Gt
        | Binary::Ge
        | Binary::And
        | Binary::Or
        | Binary::Xor => super::zip!(x, y, out, |a, b| f.apply(a as f64, b as f64) as f32),
    }
}

per_isa! {
    /// `out = f(x, y)` for comparisons.
    fn compare(f: Binary, x: Arg<f32>, y: Arg<f32>, out: &mut [u8]) = compare_body
}

#[inline(always)]
fn compare_body<const F: bool>(f: Binary, x: Arg<f32>, y: Arg<f32>, out: &mut [u8]) {
    match f {
        Binary::Eq => super::zip!(x, y, out, |a, b| (a == b) as u8),
        Binary::Ne => super::zip!(x, y, out, |a, b| (a != b) as u8),
        Binary::Lt => super::zip!(x, y, out, |a, b| (a < b) as u8),
        Binary::Le => super::zip!(x, y, out, |a, b| (a <= b) as u8),
        Binary::Gt => super::zip!(x, y, out, |a, b| (a > b) as u8),
        Binary::Ge => super::zip!(x, y, out, |a, b| (a >= b) as u8),
        _ => super::zip!(x, y, out, |a, b| f.apply(a as f64, b as f64) as u8),
    }
}

per_isa! {
    /// `x` where the condition is not 0, else `y`.
    fn select(condition: Arg<u8>, x: Arg<f32>, y: Arg<f32>, out: &mut [f32]) = select_body
}

#[inline(always)]
fn select_body<const F: bool>(condition: Arg<u8>, x: Arg<f32>, y: Arg<f32>, out: &mut [f32]) {
    super::select(condition, x, y, out);
}

impl Lane for f32 {
    type Total = f64;

    fn unary(isa: Isa, f: Unary, x: &[f32], out: &mut [f32]) {
        unary(isa, f, x, out);
    }

    fn predicate(isa: Isa, f: Unary, x: &[f32], out: &mut [u8]) {
        predicate(isa, f, x, out);
    }

    fn binary(isa: Isa, f: Binary, x: Arg<f32>, y: Arg<f32>, out: &mut [f32]) {
        binary(isa, f, x, y, out);
    }

    fn compare(isa: Isa, f: Binary, x: Arg<f32>, y: Arg<f32>, out: &mut [u8]) {
        compare(isa, f, x, y, out);
    }

    fn select(isa: Isa, condition: Arg<u8>, x: Arg<f32>, y: Arg<f32>, out: &mut [f32]) {
        select(isa, condition, x, y, out);
    }

    fn fold(isa: Isa, f: Fold, x: &[f32]) -> f64 {
        fold32::fold(isa, f, x)
    }

    fn fold_rows(isa: Isa, f: Fold, x: &[f32], width: usize, totals: &mut [f64]) {
        fold32::fold_rows(isa, f, x, width, totals);
    }

    fn fold_columns(isa: Isa, f: Fold, x: &[f32], totals: &mut [f64]) {
        fold32::fold_columns(isa, f, x, totals);
    }

    fn widen(self) -> f64 {
        self as f64
    }

    fn narrow(total: f64) -> f32 {
        total as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_array::dtype::Real;
    use thalweg_array::random::Philox;

    const FUNCTIONS: [Unary; 34] = [
        Unary::Neg,
        Unary::Abs,
        Unary::Sign,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Square,
        Unary::Reciprocal,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Exp,
        Unary::Expm1,
        Unary::Log,
        Unary::Log1p,
        Unary::Sin,
        Unary::Cos,
        Unary::Tan,
        Unary::Asin,
        Unary::Acos,
        Unary::Atan,
        Unary::Sinh,
        Unary::Cosh,
        Unary::Tanh,
        Unary::Erf,
        Unary::Sigmoid,
        Unary::Softplus,
        Unary::Relu,
        Unary::LeakyRelu { slope: Real(0.01) },
        Unary::Elu { alpha: Real(1.5) },
        Unary::Selu,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Silu,
        Unary::HardTanh,
    ];

    const SPECIAL: [f32; 20] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-40,
        -1e-40,
        88.72283,
        -87.33654,
        -103.9,
        1_048_576.0,
        std::f32::consts::PI,
    ];

    /// Where formulas change or results leave the range of f32.
    const EDGES: [f32; 27] = [
        17.226_562,
        0.085_937_5,
        0.25,
        0.5,
        1.0,
        3.9375,
        4.0,
        5.4140625,
        9.0,
        9.105_469,
        10.0,
        13.15,
        16.6,
        20.0,
        44.36,
        87.33654,
        88.02969,
        88.37626,
        88.72284,
        89.0,
        89.41599,
        103.9,
        105.0,
        110.0,
        150.0,
        1_048_576.0,
        1.844_674_4e19,
    ];

    /// The f32 nearest to the edges, of both signs.
    fn neighbours() -> impl Iterator<Item = f32> {
        let near = |edge: f32| (edge.to_bits() - 40..=edge.to_bits() + 40).map(f32::from_bits);
        EDGES.into_iter().flat_map(near).flat_map(|x| [x, -x])
    }

    /// Numbers of all exponents, numbers of everyday size, those around edges, and special ones.
    fn numbers(stream: u64, n: u64) -> Vec<f32> {
        let generator = Philox::new(3, stream);
        let any = (0..n).map(|i| f32::from_bits(generator.block(i, 0)[0]));
        let ordinary = (0..n).map(|i| (generator.uniform(i, 1) - 0.5) * 40.0);
        let near_0 = (0..n).map(|i| (generator.uniform(i, 2) - 0.5) * 2.0);
        any.chain(ordinary).chain(near_0).chain(neighbours()).chain(SPECIAL).collect()
    }

    /// How many units in the last place of `exact` lie between; the size of the smallest normal number counts as a
    /// unit below it.
    fn ulps(found: f32, exact: f64) -> f64 {
        if found as f64 == exact || found.is_nan() && exact.is_nan() || found == exact as f32 {
            return 0.0;
        }
        if found.is_nan() || exact.is_nan() {
            return f64::INFINITY;
        }
        if exact.abs() < f32::MIN_POSITIVE as f64 {
            return (found as f64 - exact).abs() / f32::MIN_POSITIVE as f64;
        }
        let unit = 2f64.powi((exact.abs().log2().floor() as i32).min(127) - 23);
        let found = if found.is_infinite() && exact.is_finite() {
            2f64.powi(128) * found.signum() as f64
        } else {
            found as f64
        };
        (found - exact).abs() / unit
    }

    /// The largest error of a function, in units in the last place, and where it is.
    fn worst(isa: Isa, f: Unary, x: &[f32]) -> (f64, f32) {
        let mut out = vec![0.0; x.len()];
        unary(isa, f, x, &mut out);
        let error = |(&x, &found): (&f32, &f32)| {
            let exact = match f {
                // The parameters are f32.
                Unary::LeakyRelu { slope } if x < 0.0 => slope.0 as f32 as f64 * x as f64,
                _ => f.apply(x as f64),
            };
            (ulps(found, exact), x)
        };
        x.iter().zip(&out).map(error).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    }

    /// With `THALWEG_FLOATS=101`, also of every 101st f32 that there is; with 1 of all of them.
    #[test]
    fn functions_of_one_number_are_within_4_ulp() {
        let mut faults = Vec::new();
        let mut check = |isa, f, x: &[f32]| {
            let (error, at) = worst(isa, f, x);
            if error > 4.0 {
                faults.push(format!("{isa} {f:?}: {error:.2} ulp at {at:?}"));
            }
        };
        let x = numbers(0, if cfg!(miri) { 20 } else { 60_000 });
        for isa in Isa::available() {
            FUNCTIONS.iter().for_each(|&f| check(isa, f, &x));
        }
        if let Some(step) = std::env::var("THALWEG_FLOATS").ok().and_then(|step| step.parse().ok()) {
            let mut bits = (0..=u32::MAX).step_by(step).map(f32::from_bits);
            loop {
                let x: Vec<f32> = bits.by_ref().take(1 << 16).collect();
                if x.is_empty() {
                    break;
                }
                for isa in Isa::available() {
                    FUNCTIONS.iter().for_each(|&f| check(isa, f, &x));
                }
            }
        }
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn functions_of_two_numbers_are_within_their_bounds() {
        use Binary::*;
        let x = numbers(1, if cfg!(miri) { 20 } else { 20_000 });
        let mut y = numbers(2, if cfg!(miri) { 20 } else { 20_000 });
        y.rotate_left(7);
        for isa in Isa::available() {
            for f in [Add, Sub, Mul, Div, Rem, Pow, Max, Min] {
                let bound = if f == Pow { 16.0 } else { 1.0 };
                let mut out = vec![0.0; x.len()];
                let check = |out: &[f32], x: &dyn Fn(usize) -> f32, y: &dyn Fn(usize) -> f32| {
                    for (i, &found) in out.iter().enumerate() {
                        let error = ulps(found, f.apply(x(i) as f64, y(i) as f64));
                        assert!(error <= bound, "{isa} {f:?}({}, {}) = {found}: {error} ulp", x(i), y(i));
                    }
                };
                binary(isa, f, Arg::Slice(&x), Arg::Slice(&y), &mut out);
                check(&out, &|i| x[i], &|i| y[i]);
                for one in SPECIAL {
                    let (x, out) = (&x[..500], &mut out[..500]);
                    binary(isa, f, Arg::Slice(x), Arg::One(one), out);
                    check(out, &|i| x[i], &|_| one);
                    binary(isa, f, Arg::One(one), Arg::Slice(x), out);
                    check(out, &|_| one, &|i| x[i]);
                }
            }
            for f in [Eq, Ne, Lt, Le, Gt, Ge] {
                let mut out = vec![0; x.len()];
                compare(isa, f, Arg::Slice(&x), Arg::Slice(&y), &mut out);
                assert!((0..x.len()).all(|i| out[i] as f64 == f.apply(x[i] as f64, y[i] as f64)), "{isa} {f:?}");
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_position_or_length() {
        let x = numbers(4, 40);
        for isa in Isa::available() {
            for f in FUNCTIONS {
                let mut whole = vec![0.0; x.len()];
                unary(isa, f, &x, &mut whole);
                for cut in [1, 3, 16, 17, 31] {
                    let mut parts = vec![0.0; x.len()];
                    for (x, out) in x.chunks(cut).zip(parts.chunks_mut(cut)) {
                        unary(isa, f, x, out);
                    }
                    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                    assert!(whole.iter().zip(&parts).all(same), "{isa} {f:?} in parts of {cut}");
                }
            }
        }
    }
}
