//! One body of plain loops, compiled for each instruction set and chosen when it is called.

/// Defines `fn name(isa, args…)` that calls `body::<FUSED>(args…)`, an `#[inline(always)]` function, compiled for `isa`.
///
/// `FUSED` says whether the instruction set has a fused multiply-add. The compiler never fuses or reorders by itself,
/// so one instruction set gives the same bits in vectorized loops and in their remainders.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        $vis fn $name(isa: $crate::cpu::Isa, $($arg: $type),*) $(-> $ret)? {
            use $crate::cpu::Isa;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $type),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512($($arg: $type),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            assert!(isa <= Isa::best(), "this processor has no {isa}");
            match isa {
                Isa::Portable => $body::<false>($($arg),*),
                Isa::Neon => $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has the best instruction set, and with it every lesser one.
                Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx512 | Isa::Amx => unsafe { avx512($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx2 | Isa::Avx512 | Isa::Amx => unreachable!("no instruction set of this architecture"),
            }
        }
    };
}
pub(crate) use per_isa;
