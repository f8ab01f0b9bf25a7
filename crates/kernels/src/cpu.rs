//! What the processor can do, and how it treats denormal numbers.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// An instruction set that kernels are written for, from the least to the most capable of each architecture.
///
/// Every kernel has a [`Portable`](Isa::Portable) version. The others may be called only where
/// [`is_available`](Isa::is_available) says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust for the target's baseline; multiply and add are rounded apart.
    Portable,
    /// 64-bit Arm: 128-bit vectors, fused multiply-add.
    Neon,
    /// x86-64-v3: 256-bit vectors, fused multiply-add (`avx2`, `fma`, `f16c`).
    Avx2,
    /// x86-64-v4: 512-bit vectors and masks (`avx512f`, `avx512bw`, `avx512dq`, `avx512vl` and all of [`Isa::Avx2`]).
    Avx512,
    /// Matrix units of x86-64, which multiply tiles of bf16 and add up in f32 (`amx-tile`, `amx-bf16` and all of
    /// [`Isa::Avx512`]). Only products of f32 use them ([`matmul`](crate::matmul) says how); all else is as on `Avx512`.
    Amx,
}

impl Isa {
    /// Every instruction set, those of other architectures included.
    pub const ALL: [Isa; 5] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Amx];

    /// The most capable instruction set of this processor; asked for once, then remembered.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::available().last().unwrap_or(Isa::Portable))
    }

    /// The instruction sets of this processor, in order.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this processor has the instruction set.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512.is_available() && matrix_units::are_granted(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Amx => false,
        }
    }

    /// The instruction set of what works on vectors, not on matrices.
    pub const fn of_vectors(self) -> Isa {
        match self {
            Isa::Amx => Isa::Avx512,
            other => other,
        }
    }

    /// The name as it is written in reports: `portable`, `neon`, `avx2`, `avx512`, `amx`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == text)
            .ok_or_else(|| format!("unknown instruction set `{text}`; known: portable neon avx2 avx512 amx"))
    }
}

/// Whether the processor has matrix units for bf16 and the system lets this process use them.
#[cfg(target_arch = "x86_64")]
mod matrix_units {
    /// Asked for once, then remembered.
    #[cfg(all(target_os = "linux", not(miri)))]
    pub(super) fn are_granted() -> bool {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        use std::sync::OnceLock;

        /// Of `arch_prctl`: ask for a part of the state of the processor that threads do not have unless they ask.
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        /// The part: the contents of the tile registers, 8 kB.
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        /// Bits of register EDX of leaf 7.
        const AMX_BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;

        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| {
            let has_units = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & AMX_BF16_AND_TILE == AMX_BF16_AND_TILE;
            // SAFETY: a system call without pointers; it fails where the system does not know it, or has too little room on
            // the stack of a signal handler for the larger state.
            has_units && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
        })
    }

    #[cfg(not(all(target_os = "linux", not(miri))))]
    pub(super) fn are_granted() -> bool {
        false
    }
}

/// Bytes of the last cache of the first processor, where the system tells; asked for once, then remembered.
pub(crate) fn last_cache() -> Option<usize> {
    static BYTES: OnceLock<Option<usize>> = OnceLock::new();
    let size = |index: usize| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok()?.checked_mul(1024)
    };
    *BYTES.get_or_init(|| (0..).map_while(size).max())
}

/// Whether it takes long to write lines of which other processors have copies, however early they are asked for; what several
/// threads have read is then written past the caches ([`past_caches_in_place`](crate::tile::Prepared::past_caches_in_place)).
///
/// So do processors of AMD: on Zen 4, two threads that have both read 400 kB take 20 ns a line to write their halves, 65 where
/// they share no cache; past the caches 6 to 8, and 2 more when it is read again. Others are not known to. Asked for once,
/// then remembered.
pub fn calls_copies_back_slowly() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        static SLOWLY: OnceLock<bool> = OnceLock::new();
        *SLOWLY.get_or_init(|| {
            let known = std::arch::x86_64::__cpuid(0);
            [known.ebx, known.edx, known.ecx].map(u32::to_le_bytes).concat() == *b"AuthenticAMD"
        })
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}

/// Makes what this thread has written past the caches visible to other threads before anything that it writes later.
pub(crate) fn show_what_went_past_caches() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction; it changes nothing.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Asks for the cache line that holds `address`, which need not be valid, in the first-level cache.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch touches nothing that a program could notice, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// The same for the second-level cache.
#[inline(always)]
pub(crate) fn prefetch_to_second_level(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// The same for a line that is going to be written, which other processors then no longer keep: to ask them for it only when it is
/// written takes as long as to read it.
#[inline(always)]
pub(crate) fn prefetch_to_write(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above; processors that do not know the instruction do nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// While this value lives, its thread treats denormal numbers as zero and rounds results that would be denormal to
/// zero; when it is dropped, the thread's former state comes back.
///
/// Denormals cost a hundred times a normal operation on many processors and carry no meaning in training. On
/// architectures without such a switch nothing happens.
///
/// ```
/// use std::hint::black_box;
/// use thalweg_kernels::cpu::FlushDenormals;
///
/// let tiny = black_box(f32::MIN_POSITIVE);
/// {
///     let _guard = FlushDenormals::new();
///     # #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
///     assert_eq!(black_box(tiny * 0.5), 0.0);
/// }
/// assert!(black_box(tiny * 0.5) > 0.0);
/// ```
#[derive(Debug)]
pub struct FlushDenormals {
    before: control::Word,
    /// Keeps the guard on its thread: the state that it gives back is that thread's.
    on_this_thread: std::marker::PhantomData<*const ()>,
}

impl FlushDenormals {
    /// Switches flushing on for the current thread.
    #[allow(clippy::new_without_default)] // a guard is an act, not a value to fill in
    pub fn new() -> FlushDenormals {
        let before = control::read();
        if before | control::FLUSH != before {
            control::write(before | control::FLUSH);
        }
        FlushDenormals { before, on_this_thread: std::marker::PhantomData }
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        if self.before | control::FLUSH != self.before {
            control::write(self.before);
        }
    }
}

/// The floating-point control register.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod control {
    use std::arch::asm;

    pub(super) type Word = u32;

    /// MXCSR: flush to zero (bit 15) and denormals are zero (bit 6).
    pub(super) const FLUSH: Word = 1 << 15 | 1 << 6;

    pub(super) fn read() -> Word {
        let mut word: Word = 0;
        // SAFETY: writes four bytes to a local of four bytes; every x86-64 has MXCSR.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack, preserves_flags)) };
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: `word` is what `read` gave, up to the two flushing bits: no reserved bit is set and rounding and
        // exception masks stay as they were.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, preserves_flags)) };
    }
}

/// The floating-point control register.
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod control {
    use std::arch::asm;

    pub(super) type Word = u64;

    /// FPCR: flush to zero (bit 24), inputs and results.
    pub(super) const FLUSH: Word = 1 << 24;

    pub(super) fn read() -> Word {
        let word: Word;
        // SAFETY: reads a register that user code may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    pub(super) fn write(word: Word) {
        // SAFETY: `word` is what `read` gave, up to the flushing bit.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

/// No switch for denormals.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod control {
    pub(super) type Word = u32;
    pub(super) const FLUSH: Word = 0;

    pub(super) fn read() -> Word {
        0
    }

    pub(super) fn write(_: Word) {}
}

/// What stands for an instruction set, where this processor's architecture has it; else the portable form. What belongs to
/// another architecture need not exist.
macro_rules! by_isa {
    ($isa:expr, $portable:expr, $neon:expr, $avx2:expr, $avx512:expr) => {
        match $isa {
            #[cfg(target_arch = "aarch64")]
            $crate::cpu::Isa::Neon => $neon,
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::Isa::Avx2 => $avx2,
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::Isa::Avx512 | $crate::cpu::Isa::Amx => $avx512,
            #[cfg(not(target_arch = "aarch64"))]
            $crate::cpu::Isa::Neon => $portable,
            #[cfg(not(target_arch = "x86_64"))]
            $crate::cpu::Isa::Avx2 | $crate::cpu::Isa::Avx512 | $crate::cpu::Isa::Amx => $portable,
            $crate::cpu::Isa::Portable => $portable,
        }
    };
}
pub(crate) use by_isa;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_available_and_names_parse_back() {
        assert!(Isa::best().is_available());
        assert_eq!(Isa::available().next(), Some(Isa::Portable));
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert!("mmx".parse::<Isa>().unwrap_err().contains("mmx"));
    }

    /// Says what the tests of kernels run, which go through all that are available.
    #[test]
    fn the_instruction_sets_are_those_that_the_system_names() {
        let names = |wanted: bool| {
            let names = Isa::ALL.into_iter().filter(|isa| isa.is_available() == wanted).map(Isa::name);
            names.collect::<Vec<_>>().join(" ")
        };
        println!("instruction sets tested: {}; not on this processor: {}", names(true), names(false));
        #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
        {
            let report = std::fs::read_to_string("/proc/cpuinfo").unwrap();
            let flags = report.lines().find(|line| line.starts_with("flags")).unwrap();
            let has = |wanted: &[&str]| wanted.iter().all(|flag| flags.split_whitespace().any(|word| word == *flag));
            let avx2 = has(&["avx2", "fma", "f16c"]);
            assert_eq!(Isa::Avx2.is_available(), avx2);
            let avx512 = avx2 && has(&["avx512f", "avx512bw", "avx512dq", "avx512vl"]);
            assert_eq!(Isa::Avx512.is_available(), avx512);
            // The system may have the units and still refuse them.
            let amx = avx512 && has(&["amx_tile", "amx_bf16"]);
            assert!(amx || !Isa::Amx.is_available());
        }
    }

    #[test]
    fn nested_guards_give_the_state_back() {
        let before = control::read();
        {
            let _outer = FlushDenormals::new();
            drop(FlushDenormals::new());
            assert_eq!(control::read(), before | control::FLUSH);
        }
        assert_eq!(control::read(), before);
    }
}
