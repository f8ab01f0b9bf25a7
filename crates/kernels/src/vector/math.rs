//! Formulas for f32: branch-free, so that a loop over one of them becomes vector code.
//!
//! Errors are at most 4 units in the last place of the f64 value where the result is at least 2^-126 in size. The
//! polynomials are weighted least-maximum fits, each coefficient rounded to f32 before the next is fitted.
//! `F` says whether multiply-add is fused.

use std::f32::consts::{FRAC_PI_2, LOG2_E};

/// x·y + z, fused where the instruction set can.
#[inline(always)]
fn fma<const F: bool>(x: f32, y: f32, z: f32) -> f32 {
    if F { x.mul_add(y, z) } else { x * y + z }
}

#[inline(always)]
fn fma64<const F: bool>(x: f64, y: f64, z: f64) -> f64 {
    if F { x.mul_add(y, z) } else { x * y + z }
}

/// The polynomial with these coefficients, lowest first (Horner).
macro_rules! polynomial {
    ($fma:ident, $x:expr; $last:expr) => { $last };
    ($fma:ident, $x:expr; $first:expr, $($rest:expr),+) => {
        $fma::<F>(polynomial!($fma, $x; $($rest),+), $x, $first)
    };
}

/// Adding and taking away 1.5·2^23 rounds to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
const ROUND64: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts: the product of the first with an integer below 2^15 is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// 2^k for k in −126 ..= 127.
#[inline(always)]
fn exp2i(k: i32) -> f32 {
    f32::from_bits((k.wrapping_add(127) << 23) as u32)
}

/// Bounded from both sides; NaN stays.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    at_most(if x < low { low } else { x }, high)
}

/// Bounded from above; NaN stays.
#[inline(always)]
fn at_most(x: f32, high: f32) -> f32 {
    if x > high { high } else { x }
}

/// (r, rounded) with x = r + k·ln 2 and |r| ≤ ln 2 / 2, roughly; `rounded` is k + [`ROUND`].
#[inline(always)]
fn reduce<const F: bool>(x: f32) -> (f32, f32) {
    let rounded = fma::<F>(x, LOG2_E, ROUND);
    let count = rounded - ROUND;
    (fma::<F>(count, -LN2_LOW, fma::<F>(count, -LN2_HIGH, x)), rounded)
}

/// The k in k + [`ROUND`].
#[inline(always)]
fn integer(rounded: f32) -> i32 {
    (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// x·2ᵏ from k + [`ROUND`], by adding k to the exponent of x, which must have room for it. For k = 0, x may be anything.
#[inline(always)]
fn scaled(x: f32, rounded: f32) -> f32 {
    // The bits of ROUND itself are shifted out.
    f32::from_bits(x.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// (eʳ − 1 − r)/r² for |r| ≤ ln 2 / 2.
#[inline(always)]
fn exp_rest<const F: bool>(r: f32) -> f32 {
    polynomial!(fma, r; 0.5, 0.166_665_33, 0.041_666_61, 0.008_367_936, 0.001_391_603_8)
}

/// eʳ for |r| ≤ ln 2 / 2.
#[inline(always)]
fn exp_near_0<const F: bool>(r: f32) -> f32 {
    fma::<F>(fma::<F>(exp_rest::<F>(r), r, 1.0), r, 1.0)
}

/// eʳ − 1 for |r| ≤ ln 2 / 2.
#[inline(always)]
fn expm1_near_0<const F: bool>(r: f32) -> f32 {
    fma::<F>(r * r, exp_rest::<F>(r), r)
}

/// e^(x + low) as (p, a, b) with the value p·a·b: a and b are powers of two that are normal on their own.
/// |x| must be below 150.
#[inline(always)]
fn exp_parts<const F: bool>(x: f32, low: f32) -> (f32, f32, f32) {
    let (r, rounded) = reduce::<F>(x);
    let k = integer(rounded);
    let half = k >> 1;
    (exp_near_0::<F>(r + low), exp2i(half), exp2i(k.wrapping_sub(half)))
}

/// What is below 2^-126 becomes 0.
#[inline(always)]
pub(super) fn exp<const F: bool>(x: f32) -> f32 {
    let (r, rounded) = reduce::<F>(x);
    let value = scaled(exp_near_0::<F>(r), rounded);
    // From the first f32 above ln 2¹²⁸ on there is no room in the exponent; NaN stays.
    let value = if x < 88.722_84 { value } else { x + f32::INFINITY };
    if x < -87.336_54 { 0.0 } else { value }
}

/// eˣ − 1 for −20 ≤ x ≤ 89.
#[inline(always)]
fn expm1_between<const F: bool>(x: f32) -> f32 {
    let (r, rounded) = reduce::<F>(x);
    // Half of 2ᵏ(eʳ − 1) + (2ᵏ − 1): 2¹²⁸ is no f32.
    let scale = exp2i(integer(rounded).wrapping_sub(1));
    2.0 * fma::<F>(expm1_near_0::<F>(r), scale, scale - 0.5)
}

#[inline(always)]
pub(super) fn expm1<const F: bool>(x: f32) -> f32 {
    expm1_between::<F>(clamp(x, -20.0, 89.0))
}

#[inline(always)]
pub(super) fn tanh<const F: bool>(x: f32) -> f32 {
    let e = expm1_between::<F>(2.0 * at_most(x.abs(), 10.0));
    (e / (e + 2.0)).copysign(x)
}

#[inline(always)]
pub(super) fn sigmoid<const F: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<F>(-x))
}

/// x·sigmoid(z + low): where z is far below 0, `x` is multiplied in before the power of two that could underflow.
#[inline(always)]
fn times_sigmoid<const F: bool>(x: f32, z: f32, low: f32) -> f32 {
    let negative = z < 0.0;
    let size = at_most(z.abs(), 110.0);
    let low = if negative { low } else { -low };
    let (p, a, b) = exp_parts::<F>(-size, low);
    let below = p * a;
    let e = below * b;
    let (top, scale) = if negative { (below, b) } else { (1.0, 1.0) };
    let top = if negative && size > 105.0 { 0.0 } else { top };
    x * top / (1.0 + e) * scale
}

#[inline(always)]
pub(super) fn silu<const F: bool>(x: f32) -> f32 {
    times_sigmoid::<F>(x, x, 0.0)
}

#[inline(always)]
pub(super) fn gelu_tanh<const F: bool>(x: f32) -> f32 {
    // 2·√(2/π) and 0.044715 times it. In f64, because the error of z is a relative error of e^z.
    let wide = x as f64;
    let z = wide * fma64::<F>(wide * wide, 0.071_354_816_272_6, 1.595_769_121_605_730_9);
    let high = z as f32;
    let low = if high.abs() < 110.0 { (z - high as f64) as f32 } else { 0.0 };
    times_sigmoid::<F>(x, high, low)
}

#[inline(always)]
pub(super) fn log<const F: bool>(x: f32) -> f32 {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = (scaled.to_bits() as i32).wrapping_sub(SQRT_HALF);
    let exponent = (bits >> 23) as f32 + if tiny { -23.0 } else { 0.0 };
    let f = f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF) as u32) - 1.0;
    let square = f * f;
    let p = polynomial!(fma, f; 0.333_333_13, -0.250_000_12, 0.200_020_75, -0.166_678_55, 0.142_201_9,
        -0.124_081_75, 0.118_865_5, -0.116_609_275, 0.067_325_06);
    let rest = fma::<F>(square * f, p, exponent * LN2_LOW);
    let rest = fma::<F>(-0.5, square, rest);
    let value = fma::<F>(exponent, LN2_HIGH, f + rest);
    let at_least_0 = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    let finite = if x < f32::INFINITY { value } else { x };
    if x > 0.0 { finite } else { at_least_0 }
}

#[inline(always)]
pub(super) fn log1p<const F: bool>(x: f32) -> f32 {
    let u = 1.0 + x;
    // What the rounding of 1 + x has taken away, as a correction of the first order.
    let correction = (x - (u - 1.0)) / u;
    let value = log::<F>(u) + correction;
    let value = if u == 0.0 { f32::NEG_INFINITY } else { value };
    if u == f32::INFINITY { u } else { value }
}

#[inline(always)]
pub(super) fn softplus<const F: bool>(x: f32) -> f32 {
    let above = if x < 0.0 { 0.0 } else { x };
    above + log1p::<F>(exp::<F>(-x.abs()))
}

#[inline(always)]
pub(super) fn elu<const F: bool>(x: f32, alpha: f32) -> f32 {
    let below = alpha * expm1::<F>(x);
    if x < 0.0 { below } else { x }
}

#[inline(always)]
pub(super) fn erf<const F: bool>(x: f32) -> f32 {
    let size = at_most(x.abs(), 4.0);
    let square = size * size;
    let near = fma::<F>(
        size,
        polynomial!(fma, square; 0.128_379_17, -0.376_126_26, 0.112_835_81, -0.026_853_532, 0.005_187_675_4,
            -0.000_800_372_1, 7.830_584e-5),
        size,
    );
    // ln erfc
    let logarithm = polynomial!(fma, size; -0.000_341_463_6, -1.127_089_5, -0.638_144_2, -0.103_107_42, 0.021_838_443,
        -0.002_947_769_8, 0.000_186_392_53);
    let far = 1.0 - exp::<F>(logarithm);
    (if size < 1.0 { near } else { far }).copysign(x)
}

/// z − x²/2 with one rounding, for z that takes most of x²/2 away and has few bits.
#[inline(always)]
fn minus_half_square<const F: bool>(z: f32, x: f32) -> f32 {
    if F {
        (-0.5 * x).mul_add(x, z)
    } else {
        // Twelve bits each: products are exact (Dekker 1971).
        let high = f32::from_bits(x.to_bits() & 0xffff_f000);
        let low = x - high;
        (z - 0.5 * high * high) - (high * low + 0.5 * low * low)
    }
}

/// x·Φ(x) = max(x, 0) − t·Φ(−t) for t = |x|, with t·Φ(−t) = e^(−t²/2)·s·h(s), s = t/(t + 3): relative accuracy also far
/// below 0.
#[inline(always)]
pub(super) fn gelu<const F: bool>(x: f32) -> f32 {
    let t = x.abs();
    let rounded = fma::<F>(-0.5 * t * t, LOG2_E, ROUND);
    let count = rounded - ROUND;
    let r = fma::<F>(count, -LN2_LOW, minus_half_square::<F>(count * -LN2_HIGH, t));
    let s = t / (t + 3.0);
    let h = polynomial!(fma, s - 0.3125; 0.954_667_03, -1.397_902, 1.084_510_4, -0.187_580_38, -0.318_305_5,
        0.083_759_174, 0.153_481_17, -0.012_135_424, -0.069_684_23);
    let sh = s * h;
    let below = scaled(fma::<F>(sh, expm1_near_0::<F>(r), sh), rounded);
    // Further on it is below 2^-126.
    let below = if t < 13.15 { below } else { 0.0 };
    (0.5 * x + 0.5 * t) - below
}

/// The larger; NaN if either is.
#[inline(always)]
pub(super) fn max(x: f32, y: f32) -> f32 {
    let larger = if x > y { x } else { y };
    if x.is_nan() { x } else { larger }
}

/// The smaller; NaN if either is.
#[inline(always)]
pub(super) fn min(x: f32, y: f32) -> f32 {
    let smaller = if x < y { x } else { y };
    if x.is_nan() { x } else { smaller }
}

/// π/2 in two parts, the first of 33 bits.
const HALF_PI_HIGH: f64 = 1.570_796_326_734_125_6;
const HALF_PI_LOW: f64 = 6.077_100_506_506_192e-11;

/// The sine and cosine of r, x = r + k·π/2, and k. |x| up to [`LARGEST_ANGLE`].
#[inline(always)]
fn sin_cos<const F: bool>(x: f32) -> (f32, f32, i32) {
    let wide = x as f64;
    let rounded = fma64::<F>(wide, std::f64::consts::FRAC_2_PI, ROUND64);
    let k = rounded.to_bits() as i32;
    let count = rounded - ROUND64;
    let r = fma64::<F>(count, -HALF_PI_LOW, fma64::<F>(count, -HALF_PI_HIGH, wide)) as f32;
    let square = r * r;
    let sin = fma::<F>(
        square * r,
        polynomial!(fma, square; -0.166_666_67, 0.008_333_379, -0.000_198_530_78, 2.832_780_6e-6),
        r,
    );
    let cos_rest = polynomial!(fma, square; 0.041_666_646, -0.001_388_731, 2.443_233_8e-5);
    let cos = fma::<F>(square * square, cos_rest, fma::<F>(-0.5, square, 1.0));
    (sin, cos, k)
}

/// The largest angle for which sine, cosine and tangent are computed here.
pub(super) const LARGEST_ANGLE: f32 = 1_048_576.0;

/// `x` with the sign turned where bit 1 of `k` is set.
#[inline(always)]
fn turn(x: f32, k: i32) -> f32 {
    f32::from_bits(x.to_bits() ^ ((k as u32 & 2) << 30))
}

#[inline(always)]
pub(super) fn sin<const F: bool>(x: f32) -> f32 {
    let (sin, cos, k) = sin_cos::<F>(x);
    turn(if k & 1 == 0 { sin } else { cos }, k)
}

#[inline(always)]
pub(super) fn cos<const F: bool>(x: f32) -> f32 {
    let (sin, cos, k) = sin_cos::<F>(x);
    turn(if k & 1 == 0 { cos } else { sin }, k.wrapping_add(1))
}

#[inline(always)]
pub(super) fn tan<const F: bool>(x: f32) -> f32 {
    let (sin, cos, k) = sin_cos::<F>(x);
    if k & 1 == 0 { sin / cos } else { -cos / sin }
}

#[inline(always)]
pub(super) fn atan<const F: bool>(x: f32) -> f32 {
    let size = x.abs();
    let beyond = size > 1.0;
    let z = if beyond { 1.0 / size } else { size };
    let square = z * z;
    let p = polynomial!(fma, square; -0.333_333, 0.199_985_34, -0.142_641_02, 0.109_515_06, -0.084_015_76,
        0.057_927_046, -0.031_148_667, 0.010_899_502, -0.001_790_350_9);
    let value = fma::<F>(square * z, p, z);
    (if beyond { FRAC_PI_2 - value - 4.371_139e-8 } else { value }).copysign(x)
}

/// eˣ in f64 for |x| below 700, to about 3e-16.
#[inline(always)]
fn exp64<const F: bool>(x: f64) -> f64 {
    let rounded = fma64::<F>(x, std::f64::consts::LOG2_E, ROUND64);
    let k = (rounded.to_bits() as i64).wrapping_sub(ROUND64.to_bits() as i64);
    let count = rounded - ROUND64;
    // ln 2: the first part has 32 bits.
    let r = fma64::<F>(count, -1.908_214_929_270_587_7e-10, fma64::<F>(count, -0.693_147_180_369_123_8, x));
    let q = polynomial!(fma64, r; 0.500_000_000_000_001_7, 0.166_666_666_666_056_48, 0.041_666_666_666_465_23,
        0.008_333_333_373_763_642, 0.001_388_888_896_188_436_8, 0.000_198_411_810_407_053,
        2.480_147_376_788_320_6e-5, 2.763_685_846_152_506_6e-6, 2.763_715_143_819_832_4e-7);
    let scale = f64::from_bits((k.wrapping_add(1023) << 52) as u64);
    scale * (1.0 + fma64::<F>(r * r, q, r))
}

/// ln x in f64 for normal x > 0, to about 3e-16.
#[inline(always)]
fn log64<const F: bool>(x: f64) -> f64 {
    const SQRT_HALF: i64 = 0x3fe6_a09e_667f_3bcd;
    let bits = (x.to_bits() as i64).wrapping_sub(SQRT_HALF);
    let exponent = (bits >> 52) as f64;
    let f = f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(SQRT_HALF) as u64) - 1.0;
    // ln m = 2 artanh((m − 1)/(m + 1))
    let s = f / (2.0 + f);
    let square = s * s;
    let p = polynomial!(fma64, square; 0.666_666_666_665_874_7, 0.400_000_000_521_500_1, 0.285_714_171_485_967_7,
        0.222_233_704_344_096_87, 0.181_236_802_254_507_7, 0.168_193_994_068_424_78);
    fma64::<F>(exponent, std::f64::consts::LN_2, fma64::<F>(square * s, p, 2.0 * s))
}

/// |x|ʸ for finite, nonzero x and finite y.
#[inline(always)]
pub(super) fn pow<const F: bool>(x: f32, y: f32) -> f32 {
    let exponent = y as f64 * log64::<F>(x.abs() as f64);
    let exponent = if exponent < -200.0 { -200.0 } else { exponent };
    let exponent = if exponent > 200.0 { 200.0 } else { exponent };
    exp64::<F>(exponent) as f32
}

#[inline(always)]
fn clamp64(x: f64, high: f64) -> f64 {
    if x > high { high } else { x }
}

#[inline(always)]
pub(super) fn sinh<const F: bool>(x: f32) -> f32 {
    let size = clamp64((x as f64).abs(), 100.0);
    let e = exp64::<F>(size);
    // Near 0, where the difference cancels, three terms of the series.
    let square = size * size;
    let near = size * fma64::<F>(square, fma64::<F>(square, 1.0 / 120.0, 1.0 / 6.0), 1.0);
    let value = if size < 0.01 { near } else { 0.5 * (e - 1.0 / e) };
    (value as f32).copysign(x)
}

#[inline(always)]
pub(super) fn cosh<const F: bool>(x: f32) -> f32 {
    let e = exp64::<F>(clamp64((x as f64).abs(), 100.0));
    (0.5 * (e + 1.0 / e)) as f32
}

/// √(−2 ln(1 − u))·(cos, sin)(2πv) for u and v in [0, 1): two normal numbers from two uniform ones.
#[inline(always)]
pub(super) fn box_muller<const F: bool>(u: f32, v: f32) -> (f32, f32) {
    let radius = (-2.0 * log::<F>(1.0 - u)).sqrt();
    let quarters = 4.0 * v;
    let rounded = quarters + ROUND;
    let k = rounded.to_bits() as i32;
    let r = quarters - (rounded - ROUND);
    let square = r * r;
    let sin = r * polynomial!(fma, square; FRAC_PI_2, -0.645_969_3, 0.079_793_35, -0.005_316_351, 0.001_415_482_8);
    let cos = fma::<F>(
        square,
        polynomial!(fma, square; -1.233_700_5, 0.253_668_16, -0.020_847_691, 0.000_845_796_5, 9.337_696e-5),
        1.0,
    );
    let (cos, sin) = if k & 1 == 0 { (cos, sin) } else { (-sin, cos) };
    (radius * turn(cos, k), radius * turn(sin, k))
}
