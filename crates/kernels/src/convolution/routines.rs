//! The loops of this module for each instruction set and element type.

use super::gather::{self, Gather};
use crate::cpu::Isa;
use crate::matmul::simd::{Plain, Vector};
use crate::matmul::tile::Accumulator;

/// Gathers rows; see [`gather::by_vectors`].
pub(super) type GatherRoutine<T> = unsafe fn(&Gather<'_, T, T>);

/// The instances for one instruction set and element type. Each may be called only where the instruction set is there.
#[derive(Debug)]
pub(super) struct Routines<T: 'static> {
    pub(super) gather: GatherRoutine<T>,
}

macro_rules! routines {
    ($vector:ty $(, #[$feature:meta])?) => {{
        type Scalar = <$vector as Vector>::Scalar;
        $(#[$feature])?
        unsafe fn gather(rows: &Gather<'_, Scalar, Scalar>) {
            // SAFETY: the caller's promise.
            unsafe { gather::by_vectors::<$vector>(rows) }
        }
        Routines { gather }
    }};
}

/// A float with routines.
pub(super) trait Routine: Accumulator {
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
                match isa {
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => &NEON,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => &AVX2,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => &AVX512,
                    #[cfg(not(target_arch = "aarch64"))]
                    Isa::Neon => &PORTABLE,
                    #[cfg(not(target_arch = "x86_64"))]
                    Isa::Avx2 | Isa::Avx512 => &PORTABLE,
                    Isa::Portable => &PORTABLE,
                }
            }
        }
    };
}
routine!(f32, Plain<f32, 4>, float32x4_t, __m256, __m512);
routine!(f64, Plain<f64, 2>, float64x2_t, __m256d, __m512d);
