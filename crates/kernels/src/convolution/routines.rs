//! The loops of this module for each instruction set and element type.

use thalweg_array::Element;

use super::depthwise::{self, Line, Sum};
use super::gather::{self, Gather};
use super::winograd::Algorithm;
use super::winograd::transform::{self, Transform};
use crate::cpu::{Isa, by_isa};
use crate::matmul::simd::{Plain, Vector};
use crate::matmul::tile::Accumulator;

/// Gathers rows; see [`gather::by_vectors`].
pub(super) type GatherRoutine<T> = unsafe fn(&Gather<'_, T, T>);

/// A transform: the pixels that are there, and all points, may be read and written.
pub(super) type TransformRoutine<T> = unsafe fn(&Transform<T>);

/// The transforms of one of Winograd's algorithms.
#[derive(Debug)]
pub(super) struct Transforms<T: 'static> {
    /// From source pixels to the points.
    pub(super) input: TransformRoutine<T>,
    /// From taps to the points.
    pub(super) weight: TransformRoutine<T>,
    /// From the points to pixels of the result.
    pub(super) output: TransformRoutine<T>,
}

/// The instances for one instruction set and element type. Each may be called only where the instruction set is there.
#[derive(Debug)]
pub(super) struct Routines<T: 'static> {
    pub(super) gather: GatherRoutine<T>,
    pub(super) sum: unsafe fn(&Sum<'_, T>),
    pub(super) line: unsafe fn(&Line<T>),
    f2: Transforms<T>,
    f4: Transforms<T>,
    /// From pixels of y to the points of F(2x2).
    pub(super) output_transposed: TransformRoutine<T>,
    /// From the points of F(2x2) to taps.
    pub(super) weight_transposed: TransformRoutine<T>,
}

impl<T> Routines<T> {
    pub(super) fn transforms(&self, algorithm: Algorithm) -> &Transforms<T> {
        match algorithm {
            Algorithm::F2 => &self.f2,
            Algorithm::F4 => &self.f4,
        }
    }
}

macro_rules! routines {
    ($vector:ty $(, #[$feature:meta])?) => {{
        type Scalar = <$vector as Vector>::Scalar;
        $(#[$feature])?
        unsafe fn gather(rows: &Gather<'_, Scalar, Scalar>) {
            // SAFETY: the caller's promise.
            unsafe { gather::by_vectors::<$vector>(rows) }
        }
        $(#[$feature])?
        unsafe fn sum(s: &Sum<'_, Scalar>) {
            // SAFETY: the caller's promise.
            unsafe { depthwise::sum::<$vector>(s) }
        }
        $(#[$feature])?
        unsafe fn line(l: &Line<Scalar>) {
            // SAFETY: the caller's promise.
            unsafe { depthwise::line::<$vector>(l) }
        }
        routines!(transforms $vector, [$(#[$feature])?],
            input2 weight2 output2 output_transposed2 weight_transposed2 input4 weight4 output4);
        Routines {
            gather,
            sum,
            line,
            f2: Transforms { input: input2, weight: weight2, output: output2 },
            f4: Transforms { input: input4, weight: weight4, output: output4 },
            output_transposed: output_transposed2,
            weight_transposed: weight_transposed2,
        }
    }};
    (transforms $vector:ty, $feature:tt, $($name:ident)*) => {
        $(routines!(transform $vector, $feature, $name);)*
    };
    (transform $vector:ty, [$(#[$feature:meta])?], $name:ident) => {
        $(#[$feature])?
        unsafe fn $name(t: &Transform<Scalar>) {
            // SAFETY: the caller's promise.
            unsafe { transform::$name::<$vector>(t) }
        }
    };
}

/// A float with routines.
pub(super) trait Routine: Accumulator + Element {
    /// The instances for `isa`.
    fn routines(isa: Isa) -> &'static Routines<Self>;
}

macro_rules! routine {
    ($scalar:ty, $plain:ty, $neon:ident, $avx2:ident, $avx512:ident) => {
        impl Routine for $scalar {
            fn routines(isa: Isa) -> &'static Routines<$scalar> {
                static PORTABLE: Routines<$scalar> = routines!($plain);
                #[cfg(target_arch = "aarch64")]
                static NEON: Routines<$scalar> =
                    routines!(std::arch::aarch64::$neon, #[target_feature(enable = "neon")]);
                #[cfg(target_arch = "x86_64")]
                static AVX2: Routines<$scalar> =
                    routines!(std::arch::x86_64::$avx2, #[target_feature(enable = "avx2,fma")]);
                #[cfg(target_arch = "x86_64")]
                static AVX512: Routines<$scalar> =
                    routines!(std::arch::x86_64::$avx512, #[target_feature(enable = "avx512f,avx512dq")]);
                by_isa!(isa, &PORTABLE, &NEON, &AVX2, &AVX512)
            }
        }
    };
}
routine!(f32, Plain<f32, 4>, float32x4_t, __m256, __m512);
routine!(f64, Plain<f64, 2>, float64x2_t, __m256d, __m512d);
